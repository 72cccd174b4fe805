"""Virtual hosts: rules in Gateway API's order of precedence, and how a request finds its rule.

Envoy tries routes one by one, at each of three moments: when the headers come, when the body was read, and when the
model is in its header. Where a rule names a model, the method is looked up in a map first, for what is posted the model
in another, and for `GET` whether the path lists models: each entry holds the routes that could take the request, in the
same order, so the meaning is that of one list, and the cost does not grow with the models (60 models in one list:
500,000 instructions a request).
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from heapq import merge
from itertools import chain
from operator import itemgetter

from envoy.config.route.v3.route_components_pb2 import Route, RouteList, VirtualHost
from envoy.type.matcher.v3.http_inputs_pb2 import HttpRequestHeaderMatchInput
from google.protobuf.any_pb2 import Any
from google.protobuf.message import Message
from headgate.compiler import ir
from headgate.compiler.lower import replies
from headgate.compiler.lower.filters import extraction, security
from headgate.compiler.lower.routes import WITHHELD, Placement, common_retry, rule_routes
from headgate.compiler.lower.wire import packed
from headgate.compiler.options import Options
from headgate.contract import headers
from headgate.llm.endpoints import Body, paths
from xds.core.v3.extension_pb2 import TypedExtensionConfig
from xds.type.matcher.v3.matcher_pb2 import Matcher

_KINDS = {ir.MatchKind.EXACT: 0, ir.MatchKind.PREFIX: 1, ir.MatchKind.REGEX: 2}
Ranked = tuple[ir.Rule, ir.Match, int]
Placed = tuple[int, Ranked]
"""(position in the order of precedence, what stands there)"""


def precedence(item: Ranked) -> tuple[object, ...]:
    """Gateway API: the more specific match first, then the older route, then names and positions."""
    rule, match, index = item
    return (
        _KINDS[match.path_kind],
        -len(match.path),
        0 if match.method else 1,
        -len(match.headers),
        -len(match.queries),
        rule.created,
        rule.route,
        rule.name.rpartition("/")[0],
        int(rule.name.rpartition("/")[2]),
        index,
    )


def ranked(rules: Sequence[ir.Rule]) -> list[Ranked]:
    return sorted(((rule, match, index) for rule in rules for index, match in enumerate(rule.matches)), key=precedence)


def exact_model(match: ir.Match) -> str | None:
    """The one model that the match takes, if it names one."""
    for header in match.headers:
        if header.name == headers.MODEL and header.kind is ir.MatchKind.EXACT:
            return header.value
    return None


def _extension(name: str, message: Message) -> TypedExtensionConfig:
    return TypedExtensionConfig(name=name, typed_config=packed(message))


def route_list(listed: Iterable[bytes]) -> Matcher.OnMatch:
    """The routes of serialised lists, one after the other: that is what joining such lists means in protobuf.

    So with many routes, those that are as before cost no more than the copying of their bytes.
    """
    routes = Any(type_url=f"type.googleapis.com/{RouteList.DESCRIPTOR.full_name}", value=b"".join(listed))
    return Matcher.OnMatch(action=TypedExtensionConfig(name="headgate/routes", typed_config=routes))


@lru_cache(maxsize=65_536)
def _listed(rule: ir.Rule, match: ir.Match, index: int, options: Options, how: Placement) -> bytes:
    return replies.listed(rule_routes(rule, match, index, options, how))


@lru_cache(maxsize=65_536)
def _model_routes(order: tuple[Ranked, ...], options: Options, how: Placement) -> Matcher.OnMatch:
    """What a request for one model may take. Shared: it must not be changed."""
    own = (_listed(rule, match, index, options, how) for rule, match, index in order)
    return route_list((*own, replies.unknown_model_listed()))


def _known_paths() -> list[str]:
    """Where the body names the model."""
    served = paths().items()
    return sorted(path for path, row in served if row.body is not Body.NONE and not row.model_in_path)


def _may_take(route: Route, method: str) -> bool:
    """Whether the route leaves that method to be served."""
    named = [header for header in route.match.headers if header.name == ":method"]
    return all((method == header.string_match.exact) is not header.invert_match for header in named)


def _for_posts(routes: Iterable[Route]) -> bytes:
    return replies.listed(route for route in routes if _may_take(route, "POST"))


def _any_model(order: Sequence[Ranked], options: Options, how: Placement) -> Iterator[Route]:
    """The routes of requests that name no model, and an end to those that name one without posting it."""
    refused = False
    for rule, match, index in order:
        if rule.ai and not refused:
            yield replies.method_route()
            refused = True
        if exact_model(match) is None or not rule.ai:
            yield from rule_routes(rule, match, index, options, how)


@dataclass(frozen=True, slots=True)
class _Own:
    """What is tried before the rules and after them, and the routes that list models, serialised."""

    models: Mapping[str, Sequence[bytes]]
    first: Sequence[Route]
    last: Sequence[Route]


def _mapped(order: Sequence[Ranked], options: Options, how: Placement, own: _Own) -> Matcher:
    """A matcher by method, and for what is posted by model: each entry has only routes that could take the request."""
    tree = by_header("headgate/model", headers.MODEL)
    any_model: list[Placed] = []
    by_model: defaultdict[str, list[Placed]] = defaultdict(list)
    for placed in enumerate(order):
        model = exact_model(placed[1][1])
        (any_model if model is None else by_model[model]).append(placed)
    for name in sorted(by_model):
        in_order = tuple(each for _, each in merge(by_model[name], any_model, key=itemgetter(0)))
        tree.matcher_tree.exact_match_map.map[name].CopyFrom(_model_routes(in_order, options, how))
    others = [route for _, each in any_model for route in rule_routes(*each, options, how)]
    tree.on_no_match.CopyFrom(route_list((_for_posts([*own.first, *others, *own.last]),)))
    rest = replies.listed([*own.first, *_any_model(order, options, how), *own.last])
    return by_method(tree, {path: (*models, rest) for path, models in own.models.items()}, rest)


def by_header(name: str, header: str) -> Matcher:
    """A matcher that looks a header up, with nothing in it yet."""
    matcher = Matcher()
    matcher.matcher_tree.input.CopyFrom(_extension(name, HttpRequestHeaderMatchInput(header_name=header)))
    return matcher


def by_method(posts: Matcher, listing: Mapping[str, Iterable[bytes]], rest: bytes) -> Matcher:
    """What is posted; where `GET` lists models, by what those paths begin with; and the rest, as serialised lists.

    So other requests pass by the models: to try 1,000 of them costs Envoy 0.4 ms.
    """
    matcher = by_header("headgate/method", ":method")
    methods = matcher.matcher_tree.exact_match_map.map
    methods["POST"].matcher.CopyFrom(posts)
    paths = by_header("headgate/path", ":path")
    for path in sorted(listing):
        paths.matcher_tree.prefix_match_map.map[path].CopyFrom(route_list(listing[path]))
    if "/" not in listing:
        paths.on_no_match.CopyFrom(route_list((rest,)))
    methods["GET"].matcher.CopyFrom(paths)
    matcher.on_no_match.CopyFrom(route_list((rest,)))
    return matcher


def _placement(order: Sequence[Ranked], host: ir.VirtualHost, *, priced: bool, usage: Any | None) -> Placement:
    return Placement(
        priced_by_host=priced,
        read_by_host=usage.SerializeToString(deterministic=True) if usage is not None else b"",
        retried_by_host=common_retry(host.all_rules),
        model_known=any(exact_model(match) is not None for _, match, _ in order),
        stripped_by_host=all(rule.ai for rule in host.all_rules),
    )


def _own_routes(host: ir.VirtualHost, options: Options, *, ai: bool) -> _Own:
    first = [security.preflight_route()]
    if not ai:
        return _Own({}, first, ())
    first += replies.models_not_allowed()
    first += replies.path_model_routes(options.path_root)
    first += replies.form_routes() if options.extproc_sockets else []
    first += replies.error_routes()
    return _Own(replies.models_listed(host.all_rules), first, replies.last_routes(_known_paths()))


def virtual_host(
    host: ir.VirtualHost, name: str, domains: Sequence[str], body_bytes_max: int, options: Options
) -> VirtualHost:
    """All rules of one hostname; AI hosts also list their models and explain what they refuse."""
    result = VirtualHost(name=name, domains=domains)
    result.request_body_buffer_limit.value = body_bytes_max
    result.include_request_attempt_count = True  # tells the upstream script a first attempt from a later one
    order = (*ranked(host.rules), *ranked(host.inherited))
    ai = any(rule.ai for rule in host.all_rules)
    prices = extraction.shared_costs(rule for rule in host.all_rules if rule.ai)
    # plain routes of the host would have it too, and their pages are none of ours
    usage = extraction.shared_usage(host.all_rules) if all(rule.ai for rule in host.all_rules) else None
    how = _placement(order, host, priced=bool(prices), usage=usage)
    if how.stripped_by_host:
        result.request_headers_to_remove.extend(WITHHELD)
    if how.retried_by_host:
        result.retry_policy.MergeFromString(how.retried_by_host)
    read = ((extraction.USAGE_SCRIPT, usage),) if usage is not None else ()
    for key, config in (*prices, *read, *security.cors_config(host.all_rules)):
        result.typed_per_filter_config[key].CopyFrom(config)
    own = _own_routes(host, options, ai=ai)
    if how.model_known:
        result.matcher.CopyFrom(_mapped(order, options, how, own))
    else:
        models = RouteList.FromString(b"".join(chain.from_iterable(own.models.values()))).routes
        result.routes.extend([*models, *own.first, *_any_model(order, options, how), *own.last])
    return result
