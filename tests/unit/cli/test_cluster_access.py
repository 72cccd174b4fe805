"""A kubeconfig that does not lead to a cluster: one line says what is wrong, at once, and nothing else is said."""

import json
import os
from pathlib import Path

import pytest
from headgate.cli.main import main
from support.ports import LOOPBACK, free_port

TOKEN = "very-secret-token"


def _kubeconfig(directory: Path, user: dict[str, object], server: str = "", name: str = "config") -> Path:
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "clusters": [{"name": "here", "cluster": {"server": server or f"https://{LOOPBACK}:{free_port()}"}}],
        "contexts": [
            {"name": "here", "context": {"cluster": "here", "user": "me"}},
            {"name": "nowhere", "context": {"cluster": "gone", "user": "me"}},
        ],
        "users": [{"name": "me", "user": user}],
    }
    path = directory / name
    path.write_text(json.dumps(config))
    return path


def _plugin(directory: Path, text: str, **more: object) -> dict[str, object]:
    script = directory / "plugin"
    script.write_text(f"#!/bin/sh\n{text}\n")
    script.chmod(0o755)
    exec_ = {"apiVersion": "client.authentication.k8s.io/v1", "command": str(script), "interactiveMode": "Never"}
    return {"exec": exec_ | more}


def _told(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 2) -> str:
    assert main([*arguments]) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert TOKEN not in said.err
    (line,) = said.err.splitlines()
    return line


@pytest.mark.parametrize("command", ["check", "explain", "status", "diff"])
def test_an_api_server_that_is_away(capsys: pytest.CaptureFixture[str], tmp_path: Path, command: str) -> None:
    server = f"https://{LOOPBACK}:{free_port()}"
    config = _kubeconfig(tmp_path, {"token": TOKEN}, server)
    (tmp_path / "new.yaml").write_text("")
    paths = [str(tmp_path / "new.yaml")] if command == "diff" else []
    line = _told(capsys, command, *paths, "--kubeconfig", str(config))
    assert line.startswith(f"headgate {command}: the API server {server} cannot be reached: ")
    assert "Connect call failed" in line


def test_a_name_that_nobody_has(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    config = _kubeconfig(tmp_path, {"token": TOKEN}, "https://api.invalid:6443")
    assert "https://api.invalid:6443 cannot be reached" in _told(capsys, "check", "--kubeconfig", str(config))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{: broken", "is not YAML"),
        ("[]", "is no kubeconfig"),
        ("", "is no kubeconfig"),
        ("kind: Config", "current-context"),
    ],
)
def test_a_file_that_is_no_kubeconfig(capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "config"
    path.write_text(text)
    line = _told(capsys, "check", "--kubeconfig", str(path))
    assert str(path) in line
    assert told in line


def test_no_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert f"there is no file {tmp_path}/absent" in _told(capsys, "check", "--kubeconfig", f"{tmp_path}/absent")


def test_of_several_files_some_may_be_absent(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = _kubeconfig(tmp_path, {"token": TOKEN})
    monkeypatch.setenv("KUBECONFIG", os.pathsep.join((f"{tmp_path}/absent", str(config))))
    assert "cannot be reached" in _told(capsys, "check", "--context", "here")


@pytest.mark.parametrize("context", ["nowhere", "unknown"])
def test_a_context_that_there_is_not(capsys: pytest.CaptureFixture[str], tmp_path: Path, context: str) -> None:
    config = _kubeconfig(tmp_path, {"token": TOKEN})
    line = _told(capsys, "check", "--kubeconfig", str(config), "--context", context)
    assert {"nowhere": "gone", "unknown": "unknown"}[context] in line
    assert context == "nowhere" or "it knows here, nowhere" in line


def test_a_plugin_that_fails(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    user = _plugin(tmp_path, "echo \"log in first: run 'cloud login'\" >&2; exit 3")
    line = _told(capsys, "check", "--kubeconfig", str(_kubeconfig(tmp_path, user)))
    assert f"no credential from {tmp_path}/plugin" in line
    assert "log in first: run 'cloud login'" in line
    assert "returned 3" in line


@pytest.mark.parametrize("answer", ["", "{}", '{"apiVersion": "v1", "kind": "ExecCredential", "status": {}}'])
def test_a_plugin_that_answers_nonsense(capsys: pytest.CaptureFixture[str], tmp_path: Path, answer: str) -> None:
    config = _kubeconfig(tmp_path, _plugin(tmp_path, f"echo '{answer}'"))
    assert "no credential from" in _told(capsys, "check", "--kubeconfig", str(config))


def test_a_plugin_is_found_beside_the_file_that_names_it(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (directory := tmp_path / "cluster" / "bin").mkdir(parents=True)
    user = _plugin(directory, 'echo "$0" >&2; exit 3', command="bin/plugin")
    config = _kubeconfig(directory.parent, user)
    monkeypatch.chdir(tmp_path)
    for path in (str(config), "cluster/config"):
        assert f"{directory}/plugin" in _told(capsys, "check", "--kubeconfig", path)


def test_a_plugin_that_is_not_installed(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    user = _plugin(tmp_path, "", command="cloud-get-token", installHint="get it from your cloud")
    line = _told(capsys, "check", "--kubeconfig", str(_kubeconfig(tmp_path, user)))
    assert "no credential from cloud-get-token" in line
    assert "get it from your cloud" in line


def test_an_authority_that_is_none(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = _kubeconfig(tmp_path, {"token": TOKEN})
    config = json.loads(path.read_text())
    config["clusters"][0]["cluster"]["certificate-authority-data"] = "bm90aGluZw=="
    path.write_text(json.dumps(config))
    assert "certificate" in _told(capsys, "check", "--kubeconfig", str(path))
