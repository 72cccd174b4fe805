"""Google's embeddings: `embedContent` and `batchEmbedContents` at AI Studio, `predict` and `embedContent` at Vertex AI.

<https://ai.google.dev/api/embeddings>,
<https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/text-embeddings-api>. Vertex serves its newest
models by an `embedContent` and a `batchEmbedContents` of its own, and the others by `predict`.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeVar

import msgspec
from headgate.llm.canonical import TextPart
from headgate.llm.dialects.dialect import Target
from headgate.llm.dialects.gemini.proto_names import camel_body
from headgate.llm.dialects.gemini.response import usage_of
from headgate.llm.dialects.gemini.wire import ABSENT, Content, Open, Part, Said, UsageMetadata
from headgate.llm.endpoints import Endpoint, PathFacts, endpoint_named
from headgate.llm.errors import RequestError, UpstreamError
from headgate.llm.losses import Loss
from headgate.llm.names import DialectName, HostName, Operation
from headgate.llm.operations.codec import Answered, Codec, EncodedOperation, unsayable
from headgate.llm.operations.embeddings.canonical import (
    SHORTENED,
    Embedded,
    Embeddings,
    Encoding,
    File,
    Input,
    InputPart,
    Purpose,
    as_vectors,
    beyond_losses,
    text_of,
    vector_as,
)
from headgate.llm.operations.embeddings.google_purposes import TASK_TYPES, purpose_of
from headgate.llm.strict import decode_strict
from headgate.llm.usage import NO_USAGE, Usage

NAME: Final = DialectName.GEMINI

PREDICT: Final = Endpoint(
    name="vertex-predict",
    path="",
    suffix="/models/{model}:predict",
    dialect=NAME,
    operation=Operation.EMBEDDINGS,
)

# --- wire ------------------------------------------------------------------------------------------------------------


class EmbedConfig(Said, frozen=True):
    """Vertex's place for what AI Studio has at the top."""

    task_type: str | None = None
    title: str | None = None
    output_dimensionality: int | None = None
    auto_truncate: bool | None = None
    document_ocr: bool | None = None
    audio_track_extraction: bool | None = None


class EmbedContent(Said, frozen=True):
    content: Content
    model: str | None = None
    task_type: str | None = None
    title: str | None = None
    output_dimensionality: int | None = None
    auto_truncate: bool | None = None
    embed_content_config: EmbedConfig | None = None


class BatchEmbedContents(Said, frozen=True):
    requests: list[EmbedContent]


class _Vector(Open, frozen=True):
    values: msgspec.Raw


class _Statistics(msgspec.Struct, frozen=True):
    token_count: float | None = None
    truncated: bool | None = None


class _Predicted(msgspec.Struct, frozen=True):
    values: msgspec.Raw
    statistics: _Statistics | None = None


class _Prediction(msgspec.Struct, frozen=True):
    embeddings: _Predicted


class _Answer(Open, frozen=True):
    embedding: _Vector | None = None
    embeddings: list[_Vector] | None = None
    predictions: list[_Prediction] | None = None
    usage_metadata: UsageMetadata | None = None
    truncated: bool | None = None


_SINGLE: Final = msgspec.json.Decoder(EmbedContent)
_BATCH: Final = msgspec.json.Decoder(BatchEmbedContents)
_ANSWER: Final = msgspec.json.Decoder(_Answer)
_ENCODE: Final = msgspec.json.Encoder().encode
T = TypeVar("T", bound=msgspec.Struct)

# --- request ---------------------------------------------------------------------------------------------------------


def decode_request(body: bytes, endpoint: Endpoint, path: PathFacts) -> Embeddings:
    """See `Codec.decode_request`. What applies to all inputs is asked of the first: clients say the same of each."""
    single = endpoint.name == "embed-content"
    if single:
        requests, places = [_read(_SINGLE, body, EmbedContent)], [""]
    else:
        requests = _read(_BATCH, body, BatchEmbedContents).requests
        places = [f"requests[{index}]." for index in range(len(requests))]
    if not requests:
        raise RequestError("must hold at least one request", path="requests", code="invalid_value")
    read = [_Read(request, place) for request, place in zip(requests, places, strict=True)]
    first = read[0]
    for each in read:
        for name in ("output_dimensionality", "auto_truncate", *_OWN):
            if each.said(name) != first.said(name):
                raise unsayable(each.path(name), "all inputs of a call are embedded alike")
    shortened = first.said("auto_truncate")
    own = {first.path(name): msgspec.Raw(_ENCODE(first.said(name))) for name in _OWN if first.said(name) is not None}
    return Embeddings(
        model=path.model,
        inputs=tuple(each.input() for each in read),
        dimensions=first.said("output_dimensionality"),
        truncate="" if shortened is None else ("end" if shortened else "none"),
        single=single,
        paths={
            "purpose": first.path("task_type"),
            "title": first.path("title"),
            "dimensions": first.path("output_dimensionality"),
            "truncate": first.path("auto_truncate"),
        },
        beyond=(*own, *(path for each in read for path in each.unsaid())),
        own=own,
    )


_OWN: Final = ("document_ocr", "audio_track_extraction")
"""How Google shall look at files."""
_DATA: Final = frozenset(("text", "inline_data", "file_data"))


def _read(decoder: msgspec.json.Decoder[T], body: bytes, kind: type[T]) -> T:
    try:
        return decode_strict(decoder, body)[0]
    except RequestError:
        if b"_" not in body:
            raise
    return decode_strict(decoder, camel_body(body, kind))[0]


class _Read:
    """One request of a body, and where it stands there."""

    __slots__ = ("_config", "_parts", "_place", "_request")

    def __init__(self, request: EmbedContent, place: str) -> None:
        self._request = request
        self._place = place
        self._config = request.embed_content_config or EmbedConfig()
        self._parts = request.content.parts or []

    def said(self, name: str) -> Any:
        """A setting: the config has it at Vertex, the request at AI Studio."""
        inside = getattr(self._config, name)
        return getattr(self._request, name, None) if inside is None else inside

    def path(self, name: str) -> str:
        """Where it stands."""
        config = "embedContentConfig." if getattr(self._config, name) is not None else ""
        return f"{self._place}{config}{_camel(name)}"

    def input(self) -> Input:
        parts = tuple(_part(part, self._path_of(index)) for index, part in enumerate(self._parts))
        if not parts:
            raise RequestError("must hold at least one part", path=f"{self._place}content.parts", code="invalid_value")
        purpose = purpose_of(self.said("task_type"), self.path("task_type"))
        return Input(parts, f"{self._place}content", self.said("title") or "", purpose)

    def unsaid(self) -> Iterator[str]:
        """Members of parts beside their data, which no other dialect has."""
        for index, part in enumerate(self._parts):
            for name, member in zip(Part.__struct_fields__, Part.__struct_encode_fields__, strict=True):
                if name not in _DATA and getattr(part, name) not in (None, ABSENT):
                    yield f"{self._path_of(index)}.{member}"
            for data, member in ((part.inline_data, "inlineData"), (part.file_data, "fileData")):
                if data is not None and data.display_name:
                    yield f"{self._path_of(index)}.{member}.displayName"

    def _path_of(self, index: int) -> str:
        return f"{self._place}content.parts[{index}]"


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(word.capitalize() for word in others)


def _part(part: Part, path: str) -> InputPart:
    if part.text is not None:
        return TextPart(part.text)
    if part.inline_data is not None:
        return File(part.inline_data.mime_type or "", data=part.inline_data.data)
    if part.file_data is not None:
        return File(part.file_data.mime_type or "", url=part.file_data.file_uri)
    raise RequestError("must be text, inlineData or fileData", path=path, code="invalid_value")


def encode_request(request: Embeddings, target: Target) -> EncodedOperation:
    """See `Codec.encode_request`."""
    own = _own(request) if target.host is HostName.VERTEX and not is_predicted(target.model) else {}
    losses = [loss for loss in beyond_losses(request) if loss.path not in own]
    for encoding in request.encodings:
        if encoding not in (Encoding.FLOAT, Encoding.BASE64):
            raise unsayable(request.path_of("encodings"), f"Google's embeddings are floats, not {encoding}")
    if request.user:
        losses.append(Loss(request.path_of("user"), "dropped", "the provider's API has no such parameter"))
    if request.truncate == "start":
        losses.append(Loss(request.path_of("truncate"), "changed", "what is too long is cut off at its end"))
    if target.host is HostName.VERTEX:
        return _encode_vertex(request, target, losses)
    if request.truncate == "none":
        losses.append(Loss(request.path_of("truncate"), "dropped", "what is too long is cut off at its end"))
    asked = [_embed_content(request, given, losses) for given in request.inputs]
    if len(asked) == 1:
        return EncodedOperation(_endpoint("embed-content"), _ENCODE(asked[0]), losses)
    model = f"models/{target.model.removeprefix('models/')}"
    body = {"requests": [{"model": model, **one} for one in asked]}
    return EncodedOperation(_endpoint("batch-embed-contents"), _ENCODE(body), losses)


def _endpoint(name: str) -> Endpoint:
    endpoint = endpoint_named(name)
    assert endpoint is not None
    return endpoint


def _embed_content(request: Embeddings, given: Input, losses: list[Loss]) -> dict[str, object]:
    body: dict[str, object] = {"content": {"parts": [_write_part(part, given) for part in given.parts]}}
    purpose = request.purpose or given.purpose
    if purpose is not None:
        body["taskType"] = TASK_TYPES[purpose]
    title = _title(request, given, losses)
    if title:
        body["title"] = title
    if request.dimensions is not None:
        body["outputDimensionality"] = request.dimensions
    return body


def _title(request: Embeddings, given: Input, losses: list[Loss]) -> str:
    """A title is taken of documents only; anything else is refused with one."""
    if given.title and (request.purpose or given.purpose) is not Purpose.DOCUMENT:
        losses.append(Loss(request.path_of("title"), "dropped", "only documents have titles (RETRIEVAL_DOCUMENT)"))
        return ""
    return given.title


def _write_part(part: InputPart, given: Input) -> dict[str, object]:
    match part:
        case TextPart(text=text):
            return {"text": text}
        case File(media_type=media_type, data=data) if data:
            return {"inlineData": {"mimeType": media_type, "data": data}}
        case File(media_type=media_type, url=url) if url.startswith("gs://"):
            return {"fileData": {"mimeType": media_type, "fileUri": url} if media_type else {"fileUri": url}}
        case File():
            raise unsayable(given.path, "Google embeds files that are in the request, or at gs://")
        case _:
            raise unsayable(given.path, "Google embeds text, not tokens")


def is_predicted(model: str) -> bool:
    """Whether Vertex serves the model by `predict`."""
    return ("gemini" not in model and _MAAS not in model) or model == "gemini-embedding-001"


_MAAS: Final = "maas"
"""In the names of others' models that Vertex serves."""


def _own(request: Embeddings) -> dict[str, msgspec.Raw]:
    """What only Google's own clients say of a config, by its path in their body."""
    return {path: raw for path, raw in request.own.items() if path.rpartition(".")[2] in _OWN_NAMES}


_OWN_NAMES: Final = frozenset(_camel(name) for name in _OWN)


def _encode_vertex(request: Embeddings, target: Target, losses: list[Loss]) -> EncodedOperation:
    if is_predicted(target.model):
        return _predict(request, losses)
    asked = [_with_config(request, _embed_content(request, given, losses)) for given in request.inputs]
    if len(asked) == 1:
        return EncodedOperation(_endpoint("embed-content"), _ENCODE(asked[0]), losses)
    if _MAAS in target.model:
        raise unsayable(request.inputs[1].path, f"{target.model} embeds one input a call at Vertex AI")
    return EncodedOperation(_endpoint("batch-embed-contents"), _ENCODE({"requests": asked}), losses)


def _with_config(request: Embeddings, body: dict[str, object]) -> dict[str, object]:
    config = {name: body.pop(name) for name in ("taskType", "title", "outputDimensionality") if name in body}
    if request.truncate:
        config["autoTruncate"] = request.truncate != "none"
    config |= {path.rpartition(".")[2]: raw for path, raw in _own(request).items()}
    return {**body, "embedContentConfig": config} if config else body


def _predict(request: Embeddings, losses: list[Loss]) -> EncodedOperation:
    instances: list[Mapping[str, str]] = []
    for given in request.inputs:
        text = text_of(given, "texts that become one vector are joined by a line break", losses)
        if text is None:
            raise unsayable(given.path, "this model embeds text only")
        instance = {"content": text}
        purpose = request.purpose or given.purpose
        if purpose is not None:
            instance["task_type"] = TASK_TYPES[purpose]
        title = _title(request, given, losses)
        if title:
            instance["title"] = title
        instances.append(instance)
    parameters: dict[str, object] = {}
    if request.truncate:
        parameters["autoTruncate"] = request.truncate != "none"
    if request.dimensions is not None:
        parameters["outputDimensionality"] = request.dimensions
    body = {"instances": instances, "parameters": parameters} if parameters else {"instances": instances}
    return EncodedOperation(PREDICT, _ENCODE(body), losses)


# --- response --------------------------------------------------------------------------------------------------------


def decode_response(body: bytes, answered: Answered[Embeddings]) -> Embedded:
    """See `Codec.decode_response`: any of the three forms."""
    try:
        answer = _ANSWER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise UpstreamError("the provider's answer holds no embeddings") from None
    usage, shortened = _usage(answer.usage_metadata), bool(answer.truncated)
    if answer.predictions is not None:
        listed = [prediction.embeddings.values for prediction in answer.predictions]
        told = [each.embeddings.statistics for each in answer.predictions if each.embeddings.statistics is not None]
        usage, shortened = _sum(told), any(each.truncated for each in told)
    elif answer.embeddings is not None:
        listed = [vector.values for vector in answer.embeddings]
    elif answer.embedding is not None:
        listed = [answer.embedding.values]
    else:
        raise UpstreamError("the provider's answer holds no embeddings")
    vectors = as_vectors(Encoding.FLOAT, listed, answered.request)
    return Embedded(vectors, usage=usage, losses=(SHORTENED,) if shortened else ())


def _usage(told: UsageMetadata | None) -> Usage:
    """With how much of it was pictures and sound, which have prices of their own."""
    if told is None or told.prompt_token_count is None:
        return NO_USAGE
    return Usage(input=told.prompt_token_count, total=told.prompt_token_count, apart=usage_of(told).apart)


def _sum(told: list[_Statistics]) -> Usage:
    counts = [int(each.token_count) for each in told if each.token_count is not None]
    return Usage(input=sum(counts), total=sum(counts)) if counts else NO_USAGE


def encode_response(answer: Embedded, answered: Answered[Embeddings]) -> bytes:
    """See `Codec.encode_response`."""
    listed = [{"values": vector_as(vectors, Encoding.FLOAT)} for vectors in answer.vectors]
    body: dict[str, object] = {"embedding": listed[0]} if answered.request.single and listed else {"embeddings": listed}
    if answer.usage.input is not None:
        body["usageMetadata"] = {"promptTokenCount": answer.usage.input}
    return _ENCODE(body)


CODEC: Final = Codec(
    dialect=NAME,
    decode_request=decode_request,
    encode_request=encode_request,
    decode_response=decode_response,
    encode_response=encode_response,
)
