"""What OpenAI's models do in its responses API alone (some all, some to reason with tools) is asked there, also of a
backend that speaks chat."""

import json
from typing import Any, Final

import pytest
from headgate.contract.facts import BackendFacts
from headgate.llm.endpoints import lookup
from headgate.llm.exchange import Plan
from headgate.llm.planning import plan
from support.chat_goldens import CREATED

TOOLS: Final[list[dict[str, Any]]] = [{"name": "weather", "input_schema": {"type": "object", "properties": {}}}]
OFF: Final[dict[str, Any]] = {"type": "disabled"}
RESPONSE: Final[dict[str, Any]] = {
    "id": "resp_1",
    "object": "response",
    "status": "completed",
    "model": "gpt-5.6-sol",
    "output": [{"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "weather", "arguments": "{}"}],
    "usage": {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5},
}


def chosen(**facts: Any) -> Plan:
    endpoint = lookup("/v1/messages")
    assert endpoint is not None
    given: dict[str, Any] = {"name": "b", "dialect": "openai-chat", "vendor": "OpenAI", **facts}
    return plan(endpoint, BackendFacts(**given))


def messages(**members: Any) -> bytes:
    said = [{"role": "user", "content": "How warm is it in Rome?"}]
    return json.dumps({"model": "gpt-5.6-sol", "max_tokens": 2_000, "messages": said, **members}).encode()


WHERE: Final[list[tuple[dict[str, Any], dict[str, Any], str]]] = [
    ({}, {"tools": TOOLS}, "/v1/responses"),
    ({}, {"tools": TOOLS, "thinking": {"type": "adaptive"}, "stream": True}, "/v1/responses"),
    ({"model": "gpt-6-astra"}, {"tools": TOOLS, "thinking": OFF}, "/v1/responses"),
    ({}, {"tools": TOOLS, "thinking": OFF}, "/v1/chat/completions"),
    ({}, {}, "/v1/chat/completions"),
    ({"model": "gpt-5.2"}, {"tools": TOOLS}, "/v1/chat/completions"),
    ({"model": "gpt-5-pro"}, {}, "/v1/responses"),
    ({"model": "gpt-5.2-codex"}, {"stream": True}, "/v1/responses"),
    ({"model": "o3-pro-2025-06-10"}, {}, "/v1/responses"),
    ({"model": "gpt-5-pro", "vendor": ""}, {}, "/v1/chat/completions"),
    ({"vendor": ""}, {"tools": TOOLS}, "/v1/chat/completions"),
    ({"vendor": "", "host": "azure", "version": "v1"}, {"tools": TOOLS}, "/openai/v1/responses"),
    (
        {"vendor": "", "host": "azure", "version": "2024-10-21"},
        {"tools": TOOLS},
        "/openai/deployments/gpt-5.6-sol/chat/completions?api-version=2024-10-21",
    ),
]


@pytest.mark.parametrize(("facts", "members", "path"), WHERE)
def test_where_a_model_is_asked(facts: dict[str, Any], members: dict[str, Any], path: str) -> None:
    request = chosen(**facts).translate_request(messages(**members), {})
    assert request.path == path
    assert ("input" in json.loads(request.body)) is path.endswith("/responses")


def test_nothing_is_lost_of_what_it_is_to_think() -> None:
    members: dict[str, Any] = {"tools": TOOLS, "thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}}
    request = chosen().translate_request(messages(**members), {})
    assert json.loads(request.body)["reasoning"]["effort"] == "high"
    assert [loss.path for loss in request.losses] == []


def test_the_answer_is_the_clients() -> None:
    request = chosen().translate_request(messages(tools=TOOLS), {})
    answer = chosen().open_response(request, 200, {"content-type": "application/json"}, CREATED)
    out = json.loads(answer.feed(json.dumps(RESPONSE).encode()) + answer.close())
    assert out["content"] == [{"type": "tool_use", "id": "call_1", "name": "weather", "input": {}}]
    assert answer.usage.output == 2


def test_the_stream_is_the_clients() -> None:
    request = chosen().translate_request(messages(tools=TOOLS, stream=True), {})
    answer = chosen().open_response(request, 200, {"content-type": "text/event-stream"}, CREATED)
    event: dict[str, Any] = {"type": "response.completed", "response": RESPONSE}
    started: dict[str, Any] = {
        "type": "response.created",
        "response": {**RESPONSE, "output": [], "status": "in_progress"},
    }
    said = "".join(f"event: {each['type']}\ndata: {json.dumps(each)}\n\n" for each in (started, event))
    out = (answer.feed(said.encode()) + answer.close()).decode()
    assert "message_stop" in out
    assert "error" not in out


def test_an_error_is_the_clients() -> None:
    request = chosen().translate_request(messages(tools=TOOLS), {})
    answer = chosen().open_response(request, 429, {"content-type": "application/json"}, CREATED)
    body = json.dumps({"error": {"message": "Slow down.", "type": "tokens", "code": "rate_limit_exceeded"}})
    assert json.loads(answer.feed(body.encode()) + answer.close())["error"]["type"] == "rate_limit_error"
