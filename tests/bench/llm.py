"""`make bench-llm`: what translating costs, every pair of dialects, without sockets or Envoy.

The yardstick is the cheapest thing a translator written with dictionaries could do: orjson reads the body and writes it
again. A request is the client's bytes to the provider's; a chunk is one streamed piece of text, there and back.
"""

import argparse
import gc
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import orjson
from headgate.llm.canonical import (
    Base64Source,
    ChatRequest,
    Finish,
    FinishReason,
    FunctionTool,
    ImagePart,
    Message,
    Part,
    PartStop,
    Start,
    StreamEvent,
    TextDelta,
    TextPart,
    TextStart,
    ToolCallPart,
    ToolResultPart,
    UsageUpdate,
)
from headgate.llm.dialects.dialect import ReplyContext, Target
from headgate.llm.dialects.table import DIALECTS
from headgate.llm.endpoints import lookup, path_facts
from headgate.llm.exchange import Plan
from headgate.llm.names import DialectName
from headgate.llm.usage import Usage
from headgate.runtime.freed_memory import keep_freed_memory
from msgspec import Raw
from support.chat_goldens import CLIENTS, CREATED, TARGETS, bridge, providers_for, stream_bridge

from bench.report import conditions, pairs, table

SIZES: Final = {"2 KB": 2_048, "24 KB": 24_576, "1 MB": 1_048_576}
CHUNKS: Final = 1_000
PAIRS: Final = tuple((client, provider) for client in TARGETS for provider in providers_for(client))

_WORDS: Final = "The quick brown fox — naïve, “quoted”\n and 42 dogs. "
_SCHEMA: Final = Raw(
    b'{"type":"object","properties":{"city":{"type":"string","description":"Where"},"days":{"type":"integer"}},'
    b'"required":["city"]}'
)


def conversation(size: int) -> ChatRequest:
    """A conversation of about that many bytes: instructions, texts, calls with their results, and one image in the
    largest."""
    tools = tuple(FunctionTool(f"weather_{i}", "Tells the weather of a place.", _SCHEMA) for i in range(3))
    messages = [Message("system", (TextPart("Answer briefly. " * 8),))]
    written = 1_000
    turn = 0
    if size > 500_000:
        image = ImagePart(Base64Source("image/png", "iVBORw0KGgoA" * (size // 48)))
        messages.append(Message("user", (TextPart("What is this?"), image)))
        messages.append(Message("assistant", (TextPart("A picture."),)))
        written += size // 4
    text = _WORDS * (2 if size < 10_000 else 20 if size < 500_000 else 80)
    while written < size:
        turn += 1
        messages.append(Message("user", (TextPart(text),)))
        calls: list[Part] = [TextPart(text[:40].strip()), ToolCallPart(f"call_{turn}", "weather_0", '{"city":"Rome"}')]
        messages.append(Message("assistant", tuple(calls)))
        messages.append(Message("user", (ToolResultPart(f"call_{turn}", (TextPart(text),)),)))
        messages.append(Message("assistant", (TextPart(text.strip()),)))
        written += 3 * len(text.encode()) + 300
    messages.append(Message("user", (TextPart("And now?"),)))
    return ChatRequest(model="asked", messages=tuple(messages), tools=tools, max_tokens=1_000)


def client_body(client: DialectName, size: int) -> bytes:
    """That conversation as a client of the dialect sends it."""
    return DIALECTS[client].encode_request(conversation(size), Target(model="asked")).body


def provider_stream(provider: DialectName, chunks: int) -> Iterator[bytes]:
    """An answer in so many pieces of text, as its provider streams it, each as it would come from a socket."""
    row = CLIENTS[provider]
    path = row.stream_path or row.path
    endpoint = lookup(path)
    assert endpoint is not None
    context = ReplyContext(model="m", created=CREATED, path=path_facts(endpoint, path))
    encoder = DIALECTS[provider].stream_encoder(context)
    before: Sequence[StreamEvent] = (Start("id", "m", CREATED), TextStart(0))
    yield b"".join(encoder.feed(event) for event in before)
    for _ in range(chunks):
        yield encoder.feed(TextDelta(0, " word"))
    after = (PartStop(0), Finish(FinishReason.STOP), UsageUpdate(Usage(input=9, output=chunks)))
    yield b"".join(encoder.feed(event) for event in after) + encoder.close()


def best_us(run: Callable[[], object], *, seconds: float) -> float:
    """The least time of a call: what others do on the machine only ever adds to it."""
    run()
    started = time.thread_time()
    run()
    once = max(time.thread_time() - started, 1e-7)
    loops = max(1, min(1_000, int(0.002 / once)))
    best = float("inf")
    end = time.thread_time() + seconds
    rounds = 0
    while rounds < 5 or time.thread_time() < end:
        started = time.thread_time()
        for _ in range(loops):
            run()
        best = min(best, (time.thread_time() - started) / loops)
        rounds += 1
    return best * 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One pair at one size."""

    client: str
    provider: str
    size: str
    body_bytes: int
    request_us: float
    orjson_us: float

    @property
    def ratio(self) -> float:
        return self.request_us / self.orjson_us


def request_cell(pair: tuple[DialectName, DialectName], size: str, *, seconds: float) -> Cell:
    """Measures translation and yardstick of one pair, alternating."""
    client, provider = pair
    body = client_body(client, SIZES[size])
    plan: Plan = bridge(client, provider, **next(iter(TARGETS[provider].values())))
    headers = {":path": CLIENTS[client].path}
    ours = best_us(lambda: plan.translate_request(body, headers), seconds=seconds)
    yardstick = best_us(lambda: orjson.dumps(orjson.loads(body)), seconds=seconds)
    return Cell(client=client, provider=provider, size=size, body_bytes=len(body), request_us=ours, orjson_us=yardstick)


def chunk_us(client: DialectName, provider: DialectName, *, rounds: int) -> float:
    """Microseconds of one chunk, the best of some streams."""
    pieces = list(provider_stream(provider, CHUNKS))
    row = CLIENTS[provider]
    plan, asked = stream_bridge(client, provider)
    best = float("inf")
    for _ in range(rounds):
        answer = plan.open_response(asked, 200, {"content-type": row.stream_type, **row.answer_headers}, CREATED)
        answer.feed(pieces[0])
        started = time.thread_time()
        for piece in pieces[1:-1]:
            answer.feed(piece)
        best = min(best, time.thread_time() - started)
        answer.feed(pieces[-1])
        answer.close()
    return best / CHUNKS * 1e6


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.llm", description="Measures translation alone.")
    parser.add_argument("--seconds", type=float, default=0.05, help="of each measurement (default %(default)s)")
    parser.add_argument("--client", action="append", help="only these clients' dialects")
    parser.add_argument("--provider", action="append", help="only these providers' dialects")
    parser.add_argument("--output", type=Path, help="file for the raw numbers (JSON)")
    options = parser.parse_args()
    keep_freed_memory()  # as the processor does
    gc.disable()
    raw: dict[str, Any] = {"conditions": conditions(), "requests": [], "chunks": []}
    rows: list[list[str]] = []
    for client, provider in PAIRS:
        if client not in (options.client or PAIRS[0] + (client,)) or provider not in (options.provider or (provider,)):
            continue
        gc.collect()
        cells = [request_cell((client, provider), size, seconds=options.seconds) for size in SIZES]
        chunk = chunk_us(client, provider, rounds=5)
        raw["requests"] += [{**asdict(cell), "ratio": cell.ratio} for cell in cells]
        raw["chunks"].append({"client": client, "provider": provider, "chunk_us": chunk})
        numbers = [number for cell in cells for number in (f"{cell.request_us:,.0f}", f"{cell.ratio:.2f}")]
        rows.append([f"{client} to {provider}", *numbers, f"{chunk:.1f}"])
    head = ["us of a request", *(word for size in SIZES for word in (size, "x orjson")), "us of a chunk"]
    print("\n\n".join(("# Translation, measured", pairs(raw["conditions"]), table(head, rows))), flush=True)
    if options.output:
        options.output.write_text(json.dumps(raw, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
