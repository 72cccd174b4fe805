"""`grpc.health.v1.Health` (Check, Watch) for `server`.

Written out by hand: the messages are one string and one enum.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from headgate.runtime.http2.frames import GrpcStatus
from headgate.runtime.http2.server import Call, OpenCall, Replies, Services

SERVING: Final = b"\x08\x01"
NOT_SERVING: Final = b"\x08\x02"
SERVICE_UNKNOWN: Final = b"\x08\x03"


class Health:
    """Serving until `shut_down`, for the empty service name and the ones given."""

    def __init__(self, names: Sequence[str] = ()) -> None:
        self._names = frozenset(("", *names))
        self._serving = True
        self._watchers: set[_Watch] = set()

    def services(self) -> Services:
        """To be merged into a server's services."""

        def check(replies: Replies, headers: Mapping[str, str]) -> Call:
            del headers
            return _Check(self, replies)

        def watch(replies: Replies, headers: Mapping[str, str]) -> Call:
            del headers
            return _Watch(self, replies, self._watchers)

        handlers: dict[str, OpenCall] = {"/grpc.health.v1.Health/Check": check, "/grpc.health.v1.Health/Watch": watch}
        return handlers

    def shut_down(self) -> None:
        """From now on every service is NOT_SERVING; watchers are told and let go, so that no drain waits for them."""
        self._serving = False
        for watcher in tuple(self._watchers):
            watcher.tell_the_end()

    def status(self, request: bytes) -> bytes:
        """The response message for a request message."""
        if _service_name(request) not in self._names:
            return SERVICE_UNKNOWN
        return SERVING if self._serving else NOT_SERVING


class _Check:
    def __init__(self, health: Health, replies: Replies) -> None:
        self._health = health
        self._replies = replies

    def receive(self, message: bytes) -> None:
        status = self._health.status(message)
        if status is SERVICE_UNKNOWN:
            self._replies.end(GrpcStatus.NOT_FOUND, "unknown service")
        else:
            self._replies.send(status)
            self._replies.end()

    def half_closed(self) -> None:
        return

    def closed(self) -> None:
        return


class _Watch:
    def __init__(self, health: Health, replies: Replies, watchers: "set[_Watch]") -> None:
        self._health = health
        self._replies = replies
        self._watchers = watchers

    def receive(self, message: bytes) -> None:
        status = self._health.status(message)
        self._replies.send(status)
        if status is SERVING:
            self._watchers.add(self)

    def tell_the_end(self) -> None:
        self._replies.send(NOT_SERVING)
        self._replies.end(GrpcStatus.UNAVAILABLE, "shutting down")

    def half_closed(self) -> None:
        return

    def closed(self) -> None:
        self._watchers.discard(self)


def _service_name(request: bytes) -> str:
    """`HealthCheckRequest.service`: field 1, length-delimited; names here are shorter than 128 bytes."""
    if len(request) >= 2 and request[0] == 0x0A and request[1] == len(request) - 2:
        return request[2:].decode(errors="replace")
    return "" if not request else "\N{REPLACEMENT CHARACTER}"
