"""Google's Gemini API."""

from types import MappingProxyType
from typing import Final

from headgate.llm.answer_losses import Matter
from headgate.llm.dialects.dialect import ChatDialect
from headgate.llm.dialects.gemini.errors import decode_error, encode_error
from headgate.llm.dialects.gemini.request import decode_request, encode_request
from headgate.llm.dialects.gemini.response import decode_response, encode_response
from headgate.llm.dialects.gemini.stream import StreamDecoder, StreamEncoder, stream_type
from headgate.llm.dialects.gemini.wire import OTHER_NAMES, OWN_NAMES
from headgate.llm.endpoints import NO_PATH, PathFacts
from headgate.llm.names import DialectName


def _stream_type(path: PathFacts) -> str:
    """A provider of this dialect is always asked for server-sent events."""
    return "text/event-stream" if path is NO_PATH else stream_type(path)


_UNSAID: Final = MappingProxyType(
    {
        Matter.DOCUMENT_CITATIONS: "grounding names pages",
        Matter.MEDIA_URLS: "this dialect's sounds and films come with the answer",
        Matter.PROVIDER_TOOLS: "another provider's own tools have no place here",
    }
)

DIALECT: Final = ChatDialect(
    name=DialectName.GEMINI,
    decode_request=decode_request,
    encode_request=encode_request,
    decode_response=decode_response,
    encode_response=encode_response,
    stream_decoder=StreamDecoder,
    stream_encoder=StreamEncoder,
    decode_error=decode_error,
    encode_error=encode_error,
    request_headers=MappingProxyType({}),
    request_id_header="",
    client_headers=("x-goog-api-client", "x-goog-user-project"),
    stream_type=_stream_type,
    own_names=OWN_NAMES,
    other_names=OTHER_NAMES,
    unsaid=_UNSAID,
)
