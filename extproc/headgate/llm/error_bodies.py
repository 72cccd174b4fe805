"""Error bodies in any dialect a client may speak, translated or passed through. Pure: the compiler writes direct
responses with it as well."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from headgate.llm.dialects.table import DIALECTS
from headgate.llm.errors import ErrorDetail, ErrorKind, TranslationError, kind_of_status
from headgate.llm.names import DialectName

_OPENAI: Final = DIALECTS[DialectName.OPENAI_CHAT].encode_error
_ANTHROPIC: Final = DIALECTS[DialectName.ANTHROPIC_MESSAGES].encode_error
_COHERE: Final = DIALECTS[DialectName.COHERE].encode_error
_GEMINI: Final = DIALECTS[DialectName.GEMINI].encode_error
_AWS: Final = DIALECTS[DialectName.BEDROCK_CONVERSE].encode_error


def error_response(
    dialect: DialectName | str,
    status: int,
    message: str,
    *,
    kind: ErrorKind | None = None,
    code: str = "",
    param: str = "",
    request_id: str = "",
) -> bytes:
    """A JSON error body in the client's dialect; `kind` follows from the status unless given."""
    detail = ErrorDetail(
        status=status,
        kind=kind_of_status(status) if kind is None else kind,
        message=message,
        code=code,
        param=param,
        request_id=request_id,
    )
    return _ENCODERS[DialectName(dialect)](detail)


def error_body(dialect: DialectName | str, error: TranslationError) -> bytes:
    """The body that answers one of our own errors."""
    return _ENCODERS[DialectName(dialect)](error.detail())


_ENCODERS: Final[Mapping[DialectName, Callable[[ErrorDetail], bytes]]] = MappingProxyType(
    {
        DialectName.OPENAI_CHAT: _OPENAI,
        DialectName.OPENAI_COMPLETIONS: _OPENAI,
        DialectName.OPENAI_EMBEDDINGS: _OPENAI,
        DialectName.OPENAI_RESPONSES: _OPENAI,
        DialectName.OPENAI_IMAGES: _OPENAI,
        DialectName.OPENAI_AUDIO: _OPENAI,
        DialectName.OPENAI_MODERATIONS: _OPENAI,
        DialectName.VLLM_TOKENIZE: _OPENAI,
        DialectName.JINA_RERANK: _OPENAI,
        DialectName.ANTHROPIC_MESSAGES: _ANTHROPIC,
        DialectName.COHERE: _COHERE,
        DialectName.GEMINI: _GEMINI,
        DialectName.BEDROCK_CONVERSE: _AWS,
    }
)
