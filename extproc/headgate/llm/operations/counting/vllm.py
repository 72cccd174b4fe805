"""vLLM's tokenize. <https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html#tokenizer-api>

Where it is translated, the answer has the count and no tokens (compat: `tokens` null, `max_model_len` 0).
"""

from typing import Final

import msgspec
from headgate.llm.dialects.dialect import Target
from headgate.llm.dialects.openai_chat.wire import present
from headgate.llm.dialects.table import DIALECTS
from headgate.llm.endpoints import Endpoint, PathFacts
from headgate.llm.errors import RequestError
from headgate.llm.members import decode_members
from headgate.llm.names import DialectName
from headgate.llm.operations.codec import Answered, Codec, EncodedOperation
from headgate.llm.operations.counting.canonical import Count, Counted, decode_count, encode_prompt, endpoint

NAME: Final = DialectName.VLLM_TOKENIZE

KEPT: Final = ("messages", "tools")
_OWN: Final = frozenset(
    (
        "add_generation_prompt",
        "continue_final_message",
        "add_special_tokens",
        "return_token_strs",
        "chat_template",
        "chat_template_kwargs",
        "mm_processor_kwargs",
    )
)
"""How a template is filled: of no other provider."""

_NONE: Final = msgspec.Raw(b"null")
_ENCODE: Final = msgspec.json.Encoder().encode


def decode_request(body: bytes, _endpoint: Endpoint, _path: PathFacts) -> Count:
    """See `Codec.decode_request`. compat: a prompt is what one user says."""
    members = decode_members(body)
    prompt, messages = (present(members.pop(name, _NONE)) for name in ("prompt", "messages"))
    if bool(prompt) == bool(messages):
        raise RequestError("exactly one of prompt and messages is required", path="prompt", code="invalid_value")
    continued = bytes(members.get("continue_final_message", _NONE)) == b"true"
    if continued and bytes(members.get("add_generation_prompt", b"true")) != b"false":
        where = "continue_final_message"
        raise RequestError("cannot be given with add_generation_prompt", path=where, code="invalid_value")
    if prompt and not prompt.startswith(b'"'):
        raise RequestError("must be a string", path="prompt", code="invalid_value")
    kept = {name: raw for name, raw in members.items() if name not in _OWN}
    kept["messages"] = msgspec.Raw(messages or b'[{"role":"user","content":%b}]' % prompt)
    return Count(DIALECTS[DialectName.OPENAI_CHAT].decode_request(_ENCODE(kept)))


def encode_request(request: Count, target: Target) -> EncodedOperation:
    """See `Codec.encode_request`."""
    members, losses = encode_prompt(request, target, DialectName.OPENAI_CHAT, KEPT)
    return EncodedOperation(endpoint("tokenize"), _ENCODE({"model": target.model, **members}), losses)


def decode_response(body: bytes, _answered: Answered[Count]) -> Counted:
    """See `Codec.decode_response`."""
    return decode_count(body)


def encode_response(answer: Counted, _answered: Answered[Count]) -> bytes:
    """See `Codec.encode_response`."""
    return _ENCODE({"count": answer.tokens, "max_model_len": 0, "tokens": None})


CODEC: Final = Codec(
    dialect=NAME,
    decode_request=decode_request,
    encode_request=encode_request,
    decode_response=decode_response,
    encode_response=encode_response,
)
