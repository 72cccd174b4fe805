"""Counters for statsd: what was counted since the last time, to a sink that may be away."""

import asyncio
from collections.abc import Mapping

from headgate.ratelimit.statsd import DATAGRAM_BYTES_MAX, StatsdSink, flush_to, lines_of, packets
from support.ports import LOOPBACK, free_port
from support.waiting import BUSY_SECONDS


def test_only_what_has_grown_is_sent() -> None:
    assert lines_of({"a.b": 5, "c": 2}, {"a.b": 3, "c": 2}, {}) == ["a.b:2|c\n"]
    assert lines_of({"a b:c|d": 1}, {}, {"env": "x", "az": "1"}) == ["a_b_c_d.__az=1.__env=x:1|c\n"]


def test_datagrams_hold_whole_lines() -> None:
    lines = [f"name.{i:04d}:1|c\n" for i in range(300)]
    found = packets(lines)
    assert b"".join(found).decode() == "".join(lines)
    assert max(map(len, found)) <= DATAGRAM_BYTES_MAX
    assert all(packet.endswith(b"\n") for packet in found)


class Counting:
    """Ten more each time that it is asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.often = asyncio.Event()

    def __call__(self) -> Mapping[str, int]:
        self.asked += 1
        if self.asked == 3:
            self.often.set()
        return {"hits": 10 * self.asked}


async def test_a_sink_that_was_away_gets_all_of_it() -> None:
    port, received = free_port(), asyncio.Queue[bytes]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.put_nowait(await reader.read())
        writer.close()

    counting = Counting()
    async with asyncio.timeout(BUSY_SECONDS):
        stop, sink = asyncio.Event(), StatsdSink(host=LOOPBACK, port=port, interval_seconds=0.01)
        sending = asyncio.create_task(flush_to(sink, counting, stop))
        await counting.often.wait()
        server = await asyncio.start_server(serve, LOOPBACK, port)
        first = await received.get()
        stop.set()
        await sending
    server.close()
    assert first.startswith(b"hits:")
    assert int(first.removeprefix(b"hits:").partition(b"|")[0]) >= 30


async def test_over_udp() -> None:
    received: asyncio.Queue[bytes] = asyncio.Queue()

    class Sink(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: object) -> None:
            del addr
            received.put_nowait(data)

    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Sink, local_addr=(LOOPBACK, 0))
    port = transport.get_extra_info("sockname")[1]
    sink = StatsdSink(host=LOOPBACK, port=port, over_udp=True, interval_seconds=0.01)
    stop = asyncio.Event()
    sending = asyncio.create_task(flush_to(sink, lambda: {"hits": 3}, stop))
    async with asyncio.timeout(BUSY_SECONDS):
        assert await received.get() == b"hits:3|c\n"
        stop.set()
        await sending
    transport.close()


async def test_what_was_counted_at_the_end_is_sent() -> None:
    """Also when a sending is under way meanwhile."""
    counts, received, go_on = {"hits": 1}, list[bytes](), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        text = await reader.read()
        writer.close()
        await writer.wait_closed()
        received.append(text)
        go_on.set()

    async with await asyncio.start_server(serve, LOOPBACK, 0) as server, asyncio.timeout(BUSY_SECONDS):
        port, stop = server.sockets[0].getsockname()[1], asyncio.Event()
        sink = StatsdSink(host=LOOPBACK, port=port, interval_seconds=0.001)
        sending = asyncio.create_task(flush_to(sink, lambda: counts, stop))
        await go_on.wait()
        stop.set()
        counts["hits"] = 3
        await sending
        while len(received) < 2:
            go_on.clear()
            await go_on.wait()
    assert b"".join(received) == b"hits:1|c\nhits:2|c\n"
