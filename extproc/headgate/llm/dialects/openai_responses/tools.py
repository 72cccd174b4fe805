"""Tools of a Responses request, and the choice among them.

Tools are said at the top, or on the way, as items: a client adds some, or its search found them. All are offered from
the start, in the order in which they are said. A custom tool, the tools of a namespace and what the client itself
runs (a search for tools, a shell, patches) become functions that stand for them (`stand_ins`).
"""

from collections.abc import Iterator, Sequence
from typing import Final, Literal

import msgspec
from headgate.llm.canonical import (
    FunctionTool,
    OpaqueTool,
    StandIn,
    StandIns,
    Tool,
    ToolChoice,
    UserLocation,
    WebSearchTool,
)
from headgate.llm.dialects.openai_chat.wire import present
from headgate.llm.dialects.openai_responses import client_tools, wire
from headgate.llm.errors import RequestError
from headgate.llm.names import DialectName
from headgate.llm.stand_ins import freeform_function, function_name, search_function
from headgate.llm.unknown_members import decode_known

_NAME: Final = DialectName.OPENAI_RESPONSES
TOOL_SEARCH: Final = "tool_search"
"""What the function of a client's search is called."""
_WEB_SEARCH: Final = ("web_search", "web_search_preview")
_TRUE: Final = msgspec.Raw(b"true")


class ToolReader:
    """Reads the tools of one request. What goes beyond the canonical model is put into `beyond`, by its path."""

    __slots__ = ("_beyond", "stand_ins", "tools")

    def __init__(self, beyond: dict[str, msgspec.Raw]) -> None:
        self._beyond = beyond
        self.stand_ins: StandIns = {}
        self.tools: list[Tool] = []

    def read(self, tools: Sequence[wire.Tool], raws: Sequence[msgspec.Raw]) -> None:
        """The tools at the top. `raws`: the same, as they were sent."""
        for index, (tool, raw) in enumerate(zip(tools, raws, strict=True)):
            self.tools.extend(self._read(tool, raw, f"tools[{index}]"))

    def add(self, raws: Sequence[msgspec.Raw], path: str) -> list[str]:
        """Tools of an item at a path, but those that are offered already; the names of all its functions."""
        known = {tool.name for tool in self.tools if isinstance(tool, FunctionTool)}
        names: list[str] = []
        for index, raw in enumerate(raws):
            place = f"{path}[{index}]"
            for tool in self._read(self._decoded(raw, place), raw, place):
                name = tool.name if isinstance(tool, FunctionTool) else ""
                if name:
                    names.append(name)
                if name not in known:
                    self.tools.append(tool)
        return names

    def _read(self, tool: wire.Tool, raw: msgspec.Raw, path: str) -> Iterator[Tool]:
        match tool.type:
            case "function" | "custom":
                yield self._function(tool, path)
            case "namespace":
                yield from self._namespace(tool, path)
            case "tool_search" if tool.execution == "client":
                self.stand_ins[TOOL_SEARCH] = StandIn(TOOL_SEARCH, kind="tool_search", path=path)
                parameters = schema_of(tool.parameters, f"{path}.parameters")
                yield search_function(TOOL_SEARCH, tool.description or "", parameters)
            case kind if kind in client_tools.KINDS and client_tools.runs_at_client(tool.environment):
                self._beyond.update((f"{path}.{member}", _TRUE) for member in _beyond_functions(tool))
                self.stand_ins[kind] = StandIn(kind, kind=client_tools.KINDS[kind], path=path)
                yield client_tools.function_of(kind, tool.environment, path)
            case kind if kind.startswith(_WEB_SEARCH):
                yield _web_search(tool, raw, path)
            case kind:
                yield OpaqueTool(_NAME, kind, raw, path)

    def _decoded(self, raw: msgspec.Raw, path: str) -> wire.Tool:
        try:
            tool, unknown = decode_known(wire.TOOL_DECODER, raw, path)
        except msgspec.DecodeError as error:
            raise RequestError(f"must be a tool: {error}", path=path, code="invalid_value") from None
        self._beyond.update(unknown)
        return tool

    def _function(self, tool: wire.Tool, path: str, namespace: str = "", group: str = "") -> FunctionTool:
        """`group`: the path of the namespace."""
        name = needed(tool.name, f"{path}.name")
        called = function_name(name, namespace)
        self._beyond.update((f"{path}.{member}", _TRUE) for member in _beyond_functions(tool))
        if tool.type == "custom":
            rule = tool.format or wire.TextRule()
            self.stand_ins[called] = StandIn(name, namespace, "custom", bool(rule.definition), path)
            return freeform_function(called, tool.description or "", (rule.syntax, rule.definition))
        if namespace:
            self.stand_ins[called] = StandIn(name, namespace, path=group)
        return FunctionTool(
            called, tool.description or "", schema_of(tool.parameters, f"{path}.parameters"), tool.strict, path=path
        )

    def _namespace(self, tool: wire.Tool, path: str) -> Iterator[FunctionTool]:
        namespace = needed(tool.name, f"{path}.name")
        for index, raw in enumerate(tool.tools or ()):
            place = f"{path}.tools[{index}]"
            inner = self._decoded(raw, place)
            if inner.type not in ("function", "custom"):
                raise RequestError("must be function or custom", path=f"{place}.type", code="invalid_value")
            yield self._function(inner, place, namespace, path)


def _beyond_functions(tool: wire.Tool) -> Iterator[str]:
    """What this API can say of a function and others cannot."""
    said = (
        ("async", tool.async_),
        ("allowed_callers", tool.allowed_callers),
        ("defer_loading", tool.defer_loading),
        ("output_schema", present(tool.output_schema)),
    )
    return (name for name, value in said if value)


def _web_search(tool: wire.Tool, raw: msgspec.Raw, path: str) -> WebSearchTool:
    try:
        filters = wire.decode_filters(tool.filters) if present(tool.filters) else wire.Filters()
    except msgspec.DecodeError:
        raise RequestError("must hold lists of domains", path=f"{path}.filters", code="invalid_value") from None
    where = tool.user_location
    location = None
    if where is not None:
        location = UserLocation(where.city or "", where.region or "", where.country or "", where.timezone or "")
    return WebSearchTool(
        allowed_domains=tuple(filters.allowed_domains or ()),
        blocked_domains=tuple(filters.blocked_domains or ()),
        context_size=tool.search_context_size or "",
        location=location,
        dialect=_NAME,
        raw=raw,
        path=path,
    )


_MODES: Final[dict[str, Literal["auto", "none", "required"]]] = {
    "auto": "auto",
    "none": "none",
    "required": "required",
}


def tool_choice_of(choice: str | wire.ToolChoiceObject | None, stand_ins: StandIns) -> ToolChoice | None:
    """The choice in canonical terms. A namespace among the tools that are allowed is all of its functions."""
    if choice is None:
        return None
    if isinstance(choice, str):
        mode = _MODES.get(choice)
        if mode is None:
            reason = "must be auto, none, required or an object that names a tool"
            raise RequestError(reason, path="tool_choice", code="invalid_value")
        return ToolChoice(mode)
    if choice.type == "allowed_tools":
        if choice.mode not in ("auto", "required"):
            raise RequestError("must be auto or required", path="tool_choice.mode", code="invalid_value")
        allowed = tuple(name for tool in choice.tools or () for name in _functions_of(tool, stand_ins))
        return ToolChoice(_MODES[choice.mode], allowed=allowed)
    if choice.type in ("function", "custom"):
        return ToolChoice("named", function_name(needed(choice.name, "tool_choice.name"), choice.namespace))
    # A tool that the provider runs is named by its type.
    return ToolChoice("named", _WEB_SEARCH[0] if choice.type.startswith(_WEB_SEARCH) else choice.type)


def _functions_of(tool: wire.NamedTool, stand_ins: StandIns) -> Iterator[str]:
    if tool.type == "namespace":
        yield from (called for called, stood_for in stand_ins.items() if stood_for.namespace == tool.name)
    else:
        yield function_name(tool.name or tool.type, tool.namespace)


def needed(value: str | None, path: str) -> str:
    """The value. RequestError where there is none."""
    if not value:
        raise RequestError("must be given and not be empty", path=path, code="invalid_value")
    return value


def schema_of(schema: msgspec.Raw, path: str) -> msgspec.Raw | None:
    """The schema as it was sent. RequestError where it is no object."""
    text = present(schema)
    if not text:
        return None
    if not text.startswith(b"{"):
        raise RequestError("must be a JSON schema object", path=path, code="invalid_value")
    return schema
