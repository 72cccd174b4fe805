"""The books add up: of 1,000 mixed requests, log, store and `headgate usage` say exactly what the providers served, and
each has a whole trace.

Both lanes, streams, failures, failovers, clients that hang up, limits, models that nobody serves. The providers keep
their own account, of what they told in full; every answer has other counts.
"""

import json
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count, repeat
from pathlib import Path
from threading import Lock
from typing import Any

import httpx
import pytest
from headgate.cli.main import main
from support import manifests
from support.ledger import LedgerFile
from support.manifests import api_keys, backend, limits, ref, route, rule, target
from support.otlp import CLIENT, SERVER, OtlpReceiver, Span
from support.prometheus import Page
from support.providers import ANTHROPIC, OPENAI, Answer, Delivery, Failure, Provider, Usage
from support.providers.received import Received
from support.stage import Stage
from support.waiting import wait_until

REQUESTS = 1_000
CLIENTS = {"alice": "key-a", "bob": "key-b"}
LIMIT = 5
KINDS = {
    "native": 250,
    "native-stream": 200,
    "translated": 120,
    "translated-stream": 100,
    "failover": 80,
    "failover-stream": 40,
    "failing": 60,
    "refusing": 30,
    "hang-up": 50,
    "limited": 40,
    "unknown": 30,
}
CLIENT_SPAN = "00f067aa0ba902b7"
"""Of every client's own trace."""
PRICES = "prices: [{model: '*', input: 2.5, cached_input: 0.5, output: 10, reasoning: 12}]"


@dataclass
class Account:
    """What the providers served, by the model that was asked of them."""

    input: Counter[str] = field(default_factory=Counter)
    cached: Counter[str] = field(default_factory=Counter)
    output: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    micros: Counter[str] = field(default_factory=Counter)
    _lock: Lock = field(default_factory=Lock)
    _random: random.Random = field(default_factory=lambda: random.Random(7))

    def serve(self, received: Received) -> Answer:
        model = received.model
        with self._lock:
            cached, fresh = self._random.randrange(50), self._random.randrange(1, 500)
            usage = Usage(input=fresh + cached, cached=cached, output=self._random.randrange(1, 900))
            self.input[model] += usage.input
            self.cached[model] += cached
            self.output[model] += usage.output
            self.answers[model] += 1
            self.micros[model] += (fresh * 5 + cached + usage.output * 20 + 1) // 2
        return Answer(usage=usage)


def _by_model(account: Account, replies: Mapping[str, Any]) -> Callable[[Received], Any]:
    def script(received: Received) -> Any:
        model = received.model
        return replies[model] if model in replies else account.serve(received)

    return script


def _documents(stage: Stage) -> list[manifests.Document]:
    asked = {"name": "x-ai-eg-model", "type": "Exact", "value": "limited"}
    limit = {"clientSelectors": [{"headers": [asked]}], "limit": {"requests": LIMIT, "unit": "Hour"}}
    plain = ("native", "native-stream", "failing", "refusing", "hang-up", "limited")
    return [
        *manifests.gateway({"port": stage.port}),
        *backend("openai", stage["openai"].port, key="sk-o"),
        *backend("second", stage["second"].port, key="sk-2"),
        *backend("anthropic", stage["anthropic"].port, "Anthropic", key="sk-a"),
        route(
            "r",
            [
                *(rule(model, ref("openai")) for model in plain),
                *(rule(model, ref("anthropic")) for model in ("translated", "translated-stream")),
                *(rule(m, ref("openai"), ref("second", priority=1)) for m in ("failover", "failover-stream")),
            ],
        ),
        limits("limited", "r", limit),
        *api_keys("clients", target("Gateway", manifests.GATEWAY), CLIENTS),
    ]


@pytest.fixture(scope="module")
def account() -> Account:
    return Account()


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> LedgerFile:
    return LedgerFile(tmp_path_factory.mktemp("thousand") / "usage.db")


@pytest.fixture(scope="module")
def receiver() -> Iterator[OtlpReceiver]:
    with OtlpReceiver() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def statuses(
    account: Account, ledger: LedgerFile, receiver: OtlpReceiver
) -> Iterator[tuple[Stage, Counter[tuple[str, int]]]]:
    """The run: how often each kind of request got which status; 0 for a client that hung up."""
    providers = {
        "openai": Provider(OPENAI, key="sk-o"),
        "second": Provider(OPENAI, key="sk-2"),
        "anthropic": Provider(ANTHROPIC, key="sk-a"),
    }
    broken = {
        "failing": Failure(500, "broken"),
        "refusing": Failure(400, "no"),
        "failover": Failure(503, "away"),
        "failover-stream": Failure(503, "away"),
        "hang-up": Answer(delivery=Delivery(hang_after_bytes=300)),
    }
    prices = ledger.path.with_name("prices.yaml")
    prices.write_text(PRICES)
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.http_url, "OTEL_BSP_SCHEDULE_DELAY": "200"}
    with Stage(**providers) as stage:
        stage.run(_documents(stage), "--ledger", str(ledger.path), "--prices", str(prices), environment=environment)
        stage["openai"].answer(_by_model(account, broken))
        stage["second"].answer(_by_model(account, {}))
        stage["anthropic"].answer(_by_model(account, {}))
        kinds = _kinds()
        assert len(kinds) == REQUESTS
        with ThreadPoolExecutor(8) as pool, httpx.Client(base_url=stage.url, timeout=60) as client:
            found = Counter(pool.map(_ask, repeat(client), count(), kinds))
        ledger.wait(REQUESTS)
        yield stage, found


def _kinds() -> list[str]:
    """The kind of each request, in the order in which they are asked."""
    kinds = [kind for kind, many in KINDS.items() for _ in range(many)]
    random.Random(1).shuffle(kinds)
    return kinds


def _trace(number: int) -> str:
    """The trace of a request."""
    return f"{number + 1:032x}"


def _ask(client: httpx.Client, number: int, kind: str) -> tuple[str, int]:
    key = CLIENTS["alice" if number % 3 else "bob"]
    body: dict[str, Any] = {"model": kind, "messages": [{"role": "user", "content": "Hello!"}]}
    if kind.endswith("-stream") or kind == "hang-up":
        body["stream"] = True
    request = client.build_request(
        "POST",
        "/v1/chat/completions",
        json=body,
        headers={"authorization": f"Bearer {key}", "traceparent": f"00-{_trace(number)}-{CLIENT_SPAN}-01"},
    )
    response = client.send(request, stream=True)
    if kind == "hang-up":
        next(response.iter_raw())
        response.close()
        return kind, 0
    response.read()
    return kind, response.status_code


def test_every_request_came_to_what_it_should(statuses: tuple[Stage, Counter[tuple[str, int]]]) -> None:
    expected = {
        "failing": 500,
        "refusing": 400,
        "hang-up": 0,
        "unknown": 404,
    }
    wanted = Counter({(kind, expected.get(kind, 200)): many for kind, many in KINDS.items() if kind != "limited"})
    wanted[("limited", 200)], wanted[("limited", 429)] = LIMIT, KINDS["limited"] - LIMIT
    assert statuses[1] == wanted


def test_store_has_each_once(statuses: tuple[Stage, Counter[tuple[str, int]]], ledger: LedgerFile) -> None:
    del statuses
    rows = ledger.rows()
    assert len(rows) == REQUESTS
    assert Counter(row["original_model"] for row in rows) == KINDS
    errors = Counter(row["error"] for row in rows if row["error"])
    assert errors == {
        "upstream_failed": KINDS["failing"],
        "upstream_refused": KINDS["refusing"],
        "client_gone": KINDS["hang-up"],
        "limited": KINDS["limited"] - LIMIT,
        "not_found": KINDS["unknown"],
    }
    lanes = Counter(row["lane"] for row in rows)
    assert lanes["extproc"] == KINDS["translated"] + KINDS["translated-stream"]
    assert lanes["local"] == KINDS["unknown"] + KINDS["limited"] - LIMIT


def test_failovers_tell_of_both_attempts(statuses: tuple[Stage, Counter[tuple[str, int]]], ledger: LedgerFile) -> None:
    del statuses
    rows = [row for row in ledger.rows() if row["original_model"].startswith("failover")]
    tried = Counter(tuple((a["backend"].split("/")[1], a["status"]) for a in row["attempted"]) for row in rows)
    assert tried == {(("openai", 503), ("second", 200)): len(rows)}


def test_store_says_what_the_providers_served(
    statuses: tuple[Stage, Counter[tuple[str, int]]], ledger: LedgerFile, account: Account
) -> None:
    del statuses
    found = Account()
    for row in ledger.rows():
        if row["usage_source"] != "reported":
            continue
        model = row["original_model"]
        found.answers[model] += 1
        found.input[model] += row["input_tokens"]
        found.cached[model] += row["cached_input_tokens"]
        found.output[model] += row["output_tokens"]
        found.micros[model] += row["cost_micros"]
    assert found.answers == account.answers
    assert found.input == account.input
    assert found.cached == account.cached
    assert found.output == account.output
    assert found.micros == account.micros


def test_log_says_the_same(statuses: tuple[Stage, Counter[tuple[str, int]]], account: Account) -> None:
    path = statuses[0].access_log_path
    lines = wait_until(
        lambda: found if len(found := path.read_text().splitlines()) >= REQUESTS else None, f"{REQUESTS} lines"
    )
    assert len(lines) == REQUESTS
    entries = [json.loads(line) for line in lines]
    for kind, counted in (("input", account.input), ("output", account.output), ("cached_input", account.cached)):
        assert sum(entry["tokens"][kind] or 0 for entry in entries) == counted.total()
    assert sum(entry.get("cost_micros", 0) for entry in entries) == account.micros.total()


def test_usage_says_the_same(
    statuses: tuple[Stage, Counter[tuple[str, int]]],
    ledger: LedgerFile,
    account: Account,
    capsys: pytest.CaptureFixture[str],
) -> None:
    del statuses
    assert main(["usage", "--ledger", str(ledger.path), "--by", "model", "--output", "json"]) == 0
    rows = {row["model"]: row for row in json.loads(capsys.readouterr().out)}
    assert sum(row["requests"] for row in rows.values()) == REQUESTS
    assert {model: row["input_tokens"] for model, row in rows.items() if row["input_tokens"]} == account.input
    assert {model: row["output_tokens"] for model, row in rows.items() if row["output_tokens"]} == account.output
    assert {model: row["cost_micros"] for model, row in rows.items() if row["cost_micros"]} == account.micros
    assert main(["usage", "--ledger", str(ledger.path), "--by", "key,day", "--output", "json"]) == 0
    by_key = json.loads(capsys.readouterr().out)
    assert {row["key"] for row in by_key} == set(CLIENTS)
    assert sum(row["total_tokens"] for row in by_key) == account.input.total() + account.output.total()
    assert main(["usage", "--ledger", str(ledger.path), "--by", "provider", "--output", "json"]) == 0
    by_provider = {row["provider"]: row["requests"] for row in json.loads(capsys.readouterr().out)}
    translated, local = KINDS["translated"] + KINDS["translated-stream"], KINDS["unknown"] + KINDS["limited"] - LIMIT
    assert by_provider == {"anthropic": translated, "": local, "openai": REQUESTS - translated - local}


@pytest.fixture(scope="module")
def page(statuses: tuple[Stage, Counter[tuple[str, int]]]) -> Page:
    """What `/metrics` says after the run, of all processes."""
    stage = statuses[0]
    admin = stage.gateway.wait_output(r"admin +(http://\S+)").group(1)
    return Page(httpx.get(f"{admin}/metrics", timeout=30).text)


def test_metrics_say_the_same(page: Page, account: Account) -> None:
    by_model, tokens = "gen_ai_original_model", "gen_ai_client_token_usage_token_sum"
    for kind, counted in (("input", account.input), ("output", account.output), ("cached_input", account.cached)):
        assert page.by(by_model, tokens, gen_ai_token_type=kind) == counted
    served = page.by(by_model, "gen_ai_client_token_usage_token_count", gen_ai_token_type="input")
    assert served == account.answers
    cost = page.by("gen_ai_request_model", "headgate_cost_usd_total")
    assert {model: round(dollars * 1e6) for model, dollars in cost.items()} == account.micros


def test_metrics_tell_errors_apart(page: Page) -> None:
    duration = "gen_ai_server_request_duration_seconds_count"
    assert page.sum("headgate_requests_total") == page.sum(duration) == REQUESTS
    errors = {
        "upstream_failed": KINDS["failing"],
        "upstream_refused": KINDS["refusing"],
        "client_gone": KINDS["hang-up"],
        "limited": KINDS["limited"] - LIMIT,
        "not_found": KINDS["unknown"],
    }
    errors[""] = REQUESTS - sum(errors.values())
    assert page.by("error_type", "headgate_requests_total") == page.by("error_type", duration) == errors
    lanes = page.by("lane", "headgate_requests_total")
    assert lanes["extproc"] == KINDS["translated"] + KINDS["translated-stream"]
    provider = page.by("gen_ai_provider_name", duration)
    assert provider["anthropic"] == KINDS["translated"] + KINDS["translated-stream"]
    assert provider["unknown"] == lanes["local"]


def test_metrics_count_attempts(page: Page) -> None:
    failed_over = KINDS["failover"] + KINDS["failover-stream"]
    moved = page.sum("headgate_failovers_total", backend="default/openai", to="default/second")
    assert moved == page.sum("headgate_failovers_total", error_type="upstream_failed") == failed_over
    assert page.sum("headgate_attempts_total") == REQUESTS - KINDS["unknown"] - KINDS["limited"] + LIMIT + failed_over
    refused = page.sum("ratelimit_service_rate_limit_refused_total")  # the parser gives all counters that ending
    assert refused == KINDS["limited"] - LIMIT


def test_metrics_time_streams(page: Page) -> None:
    streams = ("native-stream", "translated-stream", "failover-stream")
    first = page.by("gen_ai_original_model", "gen_ai_server_time_to_first_token_seconds_count")
    assert first == {kind: KINDS[kind] for kind in (*streams, "hang-up")}
    between = page.by("gen_ai_original_model", "gen_ai_server_time_per_output_token_seconds_count")
    assert between.keys() == set(streams)
    assert page.sum("headgate_collector_dropped_total") == 0


@pytest.fixture(scope="module")
def traces(statuses: tuple[Stage, Counter[tuple[str, int]]], receiver: OtlpReceiver) -> Mapping[str, Sequence[Span]]:
    """All spans by trace, once there is one for every request and every attempt."""
    asked = sum(len(provider.requests) for provider in statuses[0].providers.values())

    def whole() -> Mapping[str, Sequence[Span]] | None:
        spans = receiver.received.spans
        if sum(span.kind == SERVER for span in spans) < REQUESTS or sum(map(_is_attempt, spans)) < asked:
            return None
        found: defaultdict[str, list[Span]] = defaultdict(list)
        for span in spans:
            found[span.trace].append(span)
        return found

    return wait_until(whole, "all spans")


def _is_attempt(span: Span) -> bool:
    return span.kind == CLIENT and not span.name.startswith("async ")


def _request_of(spans: Sequence[Span]) -> Span:
    (request,) = [span for span in spans if span.kind == SERVER]
    return request


def test_each_trace_is_whole_and_parented(
    statuses: tuple[Stage, Counter[tuple[str, int]]], traces: Mapping[str, Sequence[Span]]
) -> None:
    told: defaultdict[str, list[str]] = defaultdict(list)
    for provider in statuses[0].providers.values():
        for received in provider.requests:
            _, trace, span, flags = (received.header("traceparent") or "").split("-")
            assert flags == "01"
            told[trace].append(span)
    assert traces.keys() == {_trace(number) for number in range(REQUESTS)}
    for number, kind in enumerate(_kinds()):
        spans = traces[_trace(number)]
        request = _request_of(spans)
        assert request.parent == CLIENT_SPAN
        others = [span for span in spans if span is not request]
        assert {span.parent for span in others} <= {request.id}, kind
        assert len({span.id for span in spans}) == len(spans)
        assert all(request.start <= span.start for span in others), kind
        attempts = [span.id for span in others if _is_attempt(span)]
        assert sorted(attempts) == sorted(told[_trace(number)]), kind
        processed = sum("ExternalProcessor" in span.name for span in others)
        assert processed == (1 if kind.startswith("translated") else 0), kind


def test_spans_say_what_the_store_says(
    traces: Mapping[str, Sequence[Span]], ledger: LedgerFile, account: Account
) -> None:
    requests = [_request_of(spans) for spans in traces.values()]
    stored = Counter((row["original_model"], row["error"]) for row in ledger.rows())
    assert Counter((span["gen_ai.original.model"], span["error.type"] or "") for span in requests) == stored
    counted = [span for span in requests if span["gen_ai.usage.input_tokens"] is not None]
    for attribute, served in (
        ("gen_ai.usage.input_tokens", account.input),
        ("gen_ai.usage.output_tokens", account.output),
        ("gen_ai.usage.cache_read.input_tokens", account.cached),
    ):
        assert sum(int(str(span[attribute] or 0)) for span in counted) == served.total(), attribute
    assert {span.name for span in requests} == {f"chat {kind}" for kind in KINDS}


def test_no_key_is_in_any_of_it(
    statuses: tuple[Stage, Counter[tuple[str, int]]], ledger: LedgerFile, receiver: OtlpReceiver
) -> None:
    stage = statuses[0]
    kept = [stage.access_log_path.read_bytes(), stage.gateway.output.encode()]
    kept += [path.read_bytes() for path in Path(ledger.path).parent.glob("usage.db*")]
    kept += receiver.received.raw
    for secret in (*CLIENTS.values(), "sk-o", "sk-2", "sk-a", "Hello!"):
        assert all(secret.encode() not in text for text in kept), secret
