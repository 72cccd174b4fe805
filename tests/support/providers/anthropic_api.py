"""Anthropic's Messages API: https://docs.anthropic.com/en/api/messages ."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from support.providers import checking
from support.providers.answers import Answer, Failure, pieces
from support.providers.received import Received
from support.providers.server import Rendered
from support.providers.sse import EVENT_STREAM, JSON, compact, named

MESSAGES = "/v1/messages"
COUNT_TOKENS = "/v1/messages/count_tokens"
MODELS = "/v1/models"
STOP = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tools": "tool_use",
    "stop_sequence": "stop_sequence",
    "refusal": "refusal",
}
ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}
COUNT_TOKENS_TYPE = "anthropic.types.message_count_tokens_params.MessageCountTokensParams"
TYPES = {
    MESSAGES: (
        "anthropic.types.message_create_params.MessageCreateParamsNonStreaming",
        "anthropic.types.message_create_params.MessageCreateParamsStreaming",
    ),
    COUNT_TOKENS: (COUNT_TOKENS_TYPE, COUNT_TOKENS_TYPE),
}


@dataclass(frozen=True, slots=True)
class AnthropicApi:
    """The API at api.anthropic.com."""

    credential_header: str = "x-api-key"
    credential_format: str = "{}"

    def problems(self, received: Received, key: str, allow_unknown: bool) -> list[str]:
        found = checking.header_problems(received, self.credential_header, self.credential_format.format(key))
        version = received.header("anthropic-version")
        if not version or not re.fullmatch(r"\d{4}-\d\d-\d\d", version):
            found.append(f"anthropic-version: header is required (got {version!r})")
        if received.method == "GET" and received.path == MODELS:
            return found
        if received.method != "POST" or received.path not in TYPES:
            return [*found, f"no such path: {received.method} {received.path}"]
        rules = checking.anthropic_messages_rules
        return found + checking.body_problems(TYPES[received.path], rules, received, allow_unknown)

    def render(self, answer: Answer, received: Received) -> Rendered:
        if received.path == COUNT_TOKENS:
            return _json({"input_tokens": answer.usage.input})
        if received.path == MODELS:
            model = {
                "id": "claude-x",
                "type": "model",
                "display_name": "Claude X",
                "created_at": "2025-01-01T00:00:00Z",
            }
            return _json({"data": [model], "has_more": False, "first_id": "claude-x", "last_id": "claude-x"})
        if received.streamed:
            return Rendered(EVENT_STREAM, tuple(_stream(answer, received)))
        return _json(_message(answer, received))

    def render_failure(self, failure: Failure) -> Rendered:
        error = {"type": failure.kind or ERROR_TYPES.get(failure.status, "api_error"), "message": failure.message}
        return _json({"type": "error", "error": error, "request_id": "req_anthropic"})

    def headers(self, number: int) -> Mapping[str, str]:
        return {
            "request-id": f"req_anthropic_{number}",
            "anthropic-ratelimit-requests-limit": "1000",
            "anthropic-ratelimit-requests-remaining": str(1000 - number),
        }


def _json(value: Any) -> Rendered:
    return Rendered(JSON, (compact(value).encode(),))


def _usage(answer: Answer, output: int) -> dict[str, Any]:
    usage = answer.usage
    return {
        # Anthropic's input_tokens leave out what was read from or written to the cache.
        "input_tokens": usage.input - usage.cached - usage.cache_creation,
        "cache_creation_input_tokens": usage.cache_creation,
        "cache_read_input_tokens": usage.cached,
        "output_tokens": output,
    }


def _blocks(answer: Answer) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    if answer.thinking:
        blocks.append({"type": "thinking", "thinking": answer.thinking, "signature": answer.signature})
    if answer.redacted_thinking:
        blocks.append({"type": "redacted_thinking", "data": answer.redacted_thinking})
    text = answer.refusal or answer.text
    if text:
        blocks.append({"type": "text", "text": text})
    blocks += [
        {"type": "tool_use", "id": each.id, "name": each.name, "input": json.loads(each.arguments)}
        for each in answer.tools
    ]
    return blocks


def _message(answer: Answer, received: Received) -> dict[str, Any]:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": answer.model or f"{received.model}-2025-01-01",
        "content": _blocks(answer),
        "stop_reason": STOP[answer.stopped],
        "stop_sequence": answer.stop_sequence or None,
        "usage": _usage(answer, answer.usage.output),
    }


def _stream(answer: Answer, received: Received) -> Iterator[bytes]:
    start: dict[str, Any] = {**_message(answer, received), "content": [], "stop_reason": None, "stop_sequence": None}
    start["usage"] = _usage(answer, 1)
    yield named("message_start", {"type": "message_start", "message": start})
    yield named("ping", {"type": "ping"})
    tools = iter(answer.tools)
    for index, block in enumerate(_blocks(answer)):
        arguments = next(tools).arguments if block["type"] == "tool_use" else ""
        yield from _block_events(index, block, arguments, answer.pieces)
    delta = {"stop_reason": STOP[answer.stopped], "stop_sequence": answer.stop_sequence or None}
    usage = _usage(answer, answer.usage.output)
    yield named("message_delta", {"type": "message_delta", "delta": delta, "usage": usage})
    yield named("message_stop", {"type": "message_stop"})


def _block_events(index: int, block: dict[str, Any], arguments: str, count: int) -> Iterator[bytes]:
    deltas: list[dict[str, Any]] = []
    empty: dict[str, Any] = block
    match block["type"]:
        case "thinking":
            empty = {**block, "thinking": "", "signature": ""}
            deltas = [{"type": "thinking_delta", "thinking": each} for each in pieces(block["thinking"], count)]
            deltas.append({"type": "signature_delta", "signature": block["signature"]})
        case "text":
            empty = {**block, "text": ""}
            deltas = [{"type": "text_delta", "text": each} for each in pieces(block["text"], count)]
        case "tool_use":
            empty = {**block, "input": dict[str, Any]()}
            texts = ["", *pieces(arguments, count)]
            deltas = [{"type": "input_json_delta", "partial_json": each} for each in texts]
        case _:
            pass
    yield named("content_block_start", {"type": "content_block_start", "index": index, "content_block": empty})
    for delta in deltas:
        yield named("content_block_delta", {"type": "content_block_delta", "index": index, "delta": delta})
    yield named("content_block_stop", {"type": "content_block_stop", "index": index})


ANTHROPIC = AnthropicApi()
ANTHROPIC_BEARER = AnthropicApi(credential_header="authorization", credential_format="Bearer {}")
"""What version 2 of Anthropic's SDK does with an API key, and every version with an OAuth token."""
