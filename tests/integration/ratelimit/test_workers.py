"""Several processes behind one address: they count together, and one that dies is missed by nobody."""

import json
import os
import signal
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import grpc
import pytest
from envoy.service.ratelimit.v3.rls_pb2 import RateLimitRequest, RateLimitResponse
from google.protobuf import json_format
from headgate.ratelimit.main import FROM_ENVIRONMENT, main
from headgate.ratelimit.settings import REDIS_VARIABLE
from support.limiter import METHOD, client_limits, client_request
from support.ports import LOOPBACK, free_port
from support.processes import Child, command_line
from support.redis import RedisServer
from support.waiting import wait_until

WORKERS = 3
LIMIT = 25


def ask(address: str, client: str = "a") -> int:
    """One call on a connection of its own."""
    with grpc.insecure_channel(address, options=(("grpc.use_local_subchannel_pool", 1),)) as channel:
        call: Callable[..., RateLimitResponse] = channel.unary_unary(
            METHOD, RateLimitRequest.SerializeToString, RateLimitResponse.FromString
        )
        return call(client_request(client), timeout=10, wait_for_ready=True).overall_code


def workers_of(parent: int) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


@pytest.mark.redis
@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_they_count_together_and_outlive_each_other(redis_server: RedisServer, short_path: Path, kind: str) -> None:
    config = short_path / "limits.yaml"
    config.write_text(client_limits(LIMIT, "year"))
    address = f"{LOOPBACK}:{free_port()}" if kind == "tcp" else f"unix:{short_path / 'l.sock'}"
    variables = {"REDIS_SOCKET_TYPE": "tcp", "REDIS_URL": redis_server.url, "USE_STATSD": "0", "PORT": str(free_port())}
    first, environment = ((FROM_ENVIRONMENT,), variables) if kind == "tcp" else ((), {REDIS_VARIABLE: redis_server.url})
    command = [sys.executable, "-m", "headgate.ratelimit.main", *first, "--config", str(config), "--address", address]
    command += ["--log-level", "info", "--workers", str(WORKERS), "--drain-seconds", "1"]
    child = Child(command, directory=short_path, name="limiter", environment={**os.environ, **environment})
    try:
        wait_until(lambda: child.stderr.count("server_listening") == WORKERS, "all workers to listen")
        with ThreadPoolExecutor(8) as pool:
            codes = list(pool.map(ask, [address] * 40))
        assert codes.count(RateLimitResponse.OK) == LIMIT
        # everybody on this machine can read these, and the URL may hold a password
        assert not any(redis_server.url in argument for pid in workers_of(child.pid) for argument in command_line(pid))
        killed = workers_of(child.pid)[0]
        os.kill(killed, signal.SIGKILL)
        assert ask(address) == RateLimitResponse.OVER_LIMIT
        wait_until(lambda: child.stderr.count("server_listening") == WORKERS + 1, "the worker to be back")
        child.signal(signal.SIGTERM)
        assert child.wait() == 0
        assert "Traceback" not in child.stderr
    finally:
        child.close()


@pytest.mark.redis
def test_the_admin_port_answers_for_all(redis_server: RedisServer, short_path: Path) -> None:
    config = short_path / "limits.yaml"
    config.write_text(client_limits(LIMIT, "year"))
    address, admin_port = f"unix:{short_path / 'l.sock'}", free_port()
    command = [sys.executable, "-m", "headgate.ratelimit.main", "--config", str(config), "--address", address]
    command += ["--redis-url", redis_server.url, "--workers", str(WORKERS), "--admin-port", str(admin_port)]

    def page(path: str, body: bytes | None = None) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://{LOOPBACK}:{admin_port}{path}", data=body, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def metric(name: str) -> int:
        return int(next(line for line in page("/metrics")[1].splitlines() if line.startswith(name)).rpartition(" ")[2])

    def clients() -> set[str]:
        (limit,) = json.loads(page("/limits")[1])["limits"]
        return {counter["descriptor"][0]["value"] for counter in limit["counters"]}

    with Child(command, directory=short_path, name="limiter") as child:
        wait_until(lambda: "workers_started" in child.stderr, "the workers")
        assert page("/healthcheck") == (200, "OK\n")
        names = {f"client-{number}" for number in range(30)}
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(partial(ask, address), sorted(names)))
        assert metric("headgate_ratelimit_admissions") == 30
        assert metric("headgate_ratelimit_workers") == WORKERS
        assert metric("process_resident_memory_bytes") > (WORKERS + 1) * 10_000_000
        assert clients() == names
        assert f"requests_per_unit: {LIMIT}" in page("/rlconfig")[1]
        body = json_format.MessageToJson(client_request("client-30")).encode()
        assert page("/json", body)[0] == 200
        assert page("/json", b"{")[0] == 400
        assert metric("headgate_ratelimit_admissions") == 31
        hung, killed = workers_of(child.pid)[:2]
        os.kill(hung, signal.SIGSTOP)
        os.kill(killed, signal.SIGKILL)
        assert metric("headgate_ratelimit_admissions") == 31
        assert metric("headgate_ratelimit_workers") < WORKERS
        assert page("/healthcheck") == (200, "OK\n")
        # (a busy machine may take a third for hung)
        wait_until(lambda: metric("headgate_ratelimit_worker_restarts") >= 2, "both to be started again")
        wait_until(lambda: metric("headgate_ratelimit_workers") == WORKERS, "them to answer")
        assert metric("headgate_ratelimit_admissions") == 31
        assert "child_hung" in child.stderr
        child.signal(signal.SIGTERM)
        assert child.wait() == 0
        assert "Traceback" not in child.stderr


def test_counters_in_memory_are_of_one_process(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--config", str(tmp_path), "--workers", "2"]) == 1
    assert "counters in memory are of one process" in capsys.readouterr().err


def test_ends_where_no_process_can_start(tmp_path: Path) -> None:
    address = f"{LOOPBACK}:{free_port()}"
    command = [sys.executable, "-m", "headgate.ratelimit.main", "--config", str(tmp_path / "none.yaml")]
    command += ["--address", address, "--redis-url", "redis://127.0.0.1:1", "--workers", "2"]
    with Child(command, directory=tmp_path, name="limiter") as child:
        assert child.wait() == 1
    assert "no limits can be read from" in child.stderr
    assert "ended before all workers listened: status 1" in child.stderr
    assert "child_died" not in child.stderr
    assert "Traceback" not in child.stderr


def test_can_be_stopped_before_they_listen(tmp_path: Path) -> None:
    """Limits come from a controller that is not there yet."""
    command = [sys.executable, "-m", "headgate.ratelimit.main", "--config", f"http://{LOOPBACK}:{free_port()}/limits"]
    command += ["--address", f"{LOOPBACK}:{free_port()}", "--redis-url", "redis://127.0.0.1:1", "--workers", "2"]
    with Child(command, directory=tmp_path, name="limiter") as child:
        wait_until(lambda: len(workers_of(child.pid)) == 2, "the workers")
        wait_until(lambda: "limits" in child.stderr, "the workers to ask for limits")
        child.signal(signal.SIGTERM)
        assert child.wait() == 0
    assert "workers_started" not in child.stderr
    assert "child_killed" not in child.stderr
