"""The forward proxy of a GatewayConfig: which backends are reached through it, and what is said where none can be."""

from typing import Any

import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.address_pb2 import Address
from headgate.cli.explain import program_lines
from headgate.compiler.compile import Compiled, compile_world
from headgate.compiler.envoy_gateway.clusters import ai_cluster
from headgate.compiler.options import Mode, Options
from headgate.compiler.reading import read_object
from headgate.compiler.resolve.scope import CONFIG_ANNOTATION
from headgate.compiler.resources.metadata import NOWHERE
from headgate.compiler.world import make_world
from support import manifests
from support.manifests import AI, GATEWAY_API, Document, document, ref, route, rule

CLUSTERS = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
NAME = "default/b/route/r/rule/0/ref/0"


def _gateway(name: str, port: int, address: str | None) -> list[Document]:
    found = manifests.gateway({"port": port}, name=name)[1:]
    if address is None:
        return found
    found[0]["metadata"]["annotations"] = {CONFIG_ANNOTATION: name}
    return [*found, document(f"{AI}/v1beta1", "GatewayConfig", name, {"forwardProxy": {"address": address}})]


def _compiled(*addresses: str | None, where: Document | None = None, mode: Mode = Mode.FILES) -> Compiled:
    """A route of one backend on a Gateway for each address."""
    gateways = [each for index, address in enumerate(addresses) for each in _gateway(f"g{index}", 80 + index, address)]
    found = manifests.backend("b", 1, key="k")
    found[0]["spec"] = {"endpoints": [where or {"fqdn": {"hostname": "api.test", "port": 8443}}]}
    made = route("r", [rule("m", ref("b"))])
    made["spec"]["parentRefs"] = [{"name": f"g{index}"} for index in range(len(addresses))]
    controller = document(f"{GATEWAY_API}/v1", "GatewayClass", "headgate", {"controllerName": "x/y"})
    read = [read_object(each, NOWHERE) for each in (controller, *gateways, *found, made)]
    world = make_world(each.resource for each in read if each.resource)
    return compile_world(world, Options(mode=mode, extproc_sockets=("/x.sock",)))


def _cluster(found: Compiled) -> Cluster:
    cluster = found.resources[CLUSTERS][NAME]
    assert isinstance(cluster, Cluster)
    return cluster


def _proxy(cluster: Cluster) -> str:
    (locality,) = cluster.load_assignment.endpoints
    known = locality.metadata.typed_filter_metadata
    address = Address()
    if not known["envoy.http11_proxy_transport_socket.proxy_address"].Unpack(address):
        return ""
    return f"{address.socket_address.address} {address.socket_address.port_value}"


def _conditions(found: Compiled, kind: str, name: str) -> dict[str, Any]:
    (status,) = [each.status for each in found.statuses if (each.key.kind, each.key.name) == (kind, name)]
    conditions: Any = status["conditions"]
    return {each["type"]: each for each in conditions}


@pytest.mark.parametrize(
    ("address", "seen"), [("10.0.0.9:3128", "10.0.0.9 3128"), ("[2001:db8::9]:8080", "2001:db8::9 8080")]
)
def test_a_backend_is_reached_through_the_proxy(address: str, seen: str) -> None:
    """Envoy looks up no name then: the proxy is told it, with the port."""
    found = _compiled(address)
    cluster = _cluster(found)
    assert (_proxy(cluster), cluster.type) == (seen, Cluster.STATIC)
    (member,) = cluster.load_assignment.endpoints[0].lb_endpoints
    assert member.endpoint.hostname == "api.test"
    assert member.endpoint.address.socket_address.port_value == 8443
    assert any(
        f"api.test:8443, openai-chat, through the proxy at {address}" in line for line in program_lines(found.program)
    )
    assert not found.diagnostics


def test_an_address_is_told_to_the_proxy_as_it_is() -> None:
    cluster = _cluster(_compiled("10.0.0.9:3128", where={"ip": {"address": "192.168.0.1", "port": 80}}))
    (member,) = cluster.load_assignment.endpoints[0].lb_endpoints
    assert _proxy(cluster) == "10.0.0.9 3128"
    assert member.endpoint.address.socket_address.address == "192.168.0.1"


def test_a_socket_is_of_envoys_own_machine() -> None:
    assert not _proxy(_cluster(_compiled("10.0.0.9:3128", where={"unix": {"path": "/run/llm.sock"}})))


def test_envoy_gateways_own_way_there_is_not_taken() -> None:
    """Its cluster would look the name up."""
    found = _compiled("10.0.0.9:3128", mode=Mode.ENVOY_GATEWAY)
    (backend,) = {each for port in found.program.ports for each in port.listeners[0].hosts[0].rules[0].backends}
    theirs = Cluster(name="httproute/default/r/rule/0", type=Cluster.STRICT_DNS, dns_lookup_family=Cluster.V6_ONLY)
    theirs.transport_socket_matches.add(name="tls")
    theirs.connect_timeout.seconds = 3
    made = Cluster.FromString(ai_cluster(backend, "default/r", theirs.SerializeToString(), Options()))
    assert (_proxy(made), made.type, made.dns_lookup_family) == ("10.0.0.9 3128", Cluster.STATIC, Cluster.AUTO)
    assert made.transport_socket.name == "envoy.transport_sockets.http_11_proxy"
    assert (made.connect_timeout.seconds, len(made.transport_socket_matches)) == (3, 0)


def test_without_a_proxy_envoy_looks_names_up() -> None:
    cluster = _cluster(_compiled(None))
    assert (_proxy(cluster), cluster.type) == ("", Cluster.STRICT_DNS)


def test_the_first_gateway_that_names_one_decides_for_all() -> None:
    found = _compiled(None, "10.0.0.1:1", "10.0.0.2:2")
    assert _proxy(_cluster(found)) == "10.0.0.1 1"
    said = _conditions(found, "AIGatewayRoute", "r")["Programmed"]
    assert said["status"] == "True"
    assert "that of GatewayConfig default/g1 is taken for all" in said["message"]


def test_the_same_one_twice_is_nothing_to_tell() -> None:
    assert not _compiled("10.0.0.1:1", "10.0.0.1:1").diagnostics


BAD = ["proxy.corp:3128", "10.0.0.9", "10.0.0.9:", "10.0.0.9:0", "10.0.0.9:65536", "[10.0.0.9]:80", "2001:db8::9:80"]


@pytest.mark.parametrize("mode", [Mode.FILES, Mode.ENVOY_GATEWAY])
@pytest.mark.parametrize("address", [*BAD, ":3128", "http://10.0.0.9:80"])
def test_nothing_goes_around_a_proxy_that_cannot_be_used(address: str, mode: Mode) -> None:
    found = _compiled(address, mode=mode)
    assert NAME not in found.resources.get(CLUSTERS, {})
    config = _conditions(found, "GatewayConfig", "g0")
    assert config["Accepted"]["status"] == "False"
    assert f"spec.forwardProxy.address: {address} is no IP address with a port" in config["NotAccepted"]["message"]
    programmed = _conditions(found, "AIGatewayRoute", "r")["Programmed"]
    assert programmed["status"] == "False"
    assert "the forward proxy of GatewayConfig default/g0 is not valid" in programmed["message"]
    (given,) = {rule.unavailable for port in found.program.ports for rule in port.listeners[0].hosts[0].rules}
    assert "proxy" in given
