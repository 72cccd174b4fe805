"""The Messages API on the wire. <https://docs.anthropic.com/en/api/messages>

Requests are typed tightly, because clients send them and we write them; answers loosely (one struct for every kind of
block, everything optional), because providers add to them.
"""

from types import MappingProxyType
from typing import ClassVar, Final, Literal, final

import msgspec
from headgate.llm.unknown_members import Told

ABSENT: Final = msgspec.Raw()
"""No JSON at all: `Raw` cannot be part of a union with null."""

# --- requests --------------------------------------------------------------------------------------------------------


class CacheControl(Told, frozen=True, omit_defaults=True):
    type: str
    ttl: str | None = None


class Base64Source(Told, frozen=True, tag_field="type", tag="base64"):
    media_type: str
    data: str


class UrlSource(Told, frozen=True, tag_field="type", tag="url"):
    url: str


class FileSource(Told, frozen=True, tag_field="type", tag="file"):
    file_id: str


class TextSource(Told, frozen=True, tag_field="type", tag="text"):
    data: str
    media_type: str = "text/plain"


class Citation(msgspec.Struct, frozen=True):
    """A citation of any kind (`char_location`, `page_location`, `web_search_result_location`…), read."""

    type: str = ""
    cited_text: str | None = None
    document_index: int | None = None
    document_title: str | None = None
    url: str | None = None
    title: str | None = None
    source: str | None = None


@final
class TextBlock(Told, frozen=True, tag_field="type", tag="text", omit_defaults=True):
    text: str
    cache_control: CacheControl | None = None
    citations: list[Citation] | None = None
    """Read of a history, never written: a place in a source cannot be told without its source."""


class ImageBlock(Told, frozen=True, tag_field="type", tag="image", omit_defaults=True):
    source: Base64Source | UrlSource | FileSource
    cache_control: CacheControl | None = None


class ContentSource(Told, frozen=True, tag_field="type", tag="content"):
    content: str | list[TextBlock | ImageBlock]


class Citations(Told, frozen=True, omit_defaults=True):
    enabled: bool | None = None


class DocumentBlock(Told, frozen=True, tag_field="type", tag="document", omit_defaults=True):
    source: Base64Source | UrlSource | FileSource | TextSource | ContentSource
    title: str | None = None
    context: str | None = None
    cache_control: CacheControl | None = None
    citations: Citations | None = None


class SearchResultBlock(Told, frozen=True, tag_field="type", tag="search_result", omit_defaults=True):
    source: str
    title: str
    content: list[TextBlock]
    cache_control: CacheControl | None = None
    citations: Citations | None = None


class ThinkingBlock(Told, frozen=True, tag_field="type", tag="thinking"):
    thinking: str
    signature: str | None = ""
    """Some clients send null for what came unsigned."""


class RedactedThinkingBlock(Told, frozen=True, tag_field="type", tag="redacted_thinking"):
    data: str


class Caller(msgspec.Struct, frozen=True):
    """Who called a tool: the model (`direct`), or its code in Anthropic's container."""

    type: str = ""


@final
class ToolUseBlock(Told, frozen=True, tag_field="type", tag="tool_use", omit_defaults=True):
    id: str
    name: str
    input: msgspec.Raw
    cache_control: CacheControl | None = None
    caller: Caller | None = None
    """Read of a history, never written."""
    toolset_name: str | None = None
    """As `caller`: the family of the toolset that the tool is of."""


# What only Anthropic's own servers make and take back. Their content is not read: a request is decoded only to leave
# this dialect, and then they are reported as lost.


class ServerToolUseBlock(msgspec.Struct, frozen=True, tag_field="type", tag="server_tool_use"): ...


class WebSearchResultBlock(msgspec.Struct, frozen=True, tag_field="type", tag="web_search_tool_result"): ...


class WebFetchResultBlock(msgspec.Struct, frozen=True, tag_field="type", tag="web_fetch_tool_result"): ...


class AdvisorResultBlock(msgspec.Struct, frozen=True, tag_field="type", tag="advisor_tool_result"): ...


class CodeExecutionResultBlock(msgspec.Struct, frozen=True, tag_field="type", tag="code_execution_tool_result"): ...


class BashResultBlock(msgspec.Struct, frozen=True, tag_field="type", tag="bash_code_execution_tool_result"): ...


class EditorResultBlock(
    msgspec.Struct, frozen=True, tag_field="type", tag="text_editor_code_execution_tool_result"
): ...


class ToolSearchResultBlock(msgspec.Struct, frozen=True, tag_field="type", tag="tool_search_tool_result"): ...


class ToolReferenceBlock(Told, frozen=True, tag_field="type", tag="tool_reference", omit_defaults=True):
    """A tool that a search for tools found, in its result."""

    tool_name: str
    cache_control: CacheControl | None = None


class ContainerUploadBlock(msgspec.Struct, frozen=True, tag_field="type", tag="container_upload"): ...


class McpToolUseBlock(msgspec.Struct, frozen=True, tag_field="type", tag="mcp_tool_use"): ...


class McpToolResultBlock(msgspec.Struct, frozen=True, tag_field="type", tag="mcp_tool_result"): ...


class CompactionBlock(msgspec.Struct, frozen=True, tag_field="type", tag="compaction"): ...


class BrowserStateBlock(msgspec.Struct, frozen=True, tag_field="type", tag="browser_state"): ...


class ToolAdditionBlock(msgspec.Struct, frozen=True, tag_field="type", tag="tool_addition"): ...


class ToolRemovalBlock(msgspec.Struct, frozen=True, tag_field="type", tag="tool_removal"): ...


class McpToolListingBlock(msgspec.Struct, frozen=True, tag_field="type", tag="mcp_tool_listing"): ...


class FallbackBlock(msgspec.Struct, frozen=True, tag_field="type", tag="fallback"): ...


OpaqueBlock = (
    ServerToolUseBlock
    | WebSearchResultBlock
    | WebFetchResultBlock
    | AdvisorResultBlock
    | CodeExecutionResultBlock
    | BashResultBlock
    | EditorResultBlock
    | ToolSearchResultBlock
    | ToolReferenceBlock
    | ContainerUploadBlock
    | McpToolUseBlock
    | McpToolResultBlock
    | CompactionBlock
    | BrowserStateBlock
    | ToolAdditionBlock
    | ToolRemovalBlock
    | McpToolListingBlock
    | FallbackBlock
)

ToolResultItem = TextBlock | ImageBlock | DocumentBlock | SearchResultBlock | ToolReferenceBlock | BrowserStateBlock


@final
class ToolResultBlock(Told, frozen=True, tag_field="type", tag="tool_result", omit_defaults=True):
    tool_use_id: str
    content: str | list[ToolResultItem] | None = None
    is_error: bool | None = None
    cache_control: CacheControl | None = None


RareBlock = ImageBlock | DocumentBlock | SearchResultBlock | ThinkingBlock | RedactedThinkingBlock | OpaqueBlock

Block = TextBlock | ToolUseBlock | ToolResultBlock | RareBlock


class Message(Told, frozen=True):
    role: Literal["user", "assistant", "system"]
    content: str | list[Block] | None = None
    """Only instructions may say nothing but settings."""


class UserLocation(Told, frozen=True, omit_defaults=True):
    type: Literal["approximate"]
    city: str | None = None
    region: str | None = None
    country: str | None = None
    timezone: str | None = None


class ToolsetMember(Told, frozen=True):
    enabled: bool | None = None
    defer_loading: bool | None = None


class Tool(Told, frozen=True, omit_defaults=True):
    """A custom tool (`type` absent or `custom`), or one that Anthropic runs or defines (any other `type`)."""

    kinds: ClassVar = ("custom", "web_search_", "bash_", "text_editor_", "memory_", "computer_", "browser_toolset_")
    name: str = ""
    description: str | None = None
    input_schema: msgspec.Raw = ABSENT
    type: str | None = None
    strict: bool | None = None
    cache_control: CacheControl | None = None
    defer_loading: bool | None = None
    allowed_callers: list[str] | None = None
    input_examples: list[msgspec.Raw] | None = None
    eager_input_streaming: bool | None = None
    max_uses: int | None = None
    """This and the next three: of the web search."""
    allowed_domains: list[str] | None = None
    blocked_domains: list[str] | None = None
    user_location: UserLocation | None = None
    max_characters: int | None = None
    """Of the editor."""
    display_width_px: int | None = None
    """This and the next three: of the computer."""
    display_height_px: int | None = None
    display_number: int | None = None
    enable_zoom: bool | None = None
    configs: dict[str, ToolsetMember | None] | None = None
    """Of a toolset: by the names of its members."""


class AutoChoice(Told, frozen=True, tag_field="type", tag="auto", omit_defaults=True):
    disable_parallel_tool_use: bool | None = None


class AnyChoice(Told, frozen=True, tag_field="type", tag="any", omit_defaults=True):
    disable_parallel_tool_use: bool | None = None


class NamedChoice(Told, frozen=True, tag_field="type", tag="tool", omit_defaults=True):
    name: str
    disable_parallel_tool_use: bool | None = None


class NoChoice(Told, frozen=True, tag_field="type", tag="none"): ...


ToolChoice = AutoChoice | AnyChoice | NamedChoice | NoChoice


class Thinking(Told, frozen=True, omit_defaults=True):
    type: Literal["enabled", "disabled", "adaptive", "between_tools"]
    budget_tokens: int | None = None
    display: str | None = None


class OutputFormat(Told, frozen=True, omit_defaults=True):
    type: Literal["json_schema"]
    schema: msgspec.Raw


class OutputConfig(Told, frozen=True, omit_defaults=True):
    effort: str | None = None
    format: OutputFormat | None = None


class Metadata(Told, frozen=True, omit_defaults=True):
    user_id: str | None = None


class Request(msgspec.Struct, frozen=True, omit_defaults=True):
    model: str
    max_tokens: int
    messages: list[Message]
    system: str | list[TextBlock] | None = None
    tools: list[Tool] | None = None
    tool_choice: ToolChoice | None = None
    stop_sequences: list[str] | None = None
    stream: bool | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None
    output_format: OutputFormat | None = None
    """The beta's name for `output_config.format`; read, never written."""
    metadata: Metadata | None = None
    service_tier: str | None = None
    cache_control: CacheControl | None = None
    """A mark on the last block that takes one; read, never written."""
    speed: str | None = None
    """`fast` or `standard`; read, never written."""


REQUEST_MEMBERS = frozenset(Request.__struct_fields__)

REQUEST_DECODER = msgspec.json.Decoder(Request)


# --- answers ---------------------------------------------------------------------------------------------------------


class OutputTokensDetails(msgspec.Struct, frozen=True):
    thinking_tokens: int | None = None


class CacheCreation(msgspec.Struct, frozen=True):
    ephemeral_1h_input_tokens: int | None = None


class ServerToolUse(msgspec.Struct, frozen=True):
    web_search_requests: int | None = None


class AnswerUsage(msgspec.Struct, frozen=True):
    input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    output_tokens: int | None = None
    output_tokens_details: OutputTokensDetails | None = None
    service_tier: str | None = None
    cache_creation: CacheCreation | None = None
    server_tool_use: ServerToolUse | None = None


class AnswerCaller(msgspec.Struct, frozen=True):
    """Who asks for a call: the model (`direct`), or a program that it wrote."""

    type: str | None = None


class AnswerBlock(msgspec.Struct, frozen=True):
    """A block of any kind; `type` says which members mean something."""

    type: str = ""
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None
    id: str | None = None
    name: str | None = None
    input: msgspec.Raw = ABSENT
    citations: list[Citation] | None = None
    toolset_name: msgspec.Raw = ABSENT
    caller: msgspec.Raw = ABSENT
    """See `AnswerCaller`."""


class AppliedEdits(msgspec.Struct, frozen=True):
    """What of the conversation the provider cleared before its model read it."""

    applied_edits: msgspec.Raw = ABSENT


class StopDetails(msgspec.Struct, frozen=True):
    """Why an answer was refused."""

    explanation: str | None = None
    category: msgspec.Raw = ABSENT
    recommended_model: msgspec.Raw = ABSENT
    fallback_credit_token: msgspec.Raw = ABSENT


class Answer(msgspec.Struct, frozen=True):
    type: str = ""
    id: str = ""
    model: str = ""
    content: list[AnswerBlock] | None = None
    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: msgspec.Raw = ABSENT
    """See `StopDetails`."""
    usage: AnswerUsage | None = None
    context_management: msgspec.Raw = ABSENT
    """See `AppliedEdits`."""
    input_transformations: msgspec.Raw = ABSENT


class Delta(msgspec.Struct, frozen=True):
    """What `content_block_delta` and `message_delta` carry."""

    type: str = ""
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    partial_json: str | None = None
    citation: Citation | None = None
    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: msgspec.Raw = ABSENT


class ErrorObject(msgspec.Struct, frozen=True):
    type: str | None = None
    message: str | None = None


class Event(msgspec.Struct, frozen=True):
    """A stream event of any kind."""

    type: str = ""
    index: int = 0
    delta: Delta | None = None
    content_block: AnswerBlock | None = None
    message: Answer | None = None
    usage: AnswerUsage | None = None
    context_management: msgspec.Raw = ABSENT
    input_transformations: msgspec.Raw = ABSENT
    error: ErrorObject | None = None


RAW_LIST_DECODER = msgspec.json.Decoder(list[msgspec.Raw])

ANSWER_DECODER = msgspec.json.Decoder(Answer)
EVENT_DECODER = msgspec.json.Decoder(Event)


# --- answers we write ------------------------------------------------------------------------------------------------


class WrittenServerToolUse(msgspec.Struct, frozen=True):
    web_search_requests: int
    web_fetch_requests: int = 0


class WrittenUsage(msgspec.Struct, frozen=True):
    input_tokens: int
    output_tokens: int
    cache_creation_input_tokens: int | None
    cache_read_input_tokens: int | None
    server_tool_use: WrittenServerToolUse | msgspec.UnsetType = msgspec.UNSET
    service_tier: str | msgspec.UnsetType = msgspec.UNSET


class WrittenDocumentPlace(msgspec.Struct, frozen=True, tag_field="type", tag="char_location"):
    cited_text: str
    document_index: int
    document_title: str | None
    start_char_index: int
    end_char_index: int
    file_id: str | None = None


class WrittenPage(msgspec.Struct, frozen=True, tag_field="type", tag="web_search_result_location"):
    cited_text: str
    encrypted_index: str
    title: str | None
    url: str


WrittenCitation = WrittenDocumentPlace | WrittenPage


class WrittenText(msgspec.Struct, frozen=True, tag_field="type", tag="text", omit_defaults=True):
    text: str
    citations: list[WrittenCitation] | None = None


class WrittenToolUse(msgspec.Struct, frozen=True, tag_field="type", tag="tool_use", omit_defaults=True):
    id: str
    name: str
    input: msgspec.Raw
    toolset_name: str | None = None


WrittenBlock = WrittenText | WrittenToolUse | ThinkingBlock | RedactedThinkingBlock


class WrittenMessage(msgspec.Struct, frozen=True):
    id: str
    type: str
    role: str
    model: str
    content: list[WrittenBlock]
    stop_reason: str | None
    stop_sequence: str | None
    usage: WrittenUsage


OWN_NAMES: Final = MappingProxyType(
    {
        "stop": "stop_sequences",
        "reasoning_effort": "output_config.effort",
        "response_format": "output_config.format",
        "parallel_tool_calls": "tool_choice.disable_parallel_tool_use",
        "user": "metadata.user_id",
    }
)
"""See `ChatDialect.own_names`."""

OTHER_NAMES: Final = MappingProxyType({"service_tier": ("speed",)})
"""See `ChatDialect.other_names`."""
