"""What a model takes by its row, as it reaches the provider: in its words, and without what it refuses."""

import json
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from anthropic.types.model_param import ModelParam
from headgate.contract.facts import BackendFacts, ModelRow
from headgate.llm.capabilities import claude_facts, openai_facts
from headgate.llm.endpoints import lookup
from headgate.llm.exchange import UpstreamRequest
from headgate.llm.planning import plan
from openai.types.shared.chat_model import ChatModel
from openai.types.shared.responses_model import ResponsesModel

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


# --- efforts


@pytest.mark.parametrize(
    ("model", "level"),
    [
        ("gemini-3-flash-preview", "minimal"),
        ("gemini-3.5-flash", "minimal"),
        ("gemini-3.7-flash-lite", "minimal"),
        ("gemini-3.7-flash", "low"),
        ("gemini-flash-latest", "low"),
    ],
)
def test_newer_flash_models_take_no_minimal_level(model: str, level: str) -> None:
    """Else: "'minimal' is not a supported thinking level for this model"."""
    request = _asked("/v1/chat/completions", {"dialect": "gemini", "model": model}, reasoning_effort="minimal")

    said = json.loads(request.body)["generationConfig"]["thinkingConfig"]["thinkingLevel"]
    assert said.lower() == level
    assert bool(request.losses) is (level != "minimal")


@pytest.mark.parametrize(("model", "effort"), [("grok-4.5", "high"), ("grok-4.6", "xhigh"), ("x-ai/grok-4.6", "xhigh")])
def test_groks_most_effort_is_that_of_its_version(model: str, effort: str) -> None:
    facts = {"dialect": "openai-chat", "model": model}
    request = _asked("/v1/messages", facts, max_tokens=100, output_config={"effort": "xhigh"})

    assert json.loads(request.body)["reasoning_effort"] == effort


# --- Claude that forces no calls

_TOOLS: list[dict[str, Any]] = [
    {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
]
_NAMED = {"type": "function", "function": {"name": "look"}}


@pytest.mark.parametrize("choice", ["required", _NAMED])
@pytest.mark.parametrize(
    ("model", "forced"),
    [
        ("claude-opus-5-5", False),
        ("claude-sonnet-5-5", False),
        ("claude-fable-5-1", False),
        ("claude-mythos-5-2", False),
        ("claude-opus-5", True),
        ("claude-haiku-5-5", True),
    ],
)
def test_a_call_is_forced_only_of_models_that_take_it(model: str, choice: Any, forced: bool) -> None:
    """Else: 400, for the whole conversation."""
    members = {"tools": _TOOLS, "tool_choice": choice}
    direct = _asked("/v1/chat/completions", {"dialect": "anthropic-messages", "model": model}, **members)
    converse = _asked("/v1/chat/completions", {**_BEDROCK, "model": f"anthropic.{model}"}, **members)

    assert (json.loads(direct.body)["tool_choice"]["type"] == "auto") is not forced
    assert ("auto" in json.loads(converse.body)["toolConfig"]["toolChoice"]) is not forced
    for request in (direct, converse):
        assert _losses(request) == ({} if forced else {"tool_choice": "dropped"})


def test_a_model_that_cannot_be_forced_is_given_no_tool_for_json() -> None:
    facts = {"dialect": "anthropic-messages", "model": "claude-opus-5-5", "losses": "emulate"}
    request = _asked("/v1/chat/completions", facts, response_format={"type": "json_object"})

    assert "tools" not in json.loads(request.body)
    assert _losses(request) == {"response_format": "dropped"}


@pytest.mark.parametrize("members", [{"reasoning_effort": "none"}, {"thinking": {"type": "disabled"}}])
def test_a_model_that_thinks_between_its_calls_is_asked_for_no_more(members: dict[str, Any]) -> None:
    """`disabled` is refused."""
    facts = {"dialect": "anthropic-messages", "model": "claude-sonnet-5-5"}
    request = _asked("/v1/chat/completions", facts, **members)

    assert json.loads(request.body)["thinking"] == {"type": "between_tools"}
    assert list(_losses(request).values()) == ["changed"]


def test_thinking_between_calls_is_read_of_a_converse_client() -> None:
    """Where another provider answers it is told, and no error."""
    endpoint = lookup("/model/m/converse")
    assert endpoint is not None
    fields = {"thinking": {"type": "between_tools"}}
    body = {"messages": [{"role": "user", "content": [{"text": "Hi"}]}], "additionalModelRequestFields": fields}
    chosen = plan(endpoint, BackendFacts(name="b", dialect="openai-chat", model="gpt-4o"))
    request = chosen.translate_request(json.dumps(body).encode(), {":path": "/model/m/converse"})

    assert _losses(request)["additionalModelRequestFields.thinking.type"] == "dropped"


# --- the names that the SDKs know


def _names(declared: Any) -> Iterator[str]:
    for argument in get_args(declared):
        if isinstance(argument, str):
            yield argument
        else:
            yield from _names(argument)


def test_what_the_sdk_asks_of_the_responses_api_alone_is_asked_there() -> None:
    assert [
        name for name in set(_names(ResponsesModel)) - set(_names(ChatModel)) if not openai_facts(name).responses_only
    ] == []


def test_every_model_of_the_sdks_has_a_row_of_its_family() -> None:
    assert [name for name in _names(ResponsesModel) if not openai_facts(name).own_api] == []
    assert [name for name in _names(ModelParam) if claude_facts(name) is claude_facts("another")] == []
