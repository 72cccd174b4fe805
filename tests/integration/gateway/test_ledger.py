"""`headgate run --ledger`: every request of the real Envoy becomes a record, once."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from support import manifests
from support.gateway import Gateway
from support.ledger import LedgerFile
from support.manifests import backend, ref, route, rule
from support.providers import ANTHROPIC, OPENAI, Answer, Delivery, Failure, Provider, Raw
from support.stage import Stage
from support.waiting import wait_until

PRICES = """
prices:
- {model: "*", input: 2.5, output: 10}
teams:
  research: [alice]
"""
PRICE_NANOS = 11 * 2_500 + 7 * 10_000


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> LedgerFile:
    return LedgerFile(tmp_path_factory.mktemp("ledger") / "usage.db")


@pytest.fixture(scope="module")
def running(ledger: LedgerFile) -> Iterator[Stage]:
    prices = ledger.path.with_name("prices.yaml")
    prices.write_text(PRICES)
    providers = {"openai": Provider(OPENAI, key="sk-o"), "second": Provider(OPENAI, key="sk-2")}
    with Stage(**providers, anthropic=Provider(ANTHROPIC, key="sk-a")) as stage:
        documents = [
            *manifests.gateway({"port": stage.port}),
            *backend("openai", stage["openai"].port, key="sk-o"),
            *backend("second", stage["second"].port, key="sk-2"),
            *backend("anthropic", stage["anthropic"].port, "Anthropic", key="sk-a"),
            route(
                "r",
                [
                    rule("gpt", ref("openai")),
                    rule("claude", ref("anthropic")),
                    rule("two", ref("openai"), ref("second", priority=1)),
                    rule("renamed", ref("openai", modelNameOverride="real")),
                ],
            ),
        ]
        stage.run(documents, "--ledger", str(ledger.path), "--prices", str(prices))
        yield stage


@pytest.fixture
def stage(running: Stage, ledger: LedgerFile) -> Iterator[Stage]:
    yield running
    running.check()


def test_native_request(stage: Stage, ledger: LedgerFile) -> None:
    before = len(ledger.rows())
    assert stage.chat("gpt").status_code == 200
    row = ledger.wait(before + 1)[-1]
    assert (row["lane"], row["route"], row["operation"]) == ("native", "default/r", "chat")
    assert (row["input_tokens"], row["output_tokens"], row["total_tokens"]) == (11, 7, 18)
    assert (row["usage_source"], row["cost_nanos"]) == ("reported", PRICE_NANOS)
    assert (row["original_model"], row["request_model"]) == ("gpt", "gpt")
    assert (row["service"], row["provider"]) == ("default/openai", "openai")


def test_translated_request(stage: Stage, ledger: LedgerFile) -> None:
    before = len(ledger.rows())
    assert stage.chat("claude").status_code == 200
    row = ledger.wait(before + 1)[-1]
    assert (row["lane"], row["total_tokens"]) == ("extproc", 18)
    assert row["response_id"]
    assert row["finish_reasons"] == '["stop"]'


def test_failover_tells_of_both_attempts(stage: Stage, ledger: LedgerFile) -> None:
    before = len(ledger.rows())
    stage["openai"].answer(Failure(503, "away"))
    assert stage.chat("two").status_code == 200
    row = ledger.wait(before + 1)[-1]
    tried = [
        (attempt["backend"].split("/")[1], attempt["status"], attempt.get("error")) for attempt in row["attempted"]
    ]
    assert tried == [("openai", 503, "upstream_failed"), ("second", 200, None)]
    assert row["error"] == ""


def test_stream_is_counted_without_a_cost(stage: Stage, ledger: LedgerFile) -> None:
    before = len(ledger.rows())
    answer = stage.chat("gpt", stream=True)
    assert '"prompt_tokens"' not in answer.text, "the client did not ask for usage"
    row = ledger.wait(before + 1)[-1]
    assert (row["stream"], row["total_tokens"], row["usage_source"]) == (1, 18, "reported")
    assert row["ttft_ms"] > 0


def test_client_that_hangs_up(stage: Stage, ledger: LedgerFile) -> None:
    before = len(ledger.rows())
    stage["openai"].answer(Answer(delivery=Delivery(hang_after_bytes=400)))
    body = {"model": "gpt", "stream": True, "messages": [{"role": "user", "content": "Hello!"}]}
    with httpx.stream("POST", f"{stage.url}/v1/chat/completions", json=body) as response:
        next(response.iter_raw())
    row = ledger.wait(before + 1)[-1]
    assert (row["error"], row["usage_source"], row["input_tokens"]) == ("client_gone", "none", None)


def test_stream_whose_provider_reports_nothing(stage: Stage, ledger: LedgerFile) -> None:
    before = len(ledger.rows())
    words = b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"%b"}}]}\n\n' % (b"w" * 400)
    stage["openai"].answer(Raw(body=words + b"data: [DONE]\n\n", content_type="text/event-stream"))
    assert stage.chat("gpt", stream=True).status_code == 200
    row = ledger.wait(before + 1)[-1]
    assert (row["usage_source"], row["output_tokens"]) == ("estimated", 100)
    assert row["total_tokens"] == row["input_tokens"] + 100 > 110


def test_what_the_gateway_answers_itself(stage: Stage, ledger: LedgerFile) -> None:
    before = len(ledger.rows())
    assert stage.chat("nobody-serves-this").status_code == 404
    row = ledger.wait(before + 1)[-1]
    assert (row["lane"], row["error"], row["original_model"]) == ("local", "not_found", "nobody-serves-this")
    sums = ledger.rows("SELECT model FROM usage_hourly WHERE error = 'not_found'")
    assert [found["model"] for found in sums] == [""], "a client must not be able to make rows of sums"


def test_renamed_model(stage: Stage, ledger: LedgerFile) -> None:
    before = len(ledger.rows())
    assert stage.chat("renamed").status_code == 200
    row = ledger.wait(before + 1)[-1]
    assert (row["original_model"], row["response_model"]) == ("renamed", "real-2025-01-01")


def test_same_request_id_twice_is_two_records(stage: Stage, ledger: LedgerFile) -> None:
    before = len(ledger.rows())
    body = {"model": "gpt", "messages": [{"role": "user", "content": "Hello!"}]}
    for _ in range(2):
        assert stage.post("/v1/chat/completions", body, x_request_id="chosen-by-client").status_code == 200
    rows = ledger.wait(before + 2)[before:]
    assert len({row["id"] for row in rows}) == 2


def test_session_header_becomes_a_label(stage: Stage, ledger: LedgerFile) -> None:
    before = len(ledger.rows())
    body = {"model": "gpt", "messages": [{"role": "user", "content": "Hello!"}]}
    assert stage.post("/v1/chat/completions", body, agent_session_id="s-1").status_code == 200
    assert ledger.wait(before + 1)[-1]["labels"] == {"session.id": "s-1"}


def test_lines_and_rows_agree(stage: Stage, ledger: LedgerFile) -> None:
    assert stage.chat("gpt").status_code == 200
    rows = {row["id"]: row for row in ledger.wait(len(ledger.rows()) + 1)}

    def lines() -> dict[str, dict[str, object]] | None:
        found = [json.loads(line) for line in stage.access_log_path.read_text().splitlines()]
        by_id = {str(line["id"]): line for line in found}
        return by_id if by_id.keys() == rows.keys() and len(found) == len(rows) else None

    for key, line in wait_until(lines, "a line for each row").items():
        tokens = line["tokens"]
        assert isinstance(tokens, dict)
        assert tokens["total"] == rows[key]["total_tokens"]
        assert line.get("cost_nanos") == rows[key]["cost_nanos"]


def test_sums_are_those_of_the_rows(stage: Stage, ledger: LedgerFile) -> None:
    assert stage.chat("gpt").status_code == 200
    rows, sums = ledger.wait(len(ledger.rows()) + 1), ledger.sums()
    assert sums["requests"] == len(rows)
    for name in ("input_tokens", "output_tokens", "total_tokens", "cost_nanos", "attempts"):
        assert sums[name] == sum(row[name] or 0 for row in rows)


def collector_pid(gateway: Gateway) -> int:
    return gateway.processes()["collector"][0]


def test_store_that_is_away_costs_no_record(stage: Stage, ledger: LedgerFile) -> None:
    assert stage.chat("gpt").status_code == 200
    before = len(ledger.wait(len(ledger.rows()) + 1))
    with Blocked(ledger.path):
        assert [stage.chat("gpt").status_code for _ in range(20)] == [200] * 20
    ledger.wait(before + 20)


class Blocked:
    """Nobody else can write to the SQLite file meanwhile."""

    def __init__(self, path: Path) -> None:
        import sqlite3

        self._connection = sqlite3.connect(path, isolation_level=None)

    def __enter__(self) -> None:
        self._connection.execute("BEGIN EXCLUSIVE")

    def __exit__(self, *_: object) -> None:
        self._connection.execute("ROLLBACK")
        self._connection.close()


@pytest.fixture
def small(tmp_path: Path) -> Iterator[tuple[Stage, LedgerFile]]:
    """A gateway whose processes may be killed."""
    ledger = LedgerFile(tmp_path / "usage.db")
    with Stage(openai=Provider(OPENAI, key="sk-o")) as stage:
        documents = [
            *manifests.gateway({"port": stage.port}),
            *backend("openai", stage["openai"].port, key="sk-o"),
            route("r", [rule("gpt", ref("openai"))]),
        ]
        yield stage.run(documents, "--ledger", str(ledger.path)), ledger


def test_collector_that_is_stopped_or_killed_costs_no_record(small: tuple[Stage, LedgerFile]) -> None:
    stage, ledger = small
    assert stage.chat("gpt").status_code == 200
    ledger.wait(1)
    for count, number in ((21, signal.SIGTERM), (41, signal.SIGKILL)):
        os.kill(collector_pid(stage.gateway), number)
        assert [stage.chat("gpt").status_code for _ in range(20)] == [200] * 20
        assert len(ledger.wait(count)) == count


def test_end_of_the_gateway_costs_no_record(small: tuple[Stage, LedgerFile]) -> None:
    stage, ledger = small
    assert stage.chat("gpt").status_code == 200
    ledger.wait(1)
    assert [stage.chat("gpt").status_code for _ in range(10)] == [200] * 10
    assert stage.gateway.stop() == 0
    # on a slow machine an end may take less time than the database: then the records wait in the spool
    spooled = (stage.gateway.state_path / "spool" / "store.jsonl").read_text().splitlines()
    kept = {row["id"] for row in ledger.rows()} | {str(json.loads(line)["id"]) for line in spooled}
    assert len(kept) == 11
