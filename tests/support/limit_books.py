"""Seeded schedules of requests under limits of every kind, and the books that the limiter must agree with.

A `Schedule` hands out what Envoy would ask: requests of several limits at once that are admitted, settle, break off,
are lost or come twice, at clocks that are apart, and a storage that starts again with nothing. `Books` decide each of
them by arithmetic over histories: windows by number, buckets by when they are full, pools by what happened in each
span. They share no code with the limiter.
"""

import heapq
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum

from headgate.limits.config_text import parse_text
from headgate.limits.engine import LimitRequest, Moment, RequestDescriptor
from headgate.limits.matching import build_snapshot

CONFIG = """
domain: d
descriptors:
- {key: plain, rate_limit: {unit: minute, requests_per_unit: 400}}
- {key: shadow, shadow_mode: true, rate_limit: {unit: minute, requests_per_unit: 50}}
- {key: minute, rate_limit: {unit: minute, requests_per_unit: 1000, reserve: strict}}
- {key: hour, rate_limit: {unit: hour, requests_per_unit: 20000, reserve: lenient}}
- {key: slide, rate_limit: {unit: minute, requests_per_unit: 1000, reserve: strict, algorithm: sliding_window}}
- key: bucket
  rate_limit: {unit: minute, requests_per_unit: 600, burst: 900, reserve: strict, algorithm: token_bucket}
- {key: paced, rate_limit: {unit: minute, requests_per_unit: 600, burst: 300, algorithm: token_bucket}}
- key: shared
  rate_limit:
    unit: minute
    requests_per_unit: 2000
    reserve: strict
    pools:
    - {name: hi, rank: 1, min_reservation: 40, max_reservation: 100}
    - {name: mid, rank: 2, min_reservation: 10, max_reservation: 60}
    - {name: low, rank: 2, min_reservation: 0, max_reservation: 50}
"""
SNAPSHOT = build_snapshot(parse_text(CONFIG, file="limits.yaml"))


class Kind(Enum):
    WINDOW = 1
    SLIDING = 2
    BUCKET = 3
    POOLS = 4


@dataclass(frozen=True, slots=True)
class Limit:
    kind: Kind
    amount: int
    """What fits: of a bucket its burst."""
    seconds: int = 60
    reserve: str = ""
    refuses: bool = True


LIMITS: Mapping[str, Limit] = {
    "plain": Limit(Kind.WINDOW, 400),
    "shadow": Limit(Kind.WINDOW, 50, refuses=False),
    "minute": Limit(Kind.WINDOW, 1000, reserve="strict"),
    "hour": Limit(Kind.WINDOW, 20_000, 3600, reserve="lenient"),
    "slide": Limit(Kind.SLIDING, 1000, reserve="strict"),
    "bucket": Limit(Kind.BUCKET, 900, reserve="strict"),
    "paced": Limit(Kind.BUCKET, 300),
    "shared": Limit(Kind.POOLS, 2000, reserve="strict"),
}
POOLS: Mapping[str, tuple[int, int, int]] = {
    "hi": (1, 800, 2000),
    "mid": (2, 200, 1200),
    "low": (2, 0, 1000),
    "": (9, 0, 2000),
}
"""Rank, least and most tokens."""
HIT_MICROSECONDS = 100_000
"""Of both buckets: ten hits a second come back."""
SPANS = 61
SKEW_SECONDS = (0, 0, 0, -3, 5)
CLIENTS = ("a", "b", "c")
REPEATED_WITHIN_SECONDS = 20
SETTLED_SECONDS = 60
ORPHANS_SECONDS = 300
"""How long what is charged to a bucket, or to a window of a minute, can stand in the way."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One descriptor: a limit, whom it counts or which pool, and hits."""

    limit: str
    who: str
    hits: int

    @property
    def entries(self) -> tuple[tuple[str, str], ...]:
        if self.limit != "shared":
            return ((self.limit, self.who),)
        return (("shared", "all"), ("pool", self.who)) if self.who else (("shared", "all"),)


@dataclass(frozen=True, slots=True)
class Call:
    """What the limiter is asked, by the clock of the one that is asked; without descriptors it starts again."""

    name: str
    asked: tuple[Asked, ...]
    settles: bool
    interrupted: bool
    now: int

    @property
    def request(self) -> LimitRequest:
        descriptors = tuple(RequestDescriptor(each.entries, each.hits) for each in self.asked)
        moment = Moment.SETTLEMENT if self.settles else Moment.ADMISSION
        return LimitRequest("d", descriptors, moment, self.interrupted)


Spans = dict[int, int]


@dataclass
class Books:
    """What must be counted."""

    windows: dict[tuple[str, str, int], int] = field(default_factory=dict)
    full_at: dict[tuple[str, str], int] = field(default_factory=dict)
    """In microseconds."""
    admitted: dict[str, Spans] = field(default_factory=dict)
    refused: dict[str, Spans] = field(default_factory=dict)
    newest: int = 0
    held: dict[str, dict[str, tuple[int, int]]] = field(default_factory=dict)
    """By request and limit: in which window or span, and how much."""
    settled: dict[str, int] = field(default_factory=dict)
    unheld: dict[str, tuple[int, int]] = field(default_factory=dict)
    """By limit what was lately charged of requests whose reservation a restart forgot, and when last: the only thing
    that may pass a strict limit."""

    def restart(self) -> None:
        for each in (self.windows, self.full_at, self.admitted, self.refused, self.held, self.settled):
            each.clear()
        self.newest = 0

    # How counters stand.

    def standing(self, limit: str, who: str, now: int) -> int:
        """What a check at `now` is told."""
        rule = LIMITS[limit]
        match rule.kind:
            case Kind.WINDOW:
                return self.windows.get((limit, who, now // rule.seconds), 0)
            case Kind.SLIDING:
                number = now // rule.seconds
                share = ((number + 1) * rule.seconds - now) * 1_000_000 // rule.seconds
                earlier = self.windows.get((limit, who, number - 1), 0)
                return self.windows.get((limit, who, number), 0) + int(earlier * (share / 1_000_000))
            case Kind.BUCKET:
                missing = self.full_at.get((limit, who), 0) - now * 1_000_000
                return -(-missing // HIT_MICROSECONDS) if missing > 0 else 0
            case Kind.POOLS:
                return rule.amount - self._room(who, max(now, self.newest))

    def _sum(self, counts: Mapping[str, Spans], pool: str, newest: int) -> int:
        return sum([count for span, count in counts.get(pool, {}).items() if newest - SPANS < span <= newest])

    def _room(self, pool: str, newest: int) -> int:
        capacity = LIMITS["shared"].amount
        rank, least, most = POOLS[pool]
        own = self._sum(self.admitted, pool, newest)
        total, others = own, 0
        for other, (above, kept, bound) in POOLS.items():
            if other == pool:
                continue
            has = self._sum(self.admitted, other, newest)
            total += has
            wanted = has + self._sum(self.refused, other, newest)
            others += max(has, kept, min(bound, wanted) if above < rank else 0)
        return min(max(capacity - own - others, least - own), most - own, capacity - total)

    def pool(self, name: str, now: int) -> int:
        """What a pool has been admitted in the window at `now`."""
        return self._sum(self.admitted, name, max(now, self.newest))

    # What happens to them.

    def _add(self, limit: str, who: str, now: int, hits: int) -> int:
        """Counts hits; returns the window or span they are counted in."""
        rule = LIMITS[limit]
        match rule.kind:
            case Kind.WINDOW | Kind.SLIDING:
                number = now // rule.seconds
                self._add_to(limit, who, number, hits)
                return number
            case Kind.BUCKET:
                before = self.full_at.get((limit, who), 0)
                start = max(before, now * 1_000_000) if hits > 0 else before
                self.full_at[limit, who] = max(start + hits * HIT_MICROSECONDS, 0)
                return 0
            case Kind.POOLS:
                self.newest = max(self.newest, now)
                self._add_to(limit, who, self.newest, hits)
                return self.newest

    def _add_to(self, limit: str, who: str, number: int, hits: int) -> None:
        if limit == "shared":
            spans = self.admitted.setdefault(who, {})
            spans[number] = max(spans.get(number, 0) + hits, 0)
            if len(spans) > 200:
                self.admitted[who] = {span: count for span, count in spans.items() if span > self.newest - 100}
        else:
            key = (limit, who, number)
            self.windows[key] = max(self.windows.get(key, 0) + hits, 0)

    def is_known(self, call: Call) -> bool:
        """Whether it is a repetition, which changes nothing."""
        return call.name in self.settled or (call.name in self.held and not call.settles)

    def admit(self, call: Call) -> tuple[bool, list[int]]:
        """Whether it must be granted, and how the counters must stand before. No limit is asked twice in one call."""
        before = [self.standing(each.limit, each.who, call.now) for each in call.asked]
        over = [self._is_over(each, stands) for each, stands in zip(call.asked, before, strict=True)]
        if any(each.limit == "shared" and each.hits for each in call.asked):
            self.newest = max(self.newest, call.now)  # though nothing comes of it
        if any(is_over and LIMITS[each.limit].refuses for each, is_over in zip(call.asked, over, strict=True)):
            for each, is_over in zip(call.asked, over, strict=True):
                if each.limit == "shared" and is_over and each.hits > 0:
                    spans = self.refused.setdefault(each.who, {})
                    spans[self.newest] = spans.get(self.newest, 0) + each.hits
            return False, before
        held: dict[str, tuple[int, int]] = {}
        for each, stands in zip(call.asked, before, strict=True):
            rule = LIMITS[each.limit]
            hits = max(min(each.hits, rule.amount - stands), 0) if rule.reserve == "lenient" else each.hits
            hits = max(hits, -stands) if rule.kind is Kind.BUCKET else hits  # an empty bucket takes nothing back
            if hits:
                place = self._add(each.limit, each.who, call.now, hits)
                if rule.reserve:
                    held[each.limit] = place, hits
        if any(LIMITS[each.limit].reserve for each in call.asked):
            self.held[call.name] = held
        return True, before

    def _is_over(self, asked: Asked, stands: int) -> bool:
        rule = LIMITS[asked.limit]
        if asked.hits == 0 or rule.reserve == "lenient":
            return stands >= rule.amount
        return stands + asked.hits > rule.amount

    def settle(self, call: Call) -> None:
        named = any(LIMITS[each.limit].reserve for each in call.asked)
        held = self.held.pop(call.name, None) if named else None
        for each in call.asked:
            reserved = None if held is None else held.pop(each.limit, None)
            if reserved is None:
                self._charge(each, call.now)
                continue
            self._replace(each, reserved, call)
        if named and (held is not None or any(each.hits for each in call.asked)):
            self.settled[call.name] = call.now

    def _charge(self, asked: Asked, now: int) -> None:
        hits = asked.hits
        if LIMITS[asked.limit].kind is Kind.BUCKET:
            hits = max(hits, -self.standing(asked.limit, asked.who, now))
        if hits:
            self._add(asked.limit, asked.who, now, hits)
        if hits > 0:
            self.unheld[asked.limit] = self.orphaned(asked.limit, now) + hits, now

    def orphaned(self, limit: str, now: int) -> int:
        """What of `unheld` may still count."""
        hits, last = self.unheld.get(limit, (0, 0))
        return hits if now - last < ORPHANS_SECONDS else 0

    def _replace(self, asked: Asked, reserved: tuple[int, int], call: Call) -> None:
        place, amount = reserved
        used = max(asked.hits, amount) if call.interrupted else asked.hits
        rule = LIMITS[asked.limit]
        if rule.kind is Kind.BUCKET:
            self._add(asked.limit, asked.who, call.now, used - amount)
            return
        if rule.kind is Kind.POOLS:
            newest = max(self.newest, call.now)
            is_over = place <= newest - SPANS
            self.newest = newest if used != amount and not is_over else self.newest
        else:
            kept = 2 if rule.kind is Kind.SLIDING else 1  # a window that slides counts in the next one too
            is_over = place != call.now // rule.seconds and (place + kept) * rule.seconds <= call.now
        if not is_over:
            self._add_to(asked.limit, asked.who, place, used - amount)
        elif used > amount:
            self._add(asked.limit, asked.who, call.now, used - amount)

    def forget(self, now: int) -> None:
        """What the limiter does not remember either."""
        while self.settled and (first := next(iter(self.settled)), self.settled[first])[1] <= now - SETTLED_SECONDS:
            del self.settled[first]


@dataclass
class Schedule:
    """Calls by `calls`; each is answered with `answered` before the next is taken."""

    seed: int
    counts: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._now = 1_700_000_000
        self._queue: list[tuple[int, int, Call]] = []
        self._number = 0

    def calls(self, count: int) -> Iterator[Call]:
        choose = self._random
        for _ in range(count):
            if choose.random() < 0.0002:
                self._tell("restarts")
                yield Call("", (), False, False, self._now)
            elif self._queue and (self._queue[0][0] <= self._now or choose.random() < 0.4):
                yield self._next()
            else:
                self._now += choose.choice((0, 0, 0, 0, 0, 1))
                yield self._at(self._arrival())

    def rest(self) -> Iterator[Call]:
        """What is still to come."""
        while self._queue:
            yield self._next()

    def _next(self) -> Call:
        at, _, call = heapq.heappop(self._queue)
        self._now = max(self._now, at)
        return self._at(call)

    def _at(self, call: Call) -> Call:
        now = self._now + self._random.choice(SKEW_SECONDS)
        return Call(call.name, call.asked, call.settles, call.interrupted, now)

    def _arrival(self) -> Call:
        choose = self._random
        self._number += 1
        client = choose.choice(CLIENTS)
        estimate = choose.choice((0, 1, 10, 60, 150, 300, 600))
        names = choose.sample(tuple(LIMITS), choose.choice((1, 1, 2, 3, 4)))
        asked: list[Asked] = []
        for name in names:
            who = choose.choice(tuple(POOLS)) if name == "shared" else client
            asked.append(Asked(name, who, estimate if LIMITS[name].reserve else choose.choice((0, 1, 1, 20, -5))))
        return Call(f"r{self._number}", tuple(asked), False, False, 0)

    def answered(self, call: Call, *, granted: bool, repeats: bool) -> None:
        """Plans what follows."""
        choose = self._random
        if call.settles or repeats:
            return
        self._tell("granted" if granted else "refused")
        if choose.random() < 0.08:
            self._tell("repeated")
            self._plan(call, choose.randint(0, 3))
        if not granted:
            # Envoy settles what was refused too: with nothing.
            self._plan(self._settlement(call, 0, interrupted=False), 0)
        elif choose.random() < 0.05:
            self._tell("lost")  # the proxy died: no settlement ever comes
        else:
            self._settle_later(call)

    def _settle_later(self, call: Call) -> None:
        choose = self._random
        interrupted = choose.random() < 0.15
        estimate = max((each.hits for each in call.asked if LIMITS[each.limit].reserve), default=0)
        # At most what was reserved, as where a request bounds its answer.
        used = 0 if interrupted else choose.randint(0, estimate)
        settlement = self._settlement(call, used, interrupted=interrupted)
        after = choose.choice((0, 1, 2, 5, 30, 90))
        for _ in range(choose.choice((1, 1, 1, 1, 2, 3))):
            self._plan(settlement, after)
            after += choose.randint(0, REPEATED_WITHIN_SECONDS)

    def _settlement(self, call: Call, used: int, *, interrupted: bool) -> Call:
        refund = self._random.choice((0, 0, 3, -2, -40))
        asked = tuple(
            Asked(each.limit, each.who, used if LIMITS[each.limit].reserve else refund) for each in call.asked
        )
        return Call(call.name, asked, True, interrupted, 0)

    def _plan(self, call: Call, after: int) -> None:
        self._number += 1
        heapq.heappush(self._queue, (self._now + after, self._number, call))

    def _tell(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1
