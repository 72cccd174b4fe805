"""`make bench-processor`: what the processor does for a call between OpenAI chat and Anthropic, without sockets.

Messages as Envoy sends them are fed to an `Exchange`, over and over, and counted are instructions of user space, by
valgrind's cachegrind: those of many rounds less those of few, so that what a start takes does not count. Who else uses
the machine does not change them. `PYTHONPATH` to an unpacked wheel measures that instead of what is installed here.
"""

import argparse
import gc
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import headgate.llm.bridge
import msgspec
import orjson
from envoy.extensions.filters.http.ext_proc.v3.processing_mode_pb2 import ProcessingMode
from envoy.service.ext_proc.v3 import external_processor_pb2 as pb
from headgate.extproc.exchange import Exchange
from headgate.llm.names import DialectName
from support.chat_goldens import CLIENTS, CREATED, TARGETS, bridge, stream_bridge
from support.ext_proc_streams import backend

from bench.llm import client_body, provider_stream
from bench.report import table

CHAT: Final = DialectName.OPENAI_CHAT
ANTHROPIC: Final = DialectName.ANTHROPIC_MESSAGES
FEW: Final = 20
MANY: Final = 120
EVENTS: Final = 64
PIECES: Final = 17
PIECES_OF_A_STREAM: Final = 200

_REFERENCES: Final = re.compile(r"I\s+refs:\s+([\d,]+)")
_ANSWER: Final = {
    "id": "msg_01",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-5",
    "content": [{"type": "text", "text": "Hello! How can I help you today?"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 12, "output_tokens": 9},
}


def _headers(**values: str) -> pb.HttpHeaders:
    headers = pb.HttpHeaders()
    for name, value in values.items():
        headers.headers.headers.add(key=name.replace("__", ":").replace("_", "-"), raw_value=value.encode())
    return headers


def _bodies(pieces: Sequence[bytes]) -> list[pb.HttpBody]:
    """With the empty end that Envoy adds to an HTTP/1 answer."""
    return [*(pb.HttpBody(body=piece) for piece in pieces), pb.HttpBody(end_of_stream=True)]


def messages(*, stream: bool) -> list[bytes]:
    """Of one call, as Envoy sends them in the compiler's mode."""
    first = pb.ProcessingRequest(
        request_headers=_headers(__path="/v1/chat/completions", content_type="application/json", x_request_id="r")
    )
    first.protocol_config.request_body_mode = ProcessingMode.BUFFERED
    first.protocol_config.response_body_mode = ProcessingMode.FULL_DUPLEX_STREAMED
    asked = {"model": "claude-sonnet-4-5", "messages": [{"role": "user", "content": "Hello there"}], "stream": stream}
    answer = [msgspec.json.encode(_ANSWER)]
    if stream:
        events = list(provider_stream(ANTHROPIC, EVENTS))
        size = -(-len(events) // PIECES)
        answer = [b"".join(events[start : start + size]) for start in range(0, len(events), size)]
    kind = CLIENTS[ANTHROPIC].stream_type if stream else "application/json"
    told = [
        first,
        pb.ProcessingRequest(request_body=pb.HttpBody(body=msgspec.json.encode(asked), end_of_stream=True)),
        pb.ProcessingRequest(response_headers=_headers(__status="200", content_type=kind, request_id="req_1")),
        *(pb.ProcessingRequest(response_body=body) for body in _bodies(answer)),
    ]
    for each in told:
        each.metadata_context.SetInParent()  # Envoy 1.40 adds an empty one to each
    return [each.SerializeToString() for each in told]


def _call(*, stream: bool) -> Callable[[], object]:
    told = messages(stream=stream)
    metadata = {"x-headgate-backend": msgspec.json.encode(backend(announced=True, as_text=True)).decode()}

    def run() -> None:
        exchange = Exchange(metadata, CREATED)
        for message in told:
            exchange.receive(message)

    return run


def _request(size: int) -> Callable[[], object]:
    body, plan = client_body(CHAT, size), bridge(CHAT, ANTHROPIC, **TARGETS[ANTHROPIC]["direct"])
    return partial(plan.translate_request, body, {":path": CLIENTS[CHAT].path})


def _orjson(size: int) -> Callable[[], object]:
    body = client_body(CHAT, size)
    return lambda: orjson.dumps(orjson.loads(body))


def _stream() -> Callable[[], object]:
    """An answer of so many pieces, without its first and its last."""
    pieces = list(provider_stream(ANTHROPIC, PIECES_OF_A_STREAM))[1:-1]
    plan, asked = stream_bridge(CHAT, ANTHROPIC)
    first = next(iter(provider_stream(ANTHROPIC, 0)))
    answer = plan.open_response(asked, 200, {"content-type": CLIENTS[ANTHROPIC].stream_type}, CREATED)
    answer.feed(first)

    def run() -> None:
        for piece in pieces:
            answer.feed(piece)

    return run


ROWS: Final[dict[str, tuple[Callable[[], Callable[[], object]], int]]] = {
    "a call": (partial(_call, stream=False), 1),
    f"a stream of {EVENTS} events in {PIECES} pieces": (partial(_call, stream=True), 1),
    "translation of a request of 2 KB": (partial(_request, 2_048), 1),
    "orjson reading and writing it": (partial(_orjson, 2_048), 1),
    "translation of a request of 24 KB": (partial(_request, 24_576), 1),
    "orjson reading and writing 24 KB": (partial(_orjson, 24_576), 1),
    "a chunk": (_stream, PIECES_OF_A_STREAM),
}
"""What is run, and how many of its like a run has."""


def run_row(name: str, times: int) -> None:
    """In a process that valgrind watches."""
    run = ROWS[name][0]()
    gc.disable()
    for _ in range(times):
        run()


def _references(name: str, times: int) -> int:
    command = ("valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null")
    child = (sys.executable, "-m", "bench.processor", f"--row={name}", f"--times={times}")
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    done = subprocess.run((*command, *child), env=environment, capture_output=True, text=True, check=True)
    found = _REFERENCES.search(done.stderr)
    assert found is not None, done.stderr
    return int(found[1].replace(",", ""))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.processor", description="Counts the processor's work.")
    parser.add_argument("--only", help="the rows whose name has this in it", default="")
    parser.add_argument("--row", choices=ROWS, help=argparse.SUPPRESS)
    parser.add_argument("--times", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.row:
        run_row(options.row, options.times)
        return 0
    if shutil.which("valgrind") is None:
        sys.exit("bench-processor: it needs valgrind: `apt-get install --no-install-recommends valgrind`")
    built = "compiled" if Path(headgate.llm.bridge.__file__).suffix == ".so" else "interpreted"
    rows: list[list[str]] = []
    for name, (_, each) in ROWS.items():
        if options.only in name:
            per_run = (_references(name, MANY) - _references(name, FEW)) / (MANY - FEW)
            rows.append([name, f"{per_run / each:,.0f}"])
    print(table([f"{built}, Python {sys.version.split()[0]}", "instructions"], rows), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
