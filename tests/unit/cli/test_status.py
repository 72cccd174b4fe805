"""`headgate status` says what is in force, what is not and why; of files, and of whoever answers at `--admin`."""

import json
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from headgate.cli.main import main
from headgate.cli.status import object_lines, summary
from support import manifests
from support.manifests import Document

Captured = pytest.CaptureFixture[str]


def status(tmp_path: Path, *documents: Document, options: tuple[str, ...] = ()) -> int:
    path = tmp_path / "in.yaml"
    path.write_text(manifests.text(documents))
    return main(["status", str(path), *options])


def good() -> list[Document]:
    route = manifests.route("chat", [manifests.rule("gpt", manifests.ref("openai"))])
    return [*manifests.gateway({"port": 8080}), *manifests.backend("openai", 1, key="k"), route]


def test_what_is_in_force_is_a_line_each(tmp_path: Path, capsys: Captured) -> None:
    assert status(tmp_path, *good()) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(
        line.split() == ["AIGatewayRoute", "default/chat", "ResolvedRefs,", "Programmed,", "Accepted"] for line in lines
    )
    assert "  listener listener0 (1 route)  Accepted, ResolvedRefs, Programmed" in lines
    assert lines[-1] == "all 6 objects are in force"


def test_what_is_not_says_why_once(tmp_path: Path, capsys: Captured) -> None:
    broken = manifests.route("broken", [manifests.rule("m", manifests.ref("nobody"))])
    assert status(tmp_path, *good(), broken) == 1
    out = capsys.readouterr().out
    assert "not Accepted (ReconciliationFailed)" in out
    assert "NotAccepted" not in out
    why = "spec.rules[0].backendRefs[0].name: there is no AIServiceBackend default/nobody; try: one of openai"
    assert out.count(why) == 1
    assert out.splitlines()[-1] == "1 of 7 objects is not in force as written"


def test_json_is_the_objects(tmp_path: Path, capsys: Captured) -> None:
    assert status(tmp_path, *good(), options=("--output", "json")) == 0
    found: Any = json.loads(capsys.readouterr().out)
    route = next(each for each in found["objects"] if each["kind"] == "AIGatewayRoute")
    assert route["status"]["conditions"][-1]["type"] == "Accepted"


def test_a_condition_that_should_be_false_fails_when_it_is_true() -> None:
    listener = {
        "name": "l",
        "attachedRoutes": 2,
        "conditions": [{"type": "Conflicted", "status": "True", "reason": "X"}],
    }
    line = summary({"kind": "Gateway", "metadata": {"name": "g"}, "status": {"listeners": [listener]}})
    assert not line.in_force
    assert line.below[0].fails == (("Conflicted", "X", ""),)


def test_an_object_that_nobody_reported_on_says_so() -> None:
    lines = list(object_lines([{"kind": "AIGatewayRoute", "metadata": {"name": "r", "namespace": "n"}}]))
    assert lines == ["AIGatewayRoute n/r  no status yet", "all 1 objects are in force"]


@contextmanager
def answering(value: Mapping[str, object]) -> Generator[str]:
    """A server whose `/status` is the value."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/status" else 404)
            self.end_headers()
            self.wfile.write(json.dumps(value).encode())

        def log_message(self, format: str, *args: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_running_gateway_tells_what_envoy_accepted(capsys: Captured) -> None:
    found = {"accepted": "abc", "wanted": "abc", "nodes": ["one"], "refusals": [], "error": "", "objects": []}
    with answering(found) as address:
        assert main(["status", "--admin", address]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "Envoy serves the newest configuration, abc; 1 Envoy connected"


def test_what_envoy_refused_fails(capsys: Captured) -> None:
    found = {"accepted": "abc", "wanted": "abd", "nodes": [], "refusals": ["Cluster x: no"], "error": ""}
    with answering(found) as address:
        assert main(["status", "--admin", f"http://{address}/"]) == 1
    out = capsys.readouterr().out
    assert "Envoy serves configuration abc, the newest is abd; 0 Envoys connected" in out
    assert "  refused: Cluster x: no" in out


def test_nobody_there_is_said(capsys: Captured) -> None:
    assert main(["status", "--admin", "127.0.0.1:1"]) == 2
    assert "no status from http://127.0.0.1:1/status" in capsys.readouterr().err


def test_no_cluster_is_said(tmp_path: Path, capsys: Captured) -> None:
    path = tmp_path / "config"
    path.write_text("{}")
    assert main(["status", "--kubeconfig", str(path)]) == 2
    assert str(path) in capsys.readouterr().err
    assert main(["check", "--kubeconfig", str(path)]) == 2
    assert main(["explain"]) == 2
    assert "name a PATH, or a cluster" in capsys.readouterr().err
