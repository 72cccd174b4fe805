"""Formats and CEL of users: what we take Envoy takes, and what we refuse Envoy refuses (`--mode validate`)."""

import json
import subprocess
from pathlib import Path

import pytest
from headgate.compiler.resources.cel_syntax import FUNCTIONS, METHODS
from headgate.compiler.resources.formats import COMMANDS, format_problem
from headgate.runtime.envoy import find_envoy

_HTTP = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
_FILE = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog"
_PARAMETERS = {
    "COALESCE": '{"operators": ["PROTOCOL", {"command": "REQ", "param": "a"}]}',
    "COMMON_DURATION": "DS_RX_BEG:DS_TX_END:ms",
    "FILTER_STATE": "a:FIELD:b",
    "GRPC_STATUS": "NUMBER",
    "METADATA": "ROUTE:a:b",
    "PATH": "NQ:PATH",
    "QUERY_PARAMS": "DECODED",
    "REQ": ":path?x-b",
    "REQUESTED_SERVER_NAME": "SNI_FIRST:HOST",
    "START_TIME": "%Y-%m-%d (%3f)",
}
REFUSED = [
    "%NOPE%",
    "%req(a)%",
    "100%",
    "%DURATION",
    "%DURATION:5%",
    "%DURATION(x)%",
    "%REQ%",
    "%REQ()%",
    "%REQ(a b)%",
    "%REQ(a?b?c)%",
    "%REQ(a):%",
    "%REQ(a\n)%",
    "%METADATA(X:a)%",
    "%COMMON_DURATION(a)%",
    "%COMMON_DURATION(a:b:s)%",
    "%COMMON_DURATION(a:b):5%",
    "%CLUSTER_METADATA(a):5%",
    "%START_TIME:5%",
    "%PATH(X)%",
    "%GRPC_STATUS(X)%",
    "%FILTER_STATE(a:X)%",
    "%QUERY_PARAMS(X)%",
    "%REQUESTED_SERVER_NAME(X)%",
    '%COALESCE({"operators": ["NOPE"]})%',
    '%COALESCE({"operators": [{"command": "REQ"}]})%',
    "%COALESCE(x)%",
    "%CEL()%",
    "%CEL(1 +)%",
    "%CEL(string(1))%",
    "%CEL([1].map(x, x))%",
    "%CEL('a'.matches('('))%",
    "%CEL(size(1, 2))%",
    "%CEL('a'.lowerAscii())%",
    "%CEL(Foo{a: 1})%",
]


def _forms(name: str) -> list[str]:
    takes = COMMANDS[name]
    parameter = _PARAMETERS.get(name, "a")
    given = [] if takes.parameter is None else [f"({parameter})"]
    ends = ["", ":5"] if takes.length else [""]
    return [f"%{name}{start}{end}%" for start in (*([] if takes.needed else [""]), *given) for end in ends]


def _calls() -> list[str]:
    texts = {"bool": "'true'", "bytes": "'a'", "duration": "'1s'", "timestamp": "'2026-01-01T00:00:00Z'"}
    functions = {name: texts.get(name, "request.headers.a") for name in FUNCTIONS if name != "matches"}
    calls = [f"{name}({argument})" for name, argument in functions.items()]
    calls += ["matches('a', 'b')", "'a'.matches('^(a|b)$')", "re.extract('a', 'b', 'c')"]
    calls += [f"re.{name}('a', 'b')" for name in ("capture", "captureN")]
    calls += [f"request.time.{name}()" for name in METHODS if name.startswith("get")]
    calls += ["'a'.size()", *(f"request.path.{name}('a')" for name in ("contains", "endsWith", "startsWith"))]
    assert {call.partition("(")[0].rpartition(".")[2] for call in calls} == {*FUNCTIONS, *METHODS}
    return calls


def _taken(text: str, directory: Path) -> bool:
    """Whether Envoy takes the format."""
    log = {"@type": _FILE, "path": "/dev/null", "log_format": {"text_format_source": {"inline_string": text}}}
    manager = {
        "@type": _HTTP,
        "stat_prefix": "a",
        "route_config": {"name": "none"},
        "http_filters": [{"name": "router", "typed_config": {"@type": _ROUTER}}],
        "access_log": [{"name": "file", "typed_config": log}],
    }
    listener = {
        "name": "l",
        "address": {"pipe": {"path": str(directory / "l")}},
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }
    config = json.dumps({"static_resources": {"listeners": [listener]}})
    command = [str(find_envoy()), "--mode", "validate", "--log-level", "off", "--config-yaml", config]
    return subprocess.run(command, capture_output=True, timeout=60).returncode == 0


def test_what_we_take_envoy_takes(short_path: Path) -> None:
    forms = [form for name in COMMANDS for form in _forms(name)]
    text = " ".join([*(form.replace("(a)", "(1)") if "CEL" in form else form for form in forms), "5 %% x"])
    text += "".join(f"%CEL({call})%" for call in _calls())
    assert format_problem(text) == ""
    assert _taken(text, short_path)


@pytest.mark.parametrize("text", REFUSED)
def test_what_we_refuse_envoy_refuses(text: str, short_path: Path) -> None:
    assert format_problem(text)
    assert not _taken(text, short_path)
