"""Seeded schedules of streams under token budgets: what arrives, breaks off, is lost, comes twice, at skewed clocks.

A `Schedule` hands out steps, each a call that Envoy makes of the limiter, and keeps the books that the limiter cannot
see: what each stream reserved, what it really used, and what is therefore on the counter of each window. It shares no
code with the limiter: its arithmetic is over whole histories, not over counters.
"""

import heapq
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from headgate.limits.config import Descriptor, Domain, RateLimit, Reserve
from headgate.limits.engine import LimitRequest, Moment, RequestDescriptor
from headgate.limits.matching import build_snapshot
from headgate.limits.units import Unit

CLIENTS = ("a", "b", "c", "d")
BUDGETS: Mapping[str, tuple[int, int]] = {"minute": (1000, 60), "hour": (20_000, 3600)}
"""By the key of its descriptor: tokens, and the window's seconds."""
UNITS = {60: Unit.MINUTE, 3600: Unit.HOUR}
SNAPSHOT = build_snapshot(
    [
        Domain(
            name="d",
            descriptors=tuple(
                Descriptor(
                    key=key,
                    rate_limit=RateLimit(unit=UNITS[seconds], requests_per_unit=tokens, reserve=Reserve.STRICT),
                )
                for key, (tokens, seconds) in BUDGETS.items()
            ),
        )
    ]
)
SKEW_SECONDS = (0, 0, -3, 5)
"""Of the clocks of the limiters that share the storage."""
REPEATED_WITHIN_SECONDS = 20


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the limiter: an admission with the estimate, or a settlement with the real number."""

    stream: int
    client: str
    limits: tuple[str, ...]
    hits: int
    settles: bool
    interrupted: bool
    now: int
    """By the clock of the limiter that is asked."""


def request_of(call: Call) -> LimitRequest:
    descriptors = tuple(RequestDescriptor(((limit, call.client),), call.hits) for limit in call.limits)
    moment = Moment.SETTLEMENT if call.settles else Moment.ADMISSION
    return LimitRequest("d", descriptors, moment, call.interrupted)


@dataclass(slots=True)
class Stream:
    client: str
    limits: tuple[str, ...]
    estimate: int
    used: int
    interrupted: bool
    admitted_at: int = 0
    settled: bool = False
    """The limiter has been told, at least once."""


@dataclass
class Schedule:
    """Steps by `steps`; each is answered with `answered` before the next is taken."""

    seed: int
    streams: dict[int, Stream] = field(default_factory=dict)
    counters: dict[tuple[str, str, int], int] = field(default_factory=dict)
    """What must be counted, by limit, client and window."""
    lost: int = 0
    repeated: int = 0
    admitted: int = 0
    refused: int = 0

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._now = 1_700_000_000
        self._queue: list[tuple[int, int, Call]] = []
        self._number = 0

    def steps(self, count: int) -> Iterator[Call]:
        for _ in range(count):
            if self._queue and (self._queue[0][0] <= self._now or self._random.random() < 0.5):
                at, _, call = heapq.heappop(self._queue)
                self._now = max(self._now, at)
                yield self._at(call)
            else:
                self._now += self._random.choice((0, 0, 0, 1))
                yield self._arrival()

    def rest(self) -> Iterator[Call]:
        """The settlements that are still to come."""
        while self._queue:
            at, _, call = heapq.heappop(self._queue)
            self._now = max(self._now, at)
            yield self._at(call)

    def _at(self, call: Call) -> Call:
        now = self._now + self._random.choice(SKEW_SECONDS)
        return Call(call.stream, call.client, call.limits, call.hits, call.settles, call.interrupted, now)

    def _arrival(self) -> Call:
        choose = self._random
        estimate = choose.choice((0, 1, 10, 60, 150, 900))
        # At most what was reserved, as where a request bounds its answer.
        used = choose.randint(0, estimate)
        interrupted = choose.random() < 0.15
        limits = choose.choice((("minute",), ("hour",), ("minute", "hour"), ("hour", "minute")))
        self._number += 1
        stream = Stream(choose.choice(CLIENTS), limits, estimate, 0 if interrupted else used, interrupted)
        self.streams[self._number] = stream
        return self._at(Call(self._number, stream.client, limits, estimate, False, False, 0))

    def answered(self, call: Call, *, granted: bool) -> None:
        """Tells how the limiter answered, and plans what follows."""
        stream = self.streams.get(call.stream)
        if call.settles:
            if stream is not None and not stream.settled:
                self._settle(stream, call)
            return
        assert stream is not None
        if stream.admitted_at:
            assert granted, "a repetition of what was granted is granted"
            return
        if not granted:
            self.refused += 1
            del self.streams[call.stream]
            # Envoy settles what was refused too: with nothing.
            self._plan(call, 0, settles=True, hits=0)
            return
        self.admitted += 1
        stream.admitted_at = call.now
        for limit in stream.limits:
            self._count(limit, stream.client, call.now, stream.estimate)
        self._follow(call, stream)

    def _follow(self, call: Call, stream: Stream) -> None:
        choose = self._random
        if choose.random() < 0.1:
            self._plan(call, choose.randint(0, 3), settles=False, hits=stream.estimate)
            self.repeated += 1
        if choose.random() < 0.05:
            self.lost += 1  # the proxy died: no settlement ever comes
            return
        after = choose.choice((0, 1, 2, 5, 30, 90))
        for _ in range(choose.choice((1, 1, 1, 1, 2, 3))):
            self._plan(call, after, settles=True, hits=stream.used, interrupted=stream.interrupted)
            after += choose.randint(0, REPEATED_WITHIN_SECONDS)

    def _plan(self, call: Call, after: int, *, settles: bool, hits: int, interrupted: bool = False) -> None:
        self._number += 1
        planned = Call(call.stream, call.client, call.limits, hits, settles, interrupted, 0)
        heapq.heappush(self._queue, (self._now + after, self._number, planned))

    def _settle(self, stream: Stream, call: Call) -> None:
        stream.settled = True
        used = stream.estimate if stream.interrupted else stream.used
        for limit in stream.limits:
            seconds = BUDGETS[limit][1]
            at = stream.admitted_at
            if at // seconds == call.now // seconds or (at // seconds + 1) * seconds > call.now:
                self._count(limit, stream.client, at, used - stream.estimate)

    def _count(self, limit: str, client: str, now: int, hits: int) -> None:
        key = (limit, client, now // BUDGETS[limit][1])
        self.counters[key] = self.counters.get(key, 0) + hits

    def expected(self, limit: str, client: str, now: int) -> int:
        """What must be counted in the window of `now`."""
        return self.counters.get((limit, client, now // BUDGETS[limit][1]), 0)
