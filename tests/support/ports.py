"""Free TCP ports on the loopback interface.

Where a program can bind port 0 and tell what it got, prefer that: a free port may be taken between asking and binding.
"""

import contextlib
import socket

LOOPBACK = "127.0.0.1"


def free_ports(count: int) -> tuple[int, ...]:
    """`count` different ports that were free a moment ago."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind((LOOPBACK, 0))
        return tuple(each.getsockname()[1] for each in sockets)


def free_port() -> int:
    """One port that was free a moment ago."""
    return free_ports(1)[0]
