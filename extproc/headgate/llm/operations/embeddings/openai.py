"""OpenAI's embeddings. <https://platform.openai.com/docs/api-reference/embeddings>

compat: `input` may also hold objects (`content`, `task_type`, `title`), or `messages` may stand in its place, and
`task_type`, `title`, `auto_truncate` say what Google's models take.
"""

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
    Tokens,
    Vectors,
    beyond_losses,
    checked,
    text_of,
    vector_as,
)
from headgate.llm.operations.embeddings.google_purposes import purpose_of
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
    if request.dimensions is not None and request.dimensions < 1:
        raise RequestError("must be at least 1", path="dimensions", code="invalid_value")
    inputs = _inputs(request.input) if request.input is not None else (_conversation(model, messages),)
    if request.title and len(inputs) == 1:
        inputs = (msgspec.structs.replace(inputs[0], title=request.title),)
    beyond = tuple(name for name, raw in members.items() if name not in _KNOWN and bytes(raw) != b"null")
    return Embeddings(
        model=model,
        inputs=inputs,
        dimensions=request.dimensions,
        purpose=purpose_of(request.task_type, "task_type"),
        truncate="" if request.auto_truncate is None else ("end" if request.auto_truncate else "none"),
        encodings=(Encoding(request.encoding_format or "float"),),
        user=request.user or "",
        paths={"purpose": "task_type", "truncate": "auto_truncate", "encodings": "encoding_format"},
        beyond=(*beyond, "title") if request.title and len(inputs) > 1 else beyond,
    )


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
        if not isinstance(part, TextPart | ImagePart):
            raise RequestError("embeds text and images only", path=message.path, code="invalid_value")
        parts.append(part)
    return parts


def encode_request(request: Embeddings, target: Target) -> EncodedOperation:
    """See `Codec.encode_request`."""
    losses = beyond_losses(request)
    inputs = [_input(given, losses) for given in request.inputs]
    body: dict[str, object] = {
        "model": target.model,
        "input": inputs if len(inputs) > 1 else inputs[0],
        "encoding_format": _encoding(request),
    }
    if request.dimensions is not None:
        body["dimensions"] = request.dimensions
    if request.user:
        body["user"] = request.user
    if request.purpose is not None or any(given.purpose is not None for given in request.inputs):
        reason = "OpenAI's models embed questions and documents alike"
        losses.append(Loss(request.path_of("purpose"), "dropped", reason))
    if any(given.title for given in request.inputs):
        losses.append(Loss(request.path_of("title"), "dropped", "inputs have no titles here"))
    if request.truncate not in ("", "none"):
        losses.append(Loss(request.path_of("truncate"), "dropped", "inputs that are too long are refused"))
    endpoint = endpoint_named("embeddings")
    assert endpoint is not None
    return EncodedOperation(endpoint, _ENCODE(body), losses)


def _input(given: Input, losses: list[Loss]) -> str | tuple[int, ...]:
    if len(given.parts) == 1 and isinstance(given.parts[0], Tokens):
        return given.parts[0].ids
    text = text_of(given, "texts that become one vector are joined by a line break", losses)
    if text is None:
        raise unsayable(given.path, "OpenAI embeds texts and tokens only")
    return text


def _encoding(request: Embeddings) -> Encoding:
    for encoding in request.encodings:
        if encoding not in (Encoding.FLOAT, Encoding.BASE64):
            raise unsayable(request.path_of("encodings"), f"OpenAI's embeddings are floats, not {encoding}")
    return Encoding.BASE64 if request.encodings == (Encoding.BASE64,) else Encoding.FLOAT


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
        usage = Usage(input=answer.usage.prompt_tokens, total=answer.usage.total_tokens)
    return Embedded(checked(tuple(map(_vectors, ordered)), answered.request), answer.model or "", usage)


def _vectors(item: _Embedding) -> Vectors:
    raw = bytes(item.embedding)
    if raw.startswith(b'"'):
        return {Encoding.BASE64: item.embedding}
    if raw.startswith(b"["):
        return {Encoding.FLOAT: item.embedding}
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


CODEC: Final = Codec(
    dialect=NAME,
    decode_request=decode_request,
    encode_request=encode_request,
    decode_response=decode_response,
    encode_response=encode_response,
)
