"""Every row of what an AI kind's conditions may say: type, status, reason and message.

Upstream's rows (one condition, which scripts read as `.status.conditions[-1:]`) hold word for word; ours stand before.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from headgate.compiler.conditions import ObjectStatus
from headgate.compiler.envoy_gateway.routes import Problem
from headgate.compiler.last_good import compile_settled
from headgate.compiler.options import Mode, Options
from headgate.compiler.reading import read_object
from headgate.compiler.resolve.leaving import UPSTREAMS
from headgate.compiler.resolve.scope import CONFIG_ANNOTATION
from headgate.compiler.resources.metadata import NOWHERE
from headgate.compiler.world import World, make_world
from headgate.controller.extension.hooked import with_hooks, with_problems
from headgate.controller.extension.liveness import REMEDY, Hooks
from headgate.controller.sources.files import load
from support import manifests
from support.manifests import AI, Document, document, target

ALPHA, BETA, HEADGATE = f"{AI}/v1alpha1", f"{AI}/v1beta1", "headgate.dev/v1alpha1"
OPTIONS = Options(mode=Mode.ENVOY_GATEWAY, extproc_sockets=("/x.sock",), ratelimit_address="limits.ns.svc:8081")
QUOTA = {"perModelQuotas": [{"modelName": "m", "quota": {"defaultBucket": {"limit": 9, "duration": "1d"}}}]}
LIMIT = {"rules": [{"name": "each", "unit": "requests", "amount": 9, "window": "hour"}]}


def _documents(backend: str = "b", policy_target: str = "b") -> list[Document]:
    """One of each kind, which refer to each other; the arguments are what the route and the policies refer to."""
    found = manifests.gateway({"name": "http", "port": 80})
    found[1]["metadata"]["annotations"] = {CONFIG_ANNOTATION: "config"}
    found += manifests.backend("b", 1, key="k")
    (security,) = [each for each in found if each["kind"] == "BackendSecurityPolicy"]
    security["spec"] |= target("AIServiceBackend", policy_target)
    return [
        *found,
        manifests.route("route", [manifests.rule("m", manifests.ref(backend))]),
        document(BETA, "GatewayConfig", "config", {}),
        document(ALPHA, "QuotaPolicy", "quota", {**target("AIServiceBackend", policy_target), **QUOTA}),
        document(HEADGATE, "LimitPolicy", "limit", {**target("AIGatewayRoute", "route"), **LIMIT}),
        document(HEADGATE, "TranslationPolicy", "translation", {**target("AIServiceBackend", policy_target)}),
    ]


def _world(*documents: Document) -> World:
    found = [read_object(each, NOWHERE) for each in documents]
    return make_world(each.resource for each in found if each.resource)


def _rows(statuses: Sequence[ObjectStatus], kind: str, name: str) -> list[tuple[str, str, str, str]]:
    (found,) = [each for each in statuses if (each.key.kind, each.key.name) == (kind, name)]
    conditions: Any = found.status["conditions"]
    return [(each["type"], each["status"], each["reason"], each["message"]) for each in conditions]


SUCCEEDED = "ReconciliationSucceeded"
SUCCESSES = {
    "AIGatewayRoute": ("route", SUCCEEDED, "AI Gateway Route reconciled successfully"),
    "AIServiceBackend": ("b", SUCCEEDED, "AIServiceBackend reconciled successfully"),
    "BackendSecurityPolicy": ("b", SUCCEEDED, "BackendSecurityPolicy reconciled successfully"),
    "GatewayConfig": ("config", "Accepted", "GatewayConfig reconciled successfully"),
    "QuotaPolicy": ("quota", SUCCEEDED, "QuotaPolicy reconciled successfully"),
    "LimitPolicy": ("limit", SUCCEEDED, "LimitPolicy reconciled successfully"),
    "TranslationPolicy": ("translation", SUCCEEDED, "TranslationPolicy reconciled successfully"),
}
"""Name, reason, message. The first five are upstream's; `MCPRoute`, which it has too, is not read."""


@pytest.mark.parametrize("kind", SUCCESSES)
def test_success(kind: str) -> None:
    name, reason, message = SUCCESSES[kind]
    settled = compile_settled(_world(*_documents()), OPTIONS, {})
    assert _rows(settled.compiled.statuses, kind, name) == [
        ("ResolvedRefs", "True", "ResolvedRefs", ""),
        ("Programmed", "True", "Programmed", ""),
        ("Accepted", "True", reason, message),
    ]


@dataclass(frozen=True, slots=True)
class Failure:
    """An object with a mistake, and what its conditions say."""

    kind: str
    name: str
    resolved: tuple[str, str]
    programmed: tuple[str, str]
    """Status and reason."""
    message: str
    """A part of it."""
    changed: Mapping[str, Any]
    """Of its `spec`."""
    reason: str = "ReconciliationFailed"


FAILURES = [
    Failure(
        "AIGatewayRoute",
        "route",
        ("False", "BackendNotFound"),
        ("False", "Invalid"),
        "there is no AIServiceBackend default/nobody",
        {"rules": [{"backendRefs": [{"name": "nobody"}]}]},
    ),
    Failure(
        "AIGatewayRoute",
        "route",
        ("True", "ResolvedRefs"),
        ("False", "NotAttached"),
        "there is no Gateway",
        {"parentRefs": [{"name": "nobody"}]},
    ),
    Failure(
        "AIServiceBackend",
        "b",
        ("False", "BackendNotFound"),
        ("False", "Invalid"),
        "there is no Backend default/nobody",
        {"backendRef": {"group": manifests.ENVOY_GATEWAY, "kind": "Backend", "name": "nobody"}},
    ),
    Failure(
        "BackendSecurityPolicy",
        "b",
        ("False", "InvalidSecretRef"),
        ("False", "Invalid"),
        "spec.apiKey.secretRef: there is no Secret default/nobody",
        {"apiKey": {"secretRef": {"name": "nobody"}}},
    ),
    Failure(
        "GatewayConfig",
        "config",
        ("False", "Invalid"),
        ("False", "Invalid"),
        "spec.nonsense",
        {"nonsense": 1},
        "NotAccepted",
    ),
    Failure(
        "QuotaPolicy",
        "quota",
        ("False", "Invalid"),
        ("False", "Invalid"),
        "spec.nonsense",
        {"nonsense": 1},
    ),
]


@pytest.mark.parametrize("case", FAILURES, ids=lambda case: f"{case.kind}-{case.programmed[1]}-{case.resolved[1]}")
def test_failure(tmp_path: Path, case: Failure) -> None:
    documents = _documents()
    (broken,) = [each for each in documents if (each["kind"], each["metadata"]["name"]) == (case.kind, case.name)]
    broken["spec"] = {**broken["spec"], **case.changed}
    path = tmp_path / "in.yaml"
    path.write_text(manifests.text(documents))
    world = load((path,), environment={}).world
    rows = _rows(compile_settled(world, OPTIONS, {}).compiled.statuses, case.kind, case.name)
    types = [(type_, status, reason) for type_, status, reason, _ in rows]
    assert types == [
        ("ResolvedRefs", *case.resolved),
        ("Programmed", *case.programmed),
        ("Accepted", "False", case.reason),
        ("NotAccepted", "False", case.reason),
    ]
    assert case.message in rows[-1][3]
    assert rows[-1][3] == rows[-2][3]


@pytest.mark.parametrize("kind", ["AIServiceBackend", "BackendSecurityPolicy", "QuotaPolicy", "TranslationPolicy"])
def test_what_nobody_uses_is_accepted(kind: str) -> None:
    """Upstream accepts it as well."""
    documents = [each for each in _documents() if each["kind"] != "AIGatewayRoute"]
    name, reason, message = SUCCESSES[kind]
    _, programmed, accepted = _rows(compile_settled(_world(*documents), OPTIONS, {}).compiled.statuses, kind, name)
    assert programmed[:3] == ("Programmed", "False", "NotUsed")
    assert programmed[3].startswith("no ")
    assert accepted == ("Accepted", "True", reason, message)


def test_an_edit_that_breaks_a_route_has_its_last_good_version_in_force() -> None:
    good = compile_settled(_world(*_documents()), OPTIONS, {}).good
    settled = compile_settled(_world(*_documents("nobody")), OPTIONS, good)
    rows = _rows(settled.compiled.statuses, "AIGatewayRoute", "route")
    assert rows[1] == ("Programmed", "False", "LastGoodVersion", "the last good version stays in force")
    assert [row[:3] for row in (rows[0], *rows[2:])] == [
        ("ResolvedRefs", "False", "BackendNotFound"),
        ("Accepted", "False", "ReconciliationFailed"),
        ("NotAccepted", "False", "ReconciliationFailed"),
    ]


HOOKS = [
    (Hooks.CALLED, True, "True", "Programmed", ""),
    (Hooks.WAITING, True, "Unknown", "Pending", "Envoy Gateway has not asked yet"),
    (
        Hooks.NEVER_CALLED,
        True,
        "False",
        "HooksNotCalled",
        f"Envoy Gateway does not ask for the routes of default/gateway. {REMEDY}",
    ),
    (
        Hooks.NEVER_CALLED,
        False,
        "Unknown",
        "HooksNotCalled",
        f"Envoy Gateway does not ask this replica for the routes of default/gateway; if it asks no other: {REMEDY}",
    ),
]
"""What is known of the calls, whether no other replica may have been called, and then what `Programmed` says."""


@pytest.mark.parametrize(("state", "alone", "status", "reason", "message"), HOOKS)
def test_whether_envoy_gateway_asks(state: Hooks, alone: bool, status: str, reason: str, message: str) -> None:
    """`Programmed` of the routes alone: what they use, and whether they are accepted, does not depend on it."""
    world = _world(*_documents())
    statuses = compile_settled(world, OPTIONS, {}).compiled.statuses
    told = with_hooks(statuses, world, {"default/gateway": state}, alone=alone)
    rows = _rows(told, "AIGatewayRoute", "route")
    assert rows[1] == ("Programmed", status, reason, message)
    assert (rows[0], rows[2]) == (
        ("ResolvedRefs", "True", "ResolvedRefs", ""),
        ("Accepted", "True", SUCCEEDED, "AI Gateway Route reconciled successfully"),
    )
    assert [each for each in told if each.key.kind != "AIGatewayRoute"] == [
        each for each in statuses if each.key.kind != "AIGatewayRoute"
    ]


def test_what_a_route_is_warned_of_is_told_while_nobody_asks_too() -> None:
    documents = _documents()
    (route,) = [each for each in documents if each["kind"] == "AIGatewayRoute"]
    route["metadata"] |= {"deletionTimestamp": "2030-01-01T00:00:00Z", "finalizers": [UPSTREAMS]}
    world = _world(*documents)
    statuses = compile_settled(world, OPTIONS, {}).compiled.statuses
    warning = _rows(statuses, "AIGatewayRoute", "route")[1][3]
    assert warning
    told = with_hooks(statuses, world, {"default/gateway": Hooks.WAITING}, alone=True)
    assert _rows(told, "AIGatewayRoute", "route")[1][3] == f"Envoy Gateway has not asked yet\n{warning}"


@pytest.mark.parametrize(
    ("state", "served", "wanted"),
    [
        (Hooks.CALLED, True, ("True", "Programmed", "told; try: this")),
        (Hooks.CALLED, False, ("False", "PartiallyProgrammed", "told; try: this")),
        (Hooks.WAITING, False, ("Unknown", "Pending", "Envoy Gateway has not asked yet\ntold; try: this")),
    ],
)
def test_what_calls_find_is_told_with_it(state: Hooks, served: bool, wanted: tuple[str, str, str]) -> None:
    """Such as versions that are not supported, which is read off what runs."""
    world = _world(*_documents())
    statuses = compile_settled(world, OPTIONS, {}).compiled.statuses
    told = with_hooks(statuses, world, {"default/gateway": state}, alone=True)
    rows = _rows(
        with_problems(told, [Problem("default/route", "told", "this", served=served)]), "AIGatewayRoute", "route"
    )
    assert rows[1] == ("Programmed", *wanted)
