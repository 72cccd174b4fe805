"""Where the resolving functions say what is wrong. The compiler's only mutable thing, alive for one compilation."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import TypeVar

from headgate.compiler.conditions import Condition, Diagnostic, Severity, diagnose, diagnostic_order
from headgate.compiler.resources.metadata import Key, Resource

REFERENCE_REASONS = frozenset({"BackendNotFound", "RefNotPermitted", "InvalidKind", "InvalidCertificateRef"})
"""Gateway API's reasons that belong to the condition ResolvedRefs; any other belongs to Accepted."""

Entry = tuple[Diagnostic, str]
"""(what was reported, Gateway API's reason for it)"""
T = TypeVar("T")


class Report:
    """Collects diagnostics, each once, and which reason Gateway API gives for them."""

    def __init__(self) -> None:
        self._found: dict[Diagnostic, str] = {}
        self._by_key: defaultdict[Key, list[Entry]] = defaultdict(list)
        self._record: list[Entry] | None = None

    def error(self, resource: Resource, field: str, message: str, *, remedy: str = "", reason: str = "Invalid") -> None:
        """The object, or the part named, is not in force."""
        self._add(diagnose(resource, field, message, remedy=remedy), reason)

    def warning(self, resource: Resource, field: str, message: str, *, remedy: str = "") -> None:
        """The object is in force, but not all of what its author may expect."""
        self._add(diagnose(resource, field, message, remedy=remedy, severity=Severity.WARNING), "")

    def recorded(self, work: Callable[[], T]) -> tuple[T, tuple[Entry, ...]]:
        """What `work` gives, and everything that it reports, for `repeat`."""
        assert self._record is None
        self._record = []
        try:
            return work(), tuple(self._record)
        finally:
            self._record = None

    def repeat(self, entries: Iterable[Entry]) -> None:
        """Reports what was reported before."""
        for diagnostic, reason in entries:
            self._add(diagnostic, reason)

    def _add(self, diagnostic: Diagnostic, reason: str) -> None:
        if self._record is not None:
            self._record.append((diagnostic, reason))
        if diagnostic not in self._found:
            self._found[diagnostic] = reason
            if diagnostic.key is not None:
                self._by_key[diagnostic.key].append((diagnostic, reason))

    def diagnostics(self) -> tuple[Diagnostic, ...]:
        return tuple(sorted(self._found, key=diagnostic_order))

    def conditions(self, resource: Resource) -> tuple[Condition, ...]:
        """`Accepted` and `ResolvedRefs` of an object."""
        errors = [(d, r) for d, r in self._by_key.get(resource.key, []) if d.severity is Severity.ERROR]
        return (
            self._condition(resource, "Accepted", [e for e in errors if e[1] not in REFERENCE_REASONS]),
            self._condition(resource, "ResolvedRefs", [e for e in errors if e[1] in REFERENCE_REASONS]),
        )

    def _condition(self, resource: Resource, kind: str, errors: list[Entry]) -> Condition:
        message = "; ".join(f"{d.field}: {d.message}" if d.field else d.message for d, _ in errors)
        return Condition(
            key=resource.key,
            type=kind,
            status=not errors,
            reason=errors[0][1] if errors else kind,
            message=message,
            observed_generation=resource.metadata.generation,
        )
