"""Log lines as events: a fixed name, then fields.

Rules: an event's name is a literal (`snapshot_published`), never built; values go into fields. Units end a field's name
(`wait_seconds`). A `Secret` prints as `[redacted]`, and bodies are not logged at info. Lines go to one stream (standard
error unless told otherwise), as text for people or as JSON, one object a line.

    log = event_log("controller")
    log.info("snapshot_published", version=version, changed=3)
"""

import logging
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final, TextIO, cast

import msgspec

ROOT: Final = "headgate"
_FIELDS: Final = "headgate_fields"

_JSON = msgspec.json.Encoder(enc_hook=str)


class LogFormat(StrEnum):
    """How a line is written."""

    TEXT = "text"
    JSON = "json"


class LogLevel(StrEnum):
    """The least severe level that is written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


_LEVELS: Final[Mapping[str, int]] = {
    LogLevel.DEBUG: logging.DEBUG,
    LogLevel.INFO: logging.INFO,
    LogLevel.WARNING: logging.WARNING,
    LogLevel.ERROR: logging.ERROR,
}


@dataclass(frozen=True, slots=True)
class EventLog:
    """Writes the events of one component. A field is text, a number, a boolean, None, or a sequence or map of them."""

    logger: logging.Logger

    def debug(self, event: str, **fields: object) -> None:
        self._write(logging.DEBUG, event, fields)

    def info(self, event: str, **fields: object) -> None:
        self._write(logging.INFO, event, fields)

    def warning(self, event: str, **fields: object) -> None:
        self._write(logging.WARNING, event, fields)

    def error(self, event: str, **fields: object) -> None:
        self._write(logging.ERROR, event, fields)

    def at(self, level: LogLevel, event: str, **fields: object) -> None:
        """An event whose level is known only at run time, such as a line of a child process."""
        self._write(_LEVELS[level], event, fields)

    def exception(self, event: str, **fields: object) -> None:
        """An error with the trace of the exception being handled: for bugs, not for what users or providers do."""
        self.logger.error(event, exc_info=True, extra={_FIELDS: fields})

    def _write(self, level: int, event: str, fields: Mapping[str, object]) -> None:
        if self.logger.isEnabledFor(level):
            self.logger.log(level, event, extra={_FIELDS: fields})


def event_log(component: str) -> EventLog:
    """The log of `component` (`controller`, `extproc`, `ratelimit`, …); cheap, call it at module level."""
    return EventLog(logging.getLogger(f"{ROOT}.{component}"))


def set_up_logging(
    level: LogLevel = LogLevel.INFO, format: LogFormat = LogFormat.TEXT, stream: TextIO | None = None
) -> None:
    """Sends every event at or above `level`, and other libraries' warnings, to `stream`. Called once by each `main`."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(_JsonFormatter() if format is LogFormat.JSON else _TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger(ROOT).setLevel(_LEVELS[level])


def json_line(component: str, level: LogLevel, event: str, fields: Mapping[str, object]) -> str:
    """An event as the JSON log would write it, for what is told whatever the log's level is."""
    attributes = {"name": f"{ROOT}.{component}", "levelname": level.upper(), "msg": event, _FIELDS: fields}
    return _JsonFormatter().format(logging.makeLogRecord(attributes))


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def _fields(record: logging.LogRecord) -> Mapping[str, object]:
    return cast("Mapping[str, object]", getattr(record, _FIELDS, {}))


def _component(record: logging.LogRecord) -> str:
    return record.name.removeprefix(f"{ROOT}.")


class _JsonFormatter(logging.Formatter):
    """`{"time", "level", "component", "event", …fields, "trace"?}`."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "component": _component(record),
            "event": record.getMessage(),
        }
        for name, value in _fields(record).items():
            line.setdefault(name, value)
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return _JSON.encode(line).decode()


class _TextFormatter(logging.Formatter):
    """`time LEVEL component event name=value …`; values with blanks or quotes are written as JSON."""

    def format(self, record: logging.LogRecord) -> str:
        fields = "".join(f" {name}={_text(value)}" for name, value in _fields(record).items())
        head = f"{_time(record)} {record.levelname:<7} {_component(record)} {record.getMessage()}{fields}"
        return f"{head}\n{self.formatException(record.exc_info)}" if record.exc_info else head


def _text(value: object) -> str:
    match value:
        case str() if value and value.isprintable() and not any(c in value for c in ' "='):
            return value
        case str():
            # what a client sent may move a terminal's cursor
            text = _JSON.encode(value).decode()
            return text if text.isprintable() else ascii(text)[1:-1]
        case float():
            return f"{value:.6g}"
        case _:
            return _JSON.encode(value).decode()
