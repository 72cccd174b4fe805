"""All collections that make the world: a reflector for each kind and namespace, and for each Secret that is named.

`changes()` tells that the world is another one; `view()` is the world. Kinds that the API server does not have are
empty, and are picked up once it has them.

Kinds are watched apart, and nothing says whose watch is first to tell what happened. So that an object is never in
force without a policy that was written before it, a new one that policies may target is held back until they are read:

    new object ──► the watch of each kind of policy is past its version? ──yes──► in the world
                      └─no─► how far has it to be? (a list of the namespace) ──► until it is ──┘
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from headgate.compiler.resources.kinds import KINDS, POLICIES, Kind
from headgate.compiler.resources.metadata import Key
from headgate.controller.secret_scope import SecretScope
from headgate.controller.sources.kubernetes.client import ApiError, ApiServer, UnreachableError
from headgate.controller.sources.kubernetes.discovery import Discovery
from headgate.controller.sources.kubernetes.reflector import RESYNC_SECONDS, Reflector, ReflectorState
from headgate.controller.sources.kubernetes.watching import ProtocolError
from headgate.controller.sources.kubernetes.world import VALUES, KubernetesWorld, View, older
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
HELD_SECONDS_MAX: Final = 2.0
"""A new object is in the world by then, whatever could not be read of its policies."""


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
        self._api = api
        self._scope = scope
        self._kinds = {(kind.group, kind.name): kind for kind in kinds}
        names = frozenset(kind.name for kind in kinds)
        self.world = KubernetesWorld(held=[kind for kind, policies in POLICIES.items() if names.intersection(policies)])
        self._resync_seconds = resync_seconds
        self._discovery = Discovery(api)
        self._changed = asyncio.Event()
        self._running: dict[Reflector, asyncio.Task[None]] = {}
        self._named: dict[Key, Reflector] = {}
        self._awaited: set[Reflector] = set()
        """Of Secrets and ConfigMaps that were named a moment ago."""
        self._synced = False
        self._releasing: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Starts reading."""
        for kind in self._kinds.values():
            if kind.name in VALUES and self._scope.secrets is SecretScope.REFERENCED:
                continue
            for namespace in self._scope.namespaces or ("",):
                self._start_collection(kind, namespace)

    async def stop(self) -> None:
        """Ends all watches."""
        tasks = (*self._running.values(), *((self._releasing,) if self._releasing is not None else ()))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._running.clear()

    async def synced(self) -> None:
        """Waits until everything was read once, what objects name included."""
        while True:
            await asyncio.gather(*(reflector.state.synced.wait() for reflector in tuple(self._running)))
            if not self._follow_names():
                break
        self._synced = True
        await self._release()

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
        if not self.world.held() and not self._awaited:
            self._changed.set()
        elif self._synced and (self._releasing is None or self._releasing.done()):
            self._releasing = asyncio.create_task(self._release())

    async def changes(self) -> AsyncGenerator[None]:
        """Yields after every change; several may be one."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            yield None

    def view(self, *, beside_envoy_gateway: bool = False) -> View:
        """The world now; may be called from another thread."""
        return self.world.view(beside_envoy_gateway=beside_envoy_gateway)

    async def _release(self) -> None:
        """Has what is held in the world, once the policies before it are read, and tells of it with the Secrets that it
        names."""
        while (held := self.world.held()) or self._awaited:
            awaited, self._awaited = self._awaited, set()
            try:
                async with asyncio.timeout(HELD_SECONDS_MAX):
                    await self._policies_read(held)
                    await asyncio.gather(*(each.state.synced.wait() for each in awaited))
            except (ApiError, UnreachableError, ProtocolError, TimeoutError) as error:
                log.warning("not_read_in_time", error=str(error) or type(error).__name__)
            finally:
                self.world.release(held)
                self._changed.set()

    async def _policies_read(self, held: Mapping[Key, str]) -> None:
        newest: dict[tuple[str, str], str] = {}
        for key, version in held.items():
            for kind in POLICIES[key.kind]:
                known = newest.setdefault((kind, key.namespace), version)
                newest[kind, key.namespace] = version if older(known, version) else known
        reading = [
            asyncio.create_task(reflector.read_to(version, namespace))
            for (kind, namespace), version in newest.items()
            for reflector in self._running
            if reflector.state.collection.kind == kind and reflector.state.collection.namespace in ("", namespace)
        ]
        try:
            await asyncio.gather(*reading)
        finally:
            for each in reading:
                each.cancel()

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
        wanted = {
            key
            for key in self.world.references()
            if ("", key.kind) in self._kinds and (not namespaces or key.namespace in namespaces)
        }
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
            self._awaited.add(reflector)
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
