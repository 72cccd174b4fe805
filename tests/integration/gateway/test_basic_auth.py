"""Users and passwords in front of the real Envoy."""

import base64
import hashlib
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from support.manifests import (
    ENVOY_GATEWAY,
    GATEWAY_API,
    Document,
    backend,
    document,
    endpoint,
    gateway,
    limits,
    ref,
    route,
    rule,
    secret,
    target,
)
from support.providers import OPENAI, Provider
from support.stage import Stage

pytestmark = pytest.mark.envoy

MESSAGES: Any = [{"role": "user", "content": "Hello!"}]
ONE_A_USER: Any = {
    "clientSelectors": [{"headers": [{"name": "x-user", "type": "Distinct"}]}],
    "limit": {"requests": 1, "unit": "Day"},
}


def _line(user: str, password: str) -> str:
    return f"{user}:{{SHA}}{base64.b64encode(hashlib.sha1(password.encode()).digest()).decode()}"


def _users(name: str, at: Document, *lines: str, **more: Any) -> list[Document]:
    policy = {**at, "basicAuth": {"users": {"name": name}, **more}}
    return [
        secret(name, **{".htpasswd": "\r\n".join(lines)}),
        document(f"{ENVOY_GATEWAY}/v1alpha1", "SecurityPolicy", name, policy),
    ]


def _call(stage: Stage, model: str, user: str = "", password: str = "", **headers: str) -> httpx.Response:
    shown = base64.b64encode(f"{user}:{password}".encode()).decode()
    sent: Any = {"authorization": f"Basic {shown}", **headers} if user else headers
    return stage.post("/v1/chat/completions", {"model": model, "messages": MESSAGES, "max_tokens": 9}, **sent)


def _plain(name: str, path: str) -> Document:
    served = {
        "matches": [{"path": {"value": path}}],
        "backendRefs": [{"group": ENVOY_GATEWAY, "kind": "Backend", "name": "plain"}],
    }
    return document(f"{GATEWAY_API}/v1", "HTTPRoute", name, {"parentRefs": [{"name": "gateway"}], "rules": [served]})


@pytest.fixture(scope="module", params=["listener", "route"])
def guarded_stage(request: pytest.FixtureRequest) -> Iterator[Stage]:
    """One policy for all, before bodies are read; and the same where a route has another."""
    with Stage(openai=Provider(OPENAI, key="k")) as stage:
        documents = [
            *gateway({"port": stage.port}),
            *backend("openai", stage["openai"].port, key="k"),
            endpoint("plain", stage["openai"].port),
            route("models", [rule("gpt", ref("openai"))]),
            route("limited", [rule("limited", ref("openai"))]),
            limits("limited", "limited", ONE_A_USER),
            _plain("plain", "/plain"),
            *_users(
                "users",
                target("Gateway", "gateway"),
                _line("ann", "secret"),
                "",
                _line("bob", "pass:word"),
                forwardUsernameHeader="x-user",
            ),
        ]
        if request.param == "route":
            documents.append(route("own", [rule("own", ref("openai"))]))
            documents += _users("own", target("AIGatewayRoute", "own"), _line("carol", "other"))
        yield stage.run(documents)


@pytest.fixture
def stage(guarded_stage: Stage) -> Iterator[Stage]:
    guarded_stage.forget()
    yield guarded_stage
    guarded_stage.check()


def test_known_users_are_let_in_and_their_passwords_go_no_further(stage: Stage) -> None:
    assert _call(stage, "gpt", "ann", "secret").status_code == 200
    assert stage["openai"].last.header("authorization") == "Bearer k"
    assert stage["openai"].last.header("x-user") == "ann"
    assert _call(stage, "gpt", "bob", "pass:word").status_code == 200


@pytest.mark.parametrize(
    ("user", "password"), [("", ""), ("ann", "wrong"), ("ann", ""), ("nobody", "secret"), ("bob", "pass")]
)
def test_others_are_told_what_to_send(stage: Stage, user: str, password: str) -> None:
    refused = _call(stage, "gpt", user, password)
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"].startswith("Basic ")
    error = refused.json()["error"]
    assert error["type"] == "authentication_error"
    assert "Authorization: Basic" in error["message"]
    assert not stage["openai"].requests


def test_another_scheme_is_refused(stage: Stage) -> None:
    for shown in ("Bearer secret", "Basic !", "Basic"):
        assert _call(stage, "gpt", authorization=shown).status_code == 401


def test_plain_backends_are_not_told_the_password_either(stage: Stage) -> None:
    stage.http.get(f"{stage.url}/plain", auth=("ann", "secret"), headers={"x-user": "bob"})
    received = stage["openai"].last
    received.problems.clear()  # it is no path of a provider's
    assert not received.header("authorization")
    assert [value for name, value in received.headers if name == "x-user"] == ["ann"]


def test_users_are_limited_each_alone(stage: Stage) -> None:
    statuses = [_call(stage, "limited", "ann", "secret", x_user="bob").status_code for _ in range(2)]
    assert statuses == [200, 429]
    assert _call(stage, "limited", "bob", "pass:word").status_code == 200


@pytest.mark.parametrize("guarded_stage", ["route"], indirect=True)
def test_a_routes_own_users_are_others(stage: Stage) -> None:
    assert _call(stage, "own", "ann", "secret").status_code == 401
    assert _call(stage, "own", "carol", "other").status_code == 200
    assert _call(stage, "gpt", "carol", "other").status_code == 401


@pytest.mark.parametrize("line", ["ann:$apr1$salt$hash", "ann:{SHA}c2hvcnQ=", "ann", _line("", "secret")])
def test_users_that_cannot_be_read_close_what_they_guard(line: str) -> None:
    with Stage(openai=Provider(OPENAI, key="k")) as stage:
        documents = [
            *gateway({"port": stage.port}),
            *backend("openai", stage["openai"].port, key="k"),
            route("models", [rule("gpt", ref("openai"))]),
            *_users("users", target("Gateway", "gateway"), line),
        ]
        stage.run(documents)
        stage.gateway.wait_output(r"\.htpasswd")
        assert _call(stage, "gpt", "ann", "secret").status_code == 500
