"""Virtual hosts with AI routes in them: what Envoy Gateway made, with each AI route served as we serve it.

Envoy Gateway's order stays, and of its routes everything that it owns: matches on headers, per-filter configs of its
policies, timeouts, retries, rate limits, header edits, metadata. Ours are the path classes, the choice of the backend
and what filters of ours read. A route that is not ours keeps its bytes.

Which route a request takes is known twice: when its headers come, without a model, and when its body was read. At the
first moment Envoy decides which filters a request runs, and Envoy Gateway's filters authenticate it. So every route
that is found without a model (our own answers, and AI routes for any model) switches our filters on and carries one
policy, the guard's; requests of other routes run none of our filters. An AI route with another authentication than the
guard's stays closed: its policy was never asked.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from heapq import merge
from operator import itemgetter

from envoy.config.route.v3.route_components_pb2 import (
    RetryPolicy,
    Route,
    RouteAction,
    RouteList,
    VirtualHost,
)
from envoy.extensions.filters.http.ext_proc.v3.ext_proc_pb2 import ExtProcPerRoute
from envoy.extensions.filters.http.lua.v3.lua_pb2 import LuaPerRoute
from google.protobuf.any_pb2 import Any
from headgate.compiler import ir
from headgate.compiler.envoy_gateway import listeners
from headgate.compiler.envoy_gateway.clients import name_clients
from headgate.compiler.envoy_gateway.joined import Parts, nested
from headgate.compiler.envoy_gateway.matchers import matcher_entry, routes_entry, with_entries
from headgate.compiler.envoy_gateway.names import NOT_FOUND, Origin, route_origin, rule_of, without_inputs
from headgate.compiler.envoy_gateway.rules import GatewayRules, KnownRule
from headgate.compiler.lower import replies
from headgate.compiler.lower.filters import extraction
from headgate.compiler.lower.hosts import exact_model, known_paths, route_list, set_by_header, set_by_method
from headgate.compiler.lower.models import models_listed, models_not_allowed
from headgate.compiler.lower.routes import WITHHELD, Placement, Shared, answered, rule_routes
from headgate.compiler.lower.upstream import SCRIPT, host_scripts, scripts_by_host
from headgate.compiler.lower.wire import packed, switched_on
from headgate.compiler.options import Options
from headgate.contract import headers, metadata
from xds.type.matcher.v3.matcher_pb2 import Matcher

ROUTE_NAME = "aigw_route_name"
"""compat: key of an AI route's name in its metadata."""
AUTHENTICATION = (
    "envoy.filters.http.ext_authz",
    "envoy.filters.http.api_key_auth",
    "envoy.filters.http.basic_auth",
    "envoy.filters.http.oauth2",
    "envoy.filters.http.jwt_authn",
)
"""Envoy Gateway's filters that say who a request is from; each route's config of them is its policy."""
_SWITCHED_BY_ROUTE = ("envoy.filters.http.ext_proc", "envoy.filters.http.lua")
"""Users' own filters, one for each policy, which a route's config can switch off again."""
_COUNTING = ("envoy.filters.http.ratelimit", "envoy.filters.http.local_ratelimit")
"""What is there for every route, and does nothing for the gateway's own answers, which cost nothing."""
_ROUTES = RouteList.ROUTES_FIELD_NUMBER
MAPPED_ROUTES_MAX = 20_000
"""Above this many copies of routes that take any model, one list serves all models."""


class Kind(Enum):
    OTHER = "other"
    """Not ours."""
    SHUT = "shut"
    """An AI route that Envoy Gateway itself answers, or redirects."""
    NOT_FOUND = "not found"
    AI = "ai"


@dataclass(frozen=True, slots=True)
class Entry:
    """One of Envoy Gateway's routes, looked at."""

    data: bytes
    route: Route
    kind: Kind
    rule: str = ""
    match: int = 0
    authentication: tuple[tuple[str, bytes], ...] = ()
    """Its configs of authentication filters."""
    client_header: str = ""
    """What authentication tells the client's name in."""


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with an AI route on a host: `route` is `<ns>/<name>`. `served`: it is in force all the same."""

    route: str
    message: str
    remedy: str = ""
    served: bool = False

    def __str__(self) -> str:
        return self.message + (f"; try: {self.remedy}" if self.remedy else "")


Item = tuple[str | None, bytes]
"""(the one model it takes or None for any, the routes as a serialised RouteList: joined, such texts are one list)"""
MadeKey = tuple[bytes, str, Placement, frozenset[str], bool, bool]
"""Envoy Gateway's route, the rule's fingerprint, and what its host adds."""


@dataclass(slots=True)
class RouteMemo:
    """What the last translation made. Output does not depend on it; what a translation did not use is forgotten."""

    entries: dict[bytes, Entry] = field(default_factory=dict[bytes, Entry])
    made: dict[MadeKey, tuple[Item, ...]] = field(default_factory=dict[MadeKey, tuple[Item, ...]])
    failures: dict[str, str] = field(default_factory=dict[str, str])
    """Rules that could not be lowered: a failure of ours, which costs only them."""


@dataclass(frozen=True, slots=True)
class Host:
    """A virtual host made anew; `rules` are those that it serves."""

    parts: Parts
    """It, serialised."""
    rules: tuple[KnownRule, ...]
    problems: tuple[Problem, ...]
    client_headers: frozenset[str] = frozenset()
    """What authentication tells the client's name in."""


def _kind(route: Route, origin: Origin) -> Kind:
    if origin.section == NOT_FOUND:
        return Kind.NOT_FOUND
    return Kind.AI if route.HasField("route") else Kind.SHUT


def look_at(data: bytes) -> Entry:
    """What there is to know about one of Envoy Gateway's routes."""
    route = Route.FromString(data)
    origin = route_origin(route)
    if origin is None or not origin.generated or origin.kind not in ("HTTPRoute", ""):
        return Entry(data, route, Kind.OTHER)
    rule, match = rule_of(route.name)
    client_header = name_clients(route.typed_per_filter_config)
    policy = tuple(
        sorted(
            (key, config.SerializeToString(deterministic=True))
            for key, config in route.typed_per_filter_config.items()
            if key.startswith(AUTHENTICATION)
        )
    )
    return Entry(data, route, _kind(route, origin), rule, match, policy, client_header)


def guard_of(entries: Sequence[Entry]) -> Entry:
    """The AI route whose policy is asked before the body is read: the first that has one."""
    ours = [entry for entry in entries if entry.kind is not Kind.OTHER]
    return next((entry for entry in ours if entry.authentication), ours[0])


@lru_cache(maxsize=64)
def _switched_off(name: str) -> Any:
    if name.startswith("envoy.filters.http.lua"):
        return packed(LuaPerRoute(disabled=True))
    return packed(ExtProcPerRoute(disabled=True))


def _switch_on(route: Route) -> None:
    for name in listeners.SWITCHED:
        if name not in route.typed_per_filter_config:
            route.typed_per_filter_config[name].CopyFrom(switched_on())


def _union(entries: Sequence[Entry], guard: Entry) -> dict[str, Any]:
    """Envoy Gateway's configs for routes found without a model: the guard's, then what makes other filters be there."""
    found = dict(guard.route.typed_per_filter_config)
    for entry in entries:
        if entry.kind is Kind.OTHER:
            continue
        for name, config in entry.route.typed_per_filter_config.items():
            if not name.startswith(AUTHENTICATION):
                found.setdefault(name, config)
    return {name: config for name, config in found.items() if not name.startswith(_COUNTING)}


def _marked(route: Route, name: str = "") -> None:
    """AI routes are told by this metadata, in local replies too."""
    route.metadata.filter_metadata[metadata.RESOURCE][ROUTE_NAME] = name


def _common(configs: Mapping[str, Any], *, reads: bool) -> bytes:
    """What all of the gateway's own answers carry, as a part of a route: they are guarded as AI routes are.

    `reads` switches on what reads the body.
    """
    route = Route()
    _marked(route)
    for name, config in configs.items():
        route.typed_per_filter_config[name].CopyFrom(config)
    if reads:
        _switch_on(route)
    return route.SerializeToString(deterministic=True)


@lru_cache(maxsize=65_536)
def _with_common(listed: bytes, common: bytes) -> bytes:
    """The routes of a list, each with the common part: joined, serialised parts of a message are that message."""
    made = [Route.FromString(route.SerializeToString() + common) for route in RouteList.FromString(listed).routes]
    return replies.listed(made)


def _refusal(entry: Entry, status: int, text: str) -> Route:
    route = Route(name=entry.route.name, match=entry.route.match, direct_response=answered(text, status))
    route.metadata.CopyFrom(entry.route.metadata)
    without_inputs(route.metadata)
    _marked(route, entry.rule.rpartition("/rule/")[0])
    return route


def _shut(entry: Entry) -> Route:
    """Envoy Gateway's own answer on an AI route, told in the client's dialect."""
    route = Route()
    route.CopyFrom(entry.route)
    without_inputs(route.metadata)
    _marked(route, entry.rule.rpartition("/rule/")[0])
    return route


NOT_COMPILED = "This route is not ready: the gateway does not serve it as it is. Its operator finds why in its status."
OTHER_POLICY = "This route asks for another authentication than the others of its host, and so cannot be served."


def _action(theirs: RouteAction, ours: RouteAction) -> RouteAction:
    """Envoy Gateway's action with our choice of backend."""
    action = RouteAction()
    action.CopyFrom(theirs)
    for oneof in ("cluster_specifier", "host_rewrite_specifier"):  # each backend's own filters name its host
        if (chosen := action.WhichOneof(oneof)) is not None:
            action.ClearField(chosen)
    if ours.WhichOneof("cluster_specifier") == "cluster":
        action.cluster = ours.cluster
    else:
        action.cluster_specifier_plugin = ours.cluster_specifier_plugin
    if not action.HasField("timeout") and ours.HasField("timeout"):
        action.timeout.CopyFrom(ours.timeout)
    if ours.HasField("retry_policy"):
        action.retry_policy.CopyFrom(_retries(theirs, ours.retry_policy))
    return action


def _retries(theirs: RouteAction, ours: RetryPolicy) -> RetryPolicy:
    """Envoy Gateway's policy where it has one; what it has no words for is ours: silence, and choosing anew."""
    if not theirs.HasField("retry_policy"):
        return ours
    result, only_ours = RetryPolicy(), RetryPolicy()
    result.CopyFrom(theirs.retry_policy)
    only_ours.CopyFrom(ours)
    for descriptor, _ in only_ours.ListFields():
        if descriptor.name != "per_try_idle_timeout":
            only_ours.ClearField(descriptor.name)
    result.MergeFrom(only_ours)  # with refresh_cluster_on_retry, which the wheel does not know
    return result


def _overlaid(entry: Entry, ours: Route, known: KnownRule, named: Iterable[str]) -> Route:
    """One of our routes with what Envoy Gateway says of it."""
    theirs = entry.route
    route = Route(name=theirs.name, match=ours.match)
    route.metadata.CopyFrom(theirs.metadata)
    without_inputs(route.metadata)
    _marked(route, known.rule.route)
    for name, config in theirs.typed_per_filter_config.items():
        route.typed_per_filter_config[name].CopyFrom(config)
    for name, config in ours.typed_per_filter_config.items():
        route.typed_per_filter_config[name].CopyFrom(config)
    for name in named:
        if name not in theirs.typed_per_filter_config:
            route.typed_per_filter_config[name].CopyFrom(_switched_off(name))
    if ours.HasField("direct_response"):
        route.direct_response.CopyFrom(ours.direct_response)
        return route
    for field_name in (
        "request_headers_to_add",
        "request_headers_to_remove",
        "response_headers_to_add",
        "response_headers_to_remove",
    ):
        getattr(route, field_name).extend(getattr(theirs, field_name))
    route.request_headers_to_remove.extend(ours.request_headers_to_remove)
    if theirs.HasField("decorator"):
        route.decorator.CopyFrom(theirs.decorator)
    if theirs.HasField("tracing"):
        route.tracing.CopyFrom(theirs.tracing)
    route.stat_prefix = theirs.stat_prefix
    route.route.CopyFrom(_action(theirs.route, ours.route))
    return route


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """What all AI routes of a host share."""

    guard: Entry
    configs: Mapping[str, Any]
    """Envoy Gateway's configs for routes found without a model."""
    how: Placement
    rules: GatewayRules
    options: Options

    @property
    def named(self) -> frozenset[str]:
        return frozenset(name for name in self.configs if name.startswith(_SWITCHED_BY_ROUTE))


def _matches(entry: Entry, known: KnownRule, missing: bool) -> Iterator[tuple[int, ir.Match]]:
    """The match that the entry stands for, and (`missing`) those that had no place in an HTTPRoute."""
    for index, match in enumerate(known.rule.matches):
        if index == entry.match or (missing and index > entry.match):
            yield index, match


def _served(entry: Entry, place: _Place, *, last: bool) -> Iterator[Item]:
    """(the one model or None, the routes) of an AI entry."""
    known = place.rules.get(entry.rule)
    if known is None or not any(backend.weight > 0 for backend in known.rule.backends):
        why = known.rule.unavailable if known is not None else ""
        yield None, replies.listed([_refusal(entry, 503, why) if why else _refusal(entry, 500, NOT_COMPILED)])
        return
    if entry.authentication and entry.authentication != place.guard.authentication:
        yield None, replies.listed([_refusal(entry, 403, OTHER_POLICY)])
        return
    for index, match in _matches(entry, known, last):
        model = exact_model(match)
        ours = rule_routes(known.rule, match, index, place.options, place.how)
        made = tuple(_overlaid(entry, each, known, place.named) for each in ours)
        if model is None:
            for route in made:
                _switch_on(route)
        yield model, replies.listed(made)


ONE_POLICY = "one SecurityPolicy that targets the Gateway, or a hostname of its own for each policy"


def _problems(entries: Sequence[Entry], place: _Place) -> Iterator[Problem]:
    other = place.guard.rule.rpartition("/rule/")[0]
    for entry in entries:
        route = entry.rule.rpartition("/rule/")[0]
        if entry.kind is not Kind.AI:
            continue
        rule = f"rule {entry.rule.rpartition('/rule/')[2]}"
        if entry.authentication and entry.authentication != place.guard.authentication:
            said = f"{rule} is answered 403: its SecurityPolicy asks for another authentication than that of {other}"
            yield Problem(route, f"{said}, which has the same hostname and is asked first", ONE_POLICY)
        elif not entry.authentication and place.guard.authentication:
            said = f"{rule} is guarded by the SecurityPolicy of {other}, which has the same hostname"
            yield Problem(route, said, ONE_POLICY, served=True)


@dataclass(frozen=True, slots=True)
class _Answers:
    """The gateway's own answers on a host."""

    models: Mapping[str, bytes]
    """By what their paths begin with."""
    first: bytes
    """Forms, broken bodies, models that are not posted."""
    no_model: bytes
    """What a request for a known path is found by until its model is known: no other route may take it away."""
    unknown_model: bytes
    last: bytes


@lru_cache(maxsize=4)
def _last_routes(root: str) -> tuple[bytes, bytes, bytes]:
    """(for a known path without a model, for an unknown model, for everything else)"""
    no_model: list[Route] = []
    rest: list[Route] = []
    for route in replies.last_routes(known_paths(root)):
        if route.name == "headgate/no-model":  # with a model that is unknown here, others may take it yet
            route.match.headers.add(name=headers.MODEL, present_match=True, invert_match=True)
            no_model.append(route)
        elif route.name != "headgate/unknown-model":
            rest.append(route)
    return replies.listed(no_model), replies.unknown_model_listed(), replies.listed(rest)


def _answers(served: Iterable[KnownRule], place: _Place) -> _Answers:
    reading = _common(place.configs, reads=True)
    listing, root = _common(place.configs, reads=False), place.options.path_root
    models = {
        path: b"".join(_with_common(each, listing) for each in listed)
        for path, listed in models_listed(
            (known.rule for known in served), root, alone=False, scripted=False
        ).first.items()
    }
    forms = replies.form_routes(root) if place.options.extproc_sockets else []
    named = replies.path_model_routes(root)
    first = [*models_not_allowed(root), *named, *forms, *replies.error_routes(), replies.method_route()]
    no_model, unknown_model, last = _last_routes(root)
    return _Answers(
        models=models,
        first=_with_common(replies.listed(first), reading),
        no_model=_with_common(no_model, reading),
        unknown_model=_with_common(unknown_model, listing),  # a model is known: its body was read
        last=_with_common(last, reading),
    )


def _items(entries: Sequence[Entry], place: _Place, memo: RouteMemo, fresh: RouteMemo) -> tuple[list[Item], int, int]:
    """All routes in Envoy Gateway's order; where the first of ours is, and the first of others after it."""
    items: list[Item] = []
    start = other = -1
    last_of_rule = {entry.rule: entry for entry in entries if entry.kind is Kind.AI}
    for entry in entries:
        if start < 0 and entry.kind in (Kind.AI, Kind.NOT_FOUND):
            start = len(items)
        if start >= 0 and other < 0 and entry.kind is Kind.OTHER:
            other = len(items)
        if entry.kind is Kind.OTHER:
            items.append((None, b"".join(nested(_ROUTES, (entry.data,)))))
        elif entry.kind is Kind.SHUT:
            items.append((None, replies.listed([_shut(entry)])))
        elif entry.kind is Kind.AI:
            items.extend(_remembered(entry, place, last_of_rule[entry.rule] is entry, memo, fresh))
    return items, max(start, 0), other if other >= 0 else len(items)


def _remembered(entry: Entry, place: _Place, last: bool, memo: RouteMemo, fresh: RouteMemo) -> tuple[Item, ...]:
    known = place.rules.get(entry.rule)
    shut = entry.authentication != place.guard.authentication
    key = (entry.data, known.fingerprint if known is not None else "", place.how, place.named, last, shut)
    made = memo.made.get(key)
    if made is None:
        try:
            made = tuple(_served(entry, place, last=last))
        except Exception as error:  # whatever one rule brings up, all others are served
            fresh.failures[entry.rule] = f"{type(error).__name__}: {error}"
            return ((None, replies.listed([_refusal(entry, 500, NOT_COMPILED)])),)
    fresh.made[key] = made
    return made


def _mapped(items: Sequence[Item], places: tuple[int, int], own: _Answers) -> list[bytes]:
    """A matcher by method, and for what is posted by model: each entry has the routes that can take it, in order."""
    by_model: dict[str, list[tuple[int, bytes]]] = {}
    anyone: list[tuple[int, bytes]] = []
    for position, (model, routes) in enumerate(items):
        (anyone if model is None else by_model.setdefault(model, [])).append((position, routes))
    known = dict(anyone)
    unknown = [(None, known.get(position, b"")) for position in range(len(items))]
    rest = b"".join(_arranged(unknown, places, own, models=b""))
    listing = {path: _arranged(unknown, places, own, models=models) for path, models in own.models.items()}
    result = Matcher()
    posted = set_by_method(result, listing, rest)
    set_by_header(posted, "headgate/model", headers.MODEL)
    posted.on_no_match.CopyFrom(route_list((rest,)))
    entries: list[bytes] = []
    for name in sorted(by_model):
        found = merge(by_model[name], anyone, key=itemgetter(0)) if anyone else by_model[name]
        entries += routes_entry(name, [*(routes for _, routes in found), own.unknown_model])
    by_name = matcher_entry("POST", with_entries(posted, entries))
    del result.matcher_tree.exact_match_map.map["POST"]
    return with_entries(result, by_name)


def _arranged(items: Sequence[Item], places: tuple[int, int], own: _Answers, *, models: bytes) -> list[bytes]:
    """Envoy Gateway's order with our own answers where they must be (`_items` has the places)."""
    listed = [routes for _, routes in items]
    start, other = places
    return [
        *listed[:start],
        models,
        own.first,
        *listed[start:other],
        own.no_model,
        *listed[other:],
        own.unknown_model,
        own.last,
    ]


def with_ai_routes(
    host: VirtualHost, rules: GatewayRules, options: Options, memo: RouteMemo, fresh: RouteMemo
) -> Host | None:
    """The virtual host with its AI routes served by us; None where it has none. Takes `host` apart then."""
    entries: list[Entry] = []
    for route in host.routes:
        data = route.SerializeToString(deterministic=True)
        entry = memo.entries.get(data) or look_at(data)
        fresh.entries[data] = entry
        entries.append(entry)
    if all(entry.kind is Kind.OTHER for entry in entries):
        return None
    served = {entry.rule: rules[entry.rule] for entry in entries if entry.kind is Kind.AI and entry.rule in rules}
    alone = all(entry.kind is not Kind.OTHER for entry in entries)
    costs = dict(extraction.shared_costs(known.rule for known in served.values())) if alone else {}
    read = extraction.shared_usage((known.rule for known in served.values()), options) if alone else b""
    mapped = any(exact_model(match) is not None for known in served.values() for match in known.rule.matches)
    copies = sum(entry.kind is Kind.OTHER for entry in entries) * len(served)
    mapped = mapped and copies <= MAPPED_ROUTES_MAX
    guard = guard_of(entries)
    place = _Place(
        guard=guard,
        configs=_union(entries, guard),
        how=Placement(shared=Shared(prices=bool(costs), reading=read, strips=alone), model_known=mapped),
        rules=rules,
        options=options,
    )
    _take_routes(host, options)
    if alone:
        _share(host, costs, read)
    items, *places = _items(entries, place, memo, fresh)
    own = _answers(served.values(), place)
    matcher: list[bytes] = []
    if mapped and any(model is not None for model, _ in items):  # Envoy refuses a map without an entry
        matcher = nested(VirtualHost.MATCHER_FIELD_NUMBER, _mapped(items, (places[0], places[1]), own))
    else:
        listed = b"".join(_arranged(items, (places[0], places[1]), own, models=b"".join(own.models.values())))
        host.routes.extend(RouteList.FromString(listed).routes)
    problems = tuple(dict.fromkeys(_problems(entries, place)))
    clients = frozenset(entry.client_header for entry in entries if entry.client_header)
    parts = (host.SerializeToString(deterministic=True), *matcher)
    return Host(parts, tuple(served[name] for name in sorted(served)), problems, clients)


def _share(host: VirtualHost, costs: Mapping[str, Any], read: bytes) -> None:
    """What all AI routes of a host without others have stands once."""
    host.request_headers_to_remove.extend(WITHHELD)
    if read:
        host.typed_per_filter_config[extraction.USAGE_SCRIPT].MergeFromString(read)
    for key, config in costs.items():
        host.typed_per_filter_config[key].CopyFrom(config)


def _take_routes(host: VirtualHost, options: Options) -> None:
    """Leaves what is Envoy Gateway's of a host beside its routes, and what scripts of ours read there."""
    host.ClearField("routes")
    host.include_request_attempt_count = True  # tells the upstream script a first attempt from a later one
    if scripts_by_host(options):
        host.metadata.filter_metadata[SCRIPT].CopyFrom(host_scripts())
