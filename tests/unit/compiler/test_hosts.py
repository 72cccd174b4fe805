"""How a request finds its rule when there are many models: through a map, with the same meaning as in order."""

from envoy.config.route.v3.route_components_pb2 import RouteList, VirtualHost
from headgate.compiler import ir
from headgate.compiler.lower.hosts import MODELS_MAPPED_FROM, virtual_host
from headgate.compiler.options import Options
from headgate.contract import headers
from headgate.llm.names import DialectName

OPTIONS = Options(extproc_sockets=("/x.sock",), lua_directory="/lua")


def rule(index: int, kind: ir.MatchKind, model: str, *, created: str = "") -> ir.Rule:
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
    )


def rules(count: int) -> list[ir.Rule]:
    return [rule(index, ir.MatchKind.EXACT, f"model-{index}", created="2026") for index in range(count)]


def host(*found: ir.Rule) -> VirtualHost:
    return virtual_host(ir.VirtualHost(hostname="*", rules=found), "h", ("*",), 1024, OPTIONS)


def mapped(virtual: VirtualHost, model: str) -> list[str]:
    action = virtual.matcher.matcher_tree.exact_match_map.map[model].action
    return [route.name for route in RouteList.FromString(action.typed_config.value).routes]


def test_few_models_are_tried_in_order() -> None:
    virtual = host(*rules(MODELS_MAPPED_FROM))
    assert not virtual.HasField("matcher")
    assert len(virtual.routes) > MODELS_MAPPED_FROM


def test_many_models_are_looked_up() -> None:
    virtual = host(*rules(MODELS_MAPPED_FROM + 1))
    assert not virtual.routes
    names = mapped(virtual, "model-7")
    assert names[0] == "ns/r7/rule/0/chat/match/0"
    assert {name.split("/rule/")[0] for name in names[:-1]} == {"ns/r7"}
    assert names[-1] == "headgate/unknown-model"


def test_a_rule_for_any_model_keeps_its_place_among_each_models_rules() -> None:
    old = rule(900, ir.MatchKind.REGEX, ".*", created="2025")
    young = rule(901, ir.MatchKind.REGEX, ".*", created="2027")
    virtual = host(young, *rules(MODELS_MAPPED_FROM + 1), old)
    order = list(dict.fromkeys(name.split("/rule/")[0] for name in mapped(virtual, "model-3")))
    assert order == ["ns/r900", "ns/r3", "ns/r901", "headgate/unknown-model"]


def test_a_model_nobody_names_meets_the_rules_for_any_model() -> None:
    virtual = host(*rules(MODELS_MAPPED_FROM + 1), rule(900, ir.MatchKind.REGEX, ".*"))
    action = virtual.matcher.on_no_match.action
    names = [route.name for route in RouteList.FromString(action.typed_config.value).routes]
    assert any(name.startswith("ns/r900/") for name in names)
    assert not any(name.startswith("ns/r7/") for name in names)
    assert "headgate/models" in names
