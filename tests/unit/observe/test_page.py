"""The page's side of HTTP: who is answered, what a browser is told it may do, how the stream goes on and ends."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestClient, TestServer
from headgate.observe import page
from headgate.observe.asking import ANSWER_BYTES_MAX, ask
from headgate.observe.feed import Cursor, Observation, Seen
from headgate.observe.page import ASSETS, ObservePage, SourceError, guard, is_local
from support.waiting import BUSY_SECONDS

Client = TestClient[web.Request, web.Application]


class Scripted:
    """A source that says what a test tells it to."""

    def __init__(self) -> None:
        self.observation = Observation()
        self.told: object = {"ready": True}
        self.away = ""
        self.cursors: list[Cursor] = []

    async def seen(self, cursor: Cursor) -> Seen:
        self.cursors.append(cursor)
        if self.away:
            raise SourceError(self.away)
        return self.observation.seen(cursor)

    async def limits(self) -> object:
        if self.away:
            raise SourceError(self.away)
        return {"counters": []}

    def configuration(self) -> object:
        return self.told


@pytest.fixture
def source() -> Scripted:
    return Scripted()


@pytest.fixture
async def client(source: Scripted) -> AsyncIterator[Client]:
    application = web.Application(middlewares=[guard])
    ObservePage(source, period_seconds=0.01).add_to(application)
    async with TestClient(TestServer(application)) as started:
        yield started


async def events(client: Client, count: int, **options: str) -> list[tuple[str, str, str]]:
    """(event, id, data) of the first ones."""
    async with client.get("/events", params=options) as response:
        assert response.status == 200
        found: list[tuple[str, str, str]] = []
        while len(found) < count:
            block = (await response.content.readuntil(b"\n\n")).decode()
            if match := re.fullmatch(r"event: (\w+)\nid: (\S+)\ndata: (.*)\n\n", block):
                found.append((match[1], match[2], match[3]))
        return found


@pytest.mark.parametrize("host", ["localhost", "localhost:1064", "127.0.0.1:9", "127.8.0.1", "[::1]:1064"])
def test_the_machine_itself_is_answered(host: str) -> None:
    assert is_local(host)


@pytest.mark.parametrize(
    "host",
    [
        "",
        "example.com",
        "example.com:1064",
        "127.0.0.1.example.com",
        "localhost.example.com",
        "10.0.0.1",
        "[::1",
        "0.0.0.0",
    ],
)
def test_names_that_merely_lead_here_are_not(host: str) -> None:
    assert not is_local(host)


@pytest.mark.parametrize("path", [*ASSETS, "/events", "/anything"])
async def test_a_rebound_name_gets_nothing(client: Client, path: str) -> None:
    async with client.get(path, headers={"host": "rebound.example:1064"}) as response:
        assert response.status == 421
        assert "Headgate" not in await response.text()


async def test_another_site_gets_no_events(client: Client) -> None:
    async with client.get("/events", headers={"sec-fetch-site": "cross-site"}) as response:
        assert response.status == 403
    async with client.get("/events", headers={"sec-fetch-site": "same-site"}) as response:
        assert response.status == 403


@pytest.mark.parametrize("path", ASSETS)
async def test_the_page_may_do_nothing_but_what_it_needs(client: Client, path: str) -> None:
    async with client.get(path) as response:
        assert response.status == 200
        policy = response.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert not re.search(r"https?:", policy)
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["cross-origin-resource-policy"] == "same-origin"
        assert "access-control-allow-origin" not in response.headers


def test_assets_name_no_other_host() -> None:
    for each in (Path(page.__file__).parent / "assets").iterdir():
        hosts = set(re.findall(r"https?://[^/\"' )]+", each.read_text()))
        assert hosts <= {"http://www.w3.org"}, each.name


async def test_the_stream_begins_with_everything(client: Client) -> None:
    found = {name: json.loads(data) for name, _, data in await events(client, 4)}
    assert found["configuration"] == {"ready": True}
    assert found["limits"] == {"counters": []}
    assert found["trouble"] == {}
    assert found["seen"]["look"]["window"]["requests"] == 0


async def test_it_goes_on_where_a_page_was(client: Client, source: Scripted) -> None:
    (*_, (_, last, _)) = await events(client, 4)
    await events(client, 1, after=last)
    assert source.cursors[-1] == Cursor(epoch=int(last.split("-")[0]), number=0)


@pytest.mark.parametrize("after", ["", "x", "1", "-", "1-x", "9" * 500 + "-1"])
async def test_a_strange_place_is_the_beginning(client: Client, source: Scripted, after: str) -> None:
    await events(client, 1, after=after)
    assert source.cursors[0] == Cursor()


async def test_a_part_that_is_away_is_said_and_comes_back(client: Client, source: Scripted) -> None:
    source.away = "the collector does not answer now"
    async with client.get("/events") as response:
        first = await response.content.readuntil(b"event: trouble")
        assert b"event: configuration" in first
        assert b"the collector does not answer now" in await response.content.readuntil(b"\n\n")
        source.away = ""
        await response.content.readuntil(b"data: {}")
        await response.content.readuntil(b"event: seen")


async def test_pages_are_bounded(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "WATCHERS_MAX", 1)
    async with client.get("/events") as first:
        assert first.status == 200
        async with client.get("/events") as second:
            assert second.status == 503


async def test_the_end_of_the_gateway_ends_the_streams(source: Scripted) -> None:
    application = web.Application()
    ObservePage(source, period_seconds=30).add_to(application)
    server = TestServer(application)
    await server.start_server()
    async with ClientSession() as session, session.get(server.make_url("/events")) as response:
        await response.content.readuntil(b"event: seen")
        await asyncio.wait_for(server.close(), BUSY_SECONDS)
        assert response.content.at_eof() or await response.content.read() is not None


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"", "no HTTP"),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", "404"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * ANSWER_BYTES_MAX, "more than"),
        (b"HTTP/1.1 200 OK\r\n\r\nbody", ""),
    ],
    ids=["nothing", "refused", "too much", "fine"],
)
async def test_our_processes_are_asked_over_their_sockets(short_path: Path, answer: bytes, message: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"content-length: 2" in head
        assert await reader.readexactly(2) == b"{}"
        writer.write(answer)
        writer.close()

    socket = short_path / "a.sock"
    server = await asyncio.start_unix_server(serve, str(socket))
    try:
        if message:
            with pytest.raises(SourceError, match=message):
                await ask(socket, "/x", b"{}")
        else:
            assert await ask(socket, "/x", b"{}") == b"body"
    finally:
        server.close()
    with pytest.raises(SourceError):
        await ask(short_path / "nobody.sock", "/x")


async def test_who_closes_the_page_is_forgotten(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "WATCHERS_MAX", 1)
    for _ in range(3):
        statuses: list[int] = []

        async def once(statuses: list[int] = statuses) -> bool:
            async with client.get("/events") as response:
                statuses.append(response.status)
                return response.status == 200

        deadline = asyncio.get_running_loop().time() + BUSY_SECONDS
        while not await once():
            assert asyncio.get_running_loop().time() < deadline, statuses
            await asyncio.sleep(0.01)
