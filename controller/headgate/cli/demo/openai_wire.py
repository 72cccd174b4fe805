"""OpenAI's requests to `DemoRequest`, and `DemoReply` to OpenAI's answers.

https://platform.openai.com/docs/api-reference
"""

import base64
import hashlib
import itertools
import struct
from collections.abc import Iterator, Mapping
from typing import Any, Final

from headgate.cli.demo.conversation import CountTokens, DemoReply, DemoRequest, Schema, Tool, pieces
from headgate.cli.demo.wire import BadRequestError, event, objects, string, text_of

CREATED: Final = 1_735_689_600
DIMENSIONS: Final = 256
DIMENSIONS_MAX: Final = 4096
DONE: Final = b"data: [DONE]\n\n"
FINISH: Final = {"stop": "stop", "length": "length", "tools": "tool_calls", "stop_sequence": "stop"}


def models(names: tuple[str, ...]) -> dict[str, Any]:
    data = [{"id": name, "object": "model", "created": CREATED, "owned_by": "headgate-demo"} for name in names]
    return {"object": "list", "data": data}


def error(status: int, message: str) -> dict[str, Any]:
    kind = "invalid_request_error" if status < 500 else "server_error"
    return {"error": {"message": message, "type": kind, "param": None, "code": None}}


# ---- chat completions


def decode_chat(body: Mapping[str, Any]) -> DemoRequest:
    messages = objects(body, "messages", required=True)
    if not messages:
        raise BadRequestError("messages: at least one message is required")
    tools = tuple(_tool(each.get("function") or {}) for each in objects(body, "tools"))
    results = list(itertools.takewhile(lambda each: each.get("role") == "tool", reversed(messages)))
    limit = body.get("max_completion_tokens", body.get("max_tokens"))
    options: Mapping[str, Any] = body.get("stream_options") or {}
    return DemoRequest(
        model=string(body, "model"),
        said=_last_said(messages),
        texts=tuple(text_of(each.get("content")) for each in messages),
        tools=tools,
        tool_choice=_tool_choice(body.get("tool_choice"), tools),
        parallel_tools=body.get("parallel_tool_calls") is not False,
        tool_results=tuple(text_of(each.get("content")) for each in reversed(results)),
        output_tokens_max=limit if isinstance(limit, int) else None,
        stops=_stops(body.get("stop")),
        schema=_schema(body.get("response_format") or {}),
        streamed=body.get("stream") is True,
        include_usage=options.get("include_usage") is True,
    )


def _tool(function: Mapping[str, Any]) -> Tool:
    return Tool(string(function, "name"), function.get("description") or "", function.get("parameters") or {})


def _tool_choice(choice: Any, tools: tuple[Tool, ...]) -> Any:
    match choice:
        case None | "auto":
            return "auto"
        case "none":
            return "none"
        case "required":
            return "any"
        case {"function": {"name": name}} | {"name": name}:
            return _named(str(name), tools)
        case _:
            return "auto"


def _named(name: str, tools: tuple[Tool, ...]) -> Tool:
    for tool in tools:
        if tool.name == name:
            return tool
    raise BadRequestError(f"tool_choice: there is no tool {name!r}")


def _last_said(messages: list[dict[str, Any]]) -> str:
    return next((text_of(each.get("content")) for each in reversed(messages) if each.get("role") == "user"), "")


def _stops(stop: Any) -> tuple[str, ...]:
    if isinstance(stop, str):
        return (stop,)
    return tuple(str(each) for each in stop) if isinstance(stop, list) else ()  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]


def _schema(response_format: Mapping[str, Any]) -> Schema | None:
    match response_format:
        case {"type": "json_schema", "json_schema": {"schema": schema}} | {"type": "json_schema", "schema": schema}:
            return schema
        case {"type": "json_object"}:
            return {"type": "object", "properties": {"demo": {"const": True}}}
        case _:
            return None


def chat(reply: DemoReply, request: DemoRequest, number: int) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": reply.text or None, "refusal": None}
    if reply.calls:
        message["tool_calls"] = [
            {
                "id": f"call_{number}_{index}",
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for index, call in enumerate(reply.calls)
        ]
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": FINISH[reply.finish]}
    head = {"id": f"chatcmpl-demo-{number}", "object": "chat.completion", "created": CREATED, "model": request.model}
    return {**head, "choices": [choice], "usage": _usage(reply)}


def chat_events(reply: DemoReply, request: DemoRequest, number: int) -> Iterator[bytes]:
    frame: dict[str, Any] = {
        "id": f"chatcmpl-demo-{number}",
        "object": "chat.completion.chunk",
        "created": CREATED,
        "model": request.model,
        **({"usage": None} if request.include_usage else {}),
    }
    for delta in _chat_deltas(reply, number):
        yield event({**frame, "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}]})
    last: dict[str, Any] = {"index": 0, "delta": {}, "logprobs": None, "finish_reason": FINISH[reply.finish]}
    yield event({**frame, "choices": [last]})
    if request.include_usage:
        yield event({**frame, "choices": [], "usage": _usage(reply)})
    yield DONE


def _chat_deltas(reply: DemoReply, number: int) -> Iterator[dict[str, Any]]:
    yield {"role": "assistant", "content": ""}
    yield from ({"content": piece} for piece in pieces(reply.text))
    for index, call in enumerate(reply.calls):
        start = {"name": call.name, "arguments": ""}
        yield {"tool_calls": [{"index": index, "id": f"call_{number}_{index}", "type": "function", "function": start}]}
        for piece in pieces(call.arguments):
            yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}


def _usage(reply: DemoReply) -> dict[str, Any]:
    return {
        "prompt_tokens": reply.input_tokens,
        "completion_tokens": reply.output_tokens,
        "total_tokens": reply.input_tokens + reply.output_tokens,
    }


# ---- completions


def decode_completion(body: Mapping[str, Any]) -> DemoRequest:
    prompt = body.get("prompt")
    said = prompt if isinstance(prompt, str) else " ".join(map(str, prompt or ()))
    limit = body.get("max_tokens")
    options: Mapping[str, Any] = body.get("stream_options") or {}
    return DemoRequest(
        model=string(body, "model"),
        said=said,
        texts=(said,),
        output_tokens_max=limit if isinstance(limit, int) else None,
        stops=_stops(body.get("stop")),
        streamed=body.get("stream") is True,
        include_usage=options.get("include_usage") is True,
    )


def _completion_frame(request: DemoRequest, number: int, text: str, finish: str | None) -> dict[str, Any]:
    choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": finish}
    head = {"id": f"cmpl-demo-{number}", "object": "text_completion", "created": CREATED, "model": request.model}
    return {**head, "choices": [choice]}


def completion(reply: DemoReply, request: DemoRequest, number: int) -> dict[str, Any]:
    return {**_completion_frame(request, number, reply.text, FINISH[reply.finish]), "usage": _usage(reply)}


def completion_events(reply: DemoReply, request: DemoRequest, number: int) -> Iterator[bytes]:
    for piece in pieces(reply.text):
        yield event(_completion_frame(request, number, piece, None))
    yield event(_completion_frame(request, number, "", FINISH[reply.finish]))
    if request.include_usage:
        yield event({**_completion_frame(request, number, "", None), "choices": [], "usage": _usage(reply)})
    yield DONE


# ---- embeddings


def embeddings(body: Mapping[str, Any], count_tokens: CountTokens) -> dict[str, Any]:
    """Vectors that depend on the text alone, of length one, as long as `dimensions` says."""
    given: Any = body.get("input")
    # A string, or an array of token numbers, is one input; an array of either is several.
    several = isinstance(given, list) and bool(given) and not isinstance(given[0], int)  # pyright: ignore[reportUnknownArgumentType]
    inputs: list[str] = [str(each) for each in given] if several else [str(given)]  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    size = body.get("dimensions") or DIMENSIONS
    if not isinstance(size, int) or not 1 <= size <= DIMENSIONS_MAX:
        raise BadRequestError(f"dimensions: a number from 1 to {DIMENSIONS_MAX} is required")
    vectors = [_vector(text, size) for text in inputs]
    packed = body.get("encoding_format") == "base64"
    tokens = sum(map(count_tokens, inputs))
    return {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": _packed(each) if packed else each}
            for index, each in enumerate(vectors)
        ],
        "model": string(body, "model"),
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


def _vector(text: str, size: int) -> list[float]:
    noise = hashlib.shake_128(text.encode(errors="replace")).digest(size * 2)
    values = [number / 32768 for number in struct.unpack(f"<{size}h", noise)]
    length = sum(value * value for value in values) ** 0.5 or 1.0
    return [value / length for value in values]


def _packed(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


# ---- responses


def decode_response(body: Mapping[str, Any]) -> DemoRequest:
    given = body.get("input")
    items = [{"role": "user", "content": given}] if isinstance(given, str) else objects(body, "input", required=True)
    tools = tuple(_tool(each) for each in objects(body, "tools") if each.get("type") == "function")
    results = list(itertools.takewhile(lambda each: each.get("type") == "function_call_output", reversed(items)))
    limit = body.get("max_output_tokens")
    text: Mapping[str, Any] = body.get("text") or {}
    return DemoRequest(
        model=string(body, "model"),
        said=_last_said(items),
        texts=(body.get("instructions") or "", *(text_of(each.get("content", each.get("output"))) for each in items)),
        tools=tools,
        tool_choice=_tool_choice(body.get("tool_choice"), tools),
        parallel_tools=body.get("parallel_tool_calls") is not False,
        tool_results=tuple(text_of(each.get("output")) for each in reversed(results)),
        output_tokens_max=limit if isinstance(limit, int) else None,
        schema=_schema(text.get("format") or {}),
        streamed=body.get("stream") is True,
    )


def _items(reply: DemoReply, number: int) -> list[dict[str, Any]]:
    if not reply.calls:
        content: list[dict[str, Any]] = [{"type": "output_text", "text": reply.text, "annotations": []}]
        head = {"id": f"msg_demo_{number}", "type": "message", "role": "assistant"}
        return [{**head, "status": "completed", "content": content}]
    return [
        {
            "id": f"fc_demo_{number}_{index}",
            "type": "function_call",
            "call_id": f"call_{number}_{index}",
            "name": call.name,
            "arguments": call.arguments,
            "status": "completed",
        }
        for index, call in enumerate(reply.calls)
    ]


def response(reply: DemoReply, request: DemoRequest, number: int, *, started: bool = False) -> dict[str, Any]:
    status = "in_progress" if started else "incomplete" if reply.finish == "length" else "completed"
    usage = {
        "input_tokens": reply.input_tokens,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": reply.output_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": reply.input_tokens + reply.output_tokens,
    }
    return {
        "id": f"resp_demo_{number}",
        "object": "response",
        "created_at": CREATED,
        "status": status,
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
        "instructions": None,
        "metadata": {},
        "model": request.model,
        "output": [] if started else _items(reply, number),
        "parallel_tool_calls": request.parallel_tools,
        "tool_choice": "auto",
        "tools": [],
        "usage": None if started else usage,
    }


def response_events(reply: DemoReply, request: DemoRequest, number: int) -> Iterator[bytes]:
    for sequence, value in enumerate(_response_events(reply, request, number)):
        yield event({**value, "sequence_number": sequence}, value["type"])


def _response_events(reply: DemoReply, request: DemoRequest, number: int) -> Iterator[dict[str, Any]]:
    first = response(reply, request, number, started=True)
    yield {"type": "response.created", "response": first}
    yield {"type": "response.in_progress", "response": first}
    for index, item in enumerate(_items(reply, number)):
        at = {"item_id": item["id"], "output_index": index}
        empty = {"content": list[Any]()} if item["type"] == "message" else {"arguments": ""}
        added = {**item, **empty, "status": "in_progress"}
        yield {"type": "response.output_item.added", "output_index": index, "item": added}
        yield from _text_events(item, at) if item["type"] == "message" else _arguments_events(item, at)
        yield {"type": "response.output_item.done", "output_index": index, "item": item}
    last = response(reply, request, number)
    yield {"type": f"response.{last['status']}", "response": last}


def _text_events(item: dict[str, Any], at: dict[str, Any]) -> Iterator[dict[str, Any]]:
    part, where = item["content"][0], {**at, "content_index": 0}
    yield {"type": "response.content_part.added", **where, "part": {**part, "text": ""}}
    for piece in pieces(part["text"]):
        yield {"type": "response.output_text.delta", **where, "delta": piece, "logprobs": []}
    yield {"type": "response.output_text.done", **where, "text": part["text"], "logprobs": []}
    yield {"type": "response.content_part.done", **where, "part": part}


def _arguments_events(item: dict[str, Any], at: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for piece in pieces(item["arguments"]):
        yield {"type": "response.function_call_arguments.delta", **at, "delta": piece}
    done = {"name": item["name"], "arguments": item["arguments"]}
    yield {"type": "response.function_call_arguments.done", **at, **done}
