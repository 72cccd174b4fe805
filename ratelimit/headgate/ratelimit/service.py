"""The rate limit service: one decision per call, on the snapshot in force when it began.

A storage that fails fails the call with UNAVAILABLE at once; Envoy's `failure_mode_deny` decides what that means.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Final

import grpc
import grpc.aio
from headgate.contract import headers
from headgate.limits.engine import Decision, LimitRequest, Outcome, decide_request, plan_request
from headgate.limits.matching import EMPTY, Snapshot
from headgate.ratelimit import wire
from headgate.ratelimit.answers import answer
from headgate.ratelimit.metrics import Metrics
from headgate.ratelimit.storages import Storage, StorageError
from headgate.runtime.logging import event_log

log = event_log("ratelimit")

_NOTHING: Final = Outcome((), applied=True)
_REPORT_SECONDS: Final = 1.0
"""Storage failures are logged at most this often: a dead Redis fails every call."""

Context = grpc.aio.ServicerContext[bytes, bytes]


class RateLimitService:
    """Answers `envoy.service.ratelimit.v3.RateLimitService`. A reload replaces `snapshot`; nothing else changes."""

    def __init__(
        self,
        storage: Storage,
        *,
        snapshot: Snapshot = EMPTY,
        key_prefix: str = "",
        limit_headers: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.snapshot = snapshot
        self.metrics = Metrics()
        self._storage = storage
        self._key_prefix = key_prefix
        self._limit_headers = limit_headers
        self._clock = clock
        self._last_report = 0.0
        self._unreported = 0

    def use(self, snapshot: Snapshot) -> None:
        """From the next call on, decides by `snapshot`."""
        self.snapshot = snapshot
        self.metrics.config_loads += 1

    def config_rejected(self, message: str) -> None:
        """Counts a configuration that could not be used."""
        del message
        self.metrics.config_errors += 1

    async def ping(self) -> None:
        """Raises StorageError when decisions cannot be made now."""
        await self._storage.ping()

    def metrics_text(self) -> str:
        """All counters in Prometheus's text format."""
        figures = self._storage.counts().items()
        return self.metrics.text((f"headgate_ratelimit_{name}", value) for name, value in figures)

    def handler(self) -> grpc.GenericRpcHandler:
        """To be added to a server with `add_generic_rpc_handlers`; messages pass as bytes."""
        return grpc.method_handlers_generic_handler(
            wire.SERVICE, {wire.METHOD: grpc.unary_unary_rpc_method_handler(self._should_rate_limit)}
        )

    async def decide(self, request: LimitRequest) -> Decision:
        """Decides and counts; raises StorageError."""
        plan = plan_request(self.snapshot, request, now=int(self._clock()), prefix=self._key_prefix)
        outcome = await self._storage.run(plan.transaction) if plan.transaction.ops else _NOTHING
        decision = decide_request(plan, outcome)
        self.metrics.record(decision, request.moment)
        return decision

    async def _should_rate_limit(self, body: bytes, context: Context) -> bytes:
        moment: str | None = None
        path: str | None = None
        for name, value in context.invocation_metadata() or ():
            if name == headers.GRPC_MOMENT:
                moment = str(value)
            elif name == headers.GRPC_PATH:
                path = str(value)
        try:
            decision = await self.decide(wire.decode_request(body, moment))
        except wire.WireError as error:
            self.metrics.request_errors += 1
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except StorageError as error:
            self._report(error)
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
        added = answer(decision, path=path, limit_headers=self._limit_headers)
        return wire.encode_decision(decision, headers=added.headers, body=added.body)

    def _report(self, error: StorageError) -> None:
        self.metrics.storage_errors += 1
        self._unreported += 1
        now = asyncio.get_running_loop().time()
        if now - self._last_report >= _REPORT_SECONDS:
            log.error("storage_failed", error=str(error), failed_calls=self._unreported)
            self._last_report, self._unreported = now, 0
