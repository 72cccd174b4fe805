"""One of several replicas writes: the one that holds a Lease.

    follower ──(Lease free, or its holder silent for LEASE_SECONDS)──► leader
    leader ──(not renewed for RENEW_SECONDS)──► follower

A leader stops writing well before anybody else may start: it counts from before its last renewal was sent, the others
from when they saw it. Times of other machines are not compared: a holder is silent when its record did not change for
that long by our own clock. `decide` is pure; the clock, the wait and the requests are in `Election`.
"""

import asyncio
import random
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal

import msgspec
from headgate.controller.sources.kubernetes.client import ApiError, ApiServer, UnreachableError
from headgate.runtime.logging import event_log

log = event_log("controller")

LEASE_SECONDS: Final = 10.0
"""A silent leader is replaced after this; with one retry on top, within 15 s."""
RENEW_SECONDS: Final = 6.0
"""A leader that could not renew for this long is none any more."""
RETRY_SECONDS: Final = 2.0


class _Metadata(msgspec.Struct, rename="camel", omit_defaults=True):
    name: str
    namespace: str
    resource_version: str = ""


class LeaseSpec(msgspec.Struct, rename="camel", omit_defaults=True):
    """What a Lease says."""

    holder_identity: str | None = None
    lease_duration_seconds: int | None = None
    acquire_time: str | None = None
    renew_time: str | None = None
    lease_transitions: int | None = None


class Lease(msgspec.Struct, rename="camel"):
    """A Lease of coordination.k8s.io/v1."""

    metadata: _Metadata
    spec: LeaseSpec = msgspec.field(default_factory=LeaseSpec)
    api_version: str = "coordination.k8s.io/v1"
    kind: str = "Lease"


@dataclass(frozen=True, slots=True)
class Sight:
    """What a replica knows of the Lease: its record, and since when (by its own clock) it has not changed."""

    spec: LeaseSpec | None = None
    since: float = 0.0

    def look(self, spec: LeaseSpec | None, now: float) -> "Sight":
        """After having read it."""
        return self if spec == self.spec and self.since else Sight(spec, now)


def decide(sight: Sight, me: str, now: float) -> Literal["create", "take", "renew", "wait"]:
    """What a replica that sees this does."""
    spec = sight.spec
    if spec is None:
        return "create"
    if spec.holder_identity == me:
        return "renew"
    patience = spec.lease_duration_seconds or LEASE_SECONDS
    if not spec.holder_identity or now - sight.since > patience:
        return "take"
    return "wait"


def held(spec: LeaseSpec | None, me: str, now: datetime) -> LeaseSpec:
    """The record of a holder who takes or renews."""
    text = now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    renewal = spec is not None and spec.holder_identity == me
    return LeaseSpec(
        holder_identity=me,
        lease_duration_seconds=int(LEASE_SECONDS),
        acquire_time=(spec.acquire_time if renewal and spec is not None else None) or text,
        renew_time=text,
        lease_transitions=0 if spec is None else (spec.lease_transitions or 0) + (0 if renewal else 1),
    )


class Election:
    """Takes part until `run` is cancelled; `leading` says whether we may write now."""

    def __init__(
        self, api: ApiServer, *, name: str, namespace: str, identity: str, on_change: Callable[[bool], None]
    ) -> None:
        self.identity = identity
        self._api = api
        self._name = name
        self._namespace = namespace
        self._collection = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._on_change = on_change
        self._sight = Sight()
        self._version = ""
        self._renewed_at: float | None = None
        self._told = False

    @property
    def leading(self) -> bool:
        """Whether we hold the Lease, beyond doubt."""
        return self._renewed_at is not None and time.monotonic() - self._renewed_at < RENEW_SECONDS

    @property
    def holder(self) -> str:
        """Who holds it, as far as we know."""
        return (self._sight.spec.holder_identity or "") if self._sight.spec is not None else ""

    async def run(self) -> None:
        """Until it is cancelled; then gives the Lease back."""
        try:
            while True:
                try:
                    async with asyncio.timeout(RENEW_SECONDS):
                        await self._step()
                except (ApiError, UnreachableError, TimeoutError) as error:
                    log.warning("lease_failed", lease=self._name, error=str(error) or "timeout")
                self._tell()
                await asyncio.sleep(RETRY_SECONDS * random.uniform(0.8, 1.0))
        finally:
            await self._release()

    async def _step(self) -> None:
        await self._read()
        started = time.monotonic()
        match decide(self._sight, self.identity, started):
            case "wait":
                self._renewed_at = None
            case "create" | "take" | "renew" as action:
                try:
                    await self._write(held(self._sight.spec, self.identity, datetime.now(UTC)))
                except ApiError as error:
                    if error.code != 409:
                        raise
                    self._renewed_at = None  # somebody else was faster
                    return
                self._renewed_at = started
                if action != "renew":
                    log.info("lease_taken", lease=self._name, identity=self.identity)

    async def _read(self) -> None:
        try:
            body = await self._api.request("GET", f"{self._collection}/{self._name}")
        except ApiError as error:
            if error.code != 404:
                raise
            self._version, self._sight = "", self._sight.look(None, time.monotonic())
            return
        lease = msgspec.json.decode(body, type=Lease)
        self._version = lease.metadata.resource_version
        self._sight = self._sight.look(lease.spec, time.monotonic())

    async def _write(self, spec: LeaseSpec) -> None:
        """Creates or replaces it, if nobody else did since it was read."""
        lease = Lease(_Metadata(self._name, self._namespace, self._version), spec)
        method, path = ("PUT", f"{self._collection}/{self._name}") if self._version else ("POST", self._collection)
        written = await self._api.request(method, path, body=msgspec.to_builtins(lease))
        answer = msgspec.json.decode(written, type=Lease)
        self._version = answer.metadata.resource_version
        self._sight = Sight(answer.spec, time.monotonic())

    async def _release(self) -> None:
        leading, self._renewed_at = self.leading, None
        self._tell()
        if leading and self._sight.spec is not None:
            freed = msgspec.structs.replace(self._sight.spec, holder_identity="", lease_duration_seconds=1)
            with suppress(ApiError, UnreachableError, TimeoutError):
                async with asyncio.timeout(RETRY_SECONDS):
                    await self._write(freed)
                    log.info("lease_released", lease=self._name)

    def _tell(self) -> None:
        if self.leading != self._told:
            self._told = self.leading
            self._on_change(self._told)
