"""The rate limit service: one decision per call, on the snapshot in force when it began.

A storage that fails fails the call with UNAVAILABLE at once; Envoy's `failure_mode_deny` decides what that means.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from headgate.contract import headers
from headgate.limits.config import with_modes
from headgate.limits.engine import (
    HOLD,
    Decision,
    LimitRequest,
    Moment,
    Outcome,
    Plan,
    decide_request,
    plan_fetched,
    plan_request,
    uncharged,
)
from headgate.limits.matching import EMPTY, Snapshot, build_snapshot
from headgate.limits.recent import Recent
from headgate.limits.warnings import Told
from headgate.ratelimit import wire
from headgate.ratelimit.answers import answer
from headgate.ratelimit.metrics import NEAR_LIMIT_RATIO, OUTSTANDING, Metrics, Single
from headgate.ratelimit.storages import GAUGES, Storage, StorageError, Trip
from headgate.runtime.http2.frames import GrpcStatus
from headgate.runtime.http2.server import Call, Replies, Services
from headgate.runtime.logging import event_log
from headgate.runtime.metrics import Kind, Reading

log = event_log("ratelimit")

_NOTHING: Final = Outcome((), applied=True)
_REPORT_SECONDS: Final = 1.0
"""Storage failures are logged at most this often: a dead Redis fails every call."""


class RateLimitService:
    """Answers `envoy.service.ratelimit.v3.RateLimitService`. A reload replaces `snapshot`; nothing else changes."""

    def __init__(
        self,
        storage: Storage,
        *,
        snapshot: Snapshot = EMPTY,
        key_prefix: str = "",
        limit_headers: Sequence[str] = (),
        near_limit_ratio: float = NEAR_LIMIT_RATIO,
        shadow_mode: bool = False,
        quota_mode: bool = False,
        response_metadata: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.snapshot = snapshot
        self.metrics = Metrics(near_limit_ratio=near_limit_ratio, shadow_mode=shadow_mode)
        self._shadow_mode = shadow_mode
        self._quota_mode = quota_mode
        self.response_metadata = response_metadata
        self._storage = storage
        self._key_prefix = key_prefix
        self._limit_headers = limit_headers
        self._clock = clock
        self._last_report = 0.0
        self._unreported = 0
        self._told = Told()
        self.recent = Recent()
        self.figures: list[Callable[[], Mapping[str, int]]] = [storage.counts]
        """What others count, for metrics."""

    def use(self, snapshot: Snapshot) -> None:
        """From the next call on, decides by `snapshot`, with all its limits in the service's own mode."""
        if self._shadow_mode or self._quota_mode:
            modes = partial(with_modes, shadow=self._shadow_mode, quota=self._quota_mode)
            snapshot = replace(
                build_snapshot(map(modes, snapshot.source)), shadow_mode=self._shadow_mode, quota_mode=self._quota_mode
            )
        self.snapshot = snapshot
        self.metrics.config_loads += 1

    def config_rejected(self, message: str) -> None:
        """Counts a configuration that could not be used."""
        del message
        self.metrics.config_errors += 1

    async def ping(self) -> None:
        """Raises StorageError when decisions cannot be made now."""
        await self._storage.ping()

    async def metrics_text(self) -> str:
        """All counters in Prometheus's text format; decisions are made while it is written."""
        found: list[str] = []
        for part in self.metrics.parts(await self._figures()):
            found.append(part)
            await asyncio.sleep(0)
        return "".join(found)

    async def readings(self) -> AsyncIterator[Reading]:
        """The same as values; decisions are made in between."""
        for reading in self.metrics.readings(await self._figures()):
            yield reading
            await asyncio.sleep(0)

    async def _figures(self) -> Sequence[Single]:
        """What others count: names, and what they are."""
        outstanding = await self._storage.outstanding(f"{self._key_prefix}{HOLD}")
        figures = [
            (f"headgate_ratelimit_{name}", Kind.GAUGE if name in GAUGES else Kind.COUNTER, value)
            for counts in self.figures
            for name, value in counts().items()
        ]
        if outstanding is not None:
            figures.append((OUTSTANDING, Kind.GAUGE, outstanding))
        return figures

    def services(self, open_call: "OpenCall | None" = None) -> Services:
        """To be merged into a server's services; `open_call` makes other calls than plain ones."""
        return {wire.PATH: partial(open_call or ShouldRateLimit, self)}

    async def decide(self, request: LimitRequest, name: str = "") -> Decision:
        """Decides and counts; raises StorageError."""
        plan = self.plan(request, name)
        outcome = self.start(plan)
        return self.finish(plan, outcome if isinstance(outcome, Outcome) else await outcome, request.moment)

    # The steps of a decision.

    def plan(self, request: LimitRequest, name: str = "") -> Plan:
        """What `request` asks of the storage now; `name` is that of the stream it is about."""
        plan = plan_request(self.snapshot, request, now=self._clock(), prefix=self._key_prefix, name=name)
        for number, (match, op) in enumerate(plan.parts):
            if op is not None and match is not None:
                self.recent.note(request.domain, match, request.descriptors[number].entries)
        return plan

    async def look(self, request: LimitRequest, snapshot: Snapshot) -> Decision:
        """How the counters of a request stand, which changes nothing (`listing.look`); raises StorageError."""
        plan = plan_request(snapshot, request, now=self._clock(), prefix=self._key_prefix)
        outcome = self.start(plan)
        return decide_request(plan, outcome if isinstance(outcome, Outcome) else await outcome)

    def start(self, plan: Plan, trips: list[Trip] | None = None) -> "Outcome | asyncio.Future[Outcome]":
        """Asks the storage, as `Storage.start` does."""
        asked = plan.transaction
        return self._storage.start(asked, trips) if asked.ops or asked.alternatives else _NOTHING

    def start_fetched(self, request: LimitRequest, answer: str) -> "Outcome | asyncio.Future[Outcome]":
        """Asks the storage whether a stored answer is charged for the first time (`engine.plan_fetched`)."""
        return self._storage.start(plan_fetched(request, answer, now=self._clock(), prefix=self._key_prefix))

    def finish(self, plan: Plan, outcome: Outcome, moment: Moment) -> Decision:
        """Decides and counts."""
        decision = decide_request(plan, outcome)
        for status, share in self.metrics.record(decision, moment):
            if self._told.is_new(status, share, plan.transaction.now) and (rule := status.rule) is not None:
                log.warning("limit_nearly_used", rule=rule.label, per_cent=share, limit=rule.amount)
        return decision

    def encode(self, decision: Decision, path: str | None, request: bytes = b"") -> bytes:
        """The response to a request to `path`, below the root; `request` is what it asked, where the answer's metadata
        tells.
        """
        added = answer(decision, path=path, limit_headers=self._limit_headers)
        return wire.encode_decision(decision, headers=added.headers, body=added.body, request=request)

    def storage_failed(self, error: StorageError) -> None:
        """Counts a call that the storage failed, and logs it unless another was logged just now."""
        self.metrics.storage_errors += 1
        self._unreported += 1
        now = asyncio.get_running_loop().time()
        if now - self._last_report >= _REPORT_SECONDS:
            log.error("storage_failed", error=str(error), failed_calls=self._unreported)
            self._last_report, self._unreported = now, 0


OpenCall = Callable[[RateLimitService, Replies, Mapping[str, str]], Call]


class ShouldRateLimit:
    """One call. Answered inside `receive` where the storage answers at once.

    `start`, `finish` and `fail` are its steps, for who follows it.
    """

    __slots__ = ("_asked", "_headers", "_outcome", "_replies", "_service", "_started")

    def __init__(self, service: RateLimitService, replies: Replies, metadata: Mapping[str, str]) -> None:
        self._service = service
        self._replies = replies
        self._headers = metadata
        self._outcome: asyncio.Future[Outcome] | None = None
        self._asked = b""
        self._started = time.perf_counter()

    def receive(self, message: bytes) -> None:
        if self._outcome is not None:
            return  # a call has one message
        service = self._service
        if service.response_metadata:
            self._asked = message
        try:
            moment = self._headers.get(headers.GRPC_MOMENT)
            repeats = moment in wire.BEFORE_RESPONSE and len(message) <= wire.REPEATED_BYTES_MAX
            request = (wire.decode_again if repeats else wire.decode_request)(message, moment)
            fetched = self._headers.get(headers.GRPC_FETCHED)
            if fetched and request.moment is Moment.SETTLEMENT and any(each.hits for each in request.descriptors):
                self._charge_once(request, fetched)
            else:
                self._decide(request)
        except (wire.WireError, StorageError) as error:
            self.fail(error)

    def _charge_once(self, request: LimitRequest, answer: str) -> None:
        """Decides about the settlement of a stored answer that was fetched, perhaps again."""
        first = self._service.start_fetched(request, answer)
        if isinstance(first, Outcome):
            self._decide(request if first.applied else uncharged(request))
            return
        # Not `first`: a call that is left would cancel it, and what was used must be charged.
        self._outcome = first.get_loop().create_future()
        first.add_done_callback(partial(self._charge, request, self._outcome))

    def _charge(
        self, request: LimitRequest, waited: "asyncio.Future[Outcome]", first: "asyncio.Future[Outcome]"
    ) -> None:
        try:
            self._decide(request if first.result().applied else uncharged(request))
        except StorageError as error:
            self.fail(error)
        except Exception:  # the server's boundary, which for `receive` is in its caller
            log.exception("call_failed")
            self._replies.end(GrpcStatus.INTERNAL, "internal error")
        if waited.cancelled():
            self.closed()

    def _decide(self, request: LimitRequest) -> None:
        plan = self._service.plan(request, self._headers.get(headers.GRPC_STREAM, ""))
        outcome = self.start(plan, request)
        if isinstance(outcome, Outcome):
            self._answer(plan, outcome, request.moment)
        else:
            self._outcome = outcome
            outcome.add_done_callback(partial(self._continue, plan, request.moment))

    def _continue(self, plan: Plan, moment: Moment, outcome: "asyncio.Future[Outcome]") -> None:
        if outcome.cancelled():
            return
        try:
            self._answer(plan, outcome.result(), moment)
        except StorageError as error:
            self.fail(error)
        except Exception:  # the server's boundary, which for `receive` is in its caller
            log.exception("call_failed")
            self._replies.end(GrpcStatus.INTERNAL, "internal error")

    def _answer(self, plan: Plan, outcome: Outcome, moment: Moment) -> None:
        decision = self.finish(plan, outcome, moment)
        path, root = self._headers.get(headers.GRPC_PATH), self._headers.get(headers.GRPC_ROOT)
        if path is not None and root is not None:
            path = path.removeprefix(root)
        self._replies.answer(self._service.encode(decision, path, self._asked))
        self._service.metrics.took(time.perf_counter() - self._started)

    def start(self, plan: Plan, request: LimitRequest) -> "Outcome | asyncio.Future[Outcome]":
        del request
        return self._service.start(plan)

    def finish(self, plan: Plan, outcome: Outcome, moment: Moment) -> Decision:
        return self._service.finish(plan, outcome, moment)

    def fail(self, error: wire.WireError | StorageError) -> None:
        if isinstance(error, StorageError):
            self._service.storage_failed(error)
            self._replies.end(GrpcStatus.UNAVAILABLE, str(error))
        else:
            self._service.metrics.request_errors += 1
            self._replies.end(GrpcStatus.INVALID_ARGUMENT, str(error))

    def half_closed(self) -> None:
        if self._outcome is None:
            self._replies.end(GrpcStatus.UNIMPLEMENTED, "a request message is missing")

    def closed(self) -> None:
        if self._outcome is not None:
            self._outcome.cancel()
