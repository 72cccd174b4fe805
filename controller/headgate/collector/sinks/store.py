"""The database as a sink. Records are told apart by their id, so that it may have a spool."""

import asyncio
from collections.abc import Sequence

from headgate.collector.sinks.sink import SinkError
from headgate.collector.store.database import StoreError, migrate, open_engine, reason
from headgate.collector.store.writing import write
from headgate.ledger.record import UsageRecord
from sqlalchemy.exc import SQLAlchemyError


class Store:
    """Writes in a thread: the event loop keeps receiving while the database is slow, or away."""

    name = "store"

    def __init__(self, url: str) -> None:
        """Raises StoreError for a URL that is none; a database that is away is waited for."""
        self._engine = open_engine(url)
        self._migrated = False

    async def write(self, records: Sequence[UsageRecord]) -> None:
        await asyncio.to_thread(self._write, records)

    def _write(self, records: Sequence[UsageRecord]) -> None:
        try:
            if not self._migrated:
                migrate(self._engine)
                self._migrated = True
            write(self._engine, records)
        except StoreError as error:
            raise SinkError(str(error)) from error
        except SQLAlchemyError as error:
            raise SinkError(reason(error)) from error

    async def close(self) -> None:
        await asyncio.to_thread(self._engine.dispose)
