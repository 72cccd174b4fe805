"""Which rule takes a request: the order and the tests that Envoy is configured with, for `headgate explain`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from headgate.compiler import ir
from headgate.compiler.lanes import CLASSES, PathClass
from headgate.compiler.lower.hosts import ranked


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What routes look at. Header names are lower-case; the model is a header by then."""

    host: str
    path: str
    method: str
    headers: Mapping[str, str]
    queries: Mapping[str, str] = field(default_factory=dict[str, str])


def virtual_host_of(listener: ir.Listener, host: str) -> ir.VirtualHost | None:
    """The most specific virtual host for a host name."""
    name = host.partition(":")[0].lower()
    by_name = {entry.hostname: entry for entry in listener.hosts}
    if name in by_name:
        return by_name[name]
    wildcards = sorted((entry for entry in by_name if entry.startswith("*.")), key=len, reverse=True)
    for wildcard in wildcards:
        if name.endswith(wildcard[1:]):
            return by_name[wildcard]
    return by_name.get("*")


def _path_holds(kind: ir.MatchKind, wanted: str, path: str) -> bool:
    bare = path.partition("?")[0]
    match kind:
        case ir.MatchKind.EXACT:
            return bare == wanted
        case ir.MatchKind.PREFIX:
            base = wanted.rstrip("/")
            return bare == base or bare.startswith(base + "/")
        case ir.MatchKind.REGEX:
            return re.fullmatch(wanted, bare) is not None


def _text_holds(text: ir.TextMatch, values: Mapping[str, str]) -> bool:
    value = values.get(text.name)
    if value is None:
        return False
    match text.kind:
        case ir.MatchKind.EXACT:
            return value == text.value
        case ir.MatchKind.PREFIX:
            return value.startswith(text.value)
        case ir.MatchKind.REGEX:
            return re.fullmatch(text.value, value) is not None


def matches(match: ir.Match, request: Request) -> bool:
    """Whether all of a match holds."""
    return (
        _path_holds(match.path_kind, match.path, request.path)
        and (not match.method or match.method == request.method)
        and all(_text_holds(header, request.headers) for header in match.headers)
        and all(_text_holds(query, request.queries) for query in match.queries)
    )


def rule_of(host: ir.VirtualHost, request: Request) -> ir.Rule | None:
    """The first rule that takes the request."""
    for rule, match, _ in (*ranked(host.rules), *ranked(host.inherited)):
        if matches(match, request):
            return rule
    return None


def path_class_of(path: str) -> PathClass:
    """The class of a client's path; the last class takes any."""
    return next(row for row in CLASSES if _path_holds(row.kind, row.path, path))
