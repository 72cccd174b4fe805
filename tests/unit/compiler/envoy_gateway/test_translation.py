"""What becomes of Envoy Gateway's lists, a rule at a time. Whole lists are in `tests/golden`."""

from dataclasses import replace

import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.listener.v3.listener_components_pb2 import Filter, FilterChain
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_components_pb2 import Route, RouteList, VirtualHost
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.http.api_key_auth.v3.api_key_auth_pb2 import ApiKeyAuthPerRoute, KeySource
from envoy.extensions.filters.http.header_to_metadata.v3.header_to_metadata_pb2 import Config as HeaderToMetadata
from envoy.extensions.filters.http.lua.v3.lua_pb2 import LuaPerRoute
from envoy.extensions.filters.http.router.v3.router_pb2 import Router
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
    Rds,
)
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from headgate import lua
from headgate.compiler.compile import compile_world
from headgate.compiler.envoy_gateway.listeners import SWITCHED, place_of
from headgate.compiler.envoy_gateway.rules import Rules, known_rules
from headgate.compiler.envoy_gateway.translation import (
    LEAVING_MAX,
    LEAVING_SECONDS,
    Lists,
    Memo,
    Translated,
    inputs_seen,
    translate,
)
from headgate.compiler.lower.filters.extraction import PATH_MODEL, USAGE_SCRIPT
from headgate.compiler.lower.filters.security import IDENTITY
from headgate.compiler.lower.routes import WITHHELD
from headgate.compiler.lower.wire import http_filter, packed, struct
from headgate.compiler.options import Mode, Options
from headgate.compiler.reading import read_object
from headgate.compiler.resolve.scope import CONFIG_ANNOTATION
from headgate.compiler.resources.metadata import NOWHERE
from headgate.compiler.world import make_world
from headgate.contract import headers
from headgate.contract.otel import CAPTURE_VARIABLE
from support import manifests
from xds.type.matcher.v3.matcher_pb2 import Matcher

OPTIONS = Options(mode=Mode.ENVOY_GATEWAY, extproc_sockets=("/run.sock",), lua_directory="/lua")
AUTH = "envoy.filters.http.api_key_auth"
INPUTS = "0123456789abcdef0123456789abcdef"


def rules(*routes: manifests.Document, key: str = "sk-1", limited: bool = False, config: str = "") -> Rules:
    documents = [*manifests.gateway({"name": "http", "port": 80}), *manifests.backend("openai", 1, key=key), *routes]
    if config:
        (gateway,) = [each for each in documents if each["kind"] == "Gateway"]
        gateway["metadata"]["annotations"] = {CONFIG_ANNOTATION: config}
    found = [read_object(each, NOWHERE) for each in documents]
    world = make_world(each.resource for each in found if each.resource)
    options = replace(OPTIONS, ratelimit_address="limits.ns.svc:8081") if limited else OPTIONS
    return known_rules(compile_world(world, options).program)


def ai_route(name: str, *models: str) -> manifests.Document:
    return manifests.route(name, [manifests.rule(model, manifests.ref("openai")) for model in models])


def theirs(name: str, rule: int, *, model: str = "", last: bool = False, key_header: str = "", match: int = 0) -> Route:
    """A route of Envoy Gateway's for a generated HTTPRoute."""
    notes = {"ai-gateway-generated": "true", "headgate-inputs": INPUTS}
    origin = {"kind": "HTTPRoute", "namespace": "default", "name": name, "annotations": notes}
    route = Route(name=f"httproute/default/{name}/rule/{rule}/match/{match}/*")
    route.match.prefix = "/"
    if model:
        route.match.headers.add(name="x-ai-eg-model").string_match.exact = model
    if last:
        origin["sectionName"] = "route-not-found"
        route.direct_response.status = 404
    else:
        route.route.cluster = f"httproute/default/{name}/rule/{rule}"
    route.metadata.filter_metadata["envoy-gateway"].CopyFrom(struct({"resources": [origin]}))
    if key_header:
        config = ApiKeyAuthPerRoute(key_sources=[KeySource(header=key_header)])
        route.typed_per_filter_config[AUTH].CopyFrom(packed(config))
    return route


def web(path: str = "/") -> Route:
    route = Route(name="httproute/default/web/rule/0/match/0/*")
    route.match.path_separated_prefix = path
    route.route.cluster = "httproute/default/web/rule/0"
    origin = {"kind": "HTTPRoute", "namespace": "default", "name": "web"}
    route.metadata.filter_metadata["envoy-gateway"].CopyFrom(struct({"resources": [origin]}))
    return route


def manager(*filters: str, traced: bool = False) -> Filter:
    message = HttpConnectionManager(rds=Rds(route_config_name="default/gateway/http"))
    if traced:
        message.tracing.spawn_upstream_span.value = True
    message.http_filters.extend(http_filter(name, Router()) for name in (*filters, "envoy.filters.http.router"))
    return Filter(name="envoy.filters.network.http_connection_manager", typed_config=packed(message))


def lists(*routes: Route, filters: tuple[str, ...] = (), clusters: tuple[str, ...] = (), traced: bool = False) -> Lists:
    configuration = RouteConfiguration(name="default/gateway/http")
    configuration.virtual_hosts.add(name="default/gateway/http/*", domains=["*"]).routes.extend(routes)
    tcp = FilterChain(name="tcp", filters=[Filter(name="envoy.filters.network.tcp_proxy")])
    http = FilterChain(name="http", filters=[manager(*filters, traced=traced)])
    listener = Listener(name="default/gateway/http", filter_chains=[tcp], default_filter_chain=http)
    other = Listener(name="default/gateway/tcp", filter_chains=[tcp])
    return Lists(
        clusters=tuple(Cluster(name=name).SerializeToString() for name in clusters),
        listeners=(listener.SerializeToString(), other.SerializeToString()),
        routes=(configuration.SerializeToString(),),
    )


def answered(asked: Lists, known: Rules) -> Translated:
    return translate(asked, known, OPTIONS)[0]


def host(found: Translated) -> VirtualHost:
    return RouteConfiguration.FromString(found.lists.routes[0]).virtual_hosts[0]


def _listed(node: Matcher.OnMatch) -> list[Route]:
    return list(RouteList.FromString(node.action.typed_config.value).routes)


def listed_at(found: VirtualHost, prefix: str) -> Matcher.OnMatch:
    paths = found.matcher.on_no_match.matcher
    return paths.matcher_tree.prefix_match_map.map[prefix]


def posted(found: Translated, model: str = "") -> list[Route]:
    """The routes that a posted request is tried against."""
    made = host(found)
    if made.routes:
        return list(made.routes)
    by_model = made.matcher.matcher_tree.exact_match_map.map["POST"].matcher
    entries = by_model.matcher_tree.exact_match_map.map
    return _listed(entries[model]) if model in entries else _listed(by_model.on_no_match)


def test_lists_without_ai_routes_pass_as_they_came() -> None:
    asked = lists(web(), clusters=("httproute/default/web/rule/0",))
    assert answered(asked, rules(ai_route("chat", "m"))).lists == asked


def test_other_routes_listeners_and_chains_keep_their_bytes() -> None:
    asked = lists(theirs("chat", 0, model="m"), theirs("chat", 1, last=True), web("/app"), web())
    found = answered(asked, rules(ai_route("chat", "m")))
    kept = {each.SerializeToString(deterministic=True) for each in posted(found, "m")}
    assert {each.SerializeToString(deterministic=True) for each in (web("/app"), web())} <= kept
    assert found.lists.listeners[1] == asked.listeners[1]
    listener = Listener.FromString(found.lists.listeners[0])
    assert listener.filter_chains[0] == Listener.FromString(asked.listeners[0]).filter_chains[0]
    assert listener.per_connection_buffer_limit_bytes.value > 32_768


def test_our_filters_stand_after_authentication_and_before_limits_switched_off() -> None:
    filters = (
        "envoy.filters.http.custom_response",
        AUTH,
        "envoy.filters.http.ratelimit",
        "envoy.filters.http.compressor",
    )
    asked = lists(theirs("chat", 0, model="m"), theirs("chat", 1, last=True), filters=filters)
    chain = Listener.FromString(answered(asked, rules(ai_route("chat", "m"))).lists.listeners[0]).default_filter_chain
    made = HttpConnectionManager.FromString(chain.filters[0].typed_config.value)
    names = [each.name for each in made.http_filters]
    assert names.index(AUTH) < names.index("headgate.body_size_limit") < names.index("envoy.filters.http.ratelimit")
    assert names.index("envoy.filters.http.compressor") < names.index("headgate.lua/usage")
    assert names[-1] == "envoy.filters.http.router"
    assert all(each.disabled for each in made.http_filters if each.name not in (*filters, names[-1]))


def test_query_parameters_that_limits_count_are_read() -> None:
    tenants = {"clientSelectors": [{"queryParams": [{"name": "tenant", "type": "Distinct"}]}]}
    limit = {"name": "each", "unit": "requests", "amount": 1, "window": "hour", **tenants}
    spec = {**manifests.target("AIGatewayRoute", "chat"), "rules": [limit]}
    policy = manifests.document("headgate.dev/v1alpha1", "LimitPolicy", "limits", spec)
    known = rules(ai_route("chat", "m"), policy, limited=True)
    asked = lists(theirs("chat", 0, model="m"), theirs("chat", 1, last=True))
    chain = Listener.FromString(answered(asked, known).lists.listeners[0]).default_filter_chain
    made = HttpConnectionManager.FromString(chain.filters[0].typed_config.value)
    (identity,) = [each for each in made.http_filters if each.name == IDENTITY]
    read = HeaderToMetadata.FromString(identity.typed_config.value).request_rules
    assert "query:tenant" in [each.on_header_present.key for each in read]


@pytest.mark.parametrize(
    ("names", "place"),
    [
        ((), 0),
        (("envoy.filters.http.ratelimit", "envoy.filters.http.router"), 0),
        (("envoy.filters.http.lua/0", "envoy.filters.http.jwt_authn", "envoy.filters.http.router"), 2),
    ],
)
def test_nothing_of_ours_comes_before_authentication_whatever_the_order(names: tuple[str, ...], place: int) -> None:
    assert place_of(names) == place


def test_envoy_gateways_clusters_of_ai_routes_go_and_ours_come() -> None:
    asked = lists(
        theirs("chat", 0, model="m"),
        clusters=("httproute/default/chat/rule/0", "httproute/default/web/rule/0", "ratelimit_cluster"),
    )
    found = answered(asked, rules(ai_route("chat", "m")))
    names = [Cluster.FromString(each).name for each in found.lists.clusters]
    assert names == [
        "httproute/default/web/rule/0",
        "ratelimit_cluster",
        "headgate-extproc",
        "default/openai/route/chat/rule/0/ref/0",
    ]
    (secret,) = (Secret.FromString(each) for each in found.lists.secrets)
    assert secret.generic_secret.secret.inline_string == "Bearer sk-1"


def test_on_a_host_of_ai_routes_alone_what_they_share_stands_once() -> None:
    routes = (theirs("chat", 0, model="m"), theirs("chat", 1, last=True))
    known = rules(ai_route("chat", "m"))
    alone, mixed = answered(lists(*routes), known), answered(lists(*routes, web()), known)
    assert set(WITHHELD) <= set(host(alone).request_headers_to_remove)
    assert USAGE_SCRIPT in host(alone).typed_per_filter_config
    assert not host(mixed).request_headers_to_remove
    assert not host(mixed).typed_per_filter_config
    for found, own in ((alone, False), (mixed, True)):
        chat = posted(found, "m")[0]
        assert bool(chat.request_headers_to_remove) is own
        assert (USAGE_SCRIPT in chat.typed_per_filter_config) is own


def test_what_a_request_finds_before_its_model_is_known_is_guarded_and_reads_the_body() -> None:
    asked = lists(
        theirs("chat", 0, model="m", key_header="x-key"), theirs("chat", 1, last=True, key_header="x-key"), web()
    )
    found = answered(asked, rules(ai_route("chat", "m")))
    ours = [each for each in posted(found) if each.name.startswith("headgate/")]
    assert {"headgate/no-model", "headgate/unknown-model", "headgate/unknown-path"} <= {each.name for each in ours}
    for each in ours:
        assert AUTH in each.typed_per_filter_config, each.name
        reads = set(SWITCHED) <= set(each.typed_per_filter_config)
        assert reads is (each.name != "headgate/unknown-model"), each.name
    listing = _listed(listed_at(host(found), "/v1/models"))
    models = [each for each in listing if each.name == "headgate/models"]
    assert models
    assert all(AUTH in each.typed_per_filter_config for each in models)
    names = [each.name for each in posted(found)]
    assert names.index("headgate/no-model") < names.index(web().name) < names.index("headgate/unknown-model")


def test_a_route_with_another_authentication_than_its_host_stays_closed() -> None:
    known = rules(ai_route("a", "ma"), ai_route("b", "mb"), ai_route("c", "mc"))
    asked = lists(
        theirs("a", 0, model="ma", key_header="x-a"),
        theirs("b", 0, model="mb", key_header="x-b"),
        theirs("c", 0, model="mc"),
        theirs("a", 1, last=True, key_header="x-a"),
    )
    found = answered(asked, known)
    assert posted(found, "ma")[0].HasField("route")
    assert 403 in [each.direct_response.status for each in posted(found, "mb")]
    assert not any(each.HasField("route") for each in posted(found, "mb"))
    assert [(each.route, each.served) for each in found.problems] == [("default/b", False), ("default/c", True)]
    assert "rule 0 is answered 403" in found.problems[0].message
    assert "one SecurityPolicy" in found.problems[0].remedy


def test_a_path_that_names_the_model_is_read_and_routed() -> None:
    asked = lists(theirs("chat", 0, model="m"), theirs("chat", 1, last=True), filters=(AUTH,))
    found = answered(asked, rules(ai_route("chat", "m")))
    chain = Listener.FromString(found.lists.listeners[0]).default_filter_chain
    made = HttpConnectionManager.FromString(chain.filters[0].typed_config.value)
    names = [each.name for each in made.http_filters]
    assert names.index(PATH_MODEL) < names.index("envoy.filters.http.json_to_metadata")
    before = [each for each in posted(found) if each.name == "headgate/path-model"]
    assert before
    for each in before:
        config = LuaPerRoute.FromString(each.typed_per_filter_config[PATH_MODEL].value)
        assert config.name == "path_model"  # what switches all others on must not switch this one to nothing


def test_ai_routes_keep_from_providers_where_a_client_is() -> None:
    asked = lists(theirs("chat", 0, model="m"), web())
    for route in posted(answered(asked, rules(ai_route("chat", "m"))), "m"):
        if route.HasField("route") and "/chat/" in route.name:
            assert {*headers.CLIENT_ORIGIN, *headers.OVERRIDES} <= set(route.request_headers_to_remove), route.name


def test_ai_routes_are_told_by_upstreams_name_of_their_route() -> None:
    """compat: in metadata of the route. Our own answers have an empty one, other routes none."""
    asked = lists(theirs("chat", 0, model="m"), theirs("chat", 1, last=True), web())
    found = {
        each.name: dict(each.metadata.filter_metadata)
        for each in posted(answered(asked, rules(ai_route("chat", "m"))), "m")
    }
    named = {
        name: said["aigateway.envoy.io"]["aigw_route_name"]
        for name, said in found.items()
        if "aigateway.envoy.io" in said
    }
    assert named.pop("httproute/default/chat/rule/0/match/0/*") == "default/chat"
    assert set(named.values()) == {""}
    assert found.keys() - named.keys() >= {web().name}


def test_the_script_of_all_clusters_stands_once_in_the_virtual_host() -> None:
    options = replace(OPTIONS, lua_directory="")
    found = translate(lists(theirs("chat", 0, model="m")), rules(ai_route("chat", "m")), options)[0]
    (text,) = host(found).metadata.filter_metadata["headgate.lua/upstream"].fields.values()
    assert text.string_value == lua.compact("upstream")
    (cluster,) = (each for each in found.lists.clusters if b"headgate.lua/upstream" in each)
    assert lua.version("upstream").encode() in cluster
    assert len(cluster) < 5_000


def test_a_route_that_is_not_known_here_is_not_sent_anywhere() -> None:
    asked = lists(theirs("chat", 0, model="m"), theirs("gone", 0, model="x"))
    found = answered(asked, rules(ai_route("chat", "m")))
    every = [*posted(found), *posted(found, "m"), *posted(found, "x")]
    gone = [each for each in every if "/gone/" in each.name]
    assert gone
    assert {each.direct_response.status for each in gone} == {500}


def test_a_route_that_was_deleted_is_not_there_while_its_http_route_is() -> None:
    """Answered 404 as after it, by those behind it, and never sent to its provider by Envoy Gateway's own route."""
    known = replace(rules(ai_route("chat", "m")), routes=frozenset({"default/chat"}))
    gone = (theirs("gone", 0, model="x"), theirs("gone", 1, last=True))
    for others in ((theirs("chat", 0, model="m"), theirs("chat", 1, last=True)), ()):
        found = answered(lists(*others, *gone), known)
        every = [*posted(found), *posted(found, "x")]
        assert not [each for each in every if "/gone/rule/0" in each.name]
        assert {"headgate/no-model", "headgate/unknown-model"} <= {each.name for each in every}


def test_matches_that_had_no_place_in_the_http_route_are_served_too() -> None:
    route = manifests.route("chat", [manifests.rule("m0", manifests.ref("openai"))])
    route["spec"]["rules"][0]["matches"] = [
        {"headers": [{"name": "x-ai-eg-model", "value": f"m{index}"}]} for index in range(100)
    ]
    asked = lists(*(theirs("chat", 0, model=f"m{index}", match=index) for index in range(64)))
    found = answered(asked, rules(route))
    entries = host(found).matcher.matcher_tree.exact_match_map.map["POST"].matcher.matcher_tree.exact_match_map.map
    assert set(entries) == {f"m{index}" for index in range(100)}


@pytest.mark.parametrize(
    ("address", "status", "told"), [("proxy.corp:1", 503, "proxy that this gateway"), ("", 500, "is not ready")]
)
def test_a_host_whose_models_have_no_backend_says_why(address: str, status: int, told: str) -> None:
    """No map of models then: Envoy refuses one without an entry, and all routes of the Gateway with it."""
    config = manifests.document(
        f"{manifests.AI}/v1beta1", "GatewayConfig", "egress", {"forwardProxy": {"address": address}} if address else {}
    )
    route = manifests.route("chat", [manifests.rule("m", manifests.ref("openai" if address else "nowhere"))])
    asked = lists(theirs("chat", 0, model="m"), theirs("chat", 1, last=True))
    found = host(answered(asked, rules(route, config, config="egress")))
    assert not found.HasField("matcher")
    (refused,) = [each for each in found.routes if each.name.startswith("httproute/default/chat/rule/0")]
    assert refused.direct_response.status == status
    assert told in str(refused.direct_response.body_format)


@pytest.mark.parametrize("traced", [False, True])
def test_content_that_is_to_be_captured_of_requests_that_nobody_traces_is_told(traced: bool) -> None:
    config = {"extProc": {"kubernetes": {"env": [{"name": CAPTURE_VARIABLE, "value": "span_only"}]}}}
    route = ai_route("chat", "m")
    named = manifests.document(f"{manifests.AI}/v1beta1", "GatewayConfig", "tells", config)
    known = rules(route, named, config="tells")
    found = answered(lists(theirs("chat", 0, model="m"), traced=traced), known)
    told = [(each.route, each.message, each.served) for each in found.problems]
    said = "nothing is captured but of requests that clients trace: the Envoys of default/gateway trace none"
    assert told == ([] if traced else [("default/chat", said, True)])
    assert all("in the EnvoyProxy, spec.telemetry.tracing: {provider: " in each.remedy for each in found.problems)


def test_what_merged_gateways_make_differently_of_one_rule_is_captured_for_none() -> None:
    """Both Gateways serve the route, by the same Envoys and so by the same clusters; one of them captures."""
    config = {"extProc": {"kubernetes": {"env": [{"name": CAPTURE_VARIABLE, "value": "span_only"}]}}}
    named = manifests.document(f"{manifests.AI}/v1beta1", "GatewayConfig", "tells", config)
    (known,) = rules(ai_route("chat", "m"), named, config="tells").by_gateway.values()
    (plain,) = rules(ai_route("chat", "m")).by_gateway.values()
    asked = lists(theirs("chat", 0, model="m"), traced=True)
    second = RouteConfiguration.FromString(asked.routes[0])
    second.name = "default/plain/http"
    both = replace(asked, routes=(*asked.routes, second.SerializeToString()))
    found = answered(both, Rules({"default/gateway": known, "default/plain": plain}))
    (cluster,) = (each for each in found.lists.clusters if b"/route/chat/rule/0/ref/0" in each)
    alone = answered(asked, Rules({"default/gateway": plain}))
    assert cluster in alone.lists.clusters
    (problem,) = found.problems
    assert (problem.route, problem.served) == ("default/chat", True)
    assert "mergeGateways" in problem.message


def test_the_memo_saves_work_and_changes_nothing() -> None:
    asked = lists(theirs("chat", 0, model="m"), theirs("chat", 1, last=True), web(), clusters=("c",))
    known = rules(ai_route("chat", "m"))
    first, memo = translate(asked, known, OPTIONS, Memo())
    assert translate(asked, known, OPTIONS, memo)[0] == first
    rotated = rules(ai_route("chat", "m"), key="sk-2")
    second, memo = translate(asked, rotated, OPTIONS, memo)
    assert second == translate(asked, rotated, OPTIONS)[0]
    assert second.lists.routes == first.lists.routes
    assert second.lists.clusters == first.lists.clusters
    assert second.lists.secrets != first.lists.secrets


def cluster_names(found: Translated) -> set[str]:
    return {Cluster.FromString(each).name for each in found.lists.clusters}


CHAT = "default/openai/route/chat/rule/0/ref/0"
GONE = "default/openai/route/gone/rule/0/ref/0"


def test_what_goes_stays_for_some_seconds_since_envoy_hears_of_clusters_before_routes() -> None:
    routes = (theirs("chat", 0, model="m"), theirs("chat", 1, last=True), theirs("gone", 0, model="x"))
    memo = translate(lists(*routes), rules(ai_route("chat", "m"), ai_route("gone", "x")), OPTIONS)[1]
    asked, known = lists(*routes[:2]), rules(ai_route("chat", "m"))
    for now in (100.0, 100.1, 100.0 + LEAVING_SECONDS - 1):
        leaving, memo = translate(asked, known, OPTIONS, memo, now=now)
        assert cluster_names(leaving) == {"headgate-extproc", CHAT, GONE}
        assert not [each for each in (*posted(leaving), *posted(leaving, "x")) if "/gone/" in each.name]
    left, _ = translate(asked, known, OPTIONS, memo, now=100.0 + LEAVING_SECONDS)
    assert left == translate(asked, known, OPTIONS)[0]
    assert cluster_names(left) == {"headgate-extproc", CHAT}


def test_after_the_last_route_its_cluster_its_key_and_the_processor_stay_likewise() -> None:
    before, memo = translate(lists(theirs("chat", 0, model="m")), rules(ai_route("chat", "m")), OPTIONS)
    asked = lists(web())
    leaving, memo = translate(asked, rules(), OPTIONS, memo)
    assert cluster_names(leaving) == {"headgate-extproc", CHAT}
    assert leaving.lists.secrets == before.lists.secrets != ()
    assert (leaving.lists.routes, leaving.lists.listeners) == (asked.routes, asked.listeners)
    assert translate(asked, rules(), OPTIONS, memo, now=LEAVING_SECONDS)[0].lists == asked


def test_only_so_many_clusters_stay() -> None:
    names = [f"r{number}" for number in range(LEAVING_MAX)]
    memo = translate(
        lists(*(theirs(name, 0, model=name) for name in names)),
        rules(*(ai_route(name, name) for name in names)),
        OPTIONS,
    )[1]
    assert len(cluster_names(translate(lists(), rules(), OPTIONS, memo)[0])) == LEAVING_MAX  # not the processor's too


def test_hashes_are_read_from_routes_and_do_not_go_to_envoy() -> None:
    asked = lists(theirs("chat", 0, model="m"))
    assert inputs_seen(asked.routes) == {INPUTS}
    found = answered(asked, rules(ai_route("chat", "m")))
    assert INPUTS.encode() not in found.lists.routes[0]


def test_a_rule_that_cannot_be_lowered_costs_only_itself() -> None:
    known = rules(ai_route("chat", "m"), ai_route("bad", "x"))
    good, bad = (known.by_gateway["default/gateway"][f"default/{name}/rule/0"] for name in ("chat", "bad"))
    endpoint = replace(bad.rule.backends[0].endpoints[0], port=-1)  # nothing that resolving gives
    rule = replace(bad.rule, backends=(replace(bad.rule.backends[0], endpoints=(endpoint,)),))
    broken = Rules({"default/gateway": {good.rule.name: good, rule.name: replace(bad, rule=rule)}})
    found = answered(lists(theirs("chat", 0, model="m"), theirs("bad", 0, model="x")), broken)
    assert posted(found, "m")[0].HasField("route")
    assert [each.route for each in found.problems] == ["default/bad"]
    names = [Cluster.FromString(each).name for each in found.lists.clusters]
    assert names == ["headgate-extproc", "default/openai/route/chat/rule/0/ref/0"]
