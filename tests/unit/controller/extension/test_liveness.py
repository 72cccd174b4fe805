"""Whether Envoy Gateway calls, and what statuses say of it."""

from typing import Any, cast

import pytest
from headgate.compiler.conditions import ObjectStatus
from headgate.compiler.envoy_gateway.routes import Problem
from headgate.compiler.reading import read_object
from headgate.compiler.resources.metadata import NOWHERE, Key
from headgate.compiler.world import World, make_world
from headgate.controller.extension.hooked import with_hooks, with_problems
from headgate.controller.extension.liveness import PATIENCE_SECONDS, Heard, HookLiveness, Hooks
from support import manifests

GATEWAY = "default/gateway"
KEY = Key(manifests.AI, "AIGatewayRoute", "default", "chat")


def world() -> World:
    found = read_object(manifests.route("chat", [manifests.rule("m", manifests.ref("b"))]), NOWHERE)
    assert found.resource is not None
    return make_world([found.resource])


def status() -> ObjectStatus:
    conditions = [{"type": name, "status": "True", "reason": "x", "message": ""} for name in ("Programmed", "Accepted")]
    return ObjectStatus(
        key=KEY, api_version=f"{manifests.AI}/v1beta1", uid="", generation=1, status={"conditions": conditions}
    )


def programmed(state: Hooks, *, alone: bool = True) -> dict[str, Any]:
    (found,) = with_hooks([status()], world(), {GATEWAY: state}, alone=alone)
    conditions = cast("list[dict[str, Any]]", found.status["conditions"])
    assert [each["type"] for each in conditions] == ["Programmed", "Accepted"]
    assert conditions[1]["status"] == "True"
    return conditions[0]


def test_a_gateway_is_waited_for_and_then_missed() -> None:
    liveness = HookLiveness()
    liveness.expect(frozenset({GATEWAY}), 100.0)
    assert liveness.states(101.0) == {GATEWAY: Hooks.WAITING}
    liveness.expect(frozenset({GATEWAY}), 110.0)
    assert liveness.states(101.0 + PATIENCE_SECONDS) == {GATEWAY: Hooks.NEVER_CALLED}
    assert not liveness.hear("other", Heard((), 150.0))
    assert liveness.states(160.0) == {GATEWAY: Hooks.NEVER_CALLED}
    assert liveness.hear("ours", Heard((GATEWAY,), 170.0))
    assert not liveness.hear("ours", Heard((GATEWAY,), 171.0))
    assert liveness.states(1000.0) == {GATEWAY: Hooks.CALLED}
    assert liveness.last_call == 171.0
    liveness.expect(frozenset(), 180.0)
    assert liveness.states(1000.0) == {}


def test_what_another_replica_heard_counts_and_the_newest_of_all_is_true() -> None:
    liveness = HookLiveness()
    liveness.expect(frozenset({GATEWAY}), 100.0)
    old, new = Problem("default/chat", "closed"), Problem("default/chat", "guarded", served=True)
    elsewhere = [Heard((GATEWAY, "default/other"), 150.0, (new,))]
    assert liveness.states(200.0, elsewhere) == {GATEWAY: Hooks.CALLED}
    liveness.hear("ours", Heard((GATEWAY,), 149.0, (old,)))
    assert liveness.problems(elsewhere) == (new,)
    liveness.hear("ours", Heard((GATEWAY,), 151.0, (old,)))
    assert liveness.problems(elsewhere) == (old,)
    assert liveness.hear("ours", Heard((GATEWAY,), 152.0))
    assert liveness.problems() == ()


def test_a_route_is_programmed_once_envoy_gateway_has_asked_for_it() -> None:
    assert programmed(Hooks.CALLED)["status"] == "True"
    assert programmed(Hooks.WAITING)["reason"] == "Pending"
    missing = programmed(Hooks.NEVER_CALLED)
    assert (missing["status"], missing["reason"]) == ("False", "HooksNotCalled")
    assert "extensionManager" in missing["message"]


def test_with_other_replicas_silence_is_not_known() -> None:
    assert programmed(Hooks.NEVER_CALLED, alone=False)["status"] == "Unknown"


def _conditions(*listed: dict[str, Any]) -> dict[str, Any]:
    return {"conditions": [{"lastTransitionTime": "then", **each} for each in listed]}


@pytest.mark.parametrize("state", [Hooks.WAITING, Hooks.NEVER_CALLED])
@pytest.mark.parametrize(
    ("shown", "wanted"),
    [
        ({"status": "True", "reason": "x", "message": "guarded"}, ("True", "x", "guarded")),
        (
            {"status": "False", "reason": "PartiallyProgrammed", "message": "closed"},
            ("False", "PartiallyProgrammed", "closed"),
        ),
        ({"status": "True", "reason": "x", "message": "", "observedGeneration": 9}, None),
        ({"status": "Unknown", "reason": "Pending", "message": ""}, None),
        ({"status": "False", "reason": "HooksNotCalled", "message": ""}, None),
        ({"status": "True", "reason": "x", "message": "", "type": "Accepted"}, None),
        ({}, None),
    ],
)
def test_what_a_call_told_stands_after_a_restart(
    state: Hooks, shown: dict[str, Any], wanted: tuple[str, str, str] | None
) -> None:
    """Envoy Gateway does not ask again for what it asked the process before."""
    before = _conditions({"type": "Programmed", **shown}) if shown else {}
    (found,) = with_hooks([status()], world(), {GATEWAY: state}, alone=True, shown=lambda _: before)
    condition, accepted = cast("list[dict[str, Any]]", found.status["conditions"])
    assert accepted["status"] == "True"
    assert "lastTransitionTime" not in condition
    said = (condition["status"], condition["reason"], condition["message"])
    assert said == wanted if wanted is not None else condition == programmed(state)


def test_a_condition_that_stands_does_not_say_anything_twice() -> None:
    problem = Problem("default/chat", "rule 1 is guarded", served=True)
    before = _conditions({"type": "Programmed", "status": "True", "reason": "x", "message": str(problem)})
    waiting = with_hooks([status()], world(), {GATEWAY: Hooks.WAITING}, alone=True, shown=lambda _: before)
    (found,) = with_problems(waiting, [problem])
    assert cast("list[dict[str, Any]]", found.status["conditions"])[0]["message"] == "rule 1 is guarded"


def told(*problems: Problem) -> dict[str, Any]:
    (found,) = with_problems([status()], problems)
    return cast("list[dict[str, Any]]", found.status["conditions"])[0]


def test_what_the_hook_finds_is_told_of_the_route_that_it_is_about() -> None:
    closed = told(Problem("default/chat", "rule 0 is closed", "a policy"), Problem("default/chat", "rule 1 is guarded"))
    assert (closed["status"], closed["reason"]) == ("False", "PartiallyProgrammed")
    assert closed["message"] == "rule 0 is closed; try: a policy\nrule 1 is guarded"
    guarded = told(Problem("default/chat", "rule 1 is guarded", served=True))
    assert (guarded["status"], guarded["message"]) == ("True", "rule 1 is guarded")
    assert told(Problem("default/other", "closed")) == {
        "type": "Programmed",
        "status": "True",
        "reason": "x",
        "message": "",
    }
