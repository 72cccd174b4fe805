"""Streams through a bridge, and what the client's own SDK makes of them: a row of `READERS` per dialect."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import anthropic.types
import cohere.v2.types
import google.genai.types
import openai.types
import openai.types.chat
import openai.types.responses
from headgate.llm.exchange import ResponseTranslation
from headgate.llm.framing.frame import Frame
from headgate.llm.framing.sse import SseDecoder
from headgate.llm.names import DialectName
from pydantic import TypeAdapter

from support.bedrock_sdk import EventStreamError, stream_events
from support.chat_goldens import CLIENTS, CREATED, stream_bridge


def translate_stream(client: str, provider: str, chunks: Iterable[bytes]) -> tuple[bytes, ResponseTranslation]:
    """The provider's chunks as the client receives them, and the translation after its end."""
    plan, request = stream_bridge(client, provider)
    row = CLIENTS[DialectName(provider)]
    translation = plan.open_response(request, 200, {"content-type": row.stream_type, **row.answer_headers}, CREATED)
    received = [translation.feed(chunk) for chunk in chunks]
    received.append(translation.close())
    return b"".join(received), translation


@dataclass(slots=True)
class Received:
    """What an SDK accumulated."""

    text: str = ""
    thinking: str = ""
    signature: str = ""
    calls: list[tuple[str, str, str]] = field(default_factory=list[tuple[str, str, str]])
    """Id, name, arguments."""
    citations: list[Any] = field(default_factory=list[Any])
    finish: str | None = None
    ended: bool = False
    failed: bool = False


_EVENTS: Final[TypeAdapter[Any]] = TypeAdapter(anthropic.types.RawMessageStreamEvent)


def _read_anthropic(frames: list[Frame]) -> Received:
    result = Received()
    open_index: int | None = None
    next_index = 0
    started = False
    for frame in frames:
        data = json.loads(frame.data)
        assert frame.event == data["type"]
        if frame.event == "ping":
            assert started
            continue
        assert not result.ended
        assert not result.failed
        if frame.event == "error":
            assert data["error"]["message"]
            result.failed = True
            continue
        event = _EVENTS.validate_json(frame.data, strict=True)
        match event.type:
            case "message_start":
                assert not started
                started = True
            case "content_block_start":
                assert started
                assert open_index is None
                assert event.index == next_index
                open_index, next_index = event.index, next_index + 1
                if event.content_block.type == "tool_use":
                    result.calls.append((event.content_block.id, event.content_block.name, ""))
            case "content_block_delta":
                assert event.index == open_index
                _take_delta(result, event.delta)
            case "content_block_stop":
                assert event.index == open_index
                open_index = None
            case "message_delta":
                assert open_index is None
                result.finish = event.delta.stop_reason
            case "message_stop":
                result.ended = True
            case _:
                raise AssertionError(f"no SDK event is {event.type}")
    assert result.ended != result.failed
    return result


def _take_delta(result: Received, delta: Any) -> None:
    match delta.type:
        case "text_delta":
            result.text += delta.text
        case "thinking_delta":
            result.thinking += delta.thinking
        case "signature_delta":
            result.signature += delta.signature
        case "citations_delta":
            result.citations.append(delta.citation)
        case _:
            call_id, name, arguments = result.calls[-1]
            result.calls[-1] = (call_id, name, arguments + delta.partial_json)


def _read_openai(frames: list[Frame]) -> Received:
    result = Received()
    calls: dict[int, tuple[str, str, str]] = {}
    for frame in frames:
        assert not result.ended
        if frame.data == b"[DONE]":
            result.ended = True
            continue
        data = json.loads(frame.data)
        if "error" in data:
            assert data["error"]["message"]
            result.failed = True
            continue
        chunk = openai.types.chat.ChatCompletionChunk.model_validate_json(frame.data, strict=True)
        for choice in chunk.choices:
            if choice.index:
                continue  # another answer
            delta: Any = choice.delta
            result.citations.extend(getattr(delta, "annotations", None) or ())
            result.text += delta.content or ""
            result.thinking += getattr(delta, "reasoning_content", None) or ""
            for block in getattr(delta, "thinking_blocks", None) or ():
                result.signature += block.get("signature") or ""
            for call in delta.tool_calls or ():
                call_id, name, arguments = calls.get(call.index, ("", "", ""))
                calls[call.index] = (
                    call_id or call.id or "",
                    name or call.function.name or "",
                    arguments + (call.function.arguments or ""),
                )
            result.finish = choice.finish_reason or result.finish
    result.calls = [calls[index] for index in sorted(calls)]
    assert result.ended != result.failed
    return result


_RESPONSE_EVENTS: Final[TypeAdapter[Any]] = TypeAdapter(openai.types.responses.ResponseStreamEvent)


def _read_responses(frames: list[Frame]) -> Received:
    """By OpenAI's event types, in OpenAI's order; what the deltas said must be what the last event says."""
    result = Received()
    items: dict[int, str] = {}
    arguments: dict[int, str] = {}
    for number, frame in enumerate(frames):
        data = json.loads(frame.data)
        assert frame.event == data["type"]
        assert data["sequence_number"] == number
        assert not result.ended
        if frame.event == "error":
            assert data["message"]
            assert data["error"]["message"] == data["message"]
            result.failed = True
        event = _RESPONSE_EVENTS.validate_json(frame.data, strict=True)
        assert type(event) is not dict
        match event.type:
            case "response.created":
                assert number == 0
            case "response.in_progress":
                assert number == 1
            case "response.output_item.added":
                assert event.output_index == len(items)
                items[event.output_index] = event.item.id
            case "response.output_text.delta" | "response.refusal.delta":
                assert items[event.output_index] == event.item_id
                result.text += event.delta
            case "response.reasoning_summary_text.delta":
                result.thinking += event.delta
            case "response.function_call_arguments.delta":
                arguments[event.output_index] = arguments.get(event.output_index, "") + event.delta
            case "response.output_item.done":
                assert items[event.output_index] == event.item.id
            case "response.completed" | "response.incomplete":
                _take_response(result, event.response, arguments)
            case "response.failed":
                assert result.failed
                assert event.response.error
            case _:
                assert event.type in _QUIET_EVENTS or event.type == "error"
    assert result.ended != result.failed
    return result


_QUIET_EVENTS: Final = frozenset(
    {
        "response.content_part.added",
        "response.content_part.done",
        "response.output_text.done",
        "response.output_text.annotation.added",
        "response.refusal.done",
        "response.reasoning_summary_part.added",
        "response.reasoning_summary_part.done",
        "response.reasoning_summary_text.done",
        "response.function_call_arguments.done",
    }
)


def _take_response(result: Received, response: Any, arguments: dict[int, str]) -> None:
    result.ended = True
    result.finish = response.status
    texts = [
        part.text if part.type == "output_text" else part.refusal
        for item in response.output
        if item.type == "message"
        for part in item.content
    ]
    assert "".join(texts) == result.text
    for place, item in enumerate(response.output):
        if item.type == "function_call":
            assert arguments.get(place, "{}") == item.arguments
            result.calls.append((item.call_id, item.name, item.arguments))
        elif item.type == "reasoning":
            result.signature += (item.encrypted_content or "").removeprefix("hg1.")


def _read_completions(frames: list[Frame]) -> Received:
    result = Received()
    for frame in frames:
        assert not result.ended
        if frame.data == b"[DONE]":
            result.ended = True
            continue
        if "error" in json.loads(frame.data):
            result.failed = True
            continue
        chunk = json.loads(frame.data)
        assert chunk["object"] == "text_completion"
        for choice in chunk["choices"]:
            assert result.finish is None
            result.text += choice["text"]
            result.finish = choice["finish_reason"]
        ended = [{**choice, "finish_reason": choice["finish_reason"] or "stop"} for choice in chunk["choices"]]
        # The SDK's type says that every chunk has a finish reason; the API says `null` until the end.
        openai.types.Completion.model_validate_json(json.dumps({**chunk, "choices": ended}), strict=True)
    assert result.ended != result.failed
    return result


def _read_gemini(frames: list[Frame]) -> Received:
    result = Received()
    for frame in frames:
        assert not result.failed
        data = json.loads(frame.data)
        if "error" in data:
            assert data["error"]["message"]
            result.failed = True
            continue
        assert not result.ended
        answer = google.genai.types.GenerateContentResponse.model_validate(data)
        assert answer.response_id
        assert answer.model_version
        for candidate in answer.candidates or ():
            if candidate.index:
                continue  # another answer
            content = candidate.content
            for part in (content.parts if content is not None else None) or ():
                _take_part(result, part)
            if candidate.finish_reason is not None:
                result.finish = candidate.finish_reason.value
                result.ended = True
    assert result.ended != result.failed
    return result


def _take_part(result: Received, part: google.genai.types.Part) -> None:
    if part.thought:
        result.thinking += part.text or ""
        result.signature += (part.thought_signature or b"").decode()
    elif part.function_call is not None:
        call = part.function_call
        result.calls.append((call.id or "", call.name or "", json.dumps(call.args)))
    else:
        result.text += part.text or ""


def _frames(received: bytes) -> list[Frame]:
    sse = SseDecoder()
    return [*sse.feed(received), *sse.close()]


_COHERE_EVENTS: Final[TypeAdapter[Any]] = TypeAdapter(cohere.v2.types.V2ChatStreamResponse)


def _read_cohere(frames: list[Frame]) -> Received:
    result = Received()
    contents: set[int] = set()
    calls: set[int] = set()
    for frame in frames:
        if frame.data == b"[DONE]":
            assert result.ended
            continue
        data = json.loads(frame.data)
        assert frame.event == data["type"]
        assert not result.ended
        assert not result.failed
        event = _COHERE_EVENTS.validate_json(frame.data, strict=True)
        assert event.type == data["type"]
        match event.type:
            case "message-start":
                assert event.id
            case "content-start":
                assert event.index not in contents
                contents.add(event.index)
                assert event.delta.message.content.type in ("text", "thinking")
            case "content-delta":
                assert event.index in contents
                result.text += event.delta.message.content.text or ""
                result.thinking += event.delta.message.content.thinking or ""
            case "tool-call-start":
                assert event.index == len(result.calls)
                calls.add(event.index)
                call = event.delta.message.tool_calls
                result.calls.append((call.id, call.function.name, call.function.arguments))
            case "tool-call-delta":
                assert event.index in calls
                more: str = event.delta.message.tool_calls.function.arguments
                call_id, name, arguments = result.calls[int(event.index)]
                result.calls[int(event.index)] = (call_id, name, arguments + more)
            case "content-end":
                contents.remove(event.index)
            case "tool-call-end":
                calls.remove(event.index)
            case "message-end":
                result.failed = event.delta.error is not None
                result.ended = not result.failed
                result.finish = None if result.failed else event.delta.finish_reason
                assert result.failed or not (contents or calls)
            case _:
                assert event.type in ("citation-start", "citation-end")
    assert result.ended != result.failed
    return result


def _read_converse(received: bytes) -> Received:
    result = Received()
    open_index: int | None = None
    next_index = 0
    try:
        for each in stream_events(received):
            assert not result.ended
            ((kind, event),) = each.items()
            match kind:
                case "messageStart":
                    assert next_index == 0
                case "contentBlockStart":
                    assert open_index is None
                    assert event["contentBlockIndex"] == next_index
                    open_index, next_index = next_index, next_index + 1
                    if "toolUse" in event["start"]:
                        call = event["start"]["toolUse"]
                        result.calls.append((call["toolUseId"], call["name"], ""))
                case "contentBlockDelta":
                    if open_index is None:  # text is not announced
                        open_index, next_index = next_index, next_index + 1
                    assert event["contentBlockIndex"] == open_index
                    _take_converse_delta(result, event["delta"])
                case "contentBlockStop":
                    # a block of nothing is stopped only
                    open_index, next_index = None, max(next_index, event["contentBlockIndex"] + 1)
                case "messageStop":
                    assert open_index is None
                    result.finish = event["stopReason"]
                case "metadata":
                    assert result.finish
                    result.ended = True
                case _:
                    raise AssertionError(f"no event is {kind}")
    except EventStreamError:
        assert not result.ended
        result.failed = True
    assert result.ended != result.failed
    return result


def _take_converse_delta(result: Received, delta: Any) -> None:
    result.text += delta.get("text", "")
    reasoning = delta.get("reasoningContent", {})
    result.thinking += reasoning.get("text", "")
    result.signature += reasoning.get("signature", "")
    if "toolUse" in delta:
        call_id, name, arguments = result.calls[-1]
        result.calls[-1] = (call_id, name, arguments + delta["toolUse"]["input"])


READERS: Final[Mapping[DialectName, Callable[[bytes], Received]]] = {
    DialectName.OPENAI_CHAT: lambda received: _read_openai(_frames(received)),
    DialectName.OPENAI_RESPONSES: lambda received: _read_responses(_frames(received)),
    DialectName.OPENAI_COMPLETIONS: lambda received: _read_completions(_frames(received)),
    DialectName.ANTHROPIC_MESSAGES: lambda received: _read_anthropic(_frames(received)),
    DialectName.COHERE: lambda received: _read_cohere(_frames(received)),
    DialectName.GEMINI: lambda received: _read_gemini(_frames(received)),
    DialectName.BEDROCK_CONVERSE: _read_converse,
}


def read_stream(client: str, received: bytes) -> Received:
    """The stream read by the rules of the client's SDK; fails on whatever that SDK would not understand."""
    return READERS[DialectName(client)](received)
