"""A file that holds records while their sink cannot take them.

Lines of JSON, appended and flushed to the system (they survive our death, not the machine's); read from the start when
the sink is back, and emptied when all of it is written. A process that starts finds what the last one left. Records
that were written already come again if we die in between: only idempotent sinks may have a spool.
"""

import mmap
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec
from headgate.collector.private_files import make_private
from headgate.ledger.record import UsageRecord

_NANOS_PER_MICRO: Final = 1_000


class _Older(msgspec.Struct):
    """What collectors wrote before costs were billionths of a dollar: millionths."""

    cost_micros: int | None = None


_DECODER = msgspec.json.Decoder(UsageRecord)
_OLDER = msgspec.json.Decoder(_Older)


def _record(line: bytes) -> UsageRecord:
    """Raises msgspec.DecodeError."""
    record = _DECODER.decode(line)
    micros = _OLDER.decode(line).cost_micros if b'"cost_micros":' in line else None
    return record if micros is None else msgspec.structs.replace(record, cost_nanos=micros * _NANOS_PER_MICRO)


class Spool:
    """Bounded by `bytes_max`; beyond it nothing is taken."""

    def __init__(self, path: Path, *, bytes_max: int) -> None:
        """Makes the file, and a missing folder, for us alone. Raises OSError."""
        make_private(path)
        # without a buffer: it would keep what a full disk did not take, and offer it again with whatever is done next
        self._file = path.open("a+b", buffering=0)
        self._bytes_max = bytes_max
        self._size = _whole_lines(self._file.fileno())
        self._done = 0
        self._torn = self._size < self._file.seek(0, 2)

    @property
    def empty(self) -> bool:
        return self._done >= self._size

    def append(self, records: Sequence[UsageRecord]) -> int:
        """How many were taken. Raises OSError, and has taken none, when the disk is full."""
        data = bytearray()
        taken = 0
        for record in records:
            encoded = msgspec.json.encode(record)
            if self._size + len(data) + len(encoded) + 1 > self._bytes_max:
                break
            data += encoded
            data += b"\n"
            taken += 1
        if self._torn:
            self._file.truncate(self._size)
        self._torn = True
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]
        self._torn = False
        self._size += len(data)
        return taken

    def peek(self, records_max: int) -> tuple[list[UsageRecord], int]:
        """The oldest records, and what to give `pop` when they are written. What is no record is
        skipped. Raises OSError."""
        found: list[UsageRecord] = []
        length = 0
        with os.fdopen(os.dup(self._file.fileno()), "rb") as lines:
            lines.seek(self._done)
            while len(found) < records_max and self._done + length < self._size:
                line = lines.readline()
                if not line:  # somebody has emptied the file
                    length = self._size - self._done
                    break
                length += len(line)
                with suppress(msgspec.DecodeError):
                    found.append(_record(line))
        return found, length

    def pop(self, length: int) -> None:
        """These bytes are done with. Raises OSError."""
        self._done += length
        if self.empty:
            self._file.truncate(0)
            self._size = self._done = 0
            self._torn = False

    def close(self) -> None:
        self._file.close()


def _whole_lines(file: int) -> int:
    """The bytes of all lines that have an end."""
    if not os.fstat(file).st_size:
        return 0
    with mmap.mmap(file, 0, access=mmap.ACCESS_READ) as whole:
        return whole.rfind(b"\n") + 1
