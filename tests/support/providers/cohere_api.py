"""Cohere's v2 chat: https://docs.cohere.com/reference/chat ."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from support.providers import checking
from support.providers.answers import Answer, Failure, pieces
from support.providers.cohere_types import cohere_rules
from support.providers.received import Received
from support.providers.server import Rendered
from support.providers.sse import DONE, EVENT_STREAM, JSON, compact, named

CHAT = "/v2/chat"
TYPE = "support.providers.cohere_types.ChatRequest"
FINISH = {
    "stop": "COMPLETE",
    "length": "MAX_TOKENS",
    "tools": "TOOL_CALL",
    "stop_sequence": "STOP_SEQUENCE",
    "refusal": "ERROR",
}


@dataclass(frozen=True, slots=True)
class CohereApi:
    """The API at api.cohere.com."""

    credential_header: str = "authorization"

    def problems(self, received: Received, key: str, allow_unknown: bool) -> list[str]:
        found = checking.header_problems(received, self.credential_header, f"Bearer {key}")
        if received.method != "POST" or received.path != CHAT:
            return [*found, f"no such path: {received.method} {received.path}"]
        return found + checking.body_problems((TYPE, TYPE), cohere_rules, received, allow_unknown)

    def render(self, answer: Answer, received: Received) -> Rendered:
        if received.streamed:
            return Rendered(EVENT_STREAM, tuple(_stream(answer)))
        return Rendered(JSON, (compact(_whole(answer)).encode(),))

    def render_failure(self, failure: Failure) -> Rendered:
        return Rendered(JSON, (compact({"id": "e-1", "message": failure.message}).encode(),))

    def headers(self, number: int) -> Mapping[str, str]:
        return {"x-request-id": f"req-cohere-{number}"}


def _usage(answer: Answer) -> dict[str, Any]:
    usage = answer.usage
    return {
        "billed_units": {"input_tokens": usage.input // 2, "output_tokens": usage.output},  # less than what was read
        "tokens": {"input_tokens": usage.input, "output_tokens": usage.output},
        "cached_tokens": usage.cached,
    }


def _call(answer: Answer, index: int, arguments: str) -> dict[str, Any]:
    tool = answer.tools[index]
    return {"id": tool.id, "type": "function", "function": {"name": tool.name, "arguments": arguments}}


def _blocks(answer: Answer) -> Iterator[tuple[str, str]]:
    if answer.thinking:
        yield "thinking", answer.thinking
    if text := answer.refusal or answer.text:
        yield "text", text


def _whole(answer: Answer) -> dict[str, Any]:
    message: dict[str, Any] = {
        "role": "assistant",
        "content": [{"type": kind, kind: text} for kind, text in _blocks(answer)],
    }
    if answer.tools:
        message["tool_calls"] = [_call(answer, index, tool.arguments) for index, tool in enumerate(answer.tools)]
    return {"id": "a-1", "finish_reason": FINISH[answer.stopped], "message": message, "usage": _usage(answer)}


def _event(kind: str, message: Any = None, **more: Any) -> bytes:
    said = {} if message is None else {"delta": {"message": message}}
    return named(kind, {"type": kind, **more, **said})


def _stream(answer: Answer) -> Iterator[bytes]:
    empty: dict[str, Any] = {"content": [], "tool_plan": "", "tool_calls": [], "citations": []}
    yield _event("message-start", {"role": "assistant", **empty}, id="a-1")
    for index, (kind, text) in enumerate(_blocks(answer)):
        yield _event("content-start", {"content": {"type": kind, kind: ""}}, index=index)
        for piece in pieces(text, answer.pieces):
            yield _event("content-delta", {"content": {kind: piece}}, index=index)
        yield _event("content-end", index=index)
    for index, tool in enumerate(answer.tools):
        yield _event("tool-call-start", {"tool_calls": _call(answer, index, "")}, index=index)
        for piece in pieces(tool.arguments, answer.pieces):
            yield _event("tool-call-delta", {"tool_calls": {"function": {"arguments": piece}}}, index=index)
        yield _event("tool-call-end", index=index)
    ended = {"finish_reason": FINISH[answer.stopped], "usage": _usage(answer)}
    yield named("message-end", {"type": "message-end", "delta": ended})
    yield DONE


COHERE = CohereApi()
