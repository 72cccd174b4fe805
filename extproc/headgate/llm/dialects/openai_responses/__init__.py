"""OpenAI's Responses API: the dialect of `/v1/responses`."""

from types import MappingProxyType
from typing import Final

from headgate.llm.answer_losses import Matter
from headgate.llm.dialects.dialect import ChatDialect
from headgate.llm.dialects.openai_responses.errors import decode_error, encode_error
from headgate.llm.dialects.openai_responses.request import decode_request, encode_request
from headgate.llm.dialects.openai_responses.response import decode_response, encode_response
from headgate.llm.dialects.openai_responses.stream import ResponsesStreamDecoder, ResponsesStreamEncoder
from headgate.llm.dialects.openai_responses.wire import OTHER_NAMES, OWN_NAMES
from headgate.llm.names import DialectName

_UNSAID: Final = MappingProxyType(
    {
        Matter.ALTERNATIVES: "this dialect has one answer",
        Matter.AUDIO: "this dialect's answers have no sound",
        Matter.DOCUMENT_CITATIONS: "annotations name pages only",
        Matter.IMAGE_URLS: "this dialect's media come with the answer",
        Matter.MEDIA_URLS: "this dialect's media come with the answer",
        Matter.NAMELESS_CITATIONS: "annotations name pages only",
        Matter.PROVIDER_TOOLS: "another provider's own tools have no place here",
        Matter.VIDEO: "this dialect's answers have no films",
    }
)

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
    other_names=OTHER_NAMES,
    unsaid=_UNSAID,
)
