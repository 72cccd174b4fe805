"""`headgate status`: which objects are in force, which are not, and why.

Of a cluster as its API server shows it (`--kubeconfig`, `--context`), of a running gateway or controller with what
Envoy made of it (`--admin URL`, whose `/status` is asked), or of files as it would be (PATH).
"""

import argparse
import json
import sys
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeGuard

from headgate.cli.cluster import Cluster, ClusterError, add_cluster, read_cluster
from headgate.cli.offline import look
from headgate.compiler.conditions import as_object
from headgate.compiler.resources.metadata import Key, Name

ADMIN_SECONDS_MAX: Final = 5.0
HOLDS_IF_FALSE: Final = frozenset({"Conflicted", "PartiallyInvalid", "OverlappingTLSConfig"})
"""Conditions that are good news when they are False."""
REPEATED: Final = frozenset({"NotAccepted"})
"""Conditions that say again what another one says."""

Json = Mapping[str, object]
_NOTHING: Final[Json] = {}


class StatusError(Exception):
    """Why there is no status to show, in one line for the user."""


@dataclass(frozen=True, slots=True)
class Line:
    """One object, or one parent, ancestor or listener of it."""

    name: str
    holds: tuple[str, ...]
    """Types of conditions that are as they should be."""
    fails: tuple[tuple[str, str, str], ...]
    """(type, reason, message) of those that are not."""
    below: tuple["Line", ...] = ()

    @property
    def in_force(self) -> bool:
        return not self.fails and all(line.in_force for line in self.below)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", nargs="*", type=Path, metavar="PATH", help="files: what their status would be")
    parser.add_argument(
        "--admin", metavar="URL", help="a running gateway's or controller's, such as http://127.0.0.1:1064"
    )
    parser.add_argument("--output", choices=("text", "json"), default="text")
    add_cluster(parser)


def run(options: argparse.Namespace) -> int:
    """1 where something is not in force, 2 where nothing can be asked."""
    try:
        found = _found(options)
    except (StatusError, ClusterError) as error:
        print(f"headgate status: {error}", file=sys.stderr)
        return 2
    shown = _maps(found.get("objects"))
    if options.output == "json":
        print(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        for line in (*envoy_lines(found), *object_lines(shown)):
            print(line)
    fine = all(line.in_force for line in map(summary, shown)) and not found.get("refusals") and not found.get("error")
    return 0 if fine else 1


def _found(options: argparse.Namespace) -> Json:
    if options.paths:
        return {"objects": [as_object(status) for status in look(options.paths).compiled.statuses]}
    if options.admin:
        return ask(options.admin)
    return {"objects": cluster_objects(read_cluster(options, values=False))}


def ask(url: str) -> Json:
    """`/status` of a gateway or controller. Raises StatusError."""
    address = f"{url if '://' in url else f'http://{url}'}".rstrip("/") + "/status"
    if not address.startswith(("http://", "https://")):
        raise StatusError(f"{url} is no HTTP address")
    try:
        with urllib.request.urlopen(address, timeout=ADMIN_SECONDS_MAX) as answer:  # noqa: S310 - checked above
            value: object = json.load(answer)
    except (urllib.error.URLError, ValueError, OSError) as error:
        raise StatusError(f"no status from {address}: {error}") from None
    if not _is_map(value):
        raise StatusError(f"no status from {address}: not an object")
    return value


def cluster_objects(cluster: Cluster) -> list[Json]:
    """The objects that have a status, and the AI kinds that have none yet."""
    found: list[Json] = []
    for key, status in sorted(cluster.statuses.items()):
        if status or key.group == "aigateway.envoyproxy.io":
            namespace = {"namespace": key.namespace} if key.namespace else {}
            head = {"kind": key.kind, "metadata": {"name": key.name, **namespace}}
            found.append({"apiVersion": key.group, **head, "status": status})
    return found


def envoy_lines(found: Json) -> Iterator[str]:
    """What Envoy made of it, where that is known."""
    if "accepted" not in found:
        return
    accepted, wanted = str(found.get("accepted", "")), str(found.get("wanted", ""))
    nodes = found.get("nodes")
    count = len(nodes) if _is_list(nodes) else 0
    connected = f"{count} Envoy{'' if count == 1 else 's'} connected"
    if not accepted:
        yield f"Envoy has accepted no configuration yet; {connected}"
    elif accepted == wanted:
        yield f"Envoy serves the newest configuration, {accepted}; {connected}"
    else:
        yield f"Envoy serves configuration {accepted}, the newest is {wanted}; {connected}"
    refusals, error = found.get("refusals"), found.get("error")
    yield from (f"  refused: {refusal}" for refusal in (refusals if _is_list(refusals) else ()))
    if error:
        yield f"  not built: {error}"


def object_lines(objects: Iterable[Json]) -> Iterator[str]:
    """A line per object, with what does not hold below it, and how many are in force."""
    lines = [summary(each) for each in objects]
    width = max((len(line.name) for line in lines), default=0)
    for line in lines:
        yield from _printed(line, width, "")
    broken = sum(not line.in_force for line in lines)
    if not lines:
        yield "no objects"
    elif broken:
        yield f"{broken} of {len(lines)} objects {'is' if broken == 1 else 'are'} not in force as written"
    else:
        yield f"all {len(lines)} objects are in force"


def _printed(line: Line, width: int, indent: str) -> Iterator[str]:
    parts = [*line.holds, *(f"not {type_} ({reason})" for type_, reason, _ in line.fails)]
    told = ", ".join(parts) or ("" if line.below else "no status yet")
    yield f"{indent}{line.name:<{width}}  {told}".rstrip()
    findings = dict.fromkeys(finding for _, _, message in line.fails for finding in message.splitlines())
    yield from (f"{indent}    {finding}" for finding in findings)
    for below in line.below:
        yield from _printed(below, 0, f"{indent}  ")


def summary(value: Json) -> Line:
    """One object in the form of the API."""
    head, shown = _map(value.get("metadata")), _map(value.get("status"))
    name = Name(str(head.get("namespace", "")), str(head.get("name", "")))
    below = (
        *(_line(_listener(each), each) for each in _maps(shown.get("listeners"))),
        *(_line(_reference("parent", each.get("parentRef")), each) for each in _maps(shown.get("parents"))),
        *(_line(_reference("on", each.get("ancestorRef")), each) for each in _maps(shown.get("ancestors"))),
    )
    line = _line(str(Key("", str(value.get("kind", "")), *name)), shown)
    return Line(line.name, line.holds, line.fails, below)


def _listener(value: Json) -> str:
    routes = value.get("attachedRoutes", 0)
    return f"listener {value.get('name')} ({routes} route{'' if routes == 1 else 's'})"


def _reference(word: str, value: object) -> str:
    reference = _map(value)
    section = reference.get("sectionName") or reference.get("port")
    return f"{word} {reference.get('kind', '')} {reference.get('name', '')}{f' ({section})' if section else ''}"


def _line(name: str, value: Json) -> Line:
    holds: list[str] = []
    fails: list[tuple[str, str, str]] = []
    for each in _maps(value.get("conditions")):
        type_, status = str(each.get("type", "")), each.get("status")
        if type_ in REPEATED:
            continue
        if (status == "False") if type_ in HOLDS_IF_FALSE else (status == "True"):
            holds.extend([] if type_ in HOLDS_IF_FALSE else [type_])
        elif not (type_ in HOLDS_IF_FALSE and status != "True"):
            fails.append((type_, str(each.get("reason", "")), str(each.get("message", ""))))
    return Line(name, tuple(holds), tuple(fails))


def _is_map(value: object) -> TypeGuard[Json]:
    return isinstance(value, Mapping)


def _map(value: object) -> Json:
    return value if _is_map(value) else _NOTHING


def _is_list(value: object) -> TypeGuard[Sequence[object]]:
    return isinstance(value, (list, tuple))


def _maps(value: object) -> list[Json]:
    return [each for each in value if _is_map(each)] if _is_list(value) else []
