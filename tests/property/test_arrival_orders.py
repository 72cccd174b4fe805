"""Whatever came first, and whatever was compiled meanwhile: in the end it is as if all had been there from the start.

A policy after its route, a Secret after its policy, a grant after what needs it, an object that was wrong at first: the
watch of each kind tells on its own, so a controller sees any of it.
"""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from headgate.compiler.compile import Compiled
from headgate.compiler.envoy_gateway.objects import Objects, wanted_objects
from headgate.compiler.envoy_gateway.rules import Rules, known_rules
from headgate.compiler.last_good import Good, compile_settled
from headgate.compiler.options import Mode, Options
from headgate.compiler.resources.metadata import Key, Resource
from headgate.controller.sources.kubernetes.world import Collection, KubernetesWorld
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

CASES = Path(__file__).parent.parent / "golden" / "compile"
FILES = Options(mode=Mode.FILES, extproc_sockets=("/x.sock",), ratelimit_socket="/r.sock", lua_directory="/lua")
BESIDE = Options(
    mode=Mode.ENVOY_GATEWAY,
    extproc_sockets=("/x.sock",),
    ratelimit_address="l:1",
    lua_directory="/lua",
    ai_route_parents=True,
)
Raw = dict[str, Any]
BROKEN = {
    "AIGatewayRoute": ("rules", [{"backendRefs": [{"name": "nowhere"}]}]),
    "AIServiceBackend": ("backendRef", {"group": "gateway.envoyproxy.io", "kind": "Backend", "name": "nowhere"}),
    "BackendSecurityPolicy": ("apiKey", {"secretRef": {"name": "nowhere"}}),
    "BackendTLSPolicy": (
        "validation",
        {"hostname": "x", "caCertificateRefs": [{"group": "", "kind": "ConfigMap", "name": "no"}]},
    ),
}
"""What a first version of a kind says of a field of its `spec`: a reference to nothing."""


def objects(case: str) -> list[Raw]:
    found: list[Raw] = [each for each in yaml.safe_load_all((CASES / case / "in.yaml").read_text()) if each]
    for index, each in enumerate(found):
        each["metadata"] |= {"uid": f"uid-{index}", "resourceVersion": "2", "generation": 2}
    return found


def first_version(raw: Raw) -> Raw | None:
    """The object before it was put right; None for kinds that are right at once."""
    if raw["kind"] not in BROKEN or raw.get("spec", {}).get("type", "APIKey") != "APIKey":
        return None
    name, value = BROKEN[raw["kind"]]
    older = copy.deepcopy(raw)
    older["metadata"] |= {"resourceVersion": "1", "generation": 1}
    older["spec"][name] = value
    return older


@dataclass
class Controller:
    """What is kept from one compilation to the next."""

    options: Options
    world: KubernetesWorld = field(default_factory=KubernetesWorld)
    good: Good = field(default_factory=dict[Key, Resource])
    rules: Rules = field(default_factory=Rules)
    objects: Objects | None = None

    def put(self, raw: Raw) -> None:
        group = raw["apiVersion"].rpartition("/")[0]
        self.world.put(Collection(group, raw["kind"]), copy.deepcopy(raw))

    def remove(self, raw: Raw) -> None:
        self.world.remove(Collection(raw["apiVersion"].rpartition("/")[0], raw["kind"]), copy.deepcopy(raw))

    def compiled(self) -> tuple[Compiled, object]:
        view = self.world.view(beside_envoy_gateway=self.options.envoy_gateway)
        settled = compile_settled(view.world, self.options, self.good)
        self.good = settled.good
        if self.options.envoy_gateway:
            self.rules = known_rules(settled.compiled.program, self.rules, settled.world)
            self.objects = wanted_objects(settled.compiled.scope, self.rules, build="1", previous=self.objects)
        return settled.compiled, (
            self.rules,
            self.objects and (self.objects.inputs, list(map(repr, self.objects.wanted))),
        )


def outcome(compiled: Compiled, beside: object) -> Iterator[tuple[str, object]]:
    for url, named in compiled.resources.items():
        for name, message in named.items():
            yield f"{url} {name}", message.SerializeToString(deterministic=True)
    yield "limits", compiled.limits
    yield "diagnostics", compiled.diagnostics
    yield "statuses", tuple(sorted(map(repr, compiled.statuses)))
    yield "beside Envoy Gateway", beside


def from_scratch(raws: Sequence[Raw], options: Options) -> dict[str, object]:
    controller = Controller(options)
    for each in raws:
        controller.put(each)
    return dict(outcome(*controller.compiled()))


@pytest.mark.parametrize("options", [FILES, BESIDE], ids=lambda each: each.mode.value)
@pytest.mark.parametrize("case", ["auth", "broken", "credentials", "failover", "https_hostnames", "migrated", "quotas"])
@settings(max_examples=3, deadline=None, phases=[Phase.generate])  # a smaller example takes minutes to find
@given(data=st.data())
def test_what_came_first_decides_nothing(case: str, options: Options, data: st.DataObject) -> None:
    raws = objects(case)
    controller = Controller(options)
    arrivals = data.draw(st.permutations(raws))
    looks = data.draw(st.sets(st.integers(0, len(raws) - 1), max_size=2))
    wrong = data.draw(st.sets(st.integers(0, len(raws) - 1), max_size=3))
    gone = data.draw(st.sets(st.integers(0, len(raws) - 1), max_size=3))
    late: list[Raw] = []
    for index, each in enumerate(arrivals):
        older = first_version(each) if index in wrong else None
        controller.put(older or each)
        late += [each] if older or index in gone else []
        if index in looks:
            controller.compiled()
    for index in sorted(gone):  # and comes back
        controller.remove(arrivals[index])
    controller.compiled()
    for each in late:
        controller.put(each)
        controller.compiled()
    assert dict(outcome(*controller.compiled())) == from_scratch(raws, options)
