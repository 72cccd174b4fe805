"""Envoy's AccessLogService: every stream is one worker of one Envoy; records go to all who asked for them."""

from collections.abc import Callable, Mapping, Sequence

from headgate.collector.counters import Counts
from headgate.collector.wire import METHOD, read_message
from headgate.ledger.joining import Fetched, Joiner, Settings
from headgate.ledger.record import UsageRecord
from headgate.runtime.http2.frames import GrpcStatus
from headgate.runtime.http2.server import Call, Replies, Services
from headgate.runtime.logging import event_log

log = event_log("collector")

Subscriber = Callable[[Sequence[UsageRecord]], None]
"""Takes the records of one message, at once and on the event loop: it must neither block nor fail."""


class AccessLogService:
    """Receives, joins, hands out. `settings` may be replaced while it runs: they count for what comes next."""

    def __init__(self, settings: Settings, counts: Counts) -> None:
        self.settings = settings
        self.counts = counts
        self.fetched = Fetched()
        self._subscribers: list[Subscriber] = []
        self._calls: set[_Stream] = set()

    def subscribe(self, subscriber: Subscriber) -> None:
        """From now on it is given all records."""
        self._subscribers.append(subscriber)

    def services(self) -> Services:
        def open_stream(replies: Replies, headers: Mapping[str, str]) -> Call:
            del headers
            stream = _Stream(self, replies)
            self._calls.add(stream)
            return stream

        return {METHOD: open_stream}

    def end_streams(self) -> None:
        """Ends each stream behind its next message: what Envoy has sent by then is heard, and what comes later it keeps
        until somebody listens again."""
        for stream in self._calls:
            stream.ending = True

    def forget(self, stream: "_Stream") -> None:
        self._calls.discard(stream)

    def publish(self, records: Sequence[UsageRecord]) -> None:
        self.counts.records += len(records)
        for subscriber in self._subscribers:
            try:
                subscriber(records)
            except Exception as error:  # one bad subscriber must not cost the others their records
                log.exception("subscriber_failed", error=str(error))


class _Stream:
    """One gRPC stream. Nothing is answered: Envoy only wants to be heard."""

    def __init__(self, service: AccessLogService, replies: Replies) -> None:
        self._service = service
        self._replies = replies
        self._joiner: Joiner | None = None
        self.ending = False

    def receive(self, message: bytes) -> None:
        self._take(message)
        if self.ending:
            self.end()

    def _take(self, message: bytes) -> None:
        counts = self._service.counts
        counts.messages += 1
        try:
            node, entries = read_message(message, self._service.settings.root)
        except ValueError as error:
            counts.malformed += 1
            log.warning("malformed_message", error=str(error))
            return
        counts.entries += len(entries)
        if self._joiner is None or node:
            self._joiner = Joiner(node, self._service.settings, self._service.fetched)
        joiner = self._joiner
        joiner.settings = self._service.settings
        records = [record for entry in entries if (record := joiner.feed(entry)) is not None]
        if records:
            self._service.publish(records)

    def half_closed(self) -> None:
        self.end()

    def end(self) -> None:
        self._replies.end(GrpcStatus.OK)

    def closed(self) -> None:
        self._service.forget(self)
