"""Which statuses are written, and what is kept of what was there."""

from typing import Any

from headgate.compiler.conditions import ObjectStatus
from headgate.compiler.resources.metadata import Key
from headgate.controller.programmed import refused_objects
from headgate.controller.status import (
    ConditionChange,
    Refused,
    condition_changes,
    covers,
    has_more,
    merged,
    with_programmed,
)
from headgate.controller.store import Refusal
from headgate.controller.xds.references import Reference
from headgate.controller.xds.resource_types import CLUSTER, LISTENER

US = "headgate.dev/gateway-controller"
NOW, BEFORE = "2026-02-02T00:00:00Z", "2026-01-01T00:00:00Z"


def condition(type_: str, status: str = "True", reason: str = "Fine", **members: Any) -> dict[str, Any]:
    return {"type": type_, "status": status, "reason": reason, "message": "", **members}


def parent(name: str, controller: str, *conditions: dict[str, Any]) -> dict[str, Any]:
    return {"parentRef": {"name": name}, "controllerName": controller, "conditions": list(conditions)}


def test_a_condition_keeps_its_time_while_its_status_stays() -> None:
    seen = {"conditions": [condition("Accepted", reason="Other", lastTransitionTime=BEFORE)]}
    wanted = {"conditions": [condition("Accepted"), condition("Programmed")]}
    assert merged(wanted, seen, US, NOW) == {
        "conditions": [
            condition("Accepted", lastTransitionTime=BEFORE),
            condition("Programmed", lastTransitionTime=NOW),
        ]
    }


def test_times_are_kept_below_listeners_and_parents() -> None:
    seen = {
        "listeners": [{"name": "b", "conditions": [condition("Accepted", lastTransitionTime=BEFORE)]}],
        "parents": [parent("g", US, condition("Accepted", lastTransitionTime=BEFORE))],
    }
    wanted = {
        "listeners": [
            {"name": "a", "conditions": [condition("Accepted")]},
            {"name": "b", "conditions": [condition("Accepted")]},
        ],
        "parents": [parent("h", US, condition("Accepted")), parent("g", US, condition("Accepted"))],
    }
    made: Any = merged(wanted, seen, US, NOW)
    times = [each["conditions"][0]["lastTransitionTime"] for each in (*made["listeners"], *made["parents"])]
    assert times == [NOW, BEFORE, NOW, BEFORE]


def test_what_other_controllers_say_about_their_parents_stays() -> None:
    theirs = parent("g", "example.com/other", condition("Accepted", lastTransitionTime=BEFORE))
    seen = {"parents": [theirs, parent("old", US)]}
    made: Any = merged({"parents": [parent("new", US)]}, seen, US, NOW)
    assert made["parents"] == [parent("new", US), theirs]
    assert not covers(seen, {"parents": [parent("new", US)]})
    assert covers(made, {"parents": [parent("new", US)]})
    assert not has_more(made, {"parents": [parent("new", US)]}, US)
    assert not has_more({"parents": [theirs]}, {}, US)


def test_what_is_shown_beyond_what_is_wanted_is_noticed() -> None:
    wanted = {"conditions": [condition("Accepted")]}
    seen = {"conditions": [condition("Accepted", lastTransitionTime=BEFORE)]}
    assert covers(seen, wanted)
    assert not has_more(seen, wanted, US)
    more = {"conditions": [*seen["conditions"], condition("Gone")]}
    assert covers(more, wanted)
    assert has_more(more, wanted, US)


def test_changes_of_conditions_are_told_with_what_was_before() -> None:
    seen = {"conditions": [condition("Accepted"), condition("ResolvedRefs")]}
    wanted = {
        "conditions": [condition("Accepted", message="new words"), condition("ResolvedRefs", "False", "Broken")],
        "listeners": [{"name": "a", "conditions": [condition("Accepted")]}],
    }
    assert condition_changes(wanted, seen) == (
        ConditionChange("ResolvedRefs", "False", "Broken", "", "True"),
        ConditionChange("Accepted", "True", "Fine", "", ""),
    )


def object_status(kind: str, name: str, **status: Any) -> ObjectStatus:
    group = "gateway.networking.k8s.io" if kind == "Gateway" else "aigateway.envoyproxy.io"
    key = Key(group, kind, "team", name)
    return ObjectStatus(key=key, api_version=f"{group}/v1", uid="", generation=1, status=status)


def programmed(status: ObjectStatus) -> tuple[str, str]:
    conditions: Any = status.status["conditions"]
    found = next(each for each in conditions if each["type"] == "Programmed")
    return found["status"], found["reason"]


def test_programmed_says_what_envoy_said() -> None:
    gateway = object_status("Gateway", "g", conditions=[condition("Accepted"), condition("Programmed")])
    broken = object_status("Gateway", "h", conditions=[condition("Programmed", "False", "Invalid")])
    assert with_programmed([gateway]) == (gateway,)
    assert with_programmed([gateway], pending={broken.key}) == (gateway,)
    assert [programmed(each) for each in with_programmed([gateway, broken], pending={gateway.key, broken.key})] == [
        ("Unknown", "Pending"),
        ("False", "Invalid"),
    ]
    (refused,) = with_programmed([gateway], refused=[Refused(gateway.key, "no such filter")])
    assert programmed(refused) == ("False", "Invalid")
    conditions: Any = refused.status["conditions"]
    assert conditions[0] == condition("Accepted")
    assert "no such filter" in conditions[1]["message"]


def test_a_refusal_is_told_to_the_object_it_came_from() -> None:
    route, gateway = object_status("AIGatewayRoute", "r"), object_status("Gateway", "g")
    cluster = Refusal(Reference(CLUSTER, "team/backend/route/r/rule/0/ref/1"), "1", "bad cluster")
    listener = Refusal(Reference(LISTENER, "port-80"), "1", "bad listener")
    assert refused_objects([cluster, listener], [route, gateway]) == (
        Refused(route.key, "bad cluster"),
        Refused(gateway.key, "bad listener"),
    )
