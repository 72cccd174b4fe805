"""Any bytes give values or our errors, and what both dialects can say survives a round trip."""

import contextlib
import json
from typing import Any

import msgspec
import pytest
from headgate.llm.canonical import (
    Base64Source,
    CachePoint,
    ChatRequest,
    FunctionTool,
    ImagePart,
    Message,
    Part,
    RedactedThinkingPart,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolResultPart,
)
from headgate.llm.dialects.cache_marks import last_marks
from headgate.llm.dialects.dialect import NO_MEMO, Target
from headgate.llm.dialects.table import DIALECTS
from headgate.llm.endpoints import ENDPOINTS, lookup
from headgate.llm.errors import ErrorDetail, RequestError, UpstreamError
from headgate.llm.names import DialectName
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support.arbitrary_json import JSON, SCALARS, replace_somewhere
from support.chat_goldens import CLIENTS, answer_cells, ask, bridge, cases, providers_for

both = pytest.mark.parametrize("name", list(DIALECTS))


@both
@settings(max_examples=200, deadline=None)
@given(body=st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_give_values_or_our_errors(name: DialectName, body: bytes) -> None:
    dialect = DIALECTS[name]
    with contextlib.suppress(RequestError):
        dialect.decode_request(body)
    with contextlib.suppress(UpstreamError):
        dialect.decode_response(body, NO_MEMO)
    detail = dialect.decode_error(500, {}, body)
    assert isinstance(detail, ErrorDetail)
    assert detail.message
    for other in DIALECTS.values():
        assert b"message" in other.encode_error(detail)


REQUESTS: list[Any] = [
    pytest.param(dialect, path, id=f"{dialect}-{path.stem}") for dialect, path in cases("requests", ".json")
]


@pytest.mark.parametrize(("dialect", "path"), REQUESTS)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_request_with_anything_in_place_of_a_value_is_translated_or_refused(
    dialect: DialectName, path: Any, data: st.DataObject
) -> None:
    document = json.loads(path.read_text())
    replace_somewhere(document, data)

    body = json.dumps(document).encode()
    for provider in providers_for(dialect):
        with contextlib.suppress(RequestError):
            request = bridge(dialect, provider).translate_request(body, {":path": CLIENTS[dialect].path})
            json.loads(request.body)


@pytest.mark.parametrize(("provider", "path", "client"), list(answer_cells("responses", ".json")))
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_an_answer_with_anything_in_place_of_a_value_is_translated_or_the_providers_fault(
    provider: DialectName, path: Any, client: DialectName, data: st.DataObject
) -> None:
    document = json.loads(path.read_text())
    replace_somewhere(document, data)
    plan, asked = ask(client, provider)

    translation = plan.open_response(asked, 200, {}, 1)
    translation.feed(json.dumps(document).encode())
    with contextlib.suppress(UpstreamError):
        json.loads(translation.close())


_words = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=12).filter(lambda text: text.strip())
_names = st.from_regex(r"[a-zA-Z0-9_-]{1,12}", fullmatch=True)
_caches = st.none() | st.sampled_from((CachePoint(), CachePoint("1h")))
_texts = st.builds(TextPart, _words, _caches)
_images = st.builds(ImagePart, st.builds(Base64Source, st.sampled_from(("image/png", "image/webp")), st.just("AAAA")))


@st.composite
def _conversations(draw: st.DrawFn) -> ChatRequest:
    """What both dialects can say: turns that alternate, calls that are answered."""
    messages: list[Message] = []
    for _ in range(draw(st.integers(1, 3))):
        user: list[Part] = draw(st.lists(st.one_of(_texts, _images), min_size=1, max_size=3))
        messages.append(Message("user", tuple(user)))
        ids = draw(st.lists(_names, max_size=2, unique=True))
        assistant: list[Part] = []
        if draw(st.booleans()):
            assistant.append(ThinkingPart(draw(_words), draw(_names)))
        if draw(st.booleans()):
            assistant.append(RedactedThinkingPart(draw(_names)))
        assistant.append(TextPart(draw(_words).rstrip()))
        arguments = draw(st.dictionaries(_names, SCALARS, max_size=2))
        assistant.extend(ToolCallPart(each, "f", json.dumps(arguments)) for each in ids)
        messages.append(Message("assistant", tuple(assistant)))
        if ids:
            results = tuple(ToolResultPart(each, (TextPart(draw(_words)),)) for each in ids)
            messages.append(Message("user", results))
            messages.append(Message("assistant", (TextPart("."),)))
    tool = FunctionTool("f", "does", msgspec.Raw(b'{"type":"object","properties":{}}'))
    return ChatRequest(model="claude-sonnet-4-5", messages=tuple(messages), tools=(tool,), max_tokens=9, stop=("END",))


def _shape(request: ChatRequest) -> object:
    """A request without what a dialect may place otherwise: paths, names of roles in tool turns, cache points."""
    return [
        [msgspec.structs.replace(part, cache=None) if hasattr(part, "cache") else part for part in message.parts]
        for message in request.messages
    ]


@settings(max_examples=150, deadline=None)
@given(request=_conversations())
def test_a_conversation_survives_the_trip_through_anthropic(request: ChatRequest) -> None:
    assume(last_marks(request, []) is request)  # it takes four
    dialect = DIALECTS[DialectName.ANTHROPIC_MESSAGES]
    encoded = dialect.encode_request(request, Target(model=request.model))
    decoded = dialect.decode_request(encoded.body)

    assert list(encoded.losses) == []
    assert _shape(decoded) == _shape(request)
    assert [part for m in decoded.messages for part in m.parts] == [part for m in request.messages for part in m.parts]
    assert (decoded.tools, decoded.stop, decoded.max_tokens) == (request.tools, request.stop, request.max_tokens)
    assert dialect.encode_request(decoded, Target(model=request.model)).body == encoded.body


@settings(max_examples=300, deadline=None)
@given(path=st.text(max_size=40) | st.sampled_from([endpoint.full_path for endpoint in ENDPOINTS]), query=st.text())
def test_any_path_is_an_endpoint_or_none(path: str, query: str) -> None:
    assert lookup(f"{path}?{query}") == lookup(path.partition("?")[0])
