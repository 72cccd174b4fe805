"""Requests that one API takes and another refuses: what agents send reaches every provider in a form that it takes.

Each row is a complaint that users of gateways file: the provider answers 400, and the conversation is over.
"""

import json
from typing import Any

import pytest
from headgate.contract.facts import BackendFacts
from headgate.llm.endpoints import lookup
from headgate.llm.error_bodies import error_body
from headgate.llm.errors import RequestError
from headgate.llm.exchange import Plan, UpstreamRequest
from headgate.llm.planning import plan
from support.chat_goldens import CREATED

LONG_ID = "call_" + "x" * 80
GEMINI_PATH = "/v1beta/models/m:generateContent"


def _plan(path: str, **facts: Any) -> Plan:
    endpoint = lookup(path)
    assert endpoint is not None
    return plan(endpoint, BackendFacts(name="b", **facts))


def _asked(chosen: Plan, body: dict[str, Any], path: str = "") -> UpstreamRequest:
    return chosen.translate_request(json.dumps(body).encode(), {":path": path} if path else {})


def _messages(*turns: tuple[str, Any], **members: Any) -> dict[str, Any]:
    messages = [{"role": role, "content": content} for role, content in turns]
    return {"model": "m", "max_tokens": 100, "messages": messages, **members}


# --- ids of calls

CALLED = _messages(
    ("user", "Time?"),
    ("assistant", [{"type": "tool_use", "id": LONG_ID, "name": "clock", "input": {}}]),
    ("user", [{"type": "tool_result", "tool_use_id": LONG_ID, "content": "noon"}]),
    tools=[{"name": "clock", "input_schema": {"type": "object", "properties": {}}}],
)


def _chat_ids(body: dict[str, Any]) -> tuple[str, str]:
    _, called, answered = body["messages"]
    return called["tool_calls"][0]["id"], answered["tool_call_id"]


def test_a_long_id_of_a_call_is_cut_for_openai() -> None:
    """Else: "string too long. Expected a string with maximum length 40" (64 in the responses API)."""
    called, answered = _chat_ids(json.loads(_asked(_plan("/v1/messages", dialect="openai-chat"), CALLED).body))
    assert called == answered
    assert len(called) <= 40

    items = json.loads(_asked(_plan("/v1/messages", dialect="openai-responses"), CALLED).body)["input"]
    assert items[1]["call_id"] == items[2]["call_id"] == called


def test_mistral_takes_ids_of_nine_letters_and_digits() -> None:
    """Else: "Tool call id was … but must be a-z, A-Z, 0-9, with a length of 9"."""
    chosen = _plan("/v1/messages", dialect="openai-chat", vendor="Mistral")
    called, answered = _chat_ids(json.loads(_asked(chosen, CALLED).body))

    assert called == answered
    assert called.isalnum()
    assert len(called) == 9
    own = json.loads(json.dumps(CALLED).replace(LONG_ID, "D681PevKs"))
    assert _chat_ids(json.loads(_asked(chosen, own).body)) == ("D681PevKs", "D681PevKs")


# --- names of tools

NAMED: dict[str, Any] = {
    "contents": [
        {"role": "user", "parts": [{"text": "Time?"}]},
        {"role": "model", "parts": [{"functionCall": {"name": "my.clock:utc", "args": {}}}]},
        {"role": "user", "parts": [{"functionResponse": {"name": "my.clock:utc", "response": {"output": "noon"}}}]},
    ],
    "tools": [{"functionDeclarations": [{"name": "my.clock:utc"}]}],
    "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["my.clock:utc"]}},
}


@pytest.mark.parametrize("dialect", ["openai-chat", "openai-responses", "anthropic-messages"])
def test_names_that_only_google_takes_are_replaced(dialect: str) -> None:
    """Else: "String should match pattern '^[a-zA-Z0-9_-]{1,128}$'"."""
    chosen = _plan(GEMINI_PATH, dialect=dialect, model="claude-haiku-4-5")
    request = _asked(chosen, NAMED, GEMINI_PATH)
    body = json.loads(request.body)

    (sent,) = request.memo.tool_names
    assert request.memo.tool_names[sent] == "my.clock:utc"
    assert sent.startswith("my_clock_utc_")
    assert b"my.clock" not in request.body
    assert request.body.count(sent.encode()) == 3, body  # declared, called, chosen


def test_a_call_comes_back_under_the_clients_name() -> None:
    chosen = _plan(GEMINI_PATH, dialect="anthropic-messages", model="claude-haiku-4-5")
    request = _asked(chosen, NAMED, GEMINI_PATH)
    (sent,) = request.memo.tool_names
    block: dict[str, Any] = {"type": "tool_use", "id": "t", "name": sent, "input": {}}
    answer = {"type": "message", "content": [block], "stop_reason": "tool_use", "usage": {"input_tokens": 1}}
    translation = chosen.open_response(request, 200, {"content-type": "application/json"}, CREATED)
    received = json.loads(translation.feed(json.dumps(answer).encode()) + translation.close())

    assert received["candidates"][0]["content"]["parts"][0]["functionCall"]["name"] == "my.clock:utc"


# --- how a conversation ends

BEGUN: list[tuple[str, Any]] = [("user", "Say it in JSON."), ("assistant", "{")]
GO_ON = "Go on from exactly where you stopped."
_BEDROCK = {"dialect": "bedrock-converse", "host": "bedrock"}


@pytest.mark.parametrize(
    ("facts", "goes_on"),
    [
        ({"dialect": "gemini", "model": "gemini-3.6-flash"}, False),
        ({"dialect": "gemini", "model": "gemini-2.5-flash"}, True),
        ({**_BEDROCK, "model": "anthropic.claude-opus-4-6-v1"}, False),
        ({**_BEDROCK, "model": "anthropic.claude-haiku-4-5-v1"}, True),
        ({**_BEDROCK, "model": "us.amazon.nova-pro-v1:0"}, True),
        ({**_BEDROCK, "model": "meta.llama3-3-70b-instruct-v1:0"}, False),
    ],
)
def test_an_answer_begun_for_a_model_that_cannot_go_on_with_it(facts: dict[str, Any], goes_on: bool) -> None:
    """Else: "Last turn cannot be model", "the last turn in the conversation to be a user message"."""
    request = _asked(_plan("/v1/messages", **facts), _messages(*BEGUN))
    body = json.loads(request.body)
    last = (body.get("contents") or body["messages"])[-1]

    assert (last["role"] in ("assistant", "model")) is goes_on
    assert (GO_ON.encode() in request.body) is not goes_on
    assert any("go on" in loss.reason for loss in request.losses) is not goes_on


# --- turns of nothing

_REFUSE_BLANKS: list[dict[str, Any]] = [
    {"dialect": "anthropic-messages", "model": "claude-haiku-4-5"},
    {"dialect": "gemini", "model": "gemini-2.5-flash"},
    {**_BEDROCK, "model": "anthropic.claude-haiku-4-5-v1"},
    {**_BEDROCK, "model": "us.amazon.nova-pro-v1:0"},
    {"dialect": "openai-responses", "model": "gpt-5"},
    {"dialect": "cohere", "model": "command-a-03-2025"},
]
_SAID_NOTHING = "(The user said nothing.)"


def _turns_of(request: UpstreamRequest) -> list[dict[str, Any]]:
    body = json.loads(request.body)
    turns = body.get("contents") or body.get("messages") or body["input"]
    return [turn for turn in turns if turn["role"] != "system"]


@pytest.mark.parametrize("facts", _REFUSE_BLANKS)
@pytest.mark.parametrize("blank", ["", " \n", []])
def test_the_last_word_stays_the_users_though_it_is_none(facts: dict[str, Any], blank: Any) -> None:
    """Else the assistant's turn before it is the last, which a model goes on with as its own answer."""
    asked = _messages(("user", "Hi"), ("assistant", "Hello"), ("user", blank))
    request = _asked(_plan("/v1/chat/completions", **facts), asked)
    last = _turns_of(request)[-1]

    assert last["role"] == "user"
    assert _SAID_NOTHING in json.dumps(last)
    assert [(loss.path, loss.action) for loss in request.losses if "said nothing" in loss.reason] == [
        ("messages[2]", "changed")
    ]


@pytest.mark.parametrize("facts", _REFUSE_BLANKS)
def test_a_question_of_nothing_is_asked(facts: dict[str, Any]) -> None:
    """OpenAI answers it; else: "at least one message is required"."""
    request = _asked(_plan("/v1/chat/completions", **facts), _messages(("system", "Be kind."), ("user", "")))
    (only,) = _turns_of(request)

    assert only["role"] == "user"
    assert _SAID_NOTHING in json.dumps(only)
    assert b"Be kind." in request.body


@pytest.mark.parametrize("facts", _REFUSE_BLANKS)
def test_a_turn_of_nothing_is_left_out_and_told(facts: dict[str, Any]) -> None:
    """Else: "text content blocks must be non-empty"."""
    asked = _messages(("user", "Hi"), ("assistant", ""), ("user", "So?"))
    request = _asked(_plan("/v1/chat/completions", **facts), asked)

    assert {turn["role"] for turn in _turns_of(request)} == {"user"}
    assert ("messages[1]", "emulated") in [(loss.path, loss.action) for loss in request.losses]


_OF_NOTHING: list[list[tuple[str, Any]]] = [
    [("system", "")],
    [("assistant", " ")],
    [("system", "\n"), ("assistant", [])],
    [("developer", [])],
]


@pytest.mark.parametrize("facts", _REFUSE_BLANKS)
@pytest.mark.parametrize("turns", _OF_NOTHING)
def test_a_conversation_of_nothing_is_asked(facts: dict[str, Any], turns: list[tuple[str, Any]]) -> None:
    """Else nothing is left of it: "at least one message is required"."""
    request = _asked(_plan("/v1/chat/completions", **facts), _messages(*turns))

    assert _SAID_NOTHING in json.dumps(_turns_of(request))
    assert (f"messages[{len(turns) - 1}]", "changed") in [(loss.path, loss.action) for loss in request.losses]


@pytest.mark.parametrize("facts", _REFUSE_BLANKS)
@pytest.mark.parametrize("blank", ["", " ", []])
def test_blank_instructions_are_left_out_and_told(facts: dict[str, Any], blank: Any) -> None:
    asked = _messages(("system", blank), ("user", "Hi"))
    request = _asked(_plan("/v1/chat/completions", **facts), asked)

    assert len(_turns_of(request)) == 1
    assert not {"system", "systemInstruction", "instructions"} & json.loads(request.body).keys()
    assert [loss.path for loss in request.losses if "without text" in loss.reason] == ["messages[0]"]


@pytest.mark.parametrize("facts", _REFUSE_BLANKS)
def test_blank_instructions_behind_an_answer_begin_none(facts: dict[str, Any]) -> None:
    """OpenAI answers; without them the assistant's turn would be gone on with."""
    asked = _messages(("user", "Hi"), ("assistant", "Hello"), ("system", ""))
    request = _asked(_plan("/v1/chat/completions", **facts), asked)

    assert _turns_of(request)[-1]["role"] == "user"
    assert ("messages[2]", "changed") in [(loss.path, loss.action) for loss in request.losses]


def _gemini(*turns: tuple[str, list[Any]]) -> dict[str, Any]:
    return {"contents": [{"role": role, "parts": parts} for role, parts in turns]}


def _items(*turns: tuple[str, Any]) -> dict[str, Any]:
    return {"model": "asked", "input": [{"role": role, "content": content} for role, content in turns]}


_HI: Any = [{"text": "Hi"}]
_BLANK_LAST: list[tuple[str, dict[str, Any]]] = [
    (GEMINI_PATH, _gemini(("user", _HI), ("model", _HI), ("user", []))),
    (GEMINI_PATH, _gemini(("user", _HI), ("model", _HI), ("user", [{"text": ""}]))),
    ("/v1/responses", _items(("user", "Hi"), ("assistant", "Hi"), ("developer", ""))),
    ("/v1/responses", _items(("user", "Hi"), ("assistant", "Hi"), ("user", []))),
]
_BLANK_AMID: list[tuple[str, dict[str, Any]]] = [
    (GEMINI_PATH, _gemini(("user", _HI), ("model", [{"text": ""}]), ("user", _HI))),
    (GEMINI_PATH, _gemini(("user", _HI), ("model", []), ("user", _HI))),
    ("/v1/responses", _items(("user", "Hi"), ("assistant", ""), ("user", "Hi"))),
    ("/v1/responses", _items(("user", "Hi"), ("assistant", []), ("user", "Hi"))),
    ("/cohere/v2/chat", {"model": "asked", **_messages(("user", "Hi"), ("assistant", ""), ("user", "Hi"))}),
    (
        "/v1/messages",
        {"model": "asked", "max_tokens": 9, **_messages(("user", "Hi"), ("assistant", []), ("user", "Hi"))},
    ),
]


@pytest.mark.parametrize("facts", [*_REFUSE_BLANKS[:1], *_REFUSE_BLANKS[2:4], _REFUSE_BLANKS[5]])
@pytest.mark.parametrize(("path", "asked"), _BLANK_LAST)
def test_the_last_word_stays_the_users_whoever_asks(path: str, asked: dict[str, Any], facts: dict[str, Any]) -> None:
    request = _asked(_plan(path, **facts), asked, path)

    assert _turns_of(request)[-1]["role"] == "user"
    assert _SAID_NOTHING in json.dumps(_turns_of(request)[-1])
    assert [loss.action for loss in request.losses if "[2]" in loss.path] == ["changed"]


@pytest.mark.parametrize("facts", [*_REFUSE_BLANKS[2:4], {"dialect": "openai-chat", "vendor": "ChatCompletions"}])
@pytest.mark.parametrize(("path", "asked"), _BLANK_AMID)
def test_a_turn_of_nothing_is_told_whoever_asks(path: str, asked: dict[str, Any], facts: dict[str, Any]) -> None:
    """Also to OpenAI's chat, where some servers refuse an answer of nothing."""
    request = _asked(_plan(path, **facts), asked, path)

    assert {turn["role"] for turn in _turns_of(request)} == {"user"}
    assert [loss.action for loss in request.losses if "[1]" in loss.path] == ["emulated"]


@pytest.mark.parametrize(("path", "asked"), _BLANK_LAST)
def test_blank_words_are_said_to_openai(path: str, asked: dict[str, Any]) -> None:
    request = _asked(_plan(path, dialect="openai-chat", vendor="ChatCompletions"), asked, path)

    assert json.loads(request.body)["messages"][-1]["content"] == ""
    assert not request.losses


@pytest.mark.parametrize("facts", [*_REFUSE_BLANKS[1:], {"dialect": "openai-chat"}])
def test_no_turn_of_nothing_stands_behind_a_result(facts: dict[str, Any]) -> None:
    """It would be what the model answers."""
    asked = _messages(
        ("user", "Time?"),
        ("assistant", [{"type": "tool_use", "id": "t", "name": "clock", "input": {}}]),
        ("user", [{"type": "tool_result", "tool_use_id": "t", "content": "noon"}, {"type": "text", "text": ""}]),
    )
    body = json.loads(_asked(_plan("/v1/messages", **facts), asked).body)
    turns = body.get("contents") or body.get("messages") or body["input"]

    assert "noon" in json.dumps(turns[-1])
    assert '"text": ""' not in json.dumps(turns)


def test_something_is_asked_of_openai() -> None:
    """Else: "[] is too short - 'messages'"."""
    request = _asked(_plan("/cohere/v2/chat", dialect="openai-chat"), {"model": "m", **_messages(("assistant", ""))})

    assert _turns_of(request) == [{"role": "user", "content": _SAID_NOTHING}]
    assert ("messages[0]", "changed") in [(loss.path, loss.action) for loss in request.losses]


def test_openai_is_sent_a_turn_of_nothing() -> None:
    asked = _messages(("user", "Hi"), ("assistant", "Hello"), ("user", ""))
    request = _asked(_plan("/v1/messages", dialect="openai-chat"), asked)

    assert _turns_of(request)[-1] == {"role": "user", "content": ""}
    assert not request.losses


_FILE_OF_ANOTHER: dict[str, Any] = {"type": "file", "file": {"file_id": "file-1"}}


@pytest.mark.parametrize("facts", [facts for facts in _REFUSE_BLANKS if facts["dialect"] != "openai-responses"])
def test_a_last_turn_of_which_nothing_is_left_is_refused(facts: dict[str, Any]) -> None:
    """Else the model would go on with the turn before it, or answer that once more."""
    asked = _messages(("user", "Hi"), ("assistant", "Hello"), ("user", [_FILE_OF_ANOTHER]))

    with pytest.raises(RequestError, match="nothing else is left to be answered") as refused:
        _asked(_plan("/v1/chat/completions", **facts), asked)

    assert refused.value.path.startswith("messages[2]")


@pytest.mark.parametrize("dialect", ["openai-chat", "openai-responses"])
def test_a_film_alone_is_no_question_to_openai(dialect: str) -> None:
    film: dict[str, Any] = {"inlineData": {"mimeType": "video/mp4", "data": "AAAA"}}
    turns: list[dict[str, Any]] = [
        {"role": "user", "parts": [{"text": "Hi"}]},
        {"role": "model", "parts": [{"text": "Hello"}]},
        {"role": "user", "parts": [film]},
    ]
    chosen = _plan(GEMINI_PATH, dialect=dialect, model="gpt-5")

    with pytest.raises(RequestError, match="nothing else is left to be answered") as refused:
        _asked(chosen, {"contents": turns}, GEMINI_PATH)

    assert refused.value.path.startswith("contents[2]")


@pytest.mark.parametrize(
    ("model", "goes_on"),
    [
        ("claude-sonnet-4-6", False),
        ("claude-opus-4-7", False),
        ("claude-opus-5-5", False),
        ("claude-of-next-year", False),
        ("claude-sonnet-4-5", True),
        ("claude-3-5-haiku-latest", True),
        ("glm-5", True),
    ],
)
def test_an_answer_begun_for_claude(model: str, goes_on: bool) -> None:
    """Else: "This model does not support assistant message prefill"."""
    chosen = _plan("/v1/chat/completions", dialect="anthropic-messages", model=model)
    request = _asked(chosen, _messages(*BEGUN))
    *_, last = json.loads(request.body)["messages"]

    assert (last["role"] == "assistant") is goes_on
    assert (last["content"] == GO_ON) is not goes_on


# --- instructions in mid-conversation

REMINDED: list[tuple[str, Any]] = [("user", "Hi"), ("assistant", "Hello"), ("user", "Bye"), ("system", "Be brief.")]


@pytest.mark.parametrize(
    ("path", "facts"),
    [
        ("/v1/messages", {"dialect": "gemini", "model": "gemini-3-pro"}),
        ("/v1/messages", {**_BEDROCK, "model": "anthropic.claude-haiku-4-5-v1"}),
        ("/v1/chat/completions", {"dialect": "anthropic-messages", "model": "claude-haiku-4-5"}),
    ],
)
def test_instructions_on_the_way_leave_what_was_said_before_as_it_was(path: str, facts: dict[str, Any]) -> None:
    """At the top they would cost the cached prompt: agents append reminders at every turn."""
    chosen = _plan(path, **facts)
    before = json.loads(_asked(chosen, _messages(*REMINDED[:3])).body)
    request = _asked(chosen, _messages(*REMINDED))
    after = json.loads(request.body)
    turns = "contents" if "contents" in after else "messages"

    assert {**before, turns: before[turns][:-1]} == {**after, turns: after[turns][:-1]}
    assert "<system>\\nBe brief.\\n</system>" in json.dumps(after[turns][-1])
    assert any("mid-conversation" in loss.reason for loss in request.losses)


# --- results of tools


def test_a_result_never_comes_without_its_call() -> None:
    """Else: "unexpected `tool_use_id` found in `tool_result` blocks". Agents answer the local shell as a function."""
    call: dict[str, Any] = {"type": "local_shell_call", "call_id": "c1", "action": {"type": "exec", "command": ["ls"]}}
    results: list[dict[str, Any]] = [
        {"type": "function_call_output", "call_id": "c1", "output": "a.txt"},
        {"type": "local_shell_call_output", "id": "c1", "output": "a.txt"},
    ]
    for result in results:
        items: list[dict[str, Any]] = [{"role": "user", "content": "Look."}, call, result]
        body = {"model": "m", "input": items}
        _, said, answer = json.loads(_asked(_plan("/v1/responses", dialect="anthropic-messages"), body).body)[
            "messages"
        ]

        assert said["content"][0]["name"] == "local_shell"
        assert said["content"][0]["input"]["command"] == ["ls"]
        assert said["content"][0]["id"] == answer["content"][0]["tool_use_id"] == "c1"


def _searched(*, is_error: bool = False) -> dict[str, Any]:
    found: list[dict[str, Any]] = [] if is_error else [{"type": "tool_reference", "tool_name": "mcp__jira__get"}]
    return _messages(
        ("user", "Which tools?"),
        ("assistant", [{"type": "tool_use", "id": "t1", "name": "find", "input": {}}]),
        ("user", [{"type": "tool_result", "tool_use_id": "t1", "content": found, "is_error": is_error}]),
    )


@pytest.mark.parametrize(
    "facts", [{"dialect": "openai-chat"}, {"dialect": "gemini", "model": "gemini-3-pro"}, _BEDROCK]
)
def test_a_tool_that_a_search_found_is_named_in_its_result(facts: dict[str, str]) -> None:
    """An empty result has agents search for ever."""
    request = _asked(_plan("/v1/messages", **{"model": "anthropic.claude-haiku-4-5", **facts}), _searched())

    assert b"Found the tool mcp__jira__get." in request.body
    assert not any("tool_reference" in loss.reason for loss in request.losses)


def test_an_error_of_a_tool_says_something() -> None:
    """Else: "content cannot be empty if `is_error` is true"."""
    chosen = _plan("/v1/messages", **_BEDROCK, model="anthropic.claude-haiku-4-5")
    result = json.loads(_asked(chosen, _searched(is_error=True)).body)["messages"][-1]["content"][0]["toolResult"]
    assert result["content"] == [{"text": "Error"}]

    turns: list[dict[str, Any]] = [
        {"role": "user", "content": [{"text": "Hi"}]},
        {"role": "assistant", "content": [{"toolUse": {"toolUseId": "t1", "name": "f", "input": {}}}]},
        {"role": "user", "content": [{"toolResult": {"toolUseId": "t1", "content": [], "status": "error"}}]},
    ]
    path = "/model/m/converse"
    request = _asked(_plan(path, dialect="anthropic-messages"), {"messages": turns}, path)
    assert json.loads(request.body)["messages"][-1]["content"][0]["content"] == "Error"


def test_a_turn_of_which_nothing_is_left_is_left_out() -> None:
    """Else: "Assistant message must have either content or tool_calls"."""
    searched = {"type": "web_search_call", "status": "completed", "action": {"type": "search", "query": "q"}}
    items: list[dict[str, Any]] = [{"role": "user", "content": "Hi"}, searched, {"role": "user", "content": "So?"}]
    body = {"model": "m", "input": items}
    request = _asked(_plan("/v1/responses", dialect="openai-chat", vendor="DeepSeek"), body)

    assert [message["role"] for message in json.loads(request.body)["messages"]] == ["user", "user"]
    assert any("web_search_call" in loss.reason for loss in request.losses)


def test_a_thought_that_came_unsigned_may_come_back_with_null() -> None:
    """As Haystack sends what it streamed: it is refused as any other wrong type else."""
    thought = {"type": "thinking", "thinking": "Noon?", "signature": None}
    turns = _messages(("user", "Hi"), ("assistant", [thought, {"type": "text", "text": "Noon."}]), ("user", "So?"))
    request = _asked(_plan("/v1/messages", dialect="openai-chat"), turns)

    assert json.loads(request.body)["messages"][1]["content"] == "Noon."


# --- what only one provider keeps


@pytest.mark.parametrize(
    "facts",
    [
        {"dialect": "openai-chat"},
        {**_BEDROCK, "model": "anthropic.claude-haiku-4-5-v1"},
        {"dialect": "anthropic-messages", "host": "bedrock"},
        {"dialect": "anthropic-messages", "host": "vertex"},
    ],
)
def test_a_thread_is_refused_where_anthropic_does_not_keep_it(facts: dict[str, Any]) -> None:
    """Else: the second turn comes without the first. By this word Anthropic's SDKs send the whole conversation."""
    chosen = _plan("/v1/messages", **facts)
    with pytest.raises(RequestError) as refused:
        _asked(chosen, _messages(("user", "Hi"), thread={"type": "create"}))
    error = json.loads(error_body("anthropic-messages", refused.value))["error"]
    assert error["details"] == {"error_code": "thread_unsupported_request"}
    assert _asked(chosen, _messages(("user", "Hi"), thread=None)).body


def test_anthropics_own_api_is_sent_threads() -> None:
    chosen = _plan("/v1/messages", dialect="anthropic-messages")
    assert b'"thread"' in _asked(chosen, _messages(("user", "Hi"), thread={"type": "create"})).body


# --- nothing left to say

SOUND = [{"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}]
IMAGE = [{"type": "image_url", "image_url": {"url": "https://a.example/b.png"}}]
VOICE_FILE = [{"type": "file", "file": {"file_id": "file-1"}}]


@pytest.mark.parametrize("instructed", [False, True])
@pytest.mark.parametrize(
    ("dialect", "content", "why"),
    [
        ("anthropic-messages", SOUND, "this dialect takes no audio"),
        ("bedrock-converse", IMAGE, "this dialect takes no URLs: send the bytes"),
        ("cohere", SOUND, "this dialect takes no audio"),
        ("gemini", VOICE_FILE, ""),
    ],
)
def test_a_conversation_of_which_nothing_is_left_is_refused_with_why(
    dialect: str, content: Any, why: str, *, instructed: bool
) -> None:
    turns: list[tuple[str, Any]] = [("system", "Be brief."), ("user", content)]
    chosen = _plan("/v1/chat/completions", dialect=dialect, model="m")

    with pytest.raises(RequestError) as refused:
        _asked(chosen, _messages(*turns[not instructed :]))

    detail = refused.value.detail()
    assert detail.status == 422
    assert detail.message.startswith(f"messages[{int(instructed)}]")
    assert why in detail.message


@pytest.mark.parametrize("dialect", ["anthropic-messages", "bedrock-converse", "cohere"])
def test_what_is_left_of_a_conversation_is_asked(dialect: str) -> None:
    chosen = _plan("/v1/chat/completions", dialect=dialect, model="m")

    request = _asked(chosen, _messages(("user", [*SOUND, *VOICE_FILE, {"type": "text", "text": "Hi"}])))

    assert b"Hi" in request.body
    assert request.losses


# --- who asks


@pytest.mark.parametrize(
    ("user", "sent"),
    [
        ("a1b2", True),
        ("team@night", True),
        ("ada@example.com", False),
        ("ada.l@mail.example.co.uk", False),
        ("+41 (31) 555-01 02", False),
        pytest.param(
            "a@" + ".a" * 200_000 + "@", True, id="what an address is looked for in, byte by byte, for minutes"
        ),
    ],
)
def test_a_person_is_no_user_id_of_claude(user: str, *, sent: bool) -> None:
    request = _asked(_plan("/v1/chat/completions", dialect="anthropic-messages"), _messages(("user", "Hi"), user=user))
    assert (json.loads(request.body).get("metadata") == {"user_id": user}) is sent
    assert [loss.path for loss in request.losses] == ([] if sent else ["user"])


def test_instructions_alone_are_sent_though_their_author_has_a_name() -> None:
    body = {"model": "m", "messages": [{"role": "system", "name": "boss", "content": "Say hi."}]}
    request = _asked(_plan("/v1/chat/completions", dialect="cohere"), body)
    assert json.loads(request.body)["messages"][0]["role"] == "system"
    assert [loss.path for loss in request.losses] == ["messages[0].name"]
