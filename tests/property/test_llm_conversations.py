"""No conversation becomes another in silence, whoever asks and whoever answers.

Conversations as programs send them: turns of nothing, of white space, several of one role, calls with odd names and
ids, results of nothing, results that are missing. Each is written in a client's dialect and looked for in what the
provider is sent: every word is there in its order, or told of, and the last word is whose it was.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import pytest
from headgate.llm.dialects.table import DIALECTS
from headgate.llm.endpoints import PathFacts
from headgate.llm.names import DialectName
from hypothesis import given, settings
from hypothesis import strategies as st
from support.chat_goldens import CLIENTS, TARGETS, bridge, providers_for

CHAT: Final = DialectName.OPENAI_CHAT
RESPONSES: Final = DialectName.OPENAI_RESPONSES
ANTHROPIC: Final = DialectName.ANTHROPIC_MESSAGES
GEMINI: Final = DialectName.GEMINI
CONVERSE: Final = DialectName.BEDROCK_CONVERSE
COHERE: Final = DialectName.COHERE


@dataclass(frozen=True, slots=True)
class Call:
    """A tool is called; `result`: its texts, or None where the conversation goes on without."""

    id: str
    name: str
    arguments: dict[str, Any]
    result: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Turn:
    """`system`, `user` or `assistant`, and what is said."""

    role: str
    texts: tuple[str, ...]
    calls: tuple[Call, ...] = ()


@dataclass(slots=True)
class Written:
    """A conversation in a client's words."""

    instructions: list[Any] = field(default_factory=list[Any])
    turns: list[Any] = field(default_factory=list[Any])
    places: list[tuple[str, Sequence[str]]] = field(default_factory=list[tuple[str, Sequence[str]]])
    """Every message's path and texts."""

    def add(self, turn: Any, name: str, texts: Sequence[str]) -> None:
        self.places.append((f"{name}[{len(self.turns)}]", texts))
        self.turns.append(turn)

    def instruct(self, items: Sequence[Any], path: str, texts: Sequence[str]) -> None:
        self.places.append((path, texts))
        self.instructions.extend(items)


def _results(turn: Turn) -> tuple[list[tuple[Call, tuple[str, ...]]], list[str]]:
    """The calls that were answered, each with its result, and the texts of all results."""
    results = [(call, call.result) for call in turn.calls if call.result is not None]
    return results, [text for _, told in results for text in told]


def _chat(turns: Sequence[Turn]) -> tuple[Any, Written]:
    written = Written()
    for turn in turns:
        content = [{"type": "text", "text": text} for text in turn.texts]
        message: dict[str, Any] = {"role": turn.role, "content": content}
        if turn.calls:
            message["tool_calls"] = [_function_call(call) for call in turn.calls]
        written.add(message, "messages", turn.texts)
        for call in turn.calls:
            if call.result is not None:
                told = {"role": "tool", "tool_call_id": call.id, "content": "".join(call.result)}
                written.add(told, "messages", call.result)
    return {"model": "asked", "messages": written.turns}, written


def _function_call(call: Call) -> Any:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": json.dumps(call.arguments)}}


def _responses(turns: Sequence[Turn]) -> tuple[Any, Written]:
    written = Written()
    for turn in turns:
        kind = "output_text" if turn.role == "assistant" else "input_text"
        content = [{"type": kind, "text": text} for text in turn.texts]
        if turn.texts or not turn.calls:
            written.add({"role": turn.role, "content": content}, "input", turn.texts)
        for call in turn.calls:
            item = {"type": "function_call", "call_id": call.id, "name": call.name}
            written.add({**item, "arguments": json.dumps(call.arguments)}, "input", ())
        for call in turn.calls:
            if call.result is not None:
                told = {"type": "function_call_output", "call_id": call.id, "output": "".join(call.result)}
                written.add(told, "input", call.result)
    return {"model": "asked", "input": written.turns}, written


def _anthropic(turns: Sequence[Turn]) -> tuple[Any, Written]:
    written = Written()
    for turn in turns:
        blocks: list[Any] = [{"type": "text", "text": text} for text in turn.texts]
        if turn.role == "system":
            written.instruct(blocks, "system", turn.texts)
            continue
        blocks += [
            {"type": "tool_use", "id": call.id, "name": call.name, "input": call.arguments} for call in turn.calls
        ]
        written.add({"role": turn.role, "content": blocks}, "messages", turn.texts)
        results, texts = _results(turn)
        said = [{"type": "tool_result", "tool_use_id": call.id, "content": "".join(told)} for call, told in results]
        if said:
            written.add({"role": "user", "content": said}, "messages", texts)
    return {"model": "asked", "max_tokens": 99, "system": written.instructions, "messages": written.turns}, written


def _gemini(turns: Sequence[Turn]) -> tuple[Any, Written]:
    written = Written()
    for turn in turns:
        parts: list[Any] = [{"text": text} for text in turn.texts]
        if turn.role == "system":
            written.instruct(parts, "systemInstruction", turn.texts)
            continue
        parts += [{"functionCall": {"id": call.id, "name": call.name, "args": call.arguments}} for call in turn.calls]
        role = "model" if turn.role == "assistant" else "user"
        written.add({"role": role, "parts": parts}, "contents", turn.texts)
        results, texts = _results(turn)
        said = [
            {"functionResponse": {"id": call.id, "name": call.name, "response": {"output": "".join(told)}}}
            for call, told in results
        ]
        if said:
            written.add({"role": "user", "parts": said}, "contents", texts)
    document: dict[str, Any] = {"contents": written.turns}
    if written.instructions:
        document["systemInstruction"] = {"parts": written.instructions}
    return document, written


def _converse(turns: Sequence[Turn]) -> tuple[Any, Written]:
    written = Written()
    for turn in turns:
        blocks: list[Any] = [{"text": text} for text in turn.texts]
        if turn.role == "system":
            written.instruct(blocks, "system", turn.texts)
            continue
        blocks += [
            {"toolUse": {"toolUseId": call.id, "name": call.name, "input": call.arguments}} for call in turn.calls
        ]
        written.add({"role": turn.role, "content": blocks}, "messages", turn.texts)
        results, texts = _results(turn)
        said = [
            {"toolResult": {"toolUseId": call.id, "content": [{"text": text} for text in told]}}
            for call, told in results
        ]
        if said:
            written.add({"role": "user", "content": said}, "messages", texts)
    return {"system": written.instructions, "messages": written.turns}, written


WRITERS: Final[dict[DialectName, Callable[[Sequence[Turn]], tuple[Any, Written]]]] = {
    CHAT: _chat,
    RESPONSES: _responses,
    ANTHROPIC: _anthropic,
    COHERE: _chat,
    GEMINI: _gemini,
    CONVERSE: _converse,
}
ANYWHERE: Final = frozenset((CHAT, RESPONSES, COHERE))
"""Dialects that take instructions in mid-conversation."""

_blanks = st.sampled_from(("", " ", "\n\t", "\u00a0"))
_around = st.sampled_from(("", " ", "é😀", "\u200b", "<system>", '"}'))
_ids = st.sampled_from(("call_", "functions.f:", "é", "x" * 70))
_names = st.sampled_from(("f", "get_weather", "a.b", "1f", "f-g", "x" * 64))
_arguments = st.sampled_from(({}, {"a": 1}, {"é": "😀"}, {"": None}))


class _Words:
    """Texts that are found again: each has a number of its own."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.count = 0

    def texts(self, *, least: int = 0) -> tuple[str, ...]:
        return tuple(self._text() for _ in range(self.draw(st.integers(least, 2))))

    def _text(self) -> str:
        if self.draw(st.integers(0, 2)) == 0:
            return self.draw(_blanks)
        self.count += 1
        return f"{self.draw(_around)}w{self.count}w{self.draw(_around)}"


@st.composite
def _conversations(draw: st.DrawFn, client: DialectName) -> list[Turn]:
    words = _Words(draw)
    turns = [Turn("system", words.texts())] if draw(st.booleans()) else []
    roles = ("user", "assistant", "call", "system") if client in ANYWHERE else ("user", "assistant", "call")
    for number in range(draw(st.integers(1, 5))):
        role = draw(st.sampled_from(roles))
        if role != "call":
            turns.append(Turn(role, words.texts()))
            continue
        texts = words.texts()
        calls = [
            Call(
                f"{draw(_ids)}{number}{n}",
                draw(_names),
                draw(_arguments),
                words.texts() if draw(st.booleans()) else None,
            )
            for n in range(draw(st.integers(1, 2)))
        ]
        turns.append(Turn("assistant", texts, tuple(calls)))
    return turns


WORD: Final = re.compile(r"w\d+w")


def _sent_turns(document: Any) -> list[Any]:
    return document.get("contents") or document.get("input") or document["messages"]


def _is_models(turn: Any) -> bool:
    return turn.get("role") in ("assistant", "model") or turn.get("type") == "function_call"


def _is_told(path: str, losses: Sequence[str]) -> bool:
    return any(loss.startswith(path) or path.startswith(loss) for loss in losses)


def _targets(provider: DialectName) -> list[Mapping[str, str]]:
    """Whose requests are the dialect's own: no host puts them into an envelope."""
    targets = TARGETS[provider].values()
    return [facts for facts in targets if provider is not ANTHROPIC or "host" not in facts]


ROWS: Final = [
    pytest.param(client, provider, id=f"{client}-{provider}")
    for client in WRITERS
    for provider in providers_for(client)
]


@pytest.mark.parametrize(("client", "provider"), ROWS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_no_conversation_becomes_another_in_silence(
    client: DialectName, provider: DialectName, data: st.DataObject
) -> None:
    turns = data.draw(_conversations(client))
    document, written = WRITERS[client](turns)
    facts = data.draw(st.sampled_from(_targets(provider)))
    plan = bridge(client, provider, **facts)
    request = plan.translate_request(json.dumps(document).encode(), {":path": CLIENTS[client].path})
    sent = json.loads(request.body)
    losses = [loss.path for loss in request.losses]

    heard = set(WORD.findall(json.dumps(sent)))
    for path, texts in written.places:
        assert heard.issuperset(WORD.findall("".join(texts))) or _is_told(path, losses), (path, sent)
    said = WORD.findall(json.dumps(_sent_turns(sent)))
    assert said == sorted(said, key=lambda word: int(word[1:-1])), sent

    last = written.turns[-1]
    assert _sent_turns(sent)
    if not _is_models(last):
        assert not _is_models(_sent_turns(sent)[-1]), sent
    elif not _is_models(_sent_turns(sent)[-1]):
        assert request.losses
    DIALECTS[provider].decode_request(request.body, PathFacts("asked", stream=False))
