"""The tools that Claude knows by their names alone, which clients run, work at every other backend.

Expected: a function stands for each of them; its calls reach the client as calls of its own tools, whole and streamed,
as its SDK reads them; what it sends back is told to the provider as before.
"""

import importlib
import json
from typing import Any, get_args

import anthropic.types
import anthropic.types.beta
import pytest
from headgate.contract.facts import BackendFacts
from headgate.llm.endpoints import lookup
from headgate.llm.errors import RequestError
from headgate.llm.exchange import Plan, UpstreamRequest
from headgate.llm.framing.sse import SseDecoder
from headgate.llm.planning import plan
from support.chat_goldens import CREATED

CHAT = BackendFacts(name="b", dialect="openai-chat", vendor="ChatCompletions")

ANTHROPICS: Any = [
    {"type": "bash_20250124", "name": "bash"},
    {"type": "text_editor_20250728", "name": "str_replace_based_edit_tool"},
    {"type": "memory_20250818", "name": "memory"},
    {"type": "computer_20250124", "name": "computer", "display_width_px": 800, "display_height_px": 600},
    {"type": "computer_toolset_20260801"},
    {"type": "browser_toolset_20260801"},
]
CHAT_CALLS = [
    ("c1", "bash", '{"command": "ls"}'),
    ("c2", "memory", '{"command": "view", "path": "/memories"}'),
    ("c3", "computer__left_click", '{"coordinate": [3, 4]}'),
    ("c4", "browser__new_tab", "{}"),
]


def _chat_answer(stream: bool) -> bytes:
    calls = [
        {"index": index, "id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
        for index, (call_id, name, arguments) in enumerate(CHAT_CALLS)
    ]
    head = {"id": "x", "model": "m", "created": CREATED}
    if not stream:
        message = {"role": "assistant", "content": None, "tool_calls": calls}
        return json.dumps(
            {**head, "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}
        ).encode()
    deltas: list[Any] = [{"delta": {"tool_calls": [call]}} for call in calls]
    deltas.append({"delta": {}, "finish_reason": "tool_calls"})
    chunks = (json.dumps({**head, "choices": [{"index": 0, **delta}]}).encode() for delta in deltas)
    return b"".join(b"data: %b\n\n" % chunk for chunk in chunks) + b"data: [DONE]\n\n"


def _messages(members: Any, facts: BackendFacts = CHAT) -> tuple[Plan, UpstreamRequest]:
    endpoint = lookup("/v1/messages")
    assert endpoint is not None
    chosen = plan(endpoint, facts)
    body = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Go."}], **members}
    return chosen, chosen.translate_request(json.dumps(body).encode(), {})


def _functions(tools: Any) -> dict[str, Any]:
    _, request = _messages({"tools": tools})
    return {tool["function"]["name"]: tool["function"] for tool in json.loads(request.body)["tools"]}


def _blocks(stream: bool) -> list[anthropic.types.ToolUseBlock]:
    chosen, request = _messages({"tools": ANTHROPICS, "stream": stream})
    kind = "text/event-stream" if stream else "application/json"
    translation = chosen.open_response(request, 200, {"content-type": kind}, CREATED)
    received = translation.feed(_chat_answer(stream)) + translation.close()
    if not stream:
        message = anthropic.types.Message.model_validate_json(received)
        return [block for block in message.content if isinstance(block, anthropic.types.ToolUseBlock)]
    sse = SseDecoder()
    events = [json.loads(frame.data) for frame in (*sse.feed(received), *sse.close())]
    blocks = [event["content_block"] for event in events if event["type"] == "content_block_start"]
    for block, index in zip(blocks, range(len(blocks)), strict=True):
        said = [event["delta"]["partial_json"] for event in events if event.get("index") == index and "delta" in event]
        block["input"] = json.loads("".join(said) or "{}")
    return [anthropic.types.ToolUseBlock.model_validate(block) for block in blocks]


@pytest.mark.parametrize("stream", [False, True])
def test_calls_of_functions_are_told_as_calls_of_anthropics_tools(stream: bool) -> None:
    assert [(block.id, block.name, block.toolset_name, block.input) for block in _blocks(stream)] == [
        ("c1", "bash", None, {"command": "ls"}),
        ("c2", "memory", None, {"command": "view", "path": "/memories"}),
        ("c3", "left_click", "computer", {"coordinate": [3, 4]}),
        ("c4", "new_tab", "browser", {}),
    ]


def test_what_an_anthropic_client_sends_back_is_what_the_provider_said() -> None:
    said = [block.model_dump(exclude_none=True) for block in _blocks(stream=False)]
    results = [{"type": "tool_result", "tool_use_id": block["id"], "content": "Done."} for block in said]
    turns = [
        {"role": "user", "content": "Go."},
        {"role": "assistant", "content": said},
        {"role": "user", "content": results},
    ]
    _, request = _messages({"tools": ANTHROPICS, "messages": turns})

    calls = json.loads(request.body)["messages"][1]["tool_calls"]
    assert [(call["id"], call["function"]["name"]) for call in calls] == [call[:2] for call in CHAT_CALLS]


def test_functions_have_the_arguments_that_anthropics_types_have() -> None:
    functions = _functions(ANTHROPICS)

    commands = functions["memory"]["parameters"]["properties"]["command"]["enum"]
    given: set[str] = set()
    for word in commands:
        name = "".join(part.capitalize() for part in word.split("_"))
        fields = getattr(anthropic.types.beta, f"BetaMemoryTool20250818{name}Command").model_fields
        given |= set(fields)
    assert set(functions["memory"]["parameters"]["properties"]) == given

    for family in ("computer", "browser"):
        known = {
            name[len(family) + 2 :]: function for name, function in functions.items() if name.startswith(f"{family}__")
        }
        asked_for: set[str] = (
            {"file_upload", "javascript_exec", "read_console", "read_network"} if family == "browser" else set[str]()
        )
        names = get_args(
            getattr(
                importlib.import_module(f"anthropic.types.{family}_member_name"), f"{family.capitalize()}MemberName"
            )
        )
        assert set(known) == set(names) - asked_for
        for name, function in known.items():
            title = "".join(part.capitalize() for part in (family, *name.split("_"), "input"))
            fields = getattr(anthropic.types, title).model_fields
            aliases = {field.alias or key: field.is_required() for key, field in fields.items()}
            assert set(function["parameters"]["properties"]) == set(aliases), name
            assert set(function["parameters"]["required"]) == {key for key, needed in aliases.items() if needed}, name


@pytest.mark.parametrize(
    ("tool", "words", "inserted"),
    [
        ("text_editor_20241022", {"view", "create", "str_replace", "insert", "undo_edit"}, "new_str"),
        ("text_editor_20250124", {"view", "create", "str_replace", "insert", "undo_edit"}, "new_str"),
        ("text_editor_20250429", {"view", "create", "str_replace", "insert"}, "new_str"),
        ("text_editor_20250728", {"view", "create", "str_replace", "insert"}, "insert_text"),
        ("text_editor_20290101", {"view", "create", "str_replace", "insert"}, "insert_text"),
    ],
)
def test_an_editors_commands_are_those_of_its_version(tool: str, words: set[str], inserted: str) -> None:
    function = _functions([{"type": tool, "name": "edit"}])["edit"]
    members = function["parameters"]["properties"]
    assert set(members["command"]["enum"]) == words
    assert inserted in members
    assert ("insert_text" in members) is (inserted == "insert_text")


def test_members_of_a_toolset_are_switched_on_and_off() -> None:
    configs: Any = {
        "find": {"enabled": False},
        "file_upload": {"enabled": True},
        "fly": None,
        "wait": {"defer_loading": True},
    }
    _, request = _messages({"tools": [{"type": "browser_toolset_20260801", "configs": configs}]})

    names = {tool["function"]["name"] for tool in json.loads(request.body)["tools"]}
    assert "browser__file_upload" in names
    assert not {"browser__find", "browser__javascript_exec", "browser__fly"} & names
    assert [(loss.path, loss.action) for loss in request.losses] == [
        ("tools[0]", "emulated"),
        ("tools[0].configs.fly", "dropped"),
        ("tools[0].configs.wait.defer_loading", "dropped"),
    ]


def test_a_tool_of_anthropics_must_have_its_name() -> None:
    with pytest.raises(RequestError) as caught:
        _messages({"tools": [{"type": "bash_20250124"}]})
    assert caught.value.path == "tools[0].name"


def test_what_anthropic_runs_itself_has_no_function() -> None:
    _, request = _messages({"tools": [{"type": "code_execution_20250825", "name": "code_execution"}]})
    assert "tools" not in json.loads(request.body)
    assert [(loss.path, loss.action) for loss in request.losses] == [("tools[0]", "dropped")]
