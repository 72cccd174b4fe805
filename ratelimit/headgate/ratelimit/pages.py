"""The pages of the admin port."""

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Mapping
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


def make_pages(
    service: RateLimitService,
    draining: asyncio.Event,
    *,
    health_needs_storage: bool = True,
    health_needs_config: bool = False,
    read_only: bool = False,
    process_metrics: Callable[[], str] = str,
) -> Mapping[tuple[str, str], Page]:
    """The pages over `service`; `draining` makes it unhealthy, and so may a storage that fails, or no limits at all.

    With `read_only` there are only those that count nothing and do not list whom is limited how.
    """

    async def healthcheck(_: bytes) -> Reply:
        if health_needs_config and not service.snapshot.domains:
            return Reply(503, "no limits are loaded\n")
        ping = asyncio.create_task(_ping(service, needed=health_needs_storage))
        drain = asyncio.create_task(draining.wait())
        try:
            await asyncio.wait((ping, drain), timeout=PING_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if draining.is_set():
                return Reply(503, "draining\n")
            if not ping.done():
                return Reply(503, f"the storage does not answer within {PING_SECONDS:g} s\n")
            return ping.result()
        finally:
            ping.cancel()
            drain.cancel()

    async def metrics(_: bytes) -> Reply:
        return Reply(200, await service.metrics_text() + process_metrics(), CONTENT_TYPE)

    async def rlconfig(_: bytes) -> Reply:
        return Reply(200, dump_text(service.snapshot.source), "application/yaml")

    async def limits(_: bytes) -> Reply:
        return Reply(200, json.dumps(await limits_of(service)), "application/json")

    async def decide(body: bytes) -> Reply:
        try:
            message = json_format.Parse(body, RateLimitRequest())
            decision = await service.decide(wire.decode_request(message.SerializeToString()))
        except (json_format.ParseError, wire.WireError) as error:
            return Reply(400, f"{error}\n")
        except StorageError as error:
            return Reply(503, f"{error}\n")
        answer = RateLimitResponse.FromString(wire.encode_decision(decision))
        status = 429 if decision.code is Code.OVER_LIMIT else 200
        return Reply(status, json_format.MessageToJson(answer), "application/json")

    pages: dict[tuple[str, str], Page] = {
        ("GET", "/healthcheck"): healthcheck,
        ("GET", "/metrics"): metrics,
    }
    if read_only:
        return pages
    return {**pages, ("GET", "/limits"): limits, ("GET", "/rlconfig"): rlconfig, ("POST", "/json"): decide}


async def _ping(service: RateLimitService, *, needed: bool) -> Reply:
    try:
        if needed:
            await service.ping()
    except StorageError as error:
        return Reply(503, f"{error}\n")
    return Reply(200, "OK\n")


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
