"""What a response repeats of its request, as JSON members ready to be written into every response object.

Clients' SDKs insist on some of them (`tools`, `tool_choice`, `parallel_tool_calls`); OpenAI repeats the others too.
"""

from typing import Any, Final

import msgspec
from headgate.llm.dialects.openai_chat.wire import present
from headgate.llm.dialects.openai_responses import wire

_encode = msgspec.json.Encoder().encode
_NULL: Final = msgspec.Raw(b"null")
_NOTHING: Final[dict[str, msgspec.Raw]] = {}


def echo_of(request: wire.Body, members: dict[str, msgspec.Raw]) -> bytes:
    """The members, without braces. `store` is false: nothing is kept here."""
    tools = [_tool(tool) for tool in wire.decode_raw_list(members["tools"])] if request.tools else []
    echoed: dict[str, Any] = {
        "background": False,
        "instructions": request.instructions,
        "max_output_tokens": request.max_output_tokens,
        "max_tool_calls": members.get("max_tool_calls"),
        "parallel_tool_calls": True if request.parallel_tool_calls is None else request.parallel_tool_calls,
        "previous_response_id": None,
        "prompt_cache_key": members.get("prompt_cache_key"),
        "reasoning": _reasoning(request.reasoning),
        "safety_identifier": request.safety_identifier,
        "store": False,
        "temperature": 1.0 if request.temperature is None else request.temperature,
        "text": _given(members, "text", msgspec.Raw(b'{"format":{"type":"text"}}')),
        "tool_choice": _given(members, "tool_choice", msgspec.Raw(b'"auto"')),
        "tools": tools,
        "top_logprobs": request.top_logprobs or 0,
        "top_p": 1.0 if request.top_p is None else request.top_p,
        "truncation": _given(members, "truncation", msgspec.Raw(b'"disabled"')),
        "user": request.user,
        "metadata": _given(members, "metadata", msgspec.Raw(b"{}")),
    }
    return _encode(echoed)[1:-1]


def _given(members: dict[str, msgspec.Raw], name: str, default: msgspec.Raw) -> msgspec.Raw:
    raw = members.get(name, _NULL)
    return raw if present(raw) else default


def _reasoning(config: wire.ReasoningConfig | None) -> dict[str, Any]:
    if config is None:
        return {"effort": None, "summary": None}
    return {"effort": config.effort, "summary": config.summary or config.generate_summary}


def _tool(raw: msgspec.Raw) -> object:
    """A tool as it was sent; a function with the members that every answer has."""
    members = wire.decode_raw_object(raw)
    if bytes(members.get("type", b"")) != b'"function"':
        return raw
    return {**members, "parameters": members.get("parameters", _NULL), "strict": members.get("strict", _NULL)}


DEFAULT: Final = echo_of(wire.Body(), _NOTHING)
"""Of a request that said nothing."""
