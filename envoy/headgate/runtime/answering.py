"""Whether a process still answers on its unix socket: asked by who started it, for `supervisor`.

The kernel takes connections for a process that hangs, so it is one that is read from.
"""

import asyncio
from functools import partial
from pathlib import Path

from headgate.runtime.supervisor import Answers


def by_grpc(socket: Path) -> Answers:
    """A server of gRPC greets whoever connects."""
    return partial(_answers, socket, b"")


def by_http(socket: Path, path: str = "/") -> Answers:
    """Any page will do, also one that is not there."""
    return partial(_answers, socket, f"GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n".encode())


async def _answers(socket: Path, question: bytes) -> bool:
    try:
        reader, writer = await asyncio.open_unix_connection(str(socket))
    except OSError:
        return False
    try:
        writer.write(question)
        return bool(await reader.read(1))
    except OSError:
        return False
    finally:
        writer.close()
