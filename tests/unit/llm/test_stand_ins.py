"""Custom tools and tools of namespaces, which agents offer to OpenAI's models, work at every other backend.

Expected: a function stands for each of them; its calls reach the client as calls of its own tools, whole and streamed,
as its SDK reads them; what it sends back is told to the provider as before.
"""

import json
from typing import Any

import openai.types.chat
import openai.types.responses
import pydantic
import pytest
from headgate.contract.facts import BackendFacts
from headgate.llm.endpoints import lookup
from headgate.llm.errors import RequestError
from headgate.llm.exchange import Plan, UpstreamRequest
from headgate.llm.framing.frame import Frame
from headgate.llm.framing.sse import SseDecoder
from headgate.llm.planning import plan
from headgate.llm.stand_ins import FreeformText, freeform_text, function_name
from support.chat_goldens import CREATED

PATCH = '*** Begin Patch\n+"hello"\\\n*** End Patch\n'
GRAMMAR = {"type": "grammar", "syntax": "lark", "definition": "start: x"}
SEARCH = {"type": "function", "name": "search", "parameters": None}
TOOLS: list[dict[str, Any]] = [
    {"type": "custom", "name": "apply_patch", "format": GRAMMAR},
    {"type": "namespace", "name": "mcp__index", "description": "The index.", "tools": [SEARCH]},
    {"type": "function", "name": "shell", "parameters": None, "strict": None},
]
CHAT_TOOLS: list[dict[str, Any]] = [{"type": "custom", "custom": {"name": "apply_patch"}}]


def frames_of(received: bytes) -> list[Frame]:
    sse = SseDecoder()
    return [*sse.feed(received), *sse.close()]


def _plan(path: str) -> Plan:
    endpoint = lookup(path)
    assert endpoint is not None
    return plan(endpoint, BackendFacts(name="b", dialect="anthropic-messages", model="claude-sonnet-4-5"))


def _call(call_id: str, name: str, arguments: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": call_id, "name": name, "input": arguments}


SAID = [
    _call("t1", "apply_patch", {"input": PATCH}),
    _call("t2", "mcp__index__search", {"query": "hello"}),
    _call("t3", "shell", {}),
]
EMPTY: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude",
    "content": [],
    "stop_reason": None,
    "usage": {"input_tokens": 1, "output_tokens": 2},
}
FOUND = [_call("t1", "tool_search", {"query": "mail"})]


def _event(name: str, **members: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), json.dumps({"type": name, **members}).encode())


def _streamed_answer(said: list[dict[str, Any]]) -> bytes:
    events = [_event("message_start", message=EMPTY)]
    for index, block in enumerate(said):
        events.append(_event("content_block_start", index=index, content_block={**block, "input": {}}))
        for piece in json.dumps(block["input"]):
            delta = {"type": "input_json_delta", "partial_json": piece}
            events.append(_event("content_block_delta", index=index, delta=delta))
        events.append(_event("content_block_stop", index=index))
    events.append(_event("message_delta", delta={"stop_reason": "tool_use"}, usage={"output_tokens": 2}))
    return b"".join((*events, _event("message_stop")))


def _answered(path: str, body: dict[str, Any], said: list[dict[str, Any]] = SAID) -> tuple[UpstreamRequest, bytes]:
    """What the provider was asked, and what the client gets."""
    chosen = _plan(path)
    request = chosen.translate_request(json.dumps({"model": "m", **body}).encode(), {})
    kind = "text/event-stream" if body.get("stream") else "application/json"
    translation = chosen.open_response(request, 200, {"content-type": kind}, CREATED)
    whole = {**EMPTY, "content": said, "stop_reason": "tool_use"}
    answer = _streamed_answer(said) if body.get("stream") else json.dumps(whole).encode()
    return request, translation.feed(answer) + translation.close()


def _whole_response(stream: bool) -> openai.types.responses.Response:
    _, received = _answered("/v1/responses", {"input": "Go.", "tools": TOOLS, "stream": stream})
    if not stream:
        return openai.types.responses.Response.model_validate_json(received)
    last = json.loads(frames_of(received)[-1].data)
    assert last["type"] == "response.completed"
    return openai.types.responses.Response.model_validate(last["response"])


@pytest.mark.parametrize("stream", [False, True])
def test_calls_are_told_as_calls_of_the_clients_tools(stream: bool) -> None:
    patch, search, shell = _whole_response(stream).output

    assert isinstance(patch, openai.types.responses.ResponseCustomToolCall)
    assert (patch.call_id, patch.name, patch.input, patch.namespace) == ("t1", "apply_patch", PATCH, None)
    assert isinstance(search, openai.types.responses.ResponseFunctionToolCall)
    assert (search.name, search.namespace) == ("search", "mcp__index")
    assert json.loads(search.arguments) == {"query": "hello"}
    assert isinstance(shell, openai.types.responses.ResponseFunctionToolCall)
    assert (shell.name, shell.namespace) == ("shell", None)


def test_a_custom_call_streams_as_its_text() -> None:
    _, received = _answered("/v1/responses", {"input": "Go.", "tools": TOOLS, "stream": True})
    events = [json.loads(frame.data) for frame in frames_of(received)]
    of_patch = [event for event in events if event.get("output_index") == 0]

    added, *deltas, done, whole = of_patch
    assert [event["type"] for event in (added, done, whole)] == [
        "response.output_item.added",
        "response.custom_tool_call_input.done",
        "response.output_item.done",
    ]
    assert {event["type"] for event in deltas} == {"response.custom_tool_call_input.delta"}
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert added["item"]["input"] == ""
    assert "".join(event["delta"] for event in deltas) == done["input"] == whole["item"]["input"] == PATCH
    assert len(deltas) == len(PATCH)
    assert {event["item_id"] for event in (*deltas, done)} == {whole["item"]["id"]}


def test_what_the_client_sends_back_is_what_the_provider_said() -> None:
    items = [item.model_dump(exclude_unset=True) for item in _whole_response(stream=False).output]
    results = [{"type": "custom_tool_call_output", "call_id": "t1", "output": "Done."}]
    results += [{"type": "function_call_output", "call_id": name, "output": "Done."} for name in ("t2", "t3")]
    request, _ = _answered(
        "/v1/responses", {"input": [{"role": "user", "content": "Go."}, *items, *results], "tools": TOOLS}
    )
    _, said, answers = json.loads(request.body)["messages"]

    assert said["content"] == SAID
    assert [block["tool_use_id"] for block in answers["content"]] == ["t1", "t2", "t3"]


def test_what_a_function_cannot_say_is_told() -> None:
    request, _ = _answered("/v1/responses", {"input": "Go.", "tools": TOOLS})

    assert [(loss.path, loss.action) for loss in request.losses] == [("tools[0]", "changed"), ("tools[1]", "emulated")]


def test_the_grammar_is_told_to_the_model() -> None:
    request, _ = _answered("/v1/responses", {"input": "Go.", "tools": TOOLS})

    assert json.loads(request.body)["tools"][0]["description"].endswith("(lark):\nstart: x")


def test_a_chat_client_gets_custom_calls() -> None:
    body = {"messages": [{"role": "user", "content": "Go."}], "tools": CHAT_TOOLS}
    _, received = _answered("/v1/chat/completions", body)
    calls = openai.types.chat.ChatCompletion.model_validate_json(received).choices[0].message.tool_calls
    assert calls is not None

    assert isinstance(calls[0], openai.types.chat.ChatCompletionMessageCustomToolCall)
    assert calls[0].custom.input == PATCH
    assert [call.type for call in calls] == ["custom", "function", "function"]


def test_a_streaming_chat_client_gets_custom_calls() -> None:
    body = {"messages": [{"role": "user", "content": "Go."}], "tools": CHAT_TOOLS, "stream": True}
    _, received = _answered("/v1/chat/completions", body)
    chunks = [json.loads(frame.data) for frame in frames_of(received) if frame.data != b"[DONE]"]
    pieces = [call for chunk in chunks for call in chunk["choices"][0]["delta"].get("tool_calls", ())]
    custom = [piece for piece in pieces if piece["index"] == 0]

    assert custom[0] == {"index": 0, "id": "t1", "type": "custom", "custom": {"name": "apply_patch", "input": ""}}
    assert "".join(piece["custom"]["input"] for piece in custom) == PATCH


def test_a_clients_search_is_told_as_its_own_item() -> None:
    tool = {"type": "tool_search", "execution": "client", "parameters": None}
    _, whole = _answered("/v1/responses", {"input": "Go.", "tools": [tool]}, FOUND)
    _, streamed = _answered("/v1/responses", {"input": "Go.", "tools": [tool], "stream": True}, FOUND)
    events = [json.loads(frame.data) for frame in frames_of(streamed)]
    of_call = [event for event in events if event.get("output_index") == 0]

    (call,) = openai.types.responses.Response.model_validate_json(whole).output
    assert isinstance(call, openai.types.responses.ResponseToolSearchCall)
    assert (call.call_id, call.execution, call.arguments) == ("t1", "client", {"query": "mail"})
    assert [event["type"] for event in of_call] == ["response.output_item.added", "response.output_item.done"]
    assert of_call[0]["item"] == {**call.to_dict(), "arguments": {}, "status": "in_progress"}
    assert of_call[1]["item"] == call.to_dict()


def test_a_search_that_openai_runs_is_no_function() -> None:
    request, _ = _answered("/v1/responses", {"input": "Go.", "tools": [{"type": "tool_search"}]})

    assert "tools" not in json.loads(request.body)
    assert [(loss.path, loss.action) for loss in request.losses] == [("tools[0]", "dropped")]


def test_tools_said_on_the_way_are_offered_once_behind_those_at_the_top() -> None:
    found: Any = {"type": "function", "name": "read", "parameters": None}
    added = {"type": "additional_tools", "role": "developer", "tools": [TOOLS[0], found]}
    searched: Any = [
        {"type": "tool_search_call", "call_id": "t1", "execution": "client", "arguments": {"query": "files"}},
        {"type": "tool_search_output", "call_id": "t1", "execution": "client", "tools": [found, TOOLS[2]]},
    ]
    request, _ = _answered(
        "/v1/responses", {"input": [added, {"role": "user", "content": "Go."}, *searched], "tools": [TOOLS[2]]}
    )
    body = json.loads(request.body)

    assert [tool["name"] for tool in body["tools"]] == ["shell", "apply_patch", "read"]
    assert body["messages"][1]["content"] == [_call("t1", "tool_search", {"query": "files"})]
    assert body["messages"][2]["content"][0]["content"] == "These tools can be called now: read, shell"


def test_results_of_one_call_are_one_result() -> None:
    """Codex's scripts tell what they do in results of their call, before and after it ends."""
    call = {"type": "custom_tool_call", "call_id": "t1", "name": "apply_patch", "input": PATCH}
    said = [
        {"type": "custom_tool_call_output", "call_id": "t1", "output": text} for text in ("Half.", "Done.", "Late.")
    ]
    between = {"role": "assistant", "content": "Good."}
    body = {"input": [{"role": "user", "content": "Go."}, call, *said[:2], between, said[2]], "tools": TOOLS}
    request, _ = _answered("/v1/responses", body)
    messages = json.loads(request.body)["messages"]

    texts = [{"type": "text", "text": text} for text in ("Half.", "Done.", "Late.")]
    assert messages[2]["content"] == [{"type": "tool_result", "tool_use_id": "t1", "content": texts}]
    assert messages[3]["content"] == [{"type": "text", "text": "Good."}]


def test_a_loss_names_the_place_of_its_tool() -> None:
    request, _ = _answered("/v1/responses", {"input": "Go.", "tools": [*TOOLS[1:], {"type": "image_generation"}]})

    assert [loss.path for loss in request.losses if loss.action == "dropped"] == ["tools[2]"]


@pytest.mark.parametrize(
    "allowed",
    [
        {"type": "namespace", "name": "mcp__index"},
        {"type": "function", "name": "search", "namespace": "mcp__index"},
    ],
)
def test_tools_of_a_namespace_may_be_the_only_ones_allowed(allowed: dict[str, str]) -> None:
    choice = {"type": "allowed_tools", "mode": "required", "tools": [allowed]}
    request, _ = _answered("/v1/responses", {"input": "Go.", "tools": TOOLS, "tool_choice": choice})
    body = json.loads(request.body)

    assert [tool["name"] for tool in body["tools"]] == ["mcp__index__search"]
    assert body["tool_choice"]["type"] == "any"


def test_a_tool_of_a_namespace_is_chosen() -> None:
    choice = {"type": "function", "name": "search", "namespace": "mcp__index"}
    request, _ = _answered("/v1/responses", {"input": "Go.", "tools": TOOLS, "tool_choice": choice})

    assert json.loads(request.body)["tool_choice"] == {"type": "tool", "name": "mcp__index__search"}


@pytest.mark.parametrize(
    ("item", "path"),
    [
        ({"type": "additional_tools", "tools": [{"type": "custom"}]}, "input[1].tools[0].name"),
        ({"type": "additional_tools", "tools": [7]}, "input[1].tools[0]"),
        ({"type": "tool_search_call", "execution": "client", "arguments": {}}, "input[1].call_id"),
        ({"type": "function_call", "call_id": "a", "name": "b", "arguments": {}}, "input[1].arguments"),
        ({"type": "compaction_trigger"}, "input[1]"),
    ],
)
def test_wrong_items_are_refused_by_their_place(item: dict[str, Any], path: str) -> None:
    with pytest.raises(RequestError) as refused:
        _answered("/v1/responses", {"input": [{"role": "user", "content": "Go."}, item]})

    assert refused.value.path == path


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ('{"input":"a"}', "a"),
        ('{"input":"a","why":"b"}', "a"),
        ('{"patch":"a"}', "a"),
        ("{}", ""),
        ("", ""),
        ('{"a":"b","c":"d"}', '{"a":"b","c":"d"}'),
        ('{"input":["a"]}', '{"input":["a"]}'),
        ('{"input":"a', "a"),
        ('{"input":"a\\', "a"),
        ('{"input":"a\\u00e', "a"),
        ('{"input":"a\\ud83d', "a\ufffd"),
        ('{"input":"a","input":"b"}', "a"),
        (' {\n"input" :\t"a"}', "a"),
        ('{"inputs":"a"}', "a"),
        ('{"why":"b","input":"a"}', "a"),
        ('{"why":"b","input":"a', '{"why":"b","input":"a'),
        ('{"input":"\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9é\\uD83D\\ude00😀"}', '"\\/\b\f\n\r\té\u00e9😀😀'),
        ('{"input":"a\nb\\x\\u12g4\\udc00\\ud83d\\u0041\\ud83dx\\n"}', "a\nb\\x\\u12g4\ufffd\ufffdA\ufffdx\n"),
        ('{"input":"\\\\ud83d\\ude00"}', "\\ud83d\ufffd"),
        ('{"input":"a" + "b"}', "a"),
        ("plain", "plain"),
    ],
)
def test_the_text_of_a_call(arguments: str, text: str) -> None:
    assert freeform_text(arguments) == text
    for cut in range(len(arguments) + 1):
        reader = FreeformText()
        pieces = (reader.feed(arguments[:cut]), reader.feed(arguments[cut:]), reader.close())
        assert "".join(pieces) == text
    reader = FreeformText()
    assert "".join(map(reader.feed, arguments)) + reader.close() == text


def test_a_text_is_told_as_it_comes() -> None:
    reader = FreeformText()
    assert reader.feed(' {"input": "one\\n') == "one\n"
    assert reader.feed("two \\ud83d") == "two "
    assert reader.feed("\\ude00") == "😀"
    assert reader.feed('"') == reader.feed("}") == reader.close() == ""


def test_names_in_a_namespace() -> None:
    assert function_name("search", "mcp__index") == function_name("search", "mcp__index__") == "mcp__index__search"
    assert function_name("search", None) == "search"


@pytest.mark.parametrize(
    ("tool", "path"),
    [
        ({"type": "custom"}, "tools[0].name"),
        ({"type": "namespace", "tools": []}, "tools[0].name"),
        ({"type": "namespace", "name": "n", "tools": [{"type": "mcp", "name": "x"}]}, "tools[0].tools[0].type"),
        ({"type": "namespace", "name": "n", "tools": [{"type": "function"}]}, "tools[0].tools[0].name"),
        ({"type": "namespace", "name": "n", "tools": ["f"]}, "tools[0].tools[0]"),
    ],
)
def test_wrong_tools_are_refused_by_their_place(tool: dict[str, Any], path: str) -> None:
    with pytest.raises(RequestError) as refused:
        _answered("/v1/responses", {"input": "Go.", "tools": [tool]})

    assert refused.value.path == path


DIFF = '@@ def main():\n-    pass\n+    print("hé")\n'
SKILL = {"name": "s", "description": "Does.", "path": "/s"}
BUILT_IN: list[dict[str, Any]] = [
    {
        "type": "shell",
        "environment": {"type": "local", "skills": [SKILL]},
    },
    {"type": "local_shell"},
    {"type": "apply_patch"},
]
RAN = [
    _call("t1", "shell", {"commands": ["ls -l", 'echo "é"'], "timeout_ms": 9}),
    _call("t2", "local_shell", {"command": ["ls", "-l"], "env": {"A": "b"}}),
    _call("t3", "apply_patch", {"type": "update_file", "path": "a.py", "diff": DIFF}),
    _call("t4", "apply_patch", {"type": "delete_file", "path": "b.py"}),
]
RAN_OUTPUTS: list[dict[str, Any]] = [
    {
        "type": "shell_call_output",
        "call_id": "t1",
        "output": [
            {"stdout": "a\n", "stderr": "", "outcome": {"type": "exit", "exit_code": 0}},
            {"stdout": "", "stderr": "b", "outcome": {"type": "timeout"}},
        ],
    },
    {"type": "local_shell_call_output", "id": "t2", "output": "a"},
    {"type": "apply_patch_call_output", "call_id": "t3", "status": "completed"},
    {"type": "apply_patch_call_output", "call_id": "t4", "status": "failed", "output": "No such file."},
]


def _ran(stream: bool, said: list[dict[str, Any]] = RAN) -> openai.types.responses.Response:
    _, received = _answered("/v1/responses", {"input": "Go.", "tools": BUILT_IN, "stream": stream}, said)
    if stream:
        received = json.dumps(json.loads(frames_of(received)[-1].data)["response"]).encode()
    return openai.types.responses.Response.model_validate_json(received)


def test_what_the_client_runs_is_a_function() -> None:
    request, _ = _answered("/v1/responses", {"input": "Go.", "tools": BUILT_IN, "tool_choice": {"type": "shell"}}, RAN)
    body = json.loads(request.body)

    assert [tool["name"] for tool in body["tools"]] == ["shell", "local_shell", "apply_patch"]
    assert body["tools"][0]["description"].endswith("- s (in /s): Does.")
    assert body["tools"][0]["input_schema"]["required"] == ["commands"]
    assert body["tool_choice"] == {"type": "tool", "name": "shell"}
    assert [(loss.path, loss.action) for loss in request.losses] == [(f"tools[{i}]", "emulated") for i in range(3)]


@pytest.mark.parametrize("stream", [False, True])
def test_what_the_client_is_to_run_is_told_as_its_own_items(stream: bool) -> None:
    shell, local, patch, removal = _ran(stream).output

    assert isinstance(shell, openai.types.responses.ResponseFunctionShellToolCall)
    assert (shell.call_id, shell.action.commands, shell.action.timeout_ms) == ("t1", ["ls -l", 'echo "é"'], 9)
    assert shell.environment is not None
    assert shell.environment.type == "local"
    assert local.type == "local_shell_call"
    assert (local.call_id, local.action.type, local.action.command, local.action.env) == (
        "t2",
        "exec",
        ["ls", "-l"],
        {"A": "b"},
    )
    assert isinstance(patch, openai.types.responses.ResponseApplyPatchToolCall)
    assert patch.operation.to_dict() == {"type": "update_file", "path": "a.py", "diff": DIFF}
    assert isinstance(removal, openai.types.responses.ResponseApplyPatchToolCall)
    assert removal.operation.to_dict() == {"type": "delete_file", "path": "b.py"}


def test_the_clients_commands_are_streamed() -> None:
    _, received = _answered("/v1/responses", {"input": "Go.", "tools": BUILT_IN, "stream": True}, RAN)
    events = [json.loads(frame.data) for frame in frames_of(received)]
    of_shell = [event for event in events if event.get("output_index") == 0]
    of_patch = [event for event in events if event.get("output_index") == 2]

    kinds = [f"response.shell_call_command.{kind}" for kind in ("added", "delta", "done")]
    added, *commands, done = of_shell
    assert [event["type"] for event in commands] == kinds * 2
    assert [event.get("delta") for event in commands if event["type"] == kinds[1]] == ["ls -l", 'echo "é"']
    assert added["item"]["action"]["commands"] == []
    assert (added["item"]["status"], done["item"]["status"]) == ("in_progress", "completed")
    assert [event["type"] for event in of_patch] == ["response.output_item.added", "response.output_item.done"]
    assert of_patch[0]["item"]["operation"] == {"type": "update_file", "path": "a.py", "diff": ""}
    reader = pydantic.TypeAdapter[Any](openai.types.responses.ResponseStreamEvent)
    for event in events:
        reader.validate_python(event)


def test_what_the_client_ran_is_the_result_of_the_function() -> None:
    items = [item.model_dump() for item in _ran(stream=False).output]
    body = {"input": [{"role": "user", "content": "Go."}, *items, *RAN_OUTPUTS], "tools": BUILT_IN}
    request, _ = _answered("/v1/responses", body)
    _, said, answers = json.loads(request.body)["messages"]

    assert said["content"] == RAN
    assert [block.get("is_error") for block in answers["content"]] == [None, None, None, True]
    told = [block["content"] for block in answers["content"]]
    assert [content if isinstance(content, str) else content[0]["text"] for content in told] == [
        "a\n[exit code 0]\n[stderr]\nb\n[timed out]",
        "a",
        "completed",
        "No such file.",
    ]
    assert {loss.action for loss in request.losses} == {"emulated"}


@pytest.mark.parametrize(
    ("name", "arguments", "told"),
    [
        ("shell", "ls", {"commands": [], "timeout_ms": None, "max_output_length": None}),
        ("shell", ["ls"], {"commands": [], "timeout_ms": None, "max_output_length": None}),
        ("shell", {"commands": "ls"}, {"commands": ["ls"], "timeout_ms": None, "max_output_length": None}),
        ("apply_patch", {"path": "a"}, {"type": "update_file", "path": "a", "diff": '{"path": "a"}'}),
        ("apply_patch", {"type": "create_file", "path": 1}, None),
    ],
)
def test_a_model_that_calls_it_wrongly_gets_the_clients_answer(name: str, arguments: Any, told: Any) -> None:
    (call,) = _ran(stream=False, said=[_call("t1", name, arguments)]).output
    found = call.to_dict()

    assert (found["type"], found["call_id"]) == (f"{name}_call", "t1")
    said: Any = found["action" if name == "shell" else "operation"]
    assert said == (told or {"type": "update_file", "path": "", "diff": '{"type": "create_file", "path": 1}'})


def test_a_shell_in_a_container_stays_openais() -> None:
    tool = {"type": "shell", "environment": {"type": "container_auto", "memory_limit": "1g"}}
    where = {"type": "container_reference", "container_id": "c"}
    items: list[dict[str, Any]] = [
        {"type": "shell_call", "call_id": "t1", "action": {"commands": ["ls"]}, "environment": where},
        {"type": "shell_call_output", "call_id": "t1", "output": []},
    ]
    request, _ = _answered("/v1/responses", {"input": [{"role": "user", "content": "Go."}, *items], "tools": [tool]})

    assert [(loss.path, loss.action) for loss in request.losses] == [
        ("input[1]", "dropped"),
        ("input[2]", "dropped"),
        ("tools[0]", "dropped"),
    ]


@pytest.mark.parametrize(
    ("item", "path"),
    [
        ({"type": "shell_call", "action": {"commands": []}}, "input[1].call_id"),
        ({"type": "shell_call", "call_id": "t", "action": [1]}, "input[1].action"),
        ({"type": "apply_patch_call", "call_id": "t", "operation": "x"}, "input[1].operation"),
        ({"type": "shell_call_output", "call_id": "t", "output": "x"}, "input[1].output"),
        ({"type": "apply_patch_call_output", "call_id": "t", "output": ["x"]}, "input[1].output"),
    ],
)
def test_wrong_items_of_the_clients_tools_are_refused_by_their_place(item: dict[str, Any], path: str) -> None:
    with pytest.raises(RequestError) as refused:
        _answered("/v1/responses", {"input": [{"role": "user", "content": "Go."}, item]})

    assert refused.value.path == path
