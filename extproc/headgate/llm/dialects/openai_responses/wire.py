"""OpenAI's Responses API as it is on the wire: structs to read it with.

Requests are typed where the canonical model has a place for a value; a content part, an item or a tool of another kind
is read as raw JSON. Answers are read tolerantly: every member may be missing or null.

Source: <https://platform.openai.com/docs/api-reference/responses>.
"""

from types import MappingProxyType
from typing import Any, ClassVar, Final

import msgspec
from headgate.llm.dialects.openai_chat.wire import (
    ABSENT,
    CacheBreakpoint,
    CompletionTokensDetails,
    ErrorBody,
    PromptTokensDetails,
    StreamOptions,
)
from headgate.llm.unknown_members import Told

# --- request ---------------------------------------------------------------------------------------------------------


class InputAudio(Told, frozen=True):
    data: str
    format: str


class Annotation(msgspec.Struct, frozen=True):
    type: str = ""
    url: str | None = None
    title: str | None = None
    filename: str | None = None
    start_index: int | None = None
    end_index: int | None = None


class ContentPart(Told, frozen=True):
    """A part of a message's content or of a tool's output, whatever its type."""

    type: str
    text: str | None = None
    refusal: str | None = None
    image_url: str | None = None
    detail: str | None = None
    file_id: str | None = None
    file_url: str | None = None
    file_data: str | None = None
    filename: str | None = None
    input_audio: InputAudio | None = None
    prompt_cache_breakpoint: CacheBreakpoint | None = None
    encrypted_content: str | None = None
    """Of what an agent says to another: an argument that OpenAI seals, and others say as it is."""
    annotations: list[Annotation] | None = None
    """This and what follows: of the model's own text, sent back."""
    logprobs: msgspec.Raw = ABSENT


class ReasoningText(Told, frozen=True):
    text: str = ""
    type: str = ""


class TextFormat(Told, frozen=True):
    type: str
    name: str | None = None
    description: str | None = None
    schema: msgspec.Raw = ABSENT
    strict: bool | None = None


class TextConfig(Told, frozen=True):
    format: TextFormat | None = None
    verbosity: str | None = None


class ReasoningConfig(Told, frozen=True):
    effort: str | None = None
    summary: str | None = None
    generate_summary: str | None = None


class Skill(Told, frozen=True):
    name: str = ""
    description: str = ""
    path: str = ""


class Environment(Told, frozen=True):
    """Where a shell is: `local`, or a container of OpenAI's."""

    kinds: ClassVar = ("local",)

    type: str = ""
    skills: list[Skill] | None = None


class ShellOutcome(msgspec.Struct, frozen=True):
    type: str = ""
    exit_code: int | None = None


class ShellOutput(msgspec.Struct, frozen=True):
    """What one command printed."""

    stdout: str = ""
    stderr: str = ""
    outcome: ShellOutcome | None = None


class Item(Told, frozen=True):
    """An item of the conversation, whatever its type. A message needs none."""

    kinds: ClassVar = (
        "message",
        "function_call",
        "custom_tool_call",
        "local_shell_call",
        "shell_call",
        "apply_patch_call",
        "reasoning",
        "item_reference",
        "additional_tools",
        "agent_message",
        "configuration_update",
        "tool_search_call",
        "tool_search_output",
    )

    type: str | None = None
    id: str | None = None
    role: str | None = None
    author: str | None = None
    """Of what an agent says to another, as `recipient`: its text names both."""
    recipient: str | None = None
    content: str | list[ContentPart] | None = None
    call_id: str | None = None
    name: str | None = None
    namespace: str | None = None
    arguments: str | dict[str, msgspec.Raw] | None = None
    """Text; of a search for tools an object."""
    input: str | None = None
    """Of a custom tool's call."""
    action: msgspec.Raw = ABSENT
    """Of a call of a shell."""
    operation: msgspec.Raw = ABSENT
    """Of a call that patches."""
    environment: Environment | None = None
    """Where a shell is."""
    max_output_length: int | None = None
    output: msgspec.Raw = ABSENT
    summary: list[ReasoningText] | None = None
    encrypted_content: str | None = None
    tools: list[msgspec.Raw] | None = None
    """That were added, or found."""
    execution: str | None = None
    """Of a search for tools: who runs it, `server` or `client`."""
    reasoning: ReasoningConfig | None = None
    """This and `text`: of an update."""
    text: TextConfig | None = None
    status: str | None = None
    """This and what follows: OpenAI's words on an item of an answer, which come back with it and ask for nothing."""
    phase: str | None = None


class Location(Told, frozen=True):
    type: str = ""
    city: str | None = None
    region: str | None = None
    country: str | None = None
    timezone: str | None = None


class Filters(msgspec.Struct, frozen=True):
    allowed_domains: list[str] | None = None
    blocked_domains: list[str] | None = None


class TextRule(Told, frozen=True):
    """What the text of a custom tool must be like: `text`, or of a `grammar`."""

    type: str = "text"
    syntax: str = ""
    definition: str = ""


class Tool(Told, frozen=True):
    kinds: ClassVar = (
        "function",
        "web_search",
        "custom",
        "namespace",
        "tool_search",
        "shell",
        "local_shell",
        "apply_patch",
    )

    type: str
    name: str | None = None
    description: str | None = None
    parameters: msgspec.Raw = ABSENT
    strict: bool | None = None
    format: TextRule | None = None
    """Of a custom tool."""
    tools: list[msgspec.Raw] | None = None
    """Of a namespace."""
    execution: str | None = None
    """Of a search for tools: who runs it."""
    environment: Environment | str | None = None
    """Of a shell; of the older tool for computers a word."""
    async_: bool | None = msgspec.field(default=None, name="async")
    allowed_callers: list[str] | None = None
    defer_loading: bool | None = None
    output_schema: msgspec.Raw = ABSENT
    filters: msgspec.Raw = ABSENT
    """Of a web search: domains. A file search has another thing under this name."""
    search_context_size: str | None = None
    user_location: Location | None = None


class NamedTool(Told, frozen=True):
    type: str = "function"
    name: str | None = None
    namespace: str | None = None


class ToolChoiceObject(Told, frozen=True):
    type: str
    name: str | None = None
    namespace: str | None = None
    mode: str | None = None
    tools: list[NamedTool] | None = None


class Body(msgspec.Struct, frozen=True):
    """What is read of a request; every other member travels in `extras`."""

    model: str = ""
    input: str | list[Item] | None = None
    instructions: str | None = None
    tools: list[Tool] | None = None
    tool_choice: str | ToolChoiceObject | None = None
    parallel_tool_calls: bool | None = None
    text: TextConfig | None = None
    reasoning: ReasoningConfig | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_logprobs: int | None = None
    max_output_tokens: int | None = None
    include: list[str] | None = None
    previous_response_id: str | None = None
    conversation: msgspec.Raw = ABSENT
    prompt: msgspec.Raw = ABSENT
    background: bool | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: str | None = None
    safety_identifier: str | None = None
    service_tier: str | None = None


REQUEST_MEMBERS: Final = frozenset(Body.__struct_fields__)

REQUEST_DECODER: Final = msgspec.json.Decoder(Body)
OUTPUT_DECODER: Final[msgspec.json.Decoder[str | list[ContentPart] | None]] = msgspec.json.Decoder(
    str | list[ContentPart] | None
)
decode_filters = msgspec.json.Decoder(Filters).decode
TOOL_DECODER: Final = msgspec.json.Decoder(Tool)
decode_raw_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
decode_shell_output = msgspec.json.Decoder(list[ShellOutput]).decode
decode_raw_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode

# --- answer ----------------------------------------------------------------------------------------------------------


class TopLogprob(msgspec.Struct, frozen=True):
    token: str = ""
    logprob: float = 0.0


class Logprob(msgspec.Struct, frozen=True):
    token: str = ""
    logprob: float = 0.0
    top_logprobs: list[TopLogprob] | None = None


class AnswerPart(msgspec.Struct, frozen=True):
    type: str = ""
    text: str | None = None
    refusal: str | None = None
    annotations: list[Annotation] | None = None
    logprobs: list[Logprob] | None = None


class Caller(msgspec.Struct, frozen=True):
    """Who asks for a call: the model (`direct`), or a program that it wrote."""

    type: str | None = None


class AnswerItem(msgspec.Struct, frozen=True):
    type: str = ""
    id: str | None = None
    content: list[AnswerPart] | None = None
    summary: list[AnswerPart] | None = None
    encrypted_content: str | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | dict[str, msgspec.Raw] | None = None
    """A function's are text, a search's an object."""
    input: msgspec.Raw = ABSENT
    """Of a custom tool's call: its text."""
    result: str | None = None
    """Of an image generation: base64."""
    error: msgspec.Raw = ABSENT
    """Why there is none: see `ItemError`."""
    output_format: str | None = None
    revised_prompt: msgspec.Raw = ABSENT
    namespace: msgspec.Raw = ABSENT
    asynchronous: msgspec.Raw = msgspec.field(default=ABSENT, name="async")
    caller: msgspec.Raw = ABSENT
    """See `Caller`."""


class ItemError(msgspec.Struct, frozen=True):
    message: str | None = None


class AnswerUsage(msgspec.Struct, frozen=True):
    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    input_tokens_details: PromptTokensDetails | None = None
    output_tokens_details: CompletionTokensDetails | None = None


class Searches(msgspec.Struct, frozen=True):
    num_requests: int | None = None


class ToolUsage(msgspec.Struct, frozen=True):
    """What OpenAI's own tools used, beside the usage."""

    web_search: Searches | None = None


class Incomplete(msgspec.Struct, frozen=True):
    reason: str | None = None


class Answer(msgspec.Struct, frozen=True):
    """A response, whole or as far as it got."""

    id: str | None = None
    model: str | None = None
    created_at: float | None = None
    status: str | None = None
    error: str | ErrorBody | None = None
    incomplete_details: Incomplete | None = None
    output: list[AnswerItem] | None = None
    usage: AnswerUsage | None = None
    service_tier: str | None = None
    moderation: msgspec.Raw = ABSENT
    input_transformations: msgspec.Raw = ABSENT
    tool_usage: msgspec.Raw = ABSENT
    """See `ToolUsage`."""


class Event(msgspec.Struct, frozen=True):
    """An event of a stream, whatever its type."""

    type: str = ""
    response: Answer | None = None
    item: AnswerItem | None = None
    part: AnswerPart | None = None
    output_index: int = 0
    content_index: int = 0
    summary_index: int = 0
    delta: str | dict[str, msgspec.Raw] | None = None
    """An object of what a shell printed."""
    annotation: Annotation | None = None
    logprobs: list[Logprob] | None = None
    code: str | int | None = None
    message: str | None = None
    param: str | None = None
    error: str | ErrorBody | None = None

    @property
    def piece(self) -> str:
        """A piece of a text, or of arguments."""
        return self.delta if isinstance(self.delta, str) else ""


decode_answer = msgspec.json.Decoder(Answer).decode
decode_event = msgspec.json.Decoder(Event).decode

# --- reasoning that goes back to whom it came from -----------------------------------------------------------------

_SIGNED: Final = "hg1."
_REDACTED: Final = "hg1r."


def sealed_signature(signature: str) -> str:
    """Another dialect's signature as `encrypted_content`: marked, so that it can be told from OpenAI's own."""
    return _SIGNED + signature


def sealed_redacted(data: str) -> str:
    """Another dialect's encrypted reasoning as `encrypted_content`."""
    return _REDACTED + data


def unsealed(encrypted: str) -> tuple[str, str] | None:
    """Signature and encrypted reasoning of an `encrypted_content` that was sealed here; None for OpenAI's own."""
    if encrypted.startswith(_SIGNED):
        return encrypted.removeprefix(_SIGNED), ""
    if encrypted.startswith(_REDACTED):
        return "", encrypted.removeprefix(_REDACTED)
    return None


def signature_of(item_id: str | None, encrypted: str | None) -> str:
    """OpenAI's encrypted reasoning as a signature. It is bound to its item's id, so that must come back as well.
    Nothing, sealed by a gateway behind this one, is none."""
    return f"{item_id or ''}:{encrypted}" if encrypted and encrypted != _SIGNED else ""


def reasoning_of(signature: str) -> tuple[str, str] | None:
    """Id and encrypted content of a signature made by `signature_of`; None for another dialect's."""
    item_id, colon, encrypted = signature.partition(":")
    return (item_id, encrypted) if colon and item_id.startswith("rs_") else None


Members = dict[str, Any]
"""Members of a JSON object about to be encoded."""


OWN_NAMES: Final = MappingProxyType(
    {
        "messages": "input",
        "max_tokens": "max_output_tokens",
        "reasoning_effort": "reasoning.effort",
        "response_format": "text.format",
        "response_format.json_schema.schema": "text.format.schema",
        "response_format.json_schema.description": "text.format.description",
        "logprobs": "top_logprobs",
    }
)
"""See `ChatDialect.own_names`."""

OTHER_NAMES: Final = MappingProxyType(
    {
        "user": ("safety_identifier",),
        "top_logprobs": ("include",),
        "thinking": ("reasoning.summary", "reasoning.generate_summary", "reasoning"),
        "cache_control": ("prompt_cache_breakpoint",),
        "title": ("filename",),
    }
)
"""See `ChatDialect.other_names`."""
