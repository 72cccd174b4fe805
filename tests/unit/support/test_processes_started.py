"""The real Envoy and the real Redis start, answer and leave nothing behind."""

import os
import sys
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from support.envoy import EnvoyProcess
from support.processes import Child, CpuMeter, alive, descendants, resident_bytes
from support.redis import RedisServer
from support.waiting import wait_until

EXTENSIONS = "type.googleapis.com/envoy.extensions"


def _direct_response(port: int = 0) -> dict[str, Any]:
    manager = {
        "@type": f"{EXTENSIONS}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "test",
        "http_filters": [
            {
                "name": "router",
                "typed_config": {"@type": f"{EXTENSIONS}.filters.http.router.v3.Router"},
            }
        ],
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "direct_response": {"status": 204}}],
                }
            ]
        },
    }
    listener = {
        "name": "main",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }
    return {"static_resources": {"listeners": [listener]}}


@pytest.mark.envoy
def test_envoy_tells_its_listeners_and_counts(tmp_path: Path) -> None:
    with EnvoyProcess(_direct_response(), tmp_path) as envoy:
        assert list(envoy.listeners()) == ["main"]
        assert envoy.url().startswith("http://127.0.0.1:")
        assert envoy.stat("listener_manager.total_listeners_active") == 1
        assert envoy.config_dump()
        assert resident_bytes(envoy.pid) > 1_000_000
        assert CpuMeter({"envoy": envoy.pid}).used()["envoy"] >= 0
        pid = envoy.pid
    assert not alive(pid)


@pytest.mark.envoy
def test_a_refused_bootstrap_fails_at_once_with_envoys_words(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"field:\s+'nonsense'"):
        EnvoyProcess({"nonsense": 1}, tmp_path)


@pytest.mark.redis
def test_redis_answers_on_its_port_and_forgets(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as redis:
        assert redis.command("SET a 1") == b"+OK\r\n"
        redis.flush()
        assert redis.command("GET a") == b"$-1\r\n"
        assert redis.socket_path.is_socket()


def test_a_child_takes_its_own_children_with_it(tmp_path: Path) -> None:
    script = "trap '' TERM; sleep 60 & wait"
    with Child(["bash", "-c", script], directory=tmp_path, name="stubborn") as child:
        (grandchild,) = wait_until(lambda: descendants(child.pid), "the grandchild")
        child.close(grace_seconds=0.1)
    assert not alive(grandchild)
    assert not alive(child.pid)
    assert alive(os.getpid())


class _Clock:
    """Time that goes on while somebody sleeps, and only then."""

    def __init__(self) -> None:
        self._now = 0.0

    def monotonic(self) -> float:
        return self._now

    def sleep(self, seconds: float) -> None:
        self._now += seconds


def test_who_works_is_waited_for_and_who_hangs_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("support.waiting.time", _Clock())
    work, asked = count(), count()
    wait_until(lambda: next(asked) > 30, "the end", timeout_seconds=0.1, progress=lambda: next(work))
    with pytest.raises(TimeoutError, match="the end"):
        wait_until(lambda: False, "the end", timeout_seconds=0.1, progress=lambda: "idle")
    with pytest.raises(TimeoutError, match="the end"):
        wait_until(lambda: False, "the end", timeout_seconds=0.02, progress=lambda: next(work))


def test_a_child_that_writes_makes_progress(tmp_path: Path) -> None:
    program = "import time; print('here', flush=True); time.sleep(60)"
    with Child([sys.executable, "-c", program], directory=tmp_path, name="child") as child:
        before = child.progress()
        wait_until(lambda: "here" in child.stdout, "the output", progress=child.progress)
        assert child.progress() != before
