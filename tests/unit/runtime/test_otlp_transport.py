"""Where OTLP's messages go: protocols, compression, standard output, and what is offered again."""

import asyncio
import gzip
import json
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field, replace

import pytest
from aiohttp import web
from headgate.contract.otel import Batches, Destination, Exporter, Limits, Protocol, Signal, parse_endpoint
from headgate.contract.secret import Secret
from headgate.runtime.otlp import transport as module
from headgate.runtime.otlp.json_form import as_json
from headgate.runtime.otlp.sender import Sender
from headgate.runtime.otlp.transport import SendError, open_transport, send_patiently
from headgate.runtime.otlp.values import LogRecord, Span
from headgate.runtime.otlp.wire import encode_logs, encode_spans
from msgspec import structs
from support.otlp import OtlpReceiver, spans_of_json

SPAN = Span(
    trace="0af7651916cd43dd8448eb211c80319c",
    id="b7ad6b7169203331",
    parent="00f067aa0ba902b7",
    name="chat m",
    start_ns=1_790_000_000_000_000_001,
    end_ns=1_790_000_000_000_000_009,
    attributes={"count": 2**40, "text": "ä" * 20, "both": ("abcdef", "b"), "ratio": 0.5, "so": True},
    failed=True,
)
RECORD = LogRecord(event="it.happened", time_ns=7, attributes={"a": 1}, trace=SPAN.trace, span=SPAN.id)
MESSAGE = encode_spans([SPAN], {"service.name": "mine"}, "headgate")


@dataclass
class Receiver:
    """Keeps requests as they came, and answers with the next status."""

    url: str = ""
    statuses: list[int] = field(default_factory=list[int])
    bodies: list[bytes] = field(default_factory=list[bytes])
    headers: list[dict[str, str]] = field(default_factory=list[dict[str, str]])

    async def handle(self, request: web.Request) -> web.Response:
        self.bodies.append(await request.read())
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        status = self.statuses.pop(0) if self.statuses else 200
        return web.Response(status=status, headers={"retry-after": "0"} if status == 429 else {})

    def destination(self, **changes: object) -> Destination:
        found = parse_endpoint(self.url, Protocol.HTTP)
        assert found is not None
        return Destination(receiver=replace(found, **changes))


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    found = Receiver()
    # as bytes came: aiohttp's server would decompress them
    runner = web.AppRunner(_app(found), auto_decompress=False)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    found.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1/traces"
    yield found
    await runner.cleanup()


def _app(found: Receiver) -> web.Application:
    app = web.Application()
    app.router.add_post("/v1/traces", found.handle)
    return app


async def send(destination: Destination, message: bytes = MESSAGE, signal: Signal = Signal.TRACES) -> None:
    opened = open_transport(destination, signal)
    await opened.send(message)
    await opened.close()


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize(
    ("protocol", "content_type"), [(Protocol.HTTP, "application/x-protobuf"), (Protocol.JSON, "application/json")]
)
async def test_by_http(receiver: Receiver, protocol: Protocol, content_type: str, compressed: bool) -> None:
    await send(receiver.destination(protocol=protocol, compressed=compressed, headers=(("x-key", Secret("s")),)))
    (headers,), (body,) = receiver.headers, receiver.bodies
    assert (headers["content-type"], headers["x-key"]) == (content_type, "s")
    assert headers.get("content-encoding") == ("gzip" if compressed else None)
    plain = gzip.decompress(body) if compressed else body
    assert plain == (MESSAGE if protocol is Protocol.HTTP else as_json(MESSAGE, Signal.TRACES))


@pytest.mark.parametrize("compressed", [False, True])
async def test_by_grpc(compressed: bool) -> None:
    long = encode_spans([replace_text("x" * 200_000)], {}, "headgate")
    with OtlpReceiver() as found:
        counted = Counted(found.grpc_port)
        exporter = parse_endpoint(f"http://127.0.0.1:{counted.port}", Protocol.GRPC)
        assert exporter is not None
        await send(Destination(receiver=replace(exporter, compressed=compressed)), long)
        await asyncio.to_thread(counted.close)
        (span,) = found.received.spans
        assert span["text"] == "x" * 200_000
        assert (counted.sent < 20_000) is compressed


def replace_text(text: str) -> Span:
    return structs.replace(SPAN, attributes={"text": text})


class Counted:
    """Passes one connection on, and counts what the client says."""

    def __init__(self, to: int) -> None:
        self.sent = 0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._far = socket.create_connection(("127.0.0.1", to))
        self._threads = [threading.Thread(target=self._there)]
        self._threads[0].start()

    def _there(self) -> None:
        near, _ = self._listening.accept()
        back = threading.Thread(target=self._copy, args=(self._far, near))
        back.start()
        self.sent = self._copy(near, self._far)
        back.join()
        near.close()

    @staticmethod
    def _copy(source: socket.socket, target: socket.socket) -> int:
        counted = 0
        with suppress(OSError):
            while data := source.recv(65_536):
                counted += len(data)
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        return counted

    def close(self) -> None:
        """After the client has gone."""
        self._threads[0].join(timeout=10)
        self._far.close()
        self._listening.close()


def test_json_is_as_specified() -> None:
    told = json.loads(as_json(MESSAGE, Signal.TRACES))
    (of_resource,) = told["resourceSpans"]
    assert of_resource["resource"]["attributes"] == [{"key": "service.name", "value": {"stringValue": "mine"}}]
    (scope,) = of_resource["scopeSpans"]
    assert scope["scope"] == {"name": "headgate"}
    (span,) = scope["spans"]
    assert (span["traceId"], span["spanId"], span["parentSpanId"]) == (SPAN.trace, SPAN.id, SPAN.parent), "hexadecimal"
    assert (span["kind"], span["status"]) == (3, {"code": 2}), "enums are numbers"
    assert span["startTimeUnixNano"] == str(SPAN.start_ns), "64 bits are text"
    values = {pair["key"]: pair["value"] for pair in span["attributes"]}
    assert values["count"] == {"intValue": str(2**40)}
    assert values["both"] == {"arrayValue": {"values": [{"stringValue": "abcdef"}, {"stringValue": "b"}]}}
    assert [each.attributes["count"] for each in spans_of_json(as_json(MESSAGE, Signal.TRACES))] == [2**40]


def test_log_records_as_json() -> None:
    told = json.loads(as_json(encode_logs([RECORD], {}, "headgate"), Signal.LOGS))
    (record,) = told["resourceLogs"][0]["scopeLogs"][0]["logRecords"]
    assert (record["eventName"], record["traceId"], record["spanId"]) == ("it.happened", SPAN.trace, SPAN.id)


async def test_to_standard_output(capfd: pytest.CaptureFixture[str]) -> None:
    await send(Destination(console=True))
    await send(Destination(console=True), encode_logs([RECORD], {}, "headgate"), Signal.LOGS)
    spans, logs = capfd.readouterr().out.splitlines()
    assert [span.name for span in spans_of_json(spans)] == ["chat m"]
    assert json.loads(logs)["resourceLogs"]


async def test_to_both(receiver: Receiver, capfd: pytest.CaptureFixture[str]) -> None:
    receiver.statuses = [503]
    opened = open_transport(replace(receiver.destination(), console=True), Signal.TRACES)
    with pytest.raises(SendError):
        await opened.send(MESSAGE)
    await opened.send(MESSAGE)
    await opened.close()
    assert len(receiver.bodies) == 2
    assert len(capfd.readouterr().out.splitlines()) == 1, "what is offered again is not written again"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BACKOFF_SECONDS_FIRST", 0.01)


@pytest.mark.usefixtures("impatient")
async def test_offered_again_where_that_may_help(receiver: Receiver) -> None:
    receiver.statuses = [503, 429, 200]
    opened = open_transport(receiver.destination(), Signal.TRACES)
    await send_patiently(opened, MESSAGE, 5.0, asyncio.Event())
    assert receiver.bodies == [MESSAGE] * 3
    receiver.statuses = [400]
    with pytest.raises(SendError, match="400"):
        await send_patiently(opened, MESSAGE, 5.0, asyncio.Event())
    assert len(receiver.bodies) == 4
    await opened.close()


async def test_all_tries_have_one_time(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BACKOFF_SECONDS_FIRST", 0.1)
    receiver.statuses = [503] * 100
    opened = open_transport(receiver.destination(), Signal.TRACES)
    with pytest.raises(SendError, match=r"503|not sent within"):  # the time may end during a try
        await send_patiently(opened, MESSAGE, 1.0, asyncio.Event())
    assert 1 <= len(receiver.bodies) < 10, "ever more rarely"
    await opened.close()


async def test_who_ends_asks_once(receiver: Receiver) -> None:
    receiver.statuses = [503] * 3
    opened, ended = open_transport(receiver.destination(), Signal.TRACES), asyncio.Event()
    ended.set()
    with pytest.raises(SendError):
        await send_patiently(opened, MESSAGE, 30.0, ended)
    assert len(receiver.bodies) == 1
    await opened.close()


def batches(**changes: object) -> Batches:
    return replace(Batches(seconds=0.01), **changes)


async def test_batches_and_queue(receiver: Receiver) -> None:
    sender = Sender[int](
        receiver.destination(), Signal.TRACES, lambda items: repr(items).encode(), batches(items=3, queue_max=5)
    )
    for number in range(7):
        sender.offer(number)
    assert (sender.waiting, sender.dropped) == (5, 2)
    await sender.close()
    assert receiver.bodies == [b"[0, 1, 2]", b"[3, 4]"]
    assert sender.sent == 5


async def test_what_stays_together_counts_as_what_it_is(receiver: Receiver) -> None:
    sender = Sender[int](
        receiver.destination(), Signal.TRACES, lambda items: repr(items).encode(), batches(items=3, queue_max=8)
    )
    for number, count in ((0, 2), (1, 2), (2, 4), (3, 1)):
        sender.offer(number, count=count)
    await sender.close()
    assert receiver.bodies == [b"[0]", b"[1]", b"[2]"]
    assert (sender.sent, sender.dropped) == (8, 1)


async def test_a_receiver_without_a_certificate_that_can_be_read_costs_data_alone() -> None:
    exporter = Exporter(
        protocol=Protocol.HTTP, authority="x", addresses=(), path="/", tls=True, ca_file="/nowhere/ca.pem"
    )
    sender = Sender[int](Destination(receiver=exporter), Signal.TRACES, lambda _: b"", batches())
    sender.offer(1)
    await sender.close()
    assert sender.dropped == 1


def test_limits() -> None:
    told = encode_spans([SPAN], {}, "headgate", Limits(4, 3))
    (span,) = spans_of_json(as_json(told, Signal.TRACES))
    assert span.attributes == {"count": 2**40, "text": "äää", "both": ["abc", "b"], "ratio": 0.5}
    dropped = json.loads(as_json(told, Signal.TRACES))["resourceSpans"][0]["scopeSpans"][0]["spans"][0]
    assert dropped["droppedAttributesCount"] == 1
    logs = json.loads(as_json(encode_logs([RECORD], {}, "headgate", Limits(0, None)), Signal.LOGS))
    record = logs["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0]
    assert (record.get("attributes"), record["droppedAttributesCount"]) == (None, 2)
