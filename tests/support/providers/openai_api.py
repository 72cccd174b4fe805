"""OpenAI and Azure OpenAI: the same bodies under different paths and credential headers.

Formats: https://platform.openai.com/docs/api-reference ; Azure:
`/openai/deployments/{name}/…?api-version=` or `/openai/v1/…`.
"""

import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from support.json_values import is_array
from support.providers import checking
from support.providers.answers import Answer, Failure, pieces
from support.providers.received import Received
from support.providers.server import Rendered
from support.providers.sse import DONE, EVENT_STREAM, JSON, compact, data

CREATED = 1_735_689_600
FINISH = {"stop": "stop", "length": "length", "tools": "tool_calls", "stop_sequence": "stop", "refusal": "stop"}
ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "invalid_request_error",
    429: "rate_limit_error",
}

Whole = Callable[[Answer, Received], dict[str, Any]]
Stream = Callable[[Answer, Received], Iterator[bytes]]


@dataclass(frozen=True, slots=True)
class Operation:
    """One row of `OPERATIONS`: the SDK types of a request (unstreamed, streamed) and how to answer it."""

    suffix: str
    method: str
    types: tuple[str, str] | None
    rules: checking.Rules | None
    whole: Whole
    stream: Stream | None


@dataclass(frozen=True, slots=True)
class OpenAIApi:
    """`prefix` is a regular expression for what stands before `/chat/completions`."""

    prefix: str
    credential_header: str
    credential_format: str
    needs_api_version: bool = False

    def _operation(self, received: Received) -> Operation | None:
        for each in OPERATIONS:
            if received.method == each.method and re.fullmatch(self.prefix + each.suffix, received.path):
                return each
        return None

    def problems(self, received: Received, key: str, allow_unknown: bool) -> list[str]:
        found = checking.header_problems(received, self.credential_header, self.credential_format.format(key))
        operation = self._operation(received)
        if operation is None:
            return [*found, f"no such path: {received.method} {received.path}"]
        versioned = self.needs_api_version and not received.path.startswith("/openai/v1/")
        if versioned and "api-version" not in parse_qs(received.query):
            found.append("no api-version in the query")
        if operation.types:
            found += checking.body_problems(operation.types, operation.rules, received, allow_unknown)
        return found

    def render(self, answer: Answer, received: Received) -> Rendered:
        operation = self._operation(received)
        assert operation
        if received.streamed and operation.stream:
            return Rendered(EVENT_STREAM, tuple(operation.stream(answer, received)))
        return Rendered(JSON, (compact(operation.whole(answer, received)).encode(),))

    def render_failure(self, failure: Failure) -> Rendered:
        error = {
            "message": failure.message,
            "type": failure.kind or ERROR_TYPES.get(failure.status, "server_error"),
            "param": None,
            "code": failure.code or None,
        }
        return Rendered(JSON, (compact({"error": error}).encode(),))

    def headers(self, number: int) -> Mapping[str, str]:
        return {
            "x-request-id": f"req_openai_{number}",
            "openai-processing-ms": "5",
            "x-ratelimit-limit-requests": "10000",
            "x-ratelimit-remaining-requests": str(10000 - number),
        }


def _model(answer: Answer, received: Received) -> str:
    return answer.model or f"{received.model or 'deployment'}-2025-01-01"


def _includes_usage(received: Received) -> bool:
    options: dict[str, Any] = received.json.get("stream_options") or {}
    return bool(options.get("include_usage"))


# ---- chat completions


def _chat_usage(answer: Answer) -> dict[str, Any]:
    usage = answer.usage
    return {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.input + usage.output,
        "prompt_tokens_details": {"cached_tokens": usage.cached, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning, "audio_tokens": 0},
    }


def _chat(answer: Answer, received: Received) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": answer.text or None, "refusal": answer.refusal or None}
    if answer.refusal:
        message["content"] = None
    if answer.thinking:
        message["reasoning_content"] = answer.thinking
    if answer.tools:
        message["tool_calls"] = [
            {"id": each.id, "type": "function", "function": {"name": each.name, "arguments": each.arguments}}
            for each in answer.tools
        ]
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": FINISH[answer.stopped]}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": CREATED,
        "model": _model(answer, received),
        "choices": [choice],
        "usage": _chat_usage(answer),
        "system_fingerprint": "fp_1",
    }


def _chat_deltas(answer: Answer) -> Iterator[dict[str, Any]]:
    yield {"role": "assistant", "content": "", "refusal": None}
    yield from ({"reasoning_content": piece} for piece in pieces(answer.thinking, answer.pieces))
    yield from ({"refusal": piece} for piece in pieces(answer.refusal, answer.pieces))
    yield from ({"content": piece} for piece in pieces("" if answer.refusal else answer.text, answer.pieces))
    for index, tool in enumerate(answer.tools):
        function = {"name": tool.name, "arguments": ""}
        yield {"tool_calls": [{"index": index, "id": tool.id, "type": "function", "function": function}]}
        for piece in pieces(tool.arguments, answer.pieces):
            yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}


def _chat_stream(answer: Answer, received: Received) -> Iterator[bytes]:
    include_usage = _includes_usage(received)
    frame: dict[str, Any] = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": CREATED,
        "model": _model(answer, received),
        "system_fingerprint": "fp_1",
    }
    if include_usage:
        frame["usage"] = None
    for delta in _chat_deltas(answer):
        yield data({**frame, "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}]})
    last: dict[str, Any] = {"index": 0, "delta": {}, "logprobs": None, "finish_reason": FINISH[answer.stopped]}
    yield data({**frame, "choices": [last]})
    if include_usage:
        yield data({**frame, "choices": [], "usage": _chat_usage(answer)})
    yield DONE


# ---- completions


def _completion_frame(answer: Answer, received: Received, text: str, finish: str | None) -> dict[str, Any]:
    choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": finish}
    head = {"id": "cmpl-1", "object": "text_completion", "created": CREATED, "model": _model(answer, received)}
    return {**head, "choices": [choice]}


def _completion_usage(answer: Answer) -> dict[str, int]:
    usage = answer.usage
    total = usage.input + usage.output
    return {"prompt_tokens": usage.input, "completion_tokens": usage.output, "total_tokens": total}


def _completion(answer: Answer, received: Received) -> dict[str, Any]:
    frame = _completion_frame(answer, received, answer.text, FINISH[answer.stopped])
    return {**frame, "usage": _completion_usage(answer)}


def _completion_stream(answer: Answer, received: Received) -> Iterator[bytes]:
    for piece in pieces(answer.text, answer.pieces):
        yield data(_completion_frame(answer, received, piece, None))
    yield data(_completion_frame(answer, received, "", FINISH[answer.stopped]))
    if _includes_usage(received):
        frame = _completion_frame(answer, received, "", None)
        yield data({**frame, "choices": [], "usage": _completion_usage(answer)})
    yield DONE


# ---- embeddings


def _embeddings(answer: Answer, received: Received) -> dict[str, Any]:
    inputs: Any = received.json["input"]
    # A string, or a list of token numbers, is one input; a list of either is several.
    count = len(inputs) if is_array(inputs) and inputs and not isinstance(inputs[0], int) else 1
    base64 = received.json.get("encoding_format") == "base64"
    # 0.25 and -0.5 as little-endian float32
    vector: str | list[float] = "AACAPgAAAL8=" if base64 else [0.25, -0.5]
    return {
        "object": "list",
        "data": [{"object": "embedding", "index": index, "embedding": vector} for index in range(count)],
        "model": _model(answer, received),
        "usage": {"prompt_tokens": answer.usage.input, "total_tokens": answer.usage.input},
    }


# ---- responses


def _response_items(answer: Answer, status: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    if answer.thinking:
        summary = [{"type": "summary_text", "text": answer.thinking}]
        items.append({"id": "rs_1", "type": "reasoning", "summary": summary})
    if answer.text or answer.refusal:
        part: dict[str, Any] = {"type": "output_text", "text": answer.text, "annotations": []}
        if answer.refusal:
            part = {"type": "refusal", "refusal": answer.refusal}
        items.append({"id": "msg_1", "type": "message", "role": "assistant", "status": status, "content": [part]})
    items += [
        {
            "id": f"fc_{index}",
            "type": "function_call",
            "call_id": tool.id,
            "name": tool.name,
            "arguments": tool.arguments,
            "status": status,
        }
        for index, tool in enumerate(answer.tools)
    ]
    return items


def _response_object(answer: Answer, received: Received, status: str) -> dict[str, Any]:
    usage = answer.usage
    done = status != "in_progress"
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": CREATED,
        "status": status,
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
        "instructions": received.json.get("instructions"),
        "model": _model(answer, received),
        "output": _response_items(answer, "completed") if done else [],
        "parallel_tool_calls": True,
        "tool_choice": received.json.get("tool_choice", "auto"),
        "tools": received.json.get("tools", []),
        "metadata": {},
        "usage": {
            "input_tokens": usage.input,
            "input_tokens_details": {"cached_tokens": usage.cached},
            "output_tokens": usage.output,
            "output_tokens_details": {"reasoning_tokens": usage.reasoning},
            "total_tokens": usage.input + usage.output,
        }
        if done
        else None,
    }


def _response(answer: Answer, received: Received) -> dict[str, Any]:
    return _response_object(answer, received, "incomplete" if answer.stopped == "length" else "completed")


def _response_events(answer: Answer, received: Received) -> Iterator[dict[str, Any]]:
    started = _response_object(answer, received, "in_progress")
    yield {"type": "response.created", "response": started}
    yield {"type": "response.in_progress", "response": started}
    for index, item in enumerate(_response_items(answer, "completed")):
        at = {"item_id": item["id"], "output_index": index}
        empty: dict[str, Any] = {"content": [], "status": "in_progress"} if item["type"] == "message" else {}
        yield {"type": "response.output_item.added", "output_index": index, "item": {**item, **empty}}
        match item["type"]:
            case "message":
                yield from _message_events(item["content"][0], {**at, "content_index": 0}, answer)
            case "function_call":
                for piece in pieces(item["arguments"], answer.pieces):
                    yield {"type": "response.function_call_arguments.delta", **at, "delta": piece}
                yield {
                    "type": "response.function_call_arguments.done",
                    **at,
                    "name": item["name"],
                    "arguments": item["arguments"],
                }
            case _:
                text = item["summary"][0]["text"]
                for piece in pieces(text, answer.pieces):
                    yield {"type": "response.reasoning_summary_text.delta", **at, "summary_index": 0, "delta": piece}
                yield {"type": "response.reasoning_summary_text.done", **at, "summary_index": 0, "text": text}
        yield {"type": "response.output_item.done", "output_index": index, "item": item}
    finished = _response(answer, received)
    yield {"type": f"response.{finished['status']}", "response": finished}


def _message_events(part: dict[str, Any], at: dict[str, Any], answer: Answer) -> Iterator[dict[str, Any]]:
    key = "text" if part["type"] == "output_text" else "refusal"
    name = "output_text" if key == "text" else "refusal"
    logprobs: dict[str, Any] = {"logprobs": []} if key == "text" else {}
    yield {"type": "response.content_part.added", **at, "part": {**part, key: ""}}
    for piece in pieces(part[key], answer.pieces):
        yield {"type": f"response.{name}.delta", **at, "delta": piece, **logprobs}
    yield {"type": f"response.{name}.done", **at, key: part[key], **logprobs}
    yield {"type": "response.content_part.done", **at, "part": part}


def _response_stream(answer: Answer, received: Received) -> Iterator[bytes]:
    for number, event in zip(itertools.count(), _response_events(answer, received), strict=False):
        body = compact({**event, "sequence_number": number})
        yield f"event: {event['type']}\ndata: {body}\n\n".encode()


# ---- models


def _models(answer: Answer, received: Received) -> dict[str, Any]:
    names: Sequence[str] = (answer.model or "gpt-x",)
    return {
        "object": "list",
        "data": [{"id": name, "object": "model", "created": CREATED, "owned_by": "openai"} for name in names],
    }


CHAT_TYPES = "openai.types.chat.completion_create_params.CompletionCreateParams"
COMPLETION_TYPES = "openai.types.completion_create_params.CompletionCreateParams"
RESPONSE_TYPES = "openai.types.responses.response_create_params.ResponseCreateParams"
EMBEDDING_TYPE = "openai.types.embedding_create_params.EmbeddingCreateParams"


def _pair(name: str) -> tuple[str, str]:
    return f"{name}NonStreaming", f"{name}Streaming"


OPERATIONS = (
    Operation(
        "/chat/completions", "POST", _pair(CHAT_TYPES), checking.openai_chat_rules, whole=_chat, stream=_chat_stream
    ),
    Operation("/completions", "POST", _pair(COMPLETION_TYPES), None, whole=_completion, stream=_completion_stream),
    Operation("/embeddings", "POST", (EMBEDDING_TYPE, EMBEDDING_TYPE), None, whole=_embeddings, stream=None),
    Operation("/responses", "POST", _pair(RESPONSE_TYPES), None, whole=_response, stream=_response_stream),
    Operation("/models", "GET", None, None, whole=_models, stream=None),
)

OPENAI = OpenAIApi(prefix="/v1", credential_header="authorization", credential_format="Bearer {}")
AZURE_OPENAI = OpenAIApi(
    prefix=r"/openai(?:/v1|/deployments/[^/]+|(?=/responses))",
    credential_header="api-key",
    credential_format="{}",
    needs_api_version=True,
)
