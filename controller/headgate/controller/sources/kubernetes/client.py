"""Requests to the Kubernetes API. Only this module and `kubeconfig` know the Kubernetes client library.

The library gives the connection: kubeconfig files with their plugins, the pod's own account, tokens that are read again
when they expire. Its typed models are left aside: bodies are plain JSON, since a typed object of the library costs more
than the whole rest of reading it, and custom resources have none.
"""

import os
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, Protocol, cast

import aiohttp
import msgspec
from headgate.controller.sources.kubernetes import kubeconfig as kubeconfigs
from headgate.controller.sources.kubernetes.kubeconfig import AccessError

SILENCE_SECONDS_MAX: Final = 180.0
"""Bookmarks come about once a minute: a watch that is silent for longer is dead, whatever TCP says."""
REQUEST_SECONDS: Final = 30.0
LINE_BYTES_MAX: Final = 32 * 1024 * 1024
"""One event: an object has at most some MiB in etcd."""
BODY_BYTES_MAX: Final = 256 * 1024 * 1024
"""One page of a list."""
APPLY: Final = "application/apply-patch+yaml"
JSON: Final = "application/json"


class ApiError(Exception):
    """The API server refused a request. `code` is the HTTP status, `reason` Kubernetes' word for it."""

    def __init__(self, code: int, reason: str, message: str, *, retry_after_seconds: float = 0.0) -> None:
        super().__init__(f"{code} {reason}: {message}")
        self.code = code
        self.reason = reason
        self.message = message
        self.retry_after_seconds = retry_after_seconds
        """How long the server asks us to wait; 0 if it does not."""


class UnreachableError(Exception):
    """The API server gave no answer."""


class ApiServer(Protocol):
    """What the rest needs of a client."""

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
        content_type: str = JSON,
    ) -> bytes:
        """The body of the answer. Raises ApiError, UnreachableError."""
        ...

    def stream(self, path: str, query: Mapping[str, str]) -> AsyncGenerator[bytes]:
        """The lines of the answer as they come, until it ends. Raises ApiError, UnreachableError."""
        ...


class KubernetesClient:
    """An `ApiServer` for one identity."""

    def __init__(self, api: "_LibraryClient", server: str) -> None:
        self.server = server
        """Its address."""
        self._api = api

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
        content_type: str = JSON,
    ) -> bytes:
        timeout = aiohttp.ClientTimeout(total=REQUEST_SECONDS)
        try:
            async with self._send(method, path, query or {}, body, content_type, timeout) as response:
                return await _read(response)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise UnreachableError(f"{method} {path}: {error or type(error).__name__}") from error

    async def stream(self, path: str, query: Mapping[str, str]) -> AsyncGenerator[bytes]:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=REQUEST_SECONDS, sock_read=SILENCE_SECONDS_MAX)
        try:
            async with self._send("GET", path, query, None, JSON, timeout) as response:
                rest = b""
                async for chunk in response.content.iter_any():
                    *lines, rest = (rest + chunk).split(b"\n")
                    if len(rest) > LINE_BYTES_MAX:
                        raise UnreachableError(f"GET {path}: an event of more than {LINE_BYTES_MAX} bytes")
                    for line in lines:
                        yield line
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise UnreachableError(f"GET {path}: {error or type(error).__name__}") from error

    async def close(self) -> None:
        """Ends all connections."""
        await self._api.close()

    @asynccontextmanager
    async def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: object,
        content_type: str,
        patience: aiohttp.ClientTimeout,
    ) -> AsyncGenerator[aiohttp.ClientResponse]:
        _, url, headers, sent, _ = await self._api.param_serialize(
            method,
            path,
            query_params=list(query.items()),
            header_params={"Accept": JSON, "Content-Type": content_type},
            body=body,
            auth_settings=["BearerToken"],
        )
        answer = await self._api.rest_client.request(method, url, headers=headers, body=sent, _request_timeout=patience)
        response = answer.response
        try:
            if response.status >= 400:
                raise _error(response, await _read(response))
            yield response
        finally:
            # of a watch that is given up, nobody waits for the last words, TLS' own included
            if response.connection is not None and response.connection.transport is not None:
                response.connection.transport.abort()
            response.close()


class _LibraryRest(Protocol):
    async def request(
        self, method: str, url: str, *, headers: object, body: object, _request_timeout: object
    ) -> "_LibraryResponse": ...


class _LibraryResponse(Protocol):
    response: aiohttp.ClientResponse


class _LibraryClient(Protocol):
    """What is used of the library's `ApiClient`."""

    rest_client: _LibraryRest

    async def param_serialize(
        self,
        method: str,
        resource_path: str,
        *,
        query_params: object,
        header_params: object,
        body: object,
        auth_settings: object,
    ) -> tuple[str, str, object, object, object]: ...

    async def close(self) -> None: ...


async def connect(kubeconfig: Path | None = None, context: str = "") -> KubernetesClient:
    """A client: of `kubeconfig`, else of `KUBECONFIG`, else of the pod's own account. Raises AccessError."""
    # Imported here: half a second and 50 MiB that nothing needs without a cluster.
    from kubernetes.aio import client, config

    configuration = client.Configuration()
    # No bound here: a watch holds a connection (HTTP/1.1), and a bound below their number would starve every other
    # request. Their number is kinds times namespaces, and the Secrets that are watched alone.
    configuration.connection_pool_maxsize = 0
    files = str(kubeconfig) if kubeconfig is not None else os.environ.get("KUBECONFIG", "")
    if files:
        await kubeconfigs.load(files, context, configuration)
    else:
        try:
            config.load_incluster_config(configuration)  # pyright: ignore[reportUnknownMemberType]
        except (config.ConfigException, OSError) as error:
            raise AccessError(f"no access to a Kubernetes API: no kubeconfig, no service account ({error})") from error
    # Authorities made by installers often lack extensions that Python 3.13 asks for by default; Kubernetes does not.
    configuration.disable_strict_ssl_verification = True
    try:
        return KubernetesClient(cast(_LibraryClient, client.ApiClient(configuration)), str(configuration.host))
    except (OSError, ValueError) as error:
        raise AccessError(f"the certificates of the Kubernetes API cannot be used: {error}") from error


class _Status(msgspec.Struct):
    """What is read of the `Status` that the API server answers errors with."""

    reason: str = ""
    message: str = ""


async def _read(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > BODY_BYTES_MAX:
            raise UnreachableError(f"{response.url.path}: an answer of more than {BODY_BYTES_MAX} bytes")
    return bytes(body)


def _error(response: aiohttp.ClientResponse, body: bytes) -> ApiError:
    try:
        status = msgspec.json.decode(body, type=_Status)
    except msgspec.MsgspecError:
        status = _Status(message=body[:500].decode(errors="replace"))
    wait = response.headers.get("Retry-After", "")
    return ApiError(
        response.status,
        status.reason or str(response.reason or ""),
        status.message,
        retry_after_seconds=float(wait) if wait.isdigit() else 0.0,
    )
