"""A database that takes connections, or statements, and says nothing: nobody waits for it for ever."""

import asyncio
import socket
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from headgate.cli.main import main
from headgate.collector.sinks.sink import SinkError
from headgate.collector.sinks.store import Store
from headgate.collector.store.database import migrate, open_engine
from headgate.ledger.record import UsageRecord
from sqlalchemy import Engine, text
from support.ports import LOOPBACK
from support.waiting import BUSY_SECONDS, until

RECORDS = [UsageRecord(id=f"{n:032x}", request_id="r", started_ns=n) for n in range(3)]


@pytest.fixture
def engine(postgres: str) -> Iterator[Engine]:
    found = open_engine(postgres)
    migrate(found)
    yield found
    found.dispose()


async def waiting_for_a_lock(engine: Engine) -> None:
    def somebody_waits() -> bool:
        with engine.connect() as connection:
            return bool(connection.execute(text("SELECT count(*) FROM pg_locks WHERE NOT granted")).scalar())

    await until(somebody_waits, "a write that hangs")


async def test_an_end_does_not_wait_for_a_statement(engine: Engine, postgres: str) -> None:
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor())
    store = Store(postgres)
    with engine.begin() as other:
        other.execute(text("LOCK TABLE usage_events"))
        writing = asyncio.create_task(store.write(RECORDS))
        await waiting_for_a_lock(engine)
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        async with asyncio.timeout(BUSY_SECONDS):
            await asyncio.get_running_loop().shutdown_default_executor()


async def test_a_statement_that_takes_too_long_is_given_up(engine: Engine, postgres: str) -> None:
    store = Store(postgres, write_seconds_max=0.5)
    with engine.begin() as other:
        other.execute(text("LOCK TABLE usage_events"))
        with pytest.raises(SinkError, match=r"not written within 0\.5 s"):
            await store.write(RECORDS)
    await store.write(RECORDS)
    await store.close()
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM usage_events")).scalar() == len(RECORDS)


@contextmanager
def silent() -> Generator[int]:
    """A port where connections are taken, and nothing is said."""
    with socket.create_server((LOOPBACK, 0)) as listening:
        yield listening.getsockname()[1]


def test_usage_says_that_a_database_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    with silent() as port:
        assert main(["usage", "--ledger", f"postgresql://u@{LOOPBACK}:{port}/d"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("headgate usage: ")
    assert "timeout" in said
    assert str(port) in said
