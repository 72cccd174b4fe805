"""A route is resolved again only where something that it could refer to has changed."""

from collections.abc import Mapping
from pathlib import Path

from headgate.compiler import ir
from headgate.compiler.compile import Compiled, compile_world
from headgate.compiler.options import Options
from headgate.controller.sources.files import Loaded, load

GATEWAY = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: g}
spec: {gatewayClassName: c, listeners: [{name: http, protocol: HTTP, port: 80}]}
"""
BACKEND = """
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: b}
spec: {endpoints: [{ip: {address: 192.0.2.1, port: %d}}]}
---
apiVersion: aigateway.envoyproxy.io/v1beta1
kind: AIServiceBackend
metadata: {name: b}
spec: {schema: {name: OpenAI}, backendRef: {name: b, kind: Backend, group: gateway.envoyproxy.io}}
"""
ROUTE = """
apiVersion: aigateway.envoyproxy.io/v1beta1
kind: AIGatewayRoute
metadata: {name: %(name)s}
spec:
  parentRefs: [{name: g, kind: Gateway, group: gateway.networking.k8s.io}]
  rules:
  - matches: [{headers: [{type: Exact, name: x-ai-eg-model, value: %(model)s}]}]
    backendRefs: [{name: b}, {name: missing}]
"""


class Files:
    """Objects in files, loaded again after each change as the controller does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.loaded: Loaded | None = None
        self.write("gateway", GATEWAY)
        self.write("backend", BACKEND % 80)
        for name in ("one", "two"):
            self.write(name, ROUTE % {"name": name, "model": name})

    def write(self, name: str, text: str) -> None:
        (self.folder / f"{name}.yaml").write_text(text)

    def compiled(self) -> Compiled:
        self.loaded = load([self.folder], environment={}, previous=self.loaded)
        return compile_world(self.loaded.world, Options())


def by_route(compiled: Compiled) -> Mapping[str, ir.Rule]:
    (port,) = compiled.program.ports
    return {rule.route: rule for rule in port.listeners[0].hosts[0].rules}


def test_a_changed_route_leaves_the_others_as_they_are_with_what_was_said_of_them(tmp_path: Path) -> None:
    files = Files(tmp_path)
    before = files.compiled()
    files.write("two", ROUTE % {"name": "two", "model": "three"})
    after = files.compiled()
    assert by_route(after)["default/one"] is by_route(before)["default/one"]
    assert by_route(after)["default/two"] is not by_route(before)["default/two"]
    assert [str(each) for each in after.diagnostics] == [str(each) for each in before.diagnostics]
    assert sum("missing" in each.message for each in after.diagnostics) == 2


def test_a_route_is_resolved_again_when_what_it_refers_to_has_changed(tmp_path: Path) -> None:
    files = Files(tmp_path)
    files.compiled()
    files.write("backend", BACKEND % 81)
    assert by_route(files.compiled())["default/one"].backends[0].endpoints[0].port == 81


def test_the_installations_options_count(tmp_path: Path) -> None:
    files = Files(tmp_path)
    files.compiled()
    assert files.loaded is not None
    other = compile_world(files.loaded.world, Options(path_root="/llm"))
    assert by_route(other)["default/one"].matches[0].path == "/llm"
