"""Virtual hosts: rules in Gateway API's order of precedence, and how a request finds its rule.

Envoy tries routes one by one, at each of three moments: when the headers come, when the body was read, and when the
model is in its header. Where a rule names a model, the method is looked up in a map first, for what is posted the model
in another, and for the rest whether the path lists models: each entry holds the routes that could take the request, in
the same order, so the meaning is that of one list, and the cost does not grow with the models (60 models in one list:
500,000 instructions a request).
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from heapq import merge
from itertools import chain
from operator import itemgetter
from typing import Final

from envoy.config.route.v3.route_components_pb2 import Route, RouteList, RouteMatch, VirtualHost
from envoy.type.matcher.v3.http_inputs_pb2 import HttpRequestHeaderMatchInput
from google.protobuf.any_pb2 import Any
from headgate.compiler import ir
from headgate.compiler.lower import models, replies
from headgate.compiler.lower.filters import extraction, security
from headgate.compiler.lower.routes import (
    WITHHELD,
    Placement,
    Shared,
    common_retry,
    path_patterns,
    path_under,
    rule_routes,
    served_paths,
)
from headgate.compiler.lower.wire import packed
from headgate.compiler.options import Options
from headgate.compiler.remembered import remembered
from headgate.contract import headers
from headgate.llm.endpoints import Body, paths
from xds.core.v3.extension_pb2 import TypedExtensionConfig
from xds.type.matcher.v3.matcher_pb2 import Matcher

CHAT: Final = "/v1/chat/completions"
ASKED_ONCE_MIN: Final = 16
"""So many models for which a class of paths is asked once for all: a request that it is not for pays for the question,
and a change for making it anew for each (60 us)."""
_KINDS = {ir.MatchKind.EXACT: 0, ir.MatchKind.PREFIX: 1, ir.MatchKind.REGEX: 2}
_ModelMap = Matcher.MatcherTree.MatchMap
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


def route_list(listed: Iterable[bytes]) -> Matcher.OnMatch:
    """The routes of serialised lists, one after the other: that is what joining such lists means in protobuf.

    So with many routes, those that are as before cost no more than the copying of their bytes.
    """
    routes = Any(type_url=f"type.googleapis.com/{RouteList.DESCRIPTOR.full_name}", value=b"".join(listed))
    return Matcher.OnMatch(action=TypedExtensionConfig(name="headgate/routes", typed_config=routes))


@remembered
def _listed(rule: ir.Rule, match: ir.Match, index: int, options: Options, how: Placement) -> bytes:
    return replies.listed(rule_routes(rule, match, index, options, how))


@remembered
def _entry(model: str, order: tuple[Ranked, ...], options: Options, how: Placement) -> bytes:
    """What a request for one model may take, as a serialised map of that alone; joined, such texts are one map."""
    own: list[bytes] = []
    for rule, match, index in order:
        own.append(_listed(rule, match, index, options, how))
        if _takes_all(rule, match, options, how):
            break
    else:
        own.append(replies.posted_model_listed(model))
    return _ModelMap(map={model: route_list(own)}).SerializeToString(deterministic=True)


def _takes_all(rule: ir.Rule, match: ir.Match, options: Options, how: Placement) -> bool:
    """Whether nothing that led here passes by the rule: its model and its paths were asked for, and it asks no more."""
    more = match.method or match.queries or len(match.headers) > 1 or exact_model(match) is None
    return bool(how.asked) and not more and how.asked in path_patterns(rule, options, how.shared)


def known_paths(root: str) -> list[str]:
    """Where the body names the model."""
    served = paths().items()
    named = (path for path, row in served if row.body is not Body.NONE and not row.model_in_path)
    return sorted(path_under(path, root) for path in named)


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
    """What is tried before the rules and after them, and what tells of models."""

    listing: models.Listing
    awaiting: Sequence[Route]
    """Where requests wait for their model, if anybody reads it."""
    first: Sequence[Route]
    last: Sequence[Route]


def _set_mapped(matcher: Matcher, order: Sequence[Ranked], options: Options, how: Placement, own: _Own) -> None:
    """A matcher by method, and for what is posted by model: each entry has only routes that could take the request."""
    any_model: list[Placed] = []
    by_model: defaultdict[str, list[Placed]] = defaultdict(list)
    for placed in enumerate(order):
        model = exact_model(placed[1][1])
        (any_model if model is None else by_model[model]).append(placed)
    names = sorted(by_model)
    in_order = {name: tuple(each for _, each in merge(by_model[name], any_model, key=itemgetter(0))) for name in names}
    others = [route for _, each in any_model for route in rule_routes(*each, options, how)]
    rest, last = replies.listed([*own.first, *_any_model(order, options, how)]), replies.listed(own.last)
    listing = {path: (*found, rest, own.listing.last.get(path, b""), last) for path, found in own.listing.first.items()}
    posts = set_by_method(matcher, listing, rest + last)
    tree = _set_apart(posts, in_order, options, how)
    first = own.first if any_model else [*own.awaiting, *own.first]
    tree.on_no_match.CopyFrom(route_list((_for_posts([*first, *others, *own.last]),)))


_InOrder = Mapping[str, tuple[Ranked, ...]]
"""What may take a request for a model, by model."""


def _set_apart(matcher: Matcher, in_order: _InOrder, options: Options, how: Placement) -> Matcher:
    """Looks the model up; where many routes ask for the same classes of paths, after those were asked for. Returns the
    matcher for what is left.

    Chats, which most requests are, are among no such classes, and are not asked for them.
    """
    patterns = {name: _patterns(each, options, how.shared) for name, each in in_order.items()}
    found = Counter(pattern for each in patterns.values() for pattern in each)
    shared = frozenset(pattern for pattern, count in found.items() if count >= ASKED_ONCE_MIN)
    for pattern in sorted(shared):
        asked = matcher.matcher_list.matchers.add()
        asked.predicate.and_matcher.predicate.extend([_no_chat(options.path_root), _by_path(pattern)])
        here = replace(how, asked=pattern)
        named = (name for name, own in patterns.items() if pattern in own)
        _set_models(asked.on_match.matcher, (_entry(name, in_order[name], options, here) for name in named))
    left = matcher.on_no_match.matcher if shared else matcher
    apart = {own: replace(how, apart=own & shared) for own in frozenset(patterns.values())}
    _set_models(left, (_entry(name, each, options, apart[patterns[name]]) for name, each in in_order.items()))
    return left


def _set_models(matcher: Matcher, entries: Iterable[bytes]) -> None:
    tree = set_by_header(matcher, "headgate/model", headers.MODEL)
    tree.exact_match_map.MergeFromString(b"".join(entries))


@remembered
def _patterns(order: tuple[Ranked, ...], options: Options, shared: Shared) -> frozenset[str]:
    return frozenset(pattern for rule, _, _ in order for pattern in path_patterns(rule, options, shared))


def _no_chat(root: str) -> Matcher.MatcherList.Predicate:
    result = Matcher.MatcherList.Predicate()
    result.not_matcher.single_predicate.input.CopyFrom(_header_input("headgate/path", ":path"))
    result.not_matcher.single_predicate.value_match.exact = path_under(CHAT, root)
    return result


def _by_path(pattern: str) -> Matcher.MatcherList.Predicate:
    result = Matcher.MatcherList.Predicate()
    result.single_predicate.input.CopyFrom(_header_input("headgate/path", ":path"))
    wanted = result.single_predicate.value_match.safe_regex
    wanted.google_re2.SetInParent()
    wanted.regex = rf"({pattern})(\?.*)?"
    return result


def _header_input(name: str, header: str) -> TypedExtensionConfig:
    return TypedExtensionConfig(name=name, typed_config=packed(HttpRequestHeaderMatchInput(header_name=header)))


def set_by_header(matcher: Matcher, name: str, header: str) -> Matcher.MatcherTree:
    """Has a matcher look a header up; what is found is for the caller to say."""
    matcher.matcher_tree.input.CopyFrom(_header_input(name, header))
    return matcher.matcher_tree


def set_by_method(matcher: Matcher, listing: Mapping[str, Iterable[bytes]], rest: bytes) -> Matcher:
    """Where models are listed, by what those paths begin with; and the rest, as serialised lists. Returns the matcher
    for what is posted.

    So what is posted passes by the models: to try 1,000 of them costs Envoy 0.4 ms.
    """
    posts = set_by_header(matcher, "headgate/method", ":method").exact_match_map.map["POST"].matcher
    if listing:  # Envoy refuses a map without entries: of closed rules no model is listed
        others = matcher.on_no_match.matcher
        found = set_by_header(others, "headgate/path", ":path").prefix_match_map.map
        for path in sorted(listing):
            found[path].CopyFrom(route_list(listing[path]))
        if "/" not in listing:
            others.on_no_match.CopyFrom(route_list((rest,)))
    else:
        matcher.on_no_match.CopyFrom(route_list((rest,)))
    return posts


def _own_routes(host: ir.VirtualHost, order: Sequence[Ranked], options: Options, how: Placement) -> _Own:
    if not any(rule.ai for rule, _, _ in order):
        last = (security.preflight_route(), *_closed(host, options.path_root))
        return _Own(models.Listing(first={}, last={}), (), (), last)
    first = [*_preflights(order, options, how), security.preflight_route()]
    first += models.models_not_allowed(options.path_root)
    first += replies.path_model_routes(options.path_root)
    first += replies.form_routes(options.path_root) if options.extproc_sockets else []
    first += replies.error_routes()
    alone = all(exact_model(match) is not None for rule in host.all_rules for match in rule.matches)
    listing = models.models_listed(host.all_rules, options.path_root, alone=alone, scripted=True)
    awaiting = replies.awaiting_routes(options.path_root)
    return _Own(listing, awaiting, first, replies.last_routes(known_paths(options.path_root)))


def _preflights(order: Sequence[Ranked], options: Options, how: Placement) -> Iterator[Route]:
    """Where preflight requests go on a host with models and plain routes: to the path's own, as other requests do.
    Routes of all paths come behind the paths of models."""
    by_models = False
    for rule, match, index in order:
        if not rule.plain:
            continue
        if match.path == "/" and not by_models:
            by_models = True
            yield security.preflight_route("headgate/preflight/models", served_paths(options.path_root))
        for route in rule_routes(rule, match, index, options, how):
            if _may_take(route, "OPTIONS"):
                asked = Route()
                asked.CopyFrom(route)
                security.only_preflights(asked.match)
                yield asked


def _closed(host: ir.VirtualHost, root: str) -> Iterator[Route]:
    """What is told whoever asks for a model where all are closed: then nobody reads which."""
    for rule in (*host.rules, *host.inherited):
        if rule.direct is not None and any(
            header.name == headers.MODEL for each in rule.matches for header in each.headers
        ):
            yield replies.direct("headgate/closed", RouteMatch(prefix=root), rule.direct.status, rule.direct.body)
            return


def set_virtual_host(
    result: VirtualHost,
    host: ir.VirtualHost,
    body_bytes_max: int,
    options: Options,
    *,
    replaced: security.Configs = (),
    basic: bool = False,
    withheld: Sequence[str] = (),
    marks: bool = True,
) -> None:
    """All rules of one hostname; AI hosts also list their models and explain what they refuse. `replaced` and `basic`
    are as in `Shared`; `withheld` are further headers that no provider gets. The pages that may call its models are
    its own to say (`marks`) where the listener's policy does not."""
    result.request_body_buffer_limit.value = body_bytes_max
    result.include_request_attempt_count = True  # tells the upstream script a first attempt from a later one
    order = (*ranked(host.rules), *ranked(host.inherited))
    all_ai = all(rule.ai for rule in host.all_rules)
    prices = extraction.shared_costs(rule for rule in host.all_rules if rule.ai)
    # plain routes of the host would have it too, and their pages are none of ours
    usage = extraction.shared_usage(host.all_rules, options) if all_ai else b""
    retry = common_retry(host.all_rules)
    shared = Shared(
        prices=bool(prices),
        reading=usage,
        retry=retry,
        withheld=(*WITHHELD, *withheld),
        strips=all_ai,
        replaced=replaced,
        basic=basic,
        marked=marks and security.host_cors(host.all_rules) is not None,
    )
    if shared.strips:
        result.request_headers_to_remove.extend(shared.withheld)
    if shared.retry:
        result.retry_policy.MergeFromString(shared.retry)
    if usage:
        result.typed_per_filter_config[extraction.USAGE_SCRIPT].MergeFromString(usage)
    for key, config in (*prices, *security.cors_config(host.all_rules)):
        result.typed_per_filter_config[key].CopyFrom(config)
    model_known = any(exact_model(match) is not None for _, match, _ in order)
    how = Placement(shared=shared, model_known=model_known)
    own = _own_routes(host, order, options, how)
    if model_known:
        _set_mapped(result.matcher, order, options, how, own)
    else:
        listing = RouteList.FromString(b"".join(chain.from_iterable(own.listing.first.values()))).routes
        result.routes.extend([*listing, *own.first, *_any_model(order, options, how), *own.last])
