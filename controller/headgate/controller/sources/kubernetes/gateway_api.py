"""Which version of Gateway API's definitions a cluster has: an annotation of each of them says so.

Asked at the start and every `RECHECK_SECONDS`, since definitions are upgraded while we run. A watch would be one more
connection, for what changes twice a year.
"""

import asyncio
from collections.abc import AsyncGenerator
from typing import Final

import msgspec
from headgate.controller.sources.kubernetes.client import ApiError, ApiServer, UnreachableError
from headgate.runtime.logging import event_log

log = event_log("controller")

RECHECK_SECONDS: Final = 15.0
DEFINITION: Final = "gatewayclasses.gateway.networking.k8s.io"
_PATH: Final = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{DEFINITION}"
_VERSION: Final = "gateway.networking.k8s.io/bundle-version"


class _Metadata(msgspec.Struct):
    annotations: dict[str, str] = {}


class _Definition(msgspec.Struct):
    metadata: _Metadata


class BundleVersion:
    """`read`, then `changes`; `version` is like `v1.6.1`, and empty where nobody says, or we may not ask."""

    def __init__(self, api: ApiServer, *, recheck_seconds: float = RECHECK_SECONDS) -> None:
        self._api = api
        self._recheck_seconds = recheck_seconds
        self._problem = ""
        self.version = ""

    async def read(self) -> str:
        """Asks. A version that was known stays known while nobody answers; the log tells once why."""
        try:
            found = msgspec.json.decode(await self._api.request("GET", _PATH), type=_Definition)
        except (ApiError, UnreachableError, msgspec.DecodeError) as error:
            if str(error) != self._problem:
                log.warning("gateway_api_version_unknown", problem=str(error))
            self._problem = str(error)
        else:
            self._problem = ""
            self.version = found.metadata.annotations.get(_VERSION, "")
        return self.version

    async def changes(self) -> AsyncGenerator[str]:
        """Every version that is another than the one before."""
        while True:
            await asyncio.sleep(self._recheck_seconds)
            before = self.version
            if await self.read() != before:
                log.info("gateway_api_version", version=self.version)
                yield self.version
