"""Every role of the built image, in a container as Kubernetes runs it: it starts, says that it is well, and ends when
it is told to, as process 1, as another user than root, on a file system that it cannot write to.
"""

import json
import os
import re
import signal
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from headgate.runtime.pod_bootstrap import pod_bootstrap, pod_heap
from support.kube import KubeProcess, tools_directory
from support.ports import LOOPBACK, free_port
from support.redis import RedisServer
from support.waiting import wait_until

from image.container import Container
from image.recipe import REPOSITORY, Image

RUN = "/run/headgate"
BYTES_MAX = 800_000_000
STOP_SECONDS = 10.0
LIMITS = "domain: headgate\ndescriptors: []\n"

Command = tuple[str, ...]


def _get(port: int, path: str) -> tuple[int, str]:
    """An answer; status 0 while nobody listens."""
    try:
        with urllib.request.urlopen(f"http://{LOOPBACK}:{port}{path}", timeout=5) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""


@contextmanager
def _running(
    image: Image, shared: Path, command: Command, *, name: str, environment: dict[str, str] | None = None
) -> Generator[Container]:
    """A container of the command, whose volume is at /run/headgate, as in the chart's pods."""
    mounts = {RUN: shared / "volume"}
    with Container(image, shared, *command, name=name, mounts=mounts, environment=environment) as container:
        yield container


def _well(container: Container, port: int, path: str) -> None:
    def answers() -> bool:
        container.require_alive()
        return _get(port, path)[0] == 200

    wait_until(answers, f"{container.name} to be well")


def _ends(container: Container) -> None:
    container.signal(signal.SIGTERM)
    assert container.wait(STOP_SECONDS) == 0, container.stderr
    assert "Traceback" not in container.stderr


def test_its_size(image: Image) -> None:
    own = image.bytes - image.base_bytes
    print(f"\nimage: {image.bytes / 1e6:.0f} MB, of which {own / 1e6:.0f} MB are Headgate and what it needs")
    assert image.bytes < BYTES_MAX


def test_it_says_who_runs_and_what(image: Image) -> None:
    assert image.config.user == "65532:65532"
    assert image.config.working_dir == "/tmp"
    assert image.config.cmd == ("headgate", "--help")


def test_its_python_is_that_of_the_dockerfile(image: Image, shared: Path) -> None:
    """Also where the base is made here: what is tested is what is released."""
    if os.environ.get("BASE"):
        pytest.skip("BASE says which Python it is")
    (release,) = re.findall(r"^ARG BASE=\S*/python:(\d+\.\d+)-", (REPOSITORY / "Dockerfile").read_text(), re.MULTILINE)
    script = "import sys; print('%d.%d' % sys.version_info[:2])"
    with _running(image, shared, ("python", "-c", script), name="version") as container:
        assert container.wait(30) == 0, container.stderr
        assert container.stdout.strip() == release


def _extproc(port: int, _: Path) -> Command:
    return ("headgate-extproc", f"--address=unix:{RUN}/extproc.sock", f"--admin-port={port}")


def _limiter(port: int, volume: Path) -> Command:
    (volume / "limits.yaml").write_text(LIMITS)
    return ("headgate-ratelimit", f"--address=unix:{RUN}/limit.sock", f"--config={RUN}", f"--admin-port={port}")


def _collector(port: int, _: Path) -> Command:
    kept = (f"--store={RUN}/usage.db", f"--spool={RUN}/spool", "--json-lines=-")
    return ("headgate-collector", f"--address=unix:{RUN}/collector.sock", f"--admin-port={port}", *kept)


def _controller(port: int, volume: Path) -> Command:
    """With an API server that is away: it waits, and is alive."""
    cluster = {"name": "c", "cluster": {"server": f"http://{LOOPBACK}:{free_port()}"}}
    context = {"name": "c", "context": {"cluster": "c", "user": "c"}}
    config = {"apiVersion": "v1", "kind": "Config", "current-context": "c", "clusters": [cluster]}
    (volume / "kubeconfig").write_text(
        json.dumps(config | {"contexts": [context], "users": [{"name": "c", "user": {}}]})
    )
    own = (f"--kubeconfig={RUN}/kubeconfig", f"--health-address={LOOPBACK}:{port}", "--address=unix:/tmp/xds.sock")
    return ("headgate-controller", "--mode=standalone", "--leader-elect=false", *own)


def _envoy(port: int, volume: Path) -> Command:
    """By the bootstrap of pods, as one that was told everything already."""
    bootstrap = json.loads(json.dumps(pod_bootstrap("localhost", free_port())))
    (pages,) = bootstrap["static_resources"]["listeners"]
    pages["address"]["socket_address"] |= {"address": LOOPBACK, "port_value": port}
    del bootstrap["dynamic_resources"]  # until a controller answers, an Envoy is not ready
    _, admin = bootstrap["static_resources"]["clusters"]
    bootstrap["static_resources"]["clusters"] = [admin]
    (volume / "envoy.json").write_text(json.dumps(bootstrap))
    heap = json.dumps(pod_heap(str(1 << 30)))
    own = ("--config-yaml", heap, "--service-node", "pod", "--disable-hot-restart")
    return ("envoy", "--config-path", f"{RUN}/envoy.json", *own)


ROLES: dict[str, tuple[Callable[[int, Path], Command], str]] = {
    "extproc": (_extproc, "/health"),
    "ratelimit": (_limiter, "/healthcheck"),
    "collector": (_collector, "/healthcheck"),
    "controller": (_controller, "/healthz"),
    "envoy": (_envoy, "/ready"),
}


@pytest.mark.parametrize("role", ROLES)
def test_every_role_starts_is_well_and_ends(image: Image, shared: Path, role: str) -> None:
    command, page = ROLES[role]
    port = free_port()
    with _running(image, shared, command(port, shared / "volume"), name=role) as container:
        _well(container, port, page)
        _ends(container)


def test_the_rate_limit_service_runs_as_envoy_gateway_deploys_it(
    image: Image, shared: Path, redis_server: RedisServer
) -> None:
    """By the path of envoyproxy/ratelimit's program and by its variables."""
    port = free_port()
    (shared / "volume" / "ratelimit" / "config").mkdir(parents=True)
    (shared / "volume" / "ratelimit" / "config" / "limits.yaml").write_text(LIMITS)
    variables = {
        "GRPC_PORT": str(free_port()),
        "PORT": str(port),
        "HOST": LOOPBACK,
        "GRPC_HOST": LOOPBACK,
        "RUNTIME_ROOT": RUN,
        "RUNTIME_SUBDIRECTORY": "ratelimit",
        "RUNTIME_WATCH_ROOT": "false",
        "BACKEND_TYPE": "redis",
        "REDIS_SOCKET_TYPE": "tcp",
        "REDIS_URL": redis_server.url.removeprefix("redis://").rstrip("/"),
    }
    with _running(image, shared, ("/bin/ratelimit",), name="drop-in", environment=variables) as container:
        _well(container, port, "/healthcheck")
        _ends(container)


def test_a_controller_reads_a_real_api_server(image: Image, shared: Path) -> None:
    if tools_directory() is None:
        pytest.skip("needs the API server that `make cluster` builds: run that once")
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="hg-") as directory, KubeProcess(Path(directory)) as server:
        *command, _, _ = _controller(port, shared / "volume")
        (shared / "volume" / "kubeconfig").write_text(server.access.kubeconfig.read_text())
        own = (f"--health-address={LOOPBACK}:{port}", "--address=unix:/tmp/xds.sock")
        with _running(image, shared, (*command, *own), name="controller") as container:
            _well(container, port, "/readyz")
            _ends(container)


def test_the_commands_of_the_chart_are_there(image: Image, shared: Path) -> None:
    """What probes and hooks run in the containers."""
    for name, command in (
        ("probe", ("test", "-S", f"{RUN}/nothing.sock")),
        ("drain", ("python", "-m", "headgate.runtime.drain", f"{RUN}/nothing.sock", "1")),
    ):
        with _running(image, shared, command, name=name) as container:
            container.wait()
            assert "not found" not in container.stderr
            assert "No module" not in container.stderr


def test_nobody_can_write_into_it(image: Image, shared: Path) -> None:
    script = (
        "import os, pathlib\n"
        "assert (os.getuid(), os.getgid()) == (65532, 65532)\n"
        "status = pathlib.Path('/proc/self/status').read_text()\n"
        "assert 'NoNewPrivs:\\t1' in status and 'CapBnd:\\t0000000000000000' in status, status\n"
        "for path in ('/opt/headgate/x', '/etc/x', '/x'):\n"
        "    try:\n"
        "        open(path, 'w')\n"
        "    except OSError:\n"
        "        continue\n"
        "    raise SystemExit(f'{path} was written')\n"
    )
    with _running(image, shared, ("python", "-c", script), name="writing") as container:
        assert container.wait() == 0, container.stderr


def test_a_whole_gateway_runs_in_one_container(image: Image, shared: Path) -> None:
    """`headgate run` with its demo provider: Envoy, processor and limiter beside one another."""
    port = free_port()
    gateway = ("headgate", "run", f"--port={port}", f"--admin-port={free_port()}")
    with _running(image, shared, gateway, name="gateway") as container:
        body = json.dumps({"model": "demo", "messages": [{"role": "user", "content": "Hi"}]}).encode()
        headers = {"content-type": "application/json"}
        url = f"http://{LOOPBACK}:{port}/v1/chat/completions"

        def answered() -> bool:
            container.require_alive()
            try:
                with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=5) as response:
                    return response.status == 200
            except OSError:
                return False

        wait_until(answered, "an answer of the demo")
        container.signal(signal.SIGTERM)
        assert container.wait() == 0, container.stderr


def test_the_build_reads_what_it_must_and_no_more() -> None:
    """The build's context is what the recipe copies."""
    ignored = (REPOSITORY / ".dockerignore").read_text().split()
    listed = {each.removeprefix("!") for each in ignored if each.startswith("!")}
    assert ignored[0] == "*"
    tracked = subprocess.run(["git", "ls-files", *sorted(listed)], cwd=REPOSITORY, capture_output=True, text=True)
    assert tracked.returncode == 0
    assert all(any(line.startswith(each) for line in tracked.stdout.splitlines()) for each in listed)
