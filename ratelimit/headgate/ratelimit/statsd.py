"""Counters for statsd, under the names that envoyproxy/ratelimit sends: what was counted since the last time.

Sent over TCP, as it does, or UDP. Counts are sent until a sending has not failed: while nobody listens over TCP nothing
is lost, unless the service ends meanwhile. What is lost on the way nobody tells us, over UDP nothing at all; and a sink
that breaks off may count twice what it had read. No decision waits for it.
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from headgate.contract.addresses import host_port
from headgate.runtime.logging import event_log

log = event_log("ratelimit")

SEND_SECONDS: Final = 5.0
DATAGRAM_BYTES_MAX: Final = 1400
"""Fits a packet of a usual network."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StatsdSink:
    """Where counters go, how often, and what each is marked with."""

    host: str
    port: int
    over_udp: bool = False
    interval_seconds: float = 10.0
    tags: Mapping[str, str] | None = None


def lines_of(now: Mapping[str, int], sent: Mapping[str, int], tags: Mapping[str, str]) -> list[str]:
    """A line for every counter that has grown."""
    marks = "".join(f".__{name}={value}" for name, value in sorted(tags.items()))
    grown = ((name, count - sent.get(name, 0)) for name, count in now.items())
    return [f"{_plain(name)}{marks}:{by}|c\n" for name, by in grown if by > 0]


def _plain(name: str) -> str:
    """Colons, bars and line ends mean something to statsd."""
    return name.translate({ord(each): "_" for each in ":|@\r\n "})


async def flush_to(sink: StatsdSink, counters: Callable[[], Mapping[str, int]], stop: asyncio.Event) -> None:
    """Sends what has been counted, until `stop`; and then once more."""
    sent: dict[str, int] = {}
    reported = stopping = False
    while not stopping:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(sink.interval_seconds):
                stopping = await stop.wait()
        now = dict(counters())
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await _send(sink, lines_of(now, sent, sink.tags or {}))
        except OSError as error:  # TimeoutError is one
            if not reported:
                log.warning(
                    "statsd_failed", sink=host_port(sink.host, sink.port), error=str(error) or "no answer in time"
                )
            reported = True
        else:
            sent, reported = now, False


async def _send(sink: StatsdSink, lines: list[str]) -> None:
    if not lines:
        return
    if sink.over_udp:
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            asyncio.DatagramProtocol, remote_addr=(sink.host, sink.port)
        )
        with contextlib.closing(transport):
            for packet in packets(lines):
                transport.sendto(packet)
        return
    _, writer = await asyncio.open_connection(sink.host, sink.port)
    with contextlib.closing(writer):
        writer.write("".join(lines).encode())
        await writer.drain()
    await writer.wait_closed()  # what is still in our buffer would be lost when the process ends


def packets(lines: list[str]) -> list[bytes]:
    """The lines in as few datagrams as they fit."""
    found: list[bytes] = []
    current = b""
    for line in lines:
        encoded = line.encode()
        if current and len(current) + len(encoded) > DATAGRAM_BYTES_MAX:
            found.append(current)
            current = b""
        current += encoded
    return [*found, current] if current else found
