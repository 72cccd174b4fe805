"""`make bench`: measures everything and prints it as Markdown; `--output` keeps the raw numbers as JSON."""

import argparse
import dataclasses
import json
import os
import shlex
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench import control_plane, data_path, filters, hooks, paired, peers, report
from bench.scenarios import SCENARIOS, Scenario

PARTS = ("start", "compile", "change", "hooks", "data", "chunks", "filters")
PARTS_DEFAULT: tuple[str, ...] = tuple(part for part in PARTS if part != "filters")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="Measures Headgate. See tests/bench/README.md."
    )
    parser.add_argument("--rounds", type=int, default=3, help="medians are over these (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each run (default %(default)s)")
    parser.add_argument("--concurrency", type=int, default=1, help="Envoy workers, bare and ours (default %(default)s)")
    parser.add_argument("--quick", action="store_true", help="one short round: shows that it works, proves nothing")
    parser.add_argument("--only", choices=PARTS, action="append", help="parts to measure (default all but filters)")
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


def main() -> int:
    options = parse()
    if options.quick:
        options.rounds, options.seconds = 1, 1.0
    parts: tuple[str, ...] = tuple(options.only or PARTS_DEFAULT)
    arguments = tuple(shlex.split(options.run))
    raw: dict[str, Any] = {"conditions": report.conditions()}
    lines: dict[str, str] = {}
    text: list[str] = ["# Headgate, measured", report.pairs(raw["conditions"])]
    if "start" in parts:
        with folder("cold starts") as directory:
            raw["cold_starts"] = starts = control_plane.cold_starts(directory, arguments)
            lines |= control_plane.start_lines(starts)
    if "compile" in parts:
        with folder("compiling a thousand routes") as directory:
            compiled = control_plane.compilation(directory)
            raw["compilation"] = dataclasses.asdict(compiled)
            lines |= control_plane.compilation_lines(compiled)
    if "change" in parts:
        with folder("changing one route of a thousand") as directory:
            changes = control_plane.route_changes(directory, arguments)
            raw["changes"] = dataclasses.asdict(changes)
            lines |= control_plane.change_lines(changes)
    if "hooks" in parts:
        with folder("Envoy Gateway's hook with a thousand routes") as directory:
            called = hooks.measure(directory)
            raw["hooks"] = dataclasses.asdict(called)
            lines |= hooks.lines(called)
    if lines:
        text += ["## Control plane", report.pairs(lines)]
    if "data" in parts:
        wanted = scenarios_wanted(options)
        with folder("requests and streams") as directory:
            chosen = data_path.DataOptions(
                rounds=options.rounds, seconds=options.seconds, concurrency=options.concurrency, arguments=arguments
            )
            data = data_path.run(directory, wanted, chosen)
            raw["data_path"] = dataclasses.asdict(data)
            runs = report.Runs(data)
            text += ["## Requests", report.request_table(runs, wanted)]
            text += ["## CPU", report.cpu_table(runs, wanted)]
            text += ["## Streams (64 chunks)", report.stream_table(runs, wanted)]
            text += ["## Memory", report.memory_table(data.memory)]
    if "chunks" in parts:
        with folder("chunks beside a bare hop's") as directory:
            chosen = data_path.DataOptions(
                rounds=options.rounds, seconds=options.seconds, concurrency=options.concurrency, arguments=arguments
            )
            with data_path.stages(directory, SCENARIOS, chosen) as ready:
                rounds = 2 if options.quick else max(options.rounds, paired.ROUNDS)
                found = paired.run(scenarios_wanted(options), ready, rounds=rounds, seconds=options.seconds)
            raw["chunks"] = [dataclasses.asdict(each) for each in found]
            text += ["## Chunks beside a bare hop's (paced streams)", paired.table(found)]
    if "filters" in parts:
        for name in options.scenario or ["native", "native-rewrite"]:
            with folder(f"parts of {name}") as directory:
                found_parts = filters.measure_parts(directory, name, rounds=options.rounds, seconds=options.seconds)
                raw[f"filters {name}"] = [dataclasses.asdict(each) for each in found_parts]
                text += [f"## Parts of {name}", filters.table(found_parts)]
    if options.peers:
        with folder("peers") as directory:
            litellm = peers.measure_litellm(directory, seconds=options.seconds)
            raw["litellm"] = dataclasses.asdict(litellm)
            text += ["## Peers", peers.table(litellm)]
    print("\n" + "\n\n".join(text), flush=True)
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps(raw, indent=1) + os.linesep)
    return 0


if __name__ == "__main__":
    sys.exit(main())
