"""Free TCP ports on the loopback interface, for programs that cannot bind port 0 and tell what they got.

The kernel gives a socket without a port of its own (every client's, and whoever binds port 0) one of the ephemeral
range, and may give it a port that was free a moment ago. So these come from outside that range, in blocks of which
each process owns one: nobody but a test that names the same number takes them between choosing and binding.
"""

import contextlib
import itertools
import socket
from collections.abc import Iterator
from functools import cache
from pathlib import Path

LOOPBACK = "127.0.0.1"
_BLOCK = 250
_FIRST = 20_000  # Envoy Gateway's fixed ports are below
_LAST = 65_535


def blocks_outside(low: int, high: int) -> tuple[int, ...]:
    """The first ports of the blocks that have none from `low` to `high`; of all blocks where that leaves none."""
    blocks = range(_FIRST, _LAST - _BLOCK, _BLOCK)
    return tuple(block for block in blocks if block + _BLOCK <= low or block > high) or tuple(blocks)


def ephemeral_range() -> tuple[int, int]:
    """The first and the last port that the kernel gives to clients."""
    low, high = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    return low, high


def free_ports(count: int) -> tuple[int, ...]:
    """`count` different ports that are free, and that no other process of tests is given.

    Raises RuntimeError if all of this process' ports are in use.
    """
    free = (port for port in itertools.islice(_rotation(), _BLOCK) if _is_free(port))
    ports = tuple(itertools.islice(free, count))
    if len(ports) < count:
        raise RuntimeError(f"{count} free ports are asked for and only {len(ports)} of {_BLOCK} are free")
    return ports


def free_port() -> int:
    """One of them."""
    return free_ports(1)[0]


@cache
def _rotation() -> Iterator[int]:
    """The ports of this process' block, again and again: a port that was let go of is the last to be given again."""
    block = _claim_block()
    return itertools.cycle(range(block, block + _BLOCK))


def _claim_block() -> int:
    """The first port of a block that no other process of this network namespace owns.

    Ownership is an abstract Unix socket of that name, which Linux scopes to the network and frees with the process.
    """
    blocks = blocks_outside(*ephemeral_range())
    for block in blocks:
        owner = socket.socket(socket.AF_UNIX)
        try:
            owner.bind(f"\0headgate-test-ports-{block}")
        except OSError:
            owner.close()
            continue
        _owners.append(owner)
        return block
    raise RuntimeError(f"{len(blocks)} processes of tests run already: no ports are left")


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
