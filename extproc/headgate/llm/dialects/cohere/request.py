"""A v2 chat request to the canonical model.

Documents of the request belong to its last user turn: that is what the model answers with them. A `tool_plan` is text
said before the calls it plans.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec
from headgate.llm.canonical import (
    Base64Source,
    ChatRequest,
    Citation,
    DocumentPart,
    FunctionTool,
    ImagePart,
    Message,
    Part,
    Reasoning,
    ResponseFormat,
    Sampling,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolChoice,
    ToolResultPart,
    UrlSource,
)
from headgate.llm.dialects.cohere import wire
from headgate.llm.dialects.cohere.citations import citations_of, document_part
from headgate.llm.endpoints import NO_PATH, PathFacts
from headgate.llm.errors import RequestError
from headgate.llm.names import DialectName
from headgate.llm.strict import decode_strict

NAME: Final = DialectName.COHERE

Beyond = dict[str, msgspec.Raw]
"""What goes beyond the canonical model, by JSON path."""

_DATA_URI: Final = "data:"
_BASE64: Final = ";base64"
_ENCODE: Final = msgspec.json.Encoder().encode


def decode_request(body: bytes, _path: PathFacts = NO_PATH) -> ChatRequest:
    """See `ChatDialect.decode_request`."""
    request, members = decode_strict(wire.REQUEST_DECODER, body, conversation="messages")
    if not request.model:
        raise RequestError("must not be empty", path="model", code="invalid_value")
    if not request.messages:
        raise RequestError("must hold at least one message", path="messages", code="invalid_value")
    if request.tool_choice == "REQUIRED" and not request.tools:
        raise RequestError("needs tools", path="tool_choice", code="invalid_value")
    extras = {name: raw for name, raw in members.items() if name not in wire.REQUEST_MEMBERS and bytes(raw) != b"null"}
    messages = [_message(message, f"messages[{i}]", extras) for i, message in enumerate(request.messages)]
    _add_documents(request.documents or (), messages, extras)
    return ChatRequest(
        model=request.model,
        messages=tuple(messages),
        tools=tuple(_tool(tool, f"tools[{i}]", request.strict_tools) for i, tool in enumerate(request.tools or ())),
        tool_choice=None if request.tool_choice is None else _CHOICES[request.tool_choice],
        response_format=_response_format(request.response_format),
        sampling=Sampling(
            temperature=request.temperature,
            top_p=request.p,
            top_k=request.k,
            frequency_penalty=request.frequency_penalty,
            presence_penalty=request.presence_penalty,
            seed=request.seed,
            logprobs=request.logprobs,
        ),
        stop=tuple(request.stop_sequences or ()),
        max_tokens=request.max_tokens,
        reasoning=_reasoning(request.thinking),
        stream=bool(request.stream),
        include_usage=True,
        extras={NAME: extras} if extras else {},
    )


_CHOICES: Final = {"REQUIRED": ToolChoice("required"), "NONE": ToolChoice("none")}


def _add_documents(documents: Sequence[str | wire.Document], messages: list[Message], beyond: Beyond) -> None:
    if not documents:
        return
    place = next((i for i in reversed(range(len(messages))) if messages[i].role == "user"), None)
    if place is None:
        raise RequestError("must hold a user message where there are documents", path="messages", code="invalid_value")
    for index, document in enumerate(documents):
        if isinstance(document, wire.Document) and document.id is not None:
            beyond[f"documents[{index}].id"] = msgspec.Raw(_ENCODE(document.id))
    cited = b'"OFF"' not in bytes(beyond.get("citation_options", b""))
    parts = tuple(
        msgspec.structs.replace(document_part(document, f"documents[{index}]"), cited=cited)
        for index, document in enumerate(documents)
    )
    message = messages[place]
    # Tool results stay first: they answer the turn before.
    results = sum(isinstance(part, ToolResultPart) for part in message.parts)
    together = (*message.parts[:results], *parts, *message.parts[results:])
    messages[place] = Message(message.role, together, message.name, message.path)


def _message(message: wire.Message, path: str, beyond: Beyond) -> Message:
    match message:
        case wire.SystemMessage():
            return Message("system", tuple(_content(message.content, path, beyond)), path=path)
        case wire.UserMessage():
            return Message("user", tuple(_content(message.content, path, beyond)), path=path)
        case wire.AssistantMessage():
            return Message("assistant", tuple(_assistant(message, path)), path=path)
        case wire.ToolMessage():
            content = tuple(_content(message.content, path, beyond))
            return Message("user", (ToolResultPart(message.tool_call_id, content),), path=path)


def _content(
    content: str | Sequence[wire.TextItem | wire.ImageItem | wire.DocumentItem], path: str, beyond: Beyond
) -> Iterator[TextPart | ImagePart | DocumentPart]:
    if isinstance(content, str):
        yield TextPart(content)
        return
    for index, item in enumerate(content):
        match item:
            case wire.TextItem():
                yield TextPart(item.text)
            case wire.ImageItem():
                yield _image(item.image_url, f"{path}.content[{index}].image_url.url")
            case wire.DocumentItem():
                if item.document.id is not None:
                    beyond[f"{path}.content[{index}].document.id"] = msgspec.Raw(_ENCODE(item.document.id))
                yield document_part(item.document, f"{path}.content[{index}].document")


def _image(image: wire.ImageUrl, path: str) -> ImagePart:
    detail = image.detail or ""
    if not image.url.startswith(_DATA_URI):
        return ImagePart(UrlSource(image.url), detail)
    head, comma, data = image.url[len(_DATA_URI) :].partition(",")
    if not comma or not head.endswith(_BASE64):
        raise RequestError("must be a URL or a data URI in base64", path=path, code="invalid_value")
    return ImagePart(Base64Source(head.removesuffix(_BASE64).partition(";")[0].lower(), data), detail)


def _assistant(message: wire.AssistantMessage, path: str) -> Iterator[Part]:
    items = [wire.TextItem(message.content)] if isinstance(message.content, str) else message.content or []
    cited: dict[int, list[Citation]] = {}
    texts = [i for i, item in enumerate(items) if isinstance(item, wire.TextItem)]
    for place, citation in citations_of(message.citations or ()):
        if texts:
            cited.setdefault(place if place in texts else texts[-1], []).append(citation)
    for item in items:
        if isinstance(item, wire.ThinkingItem):
            yield ThinkingPart(item.thinking)
    if message.tool_plan:
        yield TextPart(message.tool_plan)
    for index, item in enumerate(items):
        if isinstance(item, wire.TextItem):
            yield TextPart(item.text, citations=tuple(cited.get(index, ())))
    for index, call in enumerate(message.tool_calls or ()):
        arguments = call.function.arguments.strip() or "{}"
        if not arguments.startswith("{"):
            where = f"{path}.tool_calls[{index}].function.arguments"
            raise RequestError("must be a JSON object", path=where, code="invalid_value")
        yield ToolCallPart(call.id, call.function.name, arguments)


def _tool(tool: wire.Tool, path: str, strict: bool | None) -> FunctionTool:
    function = tool.function
    if not function.name:
        raise RequestError("must not be empty", path=f"{path}.function.name", code="invalid_value")
    schema = bytes(function.parameters)
    if schema not in (b"", b"null") and not schema.startswith(b"{"):
        raise RequestError("must be an object", path=f"{path}.function.parameters", code="invalid_value")
    parameters = msgspec.Raw(schema) if schema.startswith(b"{") else None
    return FunctionTool(function.name, function.description or "", parameters, True if strict else None)


def _response_format(wanted: wire.ResponseFormat | None) -> ResponseFormat | None:
    if wanted is None:
        return None
    if wanted.type == "text":
        return ResponseFormat("text")
    schema = bytes(wanted.json_schema) or bytes(wanted.schema)
    if schema in (b"", b"null"):
        return ResponseFormat("json_object")
    if not schema.startswith(b"{"):
        raise RequestError("must be an object", path="response_format.json_schema", code="invalid_value")
    return ResponseFormat("json_schema", name="answer", schema=msgspec.Raw(schema))


def _reasoning(thinking: wire.Thinking | None) -> Reasoning | None:
    if thinking is None:
        return None
    if thinking.token_budget is not None and thinking.token_budget < 1:
        raise RequestError("must be at least 1", path="thinking.token_budget", code="invalid_value")
    return Reasoning(thinking.type, thinking.token_budget)
