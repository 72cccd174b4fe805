"""Which address a client has, in front of the real Envoy: `clientIPDetection` decides what authorization sees, and no
client can choose what it sees."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from support.manifests import ENVOY_GATEWAY, Document, backend, document, gateway, ref, route, rule, target
from support.ports import LOOPBACK, free_ports
from support.providers import OPENAI, Provider
from support.stage import Stage

pytestmark = pytest.mark.envoy

ALLOWED = "192.0.2.0/24"
INSIDE, OUTSIDE = "192.0.2.7", "198.51.100.9"
DETECTIONS: dict[str, Document] = {
    "connection": {},
    "hop": {"xForwardedFor": {"numTrustedHops": 1}},
    "hops": {"xForwardedFor": {"numTrustedHops": 2}},
    "no-hops": {"xForwardedFor": {"numTrustedHops": 0}},
    "here": {"xForwardedFor": {"trustedCIDRs": ["127.0.0.0/8", "203.0.113.0/24"]}},
    "elsewhere": {"xForwardedFor": {"trustedCIDRs": ["203.0.113.0/24"]}},
    "header": {"customHeader": {"name": "X-Client-Address"}},
    "closed": {"customHeader": {"name": "X-Client-Address", "failClosed": True}},
    "direct": {"directSourceIP": {}},
}
"""Ways to find the address, each at a listener of its name."""


def _policy(kind: str, name: str, at: Document, **spec: Any) -> Document:
    return document(f"{ENVOY_GATEWAY}/v1alpha1", kind, name, {**at, **spec})


def _at(listener: str) -> Document:
    where = target("Gateway", "gateway")
    where["targetRefs"][0]["sectionName"] = listener
    return where


@pytest.fixture(scope="module")
def ports() -> dict[str, int]:
    return dict(zip(DETECTIONS, free_ports(len(DETECTIONS)), strict=True))


@pytest.fixture(scope="module")
def stage(ports: dict[str, int]) -> Iterator[Stage]:
    with Stage(openai=Provider(OPENAI, key="k")) as stage:
        listeners = [{"name": name, "port": port} for name, port in ports.items()]
        rules = [{"action": "Allow", "principal": {"clientCIDRs": [ALLOWED]}}]
        stage.run(
            [
                *gateway(*listeners),
                *backend("openai", stage["openai"].port, key="k"),
                route("models", [rule("gpt", ref("openai"))]),
                _policy("SecurityPolicy", "addresses", target("Gateway", "gateway"), authorization={"rules": rules}),
                *(
                    _policy("ClientTrafficPolicy", name, _at(name), clientIPDetection=detection)
                    for name, detection in DETECTIONS.items()
                    if detection
                ),
            ]
        )
        yield stage


class Asked:
    """Asks at a listener, by its name, and tells the status of the answer."""

    def __init__(self, stage: Stage, ports: dict[str, int]) -> None:
        self.provider = stage["openai"]
        self._ports = ports

    def __call__(self, listener: str, *headers: tuple[str, str]) -> int:
        body = {"model": "gpt", "messages": [{"role": "user", "content": "Hello!"}]}
        url = f"http://{LOOPBACK}:{self._ports[listener]}/v1/chat/completions"
        return httpx.post(url, json=body, headers=list(headers)).status_code


@pytest.fixture
def asked(stage: Stage, ports: dict[str, int]) -> Iterator[Asked]:
    stage.forget()
    yield Asked(stage, ports)
    stage.check()


def _forwarded(*addresses: str) -> list[tuple[str, str]]:
    return [("x-forwarded-for", ", ".join(addresses))] if addresses else []


@pytest.mark.parametrize(
    ("listener", "addresses", "status"),
    [
        ("connection", [INSIDE], 403),
        ("direct", [INSIDE], 403),
        ("no-hops", [INSIDE], 403),
        # what the proxy in front has added counts, and nothing that the client had written before it
        ("hop", [], 403),
        ("hop", [INSIDE], 200),
        ("hop", [INSIDE, OUTSIDE], 403),
        ("hop", [OUTSIDE, INSIDE], 200),
        ("hops", [INSIDE], 403),
        ("hops", [INSIDE, OUTSIDE], 200),
        ("hops", [INSIDE, OUTSIDE, OUTSIDE], 403),
        ("here", [], 403),
        ("here", [INSIDE], 200),
        ("here", [INSIDE, "203.0.113.5"], 200),
        ("here", [INSIDE, OUTSIDE], 403),
        ("here", [INSIDE, OUTSIDE, "203.0.113.5"], 403),
        ("here", ["nonsense"], 403),
        ("here", [INSIDE, "nonsense"], 403),
        # the connection comes from nobody who is believed
        ("elsewhere", [INSIDE], 403),
        ("elsewhere", [INSIDE, "203.0.113.5"], 403),
    ],
)
def test_forwarded_addresses_count_as_far_as_their_proxies_are_trusted(
    asked: Asked, listener: str, addresses: list[str], status: int
) -> None:
    assert asked(listener, *_forwarded(*addresses)) == status


def test_several_headers_are_one_list(asked: Asked) -> None:
    assert asked("hop", *_forwarded(INSIDE), *_forwarded(OUTSIDE)) == 403
    assert asked("here", *_forwarded(INSIDE), *_forwarded(OUTSIDE)) == 403


@pytest.mark.parametrize("listener", ["header", "closed"])
def test_a_header_says_it(asked: Asked, listener: str) -> None:
    assert asked(listener, ("x-client-address", INSIDE)) == 200
    assert asked(listener, ("x-client-address", OUTSIDE)) == 403
    assert asked(listener, ("x-client-address", "nonsense")) == 403
    assert asked(listener, *_forwarded(INSIDE)) == 403


def test_no_provider_is_told_the_address(asked: Asked) -> None:
    assert asked("header", ("x-client-address", INSIDE), *_forwarded(INSIDE)) == 200
    for listener in ("here", "hop"):
        assert asked(listener, *_forwarded(INSIDE)) == 200
    names = {name for request in asked.provider.requests for name, _ in request.headers}
    assert names
    assert not {name for name in names if name.startswith(("x-forwarded", "x-client-address"))}


@pytest.mark.parametrize("listener", ["here", "header", "hop"])
def test_nobody_tells_envoy_what_to_do(asked: Asked, listener: str) -> None:
    """With an address of a private network, which Envoy would take for one of its own."""
    said = [("x-envoy-upstream-rq-timeout-ms", "1"), ("x-envoy-decorator-operation", "x"), ("x-envoy-internal", "true")]
    found = asked(listener, ("x-client-address", INSIDE), *_forwarded(INSIDE), *said)
    assert found == 200
