"""Entries in, records out: attempts wait for the request that they belong to.

Envoy writes the entries of failed attempts while it retries, and the request's own when it is over, on one gRPC stream:
so a request finds its attempts here already. What a request's own entry says stands for the last attempt.
"""

from collections.abc import Mapping
from functools import lru_cache
from hashlib import blake2b
from typing import Final

import msgspec
from headgate.contract import metadata
from headgate.ledger import batches
from headgate.ledger.batches import batch_of
from headgate.ledger.costs import with_missing
from headgate.ledger.entry import Entry, Value
from headgate.ledger.errors import ErrorKind, error_kind
from headgate.ledger.prices import NO_PRICES, PriceTable
from headgate.ledger.record import NO_TOKENS, Attempt, Labels, Lane, Tokens, UsageRecord, UsageSource

WAITING_MAX: Final = 10_000
"""Requests with attempts that wait. One whose entry never comes (Envoy died) must not wait for ever."""
ATTEMPTS_MAX: Final = 32
"""Of one request: Envoy's retries are bounded by policies, but those are the user's."""
TEAM: Final = "team"
"""The label that names a team, where the price table does not know the client's."""
FETCHED_MAX: Final = 10_000
"""Responses made in the background that are remembered: clients ask for one again within minutes."""
_NANOS_PER_MS: Final = 1e6
_KNOWN: Final = frozenset(
    {
        *(key for key in metadata.USAGE_KEYS if key != metadata.AUDIO_SECONDS),
        metadata.PROMPT_TOKENS,
        metadata.BACKEND_NAME,
        metadata.SERVICE_BACKEND_NAME,
        metadata.MODEL_NAME_OVERRIDE,
        metadata.ROUTE_NAME,
        metadata.RESPONSE_MODEL,
        metadata.RESPONSE_ID,
        metadata.FINISH_REASONS,
        metadata.LOSSES,
        metadata.LANE,
        metadata.USAGE_SOURCE,
        metadata.CONTENT_LENGTH,
        metadata.LATENCY_TTFT,
        metadata.LATENCY_ITL,
    }
)
"""What is published and is no cost. What is sold at prices of its own has no field: it is among the costs."""
_NAMES: Final = _KNOWN - frozenset(metadata.USAGE_KEYS) - {metadata.USAGE_SOURCE}
"""Of those, what says nothing of what was used."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What entries alone do not tell."""

    prices: PriceTable = NO_PRICES
    attributes: Labels = ()
    """(request header, name of a label that its value becomes)"""
    root: str = ""
    """The path below which clients ask, without `/` at its end."""


PLAIN: Final = Settings()


class Fetched:
    """Which responses that were made in the background, and which batches, have told what they used: each tells it
    whenever it is fetched.

    Forgets the oldest, and all when its process ends: a store knows their records again by their ids.
    """

    def __init__(self) -> None:
        self._told: dict[str, tuple[int, str]] = {}

    def first_told(self, entry: Entry) -> Entry:
        """The entry; if its response has told before, without what it used."""
        if not (name := _fetched_id(entry)):
            return entry
        this = (entry.started_ns, entry.peer)
        if self._told.setdefault(name, this) == this:
            if len(self._told) > FETCHED_MAX:
                del self._told[next(iter(self._told))]
            return entry
        published = {key: value for key, value in entry.published.items() if key in _NAMES}
        internal = {key: value for key, value in entry.internal.items() if key != metadata.INTERNAL_BATCH}
        return msgspec.structs.replace(entry, published=published, internal=internal)


class Joiner:
    """Turns the entries of one Envoy into records; `fetched` is all that its collector has heard of."""

    def __init__(self, node: str, settings: Settings, fetched: Fetched | None = None) -> None:
        self._node = node
        self._fetched = fetched or Fetched()
        self.settings = settings
        self._waiting: dict[tuple[str, str], list[Attempt]] = {}
        self.orphans = 0
        """Attempts given up, whose request never came."""

    def feed(self, entry: Entry) -> UsageRecord | None:
        """The record, if the entry completes one."""
        key = (entry.peer, entry.request_id)
        if entry.attempt:
            self._wait(key, _attempt(entry, str(error_kind(entry)), _ms(entry.duration_ns)))
            return None
        entry = self._fetched.first_told(entry) if metadata.INTERNAL_FETCHED in entry.internal else entry
        earlier = self._waiting.pop(key, None) if self._waiting else None
        return make_record(entry, node=self._node, settings=self.settings, earlier=tuple(earlier or ()))

    def _wait(self, key: tuple[str, str], attempt: Attempt) -> None:
        found = self._waiting.get(key)
        if found is None:
            while len(self._waiting) >= WAITING_MAX:
                oldest = next(iter(self._waiting))
                self.orphans += len(self._waiting.pop(oldest))
            found = self._waiting[key] = []
        if len(found) < ATTEMPTS_MAX:
            found.append(attempt)


def _attempt(entry: Entry, error: str, duration_ms: float) -> Attempt:
    return Attempt(
        backend=entry.cluster,
        status=entry.status,
        error=error,
        duration_ms=round(duration_ms, 3),
        upstream=entry.upstream,
    )


def _ms(nanoseconds: int) -> float:
    return round(nanoseconds / _NANOS_PER_MS, 3)


def record_id(node: str, entry: Entry) -> str:
    """Names the request: which moment, which Envoy, which connection. In the order of time, as databases like keys."""
    return _fetched_id(entry) or f"{entry.started_ns:016x}{_place(node, entry.peer)}"


def _fetched_id(entry: Entry) -> str:
    """Names what is stored, and tells now what it used (a response that was made in the background, a batch); empty for
    all other requests."""
    stored = _text(entry.internal, metadata.INTERNAL_FETCHED)
    if not stored or (metadata.TOTAL_TOKENS not in entry.published and batch_of(entry.internal) is None):
        return ""
    return blake2b(f"{service_of(entry.cluster)}\n{stored}".encode(), digest_size=16).hexdigest()


@lru_cache(maxsize=4096)
def _place(node: str, peer: str) -> str:
    return blake2b(f"{node}\n{peer}".encode(), digest_size=8).hexdigest()


@lru_cache(maxsize=16_384)
def route_and_operation(rule: str) -> tuple[str, str]:
    """`<ns>/<route>` and the path class of Envoy's route name, `<ns>/<route>/rule/<i>[/<class>]/match/<j>`."""
    parts = rule.removeprefix(metadata.PLAIN).split("/")
    if len(parts) < 4 or parts[2] != "rule":
        return "", ""
    return "/".join(parts[:2]), parts[4] if len(parts) > 4 and parts[4] != "match" else ""


def _operation(path_class: str, path: str) -> str:
    """The path class; where the route has several, what the path ends with."""
    if path_class != metadata.SEVERAL_CLASSES:
        return path_class
    return path.partition("?")[0].replace(":", "/").rpartition("/")[2]


@lru_cache(maxsize=16_384)
def service_of(cluster: str) -> str:
    """`<ns>/<name>` of a backend's full name."""
    return "/".join(cluster.split("/", 2)[:2])


def _text(values: Mapping[str, Value], key: str) -> str:
    value = values.get(key, "")
    return value if isinstance(value, str) else ""


def _texts(values: Mapping[str, Value], key: str) -> tuple[str, ...]:
    value = values.get(key, ())
    return value if isinstance(value, tuple) else ()


def _count(values: Mapping[str, Value], key: str) -> int | None:
    value = values.get(key)
    return int(value) if isinstance(value, float) else None


def _prompt(entry: Entry) -> int:
    """What the request's body comes to, as reservations and charges have it."""
    text_bytes = _count(entry.internal, metadata.INTERNAL_TEXT_BYTES)
    return (entry.request_bytes if text_bytes is None else text_bytes) // 4 + 1


def _left_waiting(entry: Entry) -> bool:
    """Whether a client that left before a word came back left a provider that had its prompt, and bills it."""
    return entry.prompts and bool(entry.upstream) and entry.request_bytes > 0 and entry.status < 400


def _used(entry: Entry, error: str, *, waiting: bool) -> tuple[Tokens, UsageSource]:
    """What was counted, and by whom; `waiting`: an attempt had not ended when the request did."""
    published = entry.published
    estimated = published.get(metadata.USAGE_SOURCE) == UsageSource.ESTIMATED
    taken_back = published.get(metadata.USAGE_SOURCE) == UsageSource.NONE and not any(
        published.get(key) for key in metadata.USAGE_KEYS
    )
    if taken_back or (metadata.INPUT_TOKENS not in published and metadata.OUTPUT_TOKENS not in published):
        if waiting and error == ErrorKind.CLIENT_GONE and _left_waiting(entry):
            prompt = _count(published, metadata.PROMPT_TOKENS) or _prompt(entry)
            return Tokens(input=prompt, output=0, total=prompt), UsageSource.ESTIMATED
        if not any(published.get(key) for key in metadata.APART_KEYS) and not estimated:
            return NO_TOKENS, UsageSource.NONE
        return NO_TOKENS, UsageSource.ESTIMATED if estimated else UsageSource.REPORTED
    found = Tokens(
        input=_count(published, metadata.INPUT_TOKENS),
        cached_input=_count(published, metadata.CACHED_INPUT_TOKENS),
        cache_creation_input=_count(published, metadata.CACHE_CREATION_INPUT_TOKENS),
        output=_count(published, metadata.OUTPUT_TOKENS),
        reasoning=_count(published, metadata.REASONING_TOKENS),
        total=_count(published, metadata.TOTAL_TOKENS),
    )
    if not estimated:
        return found, UsageSource.REPORTED
    if found.input is None:
        # A script that estimates an answer does not see its prompt.
        prompt = _prompt(entry)
        found = msgspec.structs.replace(found, input=prompt, total=prompt + (found.output or 0))
    return found, UsageSource.ESTIMATED


def _labels(entry: Entry, attributes: Labels) -> Labels:
    if not attributes or not entry.headers:
        return ()
    values = entry.headers
    return tuple(sorted((name, values[header]) for header, name in attributes if header in values))


def _attempts(entry: Entry, earlier: tuple[Attempt, ...], error: str) -> tuple[Attempt, ...]:
    if len(earlier) >= entry.attempts:
        return earlier
    before = sum(attempt.duration_ms for attempt in earlier)
    last = _attempt(entry, error, max(_ms(entry.duration_ns) - before, 0.0))
    return (*earlier, last) if earlier else (last,)


def make_record(
    entry: Entry, *, node: str = "", settings: Settings = PLAIN, earlier: tuple[Attempt, ...] = ()
) -> UsageRecord:
    """The record of a request's own entry and the attempts that were logged before it."""
    published, internal = entry.published, entry.internal
    route, path_class = route_and_operation(entry.route)
    operation = entry.operation or _operation(path_class, entry.path)
    error = str(error_kind(entry))
    tokens, source = _used(entry, error, waiting=len(earlier) < entry.attempts)
    model = _text(internal, metadata.INTERNAL_MODEL)
    client = _text(internal, metadata.INTERNAL_CLIENT)
    response_model = _text(published, metadata.RESPONSE_MODEL)
    batch = batch_of(internal) if metadata.INTERNAL_BATCH in internal else None
    if batch is not None:
        operation, tokens, source, response_model = batches.OPERATION, batch.tokens, UsageSource.REPORTED, batch.model
    if metadata.INTERNAL_FETCHED in internal and source is not UsageSource.NONE:
        model = model or response_model  # nobody asked for one, by which it would be found
    labels = _labels(entry, settings.attributes)
    stream = internal.get(metadata.INTERNAL_STREAM) is True or entry.streams
    record = UsageRecord(
        id=record_id(node, entry),
        request_id=entry.request_id,
        started_ns=entry.started_ns,
        node=node,
        operation=operation,
        method=entry.method,
        path=entry.path,
        stream=stream,
        route=route,
        rule=entry.route,
        backend=entry.cluster,
        service=service_of(entry.cluster) if entry.cluster else "",
        provider=entry.provider,
        upstream=entry.upstream,
        lane=_lane(entry),
        client=client,
        team=settings.prices.teams.get(client, "") or (dict(labels).get(TEAM, "") if labels else ""),
        original_model=model,
        request_model=_text(published, metadata.MODEL_NAME_OVERRIDE) or model,
        response_model=response_model,
        response_id=_text(published, metadata.RESPONSE_ID),
        finish_reasons=_texts(published, metadata.FINISH_REASONS),
        status=entry.status,
        error=error,
        details=entry.details,
        flags=entry.flags,
        attempts=_attempts(entry, earlier, error),
        tokens=tokens,
        usage_source=source,
        costs=_costs(published),
        duration_ms=_ms(entry.duration_ns),
        upstream_ms=None if entry.first_upstream_ns is None else _ms(entry.first_upstream_ns),
        ttft_ms=_ttft(entry) if stream and entry.attempts and entry.status < 400 else None,
        request_bytes=entry.request_bytes,
        response_bytes=entry.response_bytes,
        losses=_text(published, metadata.LOSSES),
        labels=labels,
    )
    _price(record, settings.prices, "" if batch is not None else entry.costs)  # no limit is charged with a batch
    return record


def _price(record: UsageRecord, prices: PriceTable, costs: str) -> None:
    """What it cost, in money and by its route's `costs`. Nobody else has the record yet, and a copy of it costs as much
    as making it did."""
    if (cost := prices.cost(record)) is not None:
        msgspec.structs.force_setattr(record, "cost_nanos", cost.nanos)
        msgspec.structs.force_setattr(record, "price", cost.price)
    if costs and record.usage_source is not UsageSource.NONE:
        msgspec.structs.force_setattr(record, "costs", with_missing(record, costs))


def _lane(entry: Entry) -> Lane:
    if not entry.attempts:
        return Lane.LOCAL
    # the processor says so of its attempt; a later attempt of the other lane leaves that as it is
    published = entry.published
    processed = published.get(metadata.LANE) == metadata.LANE_EXTPROC
    return Lane.EXTPROC if processed and published.get(metadata.BACKEND_NAME) == entry.cluster else Lane.NATIVE


def _ttft(entry: Entry) -> float | None:
    if entry.first_body_ns is not None:
        return _ms(entry.first_body_ns)
    said = entry.published.get(metadata.LATENCY_TTFT)
    if isinstance(said, float):
        return said
    return None if entry.first_sent_ns is None else _ms(entry.first_sent_ns)


def _costs(published: Mapping[str, Value]) -> tuple[tuple[str, int], ...]:
    if published.keys() <= _KNOWN:
        return ()
    found = ((key, value) for key, value in published.items() if key not in _KNOWN)
    return tuple(sorted((key, int(value)) for key, value in found if isinstance(value, float)))
