"""What the API server serves: the version and the path of a kind, looked for again as long as it is not there."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import msgspec
from headgate.compiler.resources.kinds import Kind
from headgate.controller.sources.kubernetes.client import ApiError, ApiServer

_FRESH_SECONDS: Final = 2.0
"""Kinds of one group that look at the same time share an answer for this long."""


@dataclass(frozen=True, slots=True)
class Served:
    """A kind as the API server has it."""

    api_version: str
    plural: str
    namespaced: bool

    def path(self, namespace: str = "", name: str = "") -> str:
        """Of the collection, or of one object; without a namespace that of all namespaces."""
        root = f"/apis/{self.api_version}" if "/" in self.api_version else f"/api/{self.api_version}"
        scope = f"/namespaces/{namespace}" if self.namespaced and namespace else ""
        return f"{root}{scope}/{self.plural}" + (f"/{name}" if name else "")


class _Resource(msgspec.Struct):
    name: str
    kind: str
    namespaced: bool


class _Resources(msgspec.Struct):
    resources: list[_Resource]


class Discovery:
    """Asks once for each group and version, and again for what was not there."""

    def __init__(self, api: ApiServer) -> None:
        self._api = api
        self._known: dict[str, tuple[float, Mapping[str, Served]]] = {}
        self._lock = asyncio.Lock()

    async def find(self, kind: Kind) -> Served | None:
        """The first of the kind's versions that is served, or None. Raises ApiError, UnreachableError."""
        for version in kind.served:
            api_version = f"{kind.group}/{version}" if kind.group else version
            async with self._lock:
                served = (await self._resources(api_version, kind.name)).get(kind.name)
            if served is not None:
                return served
        return None

    def forget(self, served: Served) -> None:
        """Its path is not there any more."""
        self._known.pop(served.api_version, None)

    async def _resources(self, api_version: str, kind: str) -> Mapping[str, Served]:
        asked, known = self._known.get(api_version, (0.0, {}))
        if kind in known or (asked and time.monotonic() - asked < _FRESH_SECONDS):
            return known
        root = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
        try:
            found = msgspec.json.decode(await self._api.request("GET", root), type=_Resources).resources
        except ApiError as error:
            if error.code != 404:
                raise
            found = []
        known = {each.kind: Served(api_version, each.name, each.namespaced) for each in found if "/" not in each.name}
        self._known[api_version] = (time.monotonic(), known)
        return known
