"""The database as a sink. Records are told apart by their id, so that it may have a spool."""

import asyncio
from collections.abc import Sequence
from typing import Final

from headgate.collector.sinks.sink import SinkError
from headgate.collector.store.database import Sockets, StoreError, migrate, open_engine, reason
from headgate.collector.store.writing import write
from headgate.ledger.record import UsageRecord
from sqlalchemy.exc import SQLAlchemyError

WRITE_SECONDS_MAX: Final = 30.0
"""Of one batch; then it is offered again. What waits for it waits in memory."""


class Store:
    """Writes in a thread: the event loop keeps receiving while the database is slow, or away."""

    name = "store"

    def __init__(self, url: str, *, write_seconds_max: float = WRITE_SECONDS_MAX) -> None:
        """Raises StoreError for a URL that is none; a database that is away is waited for."""
        self._engine = open_engine(url)
        self._write_seconds_max = write_seconds_max
        self._migrated = False
        self._sockets = Sockets(self._engine)

    async def write(self, records: Sequence[UsageRecord]) -> None:
        try:
            if not self._migrated:  # which takes as long as there are rows
                await asyncio.to_thread(self._migrate)
            async with asyncio.timeout(self._write_seconds_max):
                await asyncio.to_thread(self._write, records)
        except TimeoutError:
            self._sockets.shut_down()
            raise SinkError(f"not written within {self._write_seconds_max:g} s") from None
        except asyncio.CancelledError:
            self._sockets.shut_down()
            raise

    def _migrate(self) -> None:
        try:
            migrate(self._engine)
        except StoreError as error:
            raise SinkError(str(error)) from error
        self._migrated = True

    def _write(self, records: Sequence[UsageRecord]) -> None:
        try:
            write(self._engine, records)
        except SQLAlchemyError as error:
            raise SinkError(reason(error)) from error

    async def close(self) -> None:
        await asyncio.to_thread(self._engine.dispose)
