"""What two dialects can both say survives the way there and back unchanged: requests and answers, for every pair."""

import json
from collections.abc import Mapping
from typing import Any, Final

import msgspec
import pytest
from headgate.llm.canonical import (
    Base64Source,
    ChatRequest,
    ChatResponse,
    FinishReason,
    FunctionTool,
    ImagePart,
    Message,
    Part,
    Sampling,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolChoice,
    ToolResultPart,
)
from headgate.llm.dialects.dialect import NO_MEMO, ReplyContext, Target
from headgate.llm.dialects.table import DIALECTS
from headgate.llm.endpoints import PathFacts
from headgate.llm.names import DialectName, HostName
from headgate.llm.usage import Usage
from hypothesis import given, settings
from hypothesis import strategies as st
from support.chat_goldens import CREATED, TARGETS
from support.json_values import is_array, is_object

CHAT: Final = DialectName.OPENAI_CHAT
RESPONSES: Final = DialectName.OPENAI_RESPONSES
ANTHROPIC: Final = DialectName.ANTHROPIC_MESSAGES
GEMINI: Final = DialectName.GEMINI
CONVERSE: Final = DialectName.BEDROCK_CONVERSE
COHERE: Final = DialectName.COHERE

PAIRS: Final = tuple((there, via) for there in TARGETS for via in TARGETS if there != via)
pairs = pytest.mark.parametrize(("own", "other"), [pytest.param(*pair, id=f"{pair[0]}-{pair[1]}") for pair in PAIRS])

MODELS: Final[Mapping[DialectName, str]] = {
    CHAT: "gpt-4o",
    RESPONSES: "gpt-4o",
    ANTHROPIC: "claude-sonnet-4-5",
    GEMINI: "gemini-2.5-flash",
    CONVERSE: "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
    COHERE: "command-a-03-2025",
}
WITHOUT: Final[Mapping[DialectName, frozenset[str]]] = {
    CHAT: frozenset(("signed thoughts",)),
    RESPONSES: frozenset(("stop", "signed thoughts")),
    ANTHROPIC: frozenset(),
    GEMINI: frozenset(("signed thoughts",)),
    CONVERSE: frozenset(("no choice",)),
    COHERE: frozenset(("named choice", "signed thoughts", "images")),
}
"""What a dialect, or the model that it is said to here, has no word for. Only Claude takes Claude's signatures back."""
ASKED_BACK: Final = "additionalModelResponseFieldPaths"
"""What our requests ask Bedrock to tell in its answers."""

_words = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=12).filter(
    lambda text: text == text.strip() != ""
)
_names = st.from_regex(r"[a-zA-Z][a-zA-Z0-9_]{0,11}", fullmatch=True)
_images = st.sampled_from(("AAAA", "iVBORw0KGgo=")).map(lambda data: ImagePart(Base64Source("image/png", data)))
_scalars = st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=4)
_arguments = st.dictionaries(_names, _scalars | st.lists(_scalars, max_size=2), max_size=2).map(
    lambda value: json.dumps(value, separators=(",", ":"), ensure_ascii=False)  # as they are written into objects
)


def _can(word: str, *dialects: DialectName) -> bool:
    return not any(word in WITHOUT[dialect] for dialect in dialects)


def _user(draw: st.DrawFn, *, images: bool) -> Message:
    parts: list[Part] = [TextPart(draw(_words))]
    parts += draw(st.lists(_images, max_size=2)) if images else []
    return Message("user", tuple(parts))


def _assistant(draw: st.DrawFn, turn: int, *, thoughts: bool) -> list[Message]:
    parts: list[Part] = []
    if thoughts and draw(st.booleans()):
        parts.append(ThinkingPart(draw(_words), "c2lnbmVk"))
    text = draw(st.none() | _words)
    if text is not None:
        parts.append(TextPart(text))
    calls = [ToolCallPart(f"call_{turn}_{n}", "f", draw(_arguments)) for n in range(draw(st.integers(0, 2)))]
    if not calls:
        return [Message("assistant", (*parts, TextPart(draw(_words))) if text is None else tuple(parts))]
    results = tuple(ToolResultPart(call.id, (TextPart(draw(_words)),)) for call in calls)
    called, told = Message("assistant", (*parts, *calls)), Message("user", results)
    return [called, told, Message("assistant", (TextPart(draw(_words)),))]


@st.composite
def _conversations(draw: st.DrawFn, own: DialectName, other: DialectName) -> ChatRequest:
    messages = [Message("system", (TextPart(draw(_words)),))] if draw(st.booleans()) else []
    for turn in range(draw(st.integers(0, 2))):
        messages.append(_user(draw, images=_can("images", own, other)))
        messages += _assistant(draw, turn, thoughts=_can("signed thoughts", own, other))
    messages.append(_user(draw, images=_can("images", own, other)))
    choices = [None, ToolChoice("required")]
    if _can("no choice", own, other):
        choices.append(ToolChoice("none"))
    if _can("named choice", own, other):
        choices.append(ToolChoice("named", "f"))
    tool = FunctionTool("f", draw(_words), msgspec.Raw(b'{"type":"object","properties":{"a":{"type":"string"}}}'))
    return ChatRequest(
        model="asked",
        messages=tuple(messages),
        tools=(tool,),
        tool_choice=draw(st.sampled_from(choices)),
        max_tokens=draw(st.integers(16, 4_000)),
        sampling=Sampling(temperature=draw(st.sampled_from((None, 0.0, 0.25, 1.0)))),
        stop=draw(st.sampled_from(((), ("END",)))) if _can("stop", own, other) else (),
        stream=draw(st.booleans()),
    )


def _target(dialect: DialectName) -> Target:
    host = HostName.BEDROCK if dialect is CONVERSE else HostName.DIRECT
    return Target(model=MODELS[dialect], host=host)


def _say(dialect: DialectName, request: ChatRequest) -> bytes:
    encoded = DIALECTS[dialect].encode_request(request, _target(dialect))
    assert [loss for loss in encoded.losses if loss.path != ASKED_BACK] == []
    return encoded.body


def _hear(dialect: DialectName, body: bytes, *, stream: bool) -> ChatRequest:
    return DIALECTS[dialect].decode_request(body, PathFacts(MODELS[dialect], stream))


@pairs
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_conversation_survives_the_way_there_and_back(
    own: DialectName, other: DialectName, data: st.DataObject
) -> None:
    request = data.draw(_conversations(own, other))
    said = _say(own, request)

    heard = _hear(own, said, stream=request.stream)
    there = _hear(other, _say(other, heard), stream=request.stream)

    assert _say(own, _plain(there)) == _say(own, _plain(heard))
    assert _say(own, heard) == said


def _plain(request: ChatRequest) -> ChatRequest:
    """Without a word for what is so anyway: OpenAI's responses must say of a tool that it is not strict."""
    tools = tuple(
        msgspec.structs.replace(tool, strict=tool.strict or None)
        for tool in request.tools
        if isinstance(tool, FunctionTool)
    )
    return msgspec.structs.replace(request, tools=tools)


@st.composite
def _answers(draw: st.DrawFn, own: DialectName, other: DialectName) -> ChatResponse:
    parts: list[Part] = []
    if draw(st.booleans()):
        parts.append(ThinkingPart(draw(_words), "c2lnbmVk" if {own, other} <= SIGNED else ""))
    if draw(st.booleans()):
        parts.append(TextPart(draw(_words)))
    calls = [ToolCallPart(f"call_{n}", "f", draw(_arguments)) for n in range(draw(st.integers(0, 2)))]
    if not calls and not any(isinstance(part, TextPart) for part in parts):
        parts.append(TextPart(draw(_words)))
    reason = FinishReason.TOOL_CALLS if calls else draw(st.sampled_from((FinishReason.STOP, FinishReason.LENGTH)))
    given_tokens, written = draw(st.integers(10, 99)), draw(st.integers(1, 99))
    return ChatResponse(
        id="id-1",
        model="answered",
        parts=(*parts, *calls),
        finish_reason=reason,
        usage=Usage(
            input=given_tokens, cached_input=draw(st.integers(0, 9)), output=written, total=given_tokens + written
        ),
    )


SIGNED: Final = frozenset((ANTHROPIC, CHAT, CONVERSE))
"""Dialects that give a signature on as it is; Gemini's and OpenAI's responses carry those of others sealed."""


def _told(dialect: DialectName, response: ChatResponse) -> bytes:
    return DIALECTS[dialect].encode_response(
        response, ReplyContext(model="answered", created=CREATED, request_id="r-1")
    )


@pairs
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_an_answer_survives_the_way_there_and_back(own: DialectName, other: DialectName, data: st.DataObject) -> None:
    told = _told(own, data.draw(_answers(own, other)))

    heard = DIALECTS[own].decode_response(told, NO_MEMO)
    there = DIALECTS[other].decode_response(_told(other, heard), NO_MEMO)

    assert _content(_told(own, there)) == _content(told)


UNLIKE: Final = frozenset(("id", "responseId", "item_id"))
"""An id is made where the dialect in between has none (Bedrock's is a header)."""


def _content(body: bytes) -> Any:
    """Without ids of answers, and without counts of nothing, which some say and some leave out."""
    document: dict[str, Any] = json.loads(body)
    for name in UNLIKE:
        document.pop(name, None)
    items = document.get("output")
    for item in items if is_array(items) else ():
        item.pop("id", None)
    for name in ("usage", "usageMetadata"):
        if name in document:
            document[name] = _counted(document[name])
    return document


def _counted(counts: Any) -> Any:
    if not is_object(counts):
        return counts
    inner: dict[str, Any] = {name: _counted(value) for name, value in counts.items()}
    return {name: value for name, value in inner.items() if value not in (None, 0, {})}
