"""Token counts, once for all dialects: a chat request of which only the prompt matters, and a number."""

from collections.abc import Collection, Sequence
from typing import Final

import msgspec
from headgate.llm.canonical import ChatRequest, Sampling, Value
from headgate.llm.dialects.dialect import Target
from headgate.llm.dialects.table import DIALECTS
from headgate.llm.endpoints import Endpoint, endpoint_named
from headgate.llm.errors import UpstreamError
from headgate.llm.losses import Loss
from headgate.llm.names import DialectName
from headgate.llm.usage import Usage


class Count(Value, frozen=True):
    """A request."""

    chat: ChatRequest

    @property
    def model(self) -> str:
        return self.chat.model


class Counted(Value, frozen=True):
    """An answer."""

    tokens: int
    model: str = ""
    losses: tuple[Loss, ...] = ()

    @property
    def usage(self) -> Usage:
        """compat: counted as input, as where the answer is relayed."""
        return Usage(input=self.tokens)


def prompt_of(chat: ChatRequest) -> ChatRequest:
    """The request without what says how the model shall answer."""
    return msgspec.structs.replace(
        chat, sampling=Sampling(), stop=(), max_tokens=None, user="", service_tier="", stream=False
    )


def encode_prompt(
    request: Count, target: Target, dialect: DialectName, kept: Collection[str]
) -> tuple[dict[str, msgspec.Raw], Sequence[Loss]]:
    """The members of the prompt in a chat dialect, and what it cannot say of it."""
    encoded = DIALECTS[dialect].encode_request(prompt_of(request.chat), target)
    members = _MEMBERS.decode(encoded.body)
    return {name: raw for name, raw in members.items() if name in kept}, encoded.losses


_MEMBERS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


class _Told(msgspec.Struct, frozen=True):
    input_tokens: int | None = None
    total_tokens: int | None = msgspec.field(default=None, name="totalTokens")
    aws_tokens: int | None = msgspec.field(default=None, name="inputTokens")
    count: int | None = None


_TOLD: Final = msgspec.json.Decoder(_Told)


def decode_count(body: bytes) -> Counted:
    """A provider's answer, under whatever name it has there. UpstreamError if there is no number."""
    try:
        told = _TOLD.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise UpstreamError("the provider's answer is no count of tokens") from None
    for tokens in (told.input_tokens, told.total_tokens, told.aws_tokens, told.count):
        if tokens is not None and tokens >= 0:
            return Counted(tokens)
    raise UpstreamError("the provider's answer is no count of tokens")


def endpoint(name: str) -> Endpoint:
    """Where a provider counts."""
    row = endpoint_named(name)
    assert row is not None
    return row
