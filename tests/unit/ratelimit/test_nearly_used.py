"""`limit_nearly_used`: a counter that hovers at a share is told once in a window, not with every call."""

import io
from collections.abc import Iterator

import pytest
from headgate.limits.config_text import parse_text
from headgate.limits.engine import LimitRequest, RequestDescriptor
from headgate.limits.matching import build_snapshot
from headgate.limits.warnings import Told
from headgate.ratelimit.service import RateLimitService
from headgate.ratelimit.storages.memory import MemoryStorage
from headgate.runtime.logging import set_up_logging

CONFIG = """
domain: d
descriptors:
- key: client
  rate_limit: {unit: minute, requests_per_unit: 600, warn_at: [50], %s}
"""
POOLS = "pools: [{name: high, rank: 1, min_reservation: 30}]"
KINDS = ("algorithm: token_bucket, burst: 20", "algorithm: sliding_window", POOLS)


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    set_up_logging(stream=stream)
    yield stream
    set_up_logging()


@pytest.mark.parametrize("kind", KINDS)
async def test_is_told_once_in_a_window(lines: io.StringIO, kind: str) -> None:
    now = 1_700_000_040.0
    snapshot = build_snapshot(parse_text(CONFIG % kind, file="limits.yaml"))
    service = RateLimitService(MemoryStorage(), snapshot=snapshot, clock=lambda: now)
    for number in range(1200):  # four minutes
        now += 0.2
        used = (await service.decide(request("a", hits=0))).statuses[0].before
        share = 10 if "burst" in kind else 300
        await service.decide(request("a", hits=max(share - used, 0) + number % 2))
    assert 1 <= lines.getvalue().count("limit_nearly_used") <= 5
    if "burst" in kind:
        assert service.metrics.rule("d", "client").warned > 100


async def test_each_counter_is_told(lines: io.StringIO) -> None:
    snapshot = build_snapshot(parse_text(CONFIG % KINDS[0], file="limits.yaml"))
    service = RateLimitService(MemoryStorage(), snapshot=snapshot, clock=lambda: 1_700_000_040.0)
    for client in "abc":
        await service.decide(request(client, hits=15))
    assert lines.getvalue().count("limit_nearly_used") == 3


async def test_what_was_told_is_forgotten_by_its_number() -> None:
    told = Told(2)
    snapshot = build_snapshot(parse_text(CONFIG % KINDS[1], file="limits.yaml"))
    service = RateLimitService(MemoryStorage(), snapshot=snapshot, clock=lambda: 1_700_000_040.0)
    statuses = [(await service.decide(request(client, hits=300))).statuses[0] for client in "abc"]
    a, b, c = statuses
    assert [told.is_new(each, 50, 1_700_000_040.0) for each in (a, a, b, c, b, a)] == [
        *(True, False, True, True),
        *(False, True),
    ]
    assert told.is_new(c, 50, 1_700_000_100.0)


def request(client: str, *, hits: int) -> LimitRequest:
    return LimitRequest("d", (RequestDescriptor((("client", client),), hits),))
