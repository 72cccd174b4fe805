"""`headgate check PATH…`: everything that is wrong with a configuration, and what would be right.

One line per finding, on standard output: `file:line: error: object: field: what is wrong; try: what would be right`.
What would not be in force is an error, what is in force but not all of what its author may expect is a warning.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict

from headgate.cli.source import SourceError, add_source, look_at
from headgate.compiler.conditions import Diagnostic, Severity


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_source(parser)
    parser.add_argument("--format", choices=("text", "json"), default="text", help="json: one object per line")
    parser.add_argument("--strict", action="store_true", help="fail on warnings too")


def run(options: argparse.Namespace) -> int:
    """1 where something is an error (with `--strict`, or a warning), 2 where there is nothing to look at."""
    try:
        looked = look_at(options)
    except SourceError as error:
        print(f"headgate check: {error}", file=sys.stderr)
        return 2
    for diagnostic in looked.diagnostics:
        print(as_json(diagnostic) if options.format == "json" else diagnostic)
    print(summary(looked.diagnostics), file=sys.stderr)
    if not looked.broken and not looked.compiled.program.ports:
        print("nothing is served: no Gateway has a listener with a valid route", file=sys.stderr)
    return 1 if looked.broken or (options.strict and looked.diagnostics) else 0


def as_json(diagnostic: Diagnostic) -> str:
    """The finding as a line of JSON, without what is not known."""
    fields = asdict(diagnostic) | {"object": str(diagnostic.key) if diagnostic.key is not None else ""}
    del fields["key"], fields["follows"]
    return json.dumps({name: value for name, value in fields.items() if value}, ensure_ascii=False)


def summary(diagnostics: Sequence[Diagnostic]) -> str:
    """`2 errors, 1 warning`, or `everything is in force`."""
    counts = Counter(diagnostic.severity for diagnostic in diagnostics)
    parts = [
        f"{counts[severity]} {severity}{'' if counts[severity] == 1 else 's'}"
        for severity in Severity
        if counts[severity]
    ]
    return ", ".join(parts) or "everything is in force"
