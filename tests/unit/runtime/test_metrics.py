"""Metrics of a process, read back by Prometheus' own parser."""

import pytest
from headgate.runtime import process_metrics
from headgate.runtime.metrics import Description, Kind, Registry, number
from support.prometheus import Page


def test_names_follow_from_opentelemetrys() -> None:
    for name, unit, kind, wanted in (
        ("gen_ai.server.request.duration", "s", Kind.HISTOGRAM, "gen_ai_server_request_duration_seconds"),
        ("gen_ai.client.token.usage", "token", Kind.HISTOGRAM, "gen_ai_client_token_usage_token"),
        ("headgate.requests", "", Kind.COUNTER, "headgate_requests_total"),
        ("process.cpu", "s", Kind.COUNTER, "process_cpu_seconds_total"),
        ("process.resident.memory", "By", Kind.GAUGE, "process_resident_memory_bytes"),
    ):
        assert Description(name=name, unit=unit, kind=kind, help="").prometheus_name == wanted


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.0, "0"),
        (1.0, "1"),
        (0.01, "0.01"),
        (81.92, "81.92"),
        (262144.0, "262144"),
        (1048576.0, "1.048576e+06"),
        (67108864.0, "6.7108864e+07"),
        (0.00001, "1e-05"),
        (-2_000_000, "-2e+06"),
    ],
)
def test_numbers_are_written_as_go_does(value: float, text: str) -> None:
    assert number(value) == text
    assert float(text) == value


def test_a_page_is_what_prometheus_reads() -> None:
    registry = Registry()
    hits = registry.counter("a.hits", 'Says "what"\\n.', ("x.y",))
    spread = registry.histogram("b.time", "b", ("who",), (0.1, 1.0), unit="s")
    registry.observed(Description(name="c.now", kind=Kind.GAUGE, help="c"), lambda: {(): -3})
    nasty = 'q"\\\n'
    hits.at(nasty).value += 2
    hits.at("").value += 1
    for value in (0.05, 0.1, 0.5, 7):
        spread.at("me").observe(value)
    page = Page(registry.text())
    assert page.sum("a_hits_total", x_y=nasty) == 2
    assert page.sum("a_hits_total", x_y="") == 1, "an empty label is not there"
    assert page.sum("b_time_seconds_bucket", le="0.1", who="me") == 2
    assert page.sum("b_time_seconds_bucket", le="+Inf") == page.sum("b_time_seconds_count") == 4
    assert page.sum("b_time_seconds_sum") == pytest.approx(7.65)
    assert page.sum("c_now") == -3
    assert {name: family.type for name, family in page.families.items()} == {
        "a_hits": "counter",
        "b_time_seconds": "histogram",
        "c_now": "gauge",
    }


def test_what_others_choose_is_bounded() -> None:
    registry = Registry(series_max=3)
    family = registry.counter("a", "a", ("kind", "model"), open_=("model",))
    for index in range(10):
        family.at("chat", f"m{index}").value += 1
    page = Page(registry.text())
    assert page.by("model", "a_total") == {"m0": 1, "m1": 1, "m2": 1, "other": 7}
    assert page.sum("a_total", kind="chat") == 10, "what we choose stays told apart"
    assert family.folded == registry.folded == 7


def test_a_registry_says_how_often_any_of_it_had_no_room() -> None:
    registry = Registry(series_max=1)
    hits, spread = registry.counter("a", "a", ("x",)), registry.histogram("b", "b", ("x",), (1.0,), unit="s")
    for name in ("one", "two", "three"):
        hits.at(name).value += 1
        spread.at(name).observe(1)
    assert registry.folded == 4


def test_what_is_counted_in_parts_is_told_in_the_unit() -> None:
    registry = Registry()
    paid = registry.counter("paid", "p", ("who",), unit="USD", parts=1_000_000)
    for _ in range(10):
        paid.at("me").value += 100_000
    assert 'paid_usd_total{who="me"} 1.0\n' in registry.text()


def test_a_name_is_declared_once() -> None:
    registry = Registry()
    registry.counter("a", "a")
    with pytest.raises(ValueError, match="declared twice"):
        registry.counter("a", "a")


def test_whole_numbers_are_exact() -> None:
    registry = Registry()
    counter, spread = registry.counter("a", "a").at(), registry.histogram("b", "b", (), (1.0,), unit="").at()
    counter.value = 2**60 + 1
    spread.observe(2**60 + 1)
    assert f"a_total {2**60 + 1}\n" in registry.text()
    assert f"b_sum {2**60 + 1}\n" in registry.text()


def test_a_process_tells_of_itself() -> None:
    registry = Registry()
    process_metrics.declare(registry)
    page = Page(registry.text())
    assert page.sum("process_resident_memory_bytes") > 1e6
    assert page.sum("process_cpu_seconds_total") > 0
    assert page.sum("process_open_fds") > 2
