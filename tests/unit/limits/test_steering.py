"""Limits of single backends: who is used up is passed over, and only where nobody is left is a request refused."""

import random
from collections import Counter
from collections.abc import Sequence

import pytest
from envoy.service.ratelimit.v3.rls_pb2 import RateLimitRequest, RateLimitResponse
from google.protobuf import json_format
from headgate.contract.steering import BACKEND_ENTRY, Choice, decode_choice, encode_choice
from headgate.limits.config import Descriptor, Domain, RateLimit, Reserve
from headgate.limits.engine import (
    Code,
    Decision,
    LimitRequest,
    Moment,
    RequestDescriptor,
    decide_request,
    plan_request,
)
from headgate.limits.matching import build_snapshot
from headgate.limits.steering import ordered
from headgate.limits.units import Unit
from headgate.ratelimit.metrics import Metrics
from headgate.ratelimit.storages.memory import MemoryStorage
from headgate.ratelimit.wire import decode_request, encode_decision

NOW = 1_700_000_000
FIRST = Choice("c1", 0, 1, "ns/first", "m1")
SECOND = Choice("c2", 1, 1, "ns/second")
THIRD = Choice("c3", 2, 1, "ns/third")
LIMITS = {"ns/first": 100, "ns/second": 60}


def _limited(service: str, tokens: int) -> Descriptor:
    limit = RateLimit(unit=Unit.MINUTE, requests_per_unit=tokens, reserve=Reserve.STRICT)
    return Descriptor(
        key="backend_name", value=service, descriptors=(Descriptor(key="model_name_override", rate_limit=limit),)
    )


SNAPSHOT = build_snapshot(
    [
        Domain(
            name="d",
            descriptors=(
                *(_limited(service, tokens) for service, tokens in LIMITS.items()),
                Descriptor(key="client", rate_limit=RateLimit(unit=Unit.MINUTE, requests_per_unit=1000)),
            ),
        )
    ]
)


def _entries(service: str, model: str) -> tuple[tuple[str, str], ...]:
    return (("backend_name", service), ("model_name_override", model))


class Limiter:
    def __init__(self) -> None:
        self.storage = MemoryStorage()
        self.number = 0

    def ask(self, hits: int, *choices: Choice, client: int = 0) -> Decision:
        self.number += 1
        descriptors = [RequestDescriptor((("client", "a"),), client)]
        descriptors += [RequestDescriptor(_entries(each.service, each.model or "m"), hits) for each in choices]
        request = LimitRequest("d", tuple(descriptors), backends=choices)
        plan = plan_request(SNAPSHOT, request, now=NOW, name=str(self.number))
        return decide_request(plan, self.storage.start(plan.transaction))

    def settle(self, number: int, charges: Sequence[tuple[Choice, int]]) -> None:
        descriptors = tuple(
            RequestDescriptor(_entries(each.service, each.model or "m"), hits) for each, hits in charges
        )
        request = LimitRequest("d", descriptors, Moment.SETTLEMENT)
        plan = plan_request(SNAPSHOT, request, now=NOW, name=str(number))
        decide_request(plan, self.storage.start(plan.transaction))

    def used(self, choice: Choice) -> int:
        request = LimitRequest("d", (RequestDescriptor(_entries(choice.service, choice.model or "m"), 0),))
        outcome = self.storage.start(plan_request(SNAPSHOT, request, now=NOW).transaction)
        return outcome.before[0]


def test_the_first_that_has_room_is_asked_and_only_it_is_charged() -> None:
    limiter = Limiter()
    assert limiter.ask(55, FIRST, SECOND).groups == ()
    steered = limiter.ask(50, FIRST, SECOND)
    assert steered.code is Code.OK
    assert steered.groups == ((("c2", 1),),)
    assert (limiter.used(FIRST), limiter.used(SECOND)) == (55, 50)
    assert [status.passed for status in steered.statuses] == [False, True, False]


def test_nobody_left_is_a_refusal_and_charges_nothing() -> None:
    limiter = Limiter()
    for _ in range(2):
        limiter.ask(60, FIRST, SECOND)
    refused = limiter.ask(60, FIRST, SECOND, client=7)
    assert refused.code is Code.OVER_LIMIT
    assert refused.refusal is not None
    assert refused.refusal.rule is not None
    assert "backend_name" in refused.refusal.rule.key
    assert (limiter.used(FIRST), limiter.used(SECOND)) == (60, 60)


def test_a_backend_without_limits_is_always_left() -> None:
    limiter = Limiter()
    for _ in range(3):
        limiter.ask(60, FIRST, SECOND, THIRD)
    assert limiter.ask(60, FIRST, SECOND, THIRD).groups == ((("c3", 1),),)


def test_a_limit_of_all_backends_refuses_as_ever() -> None:
    limiter = Limiter()
    limiter.ask(1, FIRST, SECOND, client=1000)
    refused = limiter.ask(1, FIRST, SECOND, client=1)
    assert refused.code is Code.OVER_LIMIT
    assert refused.refusal is not None
    assert refused.refusal.rule is not None
    assert refused.refusal.rule.key == "client"
    assert limiter.used(FIRST) == 1


def test_later_groups_that_are_used_up_are_not_tried_either() -> None:
    limiter = Limiter()
    limiter.ask(60, SECOND)
    assert limiter.ask(50, FIRST, SECOND, THIRD).groups == ((("c1", 1),), (("c3", 1),))


def test_whoever_served_is_charged_and_reservations_of_others_end() -> None:
    limiter = Limiter()
    limiter.ask(60, FIRST, SECOND)  # begins with the first, fails over
    limiter.settle(1, [(FIRST, 0), (SECOND, 45)])
    assert (limiter.used(FIRST), limiter.used(SECOND)) == (0, 45)


def test_weights_decide_within_a_group() -> None:
    choices = (Choice("a", 0, 3, "ns/a"), Choice("b", 0, 1, "ns/b"), Choice("c", 1, 9, "ns/c"))
    first = Counter(ordered(choices, f"host/{n}/1")[0].cluster for n in range(4000))
    assert set(first) == {"a", "b"}
    assert first["a"] == pytest.approx(3000, abs=120)


def test_one_of_a_group_is_named_so_that_envoy_asks_whom_we_charged() -> None:
    limiter = Limiter()
    other = Choice("c9", 0, 1, "ns/none")
    found = {limiter.ask(1, FIRST, other).groups for _ in range(20)}
    assert found == {((("c1", 1),),), ((("c9", 1),),)}


def test_choices_survive_the_wire() -> None:
    seeded = random.Random(7)
    for _ in range(200):
        model = "".join(seeded.choice("ab /:") for _ in range(seeded.randint(0, 6)))
        choice = Choice("ns/r/ref/1", seeded.randint(0, 9), seeded.randint(1, 1000), "ns/b", model)
        assert decode_choice(encode_choice(choice)) == choice
    for text in ("", "x", "0 1 c", "-1 1 c s m", "0 ² c s m", "0 1.5 c s m"):
        assert decode_choice(text) is None


def test_envoy_is_told_in_dynamic_metadata() -> None:
    message = RateLimitRequest(domain="d")
    named = message.descriptors.add()
    for choice in (FIRST, SECOND):
        named.entries.add(key=BACKEND_ENTRY, value=encode_choice(choice))
    for service, model in (("ns/first", "m1"), ("ns/second", "m")):
        limited = message.descriptors.add()
        limited.hits_addend.value = 70
        limited.entries.add(key="backend_name", value=service)
        limited.entries.add(key="model_name_override", value=model)
    request = decode_request(message.SerializeToString(), "0-")
    assert request.backends == (FIRST, SECOND)
    storage, metrics = MemoryStorage(), Metrics()
    storage.start(plan_request(SNAPSHOT, request, now=NOW, name="1").transaction)
    # the second holds 60 only, so what needs 70 has nowhere to go
    plan = plan_request(SNAPSHOT, request, now=NOW, name="2")
    decision = decide_request(plan, storage.start(plan.transaction))
    assert RateLimitResponse.FromString(encode_decision(decision)).overall_code == RateLimitResponse.OVER_LIMIT
    for descriptor in message.descriptors[1:]:
        descriptor.hits_addend.value = 50
    plan = plan_request(SNAPSHOT, decode_request(message.SerializeToString(), "0-"), now=NOW, name="3")
    decision = decide_request(plan, storage.start(plan.transaction))
    metrics.record(decision, Moment.ADMISSION)
    answer = RateLimitResponse.FromString(encode_decision(decision))
    assert answer.overall_code == RateLimitResponse.OK
    told = json_format.MessageToDict(answer.dynamic_metadata)
    assert told == {
        "priority_groups": [{"name": "steered-0", "clusters": [{"cluster_name": "c2", "weight": 1.0}]}],
    }
    assert [status.limit_remaining for status in answer.statuses] == [0, 0, 60]
    assert metrics.rule("d", "backend_name_ns/first.model_name_override").steered == 1
