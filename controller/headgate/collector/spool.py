"""A file that holds records while their sink cannot take them.

Lines of JSON, appended and flushed to the system (they survive our death, not the machine's); read from the start when
the sink is back, and emptied when all of it is written. A process that starts finds what the last one left. Records
that were written already come again if we die in between: only idempotent sinks may have a spool.
"""

from collections.abc import Sequence
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
        self._file = path.open("a+b")
        self._bytes_max = bytes_max
        self._size = self._file.seek(0, 2)
        self._done = 0

    @property
    def empty(self) -> bool:
        return self._done >= self._size

    def append(self, records: Sequence[UsageRecord]) -> int:
        """How many were taken. Raises OSError when the disk is full."""
        data = bytearray()
        taken = 0
        for record in records:
            encoded = msgspec.json.encode(record)
            if self._size + len(data) + len(encoded) + 1 > self._bytes_max:
                break
            data += encoded
            data += b"\n"
            taken += 1
        self._file.seek(0, 2)
        self._file.write(data)
        self._file.flush()
        self._size += len(data)
        return taken

    def peek(self, records_max: int) -> tuple[list[UsageRecord], int]:
        """The oldest records, and what to give `pop` when they are written. A torn line is skipped."""
        self._file.seek(self._done)
        found: list[UsageRecord] = []
        length = 0
        for line in self._file:
            length += len(line)
            try:
                found.append(_record(line))
            except msgspec.DecodeError:
                continue
            if len(found) >= records_max:
                break
        return found, length

    def pop(self, length: int) -> None:
        """These bytes are done with."""
        self._done += length
        if self.empty:
            self._file.truncate(0)
            self._size = self._done = 0

    def close(self) -> None:
        self._file.close()
