"""Sums over the last minutes: time is cut into slots, a record adds to the newest, and slots that are over are dropped.

Adding costs the same whatever was added before. All that is kept is bounded: slots, backends, models and kinds of
errors of a slot, bins of a histogram. Time comes in as `now` (Unix seconds), and a record counts when it comes.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

import msgspec
from headgate.ledger.errors import UNASKED, ErrorKind, model_known
from headgate.ledger.joining import service_of
from headgate.ledger.prices import unpriced
from headgate.ledger.record import Attempt, UsageRecord
from headgate.observe import histogram
from headgate.observe.histogram import Histogram
from headgate.observe.shown import cut

SLOT_SECONDS: Final = 5
SLOTS: Final = 180
"""A quarter of an hour."""
RATE_SLOTS: Final = 12
"""What "per second" is taken over: a minute."""
NAMES_MAX: Final = 32
"""Backends, and models, of a slot; the rest is counted as `OTHERS`."""
OTHERS: Final = "(others)"
UNKNOWN: Final = "(unknown)"
"""Models that are not ours: their names would take the places of those that are."""

Value = TypeVar("Value")


class Times(msgspec.Struct, frozen=True, kw_only=True):
    """Percentiles in milliseconds; None where nothing was timed."""

    count: int
    p50: float | None
    p95: float | None
    p99: float | None


class BackendLook(msgspec.Struct, frozen=True, kw_only=True):
    """One AIServiceBackend in the last quarter of an hour; counts are of attempts that it was asked in."""

    name: str
    """`<ns>/<name>`"""
    attempts: int
    failed: int
    failed_over: int
    """Failed attempts after which another backend was asked."""
    errors: dict[str, int]
    times: Times
    recent: tuple[int, int]
    """(attempts, failed) of the last minute."""


class ModelLook(msgspec.Struct, frozen=True, kw_only=True):
    """One model, as clients ask for it."""

    name: str
    requests: int
    errors: int
    tokens: int
    cost_nanos: int


class SlotLook(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """A point of the graphs."""

    requests: int
    errors: int
    input: int
    output: int
    cost_nanos: int


class Sums(msgspec.Struct, kw_only=True):
    """What adds up."""

    requests: int = 0
    errors: int = 0
    failed_over: int = 0
    """Requests that more than one backend was asked for."""
    limited: int = 0
    input: int = 0
    output: int = 0
    cost_nanos: int = 0
    unpriced: int = 0
    """Served requests whose model has no price."""


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that was summed, at one moment."""

    now: float
    since: float
    """When counting began."""
    slot_seconds: int
    rate_seconds: float
    """How long the time is that `rate` is of."""
    rate: Sums
    window: Sums
    total: Sums
    slots: tuple[SlotLook, ...]
    """The newest last."""
    durations: Times
    """Of requests that a backend was asked for."""
    first_tokens: Times
    """Of streams that were served."""
    errors: dict[str, int]
    backends: tuple[BackendLook, ...]
    models: tuple[ModelLook, ...]


@dataclass(slots=True)
class _Backend:
    attempts: int = 0
    failed: int = 0
    failed_over: int = 0
    errors: dict[str, int] = field(default_factory=dict[str, int])
    times: Histogram = field(default_factory=Histogram)

    def merge(self, other: "_Backend") -> None:
        self.attempts += other.attempts
        self.failed += other.failed
        self.failed_over += other.failed_over
        for kind, count in other.errors.items():
            self.errors[kind] = self.errors.get(kind, 0) + count
        histogram.merge(self.times, other.times)


@dataclass(slots=True)
class _Slot:
    number: int
    sums: Sums = field(default_factory=Sums)
    errors: dict[str, int] = field(default_factory=dict[str, int])
    durations: Histogram = field(default_factory=Histogram)
    first_tokens: Histogram = field(default_factory=Histogram)
    backends: dict[str, _Backend] = field(default_factory=dict[str, _Backend])
    models: dict[str, Sums] = field(default_factory=dict[str, Sums])


class Tally:
    """See the module."""

    def __init__(self, now: float) -> None:
        self._since = now
        self._slots: deque[_Slot] = deque(maxlen=SLOTS)
        self._total = Sums()

    def feed(self, records: Iterable[UsageRecord], now: float) -> None:
        """Adds what has ended by now."""
        slot = self._slot(now)
        for record in records:
            over = len({attempt.backend for attempt in record.attempts}) > 1
            for sums in (slot.sums, self._total, _named(slot.models, _model(record), Sums)):
                _add(sums, record, over)
            if record.error:
                slot.errors[record.error] = slot.errors.get(record.error, 0) + 1
            if record.attempts:  # what the gateway answers by itself, such as a refusal, takes no time to speak of
                histogram.add(slot.durations, record.duration_ms)
                if record.ttft_ms is not None and not record.error:
                    histogram.add(slot.first_tokens, record.ttft_ms)
            _add_attempts(slot, record.attempts)

    def look(self, now: float) -> Look:
        """What there is to see now."""
        self._slot(now)
        slots = tuple(self._slots)
        recent = slots[-RATE_SLOTS:]
        durations, first_tokens, errors = Histogram(), Histogram(), dict[str, int]()
        for slot in slots:
            histogram.merge(durations, slot.durations)
            histogram.merge(first_tokens, slot.first_tokens)
            for kind, count in slot.errors.items():
                errors[kind] = errors.get(kind, 0) + count
        begun = recent[0].number * SLOT_SECONDS
        return Look(
            now=now,
            since=self._since,
            slot_seconds=SLOT_SECONDS,
            rate_seconds=max(now - max(begun, self._since), 1.0),
            rate=_summed(slot.sums for slot in recent),
            window=_summed(slot.sums for slot in slots),
            total=_summed([self._total]),
            slots=tuple(_slot_look(slot.sums) for slot in slots),
            durations=_times(durations),
            first_tokens=_times(first_tokens),
            errors=errors,
            backends=_backends(slots, recent),
            models=_models(slots),
        )

    def _slot(self, now: float) -> _Slot:
        """The newest one. Times without records have slots too; a clock that goes back adds to the newest."""
        number = int(now // SLOT_SECONDS)
        if not self._slots or number - self._slots[-1].number >= SLOTS:
            self._slots.clear()
            self._slots.append(_Slot(number))
        while self._slots[-1].number < number:
            self._slots.append(_Slot(self._slots[-1].number + 1))
        return self._slots[-1]


def _named(values: dict[str, Value], name: str, make: Callable[[], Value]) -> Value:
    found = values.get(name)
    if found is None:
        if len(values) >= NAMES_MAX:
            name = OTHERS
        found = values.setdefault(name, make())
    return found


def _model(record: UsageRecord) -> str:
    return (cut(record.original_model) if model_known(record) else "") or UNKNOWN


def _add(sums: Sums, record: UsageRecord, over: bool) -> None:
    tokens = record.tokens
    sums.requests += 1
    sums.errors += bool(record.error)
    sums.failed_over += over
    sums.limited += record.error == ErrorKind.LIMITED
    sums.input += tokens.input or 0
    sums.output += tokens.output or 0
    sums.cost_nanos += record.cost_nanos or 0
    sums.unpriced += unpriced(record)


def _add_attempts(slot: _Slot, attempts: Sequence[Attempt]) -> None:
    for index, attempt in enumerate(attempts):
        if attempt.error in UNASKED:
            continue
        backend = _named(slot.backends, service_of(attempt.backend), _Backend)
        backend.attempts += 1
        histogram.add(backend.times, attempt.duration_ms)
        if attempt.error and attempt.error != ErrorKind.CLIENT_GONE:  # no backend's fault
            backend.failed += 1
            backend.errors[attempt.error] = backend.errors.get(attempt.error, 0) + 1
            backend.failed_over += index + 1 < len(attempts) and attempts[index + 1].backend != attempt.backend


def _summed(all_sums: Iterable[Sums]) -> Sums:
    total = Sums()
    for sums in all_sums:
        for name in Sums.__struct_fields__:
            setattr(total, name, getattr(total, name) + getattr(sums, name))
    return total


def _slot_look(sums: Sums) -> SlotLook:
    return SlotLook(
        requests=sums.requests,
        errors=sums.errors,
        input=sums.input,
        output=sums.output,
        cost_nanos=sums.cost_nanos,
    )


def _times(times: Histogram) -> Times:
    p50, p95, p99 = (histogram.percentile(times, share) for share in (0.5, 0.95, 0.99))
    return Times(count=sum(times.values()), p50=p50, p95=p95, p99=p99)


def _backends(slots: Sequence[_Slot], recent: Sequence[_Slot]) -> tuple[BackendLook, ...]:
    found: dict[str, _Backend] = {}
    last: dict[str, _Backend] = {}
    for slots_of, merged in ((slots, found), (recent, last)):
        for slot in slots_of:
            for name, backend in slot.backends.items():
                _named(merged, name, _Backend).merge(backend)
    return tuple(
        BackendLook(
            name=name,
            attempts=each.attempts,
            failed=each.failed,
            failed_over=each.failed_over,
            errors=each.errors,
            times=_times(each.times),
            recent=(last[name].attempts, last[name].failed) if name in last else (0, 0),
        )
        for name, each in sorted(found.items(), key=lambda item: -item[1].attempts)
    )


def _models(slots: Sequence[_Slot]) -> tuple[ModelLook, ...]:
    found: dict[str, list[Sums]] = {}
    for slot in slots:
        for name, sums in slot.models.items():
            _named(found, name, list[Sums]).append(sums)
    summed = {name: _summed(each) for name, each in found.items()}
    return tuple(
        ModelLook(
            name=name,
            requests=each.requests,
            errors=each.errors,
            tokens=each.input + each.output,
            cost_nanos=each.cost_nanos,
        )
        for name, each in sorted(summed.items(), key=lambda item: -item[1].requests)
    )
