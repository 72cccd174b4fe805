"""Virtual hosts: rules in Gateway API's order of precedence, and how a request finds its rule.

Envoy tries routes one by one, at each of three moments: when the headers come, when the body was read, and when the
model is in its header. Where a rule names a model, the method is looked up in a map first, and for what is posted the
model in another: each entry holds the routes that could take the request, in the same order, so the meaning is that of
one list, and the cost does not grow with the models (60 models in one list: 500,000 instructions a request).
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from heapq import merge
from operator import itemgetter

from envoy.config.route.v3.route_components_pb2 import Route, RouteList, VirtualHost
from envoy.type.matcher.v3.http_inputs_pb2 import HttpRequestHeaderMatchInput
from google.protobuf.message import Message
from headgate.compiler import ir
from headgate.compiler.lower import replies
from headgate.compiler.lower.filters import extraction, security
from headgate.compiler.lower.routes import WITHHELD, Placement, rule_routes
from headgate.compiler.lower.wire import packed
from headgate.compiler.options import Options
from headgate.contract import headers
from headgate.llm.endpoints import Body, paths
from xds.core.v3.extension_pb2 import TypedExtensionConfig
from xds.type.matcher.v3.matcher_pb2 import Matcher

_KINDS = {ir.MatchKind.EXACT: 0, ir.MatchKind.PREFIX: 1, ir.MatchKind.REGEX: 2}
Ranked = tuple[ir.Rule, ir.Match, int]
Item = tuple[str | None, tuple[Route, ...], bool]
"""(the one model it takes or None for any, the routes, whether they are an AI rule's)"""
Placed = tuple[int, tuple[Route, ...]]
"""(position in the order of precedence, the routes)"""


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


def _route_list(routes: Sequence[Route]) -> Matcher.OnMatch:
    return Matcher.OnMatch(action=_extension("headgate/routes", RouteList(routes=routes)))


def _known_paths() -> list[str]:
    """Where the body names the model."""
    served = paths().items()
    return sorted(path for path, row in served if row.body is not Body.NONE and not row.model_in_path)


def _may_take(route: Route, method: str) -> bool:
    """Whether the route leaves that method to be served."""
    named = [header for header in route.match.headers if header.name == ":method"]
    return all((method == header.string_match.exact) is not header.invert_match for header in named)


def _for_posts(routes: Iterable[Route]) -> list[Route]:
    return [route for route in routes if _may_take(route, "POST")]


def _any_model(items: Sequence[Item]) -> Iterator[Route]:
    """The routes of requests that name no model, and an end to those that name one without posting it."""
    refused = False
    for model, routes, ai in items:
        if ai and not refused:
            yield replies.method_route()
            refused = True
        if model is None or not ai:
            yield from routes


def _mapped(items: Sequence[Item], models: list[Route], first: list[Route], last: list[Route]) -> Matcher:
    """A matcher by method, and for what is posted by model: each entry has only routes that could take the request."""
    tree = Matcher()
    tree.matcher_tree.input.CopyFrom(
        _extension("headgate/model", HttpRequestHeaderMatchInput(header_name=headers.MODEL))
    )
    any_model: list[Placed] = []
    by_model: defaultdict[str, list[Placed]] = defaultdict(list)
    for position, (model, routes, _) in enumerate(items):
        (any_model if model is None else by_model[model]).append((position, routes))
    for name in sorted(by_model):
        in_order = merge(by_model[name], any_model, key=itemgetter(0))
        routes = [route for _, found in in_order for route in found]
        tree.matcher_tree.exact_match_map.map[name].CopyFrom(_route_list([*routes, *last[:1]]))
    others = [route for _, found in any_model for route in found]
    tree.on_no_match.CopyFrom(_route_list(_for_posts([*models, *first, *others, *last])))
    matcher = Matcher(on_no_match=_route_list([*models, *first, *_any_model(items), *last]))
    matcher.matcher_tree.input.CopyFrom(
        _extension("headgate/method", HttpRequestHeaderMatchInput(header_name=":method"))
    )
    matcher.matcher_tree.exact_match_map.map["POST"].matcher.CopyFrom(tree)
    return matcher


def virtual_host(
    host: ir.VirtualHost, name: str, domains: Sequence[str], body_bytes_max: int, options: Options
) -> VirtualHost:
    """All rules of one hostname; AI hosts also list their models and explain what they refuse."""
    result = VirtualHost(name=name, domains=domains)
    result.request_body_buffer_limit.value = body_bytes_max
    result.include_request_attempt_count = True  # tells the upstream script a first attempt from a later one
    configs = dict(extraction.shared_costs(rule for rule in host.all_rules if rule.ai))
    for key, config in configs.items():
        result.typed_per_filter_config[key].CopyFrom(config)
    order = (*ranked(host.rules), *ranked(host.inherited))
    how = Placement(
        priced_by_host=extraction.COSTS in configs,
        model_known=any(exact_model(match) is not None for _, match, _ in order),
        stripped_by_host=all(rule.ai for rule in host.all_rules),
    )
    if how.stripped_by_host:
        result.request_headers_to_remove.extend(WITHHELD)
    items: list[Item] = [
        (exact_model(match), rule_routes(rule, match, index, options, how), rule.ai) for rule, match, index in order
    ]
    ai = any(rule.ai for rule in host.all_rules)
    for key, config in security.cors_config(host.all_rules):
        result.typed_per_filter_config[key].CopyFrom(config)
    first = replies.error_routes() if ai else []
    last = replies.last_routes(_known_paths()) if ai else []
    models = replies.model_routes(host.all_rules) if ai else []
    if ai and options.extproc_sockets:
        models += replies.form_routes()
    models.insert(0, security.preflight_route())
    if how.model_known:
        result.matcher.CopyFrom(_mapped(items, models, first, last))
    else:
        result.routes.extend([*models, *first, *_any_model(items), *last])
    return result
