"""Google's embeddings: `embedContent` and `batchEmbedContents` at AI Studio, `predict` and `embedContent` at Vertex AI.

<https://ai.google.dev/api/embeddings>,
<https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/text-embeddings-api>. Vertex serves its newest
models by an `embedContent` of its own, which takes one input, and the others by `predict`.
"""

from collections.abc import Mapping
from typing import Final, TypeVar

import msgspec
from headgate.llm.canonical import Base64Source, ImagePart, TextPart, UrlSource
from headgate.llm.dialects.dialect import Target
from headgate.llm.dialects.gemini.proto_names import camel_body
from headgate.llm.dialects.gemini.wire import Content, Open, Part, Said
from headgate.llm.endpoints import Endpoint, PathFacts, endpoint_named
from headgate.llm.errors import RequestError, UpstreamError
from headgate.llm.losses import Loss
from headgate.llm.names import DialectName, HostName, Operation
from headgate.llm.operations.codec import Answered, Codec, EncodedOperation, unsayable
from headgate.llm.operations.embeddings.canonical import (
    Embedded,
    Embeddings,
    Encoding,
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


class _Counted(Open, frozen=True):
    prompt_token_count: int | None = None


class _Statistics(msgspec.Struct, frozen=True):
    token_count: float | None = None


class _Predicted(msgspec.Struct, frozen=True):
    values: msgspec.Raw
    statistics: _Statistics | None = None


class _Prediction(msgspec.Struct, frozen=True):
    embeddings: _Predicted


class _Answer(Open, frozen=True):
    embedding: _Vector | None = None
    embeddings: list[_Vector] | None = None
    predictions: list[_Prediction] | None = None
    usage_metadata: _Counted | None = None


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
    first = _config(requests[0])
    for request, place in zip(requests, places, strict=True):
        if _config(request).output_dimensionality != first.output_dimensionality:
            where = f"{place}outputDimensionality"
            raise unsayable(where, "all inputs of a call get vectors of one size")
    return Embeddings(
        model=path.model,
        inputs=tuple(_input(request, place) for request, place in zip(requests, places, strict=True)),
        dimensions=first.output_dimensionality,
        truncate="" if first.auto_truncate is None else ("end" if first.auto_truncate else "none"),
        single=single,
        paths={
            "purpose": f"{places[0]}taskType",
            "title": f"{places[0]}title",
            "dimensions": f"{places[0]}outputDimensionality",
            "truncate": f"{places[0]}autoTruncate",
        },
    )


def _read(decoder: msgspec.json.Decoder[T], body: bytes, kind: type[T]) -> T:
    try:
        return decode_strict(decoder, body)[0]
    except RequestError:
        if b"_" not in body:
            raise
    return decode_strict(decoder, camel_body(body, kind))[0]


def _config(request: EmbedContent) -> EmbedConfig:
    own = request.embed_content_config
    if own is not None:
        return own
    return EmbedConfig(request.task_type, request.title, request.output_dimensionality, request.auto_truncate)


def _input(request: EmbedContent, place: str) -> Input:
    config = _config(request)
    parts = tuple(
        _part(part, f"{place}content.parts[{index}]") for index, part in enumerate(request.content.parts or ())
    )
    if not parts:
        raise RequestError("must hold at least one part", path=f"{place}content.parts", code="invalid_value")
    purpose = purpose_of(config.task_type, f"{place}taskType")
    return Input(parts, f"{place}content", config.title or "", purpose)


def _part(part: Part, path: str) -> InputPart:
    if part.text is not None:
        return TextPart(part.text)
    if part.inline_data is not None:
        return ImagePart(Base64Source(part.inline_data.mime_type or "", part.inline_data.data))
    if part.file_data is not None:
        return ImagePart(UrlSource(part.file_data.file_uri))
    raise RequestError("must be text, inlineData or fileData", path=path, code="invalid_value")


def encode_request(request: Embeddings, target: Target) -> EncodedOperation:
    """See `Codec.encode_request`."""
    losses = beyond_losses(request)
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
        case ImagePart(source=Base64Source(media_type=media_type, data=data)):
            return {"inlineData": {"mimeType": media_type, "data": data}}
        case ImagePart(source=UrlSource(url=url)) if url.startswith("gs://"):
            return {"fileData": {"fileUri": url}}
        case ImagePart():
            raise unsayable(given.path, "Google embeds images that are in the request, or at gs://")
        case _:
            raise unsayable(given.path, "Google embeds text, not tokens")


def is_predicted(model: str) -> bool:
    """Whether Vertex serves the model by `predict`."""
    return "gemini" not in model or model == "gemini-embedding-001"


def _encode_vertex(request: Embeddings, target: Target, losses: list[Loss]) -> EncodedOperation:
    if is_predicted(target.model):
        return _predict(request, losses)
    given, *others = request.inputs
    if others:
        raise unsayable(others[0].path, f"{target.model} embeds one input a call at Vertex AI")
    body = _embed_content(request, given, losses)
    config = {name: body.pop(name) for name in ("taskType", "title", "outputDimensionality") if name in body}
    if request.truncate:
        config["autoTruncate"] = request.truncate != "none"
    if config:
        body["embedContentConfig"] = config
    return EncodedOperation(_endpoint("embed-content"), _ENCODE(body), losses)


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
    counted = answer.usage_metadata.prompt_token_count if answer.usage_metadata is not None else None
    if answer.predictions is not None:
        listed = [prediction.embeddings.values for prediction in answer.predictions]
        counted = _sum(answer.predictions)
    elif answer.embeddings is not None:
        listed = [vector.values for vector in answer.embeddings]
    elif answer.embedding is not None:
        listed = [answer.embedding.values]
    else:
        raise UpstreamError("the provider's answer holds no embeddings")
    usage = NO_USAGE if counted is None else Usage(input=counted, total=counted)
    return Embedded(as_vectors(Encoding.FLOAT, listed, answered.request), usage=usage)


def _sum(predictions: list[_Prediction]) -> int | None:
    told = [each.embeddings.statistics.token_count for each in predictions if each.embeddings.statistics is not None]
    counts = [int(count) for count in told if count is not None]
    return sum(counts) if counts else None


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
