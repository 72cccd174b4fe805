"""Tells the API server which authorities the webhook's certificate may be from: `caBundle`, by the leader."""

import asyncio
import base64
from collections.abc import Callable
from typing import Final

import msgspec
from headgate.controller.certificates.authority import CA, Data
from headgate.controller.sources.kubernetes.client import ApiError, ApiServer, UnreachableError
from headgate.runtime.logging import event_log
from headgate.runtime.pauses import wait_at_most

log = event_log("controller")

RECHECK_SECONDS: Final = 10.0
"""Whoever installs may write over it."""
STRATEGIC: Final = "application/strategic-merge-patch+json"


class _ClientConfig(msgspec.Struct, rename="camel"):
    ca_bundle: str = ""


class _Webhook(msgspec.Struct, rename="camel"):
    name: str
    client_config: _ClientConfig


class _Configuration(msgspec.Struct):
    webhooks: list[_Webhook] = []


class WebhookConfiguration:
    """Keeps the `caBundle` of one MutatingWebhookConfiguration; `run` until it is cancelled."""

    def __init__(self, api: ApiServer, name: str, *, may_write: Callable[[], bool]) -> None:
        self._api = api
        self._name = name
        self._path = f"/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/{name}"
        self._may_write = may_write
        self._bundle = ""
        self._changed = asyncio.Event()

    def use(self, data: Data) -> None:
        """These authorities are the ones to trust."""
        self._bundle = base64.b64encode(data[CA]).decode()
        self._changed.set()

    def recheck(self) -> None:
        """This replica may have become the leader."""
        self._changed.set()

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            await wait_at_most(self._changed, RECHECK_SECONDS)
            self._changed.clear()
            try:
                await self._tell()
            except (ApiError, UnreachableError, msgspec.MsgspecError) as error:
                log.warning("webhook_configuration_failed", name=self._name, error=str(error))

    async def _tell(self) -> None:
        if not self._bundle or not self._may_write():
            return
        found = msgspec.json.decode(await self._api.request("GET", self._path), type=_Configuration)
        stale = [each.name for each in found.webhooks if each.client_config.ca_bundle != self._bundle]
        if stale:
            change = [{"name": name, "clientConfig": {"caBundle": self._bundle}} for name in stale]
            await self._api.request("PATCH", self._path, body={"webhooks": change}, content_type=STRATEGIC)
            log.info("webhook_configured", name=self._name)
