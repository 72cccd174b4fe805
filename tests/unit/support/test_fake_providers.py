"""The fake providers answer what the official SDKs understand, and refuse what those could not send."""

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import Callable

import anthropic
import openai
import pytest
from openai.types.responses import ResponseCompletedEvent, ResponseFunctionToolCall
from support.providers import (
    ANTHROPIC,
    ANTHROPIC_BEARER,
    AZURE_OPENAI,
    BEDROCK,
    OPENAI,
    Answer,
    Delivery,
    Failure,
    Provider,
    Raw,
    ToolUse,
    Usage,
)
from support.providers.bedrock_api import signature_problems
from support.providers.received import Received

USAGE = Usage(input=100, output=20, cached=30, cache_creation=10, reasoning=5)
TOOLS = (ToolUse("weather", '{"city":"Zürich"}', "call_a"), ToolUse("time", '{"zone":"CET"}', "call_b"))
StartProvider = Callable[..., Provider]


def _openai(provider: Provider) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{provider.url}/v1", api_key=provider.key, max_retries=0)


def _anthropic(provider: Provider) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=provider.url, api_key=provider.key, max_retries=0)


def test_openai_sdk_reads_a_chat_completion(start_provider: StartProvider) -> None:
    provider = start_provider(OPENAI)
    provider.answer(Answer(text="Hi", tools=TOOLS, usage=USAGE))
    with _openai(provider) as client:
        got = client.chat.completions.create(model="gpt-x", messages=[{"role": "user", "content": "hello"}])
    message = got.choices[0].message
    assert (message.content, got.choices[0].finish_reason, got.model) == ("Hi", "tool_calls", "gpt-x-2025-01-01")
    assert [call.function.arguments for call in message.tool_calls or () if call.type == "function"] == [
        tool.arguments for tool in TOOLS
    ]
    assert got.usage
    assert got.usage.prompt_tokens_details
    assert (got.usage.total_tokens, got.usage.prompt_tokens_details.cached_tokens) == (120, 30)
    assert provider.last.model == "gpt-x"


@pytest.mark.parametrize("cut", ["events", "bytes", "whole"])
def test_openai_sdk_reads_a_chat_stream(start_provider: StartProvider, cut: str) -> None:
    provider = start_provider(OPENAI)
    provider.answer(Answer(text="Grüezi mitenand", tools=TOOLS, usage=USAGE, delivery=Delivery(cut=cut)))  # pyright: ignore[reportArgumentType]
    with _openai(provider) as client:
        chunks = list(
            client.chat.completions.create(
                model="gpt-x",
                messages=[{"role": "user", "content": "hello"}],
                stream=True,
                stream_options={"include_usage": True},
            )
        )
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    assert "".join(delta.content or "" for delta in deltas) == "Grüezi mitenand"
    arguments = {0: "", 1: ""}
    for call in (call for delta in deltas for call in delta.tool_calls or ()):
        assert call.function
        arguments[call.index] += call.function.arguments or ""
    assert list(arguments.values()) == [tool.arguments for tool in TOOLS]
    assert chunks[-1].usage
    assert chunks[-1].usage.completion_tokens == 20


def test_openai_sdk_reads_the_other_endpoints(start_provider: StartProvider) -> None:
    provider = start_provider(OPENAI)
    provider.answer(Answer(text="abc", tools=TOOLS, thinking="hm", usage=USAGE))
    with _openai(provider) as client:
        assert client.completions.create(model="m", prompt="p").choices[0].text == "abc"
        streamed = client.completions.create(model="m", prompt="p", stream=True)
        assert "".join(each.choices[0].text for each in streamed) == "abc"
        assert client.embeddings.create(model="m", input=["a", "b"]).data[1].embedding == [0.25, -0.5]
        assert [each.id for each in client.models.list()] == ["gpt-x"]
        response = client.responses.create(model="m", input="hello")
        assert response.output_text == "abc"
        assert [each.name for each in response.output if isinstance(each, ResponseFunctionToolCall)] == [
            "weather",
            "time",
        ]
        *_, last = client.responses.create(model="m", input="hello", stream=True)
        assert isinstance(last, ResponseCompletedEvent)
        assert last.response == response
    assert not provider.problems


def test_openai_sdk_assembles_a_response_stream(start_provider: StartProvider) -> None:
    provider = start_provider(OPENAI)
    provider.answer(Answer(text="abc", tools=TOOLS, thinking="hm"))
    with _openai(provider) as client, client.responses.stream(model="m", input="hello") as stream:
        assert stream.get_final_response().output_text == "abc"


def test_azure_sdk_reaches_a_deployment(start_provider: StartProvider) -> None:
    provider = start_provider(AZURE_OPENAI)
    with openai.AzureOpenAI(
        azure_endpoint=provider.url, api_key=provider.key, api_version="2024-10-21", max_retries=0
    ) as client:
        got = client.chat.completions.create(model="deployed", messages=[{"role": "user", "content": "hello"}])
    assert got.choices[0].message.content
    assert provider.last.path == "/openai/deployments/deployed/chat/completions"


def test_anthropic_sdk_reads_a_message(start_provider: StartProvider) -> None:
    provider = start_provider(ANTHROPIC_BEARER)
    provider.answer(Answer(text="Hi", thinking="hm", redacted_thinking="xx", tools=TOOLS, usage=USAGE))
    with _anthropic(provider) as client:
        got = client.messages.create(model="m", max_tokens=5, messages=[{"role": "user", "content": "hello"}])
        counted = client.messages.count_tokens(model="m", messages=[{"role": "user", "content": "hello"}])
        assert [each.id for each in client.models.list()] == ["claude-x"]
    kinds = [block.type for block in got.content]
    assert kinds == ["thinking", "redacted_thinking", "text", "tool_use", "tool_use"]
    assert got.stop_reason == "tool_use"
    assert (got.usage.input_tokens, got.usage.cache_read_input_tokens, counted.input_tokens) == (60, 30, 100)


@pytest.mark.parametrize("cut", ["events", "bytes"])
def test_anthropic_sdk_assembles_the_same_message_from_a_stream(start_provider: StartProvider, cut: str) -> None:
    provider = start_provider(ANTHROPIC_BEARER)
    answer = Answer(text="Hi", thinking="hm", redacted_thinking="xx", tools=TOOLS, usage=USAGE)
    streamed = Answer(
        text="Hi",
        thinking="hm",
        redacted_thinking="xx",
        tools=TOOLS,
        usage=USAGE,
        delivery=Delivery(cut=cut),  # pyright: ignore[reportArgumentType]
    )
    provider.answer(answer, streamed)
    with _anthropic(provider) as client:
        whole = client.messages.create(model="m", max_tokens=5, messages=[{"role": "user", "content": "hello"}])
        with client.messages.stream(model="m", max_tokens=5, messages=[{"role": "user", "content": "hello"}]) as stream:
            assembled = stream.get_final_message()
    assert assembled.model_dump(exclude_none=True) == whole.model_dump(exclude_none=True)


def test_failures_keep_status_and_headers(start_provider: StartProvider) -> None:
    for api, client in ((OPENAI, _openai), (ANTHROPIC_BEARER, _anthropic)):
        provider = start_provider(api)
        provider.answer(Failure(429, "slow down", retry_after_seconds=7))
        opened = client(provider)
        with pytest.raises((openai.RateLimitError, anthropic.RateLimitError), match="slow down") as caught:
            opened.get("/v1/models" if api is ANTHROPIC_BEARER else "/models", cast_to=object)
        opened.close()
        assert caught.value.response.headers["retry-after"] == "7"


def test_script_goes_on_with_its_last_reply(start_provider: StartProvider) -> None:
    provider = start_provider(OPENAI)
    provider.answer(Failure(500), Raw(body=b"<html>", content_type="text/html", status=502))
    assert [_status(provider, _chat()) for _ in range(3)] == [500, 502, 502]


def _chat(**members: object) -> dict[str, object]:
    return {"model": "m", "messages": [{"role": "user", "content": "hello"}], **members}


def _call(provider: Provider, path: str, body: object, **headers: str) -> tuple[int, str]:
    request = urllib.request.Request(
        provider.url + path, json.dumps(body).encode(), {"content-type": "application/json", **headers}
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def _status(provider: Provider, body: object, **headers: str) -> int:
    return _call(provider, "/v1/chat/completions", body, Authorization=f"Bearer {provider.key}", **headers)[0]


BAD_CHATS = {
    "unknown member": _chat(foo=1),
    "string where a number is due": _chat(max_tokens="3"),
    "unknown role": _chat(messages=[{"role": "usr", "content": "x"}]),
    "unknown part": _chat(messages=[{"role": "user", "content": [{"type": "texxt", "text": "x"}]}]),
    "unknown member of a part": _chat(messages=[{"role": "user", "content": [{"type": "text", "text": "x", "y": 1}]}]),
    "tool message without its call": _chat(messages=[{"role": "tool", "tool_call_id": "a", "content": "x"}]),
    "no model": {"messages": [{"role": "user", "content": "x"}]},
}


@pytest.mark.parametrize("body", BAD_CHATS.values(), ids=BAD_CHATS.keys())
def test_openai_refuses_what_its_sdk_could_not_send(body: dict[str, object]) -> None:
    with Provider(OPENAI) as provider:
        assert _status(provider, body) == 400
        assert len(provider.problems) >= 1


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("x-api-key", "other"),
        ("x-ai-eg-model", "m"),
        ("x-headgate-losses", "x"),
        ("x-envoy-original-path", "/"),
        ("authorization", "Bearer client-key"),
        ("cookie", "a=b"),
    ],
)
def test_a_header_that_should_have_been_stripped_is_a_problem(header: str, value: str) -> None:
    with Provider(OPENAI) as provider:
        headers = {"Authorization": f"Bearer {provider.key}", header.title(): value}
        assert _call(provider, "/v1/chat/completions", _chat(), **headers)[0] == 400
        assert provider.problems


BAD_MESSAGES: dict[str, dict[str, object]] = {
    "no max_tokens": {"max_tokens": None},
    "empty text": {"messages": [{"role": "user", "content": ""}]},
    "assistant first": {"messages": [{"role": "assistant", "content": "x"}]},
    "tool result without its call": {
        "messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": "x"}]}]
    },
    "thinking budget over max_tokens": {"thinking": {"type": "enabled", "budget_tokens": 2000}},
    "unknown member": {"foo": 1},
    "OpenAI's stop": {"stop": ["x"]},
}


@pytest.mark.parametrize("change", BAD_MESSAGES.values(), ids=BAD_MESSAGES.keys())
def test_anthropic_refuses_what_its_sdk_could_not_send(change: dict[str, object]) -> None:
    body = {"model": "m", "max_tokens": 10, "messages": [{"role": "user", "content": "x"}], **change}
    headers = {"X-Api-Key": "provider-key", "Anthropic-Version": "2023-06-01"}
    with Provider(ANTHROPIC) as provider:
        assert _call(provider, "/v1/messages", body, **headers)[0] == 400
        assert provider.problems


def test_unknown_members_pass_where_the_test_wants_them(start_provider: StartProvider) -> None:
    provider = start_provider(OPENAI, allow_unknown=True)
    assert _status(provider, _chat(vendor_extra={"a": 1})) == 200


def test_gzip_is_declared_and_decodes(start_provider: StartProvider) -> None:
    provider = start_provider(OPENAI)
    provider.answer(Answer(text="packed", delivery=Delivery(gzip=True)))
    with _openai(provider) as client:
        got = client.chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}])
    assert got.choices[0].message.content == "packed"


async def test_a_hanging_stream_ends_when_the_client_leaves(start_provider: StartProvider) -> None:
    provider = start_provider(OPENAI)
    provider.answer(Answer(delivery=Delivery(hang_after_bytes=50)))
    reader, writer = await asyncio.open_connection("127.0.0.1", provider.port)
    body = json.dumps(_chat(stream=True)).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        f"authorization: Bearer {provider.key}\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    writer.write(head.encode() + body)
    await reader.readuntil(b"data: ")
    writer.close()
    await asyncio.to_thread(provider.wait_for_disconnects)


def test_an_aborted_stream_is_an_error_for_the_client(start_provider: StartProvider) -> None:
    provider = start_provider(OPENAI)
    provider.answer(Answer(delivery=Delivery(abort_after_bytes=300)))
    with _openai(provider) as client, pytest.raises(openai.APIConnectionError):
        list(client.chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}], stream=True))


def test_bedrock_wants_a_valid_signature() -> None:
    with Provider(BEDROCK, key="AKID:secret") as provider:
        status, _ = _call(provider, "/model/m/converse", {"messages": []}, Authorization="Bearer x")
        assert status == 400
        assert any("signature" in problem for problem in provider.problems)


def test_the_signature_is_computed_as_aws_documents() -> None:
    """The example request of AWS's Signature Version 4 test suite, "get-vanilla"."""
    received = Received(
        method="GET",
        path="/",
        query="",
        headers=(
            ("host", "example.amazonaws.com"),
            ("x-amz-date", "20150830T123600Z"),
            (
                "authorization",
                "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
                "SignedHeaders=host;x-amz-date, "
                "Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
            ),
        ),
        body=b"",
    )
    assert signature_problems(received, "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY") == []
    assert signature_problems(received, "AKIDEXAMPLE", "another") == ["the AWS signature does not match"]
