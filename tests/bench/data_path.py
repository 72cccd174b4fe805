"""Requests and streams through every scenario, in rounds."""

import random
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from support.envoy import EnvoyProcess
from support.gateway import Gateway
from support.ports import free_ports
from support.processes import proportional_bytes, resident_bytes

from bench import configuration as config
from bench.load import Load
from bench.measure import Measured, Pids, measure, start_backend
from bench.scenarios import SCENARIOS, Scenario, headgate_configuration

CONNECTIONS: Final = (1, 10, 16)
STREAMS_FOR_CPU: Final = 32
PACE_FOR_CPU_MS: Final = 5.0
"""Fast enough that 10 ms ticks of CPU time are a small error, slow enough that no two chunks are read at once."""
STREAMS_FOR_LATENCY: Final = 4
PACE_FOR_LATENCY_MS: Final = 20.0
MEASURED_KINDS: Final = ("envoy", "extproc", "ratelimit", "controller")


@dataclass(frozen=True, slots=True, kw_only=True)
class DataOptions:
    """How much to measure. `concurrency` is the number of worker threads of both Envoys."""

    rounds: int
    seconds: float
    concurrency: int
    arguments: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Where a scenario is reached and whose CPU counts."""

    port: int
    pids: Pids


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One measurement: `mode` is `c1`, `c10`, `c16`, `chunk-cpu` or `chunk-latency`."""

    scenario: str
    mode: str
    measured: Measured


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Bytes by kind of process, one number per process."""

    moment: str
    resident: dict[str, list[int]]
    proportional: dict[str, list[int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class DataPath:
    """Everything measured on the data path."""

    runs: tuple[Run, ...]
    memory: tuple[Memory, ...]


def check(load: Load, scenario: Scenario, pids: Pids) -> None:
    """Fails early, with the answer, where a scenario does not serve."""
    quick = measure(replace(load, seconds=0.3, warmup_seconds=0.0, connections=1), pids)
    if quick.failures or (not quick.requests and not quick.chunks):
        raise RuntimeError(f"{scenario.name} does not serve: {quick.errors or 'no answer'}")


def modes(scenario: Scenario) -> tuple[str, ...]:
    if scenario.streamed:
        return ("chunk-cpu", "chunk-latency")
    return tuple(f"c{connections}" for connections in CONNECTIONS)


def load_for(scenario: Scenario, mode: str, port: int, seconds: float, *, path: str = "", key: str = "") -> Load:
    """The load of one mode; `key` is the client's, where a gateway wants one."""
    match mode:
        case "chunk-cpu":
            connections, pace_ms = STREAMS_FOR_CPU, PACE_FOR_CPU_MS
        case "chunk-latency":
            connections, pace_ms = STREAMS_FOR_LATENCY, PACE_FOR_LATENCY_MS
        case _:
            connections, pace_ms = int(mode.removeprefix("c")), 0.0
    return Load(
        host="127.0.0.1",
        port=port,
        path=path or scenario.path,
        body=scenario.body(pace_ms=pace_ms),
        headers={"x-user-id": "bench", **({"authorization": f"Bearer {key}"} if key else {})},
        connections=connections,
        # A stream lasts more than a second: a run must hold some of them.
        seconds=max(seconds, 64 * pace_ms / 1000 * 3),
        warmup_seconds=0.5,
    )


@contextmanager
def stages(directory: Path, scenarios: Sequence[Scenario], options: DataOptions) -> Generator[Mapping[str, Stage]]:
    """Starts the provider, the bare Envoy and the gateway; gives each scenario's stage by name."""
    with ExitStack() as stack:
        backend, backend_port = start_backend(directory)
        stack.callback(backend.close)
        bare_directory = directory / "bare"
        bare_directory.mkdir()
        bare = stack.enter_context(
            EnvoyProcess(config.bare_envoy(backend_port), bare_directory, concurrency=options.concurrency)
        )
        ours = [scenario.name for scenario in SCENARIOS if scenario.route]
        ports = dict(zip(ours, free_ports(len(ours)), strict=True))
        gateway_directory = directory / "gateway"
        gateway_directory.mkdir()
        arguments = ("--concurrency", str(options.concurrency), *options.arguments)
        gateway = stack.enter_context(
            Gateway(headgate_configuration(ports, backend_port), gateway_directory, *arguments)
        )
        pids = {kind: gateway.processes().get(kind, ()) for kind in MEASURED_KINDS}
        bare_port = next(iter(bare.listeners().values()))
        yield {
            scenario.name: _stage(scenario, backend_port, (bare_port, bare.pid), ports, pids) for scenario in scenarios
        }


def _stage(scenario: Scenario, backend_port: int, bare: tuple[int, int], ports: Mapping[str, int], pids: Pids) -> Stage:
    match scenario.via:
        case "nothing":
            return Stage(port=backend_port, pids={})
        case "bare":
            return Stage(port=bare[0], pids={"envoy": (bare[1],)})
        case "headgate":
            return Stage(port=ports[scenario.name], pids=pids)


def _memory(moment: str, stages_by_name: Mapping[str, Stage]) -> Memory:
    kinds = {"bare envoy": stages_by_name["bare"].pids["envoy"], **stages_by_name["native"].pids}
    return Memory(
        moment=moment,
        resident={kind: [resident_bytes(pid) for pid in pids] for kind, pids in kinds.items()},
        proportional={kind: [proportional_bytes(pid) for pid in pids] for kind, pids in kinds.items()},
    )


def run(directory: Path, scenarios: Sequence[Scenario], options: DataOptions) -> DataPath:
    """Measures every mode of every scenario in each round, in a new order each time."""
    order = random.Random(7)
    runs: list[Run] = []
    with stages(directory, scenarios, options) as ready:
        memory = [_memory("idle", ready)]
        for scenario in scenarios:
            check(load_for(scenario, modes(scenario)[0], ready[scenario.name].port, 0.3), scenario, {})
        for number in range(options.rounds):
            shuffled = list(scenarios)
            order.shuffle(shuffled)
            for scenario in shuffled:
                stage = ready[scenario.name]
                for mode in modes(scenario):
                    load = load_for(scenario, mode, stage.port, options.seconds)
                    runs.append(Run(scenario=scenario.name, mode=mode, measured=measure(load, stage.pids)))
            print(f"    round {number + 1} of {options.rounds} done", flush=True)
        memory.append(_memory("after", ready))
    return DataPath(runs=tuple(runs), memory=tuple(memory))
