"""How `headgate run` ends: by a signal, with its terminal, under its clients."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import termios
import urllib.request
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from headgate.cli.main import PIPE_CLOSED
from support.gateway import Gateway
from support.manifests import openai_gateway
from support.ports import LOOPBACK, free_port
from support.processes import alive, descendants
from support.providers import OPENAI, Answer, Delivery, Provider
from support.waiting import BUSY_SECONDS, wait_until

pytestmark = pytest.mark.envoy

Run = Callable[..., Gateway]
StartProvider = Callable[..., Provider]


@contextmanager
def own_gateway(temporary: Path, *before: str) -> Generator[subprocess.Popen[bytes]]:
    """A gateway with a state folder of its own below `temporary`, killed at the end if it still runs; `before` is a
    program that starts it."""
    environment = {"PATH": os.environ["PATH"], "TMPDIR": str(temporary)}
    command = [*before, sys.executable, "-m", "headgate.cli.main", "run", "--port", str(free_port())]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_0_and_leaves_nothing(short_path: Path, number: signal.Signals) -> None:
    with own_gateway(short_path) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        while b"Ctrl-C" not in (line := process.stdout.readline()):
            assert line
        family = wait_until(lambda: found if len(found := descendants(process.pid)) >= 4 else None, "all children")
        process.send_signal(number)
        assert process.wait(BUSY_SECONDS) == 0
        assert process.stderr.read() == b""
    assert [pid for pid in family if alive(pid)] == []
    assert list(short_path.iterdir()) == []


def test_a_terminal_that_is_closed_ends_it_in_order(short_path: Path, start_provider: StartProvider) -> None:
    """As Ctrl-C does: a request under way ends, and nothing is left."""
    provider = start_provider(OPENAI)
    provider.answer(Answer(text="one two three four five six seven eight", delivery=Delivery(pause_seconds=0.1)))
    port = free_port()
    (short_path / "gateway.yaml").write_text(openai_gateway(port, provider, "m"))
    ours, theirs = os.openpty()
    temporary = short_path / "t"
    temporary.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "headgate.cli.main", "run", str(short_path / "gateway.yaml")],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={"PATH": os.environ["PATH"], "TMPDIR": str(temporary)},
        preexec_fn=_in_a_terminal_of_its_own,
    )
    os.close(theirs)
    try:
        told = b""
        while b"ready " not in told:
            told += os.read(ours, 4096)
        family = descendants(process.pid)
        body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "Hello!"}]}
        with httpx.stream("POST", f"http://{LOOPBACK}:{port}/v1/chat/completions", json=body, timeout=60) as response:
            pieces = response.iter_bytes()
            next(pieces)
            os.close(ours)
            assert b"".join(pieces).rstrip().endswith(b"data: [DONE]")
        assert process.wait(BUSY_SECONDS) == PIPE_CLOSED
    finally:
        process.kill()
    assert [pid for pid in family if alive(pid)] == []
    assert list(temporary.iterdir()) == []


def _in_a_terminal_of_its_own() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # tests that run under `nohup` hand down that it is ignored
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def test_a_background_job_of_a_shell_ends_as_well(short_path: Path) -> None:
    """Shells have their background jobs ignore SIGINT; who sends it nevertheless means it."""
    with own_gateway(short_path, "sh", "-c", 'trap "" INT; exec "$@"', "sh") as process:
        assert process.stdout is not None
        while b"Ctrl-C" not in (line := process.stdout.readline()):
            assert line
        process.send_signal(signal.SIGINT)
        assert process.wait(BUSY_SECONDS) == 0


def test_nohup_keeps_it(short_path: Path) -> None:
    with own_gateway(short_path, "nohup") as process:
        assert process.stdout is not None
        while b"Ctrl-C" not in (line := process.stdout.readline()):
            assert line
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)
        assert process.wait(BUSY_SECONDS) == 0


def test_a_signal_during_the_start_ends_it_with_0(short_path: Path) -> None:
    with own_gateway(short_path) as process:
        family = wait_until(lambda: descendants(process.pid), "a child")
        process.terminate()
        assert process.wait(BUSY_SECONDS) == 0
    assert [pid for pid in family if alive(pid)] == []
    assert list(short_path.iterdir()) == []


def test_nothing_outlives_a_killed_gateway(run_gateway: Run) -> None:
    gateway = run_gateway(None, "--port", str(free_port()))
    wait_until(lambda: gateway.processes().get("ratelimit"), "the limiter to run")
    family = descendants(gateway.child.pid)
    os.kill(gateway.child.pid, signal.SIGKILL)
    gateway.child.wait()
    wait_until(lambda: not [pid for pid in family if alive(pid)], "the children to be gone")


def test_a_request_in_flight_ends_before_the_gateway(run_gateway: Run, start_provider: StartProvider) -> None:
    provider = start_provider(OPENAI)
    provider.answer(Answer(text="one two three four five six seven eight", delivery=Delivery(pause_seconds=0.1)))
    gateway = run_gateway(openai_gateway(free_port(), provider, "m"))
    body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "Hello!"}]}
    request = urllib.request.Request(
        f"{gateway.url}/v1/chat/completions", json.dumps(body).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=BUSY_SECONDS) as response:
        first = response.readline()
        gateway.child.signal(signal.SIGTERM)
        rest = response.read()
    assert first.startswith(b"data: ")
    assert rest.rstrip().endswith(b"data: [DONE]")
    assert gateway.child.wait() == 0


def test_what_the_end_waits_for_and_what_it_cuts_is_told(run_gateway: Run, start_provider: StartProvider) -> None:
    provider = start_provider(OPENAI)
    provider.answer(Answer(text="word " * 50, pieces=20, delivery=Delivery(hang_after_bytes=1500)))
    gateway = run_gateway(openai_gateway(free_port(), provider, "m"), "--drain-seconds", "0.5")
    body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "Hello!"}]}
    with httpx.stream("POST", f"{gateway.url}/v1/chat/completions", json=body, timeout=BUSY_SECONDS) as response:
        pieces = response.iter_bytes()
        next(pieces)
        gateway.child.signal(signal.SIGTERM)
        assert gateway.child.wait() == 0
    assert "1 request under way has 0.5 s to end" in gateway.child.stdout
    assert "requests_cut requests=1 waited_seconds=0.5" in gateway.child.stderr
