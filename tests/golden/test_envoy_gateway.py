"""What becomes of Envoy Gateway's lists: `in.yaml` is ours, `theirs.json` what it sent (recorded from v1.9.1).

`ours.json` is what it is answered, routes a line each, without what no case changes; `objects.json` what it is given to
translate.
"""

import json
import re
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from golden.conftest import Golden
from google.protobuf import json_format
from google.protobuf.message import Message
from headgate.cli.compile import redacted
from headgate.compiler.compile import Compiled, compile_world
from headgate.compiler.envoy_gateway.names import INPUTS
from headgate.compiler.envoy_gateway.objects import wanted_objects
from headgate.compiler.envoy_gateway.rules import Rules, known_rules
from headgate.compiler.envoy_gateway.translation import Lists, Memo, translate
from headgate.compiler.options import Mode, Options
from headgate.controller.sources.files import load
from headgate.pb import overlay

CASES = Path(__file__).parent / "envoy_gateway"
OPTIONS = Options(
    mode=Mode.ENVOY_GATEWAY, extproc_sockets=("/etc/ai-gateway-extproc-uds/run.sock",), lua_directory="/lua"
)
TYPES: Final[dict[str, type[Message]]] = {
    "clusters": Cluster,
    "secrets": Secret,
    "listeners": Listener,
    "routes": RouteConfiguration,
}
for _module in (
    "extensions.filters.http.health_check.v3.health_check_pb2",
    "extensions.load_balancing_policies.least_request.v3.least_request_pb2",
    "extensions.retry.host.previous_hosts.v3.previous_hosts_pb2",
    "extensions.access_loggers.file.v3.file_pb2",
):
    import_module(f"envoy.{_module}")  # types in Envoy Gateway's lists that we do not use


def case_lists(folder: Path) -> Lists:
    said: dict[str, list[dict[str, Any]]] = json.loads((folder / "theirs.json").read_text())
    found = {
        name: tuple(
            json_format.ParseDict(each, TYPES[name]()).SerializeToString(deterministic=True) for each in said[name]
        )
        for name in TYPES
    }
    return Lists(**found)


def case_compiled(folder: Path) -> tuple[Compiled, Rules]:
    loaded = load((folder / "in.yaml",), environment={})
    assert not loaded.diagnostics, loaded.diagnostics
    compiled = compile_world(loaded.world, OPTIONS)
    return compiled, known_rules(compiled.program)


def _route_line(route: dict[str, Any]) -> str:
    """A route's name, match and outcome, and the filters it configures."""
    action: dict[str, Any] = route.get("route", {})
    outcome = action.get("cluster") or action.get("cluster_specifier_plugin")
    if "direct_response" in route:
        outcome = route["direct_response"]["status"]
    parts = [route["name"], json.dumps(route["match"], sort_keys=True), f"-> {outcome}"]
    parts += [
        f"{name}={json.dumps(action[name], sort_keys=True)}" for name in ("timeout", "retry_policy") if name in action
    ]
    return " ".join([*parts, ",".join(sorted(route.get("typed_per_filter_config", {})))])


def _lists_of_routes(node: Any, path: str = "") -> dict[str, list[str]]:
    """Every list of routes in a virtual host's matcher, by the way to it."""
    found: dict[str, list[str]] = {}
    if "action" in node:
        return {path or "/": [_route_line(each) for each in node["action"]["typed_config"]["routes"]]}
    matcher = node.get("matcher", node)
    (entries,) = (kind["map"] for name, kind in matcher["matcher_tree"].items() if name != "input")
    for key, entry in entries.items():
        found |= _lists_of_routes(entry, f"{path}/{key}")
    return found | (_lists_of_routes(matcher["on_no_match"], f"{path}/*") if "on_no_match" in matcher else {})


def _shown(name: str, data: bytes, theirs: tuple[bytes, ...]) -> Any:
    shown = overlay.to_dict(TYPES[name].FromString(data))
    if data in theirs:
        return {"name": shown["name"], "unchanged": True}
    for host in shown.get("virtual_hosts", []):
        if "matcher" in host:
            host["matcher"] = _lists_of_routes(host["matcher"])
        host["routes"] = [_route_line(each) for each in host.get("routes", [])]
    for chain in [*shown.get("filter_chains", []), *([shown[d]] if (d := "default_filter_chain") in shown else [])]:
        for each in chain["filters"]:
            each["typed_config"].pop("local_reply_config", None)
            each["typed_config"].pop("access_log", None)
    return redacted(shown, secret=name == "secrets")


@pytest.mark.parametrize("case", sorted(path.name for path in CASES.iterdir()))
def test_case(case: str, golden: Golden) -> None:
    folder = CASES / case
    lists = case_lists(folder)
    compiled, rules = case_compiled(folder)
    translated, memo = translate(lists, rules, OPTIONS)
    shown = {
        name: [_shown(name, each, getattr(lists, name)) for each in getattr(translated.lists, name)] for name in TYPES
    }
    shown["problems"] = [f"{each.route}: {each.message}" for each in translated.problems]
    golden(folder / "ours.json", json.dumps(shown, indent=1, sort_keys=True).encode() + b"\n")
    objects = [each.value for each in wanted_objects(compiled.scope, rules, build="golden").wanted]
    text = re.sub(rf'({INPUTS}"): "[0-9a-f]{{32}}"', r'\1: "a hash of all inputs"', json.dumps(objects, indent=1))
    golden(folder / "objects.json", text.encode() + b"\n")
    again, _ = translate(lists, rules, OPTIONS, memo)
    assert again == translated, "the memo must not change the answer"
    assert translate(lists, rules, OPTIONS, Memo())[0] == translated
