"""Results that come late, which Responses take, stand behind their calls where the provider insists on it; and a turn
of which nothing is left is no turn."""

import json
from typing import Any

import pytest
from headgate.contract.facts import BackendFacts
from headgate.llm.canonical import Message, TextPart, ToolCallPart, ToolResultPart
from headgate.llm.dialects.turns import results_at_calls
from headgate.llm.endpoints import lookup
from headgate.llm.planning import plan

HI: Any = {"role": "user", "content": "Hi"}
MIND: Any = {"role": "developer", "content": "Mind the gap."}
CHAT = BackendFacts(name="b", dialect="openai-chat", vendor="ChatCompletions")
COHERE = BackendFacts(name="b", dialect="cohere", prefix="/v2", model="command-a-plus")


def _call(name: str) -> Any:
    return {"type": "function_call", "call_id": name, "name": "look", "arguments": "{}"}


def _result(name: str) -> Any:
    return {"type": "function_call_output", "call_id": name, "output": f"result {name}"}


def _order(facts: BackendFacts, items: list[Any]) -> list[str]:
    endpoint = lookup("/v1/responses")
    assert endpoint is not None
    body = json.dumps({"model": "m", "input": items}).encode()
    sent = json.loads(plan(endpoint, facts).translate_request(body, {}).body)
    return [f"{message['role']} {message.get('tool_call_id', '')}".strip() for message in sent["messages"]]


@pytest.mark.parametrize("facts", [CHAT, COHERE])
@pytest.mark.parametrize(
    ("items", "order"),
    [
        ([HI, _call("a"), MIND, _result("a")], ["user", "assistant", "tool a", "system"]),
        (
            [HI, _call("a"), _call("b"), _result("a"), HI, _result("b")],
            ["user", "assistant", "tool a", "tool b", "user"],
        ),
        ([HI, _call("a"), HI, MIND, _result("a"), HI], ["user", "assistant", "tool a", "user", "system", "user"]),
        ([HI, _call("a"), _result("a"), MIND, HI], ["user", "assistant", "tool a", "system", "user"]),
        ([HI, _call("a"), HI, _call("b"), _result("b")], ["user", "assistant", "user", "assistant", "tool b"]),
    ],
)
def test_results_stand_behind_their_calls(facts: BackendFacts, items: list[Any], order: list[str]) -> None:
    assert _order(facts, items) == order


@pytest.mark.parametrize(
    ("turns", "order"),
    [
        (["call a", "call b", "a", "b"], ["call a", "a", "call b", "b"]),
        (["call a", "call b", "b", "a"], ["call a", "a", "call b", "b"]),
        (["call a", "Wait.", "call b", "b", "a", "Go on."], ["call a", "a", "Wait.", "call b", "b", "Go on."]),
        (["call a", "a", "call b", "b"], ["call a", "a", "call b", "b"]),
        (["call a", "a", "call a", "a", "Go on."], ["call a", "a", "call a", "a", "Go on."]),
        (["call a", "Wait.", "b", "a"], ["call a", "a", "Wait.", "b"]),
    ],
)
def test_calls_of_turns_of_their_own_have_their_own_results(turns: list[str], order: list[str]) -> None:
    assert [_told(each) for each in results_at_calls([_turn(each) for each in turns])] == order


def test_results_in_their_places_cost_no_copy() -> None:
    messages = [_turn(each) for each in ("Go.", "call a", "a", "call b", "b", "Go on.")]
    assert results_at_calls(messages) is messages


def _turn(said: str) -> Message:
    if said.startswith("call "):
        return Message("assistant", (ToolCallPart(said[5:], "look", "{}"),))
    part = ToolResultPart(said) if len(said) == 1 else TextPart(said)
    return Message("user", (part,))


def _told(message: Message) -> str:
    match message.parts[0]:
        case ToolCallPart(id=call_id):
            return f"call {call_id}"
        case ToolResultPart(call_id=call_id):
            return call_id
        case TextPart(text=text):
            return text
        case part:
            raise AssertionError(part)


def test_what_is_said_beside_a_late_result_is_said_after_it() -> None:
    endpoint = lookup("/v1/messages")
    assert endpoint is not None
    call: Any = {"type": "tool_use", "id": "a", "name": "look", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "a", "content": "A map."}
    messages: list[Any] = [
        HI,
        {"role": "assistant", "content": [call]},
        {"role": "user", "content": "Wait."},
        {"role": "user", "content": [result, {"type": "text", "text": "Go on."}]},
    ]
    body = json.dumps({"model": "m", "max_tokens": 9, "messages": messages}).encode()
    sent = json.loads(plan(endpoint, CHAT).translate_request(body, {}).body)["messages"]
    assert [(each["role"], each["content"]) for each in sent[2:]] == [
        ("tool", "A map."),
        ("user", "Wait."),
        ("user", "Go on."),
    ]


def test_thoughts_that_a_model_does_not_take_back_leave_no_empty_turn() -> None:
    endpoint = lookup("/v1/messages")
    assert endpoint is not None
    thought = {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}
    messages = [HI, {"role": "assistant", "content": [thought]}, HI]
    body = json.dumps({"model": "m", "max_tokens": 9, "messages": messages}).encode()
    sent = json.loads(plan(endpoint, CHAT).translate_request(body, {}).body)["messages"]
    assert [each["role"] for each in sent] == ["user", "user"]
