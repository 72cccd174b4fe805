"""Routes: what a rule becomes for each class of client paths.

A rule's routes differ only in path, in which backends can serve that path, and in whether the processor takes part.
Failover is Envoy's `priority_group` cluster specifier with `refresh_cluster_on_retry`, so that each attempt runs its
backend's filters; aggregate and composite clusters would skip them.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from typing import Final

from envoy.config.core.v3.substitution_format_string_pb2 import SubstitutionFormatString
from envoy.config.route.v3.route_components_pb2 import (
    ClusterSpecifierPlugin,
    DirectResponseAction,
    HeaderMatcher,
    QueryParameterMatcher,
    RedirectAction,
    RetryPolicy,
    Route,
    RouteAction,
    RouteMatch,
)
from envoy.type.matcher.v3.metadata_pb2 import MetadataMatcher
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from envoy.type.v3.percent_pb2 import FractionalPercent
from headgate.compiler import answers, ir, upstreams
from headgate.compiler.lanes import CLASSES, Lane, PathClass, lane_of
from headgate.compiler.lower import limits
from headgate.compiler.lower.filters import (
    brought,
    compressors,
    extraction,
    faults,
    overrides,
    published,
    security,
    steered,
)
from headgate.compiler.lower.patterns import DEFAULT_LENGTH_MAX, LENGTH_MAX, either, joined
from headgate.compiler.lower.served import Kind, Served, classes_of, kind_of, served_by, usable_backends
from headgate.compiler.lower.upstream import RENAMER, SCRIPT, chosen, filter_name
from headgate.compiler.lower.wire import (
    add_header,
    duration,
    extension,
    inline,
    literal,
    packed,
    regex,
    serialised,
    set_header,
    switched_on,
)
from headgate.compiler.options import Options
from headgate.compiler.remembered import remembered
from headgate.contract import headers, metadata
from headgate.pb import overlay
from headgate.pb.priority_group_pb2 import PriorityGroupClusterSpecifier

DEFAULT_RETRY_ON = "5xx,reset,connect-failure,retriable-status-codes"
DEFAULT_RETRY_CODES = (429,)
PAGE = HeaderMatcher(name="content-type", string_match=StringMatcher(prefix="text/html", ignore_case=True))
"""No answer to what names a model, whatever its status. (A provider that only calls its answers so is asked in vain
where another can be asked.)"""


WITHHELD = (*headers.CLIENT_ORIGIN, *headers.OVERRIDES)
"""What a client's request may have and AI providers never see, beside `upstream.STRIPPED`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared(ir.Hashed):
    """What a rule's routes may leave to their virtual host. With many routes it decides what a change must send."""

    prices: bool = False
    """The virtual host carries the cost configs of all."""
    reading: bytes = b""
    """Its config of the script that reads answers, serialised."""
    retry: bytes = b""
    """Its retry policy, serialised: a route without one would retry by it."""
    withheld: tuple[str, ...] = WITHHELD
    """What is kept from providers."""
    strips: bool = False
    """It keeps that from them for all."""
    replaced: security.Configs = ()
    """As of `security.set_route_configs`."""
    basic: bool = False
    """Whether `authorization` is a password for the gateway, where a rule has no policy of its own."""
    marked: bool = False
    """It lets pages call its models, and them alone."""

    __hash__ = ir.Hashed.kept_hash


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement(ir.Hashed):
    """Where a rule's routes stand."""

    shared: Shared = Shared()
    model_known: bool = False
    """A map on the model has led here: an exact match on it need not be repeated."""
    asked: str = ""
    """An expression for paths has led here (`path_patterns`): the route for it need not repeat it, and is all of its
    rule that can be meant."""
    apart: frozenset[str] = frozenset()
    """Expressions for paths that were asked for before: their routes stand there, not here."""

    __hash__ = ir.Hashed.kept_hash


def metadata_matcher(key: str) -> MetadataMatcher:
    """A matcher on our internal metadata; the caller says what value it wants."""
    return MetadataMatcher(filter=metadata.INTERNAL, path=[MetadataMatcher.PathSegment(key=key)])


def _path_match(match: RouteMatch, kind: ir.MatchKind, path: str) -> None:
    match kind:
        case ir.MatchKind.EXACT:
            match.path = path
        case ir.MatchKind.PREFIX if path.endswith("/"):
            match.prefix = path
        case ir.MatchKind.PREFIX:
            match.path_separated_prefix = path
        case ir.MatchKind.REGEX:
            match.safe_regex.CopyFrom(regex(path))


def _string_matcher(text: ir.TextMatch) -> StringMatcher:
    match text.kind:
        case ir.MatchKind.EXACT:
            return StringMatcher(exact=text.value)
        case ir.MatchKind.PREFIX:
            return StringMatcher(prefix=text.value)
        case ir.MatchKind.REGEX:
            return StringMatcher(safe_regex=regex(text.value))


def route_match(match: ir.Match, how: Placement) -> RouteMatch:
    """Everything a match asks but the path."""
    result = RouteMatch()
    for header in match.headers:
        if how.model_known and header.name == headers.MODEL and header.kind is ir.MatchKind.EXACT:
            continue
        result.headers.append(HeaderMatcher(name=header.name, string_match=_string_matcher(header)))
    if match.method:
        result.headers.append(HeaderMatcher(name=":method", string_match=StringMatcher(exact=match.method)))
    for query in match.queries:
        result.query_parameters.append(QueryParameterMatcher(name=query.name, string_match=_string_matcher(query)))
    return result


def _retry(rule: ir.Rule, groups: int) -> bytes:
    """The RetryPolicy of a rule with so many groups of backends, serialised; empty for none."""
    if rule.retry is None and groups < 2:
        return b""
    pages_fail = rule.ai and all(map(_names_model, rule.matches))
    return _retry_policy(rule.retry, rule.backend_request_seconds, groups, pages_fail=pages_fail)


@remembered
def _retry_policy(
    retry: upstreams.Retry | None, attempt_seconds: float | None, groups: int, *, pages_fail: bool
) -> bytes:
    if retry is None:
        retry = upstreams.Retry(count=groups - 1, on=DEFAULT_RETRY_ON, status_codes=DEFAULT_RETRY_CODES)
    policy = RetryPolicy(retry_on=retry.on, retriable_status_codes=retry.status_codes)
    policy.num_retries.value = retry.count
    per_try = retry.per_try_seconds or attempt_seconds
    if per_try:
        policy.per_try_timeout.CopyFrom(duration(per_try))
    if retry.per_try_idle_seconds:
        policy.per_try_idle_timeout.CopyFrom(duration(retry.per_try_idle_seconds))
    if retry.back_off_base_seconds:
        policy.retry_back_off.base_interval.CopyFrom(duration(retry.back_off_base_seconds))
        if retry.back_off_max_seconds:
            policy.retry_back_off.max_interval.CopyFrom(duration(retry.back_off_max_seconds))
    if groups > 1:
        overlay.refresh_cluster_on_retry(policy)
        if pages_fail and "5xx" in retry.on.split(","):
            policy.retry_on += ",retriable-headers"
            policy.retriable_headers.append(PAGE)
    return serialised(policy)


def _names_model(match: ir.Match) -> bool:
    return any(header.name == headers.MODEL for header in match.headers)


def _groups(backends: tuple[ir.Backend, ...]) -> list[list[ir.Backend]]:
    by_priority: dict[int, list[ir.Backend]] = {}
    for backend in backends:
        by_priority.setdefault(backend.priority, []).append(backend)
    return [by_priority[priority] for priority in sorted(by_priority)]


def _set_cluster(action: RouteAction, backends: tuple[ir.Backend, ...]) -> int:
    """Chooses among the backends; the number of priority groups is returned."""
    if len(backends) == 1:
        action.cluster = backends[0].name
    else:
        action.cluster_specifier_plugin = specifier_name(backends)
    return len(_groups(backends))


def specifier_name(backends: tuple[ir.Backend, ...]) -> str:
    """Several routes of a rule choose among the same backends: the specifier stands once in the configuration."""
    return "+".join((backends[0].name, *(backend.name.rpartition("/")[2] for backend in backends[1:])))


@remembered
def specifier(backends: tuple[ir.Backend, ...]) -> ClusterSpecifierPlugin:
    """Chooses by priority, attempt by attempt, and by weight within a priority."""
    message = PriorityGroupClusterSpecifier()
    message.use_hash_policy.value = True  # of routes that have one
    if any(backend.steered for backend in backends):
        message.override_metadata_namespace = limits.METADATA
    for index, group in enumerate(_groups(backends)):
        entry = message.priority_groups.add(name=f"priority-{index}")
        for backend in group:
            cluster = entry.clusters.add(cluster_name=backend.name)
            cluster.weight.value = backend.weight
    return ClusterSpecifierPlugin(extension=extension(specifier_name(backends), message))


@remembered
def rule_choices(rule: ir.Rule, options: Options) -> frozenset[tuple[ir.Backend, ...]]:
    """The sets of backends that the rule's routes choose among."""
    usable = usable_backends(rule)
    lanes = {found for _, found in classes_of(usable, options)} if rule.ai else {(Lane.NATIVE,) * len(usable)}
    found = (tuple(compress(usable, each)) for each in lanes)
    return frozenset(backends for backends in found if len(backends) > 1)


@remembered
def _retried(rule: ir.Rule) -> bytes:
    return _retry(rule, len(_groups(usable_backends(rule))))


def common_retry(rules: Iterable[ir.Rule]) -> bytes:
    """The retry policy that most rules have, serialised; empty for none."""
    found: Counter[bytes] = Counter(policy for rule in rules if (policy := _retried(rule)))
    return max(sorted(found), key=found.__getitem__, default=b"")


def _hash_policy(key: upstreams.HashKey) -> RouteAction.HashPolicy:
    policy = RouteAction.HashPolicy()
    match key.kind:
        case "source_ip":
            policy.connection_properties.source_ip = True
        case "header":
            policy.header.header_name = key.name
        case "query":
            policy.query_parameter.name = key.name
        case "cookie":
            policy.cookie.name = key.name
    return policy


def _set_action(action: RouteAction, rule: ir.Rule, backends: tuple[ir.Backend, ...], shared: Shared) -> None:
    groups = _set_cluster(action, backends)
    action.hash_policy.extend(map(_hash_policy, rule.hash_keys))
    if rule.request_seconds is not None:
        action.timeout.CopyFrom(duration(rule.request_seconds))
    if rule.idle_seconds is not None:
        action.idle_timeout.CopyFrom(duration(rule.idle_seconds))
    policy = _retry(rule, groups)
    if policy and policy != shared.retry:
        action.retry_policy.MergeFromString(policy)
    elif not policy and shared.retry:
        action.retry_policy.SetInParent()
    if not policy and rule.backend_request_seconds:  # the only attempt is the request
        seconds = min(rule.request_seconds or rule.backend_request_seconds, rule.backend_request_seconds)
        action.timeout.CopyFrom(duration(seconds))
    action.rate_limits.extend(limits.local_limits(rule))


def _processors(backends: Iterable[ir.Backend], lanes: Iterable[Lane]) -> frozenset[str]:
    """The names of the filters by which the processor takes part for some of the backends."""
    served = zip(backends, lanes, strict=True)
    return frozenset(filter_name(backend) for backend, lane in served if lane is Lane.EXTPROC)


def _common_host(backends: Iterable[ir.Backend]) -> str:
    """The authority of all backends; empty where they have several."""
    authorities = {backend.authority for backend in backends}
    return authorities.pop() if len(authorities) == 1 else ""


def _filter_configs(
    route: Route, rule: ir.Rule, served: Served, chosen_among: tuple[ir.Backend, ...], options: Options, shared: Shared
) -> None:
    configs = route.typed_per_filter_config
    for name in sorted(_processors(chosen_among, filter(None, served.lanes))):
        configs[name].CopyFrom(switched_on())  # the processor takes the endpoint from the path
    if served.short_script and (host := _common_host(chosen_among)):
        route.route.host_rewrite_literal = host
        model = rule.backends[0].model if served.short_script == RENAMER else ""
        configs[SCRIPT].CopyFrom(chosen(served.short_script, model))
    if (chosen_late := steered.per_route(rule, chosen_among)) is not None:
        configs[steered.FILTER].CopyFrom(chosen_late)
    if rule.counts_prompts:
        configs[extraction.COUNTER].CopyFrom(extraction.counted())
    if rule.limits and options.limits:
        config = packed(limits.per_route(rule, backends=chosen_among))
        configs[limits.filter_name(options)].CopyFrom(config)
    if any(backend.credential is not None and backend.credential.override for backend in chosen_among):
        for name, config in brought.per_route(rule.backends):
            configs[name].CopyFrom(config)
    if served.reading != shared.reading:
        configs[extraction.USAGE_SCRIPT].MergeFromString(served.reading)
    for name, config in extraction.cost_configs(rule, priced_by_host=shared.prices):
        configs[name].CopyFrom(config)


def _header_edits(route: Route, rule: ir.Rule) -> None:
    if rule.request_headers is not None:
        for name, value in rule.request_headers.set:
            route.request_headers_to_add.append(set_header(name, literal(value)))
        for name, value in rule.request_headers.add:
            route.request_headers_to_add.append(add_header(name, literal(value)))
        route.request_headers_to_remove.extend(rule.request_headers.remove)
    if rule.response_headers is not None:
        for name, value in rule.response_headers.set:
            route.response_headers_to_add.append(set_header(name, literal(value)))
        for name, value in rule.response_headers.add:
            route.response_headers_to_add.append(add_header(name, literal(value)))
        route.response_headers_to_remove.extend(rule.response_headers.remove)


def _route(rule: ir.Rule, name: str, match: RouteMatch, shared: Shared) -> Route:
    route = Route(name=name, match=match)
    _header_edits(route, rule)
    configs = route.typed_per_filter_config
    security.set_route_configs(configs, rule, shared.replaced, marked=shared.marked)
    if rule.fault is not None:
        configs[faults.FILTER].CopyFrom(faults.per_route(rule.fault))
    for key, config in compressors.per_route(rule.compressors):
        configs[key].CopyFrom(config)
    if rule.overrides:
        configs[overrides.FILTER].CopyFrom(overrides.per_route(rule.overrides))
    return route


def _escape(text: str) -> str:
    return "".join("\\" + c if not (c.isalnum() or c in "/_-") else c for c in text)


_PATTERNS: Final = {row.name: row.path if row.kind is ir.MatchKind.REGEX else _escape(row.path) for row in CLASSES}
"""The expression for each class of paths, by its name."""


def path_under(path: str, root: str) -> str:
    """A path, or what paths begin with, below the root path."""
    return root.rstrip("/") + path


def pattern_under(pattern: str, root: str) -> str:
    """Likewise an expression for paths, which may be several side by side."""
    return pattern if root == "/" else f"{_escape(root.rstrip('/'))}({pattern})"


def _ai_routes(rule: ir.Rule, match: ir.Match, index: int, options: Options, how: Placement) -> Iterator[Route]:
    if rule.unavailable:
        where = route_match(match, how)
        _path_match(where, ir.MatchKind.PREFIX, options.path_root)
        route = _route(rule, f"{rule.name}/unavailable/match/{index}", where, how.shared)
        route.direct_response.CopyFrom(answered(rule.unavailable, 503))
        yield route
    found = _class_routes(rule, options, how.shared)
    asked = [each for each in found if how.asked and each[0] == how.asked]
    for pattern, together, route in asked or found:
        if pattern in how.apart:
            continue
        where = route_match(match, how)
        if asked:
            where.prefix = "/"
        else:
            _class_match(where, together, options.path_root)
        name = together[0].name if len(together) == 1 else metadata.SEVERAL_CLASSES
        result = _route(rule, f"{rule.name}/{name}/match/{index}", where, how.shared)
        result.MergeFrom(route)
        _publish(result, rule, match, together[0], options)
        yield result


def _publish(route: Route, rule: ir.Rule, match: ir.Match, path_class: PathClass, options: Options) -> None:
    """Says who serves, where that is known here."""
    backend = rule.backends[0]
    lane = metadata.LANE_EXTPROC if lane_of(path_class, backend) is Lane.EXTPROC else metadata.LANE_NATIVE
    if published.by_route(backend, options):
        config = published.per_route(backend, rule.route, lane=lane)
        route.typed_per_filter_config[published.FILTER].CopyFrom(config)
    if extraction.tells(rule, path_class, options):
        names = published.line(backend, rule.route, lane=lane, model=ir.model_of(match))
        route.metadata.filter_metadata[metadata.INTERNAL].update({metadata.INTERNAL_NAMES: names})
    if options.collects and rule.costs and extraction.may_lack_costs(rule, path_class):
        route.metadata.filter_metadata[metadata.INTERNAL].update({metadata.INTERNAL_COSTS: extraction.as_text(rule)})


@remembered
def _class_routes(
    rule: ir.Rule, options: Options, shared: Shared
) -> tuple[tuple[str, tuple[PathClass, ...], Route], ...]:
    """What happens on the rule's routes, in order, with the classes of each, and the expression of several together."""
    found = _together(kind_of(rule), options)
    routes = {served: _served_route(rule, served, options, shared) for served in {served for _, _, served in found}}
    return tuple((pattern, together, routes[served]) for pattern, together, served in found)


@remembered
def _together(kind: Kind, options: Options) -> tuple[tuple[str, tuple[PathClass, ...], Served], ...]:
    """How the routes of such rules are told apart, and how each is served."""
    length_max = DEFAULT_LENGTH_MAX if options.envoy_gateway else LENGTH_MAX
    return tuple(
        (_pattern_of(together, options.path_root) if len(together) > 1 else "", together, served)
        for served, together in _joined(served_by(kind, options), length_max)
    )


def path_patterns(rule: ir.Rule, options: Options, shared: Shared) -> tuple[str, ...]:
    """The expressions for classes of paths that are served alike. Rules for backends that speak alike have the same."""
    return tuple(pattern for pattern, _, _ in _class_routes(rule, options, shared) if pattern) if rule.ai else ()


def _served_route(rule: ir.Rule, served: Served, options: Options, shared: Shared) -> Route:
    """What happens on the routes of classes that are served so, without what is asked of a request."""
    chosen_among = tuple(compress(usable_backends(rule), served.lanes))
    route = Route()
    _set_action(route.route, rule, chosen_among, shared)
    if served.told:
        route.metadata.MergeFromString(served.told)
    if not shared.strips:
        route.request_headers_to_remove.extend(shared.withheld)
    _filter_configs(route, rule, served, chosen_among, options, shared)
    return route


def served_paths(root: str) -> RouteMatch:
    """Whatever is known to be asked of models, and their lists."""
    ends = {row.name: ".*" if row.kind is ir.MatchKind.PREFIX else "" for row in CLASSES if row.path != "/"}
    known = [_PATTERNS[name] + end for name, end in ends.items()]
    lists = r".*/v1(beta)?/models(/.*)?"
    return RouteMatch(safe_regex=regex(pattern_under("|".join((*known, lists)), root)))


def _class_match(where: RouteMatch, together: Sequence[PathClass], root: str) -> None:
    first = together[0]
    if len(together) > 1:
        where.safe_regex.CopyFrom(regex(_pattern_of(together, root)))
    else:
        below = pattern_under if first.kind is ir.MatchKind.REGEX else path_under
        _path_match(where, first.kind, below(first.path, root))
    if first.excludes:
        others = StringMatcher(prefix=path_under(first.excludes, root))
        where.headers.append(HeaderMatcher(name=":path", string_match=others, invert_match=True))


def _pattern_of(together: Sequence[PathClass], root: str) -> str:
    return pattern_under(either(tuple(_PATTERNS[each.name] for each in together)), root)


def _joined(found: Sequence[Served], length_max: int) -> Iterator[tuple[Served, tuple[PathClass, ...]]]:
    """Classes that are translated alike as one route, in the place of the first: no wider class before them takes
    their paths. Not chats: what is asked most is found by comparing, at once."""
    alike: defaultdict[Served, list[PathClass]] = defaultdict(list)
    for served in found:
        if served.translated and served.path_class.name != "chat":
            alike[served].append(served.path_class)
    groups: dict[str, tuple[PathClass, ...]] = {}
    for classes in alike.values():
        for group in joined(tuple(_PATTERNS[each.name] for each in classes), length_max):
            together = tuple(classes[position] for position in group)
            groups.update((each.name, together) for each in together)
    for served in found:
        together = groups.get(served.path_class.name, (served.path_class,))
        if together[0] is served.path_class:
            yield served, together


def answered(text: str, status: int) -> DirectResponseAction:
    """An answer of the gateway itself; the text may hold Envoy's format commands."""
    return DirectResponseAction(status=status, body_format=SubstitutionFormatString(text_format_source=inline(text)))


def unknown_model(model: str = "%DYNAMIC_METADATA(headgate:model)%", method: str = "%REQ(:METHOD)%") -> str:
    """What is told where no rule takes the model, as a format of Envoy's. Each command costs Envoy some 20,000
    instructions to make, so what is known is written."""
    return (
        f"The model '{model}' does not exist here, or not at {method} %PATH(NQ)%. GET /v1/models lists what there is."
    )


def _redirect(redirect: answers.Redirect) -> RedirectAction:
    action = RedirectAction(host_redirect=redirect.hostname, scheme_redirect=redirect.scheme)
    if redirect.path:
        action.path_redirect = redirect.path
    elif redirect.path_prefix is not None:
        action.prefix_rewrite = redirect.path_prefix
    if redirect.port is not None:
        action.port_redirect = redirect.port
    codes = {
        301: RedirectAction.MOVED_PERMANENTLY,
        302: RedirectAction.FOUND,
        303: RedirectAction.SEE_OTHER,
        307: RedirectAction.TEMPORARY_REDIRECT,
        308: RedirectAction.PERMANENT_REDIRECT,
    }
    action.response_code = codes[redirect.status]
    return action


def _rewrite(action: RouteAction, rewrite: ir.Rewrite, match: ir.Match) -> None:
    if rewrite.hostname:
        action.host_rewrite_literal = rewrite.hostname
    if rewrite.path:
        action.regex_rewrite.pattern.CopyFrom(regex("^[^?]*"))
        action.regex_rewrite.substitution = rewrite.path
    elif rewrite.path_prefix is not None:
        # Gateway API replaces whole segments: "/a" in "/a/b" by "/" gives "/b", not "//b".
        if rewrite.path_prefix.rstrip("/") == "":
            action.regex_rewrite.pattern.CopyFrom(regex(f"^{_escape(match.path.rstrip('/'))}/*"))
            action.regex_rewrite.substitution = "/"
        else:
            action.prefix_rewrite = rewrite.path_prefix.rstrip("/")


def _http_routes(rule: ir.Rule, match: ir.Match, index: int, how: Placement) -> Iterator[Route]:
    where = route_match(match, Placement())
    _path_match(where, match.path_kind, match.path)
    route = _route(rule, f"{rule.name}/match/{index}", where, how.shared)
    if rule.plain and rule.cors is not None and match.method not in ("", "OPTIONS"):
        yield _preflight(rule, match, index, how)
    asks_password = how.shared.basic if rule.auth is None else rule.auth.basic is not None
    if asks_password:  # of AI requests the script of their attempts removes it
        route.request_headers_to_remove.append("authorization")
    usable = usable_backends(rule)
    if rule.direct is not None:
        route.direct_response.status = rule.direct.status
        if rule.direct.body:
            route.direct_response.body.inline_string = rule.direct.body
        if rule.direct.content_type:
            route.response_headers_to_add.append(set_header("content-type", literal(rule.direct.content_type)))
    elif rule.redirect is not None:
        route.redirect.CopyFrom(_redirect(rule.redirect))
    elif usable:
        _set_action(route.route, rule, usable, how.shared)
        route.route.request_mirror_policies.extend(map(_mirror, rule.mirrors))
        route.route.upgrade_configs.extend(RouteAction.UpgradeConfig(upgrade_type=each) for each in rule.upgrades)
        if rule.rewrite is not None:
            _rewrite(route.route, rule.rewrite, match)
        if rule.limits:
            config = limits.per_route(rule)
            route.typed_per_filter_config[limits.FILTER].CopyFrom(packed(config))
        if rule.unresolved_weight:
            yield _unresolved(route, rule.unresolved_weight, usable)
    else:
        route.direct_response.status = 500
        route.direct_response.body.inline_string = UNUSABLE
    yield route


def _mirror(mirror: ir.Mirror) -> RouteAction.RequestMirrorPolicy:
    policy = RouteAction.RequestMirrorPolicy(cluster=mirror.backend.name)
    if mirror.share < 1:
        fraction = policy.runtime_fraction.default_value
        fraction.numerator = max(round(1_000_000 * mirror.share), 1)
        fraction.denominator = FractionalPercent.MILLION
    return policy


def _preflight(rule: ir.Rule, match: ir.Match, index: int, how: Placement) -> Route:
    """Where it is asked whether a page may send what the match takes."""
    where = route_match(replace(match, method=""), Placement())
    _path_match(where, match.path_kind, match.path)
    result = security.preflight_route(f"{rule.name}/preflight/match/{index}", where)
    security.set_route_configs(result.typed_per_filter_config, rule, how.shared.replaced, marked=False)
    return result


UNUSABLE = "no backend of this route is usable"


def _unresolved(route: Route, weight: int, usable: tuple[ir.Backend, ...]) -> Route:
    """Gateway API: the share of a backend that cannot be used is answered 500, so that no other gets more than its own.

    A route of its own that takes that share: a cluster that does not exist would be answered 503.
    """
    result = Route(name=f"{route.name}/unresolved", match=route.match)
    total = weight + sum(backend.weight for backend in usable)
    fraction = result.match.runtime_fraction.default_value
    fraction.numerator = round(1_000_000 * weight / total)
    fraction.denominator = FractionalPercent.MILLION
    for key, config in route.typed_per_filter_config.items():
        result.typed_per_filter_config[key].CopyFrom(config)
    result.direct_response.status = 500
    result.direct_response.body.inline_string = UNUSABLE
    return result


@remembered
def rule_routes(rule: ir.Rule, match: ir.Match, index: int, options: Options, how: Placement) -> tuple[Route, ...]:
    """The routes of one match of a rule, in the order in which they are tried. Shared: they must not be changed."""
    if rule.ai:
        return tuple(_ai_routes(rule, match, index, options, how))
    return tuple(_http_routes(rule, match, index, how))
