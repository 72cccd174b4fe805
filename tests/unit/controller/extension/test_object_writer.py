"""Which objects are written for Envoy Gateway, and when again."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from headgate.compiler.compile import compile_world
from headgate.compiler.envoy_gateway.objects import Wanted, wanted_objects
from headgate.compiler.envoy_gateway.rules import known_rules
from headgate.compiler.options import Mode, Options
from headgate.compiler.reading import read_object
from headgate.compiler.resources.metadata import NOWHERE, Resource
from headgate.compiler.world import World, make_world
from headgate.controller.extension.object_writer import ObjectWriter
from headgate.controller.sources.kubernetes.client import ApiError
from headgate.controller.sources.kubernetes.discovery import Discovery
from support import manifests
from support.scripted_api import ScriptedApi
from support.waiting import until

OPTIONS = Options(mode=Mode.ENVOY_GATEWAY)
SERVED = {
    "gateway.networking.k8s.io/v1": {"HTTPRoute": ("httproutes", True)},
    "gateway.envoyproxy.io/v1alpha1": {"HTTPRouteFilter": ("httproutefilters", True)},
}


def base(model: str = "gpt") -> list[Resource]:
    route = manifests.route("chat", [manifests.rule(model, manifests.ref("openai"))])
    documents = [*manifests.gateway({"port": 8080}), *manifests.backend("openai", 1, key="sk"), route]
    found = [read_object(each, NOWHERE).resource for each in documents]
    return [each for each in found if each is not None]


def wanted(world: World) -> Sequence[Wanted]:
    compiled = compile_world(world, OPTIONS)
    return wanted_objects(compiled.scope, known_rules(compiled.program), build="1").wanted


class Stage:
    """A writer, and the world as its watches tell it."""

    def __init__(self, *, leading: bool = True) -> None:
        self.api = ScriptedApi(SERVED)
        self.leading = leading
        self.writer = ObjectWriter(self.api, Discovery(self.api), may_write=lambda: self.leading)
        self.objects = base()

    @property
    def written(self) -> list[str]:
        return [each.path.rpartition("/")[2] for each in self.api.requests]

    async def tell(self, *there: Resource) -> None:
        """The world has these too; returns when the writer has looked at it."""
        world = make_world((*self.objects, *there))
        self.api.answers.extend({} for _ in range(8))
        self.writer.offer(world, wanted(world))
        await until(lambda: self.writer.idle)
        self.api.answers.clear()

    def made(self) -> list[Resource]:
        """What is wanted, as it would be there."""
        return [each.resource for each in wanted(make_world(self.objects)) if each.resource is not None]


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    made = Stage()
    task = asyncio.create_task(made.writer.run())
    yield made
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


NAMES = ["ai-eg-host-rewrite-chat", "ai-eg-route-not-found-response-chat", "chat"]


async def test_what_is_not_there_is_written_filters_first_and_only_once(stage: Stage) -> None:
    await stage.tell()
    assert (sorted(stage.written[:2]), stage.written[2:]) == (NAMES[:2], NAMES[2:])
    await stage.tell()  # the watch has not told of it yet
    await stage.tell(*stage.made())
    assert len(stage.written) == 3


async def test_what_somebody_deletes_is_written_again(stage: Stage) -> None:
    await stage.tell()
    await stage.tell(*stage.made())
    await stage.tell(*(each for each in stage.made() if each.kind != "HTTPRoute"))
    assert stage.written[3:] == ["chat"]


async def test_what_somebody_edits_is_written_again(stage: Stage) -> None:
    await stage.tell()
    await stage.tell(*stage.made())
    stage.objects = base("other")
    edited = stage.made()
    stage.objects = base()
    *filters, _ = stage.made()
    await stage.tell(*filters, edited[-1])
    assert stage.written[3:] == ["chat"]


async def test_what_is_changed_on_its_way_in_is_not_fought_over(stage: Stage) -> None:
    """A webhook of somebody else's may change every object that comes."""
    stage.objects = base("other")
    changed = stage.made()[-1]
    stage.objects = base()
    await stage.tell()
    *filters, _ = stage.made()
    for _ in range(5):
        await stage.tell(*filters, changed)
    assert len(stage.written) <= 4


async def test_who_does_not_lead_writes_nothing(stage: Stage) -> None:
    stage.leading = False
    await stage.tell()
    assert stage.written == []
    stage.leading = True
    stage.api.answers.extend({} for _ in range(8))
    stage.writer.recheck()
    await until(lambda: len(stage.written) == 3)


async def test_what_fails_is_tried_again(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headgate.controller.extension.object_writer.RETRY_SECONDS", (0.01, 0.01))
    refused: Any = ApiError(409, "Conflict", "somebody else")
    stage.api.answers.extend([refused, {}, {}])
    world = make_world(stage.objects)
    stage.writer.offer(world, wanted(world))
    await until(lambda: stage.writer.counts.failures == 1)
    stage.api.answers.extend({} for _ in range(8))
    await until(lambda: stage.writer.counts.writes == 3)
