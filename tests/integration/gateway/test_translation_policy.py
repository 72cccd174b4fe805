"""TranslationPolicy in front of the real Envoy: who translates, and what becomes of what cannot be said."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from support.manifests import Document, backend, costs, document, gateway, ref, route, rule, target, text
from support.providers import ANTHROPIC, OPENAI, Answer, Failure, Provider, Usage
from support.stage import Stage
from support.waiting import wait_until

pytestmark = pytest.mark.envoy

SCHEMA: Any = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
FORMAT: Any = {"type": "json_schema", "json_schema": {"name": "city", "schema": SCHEMA}}


NEW_MODEL: Any = {
    "match": "Tomorrow",
    "like": "claude-sonnet-4-6",
    "maxOutputTokens": 12_345,
    "efforts": ["low", "high"],
    "structuredOutput": True,
}


def _policy(name: str, *backends: str, **spec: Any) -> Document:
    refs = [one for each in backends for one in target("AIServiceBackend", each)["targetRefs"]]
    return document("headgate.dev/v1alpha1", "TranslationPolicy", name, {"targetRefs": refs, **spec})


def _documents(stage: Stage, *policies: Document) -> list[Document]:
    openai, anthropic = stage["openai"].port, stage["anthropic"].port
    return [
        *gateway({"port": stage.port}),
        *backend("openai", openai, key="sk-o"),
        *backend("other", openai, key="sk-o", schema_fields={"prefix": "/llm/api"}),
        *backend("anthropic", anthropic, "Anthropic", key="sk-a"),
        route(
            "r",
            [
                rule("gpt", ref("openai")),
                rule("renamed", ref("openai", modelNameOverride="gpt-4o")),
                rule("claude", ref("anthropic")),
                rule("claude-tomorrow", ref("anthropic")),
                rule("old-claude", ref("anthropic", modelNameOverride="claude-3-haiku-20240307")),
                rule("mixed", ref("openai"), ref("anthropic", priority=1)),
            ],
            **costs(total="TotalToken"),
        ),
        *policies,
    ]


@pytest.fixture(scope="module")
def policed_stage() -> Iterator[Stage]:
    providers = {"openai": Provider(OPENAI, key="sk-o"), "anthropic": Provider(ANTHROPIC, key="sk-a")}
    with Stage(**providers) as stage:
        policies = (
            _policy("forced", "openai", lane="ExtProc", losses="Reject"),
            _policy("emulated", "anthropic", lane="ExtProc", losses="Emulate", models=[NEW_MODEL]),
        )
        yield stage.run(_documents(stage, *policies))


@pytest.fixture
def stage(policed_stage: Stage) -> Iterator[Stage]:
    policed_stage.forget()
    yield policed_stage
    policed_stage.check()


def _translated(stage: Stage) -> float:
    """Streams that the processor has been sent."""
    return stage.stat("envoy_cluster_upstream_rq_total", envoy_cluster_name="headgate-extproc")


@pytest.mark.parametrize(("model", "sent"), [("gpt", "gpt"), ("renamed", "gpt-4o")])
@pytest.mark.parametrize("stream", [False, True])
def test_the_processor_relays_where_it_is_forced(stage: Stage, model: str, sent: str, stream: bool) -> None:
    stage["openai"].answer(Answer(text="Bonjour", usage=Usage(input=10, output=5)))
    before = _translated(stage)
    path = f"/v1/chat/completions?forced={model}{stream}"
    answer = stage.chat(model, path=path, stream=stream, seed=7)
    assert answer.status_code == 200
    assert '"usage":{' not in answer.text.replace(" ", "") or not stream
    assert _translated(stage) == before + 1
    received = stage["openai"].last
    assert (received.path, received.model, received.json["seed"]) == ("/v1/chat/completions", sent, 7)
    (entry,) = stage.access(lambda entry: entry["path"] == path)
    assert entry["metadata"]["total"] == 15


def test_the_processor_relays_messages_where_it_is_forced(stage: Stage) -> None:
    before = _translated(stage)
    assert stage.messages("claude").status_code == 200
    assert [
        event.type
        for event in stage.anthropic().messages.create(
            model="claude", max_tokens=9, messages=[{"role": "user", "content": "Hi"}], stream=True
        )
    ][-1] == "message_stop"
    assert _translated(stage) == before + 2


def test_other_paths_of_a_forced_backend_stay_with_envoy(stage: Stage) -> None:
    before = _translated(stage)
    assert stage.post("/v1/embeddings", {"model": "gpt", "input": "a"}).status_code == 200
    assert _translated(stage) == before


def test_a_forced_backend_fails_over(stage: Stage) -> None:
    stage["openai"].answer(Failure(503))
    assert stage.chat("mixed").status_code == 200
    assert (len(stage["openai"].requests), len(stage["anthropic"].requests)) == (1, 1)


def test_what_cannot_be_said_is_refused_with_its_place(stage: Stage) -> None:
    refused = stage.messages("gpt", top_k=5)
    assert refused.status_code == 422
    assert "top_k" in refused.json()["error"]["message"]
    assert not stage["openai"].requests


def test_what_cannot_be_said_is_emulated(stage: Stage) -> None:
    """A model without structured output is made to call a tool whose arguments are the answer."""
    answer = stage.chat("old-claude", response_format=FORMAT)
    assert answer.status_code == 200
    received = stage["anthropic"].last.json
    (tool,) = received["tools"]
    assert tool["input_schema"] == SCHEMA
    assert received["tool_choice"]["name"] == tool["name"]
    assert "emulated" in answer.headers["x-headgate-losses"]


def test_a_model_nobody_knows_is_a_row_of_the_policy(stage: Stage) -> None:
    """Its words for effort, its limit and its answers by schema are the row's, not those of its name's family."""
    answer = stage.chat("claude-tomorrow", response_format=FORMAT, reasoning_effort="max", temperature=0.5)
    assert answer.status_code == 200
    received = stage["anthropic"].last.json
    assert received["max_tokens"] == 12_345
    assert received["output_config"]["format"]["schema"] == SCHEMA
    assert received["output_config"]["effort"] == "high"
    assert "tools" not in received


def test_a_policy_comes_and_goes_live() -> None:
    with Stage(openai=Provider(OPENAI, key="sk-o"), anthropic=Provider(ANTHROPIC, key="sk-a")) as stage:
        stage.run(_documents(stage))
        assert stage.messages("gpt", top_k=5).headers["x-headgate-losses"]
        stage.gateway.write(text(_documents(stage, _policy("strict", "openai", losses="Reject"))))
        wait_until(lambda: stage.messages("gpt", top_k=5).status_code == 422, "the policy to count")
        stage.gateway.write(text(_documents(stage)))
        wait_until(lambda: stage.messages("gpt", top_k=5).status_code == 200, "the policy to be gone")
        assert json.loads(stage.chat("gpt").text)["choices"]
        stage.check()
