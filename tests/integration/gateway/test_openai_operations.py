"""What OpenAI's API has beyond chat, through the real Envoy by the official client: images, audio, moderations, files
and batches; from OpenAI, both surfaces of Azure, and a compatible server under another path, under the client's model
name and under another one."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, quote

import httpx
import openai
import pytest
from support import manifests
from support.manifests import Document, backend, ref, route, rule
from support.providers import Delivery, Failure, Provider, Raw
from support.providers.operations_api import OperationsApi
from support.stage import Stage

pytestmark = [
    pytest.mark.envoy,
    pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning"),  # what OpenAI retires others still serve
]

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 200
"""With bytes that look like line ends and, below, like a delimiter."""
WAV = b"RIFF\r\n--boundary\r\n" + bytes(range(256)) * 300
TYPES: Mapping[str, str] = {
    "/images/generations": "openai.types.image_generate_params.ImageGenerateParams",
    "/images/edits": "",
    "/audio/speech": "openai.types.audio.SpeechCreateParams",
    "/moderations": "openai.types.ModerationCreateParams",
    "/files(/.*)?": "",
    "/batches": "openai.types.BatchCreateParams",
    "/batches/.*": "",
    "/responses/.*": "",
    "/chat/completions/.*": "",
}
FORMS: Mapping[str, frozenset[str]] = {
    "/images/edits": frozenset(("model", "prompt")),
    "/images/variations": frozenset(("model", "image")),
    "/audio/transcriptions": frozenset(("model", "file")),
    "/audio/translations": frozenset(("model", "file")),
    "/files": frozenset(("purpose", "file")),
}
DEPLOYED = "/openai(/deployments/[^/]+(?=/images|/audio)|(?=/files|/batches))"


def _api(prefix: str, header: str = "authorization", form: str = "Bearer {}", query: str = ".*") -> OperationsApi:
    types = {prefix + path: kind for path, kind in TYPES.items()}
    forms = {prefix + path: fields for path, fields in FORMS.items()}
    return OperationsApi(types, header, form, forms=forms, query=query)


PROVIDERS: Mapping[str, OperationsApi] = {
    "openai": _api("/v1"),
    "azure": _api(DEPLOYED, "api-key", "{}", "(.*&)?api-version=2024-10-21(&.*)?"),
    "azure-v1": _api("/openai/v1", "api-key", "{}"),
    "compatible": _api("/llm/api"),
}
SCHEMAS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "openai": ("OpenAI", {}),
    "azure": ("AzureOpenAI", {"version": "2024-10-21"}),
    "azure-v1": ("AzureOpenAI", {"version": "v1"}),
    "compatible": ("OpenAI", {"prefix": "/llm/api"}),
}
OTHER = "another model/1"
NAMES = {f"{kind}-{name}": name for kind in ("own", "other") for name in PROVIDERS}
"""Models by whom they are asked of; `other-…` has another name there."""


def _documents(stage: Stage) -> list[Document]:
    found = [*manifests.gateway({"port": stage.port})]
    for name, (schema, fields) in SCHEMAS.items():
        found += backend(name, stage[name].port, schema, key=f"sk-{name}", schema_fields=fields)
    rules = [rule(f"own-{name}", ref(name)) for name in PROVIDERS]
    rules += [rule(f"other-{name}", ref(name, modelNameOverride=OTHER)) for name in PROVIDERS]
    costs = manifests.costs(input="InputToken", output="OutputToken")
    rules.append(
        rule("spare", ref("openai", modelNameOverride="first"), ref("azure", priority=1, modelNameOverride="second"))
    )
    accounts = [
        {"matches": [{"headers": [{"name": "x-account", "value": name}]}], "backendRefs": [ref(name)]}
        for name in PROVIDERS
    ]
    found += [route("models", rules, **costs), route("accounts", accounts)]
    return found


@pytest.fixture(scope="module")
def running() -> Iterator[Stage]:
    with Stage(**{name: Provider(api, key=f"sk-{name}") for name, api in PROVIDERS.items()}) as stage:
        stage.run(_documents(stage))
        yield stage


@pytest.fixture
def stage(running: Stage) -> Iterator[Stage]:
    running.forget()
    yield running
    running.check()


@dataclass(frozen=True)
class Operation:
    """One thing that clients ask for, and what a provider answers; `told` is what the client must make of it."""

    ask: Callable[[openai.OpenAI, str], Any]
    answer: Raw
    told: Any
    used: tuple[int, int] | None
    """Input and output tokens in the access log; None where no usage is reported, 0 where it is of something else."""
    path: str
    unlike: frozenset[str] = frozenset()
    """Providers that have no such thing."""
    heard_seconds: int = 0
    """Of audio, in the access log."""


def _json(**body: Any) -> Raw:
    return Raw(body=json.dumps(body).encode())


def _events(*events: Mapping[str, Any]) -> Raw:
    parts = tuple(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events)
    return Raw(body=parts, content_type="text/event-stream")


USED: Mapping[str, Any] = {"input_tokens": 40, "output_tokens": 1_056, "total_tokens": 1_096}
IMAGE_USED = {**USED, "input_tokens_details": {"text_tokens": 10, "image_tokens": 30}}
IMAGES = _json(created=1, data=[{"b64_json": "iVBORw0KGgo="}], usage=IMAGE_USED)
DRAWN: Mapping[str, Any] = {
    "b64_json": "iVBORw0KGgo=",
    "created_at": 1,
    "background": "auto",
    "output_format": "png",
    "quality": "high",
    "size": "1024x1024",
}


def _drawn(kind: str) -> Raw:
    return _events(
        {"type": f"{kind}.partial_image", "partial_image_index": 0, **DRAWN},
        {"type": f"{kind}.completed", "usage": IMAGE_USED, **DRAWN},
    )


SPOKEN = Raw(
    body=b'data: {"type":"speech.audio.delta","audio":"AAAA"}\n\ndata: {"type":"speech.audio.done","usage":%b}\n\n'
    % json.dumps(USED).encode(),
    content_type="text/event-stream",
)
HEARD = _json(text="Hello.", usage={"type": "tokens", **USED})
HEARD_EVENTS = _events(
    {"type": "transcript.text.delta", "delta": "Hello."},
    {"type": "transcript.text.done", "text": "Hello.", "usage": {"type": "tokens", **USED}},
)
HEARD_WORDS = _json(
    task="transcribe",
    language="english",
    duration=1.5,
    text="Hello.",
    segments=[],
    usage={"type": "duration", "seconds": 1.5},
)
JUDGED = _json(
    id="modr-1", model="omni-moderation", results=[{"flagged": True, "categories": {}, "category_scores": {}}]
)
NO_MODERATIONS = frozenset(("azure",))


def _retired(owner: object, method: str) -> Any:
    """What OpenAI's client marks as deprecated."""
    return getattr(owner, method)


def _image(answer: Any) -> str:
    return answer.data[0].b64_json


OPERATIONS: Mapping[str, Operation] = {
    "images": Operation(
        lambda client, model: _image(client.images.generate(model=model, prompt="A cat", size="1024x1024")),
        IMAGES,
        "iVBORw0KGgo=",
        (40, 1_056),
        "/images/generations",
    ),
    "images streamed": Operation(
        lambda client, model: [
            event.type for event in client.images.generate(model=model, prompt="A cat", stream=True, partial_images=1)
        ],
        _drawn("image_generation"),
        ["image_generation.partial_image", "image_generation.completed"],
        (40, 1_056),
        "/images/generations",
    ),
    "edits": Operation(
        lambda client, model: _image(
            client.images.edit(model=model, image=[PNG, PNG], mask=PNG, prompt="A hat", size="1024x1024")
        ),
        IMAGES,
        "iVBORw0KGgo=",
        (40, 1_056),
        "/images/edits",
    ),
    "edits streamed": Operation(
        lambda client, model: [
            event.type for event in client.images.edit(model=model, image=PNG, prompt="A hat", stream=True)
        ],
        _drawn("image_edit"),
        ["image_edit.partial_image", "image_edit.completed"],
        (40, 1_056),
        "/images/edits",
    ),
    "variations": Operation(
        lambda client, model: _image(_retired(client.images, "create_variation")(model=model, image=PNG, n=1)),
        _json(created=1, data=[{"b64_json": "iVBORw0KGgo="}]),
        "iVBORw0KGgo=",
        None,
        "/images/variations",
    ),
    "speech": Operation(
        lambda client, model: client.audio.speech.create(model=model, input="Hello.", voice="alloy").content,
        Raw(body=WAV, content_type="audio/mpeg"),
        WAV,
        None,
        "/audio/speech",
    ),
    "speech streamed": Operation(
        lambda client, model: (
            client.audio.speech.create(model=model, input="Hello.", voice="alloy", stream_format="sse").content
        ),
        SPOKEN,
        SPOKEN.body,  # the client has no reader of these events
        (40, 1_056),
        "/audio/speech",
    ),
    "transcriptions": Operation(
        lambda client, model: client.audio.transcriptions.create(model=model, file=("a.wav", WAV), language="en").text,
        HEARD,
        "Hello.",
        (40, 1_056),
        "/audio/transcriptions",
    ),
    "transcriptions as text": Operation(
        lambda client, model: client.audio.transcriptions.create(model=model, file=WAV, response_format="text"),
        Raw(body=b"Hello.\n", content_type="text/plain; charset=utf-8"),
        "Hello.\n",
        None,
        "/audio/transcriptions",
    ),
    "transcriptions with words": Operation(
        lambda client, model: (
            client.audio.transcriptions.create(
                model=model, file=WAV, response_format="verbose_json", timestamp_granularities=["word", "segment"]
            ).duration
        ),
        HEARD_WORDS,
        1.5,
        (0, 0),
        "/audio/transcriptions",
        heard_seconds=2,
    ),
    "transcriptions streamed": Operation(
        lambda client, model: [
            event.type for event in client.audio.transcriptions.create(model=model, file=WAV, stream=True)
        ],
        HEARD_EVENTS,
        ["transcript.text.delta", "transcript.text.done"],
        (40, 1_056),
        "/audio/transcriptions",
    ),
    "translations": Operation(
        lambda client, model: (
            _retired(client.audio.translations, "create")(model=model, file=WAV, temperature=0.2).text
        ),
        _json(text="Hello."),
        "Hello.",
        None,
        "/audio/translations",
    ),
    "moderations": Operation(
        lambda client, model: client.moderations.create(model=model, input=["a", "b"]).results[0].flagged,
        JUDGED,
        True,
        None,
        "/moderations",
        NO_MODERATIONS,
    ),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation(stage: Stage, name: str) -> None:
    operation = OPERATIONS[name]
    asked = [model for model, provider in NAMES.items() if provider not in operation.unlike]
    for model in asked:
        stage[NAMES[model]].answer(operation.answer)
        client = stage.openai(default_query={"cell": f"{name} of {model}"})
        assert operation.ask(client, model) == operation.told, model
        _judge(stage, operation, model)
    cells = {str(httpx.QueryParams({"cell": f"{name} of {model}"})): model for model in asked}
    entries = stage.access(lambda entry: entry["path"].partition("?")[2] in cells, len(cells))
    for entry in entries:
        told: dict[str, Any] = entry["metadata"] or {}
        counts = (told.get("input"), told.get("output"))
        assert counts == (operation.used or (None, None)), entry["path"]
        assert told.get("audio_seconds", 0) == operation.heard_seconds, entry["path"]


def _judge(stage: Stage, operation: Operation, model: str) -> None:
    """The provider got the operation at its own path, for the model that it knows, with every byte of the files."""
    received = stage[NAMES[model]].last
    wanted = OTHER if model.startswith("other") else model
    assert received.path.endswith(operation.path)
    if NAMES[model] == "azure":
        assert f"/deployments/{quote(wanted, safe='')}/" in received.path
    if (received.header("content-type") or "").startswith("multipart/"):
        assert received.form["model"] == (wanted.encode(),)
        files = [value for name in ("file", "image", "image[]", "mask") for value in received.form.get(name, ())]
        assert files
        assert set(files) <= {WAV, PNG}
    else:
        assert received.json["model"] == wanted


def test_an_edit_may_be_json(stage: Stage) -> None:
    for model in ("own-openai", "other-openai", "other-azure"):
        stage[NAMES[model]].answer(IMAGES)
        body = {"model": model, "prompt": "A hat", "images": [{"image_url": "https://example.com/cat.png"}]}
        assert stage.post("/v1/images/edits", body).status_code == 200
        received = stage[NAMES[model]].last
        assert received.json == {**body, "model": OTHER if model.startswith("other") else model}


def test_a_form_fails_over_with_each_backends_own_model(stage: Stage) -> None:
    stage["openai"].answer(Failure(503, "busy"))
    stage["azure"].answer(HEARD)

    heard = stage.openai().audio.transcriptions.create(model="spare", file=WAV)

    assert heard.text == "Hello."
    assert stage["openai"].last.form["model"] == (b"first",)
    assert stage["azure"].last.form["model"] == (b"second",)
    assert "/deployments/second/" in stage["azure"].last.path


@pytest.mark.parametrize("path", ["/v1/images/edits", "/v1/images/variations", "/v1/audio/transcriptions"])
def test_a_form_must_name_a_model_that_is_served(stage: Stage, path: str) -> None:
    for fields, status, words in (
        ({}, 400, "model"),
        ({"model": "nobody"}, 404, "nobody"),
        ({"model": ""}, 400, "model"),
    ):
        answer = stage.http.post(stage.url + path, files={"image": PNG}, data={"prompt": "x", **fields})
        assert (answer.status_code, words in answer.json()["error"]["message"]) == (status, True), answer.text
        assert answer.json()["error"]["param"] in (None, "model")
    assert not stage["openai"].requests


def test_an_answer_that_is_no_audio_or_image_passes_as_it_is(stage: Stage) -> None:
    stage["openai"].answer(Failure(400, "the image is too small"))
    for model in ("own-openai", "other-openai"):
        with pytest.raises(openai.BadRequestError, match="the image is too small"):
            stage.openai().images.edit(model=model, image=PNG, prompt="A hat")


@pytest.mark.parametrize("model", ["own-azure", "other-azure"])
def test_a_client_cannot_choose_azures_api_version(stage: Stage, model: str) -> None:
    stage["azure"].answer(HEARD)
    client = stage.openai(default_query={"api-version": "2020-01-01", "API-Version": "2019-01-01", "cell": "x"})
    client.audio.transcriptions.create(model=model, file=WAV)
    assert sorted(parse_qs(stage["azure"].last.query).items()) == [("api-version", ["2024-10-21"]), ("cell", ["x"])]


# --- what belongs to an account: no model is named, and a header of the operator's choice says whose account it is

FILE = _json(id="file-1", object="file", bytes=2, created_at=1, filename="a.jsonl", purpose="batch", status="processed")
BATCH = _json(
    id="batch_1",
    object="batch",
    endpoint="/v1/chat/completions",
    input_file_id="file-1",
    completion_window="24h",
    status="validating",
    created_at=1,
)
LINES = b'{"custom_id":"1","method":"POST","url":"/v1/chat/completions","body":{"model":"m"}}\n'


@pytest.mark.parametrize("name", PROVIDERS)
def test_files_and_batches_stay_with_the_account_that_a_header_names(stage: Stage, name: str) -> None:
    provider, client = stage[name], stage.openai(default_headers={"x-account": name})
    provider.answer(FILE)
    assert client.files.create(file=("a.jsonl", LINES), purpose="batch").id == "file-1"
    assert provider.last.form["file"] == (LINES,)
    assert client.files.retrieve("file-1").filename == "a.jsonl"
    provider.answer(Raw(body=LINES, content_type="application/octet-stream"))
    assert client.files.content("file-1").content == LINES
    provider.answer(_json(object="list", data=[], has_more=False))
    assert client.files.list(limit=2).data == []
    provider.answer(BATCH)
    made = client.batches.create(input_file_id="file-1", endpoint="/v1/chat/completions", completion_window="24h")
    assert client.batches.retrieve(made.id).input_file_id == "file-1"
    assert client.batches.cancel(made.id).id == made.id
    provider.answer(_json(id="file-1", object="file", deleted=True))
    assert client.files.delete("file-1").deleted

    root = {"openai": "/v1", "azure": "/openai", "azure-v1": "/openai/v1", "compatible": "/llm/api"}[name]
    asked = [(each.method, each.path.removeprefix(root)) for each in provider.requests]
    assert asked == [
        ("POST", "/files"),
        ("GET", "/files/file-1"),
        ("GET", "/files/file-1/content"),
        ("GET", "/files"),
        ("POST", "/batches"),
        ("GET", "/batches/batch_1"),
        ("POST", "/batches/batch_1/cancel"),
        ("DELETE", "/files/file-1"),
    ]
    assert not any(other.requests for each, other in stage.providers.items() if each != name)


ASKED_ONCE = {"id": "resp_1", "object": "response", "status": "completed", "background": False, "usage": USED}
ASKED_ASIDE = {**ASKED_ONCE, "background": True}
"""A response that was answered when it was asked for; and one that was made in the background, of which nobody has been
told what it used."""


def _split(answer: Mapping[str, Any], at: int) -> Raw:
    body = json.dumps(answer).encode()
    return Raw(body=(body[:at], body[at:]), delivery=Delivery(pause_seconds=0.05))


FETCHED: Mapping[str, tuple[str, str, Raw, bool]] = {
    "a response": ("GET", "/v1/responses/resp_1", _json(**ASKED_ONCE), False),
    "its stream": (
        "GET",
        "/v1/responses/resp_1?stream=true",
        _events({"type": "response.completed", "response": ASKED_ONCE}),
        False,
    ),
    "a chat": ("GET", "/v1/chat/completions/chatcmpl_1", _json(id="chatcmpl_1", usage=USED), False),
    "a batch": ("GET", "/v1/batches/batch_1", _json(id="batch_1", object="batch", usage=USED), False),
    "a batch that ends": ("POST", "/v1/batches/batch_1/cancel", _json(id="batch_1", object="batch", usage=USED), False),
    "a background response": ("GET", "/v1/responses/resp_2", _json(**ASKED_ASIDE), True),
    "a background response in two pieces": ("GET", "/v1/responses/resp_3", _split(ASKED_ASIDE, 78), True),
    "its stream, background": (
        "GET",
        "/v1/responses/resp_2?stream=true",
        _events({"type": "response.completed", "response": ASKED_ASIDE}),
        True,
    ),
}


@pytest.mark.parametrize("name", FETCHED)
def test_what_was_counted_when_it_was_asked_for_is_not_counted_when_it_is_fetched(stage: Stage, name: str) -> None:
    method, path, answer, counted = FETCHED[name]
    path += ("&" if "?" in path else "?") + f"name={quote(name)}"
    stage["openai"].answer(answer)
    assert stage.http.request(method, stage.url + path, headers={"x-account": "openai"}).status_code == 200
    (entry,) = stage.access(lambda entry: entry["path"] == path)
    told = entry["metadata"]
    used = {**USED, "usage_source": "reported"} if counted else {"usage_source": "none"}
    assert {key: value for key, value in told.items() if key.endswith("tokens") or key == "usage_source"} == used


def test_without_that_header_nobodys_files_are_served(stage: Stage) -> None:
    with pytest.raises(openai.NotFoundError):
        stage.openai().files.retrieve("file-1")
    with pytest.raises(openai.NotFoundError):
        stage.openai().files.create(file=LINES, purpose="batch")
    assert not any(provider.requests for provider in stage.providers.values())
