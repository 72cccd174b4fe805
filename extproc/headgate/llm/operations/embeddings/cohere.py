"""Cohere's embeddings, v2. <https://docs.cohere.com/v2/reference/embed>

`input_type` is required by every model since v3; who asks in a dialect without one gets `search_document`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

import msgspec
from headgate.contract import metadata as keys
from headgate.llm.canonical import TextPart
from headgate.llm.dialects.dialect import Target
from headgate.llm.dialects.openai_chat.data_uris import source_of
from headgate.llm.endpoints import Endpoint, PathFacts, endpoint_named
from headgate.llm.errors import RequestError, UpstreamError
from headgate.llm.losses import Loss
from headgate.llm.names import DialectName
from headgate.llm.operations.codec import Answered, Codec, EncodedOperation, required_model, unsayable
from headgate.llm.operations.cohere import WARNED
from headgate.llm.operations.embeddings.canonical import (
    Embedded,
    Embeddings,
    Encoding,
    File,
    Input,
    InputPart,
    Purpose,
    Vectors,
    beyond_losses,
    checked,
    image_of,
    vector_as,
)
from headgate.llm.strict import decode_strict
from headgate.llm.usage import NO_USAGE, Usage, apart

NAME: Final = DialectName.COHERE

INPUTS_MAX: Final = 96
"""Of one call; Cohere refuses more."""

# --- wire ------------------------------------------------------------------------------------------------------------


class ImageUrl(msgspec.Struct, frozen=True):
    url: str


class TextContent(msgspec.Struct, frozen=True, tag_field="type", tag="text"):
    text: str


class ImageContent(msgspec.Struct, frozen=True, tag_field="type", tag="image_url"):
    image_url: ImageUrl | str
    """A text at Bedrock."""


class MixedInput(msgspec.Struct, frozen=True):
    content: list[TextContent | ImageContent]


InputType: TypeAlias = Literal["search_document", "search_query", "classification", "clustering", "image"]


class Request(msgspec.Struct, frozen=True):
    model: str | None = None
    input_type: InputType | None = None
    texts: list[str] | None = None
    images: list[str] | None = None
    inputs: list[MixedInput] | None = None
    max_tokens: int | None = None
    output_dimension: int | None = None
    embedding_types: list[Literal["float", "int8", "uint8", "binary", "ubinary", "base64"]] | None = None
    truncate: Literal["NONE", "START", "END", "LEFT", "RIGHT"] | None = None
    """The last two at Bedrock."""


class _Billed(msgspec.Struct, frozen=True):
    input_tokens: float | None = None
    images: float | None = None
    image_tokens: float | None = None


class _Meta(msgspec.Struct, frozen=True):
    billed_units: _Billed | None = None
    tokens: _Billed | None = None
    warnings: list[str] | None = None


class _Answer(msgspec.Struct, frozen=True):
    embeddings: dict[str, list[msgspec.Raw] | None] | list[msgspec.Raw]
    """By type, or floats alone: an older form, which Bedrock answers where no types were asked for."""
    id: str | None = None
    meta: _Meta | None = None


_REQUEST: Final = msgspec.json.Decoder(Request)
_ANSWER: Final = msgspec.json.Decoder(_Answer)
_ENCODE: Final = msgspec.json.Encoder().encode
_KNOWN: Final = frozenset(Request.__struct_fields__)

_PURPOSES: Final[Mapping[str, Purpose]] = MappingProxyType(
    {
        "search_document": Purpose.DOCUMENT,
        "search_query": Purpose.QUERY,
        "classification": Purpose.CLASSIFICATION,
        "clustering": Purpose.CLUSTERING,
    }
)
_INPUT_TYPES: Final[Mapping[Purpose, str]] = MappingProxyType(
    {purpose: word for word, purpose in _PURPOSES.items()}
    | {
        Purpose.SIMILARITY: "clustering",
        Purpose.QUESTION: "search_query",
        Purpose.FACT: "search_query",
        Purpose.CODE_QUERY: "search_query",
    }
)

MAX_TOKENS: Final = "max_tokens"

_TRUNCATED: Final = MappingProxyType({"NONE": "none", "START": "start", "END": "end", "LEFT": "start", "RIGHT": "end"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """What a host's models take of it."""

    own: frozenset[str] = frozenset((MAX_TOKENS, "priority"))
    """Members that no other dialect has."""
    encodings: frozenset[Encoding] = frozenset(Encoding)
    start: str = "START"
    """What `truncate` calls it; likewise its end."""
    end: str = "END"
    dimensions: bool = True
    images: bool = True
    """Images have an `input_type` of their own."""
    mixed: bool = True
    """Texts and images become one vector."""
    plain_urls: bool = False
    """`image_url` is a text."""


OWN: Final = Words()

# --- request ---------------------------------------------------------------------------------------------------------


def decode_request(body: bytes, _endpoint: Endpoint, _path: PathFacts) -> Embeddings:
    """See `Codec.decode_request`."""
    request, members = decode_strict(_REQUEST, body)
    return from_wire(request, required_model(request.model), members)


def from_wire(request: Request, model: str, members: Mapping[str, msgspec.Raw]) -> Embeddings:
    """A request whose model is known; Bedrock says it in the path."""
    inputs = tuple(_inputs(request))
    if not inputs:
        raise RequestError("one of texts, images and inputs is required", path="texts", code="invalid_value")
    encodings = tuple(Encoding(word) for word in dict.fromkeys(request.embedding_types or ("float",)))
    beyond = [name for name, raw in members.items() if name not in _KNOWN and bytes(raw) != b"null"]
    if request.max_tokens is not None:
        beyond.append(MAX_TOKENS)
    return Embeddings(
        model=model,
        inputs=inputs,
        dimensions=request.output_dimension,
        purpose=_PURPOSES.get(request.input_type or ""),
        truncate=_TRUNCATED.get(request.truncate or "", ""),
        encodings=encodings,
        paths={"purpose": "input_type", "dimensions": "output_dimension", "encodings": "embedding_types"},
        beyond=tuple(beyond),
        own={name: members[name] for name in beyond},
    )


def _inputs(request: Request) -> list[Input]:
    given = [name for name in ("texts", "images", "inputs") if getattr(request, name)]
    if len(given) > 1:
        raise RequestError(f"cannot be given with {given[0]}", path=given[1], code="invalid_value")
    if request.images:
        images = enumerate(request.images)
        return [Input((_image(url, f"images[{index}]"),), f"images[{index}]") for index, url in images]
    if request.inputs:
        return [_mixed(item, f"inputs[{index}]") for index, item in enumerate(request.inputs)]
    return [Input((TextPart(text),), f"texts[{index}]") for index, text in enumerate(request.texts or ())]


def _image(url: str, path: str) -> File:
    image = image_of(source_of(url, path))
    assert image is not None, "it is data or a URL"
    return image


def _mixed(item: MixedInput, path: str) -> Input:
    parts: list[InputPart] = []
    for index, part in enumerate(item.content):
        match part:
            case TextContent(text=text):
                parts.append(TextPart(text))
            case ImageContent(image_url=image):
                url, member = (image, "") if isinstance(image, str) else (image.url, ".url")
                parts.append(_image(url, f"{path}.content[{index}].image_url{member}"))
    if not parts:
        raise RequestError("must hold at least one part", path=f"{path}.content", code="invalid_value")
    return Input(tuple(parts), path)


def encode_request(request: Embeddings, target: Target) -> EncodedOperation:
    """See `Codec.encode_request`."""
    losses: list[Loss] = []
    endpoint = endpoint_named("cohere-embed")
    assert endpoint is not None
    body = {"model": target.model, **members_of(request, losses)}
    return EncodedOperation(endpoint, _ENCODE(body), losses)


def members_of(request: Embeddings, losses: list[Loss], words: Words = OWN) -> dict[str, object]:
    """The body without its model: at Bedrock the path names it."""
    own = {name: raw for name, raw in request.own.items() if name in words.own}
    if len(request.inputs) > INPUTS_MAX:
        raise unsayable(request.inputs[INPUTS_MAX].path, f"Cohere embeds at most {INPUTS_MAX} inputs a call")
    losses.extend(loss for loss in beyond_losses(request) if loss.path not in own)
    if request.user:
        losses.append(Loss(request.path_of("user"), "dropped", "the provider's API has no such parameter"))
    if any(given.title for given in request.inputs):
        losses.append(Loss(request.path_of("title"), "dropped", "inputs have no titles here"))
    body: dict[str, object] = {"input_type": _input_type(request, losses, words), **_write_inputs(request, words)}
    if request.dimensions is not None and words.dimensions:
        body["output_dimension"] = request.dimensions
    elif request.dimensions is not None:
        losses.append(Loss(request.path_of("dimensions"), "dropped", "the model has vectors of one size"))
    asked = (encoding if encoding in words.encodings else Encoding.FLOAT for encoding in request.encodings)
    body["embedding_types"] = list(dict.fromkeys(asked))
    if request.truncate:
        body["truncate"] = {"start": words.start, "end": words.end}.get(request.truncate, "NONE")
    return {**body, **own}


def _input_type(request: Embeddings, losses: list[Loss], words: Words) -> str:
    purposes = {request.purpose or given.purpose for given in request.inputs}
    if len(purposes) > 1:
        raise unsayable(request.path_of("purpose"), "all inputs of a call are embedded for one purpose")
    purpose = purposes.pop()
    if purpose is None:
        if words.images and all(_is_image(given) for given in request.inputs):
            return "image"
        said = "Cohere must be told what the vectors are for: search_document"
        losses.append(Loss(request.path_of("purpose"), "emulated", said))
        return "search_document"
    word = _INPUT_TYPES[purpose]
    if _PURPOSES[word] is not purpose:
        losses.append(Loss(request.path_of("purpose"), "changed", f"Cohere's nearest purpose is {word}"))
    return word


def _is_image(given: Input) -> bool:
    return len(given.parts) == 1 and isinstance(given.parts[0], File)


def _write_inputs(request: Embeddings, words: Words) -> dict[str, object]:
    singles = [given.parts[0] for given in request.inputs if len(given.parts) == 1]
    if len(singles) == len(request.inputs):
        texts = [part.text for part in singles if isinstance(part, TextPart)]
        if len(texts) == len(singles):
            return {"texts": texts}
        if all(isinstance(part, File) for part in singles):
            return {"images": [_url(given.parts[0], given) for given in request.inputs]}
    if not words.mixed:
        raise unsayable(request.inputs[0].path, "the model embeds texts, or images, not both at once")
    return {"inputs": [{"content": [_content(part, given, words) for part in given.parts]} for given in request.inputs]}


def _content(part: InputPart, given: Input, words: Words) -> dict[str, object]:
    if isinstance(part, TextPart):
        return {"type": "text", "text": part.text}
    url = _url(part, given)
    return {"type": "image_url", "image_url": url if words.plain_urls else {"url": url}}


def _url(part: InputPart, given: Input) -> str:
    match part:
        case File(kind="image", media_type=media_type, data=data) if data:
            return f"data:{media_type or 'image/png'};base64,{data}"
        case File(kind="image"):
            raise unsayable(given.path, "Cohere embeds images that are in the request")
        case File(media_type=media_type):
            raise unsayable(given.path, f"Cohere embeds images, not {media_type}")
        case _:
            raise unsayable(given.path, "Cohere embeds text, not tokens")


# --- response --------------------------------------------------------------------------------------------------------


def decode_response(body: bytes, answered: Answered[Embeddings]) -> Embedded:
    """See `Codec.decode_response`."""
    try:
        answer = _ANSWER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise UpstreamError("the provider's answer holds no embeddings") from None
    by_type = answer.embeddings if isinstance(answer.embeddings, dict) else {"float": answer.embeddings}
    known = {Encoding(word): listed for word, listed in by_type.items() if listed is not None and word in _ENCODINGS}
    count = min((len(listed) for listed in known.values()), default=0)
    vectors: tuple[Vectors, ...] = tuple(
        {encoding: listed[index] for encoding, listed in known.items()} for index in range(count)
    )
    warned = answer.meta is not None and answer.meta.warnings
    return Embedded(
        checked(vectors, answered.request),
        usage=_usage(answer.meta),
        id=answer.id or "",
        losses=(WARNED,) if warned else (),
    )


_ENCODINGS: Final = frozenset(str(encoding) for encoding in Encoding)


def _usage(meta: _Meta | None) -> Usage:
    if meta is None:
        return NO_USAGE
    for told in (meta.tokens, meta.billed_units):
        counts = () if told is None else (told.input_tokens, told.image_tokens)
        if any(count is not None for count in counts):
            tokens = sum(int(count or 0) for count in counts)
            seen = apart(((keys.IMAGE_INPUT_TOKENS, int(told.image_tokens or 0)),)) if told is not None else ()
            return Usage(input=tokens, total=tokens, apart=seen)
    return NO_USAGE


def encode_response(answer: Embedded, answered: Answered[Embeddings]) -> bytes:
    """See `Codec.encode_response`."""
    request = answered.request
    by_type = {encoding: [vector_as(each, encoding) for each in answer.vectors] for encoding in request.encodings}
    texts = [part.text for given in request.inputs for part in given.parts if isinstance(part, TextPart)]
    meta: dict[str, object] = {"api_version": {"version": "2"}}
    if answer.usage.input is not None:
        meta["billed_units"] = {"input_tokens": answer.usage.input}
    body: dict[str, object] = {"id": answer.id or answered.request_id, "embeddings": by_type}
    if len(texts) == len(request.inputs):
        body["texts"] = texts
    return _ENCODE({**body, "meta": meta, "response_type": "embeddings_by_type"})


CODEC: Final = Codec(
    dialect=NAME,
    decode_request=decode_request,
    encode_request=encode_request,
    decode_response=decode_response,
    encode_response=encode_response,
)
