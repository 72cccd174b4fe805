"""Gateway API, group `gateway.networking.k8s.io`.

Bounds and defaults: https://gateway-api.sigs.k8s.io/reference/spec/ (v1.5, experimental channel for retries).
"""

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Literal

import msgspec
from headgate.compiler.resources.expressions import MATCH_TYPE, expression_violations
from headgate.compiler.resources.headers import HTTPHeaderFilter
from headgate.compiler.resources.metadata import Name63, Name253, Port, Resource, Struct, Violation
from headgate.compiler.resources.quantities import (
    INT32_MAX,
    Duration,
    Group,
    HeaderName,
    Hostname,
    Namespace,
    Origin,
    SectionName,
    WildcardHostname,
    duration_seconds,
)
from headgate.compiler.resources.telemetry import Fraction

GROUP = "gateway.networking.k8s.io"

Method = Literal["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"]
MatchType = Literal["Exact", "RegularExpression"]
Weight = Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]


class GatewayClassSpec(Struct, frozen=True, kw_only=True):
    """Which controller serves the Gateways of this class."""

    controller_name: Name253
    """`headgate.dev/gateway-controller` on a cluster; in files the Gateways of every class are served."""
    parameters_ref: Mapping[str, object] | None = None
    """The EnvoyProxy of this class. A standalone gateway has its own Envoy, and reads its `telemetry` alone."""
    description: Annotated[str, msgspec.Meta(max_length=64)] = ""
    """For people."""


class GatewayClass(Resource, frozen=True, kw_only=True):
    """A kind of gateway. In files, a Gateway whose class is not given is served too."""

    spec: GatewayClassSpec


class LabelSelectorRequirement(Struct, frozen=True, kw_only=True):
    """One condition on a label."""

    key: str
    """Label."""
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    """How it is compared."""
    values: tuple[str, ...] = ()
    """What it is compared with."""


class LabelSelector(Struct, frozen=True, kw_only=True):
    """Selects objects by label; all of it must hold."""

    match_labels: Mapping[str, str] = {}
    """Labels with exactly these values."""
    match_expressions: tuple[LabelSelectorRequirement, ...] = ()
    """Conditions on labels."""

    def selects(self, labels: Mapping[str, str]) -> bool:
        """Whether an object with these labels is selected."""
        if any(labels.get(key) != value for key, value in self.match_labels.items()):
            return False
        return all(_holds(requirement, labels) for requirement in self.match_expressions)


def _holds(requirement: LabelSelectorRequirement, labels: Mapping[str, str]) -> bool:
    match requirement.operator:
        case "In":
            return labels.get(requirement.key) in requirement.values
        case "NotIn":
            return labels.get(requirement.key) not in requirement.values
        case "Exists":
            return requirement.key in labels
        case "DoesNotExist":
            return requirement.key not in labels


class RouteNamespaces(Struct, frozen=True, kw_only=True):
    """Namespaces that routes may come from."""

    from_: Literal["All", "Selector", "Same"] = msgspec.field(name="from", default="Same")
    """Every namespace, those that `selector` selects, or the Gateway's own."""
    selector: LabelSelector | None = None
    """Selects namespaces by label, for `from: Selector`."""


class RouteGroupKind(Struct, frozen=True, kw_only=True):
    """A kind of route."""

    kind: Name63
    """Kind of route: HTTPRoute or AIGatewayRoute."""
    group: Group = GROUP
    """API group of the kind."""


class AllowedRoutes(Struct, frozen=True, kw_only=True):
    """Which routes may attach to a listener."""

    namespaces: RouteNamespaces = RouteNamespaces()
    """Namespaces that routes may come from."""
    kinds: Annotated[tuple[RouteGroupKind, ...], msgspec.Meta(max_length=8)] = ()
    """Kinds of routes; every kind the protocol can carry when empty."""


class SecretReference(Struct, frozen=True, kw_only=True):
    """Names a Secret (or a ConfigMap, where one is allowed)."""

    name: Name253
    """Name of the object."""
    namespace: Namespace = ""
    """Its namespace; the referring object's when absent. Another one needs a ReferenceGrant there."""
    group: Group = ""
    """API group; the core group when empty."""
    kind: Name63 = "Secret"
    """Kind of the object."""


class ListenerTls(Struct, frozen=True, kw_only=True):
    """How a listener terminates TLS."""

    mode: Literal["Terminate", "Passthrough"] = "Terminate"
    """`Terminate` for `HTTPS`; what passes through is not served."""
    certificate_refs: Annotated[tuple[SecretReference, ...], msgspec.Meta(max_length=64)] = ()
    """Secrets with `tls.crt` and `tls.key`."""
    unsupported: ClassVar[Mapping[str, str]] = {"options": "TLS options are ignored"}

    def violations(self) -> Iterator[Violation]:
        if self.mode == "Terminate" and not self.certificate_refs:
            yield Violation("certificateRefs or options must be specified when mode is Terminate")


class Listener(Struct, frozen=True, kw_only=True):
    """One address, port and hostname that a Gateway serves."""

    name: SectionName
    """Unique within the Gateway; `sectionName` of routes and policies."""
    port: Port
    """Port it listens on. Listeners with the same port share it."""
    protocol: Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
    """`HTTP` or `HTTPS`; other protocols are not served."""
    hostname: WildcardHostname = ""
    """Host of the requests it takes, with an optional wildcard label; any when absent."""
    tls: ListenerTls | None = None
    """For `HTTPS`."""
    allowed_routes: AllowedRoutes = AllowedRoutes()
    """Routes that may attach; those of the Gateway's namespace when absent."""

    def violations(self) -> Iterator[Violation]:
        if self.protocol in ("HTTP", "TCP", "UDP") and self.tls is not None:
            yield Violation("tls must not be specified for protocols ['HTTP', 'TCP', 'UDP']", "tls", "protocol: HTTPS")
        if self.protocol == "HTTPS" and self.tls is not None and self.tls.mode != "Terminate":
            yield Violation("tls mode must be Terminate for protocol HTTPS", "tls.mode", "Terminate")


class GatewaySpec(Struct, frozen=True, kw_only=True):
    """What a Gateway listens on."""

    gateway_class_name: Name253
    """Name of its GatewayClass."""
    listeners: Annotated[tuple[Listener, ...], msgspec.Meta(min_length=1, max_length=64)]
    """What it listens on."""
    infrastructure: Mapping[str, object] | None = None
    """`parametersRef`: the Gateway's own EnvoyProxy, in place of its class's."""
    unsupported: ClassVar[Mapping[str, str]] = {
        "addresses": "the gateway listens on --listen-address",
        "allowedListeners": "ListenerSets are not read",
        "defaultScope": "routes name their Gateway in parentRefs",
    }
    refused: ClassVar[Mapping[str, str]] = {"tls": "remove it: client certificates are not verified"}

    def violations(self) -> Iterator[Violation]:
        names: set[str] = set()
        places: set[tuple[int, str, str]] = set()
        for index, listener in enumerate(self.listeners):
            place = (listener.port, listener.protocol, listener.hostname)
            if listener.name in names:
                yield Violation("Listener name must be unique within the Gateway", f"listeners[{index}].name")
            if place in places:
                message = "Combination of port, protocol and hostname must be unique for each listener"
                yield Violation(message, f"listeners[{index}]")
            names.add(listener.name)
            places.add(place)


class Gateway(Resource, frozen=True, kw_only=True):
    """Listeners that routes attach to."""

    spec: GatewaySpec


class ParentReference(Struct, frozen=True, kw_only=True):
    """Names what a route attaches to."""

    name: Name253
    """Name of the Gateway."""
    namespace: Namespace = ""
    """Its namespace; the route's when absent."""
    section_name: SectionName = ""
    """One listener; all that fit when absent."""
    port: Port | None = None
    """Listeners on one port; all that fit when absent."""
    group: Group = GROUP
    """API group of the parent."""
    kind: Name63 = "Gateway"
    """Kind of the parent; only Gateway."""


_PATH = re.compile(r"(?:[-A-Za-z0-9/._~!$&'()*+,;=:@]|[%][0-9a-fA-F]{2})+")
_PATH_TYPES = "['Exact', 'PathPrefix']"


class HTTPPathMatch(Struct, frozen=True, kw_only=True):
    """Matches the path of a request."""

    type: Literal["Exact", "PathPrefix", "RegularExpression"] = "PathPrefix"
    """How it is compared; a prefix is compared by whole segments."""
    value: Annotated[str, msgspec.Meta(max_length=1024)] = "/"
    """What it is compared with."""

    def violations(self) -> Iterator[Violation]:
        if self.type == MATCH_TYPE:
            yield from expression_violations(self.type, self.value)
            return
        if not self.value.startswith("/"):
            message = f"value must be an absolute path and start with '/' when type one of {_PATH_TYPES}"
            yield Violation(message, "value", f"/{self.value}")
        for part in ("//", "/./", "/../", "%2f", "%2F", "#"):
            if part in self.value:
                yield Violation(f"must not contain '{part}' when type one of {_PATH_TYPES}", "value")
        for end in ("/..", "/."):
            if self.value.endswith(end):
                yield Violation(f"must not end with '{end}' when type one of {_PATH_TYPES}", "value")
        if not _PATH.fullmatch(self.value):
            message = f"must only contain valid characters (matching ^{_PATH.pattern}$) for types {_PATH_TYPES}"
            yield Violation(message, "value")


class HTTPHeaderMatch(Struct, frozen=True, kw_only=True):
    """Matches a request header."""

    name: HeaderName
    """Name of the header, case-insensitive. `x-ai-eg-model` is the model that the request asks for."""
    value: Annotated[str, msgspec.Meta(min_length=1, max_length=4096)]
    """What it is compared with."""
    type: MatchType = "Exact"
    """How it is compared."""

    def violations(self) -> Iterator[Violation]:
        yield from expression_violations(self.type, self.value)


class HTTPQueryParamMatch(Struct, frozen=True, kw_only=True):
    """Matches a query parameter."""

    name: HeaderName
    """Name of the parameter, case-sensitive."""
    value: Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]
    """What it is compared with."""
    type: MatchType = "Exact"
    """How it is compared."""

    def violations(self) -> Iterator[Violation]:
        yield from expression_violations(self.type, self.value)


class HTTPRouteMatch(Struct, frozen=True, kw_only=True):
    """A request matches when all of it holds."""

    path: HTTPPathMatch = HTTPPathMatch()
    """The path."""
    headers: Annotated[tuple[HTTPHeaderMatch, ...], msgspec.Meta(max_length=16)] = ()
    """The headers."""
    query_params: Annotated[tuple[HTTPQueryParamMatch, ...], msgspec.Meta(max_length=16)] = ()
    """The query parameters."""
    method: Method | None = None
    """The method."""


class HTTPPathModifier(Struct, frozen=True, kw_only=True):
    """Changes a path."""

    type: Literal["ReplaceFullPath", "ReplacePrefixMatch"]
    """What is replaced: the whole path, or the prefix that the rule matched."""
    replace_full_path: Annotated[str, msgspec.Meta(max_length=1024)] | None = None
    """The new path."""
    replace_prefix_match: Annotated[str, msgspec.Meta(max_length=1024)] | None = None
    """The new prefix."""

    def violations(self) -> Iterator[Violation]:
        full, prefix = self.replace_full_path is not None, self.replace_prefix_match is not None
        if self.type == "ReplaceFullPath" and not full:
            yield Violation("replaceFullPath must be specified when type is set to 'ReplaceFullPath'")
        if self.type != "ReplaceFullPath" and full:
            yield Violation("type must be 'ReplaceFullPath' when replaceFullPath is set", "type")
        if self.type == "ReplacePrefixMatch" and not prefix:
            yield Violation("replacePrefixMatch must be specified when type is set to 'ReplacePrefixMatch'")
        if self.type != "ReplacePrefixMatch" and prefix:
            yield Violation("type must be 'ReplacePrefixMatch' when replacePrefixMatch is set", "type")


class HTTPRequestRedirectFilter(Struct, frozen=True, kw_only=True):
    """Answers with a redirect."""

    scheme: Literal["http", "https"] | None = None
    """Scheme of the location; the request's when absent."""
    hostname: Hostname = ""
    """Host of the location; the request's when absent."""
    path: HTTPPathModifier | None = None
    """Path of the location; the request's when absent."""
    port: Port | None = None
    """Port of the location."""
    status_code: Literal[301, 302, 303, 307, 308] = 302
    """Status of the answer."""


class HTTPURLRewriteFilter(Struct, frozen=True, kw_only=True):
    """Changes where a request goes to."""

    hostname: Hostname = ""
    """Host that the backend is told."""
    path: HTTPPathModifier | None = None
    """Path that the backend is told."""


class HTTPCORSFilter(Struct, frozen=True, kw_only=True):
    """Lets browsers call from other origins."""

    allow_origins: Annotated[tuple[Origin, ...], msgspec.Meta(max_length=64)] = ()
    """Origins, with `*` for any, or for any part of one."""
    allow_credentials: bool = False
    """Whether requests may carry cookies."""
    allow_methods: Annotated[tuple[HeaderName, ...], msgspec.Meta(max_length=9)] = ()
    """Methods; `*` for any."""
    allow_headers: Annotated[tuple[HeaderName, ...], msgspec.Meta(max_length=64)] = ()
    """Request headers; `*` for any."""
    expose_headers: Annotated[tuple[HeaderName, ...], msgspec.Meta(max_length=64)] = ()
    """Response headers that the page may read; `*` for any."""
    max_age: Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)] = 5
    """Seconds that a browser may remember the answer."""


class LocalObjectReference(Struct, frozen=True, kw_only=True):
    """Names an object in the same namespace."""

    group: Group
    """API group of the object."""
    kind: Name63
    """Kind of the object."""
    name: Name253
    """Name of the object."""


class BackendObjectReference(Struct, frozen=True, kw_only=True):
    """Names a backend."""

    name: Name253
    """Name of the backend."""
    namespace: Namespace = ""
    """Its namespace; the route's when absent. Another one needs a ReferenceGrant there."""
    group: Group = ""
    """`gateway.envoyproxy.io` for a Backend."""
    kind: Name63 = "Service"
    """`Backend`. A Service needs a cluster that resolves its name."""
    port: Port | None = None
    """Port of a Service."""

    def violations(self) -> Iterator[Violation]:
        if (self.group, self.kind) == ("", "Service") and self.port is None:
            yield Violation(
                "Must have port for Service reference", "port", "kind: Backend, group: gateway.envoyproxy.io"
            )


class HTTPBackendReference(BackendObjectReference, frozen=True, kw_only=True):
    """Names a backend of a rule."""

    weight: Weight = 1
    """Its share of the requests among the backends of the rule; none at 0."""
    unsupported: ClassVar[Mapping[str, str]] = {"filters": "filters of one backend are ignored; put them on the rule"}


class HTTPRequestMirrorFilter(Struct, frozen=True, kw_only=True):
    """Sends requests to another backend as well, whose answers go nowhere."""

    backend_ref: BackendObjectReference
    """The other backend."""
    percent: Annotated[int, msgspec.Meta(ge=0, le=100)] | None = None
    """How many of a hundred requests; all when neither is given."""
    fraction: Fraction | None = None
    """The same, finer."""

    def violations(self) -> Iterator[Violation]:
        if self.percent is not None and self.fraction is not None:
            yield Violation("Only one of percent or fraction may be specified in HTTPRequestMirrorFilter", "percent")


class HTTPRouteFilterEntry(Struct, frozen=True, kw_only=True):
    """One step of what is done to the requests or responses of a rule."""

    type: Literal[
        "RequestHeaderModifier",
        "ResponseHeaderModifier",
        "RequestMirror",
        "RequestRedirect",
        "URLRewrite",
        "ExtensionRef",
        "CORS",
        "ExternalAuth",
    ]
    """Which of the fields below is used."""
    request_header_modifier: HTTPHeaderFilter | None = None
    """Changes request headers."""
    response_header_modifier: HTTPHeaderFilter | None = None
    """Changes response headers."""
    request_redirect: HTTPRequestRedirectFilter | None = None
    """Answers with a redirect."""
    url_rewrite: HTTPURLRewriteFilter | None = None
    """Changes host and path."""
    extension_ref: LocalObjectReference | None = None
    """An HTTPRouteFilter."""
    cors: HTTPCORSFilter | None = None
    """Lets browsers call from other origins; comes before what a SecurityPolicy says of it."""
    request_mirror: HTTPRequestMirrorFilter | None = None
    """Sends requests to another backend as well, whose answers go nowhere."""
    refused: ClassVar[Mapping[str, str]] = {
        "externalAuth": "apiKeyAuth or jwt of a SecurityPolicy",
    }

    def violations(self) -> Iterator[Violation]:
        fields = {
            "RequestHeaderModifier": ("requestHeaderModifier", self.request_header_modifier),
            "ResponseHeaderModifier": ("responseHeaderModifier", self.response_header_modifier),
            "RequestRedirect": ("requestRedirect", self.request_redirect),
            "URLRewrite": ("urlRewrite", self.url_rewrite),
            "ExtensionRef": ("extensionRef", self.extension_ref),
            "CORS": ("cors", self.cors),
            "RequestMirror": ("requestMirror", self.request_mirror),
        }
        for type_, (field, value) in fields.items():
            if self.type == type_ and value is None:
                yield Violation(f"filter.{field} must be specified for {type_} filter.type", field)
            if self.type != type_ and value is not None:
                yield Violation(f"filter.{field} must be nil if the filter.type is not {type_}", field)


class HTTPRouteTimeouts(Struct, frozen=True, kw_only=True):
    """How long a request may take."""

    request: Duration = ""
    """The whole request, with all attempts; `0s` for no bound."""
    backend_request: Duration = ""
    """One attempt."""

    def violations(self) -> Iterator[Violation]:
        if not self.request or not self.backend_request or duration_seconds(self.request) == 0:
            return
        if duration_seconds(self.backend_request) > duration_seconds(self.request):
            message = "backendRequest timeout cannot be longer than request timeout"
            yield Violation(message, "backendRequest", f"at most {self.request}")


class HTTPRouteRetry(Struct, frozen=True, kw_only=True):
    """When a request is tried again."""

    codes: tuple[Annotated[int, msgspec.Meta(ge=400, le=599)], ...] = ()
    """Statuses after which to try again; connection errors too in any case."""
    attempts: Annotated[int, msgspec.Meta(ge=1, le=INT32_MAX)] | None = None
    """How often to try again."""
    backoff: Duration = ""
    """Least time between attempts."""


class HTTPRouteRule(Struct, frozen=True, kw_only=True):
    """Requests, and what is done with them."""

    name: SectionName = ""
    """Unique within the route; `sectionName` of policies."""
    matches: Annotated[tuple[HTTPRouteMatch, ...], msgspec.Meta(max_length=64)] = (HTTPRouteMatch(),)
    """Any of them; every request when absent."""
    filters: Annotated[tuple[HTTPRouteFilterEntry, ...], msgspec.Meta(max_length=16)] = ()
    """What is done to requests and responses."""
    backend_refs: Annotated[tuple[HTTPBackendReference, ...], msgspec.Meta(max_length=16)] = ()
    """Where requests go. Without any, and without an answer from a filter, they are answered 500."""
    timeouts: HTTPRouteTimeouts | None = None
    """How long a request may take."""
    retry: HTTPRouteRetry | None = None
    """When a request is tried again."""
    unsupported: ClassVar[Mapping[str, str]] = {"sessionPersistence": "requests of a session may go to any backend"}

    def violations(self) -> Iterator[Violation]:
        if self.backend_refs and any(entry.request_redirect for entry in self.filters):
            yield Violation("RequestRedirect filter must not be used together with backendRefs", "filters")
        types = [entry.type for entry in self.filters]
        for type_ in ("RequestHeaderModifier", "ResponseHeaderModifier", "RequestRedirect", "URLRewrite"):
            if types.count(type_) > 1:
                yield Violation(f"{type_} filter cannot be repeated", "filters")
        if "RequestRedirect" in types and "URLRewrite" in types:
            message = "May specify either httpRouteFilterRequestRedirect or httpRouteFilterRequestRewrite, but not both"
            yield Violation(message, "filters")
        if len(self.matches) == 1 and self.matches[0].path.type == "PathPrefix":
            return
        for index, entry in enumerate(self.filters):
            for name, filter_ in (("RequestRedirect", entry.request_redirect), ("URLRewrite", entry.url_rewrite)):
                if filter_ is not None and filter_.path is not None and filter_.path.type == "ReplacePrefixMatch":
                    yield Violation(
                        f"When using {name} filter with path.replacePrefixMatch, exactly one PathPrefix match must be "
                        "specified",
                        f"filters[{index}]",
                    )


def _parents_that_repeat(references: tuple[ParentReference, ...]) -> Iterator[Violation]:
    seen: dict[tuple[str, str, str, str], set[tuple[str, int | None]]] = {}
    for index, each in enumerate(references):
        places = seen.setdefault((each.group, each.kind, each.namespace, each.name), set())
        place = (each.section_name, each.port)
        field, several = f"parentRefs[{index}]", "when parentRefs includes 2 or more references to the same parent"
        if place in places:
            yield Violation(f"sectionName or port must be unique {several}", field)
        elif places and (place == ("", None) or ("", None) in places):
            yield Violation(f"sectionName or port must be specified {several}", field)
        places.add(place)


class HTTPRouteSpec(Struct, frozen=True, kw_only=True):
    """Where a route attaches, and its rules."""

    parent_refs: Annotated[tuple[ParentReference, ...], msgspec.Meta(max_length=32)] = ()
    """Gateways that serve it."""
    hostnames: Annotated[tuple[WildcardHostname, ...], msgspec.Meta(max_length=16)] = ()
    """Hosts of its requests; those of the listeners when empty."""
    rules: Annotated[tuple[HTTPRouteRule, ...], msgspec.Meta(min_length=1, max_length=16)] = (HTTPRouteRule(),)
    """What it does with requests."""
    unsupported: ClassVar[Mapping[str, str]] = {"useDefaultGateways": "name the Gateway in parentRefs"}

    def violations(self) -> Iterator[Violation]:
        names: set[str] = set()
        for index, rule in enumerate(self.rules):
            if rule.name and rule.name in names:
                yield Violation("Rule name must be unique within the route", f"rules[{index}].name")
            names.add(rule.name)
        if sum(len(rule.matches) for rule in self.rules) > 128:
            yield Violation(
                "While 16 rules and 64 matches per rule are allowed, the total number of matches across all rules in a "
                "route must be less than 128",
                "rules",
            )
        yield from _parents_that_repeat(self.parent_refs)


class HTTPRoute(Resource, frozen=True, kw_only=True):
    """Routes plain HTTP requests; those with a model go by AIGatewayRoute."""

    spec: HTTPRouteSpec


class ReferenceGrantFrom(Struct, frozen=True, kw_only=True):
    """Who may refer."""

    group: Group
    """API group of the referring object."""
    kind: Name63
    """Kind of the referring object."""
    namespace: Namespace
    """Namespace of the referring object."""


class ReferenceGrantTo(Struct, frozen=True, kw_only=True):
    """What may be referred to."""

    group: Group
    """API group of the object."""
    kind: Name63
    """Kind of the object."""
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=253)] = ""
    """One object; all of the kind in the grant's namespace when absent."""


class ReferenceGrantSpec(Struct, frozen=True, kw_only=True):
    """Who may refer to what."""

    from_: Annotated[tuple[ReferenceGrantFrom, ...], msgspec.Meta(min_length=1, max_length=16)] = msgspec.field(
        name="from"
    )
    """Who may refer."""
    to: Annotated[tuple[ReferenceGrantTo, ...], msgspec.Meta(min_length=1, max_length=16)]
    """What may be referred to, in the namespace of the grant."""


class ReferenceGrant(Resource, frozen=True, kw_only=True):
    """Lets objects of another namespace refer to objects of this one."""

    spec: ReferenceGrantSpec


class PolicyTargetReference(Struct, frozen=True, kw_only=True):
    """Names what a policy applies to, in the policy's namespace."""

    group: Group
    """API group of the target."""
    kind: Name63
    """Kind of the target."""
    name: Name253
    """Name of the target."""
    section_name: SectionName = ""
    """A listener of a Gateway, or a rule of a route, by name."""
