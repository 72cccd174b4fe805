"""`/limits`: every limit, and what is left of it."""

import json
import sys
from types import FrameType
from typing import Any

from headgate.limits.config_text import parse_text
from headgate.limits.engine import LimitRequest, RequestDescriptor
from headgate.limits.matching import build_snapshot
from headgate.limits.recent import RECENT_MAX
from headgate.ratelimit.pages import limits_of
from headgate.ratelimit.service import RateLimitService
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


POOLED = """
domain: d
descriptors:
- key: team
  rate_limit: {unit: minute, requests_per_unit: 1000, pools: [{name: hi, rank: 1}, {name: lo, rank: 2}]}
"""


def make_service(config: str = CONFIG) -> RateLimitService:
    snapshot = build_snapshot(parse_text(config, file="limits.yaml"))
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


async def test_remembers_those_asked_for_last() -> None:
    service = make_service()
    for number in range(RECENT_MAX):
        await ask(service, ("client", str(number)))
    for number in (3, RECENT_MAX, RECENT_MAX + 1):
        await ask(service, ("client", str(number)))
    found = [counter["descriptor"][0]["value"] for counter in (await rules_of(service))["client"]["counters"]]
    assert len(found) == RECENT_MAX
    assert found[:3] == ["2", "4", "5"]
    assert found[-3:] == ["3", str(RECENT_MAX), str(RECENT_MAX + 1)]


async def test_a_counter_that_pools_share_is_one_for_each() -> None:
    service = make_service(POOLED)
    for pool, hits in (("hi", 100), ("lo", 200), ("hi", 100)):
        await ask(service, ("team", "a"), ("pool", pool), hits=hits)
    rules = await rules_of(service)
    assert rules["team"]["counters"] == []
    assert [each["descriptor"][1]["value"] for each in rules["team.pool_hi"]["counters"]] == ["hi"]
    assert [each["descriptor"][1]["value"] for each in rules["team.pool_lo"]["counters"]] == ["lo"]


async def test_many_limits_cost_as_much_each_as_few() -> None:
    """Every limit was compared with every counter: thousands of them took seconds."""
    lines = "".join(
        f"- {{key: k, value: v{i}, rate_limit: {{unit: hour, requests_per_unit: 5}}}}\n" for i in range(1000)
    )
    service = make_service(f"domain: d\ndescriptors:\n{lines}")
    calls = 0

    def count(frame: FrameType, event: str, argument: object) -> None:
        del frame, argument
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        found = await limits_of(service)
    finally:
        sys.setprofile(None)
    assert len(found["limits"]) == 1000
    assert calls < 1000 * 100


async def rules_of(service: RateLimitService) -> dict[str, dict[str, Any]]:
    return {each["rule"]: each for each in (await limits_of(service))["limits"]}
