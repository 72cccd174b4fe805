"""Anthropic's Messages API."""

from types import MappingProxyType
from typing import Final

from headgate.llm.answer_losses import Matter
from headgate.llm.dialects.anthropic.errors import decode_error, encode_error
from headgate.llm.dialects.anthropic.request import decode_request
from headgate.llm.dialects.anthropic.request_encoding import encode_request
from headgate.llm.dialects.anthropic.response import decode_response, encode_response
from headgate.llm.dialects.anthropic.stream import StreamDecoder, StreamEncoder
from headgate.llm.dialects.anthropic.wire import OTHER_NAMES, OWN_NAMES
from headgate.llm.dialects.dialect import ChatDialect
from headgate.llm.names import DialectName

_UNSAID: Final = MappingProxyType(
    {
        Matter.ALTERNATIVES: "this dialect has one answer",
        Matter.AUDIO: "this dialect's answers are text and calls",
        Matter.IMAGES: "this dialect's answers are text and calls",
        Matter.IMAGE_URLS: "this dialect's answers are text and calls",
        Matter.LOGPROBS: "unknown to this dialect",
        Matter.MEDIA_URLS: "this dialect's answers are text and calls",
        Matter.NAMELESS_CITATIONS: "citations name a page or a document",
        Matter.PROVIDER_TOOLS: "another provider's own tools have no place here",
        Matter.VIDEO: "this dialect's answers are text and calls",
    }
)

DIALECT: Final = ChatDialect(
    name=DialectName.ANTHROPIC_MESSAGES,
    decode_request=decode_request,
    encode_request=encode_request,
    decode_response=decode_response,
    encode_response=encode_response,
    stream_decoder=StreamDecoder,
    stream_encoder=StreamEncoder,
    decode_error=decode_error,
    encode_error=encode_error,
    request_headers=MappingProxyType({"anthropic-version": "2023-06-01"}),
    request_id_header="request-id",
    client_headers=("anthropic-version", "anthropic-beta", "anthropic-dangerous-direct-browser-access"),
    own_names=OWN_NAMES,
    other_names=OTHER_NAMES,
    unsaid=_UNSAID,
)
