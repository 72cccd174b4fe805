"""OpenAI's own tools that the client runs: the shell, its older kind, and the patching of files.

OpenAI's models know them; to all others each is a function of the same name, whose arguments are what a call's `action`
or `operation` holds. Calls reach the client as its own items, and what it did goes back as the function's result.

Sources: <https://developers.openai.com/api/docs/guides/tools-shell>, `.../tools-local-shell`, `.../tools-apply-patch`.
"""

from collections.abc import Mapping
from typing import Final, TypeVar

import msgspec
from headgate.llm.canonical import FunctionTool, StandInKind, TextPart, ToolResultPart
from headgate.llm.dialects.openai_chat.wire import present
from headgate.llm.dialects.openai_responses import wire
from headgate.llm.dialects.openai_responses.wire import Members
from headgate.llm.errors import RequestError
from headgate.llm.stand_ins import object_schema
from msgspec.structs import replace

_T = TypeVar("_T")

_encode = msgspec.json.Encoder().encode

SHELL: Final = "shell"
LOCAL_SHELL: Final = "local_shell"
APPLY_PATCH: Final = "apply_patch"
KINDS: Final[Mapping[str, StandInKind]] = {SHELL: "shell", LOCAL_SHELL: "local_shell", APPLY_PATCH: "apply_patch"}

_TEXT: Final = {"type": "string"}
_TEXTS: Final = {"type": "array", "items": _TEXT}
_COUNT: Final = {"type": "integer"}


_FUNCTIONS: Final[Mapping[str, tuple[str, msgspec.Raw]]] = {
    SHELL: (
        "Runs shell commands on the user's machine, and gives what each printed and how it ended.",
        object_schema(("commands",), commands=_TEXTS, timeout_ms=_COUNT, max_output_length=_COUNT),
    ),
    LOCAL_SHELL: (
        "Runs one program on the user's machine, and gives what it printed. `command` holds the program and its"
        ' arguments; for a line of shell it is ["bash", "-lc", line].',
        object_schema(
            ("command",),
            command=_TEXTS,
            env={"type": "object", "additionalProperties": _TEXT},
            working_directory=_TEXT,
            timeout_ms=_COUNT,
            user=_TEXT,
        ),
    ),
    APPLY_PATCH: (
        "Creates, updates or deletes one of the user's files. `diff` is in the V4A format, without line numbers and"
        " without a head that names files. To create a file each line of it begins with `+`. To update one: `@@`, or"
        " `@@ ` and a line of the file above the place, such as the head of a function, begins each change; then some"
        " three lines of context before it and after it, each behind a space, lines to be removed behind `-` and lines"
        " to be added behind `+`. To delete one there is no `diff`.",
        object_schema(
            ("type", "path"),
            type={"type": "string", "enum": ["create_file", "update_file", "delete_file"]},
            path=_TEXT,
            diff=_TEXT,
        ),
    ),
}


def runs_at_client(environment: wire.Environment | str | None) -> bool:
    """Whether a shell is the client's: the other kinds are containers of OpenAI's."""
    return environment is None or (isinstance(environment, wire.Environment) and environment.type == "local")


def function_of(kind: str, environment: wire.Environment | str | None, path: str) -> FunctionTool:
    """The function of such a tool, at a path."""
    description, parameters = _FUNCTIONS[kind]
    skills = (environment.skills or []) if isinstance(environment, wire.Environment) else []
    if skills:
        told = (f"- {skill.name} (in {skill.path}): {skill.description}" for skill in skills)
        description = "\n".join((description, "Skills, each in a folder that has a SKILL.md to be read first:", *told))
    return FunctionTool(kind, description, parameters, path=path)


# --- what a call says ------------------------------------------------------------------------------------------------


def arguments_of(item: wire.Item, path: str) -> str:
    """The arguments of the function, of a client's item: what it has to do, but for what says nothing."""
    name = "operation" if item.type == "apply_patch_call" else "action"
    told = item.operation if item.type == "apply_patch_call" else item.action
    try:
        members = wire.decode_raw_object(present(told) or b"{}")
    except msgspec.DecodeError:
        raise RequestError("must be an object", path=f"{path}.{name}", code="invalid_value") from None
    said = {key: value for key, value in members.items() if present(value)}
    if item.type == "local_shell_call":
        said.pop("type", None)
        if bytes(said.get("env", b"")) == b"{}":
            del said["env"]
    return _encode(said).decode()


def members_of(kind: StandInKind, arguments: str, *, begun: bool) -> Members:
    """What an item says of a call of the function. `begun`: without what is told in pieces."""
    match kind:
        case "shell":
            action = _Shell() if begun else _read(_Shell, arguments) or _Shell()
            return {"action": replace(action, commands=_listed(action.commands)), "environment": {"type": "local"}}
        case "local_shell":
            return {"action": _read(_LocalShell, arguments) or _LocalShell()}
        case _:
            patch = _read(_Patch, arguments)
            if patch is None or patch.type not in ("create_file", "update_file", "delete_file"):
                # the client says what is wrong with it, and the model learns
                patch = _Patch("update_file", patch.path if patch is not None else "", arguments)
            operation: Members = {"type": patch.type, "path": patch.path}
            if patch.type != "delete_file":
                operation["diff"] = "" if begun else patch.diff
            return {"operation": operation}


def commands_of(arguments: str) -> list[str]:
    """The commands of a call of the shell."""
    return _listed((_read(_Shell, arguments) or _Shell()).commands)


class _Shell(msgspec.Struct, frozen=True):
    commands: list[str] | str = []
    timeout_ms: int | None = None
    max_output_length: int | None = None


class _LocalShell(msgspec.Struct, frozen=True, tag_field="type", tag="exec"):
    command: list[str] = []
    env: dict[str, str] = {}
    timeout_ms: int | None = None
    user: str | None = None
    working_directory: str | None = None


class _Patch(msgspec.Struct, frozen=True):
    type: str = ""
    path: str = ""
    diff: str = ""


def _listed(commands: list[str] | str) -> list[str]:
    """A model may say one command as it is."""
    return [commands] if isinstance(commands, str) else commands


def _read(kind: type[_T], arguments: str) -> _T | None:
    try:
        return msgspec.json.decode(arguments, type=kind)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return None


# --- what the client did ---------------------------------------------------------------------------------------------


def result_of(item: wire.Item, call_id: str, path: str) -> ToolResultPart:
    """What a client's shell printed, or became of its patch."""
    output = present(item.output)
    try:
        if item.type == "apply_patch_call_output":
            text = msgspec.json.decode(output, type=str) if output else item.status or ""
            return ToolResultPart(call_id, (TextPart(text),) if text else (), is_error=item.status == "failed" or None)
        chunks = wire.decode_shell_output(output) if output else []
    except msgspec.DecodeError as error:
        raise RequestError(
            f"must be what the tool gave: {error}", path=f"{path}.output", code="invalid_value"
        ) from None
    text = "\n".join(_printed(chunk) for chunk in chunks)
    return ToolResultPart(call_id, (TextPart(text),) if text else ())


def _printed(chunk: wire.ShellOutput) -> str:
    lines = [chunk.stdout.removesuffix("\n")] if chunk.stdout else []
    if chunk.stderr:
        lines += ["[stderr]", chunk.stderr.removesuffix("\n")]
    outcome = chunk.outcome
    if outcome is not None:
        lines.append("[timed out]" if outcome.type == "timeout" else f"[exit code {outcome.exit_code}]")
    return "\n".join(lines)
