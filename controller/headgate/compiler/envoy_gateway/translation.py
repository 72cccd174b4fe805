"""What we make of Envoy Gateway's translation: its lists with AI routes served by us. The pure core of the hook.

    Envoy Gateway's lists + Rules ──► translate ──► lists, problems

What holds nothing of ours passes as the bytes that it came in. Equal input gives equal output, and the memo of the
translation before saves work. One thing it adds: clusters of ours that were in an answer before and are needed no more
stay for some seconds, with their secrets, since Envoy Gateway tells Envoy of clusters before routes. It never raises
for what an object says: what cannot be made is left out, or answers an error, and is reported.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from operator import itemgetter

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.route.v3.route_components_pb2 import VirtualHost
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from headgate.compiler import ir
from headgate.compiler.envoy_gateway.clusters import RuleClusters, rule_clusters
from headgate.compiler.envoy_gateway.joined import nested
from headgate.compiler.envoy_gateway.listeners import untraced, with_ai_filters
from headgate.compiler.envoy_gateway.names import (
    GENERATED,
    INPUTS,
    NOT_FOUND,
    cluster_owner,
    gateway_of,
    route_origin,
    rule_of,
)
from headgate.compiler.envoy_gateway.needs import Needs, needs_of
from headgate.compiler.envoy_gateway.routes import Host, Problem, RouteMemo, with_ai_routes
from headgate.compiler.envoy_gateway.rules import KnownRule, Rules
from headgate.compiler.lower.clusters import service_clusters
from headgate.compiler.lower.listeners import DIRECT_RESPONSE_BYTES_MAX
from headgate.compiler.lower.routes import rule_choices, specifier, specifier_name
from headgate.compiler.options import Options

DISPUTED = (
    "its Gateways share Envoys (mergeGateways), and their GatewayConfigs or policies differ: its backends are asked "
    "for all of them as for one, and what one does not capture is captured of none"
)
OWN_ROUTES = "an AIGatewayRoute for each of these Gateways, or the same GatewayConfig and policies"
TRACE = "in the EnvoyProxy, spec.telemetry.tracing: {provider: {backendRefs: [{name: otel-collector, port: 4317}]}}"
REPORT = "reporting it: this is a mistake of Headgate's"
LEAVING_MAX = 128
"""So many clusters (0.5 MB) stay at most: an answer must not outgrow what Envoy Gateway takes."""
LEAVING_SECONDS = 10.0
"""For so long answers have what leaves. Several may follow each other before a busy Envoy has read the first."""
_MARK = GENERATED.encode()
_INPUTS_IN_BYTES = re.compile(INPUTS.encode() + rb"\x12.\x1a.([0-9a-f]{32})", re.DOTALL)
"""An entry of a Struct: the key, then a Value with a string."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lists:
    """One translation: serialised resources."""

    clusters: tuple[bytes, ...] = ()
    secrets: tuple[bytes, ...] = ()
    listeners: tuple[bytes, ...] = ()
    routes: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Translated:
    """`gateways` are those with AI routes in this translation."""

    lists: Lists
    gateways: frozenset[str] = frozenset()
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class Added:
    """What an answer has that Envoy Gateway did not ask with, serialised, by name."""

    clusters: Mapping[str, bytes] = field(default_factory=dict[str, bytes])
    secrets: Mapping[str, bytes] = field(default_factory=dict[str, bytes])

    def without(self, other: "Added") -> "Added":
        """What of this is not in the other, by name."""
        clusters = {name: data for name, data in self.clusters.items() if name not in other.clusters}
        secrets = {name: data for name, data in self.secrets.items() if name not in other.secrets}
        return Added(clusters, secrets)

    def bounded(self) -> "Added":
        return Added(dict(islice(self.clusters.items(), LEAVING_MAX)), self.secrets)


@dataclass(slots=True)
class Memo:
    """What the last translation of a Gateway made; replaced by the next."""

    added: Added = field(default_factory=Added)
    """What the answer needs of ours."""
    leaving: Added = field(default_factory=Added)
    """What it has besides, since it was needed before."""
    left_at: float = 0.0
    """When some of that was needed last."""
    routes: RouteMemo = field(default_factory=RouteMemo)
    clusters: dict[str, RuleClusters] = field(default_factory=dict[str, RuleClusters])
    """By rule."""
    listeners: dict[tuple[bytes, tuple[tuple[str, Needs], ...]], bytes] = field(
        default_factory=dict[tuple[bytes, tuple[tuple[str, Needs], ...]], bytes]
    )


@dataclass(frozen=True, slots=True)
class _Configuration:
    """A route configuration made anew, and what it serves."""

    name: str
    data: bytes
    gateways: frozenset[str]
    rules: tuple[KnownRule, ...]
    problems: tuple[Problem, ...]
    needs: Needs


def _configuration(data: bytes, rules: Rules, options: Options, memo: Memo, fresh: Memo) -> _Configuration | None:
    """None where nothing of it is ours."""
    if _MARK not in data:
        return None
    configuration = RouteConfiguration.FromString(data)
    hosts: list[Host] = []
    gateways: set[str] = set()
    parts: list[bytes] = []
    for host in configuration.virtual_hosts:
        gateway = gateway_of(host, configuration.name)
        _take_gone(host, rules)
        made = with_ai_routes(host, rules.of(gateway), options, memo.routes, fresh.routes)
        if made is not None:
            hosts.append(made)
            gateways.add(gateway)
        own = made.parts if made is not None else (host.SerializeToString(deterministic=True),)
        parts += nested(RouteConfiguration.VIRTUAL_HOSTS_FIELD_NUMBER, own)
    if not hosts:
        return None
    configuration.ClearField("virtual_hosts")
    served = {known.fingerprint: known for host in hosts for known in host.rules}
    choices: dict[str, tuple[ir.Backend, ...]] = {}
    for known in served.values():
        choices.update((specifier_name(found), found) for found in rule_choices(known.rule, options))
    configuration.cluster_specifier_plugins.extend(specifier(choices[name]) for name in sorted(choices))
    bound = configuration.max_direct_response_body_size_bytes
    bound.value = max(bound.value, DIRECT_RESPONSE_BYTES_MAX)
    return _Configuration(
        configuration.name,
        b"".join((configuration.SerializeToString(deterministic=True), *parts)),
        frozenset(gateways),
        tuple(served.values()),
        tuple(dict.fromkeys(problem for host in hosts for problem in host.problems)),
        needs_of((known.rule for known in served.values()), {name for host in hosts for name in host.client_headers}),
    )


def _take_gone(host: VirtualHost, rules: Rules) -> None:
    """Takes routes of AIGatewayRoutes away that are no more: the API server is about to collect their HTTPRoutes.

    The guard behind them stays, by which the host is known to have AI routes.
    """
    if rules.routes is None:
        return
    for index in reversed(range(len(host.routes))):
        name = rule_of(host.routes[index].name)[0].rpartition("/rule/")[0]
        if name and name not in rules.routes:
            origin = route_origin(host.routes[index])
            if origin is not None and origin.generated and origin.section != NOT_FOUND:
                del host.routes[index]


def _cluster_name(data: bytes) -> str:
    """The name of a serialised cluster: its first field, where fields are in order."""
    if data[:1] == b"\x0a" and len(data) > 2 and data[1] < 0x80:
        return data[2 : 2 + data[1]].decode()
    return Cluster.FromString(data).name


def _clusters(
    theirs: Iterable[bytes], served: Mapping[str, KnownRule], options: Options, memo: Memo, fresh: Memo
) -> tuple[list[bytes], Added]:
    """Theirs without those of AI routes, which nothing refers to any more; and ours."""
    kept: list[bytes] = []
    templates: defaultdict[str, dict[int | None, bytes]] = defaultdict(dict)
    for data in theirs:
        rule, backend = cluster_owner(_cluster_name(data))
        if rule in served:
            templates[rule][backend] = data
        else:
            kept.append(data)
    ours: dict[str, bytes] = {}
    secrets: dict[str, bytes] = {}
    for rule, known in served.items():
        try:
            made = rule_clusters(known, templates[rule], options, memo.clusters.get(rule))
        except Exception as error:  # its routes find no cluster and answer 503; all others are served
            fresh.routes.failures[rule] = f"{type(error).__name__}: {error}"
            continue
        fresh.clusters[rule] = made
        ours |= made.clusters
        secrets |= made.secrets
    services = {each.name: each.SerializeToString(deterministic=True) for each in service_clusters(options)}
    return kept, Added(services | dict(sorted(ours.items())), dict(sorted(secrets.items())))


def _listeners(
    theirs: Iterable[bytes], found: Iterable[_Configuration], options: Options, memo: Memo, fresh: Memo
) -> list[bytes]:
    served = {each.name: each.needs for each in found}
    what = tuple(sorted(served.items(), key=itemgetter(0)))
    result: list[bytes] = []
    for data in theirs:
        made = memo.listeners.get((data, what)) or with_ai_filters(data, served, options)
        fresh.listeners[data, what] = made
        result.append(made)
    return result


def _agreed(rules: Iterable[KnownRule]) -> tuple[dict[str, KnownRule], list[Problem]]:
    """Rules by name: of Gateways that share Envoys, the same rule has one set of clusters, whatever each makes of it.

    What one of them does not capture is not captured for another.
    """
    found: defaultdict[str, dict[str, KnownRule]] = defaultdict(dict)
    for known in rules:
        found[known.rule.name][known.fingerprint] = known
    served = {name: min(each.values(), key=_preferred) for name, each in found.items()}
    disputed = sorted({served[name].rule.route for name, each in found.items() if len(each) > 1})
    return served, [Problem(route, DISPUTED, OWN_ROUTES, served=True) for route in disputed]


def _preferred(known: KnownRule) -> tuple[bool, str]:
    return any(backend.captured for backend in known.rule.backends), known.fingerprint


def _not_captured(found: Iterable[_Configuration], listeners: Iterable[bytes]) -> Iterator[Problem]:
    """Routes whose content is to be captured, in vain: the processor captures of requests that are traced."""
    capturing = [(each, routes) for each in found if (routes := sorted(set(_captured(each.rules))))]
    silent = untraced(listeners) if capturing else ()
    for each, routes in capturing:
        if each.name in silent:
            envoys = f"the Envoys of {', '.join(sorted(each.gateways))}"
            said = f"nothing is captured but of requests that clients trace: {envoys} trace none"
            yield from (Problem(route, said, TRACE, served=True) for route in routes)


def _captured(rules: Iterable[KnownRule]) -> Iterator[str]:
    return (known.rule.route for known in rules if any(backend.captured for backend in known.rule.backends))


def translate(
    lists: Lists, rules: Rules, options: Options, memo: Memo | None = None, *, now: float = 0.0
) -> tuple[Translated, Memo]:
    """The answer to Envoy Gateway, and the memo for the next time. `now`: seconds of a clock that only goes forward."""
    before, fresh = memo or Memo(), Memo()
    made = [_configuration(data, rules, options, before, fresh) for data in lists.routes]
    found = [each for each in made if each is not None]
    if not found:
        return Translated(_with(lists, _leaving(before, fresh, now))), fresh
    served, disputed = _agreed(known for each in found for known in each.rules)
    clusters, fresh.added = _clusters(lists.clusters, served, options, before, fresh)
    answer = Lists(
        clusters=tuple(clusters),
        secrets=lists.secrets,
        listeners=tuple(_listeners(lists.listeners, found, options, before, fresh)),
        routes=tuple(data if each is None else each.data for data, each in zip(lists.routes, made, strict=True)),
    )
    gateways = frozenset(gateway for each in found for gateway in each.gateways)
    failed = [
        Problem(route, f"rule {index} could not be lowered: {why}", REPORT)
        for rule, why in sorted(fresh.routes.failures.items())
        for route, _, index in (rule.rpartition("/rule/"),)
    ]
    told = (problem for each in found for problem in each.problems)
    problems = tuple(dict.fromkeys([*told, *failed, *disputed, *_not_captured(found, lists.listeners)]))
    answer = _with(_with(answer, fresh.added), _leaving(before, fresh, now))
    return Translated(answer, gateways, problems), fresh


def _leaving(before: Memo, fresh: Memo, now: float) -> Added:
    """What stays of the answers before, which is noted in `fresh`."""
    left = before.added.without(fresh.added)
    fresh.left_at = now if left != Added() else before.left_at
    older = before.leaving.without(fresh.added) if now - before.left_at < LEAVING_SECONDS else Added()
    clusters, secrets = {**left.clusters, **older.clusters}, {**left.secrets, **older.secrets}
    fresh.leaving = Added(clusters, secrets).bounded()
    return fresh.leaving


def _with(lists: Lists, added: Added) -> Lists:
    clusters, secrets = (*lists.clusters, *added.clusters.values()), (*lists.secrets, *added.secrets.values())
    return replace(lists, clusters=clusters, secrets=secrets)


def inputs_seen(routes: Iterable[bytes]) -> frozenset[str]:
    """The hashes on Envoy Gateway's AI routes."""
    return frozenset(found.decode() for data in routes for found in _INPUTS_IN_BYTES.findall(data))
