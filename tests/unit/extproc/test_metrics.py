"""The processor's own health."""

from headgate.extproc.metrics import ROUTER, UPSTREAM, Metrics
from headgate.extproc.report import Report
from headgate.llm.endpoints import Endpoint, endpoint_named
from headgate.llm.usage import NO_USAGE
from support.ext_proc_streams import backend
from support.prometheus import Page


def report(endpoint: Endpoint | None, *, error: str = "", complete: bool = True) -> Report:
    return Report(
        facts=backend(),
        endpoint=endpoint,
        original_model="m",
        request_model="m2",
        response_model="m3",
        usage=NO_USAGE,
        status=200,
        error=error,
        complete=complete,
    )


def test_attempts_are_counted_by_what_is_translated() -> None:
    metrics, chat = Metrics(), endpoint_named("chat-completions")
    for each in (report(chat), report(chat, error="invalid_json"), report(chat, complete=False), report(None)):
        metrics.opened(UPSTREAM)
        metrics.record(each)
    metrics.opened(ROUTER)
    page = Page(metrics.text())
    assert page.by("error_type", "headgate_extproc_attempts_total", client_dialect="openai-chat") == {
        "": 2,
        "invalid_json": 1,
    }
    assert page.sum("headgate_extproc_attempts_incomplete_total", backend_dialect="anthropic-messages") == 1
    assert page.by("kind", "headgate_extproc_streams_total") == {"upstream": 4, "router": 1}
    assert page.sum("headgate_extproc_streams_open") == 5


def test_what_requests_used_is_told_by_the_collector_alone() -> None:
    assert "gen_ai" not in Metrics().text()
