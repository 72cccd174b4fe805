"""A cluster's objects for the commands that look: read once, without Secrets that nothing names, and never written."""

import argparse
import asyncio
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

if TYPE_CHECKING:
    from headgate.controller.sources.kubernetes.source import KubernetesSource

SYNC_SECONDS_MAX: Final = 60.0
"""For the whole look."""
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

    try:
        client = await connect(_kubeconfig(options.kubeconfig), options.context)
    except AccessError as error:
        raise ClusterError(str(error)) from None
    kinds = tuple(kind for kind in KINDS if values or kind.name not in _VALUES)
    scope = Scope(namespaces=tuple(options.namespace), secrets=SecretScope.REFERENCED)
    source = KubernetesSource(client, scope, kinds=kinds)
    try:
        source.start()
        await _synced(source)
        return _looked(source, options.controller_name)
    finally:
        await source.stop()
        await client.close()


async def _synced(source: "KubernetesSource") -> None:
    try:
        async with asyncio.timeout(SYNC_SECONDS_MAX):
            await source.synced()
    except TimeoutError:
        raise ClusterError(f"could not read all objects: {'; '.join(source.missing())}") from None


def _looked(source: "KubernetesSource", controller_name: str) -> Cluster:
    view = source.view()
    options = replace(offline_options(), mode=mode_of(view.world, controller_name), controller_name=controller_name)
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
