"""The events of every provider's streams of chat, as its own SDK declares them, each in a stream that it makes sense
in."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import botocore.session
from anthropic.types.beta import BetaRawMessageStreamEvent
from cohere.v2.types import V2ChatStreamResponse
from headgate.llm.names import DialectName
from openai.types.chat import ChatCompletionChunk
from openai.types.responses import ResponseStreamEvent

from support import eventstream
from support.sdk_answers import ANSWERS, SAMPLES, TEXT
from support.sdk_answers import in_context as answer_in_context
from support.sdk_requests import READER
from support.sdk_shapes import OneOf, Samples, Shape, Struct, Variant, Words, Writer, events_of_botocore

Document = dict[str, Any]

_SESSION: Any = botocore.session


def _converse() -> Shape:
    model: Any = _SESSION.get_session().get_service_model("bedrock-runtime")
    return events_of_botocore(model.operation_model("ConverseStream").output_shape.members["stream"])


EVENTS: Final[Mapping[DialectName, Shape]] = {
    DialectName.OPENAI_CHAT: READER.shape_of(ChatCompletionChunk),
    DialectName.OPENAI_RESPONSES: READER.shape_of(ResponseStreamEvent),
    DialectName.ANTHROPIC_MESSAGES: READER.shape_of(BetaRawMessageStreamEvent),
    DialectName.GEMINI: ANSWERS[DialectName.GEMINI],
    DialectName.BEDROCK_CONVERSE: _converse(),
    DialectName.COHERE: READER.shape_of(V2ChatStreamResponse),
}


@dataclass(frozen=True)
class Said:
    """An event, and the stream that it stands in."""

    kind: str
    """The event's `type`; empty where events are all of one."""
    variant: Variant


def said(dialect: DialectName) -> Iterator[Said]:
    """Every event, the smallest of its kind and all that say one thing more."""
    for shape in _options(EVENTS[dialect]):
        kind = _kind(shape)
        writer = writer_of(dialect, kind)
        yield Said(kind, Variant((), writer.smallest(shape)))
        for variant in writer.variants(shape):
            yield Said(kind, variant)


def writer_of(dialect: DialectName, kind: str) -> Writer:
    """What writes events of that kind."""
    return Writer({**SAMPLES[dialect], **_ADDRESSES, "model": ("m", "n"), **_OF_KINDS.get(kind, {})})


def _options(shape: Shape) -> Sequence[Shape]:
    return shape.options if isinstance(shape, OneOf) else (shape,)


def _kind(shape: Shape) -> str:
    if not isinstance(shape, Struct):
        return ""
    if "type" in shape.members:
        words = shape.members["type"].shape
        return str(words.words[0]) if isinstance(words, Words) else ""
    return next(iter(shape.members)) if len(shape.members) == 1 else ""


_ADDRESSES: Final[Samples] = dict.fromkeys(
    ("output_index", "content_index", "summary_index", "index", "contentBlockIndex", "sequence_number"), (0, 0)
)
_RESPONSE: Final[Document] = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1_700_000_001,
    "model": "m",
    "output": [],
}
_OF_KINDS: Final[Mapping[str, Samples]] = {
    "message_start": {
        "content": ([], []),
        **dict.fromkeys(("stop_reason", "stop_sequence", "stop_details"), (None, None)),
    },
    **{
        f"response.{word}": {"response": (_RESPONSE, _RESPONSE)}
        for word in ("created", "in_progress", "queued", "incomplete", "failed")
    },
}


# --- the streams around them -----------------------------------------------------------------------------------------


def stream(dialect: DialectName, kind: str, event: Document) -> bytes:
    """The bytes of a whole stream with that event."""
    return written(dialect, _AROUND[dialect](kind, event))


def plain(dialect: DialectName) -> bytes:
    """The bytes of a stream that says a text."""
    return written(dialect, _PLAIN[dialect])


def written(dialect: DialectName, events: Sequence[Document]) -> bytes:
    """Events as bytes."""
    if dialect is DialectName.BEDROCK_CONVERSE:
        return b"".join(eventstream.event(*next(iter(event.items()))) for event in events)
    end = b"data: [DONE]\n\n" if dialect is DialectName.OPENAI_CHAT else b""
    return b"".join(b"data: %b\n\n" % json.dumps(event).encode() for event in events) + end


def _chunk(delta: Document, finish: str | None = None) -> Document:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}


def _around_chunk(_kind: str, event: Document) -> Sequence[Document]:
    choices: list[Any] = []
    for choice in event["choices"]:
        delta = {**choice["delta"]}
        if choice.get("logprobs"):
            delta.setdefault("content", TEXT)
        delta["tool_calls"] = [
            {**call, "function": {"name": "f", **call.get("function", {})}} for call in delta.get("tool_calls", ())
        ]
        if "function_call" in delta:
            delta["function_call"] = {"name": "f", **delta["function_call"]}
        choices.append({**choice, "delta": delta})
    return ({**event, "choices": choices}, _chunk({}, "stop"))


_MESSAGE: Final[Document] = {"type": "message", "id": "i", "role": "assistant", "status": "completed", "content": []}
_CALLS: Final = ("file_search_call", "web_search_call", "image_generation_call", "mcp_call", "mcp_list_tools")
_ITEMS: Final[dict[str, Document]] = {
    "response.function_call_arguments": {"type": "function_call", "id": "i", "call_id": "c", "name": "f"},
    "response.custom_tool_call_input": {"type": "custom_tool_call", "id": "i", "call_id": "c", "name": "f"},
    "response.reasoning": {"type": "reasoning", "id": "i", "summary": []},
    "response.code_interpreter_call": {"type": "code_interpreter_call", "id": "i"},
    "response.compaction": {"type": "compaction", "id": "i"},
    "response.shell_call_output": {"type": "shell_call_output", "id": "i"},
    "response.shell_call": {"type": "shell_call", "id": "i"},
    **{f"response.{kind}": {"type": kind, "id": "i"} for kind in _CALLS},
    "response.output_text": _MESSAGE,
    "response.content_part": _MESSAGE,
    "response.refusal": _MESSAGE,
}
_ARGUMENTS: Final[dict[str, Document]] = {"function_call": {"arguments": '{"z":1}'}, "custom_tool_call": {"input": "z"}}


def _event(kind: str, **members: Any) -> Document:
    return {"type": kind, "sequence_number": 0, "output_index": 0, **members}


def _created() -> Document:
    return _event("response.created", response={**_RESPONSE, "status": "in_progress"})


def _completed(*items: Document) -> Document:
    return _event("response.completed", response={**_RESPONSE, "status": "completed", "output": [*items]})


def _around_event(kind: str, event: Document) -> Sequence[Document]:
    if kind == "response.created":
        return (event, _completed())
    if kind == "response.completed":
        return (_created(), event)
    if kind in ("response.incomplete", "response.failed", "error"):
        return (_created(), event)
    if kind == "response.output_item.done":
        return (_created(), event, _completed(event["item"]))
    if kind == "response.output_item.added":
        done = {**event["item"], **_ARGUMENTS.get(event["item"]["type"], {})}
        return (_created(), event, _event("response.output_item.done", item=done), _completed(done))
    item = next((item for begins, item in _ITEMS.items() if kind.startswith(begins)), None)
    if item is None:
        return (_created(), event, _completed())
    before = [_created(), _event("response.output_item.added", item=item)]
    if kind == "response.output_text.annotation.added":
        before.append(_event("response.output_text.delta", content_index=0, delta=TEXT, logprobs=[]))
    done = {**item, **_ARGUMENTS.get(item["type"], {})}
    return (*before, event, _event("response.output_item.done", item=done), _completed(done))


_STARTED: Final[Document] = {
    "type": "message_start",
    "message": {"id": "msg_1", "model": "m", "content": [], "usage": {"input_tokens": 3, "output_tokens": 1}},
}
_TEXT_BLOCK: Final[Document] = {"type": "text", "text": ""}
_BLOCKS: Final[dict[str, Document]] = {
    "thinking_delta": {"type": "thinking", "thinking": "", "signature": ""},
    "signature_delta": {"type": "thinking", "thinking": "", "signature": ""},
    "input_json_delta": {"type": "tool_use", "id": "t", "name": "f", "input": {}},
    "compaction_delta": {"type": "compaction", "content": None},
}


def _block(block: Document, *deltas: Document) -> Sequence[Document]:
    return (
        {"type": "content_block_start", "index": 0, "content_block": block},
        *deltas,
        {"type": "content_block_stop", "index": 0},
    )


def _text_delta(text: str) -> Document:
    return {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}


_ANTHROPIC_TEXT: Final = _block(_TEXT_BLOCK, _text_delta(TEXT))
_STOPPED: Final[Sequence[Document]] = (
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 9}},
    {"type": "message_stop"},
)


def _around_message(kind: str, event: Document) -> Sequence[Document]:
    match kind:
        case "message_start":
            return (event, *_ANTHROPIC_TEXT, *_STOPPED)
        case "message_delta":
            ended = {**event, "delta": {"stop_reason": "end_turn", **event["delta"]}}
            return (_STARTED, *_ANTHROPIC_TEXT, ended, {"type": "message_stop"})
        case "content_block_start":
            return (_STARTED, event, {"type": "content_block_stop", "index": 0}, *_STOPPED)
        case "content_block_delta":
            block = _BLOCKS.get(event["delta"]["type"], _TEXT_BLOCK)
            return (_STARTED, *_block(block, event), *_STOPPED)
        case _:
            return (_STARTED, *_ANTHROPIC_TEXT, *_STOPPED)


def _around_candidate(_kind: str, event: Document) -> Sequence[Document]:
    last = {"candidates": [{"content": {"parts": [{"text": "."}], "role": "model"}, "finishReason": "STOP"}]}
    return ({**answer_in_context(DialectName.GEMINI, event)}, last)


_CONVERSE_ENDED: Final[Sequence[Document]] = (
    {"messageStop": {"stopReason": "end_turn"}},
    {"metadata": {"usage": {"inputTokens": 3, "outputTokens": 9, "totalTokens": 12}, "metrics": {"latencyMs": 1}}},
)
_CONVERSE_STARTED: Final[Document] = {"messageStart": {"role": "assistant"}}
_CONVERSE_TEXT: Final[Document] = {"contentBlockDelta": {"contentBlockIndex": 0, "delta": {"text": TEXT}}}
_CONVERSE_STOP: Final[Document] = {"contentBlockStop": {"contentBlockIndex": 0}}
_CONVERSE_BEGINS: Final[dict[str, Document]] = {
    "toolUse": {"toolUse": {"toolUseId": "t", "name": "f"}},
    "image": {"image": {"format": "png"}},
    "toolResult": {"toolResult": {"toolUseId": "t"}},
}


def _around_block(kind: str, event: Document) -> Sequence[Document]:
    match kind:
        case "messageStart":
            return (event, _CONVERSE_TEXT, _CONVERSE_STOP, *_CONVERSE_ENDED)
        case "messageStop":
            return (_CONVERSE_STARTED, _CONVERSE_TEXT, _CONVERSE_STOP, event, _CONVERSE_ENDED[1])
        case "metadata":
            return (_CONVERSE_STARTED, _CONVERSE_TEXT, _CONVERSE_STOP, _CONVERSE_ENDED[0], event)
        case "contentBlockDelta":
            delta = next(iter(event["contentBlockDelta"]["delta"]))
            begins = _CONVERSE_BEGINS.get(delta)
            start = {"contentBlockStart": {"contentBlockIndex": 0, "start": begins}} if begins else _CONVERSE_TEXT
            before = (start,) if begins or delta == "citation" else ()
            return (_CONVERSE_STARTED, *before, event, _CONVERSE_STOP, *_CONVERSE_ENDED)
        case _:
            return (_CONVERSE_STARTED, event, _CONVERSE_STOP, *_CONVERSE_ENDED)


_COHERE_STARTED: Final[Document] = {"type": "message-start", "id": "c", "delta": {"message": {"role": "assistant"}}}
_COHERE_ENDED: Final[Document] = {
    "type": "message-end",
    "delta": {"finish_reason": "COMPLETE", "usage": {"tokens": {"input_tokens": 3, "output_tokens": 9}}},
}
_COHERE_CONTENT: Final[Document] = {
    "type": "content-start",
    "index": 0,
    "delta": {"message": {"content": {"type": "text", "text": TEXT}}},
}
_COHERE_CALL: Final[Document] = {
    "type": "tool-call-start",
    "index": 0,
    "delta": {"message": {"tool_calls": {"id": "t", "function": {"name": "f", "arguments": ""}}}},
}


def _around_cohere(kind: str, event: Document) -> Sequence[Document]:
    match kind:
        case "message-start":
            return (event, _COHERE_CONTENT, _COHERE_ENDED)
        case "message-end":
            delta = {**event.get("delta", {})}
            if "usage" in delta:
                delta["usage"] = {"tokens": {"input_tokens": 3, "output_tokens": 9}, **delta["usage"]}
            return (_COHERE_STARTED, _COHERE_CONTENT, {**event, "delta": delta})
        case "content-delta" | "citation-start":
            return (_COHERE_STARTED, _COHERE_CONTENT, event, {"type": "content-end", "index": 0}, _COHERE_ENDED)
        case "tool-call-delta":
            return (_COHERE_STARTED, _COHERE_CALL, event, {"type": "tool-call-end", "index": 0}, _COHERE_ENDED)
        case _:
            return (_COHERE_STARTED, event, _COHERE_ENDED)


_AROUND: Final[Mapping[DialectName, Any]] = {
    DialectName.OPENAI_CHAT: _around_chunk,
    DialectName.OPENAI_RESPONSES: _around_event,
    DialectName.ANTHROPIC_MESSAGES: _around_message,
    DialectName.GEMINI: _around_candidate,
    DialectName.BEDROCK_CONVERSE: _around_block,
    DialectName.COHERE: _around_cohere,
}
_PLAIN: Final[Mapping[DialectName, Sequence[Document]]] = {
    DialectName.OPENAI_CHAT: (_chunk({"content": TEXT}), _chunk({}, "stop")),
    DialectName.OPENAI_RESPONSES: (_created(), _event("response.output_text.delta", delta=TEXT), _completed()),
    DialectName.ANTHROPIC_MESSAGES: (_STARTED, *_ANTHROPIC_TEXT, *_STOPPED),
    DialectName.GEMINI: (
        {"candidates": [{"content": {"parts": [{"text": TEXT}], "role": "model"}, "finishReason": "STOP"}]},
    ),
    DialectName.BEDROCK_CONVERSE: (_CONVERSE_STARTED, _CONVERSE_TEXT, _CONVERSE_STOP, *_CONVERSE_ENDED),
    DialectName.COHERE: (_COHERE_STARTED, _COHERE_CONTENT, _COHERE_ENDED),
}
