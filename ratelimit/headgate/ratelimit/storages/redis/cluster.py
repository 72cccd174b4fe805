"""A Redis Cluster: each counter is asked of the node that has its slot.

A script sees one slot only, so what one request counts may need several calls; `storage` joins them. The counters of
limits that reserve or slide need each other, or a note beside them, in one slot, whatever the window: their keys get
the stem as a hash tag, `{stem}window`. Envoyproxy/ratelimit has neither, so nothing that it shares with us changes.

The map of slots is asked for at first, when a node redirects, and when a call fails: after a failover the next map that
any node tells of it is used. What is asked before there is a map waits for it, as long as a call may take.
"""

import asyncio
import binascii
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, Final, cast

import msgspec
from headgate.limits.algorithms import Op
from headgate.limits.algorithms.fixed_window import FixedWindowOp
from headgate.limits.algorithms.pooled_window import PooledOp
from headgate.ratelimit.storages import StorageError
from headgate.ratelimit.storages.redis.address import Address, RedisUrl, parse_address
from headgate.ratelimit.storages.redis.lane import WAITING_MAX, Lane, LaneSettings, Piece, lane_counts
from headgate.ratelimit.storages.redis.link import LinkError, ask_once, first_answer, open_link

SLOTS: Final = 16384
REDIRECTS_MAX: Final = 5
"""A piece follows so many redirections; more are a cluster that does not agree with itself."""
MOVING_SECONDS: Final = 0.05
"""How long a piece waits whose slot is half here and half there."""
REFRESH_SECONDS: Final = 0.1
"""A map younger than this is not asked for again."""


def slot_of(key: str) -> int:
    """The slot of a key: of what its first pair of braces encloses, if that is anything, else of all of it."""
    raw = key.encode()
    start = raw.find(b"{")
    if start >= 0:
        end = raw.find(b"}", start + 1)
        if end > start + 1:
            raw = raw[start + 1 : end]
    return binascii.crc_hqx(raw, 0) % SLOTS


def tagged(op: Op) -> Op:
    """The operation with keys that are in one slot in every window."""
    stem, rest = op.key[: op.stem_length], op.key[op.stem_length :]
    tag = stem_tag(stem)
    if not isinstance(op, FixedWindowOp):
        return msgspec.structs.replace(op, key=tag + rest)
    previous = tag + op.previous_key[len(stem) :] if op.previous_key else ""
    return msgspec.structs.replace(op, key=tag + rest, previous_key=previous)


def stem_tag(stem: str) -> str:
    # An empty tag is none: a stem that begins with a brace gets something before it.
    return f"{{-{stem}}}" if stem.startswith("}") else f"{{{stem}}}"


class Cluster:
    """The nodes of one cluster."""

    splits = True

    def __init__(self, url: RedisUrl, settings: LaneSettings) -> None:
        self._url = url
        self._settings = settings
        self._lanes: dict[Address, Lane] = {}
        self._slots: list[Address | None] = [None] * SLOTS
        self._unplaced: list[Piece] = []
        self._refreshing: asyncio.Task[None] | None = None
        self._refreshed = float("-inf")
        self._past = [0, 0]
        """Round trips and decisions of lanes that are gone."""

    def place(self, op: Op) -> tuple[int | str, Op]:
        if op.reserves or op.previous_key or isinstance(op, PooledOp):
            # By its stem, not its slot: what a request reserved must be found again, whatever else it asks then.
            op = tagged(op)
            return op.key[: op.stem_length], op
        return slot_of(op.key), op

    def put(self, piece: Piece) -> None:
        slot = piece.slot = slot_of(piece.transaction.ops[0].key)
        address = self._slots[slot]
        if address is not None:
            self._lane(address).put(piece)
            return
        if len(self._unplaced) >= WAITING_MAX:
            raise StorageError(f"{WAITING_MAX} decisions wait for the cluster already")
        self._unplaced.append(piece)
        self._refresh_soon()

    def _lane(self, address: Address) -> Lane:
        lane = self._lanes.get(address)
        if lane is None:
            lane = self._lanes[address] = Lane(
                lambda: open_link(address, self._url.access),
                self._settings,
                refused=partial(self._refused, address),
                failed=self._refresh_soon,
            )
        return lane

    def _refused(self, asked: Address, piece: Piece, message: str) -> bool:
        kind, _, rest = message.partition(" ")
        if kind == "CLUSTERDOWN":
            self._refresh_soon()
        if kind not in ("MOVED", "ASK", "TRYAGAIN") or piece.tries >= REDIRECTS_MAX:
            return False
        piece.tries += 1
        if kind == "TRYAGAIN":
            asyncio.get_running_loop().call_later(MOVING_SECONDS, self._put_again, piece, None)
            return True
        slot, _, where = rest.partition(" ")
        try:
            address = _address(where, asked)
            index = int(slot)
        except ValueError:
            return False
        piece.asking = kind == "ASK"
        if kind == "MOVED" and 0 <= index < SLOTS:
            self._slots[index] = address
            self._refresh_soon()
        return self._put_again(piece, address)

    def _put_again(self, piece: Piece, address: Address | None) -> bool:
        try:
            if address is None:
                self.put(piece)
            else:
                self._lane(address).put(piece)
        except StorageError as error:
            piece.fail(str(error))
        return True

    # The map.

    def _refresh_soon(self) -> None:
        loop = asyncio.get_running_loop()
        fresh = loop.time() - self._refreshed < REFRESH_SECONDS
        if self._refreshing is None and not (fresh and not self._unplaced):
            self._refreshing = loop.create_task(self._refresh())

    async def _refresh(self) -> None:
        try:
            async with asyncio.timeout(self._settings.timeout_seconds):
                self._use(await self._ask_for_map())
            problem = ""
        except (LinkError, OSError, ValueError) as error:
            problem = str(error) or "no node tells the cluster's map"
        finally:
            self._refreshing = None
        self._refreshed = asyncio.get_running_loop().time()
        unplaced, self._unplaced = self._unplaced, []
        for piece in unplaced:
            address = self._slots[int(piece.slot)]
            if problem or address is None:
                piece.fail(problem or "no node has the slot of this counter")
            else:
                self._put_again(piece, address)

    async def _ask_for_map(self) -> Mapping[int, Address]:
        try:
            return await first_answer(self._ask_node(each) for each in {*self._lanes, *self._url.addresses})
        except LinkError as error:
            raise LinkError(f"no node tells the cluster's map: {error}") from None

    async def _ask_node(self, node: Address) -> Mapping[int, Address]:
        return parse_slots(await ask_once(node, self._url.access, "CLUSTER", "SLOTS"), node)

    def _use(self, slots: Mapping[int, Address]) -> None:
        self._slots = [slots.get(slot) for slot in range(SLOTS)]
        current = set(slots.values())
        for gone in [address for address, lane in self._lanes.items() if address not in current and not lane.waiting]:
            lane = self._lanes.pop(gone)
            self._past[0] += lane.round_trips
            self._past[1] += lane.decisions
            lane.leave()

    async def ping(self) -> None:
        if not any(self._slots):
            async with asyncio.timeout(self._settings.timeout_seconds):
                self._use(await self._ask_for_map())
        await asyncio.gather(*(self._lane(each).ping() for each in {each for each in self._slots if each}))
        if None in self._slots:
            raise LinkError(f"{self._slots.count(None)} slots of the cluster are served by nobody")

    def counts(self) -> Mapping[str, int]:
        counts = dict(lane_counts(tuple(self._lanes.values())))
        counts["redis_round_trips"] += self._past[0]
        counts["redis_decisions"] += self._past[1]
        counts["redis_waiting"] += len(self._unplaced)
        return counts

    def lanes(self) -> Mapping[Address | int, Lane]:
        return {each: self._lane(each) for each in set(self._slots) if each is not None}

    async def close(self) -> None:
        if self._refreshing is not None:
            self._refreshing.cancel()
            await asyncio.gather(self._refreshing, return_exceptions=True)
        for piece in self._unplaced:
            piece.fail("the storage is closed")
        self._unplaced.clear()
        await asyncio.gather(*(lane.close() for lane in self._lanes.values()))


def parse_slots(reply: Any, asked: Address) -> Mapping[int, Address]:
    """CLUSTER SLOTS' reply: the master of each slot. Raises ValueError."""
    slots: dict[int, Address] = {}
    if not isinstance(reply, list):
        raise ValueError("not a map of slots")
    for row in cast("list[Any]", reply):
        match row:
            case [int(first), int(last), [host, int(port), *_], *_] if 0 <= first <= last < SLOTS:
                name = cast("bytes", host or b"").decode()
                address = Address(name or asked.host, port)
                slots.update(_range(first, last, address))
            case _:
                raise ValueError("not a map of slots")
    return slots


def _range(first: int, last: int, address: Address) -> Iterable[tuple[int, Address]]:
    return ((slot, address) for slot in range(first, last + 1))


def _address(text: str, asked: Address) -> Address:
    """Where a redirection leads; without a host, to another port of who was asked."""
    host, _, port = text.rpartition(":")
    return parse_address(text) if host else Address(asked.host, int(port))
