"""Free TCP ports on the loopback interface, for programs that cannot bind port 0 and tell what they got.

The kernel gives a socket without a port of its own (every client's, and whoever binds port 0) one of the ephemeral
range, and may give it a port that was free a moment ago. So these come from below that range, in blocks of which each
process owns one: nobody but a test that names the same number takes them between choosing and binding.
"""

import contextlib
import itertools
import socket
from collections.abc import Iterator
from functools import cache

LOOPBACK = "127.0.0.1"
# above Envoy Gateway's fixed ports, below Linux's ephemeral ones, which start at 32768
_BLOCKS = range(20_000, 30_000, 250)


def free_ports(count: int) -> tuple[int, ...]:
    """`count` different ports that are free, and that no other process of tests is given.

    Raises RuntimeError if all of this process' ports are in use.
    """
    free = (port for port in itertools.islice(_rotation(), _BLOCKS.step) if _is_free(port))
    ports = tuple(itertools.islice(free, count))
    if len(ports) < count:
        raise RuntimeError(f"{count} free ports are asked for and only {len(ports)} of {_BLOCKS.step} are free")
    return ports


def free_port() -> int:
    """One of them."""
    return free_ports(1)[0]


@cache
def _rotation() -> Iterator[int]:
    """The ports of this process' block, again and again: a port that was let go of is the last to be given again."""
    block = _claim_block()
    return itertools.cycle(range(block, block + _BLOCKS.step))


def _claim_block() -> int:
    """The first port of a block that no other process of this network namespace owns.

    Ownership is an abstract Unix socket of that name, which Linux scopes to the network and frees with the process.
    """
    for block in _BLOCKS:
        owner = socket.socket(socket.AF_UNIX)
        try:
            owner.bind(f"\0headgate-test-ports-{block}")
        except OSError:
            owner.close()
            continue
        _owners.append(owner)
        return block
    raise RuntimeError(f"{len(_BLOCKS)} processes of tests run already: no ports are left")


_owners: list[socket.socket] = []  # held open for as long as the process lives


def _is_free(port: int) -> bool:
    with contextlib.closing(socket.socket()) as probe:
        # as servers do: the past connections of a port do not count
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))  # whichever address the program will choose
        except OSError:
            return False
    return True
