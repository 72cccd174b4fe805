"""QuotaPolicy: how much of backends may be used. Group `aigateway.envoyproxy.io`, version v1alpha1 alone."""

from collections.abc import Iterator
from typing import Annotated, Literal

import msgspec
from headgate.compiler.resources.ai_gateway import GROUP
from headgate.compiler.resources.expressions import expression_violations
from headgate.compiler.resources.gateway_api import Method
from headgate.compiler.resources.limit_policy import AMOUNT_MAX
from headgate.compiler.resources.metadata import Name63, Name253, Resource, Struct, Violation
from headgate.compiler.resources.quantities import Group


class QuotaValue(Struct, frozen=True, kw_only=True):
    """So much in so long."""

    limit: Annotated[int, msgspec.Meta(ge=0, le=AMOUNT_MAX)]
    """How much."""
    duration: Literal["1s", "1m", "1h", "1d"]
    """In how long."""


class QuotaValueMatch(Struct, frozen=True, kw_only=True):
    """Matches a header or a query parameter."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    """Its name."""
    type: Literal["Exact", "RegularExpression", "Distinct"] = "Exact"
    """How it is compared; every distinct value has a quota of its own."""
    value: Annotated[str, msgspec.Meta(max_length=1024)] | None = None
    """What it is compared with."""
    invert: bool = False
    """Matches what does not match."""

    def violations(self) -> Iterator[Violation]:
        yield from expression_violations(self.type, self.value)


class QuotaMethodMatch(Struct, frozen=True, kw_only=True):
    """Matches the method."""

    value: Method
    """The method."""
    invert: bool = False
    """Matches what does not match."""


class QuotaPathMatch(Struct, frozen=True, kw_only=True):
    """Matches the path."""

    value: Annotated[str, msgspec.Meta(max_length=1024)]
    """What it is compared with."""
    type: Literal["Exact", "PathPrefix", "RegularExpression"] = "PathPrefix"
    """How it is compared."""
    invert: bool = False
    """Matches what does not match."""

    def violations(self) -> Iterator[Violation]:
        yield from expression_violations(self.type, self.value)


class QuotaSourceMatch(Struct, frozen=True, kw_only=True):
    """Matches the client's address."""

    value: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    """Addresses, like 10.0.0.0/8."""
    type: Literal["Exact", "Distinct"] = "Exact"
    """Whether all of them share a quota."""
    invert: bool = False
    """Matches what does not match."""


class QuotaClientSelector(Struct, frozen=True, kw_only=True):
    """Selects clients; all of it must hold."""

    headers: Annotated[tuple[QuotaValueMatch, ...], msgspec.Meta(max_length=64)] = ()
    """Headers."""
    methods: tuple[QuotaMethodMatch, ...] = ()
    """Any of these methods."""
    path: QuotaPathMatch | None = None
    """The path."""
    source_cidr: QuotaSourceMatch | None = msgspec.field(name="sourceCIDR", default=None)
    """The client's address."""
    query_params: Annotated[tuple[QuotaValueMatch, ...], msgspec.Meta(max_length=16)] = ()
    """Query parameters."""

    def violations(self) -> Iterator[Violation]:
        if not (self.headers or self.methods or self.path or self.source_cidr or self.query_params):
            yield Violation("at least one of headers, methods, path, sourceCIDR or queryParams must be specified")


class QuotaRule(Struct, frozen=True, kw_only=True):
    """A quota of some clients."""

    quota: QuotaValue
    """How much they may use."""
    client_selectors: Annotated[tuple[QuotaClientSelector, ...], msgspec.Meta(max_length=8)] = ()
    """Which clients."""
    shadow_mode: bool | None = None
    """Counts, and refuses nothing."""


class QuotaDefinition(Struct, frozen=True, kw_only=True):
    """How a model's use is limited."""

    cost_expression: str = ""
    """What a request costs, in CEL; its total tokens when absent."""
    mode: Literal["Shared", "Exclusive"] = "Shared"
    """`Shared`: a request uses up the quota of every rule that selects it. `Exclusive`: of the first rule alone."""
    default_bucket: QuotaValue | None = None
    """What clients may use, together, that no rule selects."""
    bucket_rules: tuple[QuotaRule, ...] = ()
    """Quotas of some clients."""


class PerModelQuota(Struct, frozen=True, kw_only=True):
    """The quota of one model."""

    model_name: Annotated[str, msgspec.Meta(min_length=1)]
    """The model, as the backend is asked for it."""
    quota: QuotaDefinition
    """How its use is limited."""


class ServiceQuota(Struct, frozen=True, kw_only=True):
    """The quota of all models of a backend that have none of their own."""

    quota: QuotaValue
    """How much may be used."""
    cost_expression: str = ""
    """What a request costs, in CEL; its total tokens when absent."""


class QuotaTarget(Struct, frozen=True, kw_only=True):
    """Names a backend in the policy's namespace."""

    group: Group
    """`aigateway.envoyproxy.io`."""
    kind: Name63
    """`AIServiceBackend`."""
    name: Name253
    """Name of the backend."""


class QuotaPolicySpec(Struct, frozen=True, kw_only=True):
    """How much of backends may be used."""

    target_refs: Annotated[tuple[QuotaTarget, ...], msgspec.Meta(max_length=16)] = ()
    """The backends."""
    service_quota: ServiceQuota | None = None
    """Of their models together, but for those in `perModelQuotas`."""
    per_model_quotas: Annotated[tuple[PerModelQuota, ...], msgspec.Meta(max_length=128)] = ()
    """Of single models."""

    def violations(self) -> Iterator[Violation]:
        for index, target in enumerate(self.target_refs):
            if (target.group, target.kind) != (GROUP, "AIServiceBackend"):
                message = "targetRefs must reference AIServiceBackend resources"
                yield Violation(message, f"targetRefs[{index}]", f"group: {GROUP}, kind: AIServiceBackend")


class QuotaPolicy(Resource, frozen=True, kw_only=True):
    """Limits the use of backends. A request goes to a backend of its rule that has quota left, by priority; it is
    answered 429 where none has. Annotations as those of a BackendTrafficPolicy say how tokens are reserved."""

    spec: QuotaPolicySpec = QuotaPolicySpec()
