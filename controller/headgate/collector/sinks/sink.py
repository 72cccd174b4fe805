"""Where records go. A new kind of place is a module here and a row in `headgate.collector.main`."""

from collections.abc import Sequence
from typing import Protocol

from headgate.ledger.record import UsageRecord


class SinkError(Exception):
    """The records could not be written now; the same ones will be offered again. One line for the log."""


class RefusedError(Exception):
    """The records will not be taken, however often they are offered. One line for the log."""


class Sink(Protocol):
    """Takes batches of records, one after the other. The same record may come twice: after a crash, or after a failure
    that was none."""

    @property
    def name(self) -> str:
        """For logs and counters."""
        ...

    async def write(self, records: Sequence[UsageRecord]) -> None:
        """All of them or, with SinkError, none that cannot be written again. RefusedError gives them up."""
        ...

    async def close(self) -> None:
        """After the last write."""
        ...
