"""A line of JSON per request, to a file or standard output: the access log of a gateway with a collector."""

import asyncio
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from operator import attrgetter
from typing import Final

import msgspec
from headgate.collector.sinks.sink import SinkError
from headgate.ledger.record import Attempt, Lane, Tokens, UsageRecord, UsageSource

STDOUT: Final = "-"


class _Line(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A record as users read it: times as text, nothing that is not known. Fields without a default are always there.

    A class of its own because it is encoded four times as fast as a dictionary.
    """

    time: str
    id: str
    request_id: str = ""
    node: str = ""
    operation: str = ""
    method: str = ""
    path: str = ""
    stream: bool
    route: str = ""
    rule: str = ""
    backend: str = ""
    service: str = ""
    provider: str = ""
    upstream: str = ""
    lane: Lane
    client: str = ""
    team: str = ""
    original_model: str = ""
    request_model: str = ""
    response_model: str = ""
    response_id: str = ""
    finish_reasons: tuple[str, ...] = ()
    status: int
    error: str = ""
    details: str = ""
    flags: tuple[str, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    tokens: Tokens
    usage_source: UsageSource
    costs: dict[str, int] | None = None
    cost_nanos: int | None = None
    price: str = ""
    duration_ms: float
    upstream_ms: float | None = None
    ttft_ms: float | None = None
    request_bytes: int
    response_bytes: int
    losses: str = ""
    labels: dict[str, str] | None = None


_SAME: Final = tuple(name for name in _Line.__struct_fields__ if name not in ("time", "costs", "labels"))
_VALUES: Final = attrgetter(*_SAME)
_ENCODER: Final = msgspec.json.Encoder()


def line(record: UsageRecord) -> bytes:
    """The record as a line."""
    same = dict(zip(_SAME, _VALUES(record), strict=True))
    return (
        _ENCODER.encode(
            _Line(
                time=_time(record.started_ns),
                costs=dict(record.costs) if record.costs else None,
                labels=dict(record.labels) if record.labels else None,
                **same,
            )
        )
        + b"\n"
    )


def _time(nanoseconds: int) -> str:
    return f"{_second(nanoseconds // 1_000_000_000)}.{nanoseconds // 1_000_000 % 1000:03d}Z"


@lru_cache(maxsize=64)
def _second(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"


class JsonLines:
    """Appends to a file that log rotation may move: it is opened again when its name leads elsewhere."""

    name = "json"

    def __init__(self, path: str) -> None:
        """`-` is standard output. Raises OSError."""
        self._path = path
        self._file = 1 if path == STDOUT else _open(path)

    async def write(self, records: Sequence[UsageRecord]) -> None:
        data = b"".join(map(line, records))
        try:
            await asyncio.to_thread(self._append, data)
        except OSError as error:
            raise SinkError(f"{self._path}: {error.strerror}") from error

    def _append(self, data: bytes) -> None:
        if self._path != STDOUT and self._moved():
            os.close(self._file)
            self._file = _open(self._path)
        view = memoryview(data)
        while view:
            view = view[os.write(self._file, view) :]

    def _moved(self) -> bool:
        try:
            return not os.path.samestat(os.stat(self._path), os.fstat(self._file))
        except FileNotFoundError:
            return True

    async def close(self) -> None:
        if self._path != STDOUT:
            os.close(self._file)


def _open(path: str) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
