"""Decisions per second and CPU per decision of the rate limit service: `make bench-limits`.

`closed` is the number of calls kept in flight; CPU is the server's own (and Redis's), from /proc. `Go` is
envoyproxy/ratelimit with Redis, where it was built.
"""

import asyncio
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from envoy.service.ratelimit.v3.rls_pb2 import RateLimitRequest
from headgate.contract import headers
from headgate.ratelimit import wire
from support.grpc_load import Caller
from support.ports import LOOPBACK
from support.processes import Child, cpu_seconds, resident_bytes
from support.redis import RedisServer
from support.upstream_limiter import UpstreamLimiter, UpstreamMissingError, upstream_binary
from support.waiting import wait_until

SECONDS: Final = 3.0
WARM_UP_CALLS: Final = 500
METHOD: Final = f"/{wire.SERVICE}/{wire.METHOD}"
METADATA: Final = {headers.GRPC_MOMENT: "0-", headers.GRPC_PATH: "/v1/chat/completions", "x-forwarded-for": "192.0.2.2"}


@dataclass(frozen=True)
class Measured:
    decisions_per_second: float
    server_microseconds: float
    redis_microseconds: float
    round_trips_per_decision: float
    p50_ms: float
    p99_ms: float
    rss_megabytes: float


def request_body(descriptors: int) -> bytes:
    message = RateLimitRequest(domain="d")
    for index in range(descriptors):
        descriptor = message.descriptors.add()
        descriptor.entries.add(key=f"client{index}", value="alice@example.com")
        descriptor.entries.add(key="model", value="gpt-4o-mini")
    return message.SerializeToString()


def limits(descriptors: int) -> str:
    rows = [
        f"- {{key: client{i}, descriptors: [{{key: model, rate_limit: {{unit: day, requests_per_unit: 1000000000}}}}]}}"
        for i in range(descriptors)
    ]
    return "\n".join(["domain: d", "descriptors:", *rows])


async def drive(where: Path | int, body: bytes, closed: int, server: int, redis: RedisServer | None) -> Measured:
    loop = asyncio.get_running_loop()
    if isinstance(where, int):
        _, caller = await loop.create_connection(lambda: Caller(METHOD, METADATA, body, closed), LOOPBACK, where)
    else:
        _, caller = await loop.create_unix_connection(lambda: Caller(METHOD, METADATA, body, closed), str(where))
    await caller.answered(WARM_UP_CALLS)
    answers, started = caller.answers, time.perf_counter()
    server_cpu, redis_cpu = cpu_seconds(server), cpu_seconds(redis.pid) if redis else 0.0
    calls = script_calls(redis)
    caller.latencies.clear()
    await asyncio.sleep(SECONDS)
    count, took = caller.answers - answers, time.perf_counter() - started
    server_cpu, redis_cpu = cpu_seconds(server) - server_cpu, (cpu_seconds(redis.pid) if redis else 0.0) - redis_cpu
    calls = script_calls(redis) - calls
    latencies = sorted(caller.latencies)
    caller.close()
    return Measured(
        decisions_per_second=count / took,
        server_microseconds=server_cpu / count * 1e6,
        redis_microseconds=redis_cpu / count * 1e6,
        round_trips_per_decision=calls / count,
        p50_ms=latencies[len(latencies) // 2] * 1e3,
        p99_ms=latencies[len(latencies) * 99 // 100] * 1e3,
        rss_megabytes=resident_bytes(server) / 1e6,
    )


def script_calls(redis: RedisServer | None) -> int:
    if redis is None:
        return 0
    for line in redis.command("INFO commandstats").decode().split("\r\n"):
        if line.startswith("cmdstat_evalsha:calls="):
            return int(line.partition("=")[2].partition(",")[0])
    return 0


def measure(storage: str, descriptors: int, closed: int) -> Measured:
    with tempfile.TemporaryDirectory(prefix="hg-") as name:
        directory = Path(name)
        redis = RedisServer(directory) if storage == "redis" else None
        (directory / "limits.yaml").write_text(limits(descriptors))
        path = directory / "limiter.sock"
        command = [sys.executable, "-m", "headgate.ratelimit.main", "--address", f"unix:{path}"]
        command += ["--config", str(directory / "limits.yaml")]
        command += ["--redis-url", redis.unix_url] if redis else []
        try:
            with Child(command, directory=directory, name="limiter") as server:
                wait_until(lambda: "server_listening" in server.stderr, "the limiter to listen")
                return asyncio.run(drive(path, request_body(descriptors), closed, server.pid, redis))
        finally:
            if redis:
                redis.close()


def measure_upstream(descriptors: int, closed: int) -> Measured:
    """envoyproxy/ratelimit, over TCP on both sides; no round trips are told, since it runs no script."""
    with tempfile.TemporaryDirectory(prefix="hg-") as name, RedisServer(Path(name)) as redis:
        upstream = UpstreamLimiter(Path(name), limits(descriptors), redis.port)
        try:
            return asyncio.run(drive(upstream.port, request_body(descriptors), closed, upstream.child.pid, redis))
        finally:
            upstream.close()


def has_upstream() -> bool:
    try:
        upstream_binary()
    except UpstreamMissingError as error:
        print(error)
        return False
    return True


def main() -> None:
    print("storage  descr  closed  decisions/s  server µs  redis µs  trips/decision  p50 ms  p99 ms  RSS MB")
    storages = ("memory", "redis", "Go") if has_upstream() else ("memory", "redis")
    for storage in storages:
        for descriptors, closed in ((1, 1), (1, 64), (3, 64), (10, 64)):
            upstream = storage == "Go"
            each = measure_upstream(descriptors, closed) if upstream else measure(storage, descriptors, closed)
            print(
                f"{storage:8} {descriptors:5}  {closed:6}  {each.decisions_per_second:11.0f}"
                f"  {each.server_microseconds:9.0f}  {each.redis_microseconds:8.0f}"
                f"  {each.round_trips_per_decision:14.2f}  {each.p50_ms:6.2f}  {each.p99_ms:6.2f}"
                f"  {each.rss_megabytes:6.0f}"
            )


if __name__ == "__main__":
    main()
