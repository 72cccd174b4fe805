"""The same configuration and the same requests to envoyproxy/ratelimit and to ours: the same answers, the same keys.

Each request has one descriptor and one hit. Where ours differs on purpose it is not asked: several descriptors of a
refused request (there all are counted, here none), hits that do not fit (there counted, here not), and checks with no
hits (there granted at the limit, here refused).
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from envoy.service.ratelimit.v3.rls_pb2 import RateLimitRequest, RateLimitResponse
from envoy.type.v3.ratelimit_unit_pb2 import RateLimitUnit
from support.limiter import LimiterProcess
from support.redis import RedisServer
from support.upstream_limiter import UpstreamLimiter, UpstreamMissingError, upstream_binary

pytestmark = pytest.mark.redis

UNITS = ("hour", "day", "week", "month", "year")
VALUES = ("", "a", "b", "ab", "a*", "ax*")
"""There a star counts at the end only, here anywhere."""
REQUESTS = 400


@dataclass
class Pair:
    upstream: UpstreamLimiter
    ours: LimiterProcess
    upstream_redis: RedisServer
    our_redis: RedisServer


def _limit(chosen: random.Random) -> dict[str, Any]:
    if chosen.random() < 0.1:
        return {"rate_limit": {"unlimited": True}}
    fields: dict[str, Any] = {"unit": chosen.choice(UNITS), "requests_per_unit": chosen.choice((0, 1, 3, 8))}
    if chosen.random() < 0.2:
        fields["name"] = f"limit-{chosen.randrange(100)}"
    flags = {name: True for name in ("shadow_mode", "quota_mode", "detailed_metric") if chosen.random() < 0.1}
    return {"rate_limit": fields, **flags}


def _descriptors(chosen: random.Random, depth: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for key in ("k", "l"):
        for value in chosen.sample(VALUES, k=chosen.randint(1, 3)):
            descriptor: dict[str, Any] = {"key": key, **({"value": value} if value else {})}
            if chosen.random() < 0.7:
                descriptor |= _limit(chosen)
            if "*" in value and chosen.random() < 0.4:
                descriptor["share_threshold"] = True
            if depth < 2 and chosen.random() < 0.5:
                descriptor["descriptors"] = _descriptors(chosen, depth + 1)
            found.append(descriptor)
    return found


def _request(chosen: random.Random) -> RateLimitRequest:
    message = RateLimitRequest(domain=chosen.choice(("d", "d", "d", "other")))
    descriptor = message.descriptors.add()
    for _ in range(chosen.randint(1, 3)):
        descriptor.entries.add(key=chosen.choice("kl"), value=chosen.choice(("a", "b", "ab", "axb", "c")))
    if chosen.random() < 0.1:
        # A counter of its own: a configured limit that refuses would leave them apart.
        descriptor.entries[0].value = "overridden"
        descriptor.limit.requests_per_unit = 2
        descriptor.limit.unit = chosen.choice((RateLimitUnit.HOUR, RateLimitUnit.DAY))
    return message


@pytest.fixture(params=range(8))
def seed(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def pair(seed: int, short_path: Path) -> Iterator[Pair]:
    try:
        upstream_binary()
    except UpstreamMissingError as error:
        pytest.skip(str(error))
    config = yaml.safe_dump({"domain": "d", "descriptors": _descriptors(random.Random(seed), 0)})
    for name in ("theirs", "ours"):
        (short_path / name).mkdir()
    with RedisServer(short_path / "theirs") as upstream_redis, RedisServer(short_path / "ours") as our_redis:
        upstream = UpstreamLimiter(short_path, config, upstream_redis.port)
        try:
            ours = LimiterProcess(short_path, config, "--redis-url", our_redis.url)
            try:
                yield Pair(upstream, ours, upstream_redis, our_redis)
            finally:
                ours.close()
        finally:
            upstream.close()


def _facts(answer: RateLimitResponse) -> Any:
    status = answer.statuses[0]
    limit = status.current_limit
    return answer.overall_code, status.code, limit.requests_per_unit, limit.unit, limit.name, status.limit_remaining


def _keys(redis: RedisServer) -> set[bytes]:
    lines = redis.command("KEYS *").split(b"\r\n")[1:]
    return {line for line in lines if line and not line.startswith(b"$")}


def test_answers_and_keys_are_the_same(pair: Pair, seed: int) -> None:
    chosen = random.Random(seed)
    refused = 0
    for _ in range(REQUESTS):
        message = _request(chosen)
        theirs, ours = pair.upstream.ask(message, timeout=5), pair.ours.ask_message(message)
        assert _facts(ours) == _facts(theirs), message
        refused += theirs.overall_code == RateLimitResponse.OVER_LIMIT
        expected = theirs.statuses[0].duration_until_reset.seconds
        if expected:
            assert abs(ours.statuses[0].duration_until_reset.seconds - expected) <= 1
    assert 0 < refused < REQUESTS
    # What is refused by a limit of 0 is never counted here.
    missing = _keys(pair.upstream_redis) - _keys(pair.our_redis)
    assert _keys(pair.our_redis) <= _keys(pair.upstream_redis)
    assert all(pair.upstream_redis.command(f"GET {key.decode()}") for key in missing)
