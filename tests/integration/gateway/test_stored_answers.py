"""What is fetched and tells each time what it used, through the real Envoy: limits and books count it once."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from support import manifests
from support.ledger import LedgerFile
from support.manifests import Document, backend, ref, route, rule
from support.providers import Delivery, Provider, Raw
from support.providers.operations_api import OperationsApi
from support.redis import RedisServer
from support.stage import Stage
from support.waiting import wait_until

pytestmark = [pytest.mark.envoy, pytest.mark.redis]

BUDGET = 1000
STORED = OperationsApi({"/v1/responses(/.*)?": "", "/v1/batches(/.*)?": ""})
PRICES = "prices: [{model: gpt-5, input: 2, output: 10}, {model: gpt-5, batch: true, input: 1, output: 5}]"
MADE = {"input_tokens": 60, "output_tokens": 40, "total_tokens": 100}


def _documents(stage: Stage) -> list[Document]:
    spec = {
        **manifests.target("AIGatewayRoute", "stored"),
        "rules": [{"name": "yearly", "unit": "tokens", "amount": BUDGET, "window": "year", "per": ["header:x-user"]}],
    }
    return [
        *manifests.gateway({"port": stage.port}),
        *backend("stored", stage["stored"].port, key="sk-stored"),
        route("stored", [rule("", ref("stored"))]),
        manifests.document("headgate.dev/v1alpha1", "LimitPolicy", "stored", spec),
    ]


@pytest.fixture(scope="module", params=["memory", "redis"])
def running(
    request: pytest.FixtureRequest, redis_process: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Stage, LedgerFile]]:
    redis_process.flush()
    ledger = LedgerFile(tmp_path_factory.mktemp("stored") / "usage.db")
    prices = ledger.path.with_name("prices.yaml")
    prices.write_text(PRICES)
    arguments = ("--redis-url", redis_process.url) if request.param == "redis" else ()
    with Stage(stored=Provider(STORED, key="sk-stored")) as stage:
        yield stage.run(_documents(stage), "--ledger", str(ledger.path), "--prices", str(prices), *arguments), ledger


@pytest.fixture
def stage(running: tuple[Stage, LedgerFile]) -> Iterator[Stage]:
    running[0].forget()
    yield running[0]
    running[0].check()


@pytest.fixture
def ledger(running: tuple[Stage, LedgerFile]) -> LedgerFile:
    return running[1]


def _response(name: str, **more: Any) -> Raw:
    said = {"id": name, "object": "response", "status": "completed", "background": True, "model": "gpt-5", **more}
    return Raw(body=json.dumps(said).encode())


def _ask(stage: Stage, user: str, method: str, path: str) -> httpx.Response:
    return stage.http.request(method, f"{stage.url}/v1/{path}", headers={"x-user": user})


def _left(stage: Stage, user: str) -> int:
    """What is left of the budget, by a request that uses nothing."""
    stage["stored"].answer(_response("resp_0", usage=None))
    return int(_ask(stage, user, "GET", "responses/resp_0").headers["x-ratelimit-remaining"])


def _told(ledger: LedgerFile, name: str, count: int) -> list[int | None]:
    """The tokens of so many rows of requests for a stored answer: rows are in the order of their ids."""

    def found() -> list[int | None] | None:
        rows = [row["total_tokens"] for row in ledger.rows() if f"/{name}" in row["path"]]
        return sorted(rows, key=lambda each: each or 0) if len(rows) >= count else None

    return wait_until(found, f"{count} rows of {name}")


def _wait_settled(stage: Stage, user: str, left: int) -> None:
    wait_until(lambda: _left(stage, user) == left, f"{left} tokens to be left")


def test_a_background_response_is_charged_once(stage: Stage, ledger: LedgerFile) -> None:
    """And whoever asks for it: it was made once."""
    stage["stored"].answer(_response("resp_1", usage=None), _response("resp_1", usage=MADE))
    for _ in range(4):
        assert _ask(stage, "polls", "GET", "responses/resp_1").status_code == 200
    assert _ask(stage, "polls too", "GET", "responses/resp_1?include=reasoning").status_code == 200
    assert _told(ledger, "resp_1", 5) == [None] * 4 + [100]
    _wait_settled(stage, "polls", BUDGET - 100)
    _wait_settled(stage, "polls too", BUDGET)


def test_one_that_was_cancelled_and_then_fetched_is_charged_once(stage: Stage, ledger: LedgerFile) -> None:
    stage["stored"].answer(_response("resp_2", status="cancelled", usage=MADE))
    assert _ask(stage, "cancels", "POST", "responses/resp_2/cancel").status_code == 200
    assert _ask(stage, "cancels", "GET", "responses/resp_2").status_code == 200
    assert _told(ledger, "resp_2", 2) == [None, 100]
    _wait_settled(stage, "cancels", BUDGET - 100)


def test_what_only_says_that_it_was_made_in_the_background_is_none(stage: Stage, ledger: LedgerFile) -> None:
    """Of a list nobody knows which were told before."""
    data = [{"id": "resp_3", "background": True, "usage": MADE}]
    stage["stored"].answer(Raw(body=json.dumps({"object": "list", "data": data}).encode()))
    assert _ask(stage, "lists", "GET", "responses?limit=3").status_code == 200
    assert _told(ledger, "responses?limit=3", 1) == [None]


def test_a_batch_is_in_the_books_once_it_is_over_and_no_limit_is_charged(stage: Stage, ledger: LedgerFile) -> None:
    """It may be of millions of tokens, and is sold at prices of its own."""
    batch = {"id": "batch_1", "object": "batch", "status": "in_progress", "model": "gpt-5", "metadata": {"usage": "a}"}}
    over = {**batch, "status": "completed", "usage": MADE}
    split = json.dumps(over).encode()
    stage["stored"].answer(
        Raw(body=json.dumps({**batch, "usage": MADE}).encode()),
        Raw(body=(split[:60], split[60:]), delivery=Delivery(pause_seconds=0.05)),
        Raw(body=split),
    )
    for _ in range(4):
        assert _ask(stage, "waits", "GET", "batches/batch_1").status_code == 200
    assert _told(ledger, "batch_1", 4) == [None] * 3 + [100]
    (row,) = [row for row in ledger.rows() if row["operation"] == "batch"]
    assert (row["original_model"], row["request_model"], row["usage_source"]) == ("gpt-5", "gpt-5", "reported")
    assert (row["price"], row["cost_nanos"]) == ("batch:gpt-5@1970-01-01", 60 * 1_000 + 40 * 5_000)
    _wait_settled(stage, "waits", BUDGET)
    stage["stored"].answer(Raw(body=json.dumps({"object": "list", "data": [over, over]}).encode()))
    assert _ask(stage, "waits", "GET", "batches?limit=2").status_code == 200
    assert _told(ledger, "batches?limit=2", 1) == [None]
