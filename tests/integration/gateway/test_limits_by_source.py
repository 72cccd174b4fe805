"""Limits by the client's address, at a listener of IPv6."""

import socket
from collections.abc import Iterator

import httpx
import pytest
from support import manifests
from support.manifests import backend, limits, ref, route, rule
from support.providers import OPENAI, Provider
from support.stage import Stage

pytestmark = pytest.mark.envoy

ADDRESS = "::1"
RANGES = {
    "alone": "::1/128",
    "all": "::/0",
    "near": "::/96",
    "elsewhere": "2001:db8::/32",
    "local": "fc00::/7",
    "mapped": "::ffff:0:0/96",
    "old": "127.0.0.0/8",
}
INSIDE = {"alone", "all", "near"}


def _listens_on(address: str) -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind((address, 0))
    except OSError:
        return False
    return True


def _policies() -> Iterator[manifests.Document]:
    for name, value in RANGES.items():
        for kind in ("Exact", "Distinct"):
            model = f"{name}-{kind.lower()}"
            yield route(model, [rule(model, ref("openai"))])
            selector = {"sourceCIDR": {"value": value, "type": kind}}
            yield limits(model, model, {"clientSelectors": [selector], "limit": {"requests": 2, "unit": "Day"}})


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    if not _listens_on(ADDRESS):
        pytest.skip("no IPv6 loopback: enable it (sysctl net.ipv6.conf.lo.disable_ipv6=0)")
    with Stage(openai=Provider(OPENAI, key="k")) as stage:
        documents = [*manifests.gateway({"port": stage.port}), *backend("openai", stage["openai"].port, key="k")]
        yield stage.run([*documents, *_policies()], "--listen-address", ADDRESS)


@pytest.mark.parametrize("kind", ["exact", "distinct"])
@pytest.mark.parametrize("name", RANGES)
def test_a_client_of_ipv6_is_counted_in_the_ranges_that_it_is_in(stage: Stage, name: str, kind: str) -> None:
    body = {"model": f"{name}-{kind}", "messages": [{"role": "user", "content": "Hello!"}]}
    url = f"http://[{ADDRESS}]:{stage.port}/v1/chat/completions"
    with httpx.Client(trust_env=False, timeout=20) as client:
        # What a client says of where it comes from counts for nothing.
        statuses = [
            client.post(url, json=body, headers={"x-forwarded-for": f"2001:db8::{number}"}).status_code
            for number in range(4)
        ]
    assert statuses == ([200, 200, 429, 429] if name in INSIDE else [200] * 4)
