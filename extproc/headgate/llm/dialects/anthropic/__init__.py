"""Anthropic's Messages API."""

from types import MappingProxyType
from typing import Final

from headgate.llm.dialects.anthropic.errors import decode_error, encode_error
from headgate.llm.dialects.anthropic.request import decode_request
from headgate.llm.dialects.anthropic.request_encoding import encode_request
from headgate.llm.dialects.anthropic.response import decode_response, encode_response
from headgate.llm.dialects.anthropic.stream import StreamDecoder, StreamEncoder
from headgate.llm.dialects.anthropic.wire import OWN_NAMES
from headgate.llm.dialects.dialect import ChatDialect
from headgate.llm.names import DialectName

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
)
