"""Last good versions over a restart: what fits is kept, what does not is told."""

import asyncio
import json
import logging
from collections import deque

import pytest
from headgate.compiler.last_good import Good
from headgate.compiler.reading import read_object
from headgate.compiler.resources.metadata import NOWHERE
from headgate.controller import good_keeper as module
from headgate.controller.good_keeper import DATA, GoodKeeper
from support import manifests
from support.scripted_api import ScriptedApi
from support.waiting import until


def _kept(**sizes: int) -> Good:
    """Routes by name, each with a name of a model of so many letters."""
    routes = (manifests.route(name, [manifests.rule("m" * size, manifests.ref("b"))]) for name, size in sizes.items())
    found = (read_object(each, NOWHERE).resource for each in routes)
    return {each.key: each for each in found if each is not None}


async def _stored(kept: Good) -> list[str]:
    """The names of the objects that are written."""
    api = ScriptedApi(answers=deque([{}]))
    keeper = GoodKeeper(api, namespace="ns", name="good", may_write=lambda: True)
    keeper.offer(kept)
    running = asyncio.create_task(keeper.run())
    await until(lambda: keeper.writes == 1)
    running.cancel()
    (request,) = api.requests
    return [json.loads(line)["metadata"]["name"] for line in request.body["data"][DATA].splitlines()]


async def test_one_object_that_does_not_fit_costs_no_other(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "BYTES_MAX", 2_000)
    with caplog.at_level(logging.WARNING, logger="headgate"):
        assert await _stored(_kept(a=10, b=3_000, c=10, d=3_000, e=10)) == ["a", "c", "e"]
    assert [record.getMessage() for record in caplog.records] == ["last_good_left_out"] * 2


async def test_they_never_take_more_than_a_config_map_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BYTES_MAX", 2_000)
    assert await _stored(_kept(a=1_000, b=1_000, c=10)) == ["a", "c"]
