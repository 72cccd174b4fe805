"""Usage in a database: each record once, sums that agree, tables as the migrations make them."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from headgate.collector.store.asking import ask
from headgate.collector.store.database import StoreError, migrate, open_engine, url_of
from headgate.collector.store.question import Question
from headgate.collector.store.rollup import BOUNDS, bucket
from headgate.collector.store.tables import EVENTS, HOURLY, metadata
from headgate.collector.store.writing import write
from headgate.ledger.record import Attempt, Tokens, UsageRecord, UsageSource
from sqlalchemy import Engine, event, func, inspect, select, text
from sqlalchemy.exc import SQLAlchemyError


@pytest.fixture(params=["sqlite", "postgres"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """A database with the tables, empty."""
    sqlite = request.param == "sqlite"
    found = open_engine(str(tmp_path / "usage.db") if sqlite else str(request.getfixturevalue("postgres")))
    migrate(found)
    yield found
    with found.begin() as connection:
        for table in metadata.tables.values():
            connection.execute(table.delete())
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
        "cost_nanos": 7,
        **changes,
    }
    return UsageRecord(**values)  # pyright: ignore[reportArgumentType]


def sums(engine: Engine) -> tuple[int, int, int]:
    with engine.connect() as connection:
        row = connection.execute(
            select(func.sum(HOURLY.c.requests), func.sum(HOURLY.c.output_tokens), func.sum(HOURLY.c.cost_nanos))
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


@pytest.fixture(params=["sqlite", "postgres"])
def first(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """A database as the first release made it."""
    sqlite = request.param == "sqlite"
    found = open_engine(str(tmp_path / "usage.db") if sqlite else str(request.getfixturevalue("postgres")))
    _drop_all(found)
    migrate(found, "0001")
    yield found
    _drop_all(found)
    found.dispose()


def _drop_all(engine: Engine) -> None:
    with engine.begin() as connection:
        for name in inspect(connection).get_table_names():
            connection.execute(text(f"DROP TABLE {name}"))


def test_what_was_kept_before_providers_were_is_kept(first: Engine) -> None:
    columns = [each["name"] for each in inspect(first).get_columns("usage_hourly")]
    dimensions = {"hour": "497222", **dict.fromkeys(("client", "team", "model", "service", "route", "error"), "'x'")}
    with first.begin() as connection:
        for number, served in enumerate("ab", start=1):
            values = {"served_model": f"'{served}'", **dimensions}
            row = ", ".join(values.get(name, str(number)) for name in columns)
            connection.execute(text(f"INSERT INTO usage_hourly ({', '.join(columns)}) VALUES ({row})"))
    migrate(first)
    write(first, [record(1, provider="openai"), record(2, provider="anthropic", started_ns=1_790_000_000_000_000_000)])
    found = ask(first, Question(by=("provider", "served-model")))
    assert sorted((each.group, each.sums["requests"], each.sums["output_tokens"]) for each in found) == [
        (("", "a"), 1, 1),
        (("", "b"), 2, 2),
        (("anthropic", ""), 1, 2),
        (("openai", ""), 1, 1),
    ]


def test_money_that_was_kept_in_millionths_is_kept(first: Engine) -> None:
    with first.begin() as connection:
        columns = [each["name"] for each in inspect(first).get_columns("usage_hourly")]
        row = ", ".join("7" if name == "cost_micros" else "1" for name in columns)
        connection.execute(text(f"INSERT INTO usage_hourly ({', '.join(columns)}) VALUES ({row})"))
    migrate(first)
    (found,) = ask(first, Question())
    assert found.sums["cost_nanos"] == 7_000


def test_buckets_cover_everything() -> None:
    assert bucket(0) == 0
    assert bucket(BOUNDS[-1] * 1000) == len(BOUNDS)
    assert all(bucket(bound) == index for index, bound in enumerate(BOUNDS))


def test_urls() -> None:
    assert url_of("/x/usage.db") == "sqlite:////x/usage.db"
    assert url_of("postgres://u@h/d") == "postgresql+psycopg://u@h/d"
    with pytest.raises(StoreError, match="SQLite"):
        open_engine("mysql://h/d")


def test_asking_by_day_and_model(engine: Engine) -> None:
    day = 24 * 60
    write(engine, [record(n) for n in range(3)])
    write(engine, [record(day + n, original_model="other", error="upstream_failed") for n in range(2)])
    found = ask(engine, Question(by=("model", "day")))
    assert [(each.group, each.sums["requests"], each.sums["errors"]) for each in found] == [
        (("m", "2026-09-21"), 3, 0),
        (("other", "2026-09-22"), 2, 2),
    ]


@pytest.mark.parametrize(
    "name",
    [
        "UTC",
        "Europe/Berlin",
        "America/New_York",
        "Pacific/Auckland",
        "Asia/Tokyo",
        "Asia/Kolkata",  # 5:30
        "Asia/Kathmandu",  # 5:45
        "America/St_Johns",  # -3:30, -2:30
        "Australia/Lord_Howe",  # 10:30, 11
    ],
)
def test_days_are_those_of_the_zone(engine: Engine, name: str) -> None:
    """Two years, in which clocks are set back and forth; the ends of days to the second."""
    zone = ZoneInfo(name)
    hours = range(497_000, 497_000 + 2 * 365 * 24, 29)
    seconds = [hour * 3600 + (hour * 7) % 3600 for hour in hours]
    for hour in hours[::20]:
        midnight = datetime.fromtimestamp(hour * 3600, zone).replace(hour=0, minute=0)
        seconds += [int(midnight.timestamp()), int(midnight.timestamp()) - 1]
    write(engine, [record(n, started_ns=each * 1_000_000_000 + 999_999_999) for n, each in enumerate(seconds)])
    wanted = Counter(datetime.fromtimestamp(each, zone).date().isoformat() for each in seconds)
    found = ask(engine, Question(by=("day",), zone=zone))
    assert [each.group[0] for each in found] == sorted(wanted)
    assert {each.group[0]: each.sums["requests"] for each in found} == wanted


def whole(number: int, **changes: object) -> UsageRecord:
    """A record that adds to all sums."""
    return record(
        number,
        error="upstream_failed" if number % 3 else "",
        attempts=(Attempt(backend="b", status=200),) * (number % 3),
        tokens=Tokens(input=number, cached_input=2, cache_creation_input=3, output=4, reasoning=1, total=number + 4),
        usage_source=UsageSource.ESTIMATED if number % 2 else UsageSource.REPORTED,
        cost_nanos=number if number % 4 else None,
        duration_ms=number * 10.0,
        ttft_ms=number * 1.0 if number % 2 else None,
        **changes,
    )


def test_days_that_begin_within_an_hour_add_up(engine: Engine) -> None:
    """In all columns, and for each key: what one day loses another has."""
    half = 1_800_000_000_000
    write(engine, [whole(n, started_ns=1_790_000_000_000_000_000 + n * half, client=f"c{n % 2}") for n in range(200)])
    for zone in (ZoneInfo("Asia/Kolkata"), ZoneInfo("Asia/Kathmandu")):
        for key, plain in ((each.group[0], each) for each in ask(engine, Question(by=("key",)))):
            days = ask(engine, Question(by=("day", "key"), where=(("key", key),), zone=zone))
            assert {each.group[1] for each in days} == {key}
            for name, total in plain.sums.items():
                assert sum(each.sums[name] for each in days) == total, name
            assert len(days) == len({each.group for each in days})


def test_a_day_that_begins_within_an_hour_can_be_asked_for(engine: Engine) -> None:
    zone = ZoneInfo("Asia/Kolkata")
    start = int(datetime(2026, 11, 1, tzinfo=zone).timestamp())
    write(engine, [record(n, started_ns=(start + n * 600) * 1_000_000_000, client=f"c{n % 2}") for n in range(-9, 150)])
    day = Question(by=("day",), since=start, until=start + 86_400, zone=zone)
    assert [(each.group[0], each.sums["requests"]) for each in ask(engine, day)] == [("2026-11-01", 144)]
    of_one = Question(by=("key",), since=start, until=start + 86_400, zone=zone, where=(("key", "c0"),))
    assert [(each.group[0], each.sums["requests"]) for each in ask(engine, of_one)] == [("c0", 72)]
    within = Question(since=start + 61, until=start + 3_000, zone=zone)
    assert [each.sums["requests"] for each in ask(engine, within)] == [6], "the zone's hours are whole"


def test_events_that_are_gone_stay_in_the_day_of_their_hour(engine: Engine) -> None:
    zone = ZoneInfo("Asia/Kolkata")
    midnight = int(datetime(2026, 11, 1, tzinfo=zone).timestamp())
    write(engine, [record(0, started_ns=(midnight + 60) * 1_000_000_000)])
    assert [each.group[0] for each in ask(engine, Question(by=("day",), zone=zone))] == ["2026-11-01"]
    with engine.begin() as connection:
        connection.execute(EVENTS.delete())
    assert [each.group[0] for each in ask(engine, Question(by=("day",), zone=zone))] == ["2026-10-31"]


def test_an_hour_that_comes_twice_is_two(engine: Engine) -> None:
    start = int(datetime(2026, 10, 25, tzinfo=UTC).timestamp())
    write(engine, [record(n, started_ns=(start + n * 3600) * 1_000_000_000) for n in range(3)])
    found = ask(engine, Question(by=("hour",), zone=ZoneInfo("Europe/Berlin")))
    assert [each.group[0] for each in found] == ["2026-10-25T02+02:00", "2026-10-25T02+01:00", "2026-10-25T03+01:00"]
    assert ask(engine, Question(by=("hour",)))[0].group[0] == "2026-10-25T00"


def test_hours_are_those_of_utc(engine: Engine) -> None:
    write(engine, [record(0)])
    (answer,) = ask(engine, Question(by=("hour",), zone=ZoneInfo("Asia/Kolkata")))
    assert answer.group == ("2026-09-21T19:30+05:30",)


def test_asking_by_provider(engine: Engine) -> None:
    write(engine, [record(n, provider="aws.bedrock" if n % 3 else "openai", service="default/b") for n in range(9)])
    found = ask(engine, Question(by=("provider",), where=(("backend", "default/b"),)))
    assert {each.group: each.sums["requests"] for each in found} == {("aws.bedrock",): 6, ("openai",): 3}


def test_asking_for_some(engine: Engine) -> None:
    write(engine, [record(n * 60, client=f"c{n % 2}") for n in range(10)])
    start = 1_790_000_000
    assert [each.sums["requests"] for each in ask(engine, Question(where=(("key", "c1"),)))] == [5]
    assert [each.sums["requests"] for each in ask(engine, Question(since=start + 5 * 3600))] == [5]
    assert [each.sums["requests"] for each in ask(engine, Question(until=start + 5 * 3600))] == [6]
    assert ask(engine, Question(where=(("key", "nobody"),))) == []


def test_percentiles_are_close(engine: Engine) -> None:
    durations = [float(n) for n in range(1, 1001)]
    write(engine, [record(n, duration_ms=each, ttft_ms=each / 10) for n, each in enumerate(durations)])
    answer = ask(engine, Question())[0]
    for quantile in (50, 95, 99):
        found = answer.duration_ms[quantile]
        assert found is not None
        assert found == pytest.approx(durations[quantile * 10 - 1], rel=0.2)
    assert answer.ttft_ms[50] == pytest.approx(50, rel=0.2)


def test_two_that_write_at_once(engine: Engine) -> None:
    batches = [[record(n) for n in range(first, first + 200)] for first in (0, 100, 200, 300)]
    with ThreadPoolExecutor(4) as pool:
        results = [pool.submit(write_patiently, engine, batch) for batch in batches]
    assert sum(each.result() for each in results) == 500
    assert sums(engine)[0] == 500


def write_patiently(engine: Engine, batch: list[UsageRecord]) -> int:
    """As an outlet does: a batch that fails is offered again."""
    for _ in range(20):
        try:
            return write(engine, batch)
        except SQLAlchemyError:
            continue
    raise AssertionError("never written")


def test_columns_hold_what_they_are_named_after(engine: Engine) -> None:
    texts = {
        name: f"<{name}>"
        for name in UsageRecord.__struct_fields__
        if UsageRecord.__annotations__[name] is str and name not in ("id", "method")
    }
    write(engine, [record(1, **texts, status=200, labels=(("k", "v"),), request_bytes=5, response_bytes=6)])
    with engine.connect() as connection:
        row = dict(connection.execute(select(EVENTS)).mappings().one())
    assert {name: row[name] for name in texts} == texts
    assert (row["status"], row["attempts"], row["labels"]) == (200, 1, '{"k":"v"}')
    assert (row["input_tokens"], row["output_tokens"], row["total_tokens"]) == (10, 1, 11)
    assert (row["request_bytes"], row["response_bytes"], row["cost_nanos"]) == (5, 6, 7)
    assert (row["lane"], row["usage_source"]) == ("local", "reported")


def test_what_no_text_of_a_database_holds_is_replaced(engine: Engine) -> None:
    """A client names the model, a provider its answer: one of them must not keep all others from being written."""
    write(engine, [record(1, original_model="a\0b", response_model="c\0d", details="e\0f"), record(2)])
    with engine.connect() as connection:
        rows = connection.execute(select(EVENTS.c.original_model, EVENTS.c.response_model).order_by(EVENTS.c.id)).all()
    assert [tuple(row) for row in rows] == [("a\ufffdb", "c\ufffdd"), ("m", "")]
    assert {each.group for each in ask(engine, Question(by=("model",)))} == {("a\ufffdb",), ("m",)}


def test_names_that_are_too_long_for_a_key_are_cut(engine: Engine) -> None:
    """Of clients' making, so of any length: Postgres has keys of at most 2,704 bytes."""
    made_up = ("client", "team", "original_model", "request_model")
    # of letters that no compression makes small
    names = {name: "".join(chr(0x4E00 + number % 977 * 7) for number in range(2600)) for name in made_up}
    write(engine, [record(1, **names, service="s" * 317, provider="p" * 64, route="r" * 317), record(2)])
    found = {str(each.group[0]) for each in ask(engine, Question(by=("model",)))}
    assert "m" in found
    (long,) = found - {"m"}
    assert names["original_model"].startswith(long)


@pytest.fixture(params=["sqlite", "postgres"])
def none(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """A database without tables."""
    sqlite = request.param == "sqlite"
    found = open_engine(str(tmp_path / "usage.db") if sqlite else str(request.getfixturevalue("postgres")))
    _drop_all(found)
    yield found
    _drop_all(found)
    found.dispose()


class _CutError(Exception):
    """The process ends here."""


def _migrate_cut(engine: Engine, statements: int) -> bool:
    """Whether that many statements were enough."""
    left = statements

    def count(*_: object) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise _CutError

    event.listen(engine, "before_cursor_execute", count)
    try:
        migrate(engine)
    except _CutError:
        return False
    finally:
        event.remove(engine, "before_cursor_execute", count)
    return True


def test_a_migration_that_is_cut_short_is_made_again(none: Engine) -> None:
    cuts = 0
    while not _migrate_cut(none, cuts):
        cuts += 4
        assert not inspect(none).get_table_names(), f"left after {cuts} statements"
    assert cuts > 10
    assert write(none, [record(1)]) == 1


def test_several_that_migrate_at_once(none: Engine) -> None:
    engines = [open_engine(none.url.render_as_string(hide_password=False)) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        for each in [pool.submit(migrate, engine) for engine in engines]:
            each.result()
    for engine in engines:
        engine.dispose()
    assert write(none, [record(1)]) == 1


def test_tables_of_a_newer_version_are_left_alone_and_that_is_told(engine: Engine) -> None:
    with engine.begin() as connection:
        (known,) = connection.execute(text("SELECT version_num FROM alembic_version")).scalars()
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    try:
        with pytest.raises(StoreError, match="newer Headgate"):
            migrate(engine)
    finally:
        with engine.begin() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = :known"), {"known": known})
