"""The same configuration and the same requests to envoyproxy/ratelimit and to ours: the same answers, the same keys.

Where ours differs on purpose it is not asked: hits that do not fit (there counted, here not), and checks with no hits
(there granted at the limit, here refused). Of a refused request of several descriptors all is counted there and nothing
here: so after each refusal what follows is counted anew, under another value of the first level. Quota mode is asked
about where the binary is new enough (`_quotas_refuse`). Metadata is flat: one answer's gets into the next nested.
"""

import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from envoy.service.ratelimit.v3.rls_pb2 import RateLimitRequest, RateLimitResponse
from envoy.type.v3.ratelimit_unit_pb2 import RateLimitUnit
from google.protobuf import json_format
from support.limiter import LimiterProcess
from support.redis import RedisServer
from support.upstream_limiter import UpstreamLimiter, UpstreamMissingError, upstream_binary

pytestmark = pytest.mark.redis

UNITS = ("hour", "day", "week", "month", "year")
VALUES = ("", "a", "b", "ab", "a*", "ax*")
"""There a star counts at the end only in binaries before March 2026, here anywhere."""
REQUESTS = 400
QUOTA_DOMAIN = {
    "domain": "probe",
    "descriptors": [{"key": "k", "quota_mode": True, "rate_limit": {"unit": "year", "requests_per_unit": 0}}],
}
SURE = {"key": "m", "rate_limit": {"unit": "year", "requests_per_unit": 3}}
"""Something that refuses in every configuration."""
TELLS = {"RESPONSE_DYNAMIC_METADATA": "true"}


@dataclass
class Pair:
    upstream: UpstreamLimiter
    ours: LimiterProcess
    upstream_redis: RedisServer
    our_redis: RedisServer


def _limit(chosen: random.Random, flags: Sequence[str]) -> dict[str, Any]:
    if chosen.random() < 0.1:
        return {"rate_limit": {"unlimited": True}}
    fields: dict[str, Any] = {"unit": chosen.choice(UNITS), "requests_per_unit": chosen.choice((0, 1, 3, 8))}
    if chosen.random() < 0.2:
        fields["name"] = f"limit-{chosen.randrange(6)}"
    elif "replaces" in flags and chosen.random() < 0.2:
        fields["replaces"] = [{"name": f"limit-{chosen.randrange(6)}"}]
    found: dict[str, Any] = {"rate_limit": fields}
    found |= {name: True for name in flags if name.endswith(("mode", "metric")) and chosen.random() < 0.1}
    if "metadata" in flags and chosen.random() < 0.5:
        found["metadata"] = {name: chosen.randrange(9) for name in chosen.sample("xyz", k=2)}
    if found.get("shadow_mode"):
        found.pop("quota_mode", None)  # together, there one passes for a quota with room, here for none
    return found


def _descriptors(chosen: random.Random, flags: Sequence[str], depth: int = 0) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for key in ("k", "l"):
        for value in chosen.sample(VALUES, k=chosen.randint(1, 3)):
            descriptor: dict[str, Any] = {"key": key, **({"value": value} if value else {})}
            if chosen.random() < 0.7:
                descriptor |= _limit(chosen, flags)
            if "*" in value and chosen.random() < 0.4:
                descriptor["share_threshold"] = True
            if depth < 2 and chosen.random() < 0.5:
                descriptor["descriptors"] = _descriptors(chosen, flags, depth + 1)
            found.append(descriptor)
    return found


def _request(chosen: random.Random, descriptors: int = 1, epoch: str = "") -> RateLimitRequest:
    message = RateLimitRequest(domain=chosen.choice(("d", "d", "d", "other")))
    for _ in range(descriptors):
        descriptor = message.descriptors.add()
        if epoch:
            descriptor.entries.add(key="epoch", value=epoch)
        if chosen.random() < 0.1:
            descriptor.entries.add(key="m", value="x")
            continue
        for _ in range(chosen.randint(1, 3)):
            descriptor.entries.add(key=chosen.choice("kl"), value=chosen.choice(("a", "b", "ab", "axb", "c")))
        if chosen.random() < 0.1:
            # A counter of its own: a configured limit that refuses would leave them apart.
            descriptor.entries[-1].value = "overridden"
            descriptor.limit.requests_per_unit = 2
            descriptor.limit.unit = chosen.choice((RateLimitUnit.HOUR, RateLimitUnit.DAY))
    return message


@pytest.fixture(params=range(8))
def seed(request: pytest.FixtureRequest) -> int:
    return int(request.param)


Open = Callable[..., Pair]


@pytest.fixture
def open_pair(short_path: Path) -> Iterator[Open]:
    """Starts both, of one configuration: `flags` are the fields that it may have."""
    try:
        upstream_binary()
    except UpstreamMissingError as error:
        pytest.skip(str(error))
    opened: list[Any] = []

    def start(seed: int, flags: Sequence[str], *, anew: bool = False) -> Pair:
        for name in ("theirs", "ours"):
            (short_path / name).mkdir()
        upstream_redis, our_redis = RedisServer(short_path / "theirs"), RedisServer(short_path / "ours")
        opened.extend((upstream_redis, our_redis))
        if "quota_mode" in flags:
            probe = UpstreamLimiter(short_path / "theirs", yaml.safe_dump(QUOTA_DOMAIN), upstream_redis.port)
            if not _quotas_refuse(probe):
                flags = [name for name in flags if name not in ("quota_mode", "metadata")]
            probe.close()
        descriptors = [*_descriptors(random.Random(seed), flags), SURE]
        if anew:
            descriptors = [{"key": "epoch", "descriptors": descriptors}]
        config = yaml.safe_dump({"domain": "d", "descriptors": descriptors})
        upstream = UpstreamLimiter(short_path, config, upstream_redis.port, TELLS)
        opened.append(upstream)
        ours = LimiterProcess(short_path, config, "--redis-url", our_redis.url, "--response-metadata")
        opened.append(ours)
        return Pair(upstream, ours, upstream_redis, our_redis)

    yield start
    for each in reversed(opened):
        each.close()


def _quotas_refuse(upstream: UpstreamLimiter) -> bool:
    message = RateLimitRequest(domain="probe")
    message.descriptors.add().entries.add(key="k", value="v")
    return upstream.ask(message, timeout=5).overall_code == RateLimitResponse.OVER_LIMIT


def _facts(answer: RateLimitResponse) -> Any:
    return answer.overall_code, [
        (
            status.code,
            status.current_limit.requests_per_unit,
            status.current_limit.unit,
            status.current_limit.name,
            status.limit_remaining,
        )
        for status in answer.statuses
    ]


def _check_resets(ours: RateLimitResponse, theirs: RateLimitResponse) -> None:
    for our, their in zip(ours.statuses, theirs.statuses, strict=True):
        if their.duration_until_reset.seconds:
            assert abs(our.duration_until_reset.seconds - their.duration_until_reset.seconds) <= 1


def _keys(redis: RedisServer) -> set[bytes]:
    lines = redis.command("KEYS *").split(b"\r\n")[1:]
    return {line for line in lines if line and not line.startswith(b"$") and not line.startswith(b"probe")}


def test_answers_and_keys_are_the_same(open_pair: Open, seed: int) -> None:
    pair = open_pair(seed, ("shadow_mode", "quota_mode", "detailed_metric"))
    chosen = random.Random(seed)
    refused = 0
    for _ in range(REQUESTS):
        message = _request(chosen)
        theirs, ours = pair.upstream.ask(message, timeout=5), pair.ours.ask_message(message)
        assert _facts(ours) == _facts(theirs), message
        _check_resets(ours, theirs)
        refused += theirs.overall_code == RateLimitResponse.OVER_LIMIT
    assert 0 < refused < REQUESTS
    # What is refused by a limit of 0 is never counted here.
    missing = _keys(pair.upstream_redis) - _keys(pair.our_redis)
    assert _keys(pair.our_redis) <= _keys(pair.upstream_redis)
    assert all(pair.upstream_redis.command(f"GET {key.decode()}") for key in missing)


def test_answers_to_several_descriptors_are_the_same(open_pair: Open, seed: int) -> None:
    # Without detailed metrics: there the metadata of a limit that has them is lost.
    pair = open_pair(seed, ("shadow_mode", "quota_mode", "replaces", "metadata"), anew=True)
    chosen = random.Random(seed)
    refused = 0
    for _ in range(REQUESTS):
        message = _request(chosen, chosen.randint(2, 4), f"e{refused}")
        theirs, ours = pair.upstream.ask(message, timeout=5), pair.ours.ask_message(message)
        if theirs.overall_code == RateLimitResponse.OVER_LIMIT:
            refused += 1
            assert [each.code for each in ours.statuses] == [each.code for each in theirs.statuses], message
            assert ours.overall_code == RateLimitResponse.OVER_LIMIT, message
        else:
            assert _facts(ours) == _facts(theirs), message
        _check_resets(ours, theirs)
        told, expected = (json_format.MessageToDict(each.dynamic_metadata) for each in (ours, theirs))
        for name in ("descriptors", "domain", "hitsAddend", "metadata"):
            assert _spaceless(told.get(name)) == _spaceless(expected.get(name)), message
    assert 0 < refused < REQUESTS


def _spaceless(value: object) -> str:
    """Go writes a message as text with more or fewer spaces, so that nobody compares it."""
    return json.dumps(value, sort_keys=True).replace(" ", "")
