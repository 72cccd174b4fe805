"""What is counted, under envoyproxy/ratelimit's names."""

import asyncio
from dataclasses import fields

import pytest
from headgate.limits.config import Descriptor, Domain, RateLimit
from headgate.limits.engine import (
    LimitRequest,
    Moment,
    Outcome,
    RequestDescriptor,
    decide_request,
    examine,
    plan_request,
)
from headgate.limits.matching import build_snapshot
from headgate.limits.units import Unit
from headgate.ratelimit.metrics import PART_RULES, RULES_MAX, Metrics, RuleCounts
from headgate.ratelimit.service import RateLimitService
from headgate.ratelimit.storages.memory import MemoryStorage
from headgate.runtime.metrics import Distribution, Kind

TEN = RateLimit(unit=Unit.MINUTE, requests_per_unit=10)
LIMITS = build_snapshot(
    [
        Domain(
            name="d",
            descriptors=(
                Descriptor(key="k", rate_limit=TEN),
                Descriptor(key="shadow", rate_limit=TEN, shadow_mode=True),
                Descriptor(key="detailed", rate_limit=TEN, detailed_metric=True),
            ),
        )
    ]
)


def count(
    metrics: Metrics, *, hits: int, before: int, key: str = "k", value: str = "v", moment: Moment = Moment.ADMISSION
) -> None:
    request = LimitRequest("d", (RequestDescriptor(((key, value),), hits),), moment)
    plan = plan_request(LIMITS, request, now=0)
    applied = moment is Moment.SETTLEMENT or examine(plan.transaction.ops, (before,))
    metrics.record(decide_request(plan, Outcome((before,), applied)), moment)


@pytest.mark.parametrize(
    ("hits", "before", "counts"),
    [
        (1, 0, RuleCounts(total_hits=1, within_limit=1)),
        (0, 0, RuleCounts()),
        (1, 8, RuleCounts(total_hits=1, within_limit=1, near_limit=1)),
        (1, 10, RuleCounts(total_hits=1, over_limit=1, refused=1)),
        (0, 10, RuleCounts(refused=1)),
        (5, 8, RuleCounts(total_hits=5, over_limit=3, refused=1)),
        (-5, 8, RuleCounts()),
    ],
)
def test_counts_of_a_rule(hits: int, before: int, counts: RuleCounts) -> None:
    metrics = Metrics()
    count(metrics, hits=hits, before=before)
    assert metrics.rule("d", "k") == counts


def test_shadow_mode_has_its_own_count() -> None:
    metrics = Metrics()
    count(metrics, hits=5, before=8, key="shadow")
    assert metrics.rule("d", "shadow") == RuleCounts(total_hits=5, near_limit=2, shadow_mode=3)


def test_admissions_settlements_and_refusals() -> None:
    metrics = Metrics()
    count(metrics, hits=1, before=0)
    count(metrics, hits=1, before=10)
    count(metrics, hits=20, before=0, moment=Moment.SETTLEMENT)
    assert (metrics.admissions, metrics.settlements, metrics.refusals) == (2, 1, 1)
    assert metrics.rule("d", "k") == RuleCounts(total_hits=22, over_limit=11, near_limit=2, within_limit=1, refused=1)


def test_detailed_rules_are_bounded() -> None:
    metrics = Metrics()
    for index in range(RULES_MAX + 5):
        count(metrics, hits=1, before=0, key="detailed", value=str(index))
    assert metrics.rule("d", "detailed_0").total_hits == 1
    assert metrics.rule("", "other").total_hits == 5


def test_text_is_prometheus_format() -> None:
    metrics = Metrics()
    count(metrics, hits=1, before=0, key="detailed", value='a"b\\c\nd')
    lines = metrics.text([("extra", Kind.COUNTER, 4)]).splitlines()
    key = 'detailed_a\\"b\\\\c\\nd'
    assert f'ratelimit_service_rate_limit_total_hits{{domain="d",rule="{key}",key1="{key}"}} 1' in lines
    assert "headgate_ratelimit_admissions 1" in lines
    assert lines[-2:] == ["# TYPE extra counter", "extra 4"]


def test_values_are_those_of_the_text() -> None:
    metrics = Metrics()
    count(metrics, hits=1, before=0)
    count(metrics, hits=1, before=10, key="shadow")
    metrics.took(0.003)
    others = [("headgate_ratelimit_extra", Kind.GAUGE, 4)]
    told: dict[str, float] = {}
    for reading in metrics.readings(others):
        name = reading.description.name.replace(".", "_")
        for labels, value in reading.values.items():
            pairs = zip(reading.description.labels, labels, strict=True)
            inner = ",".join(f'{label}="{each}"' for label, each in pairs if each)
            if isinstance(value, Distribution):
                told[f"{name}_seconds_count{{{inner}}}"] = value.count
                told[f"{name}_seconds_sum{{{inner}}}"] = value.total
            else:
                told[f"{name}{{{inner}}}" if inner else name] = value
    lines = [line for line in metrics.text(others).splitlines() if "#" not in line and "_bucket" not in line]
    assert told == {series: float(value) for series, _, value in (line.rpartition(" ") for line in lines)}


def test_how_long_answers_took_is_a_histogram() -> None:
    metrics = Metrics()
    for seconds in (0.00005, 0.0001, 0.003, 99.0):
        metrics.took(seconds)
    lines = metrics.text().splitlines()
    name, method = "ratelimit_service_response_time_seconds", 'grpc_method="ShouldRateLimit"'
    assert f"# TYPE {name} histogram" in lines
    for bound, count in (("0.0001", 2), ("0.0025", 2), ("0.005", 3), ("10.0", 3), ("+Inf", 4)):
        assert f'{name}_bucket{{{method},le="{bound}"}} {count}' in lines
    assert f"{name}_count{{{method}}} 4" in lines
    assert f"{name}_sum{{{method}}} 99.00315" in lines


def test_of_hits_that_come_near_only_what_lies_above_is_near() -> None:
    metrics = Metrics(near_limit_ratio=0.5)
    count(metrics, hits=4, before=3)
    count(metrics, hits=2, before=7)
    assert metrics.rule("d", "k").near_limit == 2 + 2


def test_rules_have_the_labels_of_envoyproxys_mapping() -> None:
    metrics = Metrics()
    metrics.rule("d", "a_1.b.c").total_hits = 3
    line = 'ratelimit_service_rate_limit_total_hits{domain="d",rule="a_1.b.c",key1="a_1",key2="b"} 3'
    assert line in metrics.text().splitlines()


async def test_a_figure_of_the_storage_that_falls_is_a_gauge() -> None:
    text = await RateLimitService(MemoryStorage()).metrics_text()
    assert "# TYPE headgate_ratelimit_memory_holds gauge\nheadgate_ratelimit_memory_holds 0\n" in text
    assert "# TYPE headgate_ratelimit_memory_holds_dropped counter\n" in text


async def test_decisions_are_made_while_a_large_page_is_written() -> None:
    service = RateLimitService(MemoryStorage())
    service.use(LIMITS)
    for index in range(RULES_MAX):
        service.metrics.rule("d", f"rule_{index}").total_hits = 1
    request = LimitRequest("d", (RequestDescriptor((("k", "v"),)),))
    page = asyncio.create_task(service.metrics_text())
    decided = 0
    while not page.done():
        await service.decide(request)
        decided += 1
        await asyncio.sleep(0)
    assert decided > len(fields(RuleCounts)) * RULES_MAX / PART_RULES
    assert page.result().count("\nratelimit_service_rate_limit_total_hits{") >= RULES_MAX
