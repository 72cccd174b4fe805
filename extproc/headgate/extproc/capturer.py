"""The shell around `capture`: takes attempts that are over, and sends what is told of them."""

import secrets
import time
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from headgate.contract.otel import SCOPE, Signal
from headgate.extproc.capture import Capture, Captured, CaptureSettings, event_of, span_of
from headgate.extproc.report import Report
from headgate.extproc.tap import Tap
from headgate.runtime.logging import event_log
from headgate.runtime.otlp.sender import Sender
from headgate.runtime.otlp.wire import encode_logs, encode_spans

log: Final = event_log("capture")
Told = TypeVar("Told")


class Capturer:
    """Needs a running event loop."""

    def __init__(self, settings: CaptureSettings) -> None:
        self._settings = settings
        capture = settings.capture
        self._senders: list[Sender[Captured]] = []
        if capture.spans and settings.traces is not None:
            self._senders.append(Sender(settings.traces, Signal.TRACES, self._spans, settings.span_batches))
        if capture.events and settings.logs is not None:
            self._senders.append(Sender(settings.logs, Signal.LOGS, self._events, settings.event_batches))

    def offer(self, tap: Tap, report: Report) -> None:
        """An attempt is over. Never waits."""
        if tap.wanted:
            captured = Captured(tap, report, time.time_ns(), secrets.token_hex(8))
            for sender in self._senders:
                sender.offer(captured, tap.size)

    def _spans(self, batch: Sequence[Captured]) -> bytes:
        settings = self._settings
        return encode_spans(self._each(span_of, batch), settings.resource, SCOPE, settings.span_limits)

    def _events(self, batch: Sequence[Captured]) -> bytes:
        settings = self._settings
        return encode_logs(self._each(event_of, batch), settings.resource, SCOPE, settings.event_limits)

    def _each(self, tell: Callable[[Captured, Capture], Told], batch: Sequence[Captured]) -> list[Told]:
        found: list[Told] = []
        for captured in batch:
            try:
                found.append(tell(captured, self._settings.capture))
            except Exception:  # one that cannot be told must not cost those beside it
                log.exception("not_told", path=captured.tap.path)
        return found

    async def close(self) -> None:
        """Sends what waits."""
        for sender in self._senders:
            await sender.close()
