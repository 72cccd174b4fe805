"""Server-sent events as providers write them."""

import json
from typing import Any


def compact(value: Any) -> str:
    """JSON as providers send it: no spaces, raw UTF-8."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def data(value: Any) -> bytes:
    """OpenAI's form: a `data` line."""
    return f"data: {compact(value)}\n\n".encode()


def named(name: str, value: Any) -> bytes:
    """Anthropic's form: an `event` line before the `data` line."""
    return f"event: {name}\ndata: {compact(value)}\n\n".encode()


DONE = b"data: [DONE]\n\n"
EVENT_STREAM = "text/event-stream; charset=utf-8"
JSON = "application/json"
