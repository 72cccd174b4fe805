"""A line of JSON per request, to a file or standard output: the access log of a gateway with a collector."""

import asyncio
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from headgate.collector.sinks.sink import SinkError
from headgate.ledger.record import UsageRecord

STDOUT: Final = "-"


def line(record: UsageRecord) -> bytes:
    """The record as users read it: times as text, nothing that is not known."""
    return _encode(record) + b"\n"


def _encode(record: UsageRecord) -> bytes:
    values: dict[str, Any] = {"time": _time(record.started_ns)}
    for name in UsageRecord.__struct_fields__:
        value = getattr(record, name)
        if value in ("", None, ()) or name == "started_ns":
            continue
        match name:
            case "costs" | "labels":
                values[name] = dict(value)
            case _:
                values[name] = value
    return msgspec.json.encode(values)


def _time(nanoseconds: int) -> str:
    moment = datetime.fromtimestamp(nanoseconds // 1_000_000_000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{nanoseconds // 1_000_000 % 1000:03d}Z"


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
