"""A cluster's objects for the commands that look: read once, without Secrets that nothing names, and never written."""

import argparse
import asyncio
import logging
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from headgate.cli.offline import Configuration, offline_options
from headgate.compiler.options import CONTROLLER_NAME, Mode
from headgate.compiler.resources.kinds import KINDS
from headgate.compiler.resources.metadata import Key
from headgate.compiler.world import World
from headgate.runtime.logging import ROOT

if TYPE_CHECKING:
    from headgate.controller.sources.kubernetes.client import KubernetesClient
    from headgate.controller.sources.kubernetes.source import KubernetesSource

SYNC_SECONDS_MAX: Final = 60.0
"""For the whole look."""
ASKED_SECONDS: Final = 0.05
"""How often it is looked whether what is missing may be read at all."""
KUBECONFIG: Final = Path("~/.kube/config")
"""Where `kubectl` looks where nothing else is said."""
_VALUES: Final = frozenset({"Secret", "ConfigMap"})


class ClusterError(Exception):
    """Why a cluster cannot be read, in one line for the user."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """What a cluster holds."""

    configuration: Configuration
    statuses: Mapping[Key, Mapping[str, object]]
    """What the API server shows, by object."""


def add_cluster(parser: argparse.ArgumentParser) -> None:
    """The options that name a cluster."""
    group = parser.add_argument_group("a cluster instead of PATH")
    group.add_argument("--kubeconfig", type=Path, metavar="FILE", help="as kubectl has it")
    group.add_argument("--context", default="", help="of the kubeconfig; read the cluster even without --kubeconfig")
    group.add_argument("-n", "--namespace", action="append", default=[], help="only this one; may be repeated")
    group.add_argument("--controller-name", default=CONTROLLER_NAME, help="of GatewayClasses (default %(default)s)")


def names_cluster(options: argparse.Namespace) -> bool:
    """Whether the command line asks for a cluster."""
    return bool(options.kubeconfig or options.context)


def read_cluster(options: argparse.Namespace, *, values: bool = True) -> Cluster:
    """Reads once; `values` also Secrets and ConfigMaps that objects name. Raises ClusterError."""
    return asyncio.run(_read(options, values=values))


async def _read(options: argparse.Namespace, *, values: bool) -> Cluster:
    # Imported here: the commands that read files need no Kubernetes client.
    from headgate.controller.secret_scope import SecretScope
    from headgate.controller.sources.kubernetes.client import AccessError, connect
    from headgate.controller.sources.kubernetes.source import KubernetesSource, Scope

    # What goes wrong is said by the command, in a line.
    logging.getLogger(ROOT).addHandler(logging.NullHandler())
    try:
        client = await connect(_kubeconfig(options.kubeconfig), options.context)
    except AccessError as error:
        raise ClusterError(str(error)) from None
    kinds = tuple(kind for kind in KINDS if values or kind.name not in _VALUES)
    scope = Scope(namespaces=tuple(options.namespace), secrets=SecretScope.REFERENCED)
    source = KubernetesSource(client, scope, kinds=kinds)
    try:
        await _greet(client)
        source.start()
        await _synced(source)
        return _looked(source, options.controller_name)
    finally:
        await source.stop()
        await client.close()


async def _greet(client: "KubernetesClient") -> None:
    """One question that whoever has an account may ask, before all others: whether it answers, and knows us."""
    from headgate.controller.sources.kubernetes.client import ApiError, UnreachableError

    try:
        await client.request("GET", "/api")
    except UnreachableError as error:
        raise ClusterError(f"the API server {client.server} cannot be reached: {error}") from None
    except ApiError as error:
        hint = (
            "; the credential of the kubeconfig is wrong or has expired: log in again"
            if error.code in (401, 403)
            else ""
        )
        raise ClusterError(f"the API server {client.server} answers {error}{hint}") from None


async def _synced(source: "KubernetesSource") -> None:
    syncing = asyncio.create_task(source.synced())
    try:
        async with asyncio.timeout(SYNC_SECONDS_MAX):
            while not syncing.done():
                await asyncio.wait({syncing}, timeout=ASKED_SECONDS)
                _may_read(source)
    except TimeoutError:
        raise ClusterError(f"could not read all objects: {'; '.join(source.missing())}") from None
    finally:
        syncing.cancel()


def _may_read(source: "KubernetesSource") -> None:
    """Raises ClusterError once all that is missing is what we may not read."""
    missing = [state for state in source.states() if not state.synced.is_set()]
    if missing and all(state.denied for state in missing):
        what = ", ".join(sorted({f"{each.collection.kind} {each.collection.name}".strip() for each in missing}))
        raise ClusterError(
            f"not allowed to read {what}: {missing[0].error} (manifests/rbac has what the controller may read)"
        )


def _looked(source: "KubernetesSource", controller_name: str) -> Cluster:
    view = source.view()
    mode = mode_of(view.world, controller_name)
    if mode is Mode.ENVOY_GATEWAY:
        view = source.view(beside_envoy_gateway=True)
    options = replace(offline_options(), mode=mode, controller_name=controller_name)
    keys = [*(each.key for each in view.world.objects()), *view.world.rejected]
    found = {key: seen.decoded() for key in keys if (seen := source.world.seen(key)) is not None}
    return Cluster(Configuration(view.world, view.diagnostics, options), found)


def mode_of(world: World, controller_name: str) -> Mode:
    """Standalone where a class names our controller; else Envoy Gateway serves the Gateways."""
    names = {each.spec.controller_name for each in world.gateway_classes.values()}
    return Mode.STANDALONE if controller_name in names else Mode.ENVOY_GATEWAY


def _kubeconfig(given: Path | None) -> Path | None:
    if given is not None or os.environ.get("KUBECONFIG"):
        return given
    usual = KUBECONFIG.expanduser()
    with suppress(OSError):
        if usual.is_file():
            return usual
    return None
