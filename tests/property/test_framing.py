"""Frames, forms and passing readers do not depend on how bytes were cut, and any bytes give values or our errors."""

import json
from codecs import BOM_UTF8
from typing import Any

import pytest
from headgate.llm.endpoints import ENDPOINTS, Endpoint
from headgate.llm.errors import RequestError
from headgate.llm.framing.frame import Frame
from headgate.llm.framing.sse import SseDecoder, encode_sse
from headgate.llm.multipart import decode_form
from headgate.llm.names import Operation
from headgate.llm.operations.table import relay_reader
from hypothesis import assume, example, given
from hypothesis import strategies as st

LINES = st.lists(
    st.sampled_from(
        [
            b"data: {}",
            b'data: {"choices":[],"usage":{"prompt_tokens":1}}',
            b'data: {"choices":[{"delta":{"content":"x"}}],"usage":null}',
            b"data:",
            b"data",
            b"event: ping",
            b": comment",
            b"",
            b"\xef\xbb\xbfdata: bom",
            b"data: [DONE]",
            b"nonsense",
            b"data: \xff",
        ]
    ),
    max_size=12,
)
ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])


@st.composite
def event_streams(draw: st.DrawFn) -> bytes:
    """Lines with any line ends, mixed."""
    return b"".join(line + draw(ENDS) for line in draw(LINES)) + draw(st.sampled_from([b"", b"data: cut"]))


@st.composite
def cut(draw: st.DrawFn, bodies: st.SearchStrategy[bytes]) -> tuple[bytes, list[bytes]]:
    """A body, and the same in chunks."""
    body = draw(bodies)
    places = sorted(draw(st.lists(st.integers(0, len(body)), max_size=8)))
    return body, [body[start:end] for start, end in zip([0, *places], [*places, len(body)], strict=True)]


def frames_of(chunks: list[bytes]) -> list[Frame]:
    decoder = SseDecoder()
    frames = [frame for chunk in chunks for frame in decoder.feed(chunk)]
    return frames + decoder.close()


@given(cut(st.one_of(event_streams(), st.binary(max_size=60))))
def test_frames_do_not_depend_on_the_cut(case: tuple[bytes, list[bytes]]) -> None:
    body, chunks = case
    assert frames_of(chunks) == frames_of([body])


@given(st.text(st.characters(exclude_characters="\r\n", codec="utf-8")), st.text(st.characters(codec="utf-8")))
def test_a_frame_is_read_as_it_was_written(event: str, data: str) -> None:
    event = event.removeprefix(" ")
    read = frames_of([encode_sse(data.encode(), event)])
    normalised = data.replace("\r\n", "\n").replace("\r", "\n")
    assert read == [Frame(normalised.encode(), event)]


def _endpoint(operation: Operation) -> Endpoint:
    return next(each for each in ENDPOINTS if each.operation is operation)


@pytest.mark.parametrize("operation", [Operation.CHAT, Operation.MESSAGES, Operation.RESPONSES])
@given(case=cut(st.one_of(event_streams(), st.binary(max_size=60))))
def test_a_reader_passes_every_byte(operation: Operation, case: tuple[bytes, list[bytes]]) -> None:
    body, chunks = case
    for stream in (True, False):
        reader = relay_reader(_endpoint(operation), stream=stream, hide_usage=False)
        assert b"".join(map(reader.feed, chunks)) + reader.close() == body


def is_usage_alone(frame: Frame) -> bool:
    """The chunk that `include_usage` adds, judged slowly."""
    try:
        chunk: Any = json.loads(frame.data)
    except ValueError:
        return False
    return isinstance(chunk, dict) and '"choices": [], "usage": {' in json.dumps(chunk)


MARKED = b'\xef\xbb\xbfdata: bom\ndata: {"choices":[],"usage":{"prompt_tokens":1}}\n'


@example((MARKED, [MARKED]))
@given(cut(event_streams()))
def test_hiding_usage_hides_the_same_whatever_the_cut(case: tuple[bytes, list[bytes]]) -> None:
    body, chunks = case
    assume(BOM_UTF8 not in body[1:])  # where all before it is hidden, a mark would come to lead
    whole = relay_reader(_endpoint(Operation.CHAT), stream=True, hide_usage=True)
    cut_reader = relay_reader(_endpoint(Operation.CHAT), stream=True, hide_usage=True)
    passed = b"".join(map(cut_reader.feed, chunks)) + cut_reader.close()
    expected = [frame for frame in frames_of([body]) if not is_usage_alone(frame)]
    assert frames_of([whole.feed(body) + whole.close()]) == expected
    assert frames_of([passed]) == expected
    assert cut_reader.usage == whole.usage


@given(
    st.one_of(
        st.binary(max_size=200),
        st.lists(
            st.sampled_from([b"--b", b"\r\n", b"--", b"x", b'Content-Disposition: form-data; name="model"', b" "]),
            max_size=20,
        ).map(b"".join),
    )
)
def test_any_bytes_are_a_form_or_refused(body: bytes) -> None:
    try:
        form = decode_form(body, "multipart/form-data; boundary=b")
    except RequestError:
        return
    for field in form.fields:
        assert 0 <= field.value_start <= field.value_end <= len(body)
