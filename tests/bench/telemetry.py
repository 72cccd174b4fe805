"""What telemetry costs: `make bench-telemetry`. Envoy's CPU per request without it, with lines of JSON, with a ledger;
and the collector's CPU per record.

All gateways run at the same time and are asked in turn, in a new order each round, so that what else the machine does
hits them alike. A record that is missing at the end makes the run fail.
"""

import argparse
import random
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from support.gateway import Gateway
from support.ports import free_ports
from support.processes import CpuMeter
from support.waiting import wait_until

from bench import collector, report
from bench.data_path import load_for
from bench.measure import Measured, measure, start_backend
from bench.scenarios import SCENARIOS, headgate_configuration

SCENARIO: Final = "native"
MODE: Final = "c10"
SETTLE_SECONDS: Final = 60.0
QUIET_SECONDS: Final = 2.0
"""Without a new record: longer than Envoy and the collector gather them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One way to keep telemetry: the arguments of its gateway; `{}` is its folder."""

    name: str
    arguments: tuple[str, ...]
    traced: bool = False
    """Whether every request is traced; the fake provider takes the spans."""


WAYS: Final = (
    Way(name="none", arguments=("--access-log", "")),
    Way(name="lines of Envoy", arguments=("--access-log", "{}/access.log")),
    Way(name="traces", arguments=("--access-log", ""), traced=True),
    Way(name="traces, direct", arguments=("--access-log", "", "--direct-traces"), traced=True),
    Way(name="ledger", arguments=("--access-log", "", "--ledger", "{}/usage.db")),
    Way(name="ledger and its lines", arguments=("--access-log", "{}/access.log", "--ledger", "{}/usage.db")),
)


@dataclass(slots=True)
class Running:
    """A gateway of one way, and what was measured of it."""

    way: Way
    gateway: Gateway
    directory: Path
    port: int
    runs: list[Measured]
    asked: int = 0
    """Records of all runs."""
    counted: int = 0
    """Those of runs that count."""
    collector_seconds: float = 0.0

    def envoy_us(self) -> float:
        return statistics.median(run.cpu_us["envoy"] for run in self.runs)

    def records(self) -> int:
        path = self.directory / "usage.db"
        if not path.exists():
            return 0
        with closing(sqlite3.connect(path)) as connection:
            try:
                return int(connection.execute("SELECT COALESCE(SUM(requests), 0) FROM usage_hourly").fetchone()[0])
            except sqlite3.OperationalError:  # the collector has not made its tables yet
                return 0


def _start(way: Way, backend_port: int, directory: Path, stack: ExitStack) -> Running:
    directory.mkdir()
    names = [scenario.name for scenario in SCENARIOS if scenario.route]
    ports: Mapping[str, int] = dict(zip(names, free_ports(len(names)), strict=True))
    arguments = [argument.format(directory) for argument in way.arguments]
    endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{backend_port}", "OTEL_METRICS_EXPORTER": "none"}
    environment = endpoint if way.traced else {}
    configuration = headgate_configuration(dict(ports), backend_port)
    gateway = stack.enter_context(
        Gateway(configuration, directory, "--concurrency", "1", *arguments, environment=environment)
    )
    return Running(way, gateway, directory, ports[SCENARIO], [])


def _ask(running: Running, seconds: float) -> None:
    scenario = next(each for each in SCENARIOS if each.name == SCENARIO)
    processes = running.gateway.processes()
    meter = CpuMeter({str(pid): pid for pid in processes.get("collector", ())})
    result = measure(load_for(scenario, MODE, running.port, seconds), {"envoy": processes["envoy"]})
    if result.failures:
        raise RuntimeError(f"{running.way.name}: {result.failures} failures: {result.errors}")
    running.runs.append(result)
    if "--ledger" in running.way.arguments:
        _settle(running, result)
        running.collector_seconds += sum(meter.used().values())


def _settle(running: Running, result: Measured) -> None:
    """Waits until every request of the run (its warm-up included) is a record; RuntimeError if one never is."""
    before, seen, changed_at = running.asked, running.records(), time.monotonic()

    def quiet() -> bool:
        nonlocal seen, changed_at
        if (found := running.records()) != seen:
            seen, changed_at = found, time.monotonic()
        return time.monotonic() - changed_at > QUIET_SECONDS

    wait_until(quiet, "the last records", timeout_seconds=SETTLE_SECONDS)
    if seen < before + result.requests:
        raise RuntimeError(f"{result.requests} requests, {seen - before} records")
    running.counted += seen - before
    running.asked = seen


def _table(ways: Sequence[Running]) -> str:
    without = ways[0].envoy_us()
    rows: list[list[str]] = []
    for each in ways:
        record = f"{each.collector_seconds * 1e6 / each.counted:.1f}" if each.counted else ""
        rows.append(
            [each.way.name, f"{each.envoy_us():.1f}", f"{each.envoy_us() / without:.3f}", f"{each.counted:,}", record]
        )
    return report.table(["telemetry", "Envoy us/request", "x none", "records", "collector us/record"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench-telemetry", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hg-bench-") as folder, ExitStack() as stack:
        root = Path(folder)
        backend, backend_port = start_backend(root)
        stack.enter_context(backend)
        ways = [_start(way, backend_port, root / f"way{index}", stack) for index, way in enumerate(WAYS)]
        for running in ways:
            _ask(running, 1.0)  # everything is loaded and known after it
            running.runs.clear()
            running.counted, running.collector_seconds = 0, 0.0
        for _ in range(options.rounds):
            for running in random.sample(ways, len(ways)):
                _ask(running, options.seconds)
        print(_table(ways))
    print(f"\n{collector.table()}")


if __name__ == "__main__":
    main()
