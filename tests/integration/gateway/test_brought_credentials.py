"""Credentials that requests bring along for the provider (`credentialOverride`)."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from support import manifests
from support.manifests import AI, Document, backend, document, ref, route, rule, secret, target
from support.processes import cpu_seconds
from support.providers import ANTHROPIC, OPENAI, Failure, Provider
from support.stage import Stage

HEADER: dict[str, Any] = {"fromRequestHeaders": {}}
METADATA: dict[str, Any] = {
    "fromDynamicMetadata": {"namespace": "headgate", "key": "model", "fallbackToConfigured": False}
}
REQUIRED: dict[str, Any] = {"fromRequestHeaders": {"fallbackToConfigured": False}}
NAMED: dict[str, Any] = {"fromRequestHeaders": {"header": "X-Api-Key", "fallbackToConfigured": False}}


def brought(name: str, port: int, override: dict[str, Any], schema: str = "OpenAI") -> list[Document]:
    """A backend whose credential may come with the request; its own is `sk-<name>`."""
    kind, field = ("APIKey", "apiKey") if schema == "OpenAI" else ("AnthropicAPIKey", "anthropicAPIKey")
    spec = {
        **target("AIServiceBackend", name),
        "type": kind,
        field: {"secretRef": {"name": name}},
        "credentialOverride": override,
    }
    policy = document(f"{AI}/v1beta1", "BackendSecurityPolicy", name, spec)
    return [*backend(name, port, schema), secret(name, apiKey=f"sk-{name}"), policy]


@pytest.fixture(scope="module")
def running() -> Iterator[Stage]:
    providers = {
        "own": Provider(OPENAI, key="sk-own"),
        "theirs": Provider(OPENAI, key="sk-theirs"),
        "claude": Provider(ANTHROPIC, key="sk-their-claude"),
        "metadata": Provider(OPENAI, key="sk-metadata"),
    }
    with Stage(**providers) as stage:
        own, theirs, claude = (stage[name].port for name in ("own", "theirs", "claude"))
        stage.run(
            [
                *manifests.gateway({"port": stage.port}),
                *backend("plain", own, key="sk-own"),
                *brought("own", own, HEADER),
                *brought("theirs", theirs, HEADER),
                *brought("required", theirs, REQUIRED),
                *brought("named", theirs, NAMED),
                *brought("metadata", stage["metadata"].port, METADATA),
                *brought("claude", claude, REQUIRED, "Anthropic"),
                route(
                    "models",
                    [
                        rule("plain", ref("plain")),
                        rule("own", ref("own")),
                        rule("theirs", ref("theirs")),
                        rule("required", ref("required")),
                        rule("named", ref("named")),
                        rule("claude", ref("claude")),
                        rule("sk-metadata", ref("metadata")),
                        rule("theirs-then-own", ref("theirs"), ref("plain", priority=1)),
                        rule("theirs-then-claude", ref("theirs"), ref("claude", priority=1)),
                        rule("claude-then-theirs", ref("claude"), ref("theirs", priority=1)),
                    ],
                ),
            ]
        )
        yield stage


@pytest.fixture
def stage(running: Stage) -> Iterator[Stage]:
    running.forget()
    yield running
    running.check()


def chat(stage: Stage, model: str, **headers: str) -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": "Hi"}]}
    return stage.post("/v1/chat/completions", body, content=None, **headers)


def no_trace_of(stage: Stage, *texts: str) -> None:
    for provider in stage.providers.values():
        for received in provider.requests:
            for name, value in received.headers:
                assert not name.startswith("x-aigw"), name
                assert not any(text in value for text in texts)


def test_the_request_s_key_is_used(stage: Stage) -> None:
    assert chat(stage, "theirs", x_aigw_api_key="sk-theirs").status_code == 200
    assert stage["theirs"].last.header("authorization") == "Bearer sk-theirs"
    no_trace_of(stage)


def test_without_one_the_configured_key_is_used(stage: Stage) -> None:
    assert chat(stage, "own").status_code == 200
    assert stage["own"].last.header("authorization") == "Bearer sk-own"


def test_another_header_may_be_named(stage: Stage) -> None:
    assert chat(stage, "named", x_api_key="sk-theirs").status_code == 200
    assert stage["theirs"].last.header("authorization") == "Bearer sk-theirs"


def test_spaces_in_a_key_take_no_time(stage: Stage) -> None:
    """10 seconds of a worker of Envoy's, once; a provider refuses so long a header."""
    (envoy,) = stage.gateway.processes()["envoy"]
    before = cpu_seconds(envoy)
    assert chat(stage, "theirs", x_aigw_api_key=f"sk{' ' * 50_000}theirs").status_code == 400
    assert cpu_seconds(envoy) - before < 1.0
    stage.forget()


def test_a_missing_key_is_answered_in_the_client_s_dialect(stage: Stage) -> None:
    answer = chat(stage, "required")
    assert answer.status_code == 401
    assert "x-aigw-api-key" in answer.json()["error"]["message"]
    answer = stage.messages("claude")
    assert answer.status_code == 401
    assert answer.json()["error"]["type"] == "authentication_error"
    assert "x-aigw-anthropic-api-key" in answer.json()["error"]["message"]
    assert not stage["claude"].requests


def test_each_attempt_gets_its_own_backend_s_credential(stage: Stage) -> None:
    """The first provider's key, brought by the client, does not reach the second provider."""
    stage["theirs"].answer(Failure(503))
    assert chat(stage, "theirs-then-own", x_aigw_api_key="sk-theirs").status_code == 200
    assert stage["theirs"].last.header("authorization") == "Bearer sk-theirs"
    assert stage["own"].last.header("authorization") == "Bearer sk-own"
    no_trace_of(stage)


def test_both_attempts_may_take_theirs_from_the_request(stage: Stage) -> None:
    stage["theirs"].answer(Failure(503))
    keys = {"x_aigw_api_key": "sk-theirs", "x_aigw_anthropic_api_key": "sk-their-claude"}
    assert chat(stage, "theirs-then-claude", **keys).status_code == 200
    assert stage["claude"].last.header("x-api-key") == "sk-their-claude"
    assert stage["claude"].last.header("authorization") is None
    stage["claude"].answer(Failure(503))
    stage["theirs"].forget()
    assert chat(stage, "claude-then-theirs", **keys).status_code == 200
    assert stage["theirs"].last.header("authorization") == "Bearer sk-theirs"
    assert stage["theirs"].last.header("x-api-key") is None


def test_a_missing_key_is_not_failed_over(stage: Stage) -> None:
    """The client forgot something: it is told, rather than served by whatever comes next."""
    assert chat(stage, "claude-then-theirs", x_aigw_api_key="sk-theirs").status_code == 401
    assert not stage["theirs"].requests


def test_a_backend_that_takes_none_gets_none(stage: Stage) -> None:
    assert chat(stage, "plain", x_aigw_api_key="sk-theirs", x_aigw_aws_access_key_id="AKIA").status_code == 200
    assert stage["own"].last.header("authorization") == "Bearer sk-own"
    no_trace_of(stage, "sk-theirs", "AKIA")


def test_an_empty_key_is_no_key(stage: Stage) -> None:
    assert chat(stage, "own", x_aigw_api_key="").status_code == 200
    assert stage["own"].last.header("authorization") == "Bearer sk-own"


def test_metadata_may_hold_the_key(stage: Stage) -> None:
    """As a user's own filter would leave it there; here it is what the gateway itself knows of the request."""
    assert chat(stage, "sk-metadata").status_code == 200
    assert stage["metadata"].last.header("authorization") == "Bearer sk-metadata"
