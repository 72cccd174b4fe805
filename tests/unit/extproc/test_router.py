"""A router stream reads model and stream flag, publishes them, and counts the prompt where asked."""

import gzip
import json

import pytest
from headgate.contract import metadata
from headgate.contract.facts import RouterFacts
from headgate.extproc.events import (
    Actions,
    BodyMode,
    Change,
    Chunk,
    Context,
    Continue,
    CountPrompt,
    Phase,
    PromptCounted,
    Reject,
    RequestBody,
    RequestHeaders,
    ResponseBody,
    ResponseHeaders,
)
from headgate.extproc.router import RouterSession

JSON = "application/json"
CHAT = b'{"model":"gpt-x","stream":true,"messages":[]}'
MULTIPART = (
    b'--b\r\ncontent-disposition: form-data; name="file"; filename="a.mp3"\r\n\r\nxx\r\n'
    b'--b\r\ncontent-disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n'
    b'--b\r\ncontent-disposition: form-data; name="stream"\r\n\r\nTrue\r\n--b--\r\n'
)


def route(
    body: bytes,
    path: str = "/v1/chat/completions",
    content_type: str = JSON,
    facts: RouterFacts | None = None,
    mode: BodyMode = BodyMode.BUFFERED,
) -> tuple[RouterSession, Actions]:
    """The session, and its answer to the whole body."""
    session = RouterSession(facts or RouterFacts())
    headers = {":path": path, "content-type": content_type}
    answer = session.receive(RequestHeaders(headers, context=Context(request_body_mode=mode)))
    if any(isinstance(each, Reject) for each in answer):
        return session, answer
    return session, session.receive(RequestBody(body))


@pytest.mark.parametrize(
    ("path", "content_type", "body", "model", "stream"),
    [
        ("/v1/chat/completions?a=b", JSON, CHAT, "gpt-x", True),
        ("/v1/chat/completions", JSON, gzip.compress(CHAT), "gpt-x", True),
        ("/v1/embeddings", JSON, b'{"model":"e","stream":true}', "e", False),
        ("/v1/audio/speech", JSON, b'{"model":"tts","stream_format":"sse"}', "tts", True),
        ("/v1/audio/transcriptions", "multipart/form-data; boundary=b", MULTIPART, "whisper-1", True),
        ("/v1/audio/translations", "multipart/form-data; boundary=b", MULTIPART, "whisper-1", False),
        ("/anthropic/v1/messages", JSON, b'{"model":"claude"}', "claude", False),
    ],
)
def test_model_and_stream_are_read_and_published(
    path: str, content_type: str, body: bytes, model: str, stream: bool
) -> None:
    _, (change,) = route(body, path, content_type)
    assert isinstance(change, Change)
    assert change.set_headers == {"x-ai-eg-model": model, "x-ai-eg-original-path": path, "x-envoy-original-path": path}
    assert change.clear_route_cache
    assert change.body is None
    text = {"text_bytes": len(body)} if body is MULTIPART else {}
    assert change.metadata == {
        "headgate": {"model": model, "stream": stream, "path": path, **text},
        "io.envoy.ai_gateway": {"model_name_override": model},
    }


@pytest.mark.parametrize(
    ("path", "content_type", "body", "status"),
    [
        ("/v1/chat/completions", JSON, b"", 400),
        ("/v1/chat/completions", JSON, b"{", 400),
        ("/v1/chat/completions", JSON, b'{"messages":[]}', 400),
        ("/v1/chat/completions", JSON, b'{"model":"a","model":"b"}', 400),
        ("/v1/chat/completions", JSON, b'{"model":"a","stream":"yes"}', 400),
        ("/v1/chat/completions", JSON, b'{"model":"a\\r\\nx-evil: 1"}', 400),
        (
            "/v1/audio/transcriptions",
            "multipart/form-data; boundary=b",
            MULTIPART.replace(b"whisper-1", b"whisper\r\n-1"),
            400,
        ),
        ("/v1/chat/completions", "multipart/form-data; boundary=b", MULTIPART, 400),
        ("/v1/audio/transcriptions", JSON, CHAT, 400),
        ("/v1/audio/transcriptions", "multipart/form-data; boundary=b", MULTIPART.replace(b"model", b"label"), 400),
        ("/v1/unknown", JSON, CHAT, 404),
        ("/v1/messages", JSON, b"{", 400),
    ],
)
def test_what_cannot_be_routed_is_refused(path: str, content_type: str, body: bytes, status: int) -> None:
    _, (reject,) = route(body, path, content_type)
    assert isinstance(reject, Reject)
    assert reject.status == status
    assert json.loads(reject.body)["error"]["message"]


def test_a_body_above_the_maximum_is_413() -> None:
    _, (reject,) = route(CHAT, facts=RouterFacts(body_bytes_max=10))
    assert isinstance(reject, Reject)
    assert reject.status == 413


def test_the_prompt_is_counted_before_the_answer() -> None:
    session, (work,) = route(gzip.compress(CHAT), facts=RouterFacts(count_prompt=True))
    assert work == CountPrompt("chat-completions", "gpt-x", CHAT)
    (change,) = session.receive(PromptCounted(42))
    assert isinstance(change, Change)
    assert change.metadata["io.envoy.ai_gateway"] == {"model_name_override": "gpt-x", "prompt_tokens": 42}
    assert change.metadata["headgate"]["model"] == "gpt-x"
    assert change.set_headers["x-headgate-prompt-tokens"] == "42"
    assert change.clear_route_cache


@pytest.mark.parametrize(
    ("path", "body"), [("/v1/files", b"{}"), ("/v1/chat/completions", b"{"), ("/v1/batches", b"x")]
)
def test_what_has_no_prompt_to_count_goes_on(path: str, body: bytes) -> None:
    _, answer = route(body, path, facts=RouterFacts(count_prompt=True))
    assert answer == (Continue(Phase.REQUEST_BODY),)


def test_a_prompt_that_cannot_be_counted_goes_on_without_a_number() -> None:
    session, _ = route(CHAT, facts=RouterFacts(count_prompt=True))
    (change,) = session.receive(PromptCounted(None))
    assert isinstance(change, Change)
    assert change.metadata["io.envoy.ai_gateway"] == {"model_name_override": "gpt-x"}


@pytest.mark.parametrize(("audio_bytes", "no_text"), [(10_000, 10_000 - 3_060), (2, 0)])
def test_a_file_of_a_form_is_no_text(audio_bytes: int, no_text: int) -> None:
    """A quarter of the body is what limits reserve; a file counts as 765 tokens."""
    form = MULTIPART.replace(b"xx", b"x" * audio_bytes)
    _, (change,) = route(form, "/v1/audio/transcriptions", "multipart/form-data; boundary=b")
    assert isinstance(change, Change)
    assert change.metadata[metadata.INTERNAL].get(metadata.INTERNAL_TEXT_BYTES) == len(form) - no_text


def test_a_multipart_body_has_no_prompt_to_count() -> None:
    facts = RouterFacts(count_prompt=True)
    _, (change,) = route(MULTIPART, "/v1/audio/transcriptions", "multipart/form-data; boundary=b", facts)
    assert isinstance(change, Change)


def test_full_duplex_holds_the_headers_and_gives_the_body_back() -> None:
    session = RouterSession(RouterFacts())
    context = Context(request_body_mode=BodyMode.FULL_DUPLEX_STREAMED)
    headers = {":path": "/v1/chat/completions", "content-type": JSON}
    assert session.receive(RequestHeaders(headers, context=context)) == ()
    assert session.receive(RequestBody(CHAT[:9], end_of_stream=False)) == ()
    change, chunk = session.receive(RequestBody(CHAT[9:]))
    assert isinstance(change, Change)
    assert change.phase is Phase.REQUEST_HEADERS
    assert chunk == Chunk(phase=Phase.REQUEST_BODY, body=CHAT, end_of_stream=True)


def test_a_request_without_a_body_goes_on_where_none_is_needed() -> None:
    (change,) = RouterSession(RouterFacts()).receive(RequestHeaders({":path": "/v1/models"}, end_of_stream=True))
    assert isinstance(change, Change)
    assert change.set_headers["x-ai-eg-original-path"] == "/v1/models"
    headers = {":path": "/v1/chat/completions"}
    (reject,) = RouterSession(RouterFacts()).receive(RequestHeaders(headers, end_of_stream=True))
    assert isinstance(reject, Reject)
    assert reject.status == 400


def test_paths_are_known_below_a_root_and_told_without_it() -> None:
    facts = RouterFacts(root="/ai")
    _, (change,) = route(MULTIPART, "/ai/v1/audio/transcriptions", "multipart/form-data; boundary=b", facts)
    assert isinstance(change, Change)
    assert change.set_headers["x-ai-eg-original-path"] == "/v1/audio/transcriptions"
    assert change.metadata["headgate"]["path"] == "/v1/audio/transcriptions"


def test_the_answer_passes_untouched() -> None:
    session, _ = route(CHAT)
    assert session.receive(ResponseHeaders({":status": "200"})) == (Continue(Phase.RESPONSE_HEADERS),)
    assert session.receive(ResponseBody(b"x")) == (Continue(Phase.RESPONSE_BODY),)
