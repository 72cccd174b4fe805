"""Usage in a database: each record once, sums that agree, tables as the migrations make them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from headgate.collector.store.database import StoreError, migrate, open_engine, url_of
from headgate.collector.store.rollup import BOUNDS, bucket
from headgate.collector.store.tables import EVENTS, HOURLY, metadata
from headgate.collector.store.writing import write
from headgate.ledger.record import Attempt, Tokens, UsageRecord, UsageSource
from sqlalchemy import Engine, func, inspect, select


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    found = open_engine(str(tmp_path / "usage.db"))
    migrate(found)
    yield found
    found.dispose()


def record(number: int, **changes: object) -> UsageRecord:
    values: dict[str, object] = {
        "id": f"{number:032x}",
        "request_id": f"r{number}",
        "started_ns": 1_790_000_000_000_000_000 + number * 60_000_000_000,
        "client": "alice",
        "original_model": "m",
        "attempts": (Attempt(backend="b", status=200),),
        "tokens": Tokens(input=10, output=number, total=10 + number),
        "usage_source": UsageSource.REPORTED,
        "cost_micros": 7,
        **changes,
    }
    return UsageRecord(**values)  # pyright: ignore[reportArgumentType]


def sums(engine: Engine) -> tuple[int, int, int]:
    with engine.connect() as connection:
        row = connection.execute(
            select(func.sum(HOURLY.c.requests), func.sum(HOURLY.c.output_tokens), func.sum(HOURLY.c.cost_micros))
        ).one()
    return int(row[0]), int(row[1]), int(row[2])


def test_records_are_written_once(engine: Engine) -> None:
    batch = [record(n) for n in range(100)]
    assert write(engine, [*batch, batch[3]]) == 100
    assert write(engine, [*batch[50:], record(100)]) == 1
    with engine.connect() as connection:
        assert connection.execute(select(func.count()).select_from(EVENTS)).scalar() == 101
    assert sums(engine) == (101, sum(range(101)), 7 * 101)


def test_migrations_make_the_tables(engine: Engine) -> None:
    found = inspect(engine)
    for name, table in metadata.tables.items():
        made = {column["name"]: (str(column["type"]), column["nullable"]) for column in found.get_columns(name)}
        wanted = {column.name: (column.type.compile(engine.dialect), bool(column.nullable)) for column in table.columns}
        assert made == wanted
        assert {index["name"] for index in found.get_indexes(name)} == {index.name for index in table.indexes}


def test_migrating_again_changes_nothing(engine: Engine) -> None:
    write(engine, [record(1)])
    migrate(engine)
    assert sums(engine)[0] == 1


def test_buckets_cover_everything() -> None:
    assert bucket(0) == 0
    assert bucket(BOUNDS[-1] * 1000) == len(BOUNDS)
    assert all(bucket(bound) == index for index, bound in enumerate(BOUNDS))


def test_urls() -> None:
    assert url_of("/x/usage.db") == "sqlite:////x/usage.db"
    assert url_of("postgres://u@h/d") == "postgresql+psycopg://u@h/d"
    with pytest.raises(StoreError, match="SQLite"):
        open_engine("mysql://h/d")
