"""Keeps the controller's certificates in Secrets: the leader makes what is due, every replica reads.

    headgate-authority        ca.crt, ca.key             nobody but the controller needs it
    headgate-controller-tls   ca.crt, tls.crt, tls.key   what every replica shows
    headgate-envoy-tls        ca.crt, tls.crt, tls.key   what Envoys show on xDS, mounted into their pods

Secrets are asked for, not watched: there are three, they change once in weeks, and a certificate is renewed when a
third of its life is left, long before a replica could be late.
"""

import asyncio
import base64
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import msgspec
from headgate.controller.certificates.authority import (
    Data,
    Lifetime,
    Subject,
    expires_at,
    renewed_authorities,
    renewed_certificate,
)
from headgate.controller.sources.kubernetes.client import ApiError, ApiServer, UnreachableError
from headgate.runtime.logging import event_log

log = event_log("controller")

POLL_SECONDS: Final = (0.2, 20.0)
"""Shortest and longest time between two looks; in between it is a thirtieth of a certificate's life."""
FIRST_SECONDS: Final = 0.5
"""Between two looks as long as there is no certificate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A Secret with a certificate."""

    secret: str
    subject: Subject


class _Metadata(msgspec.Struct, rename="camel"):
    resource_version: str = ""


class _Secret(msgspec.Struct):
    metadata: _Metadata
    data: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class _Stored:
    version: str = ""
    data: Data = field(default_factory=dict[str, bytes])


class CertificateKeeper:
    """See the module. `run` until it is cancelled; `data` is the first certificate's, empty until there is one."""

    def __init__(
        self,
        api: ApiServer,
        *,
        namespace: str,
        authority: str,
        kept: Sequence[Kept],
        lifetime: Lifetime,
        may_write: Callable[[], bool],
    ) -> None:
        self._api = api
        self._namespace = namespace
        self._authority = authority
        self._kept = tuple(kept)
        self._lifetime = lifetime
        self._may_write = may_write
        self._listeners: list[Callable[[Data], None]] = []
        self._there = asyncio.Event()
        self.data: Data = {}
        self.renewals = 0

    def on_change(self, listener: Callable[[Data], None]) -> None:
        """`listener` is called with every certificate from now on, and with the one there is."""
        self._listeners.append(listener)
        if self.data:
            listener(self.data)

    async def there(self) -> Data:
        """The certificate, once there is one."""
        await self._there.wait()
        return self.data

    def expires_at(self) -> datetime | None:
        """When the certificate that is shown now ends."""
        return expires_at(self.data)

    async def run(self) -> None:
        """Until it is cancelled."""
        least, most = POLL_SECONDS
        usual = min(max(self._lifetime.certificate.total_seconds() / 30, least), most)
        while True:
            try:
                await self._step()
            except (ApiError, UnreachableError) as error:
                log.warning("certificates_failed", error=str(error))
            except Exception as error:  # the certificates that there are serve on
                log.exception("certificates_failed", error=str(error))
            await asyncio.sleep((usual if self.data else FIRST_SECONDS) * random.uniform(0.8, 1.0))

    async def _step(self) -> None:
        if self._may_write():
            await self._renew()
        mine = (await self._read(self._kept[0].secret)).data
        if mine != self.data and expires_at(mine) is not None:
            self.data = mine
            self._there.set()
            log.info("certificate_in_use", secret=self._kept[0].secret, expires=str(expires_at(mine)))
            for listener in self._listeners:
                listener(mine)

    async def _renew(self) -> None:
        now = datetime.now(UTC)
        stored = await self._read(self._authority)
        authorities = renewed_authorities(stored.data, self._lifetime, now)
        if authorities is not stored.data:
            await self._write(self._authority, stored.version, authorities, "Opaque")
        for each in self._kept:
            stored = await self._read(each.secret)
            data = renewed_certificate(stored.data, authorities, each.subject, self._lifetime, now)
            if data is not stored.data:
                await self._write(each.secret, stored.version, data, "kubernetes.io/tls")

    async def _read(self, name: str) -> _Stored:
        try:
            body = await self._api.request("GET", f"{self._collection}/{name}")
        except ApiError as error:
            if error.code != 404:
                raise
            return _Stored()
        secret = msgspec.json.decode(body, type=_Secret)
        data = {key: base64.b64decode(value) for key, value in secret.data.items()}
        return _Stored(secret.metadata.resource_version, data)

    async def _write(self, name: str, version: str, data: Data, type_: str) -> None:
        """Creates or replaces it, if nobody else did since it was read."""
        if not self._may_write():
            return
        metadata: dict[str, object] = {
            "name": name,
            "namespace": self._namespace,
            "labels": {"app.kubernetes.io/managed-by": "headgate-controller"},
        }
        if version:
            metadata["resourceVersion"] = version
        encoded = {key: base64.b64encode(value).decode() for key, value in data.items()}
        body = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": type_, "data": encoded}
        method, path = ("PUT", f"{self._collection}/{name}") if version else ("POST", self._collection)
        await self._api.request(method, path, body=body)
        self.renewals += 1
        log.info("certificate_renewed", secret=name)

    @property
    def _collection(self) -> str:
        return f"/api/v1/namespaces/{self._namespace}/secrets"
