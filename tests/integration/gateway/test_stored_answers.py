"""What is fetched and tells each time what it used, through the real Envoy: limits and books count it once."""

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
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
STORED = OperationsApi({"/v1/(?i:responses)(/.*)?": "", "/v1/batches(/.*)?": ""})
RESULTS = OperationsApi({"/v1/messages/batches/.*": ""}, credential_header="x-api-key", credential_format="{}")
PRICES = """prices:
- {model: gpt-5, input: 2, output: 10}
- {model: gpt-5, batch: true, input: 1, output: 5}
- {model: claude, batch: true, input: 1, cached_input: 0.1, cache_creation_input: 2, output: 5}
"""
MADE = {"input_tokens": 60, "output_tokens": 40, "total_tokens": 100}


def _documents(stage: Stage) -> list[Document]:
    spec = {
        **manifests.target("AIGatewayRoute", "stored"),
        "rules": [{"name": "yearly", "unit": "tokens", "amount": BUDGET, "window": "year", "per": ["header:x-user"]}],
    }
    return [
        *manifests.gateway({"port": stage.port}),
        *backend("stored", stage["stored"].port, key="sk-stored"),
        route(
            "stored",
            [rule("", ref("stored"))],
            **manifests.costs(named="model == 'gpt-5' ? 2u * total_tokens : total_tokens"),
        ),
        *backend("claude", stage["claude"].port, "Anthropic", key="sk-claude"),
        route("claude", [rule("", ref("claude"))], hostnames=["claude.test"]),
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
    providers = {"stored": Provider(STORED, key="sk-stored"), "claude": Provider(RESULTS, key="sk-claude")}
    with Stage(**providers) as stage:
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


def _streamed(name: str, usage: object) -> Raw:
    response = {
        "id": name,
        "object": "response",
        "status": "queued",
        "background": True,
        "model": "gpt-5",
        "usage": None,
    }
    ended = {**response, "status": "completed", "usage": usage}
    events = (("created", response), ("output_text.delta", None), ("completed", ended))
    body = tuple(
        f"event: response.{kind}\ndata: {json.dumps({'type': f'response.{kind}', **_said(said)})}\n\n".encode()
        for kind, said in events
    )
    return Raw(body=body, content_type="text/event-stream")


def _said(response: object) -> dict[str, object]:
    return {"delta": "words " * 20} if response is None else {"response": response}


@pytest.mark.parametrize("pause", [0.0, 0.02])
def test_one_that_was_streamed_and_then_fetched_is_charged_once(stage: Stage, ledger: LedgerFile, pause: float) -> None:
    user, name = f"streams {pause}", f"resp_S{pause}"
    streamed = replace(_streamed(name, MADE), delivery=Delivery(pause_seconds=pause))
    stage["stored"].answer(streamed, _response(name, usage=MADE))
    body = {"model": "gpt-5", "input": "a", "stream": True, "background": True}
    assert stage.post(f"/v1/responses?for={name}", body, x_user=user).text.endswith("\n\n")
    for _ in range(2):
        assert _ask(stage, user, "GET", f"responses/{name}").status_code == 200
    assert _told(ledger, name, 2) == [None, None]
    assert _told(ledger, f"responses?for={name}", 1) == [100]
    _wait_settled(stage, user, BUDGET - 100)


@pytest.mark.parametrize("path", ["responses/resp_b", "batches/batch_b"])
def test_what_is_fetched_with_a_body_was_counted_before(stage: Stage, ledger: LedgerFile, path: str) -> None:
    """Else one stored answer could use up a budget that others share."""
    said = {"id": "b", "object": "response", "status": "completed", "model": "gpt-5", "usage": MADE}
    stage["stored"].answer(Raw(body=json.dumps(said).encode()))
    headers = {"x-user": path, "content-type": "application/json"}
    found = stage.http.request("GET", f"{stage.url}/v1/{path}", headers=headers, content=b"{}")
    assert found.status_code == 200, found.text
    _wait_settled(stage, path, BUDGET)
    assert all(count is None for count in _told(ledger, path.partition("/")[2], 1))


def test_a_request_cannot_say_that_another_response_was_fetched(stage: Stage, ledger: LedgerFile) -> None:
    for number in range(3):
        name = f"resp_i{number}"
        stage["stored"].answer(_response(name, usage=MADE))
        headers = {"x-user": "names", "x-request-id": "a /v1/responses/resp_1 b"}
        assert stage.http.get(f"{stage.url}/v1/responses/{name}", headers=headers).status_code == 200
    assert _told(ledger, "resp_i", 3) == [100] * 3
    _wait_settled(stage, "names", BUDGET - 300)


@pytest.mark.parametrize(
    "path", ["Responses/resp_P1", "responses//resp_P2", "responses/resp%5FP3", "responses%2Fresp_P4"]
)
def test_another_spelling_of_the_path_is_not_free(stage: Stage, ledger: LedgerFile, path: str) -> None:
    stage["stored"].answer(_response(path, usage=MADE))
    for _ in range(2):
        assert _ask(stage, path, "GET", path).status_code == 200
    _wait_settled(stage, path, BUDGET - 100)


def test_a_cost_that_names_the_model_is_charged_where_a_request_names_none(stage: Stage, ledger: LedgerFile) -> None:
    stage["stored"].answer(_response("resp_n", usage=MADE))
    assert _ask(stage, "names none", "GET", "responses/resp_n").status_code == 200
    assert _told(ledger, "resp_n", 1) == [100]
    (row,) = [row for row in ledger.rows() if row["path"].endswith("/resp_n")]
    assert row["costs"]["named"] == 100


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


def _result(number: int, model: str = "claude") -> bytes:
    usage = {
        "input_tokens": 10,
        "cache_read_input_tokens": 3,
        "cache_creation_input_tokens": 2,
        "output_tokens": number,
    }
    said = {"type": "tool_use", "id": "t", "name": "n", "input": {"usage": {"output_tokens": 999_999}}}
    message = {"id": "msg", "type": "message", "role": "assistant", "model": model, "content": [said], "usage": usage}
    return json.dumps({"custom_id": str(number), "result": {"type": "succeeded", "message": message}}).encode() + b"\n"


FAILED = b'{"custom_id":"x","result":{"type":"errored","error":{"type":"error","error":{"message":"no"}}}}\n'


@pytest.mark.parametrize("cut", [7, 100_000])
def test_the_results_of_a_batch_are_in_the_books_once(stage: Stage, ledger: LedgerFile, cut: int) -> None:
    """Anthropic's batches do not tell what they used."""
    results = FAILED + b"".join(map(_result, range(10, 13))) + FAILED
    parts = tuple(results[start : start + cut] for start in range(0, len(results), cut))
    stage["claude"].answer(Raw(body=parts, content_type="application/x-jsonl"))
    path, name = f"/v1/messages/batches/msgbatch_{cut}/results", f"msgbatch_{cut}"
    for _ in range(2):
        found = stage.http.get(f"{stage.url}{path}", headers={"host": "claude.test"})
        assert found.content == results
    assert _told(ledger, name, 2) == [None, 3 * 15 + 33]
    (row,) = [row for row in ledger.rows() if row["operation"] == "batch" and name in row["path"]]
    assert (row["original_model"], row["cached_input_tokens"], row["cache_creation_input_tokens"]) == ("claude", 9, 6)
    assert row["cost_nanos"] == 30 * 1_000 + 9 * 100 + 6 * 2_000 + 33 * 5_000


def test_results_that_are_not_whole_or_of_several_models_say_so(stage: Stage, ledger: LedgerFile) -> None:
    results = _result(10) + _result(11, "other")
    stage["claude"].answer(
        Raw(
            body=(results[:300], results[300:]),
            content_type="application/x-jsonl",
            delivery=Delivery(abort_after_bytes=310),
        ),
        Raw(body=results, content_type="application/x-jsonl"),
    )
    for _ in range(2):
        with suppress(httpx.HTTPError):
            stage.http.get(f"{stage.url}/v1/messages/batches/msgbatch_m/results", headers={"host": "claude.test"})
    assert _told(ledger, "msgbatch_m", 2) == [None, 2 * 15 + 21]
    (row,) = [row for row in ledger.rows() if row["operation"] == "batch" and "msgbatch_m" in row["path"]]
    assert (row["original_model"], row["cost_nanos"]) == ("", None)


TOOL = {"type": "function", "name": "f", "parameters": {"properties": {"background": True}}}
"""A schema that anything satisfies, under a name that a client chose."""


def test_a_client_that_speaks_of_the_background_pays_each_time(stage: Stage, ledger: LedgerFile) -> None:
    """Some servers call all their answers alike: what they stream counts but once where it can be fetched again."""
    said = {"id": "resp_same", "object": "response", "background": False, "model": "gpt-5", "tools": [TOOL]}
    events = (
        {"type": "response.created", "response": {**said, "status": "in_progress", "usage": None}},
        {"type": "response.completed", "response": {**said, "status": "completed", "usage": MADE}},
    )
    body = b"".join(f"event: {each['type']}\ndata: {json.dumps(each)}\n\n".encode() for each in events)
    stage["stored"].answer(Raw(body=body, content_type="text/event-stream"))
    asked = {"model": "gpt-5", "input": "a", "stream": True, "tools": [TOOL]}
    for _ in range(2):
        assert stage.post("/v1/responses?for=resp_same", asked, x_user="says").status_code == 200
    assert _told(ledger, "responses?for=resp_same", 2) == [100, 100]
    _wait_settled(stage, "says", BUDGET - 200)


@pytest.mark.parametrize("cut", ["whole", "bytes"])
def test_one_whose_client_spoke_of_the_background_was_counted_when_it_was_made(
    stage: Stage, ledger: LedgerFile, cut: Any
) -> None:
    name = f"resp_tool_{cut}"
    made = _response(name, background=False, tools=[TOOL], usage=MADE)
    stage["stored"].answer(replace(made, delivery=Delivery(cut=cut)))
    assert _ask(stage, f"spoke {cut}", "GET", f"responses/{name}").status_code == 200
    assert _told(ledger, name, 1) == [None]
    _wait_settled(stage, f"spoke {cut}", BUDGET)


@pytest.mark.parametrize("cut", ["whole", "bytes"])
def test_one_that_was_made_in_the_background_is_known_behind_its_tools(
    stage: Stage, ledger: LedgerFile, cut: Any
) -> None:
    name = f"resp_behind_{cut}"
    said = {"id": name, "object": "response", "tools": [TOOL, {"a": '"\\'}], "background": True, "usage": MADE}
    stage["stored"].answer(Raw(body=json.dumps(said).encode(), delivery=Delivery(cut=cut)))
    for _ in range(2):
        assert _ask(stage, f"behind {cut}", "GET", f"responses/{name}").status_code == 200
    assert _told(ledger, name, 2) == [None, 100]
    _wait_settled(stage, f"behind {cut}", BUDGET - 100)


def test_what_is_fetched_in_parts_is_fetched_whole(stage: Stage, ledger: LedgerFile) -> None:
    """A part that leaves the usage out would be free."""
    stage["stored"].answer(_response("resp_part", usage=MADE))
    headers = {"x-user": "parts", "range": "bytes=0-99", "if-range": '"a"'}
    found = stage.http.get(f"{stage.url}/v1/responses/resp_part", headers=headers)
    assert (found.status_code, found.json()["usage"]) == (200, MADE)
    assert stage["stored"].last.header("range") is None
    assert _told(ledger, "resp_part", 1) == [100]
    _wait_settled(stage, "parts", BUDGET - 100)
