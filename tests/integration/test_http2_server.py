"""Our HTTP/2 server against grpcio's client, the implementation that most clients use."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import ClassVar, cast

import grpc
import grpc.aio
import pytest
from headgate.runtime.addresses import AddressInUseError
from headgate.runtime.http2 import frames
from headgate.runtime.http2.frames import GrpcStatus
from headgate.runtime.http2.health import Health
from headgate.runtime.http2.server import Call, RefusedCallError, Replies, Server

EchoCall = grpc.aio.StreamStreamCall[bytes, bytes]


def echo(channel: grpc.aio.Channel, *metadata: tuple[str, str]) -> EchoCall:
    """A call of the echo service."""
    return cast("EchoCall", channel.stream_stream("/t.Echo/Run")(metadata=metadata))


def checker(channel: grpc.aio.Channel) -> Callable[[bytes], Awaitable[bytes]]:
    return cast("Callable[[bytes], Awaitable[bytes]]", channel.unary_unary("/grpc.health.v1.Health/Check"))


class Echo:
    """Answers each message with itself, `twice` with two, `crash` with a bug; ends when the client does."""

    def __init__(self, replies: Replies, facts: str) -> None:
        self._replies = replies
        self._facts = facts

    def receive(self, message: bytes) -> None:
        match message:
            case b"crash":
                raise RuntimeError("a bug")
            case b"twice":
                self._replies.send(message)
                self._replies.send(message)
            case b"facts":
                self._replies.send(self._facts.encode())
            case _:
                self._replies.send(message)

    def half_closed(self) -> None:
        self._replies.end()

    def closed(self) -> None:
        return


def open_echo(replies: Replies, headers: Mapping[str, str]) -> Call:
    if "refuse" in headers:
        raise RefusedCallError(GrpcStatus.INVALID_ARGUMENT, "not you")
    return Echo(replies, headers.get("x-facts", ""))


class Later:
    """A unary call that the test answers, from `waiting`; `soon` is answered in a moment."""

    waiting: ClassVar[asyncio.Queue[Replies]]

    def __init__(self, replies: Replies) -> None:
        self._replies = replies

    def receive(self, message: bytes) -> None:
        if message == b"soon":
            asyncio.get_running_loop().call_later(0.001, self._replies.answer, b"soon")
        else:
            Later.waiting.put_nowait(self._replies)

    def half_closed(self) -> None:
        return

    def closed(self) -> None:
        return


def open_later(replies: Replies, headers: Mapping[str, str]) -> Call:
    del headers
    return Later(replies)


def ask_later(channel: grpc.aio.Channel, message: bytes) -> Awaitable[bytes]:
    return cast("Callable[[bytes], Awaitable[bytes]]", channel.unary_unary("/t.Echo/Later"))(message)


@asynccontextmanager
async def echo_server(address: str) -> AsyncGenerator[tuple[Server, Health, str]]:
    health = Health(("echo",))
    Later.waiting = asyncio.Queue()
    server = Server({"/t.Echo/Run": open_echo, "/t.Echo/Later": open_later, **health.services()})
    port = await server.listen(address)
    try:
        yield server, health, address if address.startswith("unix:") else f"127.0.0.1:{port}"
    finally:
        await server.stop(0)


@pytest.fixture(params=["unix", "tcp"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"unix:{tmp_path}/s" if request.param == "unix" else "127.0.0.1:0"


async def test_a_stream_of_messages_of_any_size(address: str) -> None:
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    async with echo_server(address) as (_, _, target), grpc.aio.insecure_channel(target, options=options) as channel:
        call = echo(channel, ("x-facts", '{"a":"%"}'))
        for message in (b"", b"x", b"y" * 20_000, b"z" * 5_000_000):
            await call.write(message)
            assert await call.read() == message
        await call.write(b"twice")
        assert [await call.read(), await call.read()] == [b"twice", b"twice"]
        await call.write(b"facts")
        assert await call.read() == b'{"a":"%"}'
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        assert await call.code() is grpc.StatusCode.OK


async def test_many_calls_at_once(address: str) -> None:
    async with echo_server(address) as (_, _, target), grpc.aio.insecure_channel(target) as channel:

        async def one(number: int) -> None:
            call = echo(channel, ("x-facts", f"facts-{number}"))
            await call.write(b"facts")
            assert await call.read() == f"facts-{number}".encode()
            await call.done_writing()
            assert await call.code() is grpc.StatusCode.OK

        await asyncio.gather(*(one(number) for number in range(200)))


async def test_answers_that_come_later(address: str) -> None:
    async with echo_server(address) as (server, _, target), grpc.aio.insecure_channel(target) as channel:
        assert await asyncio.gather(*(ask_later(channel, b"soon") for _ in range(50))) == [b"soon"] * 50
        asked = [asyncio.ensure_future(ask_later(channel, b"wait")) for _ in range(50)]
        for replies in [await Later.waiting.get() for _ in range(50)]:
            replies.answer(b"now")
        assert await asyncio.gather(*asked) == [b"now"] * 50
        assert server.calls_open == 0


async def test_an_answer_on_the_last_moment_of_a_drain_arrives(tmp_path: Path) -> None:
    async with echo_server(f"unix:{tmp_path}/s") as (server, _, target), grpc.aio.insecure_channel(target) as channel:
        asked = asyncio.ensure_future(ask_later(channel, b"wait"))
        replies = await Later.waiting.get()
        stopping = asyncio.ensure_future(server.stop(10))
        await asyncio.sleep(0)
        replies.answer(b"last")
        await stopping
        assert await asked == b"last"


async def test_errors_are_statuses(address: str, caplog: pytest.LogCaptureFixture) -> None:
    async with echo_server(address) as (server, _, target), grpc.aio.insecure_channel(target) as channel:
        unknown = cast("EchoCall", channel.stream_stream("/t.Echo/Nope")())
        assert await unknown.code() is grpc.StatusCode.UNIMPLEMENTED
        refused = echo(channel, ("refuse", "1"))
        assert await refused.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert await refused.details() == "not you"
        crashed = echo(channel)
        await crashed.write(b"crash")
        assert await crashed.code() is grpc.StatusCode.INTERNAL
        assert "a bug" in caplog.text
        assert server.calls_open == 0


async def test_a_cancelled_call_is_forgotten(address: str) -> None:
    async with echo_server(address) as (server, _, target), grpc.aio.insecure_channel(target) as channel:
        call = echo(channel)
        await call.write(b"x")
        await call.read()
        assert server.calls_open == 1
        call.cancel()
        after = echo(channel)
        await after.write(b"y")  # the same connection: whatever came before it has been read
        await after.read()
        assert server.calls_open == 1
        after.cancel()


async def test_health_is_served_and_watched(address: str) -> None:
    async with echo_server(address) as (_, health, target), grpc.aio.insecure_channel(target) as channel:
        check = checker(channel)
        assert await check(b"") == b"\x08\x01"
        assert await check(b"\x0a\x04echo") == b"\x08\x01"
        with pytest.raises(grpc.aio.AioRpcError) as unknown:
            await check(b"\x0a\x04nope")
        assert unknown.value.code() is grpc.StatusCode.NOT_FOUND
        watch = cast(
            "grpc.aio.UnaryStreamCall[bytes, bytes]", channel.unary_stream("/grpc.health.v1.Health/Watch")(b"")
        )
        assert await watch.read() == b"\x08\x01"
        health.shut_down()
        assert await watch.read() == b"\x08\x02"
        assert await check(b"") == b"\x08\x02"


async def test_a_drain_lets_running_calls_end_and_refuses_new_ones(tmp_path: Path) -> None:
    async with echo_server(f"unix:{tmp_path}/s") as (server, _, target), grpc.aio.insecure_channel(target) as channel:
        call = echo(channel)
        await call.write(b"before")
        assert await call.read() == b"before"
        stopping = asyncio.ensure_future(server.stop(10))
        await asyncio.sleep(0)
        await call.write(b"during")
        assert await call.read() == b"during"
        assert not stopping.done()
        await call.done_writing()
        assert await call.code() is grpc.StatusCode.OK
        await stopping
        async with grpc.aio.insecure_channel(target) as late:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await checker(late)(b"")
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_peer_that_does_not_read_is_not_read_from(address: str) -> None:
    async with echo_server(address) as (_, _, target):
        _, writer = await connect(target)
        writer.write(frames.PREFACE + frames.settings({}))
        with pytest.raises(TimeoutError):
            await ask_much(writer)
        writer.transport.abort()


async def ask_much(writer: asyncio.StreamWriter) -> None:
    """68 MB of pings, far beyond what sockets hold; TimeoutError if they are not taken."""
    pings = frames.frame(frames.FrameType.PING, 0, 0, b"12345678") * 4000
    for _ in range(1000):
        writer.write(pings)
        await asyncio.wait_for(writer.drain(), 1)


async def connect(target: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection whose reader takes nothing: its limit is a byte."""
    if target.startswith("unix:"):
        return await asyncio.open_unix_connection(target.removeprefix("unix:"), limit=1)
    host, _, port = target.rpartition(":")
    return await asyncio.open_connection(host, int(port), limit=1)


@pytest.mark.parametrize("address", ["127.0.0.1:http", "127.0.0.1:70000", "unix:/nonexistent/s", "nowhere"])
async def test_an_address_that_is_none_says_so(address: str) -> None:
    with pytest.raises(AddressInUseError, match=f"cannot listen on {address}: "):
        await Server({}).listen(address)


async def test_a_second_server_on_a_port_says_so() -> None:
    async with echo_server("127.0.0.1:0") as (_, _, target):
        with pytest.raises(AddressInUseError, match="cannot listen on"):
            await Server({}).listen(target)
