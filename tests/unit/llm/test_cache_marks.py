"""Of marks for a cache four are taken, by Anthropic and by Bedrock: the last ones are kept."""

import json
from typing import Any

import pytest
from headgate.contract.facts import BackendFacts
from headgate.llm.endpoints import lookup
from headgate.llm.planning import plan


def _mark(marked: bool) -> dict[str, Any]:
    return {"cache_control": {"type": "ephemeral"}} if marked else {}


BACKENDS: Any = [
    ("cache_control", BackendFacts(name="b", dialect="anthropic-messages", model="claude-sonnet-4-5")),
    (
        "cachePoint",
        BackendFacts(name="b", dialect="bedrock-converse", host="bedrock", model="anthropic.claude-sonnet-4-5-v1:0"),
    ),
]


def _sent(facts: BackendFacts, messages: list[Any], tools: list[Any]) -> tuple[str, list[str]]:
    endpoint = lookup("/v1/chat/completions")
    assert endpoint is not None
    body = json.dumps({"model": "m", "messages": messages, "tools": tools}).encode()
    request = plan(endpoint, facts).translate_request(body, {})
    return request.body.decode(), [loss.path for loss in request.losses]


def _text(text: str, *, marked: bool = True) -> Any:
    return {"type": "text", "text": text, **_mark(marked)}


def _tool(name: str, *, marked: bool) -> Any:
    return {
        "type": "function",
        "function": {"name": name, "parameters": {"type": "object"}, **_mark(marked)},
    }


@pytest.mark.parametrize(("word", "facts"), BACKENDS)
def test_the_last_four_are_kept(word: str, facts: BackendFacts) -> None:
    messages = [
        {"role": "system", "content": [_text("Be brief."), _text("Be kind.")]},
        {"role": "user", "content": [_text(name) for name in ("one", "two", "three")]},
    ]
    marked, losses = _sent(facts, messages, [_tool("look", marked=True)])
    plain = [
        {"role": "system", "content": [_text("Be brief.", marked=False), _text("Be kind.")]},
        messages[1],
    ]
    wanted, told = _sent(facts, plain, [_tool("look", marked=False)])
    assert marked == wanted
    assert marked.count(f'"{word}":') == 4
    assert (losses, told) == (["cache_control"], [])


@pytest.mark.parametrize(("word", "facts"), BACKENDS)
def test_words_that_read_like_marks_are_none(word: str, facts: BackendFacts) -> None:
    schema = {"type": "object", "properties": {f"{word}{n}": {"const": {word: 1}} for n in range(6)}}
    tool = {"type": "function", "function": {"name": "look", "parameters": schema}}
    body, losses = _sent(facts, [{"role": "user", "content": [_text("Hi")]}], [tool])
    assert body.count(f'"{word}":') == 7
    assert losses == []
