"""Anthropic's count. <https://docs.anthropic.com/en/api/messages-count-tokens>

Bedrock counts for Claude too, by a call of its own that has the request of InvokeModel inside.
"""

import base64
from typing import Final

import msgspec
from headgate.llm.dialects.dialect import Target
from headgate.llm.dialects.table import DIALECTS
from headgate.llm.endpoints import Endpoint, PathFacts
from headgate.llm.hosts.bedrock import ANTHROPIC_VERSION
from headgate.llm.losses import Loss
from headgate.llm.members import decode_members, encode_members
from headgate.llm.names import DialectName, HostName
from headgate.llm.operations.codec import Answered, Codec, EncodedOperation
from headgate.llm.operations.counting.bedrock_models import counted_name
from headgate.llm.operations.counting.canonical import Count, Counted, decode_count, encode_prompt, endpoint

NAME: Final = DialectName.ANTHROPIC_MESSAGES

KEPT: Final = ("system", "messages", "tools", "tool_choice", "thinking", "mcp_servers", "output_config")

_ENCODE: Final = msgspec.json.Encoder().encode
_ONE: Final = msgspec.Raw(b"1")


def decode_messages(body: bytes) -> Count:
    """A messages request that need not say how long its answer may be."""
    members = decode_members(body)
    members.setdefault("max_tokens", _ONE)
    return Count(DIALECTS[NAME].decode_request(encode_members(members)))


def decode_request(body: bytes, _endpoint: Endpoint, _path: PathFacts) -> Count:
    """See `Codec.decode_request`."""
    return decode_messages(body)


def encode_request(request: Count, target: Target) -> EncodedOperation:
    """See `Codec.encode_request`."""
    members, losses = encode_prompt(request, target, NAME, KEPT)
    if target.host is not HostName.BEDROCK:
        return EncodedOperation(endpoint("count-tokens"), _ENCODE({"model": target.model, **members}), losses)
    own = request.chat.extras.get(NAME, {})
    losses = (*losses, *(Loss(name, "dropped", "Bedrock counts nothing of it") for name in own))
    inner = _ENCODE({"anthropic_version": ANTHROPIC_VERSION, "max_tokens": 1, **members})
    body = {"input": {"invokeModel": {"body": base64.b64encode(inner).decode()}}}
    return EncodedOperation(endpoint("bedrock-count-tokens"), _ENCODE(body), losses, model=counted_name(target.model))


def decode_response(body: bytes, _answered: Answered[Count]) -> Counted:
    """See `Codec.decode_response`."""
    return decode_count(body)


def encode_response(answer: Counted, _answered: Answered[Count]) -> bytes:
    """See `Codec.encode_response`."""
    return _ENCODE({"input_tokens": answer.tokens})


CODEC: Final = Codec(
    dialect=NAME,
    decode_request=decode_request,
    encode_request=encode_request,
    decode_response=decode_response,
    encode_response=encode_response,
)
