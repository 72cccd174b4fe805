"""Writes the objects that Envoy Gateway needs of ours: by the leader, by server-side apply, and only what differs.

    offer(wanted) ──► what is not there as it should be (`objects.missing`) ──► apply, one after the other

What fails comes back after a wait; newest wins. What somebody deletes or edits is written again; what is changed on its
way in (by a webhook) is not fought over. What is to go, the API server collects with its owner.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from headgate.compiler.envoy_gateway.objects import Wanted, missing, there
from headgate.compiler.resources.kinds import BY_NAME
from headgate.compiler.resources.metadata import Resource
from headgate.compiler.world import World
from headgate.controller.sources.kubernetes.client import APPLY, ApiError, ApiServer, UnreachableError
from headgate.controller.sources.kubernetes.discovery import Discovery
from headgate.runtime.logging import event_log
from headgate.runtime.pauses import retry_seconds, wait_at_most

log = event_log("controller")

FIELD_MANAGER: Final = "headgate-objects"
WORKERS: Final = 8
RETRY_SECONDS: Final = (0.5, 30.0)


@dataclass(slots=True)
class WriteCounts:
    """What the writer did, for metrics and tests."""

    writes: int = 0
    failures: int = 0


@dataclass(frozen=True, slots=True)
class _Written:
    """An object that was applied, and what was in its place then."""

    value: object
    before: Resource | None

    def holds(self, wanted: Wanted, now: Resource | None) -> bool:
        """Whether to apply it again would be to say the same to the same."""
        return self.value == wanted.value and self.before is now


class ObjectWriter:
    """See the module. `run` until it is cancelled."""

    def __init__(self, api: ApiServer, discovery: Discovery, *, may_write: Callable[[], bool]) -> None:
        self.counts = WriteCounts()
        self._api = api
        self._discovery = discovery
        self._may_write = may_write
        self._wanted: tuple[Wanted, ...] = ()
        self._world = World()
        self._changed = asyncio.Event()
        self._writing = False
        self._written: dict[tuple[str, str], _Written] = {}
        """What the watch has not told of yet, as it was applied: that is a moment later, or never."""

    def offer(self, world: World, wanted: Sequence[Wanted]) -> None:
        """These should be there; `world` is what is."""
        self._world, self._wanted = world, tuple(wanted)
        self._changed.set()

    def recheck(self) -> None:
        """Compares again: this replica may have become the leader."""
        self._written.clear()
        self._changed.set()

    @property
    def idle(self) -> bool:
        """Whether it has looked at all that it was told."""
        return not self._changed.is_set() and not self._writing

    async def run(self) -> None:
        """Writes until it is cancelled."""
        failures = 0
        while True:
            await self._changed.wait()
            self._changed.clear()
            self._writing = True
            done = await self._write_all()
            self._writing = False
            if done:
                failures = 0
                continue
            failures += 1
            await wait_at_most(self._changed, retry_seconds(failures, *RETRY_SECONDS))
            self._changed.set()

    async def _write_all(self) -> bool:
        """Whether everything is as it should be, as far as it is for us to write."""
        if not self._may_write():
            return True
        world = self._world
        due = await asyncio.to_thread(missing, world, self._wanted)
        names = {_name(each) for each in due}
        self._written = {name: written for name, written in self._written.items() if name in names}
        pairs = [(each, there(world, each)) for each in due]
        pairs = [
            pair for pair in pairs if not (written := self._written.get(_name(pair[0]))) or not written.holds(*pair)
        ]
        # filters first: a route that refers to one that is not there is refused by Envoy Gateway until it is
        filters = [pair for pair in pairs if pair[0].kind != "HTTPRoute"]
        routes = [pair for pair in pairs if pair[0].kind == "HTTPRoute"]
        done = [await self._apply_all(part) for part in (filters, routes)]
        return all(done)

    async def _apply_all(self, due: Sequence[tuple[Wanted, Resource | None]]) -> bool:
        slots = asyncio.Semaphore(WORKERS)

        async def one(wanted: Wanted, before: Resource | None) -> bool:
            async with slots:
                return await self._apply(wanted, before)

        return all(await asyncio.gather(*(one(*each) for each in due)))

    async def _apply(self, wanted: Wanted, before: Resource | None) -> bool:
        group = str(wanted.value["apiVersion"]).rpartition("/")[0]
        try:
            served = await self._discovery.find(BY_NAME[group, wanted.kind])
            if served is None or not self._may_write():
                return served is not None
            await self._api.request(
                "PATCH",
                served.path(wanted.name.namespace, wanted.name.name),
                query={"fieldManager": FIELD_MANAGER, "force": "true"},
                body={**wanted.value, "apiVersion": served.api_version},
                content_type=APPLY,
            )
        except (ApiError, UnreachableError) as error:
            self.counts.failures += 1
            log.warning("object_not_written", object=f"{wanted.kind} {wanted.name}", error=str(error))
            return False
        self.counts.writes += 1
        self._written[_name(wanted)] = _Written(wanted.value, before)
        log.info("object_written", object=f"{wanted.kind} {wanted.name}")
        return True


def _name(wanted: Wanted) -> tuple[str, str]:
    return wanted.kind, str(wanted.name)
