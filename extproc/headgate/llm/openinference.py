"""What OpenInference calls requests and what is said in them: names, kinds, and messages as attributes.

https://github.com/Arize-ai/openinference/blob/main/spec/semantic_conventions.md

Messages come as `headgate.llm.content` tells them. A message that answers several calls of tools is one for each of
them here, and instructions to the system are the first message.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final

import msgspec
from headgate.llm.canonical import Sampling
from headgate.llm.content import Json
from headgate.llm.endpoints import Endpoint
from headgate.llm.names import DialectName, Operation

Attribute = tuple[str, str]
Object = Mapping[str, Json]

_NAMES: Final[Mapping[Operation, tuple[str, str]]] = MappingProxyType(
    {
        Operation.CHAT: ("ChatCompletion", "LLM"),
        Operation.GENERATE_CONTENT: ("ChatCompletion", "LLM"),
        Operation.MESSAGES: ("Message", "LLM"),
        Operation.RESPONSES: ("Responses", "LLM"),
        Operation.COMPLETION: ("Completion", "LLM"),
        Operation.EMBEDDINGS: ("CreateEmbeddings", "EMBEDDING"),
        Operation.IMAGE_GENERATION: ("ImagesResponse", "LLM"),
        Operation.SPEECH: ("AudioSpeech", "LLM"),
        Operation.TRANSCRIPTION: ("Transcription", "LLM"),
        Operation.TRANSLATION: ("Translation", "LLM"),
        Operation.RERANK: ("Rerank", "RERANKER"),
        Operation.TOKENIZE: ("Tokenize", "TOKEN_COUNTER"),
        Operation.COUNT_TOKENS: ("CountTokens", "TOKEN_COUNTER"),
        Operation.RESPONSES_INPUT_TOKENS: ("ResponsesInputTokens", "TOKEN_COUNTER"),
    }
)
"""compat: names and kinds of spans; of what upstream does not have, `span_name` and `span_kind` make them."""
_SYSTEMS: Final[Mapping[DialectName, str]] = MappingProxyType(
    {
        DialectName.ANTHROPIC_MESSAGES: "anthropic",
        DialectName.COHERE: "cohere",
        DialectName.GEMINI: "vertexai",
        DialectName.BEDROCK_CONVERSE: "amazon",
    }
)
"""compat: whose API the client speaks; `openai` where nothing else is said."""
_EXCEPTIONS: Final[Mapping[int, str]] = MappingProxyType(
    {
        400: "BadRequestError",
        401: "AuthenticationError",
        403: "PermissionDeniedError",
        404: "NotFoundError",
        429: "RateLimitError",
        500: "InternalServerError",
        502: "InternalServerError",
        503: "InternalServerError",
    }
)
"""compat: `exception.type` by status; `Error` for any other."""
_BASE64: Final = re.compile(r"[A-Za-z0-9+/_-]*=*")
HIDDEN: Final = "__REDACTED__"
"""compat: what stands for a value that variables hide."""
_TEXTS: Final = frozenset({"text", "reasoning", "refusal"})


def span_name(row: Endpoint) -> str:
    known = _NAMES.get(row.operation)
    return known[0] if known else "".join(word.capitalize() for word in row.operation.value.split("_"))


def span_kind(row: Endpoint) -> str:
    known = _NAMES.get(row.operation)
    return known[1] if known else "LLM"


def system(row: Endpoint) -> str:
    return _SYSTEMS.get(row.dialect, "openai")


def exception_type(status: int) -> str:
    return _EXCEPTIONS.get(status, "Error")


def exception_message(status: int, failure: str = "") -> str:
    """compat: `exception.message`."""
    return f"Error code: {status} - {failure}" if failure else f"Error code: {status}"


def parameters(max_tokens: int | None, sampling: Sampling) -> dict[str, Json]:
    """How an answer is to be drawn, as far as the request says, in the words of OpenAI's API."""
    known = (
        ("max_tokens", max_tokens),
        ("temperature", sampling.temperature),
        ("top_p", sampling.top_p),
        ("top_k", sampling.top_k),
        ("frequency_penalty", sampling.frequency_penalty),
        ("presence_penalty", sampling.presence_penalty),
        ("seed", sampling.seed),
        ("n", sampling.candidates),
    )
    return {name: value for name, value in known if value is not None}


def tools(listed: Sequence[Json]) -> Iterator[Attribute]:
    """The tools that a request offers."""
    for index, tool in enumerate(map(_object, listed)):
        function = {name: value for name, value in tool.items() if name != "type"}
        yield f"llm.tools.{index}.tool.json_schema", _text({"type": "function", "function": function})


def messages(prefix: str, listed: Sequence[Json]) -> Iterator[Attribute]:
    """Attributes of messages; `prefix` is `llm.input_messages` or `llm.output_messages`."""
    for index, message in enumerate(each for told in listed for each in _apart(told)):
        yield from _message(f"{prefix}.{index}.message", message)


def instructions(parts: Sequence[Json]) -> Sequence[Json]:
    """What the system is told, as a message; none for nothing."""
    return [{"role": "system", "parts": parts}] if parts else []


def _apart(told: Json) -> Iterator[Object]:
    """A message for each answer of a tool, and one for the rest."""
    message = told if isinstance(told, Mapping) else {"parts": told}
    parts = _parts(message)
    results = [part for part in parts if part.get("type") == "tool_call_response"]
    for part in results:
        response = part.get("response")
        text = response if isinstance(response, str) else _text(response)
        yield {"role": "tool", "call": part.get("id"), "parts": [{"type": "text", "content": text}]}
    rest = [part for part in parts if part.get("type") != "tool_call_response"]
    if rest or not results:
        yield {**message, "parts": rest}


def _message(prefix: str, message: Object) -> Iterator[Attribute]:
    yield f"{prefix}.role", _text(message.get("role", ""))
    if message.get("call"):
        yield f"{prefix}.tool_call_id", _text(message["call"])
    parts = _parts(message)
    calls = [part for part in parts if part.get("type") == "tool_call"]
    said = [part for part in parts if part.get("type") != "tool_call"]
    if len(said) == 1 and said[0].get("type") in ("text", "refusal"):
        yield f"{prefix}.content", _text(said[0].get("content"))
    else:
        for index, part in enumerate(said):
            yield from _content(f"{prefix}.contents.{index}.message_content", part)
    for index, call in enumerate(calls):
        yield from _call(f"{prefix}.tool_calls.{index}.tool_call", call)


def _content(prefix: str, part: Object) -> Iterator[Attribute]:
    kind = _text(part.get("type"))
    if kind in _TEXTS:
        yield f"{prefix}.type", "reasoning" if kind == "reasoning" else "text"
        yield f"{prefix}.text", _text(part.get("content"))
        return
    modality = _text(part.get("modality") or kind)
    yield f"{prefix}.type", modality
    if modality == "image" and (url := _url(part)):
        yield f"{prefix}.image.image.url", url


def _url(part: Object) -> str:
    data = part.get("content")
    if isinstance(data, str):  # as it came, or as rules left it
        return f"data:{part.get('mime_type')};base64,{data}" if _BASE64.fullmatch(data) else HIDDEN
    return _text(part.get("uri", ""))


def _call(prefix: str, call: Object) -> Iterator[Attribute]:
    if call.get("id"):
        yield f"{prefix}.id", _text(call["id"])
    yield f"{prefix}.function.name", _text(call.get("name"))
    yield f"{prefix}.function.arguments", _text(call.get("arguments"))


def _parts(message: Object) -> list[Object]:
    parts = message.get("parts")
    listed = parts if isinstance(parts, Sequence) and not isinstance(parts, str) else [parts]
    return [_object(part) for part in listed]


def _object(value: Json) -> Object:
    """What a rule took out whole is a text."""
    return value if isinstance(value, Mapping) else {"type": "text", "content": value}


def _text(value: Json) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
