"""The pages of the admin port."""

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from envoy.service.ratelimit.v3.rls_pb2 import RateLimitRequest, RateLimitResponse
from google.protobuf import json_format
from headgate.limits.config_text import dump_text
from headgate.limits.engine import Code, Status
from headgate.limits.listing import counted, described, listed, look
from headgate.limits.matching import Entries, Snapshot
from headgate.ratelimit import wire
from headgate.ratelimit.service import RateLimitService
from headgate.ratelimit.storages import StorageError
from headgate.runtime.admin_server import Page, Reply
from headgate.runtime.metrics import CONTENT_TYPE

PING_SECONDS: Final = 1.0
"""A storage that takes longer is not healthy: who asks for health does not wait long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageSettings:
    """What makes it unhealthy besides draining, and what the metrics have besides the service's own."""

    health_needs_storage: bool = True
    health_needs_config: bool = False
    process_metrics: Callable[[], str] = str


class Pages:
    """Those over `service`; `draining` makes it unhealthy, and so may a storage that fails, or no limits at all."""

    def __init__(self, service: RateLimitService, draining: asyncio.Event, settings: PageSettings) -> None:
        self._service = service
        self._draining = draining
        self._settings = settings

    def pages(self, *, read_only: bool = False) -> Mapping[tuple[str, str], Page]:
        """For an `AdminServer`. With `read_only` only those that count nothing and do not list whom is limited how."""
        pages: dict[tuple[str, str], Page] = {
            ("GET", "/healthcheck"): self._healthcheck,
            ("GET", "/metrics"): self._metrics,
        }
        if read_only:
            return pages
        return {
            **pages,
            ("GET", "/limits"): self._limits,
            ("GET", "/rlconfig"): self._rlconfig,
            ("POST", "/json"): self._decide,
        }

    async def _healthcheck(self, _: bytes) -> Reply:
        if self._settings.health_needs_config and not self._service.snapshot.domains:
            return Reply(503, "no limits are loaded\n")
        ping = asyncio.create_task(self._ping())
        drain = asyncio.create_task(self._draining.wait())
        try:
            await asyncio.wait((ping, drain), timeout=PING_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if self._draining.is_set():
                return Reply(503, "draining\n")
            if not ping.done():
                return Reply(503, f"the storage does not answer within {PING_SECONDS:g} s\n")
            return ping.result()
        finally:
            ping.cancel()
            drain.cancel()

    async def _ping(self) -> Reply:
        try:
            if self._settings.health_needs_storage:
                await self._service.ping()
        except StorageError as error:
            return Reply(503, f"{error}\n")
        return Reply(200, "OK\n")

    async def _metrics(self, _: bytes) -> Reply:
        return Reply(200, await self._service.metrics_text() + self._settings.process_metrics(), CONTENT_TYPE)

    async def _rlconfig(self, _: bytes) -> Reply:
        return Reply(200, dump_text(self._service.snapshot.source), "application/yaml")

    async def _limits(self, _: bytes) -> Reply:
        return Reply(200, json.dumps(await limits_of(self._service)), "application/json")

    async def _decide(self, body: bytes) -> Reply:
        try:
            message = json_format.Parse(body, RateLimitRequest())
            decision = await self._service.decide(wire.decode_request(message.SerializeToString()))
        except (json_format.ParseError, wire.WireError) as error:
            return Reply(400, f"{error}\n")
        except StorageError as error:
            return Reply(503, f"{error}\n")
        answer = RateLimitResponse.FromString(wire.encode_decision(decision))
        status = 429 if decision.code is Code.OVER_LIMIT else 200
        return Reply(status, json_format.MessageToJson(answer), "application/json")


LOOKS_MAX: Final = 200
"""Counters that are looked at in one transaction."""


async def limits_of(service: RateLimitService) -> Mapping[str, Any]:
    """Every limit, and how its counters stand: its only one, or those of its many that were asked for lately."""
    found: dict[str, Any] = {"limits": [], "storage_error": ""}
    snapshot = service.snapshot
    for domain in snapshot.domains:
        limits = list(listed(snapshot, domain))
        wanted = {each.entries: None for each in limits if each.entries is not None}
        wanted |= dict.fromkeys(service.recent.of(domain))
        counters: dict[int, list[Mapping[str, Any]]] = defaultdict(list)
        try:
            async for entries, status in _looked_at(service, snapshot, domain, tuple(wanted)):
                if status.op is not None:
                    counters[id(status.rule)].append(counted(entries, status))
        except StorageError as error:
            found["storage_error"] = str(error)
        first = {id(each.rule): each for each in reversed(limits)}
        found["limits"] += [
            {
                "asked_as": domain,
                **described(each.rule),
                "single": each.entries is not None,
                "counters": counters[id(each.rule)],
            }
            for each in limits
            if first[id(each.rule)] is each
        ]
    return found


async def _looked_at(
    service: RateLimitService, snapshot: Snapshot, domain: str, counters: tuple[Entries, ...]
) -> AsyncGenerator[tuple[Entries, Status]]:
    for start in range(0, len(counters), LOOKS_MAX):
        chunk = counters[start : start + LOOKS_MAX]
        decision = await service.look(look(domain, chunk), snapshot)
        for entries, status in zip(chunk, decision.statuses, strict=True):
            yield entries, status
