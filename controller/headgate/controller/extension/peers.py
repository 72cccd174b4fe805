"""What Envoy Gateway asked the other replicas: the leader asks each for it, and so tells statuses for all of them.

Envoy Gateway keeps one connection, to whichever replica the Service chose. Replicas are the endpoints of our Service;
each tells at `/status` of its health address. Rejected: that every replica writes what it heard (only one writes).
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from typing import Final

import aiohttp
import msgspec
from headgate.controller.extension.liveness import Heard
from headgate.controller.sources.kubernetes.client import ApiError, ApiServer, UnreachableError
from headgate.runtime.logging import event_log

log = event_log("controller")

RECHECK_SECONDS: Final = 10.0
ASK_SECONDS_MAX: Final = 2.0
ANSWER_BYTES_MAX: Final = 16 * 1024 * 1024
PEERS_MAX: Final = 32
HEALTH_PORT: Final = "http-health"
"""The name of the port in our Service."""
SERVICE_LABEL: Final = "kubernetes.io/service-name"


class _Conditions(msgspec.Struct, frozen=True):
    ready: bool | None = None


class _Endpoint(msgspec.Struct, frozen=True):
    addresses: list[str]
    conditions: _Conditions = _Conditions()


class _Port(msgspec.Struct, frozen=True):
    name: str | None = None
    port: int | None = None


class _Slice(msgspec.Struct, frozen=True):
    endpoints: list[_Endpoint] | None = None
    ports: list[_Port] | None = None


class _Slices(msgspec.Struct):
    items: list[_Slice] = []


class _Hooks(msgspec.Struct):
    heard: list[Heard] = []


class _Status(msgspec.Struct):
    identity: str
    hooks: _Hooks = msgspec.field(default_factory=_Hooks)


class Peers:
    """`run` until it is cancelled; `on_news` is called when the others have heard something new."""

    def __init__(
        self, api: ApiServer, *, namespace: str, service: str, identity: str, leading: Callable[[], bool]
    ) -> None:
        self._api = api
        path = f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
        self._slices: tuple[str, Mapping[str, str]] = (path, {"labelSelector": f"{SERVICE_LABEL}={service}"})
        self._identity = identity
        self._leading = leading
        self.heard: tuple[Heard, ...] = ()
        self.complete = False
        """Whether every other replica has answered."""
        self.on_news: Callable[[], None] = lambda: None
        self._error = ""

    async def run(self) -> None:
        """Asks again and again, while this replica leads."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ASK_SECONDS_MAX)) as session:
            while True:
                if self._leading():
                    await self._ask(session)
                await asyncio.sleep(RECHECK_SECONDS)

    async def _ask(self, session: aiohttp.ClientSession) -> None:
        before = (self.complete, self.heard)
        try:
            urls = await self._urls()
        except (ApiError, UnreachableError, msgspec.MsgspecError) as error:
            if str(error) != self._error:
                log.warning("peers_unknown", error=str(error))
            self._error = str(error)
            self.complete = False
        else:
            self._error = ""
            answers = await asyncio.gather(*(_status(session, url) for url in urls))
            told = [each for each in answers if each is not None and each.identity != self._identity]
            self.complete = bool(urls) and None not in answers
            self.heard = tuple(heard for each in told for heard in each.hooks.heard)
        if before != (self.complete, self.heard):
            self.on_news()

    async def _urls(self) -> list[str]:
        path, query = self._slices
        slices = msgspec.json.decode(await self._api.request("GET", path, query=query), type=_Slices).items
        return sorted({url for each in slices for url in _urls(each)})[:PEERS_MAX]


def _urls(found: _Slice) -> Iterator[str]:
    ports = [each.port for each in found.ports or () if each.name == HEALTH_PORT and each.port]
    for endpoint in found.endpoints or () if ports else ():
        if endpoint.conditions.ready is not False and endpoint.addresses:
            address = endpoint.addresses[0]
            yield f"http://{f'[{address}]' if ':' in address else address}:{ports[0]}/status"


async def _status(session: aiohttp.ClientSession, url: str) -> _Status | None:
    """What a replica says; None if it does not, or nothing that can be read."""
    try:
        async with session.get(url, allow_redirects=False) as response:
            if response.status != 200:
                return None
            body = bytearray()
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > ANSWER_BYTES_MAX:
                    return None
        return msgspec.json.decode(body, type=_Status)
    except (aiohttp.ClientError, TimeoutError, OSError, msgspec.MsgspecError):
        return None
