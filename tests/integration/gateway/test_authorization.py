"""Authorization in front of the real Envoy: which of the clients that were let in may ask for what."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.jwt import Issuer
from support.manifests import (
    ENVOY_GATEWAY,
    GATEWAY_API,
    Document,
    api_keys,
    backend,
    document,
    endpoint,
    gateway,
    ref,
    route,
    rule,
    target,
)
from support.ports import LOOPBACK
from support.providers import ANTHROPIC, OPENAI, Provider
from support.stage import Stage

pytestmark = pytest.mark.envoy

ISSUER = "https://issuer.test"
CLIENTS = {"ann": "ann-key", "bob": "bob-key"}
MESSAGES: Any = [{"role": "user", "content": "Hello!"}]


def _rule(action: str, operation: Document | None = None, **principal: Any) -> Document:
    return {"action": action, "principal": principal, **({"operation": operation} if operation else {})}


def _headers(**values: str) -> list[Document]:
    """Headers, each with its values, of which `|` stands between two; `_` in names is `-`."""
    return [{"name": name.replace("_", "-"), "values": found.split("|")} for name, found in values.items()]


def _policy(name: str, at: Document, **spec: Any) -> Document:
    return document(f"{ENVOY_GATEWAY}/v1alpha1", "SecurityPolicy", name, {**at, **spec})


def _keyed(name: str, at: Document, clients: Document, *rules: Document, **more: Any) -> list[Document]:
    """A policy that knows clients by their keys and tells them apart by `x-client`."""
    found = api_keys(name, at, clients, forwardClientIDHeader="x-client")
    found[-1]["spec"]["authorization"] = {"rules": list(rules), **more}
    return found


def _call(
    stage: Stage, model: str, key: str = "", path: str = "/v1/chat/completions", **headers: str
) -> httpx.Response:
    sent: Any = {"x-api-key": key, **headers} if key else headers
    return stage.post(path, {"model": model, "messages": MESSAGES, "max_tokens": 9}, **sent)


def _backends(stage: Stage) -> list[Document]:
    return [
        *backend("openai", stage["openai"].port, key="k"),
        *backend("claude", stage["anthropic"].port, "Anthropic", key="k"),
        route("models", [rule("gpt", ref("openai")), rule("claude", ref("claude"))]),
    ]


# --- models by client


@pytest.fixture(scope="module")
def by_client_stage() -> Iterator[Stage]:
    with Stage(openai=Provider(OPENAI, key="k"), anthropic=Provider(ANTHROPIC, key="k")) as stage:
        listing = {"methods": ["GET"], "path": {"value": "/v1/models"}}
        rules = [
            _rule("Allow", headers=_headers(x_client="ann", x_ai_eg_model="gpt|claude")),
            _rule("Allow", headers=_headers(x_client="bob", x_ai_eg_model="gpt")),
            _rule("Allow", listing, clientCIDRs=["0.0.0.0/0", "::/0"]),
        ]
        documents = [
            *gateway({"port": stage.port}),
            *_backends(stage),
            *_keyed("clients", target("Gateway", "gateway"), CLIENTS, *rules),
        ]
        yield stage.run(documents)


@pytest.fixture
def by_client(by_client_stage: Stage) -> Iterator[Stage]:
    by_client_stage.forget()
    yield by_client_stage
    by_client_stage.check()


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
def test_a_client_gets_the_models_that_it_may_use(by_client: Stage, path: str) -> None:
    found = [_call(by_client, model, CLIENTS[who], path).status_code for who in CLIENTS for model in ("gpt", "claude")]
    assert found == [200, 200, 200, 403]


def test_a_refusal_is_said_in_the_clients_dialect(by_client: Stage) -> None:
    refused = _call(by_client, "claude", "bob-key")
    assert refused.json()["error"]["type"] == "permission_error"
    assert "may not use the model 'claude' at POST /v1/chat/completions" in refused.json()["error"]["message"]
    refused = _call(by_client, "claude", "bob-key", "/v1/messages", anthropic_version="2023-06-01")
    assert (refused.status_code, refused.json()["type"]) == (403, "error")
    assert refused.json()["error"]["type"] == "permission_error"
    refused = by_client.post("/v1beta/models/claude:generateContent", {"contents": []}, x_api_key="bob-key")
    assert (refused.status_code, refused.json()["error"]["status"]) == (403, "PERMISSION_DENIED")
    assert not by_client["anthropic"].requests


def test_nobody_can_say_who_he_is_or_what_he_asks_for_in_a_header(by_client: Stage) -> None:
    assert _call(by_client, "claude", "bob-key", x_client="ann").status_code == 403
    assert _call(by_client, "claude", "bob-key", x_ai_eg_model="gpt").status_code == 403
    assert _call(by_client, "claude", x_client="ann").status_code == 401
    assert not by_client["anthropic"].requests


def test_what_is_no_model_needs_a_rule_of_its_own(by_client: Stage) -> None:
    asked = {"x-api-key": "bob-key"}
    assert by_client.http.get(f"{by_client.url}/v1/models", headers=asked).status_code == 200
    refused = by_client.http.get(f"{by_client.url}/v1/files", headers=asked)
    assert refused.status_code == 403
    assert "may not ask for GET /v1/files" in refused.json()["error"]["message"]


# --- without a model


def test_who_may_ask_for_nothing_is_answered_before_its_body_is_read() -> None:
    with Stage(openai=Provider(OPENAI, key="k"), anthropic=Provider(ANTHROPIC, key="k")) as stage:
        rules = [_rule("Deny", clientCIDRs=["127.0.0.0/8"]), _rule("Allow", clientCIDRs=["0.0.0.0/0"])]
        policy = _policy("addresses", target("Gateway", "gateway"), authorization={"rules": rules})
        stage.run([*gateway({"port": stage.port}), *_backends(stage), policy])
        head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-length: 50000000\r\n\r\n"
        with socket.create_connection((LOOPBACK, stage.port), timeout=10) as connection:
            connection.sendall(head)
            assert connection.recv(1000).startswith(b"HTTP/1.1 403 ")
        assert stage.http.get(f"{stage.url}/v1/models").status_code == 403
        stage.check()


def test_a_rule_that_cannot_be_asked_closes_what_it_guards() -> None:
    with Stage(openai=Provider(OPENAI, key="k"), anthropic=Provider(ANTHROPIC, key="k")) as stage:
        rules = [_rule("Deny", clientCIDRs=["127.0.0.x/8"])]
        policy = _policy("p", target("Gateway", "gateway"), authorization={"rules": rules, "defaultAction": "Allow"})
        stage.run([*gateway({"port": stage.port}), *_backends(stage), policy])
        stage.gateway.wait_output("127.0.0.x/8 is no address range")
        refused = _call(stage, "gpt")
        assert (refused.status_code, "policy is not valid" in refused.text) == (500, True)


# --- routes


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Issuer:
    directory: Path = tmp_path_factory.mktemp("issuer")
    return Issuer(directory, "issuer")


@pytest.fixture(scope="module")
def by_route_stage(issuer: Issuer) -> Iterator[Stage]:
    with Stage(openai=Provider(OPENAI, key="k")) as stage:
        jwt = {"providers": [{"name": "i", "issuer": ISSUER, "localJWKS": {"type": "Inline", "inline": issuer.jwks}}]}
        wanted: dict[str, Document] = {
            "scoped": {"scopes": ["models.read", "chat"]},
            "claimed": {"claims": [{"name": "user.team", "values": ["red", "blue"]}]},
            "listed": {"claims": [{"name": "groups", "valueType": "StringArray", "values": ["staff"]}]},
        }
        documents = [
            *gateway({"port": stage.port}),
            *backend("openai", stage["openai"].port, key="k"),
            endpoint("plain", stage["openai"].port),
            *api_keys("clients", target("Gateway", "gateway"), CLIENTS),
            route("guarded", [rule("guarded", ref("openai"))]),
            route("own", [rule("own", ref("openai"))]),
            *api_keys("own", target("AIGatewayRoute", "own"), {"carol": "carol-key"}),
            route("shut", [rule("shut", ref("openai"))]),
            _policy("shut", target("AIGatewayRoute", "shut"), authorization={}),
        ]
        for name, principal in wanted.items():
            rules = [_rule("Allow", jwt={"provider": "i", **principal})]
            documents.append(route(name, [rule(name, ref("openai"))]))
            at = target("AIGatewayRoute", name)
            documents.append(_policy(name, at, jwt=jwt, authorization={"rules": rules}))
        denied = _rule("Deny", {"path": {"type": "Exact", "value": "/plain/secret"}}, clientCIDRs=["127.0.0.1/32"])
        read = {"methods": ["GET", "HEAD"], "path": {"value": "/plain/odd", "invert": True}}
        rules = [denied, _rule("Allow", read, clientCIDRs=["127.0.0.1/32"])]
        plain = [{"group": ENVOY_GATEWAY, "kind": "Backend", "name": "plain"}]
        served = {"matches": [{"path": {"value": "/plain"}}], "backendRefs": plain}
        spec = {"parentRefs": [{"name": "gateway"}], "rules": [served]}
        documents.append(document(f"{GATEWAY_API}/v1", "HTTPRoute", "plain", spec))
        documents.append(_policy("plain", target("HTTPRoute", "plain"), authorization={"rules": rules}))
        yield stage.run(documents)


@pytest.fixture
def by_route(by_route_stage: Stage) -> Iterator[Stage]:
    by_route_stage.forget()
    yield by_route_stage
    by_route_stage.check()


CLAIMS: dict[str, tuple[str, dict[str, Any], int]] = {
    "both scopes": ("scoped", {"scope": "chat models.read admin"}, 200),
    "both scopes, by Microsoft's name": ("scoped", {"scp": "models.read chat"}, 200),
    "one scope": ("scoped", {"scope": "chat"}, 403),
    "a scope that only begins so": ("scoped", {"scope": "chat models.readers"}, 403),
    "no scope": ("scoped", {}, 403),
    "one of the values": ("claimed", {"user": {"team": "blue"}}, 200),
    "another value": ("claimed", {"user": {"team": "green"}}, 403),
    "the value elsewhere": ("claimed", {"team": "blue"}, 403),
    "a list with the value": ("listed", {"groups": ["others", "staff"]}, 200),
    "a list without it": ("listed", {"groups": ["others"]}, 403),
    "a text in place of the list": ("listed", {"groups": "staff"}, 403),
}


@pytest.mark.parametrize("name", CLAIMS)
def test_a_token_says_what_its_client_may(by_route: Stage, issuer: Issuer, name: str) -> None:
    model, claims, status = CLAIMS[name]
    token = issuer.token(iss=ISSUER, sub="ann", **claims)
    assert _call(by_route, model, authorization=f"Bearer {token}").status_code == status
    assert len(by_route["openai"].requests) == (status == 200)


def test_a_routes_own_policy_replaces_its_gateways(by_route: Stage) -> None:
    statuses = {
        (model, key): _call(by_route, model, key).status_code
        for model in ("guarded", "own")
        for key in ("ann-key", "carol-key")
    }
    assert statuses == {
        ("guarded", "ann-key"): 200,
        ("guarded", "carol-key"): 401,
        ("own", "ann-key"): 401,
        ("own", "carol-key"): 200,
    }


def test_without_rules_nobody_is_let_in(by_route: Stage) -> None:
    assert _call(by_route, "shut", "ann-key").status_code == 403


def test_plain_routes_are_authorized_by_method_and_path(by_route: Stage) -> None:
    asked = (("GET", "/plain/a?b=c"), ("POST", "/plain/a"), ("GET", "/plain/secret?b"), ("GET", "/plain/odd/a"))
    found = [by_route.http.request(method, by_route.url + path).status_code for method, path in asked]
    assert found[1:] == [403, 403, 403]
    assert [request.path for request in by_route["openai"].requests] == ["/plain/a"]
    by_route["openai"].last.problems.clear()  # it is no path of a provider's
