"""`/limits`: every limit, and what is left of it."""

import json
from typing import Any

from headgate.limits.config_text import parse_text
from headgate.limits.engine import LimitRequest, RequestDescriptor
from headgate.limits.matching import build_snapshot
from headgate.ratelimit.pages import limits_of
from headgate.ratelimit.service import RECENT_MAX, RateLimitService
from headgate.ratelimit.storages.memory import MemoryStorage

CONFIG = """
domain: d
descriptors:
- key: rule
  value: all
  rate_limit: {unit: minute, requests_per_unit: 10, name: everyone, warn_at: [80]}
- key: client
  rate_limit: {unit: hour, requests_per_unit: 5, reserve: strict}
- key: path
  value: /v1/*
  shadow_mode: true
  rate_limit: {unit: second, requests_per_unit: 2, algorithm: token_bucket, burst: 4}
- key: shared
  value: tokens
  rate_limit:
    unit: minute
    requests_per_unit: 1000
    pools: [{name: hi, rank: 1, min_reservation: 60}, {name: lo, rank: 2, max_reservation: 50}]
- key: free
  rate_limit: {unlimited: true}
"""


def make_service() -> RateLimitService:
    snapshot = build_snapshot(parse_text(CONFIG, file="limits.yaml"))
    return RateLimitService(MemoryStorage(), snapshot=snapshot, clock=lambda: 1_700_000_040.0)


async def ask(service: RateLimitService, *entries: tuple[str, str], hits: int = 1) -> None:
    await service.decide(LimitRequest("d", (RequestDescriptor(entries, hits),)))


def counter(used: int, remaining: int, reset: int, **entries: str) -> dict[str, Any]:
    descriptor = [{"key": key, "value": value} for key, value in entries.items()]
    return {"descriptor": descriptor, "used": used, "remaining": remaining, "reset_seconds": reset}


async def test_lists_limits_and_their_counters() -> None:
    service = make_service()
    await ask(service, ("rule", "all"), hits=3)
    await ask(service, ("client", "alice"), hits=0)
    await ask(service, ("shared", "tokens"), ("pool", "lo"), hits=100)
    found = json.loads(json.dumps(await limits_of(service)))
    assert found["storage_error"] == ""
    rules = {each["rule"]: each for each in found["limits"]}
    everyone = rules["rule_all"]
    assert (everyone["name"], everyone["unit"], everyone["amount"], everyone["warn_at"]) == (
        "everyone",
        "minute",
        10,
        [80],
    )
    assert everyone["counters"] == [counter(3, 7, 60, rule="all")]
    assert not rules["client"]["single"]
    assert rules["client"]["counters"] == [counter(0, 5, 2760, client="alice")]
    assert rules["path_/v1/*"]["algorithm"] == "token_bucket"
    assert rules["path_/v1/*"]["shadow_mode"] is True
    assert rules["path_/v1/*"]["counters"] == []
    assert rules["free"]["unlimited"] is True
    shares = {name: rules[name]["counters"][0]["remaining"] for name in rules if name.startswith("shared")}
    assert shares == {"shared_tokens": 300, "shared_tokens.pool_hi": 900, "shared_tokens.pool_lo": 300}
    assert rules["shared_tokens.pool_lo"]["pool"] == {"name": "lo", "min": 0, "max": 500}


async def test_looking_changes_nothing() -> None:
    service = make_service()
    await ask(service, ("rule", "all"), hits=3)
    assert await limits_of(service) == await limits_of(service)


async def test_remembers_so_many_counters_and_no_more() -> None:
    service = make_service()
    for number in range(RECENT_MAX + 5):
        await ask(service, ("client", str(number)))
    (clients,) = (each for each in (await limits_of(service))["limits"] if each["rule"] == "client")
    assert len(clients["counters"]) == RECENT_MAX
    assert clients["counters"][0]["descriptor"] == [{"key": "client", "value": "5"}]
