"""The shell around `capture`: takes attempts that are over, and sends what is told of them."""

import time
from collections.abc import Sequence

from headgate.contract.otel import SCOPE, Signal
from headgate.extproc.capture import Captured, CaptureSettings, told
from headgate.extproc.tap import Tap
from headgate.extproc.upstream import Report
from headgate.runtime.otlp.sender import Sender
from headgate.runtime.otlp.wire import encode_logs, encode_spans


class Capturer:
    """Needs a running event loop."""

    def __init__(self, settings: CaptureSettings) -> None:
        self._settings = settings
        capture, batches = settings.capture, settings.batches
        self._senders: list[Sender[Captured]] = []
        if capture.spans and settings.traces is not None:
            self._senders.append(Sender(settings.traces, Signal.TRACES, self._spans, batches))
        if capture.events and settings.logs is not None:
            self._senders.append(Sender(settings.logs, Signal.LOGS, self._events, batches))

    def offer(self, tap: Tap, report: Report) -> None:
        """An attempt is over. Never waits."""
        if tap.traced:
            captured = Captured(tap, report, time.time_ns())
            for sender in self._senders:
                sender.offer(captured, tap.size)

    def _spans(self, batch: Sequence[Captured]) -> bytes:
        found = (told(each, self._settings.capture)[0] for each in batch)
        return encode_spans([span for span in found if span is not None], self._settings.resource, SCOPE)

    def _events(self, batch: Sequence[Captured]) -> bytes:
        found = (told(each, self._settings.capture)[1] for each in batch)
        return encode_logs([record for record in found if record is not None], self._settings.resource, SCOPE)

    async def close(self) -> None:
        """Sends what waits."""
        for sender in self._senders:
            await sender.close()
