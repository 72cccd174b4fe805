"""What the collector counts of its own work."""

from collections.abc import Iterator
from dataclasses import dataclass, field


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

    def text(self) -> str:
        """In Prometheus' text format."""
        return "".join(f"{line}\n" for line in self._lines())

    def _lines(self) -> Iterator[str]:
        for name in ("messages", "entries", "records", "malformed"):
            yield f"# TYPE headgate_collector_{name}_total counter"
            yield f"headgate_collector_{name}_total {getattr(self, name)}"
        for name, kind in (
            ("written_total", "counter"),
            ("spooled_total", "counter"),
            ("dropped_total", "counter"),
            ("failures_total", "counter"),
            ("waiting", "gauge"),
        ):
            yield f"# TYPE headgate_collector_{name} {kind}"
            for sink, counts in self.sinks.items():
                yield f'headgate_collector_{name}{{sink="{sink}"}} {getattr(counts, name.removesuffix("_total"))}'
