"""A conversation goes on with another provider: it gets no thought that somebody else signed, its own it gets back.

Providers refuse requests with each other's signatures, so one foreign thought would end the conversation.
"""

import json
from collections.abc import Callable
from typing import Any

import pytest
from headgate.contract.facts import BackendFacts
from headgate.llm.endpoints import lookup
from headgate.llm.exchange import Plan
from headgate.llm.planning import plan
from support.chat_goldens import CLIENTS as CLIENT_ROWS
from support.chat_goldens import CREATED

SIGNATURE = "EpUBCioxMjM0"

CLAUDE: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude",
    "content": [
        {"type": "thinking", "thinking": "A clock.", "signature": SIGNATURE},
        {"type": "tool_use", "id": "t1", "name": "clock", "input": {}},
    ],
    "stop_reason": "tool_use",
    "usage": {"input_tokens": 1, "output_tokens": 2},
}
GEMINI: dict[str, Any] = {
    "candidates": [
        {
            "content": {
                "role": "model",
                "parts": [
                    {"text": "A clock.", "thought": True},
                    {"functionCall": {"id": "t1", "name": "clock", "args": {}}, "thoughtSignature": SIGNATURE},
                ],
            },
            "finishReason": "STOP",
        }
    ]
}
GPT: dict[str, Any] = {
    "id": "resp_1",
    "object": "response",
    "status": "completed",
    "model": "gpt-5",
    "output": [
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": SIGNATURE},
        {"type": "function_call", "id": "fc_1", "call_id": "t1", "name": "clock", "arguments": "{}"},
    ],
}

PROVIDERS: dict[str, tuple[dict[str, str], dict[str, Any]]] = {
    "claude": ({"dialect": "anthropic-messages", "model": "claude-opus-4-6"}, CLAUDE),
    "gemini": ({"dialect": "gemini", "model": "gemini-3-pro-preview"}, GEMINI),
    "gpt": ({"dialect": "openai-responses", "model": "gpt-5"}, GPT),
}


def _as_chat(answer: dict[str, Any]) -> dict[str, Any]:
    result = {"role": "tool", "tool_call_id": "t1", "content": "noon"}
    tool = {"type": "function", "function": {"name": "clock"}}
    messages = [{"role": "user", "content": "Time?"}, answer["choices"][0]["message"], result]
    return {"messages": messages, "tools": [tool]}


def _as_messages(answer: dict[str, Any]) -> dict[str, Any]:
    result = {"type": "tool_result", "tool_use_id": "t1", "content": "noon"}
    messages = [
        {"role": "user", "content": "Time?"},
        {"role": "assistant", "content": answer["content"]},
        {"role": "user", "content": [result]},
    ]
    return {"max_tokens": 9000, "messages": messages, "tools": [{"name": "clock", "input_schema": {"type": "object"}}]}


def _as_responses(answer: dict[str, Any]) -> dict[str, Any]:
    result = {"type": "function_call_output", "call_id": "t1", "output": "noon"}
    items = [{"role": "user", "content": "Time?"}, *answer["output"], result]
    return {"input": items, "tools": [{"type": "function", "name": "clock", "parameters": {"type": "object"}}]}


CLIENTS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "/v1/chat/completions": _as_chat,
    "/v1/messages": _as_messages,
    "/v1/responses": _as_responses,
}


ASKED = {CLIENT_ROWS[name].path: CLIENT_ROWS[name].minimal for name in CLIENT_ROWS}


def _plan(path: str, provider: str) -> Plan:
    endpoint = lookup(path)
    assert endpoint is not None
    facts: dict[str, Any] = PROVIDERS[provider][0]
    return plan(endpoint, BackendFacts(name=provider, **facts))


def _next_request(path: str, first: str, second: str) -> tuple[bytes, list[str]]:
    """What the second provider is asked, by a client that sends back what it got of the first; and what was lost."""
    chosen = _plan(path, first)
    request = chosen.translate_request(ASKED[path], {})
    translation = chosen.open_response(request, 200, {"content-type": "application/json"}, CREATED)
    answer = translation.feed(json.dumps(PROVIDERS[first][1]).encode()) + translation.close()
    body = {"model": "m", **CLIENTS[path](json.loads(answer))}
    after = _plan(path, second).translate_request(json.dumps(body).encode(), {})
    return after.body, [loss.reason for loss in after.losses]


CELLS = [
    pytest.param(path, first, second, id=f"{path}-{first}-{second}")
    for path in CLIENTS
    for first in PROVIDERS
    for second in PROVIDERS
    # Relayed: a client of the provider's own API, whose bytes go through as they are.
    if (path, first) not in (("/v1/messages", "claude"), ("/v1/responses", "gpt"))
    and (path, second) not in (("/v1/messages", "claude"), ("/v1/responses", "gpt"))
]


@pytest.mark.parametrize(("path", "first", "second"), CELLS)
def test_a_signature_goes_to_its_maker_alone(path: str, first: str, second: str) -> None:
    body, losses = _next_request(path, first, second)

    assert (SIGNATURE.encode() in body) is (first == second)
    assert any("sign" in reason or "where it came from" in reason for reason in losses) is (first != second)
    assert b"clock" in body


@pytest.mark.parametrize("path", CLIENTS)
def test_gemini_gets_its_own_word_for_a_call_that_another_model_made(path: str) -> None:
    first = "claude" if path != "/v1/messages" else "gpt"
    body, _ = _next_request(path, first, "gemini")
    parts = [part for content in json.loads(body)["contents"] for part in content["parts"]]
    call = next(part for part in parts if "functionCall" in part)

    assert call["thoughtSignature"] == "c2tpcF90aG91Z2h0X3NpZ25hdHVyZV92YWxpZGF0b3I="
