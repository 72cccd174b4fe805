"""Fields of envoyproxy/ratelimit that change what is told, not what is counted."""

from envoy.service.ratelimit.v3.rls_pb2 import RateLimitResponse
from google.protobuf import json_format
from headgate.limits.config import Descriptor, Domain, RateLimit
from headgate.limits.engine import Code, LimitRequest, RequestDescriptor, decide_request, plan_request
from headgate.limits.matching import build_snapshot, match_descriptor
from headgate.limits.units import Unit
from headgate.ratelimit.storages.memory import MemoryStorage
from headgate.ratelimit.wire import encode_decision

LIMIT = RateLimit(unit=Unit.HOUR, requests_per_unit=1)


def test_a_limit_in_quota_mode_is_told_and_does_not_refuse() -> None:
    snapshot = build_snapshot(
        [
            Domain(
                name="d",
                descriptors=(
                    Descriptor(key="quota", rate_limit=LIMIT, quota_mode=True),
                    Descriptor(key="plain", rate_limit=RateLimit(unit=Unit.HOUR, requests_per_unit=2)),
                ),
            )
        ]
    )
    request = LimitRequest("d", tuple(RequestDescriptor(((key, "v"),)) for key in ("plain", "quota")))
    storage = MemoryStorage()
    answers: list[RateLimitResponse] = []
    for _ in range(3):
        plan = plan_request(snapshot, request, now=0)
        decision = decide_request(plan, storage.start(plan.transaction))
        answers.append(RateLimitResponse.FromString(encode_decision(decision)))
    assert [answer.overall_code for answer in answers] == [1, 1, 2]
    assert not answers[0].HasField("dynamic_metadata")
    second = json_format.MessageToDict(answers[1].dynamic_metadata)
    assert second == {"quotaModeEnabled": True, "quotaModeViolations": [1.0]}
    assert [status.code for status in answers[1].statuses] == [Code.OK.value, Code.OK.value]
    assert answers[2].dynamic_metadata["rule"] == "plain"


def test_metrics_name_the_values_of_the_levels_that_ask_for_it() -> None:
    inner = (
        Descriptor(key="model", value="gpt-*", value_to_metric=True, rate_limit=LIMIT),
        Descriptor(key="model", value="claude-*", value_to_metric=True, share_threshold=True, rate_limit=LIMIT),
        Descriptor(key="model", value="o1", rate_limit=LIMIT),
    )
    snapshot = build_snapshot(
        [Domain(name="d", descriptors=(Descriptor(key="user", value_to_metric=True, descriptors=inner),))]
    )
    keys = {
        model: match.metric_key
        for model in ("gpt-4o", "claude-opus", "o1")
        if (match := match_descriptor(snapshot, "d", (("user", "a.b"), ("model", model))))
    }
    assert keys == {
        "gpt-4o": "user_a.b.model_gpt-4o",
        "claude-opus": "user_a.b.model_claude-*",
        "o1": "user_a.b.model_o1",
    }
