"""Fixtures of the tests that need a Kubernetes API; how to use them is in `README.md` here.

`make cluster` runs these tests with an API server and Envoy Gateway of its own. A plain `pytest` skips them and says
so, since it has neither; with KUBECONFIG set, those that need only an API server run there.
"""

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest
from support.ai_on_envoy_gateway import AiStage, Installation, install
from support.envoy_gateway import EnvoyGateway, EnvoyGatewayOptions, start_envoy_gateway
from support.kube import (
    MISSING,
    Access,
    Kube,
    Object,
    access_from_kubeconfig,
    crds_served,
    install_crds,
    read_crds,
    tools_directory,
    unique_name,
)
from support.kube_seed import kube_with_gateway_crds

T = TypeVar("T")
GATEWAY_CRDS = ("gateways.gateway.networking.k8s.io", "backends.gateway.envoyproxy.io")
WITHOUT_ENVOY_GATEWAY = "needs Envoy Gateway in a network of its own: run `make cluster` without KUBECONFIG"
MONITORING_CRDS = tuple(
    f"{name}.monitoring.coreos.com" for name in ("podmonitors", "prometheusrules", "servicemonitors")
)
OUR_CRDS = Path(__file__).parents[2] / "manifests" / "crds"


@pytest.fixture(scope="session")
def kube_access() -> Iterator[Access]:
    """An administrator's access to the API server of this run."""
    if configured := os.environ.get("KUBECONFIG"):
        yield access_from_kubeconfig(Path(configured))
        return
    if (tools := tools_directory()) is None:
        pytest.skip(MISSING)
    crds = (OUR_CRDS, tools / "monitoring-crds.json")
    with tempfile.TemporaryDirectory(prefix="hg-") as folder, kube_with_gateway_crds(Path(folder), *crds) as server:
        yield server.access


@pytest.fixture
async def kube(kube_access: Access) -> AsyncIterator[Kube]:
    """A client with all rights."""
    async with Kube(kube_access) as client:
        yield client


@pytest.fixture
async def namespace(kube: Kube) -> AsyncIterator[str]:
    """A namespace of the test's own. It is deleted afterwards, but not waited for: that takes seconds."""
    name = unique_name("test")
    item = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    await kube.create(item)
    yield name
    await kube.delete(item)


@pytest.fixture(scope="session")
def gateway_crds(kube_access: Access) -> None:
    """The CRDs of Gateway API and Envoy Gateway; a cluster of KUBECONFIG must have them."""
    if tools := tools_directory():
        _elsewhere(_served(kube_access, read_crds(tools / "crds.json")))
    elif missing := _elsewhere(_missing(kube_access, GATEWAY_CRDS)):
        pytest.skip(f"the cluster of KUBECONFIG lacks {', '.join(missing)}: install Envoy Gateway there")


@pytest.fixture(scope="session")
def monitoring_crds(kube_access: Access) -> None:
    """Those of the Prometheus operator; a cluster of KUBECONFIG must have them."""
    if tools := tools_directory():
        _elsewhere(_served(kube_access, read_crds(tools / "monitoring-crds.json")))
    elif missing := _elsewhere(_missing(kube_access, MONITORING_CRDS)):
        pytest.skip(
            f"the cluster of KUBECONFIG lacks {', '.join(missing)}: install the Prometheus operator's CRDs there"
        )


@pytest.fixture(scope="session")
def our_crds(kube_access: Access) -> None:
    """Those of `manifests/crds`."""
    crds = read_crds(OUR_CRDS)
    _elsewhere(_served(kube_access, crds) if tools_directory() else _applied(kube_access, crds))


async def _applied(access: Access, crds: Sequence[Object]) -> None:
    async with Kube(access) as client:
        await install_crds(client, crds)


async def _served(access: Access, crds: Sequence[Object]) -> None:
    async with Kube(access) as client:
        await crds_served(client, crds)


async def _missing(access: Access, names: Sequence[str]) -> list[str]:
    """The CRDs that a cluster does not have."""
    async with Kube(access) as client:
        crd = "apiextensions.k8s.io/v1", "CustomResourceDefinition"
        return [name for name in names if await client.find(*crd, name) is None]


def _elsewhere(work: Coroutine[None, None, T]) -> T:
    """Runs something in another thread: that of the tests has an event loop."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


@pytest.fixture
async def run_envoy_gateway(
    kube: Kube, gateway_crds: None, short_path: Path
) -> AsyncIterator[Callable[..., Awaitable[EnvoyGateway]]]:
    """Starts Envoy Gateway (one at a time); arguments as of `EnvoyGatewayOptions`; all stop at the end."""
    if tools_directory() is None:
        pytest.skip(WITHOUT_ENVOY_GATEWAY)
    started: list[EnvoyGateway] = []

    async def start(**options: Any) -> EnvoyGateway:
        directory = short_path / f"eg{len(started)}"
        directory.mkdir()
        started.append(await start_envoy_gateway(kube, directory, EnvoyGatewayOptions(**options)))
        return started[-1]

    yield start
    for gateway in started:
        await asyncio.to_thread(gateway.close)


@pytest.fixture
async def envoy_gateway(run_envoy_gateway: Callable[..., Awaitable[EnvoyGateway]]) -> EnvoyGateway:
    """Envoy Gateway without an extension server."""
    return await run_envoy_gateway()


@pytest.fixture
def make_stage(
    kube: Kube,
    namespace: str,
    our_crds: None,
    run_envoy_gateway: Callable[..., Awaitable[EnvoyGateway]],
    short_path: Path,
) -> Callable[..., AiStage]:
    """A stage that may do with its installation what it likes; arguments as of `AiStage` behind the folder."""
    (directory := short_path / "stage").mkdir()
    return partial(AiStage, kube, namespace, run_envoy_gateway, directory)


@pytest.fixture(scope="module")
def installation(kube_access: Access, gateway_crds: None, our_crds: None) -> Iterator[Installation]:
    """Of a controller that watches everything and has no options. The module's other tests have no Envoy Gateway."""
    if tools_directory() is None:
        pytest.skip(WITHOUT_ENVOY_GATEWAY)
    with (
        tempfile.TemporaryDirectory(prefix="hg-") as directory,
        closing(_elsewhere(_installed(kube_access, Path(directory)))) as made,
    ):
        yield made


async def _installed(access: Access, directory: Path) -> Installation:
    async def run_envoy_gateway(**options: Any) -> EnvoyGateway:
        (folder := directory / "eg").mkdir()
        return await start_envoy_gateway(kube, folder, EnvoyGatewayOptions(**options))

    async with Kube(access) as kube:
        return await install(access, directory, run_envoy_gateway)


@pytest.fixture
def share_stage(kube: Kube, namespace: str, installation: Installation, short_path: Path) -> Callable[..., AiStage]:
    """A stage on the module's installation, which it leaves as it is."""
    (directory := short_path / "stage").mkdir()
    return partial(AiStage, kube, namespace, installation, directory)
