"""Functions that stand for tools of OpenAI's which no other dialect has.

A custom tool takes a text: here a function with one argument, `input`. Tools of a namespace (agents send one for each
MCP server) are functions whose names begin with it. A search that the client itself runs (agents find an MCP
server's tools so) is a function too; what it found is offered from then on. So are the shell and the patches that a
client runs. Clients are told of calls as calls of their own tools.
"""

from collections.abc import Iterator, Sequence
from typing import Final

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


def freeform_text(arguments: str) -> str:
    """The text of a call: of `input`, or of the only argument, whatever a model calls it; else the arguments as they
    are."""
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
