"""As what an answer was served, and how often its provider searched the web, in the words of each client's dialect that
has a place for it, whole and streamed."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import pytest
from headgate.contract import metadata as keys
from headgate.llm.names import DialectName
from headgate.llm.operations.openai import InputUsage
from support.bedrock_sdk import stream_events
from support.chat_goldens import CLIENTS, CREATED, ask, stream_bridge
from support.sdk_streams import written

CHAT, RESPONSES = DialectName.OPENAI_CHAT, DialectName.OPENAI_RESPONSES
ANTHROPIC, GEMINI, CONVERSE = DialectName.ANTHROPIC_MESSAGES, DialectName.GEMINI, DialectName.BEDROCK_CONVERSE

WORDS: Final[Mapping[DialectName, Sequence[str]]] = {
    CHAT: ("default", "flex", "priority", "scale"),
    RESPONSES: ("default", "flex", "priority", "scale"),
    ANTHROPIC: ("standard", "", "priority", "priority"),
    GEMINI: ("ON_DEMAND", "ON_DEMAND_FLEX", "ON_DEMAND_PRIORITY", "PROVISIONED_THROUGHPUT"),
    CONVERSE: ("default", "flex", "priority", "reserved"),
}
"""Each dialect's, in one order; empty: it has none."""


def _whole(dialect: DialectName, tier: str) -> Any:
    match dialect:
        case DialectName.OPENAI_CHAT:
            choice = {"index": 0, "message": {"content": "Hi"}, "finish_reason": "stop"}
            usage = {"prompt_tokens": 3, "completion_tokens": 9}
            return {"id": "c", "choices": [choice], "usage": usage, "service_tier": tier}
        case DialectName.OPENAI_RESPONSES:
            item = {"type": "message", "content": [{"type": "output_text", "text": "Hi"}]}
            usage = {"input_tokens": 3, "output_tokens": 9}
            return {"id": "r", "status": "completed", "output": [item], "usage": usage, "service_tier": tier}
        case DialectName.ANTHROPIC_MESSAGES:
            usage = {"input_tokens": 3, "output_tokens": 9, "service_tier": tier}
            return {"id": "a", "content": [{"type": "text", "text": "Hi"}], "stop_reason": "end_turn", "usage": usage}
        case DialectName.GEMINI:
            usage = {"promptTokenCount": 3, "candidatesTokenCount": 9, "trafficType": tier}
            candidate = {"content": {"parts": [{"text": "Hi"}]}, "finishReason": "STOP"}
            return {"candidates": [candidate], "usageMetadata": usage}
        case _:
            usage = {"inputTokens": 3, "outputTokens": 9, "totalTokens": 12}
            message = {"role": "assistant", "content": [{"text": "Hi"}]}
            output = {"output": {"message": message}, "stopReason": "end_turn", "usage": usage}
            return {**output, "serviceTier": {"type": tier}}


def _streamed(dialect: DialectName, tier: str) -> list[Any]:
    """As its provider tells it: Bedrock at the end, Anthropic at the start, OpenAI at the end as it was after all."""
    whole = _whole(dialect, tier)
    match dialect:
        case DialectName.OPENAI_CHAT:
            choice = {"index": 0, "delta": {"content": "Hi"}, "finish_reason": "stop"}
            chunk = {"id": "c", "choices": [choice], "service_tier": tier}
            return [chunk, {**chunk, "choices": [], "usage": whole["usage"]}]
        case DialectName.OPENAI_RESPONSES:
            created = {"type": "response.created", "response": {"id": "r", "service_tier": "auto"}}
            return [created, {"type": "response.completed", "response": whole}]
        case DialectName.ANTHROPIC_MESSAGES:
            start: Any = {"type": "message_start", "message": {**whole, "content": [], "stop_reason": None}}
            return [start, {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}, {"type": "message_stop"}]
        case DialectName.GEMINI:
            return [whole]
        case _:
            metadata = {"usage": whole["usage"], "serviceTier": whole["serviceTier"]}
            return [
                {"messageStart": {"role": "assistant"}},
                {"messageStop": {"stopReason": "end_turn"}},
                {"metadata": metadata},
            ]


def _place(client: DialectName, answer: Any) -> str:
    match client:
        case DialectName.ANTHROPIC_MESSAGES:
            return str(answer["usage"].get("service_tier", ""))
        case DialectName.GEMINI:
            return str(answer["usageMetadata"].get("trafficType", ""))
        case DialectName.BEDROCK_CONVERSE:
            return str(answer.get("serviceTier", {}).get("type", ""))
        case _:
            return str(answer.get("service_tier", ""))


def _said(client: DialectName, received: bytes) -> Any:
    """What a stream says at last, or (Anthropic's) at first."""
    if client is CONVERSE:
        return [*stream_events(received)][-1]["metadata"]
    lines = [line.removeprefix(b"data: ") for line in received.splitlines() if line.startswith(b"data: {")]
    if client is ANTHROPIC:
        return json.loads(lines[0])["message"]
    last = json.loads(lines[-1])
    return last["response"] if client is RESPONSES else last


PAIRS: Final = [(provider, client) for provider in WORDS for client in WORDS if provider is not client]
AT_THE_END: Final = frozenset((RESPONSES, CONVERSE))
"""Streams that tell it only then, or then as it was after all."""


@pytest.mark.parametrize(("provider", "client"), PAIRS)
def test_how_an_answer_was_served(provider: DialectName, client: DialectName) -> None:
    for word, expected in zip(WORDS[provider], WORDS[client], strict=True):
        if not word or (provider is ANTHROPIC and WORDS[client][-1] == expected):
            continue  # of Anthropic's priority nobody knows whether it was bought ahead
        plan, request = ask(client, provider)
        whole = plan.open_response(request, 200, {"content-type": "application/json"}, CREATED)
        whole.feed(json.dumps(_whole(provider, word)).encode())
        assert _place(client, json.loads(whole.close())) == expected
        plan, request = stream_bridge(client, provider)
        streamed = plan.open_response(request, 200, {"content-type": CLIENTS[provider].stream_type}, CREATED)
        received = streamed.feed(written(provider, _streamed(provider, word))) + streamed.close()
        told = _place(client, _said(client, received))
        assert told == ("" if client is ANTHROPIC and provider in AT_THE_END else expected)


SEARCHED: Final[dict[str, Any]] = {"image_gen": {"input_tokens": 0}, "web_search": {"num_requests": 2}}


def test_searches_of_openai_reach_anthropics_clients() -> None:
    answer = {**_whole(RESPONSES, "default"), "tool_usage": SEARCHED}
    plan, request = ask(ANTHROPIC, RESPONSES)
    whole = plan.open_response(request, 200, {"content-type": "application/json"}, CREATED)
    whole.feed(json.dumps(answer).encode())
    assert json.loads(whole.close())["usage"]["server_tool_use"] == {"web_search_requests": 2, "web_fetch_requests": 0}
    assert whole.usage.apart == ((keys.WEB_SEARCHES, 2),)
    plan, request = stream_bridge(ANTHROPIC, RESPONSES)
    streamed = plan.open_response(request, 200, {"content-type": "text/event-stream"}, CREATED)
    received = streamed.feed(written(RESPONSES, [{"type": "response.completed", "response": answer}]))
    assert b'"server_tool_use":{"web_search_requests":2,"web_fetch_requests":0}' in received + streamed.close()
    assert streamed.usage.apart == ((keys.WEB_SEARCHES, 2),)


def test_searches_of_claude_reach_clients_of_responses() -> None:
    answer = _whole(ANTHROPIC, "standard")
    answer["usage"]["server_tool_use"] = {"web_search_requests": 2, "web_fetch_requests": 0}
    plan, request = ask(RESPONSES, ANTHROPIC)
    whole = plan.open_response(request, 200, {"content-type": "application/json"}, CREATED)
    whole.feed(json.dumps(answer).encode())
    assert json.loads(whole.close())["tool_usage"]["web_search"] == {"num_requests": 2}


@pytest.mark.parametrize("used", [None, 5, {}, {"web_search": 5}, {"web_search": {"num_requests": None}}])
def test_a_tools_usage_that_is_none_fails_no_answer(used: Any) -> None:
    plan, request = ask(ANTHROPIC, RESPONSES)
    whole = plan.open_response(request, 200, {"content-type": "application/json"}, CREATED)
    whole.feed(json.dumps({**_whole(RESPONSES, "default"), "tool_usage": used}).encode())
    assert "server_tool_use" not in json.loads(whole.close())["usage"]


def test_searches_of_a_relayed_response_are_counted() -> None:
    answer = {**_whole(RESPONSES, "default"), "tool_usage": SEARCHED}
    reader = InputUsage()
    reader.read(json.dumps(answer).encode())
    assert reader.usage.apart == ((keys.WEB_SEARCHES, 2),)
    reader = InputUsage()
    reader.read(json.dumps({"type": "response.completed", "response": answer}).encode())
    assert reader.usage.apart == ((keys.WEB_SEARCHES, 2),)
