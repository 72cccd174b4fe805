"""A collector that is told to end while it still starts: it ends in order, and nothing that waits is lost."""

import asyncio
import os
import signal
from pathlib import Path

from headgate.collector.main import (
    _run,  # pyright: ignore[reportPrivateUsage] (`main` makes a loop of its own)
    make_parser,
)
from headgate.collector.spool import Spool
from headgate.collector.store.database import open_engine
from headgate.collector.store.tables import EVENTS
from headgate.ledger.record import UsageRecord
from sqlalchemy import select


async def test_what_waits_is_kept_by_an_end_amid_the_start(tmp_path: Path) -> None:
    spooled = Spool(tmp_path / "spool" / "store.jsonl", bytes_max=1 << 20)
    spooled.append([UsageRecord(id=f"{n}", request_id="r", started_ns=n) for n in range(3)])
    spooled.close()
    store, socket = str(tmp_path / "usage.db"), f"unix:{tmp_path / 's'}"
    options = make_parser().parse_args(
        ["--address", socket, "--store", store, "--spool", str(tmp_path / "spool"), "--drain-seconds", "60"]
    )
    starting = asyncio.create_task(_run(options))
    await asyncio.sleep(0)  # by now it listens to signals, and has opened nothing
    os.kill(os.getpid(), signal.SIGTERM)
    await starting
    engine = open_engine(store)
    with engine.connect() as connection:
        written = set(connection.execute(select(EVENTS.c.id)).scalars())
    engine.dispose()
    assert written == {"0", "1", "2"}
    left = Spool(tmp_path / "spool" / "store.jsonl", bytes_max=1)
    assert left.empty
    left.close()
