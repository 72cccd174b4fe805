"""Decisions per second and CPU per decision of the rate limit service: `make bench-limits`.

`closed` is the number of calls kept in flight; CPU is the server's own (and Redis's), from /proc. `Go` is
envoyproxy/ratelimit with Redis, where it was built. Beside it, a second table compares both at equal load: so many
calls a second, over TCP, each with a Redis of its own; by turns, and the medians of the rounds.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Final

from envoy.service.ratelimit.v3.rls_pb2 import RateLimitRequest
from headgate.contract import headers
from headgate.ratelimit import wire
from support.grpc_load import Caller
from support.ports import LOOPBACK, free_port
from support.processes import Child, cpu_seconds, resident_bytes, started_server
from support.redis import RedisServer
from support.upstream_limiter import UpstreamLimiter, UpstreamMissingError, upstream_binary
from support.waiting import wait_until

SECONDS: Final = 3.0
PACED_SECONDS: Final = 2.0
ROUNDS: Final = 5
RATES: Final = (200, 1000, 4000)
"""Calls a second."""
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


@dataclass(frozen=True)
class Load:
    """So many calls in flight, or so many a second."""

    closed: int = 0
    per_second: float = 0.0

    def caller(self, body: bytes) -> Caller:
        return Caller(METHOD, METADATA, body, self.closed, per_second=self.per_second)


async def drive(where: Path | int, body: bytes, load: Load, server: int, redis: RedisServer | None) -> Measured:
    loop = asyncio.get_running_loop()
    if isinstance(where, int):
        _, caller = await loop.create_connection(lambda: load.caller(body), LOOPBACK, where)
    else:
        _, caller = await loop.create_unix_connection(lambda: load.caller(body), str(where))
    await caller.answered(min(WARM_UP_CALLS, int(load.per_second / 4) or WARM_UP_CALLS))
    answers, started = caller.answers, time.perf_counter()
    server_cpu, redis_cpu = cpu_seconds(server), cpu_seconds(redis.pid) if redis else 0.0
    calls = script_calls(redis)
    caller.latencies.clear()
    await asyncio.sleep(PACED_SECONDS if load.per_second else SECONDS)
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
                return asyncio.run(drive(path, request_body(descriptors), Load(closed), server.pid, redis))
        finally:
            if redis:
                redis.close()


def measure_upstream(descriptors: int, closed: int) -> Measured:
    """envoyproxy/ratelimit, over TCP on both sides; no round trips are told, since it runs no script."""
    with tempfile.TemporaryDirectory(prefix="hg-") as name, RedisServer(Path(name)) as redis:
        upstream = UpstreamLimiter(Path(name), limits(descriptors), redis.port)
        try:
            load = Load(closed)
            return asyncio.run(drive(upstream.port, request_body(descriptors), load, upstream.child.pid, redis))
        finally:
            upstream.close()


@contextmanager
def both(descriptors: int) -> Generator[Sequence[Callable[[Load], Measured]]]:
    """Ours and the Go service, running side by side: each measures itself under a load."""
    with ExitStack() as stack:
        names = (stack.enter_context(tempfile.TemporaryDirectory(prefix="hg-")) for _ in range(2))
        ours, theirs = (Path(name) for name in names)
        redis, their_redis = (stack.enter_context(RedisServer(each)) for each in (ours, theirs))
        (ours / "limits.yaml").write_text(limits(descriptors))
        port, body = free_port(), request_body(descriptors)
        command = [sys.executable, "-m", "headgate.ratelimit.main", "--address", f"{LOOPBACK}:{port}"]
        command += ["--config", str(ours / "limits.yaml"), "--redis-url", redis.url]
        server = stack.enter_context(started_server(command, directory=ours, name="limiter"))
        upstream = UpstreamLimiter(theirs, limits(descriptors), their_redis.port)
        stack.callback(upstream.close)
        yield (
            lambda load: asyncio.run(drive(port, body, load, server.pid, redis)),
            lambda load: asyncio.run(drive(upstream.port, body, load, upstream.child.pid, their_redis)),
        )


def compare() -> None:
    """The second table."""
    head = "equal load: descr  calls/s  ours µs  Go µs  ratio  Redis µs, ours  Go's  p99 ms, ours   Go's  ratio"
    print(f"{head}  trips/decision")
    for descriptors in (1, 3, 10):
        with both(descriptors) as measures:
            for rate in RATES:
                rounds = [[measure(Load(per_second=rate)) for measure in measures] for _ in range(ROUNDS)]
                cpu, redis, p99 = (
                    [median(getattr(each[which], name) for each in rounds) for which in (0, 1)]
                    for name in ("server_microseconds", "redis_microseconds", "p99_ms")
                )
                trips = median(each[0].round_trips_per_decision for each in rounds)
                print(
                    f"            {descriptors:5}  {rate:7}  {cpu[0]:7.0f}  {cpu[1]:5.0f}  {cpu[0] / cpu[1]:5.2f}"
                    f"  {redis[0]:14.0f}  {redis[1]:4.0f}"
                    f"  {p99[0]:12.2f}  {p99[1]:5.2f}  {p99[0] / p99[1]:5.2f}  {trips:14.2f}",
                    flush=True,
                )


def has_upstream() -> bool:
    try:
        upstream_binary()
    except UpstreamMissingError as error:
        print(error)
        return False
    return True


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.limits")
    parser.add_argument("--only", choices=("closed", "equal"), help="one of the tables")
    only = parser.parse_args().only
    upstream = has_upstream()
    if only != "equal":
        table(upstream=upstream)
    if upstream and only != "closed":
        compare()


def table(*, upstream: bool) -> None:
    """The first table."""
    print("storage  descr  closed  decisions/s  server µs  redis µs  trips/decision  p50 ms  p99 ms  RSS MB")
    storages = ("memory", "redis", "Go") if upstream else ("memory", "redis")
    for storage in storages:
        for descriptors, closed in ((1, 1), (1, 64), (3, 1), (3, 64), (10, 1), (10, 64)):
            measured = measure_upstream if storage == "Go" else partial(measure, storage)
            each = measured(descriptors, closed)
            print(
                f"{storage:8} {descriptors:5}  {closed:6}  {each.decisions_per_second:11.0f}"
                f"  {each.server_microseconds:9.0f}  {each.redis_microseconds:8.0f}"
                f"  {each.round_trips_per_decision:14.2f}  {each.p50_ms:6.2f}  {each.p99_ms:6.2f}"
                f"  {each.rss_megabytes:6.0f}"
            )


if __name__ == "__main__":
    main()
