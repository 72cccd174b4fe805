"""In which order kinds that are watched apart come into the world."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
from headgate.compiler.resources.kinds import BY_NAME
from headgate.controller.secret_scope import SecretScope
from headgate.controller.sources.kubernetes import source as source_module
from headgate.controller.sources.kubernetes.client import UnreachableError
from headgate.controller.sources.kubernetes.source import KubernetesSource, Scope
from support.scripted_api import Object, ScriptedApi, Stream, added, initial_end
from support.waiting import BUSY_SECONDS, until

GATEWAY_API, ENVOY = "gateway.networking.k8s.io/v1", "gateway.envoyproxy.io/v1alpha1"
KINDS = (BY_NAME["gateway.envoyproxy.io", "Backend"], BY_NAME["gateway.networking.k8s.io", "BackendTLSPolicy"])
SERVED = {
    GATEWAY_API: {"BackendTLSPolicy": ("backendtlspolicies", True)},
    ENVOY: {"Backend": ("backends", True)},
    "aigateway.envoyproxy.io/v1beta1": {"BackendSecurityPolicy": ("backendsecuritypolicies", True)},
    "v1": {"Secret": ("secrets", True)},
}
NAMING = BY_NAME["aigateway.envoyproxy.io", "BackendSecurityPolicy"]
WHERE = {"namespace": "team", "resourceVersion": "8"}
NAMED: Object = {
    "apiVersion": "aigateway.envoyproxy.io/v1beta1",
    "kind": "BackendSecurityPolicy",
    "metadata": {"name": "key", "uid": "k", **WHERE},
    "spec": {"type": "APIKey", "apiKey": {"secretRef": {"name": "key"}}, "targetRefs": []},
}
"""Names a Secret."""


def backend(version: int, port: int = 443) -> Object:
    metadata = {"name": "provider", "namespace": "team", "uid": "b", "resourceVersion": str(version)}
    endpoint = {"fqdn": {"hostname": "provider.example", "port": port}}
    return {"apiVersion": ENVOY, "kind": "Backend", "metadata": metadata, "spec": {"endpoints": [endpoint]}}


def policy(version: int) -> Object:
    """Has the backend asked by TLS."""
    metadata = {"name": "tls", "namespace": "team", "uid": "p", "resourceVersion": str(version)}
    target = {"group": "gateway.envoyproxy.io", "kind": "Backend", "name": "provider"}
    validation = {"wellKnownCACertificates": "System", "hostname": "provider.example"}
    spec = {"targetRefs": [target], "validation": validation}
    return {"apiVersion": GATEWAY_API, "kind": "BackendTLSPolicy", "metadata": metadata, "spec": spec}


def listed(*items: Object) -> Object:
    return {"metadata": {"resourceVersion": "100"}, "items": list(items)}


@asynccontextmanager
async def reading(api: ScriptedApi, backends: Stream, policies: Stream) -> AsyncGenerator[KubernetesSource]:
    api.streams.extend((backends, policies))
    source = KubernetesSource(api, Scope(), kinds=KINDS)
    source.start()
    try:
        yield source
    finally:
        await source.stop()


def seen(source: KubernetesSource) -> tuple[int, int]:
    """How many backends and policies are in the world."""
    world = source.view().world
    return len(world.backends), len(world.backend_tls_policies)


async def test_a_new_backend_waits_for_the_policy_that_was_written_before_it() -> None:
    api, create, late = ScriptedApi(SERVED), asyncio.Event(), asyncio.Event()
    api.answers.append(listed(policy(7)))
    async with reading(
        api, [initial_end(5), create, added(backend(8))], [initial_end(5), late, added(policy(7))]
    ) as source:
        await asyncio.wait_for(source.synced(), BUSY_SECONDS)
        create.set()
        await api.asked(3)
        assert api.requests[2].path == f"/apis/{GATEWAY_API}/namespaces/team/backendtlspolicies"
        assert seen(source) == (0, 0)
        late.set()
        await until(lambda: seen(source)[0] == 1)
        assert seen(source) == (1, 1)


async def test_the_first_world_has_the_policies_that_were_written_before_its_backends() -> None:
    api, late = ScriptedApi(SERVED), asyncio.Event()
    api.answers.append(listed(policy(7)))
    async with reading(api, [added(backend(8)), initial_end(8)], [initial_end(5), late, added(policy(7))]) as source:
        first = asyncio.create_task(source.synced())
        await api.asked(3)
        assert not first.done()
        late.set()
        await asyncio.wait_for(first, BUSY_SECONDS)
        assert seen(source) == (1, 1)


async def test_nobody_is_asked_where_the_policies_are_known_to_be_newer() -> None:
    api, create = ScriptedApi(SERVED), asyncio.Event()
    async with reading(api, [initial_end(5), create, added(backend(8))], [initial_end(9)]) as source:
        await asyncio.wait_for(source.synced(), BUSY_SECONDS)
        create.set()
        await until(lambda: seen(source) == (1, 0))
    assert len(api.requests) == 2


async def test_what_is_changed_does_not_wait() -> None:
    api, change = ScriptedApi(SERVED), asyncio.Event()
    changed = {"type": "MODIFIED", "object": backend(12, port=8443)}
    async with reading(api, [added(backend(4)), initial_end(5), change, changed], [initial_end(5)]) as source:
        await asyncio.wait_for(source.synced(), BUSY_SECONDS)
        change.set()

        def ports() -> list[int]:
            (found,) = source.view().world.backends.values()
            return [each.fqdn.port for each in found.spec.endpoints if each.fqdn is not None]

        await until(lambda: ports() == [8443])
    assert len(api.requests) == 2


@pytest.mark.parametrize("answer", [UnreachableError("gone"), listed(policy(7)), {"metadata": "nonsense"}])
async def test_a_policy_that_cannot_be_read_holds_nothing_back_for_ever(
    answer: Object | Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_module, "HELD_SECONDS_MAX", 0.05)
    api, create = ScriptedApi(SERVED), asyncio.Event()
    api.answers.append(answer)
    async with reading(api, [initial_end(5), create, added(backend(8))], [initial_end(5)]) as source:
        await asyncio.wait_for(source.synced(), BUSY_SECONDS)
        create.set()
        await until(lambda: seen(source) == (1, 0))


async def test_a_backend_that_is_gone_meanwhile_is_not_waited_for() -> None:
    api, create, gone = ScriptedApi(SERVED), asyncio.Event(), asyncio.Event()
    api.answers.append(listed(policy(7)))
    removed = {"type": "DELETED", "object": backend(9)}
    async with reading(api, [initial_end(5), create, added(backend(8)), gone, removed], [initial_end(5)]) as source:
        await asyncio.wait_for(source.synced(), BUSY_SECONDS)
        create.set()
        await api.asked(3)
        gone.set()
        await until(lambda: not source.world.held())
        assert seen(source) == (0, 0)


async def test_what_names_a_secret_is_told_of_with_the_secret() -> None:
    """Else it would be refused for a moment, and its status say so."""
    secret: Object = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "key", "uid": "s", **WHERE}}
    api, create, late = ScriptedApi(SERVED), asyncio.Event(), asyncio.Event()
    api.streams.append([initial_end(5), create, added(NAMED)])
    api.streams.append([late, added(secret), initial_end(8)])
    source = KubernetesSource(api, Scope(secrets=SecretScope.REFERENCED), kinds=(NAMING, BY_NAME["", "Secret"]))
    source.start()
    try:
        await asyncio.wait_for(source.synced(), BUSY_SECONDS)
        told = asyncio.ensure_future(anext(source.changes()))
        create.set()
        await api.asked(2)
        assert not told.done()
        late.set()
        await asyncio.wait_for(told, BUSY_SECONDS)
        world = source.view().world
        assert (len(world.backend_security_policies), len(world.secrets)) == (1, 1)
    finally:
        await source.stop()


async def test_who_reads_no_secrets_looks_for_none_that_is_named(caplog: pytest.LogCaptureFixture) -> None:
    api = ScriptedApi(SERVED)
    api.streams.append([added(NAMED), initial_end(8)])
    source = KubernetesSource(api, Scope(secrets=SecretScope.REFERENCED), kinds=(NAMING,))
    source.start()
    try:
        await asyncio.wait_for(source.synced(), BUSY_SECONDS)
        assert len(source.view().world.backend_security_policies) == 1
    finally:
        await source.stop()
    assert not caplog.records
