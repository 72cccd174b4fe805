"""The command line of `headgate-controller`."""

import pytest
from headgate.controller.main import main, make_parser
from headgate.controller.modes.envoys import header_attributes
from headgate.controller.secret_scope import SecretScope


def test_names_of_envoy_ai_gateway_work_too() -> None:
    given = ["--watchNamespaces=a,b", "--enableLeaderElection=false", "--cacheSyncTimeout=2m", "--rootPrefix=/ai"]
    options = make_parser().parse_args(["--mode", "standalone", *given])
    assert options.watch_namespaces == ("a", "b")
    assert options.leader_elect is False
    assert options.cache_sync_timeout_seconds == 120.0
    assert options.root_prefix == "/ai"


@pytest.mark.parametrize(
    ("arguments", "attributes"),
    [
        (["--mode", "envoy-gateway"], {"agent-session-id": "session.id"}),
        (["--mode", "envoy-gateway", "--logRequestHeaderAttributes=x-team:team"], {"x-team": "team"}),
        (["--mode", "envoy-gateway", "--log-request-header-attributes="], {}),
        (["--mode", "standalone"], {}),
        (["--mode", "standalone", "--collector-socket", "/run/collector.sock"], {"agent-session-id": "session.id"}),
    ],
)
def test_headers_that_access_logs_tell(arguments: list[str], attributes: dict[str, str]) -> None:
    """Beside Envoy Gateway as upstream has it: somebody's EnvoyProxy may read them."""
    assert dict(header_attributes(make_parser().parse_args(arguments))) == attributes


def test_defaults_are_for_several_replicas() -> None:
    options = make_parser().parse_args([])
    assert options.leader_elect is True
    assert options.secrets is SecretScope.ALL
    assert make_parser().parse_args(["--no-leader-elect"]).leader_elect is False


def test_what_is_missing_is_said_in_a_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    assert main(["--mode", "files"]) == 1
    assert main(["--mode", "standalone"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert "mode files needs a PATH" in lines[0]
    assert "no access to a Kubernetes API" in lines[1]
