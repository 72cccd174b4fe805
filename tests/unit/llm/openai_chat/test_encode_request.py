"""Chat completion requests as providers get them; OpenAI's own SDK types must accept them."""

import json
from typing import Any

import msgspec
import pytest
from headgate.llm.canonical import (
    Base64Source,
    CachePoint,
    ChatRequest,
    DocumentPart,
    FileSource,
    FunctionTool,
    ImagePart,
    MediaPart,
    Message,
    OpaquePart,
    OpaqueTool,
    Reasoning,
    RedactedThinkingPart,
    RefusalPart,
    ResponseFormat,
    Sampling,
    TextPart,
    TextSource,
    ThinkingPart,
    ToolCallPart,
    ToolChoice,
    ToolResultPart,
    UrlSource,
)
from headgate.llm.dialects.dialect import Memo, Target
from headgate.llm.dialects.openai_chat import DIALECT
from headgate.llm.names import DialectName
from support.providers.checking import sdk_problems

WHOLE = "openai.types.chat.completion_create_params.CompletionCreateParamsNonStreaming"
STREAMED = "openai.types.chat.completion_create_params.CompletionCreateParamsStreaming"
HELLO = (Message("user", (TextPart("hi"),), path="messages[0]"),)
PIXEL = Base64Source("image/png", "AAAA")


def encode(
    *messages: Message, model: str = "gpt-4o", extension: bool = False, **members: Any
) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """The body, and the losses as (path, action)."""
    request = ChatRequest(model="client-model", messages=messages or HELLO, **members)
    encoded = DIALECT.encode_request(request, Target(model=model))
    assert encoded == DIALECT.encode_request(request, Target(model=model))
    problems = sdk_problems(STREAMED if request.stream else WHOLE, encoded.body, allow_unknown=extension)
    assert problems == []
    return json.loads(encoded.body), [(loss.path, loss.action) for loss in encoded.losses]


def user(*parts: Any) -> Message:
    return Message("user", parts, path="messages[0]")


def assistant(*parts: Any) -> Message:
    return Message("assistant", parts, path="messages[1]")


def test_a_plain_conversation_is_plain_strings() -> None:
    body, losses = encode(
        Message("system", (TextPart("a"), TextPart("b")), path="system"),
        user(TextPart("c")),
        assistant(TextPart("d")),
        user(TextPart("e"), TextPart("f")),
    )
    assert body == {
        "model": "gpt-4o",
        "messages": [
            {"role": "system", "content": "a\n\nb"},
            {"role": "user", "content": "c"},
            {"role": "assistant", "content": "d"},
            {"role": "user", "content": [{"type": "text", "text": "e"}, {"type": "text", "text": "f"}]},
        ],
    }
    assert losses == []


def test_developer_is_a_role_only_openai_knows() -> None:
    message = Message("developer", (TextPart("a"),))
    assert encode(message)[0]["messages"][0]["role"] == "developer"
    assert encode(message, model="llama-3")[0]["messages"][0]["role"] == "system"


def test_media_of_users() -> None:
    body, losses = encode(
        user(
            ImagePart(PIXEL, "low"),
            ImagePart(UrlSource("https://x/a")),
            DocumentPart(Base64Source("application/pdf", "AAAA"), "a.pdf", "about"),
            DocumentPart(FileSource("file-1")),
            DocumentPart(TextSource("words"), "title"),
            MediaPart("audio", Base64Source("audio/mp3", "AAAA"), "mp3"),
        )
    )
    assert body["messages"][0]["content"] == [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "https://x/a"}},
        {"type": "text", "text": "about"},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"}},
        {"type": "file", "file": {"file_id": "file-1"}},
        {"type": "text", "text": "title\n\nwords"},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}},
    ]
    assert losses == []


def test_what_no_message_can_hold_is_a_loss() -> None:
    body, losses = encode(
        user(
            ImagePart(FileSource("file_1")),
            DocumentPart(UrlSource("https://x/a.pdf")),
            OpaquePart(DialectName.ANTHROPIC_MESSAGES, "search_result", msgspec.Raw(b"{}")),
        ),
        assistant(TextPart("x"), OpaquePart(DialectName.ANTHROPIC_MESSAGES, "server_tool_use", msgspec.Raw(b"{}"))),
    )
    assert body["messages"] == [{"role": "user", "content": ""}, {"role": "assistant", "content": "x"}]
    assert losses.pop() == ("messages[1]", "changed")
    assert losses == [
        ("messages[0].content[0]", "dropped"),
        ("messages[0].content[1]", "dropped"),
        ("messages[0].content[2]", "dropped"),
        ("messages[1].content[1]", "dropped"),
    ]


def test_parallel_tools_and_results_with_images() -> None:
    body, losses = encode(
        HELLO[0],
        assistant(TextPart("look"), ToolCallPart("1", "f", '{"a": 1}'), ToolCallPart("2", "g", "{}")),
        user(
            ToolResultPart("1", (TextPart("a"), ImagePart(PIXEL), TextPart("b"))),
            ToolResultPart("2", (ImagePart(PIXEL),), is_error=True),
            TextPart("and now?"),
        ),
    )
    assert body["messages"][1:] == [
        {
            "role": "assistant",
            "content": "look",
            "tool_calls": [
                {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}},
                {"id": "2", "type": "function", "function": {"name": "g", "arguments": "{}"}},
            ],
        },
        {"role": "tool", "tool_call_id": "1", "content": "a\nb"},
        {"role": "tool", "tool_call_id": "2", "content": "Error: The result follows in the next user message."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Result of tool call 1:"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
                {"type": "text", "text": "Result of tool call 2:"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
                {"type": "text", "text": "and now?"},
            ],
        },
    ]
    assert losses == [
        ("messages[0].content[0]", "emulated"),
        ("messages[0].content[1]", "emulated"),
        ("messages[0].content[1].is_error", "emulated"),
    ]


def test_media_wait_until_the_last_of_several_tool_messages() -> None:
    body, _ = encode(
        HELLO[0],
        assistant(ToolCallPart("1", "f", "{}"), ToolCallPart("2", "g", "{}")),
        user(ToolResultPart("1", (ImagePart(PIXEL),))),
        user(ToolResultPart("2", (TextPart("b"),))),
        assistant(TextPart("c")),
    )
    assert [message["role"] for message in body["messages"]] == [
        "user",
        "assistant",
        "tool",
        "tool",
        "user",
        "assistant",
    ]
    assert body["messages"][1]["content"] is None


def test_documents_of_text_stay_in_the_tool_message() -> None:
    found = DocumentPart(TextSource("words"), "title")
    body, losses = encode(HELLO[0], assistant(ToolCallPart("1", "f", "{}")), user(ToolResultPart("1", (found,))))
    assert body["messages"][2] == {"role": "tool", "tool_call_id": "1", "content": "title\n\nwords"}
    assert losses == []


def test_an_answer_begun_is_not_gone_on_with() -> None:
    _, losses = encode(HELLO[0], assistant(TextPart("{")))
    assert losses == [("messages[1]", "changed")]


def test_refusals_go_back() -> None:
    body, _ = encode(HELLO[0], assistant(RefusalPart("no")), user(TextPart("why")))
    assert body["messages"][1] == {"role": "assistant", "content": None, "refusal": "no"}


THOUGHTS = (ThinkingPart("hm", "sig"), RedactedThinkingPart("data"), TextPart("x"))


@pytest.mark.parametrize(
    ("model", "members", "lost"),
    [
        ("gpt-5", {}, ["messages[1].content[0]", "messages[1].content[1]"]),
        ("deepseek-reasoner", {"reasoning_content": "hm"}, ["messages[1].content[1]"]),
        (
            "anthropic/claude-sonnet-4.5",
            {
                "thinking_blocks": [
                    {"type": "thinking", "thinking": "hm", "signature": "sig"},
                    {"type": "redacted_thinking", "data": "data"},
                ]
            },
            [],
        ),
    ],
)
def test_reasoning_goes_back_only_to_models_that_take_it(model: str, members: dict[str, Any], lost: list[str]) -> None:
    body, losses = encode(HELLO[0], assistant(*THOUGHTS), HELLO[0], model=model, extension=True)
    assert body["messages"][1] == {"role": "assistant", "content": "x", **members}
    assert [path for path, _ in losses] == lost


def test_cache_points_are_members_only_where_they_are_known() -> None:
    system = Message("system", (TextPart("a", CachePoint()), TextPart("b")), path="system")
    tools = (FunctionTool("f", cache=CachePoint("1h")),)
    body, losses = encode(system, user(TextPart("c", CachePoint())), tools=tools)
    assert b"cache_control" not in json.dumps(body).encode()
    assert losses == [("system[0].cache_control", "emulated")]
    body, losses = encode(system, user(TextPart("c", CachePoint())), tools=tools, model="claude-x", extension=True)
    assert body["messages"] == [
        {
            "role": "system",
            "content": [
                {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}},
                {"type": "text", "text": "b"},
            ],
        },
        {"role": "user", "content": [{"type": "text", "text": "c", "cache_control": {"type": "ephemeral"}}]},
    ]
    assert body["tools"][0]["cache_control"] == {"type": "ephemeral", "ttl": "1h"}
    assert losses == []


def test_tools_go_out_with_their_schema_as_it_came() -> None:
    schema = msgspec.Raw(b'{"type":"object", "properties":{"b":{},"a":{}}}')
    request = ChatRequest(
        model="m",
        messages=HELLO,
        tools=(
            FunctionTool("f", "d", schema, True),
            OpaqueTool(DialectName.ANTHROPIC_MESSAGES, "web_search_20250305", msgspec.Raw(b"{}")),
            OpaqueTool(DialectName.OPENAI_CHAT, "custom", msgspec.Raw(b'{"type":"custom","custom":{"name":"c"}}')),
        ),
        tool_choice=ToolChoice("required"),
        parallel_tool_calls=False,
    )
    encoded = DIALECT.encode_request(request, Target(model="gpt-4o"))
    assert bytes(schema) in encoded.body
    assert sdk_problems(WHOLE, encoded.body) == []
    assert [loss.path for loss in encoded.losses] == ["tools[1]"]
    body = json.loads(encoded.body)
    assert (body["tool_choice"], body["parallel_tool_calls"]) == ("required", False)
    assert body["tools"][1] == {"type": "custom", "custom": {"name": "c"}}


@pytest.mark.parametrize(
    ("choice", "expected", "lost"),
    [
        (ToolChoice("auto"), "auto", []),
        (ToolChoice("none"), "none", []),
        (ToolChoice("named", "f"), {"type": "function", "function": {"name": "f"}}, []),
        (ToolChoice("named", "gone"), None, ["tool_choice"]),
        (
            ToolChoice("auto", allowed=("f",)),
            {
                "type": "allowed_tools",
                "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "f"}}]},
            },
            [],
        ),
    ],
)
def test_tool_choice(choice: ToolChoice, expected: Any, lost: list[str]) -> None:
    body, losses = encode(tools=(FunctionTool("f"),), tool_choice=choice)
    assert body.get("tool_choice") == expected
    assert [path for path, _ in losses] == lost


LONG_NAME = "mcp__a_server_with_a_long_name__a_tool_with_a_name_that_is_longer_still"


def test_a_long_tool_name_goes_by_a_digest_everywhere() -> None:
    body, losses = encode(
        HELLO[0],
        assistant(ToolCallPart("1", LONG_NAME, "{}")),
        user(ToolResultPart("1", (TextPart("ok"),))),
        tools=(FunctionTool(LONG_NAME), FunctionTool(LONG_NAME + "2")),
        tool_choice=ToolChoice("named", LONG_NAME),
    )
    sent = [tool["function"]["name"] for tool in body["tools"]]
    assert [len(name) for name in sent] == [64, 64]
    assert sent[0] != sent[1]
    assert body["messages"][1]["tool_calls"][0]["function"]["name"] == sent[0]
    assert body["tool_choice"]["function"]["name"] == sent[0]
    assert losses == [("tools[0].name", "emulated"), ("tools[1].name", "emulated")]


@pytest.mark.parametrize(
    ("schema", "sent"),
    [
        (b"{}", b'{"type":"object","properties":{}}'),
        (b'{"type":"object"}', b'{"type":"object","properties":{}}'),
        (b'{"type": "object", "properties": {}}', b'{"type": "object", "properties": {}}'),
        (b'{"properties":{"a":{}}}', b'{"properties":{"a":{}},"type":"object"}'),
        (b'{"$ref":"#/$defs/a"}', b'"parameters":{"$ref":"#/$defs/a"}'),
    ],
)
def test_a_schema_says_that_it_is_an_objects(schema: bytes, sent: bytes) -> None:
    request = ChatRequest(model="m", messages=HELLO, tools=(FunctionTool("f", parameters=msgspec.Raw(schema)),))
    assert sent in DIALECT.encode_request(request, Target(model="m")).body


def test_empty_instructions_are_not_sent() -> None:
    assert encode(Message("system", ()), HELLO[0])[0]["messages"] == [{"role": "user", "content": "hi"}]


def test_no_tools_no_choice() -> None:
    body, losses = encode(tool_choice=ToolChoice("none"), parallel_tool_calls=True)
    assert "tool_choice" not in body
    assert "parallel_tool_calls" not in body
    assert losses == []


@pytest.mark.parametrize(
    ("model", "member"),
    [
        ("gpt-4o", "max_completion_tokens"),
        ("openai/o3-mini", "max_completion_tokens"),
        ("gpt-oss-120b", "max_tokens"),
        ("llama-3", "max_tokens"),
        ("mistral-large", "max_tokens"),
    ],
)
def test_the_word_for_max_tokens_is_the_models(model: str, member: str) -> None:
    assert encode(model=model, max_tokens=5)[0][member] == 5


@pytest.mark.parametrize(
    ("model", "sent", "lost"),
    [
        ("gpt-4o", 16_384, [("max_tokens", "changed")]),
        ("gpt-4.1-mini", 32_000, []),
        ("gpt-5", 32_000, []),
        ("llama-3", 32_000, []),
    ],
)
def test_no_more_is_asked_for_than_the_model_can_write(model: str, sent: int, lost: list[tuple[str, str]]) -> None:
    body, losses = encode(model=model, max_tokens=32_000)
    assert body.get("max_completion_tokens", body.get("max_tokens")) == sent
    assert losses == lost


def test_a_long_user_is_told_apart_by_a_digest() -> None:
    body, losses = encode(user="user_" + "a" * 100)
    other, _ = encode(user="user_" + "a" * 99 + "b")
    assert len(body["user"]) == 64
    assert body["user"] != other["user"]
    assert losses == [("user", "emulated")]


def test_sampling_and_limits() -> None:
    body, losses = encode(
        sampling=Sampling(0.5, 0.9, 5, 0.1, 0.2, 7, 2, True, 3, msgspec.Raw(b'{"1":2}')),
        stop=("a", "b", "c", "d", "e"),
        user="u",
        service_tier="standard_only",
    )
    assert {name: body[name] for name in body if name not in ("model", "messages")} == {
        "temperature": 0.5,
        "top_p": 0.9,
        "frequency_penalty": 0.1,
        "presence_penalty": 0.2,
        "seed": 7,
        "n": 2,
        "logprobs": True,
        "top_logprobs": 3,
        "logit_bias": {"1": 2},
        "stop": ["a", "b", "c", "d"],
        "user": "u",
        "service_tier": "default",
    }
    assert losses == [("stop", "changed"), ("top_k", "dropped")]


def test_reasoning_models_take_no_sampling() -> None:
    body, losses = encode(model="gpt-5", sampling=Sampling(temperature=1, top_p=0.5), stop=("x",))
    assert set(body) == {"model", "messages"}
    assert losses == [("stop", "dropped"), ("top_p", "dropped")]


@pytest.mark.parametrize(
    ("model", "reasoning", "members", "lost"),
    [
        ("gpt-5", Reasoning("enabled", 2000), {"reasoning_effort": "low"}, ["thinking.budget_tokens"]),
        ("gpt-5", Reasoning("enabled", 10_000), {"reasoning_effort": "medium"}, ["thinking.budget_tokens"]),
        ("gpt-5", Reasoning("enabled", 60_000), {"reasoning_effort": "high"}, ["thinking.budget_tokens"]),
        ("gpt-5", Reasoning("adaptive"), {}, []),
        ("gpt-5.1", Reasoning("adaptive"), {"reasoning_effort": "medium"}, ["thinking"]),
        ("gpt-5", Reasoning("adaptive", effort="max"), {"reasoning_effort": "high"}, ["output_config.effort"]),
        ("gpt-5", Reasoning("disabled"), {"reasoning_effort": "minimal"}, ["thinking"]),
        ("gpt-5.2", Reasoning("disabled"), {"reasoning_effort": "none"}, []),
        ("gpt-5.2", Reasoning(effort="max"), {"reasoning_effort": "xhigh"}, ["output_config.effort"]),
        ("gpt-5", Reasoning(effort="high"), {"reasoning_effort": "high"}, []),
        ("gpt-4o", Reasoning("enabled", 2000), {}, ["thinking"]),
        ("gpt-4o", Reasoning("disabled"), {}, []),
        ("llama-3", Reasoning(effort="high"), {}, ["output_config.effort"]),
        ("deepseek-chat", Reasoning("enabled", 9), {"thinking": {"type": "enabled"}}, ["thinking.budget_tokens"]),
        ("deepseek-chat", Reasoning("disabled"), {"thinking": {"type": "disabled"}}, []),
        ("deepseek-chat", Reasoning("adaptive"), {}, []),
        ("claude-x", Reasoning("enabled", 9), {"thinking": {"type": "enabled", "budget_tokens": 9}}, []),
        ("claude-x", Reasoning("adaptive"), {"thinking": {"type": "adaptive"}}, []),
        ("claude-x", Reasoning(effort="low"), {"reasoning_effort": "low"}, []),
    ],
)
def test_reasoning_in_the_models_words(
    model: str, reasoning: Reasoning, members: dict[str, Any], lost: list[str]
) -> None:
    body, losses = encode(model=model, extension=True, reasoning=reasoning)
    assert {name: body[name] for name in body if name not in ("model", "messages")} == members
    assert [path for path, _ in losses] == lost


def test_structured_output() -> None:
    schema = msgspec.Raw(b'{"type": "object"}')
    body, _ = encode(response_format=ResponseFormat("json_schema", schema=schema, strict=True))
    assert body["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "response", "schema": {"type": "object"}, "strict": True},
    }
    assert encode(response_format=ResponseFormat("json_object"))[0]["response_format"] == {"type": "json_object"}


def test_a_stream_always_tells_its_usage_and_the_memo_says_who_asked() -> None:
    request = ChatRequest(model="m", messages=HELLO, stream=True, include_usage=False, stop=("x",))
    encoded = DIALECT.encode_request(request, Target(model="llama"))
    assert json.loads(encoded.body)["stream_options"] == {"include_usage": True}
    assert sdk_problems(STREAMED, encoded.body) == []
    assert encoded.memo == Memo(include_usage=False, stop=("x",))


def test_extras_go_back_only_to_their_dialect() -> None:
    extras = {
        DialectName.OPENAI_CHAT: {"verbosity": msgspec.Raw(b'"low"')},
        DialectName.ANTHROPIC_MESSAGES: {"container": msgspec.Raw(b'"c"')},
    }
    body, losses = encode(extras=extras)
    assert body["verbosity"] == "low"
    assert losses == [("container", "dropped")]


def test_what_this_dialect_decoded_it_encodes_again() -> None:
    schema: dict[str, Any] = {"type": "object", "properties": {}}
    body: dict[str, Any] = {
        "model": "gpt-4o",
        "messages": [
            {"role": "developer", "content": "d"},
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}},
                ],
            },
            {"role": "tool", "tool_call_id": "1", "content": "r"},
        ],
        "tools": [
            {
                "type": "function",
                "function": {"name": "f", "description": "d", "parameters": schema},
            }
        ],
        "tool_choice": "auto",
        "max_completion_tokens": 9,
        "seed": 1,
        "store": True,
    }
    request = DIALECT.decode_request(json.dumps(body).encode())
    encoded = DIALECT.encode_request(request, Target(model="gpt-4o"))
    assert json.loads(encoded.body) == body
    assert encoded.losses == ()
