"""Runs loads and accounts for them: quantiles, CPU per request and per chunk by process, memory."""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Final

from support.processes import Child, CpuMeter
from support.waiting import wait_until

from bench.load import Load, Result

TESTS: Final = Path(__file__).parents[1]
ENVIRONMENT: Final = {**os.environ, "PYTHONPATH": str(TESTS)}
LOAD_EXTRA_SECONDS: Final = 60.0

Pids = Mapping[str, Sequence[int]]


def start_backend(directory: Path) -> tuple[Child, int]:
    """The fake provider in a process of its own, and its port."""
    command = [sys.executable, "-m", "bench.backend"]
    child = Child(command, directory=directory, name="backend", environment=ENVIRONMENT)

    def port() -> int:
        child.require_alive()
        text = child.stdout
        return int(text) if text.endswith("\n") else 0

    return child, wait_until(port, "the benchmarks' provider")


def run_load(load: Load) -> Result:
    """Runs the load generator in a process of its own; raises RuntimeError with its words."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.load"],
        input=json.dumps(asdict(load)),
        capture_output=True,
        text=True,
        check=False,
        env=ENVIRONMENT,
        timeout=load.seconds + load.warmup_seconds + LOAD_EXTRA_SECONDS,
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return Result(**json.loads(done.stdout))


def quantile(values: Sequence[float], share: float) -> float:
    """The value that `share` of all are not above; 0 where there are none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One run; CPU in microseconds per request (per chunk for streams), by kind of process."""

    requests: int
    chunks: int
    failures: int
    errors: tuple[str, ...]
    per_second: float
    p50_us: float
    p99_us: float
    chunk_p50_us: float
    chunk_p99_us: float
    first_chunk_p50_us: float
    cpu_us: dict[str, float] = field(default_factory=dict[str, float])
    chunk_cpu_us: dict[str, float] = field(default_factory=dict[str, float])
    load_cpu_share: float = 0.0
    """Of one core; near 1 the load generator was what limited."""


def measure(load: Load, pids: Pids) -> Measured:
    """Runs a load and reads the CPU that the processes `pids` used meanwhile, warm-up included in neither."""
    if load.warmup_seconds:
        run_load(replace(load, seconds=load.warmup_seconds, warmup_seconds=0.0))
    meter = CpuMeter({f"{kind}/{pid}": pid for kind, each in pids.items() for pid in each})
    result = run_load(replace(load, warmup_seconds=0.0))
    used: dict[str, float] = {}
    for name, seconds in meter.used().items():
        kind = name.partition("/")[0]
        used[kind] = used.get(kind, 0.0) + seconds
    return Measured(
        requests=result.requests,
        chunks=result.chunks,
        failures=result.failures,
        errors=tuple(result.errors),
        per_second=result.requests / result.seconds,
        p50_us=quantile(result.latencies_us, 0.5),
        p99_us=quantile(result.latencies_us, 0.99),
        chunk_p50_us=quantile(result.chunk_latencies_us, 0.5),
        chunk_p99_us=quantile(result.chunk_latencies_us, 0.99),
        first_chunk_p50_us=quantile(result.first_chunk_us, 0.5),
        cpu_us={kind: seconds * 1e6 / max(1, result.requests) for kind, seconds in used.items()},
        chunk_cpu_us={kind: seconds * 1e6 / max(1, result.chunks) for kind, seconds in used.items()},
        load_cpu_share=result.cpu_seconds / result.seconds,
    )


def median_of(runs: Sequence[Measured], value: Callable[[Measured], float]) -> float:
    return statistics.median(value(run) for run in runs) if runs else 0.0
