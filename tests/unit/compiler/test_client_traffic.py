"""ClientTrafficPolicies: what they come to on a listener, and that what is not valid lets nobody in."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from headgate.compiler.clients import NO_POLICY, ClientAddress, ClientTraffic
from headgate.compiler.compile import Compiled, compile_world
from headgate.compiler.options import Options
from headgate.compiler.reading import read_object
from headgate.compiler.resolve.client_traffic import SAID
from headgate.compiler.resources.metadata import NOWHERE
from headgate.compiler.world import make_world
from support import manifests
from support.manifests import ENVOY_GATEWAY, Document, backend, document, ref, route, rule, target
from support.tls import server_tls

TWO = ({"name": "one", "port": 80}, {"name": "two", "port": 80, "hostname": "two.test"})
TRUST: Document = {"caCertificateRefs": [{"kind": "ConfigMap", "name": "ca"}]}
HOP: Document = {"clientIPDetection": {"xForwardedFor": {"numTrustedHops": 1}}}


def policy(name: str = "p", section: str = "", **spec: Any) -> Document:
    where = target("Gateway", "gateway")
    if section:
        where["targetRefs"][0]["sectionName"] = section
    return document(f"{ENVOY_GATEWAY}/v1alpha1", "ClientTrafficPolicy", name, {**where, **spec})


def compiled(*policies: Document, listeners: tuple[Document, ...] = ({"name": "one", "port": 80},)) -> Compiled:
    objects = (*manifests.gateway(*listeners), *backend("b", 1, key="k"), route("r", [rule("m", ref("b"))]), *policies)
    read = [read_object(each, NOWHERE) for each in objects]
    world = make_world(
        (each.resource for each in read if each.resource), (each.rejected for each in read if each.rejected)
    )
    return compile_world(world, Options())


def closed(found: Compiled) -> bool:
    rules = [each for port in found.program.ports for host in port.listeners[0].hosts for each in host.rules]
    assert rules
    return all(each.direct is not None for each in rules)


def messages(found: Compiled) -> list[str]:
    return [each.message for each in found.diagnostics]


def test_listeners_of_a_plain_port_are_received_alike_or_as_without_a_policy() -> None:
    found = compiled(policy(section="one", **HOP), listeners=TWO)
    (listener,) = found.program.ports[0].listeners
    assert listener.traffic == NO_POLICY
    shut = {host.hostname: host.rules[0].direct is not None for host in listener.hosts}
    assert shut == {"*": True, "two.test": False}, "clients of the first would be its proxies"
    (said,) = messages(found)
    assert said == (
        "what it says of clients' addresses is not in force on port 80, which listeners share that do not agree in it: "
        "default/gateway/one, default/gateway/two; default/gateway/one serves nothing, for its clients would have the "
        "addresses of its proxies"
    )


def test_what_listeners_of_a_plain_port_agree_in_is_in_force_and_the_rest_is_not() -> None:
    one = policy("a", "one", **HOP, timeout={"http": {"idleTimeout": "7s"}})
    found = compiled(one, policy("b", "two", **HOP), listeners=TWO)
    (listener,) = found.program.ports[0].listeners
    assert (listener.traffic.address, listener.traffic.idle_seconds) == (ClientAddress(trusted_hops=1), None)
    assert not closed(found)
    assert {each.partition(" is not")[0] for each in messages(found)} == {"what it says of idle connections"}


def test_all_that_a_policy_says_can_be_disputed() -> None:
    assert set(SAID) == {each.name for each in fields(ClientTraffic)}


@pytest.mark.parametrize("policies", [[policy(**HOP)], [policy("a", "one", **HOP), policy("b", "two", **HOP)]])
def test_listeners_of_a_plain_port_that_agree_are_received_so(policies: list[Document]) -> None:
    found = compiled(*policies, listeners=TWO)
    (listener,) = found.program.ports[0].listeners
    assert listener.traffic.address == ClientAddress(trusted_hops=1)
    assert messages(found) == []


@pytest.mark.parametrize(
    "spec",
    [
        {"clientIPDetection": {}},
        {"clientIPDetection": {"xForwardedFor": {"numTrustedHops": 1, "trustedCIDRs": ["10.0.0.0/8"]}}},
        {"clientIPDetection": {"xForwardedFor": {"trustedCIDRs": ["10.0.0.0"]}}},
        {"clientIPDetection": {"xForwardedFor": {"numTrustedHops": 1}, "customHeader": {"name": "x-a"}}},
        {"tls": {"clientValidation": {}}},
        {"tls": {"clientValidation": {"mode": "RequireAny"}}},
        {"tls": {"clientValidation": {**TRUST, "mode": "RequireAny", "allowExpiredCertificate": True}}},
        {"tls": {"minVersion": "1.3", "maxVersion": "1.2"}},
        {"tls": {"ciphers": ["RC4-MD5"]}},
        {"tls": {"clientValidation": {**TRUST, "certificateHashes": ["zz" * 32]}}},
        {"tls": {"clientValidation": {**TRUST, "spkiHashes": ["!" * 43 + "="]}}},
        {"http2": {"connectionKeepalive": {"idleInterval": "30s"}}},
        {"http2": {"connectionKeepalive": {"timeout": "0s"}}},
        {"connection": {"connectionLimit": {"value": 2**64}}},
    ],
)
def test_a_policy_that_is_not_valid_lets_nobody_in(spec: Document) -> None:
    assert closed(compiled(policy(**spec)))


@pytest.mark.parametrize("text", ["", "-----BEGIN CERTIFICATE-----", "-----BEGIN PRIVATE KEY-----\nAAAA"])
def test_what_is_no_authority_lets_nobody_in(text: str) -> None:
    """Envoy would refuse the whole port."""
    found = compiled(policy(tls={"clientValidation": TRUST}), document("v1", "ConfigMap", "ca", data={"ca.crt": text}))
    assert closed(found)
    assert any("no ConfigMap default/ca with certificates" in each for each in messages(found))


def test_authorities_of_another_namespace_have_to_be_granted() -> None:
    trusted = {"caCertificateRefs": [{"kind": "ConfigMap", "name": "ca", "namespace": "team"}]}
    found = compiled(policy(tls={"clientValidation": trusted}))
    assert closed(found)
    assert any("may not refer to ConfigMap team/ca" in each for each in messages(found))


def test_a_plain_listener_says_that_it_asks_for_no_certificate(tmp_path: Path) -> None:
    _, certificate = server_tls(tmp_path, "ca.test")
    authority = document("v1", "ConfigMap", "ca", data={"ca.crt": certificate})
    found = compiled(policy(tls={"clientValidation": TRUST}), authority)
    assert not closed(found)
    assert any("speaks no TLS" in each for each in messages(found))


def test_a_listener_that_its_own_policy_closes_closes_no_other() -> None:
    """It goes along with what the others are received as: nobody is served there."""
    absent = {"tls": {"clientValidation": {"caCertificateRefs": [{"kind": "Secret", "name": "absent"}]}}}
    found = compiled(policy("all", **HOP), policy("bad", "two", **absent), listeners=TWO)
    (listener,) = found.program.ports[0].listeners
    assert {host.hostname: host.rules[0].direct is not None for host in listener.hosts} == {
        "*": False,
        "two.test": True,
    }
    assert listener.traffic.address != ClientAddress()
    assert not [each for each in messages(found) if "not in force on port" in each]
