"""Cohere's v2 chat."""

from types import MappingProxyType
from typing import Final

from headgate.llm.answer_losses import Matter
from headgate.llm.dialects.cohere.errors import decode_error, encode_error
from headgate.llm.dialects.cohere.request import decode_request
from headgate.llm.dialects.cohere.request_encoding import encode_request
from headgate.llm.dialects.cohere.response import decode_response, encode_response
from headgate.llm.dialects.cohere.stream import StreamDecoder, StreamEncoder
from headgate.llm.dialects.cohere.wire import OTHER_NAMES, OWN_NAMES
from headgate.llm.dialects.dialect import ChatDialect
from headgate.llm.names import DialectName

_UNSAID: Final = MappingProxyType(
    {
        Matter.ALTERNATIVES: "this dialect has one answer",
        Matter.AUDIO: "this dialect's answers are text and calls",
        Matter.ENCRYPTED_REASONING: "this dialect signs and encrypts no thoughts",
        Matter.IMAGES: "this dialect's answers are text and calls",
        Matter.IMAGE_URLS: "this dialect's answers are text and calls",
        Matter.MEDIA_URLS: "this dialect's answers are text and calls",
        Matter.PROVIDER_TOOLS: "another provider's own tools have no place here",
        Matter.SIGNATURES: "this dialect signs and encrypts no thoughts",
        Matter.TOP_LOGPROBS: "this dialect tells the tokens that were chosen",
        Matter.VIDEO: "this dialect's answers are text and calls",
    }
)

DIALECT: Final = ChatDialect(
    name=DialectName.COHERE,
    decode_request=decode_request,
    encode_request=encode_request,
    decode_response=decode_response,
    encode_response=encode_response,
    stream_decoder=StreamDecoder,
    stream_encoder=StreamEncoder,
    decode_error=decode_error,
    encode_error=encode_error,
    request_headers=MappingProxyType(dict[str, str]()),
    request_id_header="x-debug-trace-id",
    client_headers=("x-client-name", "x-fern-language", "x-fern-sdk-name", "x-fern-sdk-version"),
    own_names=OWN_NAMES,
    other_names=OTHER_NAMES,
    unsaid=_UNSAID,
)
