"""GenAI metrics (OpenTelemetry semantic conventions), written by hand to stay cheap: no locks, a look-up per value.

compat: names, buckets and labels of Envoy AI Gateway's `gen_ai.client.token.usage` and
`gen_ai.server.request.duration`.
One event loop writes, the same loop renders; label values are bounded by `SERIES_MAX`.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from headgate.extproc.upstream import Report

SERIES_MAX: Final = 10_000
"""Distinct label sets per metric; clients choose model names, so the rest is counted under `other`."""

TOKEN_BUCKETS: Final = tuple(float(4**power) for power in range(14))
DURATION_BUCKETS: Final = tuple(0.01 * 2**power for power in range(14))

_OTHER: Final = "other"
_FAILED: Final = "_OTHER"
"""compat: the only value of `error.type` for answers that were the provider's own errors."""

_LABELS: Final = (
    "gen_ai_operation_name",
    "gen_ai_provider_name",
    "gen_ai_original_model",
    "gen_ai_request_model",
    "gen_ai_response_model",
)
Labels = tuple[str, ...]


@dataclass(slots=True)
class Series:
    """One histogram of one label set."""

    counts: list[int]
    total: float = 0.0


@dataclass(slots=True)
class Histogram:
    """A family of series."""

    name: str
    help: str
    labels: Labels
    bounds: Sequence[float]
    series: dict[Labels, Series] = field(default_factory=dict[Labels, Series])

    def observe(self, labels: Labels, value: float) -> None:
        series = self.series.get(labels)
        if series is None:
            if len(self.series) >= SERIES_MAX:
                labels = (_OTHER,) * len(labels)
            series = self.series.setdefault(labels, Series([0] * (len(self.bounds) + 1)))
        series.counts[bisect_left(self.bounds, value)] += 1
        series.total += value

    def render(self) -> Iterator[str]:
        yield f"# HELP {self.name} {self.help}"
        yield f"# TYPE {self.name} histogram"
        for values, series in self.series.items():
            labels = ",".join(f'{name}="{_escape(value)}"' for name, value in zip(self.labels, values, strict=True))
            running = 0
            for bound, count in zip((*self.bounds, float("inf")), series.counts, strict=True):
                running += count
                le = "+Inf" if bound == float("inf") else f"{bound:g}"
                yield f'{self.name}_bucket{{{labels},le="{le}"}} {running}'
            yield f"{self.name}_sum{{{labels}}} {series.total:g}"
            yield f"{self.name}_count{{{labels}}} {running}"


class Metrics:
    """What a process has seen."""

    def __init__(self) -> None:
        self._tokens = Histogram(
            "gen_ai_client_token_usage_token",
            "Tokens used per request.",
            (*_LABELS, "gen_ai_token_type"),
            TOKEN_BUCKETS,
        )
        self._duration = Histogram(
            "gen_ai_server_request_duration_seconds",
            "Time from the first message of an attempt to its end.",
            (*_LABELS, "error_type"),
            DURATION_BUCKETS,
        )
        self.streams_open = 0

    def record(self, report: Report, duration_seconds: float) -> None:
        """One attempt ended. Attempts that never became a request for a provider are not counted."""
        if report.endpoint is None:
            return
        labels = (
            report.endpoint.operation,
            report.facts.dialect,
            report.original_model or "unknown",
            report.request_model or "unknown",
            report.response_model or "unknown",
        )
        error = report.error or (_FAILED if report.status >= 400 or not report.complete else "")
        self._duration.observe((*labels, error), duration_seconds)
        usage = report.usage
        for kind, tokens in (
            ("input", usage.input),
            ("cached_input", usage.cached_input),
            ("cache_creation_input", usage.cache_creation_input),
            ("output", usage.output),
            ("reasoning", usage.reasoning),
        ):
            if tokens is not None:
                self._tokens.observe((*labels, kind), tokens)

    def render(self) -> str:
        """Prometheus text exposition, version 0.0.4."""
        lines = [
            "# HELP headgate_extproc_streams_open Streams being served.",
            "# TYPE headgate_extproc_streams_open gauge",
            f"headgate_extproc_streams_open {self.streams_open}",
            *self._duration.render(),
            *self._tokens.render(),
        ]
        return "\n".join(lines) + "\n"


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
