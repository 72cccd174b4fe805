"""What v2 chat takes, made of the types of Cohere's own SDK, and what its documentation says beyond them."""

from collections.abc import Iterator
from typing import Any, Literal

import cohere
from pydantic import BaseModel


class ChatRequest(BaseModel):
    """The parameters of the SDK's `ClientV2.chat` and `chat_stream`."""

    model: str
    messages: list[cohere.ChatMessageV2]
    stream: bool | None = None
    tools: list[cohere.ToolV2] | None = None
    strict_tools: bool | None = None
    documents: list[str | cohere.Document] | None = None
    citation_options: cohere.CitationOptions | None = None
    response_format: cohere.ResponseFormatV2 | None = None
    safety_mode: Literal["CONTEXTUAL", "STRICT", "OFF"] | None = None
    max_tokens: int | None = None
    stop_sequences: list[str] | None = None
    temperature: float | None = None
    seed: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    k: int | None = None
    p: float | None = None
    logprobs: bool | None = None
    tool_choice: Literal["REQUIRED", "NONE"] | None = None
    thinking: cohere.Thinking | None = None
    priority: int | None = None


def cohere_rules(body: dict[str, Any]) -> Iterator[str]:
    """Bounds of numbers, what excludes what, calls that are answered."""
    if not body["messages"]:
        yield "messages: at least one message is required"
    known: set[str] = set()
    for index, message in enumerate(body["messages"]):
        known |= {call["id"] for call in message.get("tool_calls") or ()}
        if message["role"] == "tool" and message["tool_call_id"] not in known:
            yield f"messages[{index}]: {message['tool_call_id']} answers no tool call"
        if message["role"] == "assistant" and not (message.get("content") or message.get("tool_calls")):
            yield f"messages[{index}]: an assistant message needs content or tool_calls"
    if body.get("response_format") and (body.get("tools") or body.get("documents")):
        yield "response_format: not supported with tools or documents"
    if body.get("tool_choice") and not body.get("tools"):
        yield "tool_choice: needs tools"
    if body.get("strict_tools") and not body.get("tools"):
        yield "strict_tools: needs tools"
    if len(body.get("stop_sequences") or ()) > 5:
        yield "stop_sequences: at most 5"
    for name, lowest, highest in (
        ("p", 0.01, 0.99),
        ("k", 0, 500),
        ("frequency_penalty", 0, 1),
        ("presence_penalty", 0, 1),
    ):
        value = body.get(name)
        if value is not None and not lowest <= value <= highest:
            yield f"{name}: not in {lowest}..{highest}"
