"""The official SDKs talk to the demo provider, started as users start it."""

import json
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from openai.types.responses import ResponseFunctionToolCall
from support.ports import free_port
from support.processes import Child, cpu_seconds
from support.waiting import wait_until

TOOL = {
    "name": "get_weather",
    "description": "The weather at a place",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
QUESTION = "How is the weather in Zürich?"


def start_demo(directory: Path, *arguments: str) -> tuple[Child, str]:
    command = [sys.executable, "-m", "headgate.cli.demo", "--pause-seconds", "0", *arguments]
    child = Child(command, directory=directory, name="demo")

    def url() -> str:
        child.require_alive()
        found = re.search(r"http://\S+", child.stdout)
        return found[0] if found else ""

    return child, wait_until(url, "the demo provider to listen")


@pytest.fixture(scope="module")
def demo_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    child, url = start_demo(tmp_path_factory.mktemp("demo"))
    yield url
    child.close()


@pytest.fixture
def openai_client(demo_url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{demo_url}/v1", api_key="any", max_retries=0) as client:
        yield client


@pytest.fixture
def anthropic_client(demo_url: str) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=demo_url, api_key="any", max_retries=0) as client:
        yield client


def test_it_listens_after_little_work_and_ends_when_told(tmp_path: Path) -> None:
    child, _ = start_demo(tmp_path)
    with child:
        assert cpu_seconds(child.pid) < 2, "0.2 s on an idle machine"
        child.signal(signal.SIGTERM)
        assert child.wait() == 0
    assert child.stderr == ""


def test_an_address_in_use_is_one_clear_line(tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    child, _ = start_demo(tmp_path, "--address", address)
    (tmp_path / "second").mkdir()
    with child:
        second = Child(
            [sys.executable, "-m", "headgate.cli.demo", "--address", address],
            directory=tmp_path / "second",
            name="demo",
        )
        with second:
            assert second.wait() == 1
        assert second.stderr.count("\n") == 1
        assert f"cannot listen on {address}" in second.stderr


def test_openai_chat_whole_and_streamed_say_the_same(openai_client: openai.OpenAI) -> None:
    whole = openai_client.chat.completions.create(model="demo", messages=[{"role": "user", "content": "hello"}])
    text = whole.choices[0].message.content
    assert text
    assert "demo" in text
    chunks = list(
        openai_client.chat.completions.create(
            model="demo",
            messages=[{"role": "user", "content": "hello"}],
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == text
    assert len(chunks) > 10
    assert chunks[-1].usage
    assert chunks[-1].usage.prompt_tokens > 0


@pytest.mark.parametrize("streamed", [False, True])
def test_openai_chat_calls_a_tool_and_takes_its_result(openai_client: openai.OpenAI, streamed: bool) -> None:
    tools: list[Any] = [{"type": "function", "function": TOOL}]
    messages: list[Any] = [{"role": "user", "content": QUESTION}]
    if streamed:
        with openai_client.chat.completions.stream(model="demo", messages=messages, tools=tools) as stream:
            choice = stream.get_final_completion().choices[0]
    else:
        choice = openai_client.chat.completions.create(model="demo", messages=messages, tools=tools).choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.tool_calls
    call = choice.message.tool_calls[0]
    assert call.type == "function"
    assert json.loads(call.function.arguments) == {"city": "Zürich"}
    messages.append({"role": "assistant", "tool_calls": [call.model_dump(exclude={"function": {"parsed_arguments"}})]})
    messages.append({"role": "tool", "tool_call_id": call.id, "content": "22 degrees"})
    answer = openai_client.chat.completions.create(model="demo", messages=messages, tools=tools)
    assert "22 degrees" in (answer.choices[0].message.content or "")


def test_openai_completions_embeddings_and_models(openai_client: openai.OpenAI) -> None:
    assert "demo" in openai_client.completions.create(model="demo", prompt="hello").choices[0].text
    streamed = openai_client.completions.create(model="demo", prompt="hello", stream=True)
    assert "demo" in "".join(each.choices[0].text for each in streamed)
    vectors = openai_client.embeddings.create(model="demo", input=["a", "b", "a"], dimensions=8).data
    assert vectors[0].embedding == vectors[2].embedding != vectors[1].embedding
    assert len(vectors[0].embedding) == 8
    assert "demo" in [each.id for each in openai_client.models.list()]


def test_openai_responses_whole_streamed_and_with_tools(openai_client: openai.OpenAI) -> None:
    whole = openai_client.responses.create(model="demo", input="hello")
    assert "demo" in whole.output_text
    with openai_client.responses.stream(model="demo", input="hello") as stream:
        assert stream.get_final_response().output_text == whole.output_text
    tools: list[Any] = [{"type": "function", "strict": False, **TOOL}]
    called = openai_client.responses.create(model="demo", input=QUESTION, tools=tools)
    assert [each.name for each in called.output if isinstance(each, ResponseFunctionToolCall)] == ["get_weather"]


def test_anthropic_messages_whole_and_streamed_say_the_same(anthropic_client: anthropic.Anthropic) -> None:
    whole = anthropic_client.messages.create(
        model="demo", max_tokens=200, messages=[{"role": "user", "content": "hello"}]
    )
    with anthropic_client.messages.stream(
        model="demo", max_tokens=200, messages=[{"role": "user", "content": "hello"}]
    ) as stream:
        assembled = stream.get_final_message()
    first, second = assembled.content[0], whole.content[0]
    assert first.type == "text"
    assert second.type == "text"
    assert first.text == second.text
    assert whole.stop_reason == "end_turn"
    counted = anthropic_client.messages.count_tokens(model="demo", messages=[{"role": "user", "content": "hello"}])
    assert counted.input_tokens > 0
    assert "demo" in [each.id for each in anthropic_client.models.list()]


def test_anthropic_messages_call_a_tool_and_take_its_result(anthropic_client: anthropic.Anthropic) -> None:
    tools: list[Any] = [{"name": TOOL["name"], "description": TOOL["description"], "input_schema": TOOL["parameters"]}]
    messages: list[Any] = [{"role": "user", "content": QUESTION}]
    got = anthropic_client.messages.create(
        model="demo", max_tokens=200, messages=messages, tools=tools, tool_choice={"type": "any"}
    )
    (block,) = got.content
    assert block.type == "tool_use"
    assert block.input == {"city": "Zürich"}
    result = {"type": "tool_result", "tool_use_id": block.id, "content": "22 degrees"}
    messages += [{"role": "assistant", "content": got.content}, {"role": "user", "content": [result]}]
    answer = anthropic_client.messages.create(model="demo", max_tokens=200, messages=messages, tools=tools)
    assert answer.content[0].type == "text"
    assert "22 degrees" in answer.content[0].text


def test_bad_requests_are_answered_in_the_clients_dialect(
    openai_client: openai.OpenAI, anthropic_client: anthropic.Anthropic
) -> None:
    with pytest.raises(openai.BadRequestError, match="messages"):
        openai_client.chat.completions.create(model="demo", messages=[])
    with pytest.raises(anthropic.BadRequestError, match="max_tokens"):
        anthropic_client.messages.create(model="demo", max_tokens=0, messages=[{"role": "user", "content": "x"}])
    with pytest.raises(openai.NotFoundError, match="does not serve"):
        openai_client.images.generate(prompt="x")
