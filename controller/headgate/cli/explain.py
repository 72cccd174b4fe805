"""`headgate explain PATH…`: per rule and backend, which lane, why, through which filters, and under which limits.

With `--model` (and `--path`, `--host`, `--header`): what such a request would match, backend by backend in order.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence

from headgate.cli import words
from headgate.cli.offline import print_diagnostics
from headgate.cli.source import SourceError, add_source, look_at
from headgate.compiler import ir
from headgate.compiler.lanes import CHATS, CLASSES, Lane, lane_of, reason
from headgate.compiler.lower.hosts import ranked
from headgate.compiler.matching import Request, path_class_of, rule_of, virtual_host_of
from headgate.contract import headers


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_source(parser)
    parser.add_argument("--model", default="", help="explain one request: its model")
    parser.add_argument("--path", default="", help="its path; default /v1/chat/completions")
    parser.add_argument("--host", default="localhost", help="its host")
    parser.add_argument("--header", action="append", default=[], metavar="NAME=VALUE", help="one of its headers")


def run(options: argparse.Namespace) -> int:
    """1 where something of the configuration is not in force."""
    try:
        looked = look_at(options)
    except SourceError as error:
        print(f"headgate explain: {error}", file=sys.stderr)
        return 2
    print_diagnostics(looked.diagnostics)
    program = looked.compiled.program
    if options.model or options.path or options.header:
        lines = request_lines(program, _request(options))
    else:
        lines = program_lines(program)
    for line in lines:
        print(line)
    return 1 if looked.broken else 0


def _request(options: argparse.Namespace) -> Request:
    given: dict[str, str] = {}
    for entry in options.header:
        name, _, value = str(entry).partition("=")
        given[name.lower()] = value
    if options.model:
        given[headers.MODEL] = options.model
    return Request(host=options.host, path=options.path or "/v1/chat/completions", method="POST", headers=given)


def program_lines(program: ir.Program) -> Iterator[str]:
    """Everything that is served, as a tree."""
    for port in program.ports:
        for listener in port.listeners:
            yield f"{'https' if port.tls else 'http'} port {port.number}, listener {listener.name}"
            if listener.auth is not None:
                yield f"  authentication: {words.auth(listener.auth)}"
            for host in listener.hosts:
                yield f"  host {host.hostname}"
                for rule in dict.fromkeys(rule for rule, _, _ in ranked(host.rules)):
                    yield from _indented(rule_lines(rule), "    ")


def rule_lines(rule: ir.Rule) -> Iterator[str]:
    """One rule: what it matches, what it costs and is limited by, and each backend's lanes."""
    yield f"rule {rule.name}: {' or '.join(words.match(match) for match in rule.matches)}"
    if rule.direct is not None:
        yield f"  answers {rule.direct.status} itself"
        return
    if rule.redirect is not None:
        yield f"  redirects with {rule.redirect.status}"
        return
    yield from _asked(rule)
    if not rule.backends:
        yield f"  no usable backend: answers {503 if rule.unavailable else 404 if rule.ai else 500}"
    elif rule.unresolved_weight:
        yield f"  weight {rule.unresolved_weight}: leads nowhere, answers 500"
    for group in _groups(rule.backends):
        for backend in group:
            yield f"  priority {backend.priority}, weight {backend.weight}: {words.where(backend)}"
            if rule.ai:
                yield from _indented(_lanes(backend), "    ")


def _asked(rule: ir.Rule) -> Iterator[str]:
    return (f"  {name}: {said}" for name, said in words.asked_of(rule))


def _lanes(backend: ir.Backend) -> Iterator[str]:
    """A backend's lanes with their filters, and below each the paths that take it, by reason."""
    paths: dict[Lane | None, dict[str, list[str]]] = {Lane.NATIVE: {}, Lane.EXTPROC: {}, None: {}}
    for path_class in CLASSES:
        lane = lane_of(path_class, backend)
        if lane is None and path_class not in CHATS:
            continue
        if lane is Lane.NATIVE and path_class.translated_only:
            continue
        paths[lane].setdefault(reason(path_class, backend), []).append(words.path(path_class))
    for lane, reasons in paths.items():
        if reasons:
            yield "not served:" if lane is None else f"{lane}, filters: {', '.join(_filters(backend, lane))}"
        for why, these in reasons.items():
            yield f"  {', '.join(dict.fromkeys(these))}: {why}"


def _filters(backend: ir.Backend, lane: Lane) -> Iterator[str]:
    changes = [f"model={backend.model}"] if backend.model else []
    changes += [f"prefix={backend.prefix}"] if backend.prefix else []
    changes += ["include_usage"] if backend.include_usage and lane is Lane.NATIVE else []
    changes += [f"set {name}" for name, _ in (*backend.header_set, *backend.body_set)]
    changes += [f"remove {name}" for name in (*backend.header_remove, *backend.body_remove)]
    yield f"lua({', '.join(changes)})" if changes else "lua"
    if lane is Lane.EXTPROC:
        losses = f", losses: {backend.losses}" if backend.losses != "report" else ""
        yield f"ext_proc({backend.dialect}{losses})"
    credential = backend.credential
    if credential is None:
        return
    if credential.kind is not ir.CredentialKind.HEADER:
        yield "aws_request_signing"
        return
    if (override := credential.override) is not None:
        source = override.header or f"{override.namespace}.{override.key}"
        yield f"lua({credential.header} from {source}{'' if override.fallback else ', else 401'})"
    if override is None or override.fallback:
        yield f"credential_injector({credential.header})"


def request_lines(program: ir.Program, request: Request) -> Iterator[str]:
    """What becomes of one request, on every listener that takes its host."""
    for port in program.ports:
        for listener in port.listeners:
            host = virtual_host_of(listener, request.host)
            yield f"{'https' if port.tls else 'http'} port {port.number}, listener {listener.name}"
            found = rule_of(host, request) if host is not None else None
            if host is None or found is None:
                yield "  no rule takes it: answered 404"
                continue
            yield f"  host {host.hostname}, rule {found.name}"
            yield from _indented(_served(found, request), "  ")


def _served(rule: ir.Rule, request: Request) -> Iterator[str]:
    if not rule.ai:
        yield from rule_lines(rule)
        return
    path_class = path_class_of(request.path)
    yield from _asked(rule)
    attempt = 0
    for group in _groups(rule.backends):
        usable = [backend for backend in group if backend.weight and lane_of(path_class, backend) is not None]
        if usable:
            attempt += 1
            for backend in usable:
                lane = lane_of(path_class, backend)
                yield f"  attempt {attempt}, weight {backend.weight}: {words.where(backend)}"
                yield f"    {lane}: {reason(path_class, backend)}"
    if not attempt:
        yield f"  no backend serves {request.path}: answered 404"


def _groups(backends: Sequence[ir.Backend]) -> list[list[ir.Backend]]:
    found: dict[int, list[ir.Backend]] = {}
    for backend in backends:
        found.setdefault(backend.priority, []).append(backend)
    return [found[priority] for priority in sorted(found)]


def _indented(lines: Iterator[str], by: str) -> Iterator[str]:
    return (by + line for line in lines)
