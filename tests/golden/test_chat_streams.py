"""Every recorded stream: the canonical events in the middle, and what a client of the other dialect receives."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from headgate.llm.canonical import StreamEvent
from headgate.llm.dialects.dialect import NO_MEMO
from headgate.llm.dialects.table import DIALECTS
from headgate.llm.errors import UpstreamError
from headgate.llm.framing.sse import COMMENT
from headgate.llm.names import DialectName
from support.chat_goldens import cases, others
from support.chat_streams import read_stream, translate_stream

Golden = Callable[[Path, bytes], None]


def _rows() -> list[Any]:
    return [pytest.param(dialect, path, id=f"{dialect}-{path.stem}") for dialect, path in cases("streams", ".raw")]


def _events(dialect: DialectName, raw: bytes) -> list[StreamEvent]:
    frames, decoder = DIALECTS[dialect].frames(), DIALECTS[dialect].stream_decoder(NO_MEMO)
    events: list[StreamEvent] = []
    try:
        for frame in [*frames.feed(raw), *frames.close()]:
            if frame is not COMMENT:
                events.extend(decoder.feed(frame))
        events.extend(decoder.close())
    except UpstreamError:
        pass  # the client's side of the golden shows it
    return events


@pytest.mark.parametrize(("dialect", "path"), _rows())
def test_stream(dialect: DialectName, path: Path, golden: Golden) -> None:
    raw = path.read_bytes()

    lines = [msgspec.json.encode(event) for event in _events(dialect, raw)]
    golden(path.with_suffix(".events.json"), b"[" + b",\n ".join(lines) + b"]\n")

    for client in others(dialect):
        received, translation = translate_stream(client, dialect, [raw])
        told: dict[str, object] = {"usage": translation.usage, "response_model": translation.response_model}
        if translation.losses:
            told["losses"] = translation.losses
        usage = msgspec.json.encode(told)
        golden(path.with_name(f"{path.stem}.to.{client}.raw"), received)
        golden(path.with_name(f"{path.stem}.to.{client}.usage.json"), usage + b"\n")
        read_stream(client, received)
