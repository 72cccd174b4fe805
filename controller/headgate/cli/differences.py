"""What two compiled configurations do differently: rule by rule in words, then the resources that Envoy is sent.

A fact is a name and a text: two rules differ where their facts do.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from headgate.cli import words
from headgate.compiler import ir
from headgate.compiler.compile import Compiled
from headgate.compiler.conditions import Diagnostic, Severity
from headgate.compiler.lanes import CLASSES, Lane, lane_of
from headgate.compiler.lower.hosts import exact_model, ranked

Facts = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing that differs; empty where there was, or will be, none."""

    name: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Change:
    """A rule or listener that is added, changed or removed."""

    name: str
    about: str
    """What it serves."""
    what: str
    facts: tuple[Fact, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """Names of xDS resources as `Kind name`, sorted."""

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Differences:
    """All of it."""

    changes: tuple[Change, ...] = ()
    resources: Resources = Resources()
    limits: bool = False
    """Whether the rate limit service gets another configuration."""
    new_problems: tuple[str, ...] = ()
    gone_problems: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return self != Differences()


def differences(
    before: tuple[Compiled, Iterable[Diagnostic]], after: tuple[Compiled, Iterable[Diagnostic]]
) -> Differences:
    """What changes from one configuration to another; each comes with all its diagnostics."""
    old, new = before[0], after[0]
    was, becomes = _problems(before[1]), _problems(after[1])
    return Differences(
        changes=tuple(_changes(_described(old.program), _described(new.program))),
        resources=_resources(old, new),
        limits=old.limits != new.limits,
        new_problems=tuple(sorted(becomes - was)),
        gone_problems=tuple(sorted(was - becomes)),
    )


def _problems(diagnostics: Iterable[Diagnostic]) -> set[str]:
    """Without their places: a problem that only moved is the same."""
    return {
        f"{each.severity}: {each.key or each.file}: {f'{each.field}: ' if each.field else ''}{each.message}"
        for each in diagnostics
        if each.severity is Severity.ERROR or each.key is not None
    }


_NONE: Final[Facts] = {}
_Described = Mapping[str, tuple[str, Facts]]
"""By name: what it serves, and its facts."""


def _changes(before: _Described, after: _Described) -> Iterator[Change]:
    for name in sorted(before.keys() | after.keys()):
        about = (after.get(name) or before[name])[0]
        old, new = (found[name][1] if name in found else _NONE for found in (before, after))
        facts = tuple(
            Fact(fact, old.get(fact, ""), new.get(fact, ""))
            for fact in dict.fromkeys((*old, *new))
            if old.get(fact) != new.get(fact)
        )
        if facts:
            what = "added" if name not in before else "removed" if name not in after else "changed"
            yield Change(name, about, what, facts)


def _described(program: ir.Program) -> dict[str, tuple[str, Facts]]:
    found: dict[str, tuple[str, Facts]] = {}
    where: dict[str, list[str]] = {}
    rules: dict[str, ir.Rule] = {}
    for port in program.ports:
        for listener in port.listeners:
            facts = {"port": f"{port.number}{' (HTTPS)' if port.tls else ''}", "hostname": listener.hostname}
            if listener.auth is not None:
                facts["authentication"] = words.auth(listener.auth)
            found[f"listener {listener.name}"] = ("", facts)
            for host in listener.hosts:
                for rule in dict.fromkeys(rule for rule, _, _ in ranked(host.rules)):
                    rules.setdefault(rule.name, rule)
                    where.setdefault(rule.name, []).append(f"{host.hostname} on port {port.number}")
    for name, rule in rules.items():
        found[f"rule {name}"] = (_models(rule), {"host": ", ".join(where[name]), **dict(_facts(rule))})
    return found


def _models(rule: ir.Rule) -> str:
    models = [model for match in rule.matches if (model := exact_model(match)) is not None]
    return f"model {', '.join(models)}" if models else ""


def _facts(rule: ir.Rule) -> Iterator[tuple[str, str]]:
    yield "match", " or ".join(words.match(match) for match in rule.matches)
    if rule.direct is not None:
        yield "answer", f"{rule.direct.status} by the gateway itself"
    if rule.redirect is not None:
        yield "answer", f"redirection with {rule.redirect.status}"
    yield from words.asked_of(rule)
    if rule.unresolved_weight:
        yield "leads nowhere", f"weight {rule.unresolved_weight}, answered 500"
    for backend in rule.backends:
        yield from _backend(rule, backend)


def _backend(rule: ir.Rule, backend: ir.Backend) -> Iterator[tuple[str, str]]:
    name = backend.service
    number = backend.name.rpartition("/")[2]
    about = f"backend {number} {name}"
    model = f", model {backend.model}" if backend.model else ""
    yield about, f"{words.where(backend)}, priority {backend.priority}, weight {backend.weight}{model}"
    if backend.credential is not None:
        yield f"{about} credential", f"{backend.credential.secret} in {backend.credential.header}"
    for lane in Lane if rule.ai else ():
        paths = [
            words.path(each)
            for each in CLASSES
            if lane_of(each, backend) is lane and not (lane is Lane.NATIVE and each.translated_only)
        ]
        if paths:
            yield f"{about} {lane}", ", ".join(dict.fromkeys(paths))


def _resources(before: Compiled, after: Compiled) -> Resources:
    old, new = (dict(_bodies(compiled)) for compiled in (before, after))
    return Resources(
        added=tuple(sorted(new.keys() - old.keys())),
        changed=tuple(sorted(name for name in old.keys() & new.keys() if old[name] != new[name])),
        removed=tuple(sorted(old.keys() - new.keys())),
    )


def _bodies(compiled: Compiled) -> Iterator[tuple[str, bytes]]:
    for url, found in compiled.resources.items():
        kind = url.rpartition(".")[2]
        for name, message in found.items():
            yield f"{kind} {name}", message.SerializeToString(deterministic=True)
    for name, text in compiled.files.items():
        yield f"file {name}", text.reveal().encode()
