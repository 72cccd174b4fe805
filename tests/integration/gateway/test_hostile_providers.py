"""Broken and hostile providers behind the real Envoy, and arbitrary requests.

A clear error in the client's dialect, bounded memory of the processor, and never a 500.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from headgate.llm.names import DialectName
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.arbitrary_json import JSON, replace_somewhere
from support.chat_goldens import CLIENTS, cases
from support.chat_streams import read_stream
from support.every_dialect import SCHEMAS, every_dialect
from support.hostile import WHOLE, endless, streams
from support.processes import resident_bytes
from support.providers import Raw
from support.stage import Stage

pytestmark = pytest.mark.envoy

CLIENT_OF: Mapping[DialectName, DialectName] = {
    DialectName.OPENAI_CHAT: DialectName.ANTHROPIC_MESSAGES,
    DialectName.OPENAI_RESPONSES: DialectName.GEMINI,
    DialectName.ANTHROPIC_MESSAGES: DialectName.OPENAI_CHAT,
    DialectName.GEMINI: DialectName.BEDROCK_CONVERSE,
    DialectName.BEDROCK_CONVERSE: DialectName.OPENAI_RESPONSES,
    DialectName.COHERE: DialectName.OPENAI_COMPLETIONS,
}
"""Who asks each provider here; every pair is asked without Envoy (`tests/unit/llm/test_hostile_providers.py`)."""
GROWN_BYTES_MAX = 160 * 1024 * 1024
"""An event of 32 MB, its copy when it is joined, what Envoy has handed over of the next one, and what Python keeps."""


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with every_dialect() as stage:
        yield stage
        stage.check()


def _ask(stage: Stage, provider: DialectName, *, streamed: bool) -> Any:
    row = CLIENTS[CLIENT_OF[provider]]
    path = (row.stream_path if streamed and row.stream_path else row.path).replace("asked", provider)
    body = (row.streamed if streamed else row.minimal).replace(b"asked", provider.encode())
    return stage.post(path, content=body, anthropic_version="2023-06-01")


@pytest.mark.parametrize("provider", SCHEMAS)
def test_nonsense_is_a_clear_error(stage: Stage, provider: DialectName) -> None:
    for name, body in WHOLE.items():
        stage["any"].answer(Raw(body=body))
        answer = _ask(stage, provider, streamed=False)
        assert answer.status_code == 502, name
        assert "provider" in json.dumps(answer.json()), name
    for name, pieces in streams(provider).items():
        stage["any"].answer(Raw(body=tuple(pieces()), content_type=CLIENTS[provider].stream_type))
        answer = _ask(stage, provider, streamed=True)
        if answer.status_code == 200:
            result = read_stream(CLIENT_OF[provider], answer.content)
            assert (result.failed, result.ended) == (True, False), name
        else:  # before anything had been said; an exception of the provider's has a status of its own
            assert answer.status_code >= 400, name
            assert "essage" in json.dumps(answer.json()), name


@pytest.mark.parametrize("provider", SCHEMAS)
def test_what_never_ends_costs_bounded_memory(stage: Stage, provider: DialectName) -> None:
    processors = stage.gateway.processes()["extproc"]
    stage["any"].answer(Raw(body=b"{}"))
    _ask(stage, provider, streamed=False)
    before = sum(map(resident_bytes, processors))
    for name, pieces in endless(provider).items():
        stage["any"].answer(Raw(body=tuple(pieces()), content_type=CLIENTS[provider].stream_type))
        answer = _ask(stage, provider, streamed=True)
        grown = sum(map(resident_bytes, processors)) - before
        assert grown < GROWN_BYTES_MAX, f"{name}: {grown >> 20} MB"
        if answer.status_code == 200:
            assert read_stream(CLIENT_OF[provider], answer.content).failed, name
    assert stage.gateway.processes()["extproc"] == processors


REQUESTS = [
    pytest.param(dialect, [path for each, path in cases("requests", ".json") if each == dialect], id=dialect)
    for dialect in CLIENTS
]


@pytest.mark.parametrize(("client", "recorded"), REQUESTS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_request_is_a_bug_of_ours(stage: Stage, client: DialectName, recorded: Any, data: st.DataObject) -> None:
    stage["any"].answer(Raw(body=b"{}"))
    provider = data.draw(st.sampled_from([each for each in SCHEMAS if each != client]))
    if data.draw(st.booleans()):
        document_ = json.loads(data.draw(st.sampled_from(recorded)).read_text())
        replace_somewhere(document_, data)
    else:
        document_ = data.draw(JSON)
    row = CLIENTS[client]
    if isinstance(document_, dict) and "asked" not in row.path:
        document_["model"] = provider
    answer = stage.post(row.path.replace("asked", provider), document_, anthropic_version="2023-06-01")
    if answer.status_code == 200:
        assert answer.content == b"{}"  # relayed as it came
        return
    assert answer.status_code == 502 or 400 <= answer.status_code < 500, answer.text
    assert "essage" in json.dumps(answer.json())
