"""Anthropic's requests to `DemoRequest`, and `DemoReply` to Anthropic's answers.

https://docs.anthropic.com/en/api/messages
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from headgate.cli.demo.conversation import DemoReply, DemoRequest, Tool, pieces
from headgate.cli.demo.wire import BadRequestError, event, objects, string, text_of

STOP: Final = {"stop": "end_turn", "length": "max_tokens", "tools": "tool_use", "stop_sequence": "stop_sequence"}
CREATED: Final = "2025-01-01T00:00:00Z"


def models(names: tuple[str, ...]) -> dict[str, Any]:
    data = [{"id": name, "type": "model", "display_name": name, "created_at": CREATED} for name in names]
    return {"data": data, "has_more": False, "first_id": names[0], "last_id": names[-1]}


def error(status: int, message: str) -> dict[str, Any]:
    kind = "not_found_error" if status == 404 else "invalid_request_error" if status < 500 else "api_error"
    return {"type": "error", "error": {"type": kind, "message": message}}


def decode_messages(body: Mapping[str, Any], *, counting: bool = False) -> DemoRequest:
    """`counting`: a count_tokens request, which has no max_tokens."""
    messages = objects(body, "messages", required=True)
    if not messages:
        raise BadRequestError("messages: at least one message is required")
    limit = body.get("max_tokens")
    if not counting and (not isinstance(limit, int) or limit < 1):
        raise BadRequestError("max_tokens: a number of at least 1 is required")
    tools = tuple(
        Tool(string(each, "name"), each.get("description") or "", each.get("input_schema") or {})
        for each in objects(body, "tools")
    )
    choice: Mapping[str, Any] = body.get("tool_choice") or {}
    output: Mapping[str, Any] = body.get("output_config") or {}
    output_format: Mapping[str, Any] = output.get("format") or body.get("output_format") or {}
    return DemoRequest(
        model=string(body, "model"),
        said=next(filter(None, (text_of(each.get("content")) for each in reversed(messages) if _is_user(each))), ""),
        texts=(text_of(body.get("system")), *(_prompt_text(each.get("content")) for each in messages)),
        tools=tools,
        tool_choice=_tool_choice(choice, tools),
        parallel_tools=choice.get("disable_parallel_tool_use") is not True,
        tool_results=tuple(_results(messages[-1].get("content"))),
        output_tokens_max=limit if isinstance(limit, int) else None,
        stops=tuple(str(each) for each in body.get("stop_sequences") or ()),
        schema=output_format.get("schema"),
        streamed=body.get("stream") is True,
        include_usage=True,
    )


def _is_user(message: Mapping[str, Any]) -> bool:
    return message.get("role") == "user"


def _blocks(content: Any) -> list[Mapping[str, Any]]:
    return [each for each in content if isinstance(each, Mapping)] if isinstance(content, list) else []  # pyright: ignore[reportUnknownVariableType]


def _results(content: Any) -> Iterator[str]:
    for block in _blocks(content):
        if block.get("type") == "tool_result":
            yield text_of(block.get("content"))


def _prompt_text(content: Any) -> str:
    inputs = (json.dumps(each["input"]) for each in _blocks(content) if "input" in each)
    return " ".join((text_of(content), *_results(content), *inputs))


def _tool_choice(choice: Mapping[str, Any], tools: tuple[Tool, ...]) -> Any:
    match choice.get("type"):
        case None | "auto":
            return "auto"
        case "tool":
            for tool in tools:
                if tool.name == choice.get("name"):
                    return tool
            raise BadRequestError(f"tool_choice: there is no tool {choice.get('name')!r}")
        case "any" | "none" as known:
            return known
        case unknown:
            raise BadRequestError(f"tool_choice.type: {unknown!r} is unknown")


def _content(reply: DemoReply, number: int) -> list[dict[str, Any]]:
    if not reply.calls:
        return [{"type": "text", "text": reply.text}]
    return [
        {"type": "tool_use", "id": f"toolu_{number}_{index}", "name": call.name, "input": json.loads(call.arguments)}
        for index, call in enumerate(reply.calls)
    ]


def message(reply: DemoReply, request: DemoRequest, number: int) -> dict[str, Any]:
    return {
        "id": f"msg_demo_{number}",
        "type": "message",
        "role": "assistant",
        "model": request.model,
        "content": _content(reply, number),
        "stop_reason": STOP[reply.finish],
        "stop_sequence": reply.stop_sequence or None,
        "usage": _usage(reply, reply.output_tokens),
    }


def _usage(reply: DemoReply, output_tokens: int) -> dict[str, int]:
    return {
        "input_tokens": reply.input_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": output_tokens,
    }


def message_events(reply: DemoReply, request: DemoRequest, number: int) -> Iterator[bytes]:
    start = {**message(reply, request, number), "content": list[Any](), "stop_reason": None, "stop_sequence": None}
    start["usage"] = _usage(reply, 1)
    yield _event({"type": "message_start", "message": start})
    yield _event({"type": "ping"})
    for index, block in enumerate(_content(reply, number)):
        text = block["type"] == "text"
        empty = {**block, "text": ""} if text else {**block, "input": dict[str, Any]()}
        yield _event({"type": "content_block_start", "index": index, "content_block": empty})
        for piece in pieces(block["text"] if text else reply.calls[index].arguments):
            delta = (
                {"type": "text_delta", "text": piece} if text else {"type": "input_json_delta", "partial_json": piece}
            )
            yield _event({"type": "content_block_delta", "index": index, "delta": delta})
        yield _event({"type": "content_block_stop", "index": index})
    delta = {"stop_reason": STOP[reply.finish], "stop_sequence": reply.stop_sequence or None}
    yield _event({"type": "message_delta", "delta": delta, "usage": _usage(reply, reply.output_tokens)})
    yield _event({"type": "message_stop"})


def _event(value: dict[str, Any]) -> bytes:
    return event(value, value["type"])
