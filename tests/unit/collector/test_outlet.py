"""Between records and a sink: batches, bounds, and what happens while the sink is away."""

import asyncio
import resource
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from headgate.collector.counters import SinkCounts
from headgate.collector.outlet import Outlet, Pace
from headgate.collector.sinks.sink import SinkError
from headgate.collector.spool import Spool
from headgate.ledger.record import UsageRecord
from support.waiting import until


def records(first: int, count: int) -> list[UsageRecord]:
    return [UsageRecord(id=f"{n}", request_id=f"r{n}", started_ns=n) for n in range(first, first + count)]


class Kept:
    """A sink that can be away."""

    name = "kept"

    def __init__(self) -> None:
        self.away = False
        self.slow = False
        self.ids: list[str] = []

    async def write(self, records: Sequence[UsageRecord]) -> None:
        if self.slow:
            await asyncio.Event().wait()
        if self.away:
            raise SinkError("away")
        self.ids += [record.id for record in records]

    async def close(self) -> None:
        pass


IMPATIENT = Pace(gather_seconds=0.0, retry_seconds=0.01, retry_seconds_max=0.01)


async def test_everything_is_written_in_order() -> None:
    sink, counts = Kept(), SinkCounts()
    outlet = Outlet(sink, counts, pace=IMPATIENT)
    for first in range(0, 3000, 100):
        outlet.offer(records(first, 100))
    await outlet.close(5)
    assert sink.ids == [str(n) for n in range(3000)]
    assert (counts.written, counts.dropped) == (3000, 0)


async def test_sink_that_is_away_costs_no_record(tmp_path: Path) -> None:
    sink, counts = Kept(), SinkCounts()
    sink.away = True
    outlet = Outlet(sink, counts, Spool(tmp_path / "s.jsonl", bytes_max=1 << 20), pace=IMPATIENT)
    outlet.offer(records(0, 50))
    await outlet.close(0.05)
    assert counts.spooled == 50
    sink.away = False
    again = Outlet(sink, counts, Spool(tmp_path / "s.jsonl", bytes_max=1 << 20), pace=IMPATIENT)
    again.offer(records(50, 10))
    await again.close(5)
    assert sink.ids == [str(n) for n in range(60)]
    assert (tmp_path / "s.jsonl").stat().st_size == 0


async def test_write_that_does_not_end_in_time_is_kept(tmp_path: Path) -> None:
    sink, counts = Kept(), SinkCounts()
    sink.slow = True
    outlet = Outlet(sink, counts, Spool(tmp_path / "s.jsonl", bytes_max=1 << 20), pace=IMPATIENT)
    outlet.offer(records(0, 10))
    await outlet.close(0.05)
    assert (counts.spooled, counts.dropped) == (10, 0)


async def test_beyond_the_declared_buffer_records_are_dropped_and_counted(tmp_path: Path) -> None:
    sink, counts = Kept(), SinkCounts()
    sink.away = True
    outlet = Outlet(sink, counts, Spool(tmp_path / "s.jsonl", bytes_max=5_000), pace=IMPATIENT)
    outlet.offer(records(0, 50))
    await outlet.close(0.05)
    assert 0 < counts.spooled < 50
    assert counts.spooled + counts.dropped == 50


async def test_memory_is_bounded_without_a_spool() -> None:
    sink, counts = Kept(), SinkCounts()
    outlet = Outlet(sink, counts, pace=Pace(waiting_max=20))
    outlet.offer(records(0, 30))
    assert (counts.waiting, counts.dropped) == (20, 10)
    await outlet.close(5)
    assert counts.written == 20


def test_torn_line_costs_itself(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    spool = Spool(path, bytes_max=1 << 20)
    spool.append(records(0, 2))
    spool.close()
    path.write_bytes(path.read_bytes() + b'{"id":"torn')
    again = Spool(path, bytes_max=1 << 20)
    found, length = again.peek(10)
    assert [record.id for record in found] == ["0", "1"]
    again.pop(length)
    assert again.empty
    assert path.stat().st_size == 0
    again.close()


def test_what_is_appended_after_a_torn_line_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    path.write_bytes(b'{"id":"torn')
    spool = Spool(path, bytes_max=1 << 20)
    spool.append(records(0, 2))
    found, _ = spool.peek(10)
    spool.close()
    assert [record.id for record in found] == ["0", "1"]


def test_a_file_that_somebody_emptied_holds_nothing(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s.jsonl", bytes_max=1 << 20)
    spool.append(records(0, 5))
    _, length = spool.peek(2)
    spool.pop(length)
    (tmp_path / "s.jsonl").write_bytes(b"")
    found, length = spool.peek(2)
    spool.pop(length)
    assert (found, spool.empty) == ([], True)
    spool.append(records(5, 1))
    assert [record.id for record in spool.peek(2)[0]] == ["5"]
    spool.close()


@contextmanager
def no_room_beyond(size: int) -> Generator[None]:
    """Files of this process cannot grow larger, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_takes_no_part_of_a_record(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s.jsonl", bytes_max=1 << 20)
    spool.append(records(0, 2))
    with no_room_beyond((tmp_path / "s.jsonl").stat().st_size + 50), pytest.raises(OSError, match="large"):
        spool.append(records(2, 5))
    spool.append(records(7, 1))
    found, length = spool.peek(10)
    assert [record.id for record in found] == ["0", "1", "7"]
    spool.pop(length)
    assert spool.empty
    spool.close()


async def test_a_disk_that_was_full_keeps_nothing_from_a_sink_that_is_back(tmp_path: Path) -> None:
    sink, counts = Kept(), SinkCounts()
    sink.away = True
    outlet = Outlet(sink, counts, Spool(tmp_path / "s.jsonl", bytes_max=1 << 20), pace=IMPATIENT)
    outlet.offer(records(0, 10))
    await until(lambda: counts.spooled == 10)
    with no_room_beyond((tmp_path / "s.jsonl").stat().st_size + 50):
        outlet.offer(records(10, 10))
        await until(lambda: counts.dropped == 10)
        failures = counts.failures
        await until(lambda: counts.failures > failures + 2)
    sink.away = False
    outlet.offer(records(20, 10))
    await until(lambda: counts.written == 20)
    await outlet.close(5)
    assert sink.ids == [*map(str, range(10)), *map(str, range(20, 30))]


def test_what_an_older_collector_spooled_keeps_its_cost(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    path.write_bytes(
        b'{"id":"0","request_id":"r0","started_ns":0,"cost_micros":125,"price":"gpt"}\n'
        b'{"id":"1","request_id":"r1","started_ns":1,"cost_micros":null}\n'
        b'{"id":"2","request_id":"r2","started_ns":2,"cost_nanos":125,"price":"gpt"}\n'
    )
    spool = Spool(path, bytes_max=1 << 20)
    found, _ = spool.peek(10)
    spool.close()
    assert [record.cost_nanos for record in found] == [125_000, None, 125]
