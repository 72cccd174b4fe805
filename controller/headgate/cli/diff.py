"""`headgate diff PATH… [--against PATH]`: what applying files would change, before it is applied.

First what becomes different for clients, rule by rule and model by model: backends, lanes, limits, authentication. Then
the resources that Envoy would be sent, and the problems that come and go. Objects of PATH are added to what there is,
or take the place of those of their name, as `kubectl apply` does it; with `--prune` PATH is everything there will be.
What there is, is in a cluster (`--kubeconfig`, `--context`) or in other files (`--against`).
"""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from headgate.cli.cluster import add_cluster, names_cluster
from headgate.cli.differences import Change, Differences, differences
from headgate.cli.offline import Configuration, add_paths, compiled, load_files, overlaid
from headgate.cli.source import SourceError, cluster_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_paths(parser)
    parser.add_argument("--against", type=Path, action="append", metavar="PATH", help="what there is now")
    parser.add_argument("--prune", action="store_true", help="what is not in PATH goes away")
    add_cluster(parser)
    parser.add_argument("--output", choices=("text", "json"), default="text")


def run(options: argparse.Namespace) -> int:
    """0 where nothing would change, 1 where something would, 2 for trouble, as `diff` has it."""
    try:
        before = _before(options)
    except SourceError as error:
        print(f"headgate diff: {error}", file=sys.stderr)
        return 2
    applied = load_files(options.paths, beside=before.options.envoy_gateway)
    after = applied if options.prune else overlaid(before, applied)
    was, becomes = compiled(before), compiled(after)
    found = differences((was.compiled, was.diagnostics), (becomes.compiled, becomes.diagnostics))
    if options.output == "json":
        print(json.dumps(asdict(found), indent=2, ensure_ascii=False))
    else:
        for line in lines(found):
            print(line)
    return 1 if found else 0


def _before(options: argparse.Namespace) -> Configuration:
    if options.against:
        return load_files(options.against)
    if names_cluster(options):
        return cluster_of(options)
    raise SourceError("what there is now: --against PATH, or --kubeconfig or --context for a cluster")


def lines(found: Differences) -> Iterator[str]:
    """The differences for people."""
    if not found:
        yield "nothing would change"
        return
    for change in found.changes:
        yield from _change(change)
    resources = found.resources
    counts = ", ".join(
        f"{len(names)} {what}"
        for what, names in (
            ("added", resources.added),
            ("changed", resources.changed),
            ("removed", resources.removed),
        )
    )
    yield f"resources of Envoy: {counts}"
    for sign, names in (("+", resources.added), ("~", resources.changed), ("-", resources.removed)):
        yield from (f"  {sign} {name}" for name in names)
    if found.limits:
        yield "the rate limit service gets another configuration"
    for title, problems in (("new problems", found.new_problems), ("problems that go", found.gone_problems)):
        if problems:
            yield f"{title}:"
            yield from (f"  {problem}" for problem in problems)


def _change(change: Change) -> Iterator[str]:
    about = f" ({change.about})" if change.about else ""
    yield f"{change.name}{about}: {change.what}"
    for fact in change.facts:
        if fact.before:
            yield f"  - {fact.name}: {fact.before}"
        if fact.after:
            yield f"  + {fact.name}: {fact.after}"
