"""What the compiler has to say about objects, as values: diagnostics for people, statuses for the API."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from headgate.compiler.resources.metadata import Key, Resource, Source


class Severity(StrEnum):
    ERROR = "error"
    """The object, or the part named, is not in force."""
    WARNING = "warning"
    """The object is in force, but not all of what its author may expect."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnostic:
    """Something wrong, where it is, and what would be right.

    `line` and `column` count from 1, 0 is unknown; `field` is like `spec.rules[0].backendRefs[1].name`, empty for the
    whole.
    """

    severity: Severity
    message: str
    remedy: str = ""
    file: str = ""
    line: int = 0
    column: int = 0
    field: str = ""
    key: Key | None = None
    """The object, where it is known which."""
    follows: bool = False
    """Whether a diagnostic of another object says why: then it stands in the status of this one alone."""

    def __str__(self) -> str:
        """`file:line:column: error: Kind ns/name: field: message; try: remedy`, without what is not known."""
        place = ":".join(str(part) for part in (self.file, self.line, self.column) if part)
        parts = [place, str(self.severity), str(self.key) if self.key else "", self.field]
        head = ": ".join(part for part in parts if part)
        return f"{head}: {self.message}" + (f"; try: {self.remedy}" if self.remedy else "")


def diagnose(
    resource: Resource,
    field: str,
    message: str,
    *,
    remedy: str = "",
    severity: Severity = Severity.ERROR,
    follows: bool = False,
) -> Diagnostic:
    """A diagnostic about a field of an object, with the line that the field is on."""
    source: Source = resource.source
    return Diagnostic(
        severity=severity,
        message=message,
        remedy=remedy,
        file=source.file,
        line=source.line_of(field),
        field=field,
        key=resource.key,
        follows=follows,
    )


STAYS: Final = "; its last good version stays in force"


def stays(diagnostic: Diagnostic) -> Diagnostic:
    """An error that costs its object nothing but the newest version."""
    if diagnostic.severity is not Severity.ERROR:
        return diagnostic
    return replace(diagnostic, message=diagnostic.message + STAYS)


def diagnostic_order(diagnostic: Diagnostic) -> tuple[str, int, int, str, str]:
    """Sort key: by place."""
    return (diagnostic.file, diagnostic.line, diagnostic.column, diagnostic.field, diagnostic.message)


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectStatus:
    """The status that an object should have, whole: what its writer owns of it is this and nothing else.

    `parents` and `ancestors` hold our entries only, told from others' by `controllerName`: the writer leaves those as
    they are. An empty list takes ours away.

    `status` is plain JSON as the API has it. Every condition in it has `type`, `status`, `reason`, `message` and, where
    the generation is known, `observedGeneration`; `lastTransitionTime` is the writer's: it knows what was before.
    """

    key: Key
    api_version: str
    """As the object was read: `group/version`."""
    uid: str
    """Of the object this was made from: a newer one of the same name must not get it. Empty where it is not known."""
    generation: int
    status: Mapping[str, object]


class Told:
    """The statuses of one world, made when they are first asked for: nothing that Envoy waits for needs them."""

    __slots__ = ("_made", "_make")

    def __init__(self, make: Callable[[], tuple[ObjectStatus, ...]]) -> None:
        self._make: Callable[[], tuple[ObjectStatus, ...]] | None = make
        self._made: tuple[ObjectStatus, ...] = ()

    def __call__(self) -> tuple[ObjectStatus, ...]:
        if (make := self._make) is not None:
            self._made, self._make = make(), None  # what it was made from is no longer held
        return self._made


def as_object(status: ObjectStatus) -> Mapping[str, object]:
    """The object with its status as the API has it, for people and scripts."""
    key = status.key
    namespace = {"namespace": key.namespace} if key.namespace else {}
    return {
        "apiVersion": status.api_version,
        "kind": key.kind,
        "metadata": {"name": key.name, **namespace, "generation": status.generation},
        "status": status.status,
    }
