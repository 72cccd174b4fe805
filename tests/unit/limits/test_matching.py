"""Which rule limits a descriptor, and which counter that is. Examples are those of envoyproxy/ratelimit's README."""

import pytest
from headgate.limits.config import ConfigError
from headgate.limits.config_text import parse_text
from headgate.limits.matching import EMPTY, STEM_MAX, Entries, Match, Snapshot, build_snapshot, match_descriptor


def snapshot(text: str) -> Snapshot:
    return build_snapshot(parse_text(text, file="test"))


def found(limits: Snapshot, *entries: tuple[str, str], domain: str = "d") -> Match:
    match = match_descriptor(limits, domain, entries)
    assert match is not None
    return match


MESSAGING = snapshot("""
domain: d
descriptors:
- key: message_type
  value: marketing
  descriptors:
  - key: to_number
    rate_limit: {unit: day, requests_per_unit: 5}
- key: to_number
  rate_limit: {unit: day, requests_per_unit: 100}
""")


def test_nested_descriptors() -> None:
    marketing = found(MESSAGING, ("message_type", "marketing"), ("to_number", "2061234567"))
    assert marketing.rule.amount == 5
    assert marketing.rule.key == "message_type_marketing.to_number"
    assert marketing.stem == "d_message_type_marketing_to_number_2061234567_"
    assert found(MESSAGING, ("to_number", "1")).rule.amount == 100


@pytest.mark.parametrize(
    "entries",
    [
        (),
        (("message_type", "marketing"),),
        (("message_type", "other"), ("to_number", "1")),
        (("to_number", "1"), ("message_type", "marketing")),
        (("message_type", "marketing"), ("to_number", "1"), ("more", "1")),
        (("unknown", "1"),),
    ],
)
def test_no_rule_where_depth_order_or_value_differ(entries: Entries) -> None:
    assert match_descriptor(MESSAGING, "d", entries) is None


def test_no_rule_in_an_unknown_domain() -> None:
    assert match_descriptor(MESSAGING, "other", (("to_number", "1"),)) is None
    assert match_descriptor(EMPTY, "d", (("to_number", "1"),)) is None


def test_a_value_wins_over_a_key_alone() -> None:
    limits = snapshot("""
domain: d
descriptors:
- {key: remote_address, rate_limit: {unit: second, requests_per_unit: 10}}
- {key: remote_address, value: 50.0.0.5, rate_limit: {unit: second, requests_per_unit: 0}}
""")
    assert found(limits, ("remote_address", "50.0.0.5")).rule.amount == 0
    assert found(limits, ("remote_address", "50.0.0.1")).rule.amount == 10


WILDCARDS = snapshot("""
domain: d
descriptors:
- {key: path, value: /api/*/action, rate_limit: {unit: second, requests_per_unit: 1}}
- {key: path, value: /api/*, rate_limit: {unit: second, requests_per_unit: 2}}
- {key: path, value: /api/exact, rate_limit: {unit: second, requests_per_unit: 3}}
- {key: path, value: a*b*c*a, rate_limit: {unit: second, requests_per_unit: 4}}
- {key: path, rate_limit: {unit: second, requests_per_unit: 5}}
- {key: star, value: "*", rate_limit: {unit: second, requests_per_unit: 6}}
""")


@pytest.mark.parametrize(
    ("key", "value", "amount"),
    [
        ("path", "/api/1/action", 1),
        ("path", "/api//action", 1),
        ("path", "/api/action", 2),
        ("path", "/api/1/other", 2),
        ("path", "/api/", 2),
        ("path", "/api/exact", 3),
        ("path", "abca", 4),
        ("path", "a-b-c-a", 4),
        ("path", "acba", 5),
        ("path", "aba", 5),
        ("path", "", 5),
        ("star", "", 6),
        ("star", "*", 6),
    ],
)
def test_wildcards(key: str, value: str, amount: int) -> None:
    assert found(WILDCARDS, (key, value)).rule.amount == amount


def test_values_of_a_wildcard_share_a_counter_only_if_asked() -> None:
    limits = snapshot("""
domain: d
descriptors:
- key: files
  value: files/*
  share_threshold: true
  rate_limit: {unit: hour, requests_per_unit: 10}
- key: alone
  value: files/*
  rate_limit: {unit: hour, requests_per_unit: 10}
- key: team
  value: a*
  share_threshold: true
  descriptors:
  - {key: user, rate_limit: {unit: hour, requests_per_unit: 1}}
""")
    assert found(limits, ("files", "files/a.pdf")).stem == "d_files_files/*_"
    assert found(limits, ("alone", "files/a.pdf")).stem == "d_alone_files/a.pdf_"
    assert found(limits, ("team", "abc"), ("user", "u")).stem == "d_team_a*_user_u_"


def test_detailed_metrics_name_the_values() -> None:
    limits = snapshot("""
domain: d
descriptors:
- {key: a, detailed_metric: true, rate_limit: {unit: hour, requests_per_unit: 1}}
- {key: b, rate_limit: {unit: hour, requests_per_unit: 1, name: friendly}}
""")
    assert found(limits, ("a", "x")).metric_key == "a_x"
    assert found(limits, ("b", "x")).metric_key == "b"
    assert found(limits, ("a", "x")).rule.label == "a"
    assert found(limits, ("b", "x")).rule.label == "friendly"


def test_keys_with_underscores_do_not_meet() -> None:
    limits = snapshot("""
domain: d
descriptors:
- {key: a_b, value: c, rate_limit: {unit: hour, requests_per_unit: 1}}
""")
    assert match_descriptor(limits, "d", (("a", "b_c"),)) is None


def test_a_domain_is_defined_once() -> None:
    with pytest.raises(ConfigError, match="domain 'a' is defined twice"):
        snapshot("domain: a\n---\ndomain: a\n")


def test_long_values_make_no_long_keys_and_do_not_meet() -> None:
    """A million counters are kept, and a client may put 8 KB into each."""
    stems = [found(MESSAGING, ("to_number", "é" * 8000 + end)).stem for end in ("1", "2", "1")]
    assert {len(stem) for stem in stems} == {STEM_MAX}
    assert stems[0] != stems[1]
    assert stems[0] == stems[2]
    longest = "1" * (STEM_MAX - len("d_to_number__"))
    assert found(MESSAGING, ("to_number", longest)).stem == f"d_to_number_{longest}_"
