"""What is told, as plain values. Ids are hexadecimal, times nanoseconds of Unix time."""

from collections.abc import Mapping, Sequence

import msgspec

Value = str | int | float | bool | tuple[str, ...]


class SpanEvent(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened within a span."""

    name: str
    time_ns: int
    attributes: Mapping[str, Value] = {}


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """Something that took time."""

    trace: str
    id: str
    parent: str
    name: str
    start_ns: int
    end_ns: int
    attributes: Mapping[str, Value]
    failed: bool = False
    server: bool = False
    """It answers somebody; else it asks."""
    events: Sequence[SpanEvent] = ()


class LogRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened."""

    event: str
    time_ns: int
    attributes: Mapping[str, Value]
    trace: str = ""
    span: str = ""
    """Where it belongs to a span."""
    failed: bool = False
