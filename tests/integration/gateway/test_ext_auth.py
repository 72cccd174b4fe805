"""Another service says who is let in, in front of the real Envoy."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from support.ext_auth import JSON_ERROR, USER, ExtAuth
from support.manifests import ENVOY_GATEWAY, Document, backend, document, endpoint, gateway, ref, route, rule, target
from support.ports import free_port
from support.providers import OPENAI, Provider
from support.stage import Stage

pytestmark = pytest.mark.envoy

MESSAGES: Any = [{"role": "user", "content": "Hello!"}]


def _asked(name: str, at: Document, kind: str, service: str, *, more: Document | None = None, **spec: Any) -> Document:
    refs = [{"group": ENVOY_GATEWAY, "kind": "Backend", "name": service}]
    policy = {**at, "extAuth": {kind: {"backendRefs": refs, **(more or {})}, **spec}}
    return document(f"{ENVOY_GATEWAY}/v1alpha1", "SecurityPolicy", name, policy)


def _call(stage: Stage, model: str, path: str = "/v1/chat/completions", **headers: Any) -> httpx.Response:
    return stage.post(path, {"model": model, "messages": MESSAGES, "max_tokens": 9}, **headers)


def _services(services: ExtAuth) -> list[Document]:
    return [endpoint("by-http", services.http_port), endpoint("by-grpc", services.grpc_port)]


@pytest.fixture(scope="module")
def services() -> Iterator[ExtAuth]:
    with ExtAuth() as services:
        yield services


@pytest.fixture(scope="module")
def guarded_stage(services: ExtAuth) -> Iterator[Stage]:
    with Stage(openai=Provider(OPENAI, key="k")) as stage:
        added = {"path": "/check", "headersToBackend": ["x-user"]}
        shown = {"headersToExtAuth": ["X-Pass"]}
        policies = {
            "http": _asked("http", target("AIGatewayRoute", "http"), "http", "by-http", more=added, **shown),
            "grpc": _asked("grpc", target("AIGatewayRoute", "grpc"), "grpc", "by-grpc"),
            "body": _asked("body", target("AIGatewayRoute", "body"), "grpc", "by-grpc", bodyToExtAuth=_bytes(5_000)),
            "closed": _asked("closed", target("AIGatewayRoute", "closed"), "grpc", "away", statusOnError=503),
            "open": _asked("open", target("AIGatewayRoute", "open"), "http", "away", failOpen=True),
            "absent": _asked("absent", target("AIGatewayRoute", "absent"), "http", "nobody", failOpen=True),
        }
        documents = [
            *gateway({"port": stage.port}),
            *backend("openai", stage["openai"].port, key="k"),
            *_services(services),
            endpoint("away", free_port()),
            route("free", [rule("free", ref("openai"))]),
            *(route(name, [rule(name, ref("openai"))]) for name in policies),
            *policies.values(),
        ]
        yield stage.run(documents)


def _bytes(count: int) -> Document:
    return {"maxRequestBytes": count}


@pytest.fixture
def stage(guarded_stage: Stage, services: ExtAuth) -> Iterator[Stage]:
    services.asked.clear()
    guarded_stage.forget()
    yield guarded_stage
    guarded_stage.check()


@pytest.mark.parametrize("model", ["http", "grpc"])
def test_the_service_lets_in_and_says_who_it_is(stage: Stage, services: ExtAuth, model: str) -> None:
    assert _call(stage, model, x_pass="yes", x_user="bob", authorization="Bearer client").status_code == 200
    received = stage["openai"].last
    assert [value for name, value in received.headers if name in ("x-user", "x-other")] == [USER]
    (asked,) = services.asked
    assert asked.path == ("/check" if model == "http" else "") + "/v1/chat/completions"
    assert asked.headers["authorization"] == "Bearer client"
    assert ("x-user" in asked.headers) is (model == "grpc"), "by HTTP it is sent what it is to be sent"
    assert not asked.body


def test_the_service_knows_the_model(stage: Stage, services: ExtAuth) -> None:
    assert _call(stage, "grpc", x_pass="yes", x_ai_eg_model="another").status_code == 200
    assert services.asked[0].headers["x-ai-eg-model"] == "grpc"


@pytest.mark.parametrize(("model", "status"), [("http", 401), ("grpc", 403)])
def test_a_refusal_is_said_in_the_clients_dialect(stage: Stage, model: str, status: int) -> None:
    refused = _call(stage, model)
    words = "authorization service of this gateway refused the request."
    assert (refused.status_code, words in refused.json()["error"]["message"]) == (status, True)
    assert ("No pass." in refused.text) is (model == "http")
    refused = _call(stage, model, "/v1/messages", anthropic_version="2023-06-01")
    assert (refused.status_code, refused.json()["type"]) == (status, "error")
    assert not stage["openai"].requests


def test_a_refusal_in_json_is_the_clients_as_it_is(stage: Stage) -> None:
    refused = _call(stage, "http", x_pass="json")
    assert (refused.status_code, refused.json()) == (402, json.loads(JSON_ERROR))


def test_the_service_is_sent_the_body(stage: Stage, services: ExtAuth) -> None:
    assert _call(stage, "body", x_pass="yes").status_code == 200
    assert json.loads(services.asked[0].body)["messages"] == MESSAGES
    assert (
        stage.post("/v1/chat/completions", {"model": "body", "messages": MESSAGES, "user": "u" * 9000}).status_code
        == 413
    )
    assert len(services.asked) == len(stage["openai"].requests) == 1


def test_a_service_that_does_not_answer_lets_nobody_in_if_not_told_to(stage: Stage) -> None:
    refused = _call(stage, "closed", x_pass="yes")
    assert refused.status_code == 503
    assert "authorization service of this gateway cannot be asked" in refused.json()["error"]["message"]
    assert _call(stage, "open").status_code == 200
    assert _call(stage, "absent", x_pass="yes").status_code == 500, "a policy that is not valid"
    assert len(stage["openai"].requests) == 1


def test_other_routes_are_not_asked_about(stage: Stage, services: ExtAuth) -> None:
    assert _call(stage, "free").status_code == 200
    assert not services.asked


@pytest.mark.parametrize("kind", ["http", "grpc"])
def test_a_gateways_service_is_asked_of_everything(services: ExtAuth, kind: str) -> None:
    with Stage(openai=Provider(OPENAI, key="k")) as stage:
        documents = [
            *gateway({"port": stage.port}),
            *backend("openai", stage["openai"].port, key="k"),
            *_services(services),
            route("free", [rule("free", ref("openai"))]),
            _asked("all", target("Gateway", "gateway"), kind, f"by-{kind}", headersToExtAuth=["x-pass"]),
        ]
        stage.run(documents)
        assert _call(stage, "free", x_pass="yes").status_code == 200
        for path in ("/v1/models", "/v1/nowhere"):
            assert stage.http.get(stage.url + path).status_code in (401, 403)
        assert stage.http.get(f"{stage.url}/v1/models", headers={"x-pass": "yes"}).status_code == 200
        stage.check()
