"""What is wanted, what Envoy accepted last, and what it refused: together they say what is published.

Pure state, no I/O. A refusal is remembered for as long as the configuration still wants exactly what was refused.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from headgate.controller.xds.references import Reference
from headgate.controller.xds.session import Rejected
from headgate.controller.xds.snapshot import Snapshot
from headgate.controller.xds.withhold import withhold


@dataclass(frozen=True, slots=True)
class Refusal:
    """One version of a resource that Envoy refused, and its words."""

    reference: Reference
    version: str
    message: str

    def __str__(self) -> str:
        return f"Envoy refused {self.reference.type_url.rpartition('.')[2]} {self.reference.name}: {self.message}"


class SnapshotStore:
    """See the module. The methods that change it return the snapshot to publish now."""

    def __init__(self) -> None:
        self.wanted: Snapshot | None = None
        """What the configuration says."""
        self.published: Snapshot | None = None
        """What Envoy is offered: `wanted` without what it refused."""
        self.accepted: Snapshot | None = None
        """What Envoy last acknowledged as a whole."""
        self._refusals: dict[Reference, dict[str, Refusal]] = {}

    def want(self, snapshot: Snapshot) -> Snapshot:
        """A new configuration."""
        self.wanted = snapshot
        self._refusals = {
            reference: kept
            for reference, refusals in self._refusals.items()
            if (resource := snapshot.get(reference)) is not None
            and (kept := {v: refusal for v, refusal in refusals.items() if v == resource.version})
        }
        return self._publish(snapshot)

    def refused(self, rejected: Rejected) -> Snapshot | None:
        """Envoy refused part of what was published; None before anything is wanted."""
        for name, version in rejected.versions.items():
            reference = Reference(rejected.type_url, name)
            refusal = Refusal(reference, version, rejected.message)
            self._refusals.setdefault(reference, {})[version] = refusal
        return self._publish(self.wanted) if self.wanted is not None else None

    def applied(self, snapshot_version: str) -> bool:
        """Envoy acknowledged a snapshot; False if a newer one has been published since."""
        if self.published is None or self.published.version != snapshot_version:
            return False
        self.accepted = self.published
        return True

    @property
    def refusals(self) -> tuple[Refusal, ...]:
        """What is wanted and refused now."""
        return tuple(refusal for refusals in self._refusals.values() for refusal in refusals.values())

    def _publish(self, wanted: Snapshot) -> Snapshot:
        refused: Mapping[Reference, frozenset[str]] = {
            reference: frozenset(refusals) for reference, refusals in self._refusals.items()
        }
        self.published = withhold(wanted, self.accepted, refused)
        return self.published
