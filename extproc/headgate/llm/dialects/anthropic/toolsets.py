"""Anthropic's sets of tools that the client runs: one entry of a request's tools that stands for many.

A call names the member, and the family that it is of (`toolset_name`). To other providers each member is a function,
`computer__left_click`, with the schema that Anthropic documents; those that the client switched off are not offered.

Source: <https://platform.claude.com/docs/en/agents-and-tools/tool-use/tool-reference>, the types of the `anthropic`
package (`computer_*_input`, `browser_*_input`).
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

import msgspec
from headgate.llm.dialects.anthropic import wire
from headgate.llm.stand_ins import object_schema

_TYPE: Final = re.compile(r"(browser|computer)_toolset_\d{8}")


class Member(NamedTuple):
    name: str
    description: str
    parameters: msgspec.Raw


def family_of(tool: wire.Tool) -> str:
    """`browser` or `computer`; empty where it is no set of either."""
    match = _TYPE.fullmatch(tool.type or "")
    return match[1] if match is not None else ""


def members_of(tool: wire.Tool, family: str) -> Iterator[Member]:
    """The members of a set that are offered."""
    for name, (description, parameters) in _FAMILIES[family].items():
        config = (tool.configs or {}).get(name)
        enabled = config.enabled if config is not None else None
        if enabled or (enabled is None and name not in _ASKED_FOR):
            yield Member(name, description, parameters)


def unsaid_of(tool: wire.Tool, family: str) -> Iterator[str]:
    """What a set's settings say that functions cannot."""
    for name, config in (tool.configs or {}).items():
        if name not in _FAMILIES[family]:
            yield f"configs.{name}"
        elif config is not None and config.defer_loading:
            yield f"configs.{name}.defer_loading"


_ASKED_FOR: Final = frozenset(("file_upload", "javascript_exec", "read_console", "read_network"))
"""Members that are there only for who switches them on."""

_TEXT: Final = {"type": "string"}
_TEXTS: Final = {"type": "array", "items": {"type": "string"}}
_COUNT: Final = {"type": "integer"}
_SECONDS: Final = {"type": "number", "description": "Seconds."}
_PLACE: Final = {
    "type": "array",
    "items": {"type": "integer"},
    "description": "[x, y]: pixels from the left and the top edge.",
}
_REGION: Final = {
    "type": "array",
    "items": {"type": "integer"},
    "description": "[x0, y0, x1, y1], in pixels of a screenshot.",
}
_HELD: Final = {"type": "string", "description": "Keys to hold meanwhile, such as ctrl+shift."}
_DIRECTION: Final = {"type": "string", "enum": ["up", "down", "left", "right"]}
_TAB: Final = {"type": "string", "description": "The tab's id; the active tab if left out."}
_POINT: Final = {
    "type": "object",
    "description": "A place in the page as it is seen, in pixels.",
    "properties": {"type": {"type": "string", "enum": ["coordinate"]}, "x": _COUNT, "y": _COUNT},
    "required": ["type", "x", "y"],
}
_ELEMENT: Final = {
    "type": "object",
    "description": "An element that `read_page` or `find` told of.",
    "properties": {"type": {"type": "string", "enum": ["ref"]}, "ref": _TEXT},
    "required": ["type", "ref"],
}
_TARGET: Final = {
    "type": "object",
    "description": "A place in the page (`coordinate`, with `x` and `y`), or an element (`ref`, with its `ref`).",
    "properties": {"type": {"type": "string", "enum": ["coordinate", "ref"]}, "x": _COUNT, "y": _COUNT, "ref": _TEXT},
    "required": ["type"],
}

_AT: Final = " at a place on the screen, or where the cursor is"


def _computer(description: str, *required: str, **members: Mapping[str, Any]) -> tuple[str, msgspec.Raw]:
    return description, object_schema(required, **members)


_COMPUTER: Final = {
    "key": _computer(
        "Presses a key, or keys together, such as Return, Page_Down or ctrl+s.", "text", text=_TEXT, repeat=_COUNT
    ),
    "hold_key": _computer("Holds a key, or keys, for a while.", "text", "duration", text=_TEXT, duration=_SECONDS),
    "type": _computer("Types a text.", "text", text=_TEXT),
    "cursor_position": _computer("Tells where the cursor is."),
    "mouse_move": _computer("Moves the cursor, without a click.", "coordinate", coordinate=_PLACE),
    "left_mouse_down": _computer("Presses the left button where the cursor is."),
    "left_mouse_up": _computer("Releases the left button."),
    "left_click": _computer(f"Clicks{_AT}.", coordinate=_PLACE, text=_HELD),
    "left_click_drag": _computer(
        "Drags from one place to another.",
        "start_coordinate",
        "coordinate",
        start_coordinate=_PLACE,
        coordinate=_PLACE,
        text=_HELD,
    ),
    "right_click": _computer(f"Clicks the right button{_AT}.", coordinate=_PLACE, text=_HELD),
    "middle_click": _computer(f"Clicks the middle button{_AT}.", coordinate=_PLACE, text=_HELD),
    "double_click": _computer(f"Clicks twice{_AT}.", coordinate=_PLACE, text=_HELD),
    "triple_click": _computer(f"Clicks three times{_AT}.", coordinate=_PLACE, text=_HELD),
    "scroll": _computer(
        f"Scrolls{_AT}, by clicks of the wheel.",
        "scroll_direction",
        "scroll_amount",
        scroll_direction=_DIRECTION,
        scroll_amount=_COUNT,
        coordinate=_PLACE,
        text=_HELD,
    ),
    "wait": _computer("Waits.", "duration", duration=_SECONDS),
    "screenshot": _computer("Shows the screen of the user's computer."),
    "zoom": _computer("Shows a part of the screen, larger.", "region", region=_REGION),
}


def _browser(description: str, *required: str, **members: Mapping[str, Any]) -> tuple[str, msgspec.Raw]:
    return description, object_schema(required, **members, tab_id=_TAB)


def _click(description: str) -> tuple[str, msgspec.Raw]:
    return _browser(description, "target", target=_TARGET, modifiers=_HELD)


_BROWSER: Final = {
    "navigate": _browser(
        "Opens a page in the user's browser. `back`, `forward` and `reload` are URLs too.", "url", url=_TEXT
    ),
    "screenshot": _browser("Shows the page as it is seen."),
    "zoom": _browser("Shows a part of what is seen, larger.", "region", region=_REGION),
    "left_click": _click("Clicks."),
    "right_click": _click("Clicks the right button."),
    "middle_click": _click("Clicks the middle button."),
    "double_click": _click("Clicks twice."),
    "triple_click": _click("Clicks three times, which selects a line or paragraph."),
    "hover": _browser("Moves the cursor, without a click.", "target", target=_TARGET),
    "mouse_move": _browser("Moves the cursor to a place, without a click.", "target", target=_POINT),
    "left_mouse_down": _browser("Presses the left button at a place.", "target", target=_POINT),
    "left_mouse_up": _browser("Releases the left button at a place.", "target", target=_POINT),
    "left_click_drag": _browser(
        "Drags from one place to another.", "from", "target", **{"from": _POINT}, target=_POINT
    ),
    "scroll": _browser(
        "Scrolls at a place, by clicks of the wheel: 1 to 10, or 3 if left out.",
        "scroll_direction",
        "target",
        scroll_direction=_DIRECTION,
        target=_POINT,
        scroll_amount=_COUNT,
    ),
    "scroll_to": _browser("Scrolls until an element is seen.", "target", target=_ELEMENT),
    "type": _browser("Types a text where the focus is.", "text", text=_TEXT),
    "key": _browser(
        "Presses a key, keys together (ctrl+a), or several one after the other (Backspace Delete).",
        "text",
        text=_TEXT,
        repeat=_COUNT,
    ),
    "hold_key": _browser(
        "Holds a key, or keys, for 30 seconds at most.", "text", "duration", text=_TEXT, duration=_SECONDS
    ),
    "form_input": _browser(
        "Sets a form's element: true or false for a checkbox, an option for a select.",
        "target",
        "value",
        target=_ELEMENT,
        value={"anyOf": [{"type": "string"}, {"type": "number"}, {"type": "boolean"}]},
    ),
    "read_page": _browser(
        "Tells the elements of the page, or of one of them, as a tree, with references to act on (ref_7). `filter`:"
        " `interactive` ones alone, or `all`, also those out of sight. `depth` is 15 if left out.",
        ref=_TEXT,
        depth=_COUNT,
        filter={"type": "string", "enum": ["all", "interactive"]},
    ),
    "find": _browser("Finds elements by what they are, such as the search bar.", "query", query=_TEXT),
    "get_page_text": _browser("Tells the text of the page."),
    "wait": _browser("Waits, 30 seconds at most.", "duration", duration=_SECONDS),
    "file_upload": _browser(
        "Gives files to a form's element, by their paths or by the ids of documents.",
        "target",
        target=_ELEMENT,
        paths=_TEXTS,
        document_ids=_TEXTS,
    ),
    "read_console": _browser("Tells what the page's console printed since it was read last."),
    "read_network": _browser("Tells the page's network requests since they were read last."),
    "javascript_exec": _browser(
        "Runs JavaScript in the page, and tells the value of its last expression: no `return`.", "text", text=_TEXT
    ),
    "new_tab": ("Opens an empty tab, and tells its id.", object_schema(())),
    "list_tabs": ("Tells of all tabs: id, title and URL.", object_schema(())),
    "switch_tab": ("Makes a tab the active one.", object_schema(("tab_id",), tab_id=_TEXT)),
    "close_tab": ("Closes a tab.", object_schema(("tab_id",), tab_id=_TEXT)),
}

_FAMILIES: Final = {"computer": _COMPUTER, "browser": _BROWSER}
