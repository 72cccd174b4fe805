"""All collections that make the world: a reflector for each kind and namespace, and for each Secret that is named.

`changes()` tells that the world is another one; `view()` is the world. Kinds that the API server does not have are
empty, and are picked up once it has them.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from headgate.compiler.resources.kinds import KINDS, Kind
from headgate.compiler.resources.metadata import Key
from headgate.controller.secret_scope import SecretScope
from headgate.controller.sources.kubernetes.client import ApiServer
from headgate.controller.sources.kubernetes.discovery import Discovery
from headgate.controller.sources.kubernetes.reflector import RESYNC_SECONDS, Reflector, ReflectorState
from headgate.controller.sources.kubernetes.world import VALUES, KubernetesWorld, View
from headgate.runtime.logging import event_log

log = event_log("controller")

SELECTORS: Final[Mapping[str, str]] = {
    # Kinds of Secrets that other programs write in numbers and that no object of ours can mean.
    "Secret": "type!=helm.sh/release.v1,type!=kubernetes.io/service-account-token,type!=kubernetes.io/dockerconfigjson",
    # One in every namespace, for pods.
    "ConfigMap": "metadata.name!=kube-root-ca.crt",
}
NAMED_MAX: Final = 2_000
"""Secrets and ConfigMaps that are watched alone: a connection each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What is read."""

    namespaces: tuple[str, ...] = ()
    """Empty for all."""
    secrets: SecretScope = SecretScope.ALL


class KubernetesSource:
    """Runs the reflectors between `start` and `stop`."""

    def __init__(
        self, api: ApiServer, scope: Scope, *, kinds: Sequence[Kind] = KINDS, resync_seconds: float = RESYNC_SECONDS
    ) -> None:
        self.world = KubernetesWorld()
        self._api = api
        self._scope = scope
        self._kinds = {(kind.group, kind.name): kind for kind in kinds}
        self._resync_seconds = resync_seconds
        self._discovery = Discovery(api)
        self._changed = asyncio.Event()
        self._running: dict[Reflector, asyncio.Task[None]] = {}
        self._named: dict[Key, Reflector] = {}

    def start(self) -> None:
        """Starts reading."""
        for kind in self._kinds.values():
            if kind.name in VALUES and self._scope.secrets is SecretScope.REFERENCED:
                continue
            for namespace in self._scope.namespaces or ("",):
                self._start_collection(kind, namespace)

    async def stop(self) -> None:
        """Ends all watches."""
        tasks = tuple(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._running.clear()

    async def synced(self) -> None:
        """Waits until everything was read once, what objects name included."""
        while True:
            await asyncio.gather(*(reflector.state.synced.wait() for reflector in tuple(self._running)))
            if not self._follow_names():
                return

    def missing(self) -> tuple[str, ...]:
        """What was not read yet, and why."""
        return tuple(
            f"{state.collection.kind} {state.collection.namespace}: {state.error or 'no answer yet'}"
            for state in self.states()
            if not state.synced.is_set()
        )

    def states(self) -> tuple[ReflectorState, ...]:
        """How each reflector is doing."""
        return tuple(reflector.state for reflector in self._running)

    def changed(self) -> None:
        """The world is another one (called by reflectors)."""
        self._follow_names()
        self._changed.set()

    async def changes(self) -> AsyncGenerator[None]:
        """Yields after every change; several may be one."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            yield None

    def view(self) -> View:
        """The world now; may be called from another thread."""
        return self.world.view()

    def _start_collection(self, kind: Kind, namespace: str) -> None:
        if kind.namespaced:
            self._run(self._reflector(kind, namespace=namespace, field_selector=SELECTORS.get(kind.name, "")))
        elif kind.name == "Namespace" and namespace:
            self._run(self._reflector(kind, name=namespace))
        elif not any(each.state.collection.kind == kind.name for each in self._running):
            self._run(self._reflector(kind))

    def _follow_names(self) -> bool:
        """Watches what objects name, and stops watching what none names any more; whether anything new is watched."""
        if self._scope.secrets is not SecretScope.REFERENCED:
            return False
        namespaces = self._scope.namespaces
        wanted = {key for key in self.world.references() if not namespaces or key.namespace in namespaces}
        for key in self._named.keys() - wanted:
            reflector = self._named.pop(key)
            self._running.pop(reflector).cancel()
            reflector.state.synced.set()  # whoever waits for it waits for nothing
            self.world.drop(reflector.state.collection)
        new = sorted(wanted - self._named.keys())[: NAMED_MAX - len(self._named)]
        if len(self._named) + len(new) < len(wanted):
            log.error("too_many_secrets", wanted=len(wanted), watched=NAMED_MAX)
        for key in new:
            kind = self._kinds["", key.kind]
            self._named[key] = reflector = self._reflector(kind, namespace=key.namespace, name=key.name)
            self._run(reflector)
        return bool(new)

    def _reflector(self, kind: Kind, *, namespace: str = "", name: str = "", field_selector: str = "") -> Reflector:
        return Reflector(
            self._api,
            self._discovery,
            self,
            kind=kind,
            namespace=namespace,
            name=name,
            field_selector=field_selector,
            resync_seconds=self._resync_seconds,
        )

    def _run(self, reflector: Reflector) -> None:
        self._running[reflector] = asyncio.create_task(reflector.run(), name=str(reflector.state.collection))
