"""The command line of `headgate-controller`."""

import pytest
from headgate.controller.main import main, make_parser
from headgate.controller.modes.envoys import header_attributes
from headgate.controller.modes.upstream import IGNORED, notes, with_two_dashes
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
        (["--mode", "standalone", "--requestHeaderAttributes=x-team:team"], {"x-team": "team"}),
        (
            ["--mode", "envoy-gateway", "--requestHeaderAttributes=x-team:team,agent-session-id:s"],
            {"agent-session-id": "session.id", "x-team": "team"},
        ),
        (
            ["--mode", "envoy-gateway", "--metricsRequestHeaderAttributes=x-team:team"],
            {"agent-session-id": "session.id"},
        ),
        (
            ["--mode=envoy-gateway", "--collector-address=c:9190", "--metricsRequestHeaderAttributes=x-team:team"],
            {"agent-session-id": "session.id", "x-team": "team"},
        ),
        (["--mode", "standalone", "--collector-socket", "/run/collector.sock"], {"agent-session-id": "session.id"}),
    ],
)
def test_headers_that_access_logs_tell(arguments: list[str], attributes: dict[str, str]) -> None:
    """Beside Envoy Gateway as upstream has it: somebody's EnvoyProxy may read them."""
    assert dict(header_attributes(make_parser().parse_args(arguments))) == attributes


def test_a_header_may_have_another_name_in_metrics() -> None:
    given = [
        "--collector-address=c:9190",
        "--requestHeaderAttributes=x-team:team",
        "--logRequestHeaderAttributes=x-team:t",
    ]
    assert header_attributes(make_parser().parse_args(given)) == (("x-team", "t"), ("x-team", "team"))


UPSTREAMS = {
    "envoyGatewayNamespace": "envoy-gateway-system",
    "extProcImage": "example.com/processor:1",
    "extProcImagePullPolicy": "Always",
    "extProcImagePullSecrets": "a;b",
    "extProcLogLevel": "info",
    "extProcLogFormat": "json",
    "extProcEnableRedaction": "true",
    "extProcExtraEnvVars": "A=b;C=d",
    "extProcMaxRecvMsgSize": "536870912",
    "enableLeaderElection": "true",
    "logLevel": "info",
    "logFormat": "text",
    "port": ":1063",
    "maxRecvMsgSize": "4194304",
    "webhookPort": "9443",
    "tlsCertDir": "/certs",
    "caBundleName": "ca.crt",
    "tlsCertName": "tls.crt",
    "tlsKeyName": "tls.key",
    "requestHeaderAttributes": "a:b",
    "spanRequestHeaderAttributes": "a:b",
    "logRequestHeaderAttributes": "a:b",
    "metricsRequestHeaderAttributes": "a:b",
    "endpointPrefixes": "openai:/,cohere:/cohere,anthropic:/anthropic",
    "rootPrefix": "/",
    "watchNamespaces": "a,b",
    "cacheSyncTimeout": "2m",
    "mcpSessionEncryptionSeed": "s3cret",
    "mcpSessionEncryptionIterations": "100000",
    "mcpFallbackSessionEncryptionSeed": "s3cret",
    "mcpFallbackSessionEncryptionIterations": "100000",
    "quotaRateLimitServiceAddr": "limits.ns",
    "quotaRateLimitTimeout": "5",
    "quotaRateLimitFailureModeDeny": "true",
}
"""Every option of Envoy AI Gateway's controller (control-plane.md 2.1)."""


@pytest.mark.parametrize("dash", ["-", "--"])
def test_no_option_of_envoy_ai_gateways_controller_ends_ours(dash: str) -> None:
    """What does nothing is said, by name alone."""
    given = [f"{dash}{name}={value}" for name, value in UPSTREAMS.items()]
    options = make_parser().parse_args(with_two_dashes(["--mode", "envoy-gateway", *given]))
    assert (options.webhook_address, options.ratelimit_fail_closed, options.log_level) == (":9443", True, "info")
    said = dict(notes(options))
    assert said["mcpSessionEncryptionSeed"] == "MCPRoutes are not served"
    assert "--ratelimit-address" in said["quotaRateLimitServiceAddr"]
    assert set(said) == {*IGNORED, "spanRequestHeaderAttributes"}
    assert "s3cret" not in str(said)


@pytest.mark.parametrize(
    ("prefixes", "said"),
    [
        ("openai:,anthropic:/", []),
        ("anthropic:/anthropic/", []),
        ("cohere:/c", ["cohere:/c is not served; what is: / and /cohere"]),
        (
            "gemini:/g,openai:/v1",
            ["gemini:/g is not served; what is: nothing of that name", "openai:/v1 is not served; what is: /"],
        ),
    ],
)
def test_endpoints_with_prefixes_of_their_own_are_told(prefixes: str, said: list[str]) -> None:
    assert [why for _, why in notes(make_parser().parse_args([f"--endpointPrefixes={prefixes}"]))] == said


def test_nothing_is_said_of_options_that_were_not_given() -> None:
    assert not list(notes(make_parser().parse_args(["--mode", "envoy-gateway"])))


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
