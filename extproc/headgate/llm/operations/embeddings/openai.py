"""OpenAI's embeddings. <https://platform.openai.com/docs/api-reference/embeddings>

compat: `input` may also hold objects (`content`, `task_type`, `title`), or `messages` may stand in its place, and
`task_type`, `title`, `auto_truncate` say what Google's models take. Likewise read are the words of vendors whose
embeddings are OpenAI's but for some members (`openai_words`): whoever serves the model, a client may use them.
"""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Final, Literal, TypeAlias

import msgspec
from headgate.llm.canonical import ImagePart, Message, TextPart
from headgate.llm.dialects.dialect import Target
from headgate.llm.dialects.openai_chat.request import decode_request as decode_chat
from headgate.llm.dialects.openai_chat.wire import ABSENT, present
from headgate.llm.endpoints import Endpoint, PathFacts, endpoint_named
from headgate.llm.errors import RequestError, UpstreamError
from headgate.llm.losses import Loss
from headgate.llm.names import DialectName
from headgate.llm.operations.codec import Answered, Codec, EncodedOperation, required_model, unsayable
from headgate.llm.operations.embeddings.canonical import (
    Embedded,
    Embeddings,
    Encoding,
    Input,
    InputPart,
    Purpose,
    Tokens,
    Vectors,
    beyond_losses,
    checked,
    image_of,
    text_of,
    vector_as,
)
from headgate.llm.operations.embeddings.google_purposes import purpose_of
from headgate.llm.operations.embeddings.openai_words import NEAREST, OPENAI, PURPOSES, VENDORS, Words
from headgate.llm.strict import decode_strict
from headgate.llm.usage import NO_USAGE, Usage

NAME: Final = DialectName.OPENAI_EMBEDDINGS

# --- wire ------------------------------------------------------------------------------------------------------------


class Content(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """compat: an input with what it is for."""

    content: str | list[str]
    task_type: str | None = None
    title: str | None = None


Given: TypeAlias = str | list[str | int | list[int] | Content] | Content


class Request(msgspec.Struct, frozen=True):
    model: str | None = None
    input: Given | None = None
    messages: msgspec.Raw = ABSENT
    dimensions: int | None = None
    encoding_format: Literal["float", "base64"] | None = None
    user: str | None = None
    auto_truncate: bool | None = None
    task_type: str | None = None
    title: str | None = None
    input_type: str | None = None
    """This and what follows: of vendors."""
    task: str | None = None
    truncation: bool | None = None
    truncate: bool | Literal["NONE", "START", "END"] | None = None
    output_dimension: int | None = None
    output_dtype: str | None = None
    embedding_type: str | None = None


class _Embedding(msgspec.Struct, frozen=True):
    embedding: msgspec.Raw = ABSENT
    index: int = 0


class _Usage(msgspec.Struct, frozen=True):
    prompt_tokens: int | None = None
    total_tokens: int | None = None


class _Answer(msgspec.Struct, frozen=True):
    data: list[_Embedding]
    model: str | None = None
    usage: _Usage | None = None


_REQUEST: Final = msgspec.json.Decoder(Request)
_ANSWER: Final = msgspec.json.Decoder(_Answer)
_ENCODE: Final = msgspec.json.Encoder().encode
_KNOWN: Final = frozenset(Request.__struct_fields__)

# --- request ---------------------------------------------------------------------------------------------------------


def decode_request(body: bytes, _endpoint: Endpoint, _path: PathFacts) -> Embeddings:
    """See `Codec.decode_request`."""
    request, members = decode_strict(_REQUEST, body)
    model = required_model(request.model)
    messages = present(request.messages)
    if (request.input is None) == (not messages):
        raise RequestError("exactly one of input and messages is required", path="input", code="invalid_value")
    wide = "dimensions" if request.dimensions is not None else "output_dimension"
    dimensions = getattr(request, wide)
    if dimensions is not None and dimensions < 1:
        raise RequestError("must be at least 1", path=wide, code="invalid_value")
    inputs = _inputs(request.input) if request.input is not None else (_conversation(model, messages),)
    if request.title and len(inputs) == 1:
        inputs = (msgspec.structs.replace(inputs[0], title=request.title),)
    given = {name: raw for name, raw in members.items() if bytes(raw) != b"null"}
    purpose, purpose_path = _purpose(request)
    encoding, encoding_path = _encoding_wanted(request)
    truncate, truncate_path = _truncate(request)
    beyond = [name for name in given if name not in _KNOWN]
    beyond += [name for name, words in PURPOSES.items() if name in given and getattr(request, name) not in words]
    if request.title and len(inputs) > 1:
        beyond.append("title")
    if encoding_path != "encoding_format" and request.encoding_format is Encoding.BASE64:
        beyond.append("encoding_format")
    return Embeddings(
        model=model,
        inputs=inputs,
        dimensions=dimensions,
        purpose=purpose,
        truncate=truncate,
        encodings=(encoding,),
        user=request.user or "",
        paths={
            "dimensions": wide,
            "purpose": purpose_path,
            "truncate": truncate_path,
            "encodings": encoding_path,
        },
        beyond=tuple(beyond),
        own={name: given[name] for name in beyond if name in given},
    )


def _purpose(request: Request) -> tuple[Purpose | None, str]:
    for name, words in PURPOSES.items():
        purpose = words.get(getattr(request, name) or "")
        if purpose is not None:
            return purpose, name
    return purpose_of(request.task_type, "task_type"), "task_type"


def _encoding_wanted(request: Request) -> tuple[Encoding, str]:
    for name, word in (("output_dtype", request.output_dtype), ("embedding_type", request.embedding_type)):
        if word is None or (word == Encoding.FLOAT and request.encoding_format is not None):
            continue
        if word not in _ENCODINGS:
            known = ", ".join(_ENCODINGS)
            raise RequestError(f"must be one of {known}, not {word!r}", path=name, code="invalid_value")
        return Encoding(word), name
    return Encoding(request.encoding_format or "float"), "encoding_format"


_ENCODINGS: Final = tuple(str(encoding) for encoding in Encoding)


def _truncate(request: Request) -> tuple[str, str]:
    for name in ("truncation", "truncate", "auto_truncate"):
        said = getattr(request, name)
        if said is not None:
            return said.lower() if isinstance(said, str) else ("end" if said else "none"), name
    return "", "truncate"


def _inputs(given: Given) -> tuple[Input, ...]:
    if isinstance(given, str):
        return (Input((TextPart(given),), "input"),)
    if isinstance(given, Content):
        return tuple(_of_content(given, "input"))
    if not given:
        raise RequestError("must hold at least one input", path="input", code="invalid_value")
    if all(isinstance(item, int) for item in given):
        return (Input((Tokens(tuple(item for item in given if isinstance(item, int))),), "input"),)
    found: list[Input] = []
    for index, item in enumerate(given):
        path = f"input[{index}]"
        match item:
            case str():
                found.append(Input((TextPart(item),), path))
            case Content():
                found.extend(_of_content(item, path))
            case int():
                raise RequestError("must be a text or a list of tokens, as its neighbours", path=path)
            case _:
                found.append(Input((Tokens(tuple(item)),), path))
    return tuple(found)


def _of_content(item: Content, path: str) -> list[Input]:
    texts = [item.content] if isinstance(item.content, str) else item.content
    if not texts or not all(texts):
        raise RequestError("must not be empty", path=f"{path}.content", code="invalid_value")
    purpose = purpose_of(item.task_type, f"{path}.task_type")
    return [Input((TextPart(text),), f"{path}.content", item.title or "", purpose) for text in texts]


def _conversation(model: str, messages: bytes) -> Input:
    """compat: what users say, with their images, becomes one vector."""
    chat = decode_chat(b'{"model":%b,"messages":%b}' % (_ENCODE(model), messages))
    parts = [part for message in chat.messages if message.role == "user" for part in _user_parts(message)]
    if not parts:
        raise RequestError("must hold a user's message", path="messages", code="invalid_value")
    return Input(tuple(parts), "messages")


def _user_parts(message: Message) -> list[InputPart]:
    parts: list[InputPart] = []
    for part in message.parts:
        image = image_of(part.source) if isinstance(part, ImagePart) else None
        if isinstance(part, TextPart):
            parts.append(part)
        elif image is not None:
            parts.append(image)
        else:
            raise RequestError("embeds text and images only", path=message.path, code="invalid_value")
    return parts


def encode_request(request: Embeddings, target: Target, words: Words = OPENAI) -> EncodedOperation:
    """See `Codec.encode_request`."""
    own = {name: raw for name, raw in request.own.items() if name in words.own}
    losses = [loss for loss in beyond_losses(request) if loss.path not in own]
    inputs = [_input(given, words, losses) for given in request.inputs]
    said: dict[str, object] = {**_encoding(request, words)}
    if request.dimensions is not None:
        said[words.dimensions] = request.dimensions
    if request.user and words.user:
        said["user"] = request.user
    elif request.user:
        losses.append(Loss("user", "dropped", f"{words.whose} has no such parameter"))
    if words.purpose not in own:
        said |= _said_of_purpose(request, words, losses)
    if any(given.title for given in request.inputs):
        losses.append(Loss(request.path_of("title"), "dropped", "inputs have no titles here"))
    if request.truncate:
        said |= _said_of_length(request, words, losses)
    endpoint = endpoint_named("embeddings")
    assert endpoint is not None
    body = {"model": target.model, "input": inputs if len(inputs) > 1 else inputs[0], **said, **own}
    return EncodedOperation(endpoint, _ENCODE(body), losses)


def _said_of_purpose(request: Embeddings, words: Words, losses: list[Loss]) -> Mapping[str, object]:
    purposes = {request.purpose or given.purpose for given in request.inputs}
    path = request.path_of("purpose")
    if not words.purpose:
        if purposes != {None}:
            losses.append(Loss(path, "dropped", f"{words.whose}'s models embed questions and documents alike"))
        return {}
    if len(purposes) > 1:
        raise unsayable(path, "all inputs of a call are embedded for one purpose")
    purpose = purposes.pop()
    if purpose is None:
        if not words.required:
            return {}
        said = f"{words.whose} must be told what the vectors are for: {words.required}"
        losses.append(Loss(words.purpose, "emulated", said))
        return {words.purpose: words.required}
    word = words.purposes.get(purpose)
    if word is None:
        word = words.purposes[NEAREST[purpose]]
        losses.append(Loss(path, "changed", f"{words.whose}'s nearest purpose is {word}"))
    return {words.purpose: word}


def _said_of_length(request: Embeddings, words: Words, losses: list[Loss]) -> Mapping[str, object]:
    said = words.truncate.get(request.truncate)
    if said is not None:
        return said
    if request.truncate != "none" or words.truncate:
        reason = "only the end is cut off" if words.truncate else "inputs that are too long are refused"
        losses.append(Loss(request.path_of("truncate"), "dropped", reason))
    return {}


def _input(given: Input, words: Words, losses: list[Loss]) -> str | tuple[int, ...]:
    if len(given.parts) == 1 and isinstance(given.parts[0], Tokens) and words is OPENAI:
        return given.parts[0].ids
    text = text_of(given, "texts that become one vector are joined by a line break", losses)
    if text is None:
        raise unsayable(given.path, f"{words.whose} embeds {'texts and tokens' if words is OPENAI else 'texts'} only")
    return text


def _encoding(request: Embeddings, words: Words) -> Mapping[str, object]:
    for encoding in request.encodings:
        if encoding not in (*words.encodings, Encoding.BASE64):
            known = " or ".join(words.encodings)
            raise unsayable(request.path_of("encodings"), f"{words.whose}'s embeddings are {known}, not {encoding}")
    if len(request.encodings) > 1 and set(request.encodings) != {Encoding.FLOAT, Encoding.BASE64}:
        raise unsayable(request.path_of("encodings"), f"{words.whose}'s embeddings come in one encoding")
    wanted = request.encodings[0] if len(request.encodings) == 1 else Encoding.FLOAT
    return words.encodings.get(wanted) or words.encodings[Encoding.FLOAT]


# --- response --------------------------------------------------------------------------------------------------------


def decode_response(body: bytes, answered: Answered[Embeddings]) -> Embedded:
    """See `Codec.decode_response`."""
    try:
        answer = _ANSWER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise UpstreamError("the provider's answer is no list of embeddings") from None
    ordered = sorted(answer.data, key=lambda item: item.index)
    usage = NO_USAGE
    if answer.usage is not None:
        told = answer.usage
        usage = Usage(
            input=told.total_tokens if told.prompt_tokens is None else told.prompt_tokens, total=told.total_tokens
        )
    listed = _listed_as(answered.request.encodings)
    vectors = tuple(_vectors(item, listed) for item in ordered)
    return Embedded(checked(vectors, answered.request), answer.model or "", usage)


def _listed_as(encodings: Iterable[Encoding]) -> Encoding:
    """What lists of numbers are."""
    return next((each for each in encodings if each is not Encoding.BASE64), Encoding.FLOAT)


def _vectors(item: _Embedding, listed: Encoding) -> Vectors:
    raw = bytes(item.embedding)
    if raw.startswith(b'"'):
        return {Encoding.BASE64: item.embedding}
    if raw.startswith(b"["):
        return {listed: item.embedding}
    raise UpstreamError("the provider's embedding is neither a list of numbers nor base64")


class _Written(msgspec.Struct, frozen=True):
    embedding: msgspec.Raw
    index: int
    object: str = "embedding"


def encode_response(answer: Embedded, answered: Answered[Embeddings]) -> bytes:
    """See `Codec.encode_response`."""
    encoding = answered.request.encodings[0]
    data = [_Written(vector_as(vectors, encoding), index) for index, vectors in enumerate(answer.vectors)]
    tokens = answer.usage.input or 0
    body = {
        "object": "list",
        "data": data,
        "model": answer.model or answered.model,
        "usage": {"prompt_tokens": tokens, "total_tokens": answer.usage.total or tokens},
    }
    return _ENCODE(body)


def _codec(words: Words) -> Codec[Embeddings, Embedded]:
    return Codec(
        dialect=NAME,
        decode_request=decode_request,
        encode_request=partial(encode_request, words=words),
        decode_response=decode_response,
        encode_response=encode_response,
    )


CODEC: Final = _codec(OPENAI)
OF_VENDORS: Final = {name: _codec(words) for name, words in VENDORS.items()}
