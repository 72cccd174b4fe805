"""What a change costs us beside Envoy Gateway, with a thousand AI routes: compiling, its objects, its hook."""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
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
from headgate.compiler.envoy_gateway.objects import Objects, missing, wanted_objects
from headgate.compiler.envoy_gateway.rules import Rules, known_rules
from headgate.compiler.envoy_gateway.translation import Lists, Memo, translate
from headgate.compiler.lower.wire import http_filter, packed, struct
from headgate.compiler.options import Mode, Options
from headgate.compiler.resources.metadata import Resource
from headgate.compiler.world import World, make_world
from headgate.controller.extension.server import written
from headgate.controller.sources.files import load
from headgate.pb.envoy_gateway_extension_pb2 import PostTranslateModifyRequest
from headgate.runtime.garbage import collect_rarely

from bench import configuration as config

ROUTES: Final = 1000
CHANGED: Final = range(500, 510)
OPTIONS: Final = Options(mode=Mode.ENVOY_GATEWAY, extproc_sockets=("/etc/ai-gateway-extproc-uds/run.sock",))


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """CPU seconds of our share of one change."""

    compile_seconds: float
    objects_seconds: float
    """Which rules and objects are as before, and which objects have to be written."""
    hook_seconds: float
    """One call, with the parsing of what Envoy Gateway sends and the making of what it is answered."""

    @property
    def seconds(self) -> float:
        return self.compile_seconds + self.objects_seconds + self.hook_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """`again_seconds` is a call with the same lists again."""

    first: Share
    again_seconds: float
    changes: tuple[Share, ...]
    """Of one route each."""
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


def envoy_gateway_lists(rules: Rules, inputs: Mapping[str, str]) -> Lists:
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


@dataclass(slots=True)
class _Controller:
    """What the controller does with a world, step by step, in this process: what gRPC and Envoy Gateway add is not
    ours."""

    rules: Rules = field(default_factory=Rules)
    objects: Objects = field(default_factory=Objects)
    memo: Memo | None = None
    there: tuple[Resource, ...] = ()
    """What was written."""
    bytes: tuple[int, int] = (0, 0)
    """Asked and answered."""

    def take(self, world: World) -> Share:
        """Until the hook is answered."""
        world = make_world((*world.objects(), *self.there))
        started = time.process_time()
        compiled = compile_world(world, OPTIONS)
        made = time.process_time()
        self.rules = known_rules(compiled.program, self.rules)
        self.objects = wanted_objects(compiled.scope, self.rules, build="bench", previous=self.objects)
        missing(world, self.objects.wanted)
        done = time.process_time()
        self.there = tuple(each.resource for each in self.objects.wanted if each.resource is not None)
        return Share(compile_seconds=made - started, objects_seconds=done - made, hook_seconds=self.hook())

    def hook(self) -> float:
        """One call from bytes to bytes, as the server does it; returns its CPU seconds."""
        lists = envoy_gateway_lists(self.rules, self.objects.inputs)
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
        made, self.memo = translate(received, self.rules, OPTIONS, self.memo)
        answer = written(made.lists)
        self.bytes = len(asked), len(answer)
        return time.process_time() - started


def measure(directory: Path) -> Hooks:
    """Collects garbage as the controller's process does."""
    collect_rarely()
    file = directory / "many.yaml"
    file.write_text(config.documents(*config.many_routes(ROUTES, 18080, 18081)))
    loaded = load([file], environment=dict(os.environ))
    controller = _Controller()
    first = controller.take(loaded.world)
    again = controller.hook()
    changes: list[Share] = []
    for number in CHANGED:
        file.write_text(file.read_text().replace(f"model-{number}-upstream", "another"))
        loaded = load([file], environment=dict(os.environ), previous=loaded)
        changes.append(controller.take(loaded.world))
    asked, answered = controller.bytes
    return Hooks(first=first, again_seconds=again, changes=tuple(changes), asked_bytes=asked, answered_bytes=answered)


def lines(found: Hooks) -> dict[str, str]:
    """For the report."""
    half = sorted(found.changes, key=lambda each: each.seconds)[len(found.changes) // 2]
    worst = max(each.seconds for each in found.changes)
    spread = f"{half.seconds:.3f} s CPU median, {worst:.3f} s worst of {len(CHANGED)}"
    return {
        f"Envoy Gateway's hook, {ROUTES} routes with 3 backends each, first": f"{found.first.hook_seconds:.2f} s CPU",
        "… the same again": f"{found.again_seconds:.3f} s CPU",
        "our share of a change of one of these": spread,
        "… compiling": f"{half.compile_seconds:.3f} s CPU",
        "… rules and objects": f"{half.objects_seconds:.3f} s CPU",
        "… the hook": f"{half.hook_seconds:.3f} s CPU",
        "… asked, answered": f"{found.asked_bytes / 1e6:.1f} MB, {found.answered_bytes / 1e6:.1f} MB",
    }
