"""An object while its status is made: who it is, and what was found about it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from headgate.compiler.conditions import ObjectStatus, Severity
from headgate.compiler.resolve.report import REFERENCE_REASONS, Found
from headgate.compiler.resolve.scope import Scope
from headgate.compiler.resources.metadata import Key, Name, Resource
from headgate.compiler.statuses.form import Json, condition
from headgate.compiler.world import Rejected


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """`generation` and `uid` are those of the newest version that was read, valid or not."""

    key: Key
    api_version: str
    uid: str
    generation: int
    errors: Sequence[Found]
    warnings: Sequence[Found]

    @property
    def name(self) -> Name:
        return Name(self.key.namespace, self.key.name)

    @property
    def references(self) -> Sequence[Found]:
        """The errors about what it refers to."""
        return [found for found in self.errors if found.reason in REFERENCE_REASONS]

    @property
    def others(self) -> Sequence[Found]:
        """The errors about itself."""
        return [found for found in self.errors if found.reason not in REFERENCE_REASONS]

    def condition(self, type_: str, reason: str, *, message: str = "") -> Json:
        """A condition that holds if its reason is its own name, as all of Gateway API's do."""
        return condition(type_, reason, status=type_ == reason, message=message, generation=self.generation)

    def status(self, status: Mapping[str, object]) -> ObjectStatus:
        return ObjectStatus(
            key=self.key, api_version=self.api_version, uid=self.uid, generation=self.generation, status=status
        )


def subject(scope: Scope, resource: Resource) -> Subject:
    """An object of the world."""
    newest = scope.world.outdated.get(resource.key)
    return Subject(
        key=resource.key,
        api_version=resource.api_version,
        uid=resource.metadata.uid,
        generation=newest.generation if newest is not None else resource.metadata.generation,
        errors=scope.found(resource.key, Severity.ERROR),
        warnings=scope.found(resource.key, Severity.WARNING),
    )


def rejected_subjects(scope: Scope, *kinds: str) -> Iterator[tuple[Subject, Rejected]]:
    """The objects of some kinds that are not valid. One that was declared twice is in force by its other version."""
    for rejected in scope.world.rejected.values():
        if rejected.key.kind in kinds and rejected.api_version:
            about = Subject(
                key=rejected.key,
                api_version=rejected.api_version,
                uid=rejected.uid,
                generation=rejected.generation,
                errors=scope.found(rejected.key, Severity.ERROR),
                warnings=scope.found(rejected.key, Severity.WARNING),
            )
            yield about, rejected
