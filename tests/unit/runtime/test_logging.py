import io
import logging
from collections.abc import Iterator

import msgspec
import pytest
from headgate.contract.secret import Secret
from headgate.runtime.logging import LogFormat, LogLevel, event_log, set_up_logging


@pytest.fixture(autouse=True)
def restore_root() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def lines(stream: io.StringIO) -> list[str]:
    return stream.getvalue().splitlines()


def test_text_line_has_event_and_fields() -> None:
    stream = io.StringIO()
    set_up_logging(stream=stream)
    event_log("part").info("thing_done", count=3, wait_seconds=0.25, name="a b", path="/x", none=None)
    (line,) = lines(stream)
    assert line.split(" ", 1)[1] == 'INFO    part thing_done count=3 wait_seconds=0.25 name="a b" path=/x none=null'


@pytest.mark.parametrize("char", ["\n", "\r", "\x1b", "\x7f", "\x9b", "\u2028"])
def test_text_line_holds_no_control_character(char: str) -> None:
    stream = io.StringIO()
    set_up_logging(stream=stream)
    event_log("part").info("asked", path=f"/a{char}b", other="é ü")
    assert stream.getvalue().count("\n") == 1
    assert char not in stream.getvalue().rstrip("\n")
    assert 'other="é ü"' in stream.getvalue()


def test_json_line_has_event_and_fields_and_redacts() -> None:
    stream = io.StringIO()
    set_up_logging(format=LogFormat.JSON, stream=stream)
    event_log("part").warning("thing_failed", key=Secret("sk-1"), level="not overwritten", items=("a", 1))
    line = msgspec.json.decode(lines(stream)[0])
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "warning",
        "component": "part",
        "event": "thing_failed",
        "key": "[redacted]",
        "items": ["a", 1],
    }


def test_text_redacts_nested_secrets() -> None:
    stream = io.StringIO()
    set_up_logging(stream=stream)
    event_log("part").info("thing", keys=[Secret("sk-1")], key=Secret("sk-2"))
    assert "sk-" not in stream.getvalue()


def test_level_is_respected() -> None:
    stream = io.StringIO()
    set_up_logging(level=LogLevel.WARNING, stream=stream)
    log = event_log("part")
    log.info("quiet")
    log.error("loud")
    assert [line.split()[-1] for line in lines(stream)] == ["loud"]


def test_exception_carries_its_trace() -> None:
    stream = io.StringIO()
    set_up_logging(format=LogFormat.JSON, stream=stream)
    try:
        raise ValueError("boom")
    except ValueError:
        event_log("part").exception("bug", where="here")
    line = msgspec.json.decode(lines(stream)[0])
    assert line["event"] == "bug"
    assert "ValueError: boom" in line["trace"]
