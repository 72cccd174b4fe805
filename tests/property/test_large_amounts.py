"""Amounts beyond 32 bits, up to the largest there are: in the configuration's text, on the wire, in headers."""

from envoy.service.ratelimit.v3.rls_pb2 import RateLimitRequest, RateLimitResponse
from google.protobuf import json_format
from headgate.limits.config import Descriptor, Domain, RateLimit
from headgate.limits.config_text import dump_text, parse_text
from headgate.limits.engine import Code, Outcome, decide_request, plan_request
from headgate.limits.matching import build_snapshot
from headgate.limits.units import COUNT_MAX, Unit
from headgate.pb import overlay_pb2
from headgate.ratelimit.answers import LIMIT_HEADERS, answer
from headgate.ratelimit.wire import decode_request, encode_decision
from hypothesis import given
from hypothesis import strategies as st

NOW = 1_700_000_000
UINT32_MAX = 2**32 - 1
amounts = st.one_of(
    st.integers(UINT32_MAX, COUNT_MAX),
    st.integers(0, 20).map(lambda less: COUNT_MAX - less),
    st.integers(-2, 2).map(lambda more: 2**32 + more),
)
units = st.sampled_from([unit for unit in Unit if unit is not Unit.LIFETIME])


def domain(amount: int, unit: Unit) -> Domain:
    return Domain(
        name="d", descriptors=(Descriptor(key="k", rate_limit=RateLimit(unit=unit, requests_per_unit=amount)),)
    )


def asking(hits: int, *, negative: bool = False) -> bytes:
    """What Envoy sends: 64 bits of hits for each descriptor."""
    descriptor = overlay_pb2.RateLimitDescriptor(is_negative_hits=negative)
    message = RateLimitRequest(domain="d")
    added = message.descriptors.add()
    added.MergeFromString(descriptor.SerializeToString())
    added.entries.add(key="k", value="v")
    added.hits_addend.value = hits
    return message.SerializeToString()


@given(amounts, units)
def test_a_configuration_keeps_them(amount: int, unit: Unit) -> None:
    written = dump_text([domain(amount, unit)])
    assert str(amount) in written
    assert parse_text(written, file="limits.yaml") == (domain(amount, unit),)


@given(amounts, st.booleans())
def test_hits_come_whole(hits: int, negative: bool) -> None:
    (descriptor,) = decode_request(asking(hits, negative=negative), "200-").descriptors
    assert descriptor.hits == (-hits if negative else hits)


@given(st.integers(COUNT_MAX + 1, 2**64 - 1))
def test_more_hits_than_can_be_counted_are_as_many_as_can_be(hits: int) -> None:
    (descriptor,) = decode_request(asking(hits), "200-").descriptors
    assert descriptor.hits == COUNT_MAX


@given(amounts, amounts, st.integers(0, COUNT_MAX), units)
def test_decisions_headers_and_metadata_are_exact_and_statuses_as_large_as_there_is(
    amount: int, hits: int, before: int, unit: Unit
) -> None:
    plan = plan_request(build_snapshot([domain(amount, unit)]), decode_request(asking(hits), "0-"), now=NOW)
    fits = before + hits <= amount
    decision = decide_request(plan, Outcome((before,), applied=fits))
    assert (decision.code is Code.OK) is fits
    remaining = amount - before - hits if fits else 0
    told = dict(answer(decision, path="/v1/chat/completions", limit_headers=LIMIT_HEADERS).headers)
    assert (told["x-ratelimit-limit"], told["x-ratelimit-remaining"]) == (str(amount), str(remaining))
    response = RateLimitResponse.FromString(encode_decision(decision))
    (status,) = response.statuses
    assert status.current_limit.requests_per_unit == min(amount, UINT32_MAX)
    assert status.limit_remaining == min(remaining, UINT32_MAX)
    if not fits:
        assert json_format.MessageToDict(response.dynamic_metadata)["limit"] == amount
