"""OpenAI's legacy completions: the dialect of `/v1/completions`, for clients only."""

from typing import Final

from headgate.llm.dialects.dialect import ChatDialect
from headgate.llm.dialects.openai_completions.errors import decode_error, encode_error
from headgate.llm.dialects.openai_completions.request import decode_request, encode_request
from headgate.llm.dialects.openai_completions.response import decode_response, encode_response
from headgate.llm.dialects.openai_completions.stream import CompletionStreamDecoder, CompletionStreamEncoder
from headgate.llm.dialects.openai_completions.wire import OWN_NAMES
from headgate.llm.names import DialectName

DIALECT: Final = ChatDialect(
    name=DialectName.OPENAI_COMPLETIONS,
    decode_request=decode_request,
    encode_request=encode_request,
    decode_response=decode_response,
    encode_response=encode_response,
    stream_decoder=CompletionStreamDecoder,
    stream_encoder=CompletionStreamEncoder,
    decode_error=decode_error,
    encode_error=encode_error,
    request_headers={},
    request_id_header="x-request-id",
    client_headers=("openai-organization", "openai-project", "openai-beta"),
    backend=False,
    own_names=OWN_NAMES,
)
