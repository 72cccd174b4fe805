from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import grpc.aio
import pytest
from headgate.runtime.grpc_server import AddressInUseError, Health, listen, make_server

CHECK = "/grpc.health.v1.Health/Check"
WATCH = "/grpc.health.v1.Health/Watch"


@asynccontextmanager
async def serving(health: Health, path: Path) -> AsyncGenerator[grpc.aio.Channel]:
    """A channel to a server on a unix socket, which is ready."""
    server = make_server()
    server.add_generic_rpc_handlers((health.handler(),))
    listen(server, f"unix:{path}")
    await server.start()
    async with grpc.aio.insecure_channel(f"unix:{path}") as channel:
        await channel.channel_ready()
        yield channel
    await server.stop(None)


async def test_health_is_asked_and_watched(tmp_path: Path) -> None:
    health = Health(("known.Service",))
    async with serving(health, tmp_path / "s.sock") as channel:
        check: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(CHECK)
        assert await check(b"") == b"\x08\x01"
        assert await check(b"\x0a\x0dknown.Service") == b"\x08\x01"
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await check(b"\x0a\x05other")
        assert error.value.code() is grpc.StatusCode.NOT_FOUND
        watcher: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(WATCH)
        watch = watcher(b"")
        assert await watch.read() == b"\x08\x01"
        health.shut_down()
        assert await watch.read() == b"\x08\x02"


async def test_a_port_in_use_is_one_clear_error() -> None:
    first, second = make_server(), make_server()
    port = listen(first, "127.0.0.1:0")
    await first.start()
    with pytest.raises(AddressInUseError, match=rf"cannot listen on 127\.0\.0\.1:{port}"):
        listen(second, f"127.0.0.1:{port}")
    await first.stop(None)


async def test_a_stale_socket_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s.sock"
    path.touch()
    async with serving(Health(), path):
        assert path.is_socket()
