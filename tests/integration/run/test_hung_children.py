"""Children of `headgate run` that hang: stopped by a signal, which a deadlock looks like from outside."""

import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from support.gateway import Gateway
from support.ports import free_port
from support.waiting import BUSY_SECONDS, wait_until

pytestmark = pytest.mark.envoy

Run = Callable[..., Gateway]
CHAT = "/v1/chat/completions"


def ask(url: str, model: str = "demo") -> int:
    """The status; 0 where the connection is cut. `demo-claude` takes the processor."""
    body = {"model": model, "messages": [{"role": "user", "content": "Hello!"}]}
    try:
        return httpx.post(f"{url}{CHAT}", json=body, timeout=BUSY_SECONDS).status_code
    except httpx.TransportError:
        return 0


def run_answering(run_gateway: Run, *kinds: str, workers: int = 1) -> tuple[Gateway, list[int]]:
    """A gateway, and the processes of children that are watched by now."""
    gateway = run_gateway(
        None, "--port", str(free_port()), "--workers", str(workers), "--metrics", "--log-level", "debug"
    )
    return gateway, [int(gateway.wait_output(rf"child_answers child={kind}\S* pid=(\d+)")[1]) for kind in kinds]


@pytest.mark.parametrize("kinds", [("envoy",), ("extproc", "ratelimit", "collector", "demo")], ids=["envoy", "servers"])
def test_hung_children_are_killed_and_started_again(run_gateway: Run, kinds: tuple[str, ...]) -> None:
    gateway, pids = run_answering(run_gateway, *kinds)
    assert ask(gateway.url, "demo-claude") == 200
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    for kind, pid in zip(kinds, pids, strict=True):
        gateway.wait_output(rf"child_hung child={kind}.* pid={pid} exit=SIGKILL restart_in_seconds=")
        wait_until(
            lambda kind=kind, pid=pid: [each for each in gateway.processes().get(kind, ()) if each != pid],
            f"{kind} to run again",
        )
    wait_until(lambda: ask(gateway.url, "demo-claude") == 200, "the gateway to answer again")
    assert gateway.output.count("child_hung") == len(kinds)
    assert "child_died" not in gateway.output
    assert gateway.stop() == 0


def test_while_one_processor_hangs_the_others_serve(run_gateway: Run) -> None:
    gateway, (pid,) = run_answering(run_gateway, "extproc", workers=2)
    wait_until(lambda: gateway.output.count("child_answers child=extproc") == 2, "both to answer")
    assert [ask(gateway.url, "demo-claude") for _ in range(8)] == [200] * 8
    os.kill(pid, signal.SIGSTOP)
    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(ask, [gateway.url] * 16, ["demo-claude"] * 16))
    gateway.wait_output(rf"child_hung .*pid={pid} ")
    assert 200 in statuses, "chance decides how many meet the one that hangs"
    assert gateway.stop() == 0


@pytest.mark.parametrize("kind", ["envoy", "extproc", "ratelimit", "collector"])
def test_a_hung_child_does_not_hold_up_the_end(run_gateway: Run, kind: str) -> None:
    gateway, (pid,) = run_answering(run_gateway, kind)
    assert ask(gateway.url) == 200
    os.kill(pid, signal.SIGSTOP)
    assert gateway.stop() == 0
    assert f"pid={pid}" in gateway.output, "it is told"
