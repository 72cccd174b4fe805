"""`headgate usage` over a small ledger."""

import csv
import io
import json
from pathlib import Path

import pytest
from headgate.cli.main import main
from headgate.cli.usage_output import WIDTH_MIN, plot
from headgate.collector.store.asking import QUANTILES, Answer
from headgate.collector.store.database import migrate, open_engine
from headgate.collector.store.tables import SUMS
from headgate.collector.store.writing import write
from headgate.ledger.record import Attempt, Tokens, UsageRecord, UsageSource


def record(number: int, model: str, client: str, *, nanos: int | None = 7) -> UsageRecord:
    return UsageRecord(
        id=f"{number:032x}",
        request_id=f"r{number}",
        started_ns=1_790_000_000_000_000_000 + number * 3_600_000_000_000,
        client=client,
        original_model=model,
        service="default/openai",
        attempts=(Attempt(backend="b", status=200),),
        tokens=Tokens(input=1000, output=200, total=1200),
        usage_source=UsageSource.REPORTED,
        cost_nanos=nanos,
        duration_ms=100.0,
    )


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = str(tmp_path_factory.mktemp("ledger") / "usage.db")
    engine = open_engine(path)
    migrate(engine)
    write(engine, [record(n, "gpt" if n % 3 else "claude", "alice" if n % 2 else "bob") for n in range(30)])
    write(engine, [record(31, "unpriced", "bob", nanos=None)])
    engine.dispose()
    return path


def test_table(ledger: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["usage", "--ledger", ledger, "--by", "model"]) == 0
    head, first, second, third = capsys.readouterr().out.splitlines()
    assert head.split()[:4] == ["model", "requests", "errors", "input"]
    assert first.split()[:6] == ["gpt", "20", "0", "20,000", "0", "4,000"]
    assert second.split()[0] == "claude"
    assert first.split()[7] == "<0.0001", "a small cost is not nothing"
    assert third.split()[7] == "0.0000+", "a request without a price is said"


def test_a_name_cannot_command_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Clients choose the names of models."""
    path = str(tmp_path / "usage.db")
    engine = open_engine(path)
    migrate(engine)
    write(engine, [record(1, "m\x1b[2J\nx", "alice")])
    engine.dispose()
    for output in ([], ["--plot"]):
        assert main(["usage", "--ledger", path, *output]) == 0
        assert r"m\x1b[2J\x0ax" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1+1", "@SUM(A1)"])
def test_a_name_cannot_command_a_spreadsheet(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(tmp_path / "usage.db")
    engine = open_engine(path)
    migrate(engine)
    write(engine, [record(1, f"{name}\t\x1b", "alice")])
    engine.dispose()
    assert main(["usage", "--ledger", path, "--output", "csv"]) == 0
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert row["model"] == f"'{name}\\x09\\x1b"
    assert row["total_tokens"] == "1200"


@pytest.mark.parametrize("by", ["model", "model,day"])
@pytest.mark.parametrize("width", [1, 30, 80])
def test_a_drawing_has_room_whatever_names_are(by: str, width: int) -> None:
    sums: dict[str, int] = dict.fromkeys(map(str, SUMS), 5)
    none: dict[int, float | None] = dict.fromkeys(map(int, QUANTILES))
    names = by.split(",")
    group = ("m" * 300, "2026-11-29")[: len(names)]
    answer = Answer(group=group, sums=sums, duration_ms=none, ttft_ms=none)
    drawing = plot(names, [answer], "tokens", width=width)
    assert max(map(len, drawing.splitlines())) <= max(width, WIDTH_MIN)
    assert "m…" in drawing
    assert "█" in drawing or "day" in by


def test_json_is_exact(ledger: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["usage", "--ledger", ledger, "--by", "key,model", "--output", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert sum(row["cost_nanos"] for row in rows) == 30 * 7
    assert sum(row["requests"] for row in rows) == 31
    assert {(row["key"], row["model"]) for row in rows} >= {("alice", "gpt"), ("bob", "claude")}


def test_csv(ledger: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["usage", "--ledger", ledger, "--by", "backend,day", "--output", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["day"] for row in rows] == ["2026-09-21", "2026-09-22"]
    assert sum(int(row["requests"]) for row in rows) == 31


def test_some_of_it(ledger: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--where", "key=alice", "--since", "2026-09-22", "--output", "json", "--by", ""]
    assert main(["usage", "--ledger", ledger, *arguments]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert len(rows) == 1
    assert 0 < rows[0]["requests"] < 15


def test_days_of_a_zone(ledger: str, capsys: pytest.CaptureFixture[str]) -> None:
    zone = ["--timezone", "America/Los_Angeles", "--output", "json"]
    assert main(["usage", "--ledger", ledger, *zone, "--by", "day"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["day"], row["requests"]) for row in rows] == [("2026-09-21", 17), ("2026-09-22", 14)]
    assert main(["usage", "--ledger", ledger, *zone, "--by", "model", "--since", "2026-09-22"]) == 0
    assert sum(row["requests"] for row in json.loads(capsys.readouterr().out)) == 14


@pytest.mark.parametrize("ago", ["36500d", "-36500d"])
@pytest.mark.parametrize(("bound", "requests"), [("--since", 31), ("--until", 0)])
def test_so_long_ago(ledger: str, ago: str, bound: str, requests: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["usage", "--ledger", ledger, bound, ago, "--output", "json", "--by", "model"]) == 0
    assert sum(row["requests"] for row in json.loads(capsys.readouterr().out)) == requests


@pytest.mark.parametrize("by", ["key", "day", "key,day", ""])
def test_drawing(ledger: str, by: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["usage", "--ledger", ledger, "--by", by, "--plot", "requests"]) == 0
    drawn = capsys.readouterr().out
    assert "requests" in drawn
    assert "\x1b" not in drawn
    if "key" in by:
        assert "alice" in drawn


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--by", "colour"], "--by colour"),
        (["--where", "model"], "GROUP=VALUE"),
        (["--since", "yesterday"], "no time"),
        (["--timezone", "Middle/Earth"], "no such zone"),
        (["--timezone", "../etc/passwd"], "no such zone"),
    ],
)
def test_wrong_arguments(ledger: str, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["usage", "--ledger", ledger, *arguments]) == 2
    assert words in capsys.readouterr().err


def test_no_ledger(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["usage", "--ledger", str(tmp_path / "none.db")]) == 1
    assert "there is no ledger" in capsys.readouterr().err
    (tmp_path / "empty.db").touch()
    assert main(["usage", "--ledger", str(tmp_path / "empty.db")]) == 1
    assert "no usage is kept" in capsys.readouterr().err
