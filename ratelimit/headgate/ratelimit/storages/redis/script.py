"""Transactions as arguments of `limits.lua`, and its replies as outcomes."""

import hashlib
import random
from collections.abc import Iterable, Sequence
from enum import IntEnum
from importlib.resources import files
from typing import Final, cast

from headgate.limits.algorithms import Op
from headgate.limits.algorithms.counting import Part
from headgate.limits.algorithms.fixed_window import FixedWindowOp
from headgate.limits.algorithms.pooled_window import SPANS, PooledOp
from headgate.limits.algorithms.token_bucket import TokenBucketOp
from headgate.limits.engine import HOLD_SECONDS, SETTLED_SECONDS, Outcome, Transaction, joined
from headgate.ratelimit.storages.redis.link import pack

SCRIPT: Final = files("headgate.ratelimit.storages.redis").joinpath("limits.lua").read_text()
DIGEST: Final = hashlib.sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()

NOT_A_COUNTER: Final = "not a counter"
"""What the script says of a key that holds something else; then it has changed nothing."""


class Mode(IntEnum):
    """What the script does with a transaction; the numbers are its own."""

    SETTLEMENT = 0
    ALL_OR_NOTHING = 1
    FOLLOWS = 2
    """An alternative: all or nothing if none before it was applied, else it is only looked at."""
    UNDO = 3
    """Hits are taken back, and what the request reserved here is forgotten."""


Moded = tuple[Transaction, Mode]
"""A transaction without alternatives; with them, it is one for each."""


def expanded(batch: Iterable[Moded]) -> Sequence[Moded]:
    """The batch with the alternatives of each transaction as transactions of their own."""
    found: list[Moded] = []
    for transaction, mode in batch:
        if transaction.alternatives:
            attempts = transaction.attempts
            found.append((attempts[0], mode))
            found += [(each, Mode.FOLLOWS) for each in attempts[1:]]
        else:
            found.append((transaction, mode))
    return found


def size_of(transaction: Transaction) -> int:
    """How many operations the script runs for it."""
    alternatives = transaction.alternatives
    return len(transaction.ops) * max(len(alternatives), 1) + sum(map(len, alternatives))


def mode_of(transaction: Transaction) -> Mode:
    return Mode.ALL_OR_NOTHING if transaction.all_or_nothing else Mode.SETTLEMENT


def pack_call(batch: Sequence[Moded], *, jitter_seconds: int, whole: bool = False) -> bytes:
    """The command that runs a batch; `whole` sends the script too, for a Redis that does not know it."""
    keys, arguments = encode_batch(expanded(batch), jitter_seconds)
    if whole:
        return pack(("EVAL", SCRIPT, len(keys), *keys, *arguments))
    return pack(("EVALSHA", DIGEST, len(keys), *keys, *arguments))


def encode_batch(batch: Sequence[Moded], jitter_seconds: int) -> tuple[Sequence[str], Sequence[int | float | str]]:
    """KEYS and ARGV of the script; a new counter lives for its window plus a jitter no longer than it or the given."""
    indices: dict[str, int] = {}
    lives: list[int] = []
    records: dict[str, int] = {}
    requests: dict[str, int] = {}
    sliding: list[Op] = []
    for transaction, _ in batch:
        if transaction.request:
            requests.setdefault(transaction.request, len(requests) + 1)
        for op in transaction.ops:
            if isinstance(op, PooledOp):
                records.setdefault(op.key[: op.stem_length], SPANS * op.span_seconds)
            elif op.key not in indices:
                indices[op.key] = len(indices) + 1
                lives.append(_life(op, jitter_seconds))
            if op.previous_key:
                sliding.append(op)
    for op in sliding:
        if op.previous_key not in indices:
            indices[op.previous_key] = len(indices) + 1
            lives.append(op.seconds)
    arguments: list[int | float | str] = [len(indices), len(records), HOLD_SECONDS, SETTLED_SECONDS]
    arguments += (*lives, *records.values())
    keys = [*indices, *records, *requests]
    indices |= {key: len(indices) + number for number, key in enumerate(records, 1)}
    for transaction, mode in batch:
        request = len(indices) + requests[transaction.request] if transaction.request else 0
        arguments += (mode.value, len(transaction.ops), request, transaction.now)
        for op in transaction.ops:
            key = op.key[: op.stem_length] if isinstance(op, PooledOp) else op.key
            arguments += (indices[key], op.hits, op.limit)
            _encode_rest(op, indices, arguments)
    return keys, arguments


def _encode_rest(op: Op, indices: dict[str, int], arguments: list[int | float | str]) -> None:
    flags = op.refuses + 2 * op.lenient + op.part + 256 * op.quota
    if isinstance(op, PooledOp):
        flags += 128
    elif isinstance(op, TokenBucketOp):
        flags += 64
    elif op.previous_key:
        flags += 32
    arguments.append(flags)
    if op.part is not Part.NONE:
        arguments += (op.kept_until, len(op.key) - op.stem_length)
    if isinstance(op, PooledOp):
        arguments += (op.span, op.span_seconds, len(op.bounds), op.own + 1)
        for bound in op.bounds:
            arguments += (bound.name, int(bound.above), bound.least, bound.most)
    elif isinstance(op, TokenBucketOp):
        arguments += (op.now_ticks, op.hit_ticks, op.ticks_per_second)
    elif op.previous_key:
        arguments += (indices[op.previous_key], op.previous_share)


def _life(op: FixedWindowOp | TokenBucketOp, jitter_seconds: int) -> int:
    if isinstance(op, TokenBucketOp):
        return 0  # the script knows when it is full
    jitter_max = min(jitter_seconds, op.seconds)
    # Counters of one window end together: without jitter Redis would expire all of them at one instant.
    return op.kept_until - op.window_end + op.seconds + (random.randrange(jitter_max) if jitter_max > 0 else 0)


def decode_replies(transactions: Sequence[Transaction], replies: object) -> Sequence[Outcome]:
    """The script's flat reply as an outcome per transaction; raises ValueError where it is not one."""
    values = cast("list[object]", replies) if isinstance(replies, list) else []
    if any(kind is not int for kind in set(map(type, values))):
        raise ValueError("something else than numbers replied")
    numbers = cast("list[int]", values)
    outcomes: list[Outcome] = []
    position = 0
    for transaction in transactions:
        attempts = transaction.attempts if transaction.alternatives else (transaction,)
        found: list[Outcome] = []
        for attempt in attempts:
            end = position + 1 + len(attempt.ops)
            found.append(Outcome(tuple(numbers[position + 1 : end]), numbers[position : position + 1] == [1]))
            position = end
        outcomes.append(joined(transaction, found) if transaction.alternatives else found[0])
    if position != len(numbers):
        raise ValueError(f"{len(numbers)} values replied, {position} expected")
    return outcomes
