"""Members that no struct declares, deeper inside of a request: carried by nobody, so told of."""

import json
from typing import Any, Final

import pytest
from headgate.llm.canonical import FunctionTool, TextPart
from headgate.llm.dialects.table import DIALECTS
from headgate.llm.endpoints import NO_PATH
from headgate.llm.errors import RequestError, UnsupportedTranslation
from headgate.llm.losses import Loss, format_losses
from headgate.llm.names import DialectName
from headgate.llm.unknown_members import TOLD_MAX
from support.chat_goldens import CLIENTS, TARGETS, bridge

USER: Final = {"role": "user", "content": "Hello"}


def told(dialect: DialectName, body: dict[str, Any]) -> list[str]:
    """Where the dialect's decoder found what it does not know."""
    return list(DIALECTS[dialect].decode_request(json.dumps(body).encode(), NO_PATH).extras.get(dialect, ()))


@pytest.mark.parametrize(
    ("dialect", "body", "paths"),
    [
        (DialectName.OPENAI_CHAT, {"messages": [USER | {"mood": 1}]}, ["messages[0].mood"]),
        (
            DialectName.OPENAI_CHAT,
            {"messages": [USER], "tools": [{"type": "function", "function": {"name": "f", "mood": 1}}]},
            ["tools[0].function.mood"],
        ),
        (
            DialectName.OPENAI_CHAT,
            {"messages": [USER], "tools": [{"type": "web_search", "mood": 1, "filters": {"mood": 2}}]},
            ["tools[0].mood", "tools[0].filters.mood"],
        ),
        (
            DialectName.OPENAI_RESPONSES,
            {
                "input": [
                    {"role": "user", "content": [{"type": "input_text", "text": "x", "mood": 1}]},
                    {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}", "status": "completed"},
                    {
                        "type": "function_call_output",
                        "call_id": "c",
                        "output": [{"type": "text", "text": "", "mood": 1}],
                    },
                    {"type": "web_search_call", "id": "w", "action": {"type": "search"}},
                ],
                "stream_options": {"mood": 1},
            },
            ["input[0].content[0].mood", "stream_options.mood", "input[2].output[0].mood"],
        ),
        (
            DialectName.ANTHROPIC_MESSAGES,
            {
                "max_tokens": 9,
                "messages": [USER],
                "thinking": {"type": "disabled", "mood": 1},
                "tools": [{"type": "computer_20250124", "name": "computer", "display_width_px": 1}],
            },
            ["thinking.mood"],
        ),
        (DialectName.COHERE, {"messages": [USER | {"mood": [1]}]}, ["messages[0].mood"]),
    ],
)
def test_what_nobody_knows_is_told_by_its_path(dialect: DialectName, body: dict[str, Any], paths: list[str]) -> None:
    assert told(dialect, {"model": "m", **body}) == paths


def test_null_says_nothing() -> None:
    assert told(DialectName.OPENAI_CHAT, {"model": "m", "messages": [USER | {"parsed": None}]}) == []


def test_a_name_is_told_once_for_all_messages() -> None:
    messages = [USER | {"mood": index} for index in range(200)]
    assert told(DialectName.OPENAI_CHAT, {"model": "m", "messages": messages}) == ["messages[0].mood"]


def test_no_more_are_told_than_a_log_bears() -> None:
    message = USER | {f"mood_{index}": 1 for index in range(10_000)}
    assert len(told(DialectName.OPENAI_CHAT, {"model": "m", "messages": [message]})) == TOLD_MAX


def test_what_is_known_is_read_as_it_was_sent() -> None:
    schema = b'{"type" : "object", "properties": {"a": {"const": 1.50}}}'
    body = (
        b'  {"model":"m","messages":[{"role":"user","content":"caf\\u00e9 \\ud83d\\ude00","mood":1}],"tools":[{"type":'
        b'"function","function":{"name":"f","parameters":' + schema + b',"mood":1}}]} '
    )
    request = DIALECTS[DialectName.OPENAI_CHAT].decode_request(body, NO_PATH)
    assert request.messages[0].parts == (TextPart("café 😀"),)
    (tool,) = request.tools
    assert isinstance(tool, FunctionTool)
    assert bytes(tool.parameters or b"") == schema


def test_what_else_is_wrong_is_refused_at_its_place() -> None:
    body = {"model": "m", "messages": [USER | {"mood": 1}, {"role": "user", "content": 3}]}
    with pytest.raises(RequestError) as refused:
        told(DialectName.OPENAI_CHAT, body)
    assert refused.value.path == "messages[1].content"


def test_a_backend_that_refuses_losses_refuses_it() -> None:
    provider = DialectName.ANTHROPIC_MESSAGES
    facts = {**next(iter(TARGETS[provider].values())), "losses": "reject"}
    body = json.dumps({"model": "m", "messages": [USER | {"mood": 1}]}).encode()
    with pytest.raises(UnsupportedTranslation) as refused:
        bridge(DialectName.OPENAI_CHAT, provider, **facts).translate_request(
            body, {":path": CLIENTS[DialectName.OPENAI_CHAT].path}
        )
    assert refused.value.path == "messages[0].mood"


def test_names_of_any_kind_make_a_header() -> None:
    losses = [Loss("a\u0000\n\u20ac" + "b" * 100_000, "dropped", "unknown") for _ in range(1_000)]
    header = format_losses(losses)
    assert header.startswith("a???bbb")
    assert header.isprintable()
    assert len(header) < 8_192
