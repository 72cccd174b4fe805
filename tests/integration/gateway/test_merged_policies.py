"""A route's policies with `mergeType`, in front of the real Envoy: who the Gateway's turns away stays away."""

from collections.abc import Iterator
from typing import Any

import pytest
from support.manifests import ENVOY_GATEWAY, Document, api_keys, backend, document, gateway, ref, route, rule, target
from support.providers import OPENAI, Provider
from support.stage import Stage

pytestmark = pytest.mark.envoy

CLIENTS = {"ann": "ann-key", "bob": "bob-key"}


def _own(route_name: str, **spec: Any) -> Document:
    """A policy that lets ann alone ask the route."""
    principal = {"headers": [{"name": "x-client", "values": ["ann"]}]}
    rules = {"rules": [{"action": "Allow", "principal": principal}]}
    found = {**target("AIGatewayRoute", route_name), "authorization": rules, **spec}
    return document(f"{ENVOY_GATEWAY}/v1alpha1", "SecurityPolicy", route_name, found)


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with Stage(openai=Provider(OPENAI, key="k")) as stage:
        stage.run(
            [
                *gateway({"port": stage.port}),
                *backend("openai", stage["openai"].port, key="k"),
                route("shared", [rule("shared", ref("openai"))]),
                route("merged", [rule("merged", ref("openai"))]),
                _own("merged", mergeType="StrategicMerge"),
                *api_keys("clients", target("Gateway", "gateway"), CLIENTS, forwardClientIDHeader="x-client"),
            ]
        )
        yield stage
        stage.check()


@pytest.mark.parametrize(
    ("model", "key", "status"),
    [
        ("merged", "ann-key", 200),
        ("merged", "bob-key", 403),
        ("merged", "no-key", 401),
        ("shared", "bob-key", 200),
        ("shared", "no-key", 401),
    ],
)
def test_both_policies_are_in_force(stage: Stage, model: str, key: str, status: int) -> None:
    body = {"model": model, "messages": [{"role": "user", "content": "Hello!"}]}
    assert stage.post("/v1/chat/completions", body, x_api_key=key, x_client="ann").status_code == status
