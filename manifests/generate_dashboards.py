"""Writes `dashboards/`: what Grafana shows of Headgate's metrics, a JSON file each, from the rows below.

Run as `make manifests`; a test fails where a committed file is not what this writes, and another one asks a running
gateway for every metric and label that a panel uses.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

FOLDER = Path(__file__).with_name("dashboards")
SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
COLUMNS: Final = 24
OURS: Final = "upstream_failed|upstream_timeout|upstream_reset|upstream_limited|no_backend|internal"
"""Errors that count against the objectives: the gateway's and the providers'; not the clients', not a limit's."""
BACKENDS: Final = "upstream_.+|no_backend"
"""How an attempt ends that a backend failed; in the others the gateway or the client ended it."""
OF_REQUEST: Final = 'backend=~"$backend"'
OF_MODEL: Final = 'gen_ai_request_model=~"$model"'
RATE: Final = "[$__rate_interval]"


@dataclass(frozen=True, slots=True)
class Query:
    """One line of a panel."""

    expression: str
    legend: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One panel; `width` is of 24 columns. A `stat` is the last value, large."""

    title: str
    queries: tuple[Query, ...]
    text: str
    """What it shows."""
    unit: str = "short"
    kind: str = "timeseries"
    width: int = 8
    height: int = 8
    stacked: bool = False
    red_from: float | None = None
    least: float | None = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """One dashboard: titled rows of panels."""

    uid: str
    title: str
    text: str
    variables: tuple[tuple[str, str], ...] = ()
    """(name, query of its values)"""
    rows: tuple[tuple[str, tuple[Panel, ...]], ...] = field(default=())


def rate(metric: str, by: str = "", labels: str = "") -> str:
    """Per second, summed."""
    grouped = f" by ({by})" if by else ""
    return f"sum{grouped} (rate({metric}{f'{{{labels}}}' if labels else ''}{RATE}))"


def quantile(share: float, histogram: str, by: str = "", labels: str = "") -> str:
    """A percentile of a histogram."""
    return f"histogram_quantile({share}, {rate(f'{histogram}_bucket', f'le, {by}' if by else 'le', labels)})"


def quantiles(histogram: str, labels: str) -> tuple[Query, ...]:
    return tuple(Query(quantile(share, histogram, labels=labels), f"p{share * 100:g}") for share in (0.5, 0.95, 0.99))


def stat(title: str, expression: str, unit: str = "short", **more: Any) -> Panel:
    return Panel(title=title, queries=(Query(expression),), unit=unit, kind="stat", width=4, height=4, **more)


DURATION: Final = "gen_ai_server_request_duration_seconds"
FIRST: Final = "gen_ai_server_time_to_first_token_seconds"
BETWEEN: Final = "gen_ai_server_time_per_output_token_seconds"
TOKENS: Final = "gen_ai_client_token_usage_token_sum"
FAILED: Final = f'error_type=~"{OURS}"'

REQUESTS = Board(
    uid="headgate-requests",
    title="Headgate: requests",
    text="Objectives, tokens and money, latency, backends and limits.",
    variables=(
        ("backend", "label_values(headgate_attempts_total, backend)"),
        ("model", "label_values(gen_ai_server_request_duration_seconds_count, gen_ai_request_model)"),
    ),
    rows=(
        (
            "Objectives",
            (
                stat(
                    "Served, 30 days",
                    f"1 - (sum(increase(headgate_requests_total{{{FAILED}}}[30d])) or vector(0))"
                    " / sum(increase(headgate_requests_total[30d]))",
                    "percentunit",
                    text="Requests that neither the gateway nor a provider failed. The objective is 99.9 %.",
                    least=None,
                ),
                stat(
                    "Failing now",
                    f"(sum(rate(headgate_requests_total{{{FAILED}}}[5m])) or vector(0))"
                    " / sum(rate(headgate_requests_total[5m]))",
                    "percentunit",
                    red_from=0.001,
                    text="Of 5 minutes, what the gateway or a provider failed. Red beyond the objective.",
                ),
                stat(
                    "Requests",
                    rate("headgate_requests_total"),
                    "reqps",
                    text="A second, those that nobody served included.",
                ),
                stat(
                    "Tokens",
                    rate(TOKENS, labels='gen_ai_token_type=~"input|output"'),
                    "short",
                    text="A second, in and out.",
                ),
                stat(
                    "Latency, p95",
                    quantile(0.95, DURATION, labels='error_type=""'),
                    "s",
                    red_from=3,
                    text="To the end of the answer, of requests that were served. Long answers are slow by nature.",
                ),
                stat(
                    "First token, p95",
                    quantile(0.95, FIRST),
                    "s",
                    text="Of streams: until the first byte of the answer.",
                ),
            ),
        ),
        (
            "Requests",
            (
                Panel(
                    title="Requests by status",
                    text="What clients saw; 0 is a client that hung up before there was an answer.",
                    queries=(
                        Query(
                            rate("headgate_requests_total", "http_response_status_code"),
                            "{{http_response_status_code}}",
                        ),
                    ),
                    unit="reqps",
                    stacked=True,
                ),
                Panel(
                    title="Errors by kind",
                    text="`upstream_…`, `no_backend`, `internal` count against the objective, others do not.",
                    queries=(Query(rate("headgate_requests_total", "error_type", 'error_type!=""'), "{{error_type}}"),),
                    unit="reqps",
                    stacked=True,
                ),
                Panel(
                    title="Lanes",
                    text="`native`: Envoy alone. `extproc`: translated. `local`: answered by the gateway itself.",
                    queries=(Query(rate("headgate_requests_total", "lane"), "{{lane}}"),),
                    unit="reqps",
                    stacked=True,
                ),
                Panel(
                    title="Latency",
                    text="Of the attempt that answered, to the end of its answer, of requests that were served.",
                    queries=quantiles(DURATION, f'error_type="", {OF_MODEL}'),
                    unit="s",
                ),
                Panel(
                    title="First token of streams",
                    text="Of the attempt that answered, until the first byte of its answer.",
                    queries=quantiles(FIRST, OF_MODEL),
                    unit="s",
                ),
                Panel(
                    title="Time between tokens",
                    text="What came after the first token, through the tokens but one, of streams that ended well.",
                    queries=quantiles(BETWEEN, OF_MODEL),
                    unit="s",
                ),
            ),
        ),
        (
            "Tokens and money",
            (
                Panel(
                    title="Tokens per second by kind",
                    text="Input includes cached ones, output includes reasoning.",
                    queries=(Query(rate(TOKENS, "gen_ai_token_type", OF_MODEL), "{{gen_ai_token_type}}"),),
                ),
                Panel(
                    title="Tokens per second by model",
                    text="In and out, by the model that the backend was asked for.",
                    queries=(
                        Query(
                            rate(TOKENS, "gen_ai_request_model", f'gen_ai_token_type=~"input|output", {OF_MODEL}'),
                            "{{gen_ai_request_model}}",
                        ),
                    ),
                    stacked=True,
                ),
                Panel(
                    title="Cost per hour by model",
                    text="By the price table. Requests without a price are counted in the next panel.",
                    queries=(
                        Query(
                            f"3600 * {rate('headgate_cost_usd_total', 'gen_ai_request_model', OF_MODEL)}",
                            "{{gen_ai_request_model}}",
                        ),
                    ),
                    unit="currencyUSD",
                    stacked=True,
                ),
                Panel(
                    title="Cost per hour by team",
                    text="By the price table, as things go now.",
                    queries=(Query(f"3600 * {rate('headgate_cost_usd_total', 'team')}", "{{team}}"),),
                    unit="currencyUSD",
                    stacked=True,
                ),
                Panel(
                    title="Requests without a price",
                    text="With tokens, and no row in the price table: their cost is in no sum.",
                    queries=(
                        Query(
                            rate("headgate_requests_unpriced_total", "gen_ai_request_model", OF_MODEL),
                            "{{gen_ai_request_model}}",
                        ),
                    ),
                    unit="reqps",
                ),
                Panel(
                    title="Where counts are from",
                    text="`estimated`: by the gateway, as a stream broke off. `none`: nothing was served, or said.",
                    queries=(Query(rate("headgate_requests_total", "usage_source", OF_REQUEST), "{{usage_source}}"),),
                    unit="reqps",
                    stacked=True,
                ),
            ),
        ),
        (
            "Backends",
            (
                Panel(
                    title="Attempts",
                    text="At each backend, whatever came of them.",
                    queries=(Query(rate("headgate_attempts_total", "backend", OF_REQUEST), "{{backend}}"),),
                    unit="reqps",
                ),
                Panel(
                    title="Failed attempts",
                    text="That a backend failed. Clients see one only where no other backend takes over.",
                    queries=(
                        Query(
                            rate(
                                "headgate_attempts_total",
                                "backend, error_type",
                                f'error_type=~"{BACKENDS}", {OF_REQUEST}',
                            ),
                            "{{backend}}: {{error_type}}",
                        ),
                    ),
                    unit="reqps",
                ),
                Panel(
                    title="Failovers",
                    text="From where an attempt failed to where the next one went.",
                    queries=(
                        Query(rate("headgate_failovers_total", "backend, to", OF_REQUEST), "{{backend}} → {{to}}"),
                    ),
                    unit="reqps",
                ),
                Panel(
                    title="Lost in translation",
                    unit="ops",
                    text="What requests asked for and the backend's dialect cannot say.",
                    queries=(
                        Query(
                            rate("headgate_losses_total", "backend, field, action", OF_REQUEST),
                            "{{backend}}: {{field}} {{action}}",
                        ),
                    ),
                    width=12,
                ),
                Panel(
                    title="Answers not seen to their end",
                    unit="ops",
                    text="The client hung up, or the provider broke off, by the backend's dialect.",
                    queries=(
                        Query(
                            rate("headgate_extproc_attempts_incomplete_total", "backend_dialect"), "{{backend_dialect}}"
                        ),
                    ),
                    width=12,
                ),
            ),
        ),
        (
            "Limits",
            (
                Panel(
                    title="Refused by limit",
                    text="Requests, by the rule that refused them.",
                    queries=(Query(rate("ratelimit_service_rate_limit_refused", "rule"), "{{rule}}"),),
                    unit="reqps",
                ),
                Panel(
                    title="Near their limit",
                    unit="ops",
                    text="Hits beyond 80 % of a limit.",
                    queries=(Query(rate("ratelimit_service_rate_limit_near_limit", "rule"), "{{rule}}"),),
                ),
                Panel(
                    title="Sent elsewhere by limit",
                    text="Requests that did not begin with a backend, because its limit is used up.",
                    queries=(Query(rate("ratelimit_service_rate_limit_steered", "rule"), "{{rule}}"),),
                    unit="reqps",
                ),
            ),
        ),
    ),
)

PROCESS: Final = "{{instance}} {{process}}"
BY_PROCESS: Final = "instance, process"

OPERATIONS = Board(
    uid="headgate-operations",
    title="Headgate: operations",
    text="The processes: configuration, books, limiter, processors, Envoy.",
    rows=(
        (
            "At a glance",
            (
                stat(
                    "Envoys connected",
                    "sum(headgate_controller_envoys)",
                    text="Those that follow the configuration now.",
                ),
                stat(
                    "Resources that Envoy refuses",
                    "max(headgate_controller_refusals)",
                    red_from=1,
                    text="What was there before is served on; `headgate status --admin` says which.",
                ),
                stat(
                    "Problems of the configuration",
                    "max(headgate_controller_problems)",
                    red_from=1,
                    text="What `headgate check` and the status of objects say.",
                ),
                stat(
                    "Records lost, 24 hours",
                    "sum(increase(headgate_collector_dropped_total[24h]))",
                    red_from=1,
                    text="A sink was away for longer than its spool holds, or refused them.",
                ),
                stat(
                    "Limiter's storage failed, 1 hour",
                    'sum(increase(ratelimit_service_should_rate_limit_error{err_type="redis_error"}[1h]))',
                    red_from=1,
                    text="Decisions that Redis was needed for and not there.",
                ),
                stat(
                    "Bugs met, 24 hours",
                    "sum(increase(headgate_extproc_crashes_total[24h]))",
                    red_from=1,
                    text="Requests that a processor answered with 500; its log has the trace.",
                ),
            ),
        ),
        (
            "Configuration",
            (
                Panel(
                    title="Objects that are not in force",
                    text="By kind, and by the condition that is not true.",
                    queries=(
                        Query(
                            "max by (kind, condition) (headgate_controller_objects"
                            '{condition=~"Accepted|Programmed|ResolvedRefs", status="False"})',
                            "{{kind}} not {{condition}}",
                        ),
                    ),
                ),
                Panel(
                    title="From a change to Envoy",
                    text="Until Envoy's last acknowledgement, p95; and how long reading and compiling took.",
                    queries=(
                        Query(quantile(0.95, "headgate_controller_apply_duration_seconds"), "in force"),
                        Query(
                            quantile(0.95, "headgate_controller_build_duration_seconds", "result"), "built: {{result}}"
                        ),
                    ),
                    unit="s",
                ),
                Panel(
                    title="Snapshots offered",
                    unit="ops",
                    text="Configurations sent to Envoys, a second.",
                    queries=(Query(rate("headgate_controller_pushes_total"), "offered"),),
                ),
            ),
        ),
        (
            "Books",
            (
                Panel(
                    title="Records",
                    unit="ops",
                    text="Of requests, a second: made of Envoy's entries, and written by each sink.",
                    queries=(
                        Query(rate("headgate_collector_records_total"), "made"),
                        Query(rate("headgate_collector_written_total", "sink"), "written: {{sink}}"),
                    ),
                ),
                Panel(
                    title="Waiting, spooled, lost",
                    text="Records that wait in memory; those that went into the spool, and those lost, a second.",
                    queries=(
                        Query("sum by (sink) (headgate_collector_waiting)", "waiting: {{sink}}"),
                        Query(rate("headgate_collector_spooled_total", "sink"), "spooled a second: {{sink}}"),
                        Query(rate("headgate_collector_dropped_total", "sink"), "lost a second: {{sink}}"),
                    ),
                ),
                Panel(
                    title="Writes that failed",
                    unit="ops",
                    text="Batches that a sink did not take at first, a second.",
                    queries=(Query(rate("headgate_collector_failures_total", "sink"), "{{sink}}"),),
                ),
            ),
        ),
        (
            "Traces",
            (
                Panel(
                    title="Spans",
                    unit="ops",
                    text="Envoy's through the collector, and the limiter's own.",
                    queries=(
                        Query(rate("headgate_collector_spans_received_total"), "collector: received"),
                        Query(rate("headgate_collector_spans_sent_total"), "collector: sent"),
                        Query(rate("headgate_ratelimit_spans_sent"), "limiter: sent"),
                    ),
                    width=12,
                ),
                Panel(
                    title="Spans lost",
                    unit="ops",
                    text="The receiver was away for too long, or refused them.",
                    queries=(
                        Query(rate("headgate_collector_spans_dropped_total", "instance"), "collector: {{instance}}"),
                        Query(rate("headgate_ratelimit_spans_dropped", "instance"), "limiter: {{instance}}"),
                    ),
                    width=12,
                ),
            ),
        ),
        (
            "Limiter",
            (
                Panel(
                    title="Decisions",
                    unit="ops",
                    text="A second. An admission asks before a request, a settlement charges after it.",
                    queries=(
                        Query(rate("headgate_ratelimit_admissions"), "admissions"),
                        Query(rate("headgate_ratelimit_settlements"), "settlements"),
                        Query(rate("headgate_ratelimit_refusals"), "refusals"),
                    ),
                ),
                Panel(
                    title="Errors",
                    unit="ops",
                    text="A second: without Redis, of what was asked, and of limits that could not be read.",
                    queries=(
                        Query(rate("headgate_ratelimit_storage_errors"), "storage"),
                        Query(rate("headgate_ratelimit_request_errors"), "requests"),
                        Query(rate("ratelimit_service_config_load_error"), "limits not read"),
                    ),
                ),
                Panel(
                    title="Decided for, and against, by rule",
                    unit="ops",
                    text="Hits a second, within each limit and over it.",
                    queries=(
                        Query(rate("ratelimit_service_rate_limit_within_limit", "rule"), "{{rule}}: within"),
                        Query(rate("ratelimit_service_rate_limit_over_limit", "rule"), "{{rule}}: over"),
                    ),
                ),
            ),
        ),
        (
            "Processors",
            (
                Panel(
                    title="Attempts translated",
                    unit="ops",
                    text="A second, from the client's dialect to the backend's.",
                    queries=(
                        Query(
                            rate("headgate_extproc_attempts_total", "client_dialect, backend_dialect"),
                            "{{client_dialect}} → {{backend_dialect}}",
                        ),
                    ),
                ),
                Panel(
                    title="Streams open",
                    text="Attempts that each processor is translating.",
                    queries=(Query(f"sum by ({BY_PROCESS}) (headgate_extproc_streams_open)", PROCESS),),
                ),
                Panel(
                    title="Prompts waiting to be counted",
                    text="More than a few for long: a worker more would help.",
                    queries=(Query(f"sum by ({BY_PROCESS}) (headgate_extproc_prompts_waiting)", PROCESS),),
                ),
            ),
        ),
        (
            "Processes",
            (
                Panel(
                    title="CPU",
                    text="Of one CPU each; a process of ours uses no more than one.",
                    queries=(Query(rate("process_cpu_seconds_total", BY_PROCESS), PROCESS),),
                    unit="percentunit",
                ),
                Panel(
                    title="Memory",
                    text="Resident.",
                    queries=(Query(f"sum by ({BY_PROCESS}) (process_resident_memory_bytes)", PROCESS),),
                    unit="bytes",
                ),
                Panel(
                    title="Event loop, p99 of its lateness",
                    text="How late what is due runs: all that a process serves waits for it.",
                    queries=(Query(quantile(0.99, "headgate_event_loop_lag_seconds", BY_PROCESS), PROCESS),),
                    unit="s",
                ),
            ),
        ),
        (
            "Envoy",
            (
                Panel(
                    title="Requests under way",
                    text="That Envoy has taken and not answered to the end.",
                    queries=(Query("sum by (instance) (envoy_http_downstream_rq_active)", "{{instance}}"),),
                ),
                Panel(
                    title="Retries and overflows",
                    unit="ops",
                    text="A second; what was too many was refused by a circuit breaker.",
                    queries=(
                        Query(rate("envoy_cluster_upstream_rq_retry"), "retries"),
                        Query(rate("envoy_cluster_upstream_rq_retry_overflow"), "retries that were too many"),
                        Query(rate("envoy_cluster_upstream_rq_pending_overflow"), "requests that were too many"),
                        Query(rate("envoy_cluster_upstream_cx_connect_fail"), "connections that failed"),
                    ),
                ),
                Panel(
                    title="Entries for the collector that were dropped",
                    unit="ops",
                    text="A second: no collector listened for longer than Envoy keeps them.",
                    queries=(
                        Query(rate("envoy_access_logs_grpc_access_log_logs_dropped", "instance"), "{{instance}}"),
                    ),
                ),
            ),
        ),
    ),
)

BOARDS: Final = {"requests.json": REQUESTS, "operations.json": OPERATIONS}


def files() -> dict[Path, str]:
    """Every file with its content."""
    return {
        FOLDER / name: json.dumps(_board(board), indent=1, ensure_ascii=False) + "\n" for name, board in BOARDS.items()
    }


def _board(board: Board) -> dict[str, Any]:
    return {
        "uid": board.uid,
        "title": board.title,
        "description": board.text,
        "tags": ["headgate"],
        "schemaVersion": 39,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": [_DATASOURCE, *(_variable(name, query) for name, query in board.variables)]},
        "panels": list(_panels(board.rows)),
    }


_DATASOURCE: Final = {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}


def _variable(name: str, query: str) -> dict[str, Any]:
    return {
        "name": name,
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "sort": 1,
        "includeAll": True,
        "allValue": ".*",
        "multi": True,
        "current": {"text": "All", "value": "$__all"},
    }


def _panels(rows: Sequence[tuple[str, tuple[Panel, ...]]]) -> Iterator[dict[str, Any]]:
    number, top = 0, 0
    for title, panels in rows:
        number += 1
        yield {
            "id": number,
            "type": "row",
            "title": title,
            "collapsed": False,
            "panels": [],
            "gridPos": {"x": 0, "y": top, "w": COLUMNS, "h": 1},
        }
        top += 1
        left = 0
        for panel in panels:
            if left + panel.width > COLUMNS:
                left, top = 0, top + panel.height
            number += 1
            yield _panel(panel, number, left, top)
            left += panel.width
        top += panels[-1].height


def _panel(panel: Panel, number: int, left: int, top: int) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if panel.red_from is not None:
        steps.append({"color": "red", "value": panel.red_from})
    defaults: dict[str, Any] = {"unit": panel.unit, "thresholds": {"mode": "absolute", "steps": steps}}
    if panel.least is not None:
        defaults["min"] = panel.least
    if panel.kind == "timeseries":
        stacking = {"mode": "normal" if panel.stacked else "none", "group": "A"}
        defaults["custom"] = {"fillOpacity": 25 if panel.stacked else 8, "lineWidth": 1, "stacking": stacking}
        options: dict[str, Any] = {
            "legend": {"displayMode": "list", "placement": "bottom"},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }
    else:
        options = {"reduceOptions": {"calcs": ["lastNotNull"]}, "graphMode": "none"}
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.text,
        "datasource": SOURCE,
        "gridPos": {"x": left, "y": top, "w": panel.width, "h": panel.height},
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
        "targets": [
            {"refId": chr(65 + index), "datasource": SOURCE, "expr": query.expression, "legendFormat": query.legend}
            for index, query in enumerate(panel.queries)
        ],
    }


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for path, content in files().items():
        path.write_text(content)
