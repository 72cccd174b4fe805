import asyncio
from pathlib import Path

import grpc
import grpc.aio
import pytest
from headgate.runtime.grpc_server import AddressInUseError, listen, make_server, serve_until

CHECK = "/grpc.health.v1.Health/Check"
WATCH = "/grpc.health.v1.Health/Watch"


async def started(address: str, stop: asyncio.Event) -> asyncio.Task[None]:
    task = asyncio.create_task(
        serve_until(make_server(), stop, address=address, drain_seconds=5, services=("known.Service",))
    )
    async with grpc.aio.insecure_channel(address) as channel:
        await channel.channel_ready()
    return task


async def test_health_answers_and_drains(tmp_path: Path) -> None:
    address, stop = f"unix:{tmp_path}/s.sock", asyncio.Event()
    task = await started(address, stop)
    async with grpc.aio.insecure_channel(address) as channel:
        check: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(CHECK)
        assert await check(b"") == b"\x08\x01"
        assert await check(b"\x0a\x0dknown.Service") == b"\x08\x01"
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await check(b"\x0a\x05other")
        assert error.value.code() is grpc.StatusCode.NOT_FOUND
        watcher: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(WATCH)
        watch = watcher(b"")
        assert await watch.read() == b"\x08\x01"
        stop.set()
        assert await watch.read() == b"\x08\x02"
        await task
    assert not (tmp_path / "s.sock").exists()


async def test_a_port_in_use_is_one_clear_error() -> None:
    first, second = make_server(), make_server()
    port = listen(first, "127.0.0.1:0")
    await first.start()
    with pytest.raises(AddressInUseError, match=rf"cannot listen on 127\.0\.0\.1:{port}"):
        listen(second, f"127.0.0.1:{port}")
    await first.stop(None)


async def test_a_stale_socket_file_is_replaced(tmp_path: Path) -> None:
    path, stop = tmp_path / "s.sock", asyncio.Event()
    path.touch()
    task = await started(f"unix:{path}", stop)
    stop.set()
    await task
