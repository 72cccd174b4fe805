"""Bedrock's CountTokens. <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_CountTokens.html>"""

import base64
import binascii
from typing import Final

import msgspec
from headgate.llm.dialects.dialect import Target
from headgate.llm.dialects.table import DIALECTS
from headgate.llm.endpoints import Endpoint, PathFacts
from headgate.llm.errors import RequestError
from headgate.llm.members import decode_members, encode_members
from headgate.llm.names import DialectName
from headgate.llm.operations.codec import Answered, Codec, EncodedOperation
from headgate.llm.operations.counting.anthropic import decode_messages
from headgate.llm.operations.counting.bedrock_models import counted_name
from headgate.llm.operations.counting.canonical import Count, Counted, decode_count, encode_prompt, endpoint
from headgate.llm.strict import decode_strict

NAME: Final = DialectName.BEDROCK_CONVERSE

KEPT: Final = ("system", "messages", "toolConfig", "additionalModelRequestFields")

# --- wire ------------------------------------------------------------------------------------------------------------


class _Invoked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    body: str


class _Input(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    converse: msgspec.Raw = msgspec.Raw()
    invoke_model: _Invoked | None = None


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    input: _Input


_REQUEST: Final = msgspec.json.Decoder(Request)
_ENCODE: Final = msgspec.json.Encoder().encode


def decode_request(body: bytes, _endpoint: Endpoint, path: PathFacts) -> Count:
    """See `Codec.decode_request`: a conversation, or Claude's InvokeModel."""
    given = decode_strict(_REQUEST, body)[0].input
    if bytes(given.converse):
        return Count(DIALECTS[NAME].decode_request(bytes(given.converse), path))
    if given.invoke_model is None:
        raise RequestError("must hold converse or invokeModel", path="input", code="invalid_value")
    try:
        inner = base64.b64decode(given.invoke_model.body, validate=True)
    except (binascii.Error, ValueError):
        raise RequestError("must be base64", path="input.invokeModel.body", code="invalid_value") from None
    members = decode_members(inner)
    members.pop("anthropic_version", None)
    members["model"] = msgspec.Raw(_ENCODE(path.model))
    return decode_messages(encode_members(members))


def encode_request(request: Count, target: Target) -> EncodedOperation:
    """See `Codec.encode_request`."""
    members, losses = encode_prompt(request, target, NAME, KEPT)
    body = _ENCODE({"input": {"converse": members}})
    return EncodedOperation(endpoint("bedrock-count-tokens"), body, losses, model=counted_name(target.model))


def decode_response(body: bytes, _answered: Answered[Count]) -> Counted:
    """See `Codec.decode_response`."""
    return decode_count(body)


def encode_response(answer: Counted, _answered: Answered[Count]) -> bytes:
    """See `Codec.encode_response`."""
    return _ENCODE({"inputTokens": answer.tokens})


CODEC: Final = Codec(
    dialect=NAME,
    decode_request=decode_request,
    encode_request=encode_request,
    decode_response=decode_response,
    encode_response=encode_response,
)
