"""Pools through the real Envoy, at a clock that the test turns: idle capacity is anybody's, a busy higher pool gets its
share back within a window."""

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from headgate.contract import headers
from headgate.limits.config_text import parse_text
from headgate.limits.matching import build_snapshot
from headgate.ratelimit.service import RateLimitService
from headgate.ratelimit.storages import Storage
from headgate.ratelimit.storages.memory import MemoryStorage
from headgate.ratelimit.storages.redis.storage import RedisStorage
from headgate.runtime.http2.server import Server
from support.envoy import EnvoyProcess
from support.ports import LOOPBACK
from support.redis import RedisServer
from support.static_envoy import Config, bootstrap, cluster, extension, listener, pipe, routed, tcp

pytestmark = [pytest.mark.envoy, pytest.mark.redis]

START = 1_700_000_040
CAPACITY = 100
LIMITS = f"""
domain: d
descriptors:
- key: backend
  value: shared
  rate_limit:
    unit: minute
    requests_per_unit: {CAPACITY}
    pools:
    - {{name: hi, rank: 1, min_reservation: 50, max_reservation: 100}}
    - {{name: lo, rank: 2, min_reservation: 0, max_reservation: 50}}
"""


class Limiter:
    """The service on a thread of its own, at the time that `now` says."""

    def __init__(self, path: Path, open_storage: Callable[[], Storage]) -> None:
        self.now = float(START)
        self._path = path
        self._open_storage = open_storage
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._listening = threading.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),))

    async def _serve(self) -> None:
        storage = self._open_storage()
        snapshot = build_snapshot(parse_text(LIMITS, file="limits.yaml"))
        service = RateLimitService(storage, snapshot=snapshot, clock=lambda: self.now)
        server = Server(service.services())
        await server.listen(f"unix:{self._path}")
        self._listening.set()
        await self._stop.wait()
        await server.stop(0)
        await storage.close()

    def __enter__(self) -> "Limiter":
        self._thread.start()
        assert self._listening.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._loop.close()


def pooled_envoy(directory: Path) -> Config:
    """One route, whose header names the pool, to a provider that is another listener."""
    metadata = {"key": headers.GRPC_MOMENT, "value": headers.GRPC_MOMENT_FORMAT}
    service = {"envoy_grpc": {"cluster_name": "limiter"}, "initial_metadata": [metadata]}
    actions = [
        {"generic_key": {"descriptor_key": "backend", "descriptor_value": "shared"}},
        {"request_headers": {"header_name": "x-pool", "descriptor_key": "pool"}},
    ]
    limited = extension(
        "envoy.filters.http.ratelimit",
        "filters.http.ratelimit.v3.RateLimit",
        domain="d",
        timeout="5s",
        failure_mode_deny=True,
        rate_limit_service={"transport_api_version": "V3", "grpc_service": service},
        rate_limits=[{"actions": actions}],
    )
    provider = pipe(directory / "provider.sock")
    answers = {"match": {"prefix": "/"}, "direct_response": {"status": 200}}
    return bootstrap(
        [listener("in", tcp(), routed("provider"), limited), listener("provider", provider, answers)],
        [cluster("limiter", pipe(directory / "limiter.sock"), http2=True), cluster("provider", provider)],
    )


@pytest.fixture(params=["memory", "redis"])
def limiter(request: pytest.FixtureRequest, short_path: Path, redis_server: RedisServer) -> Iterator[Limiter]:
    def open_storage() -> Storage:
        if request.param == "memory":
            return MemoryStorage()
        return RedisStorage(redis_server.url, timeout_seconds=5.0)

    with Limiter(short_path / "limiter.sock", open_storage) as running:
        yield running


def test_shares_under_load(limiter: Limiter, start_envoy: Callable[..., EnvoyProcess], short_path: Path) -> None:
    """Four minutes: lo alone takes what it may; then hi comes and wants 80 % while lo wants 60 %."""
    port = start_envoy(pooled_envoy(short_path)).listeners()["in"]
    granted: Counter[tuple[int, str]] = Counter()
    with httpx.Client(base_url=f"http://{LOOPBACK}:{port}") as client:
        for second in range(240):
            limiter.now = START + second
            for pool, per_minute, since in (("hi", 80, 60), ("lo", 60, 0)):
                if second < since:
                    continue
                due = per_minute * (second + 1) // 60 - per_minute * second // 60
                for _ in range(due):
                    code = client.get("/", headers={"x-pool": pool}).status_code
                    assert code in (200, 429)
                    granted[second // 60, pool] += code == 200
    # Alone it may hold its maximum; with both the whole is used, and in the minutes after the first hi has its share.
    assert granted[0, "lo"] == 50
    assert granted[1, "hi"] >= 50
    for minute in (2, 3):
        assert granted[minute, "hi"] == pytest.approx(80, abs=3)
        assert granted[minute, "lo"] == pytest.approx(20, abs=3)
