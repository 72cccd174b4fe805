"""What the collector counts of its own work."""

from collections.abc import Callable
from dataclasses import dataclass, field

from headgate.runtime.metrics import Description, Kind, Labels, Registry


@dataclass(slots=True)
class SinkCounts:
    """Of one sink, in records."""

    written: int = 0
    """Including those that the sink had already."""
    spooled: int = 0
    dropped: int = 0
    failures: int = 0
    """Writes that failed, each of a batch."""
    waiting: int = 0
    """In memory, now."""


@dataclass(slots=True)
class Counts:
    """Of the process."""

    messages: int = 0
    entries: int = 0
    records: int = 0
    malformed: int = 0
    """Messages that were no access log."""
    sinks: dict[str, SinkCounts] = field(default_factory=dict[str, SinkCounts])

    def of(self, sink: str) -> SinkCounts:
        return self.sinks.setdefault(sink, SinkCounts())

    def declare(self, registry: Registry) -> None:
        """Shows them there."""
        for name, help_, read in (
            ("messages", "Access-log messages received.", lambda: self.messages),
            ("entries", "Access-log entries received: requests, and attempts that failed.", lambda: self.entries),
            ("records", "Records of requests made of them.", lambda: self.records),
            ("malformed", "Messages that were no access log.", lambda: self.malformed),
        ):
            described = Description(name=f"headgate.collector.{name}", kind=Kind.COUNTER, help=help_)
            registry.observed(described, lambda read=read: {(): read()})
        for name, kind, help_ in (
            ("written", Kind.COUNTER, "Records that a sink has, those that it had already included."),
            ("spooled", Kind.COUNTER, "Records that went into the spool while a sink was away."),
            ("dropped", Kind.COUNTER, "Records lost: a sink was away for too long, or refused them."),
            ("failures", Kind.COUNTER, "Writes of a batch that failed."),
            ("waiting", Kind.GAUGE, "Records in memory that a sink is yet to take."),
        ):
            described = Description(name=f"headgate.collector.{name}", kind=kind, help=help_, labels=("sink",))
            registry.observed(described, lambda name=name: self._by_sink(name))

    def _by_sink(self, name: str) -> dict[Labels, float]:
        return {(sink,): getattr(counts, name) for sink, counts in self.sinks.items()}


@dataclass(frozen=True, slots=True)
class SpanCounts:
    """What became of Envoy's spans."""

    received: int = 0
    sent: int = 0
    dropped: int = 0


def declare_spans(registry: Registry, read: Callable[[], SpanCounts]) -> None:
    """Shows there what `read` says."""
    for name, help_ in (
        ("received", "Spans that Envoy told of."),
        ("sent", "Spans that a receiver has."),
        ("dropped", "Spans lost: a receiver was away for too long, or refused them."),
    ):
        described = Description(name=f"headgate.collector.spans.{name}", kind=Kind.COUNTER, help=help_)
        registry.observed(described, lambda name=name: {(): getattr(read(), name)})
