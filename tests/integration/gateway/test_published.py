"""Who served a request and how fast its stream was, in the metadata that users read: in both lanes, at any end."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.client import HTTPConnection
from typing import Any

import pytest
from support.providers import Answer, Delivery, Failure, Usage
from support.stage import Stage

pytestmark = pytest.mark.envoy

USED = Usage(input=100, output=20)
DELAY_SECONDS = 0.12
SLOW = Delivery(delay_seconds=DELAY_SECONDS, pause_seconds=0.01)
LEFT = Delivery(hang_after_bytes=100)
LEFT_AFTER_A_WORD = Answer(text="first " * 40, pieces=20, delivery=Delivery(hang_after_bytes=1_500))
MESSAGES: Any = [{"role": "user", "content": "Hello!"}]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A request, and what is to be said of it."""

    model: str
    route: str = "native"
    path: str = "/v1/chat/completions"
    stream: bool = False
    leaves: bytes = b""
    """The client goes when it has this of the answer."""
    answers: Mapping[str, Answer | Failure] = field(default_factory=dict[str, Answer | Failure])
    backend: str
    ref: str = "0/ref/0"
    sent: str = ""
    lane: str = "native"
    source: str = "reported"


CASES = {
    "whole": Asked(model="gpt", backend="openai"),
    "whole, translated": Asked(model="claude", backend="anthropic", ref="1/ref/0", lane="extproc"),
    "another model": Asked(
        model="renamed-claude", path="/v1/messages", backend="anthropic", ref="9/ref/0", sent="claude-opus-5"
    ),
    "another model, translated": Asked(
        model="renamed-claude", backend="anthropic", ref="9/ref/0", sent="claude-opus-5", lane="extproc"
    ),
    "stream": Asked(
        model="gpt",
        stream=True,
        answers={"openai": Answer(usage=USED, delivery=SLOW)},
        backend="openai",
        source="estimated",
    ),
    "stream, translated": Asked(
        model="claude",
        stream=True,
        answers={"anthropic": Answer(usage=USED, delivery=SLOW)},
        backend="anthropic",
        ref="1/ref/0",
        lane="extproc",
    ),
    "left": Asked(
        model="gpt",
        stream=True,
        leaves=b"{",
        answers={"openai": Answer(delivery=LEFT)},
        backend="openai",
        source="none",
    ),
    "left after a word": Asked(
        model="gpt",
        stream=True,
        leaves=b"first",
        answers={"openai": LEFT_AFTER_A_WORD},
        backend="openai",
        source="estimated",
    ),
    "left after a word, translated": Asked(
        model="claude",
        stream=True,
        leaves=b"first",
        answers={"anthropic": LEFT_AFTER_A_WORD},
        backend="anthropic",
        ref="1/ref/0",
        lane="extproc",
        source="estimated",
    ),
    "refused": Asked(model="gpt", answers={"openai": Failure(400)}, backend="openai", source="none"),
    "the next backend": Asked(
        model="native-native", route="failover", answers={"openai": Failure(503)}, backend="second", ref="0/ref/1"
    ),
    "the next backend, translated": Asked(
        model="native-translated",
        route="failover",
        answers={"openai": Failure(503)},
        backend="anthropic",
        ref="1/ref/1",
        lane="extproc",
    ),
    "the next backend, no more translated": Asked(
        model="translated-native",
        route="failover",
        answers={"anthropic": Failure(503)},
        backend="openai",
        ref="2/ref/1",
    ),
    "the next backend after no connection": Asked(
        model="refused-first", route="failover", backend="second", ref="4/ref/1"
    ),
    "the next backend, as itself": Asked(
        model="renamed-first",
        route="failover",
        answers={"openai": Failure(503), "anthropic": Failure(503)},
        backend="second",
        ref="8/ref/2",
    ),
}


def _ask(stage: Stage, name: str, asked: Asked) -> str:
    """The path that names it in the log."""
    for provider in ("openai", "second", "anthropic"):
        stage[provider].answer(asked.answers.get(provider, Answer()))
    path = f"{asked.path}?case={name.replace(' ', '-')}"
    body = {"model": asked.model, "messages": MESSAGES, "max_tokens": 9, "stream": asked.stream}
    with stage.http.stream("POST", stage.url + path, json=body, headers={"anthropic-version": "2023-06-01"}) as answer:
        seen = b""
        for piece in answer.iter_raw():
            seen += piece
            if asked.leaves and asked.leaves in seen:
                break
    return path


@pytest.fixture(scope="module")
def published(standard_stage: Stage) -> Mapping[str, Mapping[str, Any]]:
    """The metadata of each case, by its name."""
    standard_stage.forget()
    paths = {name: _ask(standard_stage, name, asked) for name, asked in CASES.items()}
    found = standard_stage.access(
        lambda entry: entry["path"] in paths.values() and not entry.get("attempt"), len(paths)
    )
    by_path = {entry["path"]: entry["metadata"] for entry in found}
    standard_stage.forget()
    return {name: by_path[path] for name, path in paths.items()}


@pytest.mark.parametrize("name", CASES)
def test_it_says_who_served(published: Mapping[str, Mapping[str, Any]], name: str) -> None:
    asked, said = CASES[name], published[name]
    assert said["ai_service_backend_name"] == f"default/{asked.backend}"
    assert said["backend_name"] == f"default/{asked.backend}/route/{asked.route}/rule/{asked.ref}"
    assert said["route_name"] == f"default/{asked.route}"
    assert said["model_name_override"] == (asked.sent or asked.model)
    assert said["lane"] == asked.lane
    assert said["usage_source"] == asked.source


UNKNOWN: Mapping[str, Mapping[str, Any]] = {
    "body": {"json": {"model": "nobody", "messages": MESSAGES}},
    "path": {"json": {"contents": []}},
    "form": {"data": {"model": "nobody"}, "files": {"file": ("a.wav", b"RIFF")}},
}
"""Where a request names its model."""


@pytest.mark.parametrize("place", UNKNOWN)
def test_where_no_backend_is_asked_it_says_the_model(stage: Stage, place: str) -> None:
    paths = {"path": "/v1beta/models/nobody:generateContent", "form": "/v1/audio/transcriptions"}
    path = f"{paths.get(place, '/v1/chat/completions')}?nobody"
    assert stage.http.post(stage.url + path, **UNKNOWN[place]).status_code == 404
    (entry,) = stage.access(lambda entry: entry["path"] == path)
    assert entry["metadata"] == {"model_name_override": "nobody"}
    assert entry["original_model"] == "nobody"


@pytest.mark.parametrize("name", ["stream", "stream, translated"])
def test_it_says_how_fast_a_stream_was(published: Mapping[str, Mapping[str, Any]], name: str) -> None:
    said = published[name]
    assert said["token_latency_ttft"] >= math.floor(DELAY_SECONDS * 1000)
    assert said["token_latency_ttft"] % 1 == 0
    assert said["token_latency_itl"] > 0


def test_a_stream_that_its_client_left_was_timed(published: Mapping[str, Mapping[str, Any]]) -> None:
    assert published["left"]["token_latency_ttft"] >= 0
    assert "token_latency_itl" not in published["left"]


@pytest.mark.parametrize("name", ["left after a word", "left after a word, translated"])
def test_what_a_client_left_at_once_is_counted(published: Mapping[str, Mapping[str, Any]], name: str) -> None:
    """Else whoever hangs up early asks for nothing."""
    said = published[name]
    assert said["input_tokens"] > 0
    assert said["output_tokens"] > 0
    assert said["total_tokens"] == said["input_tokens"] + said["output_tokens"]


@pytest.mark.parametrize("name", ["whole", "whole, translated", "refused"])
def test_what_is_no_stream_is_not_timed(published: Mapping[str, Mapping[str, Any]], name: str) -> None:
    assert not published[name].keys() & {"token_latency_ttft", "token_latency_itl"}


@pytest.mark.parametrize("streamed", [False, True])
def test_a_processed_answer_says_its_id_and_why_it_ended(stage: Stage, streamed: bool) -> None:
    path = f"/v1/chat/completions?of=marks-{streamed}"
    answer = stage.chat("claude", path=path, stream=streamed)
    (entry,) = stage.access(lambda entry: entry["path"] == path)
    said = entry["metadata"]
    assert said["response_id"]
    assert f'"id":"{said["response_id"]}"' in answer.text
    assert said["finish_reasons"] == ["stop"]
    assert said["content_length"] == len(stage["anthropic"].last.body)


def test_how_it_was_timed_stays_inside(stage: Stage) -> None:
    answer = stage.chat("gpt")
    assert not [name for name in answer.headers if name.startswith("x-headgate")]


PLAIN = "/v1/chat/completions?line=plain"
OWN_ID = "/v1/chat/completions?line=id"
"""Requests have ids of Envoy's own, whatever clients say."""
LONG = "/v1/chat/completions?line=long&" + "x" * 300
LINES: Mapping[str, Mapping[str, str]] = {
    PLAIN: {},
    '/v1/chat/completions?line="quoted\\"': {},
    LONG: {},
    "/v1/chat/completions?line=session": {"agent-session-id": "s-1"},
    OWN_ID: {"x-request-id": 'quoted"\\'},
}
"""Requests that differ in what clients choose, and so in who writes their lines: Envoy as text, or as JSON."""


@pytest.mark.parametrize(
    ("model", "streamed", "as_text"),
    [
        ("gpt", False, {PLAIN, OWN_ID}),
        ("gpt", True, {PLAIN, OWN_ID}),
        # the processor has seen all of the path
        ("claude", False, {PLAIN, OWN_ID, LONG}),
        ("claude", True, set[str]()),
    ],
)
def test_a_line_says_the_same_however_it_is_written(
    stage: Stage, model: str, streamed: bool, as_text: set[str]
) -> None:
    body = json.dumps({"model": model, "messages": MESSAGES, "max_tokens": 9, "stream": streamed})
    asked = f"&asked={model}-{streamed}"
    paths = {path + asked: headers for path, headers in LINES.items()}
    connection = HTTPConnection("127.0.0.1", stage.port, timeout=60)
    for path, headers in paths.items():
        stage["openai" if model == "gpt" else "anthropic"].answer(Answer(usage=USED))
        connection.request("POST", path, body, {"content-type": "application/json", **headers})
        answer = connection.getresponse()
        assert (answer.status, bool(answer.read())) == (200, True)
    connection.close()
    lines = {entry["path"]: entry for entry in stage.access(lambda entry: entry["path"] in paths, len(paths))}
    assert len(lines) == len(paths)
    plain = lines[PLAIN + asked]
    assert plain["metadata"]["usage_source"] == ("estimated" if streamed and model == "gpt" else "reported")
    for path, headers in paths.items():
        line = lines[path]
        session = line["metadata"].pop("session.id", None)
        assert session == headers.get("agent-session-id")
        assert {name: type(value) for name, value in line.items()} == {name: type(plain[name]) for name in plain}
        for name in ("original_model", "rule", "backend", "status", "attempt_count", "flags", "details"):
            assert line[name] == plain[name]
        told, own = dict(line["metadata"]), {"token_latency_ttft", "token_latency_itl", "response_id"}
        assert told.keys() == plain["metadata"].keys()
        assert all(told[name] == plain["metadata"][name] for name in told.keys() - own)
    written = stage.access_log_path.read_text().splitlines()
    by_text = [json.loads(line)["path"] for line in written if line.startswith('{"time"')]
    assert {path for path in by_text if path in paths} == {path + asked for path in as_text}


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("model", ["gpt", "claude"])
def test_what_a_provider_counts_replaces_what_was_estimated(stage: Stage, model: str, streamed: bool) -> None:
    """Also of a prompt whose bytes are many more than its tokens, such as an image, and of an answer in many pieces."""
    path = f"/v1/chat/completions?long-{model}-{streamed}"
    for provider in ("openai", "anthropic"):
        stage[provider].answer(Answer(usage=USED, text="word " * 40_000, pieces=20, delivery=SLOW))
    messages = [{"role": "user", "content": "Hello! " * 1_000}]
    asked_for = {"stream": True, "stream_options": {"include_usage": True}} if streamed else {}
    body = {"model": model, "messages": messages, **asked_for}
    assert stage.http.post(stage.url + path, json=body).status_code == 200
    (entry,) = stage.access(lambda entry: entry["path"] == path)
    said = entry["metadata"]
    assert (said["input_tokens"], said["output_tokens"], said["total_tokens"]) == (100, 20, 120)
    assert said["usage_source"] == "reported"
