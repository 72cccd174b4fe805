"""`headgate-ratelimit` as a process, with a client that asks as Envoy does."""

import os
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import grpc
from envoy.service.ratelimit.v3.rls_pb2 import RateLimitRequest, RateLimitResponse
from headgate.contract import headers

from support.ports import free_port
from support.processes import started_server

METHOD = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"


def client_limits(amount: int, unit: str = "hour") -> str:
    """A configuration with one limit per value of `client`, in domain `d`."""
    limit = f"{{unit: {unit}, requests_per_unit: {amount}}}"
    return f"domain: d\ndescriptors:\n- {{key: client, rate_limit: {limit}}}\n"


class LimiterProcess:
    """A running limiter with an admin port, reached over a unix socket."""

    def __init__(
        self, directory: Path, config: str, *arguments: str, environment: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        self.config_path = directory / "limits.yaml"
        self.config_path.write_text(config)
        self.admin_port = free_port()
        self.address = f"unix:{directory / 'limiter.sock'}"
        command = [sys.executable, "-m", "headgate.ratelimit.main", "--address", self.address]
        command += ["--config", str(self.config_path), "--admin-port", str(self.admin_port), *arguments]
        variables = {**os.environ, **environment}
        self.child = started_server(command, directory=directory, name="limiter", environment=variables)
        self.channel = grpc.insecure_channel(self.address)
        self._ask: Callable[..., RateLimitResponse] = self.channel.unary_unary(
            METHOD, RateLimitRequest.SerializeToString, RateLimitResponse.FromString
        )

    def ask(
        self, client: str = "a", *, hits: int | None = None, metadata: Sequence[tuple[str, str]] = ()
    ) -> RateLimitResponse:
        return self._ask(client_request(client, hits=hits), metadata=metadata, timeout=10)

    def ask_message(self, message: RateLimitRequest) -> RateLimitResponse:
        return self._ask(message, metadata=(), timeout=10)

    def refuses(self, client: str = "a", *, hits: int | None = None, moment: str = "0-") -> bool:
        response = self.ask(client, hits=hits, metadata=((headers.GRPC_MOMENT, moment),))
        return response.overall_code == RateLimitResponse.OVER_LIMIT

    def admin(self, path: str, body: bytes | None = None) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.admin_port}{path}", data=body, timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def metric(self, name: str) -> int:
        lines = self.admin("/metrics")[1].splitlines()
        return int(next(line for line in lines if line.startswith(f"{name} ")).rpartition(" ")[2])

    def close(self) -> None:
        self.channel.close()
        self.child.close()


def client_request(client: str, *, hits: int | None = None) -> RateLimitRequest:
    """What Envoy would ask for this client."""
    message = RateLimitRequest(domain="d")
    descriptor = message.descriptors.add()
    descriptor.entries.add(key="client", value=client)
    if hits is not None:
        descriptor.hits_addend.value = hits
    return message
