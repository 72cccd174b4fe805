"""Local limits of a BackendTrafficPolicy: what an Envoy by itself has no bucket for closes its routes."""

from typing import Any

import pytest
from headgate.compiler import ir
from headgate.compiler.compile import Compiled, compile_world
from headgate.compiler.options import Options
from headgate.compiler.reading import read_object
from headgate.compiler.resources.metadata import NOWHERE
from headgate.compiler.world import make_world
from support.manifests import backend, gateway, ref, route, rule, traffic


def _compiled(*rules: dict[str, Any]) -> tuple[Compiled, ir.Rule]:
    policy = traffic("limits", "r", rateLimit={"local": {"rules": list(rules)}})
    objects = (*gateway({"port": 80}), *backend("b", 1, key="k"), route("r", [rule("m", ref("b"))]), policy)
    read = [read_object(each, NOWHERE) for each in objects]
    found = compile_world(make_world([each.resource for each in read if each.resource], []), Options())
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
    assert [each.name for each in served.local_limits] == ["0/selector/0", "0/selector/1", "1"]
    assert (rest.requests, rest.selectors, rest.excluded) == (2, (), (first.selectors, second.selectors))
