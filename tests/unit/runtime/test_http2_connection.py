"""The HTTP/2 connection as a value: bytes in, events and bytes out. The client is written by hand from RFC 9113."""

import pytest
from headgate.runtime.http2 import frames
from headgate.runtime.http2.connection import (
    Cancelled,
    Connection,
    ConnectionFailedError,
    Event,
    HalfClosed,
    Message,
    Opened,
)
from headgate.runtime.http2.frames import ErrorCode, FrameType, GrpcStatus, Setting
from hpack import Decoder, Encoder

HEADERS = [(":method", "POST"), (":path", "/s/M"), ("content-type", "application/grpc"), ("x-facts", "v" * 300)]


class Client:
    """Writes a client's frames and reads a server's."""

    def __init__(self) -> None:
        self._encoder = Encoder()
        self._decoder = Decoder()

    def preface(self, settings: dict[Setting, int] | None = None) -> bytes:
        return frames.PREFACE + frames.settings(settings or {})

    def headers(self, stream_id: int, *, end: bool = False, flags: int = frames.END_HEADERS) -> bytes:
        block = self._encoder.encode(HEADERS)
        return frames.frame(FrameType.HEADERS, flags | (frames.END_STREAM if end else 0), stream_id, block)

    def message(self, stream_id: int, data: bytes, *, end: bool = False) -> bytes:
        payload = frames.MESSAGE_PREFIX.pack(0, len(data)) + data
        pieces = [payload[start : start + 16_384] for start in range(0, len(payload), 16_384)]
        return b"".join(
            frames.frame(FrameType.DATA, frames.END_STREAM if end and piece is pieces[-1] else 0, stream_id, piece)
            for piece in pieces
        )

    def read(self, data: bytes) -> list[tuple[FrameType, int, int, bytes]]:
        """Kind, flags, stream, payload of each frame."""
        found: list[tuple[FrameType, int, int, bytes]] = []
        while data:
            length = int.from_bytes(data[:3], "big")
            payload = data[9 : 9 + length]
            assert len(payload) == length
            found.append((FrameType(data[3]), data[4], int.from_bytes(data[5:9], "big"), payload))
            data = data[9 + length :]
        return found

    def decode(self, block: bytes) -> dict[str, str]:
        return {str(name): str(value) for name, value in self._decoder.decode(block)}


def opened(client: Client, settings: dict[Setting, int] | None = None) -> Connection:
    """A connection past its preface, its first output taken."""
    connection = Connection(message_bytes_max=1_000_000)
    assert connection.receive(client.preface(settings)) == []
    connection.take_output()
    return connection


def conversation() -> bytes:
    client = Client()
    return (
        client.preface({Setting.INITIAL_WINDOW_SIZE: 1_000_000})
        + client.headers(1)
        + client.message(1, b"one")
        + client.headers(3)
        + client.message(3, b"x" * 40_000)
        + client.message(1, b"", end=True)
        + frames.frame(FrameType.PING, 0, 0, b"12345678")
        + frames.reset(3, ErrorCode.CANCEL)
    )


EXPECTED = [
    "Opened 1",
    "Message 1 3",
    "Opened 3",
    "Message 3 40000",
    "Message 1 0",
    "HalfClosed 1",
    "Cancelled 3",
]


def described(events: list[Event]) -> list[str]:
    return [
        f"{type(event).__name__} {event.stream_id}" + (f" {len(event.data)}" if isinstance(event, Message) else "")
        for event in events
    ]


def test_a_conversation_becomes_events() -> None:
    events = list(Connection(message_bytes_max=1_000_000).receive(conversation()))
    assert described(events) == EXPECTED
    assert isinstance(events[0], Opened)
    assert events[0].headers == dict(HEADERS)


@pytest.mark.parametrize("step", [1, 2, 7, 9, 100, 5000])
def test_any_split_gives_the_same_events(step: int) -> None:
    connection, data = Connection(message_bytes_max=1_000_000), conversation()
    events: list[Event] = []
    for start in range(0, len(data), step):
        events += connection.receive(data[start : start + step])
    assert described(events) == EXPECTED


def test_replies_share_one_write_and_end_with_trailers() -> None:
    client = Client()
    connection = opened(client)
    connection.receive(client.headers(1) + client.message(1, b"ask", end=True))
    connection.send_message(1, b"a")
    connection.send_message(1, b"bb")
    connection.send_end(1)
    sent = client.read(connection.take_output())
    assert [kind for kind, *_ in sent] == [FrameType.HEADERS, FrameType.DATA, FrameType.DATA, FrameType.HEADERS]
    assert client.decode(sent[0][3]) == {":status": "200", "content-type": "application/grpc"}
    assert sent[1][3] == b"\0\0\0\0\1a"
    assert sent[3][1] == frames.END_HEADERS | frames.END_STREAM
    assert client.decode(sent[3][3]) == {"grpc-status": "0"}
    assert connection.streams_open == 0


@pytest.mark.parametrize("size", [0, 1, 300, 16_379])
def test_an_answer_is_what_a_message_and_an_end_are(size: int) -> None:
    def sent(*, at_once: bool) -> list[tuple[FrameType, int, int, bytes]]:
        client = Client()
        connection = opened(client)
        connection.receive(client.headers(1) + client.message(1, b"ask", end=True))
        if at_once:
            connection.send_answer(1, b"a" * size)
        else:
            connection.send_message(1, b"a" * size)
            connection.send_end(1)
        assert connection.streams_open == 0
        return client.read(connection.take_output())

    assert sent(at_once=True) == sent(at_once=False)


def test_an_answer_larger_than_a_frame_or_a_window_waits_as_messages_do() -> None:
    client = Client()
    connection = opened(client, {Setting.INITIAL_WINDOW_SIZE: 30_000})
    connection.receive(client.headers(1) + client.message(1, b"ask", end=True))
    connection.send_answer(1, b"a" * 40_000)
    assert connection.streams_open == 1
    sent = client.read(connection.take_output())
    assert [len(payload) for kind, _, _, payload in sent if kind is FrameType.DATA] == [16_384, 30_000 - 16_384]
    connection.receive(frames.window_update(1, 100_000))
    sent = client.read(connection.take_output())
    assert client.decode(sent[-1][3]) == {"grpc-status": "0"}
    assert connection.streams_open == 0


def test_answers_use_up_the_connections_window() -> None:
    client = Client()
    connection = opened(client)
    for stream_id in (1, 3, 5, 7, 9):
        connection.receive(client.headers(stream_id) + client.message(stream_id, b"ask", end=True))
        connection.send_answer(stream_id, b"a" * 15_000)
    sent = client.read(connection.take_output())
    assert sum(len(payload) for kind, _, _, payload in sent if kind is FrameType.DATA) == frames.WINDOW_DEFAULT
    connection.receive(frames.window_update(0, 100_000))
    sent = client.read(connection.take_output())
    assert sum(len(payload) for kind, _, _, payload in sent if kind is FrameType.DATA) == 5 * 15_005 - 65_535
    assert connection.streams_open == 0


def test_an_early_or_second_answer() -> None:
    client = Client()
    connection = opened(client)
    connection.receive(client.headers(1) + client.message(1, b"ask"))
    connection.send_answer(1, b"early")
    connection.send_answer(1, b"again")
    kinds = [kind for kind, *_ in client.read(connection.take_output())]
    assert kinds == [FrameType.HEADERS, FrameType.DATA, FrameType.HEADERS, FrameType.RST_STREAM]


def test_an_error_names_its_status_and_percent_encodes_its_message() -> None:
    client = Client()
    connection = opened(client)
    connection.receive(client.headers(1, end=True))
    connection.send_end(1, GrpcStatus.INVALID_ARGUMENT, "bad\nthing: 100%")
    sent = client.read(connection.take_output())
    assert client.decode(sent[-1][3]) == {"grpc-status": "3", "grpc-message": "bad%0Athing: 100%25"}


def test_equal_header_blocks_are_decoded_again_only_when_the_table_changed() -> None:
    client = Client()
    connection = opened(client)
    connection.receive(client.headers(1))
    (second,) = connection.receive(client.headers(3))
    (third,) = connection.receive(client.headers(5))
    assert isinstance(second, Opened)
    assert isinstance(third, Opened)
    assert third.headers is second.headers
    other = Encoder.encode(client._encoder, [("x-new", "1")])  # pyright: ignore[reportPrivateUsage]
    connection.receive(frames.frame(FrameType.HEADERS, frames.END_HEADERS, 7, other))
    (again,) = connection.receive(client.headers(9))
    assert isinstance(again, Opened)
    assert again.headers == second.headers


def test_a_header_block_may_come_in_continuations() -> None:
    client = Client()
    connection = opened(client)
    block = Encoder().encode(HEADERS)
    data = frames.frame(FrameType.HEADERS, 0, 1, block[:10])
    data += frames.frame(FrameType.CONTINUATION, 0, 1, block[10:20])
    data += frames.frame(FrameType.CONTINUATION, frames.END_HEADERS, 1, block[20:])
    (event,) = connection.receive(data)
    assert isinstance(event, Opened)
    assert event.headers == dict(HEADERS)


def test_padding_and_priority_are_skipped() -> None:
    client = Client()
    connection = opened(client)
    block = Encoder().encode(HEADERS)
    flags = frames.END_HEADERS | frames.PADDED | frames.PRIORITY
    data = frames.frame(FrameType.HEADERS, flags, 1, b"\x04" + b"\0\0\0\0\x10" + block + b"\0" * 4)
    payload = b"\x03" + frames.MESSAGE_PREFIX.pack(0, 2) + b"hi" + b"\0\0\0"
    data += frames.frame(FrameType.DATA, frames.PADDED, 1, payload)
    assert described(list(connection.receive(data))) == ["Opened 1", "Message 1 2"]


def test_large_answers_wait_for_the_peers_windows() -> None:
    client = Client()
    connection = opened(client, {Setting.INITIAL_WINDOW_SIZE: 100_000})
    connection.receive(client.headers(1))
    connection.send_message(1, b"z" * 200_000)
    connection.send_end(1)
    sent = client.read(connection.take_output())
    assert sum(len(payload) for kind, _, _, payload in sent if kind is FrameType.DATA) == 65_535  # the connection's
    assert all(len(payload) <= 16_384 for *_, payload in sent)
    connection.receive(frames.window_update(0, 1_000_000))
    sent = client.read(connection.take_output())
    assert sum(len(payload) for kind, _, _, payload in sent if kind is FrameType.DATA) == 100_000 - 65_535
    connection.receive(frames.window_update(1, 1_000_000))
    sent = client.read(connection.take_output())
    assert sum(len(payload) for kind, _, _, payload in sent if kind is FrameType.DATA) == 200_005 - 100_000
    assert sent[-1][0] is FrameType.RST_STREAM or client.decode(sent[-1][3]) == {"grpc-status": "0"}


def test_new_settings_move_the_windows_of_open_streams() -> None:
    client = Client()
    connection = opened(client, {Setting.INITIAL_WINDOW_SIZE: 10})
    connection.receive(client.headers(1))
    connection.send_message(1, b"z" * 100)
    assert sum(len(p) for k, _, _, p in client.read(connection.take_output()) if k is FrameType.DATA) == 10
    connection.receive(frames.settings({Setting.INITIAL_WINDOW_SIZE: 1000}))
    assert sum(len(p) for k, _, _, p in client.read(connection.take_output()) if k is FrameType.DATA) == 95


def test_an_early_answer_ends_the_stream_for_the_peer_too() -> None:
    client = Client()
    connection = opened(client)
    connection.receive(client.headers(1))
    connection.send_end(1, GrpcStatus.UNIMPLEMENTED, "no")
    kinds = [kind for kind, *_ in client.read(connection.take_output())]
    assert kinds == [FrameType.HEADERS, FrameType.HEADERS, FrameType.RST_STREAM]
    assert connection.receive(client.message(1, b"late", end=True)) == []


def test_a_message_above_the_maximum_is_refused_before_it_is_gathered() -> None:
    client = Client()
    connection = opened(client)
    connection.receive(client.headers(1))
    prefix = frames.MESSAGE_PREFIX.pack(0, 1_000_001)
    events = connection.receive(frames.frame(FrameType.DATA, 0, 1, prefix + b"x"))
    assert described(list(events)) == ["Cancelled 1"]
    sent = client.read(connection.take_output())
    assert client.decode(sent[0][3])[":status"] == "200"
    assert client.decode(sent[1][3])["grpc-status"] == str(int(GrpcStatus.RESOURCE_EXHAUSTED))


def test_compressed_messages_are_refused() -> None:
    client = Client()
    connection = opened(client)
    connection.receive(client.headers(1))
    events = connection.receive(frames.frame(FrameType.DATA, 0, 1, frames.MESSAGE_PREFIX.pack(1, 1) + b"x"))
    assert events == [Cancelled(1)]


def test_pings_are_answered_and_acknowledgements_are_not() -> None:
    client = Client()
    connection = opened(client)
    connection.receive(
        frames.frame(FrameType.PING, 0, 0, b"abcdefgh") + frames.frame(FrameType.PING, 1, 0, b"abcdefgh")
    )
    assert client.read(connection.take_output()) == [(FrameType.PING, frames.ACK, 0, b"abcdefgh")]


def test_draining_refuses_new_streams_and_finishes_old_ones() -> None:
    client = Client()
    connection = opened(client)
    connection.receive(client.headers(1))
    connection.drain()
    connection.drain()
    assert connection.receive(client.headers(3)) == []
    assert list(connection.receive(client.message(1, b"x", end=True))) == [
        Message(1, b"x"),
        HalfClosed(1),
    ]
    connection.send_message(1, b"y")
    connection.send_end(1)
    sent = client.read(connection.take_output())
    assert [kind for kind, *_ in sent] == [
        FrameType.GOAWAY,
        FrameType.RST_STREAM,
        FrameType.HEADERS,
        FrameType.DATA,
        FrameType.HEADERS,
    ]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", ErrorCode.PROTOCOL_ERROR),
        (frames.PREFACE + frames.frame_header(FrameType.DATA, 0, 1, 20_000), ErrorCode.FRAME_SIZE_ERROR),
        (frames.PREFACE + frames.frame(FrameType.DATA, 0, 1, b"x"), ErrorCode.PROTOCOL_ERROR),
        (frames.PREFACE + frames.frame(FrameType.HEADERS, frames.END_HEADERS, 2, b"\x83"), ErrorCode.PROTOCOL_ERROR),
        (
            frames.PREFACE + frames.frame(FrameType.HEADERS, frames.END_HEADERS, 1, b"\xff\xff\xff"),
            ErrorCode.COMPRESSION_ERROR,
        ),
        (frames.PREFACE + frames.frame(FrameType.CONTINUATION, 0, 1, b""), ErrorCode.PROTOCOL_ERROR),
        (frames.PREFACE + frames.frame(FrameType.SETTINGS, 0, 0, b"12345"), ErrorCode.FRAME_SIZE_ERROR),
        (frames.PREFACE + frames.frame(FrameType.PUSH_PROMISE, 0, 1, b""), ErrorCode.PROTOCOL_ERROR),
        (frames.PREFACE + frames.window_update(0, 0), ErrorCode.PROTOCOL_ERROR),
        (frames.PREFACE + frames.window_update(0, frames.WINDOW_MAX), ErrorCode.FLOW_CONTROL_ERROR),
    ],
)
def test_a_broken_protocol_ends_the_connection_with_its_code(data: bytes, code: ErrorCode) -> None:
    connection = Connection(message_bytes_max=1000)
    connection.take_output()
    with pytest.raises(ConnectionFailedError) as failure:
        connection.receive(data)
    assert failure.value.code is code
    (*_, (kind, _, _, payload)) = Client().read(connection.take_output())
    assert kind is FrameType.GOAWAY
    assert int.from_bytes(payload[4:8], "big") == code


def test_everything_for_a_stream_that_is_over_is_ignored() -> None:
    client = Client()
    connection = opened(client)
    connection.receive(client.headers(1) + client.message(1, b"x") + frames.reset(1, ErrorCode.CANCEL))
    connection.send_message(1, b"late")
    connection.send_end(1)
    assert connection.take_output() == b""
    late = client.message(1, b"x") + frames.window_update(1, 5) + frames.reset(1, ErrorCode.CANCEL)
    assert connection.receive(late) == []


def test_large_header_blocks_are_not_remembered() -> None:
    """A client's path travels in them: a thousand of 60 KB would stay for the life of the connection."""
    client = Client()
    connection = opened(client)
    for number in range(50):
        # literal without indexing: the table stays as it is
        value = f"{number:06}" * 5000
        block = b"\x83\x00\x01x\x7f" + _varint(len(value) - 127) + value.encode()
        first, rest = block[:16_000], block[16_000:]
        data = frames.frame(FrameType.HEADERS, 0, number * 2 + 1, first)
        data += frames.frame(FrameType.CONTINUATION, frames.END_HEADERS, number * 2 + 1, rest)
        (event,) = connection.receive(data)
        assert isinstance(event, Opened)
        assert event.headers["x"] == value
    assert connection.remembered_bytes < 10_000


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number >= 128:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*encoded, number))
