"""What is told as events."""

from datetime import UTC, datetime
from typing import Any

from headgate.compiler.conditions import ObjectStatus
from headgate.compiler.resources.metadata import Key
from headgate.controller.events import as_event, happenings
from headgate.controller.status import ConditionChange

KEY = Key("aigateway.envoyproxy.io", "AIGatewayRoute", "team", "route")
ROUTE = ObjectStatus(key=KEY, api_version="aigateway.envoyproxy.io/v1beta1", uid="u", generation=1, status={})


def change(status: str, before: str, message: str = "") -> ConditionChange:
    return ConditionChange("ResolvedRefs", status, "BackendNotFound", message, before)


def test_what_breaks_and_what_heals_is_told() -> None:
    found = happenings(ROUTE, [change("False", "", "no backend"), change("True", "False"), change("True", "")])
    assert [(each.warning, each.note) for each in found] == [
        (True, "ResolvedRefs: no backend"),
        (False, "ResolvedRefs is True"),
    ]


def test_a_long_note_is_cut_between_characters() -> None:
    (happening,) = happenings(ROUTE, [change("False", "", "é" * 1_000)])
    event: Any = as_event(happening, reporter="r", instance="i" * 200, now=datetime.now(UTC))
    assert len(event["note"].encode()) <= 1_024
    assert len(event["reportingInstance"]) == 128
    assert event["regarding"] == {
        "apiVersion": "aigateway.envoyproxy.io/v1beta1",
        "kind": "AIGatewayRoute",
        "name": "route",
        "namespace": "team",
        "uid": "u",
    }
