"""The configuration model: parsed from plain mappings, dumped back, wrong fields named with their path."""

import pytest
from headgate.limits.config import (
    DEPTH_MAX,
    ConfigError,
    Descriptor,
    Domain,
    RateLimit,
    Reserve,
    dump_domain,
    parse_domain,
    path_text,
)
from headgate.limits.units import Unit

EVERYTHING = Domain(
    name="ai",
    descriptors=(
        Descriptor(
            key="client",
            descriptors=(
                Descriptor(
                    key="model",
                    value="gpt-*",
                    share_threshold=True,
                    rate_limit=RateLimit(
                        unit=Unit.WEEK, requests_per_unit=5_000_000_000, name="big", replaces=("small", "tiny")
                    ),
                ),
                Descriptor(key="model", value="free", rate_limit=RateLimit(unlimited=True)),
            ),
        ),
        Descriptor(key="team", shadow_mode=True, detailed_metric=True),
    ),
)


def test_reads_every_field() -> None:
    parsed = parse_domain(
        {
            "domain": "ai",
            "descriptors": [
                {
                    "key": "client",
                    "descriptors": [
                        {
                            "key": "model",
                            "value": "gpt-*",
                            "share_threshold": True,
                            "rate_limit": {
                                "unit": "week",
                                "requests_per_unit": 5_000_000_000,
                                "name": "big",
                                "replaces": [{"name": "small"}, {"name": "tiny"}],
                            },
                        },
                        {"key": "model", "value": "free", "rate_limit": {"unlimited": True}},
                    ],
                },
                {"key": "team", "shadow_mode": True, "detailed_metric": True},
            ],
        }
    )
    assert parsed == EVERYTHING


def test_dump_is_the_inverse_of_parse_and_leaves_defaults_out() -> None:
    dumped = dump_domain(EVERYTHING)
    assert parse_domain(dumped) == EVERYTHING
    assert dump_domain(Domain(name="d", descriptors=(Descriptor(key="k"),))) == {
        "domain": "d",
        "descriptors": [{"key": "k"}],
    }


def test_a_limit_of_zero_survives_a_dump() -> None:
    limit = RateLimit(unit=Unit.SECOND, requests_per_unit=0)
    blocked = Domain(name="d", descriptors=(Descriptor(key="k", rate_limit=limit),))
    assert parse_domain(dump_domain(blocked)) == blocked


@pytest.mark.parametrize("unit", list(Unit))
def test_units_are_read_in_any_case(unit: Unit) -> None:
    limit = {"unit": unit.name.title(), "requests_per_unit": 1}
    parsed = parse_domain({"domain": "d", "descriptors": [{"key": "k", "rate_limit": limit}]})
    assert parsed.descriptors[0].rate_limit == RateLimit(unit=unit, requests_per_unit=1)


def test_numbers_are_read_as_text() -> None:
    parsed = parse_domain({"domain": "d", "descriptors": [{"key": "status", "value": 404}]})
    assert parsed.descriptors[0].value == "404"


def limited(**fields: object) -> object:
    return {"domain": "d", "descriptors": [{"key": "k", "rate_limit": {"unit": "day", **fields}}]}


def described(**fields: object) -> object:
    return {"domain": "d", "descriptors": [{"key": "k", **fields}]}


@pytest.mark.parametrize(
    ("document", "path", "message"),
    [
        ("text", "", "expected a mapping, found 'text'"),
        ([], "", "expected a mapping, found a list"),
        ({}, "domain", "a domain needs a name"),
        ({"domain": "d", "limits": []}, "limits", "unknown field; expected one of descriptors, domain"),
        ({"domain": "d", "descriptors": {}}, "descriptors", "expected a list, found a mapping"),
        ({"domain": "d", "descriptors": [None]}, "descriptors[0]", "expected a mapping, found nothing"),
        ({"domain": "d", "descriptors": [{"value": "v"}]}, "descriptors[0]", "a descriptor needs a key"),
        (described(value=True), "descriptors[0].value", "expected text, found a boolean: put it in quotes"),
        (described(value=[1]), "descriptors[0].value", "expected text, found a list"),
        (described(shadow_mode="yes"), "descriptors[0].shadow_mode", "expected true or false, found 'yes'"),
        (described(share_threshold=True), "descriptors[0].share_threshold", "needs a value with a wildcard (*)"),
        (described(metadata="x"), "descriptors[0].metadata", "expected a mapping, found 'x'"),
        (
            described(metadata={"a": float("nan")}),
            "descriptors[0].metadata",
            "expected text, numbers, true, false, null, lists and mappings by text",
        ),
        (limited(unit="fortnight"), "descriptors[0].rate_limit.unit", "found 'fortnight'"),
        (limited(unlimited=True), "descriptors[0].rate_limit.unit", "an unlimited limit has no unit"),
        (limited(requests_per_unit=-1), "descriptors[0].rate_limit.requests_per_unit", "expected a whole number"),
        (limited(requests_per_unit=1.5), "descriptors[0].rate_limit.requests_per_unit", "found 1.5"),
        (limited(requests_per_unit=True), "descriptors[0].rate_limit.requests_per_unit", "found True"),
        (limited(requests_per_unit=2**60), "descriptors[0].rate_limit.requests_per_unit", f"found {2**60}"),
        (limited(name="a", replaces=[{"name": "a"}]), "descriptors[0].rate_limit.replaces", "cannot replace itself"),
        (limited(replaces=[{"name": ""}]), "descriptors[0].rate_limit.replaces[0]", "expected the name of a limit"),
    ],
)
def test_says_what_is_wrong_and_where(document: object, path: str, message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse_domain(document)
    assert path_text(raised.value.path) == path
    assert message in raised.value.message


def test_refuses_two_equal_descriptors_on_a_level() -> None:
    twice = [{"key": "k", "value": "v"}, {"key": "k"}, {"key": "k", "value": "v"}]
    with pytest.raises(ConfigError, match=r"descriptors\[2\]: a second descriptor with key 'k' and value 'v'"):
        parse_domain({"domain": "d", "descriptors": twice})


def test_refuses_bottomless_nesting() -> None:
    descriptor: dict[str, object] = {"key": "k"}
    descriptor["descriptors"] = [descriptor]
    with pytest.raises(ConfigError, match=f"nested deeper than {DEPTH_MAX}"):
        parse_domain({"domain": "d", "descriptors": [descriptor]})


@pytest.mark.parametrize("reserve", [Reserve.OFF, Reserve.LENIENT, Reserve.STRICT])
def test_how_a_limit_reserves_comes_back(reserve: Reserve) -> None:
    limit = RateLimit(unit=Unit.DAY, requests_per_unit=1, reserve=reserve)
    domain = Domain(name="d", descriptors=(Descriptor(key="k", rate_limit=limit),))
    assert parse_domain(dump_domain(domain)) == domain


def test_an_unknown_way_to_reserve_is_named() -> None:
    limit = {"unit": "day", "requests_per_unit": 1, "reserve": "maybe"}
    with pytest.raises(ConfigError, match="reserve: expected lenient or strict, found 'maybe'"):
        parse_domain({"domain": "d", "descriptors": [{"key": "k", "rate_limit": limit}]})


def test_windows_of_ours_come_back() -> None:
    limits = (
        RateLimit(unit=Unit.HOUR, requests_per_unit=1, slides=True),
        RateLimit(unit=Unit.MONTH, requests_per_unit=1, time_zone="Europe/Berlin"),
    )
    for limit in limits:
        descriptor = Descriptor(key="k", rate_limit=limit, quota_mode=True, value_to_metric=True)
        domain = Domain(name="d", descriptors=(descriptor,))
        assert parse_domain(dump_domain(domain)) == domain


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ({"algorithm": "leaky"}, "expected one of fixed_window, sliding_window, token_bucket, found 'leaky'"),
        ({"burst": 3}, "burst: only a limit with algorithm token_bucket has a burst"),
        ({"algorithm": "token_bucket", "burst": 0}, "burst: a bucket that holds nothing refuses everything"),
        ({"algorithm": "token_bucket", "requests_per_unit": 0}, "requests_per_unit: a bucket is refilled with 1 to"),
        ({"algorithm": "token_bucket", "time_zone": "UTC"}, "algorithm: a bucket has no calendar"),
        ({"time_zone": "Mars/Olympus"}, "time_zone: expected a time zone"),
        ({"time_zone": "UTC", "algorithm": "sliding_window"}, "algorithm: windows of the calendar do not slide"),
    ],
)
def test_a_window_that_cannot_be_is_named(field: dict[str, object], message: str) -> None:
    limit = {"unit": "month", "requests_per_unit": 1, **field}
    with pytest.raises(ConfigError, match=message):
        parse_domain({"domain": "d", "descriptors": [{"key": "k", "rate_limit": limit}]})
