"""Chats as OpenTelemetry's GenAI convention writes them."""

import json
from typing import Any

import pytest
from headgate.llm.content import answered, asked
from headgate.llm.dialects.table import DIALECTS
from headgate.llm.names import DialectName

OPENAI = DIALECTS[DialectName.OPENAI_CHAT]
REQUEST: dict[str, Any] = {
    "model": "gpt",
    "temperature": 0.5,
    "messages": [
        {"role": "system", "content": "Be kind."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Look:"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}},
            ],
        },
        {
            "role": "assistant",
            "tool_calls": [
                {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}},
            ],
        },
        {"role": "tool", "tool_call_id": "c", "content": "done"},
    ],
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
}


def test_request() -> None:
    said = asked(OPENAI.decode_request(json.dumps(REQUEST).encode()))
    assert said.system == [{"type": "text", "content": "Be kind."}]
    assert [message["role"] for message in said.messages if isinstance(message, dict)] == ["user", "assistant", "tool"]
    user, assistant, tool = (message["parts"] for message in said.messages if isinstance(message, dict))
    assert user == [
        {"type": "text", "content": "Look:"},
        {"type": "blob", "modality": "image", "mime_type": "image/png", "size": 3},
    ]
    assert assistant == [{"type": "tool_call", "id": "c", "name": "f", "arguments": {"a": 1}}]
    assert tool == [{"type": "tool_call_response", "id": "c", "response": "done"}]
    assert said.tools == [{"type": "function", "name": "f", "parameters": {"type": "object"}}]
    assert said.sampling.temperature == 0.5


def chunk(delta: dict[str, Any], reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    return b"data: " + json.dumps({"id": "r", "model": "m", "choices": [choice]}).encode() + b"\n\n"


def call(**function: str) -> dict[str, Any]:
    return {"tool_calls": [{"index": 0, "id": "c", "type": "function", "function": function}]}


@pytest.mark.parametrize("cut", [False, True])
def test_stream(cut: bool) -> None:
    chunks = [chunk({"role": "assistant", "content": "Hel"}), chunk({"content": "lo"})]
    chunks += [chunk(call(name="f", arguments='{"a"')), chunk(call(arguments=": 1}"))]
    if not cut:
        chunks += [chunk({}, "tool_calls"), b"data: [DONE]\n\n"]
    found = answered(OPENAI, b"".join(chunks), streamed=True)
    parts = [
        {"type": "text", "content": "Hello"},
        {"type": "tool_call", "id": "c", "name": "f", "arguments": {"a": 1}},
    ]
    reason = "error" if cut else "tool_call"
    assert found.messages == [{"role": "assistant", "parts": parts, "finish_reason": reason}]
    assert (found.id, list(found.finish_reasons)) == ("r", [] if cut else ["tool_call"])
