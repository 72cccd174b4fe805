"""Anthropic's tools that the client runs: the shell, the editor of files, the memory, the computer.

Claude knows them: a request names a version, and gives no schema. To all other models each is a function of the same
name with the schema that Anthropic documents, so that calls reach the client as it knows them.

Sources: <https://platform.claude.com/docs/en/agents-and-tools/tool-use/bash-tool>, `.../text-editor-tool`,
`.../memory-tool`, `.../computer-use-tool`; the types of the `anthropic` package.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from headgate.llm.canonical import CachePoint, FunctionTool
from headgate.llm.dialects.anthropic import wire
from headgate.llm.errors import RequestError
from headgate.llm.stand_ins import object_schema

_TYPE: Final = re.compile(r"(bash|text_editor|memory|computer)_(\d{8})")

_TEXT: Final = {"type": "string"}
_COUNT: Final = {"type": "integer"}
_NUMBERS: Final = {"type": "array", "items": {"type": "integer"}}

Described = tuple[str, msgspec.Raw]
"""What a model is told of a tool, and the schema of its arguments."""


def function_of(tool: wire.Tool, cache: CachePoint | None, path: str) -> FunctionTool | None:
    """The function of such a tool, at a path; `None` for all others. Of a version that nobody here knows yet it is the
    newest that is known."""
    match = _TYPE.fullmatch(tool.type or "")
    if match is None:
        return None
    if not tool.name:
        raise RequestError("this member is required", path=f"{path}.name", code="invalid_value")
    description, parameters = _DESCRIBED[match[1]](tool, match[2])
    return FunctionTool(tool.name, description, parameters, cache=cache, path=path)


def _bash(_tool: wire.Tool, _version: str) -> Described:
    return (
        "Runs a command in a bash session on the user's machine. The session stays open between calls, with its"
        " folder, its variables and its jobs. `restart`, without a command, begins a new one.",
        object_schema((), command=_TEXT, restart={"type": "boolean"}),
    )


_UNDO_UNTIL: Final = "20250124"
"""The last version of the editor that takes an edit back."""
_INSERTS_TEXT_FROM: Final = "20250728"
"""The first version of the editor that calls what is inserted `insert_text`."""


def _text_editor(tool: wire.Tool, version: str) -> Described:
    commands, undone = ["view", "create", "str_replace", "insert"], ""
    members: dict[str, Any] = {"path": _TEXT, "view_range": _NUMBERS, "file_text": _TEXT}
    members |= {"old_str": _TEXT, "new_str": _TEXT, "insert_line": _COUNT}
    inserted = "new_str"
    if version <= _UNDO_UNTIL:
        commands.append("undo_edit")
        undone = " `undo_edit` takes the last edit of the file back."
    if version >= _INSERTS_TEXT_FROM:
        inserted = "insert_text"
        members[inserted] = _TEXT
    most = f", at most {tool.max_characters} characters of it" if tool.max_characters is not None else ""
    return (
        f"Shows and edits the user's files. `view` shows a file with its lines numbered{most}, or what a folder holds;"
        " `view_range` is the first and the last line to show, counted from 1, -1 being the end. `create` writes"
        " `file_text` into a new file. `str_replace` puts `new_str` in the place of `old_str`, which must stand in the"
        f" file exactly so, and once. `insert` puts `{inserted}` behind the line `insert_line`, 0 being the"
        f" beginning.{undone}",
        object_schema(("command", "path"), command=_one_of(commands), **members),
    )


def _memory(_tool: wire.Tool, _version: str) -> Described:
    commands = ("view", "create", "str_replace", "insert", "delete", "rename")
    return (
        "Files in the folder /memories, which outlive this conversation. View the folder before anything else, for what"
        " is known of the task, and write down there what must not be lost: the conversation may be cut off at any"
        " time. `view` shows a folder, or a file, with `view_range` some of its lines; `create` writes `file_text` into"
        " a file; `str_replace` puts `new_str` in the place of `old_str`; `insert` puts `insert_text` behind the line"
        " `insert_line`; `delete` removes a file or folder at `path`; `rename` moves one from `old_path` to"
        " `new_path`.",
        object_schema(
            ("command",),
            command=_one_of(commands),
            path=_TEXT,
            view_range=_NUMBERS,
            file_text=_TEXT,
            old_str=_TEXT,
            new_str=_TEXT,
            insert_line=_COUNT,
            insert_text=_TEXT,
            old_path=_TEXT,
            new_path=_TEXT,
        ),
    )


_ACTIONS: Final = (
    "key",
    "type",
    "mouse_move",
    "left_click",
    "left_click_drag",
    "right_click",
    "middle_click",
    "double_click",
    "screenshot",
    "cursor_position",
)
_ACTIONS_FROM_2025: Final = ("left_mouse_down", "left_mouse_up", "scroll", "hold_key", "wait", "triple_click")


def _computer(tool: wire.Tool, version: str) -> Described:
    actions = [*_ACTIONS]
    members: dict[str, Any] = {"coordinate": _NUMBERS, "start_coordinate": _NUMBERS, "text": _TEXT}
    told = [
        f"Sees and controls the user's computer{_screen_of(tool)}. A place is [x, y] in pixels from the top left."
        " `screenshot` shows the screen: look at it before and after you act. Clicks are at `coordinate`;"
        " `left_click_drag` goes from `start_coordinate` to `coordinate`; `mouse_move` moves there; `type` writes"
        " `text`; `key` presses the key or keys in `text`, such as Return or ctrl+s."
    ]
    if version > "2025":
        actions += _ACTIONS_FROM_2025
        members |= {"scroll_direction": _one_of(("up", "down", "left", "right")), "scroll_amount": _COUNT}
        members["duration"] = {"type": "number"}
        told.append(
            "`scroll` turns the wheel by `scroll_amount` clicks; `hold_key` holds `text` and `wait` waits for"
            " `duration` seconds; in clicks and scrolls `text` is a key to hold."
        )
    if tool.enable_zoom:
        actions.append("zoom")
        members["region"] = _NUMBERS
        told.append("`zoom` shows `region`, [x0, y0, x1, y1], larger.")
    return " ".join(told), object_schema(("action",), action=_one_of(actions), **members)


def _screen_of(tool: wire.Tool) -> str:
    size = f", whose screen is {tool.display_width_px} by {tool.display_height_px} pixels"
    number = f" (X11 display {tool.display_number})" if tool.display_number is not None else ""
    return (size if tool.display_width_px and tool.display_height_px else "") + number


def _one_of(words: list[str] | tuple[str, ...]) -> dict[str, Any]:
    return {"type": "string", "enum": words}


_DESCRIBED: Final[Mapping[str, Callable[[wire.Tool, str], Described]]] = {
    "bash": _bash,
    "text_editor": _text_editor,
    "memory": _memory,
    "computer": _computer,
}
