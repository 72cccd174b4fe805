"""How a collection is kept up to date whatever the API server does."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from headgate.compiler.resources.kinds import BY_NAME
from headgate.controller.sources.kubernetes import discovery as discovery_module
from headgate.controller.sources.kubernetes import reflector as reflector_module
from headgate.controller.sources.kubernetes.client import ApiError, UnreachableError
from headgate.controller.sources.kubernetes.discovery import Discovery
from headgate.controller.sources.kubernetes.reflector import Backoff, Reflector
from headgate.controller.sources.kubernetes.world import KubernetesWorld
from support.scripted_api import END, ScriptedApi, added, initial_end
from support.waiting import BUSY_SECONDS, until

GATEWAY_API = "gateway.networking.k8s.io/v1"
SERVED = {GATEWAY_API: {"Gateway": ("gateways", True)}}


def gateway(name: str, version: int = 1) -> dict[str, Any]:
    return {
        "apiVersion": GATEWAY_API,
        "kind": "Gateway",
        "metadata": {"name": name, "namespace": "team", "resourceVersion": str(version), "uid": name},
        "spec": {"gatewayClassName": "c", "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}]},
    }


@dataclass(slots=True)
class Store:
    world: KubernetesWorld = field(default_factory=KubernetesWorld)
    changes: int = 0

    def changed(self) -> None:
        self.changes += 1

    @property
    def names(self) -> list[str]:
        return [name.name for name in self.world.view().world.gateways]


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reflector_module, "ABSENT_SECONDS", 0.01)
    monkeypatch.setattr(discovery_module, "_FRESH_SECONDS", 0.0)
    monkeypatch.setattr(Backoff, "failed", lambda self, at_least=0.0: 0.0)  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]


@asynccontextmanager
async def reflecting(api: ScriptedApi, store: Store, **options: Any) -> AsyncGenerator[Reflector]:
    kind = BY_NAME["gateway.networking.k8s.io", "Gateway"]
    reflector = Reflector(api, Discovery(api), store, kind=kind, **options)
    task = asyncio.create_task(reflector.run())
    try:
        yield reflector
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_streamed_list_counts_when_it_is_complete() -> None:
    store = Store()
    api = ScriptedApi(SERVED)
    api.streams.append([added(gateway("a")), added(gateway("b")), initial_end(5), added(gateway("c", 6))])
    async with reflecting(api, store, namespace="team") as reflector:
        await asyncio.wait_for(reflector.state.synced.wait(), BUSY_SECONDS)
        await until(lambda: store.names == ["a", "b", "c"])
    (request,) = api.requests
    assert request.path == "/apis/gateway.networking.k8s.io/v1/namespaces/team/gateways"
    assert request.query["sendInitialEvents"] == "true"
    assert store.changes == 2


async def test_a_broken_stream_goes_on_from_where_it_was() -> None:
    store = Store()
    api = ScriptedApi(SERVED)
    api.streams.append([added(gateway("a")), initial_end(5), UnreachableError("gone")])
    api.streams.append([added(gateway("b", 6)), END])
    api.streams.append([])
    async with reflecting(api, store):
        await api.asked(3)
    assert [request.query.get("resourceVersion") for request in api.requests] == [None, "5", "6"]
    assert store.names == ["a", "b"]


@pytest.mark.parametrize(
    "expired",
    [
        {"type": "ERROR", "object": {"code": 410, "message": "too old"}},
        ApiError(410, "Expired", "too old"),
    ],
)
async def test_after_an_expired_version_everything_is_listed_again(expired: Any) -> None:
    store = Store()
    api = ScriptedApi(SERVED)
    api.streams.append([added(gateway("a")), added(gateway("b")), initial_end(5), END])
    api.streams.append([expired])
    api.streams.append([added(gateway("b")), initial_end(9)])
    async with reflecting(api, store):
        await until(lambda: store.names == ["b"])
    assert api.requests[2].query["sendInitialEvents"] == "true"


async def test_a_list_that_breaks_halfway_takes_nothing_away() -> None:
    store = Store()
    api = ScriptedApi(SERVED)
    api.streams.append([added(gateway("a")), added(gateway("b")), initial_end(5), ApiError(410, "Expired", "")])
    api.streams.append([added(gateway("a")), UnreachableError("gone")])
    api.streams.append([])
    async with reflecting(api, store):
        await api.asked(3)
        assert store.names == ["a", "b"]


async def test_servers_that_cannot_stream_lists_are_asked_for_pages() -> None:
    store = Store()
    api = ScriptedApi(SERVED)
    api.streams.append([ApiError(422, "Invalid", "sendInitialEvents is forbidden")])
    api.streams.append([added(gateway("c", 8))])
    bare = {key: value for key, value in gateway("a").items() if key not in ("apiVersion", "kind")}
    api.answers.append({"metadata": {"resourceVersion": "7", "continue": "more"}, "items": [bare]})
    api.answers.append({"metadata": {"resourceVersion": "7"}, "items": [gateway("b")]})
    async with reflecting(api, store, field_selector="x!=y"):
        await until(lambda: store.names == ["a", "b", "c"])
    assert api.requests[2].query == {"limit": "500", "continue": "more", "fieldSelector": "x!=y"}
    assert api.requests[3].query["resourceVersion"] == "7"


async def test_a_kind_that_comes_later_is_read_and_one_that_goes_is_empty() -> None:
    store = Store()
    api = ScriptedApi({})
    async with reflecting(api, store) as reflector:
        await asyncio.wait_for(reflector.state.synced.wait(), BUSY_SECONDS)
        assert store.names == []
        gone = asyncio.Event()
        api.streams.append([added(gateway("a")), initial_end(5), gone, ApiError(404, "NotFound", "")])
        api.served = dict(SERVED)
        await until(lambda: store.names == ["a"])
        api.served = {}
        gone.set()
        await until(lambda: store.names == [])
        assert reflector.state.served == ""


async def test_without_permission_nothing_is_synced_and_the_reason_is_kept() -> None:
    api = ScriptedApi(SERVED)
    api.streams.append([ApiError(403, "Forbidden", "cannot list gateways")])
    async with reflecting(api, Store()) as reflector:
        await api.asked(2)
        assert not reflector.state.synced.is_set()
        assert "cannot list gateways" in reflector.state.error


async def test_waits_double_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    backoff = Backoff(first_seconds=1.0, most_seconds=8.0)
    waits = [backoff.failed() for _ in range(6)]
    for wait, most in zip(waits, (1, 2, 4, 8, 8, 8), strict=True):
        assert most / 2 <= wait <= most
    backoff.worked()
    assert backoff.failed() <= 1.0
    assert backoff.failed(at_least=30.0) == 30.0
