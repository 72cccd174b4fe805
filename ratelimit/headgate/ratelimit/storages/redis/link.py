"""One connection to a Redis: requests leave as they come, replies come back in their order.

A client of our own, because a decision alone in flight spent three quarters of its CPU in a general one. It knows what
the storages need: pipelines of commands, answered as one. Waiting is bounded by who asks (`lane`).
"""

import asyncio
import socket
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import suppress
from typing import Any, Final, TypeVar, cast

import hiredis
from headgate.ratelimit.storages.redis.address import Access, Address

T = TypeVar("T")
Reply = Any
"""What hiredis makes of a reply: int, bytes, None, a list of these, or a ReplyError."""

BUFFER_BYTES_MAX: Final = 64 * 1024 * 1024
"""Of one connection's unread replies: who answers more is no Redis that we asked."""


class LinkError(Exception):
    """The connection cannot be made, or is gone; nothing is known of what was asked and not answered."""


Answered = Callable[["Sequence[Reply] | LinkError"], None]


class Link(asyncio.Protocol):
    """A connection that is open."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self._transport: asyncio.Transport | None = None
        self._reader = hiredis.Reader()
        self._waiting: deque[tuple[int, Answered]] = deque()
        self._replies: list[Reply] = []
        self._received = 0
        self.on_push: Callable[[Sequence[Any]], None] | None = None
        """Hears what it says unasked, once it was told to speak RESP3."""
        self.on_close: Callable[[], None] | None = None

    @property
    def closed(self) -> bool:
        return self._transport is None

    def ask(self, commands: bytes, count: int, answered: Answered) -> None:
        """Sends `count` packed commands; `answered` is called once, with their replies or with what went wrong."""
        if self._transport is None:
            answered(LinkError(f"{self.address}: the connection is closed"))
            return
        self._waiting.append((count, answered))
        self._transport.write(commands)

    async def request(self, *commands: tuple[str | int, ...]) -> Sequence[Reply]:
        """Sends commands and waits for their replies; raises LinkError, also for a reply that is an error."""
        future: asyncio.Future[Sequence[Reply]] = asyncio.get_running_loop().create_future()

        def answered(replies: Sequence[Reply] | LinkError) -> None:
            if future.done():
                return
            if isinstance(replies, LinkError):
                future.set_exception(replies)
                return
            failed = next((each for each in replies if isinstance(each, hiredis.ReplyError)), None)
            if failed is None:
                future.set_result(replies)
            else:
                future.set_exception(LinkError(f"{self.address}: {failed}"))

        self.ask(b"".join(map(pack, commands)), len(commands), answered)
        return await future

    def close(self, reason: str = "the connection is closed") -> None:
        """Ends the connection at once; what waits for replies fails."""
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abort()
            if self.on_close is not None:
                self.on_close()
        waiting = tuple(self._waiting)
        self._waiting.clear()
        for _, answered in waiting:
            answered(LinkError(f"{self.address}: {reason}"))

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but name
        connected = transport.get_extra_info("socket")
        if connected is not None and connected.family in (socket.AF_INET, socket.AF_INET6):
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data: bytes) -> None:
        self._received += len(data)
        if self._received > BUFFER_BYTES_MAX:
            self.close("it answers more than was asked for")
            return
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not False:
                self._take(reply)
        except hiredis.ProtocolError as error:
            self.close(f"it does not speak Redis: {error}")

    def _take(self, reply: Reply) -> None:
        if isinstance(reply, hiredis.PushNotification):
            self._received = 0 if not self._waiting else self._received
            if self.on_push is not None:
                self.on_push(cast("list[Any]", reply))
            return
        if not self._waiting:
            raise hiredis.ProtocolError("a reply that nobody asked for")
        self._replies.append(reply)
        count, answered = self._waiting[0]
        if len(self._replies) == count:
            replies, self._replies, self._received = self._replies, [], 0
            self._waiting.popleft()
            answered(replies)

    def connection_lost(self, exc: Exception | None) -> None:
        self.close(f"the connection is lost: {exc}" if exc else "the connection is lost")


async def open_link(address: Address, access: Access) -> Link:
    """Connects and signs in; raises LinkError. How long it may take is up to the caller, who may cancel it."""
    loop = asyncio.get_running_loop()
    link = Link(address)
    try:
        if address.path:
            await loop.create_unix_connection(lambda: link, address.path)
        else:
            await loop.create_connection(lambda: link, address.host, address.port, ssl=access.tls)
        await _sign_in(link, access)
    except (OSError, ValueError) as error:
        link.close()
        raise LinkError(f"{address}: {error or type(error).__name__}") from error
    except BaseException:
        link.close()
        raise
    return link


async def _sign_in(link: Link, access: Access) -> None:
    commands: list[tuple[str | int, ...]] = []
    if access.password:
        commands.append(("AUTH", access.user, access.password) if access.user else ("AUTH", access.password))
    if access.database:
        commands.append(("SELECT", access.database))
    if commands:
        await link.request(*commands)


async def first_answer(asked: Iterable[Coroutine[Any, Any, T]]) -> T:
    """The first answer of several who are asked at once, so that one who hangs holds nobody up. Raises LinkError, which
    says what all of them said, where there is none."""
    tasks = [asyncio.create_task(each) for each in asked]
    problems: list[str] = []
    try:
        for answered in asyncio.as_completed(tasks):
            try:
                return await answered
            except (LinkError, OSError, ValueError) as error:
                problems.append(str(error) or type(error).__name__)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    raise LinkError("; ".join(problems))


def pack(command: tuple[str | int | float, ...]) -> bytes:
    """A command as it is sent."""
    return _pack_command(command)


_pack_command: Final = cast("Callable[[tuple[str | int | float, ...]], bytes]", hiredis.pack_command)


def error_kind(message: str) -> str:
    """The first word of an error; of one that Redis 6 wraps because a script met it, the wrapped one's."""
    _, wrapped, inner = message.partition(": -")
    return (inner if wrapped else message).partition(" ")[0]


async def ask_once(address: Address, access: Access, *command: str | int) -> Reply:
    """One command over a connection of its own; raises LinkError."""
    link = await open_link(address, access)
    try:
        return (await link.request(command))[0]
    finally:
        with suppress(Exception):
            link.close()
