"""The way to one Redis: one call is on its way at a time; what arrives meanwhile leaves together with the next.

The script runs a batch in its order and is atomic, so batching changes no answer, and decisions run in the order they
came. When they come fast enough that company is certain, a call waits a moment for it: quiet services pay no delay, and
busy ones make about a thousand calls a second whatever their load.

Waits are bounded: a piece takes at most `timeout_seconds` to connect and as long to be answered, and when a call fails,
what waits for its turn fails too. What was sent is never sent again, unless Redis says that it did nothing. A piece
whose asker has gone is dropped if it has not left, unless it must happen: what was used, or is taken back.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import hiredis
from headgate.limits.engine import Outcome, Transaction
from headgate.ratelimit.storages import StorageError, Trip
from headgate.ratelimit.storages.redis.link import Link, LinkError, Reply, error_kind, pack
from headgate.ratelimit.storages.redis.local_cache import WANTED_MAX, LocalCache
from headgate.ratelimit.storages.redis.script import NOT_A_COUNTER, Mode, decode_replies, pack_call, size_of
from headgate.runtime.logging import event_log

BATCH_OPS_MAX: Final = 1024
"""Operations in one call, which bounds how long Redis serves nobody else; Lua's `unpack` ends near 8,000."""

GATHER_SECONDS: Final = 0.001
"""How long a call waits for company on a busy service; a call costs some 60 microseconds whatever it carries."""

BUSY_RATE: Final = 2500
CALM_RATE: Final = 1500
"""Decisions a second from which on the service is busy, and below which it no longer is."""

RATE_DECISIONS: Final = 32
"""The rate is taken over so many decisions."""

log = event_log("ratelimit")

WAITING_MAX: Final = 10_000
"""Decisions waiting for their turn; beyond it Redis cannot keep up and new ones fail at once."""

_ASKING: Final = pack(("ASKING",))
_CACHING: Final = pack(("CLIENT", "CACHING", "YES"))
_LEFT: Final = frozenset({"READONLY", "LOADING", "MASTERDOWN", "NOAUTH", "NOPERM"})
"""Errors of a Redis that is not, or not now, the one to ask: the connection is made again, by what is true then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneSettings:
    """How a lane batches and how long it waits."""

    timeout_seconds: float = 0.5
    jitter_seconds: int = 300
    """Most added to a counter's life."""
    gather_seconds: float = GATHER_SECONDS
    batch_ops_max: int = BATCH_OPS_MAX
    cache: LocalCache | None = None
    """Remembers counters that are used up; shared by all lanes of a storage."""


class Piece:
    """What a transaction asks of one Redis. Pieces of one `slot` run in one script call."""

    __slots__ = ("asking", "future", "mode", "slot", "transaction", "tries", "trip")

    def __init__(
        self, transaction: Transaction, mode: Mode, future: "asyncio.Future[Outcome]", slot: int | str = 0
    ) -> None:
        self.transaction = transaction
        self.mode = mode
        self.future = future
        self.slot = slot
        self.asking = False
        """It is asked of a node that its slot is moving to."""
        self.tries = 0
        """How often it was refused by a Redis that is not the one to ask."""
        self.trip: Trip | None = None
        """To be told when it leaves and is back."""

    def fail(self, message: str) -> None:
        if not self.future.done():
            self.future.set_exception(StorageError(f"Redis: {message}"))


class Lane:
    """See the module. `connect` opens the connection; `refused` may take over a piece that was answered an error which
    says that nothing was done; `failed` hears that a call failed."""

    def __init__(
        self,
        connect: Callable[[], Coroutine[Any, Any, Link]],
        settings: LaneSettings,
        *,
        refused: Callable[[Piece, str], bool] = lambda _piece, _message: False,
        failed: Callable[[], None] = lambda: None,
    ) -> None:
        self._connect = connect
        self._settings = settings
        self._refused = refused
        self._failed = failed
        self._link: Link | None = None
        self._opening: asyncio.Task[None] | None = None
        self._waiting: list[Piece] = []
        self._unsent: Sequence[Piece] = ()
        """What waits for a connection."""
        self._wanted: dict[str, None] = {}
        """Counters to be followed."""
        self._follows = False
        """Redis tells us when what we remember is no longer true."""
        self._calling = False
        self._gathering = False
        self._closed = False
        self._busy = False
        self._rated_decisions = 0
        self._rated_since = 0.0
        self.round_trips = 0
        self.decisions = 0

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def put(self, piece: Piece) -> None:
        """Its future will be done in a bounded time. Raises StorageError when too many wait."""
        if self._closed:
            raise StorageError("Redis: the storage is closed")
        if len(self._waiting) >= WAITING_MAX:
            raise StorageError(f"{WAITING_MAX} decisions wait for Redis already")
        self._waiting.append(piece)
        if not self._calling and not self._gathering:
            self._gather()

    def _gather(self) -> None:
        self._gathering = True
        loop = asyncio.get_running_loop()
        if self._busy:
            loop.call_later(self._settings.gather_seconds, self._leave, loop)
        else:
            loop.call_soon(self._leave, loop)

    def _leave(self, loop: asyncio.AbstractEventLoop) -> None:
        self._gathering = False
        batch = self._take()
        if not batch:
            return
        self._calling = True
        self._rate(len(batch), loop.time())
        self.decisions += len(batch)
        if self._link is None or self._link.closed:
            self._unsent = batch
            self._opening = loop.create_task(self._open(batch))
        else:
            self._send(self._link, batch)

    def _rate(self, decisions: int, now: float) -> None:
        self._rated_decisions += decisions
        if self._rated_decisions >= RATE_DECISIONS:
            rate = self._rated_decisions / max(now - self._rated_since, 1e-6)
            self._busy = rate >= (CALM_RATE if self._busy else BUSY_RATE)
            self._rated_decisions, self._rated_since = 0, now

    def _take(self) -> list[Piece]:
        """Takes what waits, as far as it fits in one call."""
        batch: list[Piece] = []
        taken = ops = 0
        for piece in self._waiting:
            if batch and ops + size_of(piece.transaction) > self._settings.batch_ops_max:
                break
            taken += 1
            if piece.mode is not Mode.ALL_OR_NOTHING or not piece.future.cancelled():
                batch.append(piece)
                ops += size_of(piece.transaction)
        del self._waiting[:taken]
        return batch

    async def _open(self, batch: Sequence[Piece]) -> None:
        try:
            async with asyncio.timeout(self._settings.timeout_seconds):
                self._link = await self._connect()
                await self._follow(self._link)
        except (LinkError, OSError) as error:
            self._fail(batch, str(error) or f"no connection within {self._settings.timeout_seconds:g} s")
        else:
            self._unsent = ()
            self._send(self._link, batch)

    def _send(self, link: Link, batch: Sequence[Piece], *, whole: bool = False, alone: bool = False) -> None:
        groups = [[piece] for piece in batch] if alone else _by_slot(batch)
        commands: list[bytes] = []
        count = 0
        for group in groups:
            if group[0].asking:
                commands.append(_ASKING)
                count += 1
            moded = [(piece.transaction, piece.mode) for piece in group]
            commands.append(pack_call(moded, jitter_seconds=self._settings.jitter_seconds, whole=whole))
        _left([piece.trip for piece in batch if piece.trip is not None], len(batch))
        followed = self._followed(batch)
        for key in followed:
            commands += (_CACHING, pack(("GET", key)))
        self.round_trips += 1
        seconds = self._settings.timeout_seconds
        timer = asyncio.get_running_loop().call_later(seconds, link.close, f"no answer within {seconds:g} s")
        link.ask(
            b"".join(commands),
            len(groups) + count + 2 * len(followed),
            partial(self._answered, link, groups, timer, followed),
        )

    def _answered(
        self,
        link: Link,
        groups: Sequence[Sequence[Piece]],
        timer: asyncio.TimerHandle,
        followed: Sequence[str],
        replies: Sequence[Reply] | LinkError,
    ) -> None:
        timer.cancel()
        if isinstance(replies, LinkError):
            self._fail([piece for group in groups for piece in group], str(replies))
            return
        _back([piece.trip for group in groups for piece in group if piece.trip is not None])
        self._learn(followed, replies, groups)
        unknown: list[Piece] = []
        apart: list[Piece] = []
        position = 0
        for group in groups:
            position += group[0].asking
            reply = replies[position]
            position += 1
            if not isinstance(reply, hiredis.ReplyError):
                self._deliver(link, group, reply)
            elif str(reply).startswith("NOSCRIPT"):
                unknown += group
            elif len(group) > 1 and NOT_A_COUNTER in str(reply):
                # One read something that is no counter, and nothing was changed: only its owner shall suffer.
                apart += group
            else:
                self._refuse(link, group, str(reply))
        if (unknown or apart) and not link.closed:
            self._send(link, [*unknown, *apart], whole=bool(unknown), alone=bool(apart))
        else:
            _fail([*unknown, *apart], "the connection is closed")
            self._next()

    def _deliver(self, link: Link, group: Sequence[Piece], reply: Reply) -> None:
        try:
            outcomes = decode_replies([piece.transaction for piece in group], reply)
        except ValueError as error:
            _fail(group, str(error))
            link.close()
            return
        for piece, outcome in zip(group, outcomes, strict=True):
            if not outcome.applied and self._follows:
                self._want(piece, outcome)
            if not piece.future.done():
                piece.future.set_result(outcome)

    # Counters that are used up: `local_cache`.

    async def _follow(self, link: Link) -> None:
        """Has Redis tell of counters that we say we remember, from RESP3 on in this connection. An older one cannot."""
        cache = self._settings.cache
        if cache is None:
            return
        try:
            await link.request(("HELLO", 3), ("CLIENT", "TRACKING", "ON", "OPTIN"))
        except LinkError as error:
            if link.closed:
                raise
            self._follows = False
            log.warning("local_cache_off", reason=str(error))
            return
        self._follows = True
        link.on_push = partial(_forget, cache)
        link.on_close = cache.clear

    def _want(self, piece: Piece, outcome: Outcome) -> None:
        cache, transaction = self._settings.cache, piece.transaction
        if cache is None or transaction.alternatives or transaction.request:
            return
        for op, before in zip(transaction.ops, outcome.before, strict=True):
            if len(self._wanted) < WANTED_MAX and cache.worth(op, before, transaction.now):
                self._wanted[op.key] = None

    def _followed(self, batch: Sequence[Piece]) -> Sequence[str]:
        """The counters that are asked for besides, each after a word that it is to be followed."""
        cache = self._settings.cache
        if cache is None or not self._follows:
            return ()
        found, self._wanted = self._wanted, {}
        for piece in batch:
            for op in piece.transaction.ops:
                if len(found) < 2 * WANTED_MAX and cache.is_old(op.key, piece.transaction.now):
                    found[op.key] = None
        return tuple(found)

    def _learn(self, followed: Sequence[str], replies: Sequence[Reply], groups: Sequence[Sequence[Piece]]) -> None:
        cache = self._settings.cache
        if cache is None or not followed:
            return
        now = max(piece.transaction.now for group in groups for piece in group)
        for key, told in zip(followed, replies[-2 * len(followed) + 1 :: 2], strict=True):
            try:
                cache.learn(key, int(told), now)
            except (TypeError, ValueError):  # it has expired, or is in another slot now
                cache.forget(key)

    def _refuse(self, link: Link, group: Sequence[Piece], message: str) -> None:
        if error_kind(message) in _LEFT:
            link.close()
        for piece in group:
            piece.asking = False
            if not self._refused(piece, message):
                piece.fail(message)

    def _next(self) -> None:
        self._calling = False
        if self._waiting and not self._closed:
            self._gather()

    def _fail(self, batch: Iterable[Piece], message: str) -> None:
        waiting, self._waiting = self._waiting, []
        link, self._link = self._link, None
        if link is not None:
            link.close(message)  # one that is open has not learned in time what it shall tell us
        self._calling = False
        _fail((*batch, *waiting), message)
        self._failed()

    async def request(self, *commands: tuple[str | int, ...]) -> Sequence[Reply]:
        """Asks beside the decisions, over their connection where there is one; raises LinkError. The caller bounds the
        wait."""
        if self._link is not None and not self._link.closed:
            return await self._link.request(*commands)
        link = await self._connect()
        try:
            return await link.request(*commands)
        finally:
            link.close()

    async def ping(self) -> None:
        """Raises LinkError, or TimeoutError, when there is nobody to ask."""
        async with asyncio.timeout(2 * self._settings.timeout_seconds):
            await self.request(("PING",))

    def leave(self) -> None:
        """Ends the connection of a Redis that is not asked any more; what is on its way fails."""
        if self._link is not None:
            self._link.close("it is not asked any more")

    async def close(self) -> None:
        """Ends the connection; what waits fails."""
        self._closed = True
        opening, self._opening = self._opening, None
        if opening is not None:
            opening.cancel()
            await asyncio.gather(opening, return_exceptions=True)
        _fail(self._unsent, "the storage is closed")
        if self._link is not None:
            self._link.close("the storage is closed")
        waiting, self._waiting = self._waiting, []
        _fail(waiting, "the storage is closed")


def lane_counts(lanes: Sequence[Lane]) -> Mapping[str, int]:
    """Figures of the lanes to the servers of one URL."""
    return {
        "redis_round_trips": sum(lane.round_trips for lane in lanes),
        "redis_decisions": sum(lane.decisions for lane in lanes),
        "redis_waiting": sum(lane.waiting for lane in lanes),
    }


def _forget(cache: LocalCache, told: Sequence[Any]) -> None:
    """`invalidate` and keys, or none where all are gone."""
    if not told or told[0] != b"invalidate":
        return
    keys = told[1] if len(told) > 1 else None
    if keys is None:
        cache.clear()
        return
    for key in keys:
        cache.forget(key.decode(errors="replace"))


def _left(trips: Sequence[Trip], decisions: int) -> None:
    now = time.time_ns() if trips else 0
    for trip in trips:
        trip.left_ns, trip.decisions = trip.left_ns or now, decisions


def _back(trips: Sequence[Trip]) -> None:
    now = time.time_ns() if trips else 0
    for trip in trips:
        trip.back_ns = now


def _by_slot(batch: Sequence[Piece]) -> list[list[Piece]]:
    groups: dict[tuple[int | str, bool], list[Piece]] = {}
    for piece in batch:
        groups.setdefault((piece.slot, piece.asking), []).append(piece)
    return list(groups.values())


def _fail(pieces: Iterable[Piece], message: str) -> None:
    for piece in pieces:
        piece.fail(message)
