"""The compiler's middle: what the resources mean, with every reference resolved and every default applied.

`resolve/` makes it from the world, `lower/` makes Envoy configuration from it. Values are immutable and hashable, so
that lowering one of them is a function that can be remembered. Times are seconds, sizes are bytes, names are unique.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from enum import StrEnum
from functools import cache
from operator import attrgetter
from typing import Literal

from headgate.compiler.answers import Compressor, DirectResponse, Fault, Redirect, ResponseOverride
from headgate.compiler.clients import NO_POLICY, ClientTraffic
from headgate.compiler.upstreams import (
    AS_ENVOY_DOES,
    ENVOYS_BREAKER,
    LEAST_REQUEST,
    Balancing,
    Breaker,
    Connections,
    HashKey,
    HealthCheck,
    OutlierDetection,
    Retry,
)
from headgate.contract import headers, metadata
from headgate.contract.facts import ModelRow
from headgate.contract.otel import Exporter, Tracing
from headgate.contract.secret import Secret
from headgate.llm.names import DialectName, HostName

Pairs = tuple[tuple[str, str], ...]


@cache
def _members_of(kind: type) -> Callable[[object], tuple[object, ...]]:
    return attrgetter(*(field.name for field in fields(kind)))


class Hashed:
    """A value that is looked up often and is large: its hash is made once."""

    __slots__ = ("_hash",)
    _hash: int

    def kept_hash(self) -> int:
        try:
            return self._hash
        except AttributeError:
            made = hash(_members_of(type(self))(self))
            object.__setattr__(self, "_hash", made)
            return made


class MatchKind(StrEnum):
    EXACT = "exact"
    PREFIX = "prefix"
    """Whole path segments: `/v1` matches `/v1` and `/v1/x`, not `/v12`."""
    REGEX = "regex"


@dataclass(frozen=True, slots=True)
class TextMatch:
    """One named thing (a header, a query parameter) and what its value must be."""

    name: str
    kind: MatchKind
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Match(Hashed):
    """All of it must hold. `model` is what the rule asks of the request's model, when it asks for one."""

    path_kind: MatchKind = MatchKind.PREFIX
    path: str = "/"
    headers: tuple[TextMatch, ...] = ()
    queries: tuple[TextMatch, ...] = ()
    method: str = ""

    __hash__ = Hashed.kept_hash


def model_of(match: Match) -> str:
    """The one model that the match is for; empty where there may be several."""
    found = (each for each in match.headers if each.name == headers.MODEL and each.kind is MatchKind.EXACT)
    return next((each.value for each in found), "")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One address of a backend: a DNS name, an IP or an absolute socket path."""

    address: str
    port: int
    is_dns: bool = False
    is_socket: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamTls:
    """How Envoy verifies the backend: against `ca_certificates` (PEM), the system's CAs, or (`insecure`) not at all."""

    server_name: str
    system: bool = True
    ca_certificates: str = ""
    insecure: bool = False


class CredentialKind(StrEnum):
    HEADER = "header"
    AWS = "aws"
    AWS_CHAIN = "aws-chain"
    """Signs with what Envoy finds where it runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """Where a request may bring the credential: a key of its dynamic metadata."""

    namespace: str
    key: str
    header: str = ""
    """The client's header that is moved there; empty where a filter of others fills it in."""
    fallback: bool = True
    """Whether a request without it gets the configured credential; else it is answered 401."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """What authenticates the gateway to a backend; its value travels by SDS only."""

    kind: CredentialKind
    secret: str
    """Name of the SDS secret."""
    value: Secret
    """The header's whole value (`Bearer …`) for `HEADER`; the text of the credentials file for `AWS`."""
    header: str = "authorization"
    prefix: str = ""
    """What stands before the credential in the header, for one that comes with the request."""
    region: str = ""
    profile: str = "default"
    override: Override | None = None
    awaited: bool = False
    """Whether there is no value yet, but will be: the backend cannot be asked until then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend(Hashed):
    """One backendRef of a rule. `dialect` is None for a plain HTTP backend."""

    name: str
    """Cluster name; compat with the per-route backend name for AI backends."""
    service: str
    """`<ns>/<name>` of the AIServiceBackend or Backend."""
    endpoints: tuple[Endpoint, ...]
    weight: int = 1
    priority: int = 0
    dialect: DialectName | None = None
    host: HostName = HostName.DIRECT
    vendor: str = ""
    """Whose server it is, where that is known: `headgate.llm.vendors`."""
    prefix: str = ""
    version: str = ""
    project: str = ""
    """Google Cloud's project, for the hosts that have it in their paths."""
    region: str = ""
    """The cloud's region, likewise."""
    model: str = ""
    authority: str = ""
    tls: UpstreamTls | None = None
    proxy: Endpoint | None = None
    """The forward proxy between, which knows the backend by its name."""
    credential: Credential | None = None
    header_set: Pairs = ()
    header_remove: tuple[str, ...] = ()
    body_set: Pairs = ()
    body_remove: tuple[str, ...] = ()
    managed_headers: tuple[str, ...] = ()
    """Headers that any backend of the rule changes; each attempt starts from the client's value of them."""
    steered: bool = False
    """Whether the rate limit service may say that a request begins with another backend of the rule."""
    alone: bool = False
    """Whether no other backend can take a later attempt."""
    known: bool = False
    """Whether the routes of its rule know all that is said of a request but for its answer: each is for one model, and
    nothing is priced, nor are prompts counted."""
    include_usage: bool = False
    losses: Literal["report", "reject", "emulate"] = "report"
    """What the processor does with what the backend's dialect cannot say."""
    models: tuple[ModelRow, ...] = ()
    """What its models take, where its policy says so."""
    response_model: Literal["provider", "requested"] = "provider"
    """Which model the answers to chats name."""
    forced_by: str = ""
    """What has the processor serve chats of the backend's own dialect too: a policy, the capture of content."""
    captured: bool = False
    """Whether the processor captures content, for which it is told of the trace."""
    breaker: Breaker = ENVOYS_BREAKER
    balancing: Balancing = LEAST_REQUEST
    health_check: HealthCheck | None = None
    outlier: OutlierDetection | None = None
    connect_timeout_seconds: float = 10.0
    connections: Connections = AS_ENVOY_DOES
    http2: bool = False

    __hash__ = Hashed.kept_hash


@dataclass(frozen=True, slots=True)
class Cost:
    """A cost of a finished request: metadata key and the CEL that Envoy evaluates to a number."""

    key: str
    expression: str
    """Over the variables of control-plane.md 1.3.3, as the user wrote it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selector:
    """Whom a limit rule counts: requests whose `source` has the value (or any value: each counts alone)."""

    source: str
    """`header:<name>` (`:method` and `:path` are headers), `query:<name>`, `model`, `remote_address`, `range`; empty
    for all requests, which then only adds an entry `key`."""
    value: str | None
    regex: bool = False
    invert: bool = False
    key: str = ""
    """What its descriptor entry is called, where not as the source; the value is the same then, if it holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendLimit:
    """That a limit is of a single backend: used up, it makes requests go to others while there are any."""

    service: str
    model: str = ""
    """The model it is for, as the backend is asked for it; empty for any."""
    others: tuple[str, ...] = ()
    """The models that it is not for."""

    def may_be_for(self, backend: Backend) -> bool:
        """Whether requests to the backend may count; where it is asked for the client's model, that decides."""
        if backend.service != self.service:
            return False
        model = backend.model
        return not model or (model == self.model if self.model else model not in self.others)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """Who shares a limit; shares are per cent of it."""

    name: str
    rank: int
    minimum: int
    maximum: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitRule:
    """One limit. Amounts are what is added per request: at admission and when the response is done."""

    name: str
    """Unique: `<kind>/<ns>/<policy>/rule/<i>`, with the route's name where the policy is not shared."""
    backend: BackendLimit | None = None
    quota: bool = False
    """Whether it is a QuotaPolicy's: its descriptors are named as upstream names them, and do not hold `name`."""
    excluded: tuple[tuple[Selector, ...], ...] = ()
    """Whom it does not count: requests that all selectors of one of these select."""
    selectors: tuple[Selector, ...]
    requests: int
    unit: str
    request_amount: int | str = 1
    """A number, or the metadata key of a cost."""
    response_amount: int | str | None = None
    shadow: bool = False
    reserve: str = ""
    """`lenient` or `strict` where an estimate of `response_amount` is reserved at admission; empty where not."""
    reserved_output_tokens: int = 0
    """Of a request that names no maximum of its own."""
    counts_prompts: bool = False
    """The prompt is counted, and not estimated, for the reservation."""
    what: str = ""
    """`requests`, `tokens` or `usd` (millionths of a dollar), where it is said."""
    slides: bool = False
    burst: int = 0
    """What a token bucket holds; 0 for a window."""
    time_zone: str = ""
    warn_at: tuple[int, ...] = ()
    """Per cent, ascending."""
    pools: tuple[Pool, ...] = ()
    pool: str = ""
    """The pool of the rule whose limit this is; empty where it is in none."""
    refusal_status: int = 429


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalLimit:
    """A limit that each Envoy keeps for itself."""

    name: str
    """Unique in a rule of the API: `<ns>/<policy>/rule/<i>`."""
    requests: int
    """More than none."""
    unit_seconds: int
    selectors: tuple[Selector, ...] = ()
    excluded: tuple[tuple[Selector, ...], ...] = ()
    """Whom it does not count: requests that all selectors of one of these select."""
    shadow: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Cors:
    allow_origins: tuple[TextMatch, ...]
    allow_methods: tuple[str, ...] = ()
    allow_headers: tuple[str, ...] = ()
    expose_headers: tuple[str, ...] = ()
    max_age_seconds: int | None = None
    allow_credentials: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKeys:
    """Client API keys: (client, key) pairs, where a request carries one, and what the backend side is told."""

    keys: tuple[tuple[str, Secret], ...]
    headers: tuple[str, ...] = ()
    queries: tuple[str, ...] = ()
    cookies: tuple[str, ...] = ()
    client_header: str = ""
    sanitize: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class BasicAuth:
    """Users: (name, `{SHA}` and the hash of the password) pairs, and the header that says who it is."""

    users: tuple[tuple[str, Secret], ...]
    client_header: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class JwtProvider:
    name: str
    issuer: str = ""
    audiences: tuple[str, ...] = ()
    jwks_inline: str = ""
    jwks_uri: str = ""
    claim_headers: Pairs = ()
    """(header, claim)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtAuth:
    """A service that says whether a request is let in."""

    backend: Backend
    by_http: bool
    path: str = ""
    headers: tuple[str, ...] = ()
    """What it is sent of the request's."""
    headers_added: tuple[str, ...] = ()
    """What a request goes on with of its answer's."""
    body_bytes_max: int = 0
    """0 for no body."""
    timeout_seconds: float = 10.0
    fail_open: bool = False
    error_status: int = 403


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A claim of a token and the values of which it must be one, or hold one (`listed`)."""

    path: tuple[str, ...]
    values: tuple[str, ...]
    listed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizationRule:
    """Whether requests are let in of which all of it holds; what is empty is not asked."""

    name: str
    allows: bool
    methods: tuple[str, ...] = ()
    path: str = ""
    """An expression for the path with its query."""
    path_inverted: bool = False
    ranges: tuple[str, ...] = ()
    """Address ranges of clients."""
    headers: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """(lower-case name, values of which it must have one)"""
    provider: str = ""
    """Whose token `claims` and `scopes` are looked for in."""
    claims: tuple[Claim, ...] = ()
    scopes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Authorization:
    """The first rule that matches decides, else `allows`."""

    rules: tuple[AuthorizationRule, ...]
    allows: bool

    @property
    def asks_model(self) -> bool:
        """Whether it can be decided only when the model is known."""
        return any(name == headers.MODEL for rule in self.rules for name, _ in rule.headers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Auth:
    """What a SecurityPolicy asks of a request; `name` is the policy's."""

    name: str
    api_keys: ApiKeys | None = None
    basic: BasicAuth | None = None
    jwt: tuple[JwtProvider, ...] = ()
    jwt_optional: bool = False
    cors: Cors | None = None
    external: ExtAuth | None = None
    authorization: Authorization | None = None

    @property
    def guards(self) -> bool:
        """Whether it refuses anybody."""
        return bool(self.authenticates or self.authorization)

    @property
    def authenticates(self) -> bool:
        """Whether clients have to show who they are."""
        return bool(self.api_keys or self.basic or self.jwt or self.external)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderEdit:
    set: Pairs = ()
    add: Pairs = ()
    remove: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewrite:
    hostname: str = ""
    path: str = ""
    path_prefix: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Mirror(Hashed):
    """A backend that is sent `share` (above 0, at most 1) of a rule's requests as well."""

    backend: Backend
    share: float = 1.0

    __hash__ = Hashed.kept_hash


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule(Hashed):
    """One rule of an AIGatewayRoute (`ai`) or HTTPRoute, ready to become Envoy routes."""

    name: str
    """Unique: `<ns>/<route>/rule/<i>` of an AIGatewayRoute, `HTTPRoute/<ns>/<route>/rule/<i>` of an HTTPRoute."""
    route: str
    """`<ns>/<route>`"""
    ai: bool
    matches: tuple[Match, ...]
    backends: tuple[Backend, ...] = ()
    unresolved_weight: int = 0
    """Of a plain rule: the weight of references that lead nowhere. Their share of the requests is answered 500."""
    created: str = ""
    """The route's creationTimestamp: the older wins between equal matches."""
    request_seconds: float | None = None
    backend_request_seconds: float | None = None
    idle_seconds: float | None = None
    """How long a request and its answer may be silent; None where its listener says."""
    retry: Retry | None = None
    costs: tuple[Cost, ...] = ()
    limits: tuple[LimitRule, ...] = ()
    local_limits: tuple[LocalLimit, ...] = ()
    fault: Fault | None = None
    compressors: tuple[Compressor, ...] = ()
    overrides: tuple[ResponseOverride, ...] = ()
    """The first that holds of an answer replaces it."""
    hash_keys: tuple[HashKey, ...] = ()
    """Requests that agree in all of these go to one backend."""
    auth: Auth | None = None
    mirrors: tuple[Mirror, ...] = ()
    """Of a plain rule."""
    upgrades: tuple[str, ...] = ()
    """Protocols that connections of a plain rule may be upgraded to, as the header `upgrade` names them."""
    filter_cors: Cors | None = None
    """Of a plain rule: what its own filter says, before the policy."""
    request_headers: HeaderEdit | None = None
    response_headers: HeaderEdit | None = None
    redirect: Redirect | None = None
    rewrite: Rewrite | None = None
    direct: DirectResponse | None = None
    counts_prompts: bool = False
    """A tokenizer counts what is asked before limits decide, and before the backend is chosen."""
    unavailable: str = ""
    """Why nothing of an AI rule can be asked at the moment; its requests are answered 503."""
    owned_by: str = "Envoy AI Gateway"
    models_created: int = 0
    """Unix seconds, for `/v1/models`."""

    @property
    def plain(self) -> bool:
        """It is an HTTPRoute's; a rule for models that cannot be served is no `ai`, but not plain either."""
        return self.name.startswith(metadata.PLAIN)

    @property
    def cors(self) -> Cors | None:
        """Which pages may call it, as far as its own filter or its policy says."""
        return self.filter_cors or (self.auth.cors if self.auth is not None else None)

    __hash__ = Hashed.kept_hash


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualHost:
    """The rules served for one hostname (`*` for any)."""

    hostname: str
    rules: tuple[Rule, ...]
    inherited: tuple[Rule, ...] = ()
    """Rules of wider hostnames that cover this one; tried after its own."""

    @property
    def all_rules(self) -> tuple[Rule, ...]:
        return self.rules + self.inherited


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    name: str
    chain: str
    key: Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessLog:
    """One access log: lines in a file (`path`), records by OTLP (`otlp`), or Envoy's own entries (`als`)."""

    path: str = ""
    otlp: Exporter | None = None
    resource: Pairs = ()
    als: Exporter | None = None
    log_name: str = ""
    request_headers: tuple[str, ...] = ()
    response_headers: tuple[str, ...] = ()
    response_trailers: tuple[str, ...] = ()
    text: str | None = None
    """A format; None with no `fields` for ours."""
    fields: Pairs | None = None
    """Formats by name."""
    matches: tuple[str, ...] = ()
    """CEL that must hold, each."""
    attempts: bool = False
    """Whether it tells of attempts in place of requests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """One Gateway listener: (hostname, certificates) on a port, and what it serves."""

    name: str
    """`<ns>/<gateway>/<listener>`"""
    hostname: str
    certificates: tuple[Certificate, ...]
    hosts: tuple[VirtualHost, ...]
    auth: Auth | None = None
    traffic: ClientTraffic = NO_POLICY
    tracing: Tracing | None = None
    """How its requests are traced, where its Gateway's EnvoyProxy says so."""
    logs: tuple[AccessLog, ...] | None = None
    """What is told of its requests, likewise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """All listeners that share a port become one Envoy listener."""

    number: int
    tls: bool
    listeners: tuple[Listener, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """Everything to be lowered."""

    ports: tuple[Port, ...]
    listeners: tuple[str, ...] = ()
    """Names of all Gateway listeners that the ports serve; those of one plain port share one `Listener`."""
