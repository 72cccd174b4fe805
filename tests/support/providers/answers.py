"""What a fake provider is told to answer, in no provider's format."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Token counts; `input` includes cached and cache-creation tokens, `output` includes reasoning tokens."""

    input: int = 11
    output: int = 7
    cached: int = 0
    cache_creation: int = 0
    reasoning: int = 0


@dataclass(frozen=True, slots=True)
class ToolUse:
    """One tool call; `arguments` is JSON text."""

    name: str
    arguments: str = "{}"
    id: str = "call_1"


TAIL_BYTES = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """How the bytes of an answer go over the wire.

    `cut`: one write per event (a whole body counts as one), per byte, one for all, or per byte only of the last
    `TAIL_BYTES`. The `..._after_bytes` count body bytes: `end` finishes the body there as if it were complete, `abort`
    closes the connection before the body is complete, `hang` sends nothing more until the client leaves.
    """

    cut: Literal["events", "bytes", "whole", "tail"] = "events"
    delay_seconds: float = 0.0
    """Before the response headers."""
    reset: bool = False
    """Closes the connection without an answer."""
    pause_seconds: float = 0.0
    """Between writes."""
    gzip: bool = False
    end_after_bytes: int | None = None
    abort_after_bytes: int | None = None
    hang_after_bytes: int | None = None


AT_ONCE = Delivery()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A model's answer; streamed if the request asked for a stream."""

    text: str = "Hello from the provider."
    tools: tuple[ToolUse, ...] = ()
    thinking: str = ""
    signature: str = "c2lnbmF0dXJl"
    redacted_thinking: str = ""
    refusal: str = ""
    stop: Literal["", "stop", "length", "tools", "stop_sequence", "refusal"] = ""
    """Why the model stopped; empty: `tools` if there are any, `refusal` if there is one, else `stop`."""
    stop_sequence: str = ""
    model: str = ""
    """The model that says it answered; empty: the requested one with `-2025-01-01`."""
    usage: Usage = field(default_factory=Usage)
    pieces: int = 3
    """Into how many deltas a stream cuts each text, thinking and argument string."""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    delivery: Delivery = AT_ONCE

    @property
    def stopped(self) -> str:
        return self.stop or ("tools" if self.tools else "refusal" if self.refusal else "stop")


@dataclass(frozen=True, slots=True)
class Failure:
    """An error in the provider's own shape."""

    status: int
    message: str = "the provider's own words"
    kind: str = ""
    """The provider's error type; empty: its usual one for the status."""
    code: str = ""
    retry_after_seconds: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    delivery: Delivery = AT_ONCE


@dataclass(frozen=True, slots=True, kw_only=True)
class Raw:
    """Exactly these bytes: HTML from a proxy, a broken stream, anything."""

    body: bytes | tuple[bytes, ...] = b""
    """A tuple is one write each."""
    status: int = 200
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    delivery: Delivery = AT_ONCE


Reply: TypeAlias = Answer | Failure | Raw


def pieces(text: str, count: int) -> list[str]:
    """`text` in at most `count` pieces of about equal length, none empty."""
    size = max(1, -(-len(text) // max(1, count)))
    return [text[start : start + size] for start in range(0, len(text), size)]
