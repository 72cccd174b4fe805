"""AWS Bedrock's Converse and ConverseStream."""

from types import MappingProxyType
from typing import Final

from headgate.llm.answer_losses import Matter
from headgate.llm.dialects.bedrock_converse.errors import decode_error, encode_error
from headgate.llm.dialects.bedrock_converse.request import decode_request
from headgate.llm.dialects.bedrock_converse.request_encoding import encode_request
from headgate.llm.dialects.bedrock_converse.response import decode_response, encode_response
from headgate.llm.dialects.bedrock_converse.stream import StreamDecoder
from headgate.llm.dialects.bedrock_converse.stream_encoding import StreamEncoder
from headgate.llm.dialects.bedrock_converse.wire import OWN_NAMES
from headgate.llm.dialects.dialect import ChatDialect
from headgate.llm.endpoints import PathFacts
from headgate.llm.framing.aws_eventstream import CONTENT_TYPE, AwsEventStreamDecoder
from headgate.llm.names import DialectName


def _stream_type(_path: PathFacts) -> str:
    return CONTENT_TYPE


_UNSAID: Final = MappingProxyType(
    {
        Matter.ALTERNATIVES: "this dialect has one answer",
        Matter.IMAGE_URLS: "this dialect's media come with the answer",
        Matter.LOGPROBS: "unknown to this dialect",
        Matter.MEDIA_URLS: "this dialect's media come with the answer",
        Matter.PROVIDER_TOOLS: "another provider's own tools have no place here",
        Matter.VIDEO: "this dialect's answers have no films",
    }
)

DIALECT: Final = ChatDialect(
    name=DialectName.BEDROCK_CONVERSE,
    decode_request=decode_request,
    encode_request=encode_request,
    decode_response=decode_response,
    encode_response=encode_response,
    stream_decoder=StreamDecoder,
    stream_encoder=StreamEncoder,
    decode_error=decode_error,
    encode_error=encode_error,
    request_headers=MappingProxyType({}),
    request_id_header="x-amzn-requestid",
    client_headers=(
        # the client's signature and what it covers: the gateway signs for itself, or asks for another credential
        "x-amz-date",
        "x-amz-content-sha256",
        "amz-sdk-invocation-id",
        "amz-sdk-request",
    ),
    frames=AwsEventStreamDecoder,
    stream_type=_stream_type,
    own_names=OWN_NAMES,
    unsaid=_UNSAID,
    unsaid_streamed=MappingProxyType({Matter.AUDIO: "streams of this dialect have no sound"}),
)
