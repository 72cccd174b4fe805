"""Request headers that users map to attributes: in metrics, logs and spans of both lanes, through the real Envoy."""

from collections.abc import Iterator

import httpx
import pytest
from support import manifests
from support.manifests import backend, ref, route, rule
from support.otlp import SERVER, OtlpReceiver
from support.prometheus import Page
from support.providers import ANTHROPIC, OPENAI, Provider
from support.stage import Stage
from support.waiting import wait_until

pytestmark = pytest.mark.envoy

HISTOGRAMS = (
    "gen_ai_client_token_usage_token",
    "gen_ai_server_request_duration_seconds",
    "gen_ai_server_time_to_first_token_seconds",
    "gen_ai_server_time_per_output_token_seconds",
)
SENT = {"x-org": "acme", "x-team": "research", "x-project": "p-1", "x-run": "r-7", "agent-session-id": "s-1"}


@pytest.fixture(scope="module")
def receiver() -> Iterator[OtlpReceiver]:
    with OtlpReceiver() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def stage(receiver: OtlpReceiver) -> Iterator[Stage]:
    with Stage(openai=Provider(OPENAI, key="sk-o"), anthropic=Provider(ANTHROPIC, key="sk-a")) as stage:
        documents = [
            *manifests.gateway({"port": stage.port}),
            *backend("openai", stage["openai"].port, key="sk-o"),
            *backend("anthropic", stage["anthropic"].port, "Anthropic", key="sk-a"),
            route("r", [rule("gpt", ref("openai")), rule("claude", ref("anthropic"))]),
        ]
        stage.run(
            documents,
            "--metrics",
            *("--request-header-attributes", "x-org:org,x-team:group"),
            *("--metrics-request-header-attributes", "x-team:team"),
            *("--log-request-header-attributes", "x-project:project"),
            *("--span-request-header-attributes", "x-run:run"),
            environment={
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{receiver.http_url}/v1/traces",
                "OTEL_BSP_SCHEDULE_DELAY": "100",
            },
        )
        for model in ("gpt", "claude"):
            for stream in (False, True):
                body = {"model": model, "stream": stream, "messages": [{"role": "user", "content": "Hello!"}]}
                answer = stage.http.post(f"{stage.url}/v1/chat/completions", json=body, headers=SENT)
                assert answer.status_code == 200
        assert stage.chat("gpt").status_code == 200
        yield stage
        stage.check()


@pytest.fixture(scope="module")
def page(stage: Stage) -> Page:
    admin = stage.gateway.wait_output(r"admin +(http://\S+)").group(1)

    def complete() -> Page | None:
        found = Page(httpx.get(f"{admin}/metrics").text)
        return found if found.sum("headgate_requests_total") == 5 else None

    return wait_until(complete, "all requests in the metrics")


@pytest.mark.parametrize("histogram", HISTOGRAMS)
@pytest.mark.parametrize("model", ["gpt", "claude"])
def test_metrics_have_them(page: Page, histogram: str, model: str) -> None:
    mapped = {"org": "acme", "team": "research", "gen_ai_original_model": model}
    assert page.sum(f"{histogram}_count", **mapped) > 0
    assert page.sum(f"{histogram}_count", group="research") == 0, "the metrics' own name of a header wins"


def test_a_request_without_the_headers_has_no_such_labels(page: Page) -> None:
    every = page.sum("gen_ai_server_request_duration_seconds_count")
    assert every - page.sum("gen_ai_server_request_duration_seconds_count", org="acme") == 1


def test_logs_have_them(stage: Stage) -> None:
    entries = stage.access(lambda entry: "labels" in entry, 4)
    mapped = {"org": "acme", "group": "research", "team": "research", "project": "p-1"}
    assert [entry["labels"] for entry in entries] == [mapped] * 4


def test_spans_have_them(stage: Stage, receiver: OtlpReceiver) -> None:
    spans = receiver.wait(lambda span: span.kind == SERVER and span["org"] == "acme", 4)
    for span in spans:
        assert (span["group"], span["run"], span["team"], span["session.id"]) == ("research", "r-7", None, None)
