"""What Envoy Gateway's policies share, group `gateway.envoyproxy.io`: what they apply to, and how they are merged."""

from collections.abc import Iterator, Mapping
from typing import ClassVar, Final, Literal

from headgate.compiler.resources.gateway_api import GROUP as GATEWAY_API_GROUP
from headgate.compiler.resources.gateway_api import LabelSelectorRequirement, PolicyTargetReference
from headgate.compiler.resources.metadata import Name63, Resource, Struct, Violation
from headgate.compiler.resources.quantities import Group

TargetKinds = tuple[str, ...]
MERGED_KINDS: Final = ("HTTPRoute", "AIGatewayRoute")
"""Kinds whose policies may be merged with those of their Gateways."""


class TargetSelector(Struct, frozen=True, kw_only=True):
    """Selects targets of a policy by label, in the policy's namespace."""

    kind: Name63
    """Kind of the targets."""
    group: Group = GATEWAY_API_GROUP
    """API group of the targets."""
    match_labels: Mapping[str, str] = {}
    """Labels with exactly these values."""
    match_expressions: tuple[LabelSelectorRequirement, ...] = ()
    """Conditions on labels."""
    refused: ClassVar[Mapping[str, str]] = {"namespaces": "a policy in each namespace"}


class PolicySpec(Struct, frozen=True, kw_only=True):
    """What all policies share: what they apply to."""

    target_kinds: ClassVar[TargetKinds] = ("Gateway", "HTTPRoute", "AIGatewayRoute")
    """Kinds that the policy may target."""
    target_ref: PolicyTargetReference | None = None
    """The one target (the older form of `targetRefs`)."""
    target_refs: tuple[PolicyTargetReference, ...] = ()
    """The targets."""
    target_selectors: tuple[TargetSelector, ...] = ()
    """Selects targets by label."""

    @property
    def targets(self) -> tuple[PolicyTargetReference, ...]:
        """`targetRef` and `targetRefs`."""
        return (self.target_ref, *self.target_refs) if self.target_ref is not None else self.target_refs

    def violations(self) -> Iterator[Violation]:
        if self.target_ref is not None and self.target_refs:
            yield Violation("either targetRef or targetRefs must be used", "targetRefs")
        if not self.targets and not self.target_selectors:
            yield Violation(
                "either targetRef, targetRefs or targetSelectors must be used",
                "targetRefs",
                f"targetRefs: [{{group: {GATEWAY_API_GROUP}, kind: Gateway, name: ...}}]",
            )
        for index, target in enumerate(self.targets):
            if target.kind not in self.target_kinds:
                field = "targetRef.kind" if self.target_ref is target else f"targetRefs[{index}].kind"
                kinds = "/".join(self.target_kinds)
                yield Violation(f"this policy can only have a targetRef.kind of {kinds}", field, kinds)


class MergedPolicySpec(PolicySpec, frozen=True, kw_only=True):
    """A policy that may be merged with its Gateway's."""

    merge_type: Literal["StrategicMerge", "JSONMerge"] | None = None
    """Merges a route's policy into the closest one of its Gateway: objects field by field, and lists, as a whole, take
    the place of the Gateway's; but with `StrategicMerge` global limits of both count. What the Gateway's says and the
    route's does not stays in force. When absent, a route's policy replaces its Gateway's."""

    def violations(self) -> Iterator[Violation]:
        yield from super().violations()
        kinds = (each.kind for each in (*self.targets, *self.target_selectors))
        if self.merge_type is not None and not all(kind in MERGED_KINDS for kind in kinds):
            yield Violation("mergeType can only be used with xRoute targets", "mergeType", "remove it")


class Written:
    """The spec of an object as plain values: what it says, a default too, and not what it comes to."""

    __slots__ = ("spec",)

    def __init__(self, spec: Mapping[str, object]) -> None:
        self.spec = spec

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Written) and other.spec == self.spec

    __hash__ = None  # pyright: ignore[reportAssignmentType] (the values are dicts)


class MergedPolicy(Resource, frozen=True, kw_only=True):
    """A policy that may be merged with its Gateway's, or that those of routes may be merged with."""

    written: Written = Written({})
    """What it says; not a field of the API."""
