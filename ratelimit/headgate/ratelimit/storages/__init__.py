"""Where counters live: one module each, all held to one conformance suite (`tests/integration/ratelimit`).

A storage runs a transaction by the rules in `headgate.limits.engine`, atomically, and within a bounded time.
"""

import asyncio
from collections.abc import Mapping
from typing import Final, Protocol

from headgate.limits.engine import Outcome, Transaction

GAUGES: Final = frozenset(
    {
        "memory_keys",
        "memory_holds",
        "redis_waiting",
        "redis_per_second_waiting",
        "local_cache_keys",
        "local_cache_bytes",
    }
)
"""Those of a storage's figures that also fall."""


class StorageError(Exception):
    """The storage did not answer, or cannot take more; nothing is known of what was applied."""


class Trip:
    """One round trip to a Redis, for who traces it: when it left and was back, 0 where it is not, and how many
    decisions went together. Unix time in nanoseconds."""

    __slots__ = ("back_ns", "decisions", "left_ns")

    def __init__(self) -> None:
        self.left_ns = 0
        self.back_ns = 0
        self.decisions = 0


class Storage(Protocol):
    """Keeps counters."""

    def start(self, transaction: Transaction, trips: list[Trip] | None = None) -> "Outcome | asyncio.Future[Outcome]":
        """Runs one transaction: its outcome where nothing has to be waited for, else a future of it. The round trips
        that it takes are added to `trips`.

        Raises StorageError, or the future does. Cancelling the future of a settlement does not undo it.
        """
        ...

    async def run(self, transaction: Transaction) -> Outcome:
        """`start`, waited for."""
        ...

    async def ping(self) -> None:
        """Raises StorageError when transactions cannot be run now."""
        ...

    def counts(self) -> Mapping[str, int]:
        """Figures for metrics, by the end of their name."""
        ...

    async def outstanding(self, prefix: str) -> int | None:
        """How many requests whose keys begin so have reserved and not settled, or about so many; None where that cannot
        be told now. Bounded in time and in what it costs, and asked only for metrics."""
        ...

    async def close(self) -> None:
        """Ends its connections; transactions in flight fail with StorageError."""
        ...
