"""Counters that are used up, remembered here: what they refuse costs no round trip. Off unless it is asked for.

It must never refuse what Redis would admit. So Redis says what is no longer true: each counter that is remembered is
followed by `CLIENT TRACKING` (Redis 6), and whoever changes it (a refund, another limiter that takes something back, an
expiry, a flush) makes Redis tell us, on the connection that the counter was read by, after what it answered before. A
connection that ends takes all that is remembered with it. Where Redis cannot be followed, nothing is remembered.

What is remembered is a number, not a refusal: a limit that was raised, or fewer hits, are compared with it anew. Only
plain fixed windows are, for only their counters do not fall by themselves; of a transaction that gives back, reserves
or chooses, and of pools, which count what they refuse, Redis decides as always. After `SECONDS` a counter is asked for
once more: a Redis that has been cut off and replaced can tell nothing.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from headgate.limits.algorithms import Op
from headgate.limits.algorithms.counting import over_limit
from headgate.limits.algorithms.fixed_window import FixedWindowOp
from headgate.limits.algorithms.pooled_window import PooledOp
from headgate.limits.engine import Outcome, Transaction

SECONDS: Final = 5
"""How long a counter is believed without being asked for."""

ENTRY_BYTES: Final = 250
"""What an entry takes besides its key: the text's and the value's own, and its place in the dictionary."""

WANTED_MAX: Final = 256
"""Counters that wait to be followed, of one connection; those beyond are when they refuse the next time."""


class _Known(NamedTuple):
    hits: int
    since: int
    """Unix seconds."""


class LocalCache:
    """See the module. Bounded by bytes: where there is no room, the oldest is forgotten."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._known: dict[str, _Known] = {}
        self._bytes = 0
        self.refusals = 0
        """Transactions that were refused without a round trip."""

    def refuse(self, transaction: Transaction) -> Outcome | None:
        """The refusal of a transaction, if what is remembered makes it one; None where Redis must be asked."""
        if not self._known or not transaction.all_or_nothing or transaction.request or transaction.alternatives:
            return None
        before: list[int] = []
        known: list[bool] = []
        refuses = False
        for op in transaction.ops:
            if op.hits < 0 or isinstance(op, PooledOp):
                return None
            found = self._known.get(op.key)
            believed = found is not None and 0 <= transaction.now - found.since < SECONDS
            count = found.hits if found is not None and believed else 0
            before.append(count)
            known.append(believed)
            refuses = refuses or (believed and op.refuses and over_limit(op, count))
        if not refuses:
            return None
        self.refusals += 1
        return Outcome(tuple(before), applied=False, known=tuple(known))

    def worth(self, op: Op, before: int, now: int) -> bool:
        """Whether it pays to remember a counter that an operation was refused by, or might have been."""
        if not isinstance(op, FixedWindowOp) or op.previous_key or op.reserves:
            return False
        return op.refuses and over_limit(op, before) and op.window_end - now > 1

    def is_old(self, key: str, now: int) -> bool:
        """Whether a counter is remembered, and not believed any more."""
        found = self._known.get(key)
        return found is not None and not 0 <= now - found.since < SECONDS

    def learn(self, key: str, count: int, now: int) -> None:
        """A counter as it stands now; from now on Redis tells when it does not."""
        self.forget(key)
        size = ENTRY_BYTES + len(key.encode())
        while self._known and self._bytes + size > self._bytes_max:
            self.forget(next(iter(self._known)))
        if size <= self._bytes_max:
            self._known[key] = _Known(count, now)
            self._bytes += size

    def forget(self, key: str) -> None:
        if self._known.pop(key, None) is not None:
            self._bytes -= ENTRY_BYTES + len(key.encode())

    def clear(self) -> None:
        self._known.clear()
        self._bytes = 0

    def counts(self) -> Mapping[str, int]:
        return {
            "local_cache_keys": len(self._known),
            "local_cache_bytes": self._bytes,
            "local_cache_refusals": self.refusals,
        }
