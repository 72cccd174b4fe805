"""Local limits of a BackendTrafficPolicy: what an Envoy by itself has no bucket for closes its routes."""

from collections.abc import Sequence
from typing import Any

import pytest
from envoy.extensions.filters.http.local_ratelimit.v3.local_rate_limit_pb2 import LocalRateLimit
from headgate.compiler import ir
from headgate.compiler.compile import Compiled, compile_world
from headgate.compiler.lower.limits import local_filter
from headgate.compiler.options import Options
from headgate.compiler.reading import read_object
from headgate.compiler.resources.metadata import NOWHERE
from headgate.compiler.world import make_world
from support.manifests import ENVOY_GATEWAY, Document, backend, document, gateway, ref, route, rule, target, traffic


def _world(objects: Sequence[Document]) -> Compiled:
    read = [read_object(each, NOWHERE) for each in objects]
    return compile_world(make_world([each.resource for each in read if each.resource], []), Options())


def _compiled(*rules: dict[str, Any]) -> tuple[Compiled, ir.Rule]:
    policy = traffic("limits", "r", rateLimit={"local": {"rules": list(rules)}})
    objects = [*gateway({"port": 80}), *backend("b", 1, key="k"), route("r", [rule("m", ref("b"))]), policy]
    found = _world(objects)
    (served,) = found.program.ports[0].listeners[0].hosts[0].rules
    return found, served


def _limit(requests: int, **more: Any) -> dict[str, Any]:
    return {"limit": {"requests": requests, "unit": "Minute"}, **more}


def _cost(number: int) -> dict[str, Any]:
    return {"request": {"from": "Number", "number": number}}


@pytest.mark.parametrize(
    "limit",
    [
        _limit(0),
        _limit(4, cost=_cost(5)),
        _limit(4, cost=_cost(0)),
        _limit(4, cost={"request": {"from": "Metadata", "metadata": {"namespace": "a", "key": "b"}}}),
    ],
)
def test_what_lets_nobody_in_closes_the_route_and_is_told(limit: dict[str, Any]) -> None:
    found, served = _compiled(_limit(5), limit)
    assert served.direct is not None
    (told,) = [each for each in found.diagnostics if each.severity.value == "error"]
    assert (told.field, "at least one request" in told.message) == ("spec.rateLimit.local.rules[1]", True)


def test_each_selector_has_a_bucket_and_the_rest_shares_one() -> None:
    one, other = {"methods": [{"value": "PUT"}]}, {"headers": [{"name": "x-a", "value": "1"}]}
    _, served = _compiled(_limit(9, clientSelectors=[one, other]), _limit(7, cost=_cost(3)))
    first, second, rest = served.local_limits
    names = ["default/limits/rule/0/selector/0", "default/limits/rule/0/selector/1", "default/limits/rule/1"]
    assert [each.name for each in served.local_limits] == names
    assert (rest.requests, rest.selectors, rest.excluded) == (2, (), (first.selectors, second.selectors))


def test_listeners_of_a_port_with_policies_of_their_own_have_buckets_of_their_own() -> None:
    distinct = {"headers": [{"name": "x-user", "type": "Distinct"}]}
    rules = {"a": _limit(1, clientSelectors=[distinct]), "b": _limit(2)}
    listeners = [{"name": name, "port": 80, "hostname": f"{name}.test"} for name in rules]
    objects: list[Any] = [*gateway(*listeners), *backend("b", 1, key="k"), route("r", [rule("m", ref("b"))])]
    for name, limit in rules.items():
        at = {**target("Gateway", "gateway")["targetRefs"][0], "sectionName": name}
        spec = {"targetRefs": [at], "rateLimit": {"local": {"rules": [limit]}}}
        objects.append(document(f"{ENVOY_GATEWAY}/v1alpha1", "BackendTrafficPolicy", f"of-{name}", spec))
    found = _world(objects)
    (listener,) = found.program.ports[0].listeners
    filled = LocalRateLimit.FromString(
        local_filter([each for host in listener.hosts for each in host.rules]).typed_config.value
    )
    assert [[entry.key for entry in each.entries] for each in filled.descriptors] == [
        ["rule", "header:x-user"],
        ["rule"],
    ]


def test_a_range_that_is_none_is_refused() -> None:
    limit = _limit(1, clientSelectors=[{"sourceCIDR": {"value": "nope"}}])
    read = read_object(traffic("limits", "r", rateLimit={"local": {"rules": [limit]}}), NOWHERE)
    assert [each.field for each in read.diagnostics] == [
        "spec.rateLimit.local.rules[0].clientSelectors[0].sourceCIDR.value"
    ]
