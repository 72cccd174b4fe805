"""Limits as YAML text: errors name file, line and field; what is dumped reads back equal."""

import pytest
from headgate.limits.config import Descriptor, Domain, RateLimit
from headgate.limits.config_text import ConfigTextError, dump_text, parse_text
from headgate.limits.units import Unit

TEXT = """\
# limits of the team
domain: ai
descriptors:
  - key: client
    value: alice
    rate_limit:
      unit: minute
      requests_per_unit: 10
"""

LIMIT = RateLimit(unit=Unit.MINUTE, requests_per_unit=10)
DOMAIN = Domain(name="ai", descriptors=(Descriptor(key="client", value="alice", rate_limit=LIMIT),))


def test_reads_a_domain() -> None:
    assert parse_text(TEXT, file="limits.yaml") == (DOMAIN,)


def test_reads_many_documents_and_skips_empty_ones() -> None:
    names = [domain.name for domain in parse_text("---\n---\ndomain: a\n---\ndomain: b\n", file="f")]
    assert names == ["a", "b"]


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n"])
def test_an_empty_text_has_no_domains(text: str) -> None:
    assert parse_text(text, file="f") == ()


@pytest.mark.parametrize("count", [0, 1, 3])
def test_dump_reads_back_equal(count: int) -> None:
    domains = tuple(Domain(name=f"d{index}", descriptors=DOMAIN.descriptors) for index in range(count))
    assert parse_text(dump_text(domains), file="f") == domains


@pytest.mark.parametrize("value", ["yes", "404", "null", "a: b", "*", "späť", "'", "1e3", "~", " padded "])
def test_dump_quotes_what_yaml_would_misread(value: str) -> None:
    domain = Domain(name=value, descriptors=(Descriptor(key=value, value=value),))
    assert parse_text(dump_text([domain]), file="f") == (domain,)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (TEXT.replace("minute", "minuet"), "f:7: descriptors[0].rate_limit.unit: expected one of"),
        (TEXT.replace("value:", "vaule:"), "f:5: descriptors[0].vaule: unknown field"),
        (TEXT.replace("      unit: minute\n", ""), "f:6: descriptors[0].rate_limit: expected one of"),
        (TEXT + "      unit: hour\n", "f:9: descriptors[0].rate_limit.unit: this field is here twice"),
        ("domain: ok\n" + "---\n" + TEXT.replace(": ai", ":"), "f:4: domain: a domain needs a name"),
        ("domain: [\n", "f:2: not YAML: "),
        ("domain: a\n\tb: c\n", "f:2: not YAML: "),
        ("just text", "f:1: expected a mapping"),
        ("a: &a\n  b: *a\n", "f:1: a: unknown field"),
        ("[" * 5000 + "]" * 5000, "f:1: nested too deeply"),
    ],
)
def test_errors_name_file_line_and_field(text: str, error: str) -> None:
    with pytest.raises(ConfigTextError) as raised:
        parse_text(text, file="f")
    assert str(raised.value).startswith(error)
