"""Counters in Redis: shared by any number of limiter processes, and with envoyproxy/ratelimit (same keys).

One script call is on its way at a time; what arrives meanwhile leaves together with the next, in one round trip. The
script runs a batch in its order and is atomic, so batching changes no answer, and decisions run in the order they came.
When decisions come fast enough that company is certain, a call waits a moment for it: quiet services pay no delay, and
busy ones make about a thousand calls a second whatever their load.

Waits are bounded: a call takes at most twice `timeout_seconds`, and when one fails, what waits for its turn fails too.
A transaction whose asker has gone is dropped if it has not left, unless it is a settlement: that happened, and counts.
"""

import asyncio
import hashlib
import random
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from typing import Any, Final, cast

import redis.asyncio
from headgate.limits.algorithms.counting import Part
from headgate.limits.engine import HOLD_SECONDS, SETTLED_SECONDS, Outcome, Transaction, joined
from headgate.ratelimit.storages import StorageError
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError, ResponseError

BATCH_OPS_MAX: Final = 1024
"""Operations in one script call, which bounds how long Redis serves nobody else; Lua's `unpack` ends near 8,000."""

GATHER_SECONDS: Final = 0.001
"""How long a call waits for company on a busy service; a call costs some 60 microseconds whatever it carries."""

BUSY_RATE: Final = 2500
CALM_RATE: Final = 1500
"""Decisions a second from which on the service is busy, and below which it no longer is."""

RATE_DECISIONS: Final = 32
"""The rate is taken over so many decisions."""

WAITING_MAX: Final = 10_000
"""Decisions waiting for their turn; beyond it Redis cannot keep up and new ones fail at once."""

_SCRIPT: Final = files("headgate.ratelimit.storages").joinpath("fixed_window.lua").read_text()
_DIGEST: Final = hashlib.sha1(_SCRIPT.encode(), usedforsecurity=False).hexdigest()

_NOT_A_COUNTER: Final = "not a counter"
"""What the script says of a key that holds something else."""

_Waiting = tuple[Transaction, "asyncio.Future[Outcome]"]


class RedisStorage:
    """See the module. `url` as redis-py reads it: `redis://`, `rediss://`, `unix://`."""

    def __init__(self, url: str, *, timeout_seconds: float = 0.5, ttl_jitter_seconds: int = 300) -> None:
        self._timeout_seconds = timeout_seconds
        self._ttl_jitter_seconds = ttl_jitter_seconds
        # One try: the timeout bounds the whole call, and a script that may have run must not run twice.
        self._redis = cast(
            "Any",
            redis.asyncio.Redis.from_url(  # pyright: ignore[reportUnknownMemberType]
                url,
                socket_timeout=timeout_seconds,
                socket_connect_timeout=timeout_seconds,
                retry=Retry(NoBackoff(), 0),
            ),
        )
        self._waiting: list[_Waiting] = []
        self._call_task: asyncio.Task[None] | None = None
        self._gathering = False
        self._busy = False
        self._rated_decisions = 0
        self._rated_since = 0.0
        self._round_trips = 0
        self._decisions = 0

    async def run(self, transaction: Transaction) -> Outcome:
        return await self.start(transaction)

    def start(self, transaction: Transaction) -> "asyncio.Future[Outcome]":
        if len(self._waiting) >= WAITING_MAX:
            raise StorageError(f"{WAITING_MAX} decisions wait for Redis already")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Outcome] = loop.create_future()
        self._waiting.append((transaction, future))
        if self._call_task is None and not self._gathering:
            self._gather(loop)
        return future

    def _gather(self, loop: asyncio.AbstractEventLoop) -> None:
        self._gathering = True
        if self._busy:
            loop.call_later(GATHER_SECONDS, self._leave, loop)
        else:
            loop.call_soon(self._leave, loop)

    def _leave(self, loop: asyncio.AbstractEventLoop) -> None:
        self._gathering = False
        batch = self._take()
        if batch:
            self._rate(len(batch), loop.time())
            self._call_task = loop.create_task(self._call(batch))
            self._call_task.add_done_callback(self._call_done)

    def _rate(self, decisions: int, now: float) -> None:
        self._rated_decisions += decisions
        if self._rated_decisions >= RATE_DECISIONS:
            rate = self._rated_decisions / max(now - self._rated_since, 1e-6)
            self._busy = rate >= (CALM_RATE if self._busy else BUSY_RATE)
            self._rated_decisions, self._rated_since = 0, now

    def _take(self) -> Sequence[_Waiting]:
        """Takes what waits, as far as it fits in one call."""
        batch: list[_Waiting] = []
        taken = ops = 0
        for transaction, future in self._waiting:
            if batch and ops + _size(transaction) > BATCH_OPS_MAX:
                break
            taken += 1
            if not future.cancelled() or not transaction.all_or_nothing:
                batch.append((transaction, future))
                ops += _size(transaction)
        del self._waiting[:taken]
        return batch

    def _call_done(self, task: asyncio.Task[None]) -> None:
        self._call_task = None
        if self._waiting and not task.cancelled():
            self._gather(task.get_loop())

    async def _call(self, batch: Sequence[_Waiting]) -> None:
        try:
            outcomes = await self._evaluate([transaction for transaction, _ in batch])
        except ResponseError as error:
            # The script read something that is no counter, and has changed nothing: only its owner shall suffer.
            if len(batch) > 1 and _NOT_A_COUNTER in str(error):
                for waiting in batch:
                    await self._call([waiting])
            else:
                _fail(batch, f"Redis: {error}")
        except (RedisError, OSError, TimeoutError, ValueError) as error:
            waiting, self._waiting = self._waiting, []
            _fail((*batch, *waiting), f"Redis: {type(error).__name__}: {error}")
        except asyncio.CancelledError:
            _fail(batch, "the storage is closed")
            raise
        else:
            for (_, future), outcome in zip(batch, outcomes, strict=True):
                if not future.done():
                    future.set_result(outcome)

    async def _evaluate(self, transactions: Sequence[Transaction]) -> Sequence[Outcome]:
        attempts = [_attempts(each) for each in transactions]
        flat = [attempt for each in attempts for attempt in each]
        keys, arguments = encode_batch(flat, self._ttl_jitter_seconds, followers=_followers(attempts))
        self._round_trips += 1
        self._decisions += len(transactions)
        # The socket's timeouts end a call first; this one bounds what they do not see, such as resolving a name.
        async with asyncio.timeout(2 * self._timeout_seconds):
            try:
                replies = await self._redis.evalsha(_DIGEST, len(keys), *keys, *arguments)
            except NoScriptError:
                self._round_trips += 1
                replies = await self._redis.eval(_SCRIPT, len(keys), *keys, *arguments)
        outcomes = iter(decode_replies(flat, cast("Sequence[int]", replies)))
        found = [[next(outcomes) for _ in each] for each in attempts]
        return [joined(each, of) if each.alternatives else of[0] for each, of in zip(transactions, found, strict=True)]

    async def ping(self) -> None:
        try:
            async with asyncio.timeout(2 * self._timeout_seconds):
                await self._redis.ping()
        except (RedisError, OSError, TimeoutError) as error:
            raise StorageError(f"Redis: {type(error).__name__}: {error}") from error

    def counts(self) -> Mapping[str, int]:
        return {
            "redis_round_trips": self._round_trips,
            "redis_decisions": self._decisions,
            "redis_waiting": len(self._waiting),
        }

    async def close(self) -> None:
        if self._call_task is not None:
            self._call_task.cancel()
            await asyncio.gather(self._call_task, return_exceptions=True)
        _fail(self._waiting, "the storage is closed")
        self._waiting.clear()
        await self._redis.aclose()


def _size(transaction: Transaction) -> int:
    alternatives = transaction.alternatives
    return len(transaction.ops) * max(len(alternatives), 1) + sum(map(len, alternatives))


def _attempts(transaction: Transaction) -> Sequence[Transaction]:
    return transaction.attempts if transaction.alternatives else (transaction,)


def _followers(attempts: Iterable[Sequence[Transaction]]) -> frozenset[int]:
    """The indices of transactions that are run only if none of those before them of the same request was applied."""
    found: list[int] = []
    position = 0
    for each in attempts:
        found += range(position + 1, position + len(each))
        position += len(each)
    return frozenset(found)


def _fail(batch: Iterable[_Waiting], message: str) -> None:
    for _, future in batch:
        if not future.done():
            future.set_exception(StorageError(message))


def encode_batch(
    transactions: Sequence[Transaction], ttl_jitter_seconds: int, *, followers: frozenset[int] = frozenset()
) -> tuple[Sequence[str], Sequence[int]]:
    """KEYS and ARGV of the script; a new counter lives for its window plus a jitter no longer than it or the given.

    `followers` are only looked at if one before them of the same request was applied.
    """
    indices: dict[str, int] = {}
    lives: list[int] = []
    requests: dict[str, int] = {}
    for transaction in transactions:
        if transaction.request:
            requests.setdefault(transaction.request, len(requests) + 1)
        for op in transaction.ops:
            if op.key not in indices:
                indices[op.key] = len(indices) + 1
                jitter_max = min(ttl_jitter_seconds, op.seconds)
                # Counters of one window end together: without jitter Redis would expire all of them at one instant.
                kept = op.kept_until - op.window_end + op.seconds
                lives.append(kept + (random.randrange(jitter_max) if jitter_max > 0 else 0))
    for previous in {op.previous_key: op for each in transactions for op in each.ops if op.previous_key}.values():
        if previous.previous_key not in indices:
            indices[previous.previous_key] = len(indices) + 1
            lives.append(previous.seconds)
    arguments = [len(indices), HOLD_SECONDS, SETTLED_SECONDS, *lives]
    for number, transaction in enumerate(transactions):
        request = len(indices) + requests[transaction.request] if transaction.request else 0
        how = 2 if number in followers else int(transaction.all_or_nothing)
        arguments += (how, len(transaction.ops), request, transaction.now)
        for op in transaction.ops:
            flags = op.refuses + 2 * op.lenient + op.part
            arguments += (indices[op.key], op.hits, op.limit, flags + (32 if op.previous_key else 0))
            if op.part is not Part.NONE:
                arguments += (op.kept_until, op.stem_length)
            if op.previous_key:
                arguments += (indices[op.previous_key], op.previous_share)
    return [*indices, *requests], arguments


def decode_replies(transactions: Sequence[Transaction], replies: Sequence[int]) -> Sequence[Outcome]:
    """The script's flat reply as an outcome per transaction; raises ValueError where the lengths do not agree."""
    outcomes: list[Outcome] = []
    position = 0
    for transaction in transactions:
        end = position + 1 + len(transaction.ops)
        outcomes.append(Outcome(tuple(replies[position + 1 : end]), bool(replies[position])))
        position = end
    if position != len(replies):
        raise ValueError(f"{len(replies)} values replied, {position} expected")
    return outcomes
