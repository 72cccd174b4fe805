"""OpenAI's legacy completions: the dialect of `/v1/completions`, for clients only."""

from types import MappingProxyType
from typing import Final

from headgate.llm.answer_losses import Matter
from headgate.llm.dialects.dialect import ChatDialect
from headgate.llm.dialects.openai_completions.errors import decode_error, encode_error
from headgate.llm.dialects.openai_completions.request import decode_request, encode_request
from headgate.llm.dialects.openai_completions.response import decode_response, encode_response
from headgate.llm.dialects.openai_completions.stream import CompletionStreamDecoder, CompletionStreamEncoder
from headgate.llm.dialects.openai_completions.wire import OWN_NAMES
from headgate.llm.names import DialectName

_UNSAID: Final = MappingProxyType(
    {
        Matter.AUDIO: "a completion is text",
        Matter.DOCUMENT_CITATIONS: "a completion is text",
        Matter.ENCRYPTED_REASONING: "a completion is text",
        Matter.IMAGES: "a completion is text",
        Matter.IMAGE_URLS: "a completion is text",
        Matter.MEDIA_URLS: "a completion is text",
        Matter.NAMELESS_CITATIONS: "a completion is text",
        Matter.PAGE_CITATIONS: "a completion is text",
        Matter.PROVIDER_TOOLS: "a completion is text",
        Matter.REASONING: "a completion is text",
        Matter.TOOL_CALLS: "a completion is text",
        Matter.VIDEO: "a completion is text",
    }
)

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
    unsaid=_UNSAID,
    unsaid_streamed=MappingProxyType({Matter.ALTERNATIVES: "a stream of this dialect holds one answer"}),
)
