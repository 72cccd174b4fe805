"""Envoy's messages to values and back, with what the wheel's protos do not know."""

import pytest
from envoy.service.ratelimit.v3.rls_pb2 import RateLimitRequest, RateLimitResponse
from google.protobuf import json_format
from headgate.limits.config import Descriptor, Domain, RateLimit
from headgate.limits.engine import (
    Code,
    Decision,
    LimitOverride,
    LimitRequest,
    Moment,
    Outcome,
    RequestDescriptor,
    decide_request,
    plan_request,
)
from headgate.limits.matching import build_snapshot
from headgate.limits.units import COUNT_MAX, Unit
from headgate.pb import overlay_pb2
from headgate.ratelimit.wire import WireError, decode_again, decode_request, encode_decision


def request(*descriptors: dict[str, object], **fields: object) -> RateLimitRequest:
    return json_format.ParseDict({"domain": "d", "descriptors": list(descriptors), **fields}, RateLimitRequest())


def descriptor(**fields: object) -> dict[str, object]:
    return {"entries": [{"key": "k", "value": "v"}], **fields}


def decoded(message: RateLimitRequest, moment: str | None = None) -> LimitRequest:
    return decode_request(message.SerializeToString(), moment)


def hits(message: RateLimitRequest) -> list[int]:
    return [each.hits for each in decoded(message).descriptors]


def test_decodes_domain_entries_and_override() -> None:
    entries = [{"key": "client", "value": "alice"}, {"key": "model", "value": "m"}]
    limit = {"requestsPerUnit": 777, "unit": "DAY"}
    assert decoded(request({"entries": entries, "limit": limit})) == LimitRequest(
        "d",
        (RequestDescriptor((("client", "alice"), ("model", "m")), 1, LimitOverride(777, Unit.DAY)),),
        Moment.ADMISSION,
    )


def test_hits_of_a_descriptor_win_over_those_of_the_request_and_may_be_zero() -> None:
    assert hits(request(descriptor())) == [1]
    assert hits(request(descriptor(), hitsAddend=5)) == [5]
    assert hits(request(descriptor(hitsAddend="0"), descriptor(), hitsAddend=5)) == [0, 5]
    assert hits(request(descriptor(hitsAddend="7"))) == [7]
    assert hits(request(descriptor(hitsAddend=str(2**64 - 1)))) == [COUNT_MAX]


def test_negative_hits_give_back() -> None:
    message = request(descriptor(hitsAddend="37"), descriptor(hitsAddend="5"))
    negative = overlay_pb2.RateLimitDescriptor(is_negative_hits=True).SerializeToString()
    message.descriptors[0].MergeFromString(negative)
    assert hits(message) == [-37, 5]


def test_text_that_looks_like_the_mark_of_negative_hits_is_only_text() -> None:
    message = request({"entries": [{"key": "k", "value": " \x01"}], "hitsAddend": "5"}, descriptor(hitsAddend="6"))
    assert hits(message) == [5, 6]


def test_a_request_that_comes_again_is_decoded_alike() -> None:
    body = request(descriptor(hitsAddend="0")).SerializeToString()
    assert decode_again(body, "0-") == decode_request(body, "0-")
    assert decode_again(body, "0-") is decode_again(body, "0-")
    assert decode_again(request(descriptor()).SerializeToString(), "0-") != decode_again(body, "0-")


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("0-", Moment.ADMISSION),
        ("100-", Moment.ADMISSION),
        ("100DC", Moment.SETTLEMENT),
        ("200-", Moment.SETTLEMENT),
        ("429RL", Moment.SETTLEMENT),
        ("0DC", Moment.SETTLEMENT),
    ],
)
def test_the_moment_is_what_envoy_says(text: str, moment: Moment) -> None:
    for message in (request(descriptor()), request(descriptor(hitsAddend="9")), request(descriptor(hitsAddend="0"))):
        assert decoded(message, text).moment is moment


@pytest.mark.parametrize(
    ("descriptors", "moment"),
    [
        ([descriptor()], Moment.ADMISSION),
        ([descriptor(hitsAddend="0")], Moment.ADMISSION),
        ([descriptor(hitsAddend="0"), descriptor()], Moment.ADMISSION),
        ([descriptor(hitsAddend="4"), descriptor()], Moment.ADMISSION),
        ([descriptor(hitsAddend="4")], Moment.SETTLEMENT),
        ([descriptor(hitsAddend="4"), descriptor(hitsAddend="0")], Moment.SETTLEMENT),
    ],
)
def test_the_moment_is_guessed_where_envoy_does_not_say(descriptors: list[dict[str, object]], moment: Moment) -> None:
    assert decoded(request(*descriptors)).moment is moment


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"\xff\xff", "not a RateLimitRequest"),
        (RateLimitRequest(domain="d").SerializeToString(), "descriptor list must not be empty"),
        (b"", "domain must not be empty"),
        (request(descriptor(limit={"unit": "UNKNOWN"})).SerializeToString(), "unknown unit 0"),
    ],
)
def test_refuses_what_breaks_the_protocol(body: bytes, message: str) -> None:
    with pytest.raises(WireError, match=message):
        decode_request(body)


LIMITS = build_snapshot(
    [
        Domain(
            name="d",
            descriptors=(
                Descriptor(key="k", rate_limit=RateLimit(unit=Unit.MINUTE, requests_per_unit=6_000_000_000, name="n")),
                Descriptor(key="free", rate_limit=RateLimit(unlimited=True)),
                Descriptor(
                    key="tier",
                    rate_limit=RateLimit(unit=Unit.MINUTE, requests_per_unit=5),
                    metadata='{"tier": "gold", "weights": [1]}',
                ),
            ),
        )
    ]
)


def answered(before: int, *keys: str, body: bytes = b"") -> RateLimitResponse:
    asked = LimitRequest("d", tuple(RequestDescriptor(((key, "v"),)) for key in keys))
    plan = plan_request(LIMITS, asked, now=60 * 1000 + 15)
    decision = decide_request(plan, Outcome((before,) * len(plan.transaction.ops), applied=True))
    return RateLimitResponse.FromString(encode_decision(decision, headers=(("a", "b"),), body=body))


def test_encodes_a_grant() -> None:
    assert json_format.MessageToDict(answered(10, "k", "free", "unknown", body=b"unused")) == {
        "overallCode": "OK",
        "statuses": [
            {
                "code": "OK",
                # 32 bits on the wire: a larger limit or remainder is shown as the largest there is.
                "currentLimit": {"name": "n", "requestsPerUnit": 2**32 - 1, "unit": "MINUTE"},
                "limitRemaining": 2**32 - 1,
                "durationUntilReset": "45s",
            },
            {"code": "OK", "limitRemaining": 2**32 - 1},
            {"code": "OK"},
        ],
        "responseHeadersToAdd": [{"key": "a", "value": "b"}],
    }


def test_an_answer_may_tell_what_was_asked() -> None:
    message = RateLimitRequest(domain="d", hits_addend=2)
    descriptor = message.descriptors.add()
    descriptor.entries.add(key="k", value="v")
    descriptor.entries.add(key="n", value="")
    descriptor.hits_addend.value = 3
    encoded = encode_decision(Decision(Code.OK, (), None), request=message.SerializeToString())
    told = json_format.MessageToDict(RateLimitResponse.FromString(encoded).dynamic_metadata)
    descriptors = [{"entries": ["k=v", "n="], "hitsAddend": 3.0}]
    assert told == {"domain": "d", "descriptors": descriptors, "hitsAddend": 2.0}


def test_encodes_a_refusal_with_its_rule() -> None:
    response = answered(6_000_000_000, "k", body=b"no")
    assert response.overall_code == RateLimitResponse.OVER_LIMIT
    assert response.statuses[0].code == RateLimitResponse.OVER_LIMIT
    assert response.raw_body == b"no"
    assert json_format.MessageToDict(response.dynamic_metadata) == {
        "domain": "d",
        "rule": "n",
        "limit": 6_000_000_000,
        "remaining": 0,
        "reset_seconds": 45,
    }


@pytest.mark.parametrize(
    ("moment", "interrupted"),
    [
        ("0-", False),
        ("100-", False),
        ("100DC", True),
        ("200-", False),
        ("200DC", True),
        ("0DC", True),
        ("200UC,DC", True),
        ("429RL", False),
        ("503UF", False),
        ("", False),
        (None, False),
        ("nonsense", True),
    ],
)
def test_tells_an_answer_that_broke_off(moment: str | None, interrupted: bool) -> None:
    message = RateLimitRequest(domain="d")
    message.descriptors.add().entries.add(key="k", value="v")
    assert decode_request(message.SerializeToString(), moment).interrupted is interrupted
