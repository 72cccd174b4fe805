"""How a request finds its rule: through maps on the model and the method, with the same meaning as in order."""

from dataclasses import replace

from envoy.config.route.v3.route_components_pb2 import Route, RouteList, VirtualHost
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from headgate.compiler import answers, ir, upstreams
from headgate.compiler.lower import hosts
from headgate.compiler.lower.hosts import set_virtual_host
from headgate.compiler.options import Options
from headgate.contract import headers
from headgate.llm.names import DialectName
from xds.type.matcher.v3.matcher_pb2 import Matcher

OPTIONS = Options(extproc_sockets=("/x.sock",), lua_directory="/lua")


def rule(
    index: int, kind: ir.MatchKind, model: str, *, created: str = "", retry: upstreams.Retry | None = None
) -> ir.Rule:
    backend = ir.Backend(
        name=f"ns/b/route/r{index}/rule/0/ref/0",
        service="ns/b",
        endpoints=(ir.Endpoint("192.0.2.1", 80),),
        dialect=DialectName.OPENAI_CHAT,
        prefix="/v1",
    )
    match = ir.Match(headers=(ir.TextMatch(headers.MODEL, kind, model),))
    return ir.Rule(
        name=f"ns/r{index}/rule/0",
        route=f"ns/r{index}",
        ai=True,
        matches=(match,),
        backends=(backend,),
        created=created,
        retry=retry,
    )


def rules(count: int) -> list[ir.Rule]:
    return [rule(index, ir.MatchKind.EXACT, f"model-{index}", created="2026") for index in range(count)]


def host(*found: ir.Rule) -> VirtualHost:
    result = VirtualHost(name="h", domains=("*",))
    set_virtual_host(result, ir.VirtualHost(hostname="*", rules=found), 1024, OPTIONS)
    return result


def listed(found: Matcher.OnMatch) -> list[Route]:
    return list(RouteList.FromString(found.action.typed_config.value).routes)


def posted(virtual: VirtualHost) -> Matcher:
    found = virtual.matcher.matcher_tree.exact_match_map.map["POST"].matcher
    return found.on_no_match.matcher if found.HasField("matcher_list") else found


def asked(virtual: VirtualHost) -> Matcher.MatcherList:
    """What is asked before the model is looked up among the rest."""
    return virtual.matcher.matcher_tree.exact_match_map.map["POST"].matcher.matcher_list


def mapped(virtual: VirtualHost, model: str) -> list[str]:
    return [route.name for route in listed(posted(virtual).matcher_tree.exact_match_map.map[model])]


def without_model(virtual: VirtualHost, method: str, path: str = "/") -> list[Route]:
    """What is tried while no known model is in the header."""
    if method == "POST":
        return listed(posted(virtual).on_no_match)
    paths = virtual.matcher.on_no_match.matcher
    prefixes = paths.matcher_tree.prefix_match_map.map
    longest = max((each for each in prefixes if path.startswith(each)), key=len, default=None)
    return listed(paths.on_no_match if longest is None else prefixes[longest])


def test_rules_for_any_model_are_tried_in_order() -> None:
    virtual = host(rule(1, ir.MatchKind.REGEX, "a.*"), rule(2, ir.MatchKind.PREFIX, "b"))
    assert not virtual.HasField("matcher")
    assert len(virtual.routes) > 2


def test_models_are_looked_up() -> None:
    virtual = host(*rules(8))
    assert not virtual.routes
    names = mapped(virtual, "model-7")
    assert names[0] == "ns/r7/rule/0/chat/match/0"
    assert {name.split("/rule/")[0] for name in names[:-1]} == {"ns/r7"}
    assert names[-1] == "headgate/unknown-model"


def test_a_rule_for_any_model_keeps_its_place_among_each_models_rules() -> None:
    old = rule(900, ir.MatchKind.REGEX, ".*", created="2025")
    young = rule(901, ir.MatchKind.REGEX, ".*", created="2027")
    virtual = host(young, *rules(8), old)
    order = list(dict.fromkeys(name.split("/rule/")[0] for name in mapped(virtual, "model-3")))
    assert order == ["ns/r900", "ns/r3", "ns/r901", "headgate/unknown-model"]


def test_a_model_nobody_names_meets_the_rules_for_any_model() -> None:
    virtual = host(*rules(8), rule(900, ir.MatchKind.REGEX, ".*"))
    names = [route.name for route in without_model(virtual, "GET")]
    assert any(name.startswith("ns/r900/") for name in names)
    assert not any(name.startswith("ns/r7/") for name in names)


def test_models_are_listed_before_everything_else_where_they_are_listed_and_only_there() -> None:
    virtual = host(*rules(8), rule(900, ir.MatchKind.REGEX, ".*"))
    others = [route for route in without_model(virtual, "DELETE", "/app") if route.name != "headgate/models"]
    in_other_words = without_model(virtual, "GET", "/app")[: -len(others)]
    assert (
        len(in_other_words) == len({str(route.match) for route in in_other_words}) == 3 + 3
    )  # Google's lists, Cohere's, Bedrock's; Google's models
    for path, count, more in (("/v1/models/model-1?x=1", 2, 2), ("/anthropic/v1/models", 1, 0)):
        found = without_model(virtual, "GET", path)
        listing, rest = found[: -len(others)], found[-len(others) :]
        assert rest == others
        assert len(listing) == count * (8 + 1) + more
        prefix = path.partition("/models")[0]
        assert all((route.match.path or route.match.prefix).startswith(f"{prefix}/models") for route in listing)


def test_a_post_meets_the_routes_that_could_take_it_in_the_same_order() -> None:
    virtual = host(*rules(8), rule(900, ir.MatchKind.REGEX, ".*"), rule(901, ir.MatchKind.PREFIX, "a"))
    posts = StringMatcher(exact="POST")
    taking = [
        route
        for route in without_model(virtual, "GET")
        if all(
            (header.string_match == posts) is not header.invert_match
            for header in route.match.headers
            if header.name == ":method"
        )
    ]
    assert without_model(virtual, "POST") == taking


def test_a_model_that_is_not_posted_meets_no_rule_for_models() -> None:
    names = [route.name for route in without_model(host(*rules(8), rule(900, ir.MatchKind.REGEX, ".*")), "DELETE")]
    first = next(position for position, name in enumerate(names) if name.startswith("ns/"))
    assert names[first - 1] == "headgate/method"


def test_plain_rules_before_those_for_models_take_every_method() -> None:
    plain = ir.Rule(
        name="ns/plain/rule/0",
        route="ns/plain",
        ai=False,
        matches=(ir.Match(path="/api"),),
        direct=answers.DirectResponse(status=200, body=""),
    )
    names = [route.name for route in without_model(host(plain, *rules(8)), "DELETE")]
    assert names.index("ns/plain/rule/0/match/0") < names.index("headgate/method")


def test_without_a_model_the_number_of_models_costs_nothing() -> None:
    few, many = (len(without_model(host(*rules(count)), "POST")) for count in (1, 50))
    assert few == many


def test_classes_of_paths_that_many_models_ask_for_are_asked_for_once() -> None:
    models = rules(hosts.ASKED_ONCE_MIN)
    few, many = host(*models[:-1]), host(*models)
    assert not asked(few).matchers
    (once,) = asked(many).matchers
    expression = once.predicate.and_matcher.predicate[1].single_predicate.value_match.safe_regex.regex
    before = listed(posted(few).matcher_tree.exact_match_map.map["model-1"])
    own = next(route for route in before if route.match.safe_regex.regex)
    assert expression == rf"({own.match.safe_regex.regex})(\?.*)?"
    (there,) = listed(once.on_match.matcher.matcher_tree.exact_match_map.map["model-1"])
    assert (there.name, there.route, there.match.prefix) == (own.name, own.route, "/")
    assert mapped(many, "model-1") == [name for name in mapped(few, "model-1") if name != own.name]


def test_a_rule_that_asks_for_more_than_its_model_leaves_the_others_their_place() -> None:
    canary = rule(900, ir.MatchKind.EXACT, "model-1", created="2027")
    wants = (*canary.matches[0].headers, ir.TextMatch("x-canary", ir.MatchKind.EXACT, "yes"))
    canary = replace(canary, matches=(ir.Match(headers=wants),))
    any_model = rule(901, ir.MatchKind.REGEX, ".*", created="2025")
    virtual = host(*rules(hosts.ASKED_ONCE_MIN), canary, any_model)
    found = listed(asked(virtual).matchers[0].on_match.matcher.matcher_tree.exact_match_map.map["model-1"])
    assert [route.name.split("/rule/")[0] for route in found] == ["ns/r900", "ns/r901", "ns/r1"]


def test_the_retry_policy_that_most_rules_have_stands_once_and_binds_no_other_rule() -> None:
    twice, once = (upstreams.Retry(count=count, on="5xx") for count in (2, 1))
    kinds = (twice, twice, once, None)
    found = [rule(i, ir.MatchKind.EXACT, f"model-{i}", retry=retry) for i, retry in enumerate(kinds)]
    virtual = host(*found)
    assert virtual.retry_policy.num_retries.value == 2
    models = posted(virtual).matcher_tree.exact_match_map.map
    own = [listed(models[f"model-{i}"])[0].route for i in range(len(found))]
    assert [action.HasField("retry_policy") for action in own] == [False, False, True, True]
    assert own[2].retry_policy.num_retries.value == 1
    assert not own[3].retry_policy.retry_on


def test_where_a_known_model_is_not_served_it_is_told_so_by_its_name() -> None:
    percent = rule(8, ir.MatchKind.EXACT, "100%", created="2026")
    found = posted(host(*rules(8), percent)).matcher_tree.exact_match_map.map
    last = listed(found["100%"])[-1]
    assert last.match.prefix == "/"
    assert not last.match.headers
    text = last.direct_response.body_format.text_format_source.inline_string
    assert text.startswith("The model '100%%' does not exist here, or not at POST %PATH(NQ)%.")
