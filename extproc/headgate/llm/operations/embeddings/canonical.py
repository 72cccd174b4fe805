"""Embeddings, once for all dialects."""

import base64
import binascii
from array import array
from collections.abc import Mapping
from enum import StrEnum
from sys import byteorder
from typing import Final, TypeAlias

import msgspec
from headgate.llm.canonical import Base64Source, FileSource, TextPart, UrlSource, Value
from headgate.llm.errors import UpstreamError
from headgate.llm.losses import Loss
from headgate.llm.usage import NO_USAGE, Usage


class Purpose(StrEnum):
    """What vectors are for: models that know embed a question otherwise than its answer."""

    QUERY = "query"
    DOCUMENT = "document"
    SIMILARITY = "similarity"
    CLASSIFICATION = "classification"
    CLUSTERING = "clustering"
    QUESTION = "question"
    FACT = "fact"
    CODE_QUERY = "code_query"


class Encoding(StrEnum):
    """How a vector is written."""

    FLOAT = "float"
    BASE64 = "base64"
    """Little-endian 32 bit floats."""
    INT8 = "int8"
    UINT8 = "uint8"
    BINARY = "binary"
    UBINARY = "ubinary"


class Tokens(Value, frozen=True, tag="tokens"):
    """A text that the client has cut into its model's tokens."""

    ids: tuple[int, ...]


class File(Value, frozen=True, tag="file"):
    """An image, a sound, a film or a document: either its data or where it is."""

    media_type: str = ""
    """Empty where the sender did not say; an image then."""
    data: str = ""
    """Base64."""
    url: str = ""

    @property
    def kind(self) -> str:
        """`image`, `audio`, `video`, or what else its type begins with."""
        return self.media_type.partition("/")[0].lower() or "image"


InputPart: TypeAlias = TextPart | File | Tokens


def image_of(source: Base64Source | UrlSource | FileSource) -> File | None:
    """An image of a chat; None for one that was uploaded to a provider."""
    match source:
        case Base64Source(media_type=media_type, data=data):
            return File(media_type, data=data)
        case UrlSource(url=url):
            return File(url=url)
        case FileSource():
            return None


class Input(Value, frozen=True):
    """What becomes one vector."""

    parts: tuple[InputPart, ...]
    path: str
    """Where it stood in the client's body."""
    title: str = ""
    purpose: Purpose | None = None


class Embeddings(Value, frozen=True):
    """A request."""

    model: str
    inputs: tuple[Input, ...]
    dimensions: int | None = None
    purpose: Purpose | None = None
    truncate: str = ""
    """`none`: too long an input is an error; `start`, `end`: what is cut off. Empty leaves it to the provider."""
    encodings: tuple[Encoding, ...] = (Encoding.FLOAT,)
    user: str = ""
    single: bool = False
    """The client asked in the form that has one input and one vector."""
    paths: Mapping[str, str] = msgspec.field(default_factory=dict[str, str])
    """What of the above is called otherwise in the client's body: for losses."""
    beyond: tuple[str, ...] = ()
    """Members that no other dialect has."""
    own: Mapping[str, msgspec.Raw] = msgspec.field(default_factory=dict[str, msgspec.Raw])
    """These as they came: to a vendor that has them they go so."""

    def path_of(self, name: str) -> str:
        """Where the client said it."""
        return self.paths.get(name, name)


Vectors: TypeAlias = dict[Encoding, msgspec.Raw]
"""One input's vector as JSON, by encoding: numbers are copied, never read, unless they are written otherwise."""


class Embedded(Value, frozen=True):
    """An answer: vectors in the order of the inputs."""

    vectors: tuple[Vectors, ...]
    model: str = ""
    usage: Usage = NO_USAGE
    id: str = ""
    losses: tuple[Loss, ...] = ()


SHORTENED: Final = Loss("answer.truncated", "dropped", "answers of this dialect cannot say that an input was cut off")

_FLOATS: Final = msgspec.json.Decoder(list[float])
_TEXT: Final = msgspec.json.Decoder(str)
_ENCODE: Final = msgspec.json.Encoder().encode
_FLOAT_BYTES: Final = 4


def vector_as(vectors: Vectors, encoding: Encoding) -> msgspec.Raw:
    """The vector in that encoding. UpstreamError if the provider sent it in none that can be turned into it."""
    there = vectors.get(encoding)
    if there is not None:
        return there
    if encoding is Encoding.BASE64 and Encoding.FLOAT in vectors:
        return _to_base64(vectors[Encoding.FLOAT])
    if encoding is Encoding.FLOAT and Encoding.BASE64 in vectors:
        return _to_floats(vectors[Encoding.BASE64])
    raise UpstreamError(f"the provider's answer has no embeddings of type {encoding}")


def _to_base64(raw: msgspec.Raw) -> msgspec.Raw:
    try:
        values = array("f", _FLOATS.decode(raw))
    except (msgspec.DecodeError, OverflowError):
        raise UpstreamError("the provider's embedding is not a list of numbers") from None
    if byteorder == "big":
        values.byteswap()
    return msgspec.Raw(_ENCODE(base64.b64encode(values.tobytes()).decode()))


def _to_floats(raw: msgspec.Raw) -> msgspec.Raw:
    try:
        data = base64.b64decode(_TEXT.decode(raw), validate=True)
    except (msgspec.DecodeError, binascii.Error, ValueError):
        raise UpstreamError("the provider's embedding is not base64") from None
    if len(data) % _FLOAT_BYTES:
        raise UpstreamError("the provider's embedding is not a whole number of floats")
    values = array("f")
    values.frombytes(data)
    if byteorder == "big":
        values.byteswap()
    # Shortest text that is the same 32 bit float again: half of what a double would take.
    return msgspec.Raw(b"[%b]" % b",".join(b"%.9g" % value for value in values))


def checked(vectors: tuple[Vectors, ...], request: Embeddings) -> tuple[Vectors, ...]:
    """The vectors, one for each input. UpstreamError: a client would take one input's for another's."""
    if len(vectors) != len(request.inputs):
        raise UpstreamError(f"the provider answered {len(vectors)} embeddings to {len(request.inputs)} inputs")
    return vectors


def as_vectors(encoding: Encoding, listed: list[msgspec.Raw], request: Embeddings) -> tuple[Vectors, ...]:
    """Vectors that all come in one encoding, `checked`."""
    return checked(tuple({encoding: raw} for raw in listed), request)


def beyond_losses(request: Embeddings) -> list[Loss]:
    """Members that only the client's dialect has."""
    return [Loss(name, "dropped", "the provider's API has no such parameter") for name in request.beyond]


def text_of(given: Input, reason: str, losses: list[Loss]) -> str | None:
    """The input as one text; None if it is not text. Several texts are joined, since they become one vector."""
    texts = [part.text for part in given.parts if isinstance(part, TextPart)]
    if len(texts) != len(given.parts):
        return None
    if len(texts) > 1:
        losses.append(Loss(given.path, "changed", reason))
    return "\n".join(texts)
