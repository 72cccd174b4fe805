"""envoyproxy/ratelimit itself, to compare ours with: built once from its published Go module, and kept.

python -m support.upstream_limiter        # from tests/: builds it (about 3 minutes on two cores), prints where it is

A newer one, for HEADGATE_TEST_RATELIMIT: `CGO_ENABLED=0 go build ./src/service_cmd` in a checkout of its repository.
What tests ask goes by what the binary does: limits in quota mode refuse together only since March 2026.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import grpc
from envoy.service.ratelimit.v3.rls_pb2 import RateLimitRequest, RateLimitResponse

from support.limiter import METHOD
from support.ports import LOOPBACK, free_port
from support.processes import Child
from support.waiting import wait_until

VERSION = "v1.4.1-0.20260122083618-3fb702589d36"
PACKAGE = "github.com/envoyproxy/ratelimit/src/service_cmd"
BINARY_VARIABLE = "HEADGATE_TEST_RATELIMIT"


class UpstreamMissingError(RuntimeError):
    """There is no envoyproxy/ratelimit to compare with; the message says how to get one."""


def _kept() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "headgate" / f"ratelimit-{VERSION}" / "ratelimit"


def upstream_binary() -> Path:
    """Where it is; raises UpstreamMissingError."""
    if configured := os.environ.get(BINARY_VARIABLE):
        if found := shutil.which(configured):
            return Path(found)
        raise UpstreamMissingError(f"{BINARY_VARIABLE}={configured} is not an executable")
    if _kept().exists():
        return _kept()
    raise UpstreamMissingError(
        "no envoyproxy/ratelimit: run `python -m support.upstream_limiter` in tests/ (needs Go), "
        f"or set {BINARY_VARIABLE}=/path"
    )


def build(go: str = "go") -> Path:
    """Builds it, in a module of its own: beside others, newer dependencies would win that it does not compile with."""
    kept = _kept()
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="hg-ratelimit-") as directory:
        Path(directory, "go.mod").write_text("module headgate.dev/tests/ratelimit\n\ngo 1.25.0\n")
        environment = {**os.environ, "CGO_ENABLED": "0"}
        subprocess.run([go, "get", "-tool", f"{PACKAGE}@{VERSION}"], cwd=directory, env=environment, check=True)
        command = [go, "build", "-trimpath", "-ldflags", "-s -w", "-o", "built", PACKAGE]
        subprocess.run(command, cwd=directory, env=environment, check=True)
        partial = kept.with_name("partial")
        shutil.move(Path(directory, "built"), partial)
        partial.rename(kept)
    return kept


class UpstreamLimiter:
    """A running envoyproxy/ratelimit over a Redis on a loopback port; `variables` are more of its environment."""

    def __init__(
        self, directory: Path, config: str, redis_port: int, variables: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        root = directory / "upstream"
        (root / "ratelimit" / "config").mkdir(parents=True)
        (root / "ratelimit" / "config" / "limits.yaml").write_text(config)
        self.port = port = free_port()
        environment = {
            "RUNTIME_ROOT": str(root),
            "RUNTIME_SUBDIRECTORY": "ratelimit",
            "RUNTIME_WATCH_ROOT": "false",
            "REDIS_SOCKET_TYPE": "tcp",
            "REDIS_URL": f"{LOOPBACK}:{redis_port}",
            "USE_STATSD": "false",
            "HOST": LOOPBACK,
            "PORT": str(free_port()),
            "DEBUG_HOST": LOOPBACK,
            "DEBUG_PORT": str(free_port()),
            "GRPC_HOST": LOOPBACK,
            "GRPC_PORT": str(port),
            **variables,
        }
        self.child = Child([str(upstream_binary())], directory=directory, name="upstream", environment=environment)
        self.channel = grpc.insecure_channel(f"{LOOPBACK}:{port}", options=(("grpc.enable_http_proxy", 0),))
        self.ask: Callable[..., RateLimitResponse] = self.channel.unary_unary(
            METHOD, RateLimitRequest.SerializeToString, RateLimitResponse.FromString
        )
        try:
            wait_until(self._answers, "envoyproxy/ratelimit to answer")
        except BaseException:
            self.close()
            raise

    def _answers(self) -> bool:
        self.child.require_alive()
        message = RateLimitRequest(domain="nobody's")
        message.descriptors.add().entries.add(key="k", value="v")
        try:
            self.ask(message, timeout=1)
        except grpc.RpcError:
            return False
        return True

    def close(self) -> None:
        self.channel.close()
        self.child.close()


if __name__ == "__main__":
    print(build(sys.argv[1] if len(sys.argv) > 1 else "go"))
