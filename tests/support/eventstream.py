"""AWS event streams, written independently of the gateway's own encoder."""

import json
import struct
from typing import Any
from zlib import crc32

CONTENT_TYPE = "application/vnd.amazon.eventstream"


def _header(name: str, value: str) -> bytes:
    return bytes([len(name)]) + name.encode() + b"\x07" + struct.pack(">H", len(value)) + value.encode()


def _message(headers: dict[str, str], payload: bytes) -> bytes:
    written = b"".join(_header(name, value) for name, value in headers.items())
    lengths = struct.pack(">II", len(written) + len(payload) + 16, len(written))
    message = lengths + struct.pack(">I", crc32(lengths)) + written + payload
    return message + struct.pack(">I", crc32(message))


def event(kind: str, value: Any) -> bytes:
    """One event with a JSON payload."""
    headers = {":event-type": kind, ":content-type": "application/json", ":message-type": "event"}
    return _message(headers, json.dumps(value, separators=(",", ":")).encode())


def exception(kind: str, message: str) -> bytes:
    """One exception, which ends a stream."""
    headers = {":exception-type": kind, ":content-type": "application/json", ":message-type": "exception"}
    return _message(headers, json.dumps({"message": message}).encode())
