"""Every case of `compile/`: what its files become, what is said of them, and how `headgate explain` tells it.

`xds.json` holds the resources without secrets and without the listener's parts that no case changes, and the gateway's
own answers once; `said.txt` the diagnostics; `statuses.json` the objects with their statuses; `explained.txt` the
explanation; `limits.yaml` the rate limit service's configuration where there is one.
"""

import json
from pathlib import Path
from typing import Any, cast

import pytest
from golden.conftest import Golden
from headgate.cli.compile import redacted
from headgate.cli.explain import program_lines
from headgate.compiler.compile import Compiled, compile_world
from headgate.compiler.conditions import as_object, diagnostic_order
from headgate.compiler.options import Options
from headgate.controller.sources.files import Loaded, load
from headgate.pb import overlay

CASES = Path(__file__).parent / "compile"
WITHOUT_XDS = frozenset({"attachment"})
"""Cases about statuses alone: ten listeners are more configuration than anybody reads."""
OPTIONS = Options(
    extproc_sockets=("/run/headgate/extproc-0.sock",),
    ratelimit_socket="/run/headgate/ratelimit.sock",
    lua_directory="/lua",
    secrets_directory="/run/headgate/files",
    ai_route_parents=True,
)


def compiled(case: str) -> tuple[Loaded, Compiled]:
    loaded = load((CASES / case / "in.yaml",), environment={})
    return loaded, compile_world(loaded.world, OPTIONS)


def _once(node: Any, seen: set[str]) -> Any:
    """The gateway's own answers stand in many lists: printed whole at the first, after that by name."""
    if isinstance(node, list):
        return [_once(each, seen) for each in cast("list[Any]", node)]
    if not isinstance(node, dict):
        return node
    whole = cast("dict[str, Any]", node)
    if "match" in whole and str(whole.get("name")).startswith("headgate/"):
        text = json.dumps(whole, sort_keys=True)
        if text in seen:
            return whole["name"]
        seen.add(text)
    return {key: _once(whole[key], seen) for key in sorted(whole)}


def printed(found: Compiled) -> dict[str, Any]:
    """The resources by kind and name; service clusters and the access log are the same everywhere."""
    result: dict[str, Any] = {}
    for url, named in found.resources.items():
        kind = url.rpartition(".")[2]
        result[kind] = {
            name: redacted(overlay.to_dict(message), secret=kind == "Secret")
            for name, message in named.items()
            if name not in ("headgate-extproc", "headgate-ratelimit")
        }
    result["RouteConfiguration"] = _once(result["RouteConfiguration"], set())
    for listener in result["Listener"].values():
        for chain in listener["filter_chains"]:
            chain["filters"][-1]["typed_config"].pop("access_log", None)
            chain["filters"][-1]["typed_config"].pop("local_reply_config", None)
    return result


@pytest.mark.parametrize("case", sorted(path.name for path in CASES.iterdir()))
def test_case(case: str, golden: Golden) -> None:
    loaded, found = compiled(case)
    folder = CASES / case
    diagnostics = sorted({*loaded.diagnostics, *found.diagnostics}, key=diagnostic_order)
    said = "".join(f"{diagnostic}\n" for diagnostic in diagnostics).replace(f"{folder}/", "")
    if case not in WITHOUT_XDS:
        golden(folder / "xds.json", json.dumps(printed(found), indent=1, sort_keys=True).encode() + b"\n")
    golden(folder / "said.txt", said.encode())
    statuses = json.dumps([as_object(status) for status in found.statuses], indent=1, sort_keys=True)
    golden(folder / "statuses.json", statuses.encode() + b"\n")
    golden(folder / "explained.txt", "".join(f"{line}\n" for line in program_lines(found.program)).encode())
    if found.limits:
        golden(folder / "limits.yaml", found.limits.encode())


@pytest.mark.parametrize("case", sorted(path.name for path in CASES.iterdir()))
def test_no_output_holds_a_secret(case: str) -> None:
    _, found = compiled(case)
    text = json.dumps(printed(found)) + repr(found.program) + repr(found.diagnostics) + repr(found.statuses)
    for secret in ("sk-secret", "key-a", "key-b", "PRIVATE"):
        assert secret not in text
