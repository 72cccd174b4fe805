"""pytest fixtures for what tests start.

What cannot be started because it is not installed fails with a message that says how to get it: a test that skips in
silence proves nothing.
"""

import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from support.envoy import EnvoyProcess
from support.gateway import Gateway
from support.providers import Api, Provider
from support.redis import RedisServer
from support.redis_topologies import RedisCluster


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder whose path is short enough for unix sockets (pytest's own is not always)."""
    with tempfile.TemporaryDirectory(prefix="hg-") as directory:
        yield Path(directory)


@pytest.fixture
def start_envoy(short_path: Path) -> Iterator[Callable[..., EnvoyProcess]]:
    """Starts Envoys with a bootstrap; arguments as of `EnvoyProcess` without the folder; all are stopped at the end."""
    started: list[EnvoyProcess] = []

    def start(bootstrap: Mapping[str, Any], **options: Any) -> EnvoyProcess:
        directory = short_path / f"envoy{len(started)}"
        directory.mkdir()
        started.append(EnvoyProcess(bootstrap, directory, **options))
        return started[-1]

    yield start
    for envoy in started:
        envoy.close()


@pytest.fixture(scope="session")
def redis_process() -> Iterator[RedisServer]:
    """One Redis for the whole run; use `redis_server`, which forgets between tests."""
    with tempfile.TemporaryDirectory(prefix="hg-") as directory, RedisServer(Path(directory)) as server:
        yield server


@pytest.fixture
def redis_server(redis_process: RedisServer) -> RedisServer:
    """An empty Redis."""
    redis_process.flush()
    return redis_process


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """The URL of a Postgres of our own; `pgserver` (PyPI) brings it."""
    pgserver = pytest.importorskip("pgserver", reason="needs Postgres: pip install pgserver")
    with tempfile.TemporaryDirectory(prefix="hg-pg-") as directory, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the folder that it would keep its runtime in
        server = pgserver.get_server(directory, cleanup_mode="stop")
        try:
            yield str(server.get_uri())
        finally:
            server.cleanup()


@pytest.fixture(scope="session")
def redis_cluster_processes() -> Iterator[RedisCluster]:
    """One cluster of three masters for the whole run; use `redis_cluster`, which forgets between tests."""
    with tempfile.TemporaryDirectory(prefix="hg-") as directory, RedisCluster(Path(directory)) as cluster:
        yield cluster


@pytest.fixture
def redis_cluster(redis_cluster_processes: RedisCluster) -> RedisCluster:
    """An empty Redis Cluster."""
    redis_cluster_processes.flush()
    return redis_cluster_processes


@pytest.fixture
def start_provider() -> Iterator[Callable[..., Provider]]:
    """Starts fake providers (arguments as of `Provider`); at the end all are stopped and none may have had problems."""
    started: list[Provider] = []

    def start(api: Api, **options: Any) -> Provider:
        started.append(Provider(api, **options))
        return started[-1]

    yield start
    problems = [problem for each in started for problem in each.problems]
    for provider in started:
        provider.close()
    assert not problems, "providers refused requests"


@pytest.fixture
def run_gateway(short_path: Path) -> Iterator[Callable[..., Gateway]]:
    """Starts `headgate run` with YAML text; arguments as of `Gateway` without the folder; stopped at the end."""
    started: list[Gateway] = []

    def start(config: str | Mapping[str, str] | None, *arguments: str, **options: Any) -> Gateway:
        directory = short_path / f"gateway{len(started)}"
        directory.mkdir()
        started.append(Gateway(config, directory, *arguments, **options))
        return started[-1]

    yield start
    for gateway in started:
        gateway.close()
