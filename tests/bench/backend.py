"""The provider of the benchmarks: `python -m bench.backend`. Answers at once from prepared bytes, in its own process.

Speaks just enough HTTP/1.1 for Envoy: keep-alive, content-length bodies and chunked ones. `/v1/chat/completions` and
`/v1/completions` are answered as OpenAI does, `/v1/messages` as Anthropic does. A request with `"stream":true` gets
64 text events, one every `max_tokens` tenths of a millisecond (a member that every gateway passes on); each text is
`t<send time in monotonic nanoseconds>z`, so that whoever receives it on this machine knows how long it was under way.
"""

import argparse
import asyncio
import itertools
import json
import re
import time
from collections.abc import Iterator
from typing import Final, cast

import uvloop

REQUEST_BYTES_MAX: Final = 64 << 20
CHUNKS: Final = 64
MAX_TOKENS: Final = re.compile(rb'"max_tokens": ?(\d+)')
USAGE: Final = {"prompt_tokens": 24, "completion_tokens": 8, "total_tokens": 32}
TEXT: Final = "The quick brown fox jumps over the lazy dog and says hello."


def _response(body: bytes, content_type: bytes = b"application/json") -> bytes:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\nx-request-id: req_bench\r\ncontent-length: %d\r\n\r\n"
    return head % (content_type, len(body)) + body


STREAM_HEAD: Final = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
)


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class Dialect:
    """How one provider answers: a whole answer, and a stream's first, repeated and last events."""

    def __init__(self, whole: object, first: bytes, text: tuple[bytes, bytes], last: bytes) -> None:
        self.whole = _response(json.dumps(whole, separators=(",", ":")).encode())
        self.first = STREAM_HEAD + _chunk(first)
        self.text = text
        self.last = _chunk(last) + b"0\r\n\r\n"

    def event(self) -> bytes:
        """A text event that carries the time."""
        return _chunk(b"t%dz".join(self.text) % time.monotonic_ns())


def _openai() -> Dialect:
    head = {"id": "chatcmpl-1", "created": 1735689600, "model": "bench-2025-01-01"}
    message = {"role": "assistant", "content": TEXT}
    choices = [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}]

    def event(delta: object, finish: str | None, **more: object) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        frame = {**head, "object": "chat.completion.chunk", "choices": [choice], **more}
        return f"data: {json.dumps(frame, separators=(',', ':'))}\n\n".encode()

    text = event({"content": "@@"}, None).split(b"@@")
    usage: dict[str, object] = {**head, "object": "chat.completion.chunk", "choices": [], "usage": USAGE}
    last = event({}, "stop") + f"data: {json.dumps(usage, separators=(',', ':'))}\n\ndata: [DONE]\n\n".encode()
    whole = {**head, "object": "chat.completion", "choices": choices, "usage": USAGE}
    return Dialect(whole, event({"role": "assistant", "content": ""}, None), (text[0], text[1]), last)


def _anthropic() -> Dialect:
    usage = {"input_tokens": 24, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 8}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "bench-2025-01-01", "usage": usage}
    stop: dict[str, object] = {"stop_reason": "end_turn", "stop_sequence": None}

    def event(value: dict[str, object]) -> bytes:
        return f"event: {value['type']}\ndata: {json.dumps(value, separators=(',', ':'))}\n\n".encode()

    started: dict[str, object] = {**message, "content": [], "stop_reason": None, "stop_sequence": None}
    first = event({"type": "message_start", "message": started})
    first += event({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})
    delta = {"type": "text_delta", "text": "@@"}
    text = event({"type": "content_block_delta", "index": 0, "delta": delta}).split(b"@@")
    last = event({"type": "content_block_stop", "index": 0})
    last += event({"type": "message_delta", "delta": stop, "usage": usage}) + event({"type": "message_stop"})
    whole = {**message, "content": [{"type": "text", "text": TEXT}], **stop}
    return Dialect(whole, first, (text[0], text[1]), last)


OPENAI: Final = _openai()
ANTHROPIC: Final = _anthropic()


class Connection(asyncio.Protocol):
    """One connection from a proxy; requests are answered in order, one at a time."""

    def __init__(self) -> None:
        self._received = b""
        self._transport: asyncio.WriteTransport | None = None
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are not asyncio's classes, only their shape.
        self._transport = cast("asyncio.WriteTransport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None

    def data_received(self, data: bytes) -> None:
        self._received = self._received + data if self._received else data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            head = self._received[:end].lower()
            if b"transfer-encoding: chunked" in head:
                body_end = self._received.find(b"0\r\n\r\n", end + 4)
                if body_end < 0:
                    return
                size = body_end + 5 - end - 4
            else:
                _, found, rest = head.partition(b"content-length:")
                size = int(rest.split(b"\r\n", 1)[0]) if found else 0
            if size > REQUEST_BYTES_MAX:
                raise ValueError(f"a request of {size} bytes")
            if len(self._received) < end + 4 + size:
                return
            body = self._received[end + 4 : end + 4 + size]
            self._received = self._received[end + 4 + size :]
            self._answer(head, body)

    def _answer(self, head: bytes, body: bytes) -> None:
        assert self._transport
        path = head.split(b" ", 2)[1]
        dialect = ANTHROPIC if path.endswith(b"/messages") else OPENAI
        if b'"stream":true' in body or b'"stream": true' in body:
            self._transport.write(dialect.first)
            found = MAX_TOKENS.search(body)
            pace_seconds = int(found[1]) / 10_000 if found else 0.0
            self._stream(dialect, itertools.count(), self._loop.time(), pace_seconds)
        else:
            self._transport.write(dialect.whole)

    def _stream(self, dialect: Dialect, numbers: Iterator[int], started: float, pace_seconds: float) -> None:
        if self._transport is None:
            return
        number = next(numbers)
        if number == CHUNKS:
            self._transport.write(dialect.last)
            return
        self._transport.write(dialect.event())
        # At absolute times: a late event does not make the next ones late.
        due = started + (number + 1) * pace_seconds
        self._loop.call_at(due, self._stream, dialect, numbers, started, pace_seconds)


async def serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", port, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    uvloop.run(serve(options.port))


if __name__ == "__main__":
    main()
