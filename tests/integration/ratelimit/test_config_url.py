"""Limits that a controller serves, as a limiter reads them."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from headgate.controller.health import HealthServer
from headgate.controller.limits_page import LimitsPage
from headgate.limits.matching import Snapshot
from headgate.ratelimit.config_url import UrlSource
from support.waiting import BUSY_SECONDS


def limits(domain: str) -> str:
    return f"domain: {domain}\ndescriptors:\n- key: a\n  rate_limit: {{unit: hour, requests_per_unit: 1}}\n"


@pytest.fixture
async def page() -> AsyncIterator[tuple[LimitsPage, str]]:
    made = LimitsPage()
    server = HealthServer(ready=lambda: "", status=dict, limits=made)
    port = await server.start("127.0.0.1:0")
    yield made, f"http://127.0.0.1:{port}/limits"
    await server.close()


async def test_changes_are_heard_of_when_they_are_published(page: tuple[LimitsPage, str]) -> None:
    published, url = page
    errors: list[str] = []
    source = UrlSource(url, on_error=errors.append, retry_seconds=0.01)
    first = asyncio.create_task(source.first())
    heard: asyncio.Queue[Snapshot] = asyncio.Queue()
    async with asyncio.timeout(BUSY_SECONDS):
        while not errors:  # noqa: ASYNC110 (what is waited for is the limiter's word)
            await asyncio.sleep(0.01)
        assert "503" in errors[0]
        published.publish(limits("one"))
        snapshot = await first
        assert snapshot is not None
        assert list(snapshot.domains) == ["one"]
        watching = asyncio.create_task(source.watch(heard.put_nowait))
        published.publish(limits("two"))
        assert list((await heard.get()).domains) == ["two"]
        published.publish("domain: [")
        while len(errors) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        assert heard.empty()
        published.publish("")
        assert list((await heard.get()).domains) == []
    watching.cancel()


async def test_who_has_them_waits_and_is_told_that_nothing_changed(
    page: tuple[LimitsPage, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    published, url = page
    monkeypatch.setattr("headgate.ratelimit.config_url.WAIT_SECONDS", 0)
    published.publish(limits("one"))
    source = UrlSource(url)
    assert await source.first() is not None
    heard: asyncio.Queue[Snapshot] = asyncio.Queue()
    watching = asyncio.create_task(source.watch(heard.put_nowait))
    await asyncio.sleep(0.1)
    assert heard.empty()
    watching.cancel()
