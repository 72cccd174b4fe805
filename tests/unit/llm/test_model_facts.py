"""What a model takes by its row, as it reaches the provider: in its words, and without what it refuses."""

import json
from typing import Any

import pytest
from headgate.contract.facts import BackendFacts, ModelRow
from headgate.llm.endpoints import lookup
from headgate.llm.exchange import UpstreamRequest
from headgate.llm.planning import plan

_BEDROCK = {"dialect": "bedrock-converse", "host": "bedrock", "region": "us-east-1"}
_SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}


def _asked(path: str, facts: dict[str, Any], **members: Any) -> UpstreamRequest:
    endpoint = lookup(path)
    assert endpoint is not None
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], **members}
    return plan(endpoint, BackendFacts(name="b", **facts)).translate_request(json.dumps(body).encode(), {})


def _losses(request: UpstreamRequest) -> dict[str, str]:
    return {loss.path: loss.action for loss in request.losses}


# --- Nova 2

_LIMITS = {"max_tokens": 4_000, "temperature": 0.3, "top_p": 0.9}


@pytest.mark.parametrize(
    ("model", "effort", "limited"),
    [
        ("us.amazon.nova-2-lite-v1:0", "high", False),
        ("us.amazon.nova-2-lite-v1:0", "max", False),
        ("us.amazon.nova-2-lite-v1:0", "medium", True),
        ("us.amazon.nova-2-lite-v1:0", "none", True),
        ("amazon.nova-pro-v1:0", "high", True),
        ("openai.gpt-oss-120b-1:0", "high", True),
    ],
)
def test_nova_thinks_hard_without_limits(model: str, effort: str, limited: bool) -> None:
    """Else it refuses the request."""
    request = _asked("/v1/chat/completions", {**_BEDROCK, "model": model}, reasoning_effort=effort, **_LIMITS)
    inference = json.loads(request.body).get("inferenceConfig")

    assert inference == ({"maxTokens": 4_000, "temperature": 0.3, "topP": 0.9} if limited else None)
    assert all((_losses(request).get(name) == "dropped") is not limited for name in _LIMITS)


# --- JSON by a schema

_FORMAT = {"type": "json_schema", "json_schema": {"name": "answer", "schema": _SCHEMA}}


@pytest.mark.parametrize("losses", ["", "emulate"])
@pytest.mark.parametrize(
    "model",
    [
        "qwen.qwen3-32b-v1:0",
        "qwen.qwen3-coder-next",
        "openai.gpt-oss-120b-1:0",
        "deepseek.v3-v1:0",
        "google.gemma-3-12b-it",
        "moonshot.kimi-k2-thinking",
        "mistral.mistral-large-3-675b-instruct",
        "mistral.ministral-3-8b-instruct",
    ],
)
def test_a_schema_is_said_to_models_that_bedrock_holds_to_one(model: str, losses: str) -> None:
    facts = {**_BEDROCK, "model": model, **({"losses": losses} if losses else {})}
    request = _asked("/v1/chat/completions", facts, response_format=_FORMAT)
    body = json.loads(request.body)

    said = body["outputConfig"]["textFormat"]["structure"]["jsonSchema"]
    assert (json.loads(said["schema"]), said["name"]) == (_SCHEMA, "answer")
    assert "toolConfig" not in body
    assert not request.losses


@pytest.mark.parametrize(
    "model", ["amazon.nova-pro-v1:0", "us.amazon.nova-2-lite-v1:0", "mistral.pixtral-large-2502-v1:0"]
)
def test_a_schema_is_a_forced_tool_of_other_models(model: str) -> None:
    request = _asked("/v1/chat/completions", {**_BEDROCK, "model": model, "losses": "emulate"}, response_format=_FORMAT)
    body = json.loads(request.body)

    assert "outputConfig" not in body
    assert body["toolConfig"]["toolChoice"]["tool"]
    assert _losses(request) == {"response_format": "emulated"}


@pytest.mark.parametrize(
    ("model", "row"),
    [
        ("minimax.minimax-m9", ModelRow(match="minimax", structured_output=True)),
        ("arn:aws:bedrock:us-east-1:1:application-inference-profile/a", ModelRow(match="profile/a", like="qwen3-32b")),
    ],
)
def test_an_installation_knows_better_which_model_a_name_is(model: str, row: ModelRow) -> None:
    request = _asked("/v1/chat/completions", {**_BEDROCK, "model": model, "models": (row,)}, response_format=_FORMAT)

    assert "outputConfig" in json.loads(request.body)
    assert not request.losses


# --- switches of chat templates

_ON: dict[str, Any] = {"thinking": {"type": "enabled", "budget_tokens": 2_048}}
_OFF: dict[str, Any] = {"thinking": {"type": "disabled"}}


@pytest.mark.parametrize("vendor", ["vLLM", "SGLang", "LlamaCpp"])
@pytest.mark.parametrize(
    ("model", "switch"),
    [
        ("Qwen/Qwen3-32B", "enable_thinking"),
        ("Qwen/Qwen3.5-397B-A17B", "enable_thinking"),
        ("deepseek-ai/DeepSeek-V3.1", "thinking"),
        ("deepseek-ai/DeepSeek-V3.2", "thinking"),
        ("zai-org/GLM-4.6", "enable_thinking"),
        ("google/gemma-4-31B-it", "enable_thinking"),
        ("ibm-granite/granite-3.2-8b-instruct", "thinking"),
    ],
)
def test_thinking_is_switched_in_the_template(vendor: str, model: str, switch: str) -> None:
    facts = {"dialect": "openai-chat", "model": model, "vendor": vendor}
    on = _asked("/v1/messages", facts, max_tokens=4_096, **_ON)
    off = _asked("/v1/messages", facts, max_tokens=4_096, **_OFF)

    assert json.loads(on.body)["chat_template_kwargs"] == {switch: True}
    assert json.loads(off.body)["chat_template_kwargs"] == {switch: False}
    assert not json.loads(on.body).keys() & {"thinking", "reasoning_effort"}
    assert (_losses(on), _losses(off)) == ({"thinking.budget_tokens": "dropped"}, {})


@pytest.mark.parametrize(("effort", "told"), [("low", True), ("high", False), ("none", False)])
def test_an_effort_becomes_the_templates_switch(effort: str, told: bool) -> None:
    facts = {"dialect": "openai-chat", "model": "Qwen/Qwen3-32B", "vendor": "vLLM"}
    members = (
        {"max_tokens": 100, "output_config": {"effort": effort}} if effort != "none" else {"max_tokens": 100, **_OFF}
    )
    request = _asked("/v1/messages", facts, **members)

    assert json.loads(request.body)["chat_template_kwargs"] == {"enable_thinking": effort != "none"}
    assert ("output_config.effort" in _losses(request)) is told


@pytest.mark.parametrize(
    ("model", "vendor", "member"),
    [
        ("openai/gpt-oss-120b", "vLLM", "reasoning_effort"),
        ("Qwen/Qwen3-Coder-480B-A35B-Instruct", "vLLM", ""),
        ("Qwen/Qwen3-235B-A22B-Thinking-2507", "SGLang", ""),
        ("meta-llama/Llama-3.3-70B-Instruct", "vLLM", ""),
        ("zai-org/GLM-4.6", "ZAI", "thinking"),
        ("zai-org/GLM-4.6", "", "thinking"),
    ],
)
def test_other_models_and_servers_are_told_in_their_own_words(model: str, vendor: str, member: str) -> None:
    request = _asked(
        "/v1/messages", {"dialect": "openai-chat", "model": model, "vendor": vendor}, max_tokens=100, **_ON
    )

    told = json.loads(request.body).keys() & {"chat_template_kwargs", "thinking", "reasoning_effort"}
    assert told == ({member} if member else set[str]())
    assert member or _losses(request)["thinking.budget_tokens"] == "dropped"
