"""The books add up: of 1,000 mixed requests, log, store, metrics and `headgate usage` say exactly what the providers
served, and each has a whole trace.

The providers keep their own account, of what they told in full (`support.mixed_requests`).
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count, repeat
from pathlib import Path
from typing import Any

import httpx
import pytest
from headgate.cli.main import main
from support.ledger import LedgerFile
from support.mixed_requests import (
    CLIENT_DIALECTS,
    CLIENTS,
    COSTS,
    CUT_STREAM,
    HUNG_UP,
    KINDS,
    LIMIT,
    PRICES,
    REQUESTS,
    SECRETS,
    Account,
    asked,
    documents,
    kinds,
    providers,
    script,
)
from support.otlp import CLIENT, SERVER, OtlpReceiver, Span
from support.prometheus import Page
from support.stage import Stage
from support.waiting import wait_until

CLIENT_SPAN = "00f067aa0ba902b7"
"""Of every client's own trace."""
Ran = tuple[Stage, Counter[tuple[str, int]]]


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
def statuses(account: Account, ledger: LedgerFile, receiver: OtlpReceiver) -> Iterator[Ran]:
    """The run: how often each kind of request got which status."""
    prices = ledger.path.with_name("prices.yaml")
    prices.write_text(PRICES)
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.http_url, "OTEL_BSP_SCHEDULE_DELAY": "200"}
    with Stage(**providers()) as stage:
        stage.run(documents(stage), "--ledger", str(ledger.path), "--prices", str(prices), environment=environment)
        for name, provider in stage.providers.items():
            provider.answer(script(account, name))
        with ThreadPoolExecutor(8) as pool, httpx.Client(base_url=stage.url, timeout=60) as client:
            found = Counter(pool.map(_ask, repeat(client), count(), kinds()))
        ledger.wait(REQUESTS)
        problems = {name: provider.problems for name, provider in stage.providers.items() if provider.problems}
        assert not problems, "providers refused requests"
        yield stage, found


def _trace(number: int) -> str:
    """The trace of a request."""
    return f"{number + 1:032x}"


def _ask(client: httpx.Client, number: int, name: str) -> tuple[str, int]:
    kind = KINDS[name]
    key = kind.key or CLIENTS["alice" if number % 3 else "bob"]
    path, body = asked(name)
    headers = {"authorization": f"Bearer {key}", "traceparent": f"00-{_trace(number)}-{CLIENT_SPAN}-01"}
    headers |= {"content-type": "application/json", **CLIENT_DIALECTS[kind.client].headers}
    request = client.build_request("POST", path, content=body, headers=headers)
    response = client.send(request, stream=True)
    if kind.status == HUNG_UP:
        next(response.iter_raw())
        response.close()
        return name, HUNG_UP
    try:
        response.read()
    except httpx.RemoteProtocolError:
        return name, CUT_STREAM
    return name, response.status_code


UNREAD = ("stranger", "twice")
"""Kinds that are refused before their model is known, and so before their route is."""
UNROUTED = (*UNREAD, "unknown")
UNSERVED = frozenset(name for name, kind in KINDS.items() if kind.unit or name in UNROUTED)
"""Kinds for which no backend is asked where they fail."""


def _kind_of(row: Mapping[str, Any]) -> str:
    """Of a row of the store."""
    return row["original_model"] or next(name for name in UNREAD if KINDS[name].error == row["error"])


@pytest.fixture(scope="module")
def failed(statuses: Ran, account: Account) -> Counter[str]:
    """How many of a kind came to its error; of those with a limit, what was not served."""
    del statuses
    return Counter({name: kind.many - _let_in(account, name) for name, kind in KINDS.items() if kind.error})


def _let_in(account: Account, name: str) -> int:
    return account.answers[name] if KINDS[name].unit else 0


def _errors(failed: Mapping[str, int]) -> Counter[str]:
    """How many requests ended how."""
    found = Counter[str]()
    for name, many in failed.items():
        found[KINDS[name].error] += many
    return found


def _local(failed: Mapping[str, int]) -> int:
    """For how many no backend was asked."""
    return sum(failed[name] for name in UNSERVED)


def test_every_request_came_to_what_it_should(statuses: Ran, failed: Mapping[str, int]) -> None:
    wanted = Counter({(name, kind.status): failed.get(name, kind.many) for name, kind in KINDS.items()})
    for name, kind in KINDS.items():
        if kind.unit:
            wanted[name, 200] = kind.many - failed[name]
    assert statuses[1] == wanted


def test_limits_let_in_what_fits(statuses: Ran, account: Account) -> None:
    """Requests, tokens and money, to the last that has room, however many came at once."""
    # on a machine too busy for an answer within 5 s Envoy lets in what it could not ask for, as it is told to
    unasked = statuses[0].stat("envoy_cluster_ratelimit_failure_mode_allowed")
    let_in = {name: _let_in(account, name) for name, kind in KINDS.items() if kind.unit}
    assert all(LIMIT <= many <= LIMIT + unasked for many in let_in.values()), (let_in, unasked)
    spent = account.input["tokens"] + account.output["tokens"]
    assert spent == let_in["tokens"] * COSTS["tokens"]
    assert account.nanos["money"] == 1000 * let_in["money"] * COSTS["usd"]


def test_store_has_each_once(failed: Mapping[str, int], ledger: LedgerFile) -> None:
    rows = ledger.rows()
    assert len(rows) == REQUESTS
    asked_for = Counter(row["original_model"] for row in rows)
    assert asked_for.pop("") == sum(KINDS[name].many for name in UNREAD)
    assert asked_for == {name: kind.many for name, kind in KINDS.items() if name not in UNREAD}
    assert Counter(row["error"] for row in rows if row["error"]) == _errors(failed)


def test_store_says_who_served(statuses: Ran, ledger: LedgerFile) -> None:
    del statuses
    for row in ledger.rows():
        name = _kind_of(row)
        kind = KINDS[name]
        local = name in UNROUTED or row["error"] == "limited"
        assert row["lane"] == ("local" if local else kind.lane), row
        assert row["route"] == ("" if name in UNROUTED else f"default/{name}"), row
        assert row["stream"] == kind.stream or local, row
        assert row["operation"] == CLIENT_DIALECTS[kind.client].measured, row


def test_every_attempt_is_told(statuses: Ran, ledger: LedgerFile) -> None:
    del statuses
    for row in ledger.rows():
        kind = KINDS[_kind_of(row)]
        tried = [attempt["backend"].split("/")[1] for attempt in row["attempted"]]
        fails_over = len(kind.backends) > 1
        assert tried == ([] if row["lane"] == "local" else list(kind.backends)), row
        if fails_over:
            first, second = row["attempted"]
            assert (first["status"], first["error"]) == (kind.reply.status, "upstream_failed")
            assert (second["status"], second.get("error")) == (200, None)


def test_store_says_what_the_providers_served(statuses: Ran, ledger: LedgerFile, account: Account) -> None:
    del statuses
    found = Account()
    for row in ledger.rows():
        if row["usage_source"] != "reported" or row["error"]:
            continue
        model = row["original_model"]
        found.answers[model] += 1
        found.input[model] += row["input_tokens"]
        found.cached[model] += row["cached_input_tokens"] or 0
        found.output[model] += row["output_tokens"] or 0
        found.nanos[model] += row["cost_nanos"]
    assert found.answers == account.answers
    assert found.input == account.input
    assert +found.cached == +account.cached
    assert +found.output == +account.output
    assert found.nanos == account.nanos


def test_log_says_the_same(statuses: Ran, ledger: LedgerFile) -> None:
    path = statuses[0].access_log_path
    lines = wait_until(
        lambda: found if len(found := path.read_text().splitlines()) >= REQUESTS else None, f"{REQUESTS} lines"
    )
    assert len(lines) == REQUESTS
    rows = {row["id"]: row for row in ledger.rows()}
    for entry in map(json.loads, lines):
        row = rows.pop(entry["id"])
        for name in ("original_model", "response_model", "error", "lane", "route", "operation", "client", "provider"):
            assert entry.get(name, "") == row[name], name
        for kind in ("input", "output", "cached_input", "total"):
            assert entry.get("tokens", {}).get(kind) == row[f"{kind}_tokens"], kind
        assert entry.get("cost_nanos") == row["cost_nanos"]
    assert not rows


def _usage(ledger: LedgerFile, by: str, capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    assert main(["usage", "--ledger", str(ledger.path), "--by", by, "--output", "json"]) == 0
    found: list[dict[str, object]] = json.loads(capsys.readouterr().out)
    return found


def test_usage_says_the_same(
    failed: Mapping[str, int], ledger: LedgerFile, account: Account, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = {row["model"]: row for row in _usage(ledger, "model", capsys)}
    stored = ledger.rows()
    assert sum(int(str(row["requests"])) for row in rows.values()) == REQUESTS
    for name, of_providers in (
        ("input_tokens", account.input),
        ("output_tokens", account.output),
        ("cost_nanos", account.nanos),
    ):
        # of what broke off, what was told or estimated until then is kept too
        broken = Counter[str]()
        for row in stored:
            broken[row["original_model"]] += (row[name] or 0) if row["error"] else 0
        assert {model: row[name] for model, row in rows.items() if row[name]} == of_providers + broken, name
    by_key = _usage(ledger, "key,day", capsys)
    assert {row["key"] for row in by_key} == {*CLIENTS, ""}
    assert sum(int(str(row["requests"])) for row in by_key if not row["key"]) == sum(
        KINDS[name].many for name in UNREAD
    )
    by_provider = {row["provider"]: row["requests"] for row in _usage(ledger, "provider", capsys)}
    assert by_provider == Counter(row["provider"] for row in stored)
    assert by_provider[""] == _local(failed)


@pytest.fixture(scope="module")
def page(statuses: Ran) -> Page:
    """What `/metrics` says after the run, of all processes."""
    stage = statuses[0]
    admin = stage.gateway.wait_output(r"admin +(http://\S+)").group(1)
    return Page(httpx.get(f"{admin}/metrics", timeout=30).text)


def test_metrics_say_the_same(page: Page, ledger: LedgerFile) -> None:
    by_model, tokens = "gen_ai_original_model", "gen_ai_client_token_usage_token_sum"
    rows = ledger.rows()
    for kind in ("input", "output", "cached_input"):
        counted = Counter[str]()
        for row in rows:
            counted[row["original_model"]] += row[f"{kind}_tokens"] or 0
        assert +Counter(page.by(by_model, tokens, gen_ai_token_type=kind)) == +counted, kind
    cost = page.by("gen_ai_request_model", "headgate_cost_usd_total")
    nanos = Counter[str]()
    for row in rows:
        nanos[row["original_model"]] += row["cost_nanos"] or 0
    assert {model: round(dollars * 1e9) for model, dollars in cost.items() if dollars} == +nanos


def test_metrics_tell_errors_and_operations_apart(page: Page, failed: Mapping[str, int]) -> None:
    duration = "gen_ai_server_request_duration_seconds_count"
    assert page.sum("headgate_requests_total") == page.sum(duration) == REQUESTS
    errors = {**_errors(failed), "": REQUESTS - sum(failed.values())}
    assert page.by("error_type", "headgate_requests_total") == page.by("error_type", duration) == errors
    lanes = page.by("lane", "headgate_requests_total")
    served = Counter[str]()
    for name, kind in KINDS.items():
        served[kind.lane] += kind.many - (failed[name] if name in UNSERVED else 0)
    assert lanes == {**served, "local": _local(failed)}
    operations = Counter[str]()
    for kind in KINDS.values():
        operations[CLIENT_DIALECTS[kind.client].measured] += kind.many
    assert page.by("gen_ai_operation_name", duration) == operations
    assert page.by("gen_ai_provider_name", duration)["unknown"] == _local(failed)


def test_metrics_count_attempts(page: Page, failed: Mapping[str, int]) -> None:
    failed_over = sum(kind.many for kind in KINDS.values() if len(kind.backends) > 1)
    assert page.sum("headgate_failovers_total") == failed_over
    assert page.sum("headgate_attempts_total") == REQUESTS - _local(failed) + failed_over
    refused = page.sum("ratelimit_service_rate_limit_refused_total")  # the parser gives all counters that ending
    assert refused == _errors(failed)["limited"]


def test_metrics_time_streams(page: Page, failed: Mapping[str, int]) -> None:
    unserved = {name: failed[name] for name in UNSERVED}
    streams = {name: kind.many - unserved.get(name, 0) for name, kind in KINDS.items() if kind.stream}
    first = page.by("gen_ai_original_model", "gen_ai_server_time_to_first_token_seconds_count")
    assert first == streams
    between = page.by("gen_ai_original_model", "gen_ai_server_time_per_output_token_seconds_count")
    assert between.keys() == {name for name in streams if KINDS[name].unit or not KINDS[name].error}
    assert page.sum("headgate_collector_dropped_total") == 0


@pytest.fixture(scope="module")
def traces(statuses: Ran, receiver: OtlpReceiver) -> Mapping[str, Sequence[Span]]:
    """All spans by trace, once there is one for every request and every attempt."""
    asked_of = sum(len(provider.requests) for provider in statuses[0].providers.values()) + KINDS["gone"].many

    def whole() -> Mapping[str, Sequence[Span]] | None:
        spans = receiver.received.spans
        if sum(span.kind == SERVER for span in spans) < REQUESTS or sum(map(_is_attempt, spans)) < asked_of:
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


def test_each_trace_is_whole_and_parented(statuses: Ran, traces: Mapping[str, Sequence[Span]]) -> None:
    told: defaultdict[str, list[str]] = defaultdict(list)
    for provider in statuses[0].providers.values():
        for received in provider.requests:
            _, trace, span, flags = (received.header("traceparent") or "").split("-")
            assert flags == "01"
            told[trace].append(span)
    assert traces.keys() == {_trace(number) for number in range(REQUESTS)}
    for number, name in enumerate(kinds()):
        spans = traces[_trace(number)]
        request = _request_of(spans)
        assert request.parent == CLIENT_SPAN
        others = [span for span in spans if span is not request]
        assert {span.parent for span in others} <= {request.id}, name
        assert len({span.id for span in spans}) == len(spans)
        assert all(request.start <= span.start for span in others), name
        attempts = {span.id for span in others if _is_attempt(span)}
        assert attempts >= set(told[_trace(number)]), name
        assert len(attempts) == len(told[_trace(number)]) + (name == "gone"), name
        operation = CLIENT_DIALECTS[KINDS[name].client].operation
        assert request.name == f"{operation} {name}" or name in UNREAD, name


def test_spans_say_what_the_store_says(traces: Mapping[str, Sequence[Span]], ledger: LedgerFile) -> None:
    requests = [_request_of(spans) for spans in traces.values()]
    rows = ledger.rows()
    stored = Counter((row["original_model"], row["error"]) for row in rows)
    assert Counter((span["gen_ai.original.model"] or "", span["error.type"] or "") for span in requests) == stored
    for attribute, column in (
        ("gen_ai.usage.input_tokens", "input_tokens"),
        ("gen_ai.usage.output_tokens", "output_tokens"),
        ("gen_ai.usage.cache_read.input_tokens", "cached_input_tokens"),
    ):
        in_spans, in_rows = Counter[str](), Counter[str]()
        for span in requests:
            in_spans[str(span["gen_ai.original.model"])] += int(str(span[attribute] or 0))
        for row in rows:
            # a prompt whose client left before a word came back is guessed for the books alone
            left_at_once = row["usage_source"] == "estimated" and not row["output_tokens"]
            in_rows[row["original_model"]] += 0 if left_at_once else row[column] or 0
        assert +in_spans == +in_rows, attribute


def test_no_key_is_in_any_of_it(statuses: Ran, ledger: LedgerFile, receiver: OtlpReceiver) -> None:
    stage = statuses[0]
    kept = [stage.access_log_path.read_bytes(), stage.gateway.output.encode()]
    kept += [path.read_bytes() for path in Path(ledger.path).parent.glob("usage.db*")]
    kept += receiver.received.raw
    for secret in (*CLIENTS.values(), *SECRETS, "nobody's", "secret-of-aws", "Hello!"):
        assert all(secret.encode() not in text for text in kept), secret
