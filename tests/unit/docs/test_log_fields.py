"""One table for the log: what Envoy's line and the collector's record tell is called alike, and documented."""

import json
import re
from pathlib import Path

import pytest
from headgate.collector.sinks.json_lines import line
from headgate.compiler.lower.filters import telemetry
from headgate.ledger.record import Attempt, UsageRecord

USAGE = Path(__file__).parents[3] / "docs" / "usage.md"
ENVOYS_OWN = {"attempt_count", "first_body_ms", "metadata"}
"""What only Envoy's line has: it cannot say the record's."""


def documented() -> dict[str, bool]:
    """Fields of the table, and whether Envoy's line has them."""
    table = USAGE.read_text().partition("## The log")[2].partition("No prompt")[0]
    cells = [row.split("|") for row in table.splitlines() if row.startswith("| `")]
    found = {name: bool(own) for cell in cells for name, own in re.findall(r"`([a-z_]+)`( E)?", cell[1])}
    return {**found, **dict.fromkeys(re.findall(r"E: `([a-z_]+)`", table), True)}


def test_envoys_line_is_called_like_the_record() -> None:
    fields = set(telemetry.request_fields(clients=True, ai=True))
    record = {*UsageRecord.__struct_fields__, "time"}
    assert fields - ENVOYS_OWN <= record
    told = documented()
    assert {name for name, envoys in told.items() if envoys} == fields - {"metadata"}
    assert set(telemetry.ATTEMPT_FIELDS) - {"attempt"} <= fields


def test_one_field_of_envoys_line_copies_metadata() -> None:
    """What reads some of it is two operators, and so text: one operator alone would copy all that the request has."""
    alone = re.compile(r"%(DYNAMIC_METADATA|COALESCE)\([^%]*%")
    fields = telemetry.request_fields(clients=True, ai=True)
    assert {name for name, field in fields.items() if alone.fullmatch(str(field))} == {"metadata"}


@pytest.mark.parametrize("clients", [False, True])
def test_a_short_line_has_the_fields_of_the_whole_one(clients: bool) -> None:
    fields = telemetry.request_fields(clients=clients, ai=True)
    names = "%METADATA(ROUTE:headgate:names)%", '"original_model":"m","metadata":{"lane":"native"'
    facts = "%DYNAMIC_METADATA(headgate:facts)%", ',"usage_source":"reported"'
    short = telemetry.short_line(fields).replace(*names).replace(*facts)
    whole = re.sub(r"%COALESCE\(.*?\)%|%[A-Z_]+(\([^)]*\))?%", "1", short)
    found = json.loads(whole)
    assert found.keys() == fields.keys()
    numbers = {name for name in fields if name == "status" or name.endswith(("_ms", "_bytes", "_count"))}
    assert {name for name, value in found.items() if value == 1} == numbers


def test_every_field_of_the_record_is_documented() -> None:
    undocumented = {"started_ns", "node", "stream", "losses"}
    assert set(UsageRecord.__struct_fields__) - undocumented <= documented().keys()


def test_a_line_leaves_out_what_is_not_known() -> None:
    record = UsageRecord(id="1", request_id="", started_ns=1_790_000_000_123_000_000, labels=(("a", "b"),))
    assert line(record) == (
        b'{"time":"2026-09-21T14:13:20.123Z","id":"1","stream":false,"lane":"local","status":0,'
        b'"tokens":{"input":null,"cached_input":null,"cache_creation_input":null,"output":null,"reasoning":null,'
        b'"total":null},"usage_source":"none","duration_ms":0.0,"request_bytes":0,"response_bytes":0,"labels":{"a":"b"}}\n'
    )
    served = Attempt(backend="b", status=200)
    full = UsageRecord(id="1", request_id="r", started_ns=0, attempts=(served,), costs=(("c", 1),), cost_nanos=0)
    assert b'"attempts":[{"backend":"b","status":200}]' in line(full)
    assert b'"costs":{"c":1},"cost_nanos":0,' in line(full)
