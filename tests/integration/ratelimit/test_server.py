"""`headgate-ratelimit` as a process, asked by a real gRPC client as Envoy would."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import grpc
import pytest
from envoy.service.ratelimit.v3.rls_pb2 import RateLimitResponse
from google.protobuf import json_format
from headgate.contract import headers
from support.grpc_load import Caller
from support.limiter import METHOD, LimiterProcess, client_limits, client_request
from support.ports import free_port
from support.processes import Child, cpu_seconds
from support.redis import RedisServer
from support.tls import server_tls
from support.waiting import BUSY_SECONDS, wait_until

StartServer = Callable[..., LimiterProcess]


@pytest.fixture
def start(short_path: Path) -> Iterator[StartServer]:
    """Starts limiters; arguments are the configuration and more command line."""
    started: list[LimiterProcess] = []

    def start_server(config: str, *arguments: str) -> LimiterProcess:
        directory = short_path / str(len(started))
        directory.mkdir()
        started.append(LimiterProcess(directory, config, *arguments))
        return started[-1]

    yield start_server
    for server in started:
        server.close()


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.redis)])
def storage_arguments(request: pytest.FixtureRequest) -> tuple[str, ...]:
    if request.param == "memory":
        return ()
    server: RedisServer = request.getfixturevalue("redis_server")
    return ("--redis-url", server.url, "--key-prefix", "test:")


def test_limits_requests(start: StartServer, storage_arguments: tuple[str, ...]) -> None:
    server = start(client_limits(2), *storage_arguments)
    assert [server.refuses() for _ in range(4)] == [False, False, True, True]
    assert not server.refuses("b")


def test_tokens_are_checked_before_and_charged_after(start: StartServer, storage_arguments: tuple[str, ...]) -> None:
    server = start(client_limits(100), *storage_arguments)
    assert not server.refuses(hits=0)
    server.refuses(hits=60, moment="200-")
    assert not server.refuses(hits=0)
    server.refuses(hits=60, moment="200-")
    assert server.refuses(hits=0)
    status = server.ask(hits=0).statuses[0]
    assert (status.current_limit.requests_per_unit, status.limit_remaining) == (100, 0)


def test_a_stored_answer_is_charged_once(start: StartServer, storage_arguments: tuple[str, ...]) -> None:
    """However often it is fetched: each time it tells what it used."""
    server = start(client_limits(100), *storage_arguments)

    def fetch(name: str, moment: str = "200-", hits: int = 30) -> None:
        server.ask(hits=hits, metadata=((headers.GRPC_MOMENT, moment), (headers.GRPC_FETCHED, name)))

    def left() -> int:
        return server.ask(hits=0, metadata=((headers.GRPC_MOMENT, "0-"),)).statuses[0].limit_remaining

    fetch("resp_1", hits=0)  # it tells nothing yet
    for _ in range(3):
        fetch("resp_1")
    assert left() == 70
    fetch("resp_2")
    fetch("resp_2", moment="200DC")
    assert left() == 40


def test_a_stored_answer_that_is_fetched_again_keeps_nothing_reserved(
    start: StartServer, storage_arguments: tuple[str, ...]
) -> None:
    server = start(
        client_limits(100).replace("requests_per_unit", "reserve: strict, requests_per_unit"), *storage_arguments
    )
    for number in range(3):
        name = (headers.GRPC_STREAM, f"e/1/{number}")
        server.ask(hits=50, metadata=((headers.GRPC_MOMENT, "0-"), name))
        told = ((headers.GRPC_MOMENT, "200DC" if number == 1 else "200-"), name, (headers.GRPC_FETCHED, "resp_1"))
        server.ask(hits=30, metadata=told)
    assert server.ask(hits=0, metadata=((headers.GRPC_MOMENT, "0-"),)).statuses[0].limit_remaining == 70


def test_a_refusal_speaks_the_dialect_of_the_path(start: StartServer) -> None:
    server = start(client_limits(0))
    response = server.ask(metadata=((headers.GRPC_PATH, "/anthropic/v1/messages"),))
    assert b'"type": "error"' in response.raw_body
    names = [header.key for header in response.response_headers_to_add]
    assert names == ["content-type", "retry-after"]
    assert json_format.MessageToDict(response.dynamic_metadata)["rule"] == "client"


def test_a_root_is_no_part_of_the_dialect(start: StartServer) -> None:
    server = start(client_limits(0))
    for path, anthropic in (("/anthropic/v1/chat/completions", False), ("/anthropic/v1/messages", True)):
        response = server.ask(metadata=((headers.GRPC_PATH, path), (headers.GRPC_ROOT, "/anthropic")))
        assert (b'"type": "error"' in response.raw_body) is anthropic, path


@pytest.mark.redis
async def test_200_concurrent_decisions_are_exact_and_share_round_trips(
    start: StartServer, redis_server: RedisServer
) -> None:
    server = start(client_limits(50), "--redis-url", redis_server.unix_url)
    body = client_request("a").SerializeToString()
    path = server.address.removeprefix("unix:")
    _, caller = await asyncio.get_running_loop().create_unix_connection(
        lambda: Caller(METHOD, {headers.GRPC_MOMENT: "0-"}, body, closed=200, calls=200), path
    )
    async with asyncio.timeout(BUSY_SECONDS):
        await caller.answered(200)
    caller.close()
    codes = [RateLimitResponse.FromString(each).overall_code for each in caller.bodies]
    assert (codes.count(RateLimitResponse.OK), codes.count(RateLimitResponse.OVER_LIMIT)) == (50, 150)
    assert server.metric("headgate_ratelimit_redis_decisions") == 200
    assert server.metric("headgate_ratelimit_redis_round_trips") <= 100
    assert redis_server.command("GET " + key_of(redis_server)) == b"$2\r\n50\r\n"


def key_of(redis_server: RedisServer) -> str:
    (key,) = (line for line in redis_server.command("KEYS *").decode().split("\r\n") if line.startswith("d_"))
    return key


@pytest.mark.redis
def test_two_servers_share_one_redis(start: StartServer, redis_server: RedisServer) -> None:
    first, second = (start(client_limits(3), "--redis-url", redis_server.url) for _ in range(2))
    assert [server.refuses() for server in (first, second, first, second, first)] == [False] * 3 + [True] * 2


@pytest.mark.redis
def test_a_redis_that_is_gone_fails_calls_at_once_and_health_says_so(start: StartServer, short_path: Path) -> None:
    server = start(client_limits(3), "--redis-url", f"unix://{short_path / 'nobody.sock'}")
    with pytest.raises(grpc.RpcError) as raised:
        server.ask()
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
    assert server.admin("/healthcheck")[0] == 503
    assert server.metric("headgate_ratelimit_storage_errors") == 1
    with RedisServer(short_path) as redis:
        redis.socket_path.rename(short_path / "nobody.sock")
        assert not server.refuses()
        assert server.admin("/healthcheck") == (200, "OK\n")


def test_a_saved_change_is_in_force_soon_and_a_broken_one_never(start: StartServer) -> None:
    server = start(client_limits(0))
    assert server.refuses()
    replace(server.config_path, client_limits(1000))
    wait_until(lambda: not server.refuses(), "the new limit")
    replace(server.config_path, "domain: [")
    wait_until(lambda: server.metric("ratelimit_service_config_load_error") == 1, "the broken file to be seen")
    assert f"{server.config_path}:2: not YAML" in server.child.stderr
    assert not server.refuses()


def test_limits_that_change_all_the_time_lose_no_decision(start: StartServer) -> None:
    server = start(client_limits(1000))
    for change in range(20):
        replace(server.config_path, client_limits(1001 + change))
        assert not any(server.refuses() for _ in range(20))
    wait_until(lambda: "1020" in server.admin("/rlconfig")[1], "the last limit")
    assert server.ask(hits=0).statuses[0].limit_remaining == 1020 - 20 * 20


def replace(path: Path, text: str) -> None:
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)


def test_the_admin_port_shows_the_limits_and_decides(start: StartServer) -> None:
    server = start(client_limits(1))
    assert "requests_per_unit: 1" in server.admin("/rlconfig")[1]
    body = json_format.MessageToJson(client_request("a")).encode()
    assert server.admin("/json", body)[0] == 200
    status, text = server.admin("/json", body)
    assert (status, '"overallCode": "OVER_LIMIT"' in text) == (429, True)
    assert server.admin("/json", b"{}") == (400, "rate limit domain must not be empty\n")
    assert server.admin("/json", b"{")[0] == 400


def test_an_open_admin_port_neither_counts_nor_lists(start: StartServer) -> None:
    server = start(client_limits(1), "--admin-read-only")
    found = {path: server.admin(path)[0] for path in ("/healthcheck", "/metrics", "/limits", "/rlconfig")}
    assert found == {"/healthcheck": 200, "/metrics": 200, "/limits": 404, "/rlconfig": 404}
    assert server.admin("/json", b"{}")[0] == 404


def test_breaking_the_protocol_is_the_callers_fault(start: StartServer) -> None:
    server = start(client_limits(1))
    ask = cast("Callable[..., bytes]", server.channel.unary_unary(METHOD))
    for body in (b"\xff", b""):
        with pytest.raises(grpc.RpcError) as raised:
            ask(body, timeout=BUSY_SECONDS)
        assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_a_call_without_a_message_is_unimplemented(start: StartServer) -> None:
    server = start(client_limits(1))
    ask = cast("Callable[..., Iterator[bytes]]", server.channel.stream_stream(METHOD))
    with pytest.raises(grpc.RpcError) as raised:
        list(ask(iter(()), timeout=BUSY_SECONDS))
    assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_second_message_of_a_call_counts_for_nothing(start: StartServer, storage_arguments: tuple[str, ...]) -> None:
    server = start(client_limits(2), *storage_arguments)
    body = client_request("a").SerializeToString()
    ask = cast("Callable[..., Iterator[bytes]]", server.channel.stream_stream(METHOD))
    assert len(list(ask(iter([body, body, body]), timeout=BUSY_SECONDS))) == 1
    assert not server.refuses()
    assert server.refuses()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_serves_tcp_with_health(start: StartServer, host: str) -> None:
    address = f"{host}:{free_port()}"
    start(client_limits(1), "--address", address)
    with grpc.insecure_channel(address) as channel:
        ask = cast("Callable[..., bytes]", channel.unary_unary(METHOD))
        body = client_request("a").SerializeToString()
        codes = [RateLimitResponse.FromString(ask(body, timeout=BUSY_SECONDS)).overall_code for _ in range(2)]
        assert codes == [RateLimitResponse.OK, RateLimitResponse.OVER_LIMIT]
        check = cast("Callable[..., bytes]", channel.unary_unary("/grpc.health.v1.Health/Check"))
        service = METHOD.split("/")[1].encode()
        for name in (b"", b"\x0a" + bytes((len(service),)) + service):
            assert check(name, timeout=BUSY_SECONDS) == b"\x08\x01"


@pytest.mark.redis
def test_decisions_under_way_are_answered_before_it_ends(start: StartServer, short_path: Path) -> None:
    with RedisServer(short_path) as redis:
        server = start(client_limits(1), "--redis-url", redis.unix_url, "--redis-timeout-seconds", "10")
        assert not server.refuses("warm")
        os.kill(redis.pid, signal.SIGSTOP)
        ask = cast("Callable[..., grpc.Future[bytes]]", server.channel.unary_unary(METHOD).future)
        asked = [ask(client_request("a").SerializeToString(), timeout=BUSY_SECONDS) for _ in range(3)]
        # One call is on its way to Redis at a time: what has arrived besides it waits for its turn.
        wait_until(lambda: arrived(server) == 1 + len(asked), "all calls to have arrived")
        server.child.signal(signal.SIGTERM)
        wait_until(lambda: server.admin("/healthcheck") == (503, "draining\n"), "the drain")
        os.kill(redis.pid, signal.SIGCONT)
        codes = [RateLimitResponse.FromString(each.result() or b"").overall_code for each in asked]
        assert sorted(codes) == [RateLimitResponse.OK, *[RateLimitResponse.OVER_LIMIT] * 2]
        assert server.child.wait() == 0
    assert "Traceback" not in server.child.stderr


def arrived(server: LimiterProcess) -> int:
    return sum(server.metric(f"headgate_ratelimit_redis_{name}") for name in ("decisions", "waiting"))


def test_serves_tls_and_wants_to_know_its_clients(start: StartServer, short_path: Path) -> None:
    _, server_chain = server_tls(short_path, "limiter")
    _, client_chain = server_tls(short_path, "envoy")
    address = f"127.0.0.1:{free_port()}"
    files = {"certificate": "limiter.crt", "key": "limiter.key", "client-ca": "envoy.crt"}
    arguments = [part for name, file in files.items() for part in (f"--tls-{name}", str(short_path / file))]
    start(client_limits(1), "--address", address, *arguments)
    key = (short_path / "envoy.key").read_bytes()
    known = grpc.ssl_channel_credentials(server_chain.encode(), key, client_chain.encode())
    unknown = grpc.ssl_channel_credentials(server_chain.encode())
    options = (("grpc.ssl_target_name_override", "limiter"),)
    body = client_request("a").SerializeToString()
    with grpc.secure_channel(address, known, options=options) as channel:
        ask = cast("Callable[..., bytes]", channel.unary_unary(METHOD))
        codes = [RateLimitResponse.FromString(ask(body, timeout=BUSY_SECONDS)).overall_code for _ in range(2)]
        assert codes == [RateLimitResponse.OK, RateLimitResponse.OVER_LIMIT]
    for channel in (grpc.secure_channel(address, unknown, options=options), grpc.insecure_channel(address)):
        with channel, pytest.raises(grpc.RpcError):
            cast("Callable[..., bytes]", channel.unary_unary(METHOD))(body, timeout=2)


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_tells_tools_which_services_there_are(start: StartServer, version: str) -> None:
    path = f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo"
    ask = cast("Callable[..., Iterator[bytes]]", start(client_limits(1)).channel.stream_stream(path))
    symbol = METHOD.split("/")[1].encode()
    requests = (b"\x3a\x01*", b"\x22" + bytes((len(symbol),)) + symbol)
    listed, told = ask(iter(requests), timeout=BUSY_SECONDS)
    assert symbol in listed
    assert b"envoy/service/ratelimit/v3/rls.proto" in told


@pytest.mark.parametrize(("wanted", "answers"), [("envoy", True), ("someone", False)])
def test_clients_may_have_to_have_a_name(start: StartServer, short_path: Path, wanted: str, *, answers: bool) -> None:
    _, server_chain = server_tls(short_path, "limiter")
    _, client_chain = server_tls(short_path, "envoy")
    address = f"127.0.0.1:{free_port()}"
    files = {"certificate": "limiter.crt", "key": "limiter.key", "client-ca": "envoy.crt"}
    arguments = [part for name, file in files.items() for part in (f"--tls-{name}", str(short_path / file))]
    start(client_limits(1), "--address", address, *arguments, "--tls-client-name", wanted)
    key = (short_path / "envoy.key").read_bytes()
    known = grpc.ssl_channel_credentials(server_chain.encode(), key, client_chain.encode())
    body = client_request("a").SerializeToString()
    with grpc.secure_channel(address, known, options=(("grpc.ssl_target_name_override", "limiter"),)) as channel:
        ask = cast("Callable[..., bytes]", channel.unary_unary(METHOD))
        if answers:
            assert RateLimitResponse.FromString(ask(body, timeout=BUSY_SECONDS)).overall_code == RateLimitResponse.OK
        else:
            with pytest.raises(grpc.RpcError):
                ask(body, timeout=2)


def test_in_shadow_mode_nothing_is_refused_and_the_metrics_tell(start: StartServer) -> None:
    server = start(client_limits(2), "--shadow-mode", "--limit-headers", "--limit-header-names", "A,B,C")
    assert [server.refuses() for _ in range(4)] == [False] * 4
    assert [header.key for header in server.ask().response_headers_to_add] == ["a", "b", "c"]
    assert server.metric("ratelimit_service_global_shadow_mode") == 3
    rule = 'ratelimit_service_rate_limit_shadow_mode{domain="d",rule="client",key1="client"}'
    assert server.metric(rule) == 3


def test_health_may_need_limits_and_not_the_storage(start: StartServer, short_path: Path) -> None:
    nowhere = ("--redis-url", f"unix://{short_path / 'nobody.sock'}", "--health-without-storage")
    assert start(client_limits(1), *nowhere).admin("/healthcheck")[0] == 200
    empty = short_path / "empty"
    empty.mkdir()
    server = start("", "--config", str(empty), "--health-needs-config")
    assert server.admin("/healthcheck") == (503, "no limits are loaded\n")
    (empty / "limits.yaml").write_text(client_limits(1))
    wait_until(lambda: server.admin("/healthcheck")[0] == 200, "the limits")


def test_starts_with_little_work_and_ends_in_peace(start: StartServer) -> None:
    server = start(client_limits(1))
    server.ask(metadata=())
    assert cpu_seconds(server.child.pid) < 5, "0.3 on an idle machine"
    server.child.signal(signal.SIGTERM)
    assert server.child.wait() == 0
    assert "Traceback" not in server.child.stderr


@pytest.mark.parametrize(
    ("config", "arguments", "message"),
    [
        ("domain: [", (), "no limits can be read from"),
        (client_limits(1), ("--redis-url", "nonsense://x"), "--redis-url: "),
        (client_limits(1), ("--address", "127.0.0.1:{port}"), "cannot listen on 127.0.0.1:{port}"),
        (client_limits(1), ("--admin-port", "{port}"), "cannot listen on 127.0.0.1:{port}"),
    ],
)
def test_what_cannot_start_says_so_in_one_line(
    short_path: Path, config: str, arguments: tuple[str, ...], message: str
) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        (short_path / "limits.yaml").write_text(config)
        command = [sys.executable, "-m", "headgate.ratelimit.main", "--config", str(short_path / "limits.yaml")]
        command += ["--address", f"unix:{short_path / 'a.sock'}", *(each.format(port=port) for each in arguments)]
        with Child(command, directory=short_path, name="limiter") as child:
            assert child.wait() == 1
            last = child.stderr.splitlines()[-1]
    assert last.startswith("headgate-ratelimit: ")
    assert message.format(port=port) in last
    assert "Traceback" not in child.stderr
