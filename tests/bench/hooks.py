"""How long Envoy Gateway waits for us: its hook with a thousand AI routes, first and after one change."""

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.listener.v3.listener_components_pb2 import Filter, FilterChain
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_components_pb2 import Route
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.http.router.v3.router_pb2 import Router
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
    Rds,
)
from headgate.compiler.compile import compile_world
from headgate.compiler.envoy_gateway.names import GENERATED, INPUTS, METADATA, NOT_FOUND
from headgate.compiler.envoy_gateway.objects import inputs_of, wanted_objects
from headgate.compiler.envoy_gateway.rules import Rules, known_rules
from headgate.compiler.envoy_gateway.translation import Lists, Memo, translate
from headgate.compiler.lower.wire import http_filter, packed, struct
from headgate.compiler.options import Mode, Options
from headgate.compiler.resolve.scope import Scope
from headgate.compiler.world import World
from headgate.controller.extension.server import written
from headgate.controller.sources.files import load
from headgate.pb.envoy_gateway_extension_pb2 import PostTranslateModifyRequest

from bench import configuration as config

ROUTES: Final = 1000
CHANGED: Final = 500
OPTIONS: Final = Options(mode=Mode.ENVOY_GATEWAY, extproc_sockets=("/etc/ai-gateway-extproc-uds/run.sock",))


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """CPU seconds of one call, with the parsing of what Envoy Gateway sends and the making of what it is answered."""

    first_seconds: float
    again_seconds: float
    """The same lists again."""
    changed_seconds: float
    """After one route has changed."""
    rules_seconds: float
    """What follows the compilation of that change: which rules and objects are as before."""
    asked_bytes: int
    answered_bytes: int


def _route(name: str, rule: int, inputs: str, *, model: str = "") -> Route:
    """As Envoy Gateway makes one of an HTTPRoute of ours."""
    namespace, _, short = name.partition("/")
    notes = {GENERATED: "true", INPUTS: inputs, "backend-ref-priority": "0:a:0,0:b:0,0:c:0"}
    origin = {"kind": "HTTPRoute", "namespace": namespace, "name": short, "annotations": notes}
    route = Route(name=f"httproute/{name}/rule/{rule}/match/0/*")
    route.match.prefix = "/"
    if model:
        route.match.headers.add(name="x-ai-eg-model").string_match.exact = model
        route.route.cluster = f"httproute/{name}/rule/{rule}"
        route.route.timeout.seconds = 60
        route.route.upgrade_configs.add(upgrade_type="websocket")
    else:
        origin["sectionName"] = NOT_FOUND
        route.direct_response.status = 404
    route.metadata.filter_metadata[METADATA].CopyFrom(struct({"resources": [origin]}))
    return route


def envoy_gateway_lists(rules: Rules, inputs: dict[str, str]) -> Lists:
    """What Envoy Gateway would send of these rules of one Gateway."""
    ((gateway, known),) = rules.by_gateway.items()
    configuration = RouteConfiguration(name=f"{gateway}/http")
    host = configuration.virtual_hosts.add(name=f"{gateway}/http/*", domains=["*"])
    clusters: list[bytes] = []
    last: list[Route] = []
    for each in known.values():
        rule = each.rule
        host.routes.append(_route(rule.route, 0, inputs[rule.route], model=rule.matches[0].headers[0].value))
        last.append(_route(rule.route, 1, inputs[rule.route]))
        cluster = Cluster(name=f"httproute/{rule.name}", type=Cluster.EDS)
        cluster.connect_timeout.seconds = 10
        cluster.circuit_breakers.thresholds.add().max_retries.value = 1024
        clusters.append(cluster.SerializeToString(deterministic=True))
    host.routes.extend(last)
    manager = HttpConnectionManager(rds=Rds(route_config_name=configuration.name))
    manager.http_filters.append(http_filter("envoy.filters.http.router", Router()))
    network = Filter(name="envoy.filters.network.http_connection_manager", typed_config=packed(manager))
    listener = Listener(name=configuration.name, default_filter_chain=FilterChain(filters=[network]))
    return Lists(
        clusters=tuple(clusters),
        listeners=(listener.SerializeToString(deterministic=True),),
        routes=(configuration.SerializeToString(deterministic=True),),
    )


def _compiled(world: World, previous: Rules | None = None) -> tuple[Rules, dict[str, str], float]:
    program = compile_world(world, OPTIONS).program
    started = time.process_time()
    rules = known_rules(program, previous)
    wanted = wanted_objects(Scope(world, OPTIONS), rules, build="bench")
    return rules, inputs_of(wanted), time.process_time() - started


def _call(lists: Lists, rules: Rules, memo: Memo | None) -> tuple[float, Memo, int, int]:
    """One call from bytes to bytes, as the server does it."""
    request = PostTranslateModifyRequest(
        clusters=lists.clusters, secrets=lists.secrets, listeners=lists.listeners, routes=lists.routes
    )
    asked = request.SerializeToString()
    started = time.process_time()
    parsed = PostTranslateModifyRequest.FromString(asked)
    received = Lists(
        clusters=tuple(parsed.clusters),
        secrets=tuple(parsed.secrets),
        listeners=tuple(parsed.listeners),
        routes=tuple(parsed.routes),
    )
    made, memo = translate(received, rules, OPTIONS, memo)
    answer = written(made.lists)
    return time.process_time() - started, memo, len(asked), len(answer)


def measure(directory: Path) -> Hooks:
    """In this process: what gRPC and Envoy Gateway add is not ours."""
    file = directory / "many.yaml"
    file.write_text(config.documents(*config.many_routes(ROUTES, 18080, 18081)))
    loaded = load([file], environment=dict(os.environ))
    rules, inputs, _ = _compiled(loaded.world)
    lists = envoy_gateway_lists(rules, inputs)
    first, memo, asked, answered = _call(lists, rules, None)
    again, memo, _, _ = _call(lists, rules, memo)
    file.write_text(file.read_text().replace(f"model-{CHANGED}-upstream", "another"))
    world = load([file], environment=dict(os.environ), previous=loaded).world
    changed_rules, changed_inputs, rules_seconds = _compiled(world, rules)
    changed_lists = envoy_gateway_lists(changed_rules, changed_inputs)
    changed, _, _, _ = _call(changed_lists, changed_rules, memo)
    return Hooks(
        first_seconds=first,
        again_seconds=again,
        changed_seconds=changed,
        rules_seconds=rules_seconds,
        asked_bytes=asked,
        answered_bytes=answered,
    )


def lines(found: Hooks) -> dict[str, str]:
    """For the report."""
    return {
        f"Envoy Gateway's hook, {ROUTES} routes with 3 backends each, first": f"{found.first_seconds:.2f} s CPU",
        "… the same again": f"{found.again_seconds:.3f} s CPU",
        "… after one route changed": f"{found.changed_seconds:.3f} s CPU",
        "… rules and objects after that change": f"{found.rules_seconds:.3f} s CPU",
        "… asked, answered": f"{found.asked_bytes / 1e6:.1f} MB, {found.answered_bytes / 1e6:.1f} MB",
    }
