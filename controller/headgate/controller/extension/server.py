"""Answers Envoy Gateway's hooks from what was compiled last.

Every replica serves. A call waits while this replica has not seen yet what the leader wrote (the hash on a route is not
one that it ever made), but not for long: then it answers with what it has, since Envoy Gateway publishes nothing of any
Gateway while it waits. Before the first compilation calls are refused as UNAVAILABLE, which Envoy Gateway retries, and
health is NOT_SERVING. A failure of ours is an error to Envoy Gateway: it keeps what it published last, while an answer
without our routes would send clients' keys to providers.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final, Protocol

import grpc
import grpc.aio
from headgate.compiler.envoy_gateway.joined import message
from headgate.compiler.envoy_gateway.names import INPUTS
from headgate.compiler.envoy_gateway.rules import Rules
from headgate.compiler.envoy_gateway.translation import Lists, Memo, Translated, inputs_seen, translate
from headgate.compiler.options import Options
from headgate.controller.extension.liveness import TRANSLATIONS_MAX, Heard, HookLiveness
from headgate.controller.metrics import ControllerMetrics
from headgate.pb.envoy_gateway_extension_pb2 import PostTranslateModifyRequest, PostTranslateModifyResponse
from headgate.runtime.logging import event_log

log = event_log("extension")

SERVICE: Final = "envoygateway.extension.EnvoyGatewayExtension"
CATCH_UP_SECONDS: Final = 1.0
REMEMBERED_OF_ROUTE_MAX: Final = 64
"""Hashes that this replica made: one that it knows is not newer than what it has."""


class HookObserver(Protocol):
    """Told of every call. Called on the event loop; must not block."""

    def answered(self, translated: Translated, seconds: float) -> None: ...
    def failed(self, error: Exception, seconds: float) -> None: ...


class LogObserver:
    """Tells the log only."""

    def answered(self, translated: Translated, seconds: float) -> None:
        for problem in translated.problems:
            log.warning("route_problem", route=problem.route, problem=str(problem))
        log.info("hook_answered", gateways=sorted(translated.gateways), seconds=round(seconds, 4))

    def failed(self, error: Exception, seconds: float) -> None:
        log.exception("hook_failed", error=str(error), seconds=round(seconds, 4))


class MeteredObserver(LogObserver):
    """Also has calls counted and timed."""

    def __init__(self, metrics: ControllerMetrics) -> None:
        self._metrics = metrics

    def answered(self, translated: Translated, seconds: float) -> None:
        super().answered(translated, seconds)
        self._metrics.hook(seconds)

    def failed(self, error: Exception, seconds: float) -> None:
        super().failed(error, seconds)
        self._metrics.hook(seconds, failed=True)


@dataclass(frozen=True, slots=True)
class Served:
    """What calls are answered from: one compilation."""

    rules: Rules
    inputs: Mapping[str, str] = field(default_factory=dict[str, str])
    """The hash of each route, by `<ns>/<name>`."""


class ExtensionServer:
    """The servicer; add it to a grpc.aio server with `add_to`."""

    def __init__(self, options: Options, observer: HookObserver | None = None) -> None:
        self._options = options
        self._observer = observer or LogObserver()
        self._served: Served | None = None
        self._changed = asyncio.Event()
        self._known: dict[str, None] = {}
        self._memos: dict[str, Memo] = {}
        self._translating = asyncio.Lock()
        self.liveness = HookLiveness()
        self.on_news: Callable[[], None] = lambda: None
        """Called when a call tells of another state of Gateways or routes than the one before."""

    def add_to(self, server: grpc.aio.Server) -> None:
        """Registers the service. The hooks of upstream's setup for single routes and clusters change nothing."""
        translate_modify = grpc.unary_unary_rpc_method_handler(
            self._translate,
            request_deserializer=PostTranslateModifyRequest.FromString,
            response_serializer=written,
        )
        handler = grpc.method_handlers_generic_handler(SERVICE, {"PostTranslateModify": translate_modify})
        server.add_generic_rpc_handlers((handler,))
        for name in ("PostRouteModify", "PostClusterModify"):
            unchanged: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(_unchanged)
            server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {name: unchanged}),))

    def serve(self, served: Served) -> None:
        """From now on calls are answered from this."""
        self._served = served
        for inputs in served.inputs.values():
            self._known[inputs] = None
        for oldest in list(self._known)[: -REMEMBERED_OF_ROUTE_MAX * max(len(served.inputs), 1)]:
            del self._known[oldest]
        self.liveness.expect(frozenset(name for name, rules in served.rules.by_gateway.items() if rules), time.time())
        self._changed.set()
        self._changed = asyncio.Event()

    async def _translate(
        self,
        request: PostTranslateModifyRequest,
        context: grpc.aio.ServicerContext[PostTranslateModifyRequest, Lists],
    ) -> Lists:
        if self._served is None:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the configuration has not been read yet")
        lists = Lists(
            clusters=tuple(request.clusters),
            secrets=tuple(request.secrets),
            listeners=tuple(request.listeners),
            routes=tuple(request.routes),
        )
        await self._catch_up(inputs_seen(lists.routes))
        started = time.monotonic()
        try:
            translated = await self._made(lists)
        except Exception as error:
            self._observer.failed(error, time.monotonic() - started)
            await context.abort(grpc.StatusCode.INTERNAL, "the translation failed; the server's log says why")
        heard = Heard(tuple(sorted(translated.gateways)), time.time(), translated.problems)
        news = self.liveness.hear(_which(lists), heard)
        self._observer.answered(translated, time.monotonic() - started)
        if news:
            self.on_news()
        return translated.lists

    async def _made(self, lists: Lists) -> Translated:
        """One at a time: in a thread, so that health answers, but Python has one lock for all of them anyway."""
        async with self._translating:
            served = self._served
            assert served is not None
            key = _which(lists)
            translated, memo = await asyncio.to_thread(
                translate, lists, served.rules, self._options, self._memos.get(key), now=time.monotonic()
            )
            self._memos.pop(key, None)
            self._memos[key] = memo
            while len(self._memos) > TRANSLATIONS_MAX:
                self._memos.pop(next(iter(self._memos)))
            return translated

    async def _catch_up(self, seen: frozenset[str]) -> None:
        """Until this replica has made every hash that is on the routes, or for as long as Envoy Gateway may wait."""
        try:
            async with asyncio.timeout(CATCH_UP_SECONDS):
                while not seen <= self._known.keys():
                    await self._changed.wait()
        except TimeoutError:
            log.warning("hook_ahead", problem=f"{INPUTS} of a route is not known here yet")


def written(lists: Lists) -> bytes:
    """A `PostTranslateModifyResponse`."""
    return message(
        (PostTranslateModifyResponse.CLUSTERS_FIELD_NUMBER, lists.clusters),
        (PostTranslateModifyResponse.SECRETS_FIELD_NUMBER, lists.secrets),
        (PostTranslateModifyResponse.LISTENERS_FIELD_NUMBER, lists.listeners),
        (PostTranslateModifyResponse.ROUTES_FIELD_NUMBER, lists.routes),
    )


async def _unchanged(request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
    """The empty answer leaves what was asked as it is."""
    del request, context
    return b""


def _which(lists: Lists) -> str:
    """What tells the translations of one Gateway (or class) from another's: the names of its listeners."""
    return sha256(b"\0".join(sorted(data[:96] for data in lists.listeners))).hexdigest()
