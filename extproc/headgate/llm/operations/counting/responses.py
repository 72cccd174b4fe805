"""OpenAI's count of a response's input. <https://platform.openai.com/docs/api-reference/responses/input-tokens>"""

from typing import Final

import msgspec
from headgate.llm.dialects.dialect import Target
from headgate.llm.dialects.table import DIALECTS
from headgate.llm.endpoints import Endpoint, PathFacts
from headgate.llm.names import DialectName
from headgate.llm.operations.codec import Answered, Codec, EncodedOperation
from headgate.llm.operations.counting.canonical import Count, Counted, decode_count, encode_prompt, endpoint

NAME: Final = DialectName.OPENAI_RESPONSES

KEPT: Final = ("input", "instructions", "tools", "tool_choice", "parallel_tool_calls", "reasoning", "text")

_ENCODE: Final = msgspec.json.Encoder().encode


def decode_request(body: bytes, _endpoint: Endpoint, path: PathFacts) -> Count:
    """See `Codec.decode_request`."""
    return Count(DIALECTS[NAME].decode_request(body, path))


def encode_request(request: Count, target: Target) -> EncodedOperation:
    """See `Codec.encode_request`."""
    members, losses = encode_prompt(request, target, NAME, KEPT)
    body = _ENCODE({"model": target.model, **members})
    return EncodedOperation(endpoint("responses-input-tokens"), body, losses)


def decode_response(body: bytes, _answered: Answered[Count]) -> Counted:
    """See `Codec.decode_response`."""
    return decode_count(body)


def encode_response(answer: Counted, _answered: Answered[Count]) -> bytes:
    """See `Codec.encode_response`."""
    return _ENCODE({"object": "response.input_tokens", "input_tokens": answer.tokens})


CODEC: Final = Codec(
    dialect=NAME,
    decode_request=decode_request,
    encode_request=encode_request,
    decode_response=decode_response,
    encode_response=encode_response,
)
