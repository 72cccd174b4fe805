"""The world as it is read from a real API server."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from headgate.compiler.resources.kinds import BY_NAME
from headgate.controller.secret_scope import SecretScope
from headgate.controller.sources.kubernetes.client import ApiServer, KubernetesClient, connect
from headgate.controller.sources.kubernetes.source import KubernetesSource, Scope
from support import waiting
from support.kube import (
    Access,
    ApiError,
    Kube,
    KubeProcess,
    Object,
    access_from_kubeconfig,
    install_crds,
    reference,
    tools_directory,
    unique_name,
)
from support.wandering_port import WanderingPort

SECRETS = (BY_NAME["", "Secret"],)
CONFIG_MAPS = (BY_NAME["", "ConfigMap"],)


@pytest.fixture
async def api(kube_access: Access) -> AsyncIterator[KubernetesClient]:
    client = await connect(kube_access.kubeconfig)
    yield client
    await client.close()


@asynccontextmanager
async def reading(api: ApiServer, scope: Scope, **options: Any) -> AsyncGenerator[KubernetesSource]:
    source = KubernetesSource(api, scope, **options)
    source.start()
    try:
        async with asyncio.timeout(20):
            await source.synced()
        yield source
    finally:
        await source.stop()


async def until(source: KubernetesSource, condition: Any, seconds: float = 10.0) -> None:
    """Looks again after every change."""
    async with asyncio.timeout(seconds), aclosing(source.changes()) as changes:
        while not condition():
            await anext(changes)


def config_map(namespace: str, name: str, value: str) -> Object:
    return {**reference("v1", "ConfigMap", name, namespace), "data": {"value": value}}


def values(source: KubernetesSource) -> dict[str, str]:
    found = source.view().world.config_maps
    return {name.name: each.data["value"] for name, each in found.items() if "value" in each.data}


async def test_a_storm_of_changes_ends_with_what_is_there(api: KubernetesClient, kube: Kube, namespace: str) -> None:
    """2,000 objects and 200 changes a second for five seconds: nothing is lost, and it keeps up."""
    count, rate, seconds = 2_000, 200, 5
    gate = asyncio.Semaphore(32)

    async def send(number: int, value: str) -> None:
        async with gate:
            await kube.request(
                "PATCH",
                f"/api/v1/namespaces/{namespace}/configmaps/c{number}",
                config_map(namespace, f"c{number}", value),
                content_type="application/apply-patch+yaml",
                query={"fieldManager": "storm", "force": "true"},
            )

    await asyncio.gather(*(send(number, "0") for number in range(count)))
    async with reading(api, Scope(namespaces=(namespace,)), kinds=CONFIG_MAPS) as source:
        assert len(values(source)) == count
        started = time.monotonic()
        writes: list[asyncio.Task[None]] = []
        for change in range(rate * seconds):
            await asyncio.sleep(max(0.0, started + change / rate - time.monotonic()))
            writes.append(asyncio.create_task(send(change * 7 % count, f"{change}")))
        await asyncio.gather(*writes)
        written = time.monotonic()
        wanted = {f"c{number}": "0" for number in range(count)}
        wanted |= {f"c{change * 7 % count}": f"{change}" for change in range(rate * seconds)}
        await until(source, lambda: values(source) == wanted, seconds=5.0)
        print(f"{rate * seconds} changes in {written - started:.1f} s, seen {time.monotonic() - written:.3f} s later")
        (state,) = source.states()
        assert (state.lists, state.watches) == (1, 1)


class LateApi:
    """The real API, as it is to somebody whose watches end after a second, and who comes back too late."""

    def __init__(self, api: KubernetesClient, old_version: str) -> None:
        self._api = api
        self._old_version = old_version
        self.request = api.request

    async def stream(self, path: str, query: Mapping[str, str]) -> AsyncGenerator[bytes]:
        late = {"resourceVersion": self._old_version} if "resourceVersion" in query else {}
        async with aclosing(self._api.stream(path, {**query, **late, "timeoutSeconds": "1"})) as lines:
            async for line in lines:
                yield line


async def test_an_expired_watch_is_a_new_list(kube_access: Access, tmp_path: Path) -> None:
    """On an API server that forgets at once, and that streams no lists: they come in pages."""
    if tools_directory() is None:
        pytest.skip("needs an API server of its own: run `make cluster` without KUBECONFIG")
    with KubeProcess(tmp_path, "--watch-cache=false", "--etcd-compaction-interval=500ms") as server:
        api = await connect(server.access.kubeconfig)
        async with Kube(server.access) as kube:
            created = await kube.create(config_map("default", "kept", "1"))
            old = created["metadata"]["resourceVersion"]
            await _forgotten(kube, old)
            for number in range(3):
                await kube.create(config_map("default", f"c{number}", "1"))
            async with reading(LateApi(api, old), Scope(), kinds=CONFIG_MAPS) as source:
                (state,) = source.states()
                await kube.delete(config_map("default", "c1", "1"))
                await until(source, lambda: set(values(source)) == {"kept", "other", "c0", "c2"})
                await waiting.until(lambda: state.lists >= 2, "a second list")
                assert set(values(source)) == {"kept", "other", "c0", "c2"}
        await api.close()


async def _forgotten(kube: Kube, version: str) -> None:
    """Waits until no watch can go on from there."""
    async with asyncio.timeout(30):
        while True:
            await kube.apply(config_map("default", "other", f"{time.monotonic()}"))
            try:
                async with aclosing(
                    kube.watch("v1", "ConfigMap", resourceVersion=version, timeoutSeconds="1")
                ) as events:
                    if any([event.object.get("code") == 410 async for event in events]):
                        return
            except ApiError as error:
                if error.code == 410:
                    return
                raise


async def test_only_the_namespaces_that_are_asked_for_are_read(
    api: KubernetesClient, kube: Kube, namespace: str
) -> None:
    other = unique_name("other")
    await kube.create(reference("v1", "Namespace", other))
    for each in (namespace, other):
        await kube.create(config_map(each, "here", each))
    async with reading(api, Scope(namespaces=(namespace,))) as source:
        view = source.view().world
        assert {name.namespace for name in view.config_maps} == {namespace}
        assert {name.name for name in view.namespaces} == {namespace}
    await kube.delete(reference("v1", "Namespace", other))


async def test_secrets_are_read_only_where_they_are_named(
    api: KubernetesClient, kube: Kube, namespace: str, gateway_crds: None
) -> None:
    for name in ("named", "not-named"):
        await kube.create({**reference("v1", "Secret", name, namespace), "stringData": {"key": name}})
    listener = {"name": "https", "port": 443, "protocol": "HTTPS", "tls": {"certificateRefs": [{"name": "named"}]}}
    gateway = reference("gateway.networking.k8s.io/v1", "Gateway", "gateway", namespace)
    spec = {"gatewayClassName": "none", "listeners": [listener]}
    scope = Scope(namespaces=(namespace,), secrets=SecretScope.REFERENCED)
    async with reading(api, scope) as source:
        assert not source.view().world.secrets
        await kube.create({**gateway, "spec": spec})
        await until(source, lambda: [name.name for name in source.view().world.secrets] == ["named"])
        await kube.delete(gateway)
        await until(source, lambda: not source.view().world.secrets)


async def test_a_kind_is_read_once_its_crd_is_there_and_forgotten_with_it(kube_access: Access, tmp_path: Path) -> None:
    if (tools := tools_directory()) is None:
        pytest.skip("needs an API server of its own: run `make cluster` without KUBECONFIG")
    crds = json.loads((tools / "crds.json").read_text())
    crd = next(each for each in crds if each["metadata"]["name"] == "backends.gateway.envoyproxy.io")
    with KubeProcess(tmp_path) as server:
        api = await connect(server.access.kubeconfig)
        async with (
            Kube(server.access) as kube,
            reading(api, Scope(), kinds=(BY_NAME["gateway.envoyproxy.io", "Backend"],)) as source,
        ):
            await install_crds(kube, [crd])
            backend = reference("gateway.envoyproxy.io/v1alpha1", "Backend", "b", "default")
            await kube.create({**backend, "spec": {"endpoints": [{"fqdn": {"hostname": "a.example", "port": 443}}]}})
            await until(source, lambda: len(source.view().world.backends) == 1, seconds=20)
            await kube.delete(crd)
            await until(source, lambda: not source.view().world.backends, seconds=20)
        await api.close()


async def test_the_world_stays_while_the_api_server_restarts(kube_access: Access, tmp_path: Path) -> None:
    if tools_directory() is None:
        pytest.skip("needs an API server of its own: run `make cluster` without KUBECONFIG")
    tokens, kubeconfig = tmp_path / "fixed-tokens.csv", tmp_path / "fixed-kubeconfig"
    tokens.write_text('fixed,admin,admin,"system:masters"\n')
    directory = tmp_path / "server"
    directory.mkdir()

    def start() -> KubeProcess:
        return KubeProcess(directory, f"--token-auth-file={tokens}")

    async with WanderingPort() as address:
        kubeconfig.write_text(f"""{{apiVersion: v1, kind: Config, current-context: t,
clusters: [{{name: t, cluster: {{server: "https://127.0.0.1:{address.port}", insecure-skip-tls-verify: true}}}}],
users: [{{name: t, user: {{token: fixed}}}}], contexts: [{{name: t, context: {{cluster: t, user: t}}}}]}}""")
        server = await asyncio.to_thread(start)
        address.point_to(port_of(server))
        api = await connect(kubeconfig)
        async with Kube(Access(server.access.server, "fixed", server.access.ca)) as kube:
            await kube.create(config_map("default", "before", "1"))
        async with reading(api, Scope(), kinds=CONFIG_MAPS) as source:
            address.point_to(None)
            await asyncio.to_thread(server.close)
            (state,) = source.states()
            await waiting.until(lambda: bool(state.error), "the watch to break")
            assert values(source) == {"before": "1"}
            with await asyncio.to_thread(start) as server:
                async with Kube(Access(server.access.server, "fixed", server.access.ca)) as kube:
                    await kube.create(config_map("default", "after", "1"))
                    back = time.monotonic()
                    address.point_to(port_of(server))
                    await until(source, lambda: values(source) == {"before": "1", "after": "1"}, seconds=30)
                    print(f"up to date {time.monotonic() - back:.2f} s after the API server was back")
        await api.close()


def port_of(server: KubeProcess) -> int:
    return int(server.access.server.rpartition(":")[2])


class HeldApi:
    """The real API, where one kind's watches tell nothing after their list until the test says so."""

    def __init__(self, api: KubernetesClient, plural: str) -> None:
        self._api = api
        self._plural = plural
        self.told = asyncio.Event()
        self.request = api.request

    async def stream(self, path: str, query: Mapping[str, str]) -> AsyncGenerator[bytes]:
        async with aclosing(self._api.stream(path, query)) as lines:
            async for line in lines:
                yield line
                if path.endswith(self._plural) and b"k8s.io/initial-events-end" in line:
                    await self.told.wait()


async def test_what_is_written_first_is_in_the_world_first(
    api: KubernetesClient, kube: Kube, namespace: str, gateway_crds: None
) -> None:
    """A backend is never asked in the clear because the watch of its BackendTLSPolicy is behind."""
    held = HeldApi(api, "backendtlspolicies")
    kinds = (BY_NAME["gateway.envoyproxy.io", "Backend"], BY_NAME["gateway.networking.k8s.io", "BackendTLSPolicy"])
    async with reading(held, Scope(namespaces=(namespace,)), kinds=kinds) as source:
        target = {"group": "gateway.envoyproxy.io", "kind": "Backend", "name": "provider"}
        validation = {"wellKnownCACertificates": "System", "hostname": "provider.example"}
        policy = reference("gateway.networking.k8s.io/v1", "BackendTLSPolicy", "tls", namespace)
        await kube.create({**policy, "spec": {"targetRefs": [target], "validation": validation}})
        backend = reference("gateway.envoyproxy.io/v1alpha1", "Backend", "provider", namespace)
        endpoint = {"fqdn": {"hostname": "provider.example", "port": 443}}
        await kube.create({**backend, "spec": {"endpoints": [endpoint]}})
        await waiting.until(lambda: bool(source.world.held()), "the backend to be seen")
        assert not source.view().world.backends
        held.told.set()
        await until(source, lambda: bool(source.view().world.backends))
        assert source.view().world.backend_tls_policies


async def test_an_account_without_rights_is_told_so(kube: Kube, kube_access: Access, tmp_path: Path) -> None:
    namespace = unique_name("weak")
    await kube.create(reference("v1", "Namespace", namespace))
    await kube.create(reference("v1", "ServiceAccount", "weak", namespace))
    token = await kube.service_account_token(namespace, "weak")
    text = kube_access.kubeconfig.read_text()
    weak = tmp_path / "kubeconfig"
    weak.write_text(text.replace(access_from_kubeconfig(kube_access.kubeconfig).token, token))
    api = await connect(weak)
    source = KubernetesSource(api, Scope(), kinds=SECRETS)
    source.start()
    await waiting.until(lambda: "secrets is forbidden" in " ".join(source.missing()))
    await source.stop()
    await api.close()
    await kube.delete(reference("v1", "Namespace", namespace))
