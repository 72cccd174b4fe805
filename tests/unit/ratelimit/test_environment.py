"""envoyproxy/ratelimit's environment variables mean the same to ours."""

import pytest
from headgate.ratelimit.environment import DEFAULTS, VariableError, arguments_from, parse_duration, redis_url
from headgate.ratelimit.main import FROM_ENVIRONMENT, main, make_parser


def test_nothing_set_is_its_defaults() -> None:
    options = make_parser().parse_args(arguments_from({}))
    assert options.address == "0.0.0.0:8081"
    assert options.config == "/srv/runtime_data/current/config"
    assert options.redis_url == "unix:///var/run/nutcracker/ratelimit.sock"
    assert (options.admin_host, options.admin_port) == ("0.0.0.0", 8080)
    assert (options.ttl_jitter_seconds, options.key_prefix, options.limit_headers) == (300, "", False)


def test_what_a_deployment_sets_is_read() -> None:
    environment = {
        "GRPC_UDS": "/run/l.sock",
        "RUNTIME_ROOT": "/data",
        "RUNTIME_SUBDIRECTORY": "ratelimit",
        "REDIS_SOCKET_TYPE": "tcp",
        "REDIS_URL": "redis:6379",
        "CACHE_KEY_PREFIX": "p:",
        "LIMIT_RESPONSE_HEADERS_ENABLED": "TRUE",
        "EXPIRATION_JITTER_MAX_SECONDS": "0",
        "LOG_LEVEL": "warn",
        "USE_STATSD": "false",
        "REDIS_POOL_SIZE": "5",
    }
    options = make_parser().parse_args(arguments_from(environment))
    assert (options.address, options.config) == ("unix:/run/l.sock", "/data/ratelimit/config")
    assert options.redis_url == "redis://redis:6379"
    assert (options.key_prefix, options.limit_headers, options.ttl_jitter_seconds) == ("p:", True, 0)


@pytest.mark.parametrize(
    ("variables", "url"),
    [
        ({"REDIS_AUTH": "p@ss"}, "redis://:p%40ss@r:1"),
        ({"REDIS_AUTH": "user:p/w"}, "redis://user:p%2Fw@r:1"),
        ({"REDIS_SOCKET_TYPE": "tls"}, "rediss://r:1"),
        (
            {"REDIS_TLS": "true", "REDIS_TLS_CACERT": "/ca.pem", "REDIS_TLS_SKIP_HOSTNAME_VERIFICATION": "1"},
            "rediss://r:1?ssl_ca_certs=/ca.pem&ssl_check_hostname=false",
        ),
        ({"REDIS_URL": "rediss://u@h:2/1"}, "rediss://u@h:2/1"),
        ({"REDIS_TYPE": "CLUSTER", "REDIS_URL": "a:1,b:2"}, "redis+cluster://a:1,b:2"),
        ({"REDIS_TYPE": "cluster", "REDIS_TLS": "true", "REDIS_AUTH": "pw"}, "rediss+cluster://:pw@r:1"),
        ({"REDIS_TYPE": "sentinel", "REDIS_URL": "my master,a:1,b:2"}, "redis+sentinel://a:1,b:2/my%20master"),
        (
            {"REDIS_TYPE": "SENTINEL", "REDIS_URL": "m,a:1", "REDIS_AUTH": "u:p", "REDIS_SENTINEL_AUTH": "s:t"},
            "redis+sentinel://u:p@a:1/m?sentinel_auth=s:t",
        ),
    ],
)
def test_redis_is_found_where_it_says(variables: dict[str, str], url: str) -> None:
    assert redis_url({**DEFAULTS, "REDIS_SOCKET_TYPE": "tcp", "REDIS_URL": "r:1", **variables}) == url


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"BACKEND_TYPE": "memcache"}, "BACKEND_TYPE=memcache is not supported; only redis is"),
        ({"REDIS_TYPE": "RING"}, "REDIS_TYPE=RING is none of single, sentinel, cluster"),
        ({"REDIS_TYPE": "SENTINEL", "REDIS_URL": "m"}, "REDIS_URL=m needs the master's name and then sentinels"),
        ({"REDIS_TIMEOUT": "10"}, "REDIS_TIMEOUT=10 is no duration"),
        ({"CONFIG_TYPE": "ETCD"}, "CONFIG_TYPE=ETCD is none of FILE, GRPC_XDS_SOTW"),
        ({"REDIS_TLS": "maybe", "REDIS_SOCKET_TYPE": "tcp"}, "REDIS_TLS=maybe is neither true nor false"),
        ({"LOG_LEVEL": "loud"}, "LOG_LEVEL=loud is none of"),
        ({"REDIS_SOCKET_TYPE": "udp"}, "REDIS_SOCKET_TYPE=udp is none of unix, tcp, tls"),
    ],
)
def test_what_we_do_not_have_is_named(variables: dict[str, str], message: str) -> None:
    with pytest.raises(VariableError, match=message):
        arguments_from(variables)


def test_a_start_that_cannot_be_says_why(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("BACKEND_TYPE", "memcache")
    assert main([FROM_ENVIRONMENT]) == 1
    assert "BACKEND_TYPE=memcache is not supported" in capsys.readouterr().err


def test_a_second_redis_is_read_with_its_own_settings() -> None:
    environment = {
        "REDIS_PERSECOND": "true",
        "REDIS_PERSECOND_SOCKET_TYPE": "tcp",
        "REDIS_PERSECOND_URL": "fast:1",
        "REDIS_PERSECOND_AUTH": "x",
        "REDIS_PERSECOND_TIMEOUT": "250ms",
        "REDIS_PIPELINE_WINDOW": "150us",
        "REDIS_PIPELINE_LIMIT": "64",
    }
    options = make_parser().parse_args(arguments_from(environment))
    assert options.redis_per_second_url == "redis://:x@fast:1"
    assert (options.redis_timeout_seconds, options.redis_per_second_timeout_seconds) == (10.0, 0.25)
    assert (options.redis_gather_seconds, options.redis_batch_ops_max) == (0.00015, 64)


def test_statsd_is_on_unless_something_else_is_said() -> None:
    def statsd(**environment: str) -> tuple[str, float, list[str]]:
        options = make_parser().parse_args(arguments_from(environment))
        return options.statsd, options.statsd_interval_seconds, options.statsd_tag

    assert statsd() == ("localhost:8125", 10.0, [])
    given = {"STATSD_HOST": "s", "STATSD_PORT": "1", "STATS_FLUSH_INTERVAL": "1m", "EXTRA_TAGS": "a:b,c:d"}
    assert statsd(**given) == ("s:1", 60.0, ["a=b", "c=d"])
    for variable, value in (("USE_STATSD", "false"), ("DISABLE_STATS", "true"), ("USE_PROMETHEUS", "true")):
        assert statsd(**{variable: value})[0] == ""


def test_clients_names_and_answers_metadata() -> None:
    tls = {"GRPC_SERVER_USE_TLS": "true", "GRPC_SERVER_TLS_CERT": "/c", "GRPC_SERVER_TLS_KEY": "/k"}
    names = {"GRPC_CLIENT_TLS_CACERT": "/ca", "GRPC_CLIENT_TLS_SAN": "envoy"}
    arguments = arguments_from({**tls, **names, "RESPONSE_DYNAMIC_METADATA": "true"})
    options = make_parser().parse_args(arguments)
    assert (options.tls_client_name, options.response_metadata) == ("envoy", True)


@pytest.mark.parametrize(
    ("text", "seconds"), [("0", 0), ("1m30s", 90), ("150us", 0.00015), ("1.5s", 1.5), ("2h", 7200), ("10ms", 0.01)]
)
def test_durations_are_those_of_go(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "1", "s", "1x", "1s 2s", "-1s"])
def test_what_is_no_duration_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="is no duration"):
        parse_duration(text)


def test_limits_over_xds_are_asked_for_where_it_says() -> None:
    environment = {
        "CONFIG_TYPE": "GRPC_XDS_SOTW",
        "CONFIG_GRPC_XDS_NODE_ID": "envoy-ratelimit",
        "CONFIG_GRPC_XDS_NODE_METADATA": "a=1,b=2",
        "CONFIG_GRPC_XDS_SERVER_URL": "envoy-gateway:18001",
        "CONFIG_GRPC_XDS_CLIENT_ADDITIONAL_HEADERS": "X-Token:t=1",
        "CONFIG_GRPC_XDS_SERVER_USE_TLS": "true",
        "CONFIG_GRPC_XDS_CLIENT_TLS_CERT": "/certs/tls.crt",
        "CONFIG_GRPC_XDS_CLIENT_TLS_KEY": "/certs/tls.key",
        "CONFIG_GRPC_XDS_SERVER_TLS_CACERT": "/certs/ca.crt",
        "FORCE_START_WITHOUT_INITIAL_CONFIG": "true",
    }
    options = make_parser().parse_args(arguments_from(environment))
    assert options.config == "xds+tls://envoy-gateway:18001"
    assert (options.xds_node_id, options.xds_node_metadata) == ("envoy-ratelimit", ["a=1", "b=2"])
    assert (str(options.xds_ca), str(options.xds_key)) == ("/certs/ca.crt", "/certs/tls.key")
    assert (options.xds_header, options.start_without_config) == (["x-token=t=1"], True)
    assert (options.xds_pause_seconds, options.xds_pause_seconds_max) == (10.0, 60.0)


def test_modes_headers_and_tls_are_read() -> None:
    environment = {
        "SHADOW_MODE": "true",
        "NEAR_LIMIT_RATIO": "0.5",
        "LIMIT_RESET_HEADER": "X-Reset",
        "GRPC_SERVER_USE_TLS": "true",
        "GRPC_SERVER_TLS_CERT": "/c",
        "GRPC_SERVER_TLS_KEY": "/k",
        "GRPC_CLIENT_TLS_CACERT": "/ca",
        "REDIS_HEALTH_CHECK_ACTIVE_CONNECTION": "true",
    }
    options = make_parser().parse_args(arguments_from(environment))
    assert (options.shadow_mode, options.quota_mode, options.near_limit_ratio) == (True, False, 0.5)
    assert options.limit_header_names == ("ratelimit-limit", "ratelimit-remaining", "x-reset")
    assert [str(each) for each in (options.tls_certificate, options.tls_key, options.tls_client_ca)] == [
        "/c",
        "/k",
        "/ca",
    ]
    assert (options.health_without_storage, options.health_needs_config) == (False, False)
