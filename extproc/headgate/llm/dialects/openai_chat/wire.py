"""OpenAI's chat completions as it is on the wire: structs to read it with, names to write it with.

Requests are read strictly: a wrong type, an unknown role or an unknown content part is refused with its path. Answers
are read tolerantly: every member may be missing or null, and what vendors of compatible servers added is read where it
carries something the canonical model has. Unknown members are skipped by the parser at no cost.

Sources: OpenAI's API reference; vLLM, DeepSeek, OpenRouter, LiteLLM, Mistral, Moonshot and Groq documentation for the
members marked with their names.
"""

from types import MappingProxyType
from typing import Any, ClassVar, Final, Literal, TypeAlias, final

import msgspec
from headgate.llm.unknown_members import Told

DONE: Final = b"[DONE]"

ABSENT: Final = msgspec.Raw(b"")
"""A raw member that was not sent: msgspec cannot decode `Raw | None`. Ask `present`."""


def present(raw: msgspec.Raw) -> bytes:
    """The JSON text of a raw member; empty if it was not sent or is null."""
    if raw is ABSENT:
        return b""
    text = bytes(raw)
    return b"" if text == b"null" else text


# --- request ---------------------------------------------------------------------------------------------------------


class CacheControl(Told, frozen=True):
    """Extension: ends a cached prefix; Anthropic's member of the same name."""

    type: str = "ephemeral"
    ttl: str | None = None


class CacheBreakpoint(Told, frozen=True):
    """Ends a cached prefix, in OpenAI's words. <https://developers.openai.com/api/docs/guides/prompt-caching>"""

    mode: Literal["explicit"]
    ttl: Literal["30m", "12h"] | None = None


@final
class TextContent(Told, frozen=True, tag_field="type", tag="text"):
    text: str
    cache_control: CacheControl | None = None
    prompt_cache_breakpoint: CacheBreakpoint | None = None


class ImageUrl(Told, frozen=True):
    url: str
    detail: str | None = None


class ImageContent(Told, frozen=True, tag_field="type", tag="image_url"):
    image_url: ImageUrl
    cache_control: CacheControl | None = None
    prompt_cache_breakpoint: CacheBreakpoint | None = None


class InputAudio(Told, frozen=True):
    data: str
    format: str


class AudioContent(Told, frozen=True, tag_field="type", tag="input_audio"):
    input_audio: InputAudio


class MediaUrl(Told, frozen=True):
    url: str


class AudioUrlContent(Told, frozen=True, tag_field="type", tag="audio_url"):
    """vLLM."""

    audio_url: MediaUrl


class VideoUrlContent(Told, frozen=True, tag_field="type", tag="video_url"):
    """vLLM."""

    video_url: MediaUrl


class File(Told, frozen=True):
    file_data: str | None = None
    file_id: str | None = None
    filename: str | None = None


class FileContent(Told, frozen=True, tag_field="type", tag="file"):
    file: File
    cache_control: CacheControl | None = None
    prompt_cache_breakpoint: CacheBreakpoint | None = None


class RefusalContent(Told, frozen=True, tag_field="type", tag="refusal"):
    refusal: str


class ThinkingContent(Told, frozen=True, tag_field="type", tag="thinking"):
    """Extension: reasoning given back, as upstream (`text`) or Anthropic (`thinking`) names it."""

    text: str | None = None
    thinking: str | None = None
    signature: str | None = None


class RedactedThinkingContent(Told, frozen=True, tag_field="type", tag="redacted_thinking"):
    """Extension: as upstream (`redactedContent`) or Anthropic (`data`) names it."""

    redacted_content: str | None = msgspec.field(default=None, name="redactedContent")
    data: str | None = None


InstructionContent: TypeAlias = str | list[TextContent] | None
UserContent: TypeAlias = (
    TextContent | ImageContent | AudioContent | AudioUrlContent | VideoUrlContent | FileContent | RefusalContent
)
AssistantContent: TypeAlias = TextContent | RefusalContent | ThinkingContent | RedactedThinkingContent
ToolContent: TypeAlias = TextContent | ImageContent | FileContent | AudioContent


class FunctionCall(Told, frozen=True):
    name: str
    arguments: str | dict[str, msgspec.Raw] | None = None


class CustomCall(Told, frozen=True):
    name: str
    input: str = ""


class ToolCall(Told, frozen=True):
    id: str
    type: str = "function"
    function: FunctionCall | None = None
    custom: CustomCall | None = None
    cache_control: CacheControl | None = None
    index: Any = None
    """Of a stream that was put together, sent back; says nothing."""


class ThinkingBlock(msgspec.Struct, frozen=True):
    """Extension (LiteLLM, upstream): one whole reasoning block."""

    type: str = "thinking"
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None


class ReasoningText(msgspec.Struct, frozen=True):
    text: str | None = None
    signature: str | None = None


class ReasoningContent(msgspec.Struct, frozen=True):
    reasoning_text: ReasoningText | None = msgspec.field(default=None, name="reasoningText")
    redacted_content: str | None = msgspec.field(default=None, name="redactedContent")


class ReasoningUnion(msgspec.Struct, frozen=True):
    """The object that upstream's Claude answers carry as `reasoning_content`."""

    reasoning_content: ReasoningContent | None = msgspec.field(default=None, name="reasoningContent")


class SystemMessage(Told, frozen=True, tag_field="role", tag="system"):
    content: InstructionContent
    name: str | None = None
    cache_control: CacheControl | None = None


class DeveloperMessage(Told, frozen=True, tag_field="role", tag="developer"):
    content: InstructionContent
    name: str | None = None
    cache_control: CacheControl | None = None


@final
class UserMessage(Told, frozen=True, tag_field="role", tag="user"):
    content: str | list[UserContent] | None
    name: str | None = None
    cache_control: CacheControl | None = None


class UrlCitation(msgspec.Struct, frozen=True):
    url: str | None = None
    title: str | None = None
    content: str | None = None
    """OpenRouter: the words of the source."""
    start_index: int | None = None
    end_index: int | None = None


class Annotation(msgspec.Struct, frozen=True):
    type: str = ""
    url_citation: UrlCitation | None = None


@final
class AssistantMessage(Told, frozen=True, tag_field="role", tag="assistant"):
    content: str | list[AssistantContent] | None = None
    name: str | None = None
    refusal: str | None = None
    tool_calls: list[ToolCall] | None = None
    function_call: FunctionCall | None = None
    audio: msgspec.Raw = ABSENT
    reasoning_content: str | ReasoningUnion | None = None
    reasoning: str | None = None
    thinking_blocks: list[ThinkingBlock] | None = None
    annotations: list[Annotation] | None = None
    cache_control: CacheControl | None = None


@final
class ToolMessage(Told, frozen=True, tag_field="role", tag="tool"):
    tool_call_id: str
    content: str | list[ToolContent] | None
    name: str | None = None
    cache_control: CacheControl | None = None


class FunctionMessage(Told, frozen=True, tag_field="role", tag="function"):
    """Deprecated by OpenAI, still sent."""

    name: str
    content: str | None = None


ChatMessage: TypeAlias = (
    SystemMessage | DeveloperMessage | UserMessage | AssistantMessage | ToolMessage | FunctionMessage
)


class Function(Told, frozen=True):
    name: str
    description: str | None = None
    parameters: msgspec.Raw = ABSENT
    strict: bool | None = None
    cache_control: CacheControl | None = None


class Grammar(Told, frozen=True):
    syntax: str = ""
    definition: str = ""


class TextRule(Told, frozen=True):
    """What the text of a custom tool must be like: `text`, or of a `grammar`."""

    type: str = "text"
    grammar: Grammar | None = None


class CustomTool(Told, frozen=True):
    name: str
    description: str | None = None
    format: TextRule | None = None


class ToolDefinition(Told, frozen=True):
    kinds: ClassVar = ("function", "custom")

    type: str
    function: Function | None = None
    custom: CustomTool | None = None
    cache_control: CacheControl | None = None


class Named(Told, frozen=True):
    name: str


class AllowedTool(Told, frozen=True):
    type: str = "function"
    function: Named | None = None
    custom: Named | None = None


class AllowedTools(Told, frozen=True):
    mode: str
    tools: list[AllowedTool]


class ToolChoiceObject(Told, frozen=True):
    type: str
    function: Named | None = None
    custom: Named | None = None
    allowed_tools: AllowedTools | None = None


class JsonSchema(Told, frozen=True):
    name: str = ""
    description: str | None = None
    schema: msgspec.Raw = ABSENT
    strict: bool | None = None


class ResponseFormatObject(Told, frozen=True):
    type: str
    json_schema: JsonSchema | None = None


class StreamOptions(Told, frozen=True):
    include_usage: bool | None = None
    include_obfuscation: bool | None = None
    """Padding against those who watch packets: read to be ignored."""


class Thinking(Told, frozen=True):
    """Extension: Anthropic's member of the same name."""

    type: str
    budget_tokens: int | None = None
    include_thoughts: bool | None = msgspec.field(default=None, name="includeThoughts")
    display: str | None = None


class Place(Told, frozen=True):
    city: str | None = None
    country: str | None = None
    region: str | None = None
    timezone: str | None = None


class UserLocation(Told, frozen=True):
    type: str = "approximate"
    approximate: Place | None = None


class WebSearchOptions(Told, frozen=True):
    search_context_size: str | None = None
    user_location: UserLocation | None = None


class ChatBody(msgspec.Struct, frozen=True):
    """What is read of a request; every other member travels in `extras`."""

    model: str
    messages: list[ChatMessage]
    tools: list[ToolDefinition] | None = None
    tool_choice: str | ToolChoiceObject | None = None
    parallel_tool_calls: bool | None = None
    functions: list[Function] | None = None
    function_call: str | Named | None = None
    response_format: ResponseFormatObject | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    seed: int | None = None
    n: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    logit_bias: msgspec.Raw = ABSENT
    stop: str | list[str] | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    reasoning_effort: str | None = None
    thinking: Thinking | None = None
    user: str | None = None
    safety_identifier: str | None = None
    service_tier: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    web_search_options: WebSearchOptions | None = None


KNOWN_MEMBERS: Final = frozenset(ChatBody.__struct_fields__)

REQUEST_DECODER: Final = msgspec.json.Decoder(ChatBody)
decode_raw_list = msgspec.json.Decoder(list[msgspec.Raw]).decode

# --- answer ----------------------------------------------------------------------------------------------------------


class PromptTokensDetails(msgspec.Struct, frozen=True):
    cached_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_creation_tokens: int | None = None
    """LiteLLM."""
    cache_write_tokens: int | None = None
    """OpenRouter."""
    audio_tokens: int | None = None
    image_tokens: int | None = None


class CompletionTokensDetails(msgspec.Struct, frozen=True):
    reasoning_tokens: int | None = None
    audio_tokens: int | None = None
    image_tokens: int | None = None


class WireUsage(msgspec.Struct, frozen=True):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    prompt_tokens_details: PromptTokensDetails | None = None
    completion_tokens_details: CompletionTokensDetails | None = None
    prompt_cache_hit_tokens: int | None = None
    """DeepSeek."""
    cached_tokens: int | None = None
    """Moonshot."""
    reasoning_tokens: int | None = None
    """Perplexity, SGLang."""


class AnswerPart(msgspec.Struct, frozen=True):
    """A content part of an answer (Mistral answers with lists; OpenAI with strings)."""

    type: str = ""
    text: str | None = None
    refusal: str | None = None
    thinking: "str | list[AnswerPart] | None" = None
    signature: str | None = None


class AnswerFunction(msgspec.Struct, frozen=True):
    name: str | None = None
    arguments: str | dict[str, msgspec.Raw] | None = None


class AnswerCustomCall(msgspec.Struct, frozen=True):
    name: str | None = None
    input: str | None = None


class AnswerToolCall(msgspec.Struct, frozen=True):
    index: int | None = None
    id: str | None = None
    type: str | None = None
    function: AnswerFunction | None = None
    custom: msgspec.Raw = ABSENT
    """See `AnswerCustomCall`."""


class AnswerAudio(msgspec.Struct, frozen=True):
    """Sound, whole or a piece of it: base64, and what is heard."""

    id: str | None = None
    data: str | None = None
    transcript: str | None = None


class AnswerImageUrl(msgspec.Struct, frozen=True):
    url: str


class AnswerImage(msgspec.Struct, frozen=True):
    """OpenRouter, LiteLLM: a picture that the model made."""

    image_url: AnswerImageUrl | None = None


class Answer(msgspec.Struct, frozen=True):
    """A whole message or a delta of one."""

    content: str | list[AnswerPart] | None = None
    refusal: str | None = None
    tool_calls: list[AnswerToolCall] | None = None
    function_call: AnswerFunction | None = None
    reasoning_content: str | ReasoningUnion | None = None
    reasoning: str | None = None
    """OpenRouter, vLLM, Groq, Ollama."""
    thinking_blocks: list[ThinkingBlock] | None = None
    annotations: list[Annotation] | None = None
    audio: AnswerAudio | None = None
    images: list[AnswerImage] | None = None


class TopLogprob(msgspec.Struct, frozen=True):
    token: str | None = None
    logprob: float | None = None


class Logprob(msgspec.Struct, frozen=True):
    token: str | None = None
    logprob: float | None = None
    top_logprobs: list[TopLogprob] | None = None


class Logprobs(msgspec.Struct, frozen=True):
    content: list[Logprob] | None = None
    refusal: msgspec.Raw = ABSENT


class Choice(msgspec.Struct, frozen=True):
    index: int | None = None
    message: Answer | None = None
    delta: Answer | None = None
    finish_reason: str | None = None
    logprobs: Logprobs | None = None
    stop_reason: str | int | None = None
    """vLLM: the stop sequence (or token) that matched."""
    matched_stop: str | int | None = None
    """SGLang: the same."""
    usage: WireUsage | None = None
    """Moonshot."""


class ErrorBody(msgspec.Struct, frozen=True):
    message: str | None = None
    type: str | None = None
    code: str | int | None = None
    param: str | None = None


class GroqExtension(msgspec.Struct, frozen=True):
    usage: WireUsage | None = None


class Completion(msgspec.Struct, frozen=True):
    """A whole answer or one chunk of a stream."""

    id: str | None = None
    model: str | None = None
    created: int | float | None = None
    choices: list[Choice] | None = None
    usage: WireUsage | None = None
    service_tier: str | None = None
    citations: list[str] | None = None
    """Perplexity, xAI: pages that the answer as a whole draws on."""
    moderation: msgspec.Raw = ABSENT
    error: str | ErrorBody | None = None
    x_groq: GroqExtension | None = None


decode_completion = msgspec.json.Decoder(Completion).decode

# --- read the same on both sides -------------------------------------------------------------------------------------


class ToolError(msgspec.Struct, frozen=True):
    """The text of a tool result that says the tool failed."""

    error: msgspec.Raw = ABSENT

    @property
    def is_error(self) -> bool:
        return present(self.error) not in _NO_ERROR


_NO_ERROR: Final = frozenset((b"", b"false", b'""', b"{}", b"[]", b"0"))


def arguments_text(arguments: str | dict[str, msgspec.Raw] | None) -> str:
    """A tool call's arguments as JSON text; some servers send the object itself, or nothing for an empty one."""
    if isinstance(arguments, str):
        return "{}" if not arguments or arguments.isspace() else arguments
    return "{}" if arguments is None else msgspec.json.encode(arguments).decode()


def reasoning_of(content: str | ReasoningUnion | None, reasoning: str | None) -> tuple[str, str, str]:
    """Text, signature and redacted data of a message's reasoning members."""
    if isinstance(content, ReasoningUnion):
        inner = content.reasoning_content
        if inner is None:
            return reasoning or "", "", ""
        text = inner.reasoning_text
        if text is None:
            return reasoning or "", "", inner.redacted_content or ""
        return text.text or "", text.signature or "", inner.redacted_content or ""
    return content or reasoning or "", "", ""


OTHER_NAMES: Final = MappingProxyType(
    {
        "user": ("safety_identifier",),
        "max_tokens": ("max_completion_tokens",),
        "tool_choice": ("function_call",),
        "tools": ("functions",),
        "cache_control": ("prompt_cache_breakpoint",),
        "title": ("file.filename",),
        "strict": ("function.strict",),
        "citations": ("annotations",),
    }
)
"""See `ChatDialect.other_names`."""
