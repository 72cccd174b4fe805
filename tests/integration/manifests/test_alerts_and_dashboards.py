"""What Prometheus and Grafana are given: rules load and fire when they should, and all metrics and labels are real."""

import json
import os
import re
import signal
from collections.abc import Iterator, Mapping
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest
import yaml
from support import grafana, manifests
from support.limiter import LimiterProcess, client_limits
from support.manifests import backend, document, ref, route, rule, target, traffic
from support.otlp import OtlpReceiver
from support.prometheus import Page
from support.promql import asked
from support.promtool import PromtoolMissingError, find_promtool, promtool
from support.providers import ANTHROPIC, OPENAI, Answer, Delivery, Failure, Provider
from support.stage import Stage
from support.waiting import BUSY_SECONDS, wait_until

MANIFESTS = Path(__file__).parents[3] / "manifests"
ALERTS = MANIFESTS / "alerts"
DASHBOARDS = sorted((MANIFESTS / "dashboards").glob("*.json"))
RULES = sorted(ALERTS.glob("*.yaml"))
OF_SCRAPING = frozenset({"instance", "job", "le"})
"""Labels that Prometheus adds, and that of a histogram's buckets."""
PRICES = """
prices:
- {model: 'gpt*', input: 2.5, output: 10}
teams:
  research: [alice]
"""
Rule = Mapping[str, Any]


def _generator() -> ModuleType:
    spec = spec_from_file_location("generate_dashboards", MANIFESTS / "generate_dashboards.py")
    assert spec
    assert spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rules() -> Iterator[Rule]:
    for path in RULES:
        for group in yaml.safe_load(path.read_text())["groups"]:
            yield from group["rules"]


def board_queries(path: Path) -> Iterator[tuple[str, str, str]]:
    """(panel, expression, legend) of a dashboard."""
    for panel in json.loads(path.read_text())["panels"]:
        for query in panel.get("targets", ()):
            yield panel["title"], query["expr"], query["legendFormat"]


QUERIES = [
    *(pytest.param(each["expr"], "", id=each.get("alert") or each["record"]) for each in rules()),
    *(
        pytest.param(expression, legend, id=f"{path.stem}: {panel}")
        for path in DASHBOARDS
        for panel, expression, legend in board_queries(path)
    ),
]


@pytest.fixture(scope="module")
def tool() -> str:
    try:
        return find_promtool()
    except PromtoolMissingError as error:
        pytest.skip(str(error))


def test_dashboards_are_what_is_written() -> None:
    generated = _generator().files()
    assert set(generated) == set(DASHBOARDS)
    for path, text in generated.items():
        assert path.read_text() == text, f"{path.name}: run `make manifests`"


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_dashboards_are_as_grafana_declares_them(path: Path) -> None:
    assert grafana.faults(json.loads(path.read_text())) == []


def test_what_grafana_does_not_know_is_found() -> None:
    board = json.loads(DASHBOARDS[0].read_text())
    stat = next(panel for panel in board["panels"] if panel["type"] == "stat")
    graph = next(panel for panel in board["panels"] if panel["type"] == "timeseries")
    board["refersh"] = "30s"
    stat["options"]["reduceOptions"]["calculations"] = []
    stat["gridPos"]["w"] = "4"
    stat["fieldConfig"]["defaults"]["thresholds"]["mode"] = "relative"
    graph["fieldConfig"]["defaults"]["custom"]["stacking"]["mode"] = "piled"
    graph["targets"][0]["query"] = "up"
    found = {fault.split(":")[0].rsplit(".", 1)[1] for fault in grafana.faults(board)}
    assert found == {"refersh", "calculations", "w", "mode", "query"}


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_panels_do_not_overlap(path: Path) -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in json.loads(path.read_text())["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        for column in range(place["x"], place["x"] + place["w"]):
            for line in range(place["y"], place["y"] + place["h"]):
                assert taken.setdefault((column, line), panel["title"]) == panel["title"]


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_panels_say_what_they_show(path: Path) -> None:
    panels = [panel for panel in json.loads(path.read_text())["panels"] if panel["type"] != "row"]
    for panel in panels:
        assert panel["title"]
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    assert len({panel["title"] for panel in panels}) == len(panels)


_GROWS = re.compile(r"\b\w+_(?:total|count|sum|bucket)\b")


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_what_grows_is_shown_by_how_fast(path: Path) -> None:
    for panel, query, _ in board_queries(path):
        grown = set(re.findall(r"(?:rate|increase)\((\w+)", query))
        assert set(_GROWS.findall(query)) <= grown, panel


def test_every_alert_is_seen_to_fire() -> None:
    tests = yaml.safe_load(Path(__file__).with_name("rules_test.yaml").read_text())["tests"]
    fired = {each["alertname"] for test in tests for each in test["alert_rule_test"] if each["exp_alerts"]}
    assert fired == {each["alert"] for each in rules() if "alert" in each}


def test_every_alert_says_what_to_do() -> None:
    alerts = [each for each in rules() if "alert" in each]
    assert {each["labels"]["severity"] for each in alerts} == {"critical", "high", "medium"}
    for each in alerts:
        assert set(each["annotations"]) == {"summary", "action"}, each["alert"]
    names = [each.get("alert") or each["record"] for each in rules()]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.stem)
def test_rules_load(tool: str, path: Path) -> None:
    done = promtool("check", "rules", "--lint=all", "--lint-fatal", str(path))
    assert done.returncode == 0, done.stdout + done.stderr


def test_panels_are_expressions(tool: str, tmp_path: Path) -> None:
    found = [query for path in DASHBOARDS for _, query, _ in board_queries(path)]
    filled = [re.sub(r"\$(\w+)", ".*", query.replace("$__rate_interval", "5m")) for query in found]
    group = {"name": "panels", "rules": [{"record": f"panel:{n}", "expr": each} for n, each in enumerate(filled)]}
    path = tmp_path / "panels.yaml"
    path.write_text(yaml.safe_dump({"groups": [group]}))
    done = promtool("check", "rules", str(path))
    assert done.returncode == 0, done.stdout + done.stderr


def test_rules_fire_when_they_should(tool: str) -> None:
    done = promtool("test", "rules", "rules_test.yaml", directory=Path(__file__).parent)
    assert done.returncode == 0, done.stdout + done.stderr


Labels = Mapping[str, frozenset[str]]
"""By sample's name. Read off the lines themselves: Prometheus' library renames counters that have no `_total`."""


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Labels:
    """What `/metrics` says of a gateway in which a bit of everything happened."""
    prices = tmp_path_factory.mktemp("prices") / "prices.yaml"
    prices.write_text(PRICES)
    with (
        OtlpReceiver() as receiver,
        Stage(openai=Provider(OPENAI, key="sk-o"), anthropic=Provider(ANTHROPIC, key="sk-a")) as stage,
    ):
        documents = [
            *manifests.gateway({"port": stage.port}),
            *backend("openai", stage["openai"].port, key="sk-o"),
            *backend("anthropic", stage["anthropic"].port, "Anthropic", key="sk-a"),
            *manifests.api_keys("clients", target("Gateway", "gateway"), {"alice": "k-alice"}),
            route(
                "models",
                [
                    rule("gpt", ref("openai", priority=0), ref("anthropic", priority=1)),
                    rule("claude", ref("anthropic")),
                ],
            ),
            traffic(
                "again",
                "models",
                retry={"numRetries": 1, "retryOn": {"triggers": ["retriable-status-codes"], "httpStatusCodes": [503]}},
            ),
            document(
                "headgate.dev/v1alpha1",
                "LimitPolicy",
                "few",
                {
                    **target("Gateway", "gateway"),
                    "rules": [{"name": "few", "unit": "requests", "amount": 6, "window": "day"}],
                },
            ),
        ]
        traced = {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{receiver.http_url}/v1/traces"}
        stage.run(documents, "--metrics", "--prices", str(prices), environment=traced)
        admin = stage.gateway.wait_output(r"admin +(http://\S+)").group(1)
        _happen(stage)
        counted = httpx.get(f"{admin}/metrics").text
        (limiter,) = stage.gateway.processes()["ratelimit"]
        os.kill(limiter, signal.SIGSTOP)  # it is started again, and forgets what it counted
        stage.post("/v1/chat/completions", BODY | {"model": "gpt"}, authorization="Bearer k-alice")  # is let in

        def complete() -> str | None:
            text = httpx.get(f"{admin}/metrics", timeout=BUSY_SECONDS).text  # waits for the limiter while it hangs
            found = Page(text)
            settled = found.sum("headgate_requests_total") == 9 and found.sum(
                "headgate_extproc_attempts_incomplete_total"
            )
            return text if settled else None

        text = wait_until(complete, "all requests in the metrics")
        return _labels(counted + text + _of_a_limiter_that_traces(tmp_path_factory.mktemp("limiter"), traced))


def _of_a_limiter_that_traces(directory: Path, environment: Mapping[str, str]) -> str:
    """Its page: with `headgate run` only Envoy tells of calls of the limiter."""
    limiter = LimiterProcess(directory, client_limits(1), "--tracing", environment=environment)
    try:
        return limiter.admin("/metrics")[1]
    finally:
        limiter.close()


BODY: Any = {"messages": [{"role": "user", "content": "Hello!"}]}


def _happen(stage: Stage) -> None:
    key = {"authorization": "Bearer k-alice"}

    def ask(model: str, **more: Any) -> None:
        stage.post("/v1/chat/completions", {"model": model, **BODY, **more}, authorization="Bearer k-alice")

    ask("gpt", stream=True)
    ask("claude", stream=True, seed=7)
    stage["openai"].answer(Failure(503))
    ask("gpt")
    stage["anthropic"].answer(Answer(text="word " * 50, pieces=20, delivery=Delivery(hang_after_bytes=1500)))
    address = f"{stage.url}/v1/chat/completions"
    with (
        httpx.Client() as client,
        client.stream("POST", address, json={"model": "claude", "stream": True, **BODY}, headers=key) as answer,
    ):
        next(answer.iter_bytes())
    stage["openai"].answer(Answer())
    for _ in range(4):
        ask("gpt")


def _labels(text: str) -> Labels:
    found: dict[str, frozenset[str]] = {}
    for name, labels in re.findall(r"^(\w+)(?:\{(.*)\})? ", text, re.MULTILINE):
        found[name] = found.get(name, frozenset()) | set(re.findall(r'(\w+)="', labels))
    return found


@pytest.mark.envoy
@pytest.mark.parametrize(("expression", "legend"), QUERIES)
def test_every_metric_and_label_is_real(real: Labels, expression: str, legend: str) -> None:
    recorded = {each["record"] for each in rules() if "record" in each}
    found = asked(expression)
    assert found.metrics or expression.startswith("vector("), expression
    labels: frozenset[str] = OF_SCRAPING
    for name, selected in found.metrics.items():
        if name in recorded:
            continue
        assert name in real, f"no {name} on /metrics"
        known = real[name] | OF_SCRAPING
        assert selected <= known, f"{name} has {sorted(known)}"
        labels |= known
    assert found.groups <= labels, f"{expression} has {sorted(labels)}"
    assert set(re.findall(r"\{\{(\w+)\}\}", legend)) <= found.groups


def test_summaries_name_labels_that_are_there() -> None:
    for each in rules():
        named = set(re.findall(r"\$labels\.(\w+)", each.get("annotations", {}).get("summary", "")))
        assert named <= asked(each["expr"]).groups, each
