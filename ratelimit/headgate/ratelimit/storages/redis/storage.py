"""Counters in Redis; see the package.

A transaction whose counters are in one place is one script there, and so atomic. Where they are in several (slots of a
cluster, or a second Redis for limits per second) each place runs its part, all or nothing there, at the same time; if
one refuses, what the others counted is taken back. So no limit is ever passed, nothing is charged where any refuses,
and what a refused request took elsewhere may be missing there for one round trip. If a place fails, or the limiter
does, before all is taken back, it stays counted: what is lost never makes room.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

import msgspec
from headgate.limits.algorithms import Op
from headgate.limits.algorithms.counting import Part, counter_after
from headgate.limits.engine import Outcome, Transaction, joined, quotas_spent
from headgate.ratelimit.storages import StorageError, Trip
from headgate.ratelimit.storages.redis.address import parse_url
from headgate.ratelimit.storages.redis.lane import BATCH_OPS_MAX, GATHER_SECONDS, LaneSettings, Piece
from headgate.ratelimit.storages.redis.link import LinkError
from headgate.ratelimit.storages.redis.local_cache import LocalCache
from headgate.ratelimit.storages.redis.nodes import Nodes, open_nodes
from headgate.ratelimit.storages.redis.outstanding import Outstanding
from headgate.ratelimit.storages.redis.script import Mode, mode_of

_Share = tuple[Nodes, Transaction, tuple[int, ...]]
"""What one place runs, and which operations of the whole these are."""

_PER_SECOND: Final = 1


class RedisStorage:
    """See the module. `url` as `address` reads it; limits per second count in `per_second_url`, where it is given."""

    def __init__(
        self,
        url: str,
        *,
        timeout_seconds: float = 0.5,
        ttl_jitter_seconds: int = 300,
        gather_seconds: float = 0.0,
        batch_ops_max: int = 0,
        per_second_url: str = "",
        per_second_timeout_seconds: float = 0.0,
        local_cache_bytes: int = 0,
    ) -> None:
        self._cache = LocalCache(local_cache_bytes) if local_cache_bytes else None
        settings = LaneSettings(
            timeout_seconds=timeout_seconds,
            jitter_seconds=ttl_jitter_seconds,
            gather_seconds=gather_seconds or GATHER_SECONDS,
            batch_ops_max=batch_ops_max or BATCH_OPS_MAX,
            cache=self._cache,
        )
        self._nodes = open_nodes(parse_url(url), settings)
        self._per_second: Nodes | None = None
        if per_second_url:
            if per_second_timeout_seconds:
                settings = replace(settings, timeout_seconds=per_second_timeout_seconds)
            self._per_second = open_nodes(parse_url(per_second_url), settings)
        self._held = tuple(Outstanding() for _ in self._all())
        self._splits = self._nodes.splits or self._per_second is not None

    async def run(self, transaction: Transaction) -> Outcome:
        outcome = self.start(transaction)
        return outcome if isinstance(outcome, Outcome) else await outcome

    def start(self, transaction: Transaction, trips: list[Trip] | None = None) -> "Outcome | asyncio.Future[Outcome]":
        if self._cache is not None and (refused := self._cache.refuse(transaction)) is not None:
            return refused
        return self._ask(transaction, trips)

    def _ask(self, transaction: Transaction, trips: list[Trip] | None) -> "asyncio.Future[Outcome]":
        loop = asyncio.get_running_loop()
        if not self._splits:
            future: asyncio.Future[Outcome] = loop.create_future()
            self._nodes.put(_piece(transaction, mode_of(transaction), future, trips))
            return future
        if transaction.alternatives:
            return loop.create_task(self._start_first(transaction, trips))
        shares = self._shares(transaction)
        if not shares:
            future = loop.create_future()
            future.set_result(Outcome((), applied=True))
            return future
        if len(shares) == 1:
            ((nodes, share, _),) = shares
            future = loop.create_future()
            nodes.put(_piece(share, mode_of(transaction), future, trips))
            return future
        if any(op.quota for op in transaction.ops):
            shares = [(nodes, _without_quotas(share), indices) for nodes, share, indices in shares]
        return _Joined(transaction, shares, loop, trips).future

    async def _start_first(self, transaction: Transaction, trips: list[Trip] | None) -> Outcome:
        """Applies the first alternative that has room and looks at the others: a round trip for each."""
        outcomes: list[Outcome] = []
        applied = False
        for attempt in transaction.attempts:
            outcomes.append(await self._ask(_look(attempt) if applied else attempt, trips))
            if applied:
                outcomes[-1] = Outcome(outcomes[-1].before, applied=False)
            applied = applied or outcomes[-1].applied
        return joined(transaction, outcomes)

    def _shares(self, transaction: Transaction) -> Sequence[_Share]:
        places: dict[tuple[Nodes, int | str], tuple[list[Op], list[int]]] = {}
        for index, op in enumerate(transaction.ops):
            fast = self._per_second if op.seconds == _PER_SECOND else None
            nodes = self._nodes if fast is None else fast
            place, named = nodes.place(op)
            ops, indices = places.setdefault((nodes, place), ([], []))
            ops.append(named)
            indices.append(index)
        return [
            (nodes, _share(transaction, nodes, ops), tuple(indices)) for (nodes, _), (ops, indices) in places.items()
        ]

    async def ping(self) -> None:
        try:
            await asyncio.gather(*(nodes.ping() for nodes in self._all()))
        except (LinkError, OSError, TimeoutError, ValueError) as error:
            raise StorageError(f"Redis: {error or type(error).__name__}") from error

    def _all(self) -> Sequence[Nodes]:
        return (self._nodes,) if self._per_second is None else (self._nodes, self._per_second)

    def counts(self) -> Mapping[str, int]:
        counts = dict(self._nodes.counts())
        if self._cache is not None:
            counts |= self._cache.counts()
        if self._per_second is not None:
            counts |= {
                name.replace("redis", "redis_per_second"): count for name, count in self._per_second.counts().items()
            }
        return counts

    async def outstanding(self, prefix: str) -> int | None:
        """In a cluster, and with a Redis for limits per second, a request is counted once for each place that it
        reserved in."""
        told = [await each.count(nodes.lanes(), prefix) for nodes, each in zip(self._all(), self._held, strict=True)]
        return None if None in told else sum(each or 0 for each in told)

    async def close(self) -> None:
        await asyncio.gather(*(nodes.close() for nodes in self._all()))


def _piece(transaction: Transaction, mode: Mode, future: "asyncio.Future[Outcome]", trips: list[Trip] | None) -> Piece:
    piece = Piece(transaction, mode, future)
    if trips is not None:
        piece.trip = Trip()
        trips.append(piece.trip)
    return piece


def _look(transaction: Transaction) -> Transaction:
    ops = tuple(msgspec.structs.replace(op, hits=0, part=Part.NONE) for op in transaction.ops)
    return Transaction(ops, False, transaction.now)


def _share(transaction: Transaction, nodes: Nodes, ops: Sequence[Op]) -> Transaction:
    request = transaction.request
    if request and nodes.splits:
        # In a cluster, what is remembered of the request is in the slot of these counters.
        key = ops[0].key
        request = f"{request}{key[: ops[0].stem_length]}" if key.startswith("{") else f"{request}{{{key}}}"
    return Transaction(tuple(ops), transaction.all_or_nothing, transaction.now, request)


def _without_quotas(share: Transaction) -> Transaction:
    """No place sees all of them: who joins the places decides whether they refuse."""
    ops = tuple(msgspec.structs.replace(op, quota=False) if op.quota else op for op in share.ops)
    return msgspec.structs.replace(share, ops=ops)


class _Joined:
    """A transaction in several places."""

    def __init__(
        self,
        whole: Transaction,
        shares: Sequence[_Share],
        loop: asyncio.AbstractEventLoop,
        trips: list[Trip] | None,
    ) -> None:
        self.future: asyncio.Future[Outcome] = loop.create_future()
        self._whole = whole
        self._shares = shares
        self._outcomes: dict[int, Outcome | StorageError] = {}
        for index, (nodes, share, _) in enumerate(shares):
            part: asyncio.Future[Outcome] = loop.create_future()
            part.add_done_callback(partial(self._done, index))
            try:
                nodes.put(_piece(share, mode_of(whole), part, trips))
            except StorageError as error:
                part.set_exception(error)

    def _done(self, index: int, part: "asyncio.Future[Outcome]") -> None:
        error = part.exception()
        self._outcomes[index] = part.result() if error is None else StorageError(str(error))
        if len(self._outcomes) == len(self._shares):
            self._join()

    def _join(self) -> None:
        failed = next((each for each in self._outcomes.values() if isinstance(each, StorageError)), None)
        before = [0] * len(self._whole.ops)
        for index, outcome in self._outcomes.items():
            if isinstance(outcome, Outcome):
                for place, count in zip(self._shares[index][2], outcome.before, strict=True):
                    before[place] = count
        applied = all(isinstance(each, Outcome) and each.applied for each in self._outcomes.values())
        if self._whole.all_or_nothing:
            applied = applied and not quotas_spent(self._whole.ops, before)
            if not applied:
                self._take_back()
        if self.future.done():
            return
        if failed is not None:
            self.future.set_exception(failed)
        else:
            self.future.set_result(Outcome(tuple(before), applied))

    def _take_back(self) -> None:
        """Before what is asked next by this limiter: the pieces stand in front of it."""
        for index, outcome in self._outcomes.items():
            nodes, share, _ = self._shares[index]
            if not isinstance(outcome, Outcome) or not outcome.applied:
                continue
            ops = tuple(
                msgspec.structs.replace(op, hits=before - counter_after(op, before))
                for op, before in zip(share.ops, outcome.before, strict=True)
            )
            if not share.request and not any(op.hits for op in ops):
                continue
            undo = msgspec.structs.replace(share, ops=ops)
            forgotten: asyncio.Future[Outcome] = self.future.get_loop().create_future()
            forgotten.add_done_callback(_ignore)
            try:
                nodes.put(Piece(undo, Mode.UNDO, forgotten))
            except StorageError as error:
                forgotten.set_exception(error)


def _ignore(future: "asyncio.Future[Outcome]") -> None:
    """What could not be taken back stays counted; the failure was told where the storage failed."""
    future.exception()
