"""`headgate check` says everything that is wrong and fails on errors."""

import json
from pathlib import Path

import pytest
from headgate.cli.main import main

GOOD = """\
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: headgate}
spec: {controllerName: headgate.dev/gateway-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: g}
spec:
  gatewayClassName: headgate
  listeners: [{name: http, port: 8080, protocol: HTTP}]
---
apiVersion: aigateway.envoyproxy.io/v1beta1
kind: AIGatewayRoute
metadata: {name: chat}
spec:
  parentRefs: [{name: g}]
  rules:
  - matches: [{headers: [{name: x-ai-eg-model, value: gpt-4o}]}]
    backendRefs: [{name: openai}]
---
apiVersion: aigateway.envoyproxy.io/v1beta1
kind: AIServiceBackend
metadata: {name: openai}
spec:
  schema: {name: OpenAI}
  backendRef: {group: gateway.envoyproxy.io, kind: Backend, name: openai}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: openai}
spec:
  endpoints: [{fqdn: {hostname: api.openai.com, port: 443}}]
  tls: {wellKnownCACertificates: System}
"""


def check(tmp_path: Path, text: str, *arguments: str) -> int:
    path = tmp_path / "gateway.yaml"
    path.write_text(text)
    return main(["check", str(path), *arguments])


def test_a_good_configuration_passes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(tmp_path, GOOD, "--strict") == 0
    assert capsys.readouterr() == ("", "everything is in force\n")


def test_where_nothing_would_be_served_it_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(tmp_path, "") == 0
    assert capsys.readouterr().err.splitlines() == [
        "everything is in force",
        "nothing is served: no Gateway has a listener with a valid route",
    ]


KEY = """\
---
apiVersion: aigateway.envoyproxy.io/v1beta1
kind: BackendSecurityPolicy
metadata: {name: openai}
spec:
  targetRefs: [{group: aigateway.envoyproxy.io, kind: AIServiceBackend, name: openai}]
  type: APIKey
  apiKey: {secretRef: {name: openai}}
---
apiVersion: v1
kind: Secret
metadata: {name: openai}
stringData: {apiKey: '${HEADGATE_TEST_UNSET}'}
"""


def test_a_variable_that_is_not_set_is_one_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(tmp_path, GOOD + KEY) == 1
    said = capsys.readouterr()
    assert said.out.splitlines() == [
        f"{tmp_path}/gateway.yaml:47: error: Secret default/openai: stringData.apiKey: the environment has no variable "
        "HEADGATE_TEST_UNSET, so the value is missing; try: export HEADGATE_TEST_UNSET=..., or the value itself"
    ]
    assert said.err == "1 error\n"
    assert main(["status", str(tmp_path / "gateway.yaml")]) == 1
    assert "Secret default/openai has no value under the key apiKey" in capsys.readouterr().out


def test_a_backend_that_is_broken_is_not_to_be_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = GOOD[GOOD.index("---\napiVersion: aigateway.envoyproxy.io/v1beta1\nkind: AIServiceBackend") :]
    text = GOOD.replace("name: OpenAI", "name: OpenAi") + other.replace("{name: openai}", "{name: other}", 1)
    assert check(tmp_path, text) == 1
    (told,) = [line for line in capsys.readouterr().out.splitlines() if "AIGatewayRoute" in line]
    assert told.endswith("AIServiceBackend default/openai is not valid")


def test_all_errors_are_said_with_their_places(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = GOOD.replace("port: 8080", "port: 0").replace("backendRef:", "backendref:")
    assert check(tmp_path, text) == 1
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert (
        f"{tmp_path}/gateway.yaml:11: error: Gateway default/g: spec.listeners[0].port: must be at least 1, is 0"
        in lines
    )
    backend = "error: AIServiceBackend default/openai"
    assert f"{tmp_path}/gateway.yaml:27: {backend}: spec.backendref: unknown field; try: backendRef" in lines
    assert f"{tmp_path}/gateway.yaml:25: {backend}: spec.backendRef: required, and missing" in lines
    assert err == f"{len(lines)} errors\n"


def test_what_the_compiler_finds_is_said_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(tmp_path, GOOD.replace("[{name: openai}]", "[{name: opnai}]")) == 1
    assert "spec.rules[0].backendRefs[0]" in capsys.readouterr().out


def test_warnings_fail_where_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = GOOD.replace("v1beta1\nkind: AIGatewayRoute", "v1alpha1\nkind: AIGatewayRoute")
    assert check(tmp_path, text) == 0
    assert capsys.readouterr().err == "1 warning\n"
    assert check(tmp_path, text, "--strict") == 1


def test_findings_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(tmp_path, GOOD.replace("port: 8080", "port: many"), "--format", "json") == 1
    first = json.loads(capsys.readouterr().out.splitlines()[0])
    assert first["object"] == "Gateway default/g"
    assert (first["line"], first["field"]) == (11, "spec.listeners[0].port")


def test_a_missing_file_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(tmp_path / "none.yaml")]) == 1
    assert "no such file or folder" in capsys.readouterr().out
