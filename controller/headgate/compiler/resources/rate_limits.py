"""Limits of a BackendTrafficPolicy, group `gateway.envoyproxy.io`."""

from collections.abc import Iterator, Mapping
from ipaddress import ip_network
from typing import Annotated, ClassVar, Literal

import msgspec
from headgate.compiler.resources.expressions import expression_violations
from headgate.compiler.resources.gateway_api import Method
from headgate.compiler.resources.metadata import Struct, Violation
from headgate.compiler.resources.quantities import HeaderName

UINT32_MAX = 4_294_967_295
UInt32 = Annotated[int, msgspec.Meta(ge=0, le=UINT32_MAX)]
HITS_MAX = 1_000_000_000
"""Envoy's: it drops a descriptor that is to add more."""


class RateLimitHeader(Struct, frozen=True, kw_only=True):
    """Selects requests by a header."""

    name: HeaderName
    """Name of the header."""
    type: Literal["Exact", "RegularExpression", "Distinct"] = "Exact"
    """How it is compared; `Distinct` counts each value on its own."""
    value: Annotated[str, msgspec.Meta(max_length=1024)] | None = None
    """What it is compared with."""
    invert: bool = False
    """Selects the requests that do not match."""

    def violations(self) -> Iterator[Violation]:
        if self.type == "Distinct" and self.value is not None:
            yield Violation("value must not be set for type Distinct", "value", "remove it")
        if self.type == "Distinct" and self.invert:
            yield Violation("invert must not be set for type Distinct", "invert", "remove it")
        if self.type != "Distinct" and self.value is None:
            yield Violation(f"value must be set for type {self.type}", "value", "a value, or type: Distinct")
        yield from expression_violations(self.type, self.value)


class RateLimitQueryParam(RateLimitHeader, frozen=True, kw_only=True):
    """Selects requests by a query parameter."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    """Name of the parameter."""


class SourceMatch(Struct, frozen=True, kw_only=True):
    """Selects requests by the client's address."""

    value: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    """Address range, like `10.0.0.0/8`."""
    type: Literal["Exact", "Distinct"] = "Exact"
    """`Exact` counts the whole range together, `Distinct` each address on its own."""
    invert: bool = False
    """Selects the requests that do not match."""

    def violations(self) -> Iterator[Violation]:
        try:
            ip_network(self.value, strict=False)
        except ValueError:
            yield Violation(f"{self.value} is no address range", "value", "like 10.0.0.0/8")


class PathMatch(Struct, frozen=True, kw_only=True):
    """Selects requests by path."""

    value: Annotated[str, msgspec.Meta(max_length=1024)] = "/"
    """What the path is compared with."""
    type: Literal["Exact", "PathPrefix", "RegularExpression"] = "PathPrefix"
    """How it is compared."""
    invert: bool = False
    """Selects the requests that do not match."""

    def violations(self) -> Iterator[Violation]:
        yield from expression_violations(self.type, self.value)


class MethodMatch(Struct, frozen=True, kw_only=True):
    """Selects requests by method."""

    value: Method
    """The method."""
    invert: bool = False
    """Selects the requests that do not match."""


class RateLimitSelectCondition(Struct, frozen=True, kw_only=True):
    """Selects requests; all of it must hold."""

    headers: Annotated[tuple[RateLimitHeader, ...], msgspec.Meta(max_length=128)] = ()
    """By headers; `x-ai-eg-model` is the model."""
    methods: tuple[MethodMatch, ...] = ()
    """By method."""
    path: PathMatch | None = None
    """By path."""
    source_cidr: SourceMatch | None = msgspec.field(name="sourceCIDR", default=None)
    """By the client's address."""
    query_params: Annotated[tuple[RateLimitQueryParam, ...], msgspec.Meta(max_length=16)] = ()
    """By query parameters."""

    def violations(self) -> Iterator[Violation]:
        if not (self.headers or self.methods or self.path or self.source_cidr or self.query_params):
            yield Violation("at least one of headers, methods, path, sourceCIDR or queryParams must be specified")


class RateLimitValue(Struct, frozen=True, kw_only=True):
    """How much may be used, in which time."""

    requests: UInt32
    """How much: requests, or what `cost` says."""
    unit: Literal["Second", "Minute", "Hour", "Day", "Week", "Month", "Year"]
    """In which time."""
    refused: ClassVar[Mapping[str, str]] = {"fromMetadata": "requests and unit"}


class CostMetadata(Struct, frozen=True, kw_only=True):
    """Names a number in a request's dynamic metadata."""

    namespace: str
    """`io.envoy.ai_gateway` for the costs of `llmRequestCosts`."""
    key: str
    """`metadataKey` of the cost."""


class CostSpecifier(Struct, frozen=True, kw_only=True):
    """How much a request adds."""

    from_: Literal["Number", "Metadata"] = msgspec.field(name="from")
    """Which of the fields below is used."""
    number: Annotated[int, msgspec.Meta(ge=0, le=HITS_MAX)] | None = None
    """A fixed number; 0 only checks."""
    metadata: CostMetadata | None = None
    """A number in dynamic metadata."""

    def violations(self) -> Iterator[Violation]:
        if self.number is not None and self.metadata is not None:
            yield Violation("only one of number or metadata can be specified")
        if self.from_ == "Number" and self.number is None:
            yield Violation("number must be specified when from is Number", "number", "number: 0")
        if self.from_ == "Metadata" and self.metadata is None:
            remedy = "metadata: {namespace: io.envoy.ai_gateway, key: <a metadataKey of llmRequestCosts>}"
            yield Violation("metadata must be specified when from is Metadata", "metadata", remedy)


class RateLimitCost(Struct, frozen=True, kw_only=True):
    """What a request adds to a limit's use."""

    request: CostSpecifier | None = None
    """When it arrives; 1 when absent."""
    response: CostSpecifier | None = None
    """When its response has ended; nothing when absent."""


class RateLimitRule(Struct, frozen=True, kw_only=True):
    """One limit."""

    limit: RateLimitValue
    """How much may be used, in which time."""
    client_selectors: Annotated[tuple[RateLimitSelectCondition, ...], msgspec.Meta(max_length=8)] = ()
    """Which requests it counts: those that any of them selects; all when empty."""
    cost: RateLimitCost | None = None
    """What a request adds; 1 when it arrives when absent."""
    shared: bool = False
    """Counts the requests of all targets together."""
    shadow_mode: bool = False
    """Counts, and never refuses."""
    unsupported: ClassVar[Mapping[str, str]] = {
        "xRateLimitHeaders": "every limit is told in x-ratelimit-* headers",
    }


class GlobalRateLimit(Struct, frozen=True, kw_only=True):
    """Limits that all Envoys share, kept by the rate limit service."""

    rules: Annotated[tuple[RateLimitRule, ...], msgspec.Meta(max_length=256)]
    """The limits."""


class LocalRateLimit(Struct, frozen=True, kw_only=True):
    """Limits that each Envoy keeps for itself."""

    rules: Annotated[tuple[RateLimitRule, ...], msgspec.Meta(max_length=16)] = ()
    """The limits."""

    def violations(self) -> Iterator[Violation]:
        for index, rule in enumerate(self.rules):
            if rule.cost is not None and rule.cost.response is not None:
                yield Violation("response cost is not supported for Local Rate Limits", f"rules[{index}].cost.response")


class RateLimitSpec(Struct, frozen=True, kw_only=True):
    """Limits."""

    type: Literal["Global", "Local"] | None = None
    """Not needed: what is given counts."""
    global_: GlobalRateLimit | None = msgspec.field(name="global", default=None)
    """Limits that all Envoys share."""
    local: LocalRateLimit | None = None
    """Limits that each Envoy keeps for itself."""
