"""A script that stands once, in a virtual host or a file, run by the short one in its cluster, on the real Envoy."""

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from headgate import lua
from support.envoy import EnvoyProcess
from support.ports import LOOPBACK, free_port
from support.static_envoy import Config, bootstrap, cluster, extension, listener, routed, tcp

NAME = "headgate.lua/upstream"
TOLD = lua.expression({"host": "api.test"})
BEFORE = """
function envoy_on_request(h)
  local context = h:filterContext()
  h:headers():replace('x-said', context:get('backend').host .. tostring(context:get('key') ~= nil))
end
"""
"""What scripts asked of their context before it was one text."""


def _script(said: str) -> str:
    body = f"calls = calls + 1\nh:headers():replace('x-said', '{said}' .. calls)"
    return f"local calls = 0\nfunction envoy_on_request(h)\n{body}\nend"


def _scripted_envoy(port: int, source: Config, known: dict[str, str]) -> Config:
    """Requests pass the script; what it said comes back from a second listener."""
    said = {"header": {"key": "said", "value": "%REQ(x-said)%"}}
    answer = {"match": {"prefix": "/"}, "direct_response": {"status": 200}, "response_headers_to_add": [said]}
    script = extension(
        NAME,
        "filters.http.lua.v3.Lua",
        default_source_code=source,
        filter_context={"told": TOLD},
        shared_vm_id="headgate-upstream",
    )
    host = {"metadata": {"filter_metadata": {NAME: known}}}
    other = free_port()
    return bootstrap(
        [listener("in", tcp(port), routed("back"), host=host), listener("out", tcp(other), answer)],
        [cluster("back", tcp(other), script)],
    )


@pytest.mark.parametrize(
    ("known", "said"),
    [
        ({lua.version("upstream"): _script("wanted"), "0": _script("other")}, ["wanted1", "wanted2"]),
        ({"0": _script("other")}, ["other1", "other2"]),
        ({"0": BEFORE}, ["api.testtrue", "api.testtrue"]),
        ({}, []),
    ],
    ids=["its own", "another version's", "one of before", "none"],
)
def test_a_cluster_runs_the_script_of_its_virtual_host(
    known: dict[str, str], said: list[str], start_envoy: Callable[..., EnvoyProcess]
) -> None:
    port = free_port()
    start_envoy(_scripted_envoy(port, {"inline_string": lua.by_virtual_host("upstream")}, known))
    answers = _answers(port)
    assert [each.headers["said"] for each in answers if each.status_code == 200] == said
    assert {each.status_code for each in answers} == ({200} if said else {503})


def test_a_cluster_runs_the_script_of_a_file(tmp_path: Path, start_envoy: Callable[..., EnvoyProcess]) -> None:
    lua.write(tmp_path)
    (tmp_path / "upstream.whole.lua").write_text(_script("whole"))
    port = free_port()
    start_envoy(_scripted_envoy(port, {"filename": str(tmp_path / "upstream.lua")}, {}))
    assert [each.headers["said"] for each in _answers(port)] == ["whole1", "whole2"]


def test_without_its_script_a_cluster_passes_nothing(tmp_path: Path, start_envoy: Callable[..., EnvoyProcess]) -> None:
    lua.write(tmp_path)
    whole = tmp_path / "upstream.whole.lua"
    whole.unlink()
    port = free_port()
    start_envoy(_scripted_envoy(port, {"filename": str(tmp_path / "upstream.lua")}, {}))
    assert {each.status_code for each in _answers(port)} == {503}
    for nothing in ("", "error('half of it')"):
        whole.write_text(nothing)
        assert {each.status_code for each in _answers(port)} == {503}
    whole.write_text(_script("whole"))
    assert _answers(port)[0].headers["said"] == "whole1"


def _answers(port: int) -> list[httpx.Response]:
    """Of two requests on one connection, which one of Envoy's threads serves."""
    with httpx.Client() as client:
        return [client.get(f"http://{LOOPBACK}:{port}/") for _ in range(2)]
