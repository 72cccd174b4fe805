"""Which Redis is asked: one, or the one that sentinels call the master. `cluster` has the third kind."""

from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final, Protocol, cast

from headgate.limits.algorithms import Op
from headgate.ratelimit.storages import StorageError
from headgate.ratelimit.storages.redis.address import Access, Address, RedisUrl, Topology, parse_address
from headgate.ratelimit.storages.redis.lane import Lane, LaneSettings, Piece, lane_counts
from headgate.ratelimit.storages.redis.link import Link, LinkError, ask_once, error_kind, first_answer, open_link

TRIES_MAX: Final = 1
"""A piece is asked so often again where the Redis that was asked turns out not to be the master."""


class Nodes(Protocol):
    """The Redis servers behind one URL."""

    @property
    def splits(self) -> bool:
        """Whether counters may be in several places: then `place` says in which."""
        ...

    def place(self, op: Op) -> tuple[int | str, Op]:
        """Operations of one place run in one script; and the operation as it is named there."""
        ...

    def put(self, piece: Piece) -> None:
        """Sends it where it belongs; raises StorageError when too many wait."""
        ...

    async def ping(self) -> None:
        """Raises LinkError or TimeoutError."""
        ...

    def counts(self) -> Mapping[str, int]: ...

    def lanes(self) -> Mapping[Address | int, Lane]:
        """Those to all servers that have counters, as far as they are known."""
        ...

    async def close(self) -> None: ...


class OneNode:
    """One Redis at a time, found by `connect`."""

    splits = False

    def __init__(self, connect: Callable[[], Coroutine[Any, Any, Link]], settings: LaneSettings) -> None:
        self._lane = Lane(connect, settings, refused=self._refused)
        self.put = self._lane.put
        self.ping = self._lane.ping
        self.close = self._lane.close

    def place(self, op: Op) -> tuple[int | str, Op]:
        return 0, op

    def _refused(self, piece: Piece, message: str) -> bool:
        if error_kind(message) != "READONLY" or piece.tries >= TRIES_MAX:
            return False
        # It was the master, and is not any more: the script could write nothing, so it may be asked again.
        piece.tries += 1
        try:
            self._lane.put(piece)
        except StorageError as error:
            piece.fail(str(error))
        return True

    def counts(self) -> Mapping[str, int]:
        return lane_counts((self._lane,))

    def lanes(self) -> Mapping[Address | int, Lane]:
        return {0: self._lane}


def open_nodes(url: RedisUrl, settings: LaneSettings) -> Nodes:
    """The servers behind a URL; nothing is connected yet."""
    match url.topology:
        case Topology.SINGLE:
            (address,) = url.addresses
            return OneNode(lambda: open_link(address, url.access), settings)
        case Topology.SENTINEL:
            return OneNode(lambda: open_master(url), settings)
        case Topology.CLUSTER:
            # Imported here: it is the larger part of this package, and seldom used.
            from headgate.ratelimit.storages.redis.cluster import Cluster

            return Cluster(url, settings)


async def open_master(url: RedisUrl) -> Link:
    """A connection to the master, as any sentinel names it and it says itself; raises LinkError."""
    address = await _master(url)
    link = await open_link(address, url.access)
    try:
        role = (await link.request(("ROLE",)))[0]
        if not isinstance(role, list) or cast("list[object]", role)[:1] != [b"master"]:
            raise LinkError(f"{address} is not the master yet")
    except BaseException:
        link.close()
        raise
    return link


async def _master(url: RedisUrl) -> Address:
    try:
        return await first_answer(_ask_sentinel(each, url.sentinel_access, url.master) for each in url.addresses)
    except LinkError as error:
        raise LinkError(f"no sentinel names the master {url.master!r}: {error}") from None


async def _ask_sentinel(sentinel: Address, access: Access, master: str) -> Address:
    reply = await ask_once(sentinel, access, "SENTINEL", "get-master-addr-by-name", master)
    if not isinstance(reply, list):
        raise LinkError(f"{sentinel} knows no master {master!r}")
    host, port = cast("list[bytes]", reply)
    return parse_address(f"{host.decode()}:{port.decode()}")
