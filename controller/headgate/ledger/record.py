"""The usage record: what one request was, came to and cost. Everything that looks at usage looks at this type.

Times are nanoseconds of Unix time, durations milliseconds, money billionths of a dollar (nanos): sums are exact.
A value that nobody knows is empty (text) or None (numbers): 0 tokens is a count, None is that none was reported.
"""

from enum import StrEnum
from typing import Final

import msgspec

Labels = tuple[tuple[str, str], ...]


class UsageSource(StrEnum):
    """Where the counts are from."""

    REPORTED = "reported"
    """The provider's own."""
    ESTIMATED = "estimated"
    """Counted by us, because the answer broke off before the provider said."""
    NONE = "none"
    """There are none: nothing was served, or nothing was said."""


class Lane(StrEnum):
    NATIVE = "native"
    EXTPROC = "extproc"
    LOCAL = "local"
    """The gateway answered by itself: no backend was asked."""


class Tokens(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Counts of one request. Input includes cached and cache-creation tokens, output includes reasoning."""

    input: int | None = None
    cached_input: int | None = None
    cache_creation_input: int | None = None
    output: int | None = None
    reasoning: int | None = None
    total: int | None = None


NO_TOKENS: Final = Tokens()


class Attempt(msgspec.Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """One try at one backend."""

    backend: str
    status: int = 0
    """What the backend answered; 0 if it did not."""
    error: str = ""
    """An `ErrorKind`; empty for one that served."""
    duration_ms: float = 0.0
    upstream: str = ""
    """Address of the server that was asked."""


class UsageRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One request. `id` names it alone, whatever the client sent: the same entry twice is one record."""

    id: str
    request_id: str
    """`x-request-id`, to look it up by. Envoy Gateway may be told to keep a client's, so it identifies nothing."""
    started_ns: int
    node: str = ""
    """The Envoy that served it."""
    operation: str = ""
    """The client's path class: `chat`, `messages`…, or how its path ends where that is translated; empty for what is no
    AI request."""
    method: str = ""
    path: str = ""
    stream: bool = False
    route: str = ""
    """`<ns>/<route>`"""
    rule: str = ""
    """Envoy's name of the route that was taken."""
    backend: str = ""
    """compat: `<ns>/<name>/route/<route>/rule/<i>/ref/<j>` of the backend that was asked last."""
    service: str = ""
    """`<ns>/<name>` of the AIServiceBackend."""
    provider: str = ""
    """compat: `gen_ai.provider.name` of the backend."""
    upstream: str = ""
    lane: Lane = Lane.LOCAL
    client: str = ""
    """Who asked: the name of the API key, or what the token says."""
    team: str = ""
    original_model: str = ""
    """As the client asked."""
    request_model: str = ""
    """As the backend was asked."""
    response_model: str = ""
    """As the backend answered."""
    response_id: str = ""
    """As the answer calls itself."""
    finish_reasons: tuple[str, ...] = ()
    """Why each answer ended, in OpenTelemetry's words."""
    status: int = 0
    error: str = ""
    """An `ErrorKind`; empty for an answer that came through."""
    details: str = ""
    """Envoy's words for how it ended."""
    flags: tuple[str, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    tokens: Tokens = NO_TOKENS
    usage_source: UsageSource = UsageSource.NONE
    costs: tuple[tuple[str, int], ...] = ()
    """By metadata key: what the routes' own cost expressions came to, and what is sold at a price of its own
    (`metadata.APART_KEYS`, `CHARACTERS`), where it is not 0."""
    cost_nanos: int | None = None
    """By the price table; None without a price for the model."""
    price: str = ""
    """Which row of the price table was used."""
    duration_ms: float = 0.0
    upstream_ms: float | None = None
    """Until the backend's answer began."""
    ttft_ms: float | None = None
    """Until the first token, of a stream."""
    request_bytes: int = 0
    response_bytes: int = 0
    losses: str = ""
    labels: Labels = ()
    """Mapped request headers (attribute, value), sorted."""
