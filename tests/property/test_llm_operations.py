"""Operations beyond chat: whatever a client sends is translated, passed on or refused, and whatever a provider answers
is told or its fault. Nothing of it is a bug of ours, which would be a 500."""

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from headgate.contract.facts import BackendFacts
from headgate.llm.endpoints import ENDPOINTS, Endpoint
from headgate.llm.errors import RequestError, UnsupportedTranslation, UpstreamError
from headgate.llm.names import DialectName
from headgate.llm.planning import CHAT_OPERATIONS, lane_for, plan
from headgate.llm.tokenizers import count_chat
from hypothesis import given, settings
from hypothesis import strategies as st
from support.arbitrary_json import JSON, replace_somewhere
from support.operation_goldens import ASKED, CREATED, answers, open_plan, requests


def _rows(cells: Any) -> list[Any]:
    return [pytest.param(*cell, id=f"{cell[0]}-{cell[1]}-{cell[2].stem}-{cell[3]}") for cell in cells]


@pytest.mark.parametrize(("operation", "endpoint", "path", "target"), _rows(requests()))
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_a_request_with_anything_in_place_of_a_value_is_translated_or_refused(
    operation: str, endpoint: str, path: Path, target: str, data: st.DataObject
) -> None:
    document = json.loads(path.read_text())
    replace_somewhere(document, data)
    chosen = open_plan(endpoint, operation, target)
    assert chosen is not None
    with contextlib.suppress(RequestError, UnsupportedTranslation):
        request = chosen.translate_request(json.dumps(document).encode(), {":path": ASKED[endpoint].path})
        if request.local is None:
            json.loads(request.body)
        else:
            json.loads(request.local.answer(count_chat(request.local.chat, request.request_model).tokens))


@pytest.mark.parametrize(("operation", "target", "path", "endpoint"), _rows(answers()))
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_an_answer_with_anything_in_place_of_a_value_is_told_or_the_providers_fault(
    operation: str, target: str, path: Path, endpoint: str, data: st.DataObject
) -> None:
    document = json.loads(path.read_text())
    replace_somewhere(document, data)
    chosen = open_plan(endpoint, operation, target)
    assert chosen is not None
    with contextlib.suppress(UpstreamError, UnsupportedTranslation):  # two inputs, where a call takes one
        asked = chosen.translate_request(ASKED[endpoint].minimal, {":path": ASKED[endpoint].path})
        translation = chosen.open_response(asked, 200, {}, CREATED)
        translation.feed(json.dumps(document).encode())
        json.loads(translation.close())


SPEAKERS = (DialectName.OPENAI_CHAT, DialectName.ANTHROPIC_MESSAGES, DialectName.COHERE, DialectName.GEMINI)
RELAYED = [
    pytest.param(endpoint, id=endpoint.name)
    for endpoint in ENDPOINTS
    if endpoint.operation not in CHAT_OPERATIONS
    and not endpoint.local
    and any(lane_for(endpoint, dialect) == "relay" for dialect in SPEAKERS)
]

FORM = (
    b'--b\r\ncontent-disposition: form-data; name="model"\r\n\r\nasked\r\n'
    b'--b\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\nx\r\n--b--\r\n'
)
TYPES = ("application/json", "multipart/form-data; boundary=b", "multipart/form-data", "text/plain", "")


@st.composite
def _bodies(draw: st.DrawFn) -> bytes:
    """Nothing, nonsense, JSON with and without a model, forms that are whole, cut or changed."""
    kind = draw(st.integers(0, 4))
    if kind == 0:
        return draw(st.binary(max_size=60))
    if kind == 1:
        return json.dumps(draw(JSON)).encode()
    if kind == 2:
        return json.dumps({"model": draw(JSON), "stream": draw(JSON), "stream_format": draw(JSON)}).encode()
    start = draw(st.integers(0, len(FORM)))
    end = draw(st.integers(start, len(FORM)))
    return FORM[:start] + draw(st.binary(max_size=4)) + FORM[end:]


@pytest.mark.parametrize("endpoint", RELAYED)
@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_whatever_is_relayed_is_passed_on_or_refused(endpoint: Endpoint, data: st.DataObject) -> None:
    """Images, audio, moderations, files in forms: with and without another model."""
    dialect = next(name for name in SPEAKERS if lane_for(endpoint, name) == "relay")
    model = data.draw(st.sampled_from(("", "other")))
    chosen = plan(endpoint, BackendFacts(name="b", dialect=dialect, model=model))
    headers = {"content-type": data.draw(st.sampled_from(TYPES)), ":path": endpoint.full_path}
    with contextlib.suppress(RequestError):
        request = chosen.translate_request(data.draw(_bodies()), headers)
        assert request.path
        answer = {"content-type": data.draw(st.sampled_from((*TYPES, "text/event-stream", "audio/mpeg")))}
        with contextlib.suppress(UpstreamError):
            translation = chosen.open_response(request, data.draw(st.sampled_from((200, 400, 503))), answer, CREATED)
            body = data.draw(_bodies())
            passed = translation.feed(body) + translation.close()
            assert isinstance(passed, bytes)
