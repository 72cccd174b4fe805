"""Google's generateContent: https://ai.google.dev/api/generate-content ."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from support.providers import checking
from support.providers.answers import Answer, Failure, pieces
from support.providers.gemini_types import gemini_rules
from support.providers.received import Received
from support.providers.server import Rendered
from support.providers.sse import JSON, compact

PATH = re.compile(r"/v1beta/models/(?P<model>[^/:]+):(?P<method>generateContent|streamGenerateContent)")
TYPE = "support.providers.gemini_types.GenerateContentRequest"
FINISH = {"stop": "STOP", "length": "MAX_TOKENS", "tools": "STOP", "stop_sequence": "STOP", "refusal": "SAFETY"}
STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    503: "UNAVAILABLE",
}


@dataclass(frozen=True, slots=True)
class GeminiApi:
    """The API at generativelanguage.googleapis.com, or with another path and credential at another host."""

    credential_header: str = "x-goog-api-key"
    credential_format: str = "{}"
    path: re.Pattern[str] = PATH

    def problems(self, received: Received, key: str, allow_unknown: bool) -> list[str]:
        found = checking.header_problems(received, self.credential_header, self.credential_format.format(key))
        if received.method != "POST" or not self.path.fullmatch(received.path):
            return [*found, f"no such path: {received.method} {received.path}"]
        return found + checking.body_problems((TYPE, TYPE), gemini_rules, received, allow_unknown)

    def render(self, answer: Answer, received: Received) -> Rendered:
        matched = self.path.fullmatch(received.path)
        model = matched["model"] if matched else "gemini"
        if matched and matched["method"] == "streamGenerateContent":
            chunks = list(_chunks(answer, model))
            if "alt=sse" in received.query:
                return Rendered(
                    "text/event-stream", tuple(f"data: {compact(each)}\r\n\r\n".encode() for each in chunks)
                )
            parts = [f"{',' if index else '['}{compact(each)}".encode() for index, each in enumerate(chunks)]
            return Rendered(JSON, (*parts, b"]"))
        return Rendered(JSON, (compact(_answer(_parts(answer), answer, model, last=True)).encode(),))

    def render_failure(self, failure: Failure) -> Rendered:
        word = failure.kind or STATUSES.get(failure.status, "INTERNAL")
        error = {"code": failure.status, "message": failure.message, "status": word}
        return Rendered(JSON, (compact({"error": error}).encode(),))

    def headers(self, number: int) -> Mapping[str, str]:
        return {"server-timing": f"gfet4t7; dur={number}"}


def _parts(answer: Answer) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = []
    if answer.thinking:
        parts.append({"text": answer.thinking, "thought": True})
    if answer.text:
        parts.append({"text": answer.text})
    for index, tool in enumerate(answer.tools):
        part: dict[str, Any] = {"functionCall": {"name": tool.name, "args": json.loads(tool.arguments)}}
        if not index:
            part["thoughtSignature"] = answer.signature
        parts.append(part)
    return parts


def _chunks(answer: Answer, model: str) -> Iterator[dict[str, Any]]:
    for part in _parts(answer):
        if "text" in part:
            for text in pieces(part["text"], answer.pieces):
                yield _answer([{**part, "text": text}], answer, model, last=False)
        else:
            yield _answer([part], answer, model, last=False)
    yield _answer([{"text": ""}], answer, model, last=True)


def _answer(parts: list[dict[str, Any]], answer: Answer, model: str, *, last: bool) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"parts": parts, "role": "model"}, "index": 0}
    usage = answer.usage
    counted: dict[str, int] = {"promptTokenCount": usage.input, "totalTokenCount": usage.input}
    if last:
        candidate["finishReason"] = FINISH[answer.stopped]
        counted["candidatesTokenCount"] = usage.output - usage.reasoning
        counted["totalTokenCount"] = usage.input + usage.output
        if usage.reasoning:
            counted["thoughtsTokenCount"] = usage.reasoning
        if usage.cached:
            counted["cachedContentTokenCount"] = usage.cached
    version = answer.model or f"{model}-001"
    return {"candidates": [candidate], "usageMetadata": counted, "modelVersion": version, "responseId": "answer-1"}


GEMINI = GeminiApi()
