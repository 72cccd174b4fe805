"""The page on the gateway's admin port, and the stream of events that keeps it current.

    /            the page; its assets lie beside it
    /events      server-sent events: `seen` every second (new requests and the sums), `limits`, `configuration` and
                 `trouble` (that the collector does not answer, or does again) as they change

Whoever reaches the port sees it, so it listens on loopback (the caller's business), and this module shuts out web sites
that a browser on the same machine has open: a name of theirs that leads here is not answered (`guard`, which is for the
whole port), another site's request for the page or its events is refused, and nothing of the page may be framed, sent
elsewhere or extended by a script that is not ours (CSP).
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from importlib import resources
from ipaddress import ip_address
from typing import Final, Protocol
from urllib.parse import urlsplit

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler
from headgate.observe.feed import Cursor, Seen
from headgate.runtime.pauses import wait_at_most

WATCHERS_MAX: Final = 16
"""Pages at a time: each is asked for everything once a second."""
PERIOD_SECONDS: Final = 1.0
WRITE_SECONDS_MAX: Final = 10.0
"""A page that takes nothing for so long is gone; it comes back by itself."""
POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    )
)
HEADERS: Final[Mapping[str, str]] = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}
ASSETS: Final[Mapping[str, tuple[str, str]]] = {
    "/": ("index.html", "text/html"),
    "/observe.css": ("observe.css", "text/css"),
    "/observe.js": ("observe.js", "text/javascript"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
"""Path to file and type."""


class Source(Protocol):
    """Where the page's contents come from. Each answers within a second, or raises `SourceError`."""

    async def seen(self, cursor: Cursor) -> Seen:
        """Requests and sums."""
        ...

    async def limits(self) -> object:
        """What is left of each limit, as plain values."""
        ...

    def configuration(self) -> object:
        """Whether it serves, where, the objects with their conditions, what is wrong: as plain values."""
        ...


class SourceError(Exception):
    """A part of the gateway that does not answer now; the text is for the user."""


@web.middleware
async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answers only who calls this machine by an address or name that means nothing else (see the module)."""
    if not is_local(request.headers.get("host", "")):
        return web.Response(status=421, text="this port answers to localhost and loopback addresses only\n")
    return await handler(request)


def is_local(host: str) -> bool:
    """Whether a Host header names the loopback interface itself. Any port: a tunnel's is another one."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or ip_address(name).is_loopback
    except ValueError:
        return False


def is_ours(request: web.Request) -> bool:
    """Whether a browser says that the request comes from our own page, or from a person. Others say nothing."""
    return request.headers.get("sec-fetch-site", "none") in ("none", "same-origin")


class ObservePage:
    """Serves the page from `source`."""

    def __init__(self, source: Source, *, period_seconds: float = PERIOD_SECONDS) -> None:
        self._source = source
        self._period_seconds = period_seconds
        self._watchers = 0
        self._ending = asyncio.Event()

    def add_to(self, application: web.Application) -> None:
        """Adds its paths."""
        for path, (name, content_type) in ASSETS.items():
            application.router.add_get(path, _asset(name, content_type))
        application.router.add_get("/events", self._events)
        application.on_shutdown.append(self._shut_down)

    async def _shut_down(self, application: web.Application) -> None:
        self._ending.set()

    async def _events(self, request: web.Request) -> web.StreamResponse:
        if not is_ours(request):
            return web.Response(status=403, text="not for other sites\n")
        if self._watchers >= WATCHERS_MAX:
            return web.Response(status=503, text=f"{WATCHERS_MAX} pages are open already\n", headers=HEADERS)
        response = web.StreamResponse(headers={**HEADERS, "content-type": "text/event-stream; charset=utf-8"})
        self._watchers += 1
        try:
            await response.prepare(request)
            await self._tell(response, _cursor(request.headers.get("last-event-id") or request.query.get("after", "")))
        except (ConnectionError, TimeoutError):
            pass  # the page was closed
        finally:
            self._watchers -= 1
        return response

    async def _tell(self, response: web.StreamResponse, cursor: Cursor) -> None:
        """Until the page or the gateway goes."""
        told: dict[str, bytes] = {}
        while not self._ending.is_set():
            events = {
                "configuration": await _or_error(_now(self._source.configuration)),
                "limits": await _or_error(self._source.limits()),
            }
            try:
                seen = await self._source.seen(cursor)
            except SourceError as error:
                events["trouble"] = msgspec.json.encode({"text": str(error)})
            else:
                cursor = seen.cursor
                events["trouble"] = b"{}"
                events["seen"] = msgspec.json.encode(seen)
            news = {name: data for name, data in events.items() if told.get(name) != data}
            told.update(news)
            written = b"".join(_event(name, data, cursor) for name, data in news.items()) or b": still here\n\n"
            async with asyncio.timeout(WRITE_SECONDS_MAX):
                await response.write(written)
            await wait_at_most(self._ending, self._period_seconds)


async def _now(read: Callable[[], object]) -> object:
    return read()


async def _or_error(reading: Awaitable[object]) -> bytes:
    try:
        value = await reading
    except SourceError as error:
        value = {"error": str(error)}
    return msgspec.json.encode(value, enc_hook=str)


def _event(name: str, data: bytes, cursor: Cursor) -> bytes:
    """JSON has no line breaks, so it is one line."""
    return b"event: %s\nid: %d-%d\ndata: %s\n\n" % (name.encode(), cursor.epoch, cursor.number, data)


def _cursor(text: str) -> Cursor:
    epoch, _, number = text.partition("-")
    if not (epoch.isdecimal() and number.isdecimal()) or len(text) > 40:
        return Cursor()
    return Cursor(epoch=int(epoch), number=int(number))


def _asset(name: str, content_type: str) -> Handler:
    body = resources.files("headgate.observe").joinpath("assets", name).read_bytes()

    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(body=body, content_type=content_type, charset="utf-8", headers=HEADERS)

    return answer
