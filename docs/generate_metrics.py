"""Writes the table of `metrics.md`: every metric that our processes declare.

Run as `make reference`; a test fails where the committed file is not what this writes.
"""

from collections.abc import Iterator
from pathlib import Path

from headgate.cli.admin import declare
from headgate.collector.counters import Counts, SpanCounts, declare_spans
from headgate.collector.metering import Metering
from headgate.controller.metrics import ControllerMetrics
from headgate.extproc.metrics import Metrics
from headgate.runtime import process_metrics
from headgate.runtime.metrics import Description, Registry

TARGET = Path(__file__).with_name("metrics.md")
BEGIN, END = "<!-- metrics: written by `make reference` -->\n", "<!-- end -->\n"


def registries() -> dict[str, Registry]:
    """What each process declares; what it shares with the others once."""
    collector, controller, run, shared = (Registry() for _ in range(4))
    Metering(collector)
    Counts().declare(collector)
    declare_spans(collector, SpanCounts)
    ControllerMetrics(controller)
    declare(run, lambda: True, dict)
    process_metrics.declare(shared)
    process_metrics.LoopLag(shared)
    return {
        "collector": collector,
        "processor": Metrics().registry,
        "controller": controller,
        "`headgate run`": run,
        "every process": shared,
    }


def descriptions() -> Iterator[tuple[str, Description]]:
    """Process and metric."""
    seen = set[str]()
    for process, registry in reversed(registries().items()):
        found = [each.description for each in registry.read() if each.description.name not in seen]
        seen |= {each.name for each in found}
        yield from ((process, each) for each in found)


def table() -> str:
    """As Markdown, by process."""
    lines = ["| metric | kind, unit | labels | what |", "|---|---|---|---|"]
    of = list(descriptions())
    for process in registries():
        lines.append(f"| **{process}** | | | |")
        for _, each in (pair for pair in of if pair[0] == process):
            kind = f"{each.kind}, {each.unit}" if each.unit else str(each.kind)
            labels = ", ".join(f"`{label}`" for label in each.labels)
            lines.append(f"| `{each.name}` | {kind} | {labels} | {each.help} |")
    return "".join(f"{line}\n" for line in lines)


def document(text: str) -> str:
    """The page with the table as it is now."""
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}{table()}{END}{rest.split(END, 1)[1]}"


def main() -> None:
    TARGET.write_text(document(TARGET.read_text()))


if __name__ == "__main__":
    main()
