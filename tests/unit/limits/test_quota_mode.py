"""Limits in quota mode refuse together, as envoyproxy/ratelimit's do; metadata and metrics by the values of levels."""

from collections.abc import Iterable, Sequence

import pytest
from envoy.service.ratelimit.v3.rls_pb2 import RateLimitRequest, RateLimitResponse
from google.protobuf import json_format
from headgate.limits.config import Descriptor, Domain, RateLimit
from headgate.limits.engine import (
    Code,
    Decision,
    LimitOverride,
    LimitRequest,
    Outcome,
    RequestDescriptor,
    decide_request,
    plan_request,
)
from headgate.limits.matching import Snapshot, build_snapshot, match_descriptor
from headgate.limits.units import Unit
from headgate.ratelimit.service import RateLimitService
from headgate.ratelimit.storages.memory import MemoryStorage
from headgate.ratelimit.wire import encode_decision

LIMIT = RateLimit(unit=Unit.HOUR, requests_per_unit=1)
TWO = RateLimit(unit=Unit.HOUR, requests_per_unit=2)
FOUR = RateLimit(unit=Unit.DAY, requests_per_unit=4)


def snapshot_of(*descriptors: Descriptor) -> Snapshot:
    return build_snapshot([Domain(name="d", descriptors=descriptors)])


def ask(storage: MemoryStorage, snapshot: Snapshot, keys: Iterable[str]) -> Decision:
    plan = plan_request(snapshot, LimitRequest("d", tuple(RequestDescriptor(((key, "v"),)) for key in keys)), now=0)
    return decide_request(plan, storage.start(plan.transaction))


def overall(decisions: Iterable[Decision]) -> Sequence[int]:
    return [each.code.value for each in decisions]


def test_quotas_refuse_only_where_all_are_over() -> None:
    snapshot = snapshot_of(
        Descriptor(key="one", rate_limit=LIMIT, quota_mode=True),
        Descriptor(key="two", rate_limit=TWO, quota_mode=True),
    )
    storage = MemoryStorage()
    decisions = [ask(storage, snapshot, ("one", "two")) for _ in range(4)]
    assert overall(decisions) == [1, 1, 2, 2]
    assert [status.code for status in decisions[1].statuses] == [Code.OVER_LIMIT, Code.OK]
    assert [status.before for status in decisions[3].statuses] == [2, 2], "what is refused counts nothing"


def test_of_quotas_that_refuse_the_first_to_reset_is_told() -> None:
    snapshot = snapshot_of(
        Descriptor(key="day", rate_limit=FOUR, quota_mode=True), Descriptor(key="hour", rate_limit=TWO, quota_mode=True)
    )
    storage = MemoryStorage()
    last = [ask(storage, snapshot, ("day", "hour")) for _ in range(5)][-1]
    assert last.refusal is not None
    assert last.refusal.match is not None
    assert last.refusal.match.rule.key == "hour"


def test_one_quota_alone_refuses_as_any_limit() -> None:
    snapshot = snapshot_of(Descriptor(key="one", rate_limit=LIMIT, quota_mode=True), Descriptor(key="free"))
    storage = MemoryStorage()
    assert overall(ask(storage, snapshot, ("one", "free")) for _ in range(2)) == [1, 2]


def test_a_plain_limit_refuses_whatever_quotas_say() -> None:
    snapshot = snapshot_of(
        Descriptor(key="quota", rate_limit=FOUR, quota_mode=True), Descriptor(key="plain", rate_limit=LIMIT)
    )
    storage = MemoryStorage()
    decisions = [ask(storage, snapshot, ("quota", "plain")) for _ in range(3)]
    assert overall(decisions) == [1, 2, 2]
    assert decisions[-1].statuses[0].before == 1, "what is refused counts nothing"


def test_shadow_mode_wins_over_quota_mode() -> None:
    snapshot = snapshot_of(Descriptor(key="both", rate_limit=LIMIT, quota_mode=True, shadow_mode=True))
    storage = MemoryStorage()
    assert overall(ask(storage, snapshot, ("both",)) for _ in range(3)) == [1, 1, 1]


@pytest.mark.parametrize("told", [False, True])
def test_metadata_of_limits_that_have_room_is_told_where_answers_tell_what_was_asked(*, told: bool) -> None:
    snapshot = snapshot_of(
        Descriptor(key="spent", rate_limit=LIMIT, quota_mode=True, metadata='{"to":"a","of":{"x":1}}'),
        Descriptor(key="first", rate_limit=TWO, quota_mode=True, metadata='{"to":"b","of":{"y":2}}'),
        Descriptor(key="second", rate_limit=FOUR, metadata='{"to":"c","of":{"y":3,"z":4}}'),
    )
    message = RateLimitRequest(domain="d")
    for key in ("spent", "first", "second"):
        message.descriptors.add().entries.add(key=key, value="v")
    storage = MemoryStorage()
    decision = [ask(storage, snapshot, ("spent", "first", "second")) for _ in range(2)][-1]
    encoded = encode_decision(decision, request=message.SerializeToString() if told else b"")
    metadata = json_format.MessageToDict(RateLimitResponse.FromString(encoded).dynamic_metadata)
    assert metadata.get("metadata") == ({"to": "b", "of": {"y": 2, "z": 4}} if told else None)
    assert bool(metadata) is told


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


@pytest.mark.parametrize("mode", ["shadow_mode", "quota_mode"])
def test_a_services_mode_is_also_that_of_limits_that_come_with_a_request(mode: str) -> None:
    service = RateLimitService(MemoryStorage(), shadow_mode=mode == "shadow_mode", quota_mode=mode == "quota_mode")
    service.use(snapshot_of(Descriptor(key="free", rate_limit=FOUR)))
    came = RequestDescriptor((("own", "v"),), override=LimitOverride(1, Unit.HOUR))
    request = LimitRequest("d", (came, RequestDescriptor((("free", "v"),))))
    decisions: list[Decision] = []
    for _ in range(2):
        plan = service.plan(request)
        outcome = service.start(plan)
        assert isinstance(outcome, Outcome)
        decisions.append(service.finish(plan, outcome, request.moment))
    assert overall(decisions) == [1, 1], "the limit that came refuses at 1 by itself"
    assert [status.over for status in decisions[1].statuses] == [True, False]
