"""`headgate compile PATH…`: the xDS that Envoy would be given, as JSON."""

import argparse
import json
from collections.abc import Mapping
from typing import Any

from headgate.cli.offline import add_paths, look, print_diagnostics
from headgate.contract.secret import REDACTED
from headgate.pb import overlay

_SECRET_FIELDS = frozenset({"inline_string", "inline_bytes"})


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_paths(parser)
    parser.add_argument("--type", default="", help="only one type of resource, such as Cluster")


def run(options: argparse.Namespace) -> int:
    """1 where something of the configuration is not in force; what is, is printed all the same."""
    looked = look(options.paths)
    print_diagnostics(looked.diagnostics)
    printed: dict[str, object] = {}
    for url, named in looked.compiled.resources.items():
        kind = url.rpartition(".")[2]
        if options.type in ("", kind):
            printed[kind] = [redacted(overlay.to_dict(message), secret=kind == "Secret") for message in named.values()]
    if looked.compiled.limits and not options.type:
        printed["limits"] = looked.compiled.limits
    print(json.dumps(printed, indent=2, ensure_ascii=False))
    return 1 if looked.broken else 0


def redacted(value: Any, *, secret: bool) -> Any:
    """The JSON value without keys: every inline text of an SDS secret, and the keys of API key authentication."""
    if isinstance(value, list):
        return [redacted(item, secret=secret) for item in value]  # pyright: ignore[reportUnknownVariableType]
    if not isinstance(value, Mapping):
        return value
    items: dict[str, Any] = dict(value)  # pyright: ignore[reportUnknownArgumentType]
    credential = items.keys() == {"key", "client"}
    return {
        name: REDACTED
        if (secret and name in _SECRET_FIELDS) or (credential and name == "key")
        else redacted(item, secret=secret)
        for name, item in items.items()
    }
