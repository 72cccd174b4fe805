"""Statuses are written where they differ, once, by who may."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from headgate.compiler.conditions import ObjectStatus
from headgate.compiler.resources.metadata import Key
from headgate.controller import status_writer as module
from headgate.controller.sources.kubernetes.client import ApiError, UnreachableError
from headgate.controller.sources.kubernetes.discovery import Discovery
from headgate.controller.sources.kubernetes.world import Collection, KubernetesWorld
from headgate.controller.status_writer import StatusWriter
from support.scripted_api import Request, ScriptedApi
from support.waiting import until

US = "headgate.dev/gateway-controller"
VERSION = "gateway.networking.k8s.io/v1"
COLLECTION = Collection("gateway.networking.k8s.io", "Gateway")
SERVED = {VERSION: {"Gateway": ("gateways", True), "HTTPRoute": ("httproutes", True)}}


def raw(name: str, status: Any = None, *, version: int = 1, uid: str = "u") -> dict[str, Any]:
    return {
        "apiVersion": VERSION,
        "kind": "Gateway",
        "metadata": {"name": name, "namespace": "team", "resourceVersion": str(version), "uid": uid},
        "spec": {"gatewayClassName": "c", "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}]},
        "status": status,
    }


def wanted(name: str, status: str = "True", uid: str = "u") -> ObjectStatus:
    condition = {"type": "Accepted", "status": status, "reason": "Accepted", "message": ""}
    key = Key("gateway.networking.k8s.io", "Gateway", "team", name)
    return ObjectStatus(key=key, api_version=VERSION, uid=uid, generation=1, status={"conditions": [condition]})


def condition_of(status: ObjectStatus) -> dict[str, Any]:
    conditions: Any = status.status["conditions"]
    return conditions[0]


def accept(request: Request) -> dict[str, Any]:
    """Answers as the API server does: with the object, changed."""
    metadata = {**request.body["metadata"], "resourceVersion": "100"}
    return {"metadata": metadata, "status": request.body["status"]}


class Bench:
    def __init__(self, *names: str) -> None:
        self.api = ScriptedApi(SERVED)
        self.world = KubernetesWorld()
        self.leading = True
        self.changes: list[str] = []
        for name in names:
            self.world.put(COLLECTION, raw(name))
        self.writer = StatusWriter(
            self.api,
            Discovery(self.api),
            self.world,
            controller_name=US,
            may_write=lambda: self.leading,
            on_change=lambda status, changes: self.changes.extend(f"{status.key.name} {c.type}" for c in changes),
        )

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[StatusWriter]:
        task = asyncio.create_task(self.writer.run())
        try:
            yield self.writer
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", (0.0, 0.0))


async def test_a_status_is_written_once_and_then_left_alone() -> None:
    bench = Bench("a", "b")
    bench.api.answers.extend([accept, accept])
    async with bench.running() as writer:
        writer.offer([wanted("a"), wanted("b")])
        await until(lambda: writer.idle)
        for _ in range(3):
            writer.offer([wanted("a"), wanted("b")])
            await until(lambda: writer.idle)
        writer.recheck()
        await until(lambda: writer.idle)
    assert writer.counts.writes == 2
    assert bench.changes == ["a Accepted", "b Accepted"]
    request = bench.api.requests[0]
    assert (request.method, request.path) == ("PATCH", f"/apis/{VERSION}/namespaces/team/gateways/a/status")
    assert request.query == {"fieldManager": "headgate", "force": "true"}
    assert request.body["metadata"] == {"name": "a", "namespace": "team", "uid": "u"}


async def test_what_the_api_server_shows_already_is_not_written() -> None:
    bench = Bench()
    condition = condition_of(wanted("a"))
    shown: dict[str, Any] = {"conditions": [{**condition, "lastTransitionTime": "2026-01-01T00:00:00Z"}]}
    bench.world.put(COLLECTION, raw("a", shown))
    async with bench.running() as writer:
        writer.offer([wanted("a")])
        await until(lambda: writer.idle)
    assert bench.api.requests == []


async def test_what_is_left_from_an_earlier_life_is_written_over_once() -> None:
    bench = Bench()
    condition = condition_of(wanted("a"))
    shown: dict[str, Any] = {"conditions": [condition, {**condition, "type": "Old"}]}
    bench.world.put(COLLECTION, raw("a", shown))
    bench.api.answers.append(lambda request: {**accept(request), "status": shown})
    async with bench.running() as writer:
        for _ in range(3):
            writer.offer([wanted("a")])
            await until(lambda: writer.idle)
    assert writer.counts.writes == 1


async def test_a_status_that_somebody_wrote_over_is_written_again() -> None:
    bench = Bench("a")
    bench.api.answers.extend([accept, accept])
    async with bench.running() as writer:
        writer.offer([wanted("a")])
        await until(lambda: writer.idle)
        bench.world.put(COLLECTION, raw("a", {}, version=101))
        writer.recheck()
        await until(lambda: writer.idle)
    assert writer.counts.writes == 2


@pytest.mark.parametrize(
    "error",
    [
        ApiError(409, "Conflict", ""),
        ApiError(404, "NotFound", ""),
        ApiError(500, "InternalError", ""),
        ApiError(429, "TooManyRequests", ""),
        UnreachableError(""),
    ],
)
async def test_a_write_that_fails_is_tried_again_with_what_is_wanted_then(error: Exception) -> None:
    bench = Bench("a")

    def fail(request: Request) -> Exception:
        bench.writer.offer([wanted("a", "False")])
        return error

    bench.api.answers.extend([fail, accept])
    async with bench.running() as writer:
        writer.offer([wanted("a")])
        await until(lambda: writer.idle)
    assert bench.api.requests[-1].body["status"]["conditions"][0]["status"] == "False"
    assert writer.counts.writes == 1


async def test_who_does_not_lead_writes_nothing() -> None:
    bench = Bench("a")
    bench.leading = False
    bench.api.answers.append(accept)
    async with bench.running() as writer:
        writer.offer([wanted("a")])
        await until(lambda: writer.idle)
        assert bench.api.requests == []
        bench.leading = True
        writer.recheck()
        await until(lambda: writer.idle)
    assert writer.counts.writes == 1


async def test_another_object_of_the_same_name_does_not_get_it() -> None:
    bench = Bench("a")
    async with bench.running() as writer:
        writer.offer([wanted("a", uid="an older one")])
        await until(lambda: writer.idle)
    assert bench.api.requests == []


async def test_lists_that_others_write_too_are_written_only_if_nobody_did_meanwhile() -> None:
    bench = Bench()
    key = Key("gateway.networking.k8s.io", "HTTPRoute", "team", "r")
    route: dict[str, Any] = {**raw("r", version=7), "kind": "HTTPRoute", "spec": {"parentRefs": [{"name": "g"}]}}
    bench.world.put(Collection(key.group, "HTTPRoute"), route)
    bench.api.answers.append(accept)
    parents: list[dict[str, Any]] = [{"parentRef": {"name": "g"}, "controllerName": US, "conditions": []}]
    async with bench.running() as writer:
        writer.offer([replace(wanted("r"), key=key, status={"parents": parents})])
        await until(lambda: writer.idle)
    assert bench.api.requests[0].body["metadata"]["resourceVersion"] == "7"
