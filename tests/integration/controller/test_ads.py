"""The real Envoy takes hand-made snapshots through our ADS server."""

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from headgate.controller.store import SnapshotStore
from headgate.controller.xds.references import Reference
from headgate.controller.xds.resource_types import CLUSTER, LISTENER, ROUTE, SECRET
from headgate.controller.xds.server import Patience
from headgate.controller.xds.snapshot import EMPTY
from headgate.controller.xds.withhold import withhold
from support.ads import (
    AdsBench,
    SlowDns,
    ads_bench,
    cluster_json,
    cluster_route_json,
    listener_json,
    reply_route_json,
    secret_json,
    snapshot_of,
)
from support.ports import free_port, free_ports
from support.waiting import BUSY_SECONDS

pytestmark = pytest.mark.envoy


@pytest.fixture
async def bench(short_path: Path) -> AsyncIterator[AdsBench]:
    async with ads_bench(short_path, patience=Patience(removal_seconds=0.2)) as made:
        yield made


@pytest.fixture
async def echo_port() -> AsyncIterator[int]:
    """A provider that answers with the key it was sent."""

    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=request.headers.get("x-api-key", "none"))

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield runner.addresses[0][1]
    await runner.cleanup()


async def fetch(port: int) -> tuple[int, str]:
    """GET / on the gateway; a listener that was just acknowledged may still be warming for an instant."""
    async with aiohttp.ClientSession() as session, asyncio.timeout(BUSY_SECONDS):
        while True:
            try:
                async with session.get(f"http://127.0.0.1:{port}/") as response:
                    return response.status, await response.text()
            except aiohttp.ClientConnectorError:
                await asyncio.sleep(0.01)


async def eventually(done: Callable[[], Awaitable[bool]]) -> None:
    """Asks Envoy until it says yes."""
    async with asyncio.timeout(BUSY_SECONDS):
        while not await done():  # noqa: ASYNC110 (another process's state)
            await asyncio.sleep(0.01)


async def test_a_snapshot_and_an_update_are_served(bench: AdsBench) -> None:
    port = free_port()
    await bench.apply(
        snapshot_of({LISTENER: (listener_json("l", port, "r"),), ROUTE: (reply_route_json("r", "first"),)})
    )
    assert await fetch(port) == (200, "first")
    await bench.apply(
        snapshot_of({LISTENER: (listener_json("l", port, "r"),), ROUTE: (reply_route_json("r", "second"),)})
    )
    assert await fetch(port) == (200, "second")
    assert await bench.admin.is_live()


async def test_an_empty_snapshot_makes_envoy_live(bench: AdsBench) -> None:
    await bench.apply(EMPTY)
    await eventually(bench.admin.is_live)


async def test_a_listener_may_be_renamed_on_its_port(bench: AdsBench) -> None:
    port = free_port()
    for name in ("a", "b"):
        routes = (reply_route_json(f"r-{name}", name),)
        await bench.apply(snapshot_of({LISTENER: (listener_json(name, port, f"r-{name}"),), ROUTE: routes}))

    async def serves_b() -> bool:
        return await fetch(port) == (200, "b")

    await eventually(serves_b)
    assert bench.observer.rejections == []


@pytest.fixture
async def slow_dns_port() -> AsyncIterator[int]:
    server = SlowDns(delay_seconds=0.1)
    yield await server.start()
    server.close()


async def test_switching_backends_under_load_fails_no_request(
    bench: AdsBench, echo_port: int, slow_dns_port: int
) -> None:
    port = free_port()
    stop, answers = asyncio.Event(), list[tuple[int, str]]()

    async def load(session: aiohttp.ClientSession) -> None:
        while not stop.is_set():
            async with session.get(f"http://127.0.0.1:{port}/") as response:
                answers.append((response.status, await response.text()))

    def target(generation: int) -> Mapping[str, tuple[Mapping[str, Any], ...]]:
        name = f"c{generation}"
        return {
            LISTENER: (listener_json("l", port, "r"),),
            ROUTE: (cluster_route_json("r", name),),
            # A name that has to be resolved and a secret that has to arrive: both must be there before the route.
            CLUSTER: (
                cluster_json(
                    name, echo_port, secret=f"s{generation}", host=f"p{generation}.test", resolver_port=slow_dns_port
                ),
            ),
            SECRET: (secret_json(f"s{generation}", f"key{generation}"),),
        }

    await bench.apply(snapshot_of(target(0)))
    assert await fetch(port) == (200, "key0")
    async with aiohttp.ClientSession() as session:
        tasks = [asyncio.create_task(load(session)) for _ in range(4)]
        for generation in range(1, 6):
            await bench.apply(snapshot_of(target(generation)))
        stop.set()
        await asyncio.gather(*tasks)
    assert {status for status, _ in answers} == {200}
    assert await fetch(port) == (200, "key5")

    async def old_clusters_are_gone() -> bool:
        name = "cluster_manager.active_clusters"
        return (await bench.admin.stats(name))[name] == 2  # its own and the controller's

    await eventually(old_clusters_are_gone)


async def test_a_name_that_does_not_resolve_delays_only_its_own_cluster(short_path: Path, echo_port: int) -> None:
    port = free_port()
    silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    silent.bind(("127.0.0.1", 0))
    with silent:
        dead = cluster_json("dead", 1, host="dead.test", resolver_port=silent.getsockname()[1])
        async with ads_bench(short_path, patience=Patience(warming_seconds=0.1)) as bench:
            listeners = (listener_json("l", port, "r"),)
            await bench.apply(snapshot_of({LISTENER: listeners, ROUTE: (reply_route_json("r", "old"),)}))
            clusters = (dead, cluster_json("c", echo_port))
            bench.ads.publish(
                snapshot_of({LISTENER: listeners, ROUTE: (cluster_route_json("r", "c"),), CLUSTER: clusters})
            )

            async def serves_the_change() -> bool:
                return await fetch(port) == (200, "none")

            await eventually(serves_the_change)
            name = "cluster_manager.warming_clusters"
            assert (await bench.admin.stats(name))[name] == 1


async def test_a_secret_rotates_without_touching_its_cluster(bench: AdsBench, echo_port: int) -> None:
    port = free_port()
    fixed = {
        LISTENER: (listener_json("l", port, "r"),),
        ROUTE: (cluster_route_json("r", "c"),),
        CLUSTER: (cluster_json("c", echo_port, secret="s"),),
    }
    for value in ("one", "two"):
        await bench.apply(snapshot_of({**fixed, SECRET: (secret_json("s", value),)}))
        assert await fetch(port) == (200, value)
    assert (await bench.admin.stats("cluster_manager.cluster_(added|modified)"))[
        "cluster_manager.cluster_modified"
    ] == 0


async def test_a_refused_cluster_is_named_and_the_rest_is_kept(bench: AdsBench, echo_port: int) -> None:
    port = free_port()
    listeners = (listener_json("l", port, "r"),)
    good = snapshot_of(
        {LISTENER: listeners, ROUTE: (cluster_route_json("r", "a"),), CLUSTER: (cluster_json("a", echo_port),)}
    )
    await bench.apply(good)
    # Envoy refuses a static cluster whose address is a name.
    broken = snapshot_of(
        {
            LISTENER: listeners,
            ROUTE: (cluster_route_json("r", "b"),),
            CLUSTER: (cluster_json("a", echo_port), cluster_json("b", echo_port, host="not-an-address")),
        }
    )
    bench.ads.publish(broken)
    await bench.observer.until(lambda seen: bool(seen.rejections))
    (rejected,) = bench.observer.rejections
    assert rejected.names == ("b",)
    assert "not-an-address" in rejected.message
    refused = {Reference(CLUSTER, "b"): frozenset(rejected.versions.values())}
    await bench.apply(withhold(broken, good, refused))
    assert await fetch(port) == (200, "none")


def _broken(name: str) -> Mapping[str, Any]:
    """Routes that Envoy refuses, without a word about whose the expression is."""
    routes = [{"match": {"safe_regex": {"regex": "("}}, "direct_response": {"status": 200}}]
    return {"name": name, "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]}


async def test_routes_that_envoy_refuses_hold_their_listener_back_and_nothing_else(bench: AdsBench) -> None:
    port, other, alone = free_ports(3)
    listeners = (listener_json("l", port, "r"), listener_json("m", other, "s"))
    store = SnapshotStore()
    before = store.want(
        snapshot_of({LISTENER: listeners, ROUTE: (reply_route_json("r", "old"), reply_route_json("s", "old"))})
    )
    await bench.apply(before)
    store.applied(before.version)
    changed = [{**each, "per_connection_buffer_limit_bytes": 99_999} for each in listeners]
    routes = (_broken("r"), _broken("t"), reply_route_json("s", "new"))
    wanted = snapshot_of({LISTENER: (*changed, listener_json("n", alone, "t")), ROUTE: routes})
    bench.ads.publish(store.want(wanted))
    told = 0
    while len(store.refusals) < 2:
        await bench.observer.until(lambda seen, told=told: len(seen.rejections) > told)
        served = store.refused(bench.observer.rejections[told])
        told += 1
        assert served is not None
        bench.ads.publish(served)
    assert {str(refusal.reference.name) for refusal in store.refusals} == {"r", "t"}
    served = store.published
    assert served is not None
    versions = {name: each.version for name, each in served.resources[LISTENER].items()}
    assert versions["l"] == before.resources[LISTENER]["l"].version
    assert versions["m"] == wanted.resources[LISTENER]["m"].version
    await bench.observer.until(lambda seen: served.version in seen.applied_versions)
    assert (await fetch(port), await fetch(other)) == ((200, "old"), (200, "new"))
    assert (await fetch(alone))[0] == 404, "there are no routes that it had before"
    more = (*listeners, listener_json("n", alone, "t"))
    await bench.apply(snapshot_of({LISTENER: more, ROUTE: (reply_route_json("r", "r"), reply_route_json("s", "s"))}))


async def test_a_port_in_use_is_refused_with_envoys_words_and_other_listeners_serve(bench: AdsBench) -> None:
    port = free_port()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        bench.ads.publish(
            snapshot_of(
                {
                    LISTENER: (listener_json("good", port, "r"), listener_json("bad", taken.getsockname()[1], "r")),
                    ROUTE: (reply_route_json("r", "served"),),
                }
            )
        )
        await bench.observer.until(lambda seen: bool(seen.rejections))
        assert bench.observer.rejections[0].names == ("bad",)
        assert "Address already in use" in bench.observer.rejections[0].message
        assert await fetch(port) == (200, "served")


async def test_a_restarted_envoy_gets_everything_again(bench: AdsBench) -> None:
    port = free_port()
    snapshot = snapshot_of({LISTENER: (listener_json("l", port, "r"),), ROUTE: (reply_route_json("r", "hello"),)})
    await bench.apply(snapshot)
    os.kill(bench.envoy.pid, signal.SIGKILL)
    await bench.observer.until(lambda seen: seen.applied_versions.count(snapshot.version) == 2)
    assert await fetch(port) == (200, "hello")
    assert bench.envoy.restarts == 1
