"""The server side of one HTTP/2 connection that carries gRPC, without I/O.

`receive` takes bytes as they came and returns what happened; the `send_*` methods queue bytes; `take_output` hands over
what is queued, to be written at once. Messages go in and come out without gRPC's five-byte prefix.

Rules:
- Peer errors that concern a connection raise `ConnectionFailedError` after queueing GOAWAY; those of a stream reset it.
- Nothing is sent on a stream that has ended; frames for such a stream are ignored.
- Trailers wait until every queued message has passed flow control.
- We grant the largest windows there are: what arrives is consumed at once, and `message_bytes_max` bounds what is
  gathered.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
from headgate.runtime.http2 import frames
from headgate.runtime.http2.frames import ErrorCode, FrameType, GrpcStatus, Setting
from headgate.runtime.http2.header_blocks import HeaderBlockError, HeaderDecoder

HEADER_LIST_BYTES_MAX: Final = 256 * 1024
"""Facts of a backend travel in headers."""
HEADER_BLOCK_BYTES_MAX: Final = 256 * 1024
HEADER_TABLE_BYTES: Final = 64 * 1024
"""Granted to the peer's encoder, so that facts are sent once and named by index afterwards."""
STREAMS_MAX: Final = 65_536
MEMO_MAX: Final = 1024
"""Decoded header blocks remembered between changes of the dynamic table."""
MEMO_BLOCK_BYTES_MAX: Final = 4096
"""Of a block to remember: clients' paths travel in headers, and may be 60 KB each."""

# As plain names of this module: frames are many, and looking into a module or an enum is not free. DATA is 0.
_HEADERS: Final = int(FrameType.HEADERS)
_HEADER_BYTES: Final = frames.FRAME_HEADER_BYTES
_PREFIX_BYTES: Final = frames.MESSAGE_PREFIX.size
_STREAM_ID_MAX: Final = frames.STREAM_ID_MAX
_TOO_LARGE: Final = (frames.FRAME_BYTES_MAX + 1) << 8
"""The least that a header begins with of a frame that is longer than we take."""
_unpack_header: Final = frames.HEADER.unpack_from
_unpack_prefix: Final = frames.MESSAGE_PREFIX.unpack_from
_pack_message_header: Final = frames.MESSAGE_HEADER.pack

_REPLENISH_AT: Final = 2**29
"""Consumed bytes after which a window is filled up again."""


class Opened(msgspec.Struct, frozen=True, gc=False):
    """A call began. Header names are lower case; the last of several equal ones wins."""

    stream_id: int
    headers: Mapping[str, str]


class Message(msgspec.Struct, frozen=True, gc=False):
    stream_id: int
    data: bytes


class HalfClosed(msgspec.Struct, frozen=True, gc=False):
    """The peer will send no more on this stream."""

    stream_id: int


class Cancelled(msgspec.Struct, frozen=True, gc=False):
    """The peer reset the stream, or broke it: it is gone."""

    stream_id: int


Event = Opened | Message | HalfClosed | Cancelled


class ConnectionFailedError(Exception):
    """The peer broke the protocol: write what is queued, then close."""

    def __init__(self, code: ErrorCode, reason: str) -> None:
        super().__init__(f"{code.name}: {reason}")
        self.code = code


class _Stream(msgspec.Struct, gc=False):
    send_window: int
    consumed: int = 0
    gathered: list[bytes] | None = None
    """Pieces of the message that is being gathered; None while there is none."""
    gathered_bytes: int = 0
    needed: int = -1
    """Length of the message being gathered, prefix included; -1 while the prefix is incomplete."""
    headers_sent: bool = False
    half_closed: bool = False
    pending: deque[bytes] | None = None
    """Prefixed messages that wait for a window; None while there are none."""
    trailers: bytes | None = None
    """Wait for `pending`."""


class Connection:
    """One peer."""

    def __init__(self, *, message_bytes_max: int) -> None:
        self._message_bytes_max = message_bytes_max
        self._output: list[bytes] = [
            frames.settings(
                {
                    Setting.HEADER_TABLE_SIZE: HEADER_TABLE_BYTES,
                    Setting.MAX_CONCURRENT_STREAMS: STREAMS_MAX,
                    Setting.INITIAL_WINDOW_SIZE: frames.WINDOW_MAX,
                    Setting.MAX_HEADER_LIST_SIZE: HEADER_LIST_BYTES_MAX,
                }
            ),
            frames.window_update(0, frames.WINDOW_MAX - frames.WINDOW_DEFAULT),
        ]
        self._input = b""
        self._preface_left = len(frames.PREFACE)
        self._streams: dict[int, _Stream] = {}
        self._last_stream_id = 0
        self._draining = False
        self._consumed = 0
        self._send_window = frames.WINDOW_DEFAULT
        self._initial_send_window = frames.WINDOW_DEFAULT
        self._frame_bytes_max = frames.FRAME_BYTES_MAX
        self._blocked: dict[int, None] = {}
        """Streams with something pending, oldest first."""
        self._decoder = HeaderDecoder(table_bytes_max=HEADER_TABLE_BYTES, list_bytes_max=HEADER_LIST_BYTES_MAX)
        self._memo: dict[bytes, Mapping[str, str]] = {}
        """Blocks that left the table as it was: equal bytes mean equal headers until it changes. A client that opens
        stream after stream sends such blocks."""
        self._block: bytearray | None = None
        self._block_stream = 0
        self._block_ends_stream = False

    @property
    def streams_open(self) -> int:
        return len(self._streams)

    @property
    def remembered_bytes(self) -> int:
        """Of header blocks kept for when they come again."""
        return sum(map(len, self._memo))

    def take_output(self) -> bytes:
        """Everything queued so far."""
        output = self._output
        if not output:
            return b""
        data = output[0] if len(output) == 1 else b"".join(output)
        output.clear()
        return data

    # Receiving

    def receive(self, data: bytes) -> Sequence[Event]:
        """What these bytes brought. ConnectionFailedError if they break the protocol; the events before it are lost."""
        if self._preface_left:
            data = self._skip_preface(data)
        if self._input:
            data = self._input + data
        events: list[Event] = []
        position, size, consumed = 0, len(data), 0
        last = size - _HEADER_BYTES
        while position <= last:
            sized, flags, stream_id = _unpack_header(data, position)
            if sized >= _TOO_LARGE:
                raise self._failure(ErrorCode.FRAME_SIZE_ERROR, f"a frame of {sized >> 8} bytes")
            start = position + _HEADER_BYTES
            position = start + (sized >> 8)
            if position > size:
                position = start - _HEADER_BYTES
                break
            kind = sized & 0xFF
            stream_id &= _STREAM_ID_MAX
            if self._block is not None or kind > _HEADERS:
                self._on_frame(kind, flags, stream_id, data[start:position], events)
            elif kind == _HEADERS:
                self._on_headers(flags, stream_id, data[start:position], events)
            else:
                consumed += position - start
                self._on_data(flags, stream_id, data, start, position, events)
        self._consumed += consumed
        if self._consumed >= _REPLENISH_AT:
            self._output.append(frames.window_update(0, self._consumed))
            self._consumed = 0
        self._input = data[position:] if position < size else b""
        return events

    def _skip_preface(self, data: bytes) -> bytes:
        left = self._preface_left
        expected = frames.PREFACE[len(frames.PREFACE) - left :]
        if data[:left] != expected[: len(data)]:
            raise self._failure(ErrorCode.PROTOCOL_ERROR, "not an HTTP/2 client")
        self._preface_left = max(0, left - len(data))
        return data[left:]

    def _on_frame(self, kind: int, flags: int, stream_id: int, payload: bytes, events: list[Event]) -> None:
        """All but DATA and HEADERS, which come most often; those only where they may not come."""
        if self._block is not None and kind != FrameType.CONTINUATION:
            raise self._failure(ErrorCode.PROTOCOL_ERROR, "a header block was interrupted")
        match kind:
            case FrameType.RST_STREAM:  # first: Envoy ends every stream with one
                if len(payload) != 4:
                    raise self._failure(ErrorCode.FRAME_SIZE_ERROR, "RST_STREAM")
                self._forget(stream_id, events)
            case FrameType.CONTINUATION:
                self._on_continuation(flags, stream_id, payload, events)
            case FrameType.WINDOW_UPDATE:
                self._on_window_update(stream_id, payload, events)
            case FrameType.SETTINGS:
                self._on_settings(flags, stream_id, payload)
            case FrameType.PING:
                self._require(len(payload) == 8, ErrorCode.FRAME_SIZE_ERROR, "PING")
                if not flags & frames.ACK:
                    self._output.append(frames.ping_ack(payload))
            case FrameType.PUSH_PROMISE:
                raise self._failure(ErrorCode.PROTOCOL_ERROR, "a client pushed")
            case _:
                pass  # PRIORITY, GOAWAY (the peer closes when its streams are done) and unknown kinds ask nothing of us

    def _on_data(self, flags: int, stream_id: int, data: bytes, start: int, end: int, events: list[Event]) -> None:
        """A frame whose payload is `data[start:end]`."""
        size = end - start
        stream = self._streams.get(stream_id)
        if stream is None:
            self._require(0 < stream_id <= self._last_stream_id, ErrorCode.PROTOCOL_ERROR, "DATA on an idle stream")
            return
        if stream.half_closed:
            self._break(stream_id, ErrorCode.STREAM_CLOSED, events)
            return
        stream.consumed += size
        if stream.consumed >= _REPLENISH_AT:
            self._output.append(frames.window_update(stream_id, stream.consumed))
            stream.consumed = 0
        if not flags and size >= _PREFIX_BYTES and stream.gathered is None:
            compressed, length = _unpack_prefix(data, start)
            if length == size - _PREFIX_BYTES and not compressed and length <= self._message_bytes_max:
                events.append(Message(stream_id, data[start + _PREFIX_BYTES : end]))  # as nearly all frames
                return
        payload = data[start:end]
        if flags & frames.PADDED:
            payload = self._unpad(payload)
        if size and not self._gather(stream_id, stream, payload, events):
            return
        if flags & frames.END_STREAM:
            stream.half_closed = True
            events.append(HalfClosed(stream_id))

    def _gather(self, stream_id: int, stream: _Stream, payload: bytes, events: list[Event]) -> bool:
        """Cuts messages out of a stream's bytes; false if the stream had to be ended."""
        if stream.gathered is not None:
            stream.gathered.append(payload)
            stream.gathered_bytes += len(payload)
            if stream.needed >= 0 and stream.gathered_bytes < stream.needed:
                return True
            payload = b"".join(stream.gathered)
            stream.gathered = None
            stream.needed = -1
        position, size = 0, len(payload)
        while size - position >= _PREFIX_BYTES:
            compressed, length = _unpack_prefix(payload, position)
            if compressed:
                return self._refuse(stream_id, GrpcStatus.UNIMPLEMENTED, "messages must not be compressed", events)
            if length > self._message_bytes_max:
                return self._refuse(stream_id, GrpcStatus.RESOURCE_EXHAUSTED, "the message is too large", events)
            start = position + _PREFIX_BYTES
            end = start + length
            if end > size:
                stream.needed = end - position
                break
            events.append(Message(stream_id, payload[start:end]))
            position = end
        if position < size:
            rest = payload[position:] if position else payload
            stream.gathered = [rest]
            stream.gathered_bytes = len(rest)
        return True

    def _refuse(self, stream_id: int, status: GrpcStatus, message: str, events: list[Event]) -> bool:
        self.send_end(stream_id, status, message)
        if stream_id in self._streams:
            self._break(stream_id, ErrorCode.CANCEL, events)
        else:
            events.append(Cancelled(stream_id))
        return False

    def _on_headers(self, flags: int, stream_id: int, payload: bytes, events: list[Event]) -> None:
        if stream_id % 2 == 0:
            raise self._failure(ErrorCode.PROTOCOL_ERROR, "HEADERS on a stream that is not the client's")
        if flags & frames.PADDED:
            payload = self._unpad(payload)
        if flags & frames.PRIORITY:
            payload = payload[5:]
        ends_stream = bool(flags & frames.END_STREAM)
        if flags & frames.END_HEADERS:
            self._on_block(stream_id, payload, ends_stream, events)
            return
        self._block = bytearray(payload)
        self._block_stream = stream_id
        self._block_ends_stream = ends_stream

    def _on_continuation(self, flags: int, stream_id: int, payload: bytes, events: list[Event]) -> None:
        block = self._block
        if block is None or stream_id != self._block_stream:
            raise self._failure(ErrorCode.PROTOCOL_ERROR, "CONTINUATION of nothing")
        block += payload
        self._require(len(block) <= HEADER_BLOCK_BYTES_MAX, ErrorCode.ENHANCE_YOUR_CALM, "a header block too large")
        if flags & frames.END_HEADERS:
            self._block = None
            self._on_block(stream_id, bytes(block), self._block_ends_stream, events)

    def _on_block(self, stream_id: int, block: bytes, ends_stream: bool, events: list[Event]) -> None:
        headers = self._decode_block(block)
        stream = self._streams.get(stream_id)
        if stream is None:
            if stream_id <= self._last_stream_id:
                return  # trailers of a stream that is over
            self._last_stream_id = stream_id
            if self._draining or len(self._streams) >= STREAMS_MAX:
                self._output.append(frames.reset(stream_id, ErrorCode.REFUSED_STREAM))
                return
            stream = self._streams[stream_id] = _Stream(self._initial_send_window)
            events.append(Opened(stream_id, headers))
        elif not ends_stream or stream.half_closed:
            self._break(stream_id, ErrorCode.PROTOCOL_ERROR, events)
            return
        if ends_stream:
            stream.half_closed = True
            events.append(HalfClosed(stream_id))

    def _decode_block(self, block: bytes) -> Mapping[str, str]:
        known = self._memo.get(block)
        if known is not None:
            return known
        changes = self._decoder.changes
        try:
            headers = self._decoder.decode(block)
        except HeaderBlockError as error:
            raise self._failure(ErrorCode.COMPRESSION_ERROR, str(error)) from error
        if self._decoder.changes != changes or len(self._memo) >= MEMO_MAX:
            self._memo.clear()
        elif len(block) <= MEMO_BLOCK_BYTES_MAX:
            self._memo[block] = headers
        return headers

    def _on_settings(self, flags: int, stream_id: int, payload: bytes) -> None:
        self._require(stream_id == 0, ErrorCode.PROTOCOL_ERROR, "SETTINGS on a stream")
        if flags & frames.ACK:
            return
        self._require(len(payload) % 6 == 0, ErrorCode.FRAME_SIZE_ERROR, "SETTINGS")
        for name, value in frames.parse_settings(payload):
            match name:
                case Setting.INITIAL_WINDOW_SIZE:
                    self._require(value <= frames.WINDOW_MAX, ErrorCode.FLOW_CONTROL_ERROR, "a window too large")
                    change = value - self._initial_send_window
                    self._initial_send_window = value
                    for stream in self._streams.values():
                        stream.send_window += change
                case Setting.MAX_FRAME_SIZE:
                    self._require(16_384 <= value < 2**24, ErrorCode.PROTOCOL_ERROR, "a frame size out of range")
                    self._frame_bytes_max = min(value, 2**20)
                case _:
                    pass  # our encoder has no table, and we start no streams
        self._output.append(frames.SETTINGS_ACK)
        self._flush_blocked()

    def _on_window_update(self, stream_id: int, payload: bytes, events: list[Event]) -> None:
        self._require(len(payload) == 4, ErrorCode.FRAME_SIZE_ERROR, "WINDOW_UPDATE")
        increment = int.from_bytes(payload, "big") & frames.WINDOW_MAX
        if stream_id == 0:
            self._require(increment > 0, ErrorCode.PROTOCOL_ERROR, "a window update of nothing")
            self._send_window += increment
            self._require(self._send_window <= frames.WINDOW_MAX, ErrorCode.FLOW_CONTROL_ERROR, "a window overflow")
            self._flush_blocked()
            return
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        stream.send_window += increment
        if increment == 0 or stream.send_window > frames.WINDOW_MAX:
            self._break(stream_id, ErrorCode.FLOW_CONTROL_ERROR, events)
        elif stream_id in self._blocked:
            self._flush(stream_id, stream)

    # Sending

    def send_message(self, stream_id: int, data: bytes) -> None:
        """Queues one message; ignored on a stream that is over."""
        stream = self._streams.get(stream_id)
        if stream is None or stream.trailers is not None:
            return
        if not stream.headers_sent:
            self._send_response_headers(stream_id, stream)
        size = len(data) + _PREFIX_BYTES
        fits = size <= stream.send_window and size <= self._send_window and size <= self._frame_bytes_max
        if fits and stream.pending is None:
            stream.send_window -= size
            self._send_window -= size
            self._output += (_pack_message_header(size << 8, 0, stream_id, 0, size - _PREFIX_BYTES), data)
            return
        if stream.pending is None:
            stream.pending = deque()
        stream.pending.append(frames.MESSAGE_PREFIX.pack(0, len(data)) + data)
        self._flush(stream_id, stream)

    def send_end(self, stream_id: int, status: GrpcStatus = GrpcStatus.OK, message: str = "") -> None:
        """Ends a call after what is queued; ignored on a stream that is over."""
        stream = self._streams.get(stream_id)
        if stream is None or stream.trailers is not None:
            return
        if not stream.headers_sent:
            self._send_response_headers(stream_id, stream)
        ok = status is GrpcStatus.OK and not message
        stream.trailers = frames.OK_TRAILERS if ok else frames.trailers(status, message)
        if stream.pending is None:
            self._send_trailers(stream_id, stream)

    def send_answer(self, stream_id: int, data: bytes) -> None:
        """Queues a call's only message and its successful end; ignored on a stream that is over."""
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        size = len(data) + frames.MESSAGE_PREFIX.size
        fresh = stream.half_closed and not stream.headers_sent
        if not fresh or size > stream.send_window or size > self._send_window or size > self._frame_bytes_max:
            self.send_message(stream_id, data)
            self.send_end(stream_id)
            return
        self._send_window -= size
        del self._streams[stream_id]
        self._output.append(frames.answer(stream_id, data))

    def drain(self) -> None:
        """Announces that no further stream will be accepted."""
        if not self._draining:
            self._draining = True
            self._output.append(frames.goaway(self._last_stream_id, ErrorCode.NO_ERROR))

    def _send_response_headers(self, stream_id: int, stream: _Stream) -> None:
        stream.headers_sent = True
        self._output.append(frames.response_headers(stream_id))

    def _send_trailers(self, stream_id: int, stream: _Stream) -> None:
        assert stream.trailers is not None
        if stream.trailers is frames.OK_TRAILERS:
            self._output.append(frames.ok_trailers(stream_id))
        else:
            flags = frames.END_HEADERS | frames.END_STREAM
            self._output.append(frames.frame(FrameType.HEADERS, flags, stream_id, stream.trailers))
        if not stream.half_closed:
            # The call is answered whatever else the peer meant to send (RFC 9113 8.1).
            self._output.append(frames.reset(stream_id, ErrorCode.NO_ERROR))
        del self._streams[stream_id]

    def _flush_blocked(self) -> None:
        for stream_id in tuple(self._blocked):
            if self._send_window <= 0:
                return
            self._flush(stream_id, self._streams[stream_id])

    def _flush(self, stream_id: int, stream: _Stream) -> None:
        """Sends what the windows allow; what is left waits."""
        pending = stream.pending
        while pending:
            room = min(self._send_window, stream.send_window)
            if room <= 0:
                self._blocked[stream_id] = None
                return
            data = pending.popleft()
            room = min(room, len(data))
            for start in range(0, room, self._frame_bytes_max):
                piece = data[start : min(start + self._frame_bytes_max, room)]
                self._output += (frames.frame_header(FrameType.DATA, 0, stream_id, len(piece)), piece)
            self._send_window -= room
            stream.send_window -= room
            if room < len(data):
                pending.appendleft(data[room:])
        stream.pending = None
        self._blocked.pop(stream_id, None)
        if stream.trailers is not None:
            self._send_trailers(stream_id, stream)

    # Endings

    def _forget(self, stream_id: int, events: list[Event]) -> None:
        if self._streams.pop(stream_id, None) is not None:
            self._blocked.pop(stream_id, None)
            events.append(Cancelled(stream_id))

    def _break(self, stream_id: int, code: ErrorCode, events: list[Event]) -> None:
        self._output.append(frames.reset(stream_id, code))
        self._forget(stream_id, events)

    def _unpad(self, payload: bytes) -> bytes:
        self._require(bool(payload) and payload[0] < len(payload), ErrorCode.PROTOCOL_ERROR, "bad padding")
        return payload[1 : len(payload) - payload[0]]

    def _require(self, holds: bool, code: ErrorCode, reason: str) -> None:
        if not holds:
            raise self._failure(code, reason)

    def _failure(self, code: ErrorCode, reason: str) -> ConnectionFailedError:
        self._output.append(frames.goaway(self._last_stream_id, code))
        return ConnectionFailedError(code, reason)
