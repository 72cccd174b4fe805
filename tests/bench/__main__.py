"""`make bench`: measures everything and prints it as Markdown; `--output` keeps the raw numbers as JSON."""

import argparse
import dataclasses
import json
import os
import shlex
import sys
import tempfile
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from bench import control_plane, data_path, filters, hooks, paired, peers, report
from bench.scenarios import SCENARIOS, Scenario


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="Measures Headgate. See tests/bench/README.md."
    )
    parser.add_argument("--rounds", type=int, default=3, help="medians are over these (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each run (default %(default)s)")
    parser.add_argument("--concurrency", type=int, default=1, help="Envoy workers, bare and ours (default %(default)s)")
    parser.add_argument("--quick", action="store_true", help="one short round: shows that it works, proves nothing")
    parser.add_argument(
        "--only", choices=tuple(PARTS), action="append", help="what to measure (default all but filters)"
    )
    parser.add_argument("--scenario", action="append", help="scenarios besides the direct and bare ones (default all)")
    parser.add_argument("--run", default="", help="more arguments for `headgate run`, e.g. --run='--concurrency 1'")
    parser.add_argument("--output", type=Path, help="file for the raw numbers (JSON)")
    parser.add_argument("--peers", action="store_true", help="also measure LiteLLM's proxy, installed from PyPI")
    return parser.parse_args()


@contextmanager
def folder(name: str) -> Generator[Path]:
    """A fresh folder with a path short enough for unix sockets."""
    print(f"==> {name}", flush=True)
    with tempfile.TemporaryDirectory(prefix="hg-") as directory:
        yield Path(directory)


def scenarios_wanted(options: argparse.Namespace) -> list[Scenario]:
    return [
        scenario
        for scenario in SCENARIOS
        if not options.scenario or scenario.via != "headgate" or scenario.name in options.scenario
    ]


@dataclass(slots=True)
class Findings:
    """What was measured so far: raw numbers for a file, and the report's text."""

    raw: dict[str, Any] = field(default_factory=lambda: {"conditions": report.conditions()})
    lines: dict[str, str] = field(default_factory=dict[str, str])
    """Of the control plane, which come first."""
    sections: list[str] = field(default_factory=list[str])

    def text(self) -> str:
        control = ["## Control plane", report.pairs(self.lines)] if self.lines else []
        head = ["# Headgate, measured", report.pairs(self.raw["conditions"])]
        return "\n\n".join([*head, *control, *self.sections])


def _start(found: Findings, options: argparse.Namespace) -> None:
    with folder("cold starts") as directory:
        found.raw["cold_starts"] = starts = control_plane.cold_starts(directory, _arguments(options))
    found.lines |= control_plane.start_lines(starts)


def _compile(found: Findings, _: argparse.Namespace) -> None:
    with folder("compiling a thousand routes") as directory:
        compiled = control_plane.compilation(directory)
    found.raw["compilation"] = dataclasses.asdict(compiled)
    found.lines |= control_plane.compilation_lines(compiled)


def _change(found: Findings, options: argparse.Namespace) -> None:
    with folder("changing one route of a thousand") as directory:
        changes = control_plane.route_changes(directory, _arguments(options))
    found.raw["changes"] = dataclasses.asdict(changes)
    found.lines |= control_plane.change_lines(changes)


def _hooks(found: Findings, _: argparse.Namespace) -> None:
    with folder("Envoy Gateway's hook with a thousand routes") as directory:
        called = hooks.measure(directory)
    found.raw["hooks"] = dataclasses.asdict(called)
    found.lines |= hooks.lines(called)


def _data(found: Findings, options: argparse.Namespace) -> None:
    wanted = scenarios_wanted(options)
    with folder("requests and streams") as directory:
        data = data_path.run(directory, wanted, _data_options(options))
    found.raw["data_path"] = dataclasses.asdict(data)
    runs = report.Runs(data)
    found.sections += ["## Requests", report.request_table(runs, wanted)]
    found.sections += ["## CPU", report.cpu_table(runs, wanted)]
    found.sections += ["## Streams (64 chunks)", report.stream_table(runs, wanted)]
    found.sections += ["## Memory", report.memory_table(data.memory)]


def _chunks(found: Findings, options: argparse.Namespace) -> None:
    rounds = 2 if options.quick else max(options.rounds, paired.ROUNDS)
    with (
        folder("chunks beside a bare hop's") as directory,
        data_path.stages(directory, SCENARIOS, _data_options(options)) as ready,
    ):
        pairs = paired.run(scenarios_wanted(options), ready, rounds=rounds, seconds=options.seconds)
    found.raw["chunks"] = [dataclasses.asdict(each) for each in pairs]
    found.sections += ["## Chunks beside a bare hop's (paced streams)", paired.table(pairs)]


def _filters(found: Findings, options: argparse.Namespace) -> None:
    for name in options.scenario or ["native", "native-rewrite"]:
        with folder(f"parts of {name}") as directory:
            parts = filters.measure_parts(directory, name, rounds=options.rounds, seconds=options.seconds)
        found.raw[f"filters {name}"] = [dataclasses.asdict(each) for each in parts]
        found.sections += [f"## Parts of {name}", filters.table(parts)]


def _peers(found: Findings, options: argparse.Namespace) -> None:
    with folder("peers") as directory:
        litellm = peers.measure_litellm(directory, seconds=options.seconds)
    found.raw["litellm"] = dataclasses.asdict(litellm)
    found.sections += ["## Peers", peers.table(litellm)]


PARTS: Final[Mapping[str, Callable[[Findings, argparse.Namespace], None]]] = {
    "start": _start,
    "compile": _compile,
    "change": _change,
    "hooks": _hooks,
    "data": _data,
    "chunks": _chunks,
    "filters": _filters,
}
"""In the order in which they are measured."""
ASKED_FOR: Final = frozenset({"filters"})
"""Measured only by name."""


def _arguments(options: argparse.Namespace) -> tuple[str, ...]:
    return tuple(shlex.split(options.run))


def _data_options(options: argparse.Namespace) -> data_path.DataOptions:
    return data_path.DataOptions(
        rounds=options.rounds,
        seconds=options.seconds,
        concurrency=options.concurrency,
        arguments=_arguments(options),
    )


def main() -> int:
    """Prints Markdown; returns the exit code."""
    options = parse()
    if options.quick:
        options.rounds, options.seconds = 1, 1.0
    found = Findings()
    for name, measure in PARTS.items():
        if name in (options.only or PARTS.keys() - ASKED_FOR):
            measure(found, options)
    if options.peers:
        _peers(found, options)
    print(f"\n{found.text()}", flush=True)
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps(found.raw, indent=1) + os.linesep)
    return 0


if __name__ == "__main__":
    sys.exit(main())
