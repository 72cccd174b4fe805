"""Relayed answers of chats that name the model as the client asked for it: that one member is another, every other byte
as it came.

The provider's own name is still read (`response_model`): usage, prices and records go by it.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import msgspec
from headgate.llm import relay
from headgate.llm.errors import RequestError
from headgate.llm.marks import Marks
from headgate.llm.names import DialectName
from headgate.llm.operations.reader import RelayReader
from headgate.llm.operations.reading import WHOLE_BYTES_MAX, EventTexts, data_of
from headgate.llm.usage import Usage

_ALONE: Final = ("model", "")

_PLACES: Final[Mapping[DialectName, tuple[str, str]]] = MappingProxyType(
    {
        DialectName.OPENAI_CHAT: _ALONE,
        DialectName.OPENAI_COMPLETIONS: _ALONE,
        DialectName.OPENAI_RESPONSES: ("model", "response"),
        DialectName.ANTHROPIC_MESSAGES: ("model", "message"),
        DialectName.GEMINI: ("modelVersion", ""),
    }
)
"""The member that names the model, and the object of an event that may hold it. Cohere and Converse name none."""


def renaming_reader(reader: RelayReader, dialect: DialectName, model: str, *, stream: bool) -> RelayReader:
    """The reader, and what it passes names that model."""
    place = _PLACES.get(dialect)
    if place is None:
        return reader
    name = _Name(*place, msgspec.json.encode(model))
    return RenamingStreamReader(reader, name) if stream else RenamingReader(reader, name)


class _Name:
    """A model's name in its place."""

    __slots__ = ("_member", "_model", "_quoted", "_within")

    def __init__(self, member: str, within: str, model: bytes) -> None:
        self._member = member
        self._within = within
        self._quoted = b'"%b"' % member.encode()
        self._model = model

    def put(self, data: bytes) -> bytes:
        """The same object with the name; what is no object, or names no model, as it is."""
        if self._quoted not in data:
            return data
        if data.startswith(b"["):  # Gemini's stream, where it is not asked for as events
            return self._put_into_list(data)
        try:
            source = relay.decode_object(data)
        except RequestError:
            return data
        within = source.raw(self._within) if self._within else None
        if within is not None and within.startswith(b"{"):
            return relay.patch_object(source, set_members={self._within: self.put(within)})
        named = source.raw(self._member)
        if named is None or not named.startswith(b'"'):
            return data
        return relay.patch_object(source, set_members={self._member: self._model})

    def _put_into_list(self, data: bytes) -> bytes:
        try:
            answers = msgspec.json.decode(data, type=list[msgspec.Raw])
        except msgspec.DecodeError:
            return data
        return b"[%b]" % b",".join(self.put(bytes(answer)) for answer in answers)

    def put_into_event(self, event: bytes) -> bytes:
        """The same event's text with the name."""
        data = data_of(event)
        named = self.put(data)
        if named is data:
            return event
        lines = event.splitlines(keepends=True)
        places = [place for place, line in enumerate(lines) if line.startswith(b"data:")]
        texts = named.split(b"\n")
        if len(texts) != len(places):  # a list over several lines, which nobody streams
            return event
        for place, text in zip(places, texts, strict=True):
            line = lines[place]
            field = b"data: " if line.startswith(b"data: ") else b"data:"
            lines[place] = field + text + line[len(line.rstrip(b"\r\n")) :]
        return b"".join(lines)


class _Renaming:
    """What the provider said is what `reader` has read."""

    __slots__ = ("_reader",)

    def __init__(self, reader: RelayReader) -> None:
        self._reader = reader

    @property
    def usage(self) -> Usage:
        return self._reader.usage

    @property
    def response_model(self) -> str:
        return self._reader.response_model

    @property
    def marks(self) -> Marks:
        return self._reader.marks


class RenamingReader(_Renaming):
    """A whole answer: held to its end, for its name may stand anywhere. A larger one than is held passes as it came."""

    __slots__ = ("_held", "_name", "_size")

    def __init__(self, reader: RelayReader, name: _Name) -> None:
        super().__init__(reader)
        self._name = name
        self._held: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> bytes:
        """Nothing yet, as a rule."""
        self._size += len(data)
        self._held.append(self._reader.feed(data))
        return self._release() if self._size > WHOLE_BYTES_MAX else b""

    def close(self) -> bytes:
        """The answer."""
        self._held.append(self._reader.close())
        body = self._release()
        return body if self._size > WHOLE_BYTES_MAX else self._name.put(body)

    def _release(self) -> bytes:
        body = b"".join(self._held)
        self._held.clear()
        return body


class RenamingStreamReader(_Renaming):
    """A stream, event by event."""

    __slots__ = ("_events",)

    def __init__(self, reader: RelayReader, name: _Name) -> None:
        super().__init__(reader)
        self._events = EventTexts(name.put_into_event)

    def feed(self, data: bytes) -> bytes:
        """The events that are complete now."""
        return self._events.feed(self._reader.feed(data))

    def close(self) -> bytes:
        """What is left."""
        rest = self._reader.close()
        return self._events.feed(rest) + self._events.close()
