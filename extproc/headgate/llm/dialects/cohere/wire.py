"""Cohere's v2 chat on the wire. <https://docs.cohere.com/v2/reference/chat>

Requests are typed tightly, because clients send them; answers loosely (everything optional), because providers add to
them. What we write is built as members, in the order of the documentation.
"""

from types import MappingProxyType
from typing import Final, Literal

import msgspec
from headgate.llm.unknown_members import Told

ABSENT: Final = msgspec.Raw()
"""No JSON at all: `Raw` cannot be part of a union with null."""

# --- requests --------------------------------------------------------------------------------------------------------


class ImageUrl(Told, frozen=True):
    url: str
    detail: str | None = None


class TextItem(Told, frozen=True, tag_field="type", tag="text"):
    text: str


class ImageItem(Told, frozen=True, tag_field="type", tag="image_url"):
    image_url: ImageUrl


class Document(Told, frozen=True):
    data: dict[str, msgspec.Raw]
    id: str | None = None


class DocumentItem(Told, frozen=True, tag_field="type", tag="document"):
    document: Document


class ThinkingItem(Told, frozen=True, tag_field="type", tag="thinking"):
    thinking: str


class Source(msgspec.Struct, frozen=True):
    type: str | None = None
    id: str | None = None
    document: msgspec.Raw = ABSENT
    tool_output: msgspec.Raw = ABSENT


class Citation(msgspec.Struct, frozen=True):
    start: int | None = None
    end: int | None = None
    text: str | None = None
    sources: list[Source] | None = None
    content_index: int | None = None
    type: str | None = None


class CalledFunction(Told, frozen=True):
    name: str
    arguments: str = ""


class ToolCall(Told, frozen=True):
    id: str
    function: CalledFunction
    type: Literal["function"] = "function"


class SystemMessage(Told, frozen=True, tag_field="role", tag="system"):
    content: str | list[TextItem]


class UserMessage(Told, frozen=True, tag_field="role", tag="user"):
    content: str | list[TextItem | ImageItem | DocumentItem]


class AssistantMessage(Told, frozen=True, tag_field="role", tag="assistant"):
    content: str | list[TextItem | ThinkingItem] | None = None
    tool_calls: list[ToolCall] | None = None
    tool_plan: str | None = None
    citations: list[Citation] | None = None


class ToolMessage(Told, frozen=True, tag_field="role", tag="tool"):
    tool_call_id: str
    content: str | list[TextItem | DocumentItem]


Message = SystemMessage | UserMessage | AssistantMessage | ToolMessage


class Function(Told, frozen=True):
    name: str
    description: str | None = None
    parameters: msgspec.Raw = ABSENT


class Tool(Told, frozen=True):
    function: Function
    type: Literal["function"] = "function"


class ResponseFormat(Told, frozen=True):
    type: Literal["text", "json_object"]
    json_schema: msgspec.Raw = ABSENT
    schema: msgspec.Raw = ABSENT


class Thinking(Told, frozen=True):
    type: Literal["enabled", "disabled"]
    token_budget: int | None = None


class Request(msgspec.Struct, frozen=True):
    model: str
    messages: list[Message]
    stream: bool | None = None
    tools: list[Tool] | None = None
    strict_tools: bool | None = None
    tool_choice: Literal["REQUIRED", "NONE"] | None = None
    documents: list[str | Document] | None = None
    response_format: ResponseFormat | None = None
    max_tokens: int | None = None
    stop_sequences: list[str] | None = None
    temperature: float | None = None
    seed: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    k: int | None = None
    p: float | None = None
    logprobs: bool | None = None
    thinking: Thinking | None = None


REQUEST_DECODER: Final = msgspec.json.Decoder(Request)
REQUEST_MEMBERS: Final = frozenset(Request.__struct_fields__)

# --- answers ---------------------------------------------------------------------------------------------------------


class AnswerItem(msgspec.Struct, frozen=True):
    type: str | None = None
    text: str | None = None
    thinking: str | None = None


class AnswerFunction(msgspec.Struct, frozen=True):
    name: str | None = None
    arguments: str | None = None


class AnswerCall(msgspec.Struct, frozen=True):
    id: str | None = None
    function: AnswerFunction | None = None


class AnswerMessage(msgspec.Struct, frozen=True):
    content: str | list[AnswerItem] | AnswerItem | None = None
    """A list in answers; one item in the events of a stream."""
    tool_calls: list[AnswerCall] | AnswerCall | None = None
    tool_plan: str | None = None
    citations: list[Citation] | Citation | None = None


class Tokens(msgspec.Struct, frozen=True):
    input_tokens: float | None = None
    output_tokens: float | None = None


class AnswerUsage(msgspec.Struct, frozen=True):
    billed_units: Tokens | None = None
    tokens: Tokens | None = None
    cached_tokens: float | None = None


class Logprob(msgspec.Struct, frozen=True):
    text: str | None = None
    logprobs: list[float] | None = None


class Answer(msgspec.Struct, frozen=True):
    id: str | None = None
    finish_reason: str | None = None
    message: AnswerMessage | str | None = None
    """Text in an error."""
    usage: AnswerUsage | None = None
    logprobs: list[Logprob] | None = None


class Delta(msgspec.Struct, frozen=True):
    message: AnswerMessage | None = None
    finish_reason: str | None = None
    usage: AnswerUsage | None = None
    error: str | None = None


class Event(msgspec.Struct, frozen=True):
    type: str | None = None
    id: str | None = None
    index: int | None = None
    delta: Delta | None = None
    logprobs: Logprob | None = None
    message: str | None = None
    """Of an error that came instead of an event."""


ANSWER_DECODER: Final = msgspec.json.Decoder(Answer)
EVENT_DECODER: Final = msgspec.json.Decoder(Event)


OWN_NAMES: Final = MappingProxyType(
    {
        "top_p": "p",
        "top_k": "k",
        "stop": "stop_sequences",
        "thinking.budget_tokens": "thinking.token_budget",
        "reasoning_effort": "thinking",
    }
)
"""See `ChatDialect.own_names`."""

OTHER_NAMES: Final = MappingProxyType({"strict": ("function.strict",)})
"""See `ChatDialect.other_names`."""
