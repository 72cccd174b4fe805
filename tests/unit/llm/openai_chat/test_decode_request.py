"""Chat completion requests as clients send them."""

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
    Part,
    Reasoning,
    RedactedThinkingPart,
    RefusalPart,
    ResponseFormat,
    Sampling,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolChoice,
    ToolResultPart,
    UrlSource,
    UserLocation,
    WebSearchTool,
)
from headgate.llm.dialects.openai_chat import DIALECT
from headgate.llm.errors import RequestError
from headgate.llm.names import DialectName

CHAT = DialectName.OPENAI_CHAT


def decode(messages: list[Any] | None = None, **members: Any) -> ChatRequest:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}] if messages is None else messages, **members}
    return DIALECT.decode_request(json.dumps(body).encode())


def user_parts(*parts: dict[str, Any]) -> tuple[Part, ...]:
    return decode([{"role": "user", "content": list(parts)}]).messages[0].parts


def assistant_parts(**message: Any) -> tuple[Part, ...]:
    return decode([{"role": "assistant", **message}]).messages[0].parts


def raw(value: Any) -> msgspec.Raw:
    return msgspec.Raw(json.dumps(value).encode())


def test_roles_keep_their_place() -> None:
    messages = [
        {"role": "system", "content": "a"},
        {"role": "developer", "content": [{"type": "text", "text": "b"}, {"type": "text", "text": "c"}]},
        {"role": "user", "content": "d", "name": "ann"},
        {"role": "assistant", "content": "e"},
        {"role": "system", "content": ""},
    ]
    assert decode(messages).messages == (
        Message("system", (TextPart("a"),), path="messages[0]"),
        Message("developer", (TextPart("b"), TextPart("c")), path="messages[1]"),
        Message("user", (TextPart("d"),), name="ann", path="messages[2]"),
        Message("assistant", (TextPart("e"),), path="messages[3]"),
        Message("system", (), path="messages[4]"),
    )


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ({"type": "text", "text": "x"}, TextPart("x")),
        (
            {"type": "text", "text": "x", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
            TextPart("x", CachePoint("1h")),
        ),
        (
            {"type": "image_url", "image_url": {"url": "https://x/a.png", "detail": "high"}},
            ImagePart(UrlSource("https://x/a.png"), "high"),
        ),
        (
            {"type": "image_url", "image_url": {"url": "data:image/PNG;charset=x;base64,AAAA"}},
            ImagePart(Base64Source("image/png", "AAAA")),
        ),
        (
            {"type": "image_url", "image_url": {"url": "data:application/pdf;base64,AAAA"}},
            DocumentPart(Base64Source("application/pdf", "AAAA")),
        ),
        (
            {"type": "image_url", "image_url": {"url": "https://x/a.PDF?b=1"}},
            DocumentPart(UrlSource("https://x/a.PDF?b=1")),
        ),
        (
            {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
            MediaPart("audio", Base64Source("audio/wav", "AAAA"), "wav"),
        ),
        ({"type": "audio_url", "audio_url": {"url": "https://x/a"}}, MediaPart("audio", UrlSource("https://x/a"))),
        (
            {"type": "video_url", "video_url": {"url": "data:video/mp4;base64,AA=="}},
            MediaPart("video", Base64Source("video/mp4", "AA==")),
        ),
        (
            {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"}},
            DocumentPart(Base64Source("application/pdf", "AAAA"), "a.pdf"),
        ),
        ({"type": "file", "file": {"file_data": "AAAA"}}, DocumentPart(Base64Source("", "AAAA"))),
        ({"type": "file", "file": {"file_id": "file-1"}}, DocumentPart(FileSource("file-1"))),
    ],
)
def test_user_parts(part: dict[str, Any], expected: Part) -> None:
    assert user_parts(part) == (expected,)


def test_assistant_message_comes_in_one_order() -> None:
    parts = assistant_parts(
        tool_calls=[
            {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}},
            {"id": "2", "type": "function", "function": {"name": "g", "arguments": ""}},
        ],
        content=[{"type": "text", "text": "t"}, {"type": "refusal", "refusal": "r"}],
        reasoning_content="because",
        refusal=None,
        annotations=[],
        audio=None,
    )
    assert parts == (
        ThinkingPart("because"),
        TextPart("t"),
        RefusalPart("r"),
        ToolCallPart("1", "f", '{"a": 1}'),
        ToolCallPart("2", "g", "{}"),
    )


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"reasoning": "x"}, (ThinkingPart("x"),)),
        (
            {
                "reasoning_content": "x",
                "thinking_blocks": [
                    {"type": "thinking", "thinking": "x", "signature": "s"},
                    {"type": "redacted_thinking", "data": "d"},
                ],
            },
            (ThinkingPart("x", "s"), RedactedThinkingPart("d")),
        ),
        (
            {"reasoning_content": "x", "thinking_blocks": [{"type": "thinking", "signature": "s"}]},
            (ThinkingPart("x", "s"),),
        ),
        (
            {"reasoning_content": {"reasoningContent": {"reasoningText": {"text": "x", "signature": "s"}}}},
            (ThinkingPart("x", "s"),),
        ),
        (
            {"reasoning_content": {"reasoningContent": {"redactedContent": "d"}}},
            (RedactedThinkingPart("d"),),
        ),
        (
            {
                "content": [
                    {"type": "thinking", "text": "x", "signature": "s"},
                    {"type": "redacted_thinking", "redactedContent": "d"},
                    {"type": "text", "text": "t"},
                ]
            },
            (ThinkingPart("x", "s"), RedactedThinkingPart("d"), TextPart("t")),
        ),
    ],
)
def test_reasoning_comes_back_in_every_shape_it_was_sent_in(message: dict[str, Any], expected: tuple[Part]) -> None:
    assert assistant_parts(**message) == expected


def test_what_only_this_dialect_has_is_kept() -> None:
    assert assistant_parts(audio={"id": "audio_1"}) == (OpaquePart(CHAT, "audio", msgspec.Raw(b'{"id": "audio_1"}')),)


def test_a_custom_tools_call_is_a_call_of_its_function() -> None:
    parts = assistant_parts(tool_calls=[{"id": "1", "type": "custom", "custom": {"name": "sh", "input": "ls"}}])
    assert parts == (ToolCallPart("1", "sh", '{"input":"ls"}'),)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("ok", ToolResultPart("1", (TextPart("ok"),))),
        ("", ToolResultPart("1")),
        (None, ToolResultPart("1")),
        ('{"error": "no"}', ToolResultPart("1", (TextPart('{"error": "no"}'),), is_error=True)),
        ('{"error": null, "a": 1}', ToolResultPart("1", (TextPart('{"error": null, "a": 1}'),))),
        ('{"error": ', ToolResultPart("1", (TextPart('{"error": '),))),
        (
            [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "https://x/a"}}],
            ToolResultPart("1", (TextPart("a"), ImagePart(UrlSource("https://x/a")))),
        ),
    ],
)
def test_tool_results_are_parts_of_a_user_message(content: Any, expected: ToolResultPart) -> None:
    message = decode([{"role": "tool", "tool_call_id": "1", "content": content}]).messages[0]
    assert message == Message("user", (expected,), path="messages[0]")


def test_a_cache_point_on_a_message_is_on_its_last_part() -> None:
    control = {"type": "ephemeral"}
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}, "cache_control": control}
    messages = [
        {"role": "system", "content": "a", "cache_control": control},
        {"role": "assistant", "content": "b", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "c", "cache_control": control},
    ]
    system, assistant, tool = (message.parts for message in decode(messages).messages)
    assert system == (TextPart("a", CachePoint()),)
    assert assistant == (TextPart("b"), ToolCallPart("1", "f", "{}", CachePoint()))
    assert tool == (ToolResultPart("1", (TextPart("c"),), cache=CachePoint()),)


def test_tools() -> None:
    schema: dict[str, Any] = {"type": "object", "properties": {"b": {}, "a": {}}}
    request = decode(
        tools=[
            {"type": "function", "function": {"name": "f", "description": "d", "parameters": schema, "strict": True}},
            {"type": "function", "function": {"name": "g", "cache_control": {"type": "ephemeral"}}},
            {"type": "function", "function": {"name": "h", "parameters": None}, "cache_control": {"type": "ephemeral"}},
            {"type": "code_execution", "x": 1},
        ],
        parallel_tool_calls=False,
    )
    assert request.tools == (
        FunctionTool("f", "d", raw(schema), True),
        FunctionTool("g", cache=CachePoint()),
        FunctionTool("h", cache=CachePoint()),
        OpaqueTool(CHAT, "code_execution", raw({"type": "code_execution", "x": 1})),
    )
    assert request.parallel_tool_calls is False


def test_web_search() -> None:
    assert decode(web_search_options={}).tools == (WebSearchTool(dialect=CHAT, raw=raw({}), path="web_search_options"),)
    given: dict[str, Any] = {
        "search_context_size": "low",
        "user_location": {"type": "approximate", "approximate": {"city": "Rome", "country": "IT"}},
    }
    (search,) = decode(web_search_options=given).tools
    assert search == WebSearchTool(
        context_size="low",
        location=UserLocation("Rome", country="IT"),
        dialect=CHAT,
        raw=raw(given),
        path="web_search_options",
    )
    tool: dict[str, Any] = {"type": "web_search", "filters": {"allowed_domains": ["a.example"]}}
    google: dict[str, Any] = {"type": "google_search", "google_search": {"exclude_domains": ["b.example"]}}
    assert decode(tools=[tool, google]).tools == (
        WebSearchTool(allowed_domains=("a.example",), dialect=CHAT, raw=raw(tool)),
        WebSearchTool(blocked_domains=("b.example",), dialect=CHAT, raw=raw(google)),
    )


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("auto", ToolChoice("auto")),
        ("none", ToolChoice("none")),
        ("required", ToolChoice("required")),
        ("any", ToolChoice("required")),
        ({"type": "function", "function": {"name": "f"}}, ToolChoice("named", "f")),
        ({"type": "custom", "custom": {"name": "f"}}, ToolChoice("named", "f")),
        (
            {
                "type": "allowed_tools",
                "allowed_tools": {"mode": "required", "tools": [{"type": "function", "function": {"name": "f"}}]},
            },
            ToolChoice("required", allowed=("f",)),
        ),
    ],
)
def test_tool_choice(choice: Any, expected: ToolChoice) -> None:
    assert decode(tool_choice=choice).tool_choice == expected


def test_the_deprecated_functions_are_tools() -> None:
    request = decode(
        [
            {"role": "user", "content": "q"},
            {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
            {"role": "function", "name": "f", "content": "r"},
        ],
        functions=[{"name": "f", "parameters": {}}],
        function_call={"name": "f"},
    )
    assert request.messages[1].parts == (ToolCallPart("call_legacy_1", "f", "{}"),)
    assert request.messages[2].parts == (ToolResultPart("call_legacy_1", (TextPart("r"),)),)
    assert request.tools == (FunctionTool("f", parameters=msgspec.Raw(b"{}")),)
    assert request.tool_choice == ToolChoice("named", "f")


def test_parameters() -> None:
    request = decode(
        temperature=0.5,
        top_p=0.9,
        top_k=5,
        frequency_penalty=0.1,
        presence_penalty=0.2,
        seed=7,
        n=2,
        logprobs=True,
        top_logprobs=3,
        logit_bias={"1": 2},
        stop=["a", "b"],
        max_tokens=1,
        max_completion_tokens=2,
        user="u",
        service_tier="flex",
        stream=True,
        stream_options={"include_usage": True},
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "n", "description": "d", "schema": {"type": "object"}, "strict": True},
        },
    )
    assert request.sampling == Sampling(0.5, 0.9, 5, 0.1, 0.2, 7, 2, True, 3, raw({"1": 2}))
    assert request.stop == ("a", "b")
    assert request.max_tokens == 2
    assert (request.user, request.service_tier) == ("u", "flex")
    assert (request.stream, request.include_usage) == (True, True)
    assert request.response_format == ResponseFormat("json_schema", "n", "d", raw({"type": "object"}), True)
    assert request.extras == {}


def test_a_default_spelled_out_is_not_said() -> None:
    request = decode(
        n=1,
        frequency_penalty=0,
        presence_penalty=0,
        logprobs=False,
        logit_bias={},
        stop=None,
        store=False,
        modalities=["text"],
        metadata=None,
        tools=None,
        response_format={"type": "text"},
        stream=None,
        stream_options=None,
        user=None,
    )
    assert request == decode()


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"reasoning_effort": "high"}, Reasoning(effort="high")),
        ({"thinking": {"type": "enabled", "budget_tokens": 9}}, Reasoning("enabled", 9)),
        ({"thinking": {"type": "disabled"}}, Reasoning("disabled")),
        ({"thinking": {"type": "adaptive", "display": "omitted"}}, Reasoning("adaptive", display="omitted")),
        (
            {"thinking": {"type": "enabled", "includeThoughts": True}, "reasoning_effort": "low"},
            Reasoning("enabled", effort="low", display="summarized"),
        ),
        ({}, None),
    ],
)
def test_reasoning(members: dict[str, Any], expected: Reasoning | None) -> None:
    assert decode(**members).reasoning == expected


def test_what_nobody_else_knows_travels_as_extras() -> None:
    request = decode(store=True, metadata={"a": "b"}, verbosity="low", prompt_cache_key="k", guided_regex="a+")
    assert {name: bytes(value) for name, value in request.extras[CHAT].items()} == {
        "store": b"true",
        "metadata": b'{"a": "b"}',
        "verbosity": b'"low"',
        "prompt_cache_key": b'"k"',
        "guided_regex": b'"a+"',
    }
    both = decode(user="u", safety_identifier="s")
    assert (both.user, bytes(both.extras[CHAT]["safety_identifier"])) == ("u", b'"s"')
    assert decode(safety_identifier="s").user == "s"


@pytest.mark.parametrize(
    "members",
    [
        {"guided_json": {"type": "object"}},
        {"guided_json": '{"type": "object"}'},
        {"structured_outputs": {"json": {"type": "object"}, "regex": None}},
        {"structured_outputs": {"json": '{"type": "object"}'}, "response_format": {"type": "text"}},
    ],
)
def test_vllms_words_for_a_schema_are_a_format_of_the_answer(members: dict[str, Any]) -> None:
    request = decode(**members)
    wanted = request.response_format
    assert wanted is not None
    assert (wanted.kind, bytes(wanted.schema or b"")) == ("json_schema", b'{"type": "object"}')
    assert request.extras == {}


def test_vllms_other_rules_stay_what_nobody_else_knows() -> None:
    assert decode(structured_outputs={"json_object": True}).response_format == ResponseFormat("json_object")
    beyond: list[Any] = [{"choice": ["a"]}, {"json": {}, "choice": ["a"]}, {}]
    for rules in beyond:
        request = decode(structured_outputs=rules)
        assert request.response_format is None
        assert set(request.extras[CHAT]) == {"structured_outputs"}
    both = decode(guided_json={}, response_format={"type": "json_object"})
    assert both.response_format == ResponseFormat("json_object")
    assert set(both.extras[CHAT]) == {"guided_json"}


WRONG_BODIES: list[tuple[dict[str, Any], str, str]] = [
    ({"messages": []}, "model", "required"),
    ({"model": "", "messages": []}, "model", "empty"),
    ({"model": "m"}, "messages", "required"),
    ({"model": "m", "messages": []}, "messages", "at least one"),
    ({"model": 1, "messages": []}, "model", "expected `str`"),
    (
        {"model": "m", "messages": [{"role": "user", "content": "x"}], "guided_json": "{"},
        "guided_json",
        "must be a JSON schema object",
    ),
    (
        {"model": "m", "messages": [{"role": "user", "content": "x"}], "guided_json": [1]},
        "guided_json",
        "must be a JSON schema object",
    ),
    (
        {"model": "m", "messages": [{"role": "user", "content": "x"}], "structured_outputs": {"json": 1}},
        "structured_outputs.json",
        "must be a JSON schema object",
    ),
    ({"model": "m", "messages": [{"content": "x"}]}, "messages[0].role", "required"),
    ({"model": "m", "messages": [{"role": "bot", "content": "x"}]}, "messages[0].role", "must be system"),
    ({"model": "m", "messages": [{"role": "user"}]}, "messages[0].content", "required"),
    ({"model": "m", "messages": [{"role": "user", "content": 1}]}, "messages[0].content", "expected"),
    (
        {"model": "m", "messages": [{"role": "user", "content": [{"type": "img", "url": ""}]}]},
        "messages[0].content[0].type",
        "image_url",
    ),
    (
        {"model": "m", "messages": [{"role": "user", "content": [{"type": "text"}]}]},
        "messages[0].content[0].text",
        "required",
    ),
    (
        {
            "model": "m",
            "messages": [
                {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png,xx"}}]}
            ],
        },
        "messages[0].content[0].image_url.url",
        "base64",
    ),
    (
        {"model": "m", "messages": [{"role": "user", "content": [{"type": "file", "file": {}}]}]},
        "messages[0].content[0].file",
        "file_data",
    ),
    (
        {"model": "m", "messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f"}}]}]},
        "messages[0].tool_calls[0].id",
        "required",
    ),
    (
        {"model": "m", "messages": [{"role": "assistant", "tool_calls": [{"id": "1"}]}]},
        "messages[0].tool_calls[0].function",
        "required",
    ),
    (
        {"model": "m", "messages": [{"role": "function", "name": "f", "content": ""}]},
        "messages[0].name",
        "function_call",
    ),
]


@pytest.mark.parametrize(
    ("body", "path", "words"),
    WRONG_BODIES,
)
def test_wrong_bodies_are_refused_with_their_path(body: dict[str, Any], path: str, words: str) -> None:
    with pytest.raises(RequestError, match=words) as caught:
        DIALECT.decode_request(json.dumps(body).encode())
    assert caught.value.path == path
    assert caught.value.status == 400


WRONG_PARAMETERS: list[tuple[dict[str, Any], str]] = [
    ({"tool_choice": "perhaps"}, "tool_choice"),
    ({"tool_choice": {"type": "function"}}, "tool_choice.function"),
    ({"tool_choice": {"type": "x"}}, "tool_choice.type"),
    ({"tools": [{"type": "function"}]}, "tools[0].function"),
    (
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": []}}]},
        "tools[0].function.parameters",
    ),
    ({"response_format": {"type": "xml"}}, "response_format.type"),
    ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
    ({"thinking": {"type": "hard"}}, "thinking.type"),
    ({"temperature": "1"}, "temperature"),
    ({"stop": [1]}, "stop[0]"),
    ({"stream": "yes"}, "stream"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"max_completion_tokens": -1, "max_tokens": 5}, "max_completion_tokens"),
]


@pytest.mark.parametrize(
    ("members", "path"),
    WRONG_PARAMETERS,
)
def test_wrong_parameters_are_refused_with_their_path(members: dict[str, Any], path: str) -> None:
    with pytest.raises(RequestError) as caught:
        decode(**members)
    assert caught.value.path == path


@pytest.mark.parametrize(
    "body",
    [b"", b"x", b"[]", b'{"model":"m","model":"n","messages":[]}', b'{"model":"\xff","messages":[]}', b"[" * 100_000],
)
def test_what_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(RequestError):
        DIALECT.decode_request(body)
