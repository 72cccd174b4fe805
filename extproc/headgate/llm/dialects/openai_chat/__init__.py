"""OpenAI chat completions: the dialect of `/v1/chat/completions` and of the many servers compatible with it."""

from types import MappingProxyType
from typing import Final

from headgate.llm.answer_losses import Matter
from headgate.llm.dialects.dialect import ChatDialect
from headgate.llm.dialects.openai_chat.errors import decode_error, encode_error
from headgate.llm.dialects.openai_chat.request import decode_request, encode_request
from headgate.llm.dialects.openai_chat.response import decode_response, encode_response
from headgate.llm.dialects.openai_chat.stream import ChatStreamDecoder
from headgate.llm.dialects.openai_chat.stream_encoding import ChatStreamEncoder
from headgate.llm.dialects.openai_chat.wire import OTHER_NAMES
from headgate.llm.names import DialectName

_UNSAID: Final = MappingProxyType(
    {
        Matter.DOCUMENT_CITATIONS: "annotations name pages only",
        Matter.NAMELESS_CITATIONS: "annotations name pages only",
        Matter.MEDIA_URLS: "this dialect's media come with the answer",
        Matter.PROVIDER_TOOLS: "another provider's own tools have no place here",
        Matter.VIDEO: "this dialect's answers have no films",
    }
)

DIALECT: Final = ChatDialect(
    name=DialectName.OPENAI_CHAT,
    decode_request=decode_request,
    encode_request=encode_request,
    decode_response=decode_response,
    encode_response=encode_response,
    stream_decoder=ChatStreamDecoder,
    stream_encoder=ChatStreamEncoder,
    decode_error=decode_error,
    encode_error=encode_error,
    request_headers={},
    request_id_header="x-request-id",
    client_headers=("openai-organization", "openai-project", "openai-beta"),
    other_names=OTHER_NAMES,
    unsaid=_UNSAID,
    answer_extras=frozenset(("groundingMetadata", "safetyRatings")),
)
