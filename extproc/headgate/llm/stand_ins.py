"""Functions that stand for tools which only their client's dialect has.

A custom tool takes a text: here a function with one argument, `input`. Tools of a namespace (agents send one for each
MCP server) are functions whose names begin with it. A search that the client itself runs (agents find an MCP
server's tools so) is a function too; what it found is offered from then on. So are the shell and the patches that a
client runs, and Anthropic's tools whose schemas its models know. Clients are told of calls as calls of their own tools.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
from headgate.llm.canonical import FunctionTool, StandIn, StandIns
from headgate.llm.losses import Loss

INPUT: Final = "input"

_SCHEMA: Final = msgspec.Raw(
    b'{"type":"object","properties":{"input":{"type":"string","description":"The text for the tool, as it is."}},'
    b'"required":["input"],"additionalProperties":false}'
)

_SEARCH_SCHEMA: Final = msgspec.Raw(
    b'{"type":"object","properties":{"query":{"type":"string"}},"required":["query"],"additionalProperties":false}'
)

_encode = msgspec.json.Encoder().encode
_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_text = msgspec.json.Decoder(str).decode


def object_schema(required: Iterable[str], **members: Mapping[str, Any]) -> msgspec.Raw:
    """The schema of a function's arguments: an object of these members, and no others."""
    schema = {"type": "object", "properties": members, "required": [*required], "additionalProperties": False}
    return msgspec.Raw(_encode(schema))


def function_name(name: str, namespace: str | None) -> str:
    """What a tool of a namespace is called among all functions."""
    if not namespace:
        return name
    return f"{namespace}{name}" if namespace.endswith("__") else f"{namespace}__{name}"


def freeform_function(name: str, description: str, grammar: tuple[str, str]) -> FunctionTool:
    """The function of a custom tool. `grammar`: its syntax and definition, empty where it takes any text."""
    syntax, definition = grammar
    told = f"The text must follow this grammar ({syntax}):\n{definition}" if definition else ""
    return FunctionTool(name, "\n\n".join(filter(None, (description, told))), _SCHEMA)


def search_function(name: str, description: str, parameters: msgspec.Raw | None) -> FunctionTool:
    """The function of a client's search for tools."""
    return FunctionTool(
        name, description or "Finds tools, which can be called afterwards.", parameters or _SEARCH_SCHEMA
    )


def found_tools(names: Sequence[str]) -> str:
    """What such a search tells the model."""
    return f"These tools can be called now: {', '.join(names)}" if names else "No tools were found."


def freeform_arguments(text: str) -> str:
    """The arguments of a call of such a function."""
    return _encode({INPUT: text}).decode()


class FreeformArguments:
    """Writes those arguments from pieces of the text."""

    __slots__ = ("_begun",)

    def __init__(self) -> None:
        self._begun = False

    def feed(self, piece: str) -> str:
        """What more there is of the arguments."""
        said = _encode(piece)[1:-1].decode()
        if self._begun:
            return said
        self._begun = True
        return _BEGIN + said

    def close(self) -> str:
        """Their end."""
        return _END if self._begun else _BEGIN + _END


_BEGIN: Final = f'{{"{INPUT}":"'
_END: Final = '"}'


def freeform_text(arguments: str) -> str:
    """The text of a call: see `FreeformText`."""
    reader = FreeformText()
    return reader.feed(arguments) + reader.close()


class FreeformText:
    """Reads the text of a call from pieces of its arguments, cut anywhere.

    Rule: where `input` comes first and is a text, that is the call's, as far as it goes, and told as it comes. All else
    is held: the call's is `input`, or the only argument, whatever a model calls it; else the arguments as they are.
    """

    __slots__ = ("_begun", "_ended", "_held", "_rest")

    def __init__(self) -> None:
        self._begun = False
        self._ended = False
        self._held: list[str] | None = None
        """All pieces, once it is known that they are no text that can be told as it comes."""
        self._rest = ""
        """What the next piece may complete."""

    def feed(self, piece: str) -> str:
        """What more there is of the text."""
        if self._ended:
            return ""
        if self._held is not None:
            self._held.append(piece)
            return ""
        self._rest += piece
        return self._go_on() if self._begun or self._begins() else ""

    def close(self) -> str:
        """The rest of it."""
        if self._begun:
            return "\ufffd" if _HIGH.match(self._rest) else ""
        return _whole_text("".join(self._held or (self._rest,)))

    def _begins(self) -> bool:
        opening = _OPENING.match(self._rest)
        if opening is not None:
            self._rest, self._begun = self._rest[opening.end() :], True
            return True
        begun = "".join(self._rest[:_OPENING_CHARACTERS_MAX].split())
        if len(self._rest) > _OPENING_CHARACTERS_MAX or not '{"input":"'.startswith(begun):
            self._held = [self._rest]
        return False

    def _go_on(self) -> str:
        text, at, found = self._rest, 0, list[str]()
        while True:
            run = _RUN.match(text, at)
            assert run is not None
            found.append(_said(run[0]))
            at = run.end()
            self._ended = text.startswith('"', at)
            if self._ended or at == len(text) or _PARTIAL.fullmatch(text, at):
                self._rest = "" if self._ended else text[at:]
                return "".join(found)
            # no JSON: half of a character is none, what is no escape stands for itself
            half = _HIGH.match(text, at)
            found.append("\ufffd" if half else "\\")
            at = half.end() if half else at + 1


_OPENING: Final = re.compile(r'[ \t\r\n]*\{[ \t\r\n]*"input"[ \t\r\n]*:[ \t\r\n]*"')
_OPENING_CHARACTERS_MAX: Final = 64
"""Of which white space is most."""
_FIRST_HALF: Final = r"\\u[dD][89abAB][0-9a-fA-F]{2}"
_HIGH: Final = re.compile(_FIRST_HALF)
_ESCAPE: Final = rf"\\[^u]|{_FIRST_HALF}\\u[dD][c-fC-F][0-9a-fA-F]{{2}}|\\u(?![dD][89abAB])[0-9a-fA-F]{{4}}"
_RUN: Final = re.compile(rf'(?:[^"\\]+|{_ESCAPE})*', re.DOTALL)
_PARTIAL: Final = re.compile(
    rf"\\(?:u[0-9a-fA-F]{{0,3}})?|{_FIRST_HALF}(?:\\(?:u(?:[dD](?:[c-fC-F][0-9a-fA-F]?)?)?)?)?"
)
_ESCAPES: Final = re.compile(_ESCAPE, re.DOTALL)
_MEANT: Final = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", '"': '"', "/": "/", "\\": "\\"}


def _said(run: str) -> str:
    """What a piece of a JSON string says that holds whole escapes alone."""
    if "\\" not in run:
        return run
    try:
        return _decode_text(f'"{run}"')
    except (msgspec.DecodeError, UnicodeEncodeError):
        return _ESCAPES.sub(_meant, run)


def _meant(escape: re.Match[str]) -> str:
    written = escape[0]
    if written[1] != "u":
        return _MEANT.get(written[1], written)
    unit = int(written[2:6], 16)
    if len(written) > 6:
        return chr(0x10000 + (unit - 0xD800) * 0x400 + int(written[8:], 16) - 0xDC00)
    return "\ufffd" if 0xDC00 <= unit <= 0xDFFF else chr(unit)


def _whole_text(arguments: str) -> str:
    try:
        members = _decode_object(arguments)
        if not members:
            return ""
        raw = members.get(INPUT) or next(iter(members.values()))
        return _decode_text(raw) if INPUT in members or len(members) == 1 else arguments
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return arguments


def stand_in_losses(stand_ins: StandIns) -> Iterator[Loss]:
    """What functions cannot say of the tools that they stand for."""
    for tool in stand_ins.values():
        if tool.grammar:
            yield Loss(tool.path, "changed", "a function stands for it; its grammar is told, not enforced")
        elif tool.freeform:
            yield Loss(tool.path, "emulated", "a function that takes its text stands for it")
        elif tool.kind != "function":
            yield Loss(tool.path, "emulated", "a function stands for it")
        else:
            yield Loss(
                tool.path,
                "emulated",
                "the namespace becomes part of the functions' names; what it says of itself is left out",
            )


def told_as(stand_ins: StandIns, function: str) -> StandIn:
    """The client's tool of a function that was called."""
    return stand_ins.get(function) or StandIn(function)
