"""Limits over xDS: taken, refused, kept while the server is away, and followed when it is back."""

from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf import any_pb2, json_format
from headgate.limits.config import ConfigError
from headgate.pb import rate_limit_config_pb2
from headgate.ratelimit.config_xds import TYPE_URL, read_response
from support.limiter import LimiterProcess
from support.limits_xds import LimitsServer, config
from support.ports import free_port
from support.tls import server_tls
from support.waiting import wait_until

Start = Callable[..., LimiterProcess]


@pytest.fixture
def start(short_path: Path) -> Iterator[Start]:
    started: list[LimiterProcess] = []

    def start_limiter(server: LimitsServer | int, *arguments: str) -> LimiterProcess:
        port = server if isinstance(server, int) else server.port
        directory = short_path / f"limiter{len(started)}"
        directory.mkdir()
        scheme = "xds+tls" if "--xds-ca" in arguments else "xds"
        options = ("--config", f"{scheme}://127.0.0.1:{port}", "--xds-node-id", "envoy-ratelimit")
        options += ("--xds-pause-seconds", "0.05", "--xds-pause-seconds-max", "0.2")
        started.append(LimiterProcess(directory, "", *options, *arguments))
        return started[-1]

    yield start_limiter
    for each in started:
        each.close()


@pytest.fixture
def server() -> Iterator[LimitsServer]:
    with LimitsServer() as made:
        yield made


def amounts(limiter: LimiterProcess) -> list[str]:
    return [line.strip() for line in limiter.admin("/rlconfig")[1].splitlines() if "requests_per_unit" in line]


def test_takes_what_is_served_and_every_change_of_it(server: LimitsServer, start: Start) -> None:
    server.publish(config("d", 1), config("e", 2))
    limiter = start(server, "--xds-node-metadata", "region=eu", "--xds-header", "x-token=t")
    asked = server.request()
    assert (asked.node.id, asked.type_url, asked.version_info) == ("envoy-ratelimit", TYPE_URL, "")
    assert dict(asked.node.metadata.items()) == {"region": "eu"}
    taken = server.request()
    assert (taken.version_info, taken.response_nonce, taken.HasField("error_detail")) == ("1", "n1", False)
    assert [limiter.refuses() for _ in range(2)] == [False, True]
    server.publish(config("d", 100))
    assert server.request().version_info == "2"
    wait_until(lambda: not limiter.refuses(), "the new limit")
    assert amounts(limiter) == ["requests_per_unit: 100"]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (config("d", 1, unit="UNKNOWN"), "resource 'd': descriptors[0].rate_limit.unit: expected one of second"),
        ({"name": "x", "domain": ""}, "resource 'x': domain: a domain needs a name"),
        (config("e", 1), "domain 'e' is defined twice"),
    ],
)
def test_refuses_what_cannot_be_served_and_keeps_what_was_good(
    server: LimitsServer, start: Start, bad: dict[str, object], message: str
) -> None:
    server.publish(config("d", 3), config("e", 4))
    limiter = start(server)
    assert [server.request().version_info for _ in range(2)] == ["", "1"]
    server.publish(config("d", 9), config("e", 9), bad) if bad["name"] == "e" else server.publish(config("f", 9), bad)
    refused = server.request()
    assert (refused.version_info, refused.response_nonce) == ("1", "n2"), "the last good one is in force"
    assert message in refused.error_detail.message
    assert amounts(limiter) == ["requests_per_unit: 3", "requests_per_unit: 4"]
    assert limiter.metric("ratelimit_service_config_load_error") == 1
    server.publish(config("d", 5))
    assert server.request().version_info == "3"
    wait_until(lambda: amounts(limiter) == ["requests_per_unit: 5"], "the next good one")


def test_keeps_its_limits_while_the_server_is_away_and_follows_when_it_is_back(start: Start) -> None:
    port = free_port()
    with LimitsServer(port=port) as first:
        first.publish(config("d", 1))
        limiter = start(port)
        first.end_stream()
        assert [first.request().version_info for _ in range(3)] == ["", "1", ""], "it asks again, for all there is"
    assert [limiter.refuses() for _ in range(2)] == [False, True]
    with LimitsServer(port=port) as second:
        # It counts its versions from 1 again: that this is what we have must not be believed.
        second.publish(config("d", 50))
        wait_until(lambda: not limiter.refuses(), "what the server has now")
    assert limiter.child.exit_code() is None


def test_waits_for_its_first_limits_or_starts_without(server: LimitsServer, start: Start) -> None:
    limiter = start(server, "--start-without-config")
    assert not limiter.refuses()
    server.request()
    server.publish(config("d", 0))
    wait_until(limiter.refuses, "the limits")


def test_shows_its_certificate_and_wants_the_servers(short_path: Path, start: Start) -> None:
    _, server_chain = server_tls(short_path, "envoy-gateway")
    _, client_chain = server_tls(short_path, "envoy-ratelimit")
    (short_path / "ca.crt").write_text(server_chain)
    key = (short_path / "envoy-gateway.key").read_bytes()
    credentials = grpc.ssl_server_credentials(
        [(key, server_chain.encode())], root_certificates=client_chain.encode(), require_client_auth=True
    )
    with LimitsServer(credentials=credentials) as server:
        server.publish(config("d", 7))
        files = ("--xds-ca", str(short_path / "ca.crt"))
        certificate = ("--xds-certificate", str(short_path / "envoy-ratelimit.crt"))
        key_file = ("--xds-key", str(short_path / "envoy-ratelimit.key"))
        limiter = start(server, *files, *certificate, *key_file, "--xds-server-name", "envoy-gateway")
        assert amounts(limiter) == ["requests_per_unit: 7"]
        stranger = start(server, *files, "--xds-server-name", "envoy-gateway", "--start-without-config")
        wait_until(lambda: "UNAVAILABLE" in stranger.child.stderr, "the client without a certificate to be refused")
        assert amounts(stranger) == []


def test_every_field_is_read() -> None:
    message = json_format.ParseDict(
        {
            "name": "n",
            "domain": "d",
            "descriptors": [
                {
                    "key": "a",
                    "value": "v",
                    "metadata": {"tier": "gold"},
                    "descriptors": [
                        {
                            "key": "b",
                            "shadow_mode": True,
                            "quota_mode": True,
                            "detailed_metric": True,
                            "rate_limit": {
                                "name": "limit",
                                "unit": "WEEK",
                                "requests_per_unit": 5,
                                "replaces": [{"name": "other"}],
                            },
                        },
                        {"key": "c", "rate_limit": {"unlimited": True}},
                    ],
                }
            ],
        },
        rate_limit_config_pb2.RateLimitConfig(),
    )
    response = discovery_pb2.DiscoveryResponse()
    response.resources.append(any_pb2.Any(type_url=TYPE_URL, value=message.SerializeToString()))
    (domain,) = read_response(response).source
    (outer,) = domain.descriptors
    limited, free = outer.descriptors
    assert (outer.metadata, outer.value) == ('{"tier": "gold"}', "v")
    assert (limited.shadow_mode, limited.quota_mode, limited.detailed_metric) == (True, True, True)
    assert limited.rate_limit is not None
    assert (limited.rate_limit.requests_per_unit, limited.rate_limit.replaces) == (5, ("other",))
    assert free.rate_limit is not None
    assert free.rate_limit.unlimited


def test_what_is_no_configuration_is_refused_whole() -> None:
    for resource in (any_pb2.Any(type_url=TYPE_URL, value=b"\xff"), any_pb2.Any(type_url="x", value=b"")):
        response = discovery_pb2.DiscoveryResponse()
        response.resources.append(resource)
        with pytest.raises(ConfigError, match="resource"):
            read_response(response)


def test_domains_of_one_name_are_merged_where_that_is_asked_for() -> None:
    response = discovery_pb2.DiscoveryResponse()
    for key in ("a", "b"):
        message = rate_limit_config_pb2.RateLimitConfig(name=key, domain="d")
        message.descriptors.add(key=key)
        response.resources.append(any_pb2.Any(type_url=TYPE_URL, value=message.SerializeToString()))
    (domain,) = read_response(response, merge=True).source
    assert [each.key for each in domain.descriptors] == ["a", "b"]
    with pytest.raises(ConfigError, match="is defined twice"):
        read_response(response)
    response.resources.append(response.resources[0])
    with pytest.raises(ConfigError, match="domain 'd' has a second descriptor with key 'a'"):
        read_response(response, merge=True)
