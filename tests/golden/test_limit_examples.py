"""What the README of envoyproxy/ratelimit shows by examples, a case each with names of our own: which limit a
descriptor meets, by which counter, and what metrics call it.

https://github.com/envoyproxy/ratelimit#examples
"""

from collections.abc import Sequence

import pytest
from headgate.limits.config_text import parse_text
from headgate.limits.engine import Code, LimitRequest, RequestDescriptor, decide_request, plan_request
from headgate.limits.matching import build_snapshot, match_descriptor
from headgate.ratelimit.storages.memory import MemoryStorage

NOW = 1_700_000_000
Met = tuple[str, str, str, str]
"""A descriptor, the limit it meets, the counter and the metric; empty where it meets none."""

TWO_VALUES = """
domain: e1
descriptors:
- {key: table, value: users, rate_limit: {unit: second, requests_per_unit: 500}}
- {key: table, value: rest, rate_limit: {unit: second, requests_per_unit: 400}}
"""
NESTED = """
domain: e2
descriptors:
- key: kind
  value: advert
  descriptors: [{key: number, rate_limit: {unit: day, requests_per_unit: 5}}]
- {key: number, rate_limit: {unit: day, requests_per_unit: 100}}
"""
MOST_SPECIFIC = """
domain: e3
descriptors:
- {key: address, rate_limit: {unit: second, requests_per_unit: 10}}
- {key: address, value: 50.0.0.5, rate_limit: {unit: second, requests_per_unit: 0}}
"""
FLAT = """
domain: e4
descriptors:
- {key: k, value: v, rate_limit: {unit: second, requests_per_unit: 300}}
"""
DEEP = """
domain: e4
descriptors:
- {key: k, value: v, descriptors: [{key: sub, rate_limit: {unit: second, requests_per_unit: 300}}]}
"""
UNLIMITED = """
domain: e5
descriptors:
- {key: trusted, rate_limit: {unlimited: true}}
- {key: other, rate_limit: {unit: minute, requests_per_unit: 100}}
"""
DETAILED = """
domain: e8
descriptors:
- {key: k, detailed_metric: true, rate_limit: {unit: minute, requests_per_unit: 10}}
- {key: k, value: v, rate_limit: {unit: minute, requests_per_unit: 20}}
"""
WILDCARDS = """
domain: e9
descriptors:
- {key: path, value: 'v*', rate_limit: {unit: minute, requests_per_unit: 20}}
- {key: path, value: /api/*/action, rate_limit: {unit: minute, requests_per_unit: 30}}
- {key: path, value: /api/*/of/*/action, rate_limit: {unit: minute, requests_per_unit: 40}}
"""
VALUES_IN_METRICS = """
domain: e10
descriptors:
- key: path
  value_to_metric: true
  descriptors:
  - key: method
    value_to_metric: true
    descriptors: [{key: who, rate_limit: {unit: minute, requests_per_unit: 60}}]
- key: user
  value_to_metric: true
  descriptors:
  - key: action
    value: 'read*'
    value_to_metric: true
    descriptors: [{key: what, rate_limit: {unit: minute, requests_per_unit: 100}}]
"""
SHARED = """
domain: e11
descriptors:
- {key: files, value: 'files/*', share_threshold: true, rate_limit: {unit: hour, requests_per_unit: 10}}
- {key: apart, value: 'apart/*', rate_limit: {unit: hour, requests_per_unit: 10}}
- key: path
  value: 'api/*'
  share_threshold: true
  value_to_metric: true
  descriptors: [{key: method, rate_limit: {unit: minute, requests_per_unit: 60}}]
"""
EXAMPLES: Sequence[tuple[str, str, Sequence[Met]]] = (
    (
        "1",
        TWO_VALUES,
        [
            ("table=users", "500/second", "e1_table_users_", "table_users"),
            ("table=rest", "400/second", "e1_table_rest_", "table_rest"),
            ("table=others", "", "", ""),
        ],
    ),
    (
        "2",
        NESTED,
        [
            ("kind=advert,number=1", "5/day", "e2_kind_advert_number_1_", "kind_advert.number"),
            ("kind=advert,number=2", "5/day", "e2_kind_advert_number_2_", "kind_advert.number"),
            ("number=1", "100/day", "e2_number_1_", "number"),
            ("kind=advert", "", "", ""),
            ("kind=letter,number=1", "", "", ""),
        ],
    ),
    (
        "3",
        MOST_SPECIFIC,
        [
            ("address=50.0.0.1", "10/second", "e3_address_50.0.0.1_", "address"),
            ("address=50.0.0.5", "0/second", "e3_address_50.0.0.5_", "address_50.0.0.5"),
        ],
    ),
    ("4, one level", FLAT, [("k=v,sub=x", "", "", ""), ("k=v", "300/second", "e4_k_v_", "k_v")]),
    ("4, two levels", DEEP, [("k=v,sub=x", "300/second", "e4_k_v_sub_x_", "k_v.sub"), ("k=v", "", "", "")]),
    (
        "5",
        UNLIMITED,
        [
            ("trusted=a", "unlimited", "e5_trusted_a_", "trusted"),
            ("other=a", "100/minute", "e5_other_a_", "other"),
            ("nobody=a", "", "", ""),
        ],
    ),
    (
        "8",
        DETAILED,
        [
            ("k=a", "10/minute", "e8_k_a_", "k_a"),
            ("k=b", "10/minute", "e8_k_b_", "k_b"),
            ("k=v", "20/minute", "e8_k_v_", "k_v"),
        ],
    ),
    (
        "9",
        WILDCARDS,
        [
            ("path=v1", "20/minute", "e9_path_v1_", "path_v*"),
            ("path=/api/1/action", "30/minute", "e9_path_/api/1/action_", "path_/api/*/action"),
            ("path=/api/1/of/2/action", "30/minute", "e9_path_/api/1/of/2/action_", "path_/api/*/action"),
            ("path=/api/1/other", "", "", ""),
        ],
    ),
    (
        "10",
        VALUES_IN_METRICS,
        [
            ("path=a,method=GET,who=1", "60/minute", "e10_path_a_method_GET_who_1_", "path_a.method_GET.who"),
            (
                "user=ann,action=reads,what=w",
                "100/minute",
                "e10_user_ann_action_reads_what_w_",
                "user_ann.action_reads.what",
            ),
        ],
    ),
    (
        "11",
        SHARED,
        [
            ("files=files/a", "10/hour", "e11_files_files/*_", "files_files/*"),
            ("files=files/b", "10/hour", "e11_files_files/*_", "files_files/*"),
            ("apart=apart/a", "10/hour", "e11_apart_apart/a_", "apart_apart/*"),
            ("path=api/v1,method=GET", "60/minute", "e11_path_api/*_method_GET_", "path_api/*.method"),
        ],
    ),
)


def _entries(text: str) -> tuple[tuple[str, str], ...]:
    return tuple((key, value) for key, _, value in (each.partition("=") for each in text.split(",")))


@pytest.mark.parametrize(("config", "meets"), [each[1:] for each in EXAMPLES], ids=[each[0] for each in EXAMPLES])
def test_example(config: str, meets: Sequence[Met]) -> None:
    snapshot = build_snapshot(parse_text(config, file="limits.yaml"))
    (domain,) = snapshot.domains
    found: list[Met] = []
    for text, *_ in meets:
        match = match_descriptor(snapshot, domain, _entries(text))
        if match is None:
            found.append((text, "", "", ""))
            continue
        rule = match.rule
        limit = "unlimited" if rule.unit is None else f"{rule.amount}/{rule.unit.name.lower()}"
        found.append((text, limit, match.stem, match.metric_key))
    assert found == list(meets)


def _statuses(config: str, *descriptors: str, times: int) -> list[list[Code]]:
    snapshot, storage = build_snapshot(parse_text(config, file="limits.yaml")), MemoryStorage()
    (domain,) = snapshot.domains
    request = LimitRequest(domain, tuple(RequestDescriptor(_entries(each)) for each in descriptors))
    found: list[list[Code]] = []
    for _ in range(times):
        plan = plan_request(snapshot, request, now=NOW)
        decision = decide_request(plan, storage.start(plan.transaction))
        found.append([decision.code, *(status.code for status in decision.statuses)])
    return found


def test_example_6_shadow_mode_never_refuses() -> None:
    config = """
domain: e6
descriptors:
- key: service
  descriptors:
  - {key: user, value: a, shadow_mode: true, rate_limit: {unit: hour, requests_per_unit: 1}}
  - {key: user, value: b, rate_limit: {unit: hour, requests_per_unit: 2}}
"""
    assert _statuses(config, "service=auth,user=a", times=3) == [[Code.OK, Code.OK]] * 3
    refused = [Code.OVER_LIMIT, Code.OVER_LIMIT]
    assert _statuses(config, "service=auth,user=b", times=3) == [[Code.OK, Code.OK]] * 2 + [refused]


def test_example_7_a_limit_replaces_another_where_both_match() -> None:
    config = """
domain: e7
descriptors:
- {key: a, value: x, descriptors: [{key: user, value: u, rate_limit: {name: less, unit: hour, requests_per_unit: 1}}]}
- key: b
  value: y
  descriptors:
  - {key: user, value: u, rate_limit: {replaces: [{name: less}], unit: hour, requests_per_unit: 2}}
"""
    over = Code.OVER_LIMIT
    assert _statuses(config, "a=x,user=u", times=2) == [[Code.OK, Code.OK], [over, over]]
    assert _statuses(config, "b=y,user=u", times=3) == [[Code.OK, Code.OK]] * 2 + [[over, over]]
    together = _statuses(config, "a=x,user=u", "b=y,user=u", times=3)
    assert together == [[Code.OK, Code.OK, Code.OK]] * 2 + [[over, Code.OK, over]]
