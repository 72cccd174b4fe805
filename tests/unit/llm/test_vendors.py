"""Whose server it is, and what follows."""

import json
from typing import Any

import pytest
from headgate.contract.facts import BackendFacts
from headgate.llm.dialects.dialect import Target
from headgate.llm.dialects.table import DIALECTS
from headgate.llm.endpoints import endpoint_named
from headgate.llm.names import DialectName, Operation
from headgate.llm.planning import lane_for, plan
from headgate.llm.vendors import VENDORS, vendor_at, vendor_named


@pytest.mark.parametrize(
    ("host", "vendor"),
    [
        ("api.mistral.ai", "Mistral"),
        ("API.Groq.com:443", "Groq"),
        ("eu.api.deepseek.com.", "DeepSeek"),
        ("notapi.mistral.ai", ""),
        ("api.openai.com", "OpenAI"),
        ("api.perplexity.ai", "Perplexity"),
        ("ws-1.ap-southeast-1.maas.aliyuncs.com", "DashScope"),
        ("acme-eu.snowflakecomputing.com", "Snowflake"),
        ("inference.generativeai.us-chicago-1.oci.oraclecloud.com", "OCI"),
        ("us-south.ml.cloud.ibm.com", "Watsonx"),
        ("vllm.default.svc", ""),
        ("api.voyageai.com", "Voyage"),
    ],
)
def test_a_host_name_tells_the_vendor(host: str, vendor: str) -> None:
    assert vendor_at((host,)) == vendor


def test_a_name_nobody_knows_deviates_nowhere() -> None:
    assert vendor_named("Nobody").lacks == frozenset()


def test_every_vendor_serves_chat() -> None:
    for vendor in VENDORS:
        assert Operation.CHAT not in vendor.lacks
        assert not vendor.refuses & {"model", "messages", "tools", "stream", "max_tokens"}


@pytest.mark.parametrize(
    ("endpoint", "vendor", "lane"),
    [
        ("responses", "", "relay"),
        ("responses", "Groq", "relay"),
        ("responses", "Mistral", "relay"),
        ("responses", "DeepSeek", "bridge"),
        ("responses", "ChatCompletions", "bridge"),
        ("chat-completions", "Mistral", "relay"),
        ("embeddings", "Mistral", "relay"),
        ("embeddings", "Infinity", "relay"),
        ("embeddings", "TEI", "relay"),
        ("embeddings", "Voyage", "bridge"),
        ("embeddings", "Jina", "relay"),
        ("cohere-embed", "Jina", "bridge"),
        ("jina-rerank", "Voyage", "bridge"),
        ("jina-rerank", "TEI", "bridge"),
        ("jina-rerank", "Jina", "relay"),
        ("jina-rerank", "NVIDIA", "relay"),
        ("chat-completions", "NVIDIA", "relay"),
    ],
)
def test_what_a_vendor_lacks_is_bridged(endpoint: str, vendor: str, lane: str) -> None:
    row = endpoint_named(endpoint)
    assert row is not None

    assert lane_for(row, "openai-chat", vendor) == lane


def _sent(vendor: str, **members: Any) -> tuple[dict[str, Any], list[str]]:
    row = endpoint_named("responses")
    assert row is not None
    facts = BackendFacts(name="b", dialect="openai-chat", vendor=vendor)
    body = json.dumps({"model": "m", "input": "Hi", **members}).encode()
    request = plan(row, facts).translate_request(body, {})
    return json.loads(request.body), [loss.path for loss in request.losses]


def test_members_a_vendor_refuses_are_left_out_and_reported() -> None:
    body, losses = _sent("Ollama", user="u", max_output_tokens=9, stream=True)

    assert body == {
        "model": "m",
        "messages": [{"role": "user", "content": "Hi"}],
        "max_tokens": 9,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert losses == ["user"]


def test_streams_of_some_end_with_usage_unasked() -> None:
    body, _ = _chat("Mistral", stream=True)

    assert "stream_options" not in body


def _chat(vendor: str, model: str = "m", **members: Any) -> tuple[dict[str, Any], list[str]]:
    """What a Messages client's request becomes."""
    row = endpoint_named("messages")
    assert row is not None
    facts = BackendFacts(name="b", dialect="openai-chat", vendor=vendor)
    asked = {"model": model, "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}], **members}
    request = plan(row, facts).translate_request(json.dumps(asked).encode(), {})
    return json.loads(request.body), [loss.path for loss in request.losses]


TOOLS: Any = [{"name": "look", "input_schema": {"type": "object", "properties": {}}}]


@pytest.mark.parametrize(
    ("choice", "offered", "losses"),
    [
        ({"type": "auto"}, True, []),
        ({"type": "none"}, False, ["tool_choice"]),
        ({"type": "any"}, True, ["tool_choice"]),
        ({"type": "tool", "name": "look"}, True, ["tool_choice"]),
    ],
)
def test_a_choice_that_a_vendor_does_not_give_is_reported(
    choice: dict[str, str], offered: bool, losses: list[str]
) -> None:
    body, reported = _chat("ZAI", tools=TOOLS, tool_choice=choice)

    assert body.get("tool_choice") == ("auto" if choice["type"] == "auto" else None)
    assert ("tools" in body) is offered
    assert reported == losses


@pytest.mark.parametrize(
    ("vendor", "model", "off"),
    [
        ("DeepSeek", "deepseek-v4-pro", {"thinking": {"type": "disabled"}}),
        ("DashScope", "qwen3.8-max", {"enable_thinking": False}),
    ],
)
@pytest.mark.parametrize(
    ("asked", "losses"),
    [
        ({}, []),
        ({"thinking": {"type": "disabled"}}, []),
        ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, ["thinking.budget_tokens"]),
        ({"output_config": {"effort": "high"}}, ["output_config.effort"]),
    ],
)
def test_a_forced_call_is_kept_where_it_excludes_thinking(
    vendor: str, model: str, off: dict[str, Any], asked: dict[str, Any], losses: list[str]
) -> None:
    """Whose models think by themselves: they answer 400 to a call that is forced, asked to think or not."""
    body, reported = _chat(vendor, model, tools=TOOLS, tool_choice={"type": "any"}, **{"max_tokens": 4000, **asked})

    assert body["tool_choice"] == "required"
    said = ("thinking", "enable_thinking", "thinking_budget", "reasoning_effort")
    assert {name: body[name] for name in said if name in body} == off
    assert set(losses) <= set(reported)
    assert bool(losses) == bool(reported)


def test_a_call_that_is_not_forced_leaves_them_thinking() -> None:
    body, _ = _chat("DeepSeek", "deepseek-v4-pro", tools=TOOLS, tool_choice={"type": "auto"})

    assert "thinking" not in body


CALLED: Any = [
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello."},
    {"role": "user", "content": "Look."},
    {"role": "assistant", "content": [{"type": "tool_use", "id": "call_1", "name": "look", "input": {}}]},
    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "call_1", "content": "A map."}]},
]


@pytest.mark.parametrize(
    ("vendor", "model", "reasoning"),
    [
        ("DeepSeek", "deepseek-v4-pro", " "),
        ("Moonshot", "kimi-k2.6", " "),
        ("Moonshot", "kimi-k3", " "),
        ("ZAI", "glm-5.3", None),
        ("", "llama-4", None),
    ],
)
def test_a_turn_without_reasoning_bears_a_space_where_reasoning_is_asked_for(
    vendor: str, model: str, reasoning: str | None
) -> None:
    """In a conversation with calls: what another model has said before, and of clients that keep no thoughts."""
    body, losses = _chat(vendor, model, messages=CALLED)

    turns = [message for message in body["messages"] if message["role"] == "assistant"]
    assert [turn.get("reasoning_content") for turn in turns] == [reasoning, reasoning]
    assert losses == []
    body, _ = _chat(vendor, model, messages=CALLED[:3])
    assert "reasoning_content" not in body["messages"][1]


def test_reasoning_that_is_there_goes_back() -> None:
    thought = {"type": "thinking", "thinking": "A map?", "signature": ""}
    history = [*CALLED[:3], {"role": "assistant", "content": [thought, *CALLED[3]["content"]]}, CALLED[4]]
    body, _ = _chat("DeepSeek", "deepseek-v4-pro", messages=history)

    assert body["messages"][3]["reasoning_content"] == "A map?"


def test_only_openai_itself_is_told_which_tools_are_allowed() -> None:
    tools = [{"type": "function", "name": name} for name in ("look", "go")]
    choice = {"type": "allowed_tools", "mode": "required", "tools": tools[:1]}
    body, losses = _sent("ChatCompletions", tools=tools, tool_choice=choice)

    assert [tool["function"]["name"] for tool in body["tools"]] == ["look"]
    assert (body["tool_choice"], losses) == ("required", ["tool_choice"])


def test_what_only_responses_say_of_a_function_is_told() -> None:
    tool: Any = {"type": "function", "name": "look", "async": True, "defer_loading": True, "output_schema": {}}
    _, losses = _sent("ChatCompletions", tools=[tool])

    assert losses == ["tools[0].async", "tools[0].defer_loading", "tools[0].output_schema"]


def test_names_of_messages_are_left_out_where_they_are_refused() -> None:
    body = json.dumps({"model": "m", "messages": [{"role": "user", "name": "ann", "content": "Hi"}]}).encode()
    request = DIALECTS[DialectName.OPENAI_CHAT].decode_request(body)
    target = Target("m", vendor=vendor_named("Groq"))
    encoded = DIALECTS[DialectName.OPENAI_CHAT].encode_request(request, target)

    assert b"ann" not in encoded.body
    assert [loss.path for loss in encoded.losses] == ["messages[0].name"]


@pytest.mark.parametrize(
    ("vendor", "model", "asked", "said"),
    [
        ("OpenRouter", "any", {"output_config": {"effort": "high"}}, {"reasoning": {"effort": "high"}}),
        (
            "OpenRouter",
            "any",
            {"thinking": {"type": "enabled", "budget_tokens": 2000}},
            {"reasoning": {"max_tokens": 2000}},
        ),
        ("OpenRouter", "any", {"thinking": {"type": "disabled"}}, {"reasoning": {"effort": "none"}}),
        (
            "DashScope",
            "qwen3.8-max",
            {"thinking": {"type": "enabled", "budget_tokens": 2000}},
            {"enable_thinking": True, "thinking_budget": 2000},
        ),
        ("DashScope", "kimi-k2.6", {"thinking": {"type": "disabled"}}, {"enable_thinking": False}),
        (
            "DeepSeek",
            "deepseek-v4-pro",
            {"output_config": {"effort": "xhigh"}},
            {"thinking": {"type": "enabled"}, "reasoning_effort": "high"},
        ),
        ("Mistral", "mistral-small-latest", {"output_config": {"effort": "high"}}, {"reasoning_effort": "high"}),
        ("Mistral", "mistral-small-2506", {"output_config": {"effort": "high"}}, {}),
        (
            "ZAI",
            "glm-5.3",
            {"output_config": {"effort": "medium"}},
            {"thinking": {"type": "enabled"}, "reasoning_effort": "low"},
        ),
        ("ZAI", "glm-5.3", {"thinking": {"type": "disabled"}}, {}),
        ("ZAI", "glm-5.1", {"thinking": {"type": "disabled"}}, {"thinking": {"type": "disabled"}}),
        ("Upstage", "solar-pro3", {"output_config": {"effort": "max"}}, {"reasoning_effort": "high"}),
        ("Vercel", "any", {"output_config": {"effort": "high"}}, {"reasoning": {"effort": "high"}}),
        ("Moonshot", "kimi-k3", {"output_config": {"effort": "medium"}}, {"reasoning_effort": "low"}),
        ("MiniMax", "MiniMax-M3", {"thinking": {"type": "disabled"}}, {"thinking": {"type": "disabled"}}),
        ("MiniMax", "MiniMax-M3", {"output_config": {"effort": "high"}}, {}),
    ],
)
def test_reasoning_is_asked_for_in_the_vendors_words(
    vendor: str, model: str, asked: dict[str, Any], said: dict[str, Any]
) -> None:
    # more than any budget that is asked for
    body, _ = _chat(vendor, model, **{"max_tokens": 4000, **asked})

    members = ("reasoning", "enable_thinking", "thinking_budget", "thinking", "reasoning_effort")
    assert {name: body[name] for name in members if name in body} == said


def test_kimis_models_choose_tokens_as_they_do() -> None:
    row = endpoint_named("chat-completions")
    assert row is not None
    sampling = {"temperature": 0.5, "frequency_penalty": 0.1, "presence_penalty": 0.1}
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "tool_choice": "required", **sampling}
    body |= {"max_tokens": 9, "tools": [{"type": "function", "function": {"name": "look"}}]}
    request = DIALECTS[DialectName.OPENAI_CHAT].decode_request(json.dumps(body).encode())
    target = Target("kimi-k2.6", vendor=vendor_named("Moonshot"))
    encoded = DIALECTS[DialectName.OPENAI_CHAT].encode_request(request, target)
    sent = json.loads(encoded.body)

    assert set(sent) == {"model", "messages", "tools", "max_completion_tokens"}
    assert sorted(loss.path for loss in encoded.losses) == sorted((*sampling, "tool_choice"))


def test_perplexitys_streams_are_not_asked_for_usage() -> None:
    body, losses = _chat("Perplexity", "sonar-pro", stream=True)

    assert set(body) == {"model", "messages", "max_tokens", "stream"}
    assert losses == []


def test_other_servers_are_asked_for_usage() -> None:
    body, losses = _sent("ChatCompletions", stream=True)

    assert body["stream_options"] == {"include_usage": True}
    assert losses == []
