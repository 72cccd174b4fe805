"""Google's countTokens. <https://ai.google.dev/api/tokens>; Vertex AI's has the members at its top."""

from typing import Final

import msgspec
from headgate.llm.dialects.dialect import Target
from headgate.llm.dialects.table import DIALECTS
from headgate.llm.endpoints import Endpoint, PathFacts
from headgate.llm.errors import RequestError
from headgate.llm.members import decode_members, encode_members
from headgate.llm.names import DialectName, HostName
from headgate.llm.operations.codec import Answered, Codec, EncodedOperation
from headgate.llm.operations.counting.canonical import Count, Counted, decode_count, encode_prompt, endpoint

NAME: Final = DialectName.GEMINI

KEPT: Final = ("contents", "systemInstruction", "tools", "toolConfig", "generationConfig")
_VERTEX_HAS_NOT: Final = "toolConfig"

_WRAPPED: Final = ("generateContentRequest", "generate_content_request")
_ENCODE: Final = msgspec.json.Encoder().encode


def decode_request(body: bytes, _endpoint: Endpoint, path: PathFacts) -> Count:
    """See `Codec.decode_request`: contents, or a whole request."""
    members = decode_members(body)
    for name in _WRAPPED:
        if name in members:
            if len(members) > 1:
                raise RequestError("cannot be given with other members", path=name, code="invalid_value")
            members = decode_members(bytes(members[name]))
    members.pop("model", None)
    return Count(DIALECTS[NAME].decode_request(encode_members(members), path))


def encode_request(request: Count, target: Target) -> EncodedOperation:
    """See `Codec.encode_request`."""
    members, losses = encode_prompt(request, target, NAME, KEPT)
    if target.host is HostName.VERTEX:
        members.pop(_VERTEX_HAS_NOT, None)
        return EncodedOperation(endpoint("gemini-count-tokens"), _ENCODE(members), losses)
    whole = {"model": f"models/{target.model.removeprefix('models/')}", **members}
    return EncodedOperation(endpoint("gemini-count-tokens"), _ENCODE({"generateContentRequest": whole}), losses)


def decode_response(body: bytes, _answered: Answered[Count]) -> Counted:
    """See `Codec.decode_response`."""
    return decode_count(body)


def encode_response(answer: Counted, _answered: Answered[Count]) -> bytes:
    """See `Codec.encode_response`."""
    return _ENCODE({"totalTokens": answer.tokens})


CODEC: Final = Codec(
    dialect=NAME,
    decode_request=decode_request,
    encode_request=encode_request,
    decode_response=decode_response,
    encode_response=encode_response,
)
