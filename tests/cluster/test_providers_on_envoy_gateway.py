"""Providers of every dialect beside the real Envoy Gateway: tool calls, there and back, with the official clients."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from support import manifests
from support.ai_on_envoy_gateway import POD_ADDRESS, TOLERATED, AiStage
from support.envoy_gateway import EnvoyGateway
from support.kube import Kube
from support.providers import ANTHROPIC, BEDROCK, OPENAI, Answer, Failure, Provider, ToolUse
from support.providers.gemini_api import GEMINI

CITY = {"type": "object", "properties": {"city": {"type": "string"}}}
OPENAI_TOOLS: Any = [{"type": "function", "function": {"name": "weather", "parameters": CITY}}]
ANTHROPIC_TOOLS: Any = [{"name": "weather", "input_schema": CITY}]
TOOLS = (ToolUse("weather", '{"city": "Bern"}', "call_1"), ToolUse("weather", '{"city": "Oslo"}', "call_2"))
QUESTION: Any = {"role": "user", "content": "What is it like?"}
CITIES = [{"city": "Bern"}, {"city": "Oslo"}]
AWS = "[default]\naws_access_key_id = AKID\naws_secret_access_key = secret\n"
SCHEMAS = {"gpt": "OpenAI", "claude": "Anthropic", "gemini": "Gemini"}
MODELS = (*SCHEMAS, "nova")


@pytest.fixture
async def stage(
    kube: Kube,
    namespace: str,
    our_crds: None,
    run_envoy_gateway: Callable[..., Awaitable[EnvoyGateway]],
    short_path: Path,
) -> AsyncIterator[AiStage]:
    directory = short_path / "stage"
    directory.mkdir()
    provider = partial(Provider, host=POD_ADDRESS, tolerated_headers=TOLERATED)
    providers = {
        "gpt": provider(OPENAI, key="sk-gpt"),
        "claude": provider(ANTHROPIC, key="sk-claude"),
        "gemini": provider(GEMINI, key="sk-gemini"),
        "nova": provider(BEDROCK, key="AKID:secret"),
    }
    async with AiStage(kube, namespace, run_envoy_gateway, directory, **providers) as made:
        for name, schema in SCHEMAS.items():
            await made.backend(name, schema)
        await _bedrock(made)
        rules = [manifests.rule(name, manifests.ref(name)) for name in MODELS]
        both = [manifests.ref("nova", priority=0), manifests.ref("gemini", priority=1)]
        await made.apply(manifests.route("chat", [*rules, manifests.rule("either", *both)]))
        await made.start_envoy()
        await made.served("nova")
        yield made
        assert made.problems() == []


async def _bedrock(stage: AiStage) -> None:
    """Converse, signed by Envoy with the keys of a Secret."""
    await stage.apply(manifests.secret("aws", credentials=AWS))
    provider = stage.providers["nova"]
    for each in manifests.backend("nova", provider.port, "AWSBedrock"):
        if each["kind"] == "Backend":
            each["spec"]["endpoints"] = [{"ip": {"address": provider.host, "port": provider.port}}]
        await stage.apply(each)
    credentials = {"region": "us-east-1", "credentialsFile": {"secretRef": {"name": "aws"}}}
    policy = {
        **manifests.target("AIServiceBackend", "nova"),
        "type": "AWSCredentials",
        "awsCredentials": credentials,
    }
    await stage.apply(manifests.document(f"{manifests.AI}/v1beta1", "BackendSecurityPolicy", "nova", policy))


async def test_tools_are_called_across_dialects(stage: AiStage) -> None:
    for model in MODELS:
        await _openai_client_calls_tools(stage, model)
        await _anthropic_client_calls_tools(stage, model)
    await _keys_are_renewed(stage)
    stage.providers["nova"].answer(Failure(503))
    answer = await stage.openai().chat.completions.create(model="either", messages=[QUESTION])
    assert answer.choices[0].message.content == "After all."


async def _openai_client_calls_tools(stage: AiStage, model: str) -> None:
    client: Any = stage.openai()
    provider = stage.providers[model]
    provider.answer(Answer(text="", tools=TOOLS), Answer(text="Rain."), Answer(text="", tools=TOOLS))
    answer = await client.chat.completions.create(model=model, messages=[QUESTION], tools=OPENAI_TOOLS)
    message: Any = answer.choices[0].message
    assert answer.choices[0].finish_reason == "tool_calls", model
    assert [json.loads(call.function.arguments) for call in message.tool_calls] == CITIES
    results: Any = [{"role": "tool", "tool_call_id": call.id, "content": "rain"} for call in message.tool_calls]
    messages: Any = [QUESTION, message.model_dump(exclude_none=True), *results]
    answer = await client.chat.completions.create(model=model, messages=messages, tools=OPENAI_TOOLS)
    assert answer.choices[0].message.content == "Rain."
    stream = client.chat.completions.stream(model=model, messages=[QUESTION], tools=OPENAI_TOOLS)
    async with stream as events:
        streamed: Any = (await events.get_final_completion()).choices[0].message
    assert [json.loads(call.function.arguments) for call in streamed.tool_calls] == CITIES


async def _anthropic_client_calls_tools(stage: AiStage, model: str) -> None:
    client: Any = stage.anthropic()
    provider = stage.providers[model]
    provider.answer(Answer(text="", tools=TOOLS), Answer(text="Rain."), Answer(text="", tools=TOOLS))
    asked: Any = {"model": model, "max_tokens": 64, "tools": ANTHROPIC_TOOLS}
    answer = await client.messages.create(**asked, messages=[QUESTION])
    calls: list[Any] = [block for block in answer.content if block.type == "tool_use"]
    assert answer.stop_reason == "tool_use", model
    assert [call.input for call in calls] == CITIES
    results = [{"type": "tool_result", "tool_use_id": call.id, "content": "rain"} for call in calls]
    turns = [QUESTION, {"role": "assistant", "content": answer.content}, {"role": "user", "content": results}]
    answer = await client.messages.create(**asked, messages=turns)
    assert "".join(block.text for block in answer.content if block.type == "text") == "Rain."
    async with client.messages.stream(**asked, messages=[QUESTION]) as events:
        final: Any = await events.get_final_message()
    assert [block.input for block in final.content if block.type == "tool_use"] == CITIES


async def _keys_are_renewed(stage: AiStage) -> None:
    """Other keys of AWS in the Secret: from then on requests are signed with them."""
    await stage.apply(manifests.secret("aws", credentials=AWS.replace("AKID", "NEXT").replace("= secret", "= other")))
    nova = stage.providers["nova"]
    nova.key = "NEXT:other"
    nova.answer(Answer(text="Renewed."))
    stage.providers["gemini"].answer(Answer(text="After all."))
    await stage.until(lambda answer: answer.status_code == 200, lambda: stage.chat("nova"))
    nova.requests.clear()  # those that were signed with the keys before
