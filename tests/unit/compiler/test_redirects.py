"""Redirects of HTTPRoutes."""

from pathlib import Path

from headgate.compiler.compile import compile_world
from headgate.compiler.options import Options
from headgate.controller.sources.files import load

ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: moved}
spec:
  parentRefs: [{name: nowhere}]
  rules:
  - filters: [{type: RequestRedirect, requestRedirect: {hostname: example.com}}]
"""


def test_a_redirect_without_its_gateway_costs_itself_only(tmp_path: Path) -> None:
    """Its port would be the listener's: there is none."""
    (tmp_path / "route.yaml").write_text(ROUTE)
    compiled = compile_world(load([tmp_path], environment={}).world, Options())
    assert [each.message for each in compiled.diagnostics] == ["there is no Gateway default/nowhere"]
