"""What telemetry costs: `make bench-telemetry`. Envoy's CPU per request without it, with lines of JSON, with a ledger;
and the collector's CPU per record.

All gateways run at the same time and are asked in turn, in a new order each round, so that what else the machine does
hits them alike; Envoys have a CPU that nothing else of the bench runs on. A gateway without telemetry runs twice: what
the two differ by is what the method cannot tell. A record that is missing at the end makes the run fail.
Instructions are counted afterwards, one gateway at a time, where valgrind is.
"""

import argparse
import os
import random
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from support.gateway import Gateway
from support.ports import free_ports
from support.processes import CpuMeter, pin
from support.waiting import wait_until

from bench import collector, instructions, report
from bench.data_path import load_for
from bench.load import Load
from bench.measure import Measured, measure, start_backend
from bench.scenarios import SCENARIOS, headgate_configuration

SCENARIO: Final = "native"
MODE: Final = "c10"
SETTLE_SECONDS: Final = 60.0
INSTRUCTIONS_SECONDS: Final = 4.0
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
    Way(name="none, again", arguments=("--access-log", "")),
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


def _start(way: Way, backend_port: int, directory: Path, stack: ExitStack, *, envoy: Path | None = None) -> Running:
    directory.mkdir()
    names = [scenario.name for scenario in SCENARIOS if scenario.route]
    ports: Mapping[str, int] = dict(zip(names, free_ports(len(names)), strict=True))
    arguments = [argument.format(directory) for argument in way.arguments]
    if envoy is not None:
        arguments += ["--envoy", str(envoy)]
    endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{backend_port}", "OTEL_METRICS_EXPORTER": "none"}
    environment = endpoint if way.traced else {}
    configuration = headgate_configuration(dict(ports), backend_port)
    gateway = stack.enter_context(
        Gateway(
            configuration,
            directory,
            "--concurrency",
            "1",
            *arguments,
            environment=environment,
            timeout_seconds=instructions.READY_SECONDS,
        )
    )
    return Running(way, gateway, directory, ports[SCENARIO], [])


def _load(running: Running, mode: str, seconds: float) -> Load:
    scenario = next(each for each in SCENARIOS if each.name == SCENARIO)
    return load_for(scenario, mode, running.port, seconds)


def _ask(running: Running, seconds: float) -> None:
    processes = running.gateway.processes()
    meter = CpuMeter({str(pid): pid for pid in processes.get("collector", ())})
    result = measure(_load(running, MODE, seconds), {"envoy": processes["envoy"]})
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


def _instructions(way: Way, backend_port: int, directory: Path) -> float:
    """Of Envoy per request, in a gateway of its own that is ended again."""
    with ExitStack() as stack:
        folder = directory / "counting"
        folder.mkdir(parents=True)
        running = _start(way, backend_port, directory / "way", stack, envoy=instructions.launcher(folder))
        (envoy,) = running.gateway.processes()["envoy"]
        return instructions.per_request(
            envoy, replace(_load(running, "c1", INSTRUCTIONS_SECONDS), warmup_seconds=0.0), folder
        )


def _table(ways: Sequence[Running], counted: Mapping[str, float]) -> str:
    without = ways[0]
    rows: list[list[str]] = []
    for each in ways:
        pairs = zip(each.runs, without.runs, strict=True)
        low, _, high = statistics.quantiles([run.cpu_us["envoy"] / none.cpu_us["envoy"] for run, none in pairs], n=4)
        row = [each.way.name, f"{each.envoy_us():.1f}", f"{each.envoy_us() / without.envoy_us():.3f}"]
        row.append(f"{low:.2f} to {high:.2f}")
        if each.way.name in counted:
            number = counted[each.way.name]
            row += [f"{number / 1000:.0f}", f"{number / counted[without.way.name]:.3f}"]
        else:
            row += ["", ""]
        record = f"{each.collector_seconds * 1e6 / each.counted:.1f}" if each.counted else ""
        rows.append([*row, f"{each.counted:,}", record])
    instructions_head = ["k instructions", "x none"]
    head = ["telemetry", "Envoy us/request", "x none", "half of the rounds", *instructions_head]
    return report.table([*head, "records", "collector us/record"], rows)


@contextmanager
def _apart() -> Generator[set[int]]:
    """Keeps this process, and what it starts, from one CPU, and gives that one; from none where there is only one."""
    usable = os.sched_getaffinity(0)
    first, *others = sorted(usable)
    os.sched_setaffinity(0, others or usable)
    try:
        yield {first}
    finally:
        os.sched_setaffinity(0, usable)


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench-telemetry", description=__doc__)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=3.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hg-bench-") as folder, ExitStack() as stack:
        root = Path(folder)
        with ExitStack() as gateways:
            envoys = gateways.enter_context(_apart())
            backend, backend_port = start_backend(root)
            stack.enter_context(backend)
            ways = [_start(way, backend_port, root / f"way{index}", gateways) for index, way in enumerate(WAYS)]
            for running in ways:
                for pid in running.gateway.processes()["envoy"]:
                    pin(pid, envoys)
                _ask(running, 1.0)  # everything is loaded and known after it
                running.runs.clear()
                running.counted, running.collector_seconds = 0, 0.0
            for _ in range(options.rounds):
                for running in random.sample(ways, len(ways)):
                    _ask(running, options.seconds)
        counted = (
            {way.name: _instructions(way, backend_port, root / f"counted{index}") for index, way in enumerate(WAYS)}
            if instructions.available()
            else {}
        )
        print(_table(ways, counted))
    print(f"\n{collector.table()}")


if __name__ == "__main__":
    main()
