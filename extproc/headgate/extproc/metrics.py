"""The processor's own health. What requests used and how long they took is told by the collector, for both lanes alike
(`headgate.collector.metering`): told here as well, translated requests would count twice.
"""

from functools import cache

from headgate.extproc.report import Report
from headgate.llm.endpoints import Endpoint
from headgate.runtime import process_metrics
from headgate.runtime.metrics import Description, Kind, Registry


@cache
def _words(endpoint: Endpoint) -> tuple[str, str]:
    return str(endpoint.operation), str(endpoint.dialect)


UPSTREAM = "upstream"
ROUTER = "router"


class Metrics:
    """What a process has seen."""

    def __init__(self) -> None:
        self.registry = Registry()
        counter = self.registry.counter
        self._streams = counter(
            "headgate.extproc.streams",
            "Streams that Envoy opened: an attempt (upstream) or a request (router).",
            ("kind",),
        )
        self.streams_open = 0
        self.prompts_waiting = 0
        for name, help_, read in (
            ("headgate.extproc.streams.open", "Streams being served.", lambda: self.streams_open),
            (
                "headgate.extproc.prompts.waiting",
                "Prompts being counted, or waiting for it.",
                lambda: self.prompts_waiting,
            ),
        ):
            described = Description(name=name, kind=Kind.GAUGE, help=help_)
            self.registry.observed(described, lambda read=read: {(): read()})
        self._attempts = counter(
            "headgate.extproc.attempts",
            "Attempts translated, by client's and backend's dialect; error is why the processor answered instead.",
            ("operation", "client.dialect", "backend.dialect", "error.type"),
        )
        self._broken = counter(
            "headgate.extproc.attempts.incomplete",
            "Attempts whose answer was not seen to its end.",
            ("backend.dialect",),
        )
        self.refused = counter(
            "headgate.extproc.streams.refused", "Streams that Envoy opened and that made no sense."
        ).at()
        self.crashes = counter("headgate.extproc.crashes", "Requests that met a bug of ours, answered with 500.").at()
        process_metrics.declare(self.registry)
        self.lag = process_metrics.LoopLag(self.registry)

    def opened(self, kind: str) -> None:
        """A stream began."""
        self.streams_open += 1
        self._streams.at(kind).value += 1

    def record(self, report: Report) -> None:
        """An attempt ended. Those that never became a request for a provider have no endpoint."""
        if report.endpoint is None:
            return
        self._attempts.at(*_words(report.endpoint), report.facts.dialect, report.error).value += 1
        if not report.complete:
            self._broken.at(report.facts.dialect).value += 1

    def text(self) -> str:
        """Prometheus' text format."""
        return self.registry.text()
