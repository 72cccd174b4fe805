"""Embeddings at Bedrock: InvokeModel, whose body is the model's own: Amazon's Titan and Nova, Cohere's.

<https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-titan-embed-text.html> and its neighbours. What
was used is told in the headers of the answer, and in Titan's body.
"""

from typing import Final

import msgspec
from headgate.llm.canonical import TextPart
from headgate.llm.dialects.dialect import Target
from headgate.llm.endpoints import Endpoint, PathFacts, endpoint_named
from headgate.llm.errors import RequestError, UnsupportedTranslation, UpstreamError
from headgate.llm.losses import Loss
from headgate.llm.members import decode_members
from headgate.llm.names import DialectName
from headgate.llm.operations.codec import Answered, Codec, EncodedOperation, unsayable
from headgate.llm.operations.embeddings import cohere
from headgate.llm.operations.embeddings.canonical import (
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
from headgate.llm.strict import decode_strict
from headgate.llm.usage import NO_USAGE, Usage

NAME: Final = DialectName.BEDROCK_CONVERSE

TOKENS_HEADER: Final = "x-amzn-bedrock-input-token-count"

_TITAN: Final = "titan-embed"
_TITAN_IMAGE: Final = "titan-embed-image"
_TITAN_FIRST: Final = "titan-embed-text-v1"
_COHERE: Final = "cohere.embed"
_COHERE_THIRD: Final = ("embed-english-v3", "embed-multilingual-v3")
_NOVA: Final = "embeddings"

_AT_BEDROCK: Final = frozenset(Encoding) - {Encoding.BASE64}
_COHERE_3: Final = cohere.Words(own=frozenset(), encodings=_AT_BEDROCK, dimensions=False, mixed=False)
"""<https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-embed-v3.html>"""
_COHERE_4: Final = cohere.Words(
    own=frozenset((cohere.MAX_TOKENS,)),
    encodings=_AT_BEDROCK,
    start="LEFT",
    end="RIGHT",
    images=False,
    plain_urls=True,
)
"""<https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-embed-v4.html>"""

# --- wire ------------------------------------------------------------------------------------------------------------


class _EmbeddingConfig(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    output_embedding_length: int | None = None


class TitanRequest(msgspec.Struct, frozen=True, rename="camel"):
    input_text: str | None = None
    input_image: str | None = None
    dimensions: int | None = None
    normalize: bool | None = None
    embedding_types: list[str] | None = None
    embedding_config: _EmbeddingConfig | None = None


class _Segment(msgspec.Struct, frozen=True):
    embedding: msgspec.Raw


class _TitanAnswer(msgspec.Struct, frozen=True, rename="camel"):
    embedding: msgspec.Raw = msgspec.Raw()
    embeddings: list[_Segment] | None = None
    """Nova's."""
    input_text_token_count: int | None = None


_TITAN_REQUEST: Final = msgspec.json.Decoder(TitanRequest)
_COHERE_REQUEST: Final = msgspec.json.Decoder(cohere.Request)
_TITAN_ANSWER: Final = msgspec.json.Decoder(_TitanAnswer)
_ENCODE: Final = msgspec.json.Encoder().encode
_TITAN_KNOWN: Final = frozenset(TitanRequest.__struct_encode_fields__)
_COHERE_MEMBERS: Final = ("texts", "images", "inputs")

# --- request ---------------------------------------------------------------------------------------------------------


def decode_request(body: bytes, _endpoint: Endpoint, path: PathFacts) -> Embeddings:
    """See `Codec.decode_request`: Titan's body or Cohere's, told by their members. The path names the model."""
    members = decode_members(body)
    if any(name in members for name in _COHERE_MEMBERS):
        request, members = decode_strict(_COHERE_REQUEST, body)
        return cohere.from_wire(request, path.model, members)
    if "inputText" in members or "inputImage" in members:
        return _from_titan(body, path.model)
    raise RequestError(
        "of what InvokeModel does, only embeddings are translated: inputText, or texts, images or inputs",
        code="unsupported_translation",
    )


def _from_titan(body: bytes, model: str) -> Embeddings:
    request, members = decode_strict(_TITAN_REQUEST, body)
    parts: list[InputPart] = []
    if request.input_text is not None:
        parts.append(TextPart(request.input_text))
    if request.input_image is not None:
        parts.append(File("image/png", data=request.input_image))
    if not parts:
        raise RequestError("a text or an image is required", path="inputText", code="invalid_value")
    config = request.embedding_config
    dimensions = request.dimensions if config is None else config.output_embedding_length
    if any(word != "float" for word in request.embedding_types or ()):
        raise RequestError("must be float where it is translated", path="embeddingTypes", code="invalid_value")
    beyond = [name for name, raw in members.items() if name not in _TITAN_KNOWN and bytes(raw) != b"null"]
    if request.normalize is False:
        beyond.append("normalize")
    return Embeddings(
        model=model,
        inputs=(Input(tuple(parts), "inputText"),),
        dimensions=dimensions,
        single=True,
        beyond=tuple(beyond),
    )


def encode_request(request: Embeddings, target: Target) -> EncodedOperation:
    """See `Codec.encode_request`."""
    losses: list[Loss] = []
    if _COHERE in target.model:
        body = cohere.members_of(
            request, losses, _COHERE_3 if any(name in target.model for name in _COHERE_THIRD) else _COHERE_4
        )
    elif _TITAN in target.model:
        body = _titan(request, target.model, losses)
    elif _NOVA in target.model and "nova" in target.model:
        body = _nova(request, losses)
    else:
        raise UnsupportedTranslation(f"how {target.model} embeds at Bedrock is not known", path="model")
    endpoint = endpoint_named("invoke-model")
    assert endpoint is not None
    return EncodedOperation(endpoint, _ENCODE(body), losses)


def _one(request: Embeddings, model: str) -> Input:
    first, *others = request.inputs
    if others:
        raise unsayable(others[0].path, f"{model} embeds one input a call")
    for encoding in request.encodings:
        if encoding not in (Encoding.FLOAT, Encoding.BASE64):
            raise unsayable(request.path_of("encodings"), f"{model} embeds as floats, not as {encoding}")
    return first


def _common_losses(request: Embeddings, losses: list[Loss]) -> None:
    losses.extend(beyond_losses(request))
    if request.user:
        losses.append(Loss(request.path_of("user"), "dropped", "the provider's API has no such parameter"))
    if any(given.title for given in request.inputs):
        losses.append(Loss(request.path_of("title"), "dropped", "inputs have no titles here"))


def _titan(request: Embeddings, model: str, losses: list[Loss]) -> dict[str, object]:
    given = _one(request, "Titan")
    _common_losses(request, losses)
    if request.purpose is not None or given.purpose is not None:
        losses.append(Loss(request.path_of("purpose"), "dropped", "Titan embeds questions and documents alike"))
    if request.truncate not in ("", "none"):
        losses.append(Loss(request.path_of("truncate"), "dropped", "inputs that are too long are refused"))
    if _TITAN_IMAGE in model:
        return _titan_image(request, given)
    text = text_of(given, "texts that become one vector are joined by a line break", losses)
    if text is None:
        raise unsayable(given.path, "Titan embeds text only")
    body: dict[str, object] = {"inputText": text}
    if request.dimensions is not None and _TITAN_FIRST in model:
        losses.append(Loss(request.path_of("dimensions"), "dropped", "Titan's first model has vectors of one size"))
    elif request.dimensions is not None:
        body["dimensions"] = request.dimensions
    return body


def _titan_image(request: Embeddings, given: Input) -> dict[str, object]:
    body: dict[str, object] = {}
    for part in given.parts:
        match part:
            case TextPart(text=text) if "inputText" not in body:
                body["inputText"] = text
            case File(kind="image", data=data) if data and "inputImage" not in body:
                body["inputImage"] = data
            case _:
                raise unsayable(given.path, "Titan embeds one text and one image that is in the request")
    if request.dimensions is not None:
        body["embeddingConfig"] = {"outputEmbeddingLength": request.dimensions}
    return body


_NOVA_PURPOSES: Final = {
    Purpose.QUERY: "GENERIC_RETRIEVAL",
    Purpose.QUESTION: "TEXT_RETRIEVAL",
    Purpose.FACT: "TEXT_RETRIEVAL",
    Purpose.CODE_QUERY: "TEXT_RETRIEVAL",
    Purpose.CLASSIFICATION: "CLASSIFICATION",
    Purpose.CLUSTERING: "CLUSTERING",
}


def _nova(request: Embeddings, losses: list[Loss]) -> dict[str, object]:
    given = _one(request, "Nova")
    _common_losses(request, losses)
    purpose = request.purpose or given.purpose
    parameters: dict[str, object] = {
        "embeddingPurpose": "GENERIC_INDEX" if purpose is None else _NOVA_PURPOSES.get(purpose, "GENERIC_INDEX")
    }
    if request.dimensions is not None:
        parameters["embeddingDimension"] = request.dimensions
    text = text_of(given, "texts that become one vector are joined by a line break", losses)
    if text is not None:
        parameters["text"] = {"truncationMode": (request.truncate or "end").upper(), "value": text}
    else:
        parameters |= _nova_file(given)
    return {"taskType": "SINGLE_EMBEDDING", "singleEmbeddingParams": parameters}


_NOVA_FORMATS: Final = {
    "": "png",
    "jpg": "jpeg",
    "mpeg": "mp3",
    "x-wav": "wav",
    "wave": "wav",
    "quicktime": "mov",
    "x-matroska": "mkv",
    "x-flv": "flv",
    "x-ms-wmv": "wmv",
    "3gpp": "3gp",
}
"""Of those that are called otherwise in media types."""
_FILM: Final = {"embeddingMode": "AUDIO_VIDEO_COMBINED"}
"""What is seen and what is heard of a film become one vector."""


def _nova_file(given: Input) -> dict[str, object]:
    match given.parts:
        case (File(kind="image" | "audio" | "video" as kind, media_type=media_type, data=data, url=url),) if (
            data or url.startswith("s3://")
        ):
            subtype = media_type.lower().partition("/")[2]
            known = "mpeg" if kind == "video" and subtype == "mpeg" else _NOVA_FORMATS.get(subtype, subtype)
            source = {"bytes": data} if data else {"s3Location": {"uri": url}}
            return {kind: {"format": known, "source": source, **(_FILM if kind == "video" else {})}}
        case _:
            raise unsayable(
                given.path, "Nova embeds one text, or one image, sound or film: in the request, or at s3://"
            )


# --- response --------------------------------------------------------------------------------------------------------


def decode_response(body: bytes, answered: Answered[Embeddings]) -> Embedded:
    """See `Codec.decode_response`."""
    if _COHERE in answered.model:
        answer = cohere.decode_response(body, answered)
        counted = answered.headers.get(TOKENS_HEADER, "")
        return msgspec.structs.replace(answer, usage=_usage(int(counted))) if counted.isdecimal() else answer
    try:
        told = _TITAN_ANSWER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise UpstreamError("the provider's answer holds no embedding") from None
    listed = [segment.embedding for segment in told.embeddings or ()] or [told.embedding]
    if not bytes(listed[0]).startswith(b"["):
        raise UpstreamError("the provider's answer holds no embedding")
    counted = answered.headers.get(TOKENS_HEADER, "")
    tokens = told.input_text_token_count
    if tokens is None and counted.isdecimal():
        tokens = int(counted)
    return Embedded(
        as_vectors(Encoding.FLOAT, listed, answered.request), usage=NO_USAGE if tokens is None else _usage(tokens)
    )


def _usage(tokens: int) -> Usage:
    return Usage(input=tokens, total=tokens)


def encode_response(answer: Embedded, answered: Answered[Embeddings]) -> bytes:
    """See `Codec.encode_response`: as the request was written."""
    request = answered.request
    if request.single:
        embedding = vector_as(answer.vectors[0], Encoding.FLOAT) if answer.vectors else msgspec.Raw(b"[]")
        by_type = {"float": embedding}
        counted = answer.usage.input or 0
        return _ENCODE({"embedding": embedding, "embeddingsByType": by_type, "inputTextTokenCount": counted})
    by_type = {encoding: [vector_as(each, encoding) for each in answer.vectors] for encoding in request.encodings}
    texts = [part.text for given in request.inputs for part in given.parts if isinstance(part, TextPart)]
    body = {"id": answer.id or answered.request_id, "response_type": "embeddings_by_type", "embeddings": by_type}
    return _ENCODE({**body, "texts": texts})


CODEC: Final = Codec(
    dialect=NAME,
    decode_request=decode_request,
    encode_request=encode_request,
    decode_response=decode_response,
    encode_response=encode_response,
)
