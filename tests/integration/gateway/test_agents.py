"""Tools that only OpenAI's clients have (freeform ones, and one namespace for each MCP server), Claude behind them; and
tools that only Claude knows, OpenAI's models behind them."""

import json
from typing import Any

import pytest
from anthropic import beta_tool
from anthropic.lib.tools import BetaAbstractMemoryTool
from support.providers import Answer, ToolUse
from support.stage import Stage

pytestmark = pytest.mark.envoy

PATCH = '*** Begin Patch\n+ say("hi")\n*** End Patch'
USED = Answer(
    text="",
    tools=(
        ToolUse("apply_patch", json.dumps({"input": PATCH}), "call_1"),
        ToolUse("mcp__files__read", '{"path": "a.py"}', "call_2"),
    ),
)
READ: Any = {"type": "function", "name": "read", "parameters": {"type": "object"}, "strict": False}
TOOLS: Any = [
    {"type": "custom", "name": "apply_patch", "description": "Edits files."},
    {"type": "namespace", "name": "mcp__files", "description": "Files.", "tools": [READ]},
]
ASKED: Any = [{"role": "user", "content": "Mend it."}]
CUSTOM: Any = [{"type": "custom", "custom": {"name": "apply_patch"}}]


def test_an_agent_has_calls_of_its_own_tools_and_sends_them_back(stage: Stage) -> None:
    """Streamed, and what the client's own objects say is sent as the next turn."""
    client = stage.openai()
    stage["anthropic"].answer(USED, Answer(text="Done."))
    with client.responses.stream(model="claude", input="Mend it.", tools=TOOLS) as stream:
        final = stream.get_final_response()
    patch, read = (item for item in final.output if item.type in ("custom_tool_call", "function_call"))
    assert patch.type == "custom_tool_call"
    assert (patch.name, patch.input) == ("apply_patch", PATCH)
    assert read.type == "function_call"
    assert json.loads(read.arguments) == {"path": "a.py"}
    assert (read.name, getattr(read, "namespace", "")) == ("read", "mcp__files")
    results: Any = [
        {"type": "custom_tool_call_output", "call_id": patch.call_id, "output": "mended"},
        {"type": "function_call_output", "call_id": read.call_id, "output": "say()"},
    ]
    said: Any = [*ASKED, *(item.to_dict() for item in final.output), *results]
    assert client.responses.create(model="claude", input=said, tools=TOOLS).output_text == "Done."
    turns = stage["anthropic"].last.json["messages"]
    assert [block["name"] for block in turns[1]["content"]] == ["apply_patch", "mcp__files__read"]
    assert [block["tool_use_id"] for block in turns[2]["content"]] == ["call_1", "call_2"]


def test_the_shell_and_patches_of_openais_clients_are_called_and_answered(stage: Stage) -> None:
    """As its Agents SDK asks for them with `ShellTool` and `ApplyPatchTool`, and runs them itself."""
    client = stage.openai()
    tools: Any = [{"type": "shell"}, {"type": "apply_patch"}]
    made = json.dumps({"type": "create_file", "path": "a.py", "diff": "+x"})
    calls = (ToolUse("shell", '{"commands": ["ls"]}', "call_1"), ToolUse("apply_patch", made, "call_2"))
    stage["anthropic"].answer(Answer(text="", tools=calls), Answer(text="Done."))
    with client.responses.stream(model="claude", input="Mend it.", tools=tools) as stream:
        final = stream.get_final_response()
    items: dict[str, Any] = {item.type: item for item in final.output}
    assert items["shell_call"].action.commands == ["ls"]
    assert items["apply_patch_call"].operation.path == "a.py"
    printed = {"stdout": "a.py", "stderr": "", "outcome": {"type": "exit", "exit_code": 0}}
    results: Any = [
        {"type": "shell_call_output", "call_id": "call_1", "output": [printed]},
        {"type": "apply_patch_call_output", "call_id": "call_2", "status": "completed", "output": "made"},
    ]
    said: Any = [*ASKED, *(item.to_dict() for item in final.output), *results]
    assert client.responses.create(model="claude", input=said, tools=tools).output_text == "Done."
    turns = stage["anthropic"].last.json["messages"]
    assert [block["name"] for block in turns[1]["content"]] == ["shell", "apply_patch"]
    assert [block["tool_use_id"] for block in turns[2]["content"]] == ["call_1", "call_2"]


def test_a_chat_client_has_the_text_of_a_custom_tools_call(stage: Stage) -> None:
    stage["anthropic"].answer(Answer(text="", tools=USED.tools[:1]), Answer(text="", tools=USED.tools[:1]))
    completions, messages = stage.openai().chat.completions, ASKED
    answer: Any = completions.create(model="claude", messages=messages, tools=CUSTOM)
    (call,) = answer.choices[0].message.tool_calls
    assert (call.type, call.custom.name, call.custom.input) == ("custom", "apply_patch", PATCH)
    stream = completions.create(model="claude", messages=messages, tools=CUSTOM, stream=True)
    chunks: list[Any] = [chunk.to_dict() for chunk in stream]
    deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
    calls = [call for delta in deltas for call in delta.get("tool_calls", ())]
    assert {call["index"] for call in calls} == {0}
    assert "".join(call["custom"].get("input", "") for call in calls) == PATCH


def test_a_namespace_of_nonsense_is_refused_with_its_path(stage: Stage) -> None:
    body = {"model": "claude", "input": "Hi", "tools": [{"type": "namespace", "name": "n", "tools": [{"type": 7}]}]}
    refused = stage.post("/v1/responses", body)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "tools[0].tools[0]")
    assert not stage["anthropic"].requests


def test_tools_that_come_as_items_are_searched_and_called(stage: Stage) -> None:
    """As Codex says them for OpenAI's models from 5.6 on: none at the top, its own search for those of MCP servers."""
    client = stage.openai()
    search = {"type": "tool_search", "execution": "client", "description": "Finds tools.", "parameters": None}
    added = {"type": "additional_tools", "role": "developer", "tools": [TOOLS[0], search]}
    said: Any = [added, *ASKED]
    stage["anthropic"].answer(
        Answer(text="", tools=(ToolUse("tool_search", '{"query": "files"}', "call_1"),)),
        Answer(text="", tools=(ToolUse("mcp__files__read", '{"path": "a.py"}', "call_2"),)),
    )
    with client.responses.stream(model="claude", input=said) as stream:
        (searched,) = stream.get_final_response().output
    assert searched.type == "tool_search_call"
    assert (searched.execution, searched.arguments) == ("client", {"query": "files"})
    found = {"type": "tool_search_output", "call_id": searched.call_id, "execution": "client", "tools": [TOOLS[1]]}
    again: Any = [*said, searched.to_dict(), found]
    (read,) = client.responses.create(model="claude", input=again).output
    assert read.type == "function_call"
    assert (read.name, read.namespace) == ("read", "mcp__files")
    offered = [[tool["name"] for tool in request.json["tools"]] for request in stage["anthropic"].requests]
    assert offered == [["apply_patch", "tool_search"], ["apply_patch", "tool_search", "mcp__files__read"]]


def test_a_backends_mark_has_claude_cache_what_openais_clients_say(stage: Stage) -> None:
    """As docs/clients.md tells; the second turn only adds to the first."""
    client = stage.openai()
    client.responses.create(model="cached-claude", input=ASKED, tools=TOOLS)
    said: Any = [*ASKED, {"role": "assistant", "content": "Done."}, {"role": "user", "content": "Again."}]
    client.responses.create(model="cached-claude", input=said, tools=TOOLS)
    first, second = (request.json for request in stage["anthropic"].requests)
    assert first["cache_control"] == second["cache_control"] == {"type": "ephemeral"}
    assert second["tools"] == first["tools"]
    assert second["messages"][: len(first["messages"])] == first["messages"]


def test_anthropics_tool_runner_goes_on_without_the_thread_that_only_anthropic_keeps(stage: Stage) -> None:
    """It begins a thread by itself, and would send the second turn without the first."""
    stage["openai"].answer(
        Answer(text="", tools=(ToolUse("weather", '{"city": "Bern"}', "call_1"),)), Answer(text="Sun.")
    )
    runner = stage.anthropic().beta.messages.tool_runner(
        model="gpt", max_tokens=100, messages=[{"role": "user", "content": "Weather?"}], tools=[weather]
    )
    (said,) = runner.until_done().content
    assert said.type == "text"
    assert said.text == "Sun."
    assert [message["role"] for message in stage["openai"].last.json["messages"]] == ["user", "assistant", "tool"]


class Memory(BetaAbstractMemoryTool):
    """Says what it was asked for, by each command's type."""

    def view(self, command: Any) -> str:
        return f"view {command.path}"

    def create(self, command: Any) -> str:
        return f"create {command.path}: {command.file_text}"

    def str_replace(self, command: Any) -> str:
        return f"str_replace {command.path}"

    def insert(self, command: Any) -> str:
        return f"insert {command.path}"

    def delete(self, command: Any) -> str:
        return f"delete {command.path}"

    def rename(self, command: Any) -> str:
        return f"rename {command.old_path} {command.new_path}"

    def clear_all_memory(self) -> str:
        return "clear"


@pytest.mark.parametrize("stream", [False, True])
def test_anthropics_tool_runner_keeps_a_memory_for_another_model(stage: Stage, stream: bool) -> None:
    """Its memory is a tool whose schema Claude knows; here a function tells it to the model."""
    made = {"command": "create", "path": "/memories/a.md", "file_text": "Tea."}
    moved = {"command": "rename", "old_path": "/memories/a.md", "new_path": "/memories/b.md"}
    stage["openai"].answer(
        Answer(text="", tools=(ToolUse("memory", json.dumps(made), "call_1"),)),
        Answer(text="", tools=(ToolUse("memory", json.dumps(moved), "call_2"),)),
        Answer(text="Kept."),
    )
    runner: Any = stage.anthropic().beta.messages.tool_runner(
        model="gpt", max_tokens=100, messages=[{"role": "user", "content": "Keep it."}], tools=[Memory()], stream=stream
    )
    (said,) = runner.until_done().content
    assert said.text == "Kept."
    sent = stage["openai"].last.json
    assert [tool["function"]["name"] for tool in sent["tools"]] == ["memory"]
    results = [message["content"] for message in sent["messages"] if message["role"] == "tool"]
    assert results == ["create /memories/a.md: Tea.", "rename /memories/a.md /memories/b.md"]


def test_the_tools_that_claude_knows_are_called_by_another_model(stage: Stage) -> None:
    tools: Any = [
        {"type": "bash_20250124", "name": "bash"},
        {"type": "text_editor_20250728", "name": "str_replace_based_edit_tool"},
        {"type": "computer_toolset_20260801"},
    ]
    view = {"command": "view", "path": "/a.py"}
    calls = (
        ToolUse("bash", '{"command": "ls"}', "call_1"),
        ToolUse("str_replace_based_edit_tool", json.dumps(view), "call_2"),
        ToolUse("computer__left_click", '{"coordinate": [3, 4]}', "call_3"),
    )
    stage["openai"].answer(Answer(text="", tools=calls), Answer(text="Done."))
    messages = stage.anthropic().messages
    asked: Any = {"model": "gpt", "max_tokens": 100, "tools": tools}
    with messages.stream(**asked, messages=ASKED) as stream:
        final = stream.get_final_message()
    used: list[Any] = [block for block in final.content if block.type == "tool_use"]
    assert [(block.name, block.toolset_name) for block in used] == [
        ("bash", None),
        ("str_replace_based_edit_tool", None),
        ("left_click", "computer"),
    ]
    assert [block.input for block in used] == [{"command": "ls"}, view, {"coordinate": [3, 4]}]
    results: Any = [{"type": "tool_result", "tool_use_id": block.id, "content": "ok"} for block in used]
    turns: Any = [
        *ASKED,
        {"role": "assistant", "content": [block.to_dict() for block in final.content]},
        {"role": "user", "content": results},
    ]
    create: Any = messages.create
    said = create(**asked, messages=turns)
    assert said.content[0].text == "Done."
    sent = stage["openai"].last.json["messages"]
    names = [call["function"]["name"] for message in sent for call in message.get("tool_calls", ())]
    assert names == [call.name for call in calls]


@beta_tool
def weather(city: str) -> str:
    """Weather of a city."""
    return f"Sun in {city}."
