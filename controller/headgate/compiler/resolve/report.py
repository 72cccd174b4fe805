"""Where the resolving functions say what is wrong. The compiler's only mutable thing, alive for one compilation."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple, TypeVar

from headgate.compiler.conditions import Diagnostic, Severity, diagnose, diagnostic_order
from headgate.compiler.resources.metadata import Key, Resource

REFERENCE_REASONS: Final = frozenset(
    {
        "BackendNotFound",
        "RefNotPermitted",
        "InvalidKind",
        "InvalidCertificateRef",
        "InvalidCACertificateRef",
        "InvalidSecretRef",
        "InvalidConfigMapRef",
    }
)
"""Reasons that belong to the condition ResolvedRefs, Gateway API's and two like them; any other belongs to Accepted."""

T = TypeVar("T")


class Found(NamedTuple):
    """A diagnostic with Gateway API's reason for it; empty for a warning."""

    diagnostic: Diagnostic
    reason: str


class Report:
    """Collects diagnostics, each once, and which reason Gateway API gives for them."""

    def __init__(self) -> None:
        self._found: dict[Diagnostic, str] = {}
        self._by_key: defaultdict[Key, list[Found]] = defaultdict(list)
        self._record: list[Found] | None = None
        self.count = 0
        """How often anything was reported, the same again included."""

    def error(self, resource: Resource, field: str, message: str, *, remedy: str = "", reason: str = "Invalid") -> None:
        """The object, or the part named, is not in force."""
        self._add(diagnose(resource, field, message, remedy=remedy), reason)

    def follow(self, resource: Resource, field: str, message: str, *, reason: str) -> None:
        """Likewise, where a diagnostic of another object says why."""
        self._add(diagnose(resource, field, message, follows=True), reason)

    def warning(self, resource: Resource, field: str, message: str, *, remedy: str = "") -> None:
        """The object is in force, but not all of what its author may expect."""
        self._add(diagnose(resource, field, message, remedy=remedy, severity=Severity.WARNING), "")

    def recorded(self, work: Callable[[], T]) -> tuple[T, tuple[Found, ...]]:
        """What `work` gives, and everything that it reports, for `repeat`."""
        assert self._record is None
        self._record = []
        try:
            return work(), tuple(self._record)
        finally:
            self._record = None

    def repeat(self, entries: Iterable[Found]) -> None:
        """Reports what was reported before."""
        for diagnostic, reason in entries:
            self._add(diagnostic, reason)

    def _add(self, diagnostic: Diagnostic, reason: str) -> None:
        self.count += 1
        if self._record is not None:
            self._record.append(Found(diagnostic, reason))
        if diagnostic not in self._found:
            self._found[diagnostic] = reason
            if diagnostic.key is not None:
                self._by_key[diagnostic.key].append(Found(diagnostic, reason))

    def diagnostics(self) -> tuple[Diagnostic, ...]:
        return tuple(sorted((each for each in self._found if not each.follows), key=diagnostic_order))

    def found(self, key: Key) -> Sequence[Found]:
        """What was said of an object, by field."""
        return sorted(self._by_key.get(key, ()), key=lambda each: (each.diagnostic.field, each.diagnostic.message))
