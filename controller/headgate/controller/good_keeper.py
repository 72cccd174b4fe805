"""Last good versions, kept in a ConfigMap: a controller that starts while an object is broken has its last good one.

The leader writes the versions that are in force in the place of broken ones, which mostly are none: then nothing is
written. Every replica reads them when it starts, and remembers by itself from then on.
"""

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Final

import msgspec
from headgate.compiler.last_good import Good
from headgate.compiler.reading import read_object
from headgate.compiler.resources.metadata import NOWHERE, Key, Resource
from headgate.compiler.resources.writing import write_object
from headgate.controller.sources.kubernetes.client import ApiError, ApiServer, UnreachableError
from headgate.runtime.logging import event_log
from headgate.runtime.pauses import retry_seconds

log = event_log("controller")

FIELD_MANAGER: Final = "headgate"
MERGE: Final = "application/merge-patch+json"
DATA: Final = "objects.json"
BYTES_MAX: Final = 900_000
"""A ConfigMap holds a MiB. What does not fit is not kept, and told in the log."""
RETRY_SECONDS: Final = (0.5, 30.0)


class _ConfigMap(msgspec.Struct):
    data: dict[str, str] = {}


class GoodKeeper:
    """See the module. `run` until it is cancelled."""

    def __init__(self, api: ApiServer, *, namespace: str, name: str, may_write: Callable[[], bool]) -> None:
        self._api = api
        self._collection = f"/api/v1/namespaces/{namespace}/configmaps"
        self._name = name
        self._may_write = may_write
        self._wanted: str | None = None
        self._stored: str | None = None
        self._changed = asyncio.Event()
        self.writes = 0

    async def read(self) -> Good:
        """What is kept; nothing where it cannot be read, which the log tells."""
        try:
            found = msgspec.json.decode(await self._api.request("GET", self._path), type=_ConfigMap)
        except (ApiError, UnreachableError, msgspec.DecodeError) as error:
            if not (isinstance(error, ApiError) and error.code == 404):
                log.warning("last_good_unread", problem=str(error))
            return {}
        self._stored = found.data.get(DATA, "")
        return dict(_parsed(self._stored))

    def offer(self, kept: Good) -> None:
        """These are in force in the place of broken versions."""
        self._wanted = _text(kept)
        self._changed.set()

    def recheck(self) -> None:
        """This replica may have become the leader: what is stored is another one's."""
        self._stored = None
        self._changed.set()

    async def run(self) -> None:
        """Writes what was offered, for as long as this replica leads."""
        failures = 0
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                await self._write()
                failures = 0
            except (ApiError, UnreachableError) as error:
                log.warning("last_good_unwritten", problem=str(error))
                failures += 1
                await asyncio.sleep(retry_seconds(failures, *RETRY_SECONDS))
                self._changed.set()

    @property
    def _path(self) -> str:
        return f"{self._collection}/{self._name}"

    async def _write(self) -> None:
        text = self._wanted
        if text is None or text == self._stored or not self._may_write():
            return
        body = {"metadata": {"name": self._name}, "data": {DATA: text}}
        query = {"fieldManager": FIELD_MANAGER}
        try:
            await self._api.request("PATCH", self._path, query=query, body=body, content_type=MERGE)
        except ApiError as error:
            if error.code != 404:
                raise
            if text:  # nothing was ever kept: nothing has to be there
                await self._api.request("POST", self._collection, query=query, body=body)
        self._stored = text
        self.writes += 1


def _text(kept: Good) -> str:
    """JSON lines, by key; empty for nothing. One that does not fit makes no other one stay out."""
    lines: list[str] = []
    size = 0
    for key in sorted(kept):
        line = json.dumps(write_object(kept[key]), separators=(",", ":"), sort_keys=True)
        if size + len(line) + 1 > BYTES_MAX:
            log.warning("last_good_left_out", object=str(key), bytes_max=BYTES_MAX)
            continue
        size += len(line) + 1
        lines.append(line)
    return "\n".join(lines)


def _parsed(text: str) -> Iterator[tuple[Key, Resource]]:
    """What can still be read: another version of ours may have written it."""
    for line in text.splitlines():
        try:
            found = read_object(json.loads(line), NOWHERE).resource
        except ValueError:
            continue
        if found is not None:
            yield found.key, found
