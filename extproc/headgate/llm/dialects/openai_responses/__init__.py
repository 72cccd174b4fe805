"""OpenAI's Responses API: the dialect of `/v1/responses`."""

from typing import Final

from headgate.llm.dialects.dialect import ChatDialect
from headgate.llm.dialects.openai_responses.errors import decode_error, encode_error
from headgate.llm.dialects.openai_responses.request import decode_request, encode_request
from headgate.llm.dialects.openai_responses.response import decode_response, encode_response
from headgate.llm.dialects.openai_responses.stream import ResponsesStreamDecoder, ResponsesStreamEncoder
from headgate.llm.dialects.openai_responses.wire import OWN_NAMES
from headgate.llm.names import DialectName

DIALECT: Final = ChatDialect(
    name=DialectName.OPENAI_RESPONSES,
    decode_request=decode_request,
    encode_request=encode_request,
    decode_response=decode_response,
    encode_response=encode_response,
    stream_decoder=ResponsesStreamDecoder,
    stream_encoder=ResponsesStreamEncoder,
    decode_error=decode_error,
    encode_error=encode_error,
    request_headers={},
    request_id_header="x-request-id",
    client_headers=("openai-organization", "openai-project", "openai-beta"),
    own_names=OWN_NAMES,
)
