"""The seam of the operations beyond chat: a canonical request and answer, and a codec for each dialect that has them.

The same shape as a chat dialect's (`dialects/dialect.py`), without streams. A package under `operations/` is an
operation: `canonical` has its values, a module per dialect its wire structs and `CODEC`, `table` all of them as a
`Family`. Strict with clients, tolerant of providers; only `RequestError` and `UpstreamError`; what cannot be said is a
`Loss` with the client's JSON path.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import msgspec
from headgate.llm.dialects.dialect import Target
from headgate.llm.endpoints import Endpoint, PathFacts
from headgate.llm.errors import RequestError, UnsupportedTranslation
from headgate.llm.losses import Loss
from headgate.llm.names import DialectName
from headgate.llm.usage import Usage


class CanonicalRequest(Protocol):
    """What every operation's request has."""

    @property
    def model(self) -> str: ...


class CanonicalAnswer(Protocol):
    """What every operation's answer has."""

    @property
    def model(self) -> str:
        """As the provider named it; empty where it did not."""
        ...

    @property
    def usage(self) -> Usage: ...

    @property
    def losses(self) -> Sequence[Loss]:
        """What it says and no other dialect can: told, never refused."""
        ...


Q = TypeVar("Q", bound=CanonicalRequest)
A = TypeVar("A", bound=CanonicalAnswer)


class EncodedOperation(msgspec.Struct, frozen=True, gc=False):
    """What a provider gets. `endpoint` is where: a dialect may have several ways to ask for one thing."""

    endpoint: Endpoint
    body: bytes
    losses: Sequence[Loss] = ()
    model: str = ""
    """What the path calls the model, where that is another name than the request model."""


@dataclass(frozen=True, slots=True)
class Answered(Generic[Q]):
    """What an answer is read, or written, with beside its body."""

    request: Q
    """As the client sent it."""
    model: str
    """The request model: reported where the provider named none."""
    headers: Mapping[str, str]
    """The provider's, as far as they are forwarded."""
    request_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Codec(Generic[Q, A]):
    """One operation in one dialect. Functions are pure. A side that a dialect does not have is None."""

    dialect: DialectName
    """Of the client's endpoint; and of backends, where they serve the operation under their chat dialect's name."""
    decode_request: Callable[[bytes, Endpoint, PathFacts], Q] | None = None
    """The client's body. RequestError with the JSON path of the first thing wrong."""
    encode_response: Callable[[A, Answered[Q]], bytes] | None = None
    encode_request: Callable[[Q, Target], EncodedOperation] | None = None
    """The provider's body; equal requests give equal bytes. UnsupportedTranslation where the provider has no way to
    say it."""
    decode_response: Callable[[bytes, Answered[Q]], A] | None = None
    """The provider's answer. UpstreamError if it is not one."""


def required_model(model: str | None) -> str:
    """A body's `model`."""
    if model is None:
        raise RequestError("a model is required", path="model")
    if not model:
        raise RequestError("must not be empty", path="model")
    return model


def unsayable(path: str, reason: str) -> UnsupportedTranslation:
    """What a provider cannot be told, and cannot be left out either."""
    return UnsupportedTranslation(reason, path=path)
