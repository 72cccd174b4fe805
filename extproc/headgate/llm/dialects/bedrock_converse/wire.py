"""Converse and ConverseStream on the wire.

<https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html>. Unions are objects of which one
member is there; here they are structs with every member optional. Blobs are base64 text.

Requests are typed tightly, because clients send them and we write them; answers loosely, because the service adds to
them.
"""

from types import MappingProxyType
from typing import Final, Literal

import msgspec

ABSENT: Final = msgspec.Raw()
"""No JSON at all: `Raw` cannot be part of a union with null."""

# --- requests --------------------------------------------------------------------------------------------------------


class _Struct(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True, rename="camel"):
    """What every struct of a request is."""


class CachePoint(_Struct, frozen=True):
    type: str
    ttl: str | None = None


class S3Location(_Struct, frozen=True):
    uri: str
    bucket_owner: str | None = None


class DocumentContent(_Struct, frozen=True):
    text: str


class Source(_Struct, frozen=True):
    """Of images, videos and sounds: bytes or a place in S3; of documents also text."""

    bytes: str | None = None
    s3_location: S3Location | None = None
    text: str | None = None
    content: list[DocumentContent] | None = None


class Media(_Struct, frozen=True):
    """An image, a video or a sound."""

    format: str
    source: Source
    error: msgspec.Raw = ABSENT
    """Why an answer's could not be made: comes back with it, and asks for nothing."""


class CitationsConfig(_Struct, frozen=True):
    enabled: bool


class Document(_Struct, frozen=True):
    name: str
    source: Source
    format: str | None = None
    context: str | None = None
    citations: CitationsConfig | None = None


class SearchResultContent(_Struct, frozen=True):
    text: str


class SearchResult(_Struct, frozen=True):
    source: str
    title: str
    content: list[SearchResultContent]
    citations: CitationsConfig | None = None


class ToolUse(_Struct, frozen=True):
    tool_use_id: str
    name: str
    input: msgspec.Raw
    type: str | None = None


class ToolResultContent(_Struct, frozen=True):
    json: msgspec.Raw = ABSENT
    text: str | None = None
    image: Media | None = None
    document: Document | None = None
    video: Media | None = None
    search_result: SearchResult | None = None


class ToolResult(_Struct, frozen=True):
    tool_use_id: str
    content: list[ToolResultContent]
    status: Literal["success", "error"] | None = None
    type: str | None = None


class ReasoningText(_Struct, frozen=True):
    text: str
    signature: str | None = None


class ReasoningContent(_Struct, frozen=True):
    reasoning_text: ReasoningText | None = None
    redacted_content: str | None = None


class GuardText(_Struct, frozen=True):
    text: str
    qualifiers: list[str] | None = None


class GuardContent(_Struct, frozen=True):
    text: GuardText | None = None
    image: Media | None = None


class ContentBlock(_Struct, frozen=True):
    text: str | None = None
    image: Media | None = None
    document: Document | None = None
    video: Media | None = None
    audio: Media | None = None
    tool_use: ToolUse | None = None
    tool_result: ToolResult | None = None
    guard_content: GuardContent | None = None
    cache_point: CachePoint | None = None
    reasoning_content: ReasoningContent | None = None
    citations_content: "CitationsContent | None" = None
    search_result: SearchResult | None = None
    tool_addition: msgspec.Raw = ABSENT
    tool_removal: msgspec.Raw = ABSENT


class SystemBlock(_Struct, frozen=True):
    text: str | None = None
    guard_content: GuardContent | None = None
    cache_point: CachePoint | None = None


class Message(_Struct, frozen=True):
    role: Literal["user", "assistant", "system"]
    content: list[ContentBlock]


class InferenceConfig(_Struct, frozen=True):
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop_sequences: list[str] | None = None


class InputSchema(_Struct, frozen=True):
    json: msgspec.Raw


class ToolSpec(_Struct, frozen=True):
    name: str
    input_schema: InputSchema
    description: str | None = None
    strict: bool | None = None


class SystemTool(_Struct, frozen=True):
    name: str


class Tool(_Struct, frozen=True):
    tool_spec: ToolSpec | None = None
    system_tool: SystemTool | None = None
    cache_point: CachePoint | None = None


class NoMembers(_Struct, frozen=True): ...


class ToolName(_Struct, frozen=True):
    name: str


class ToolChoice(_Struct, frozen=True):
    auto: NoMembers | None = None
    any: NoMembers | None = None
    tool: ToolName | None = None


class ToolConfig(_Struct, frozen=True):
    tools: list[Tool]
    tool_choice: ToolChoice | None = None


class JsonSchema(_Struct, frozen=True):
    schema: str
    """JSON text inside a string."""
    name: str | None = None
    description: str | None = None


class Structure(_Struct, frozen=True):
    json_schema: JsonSchema


class TextFormat(_Struct, frozen=True):
    type: Literal["json_schema"]
    structure: Structure


class OutputConfig(_Struct, frozen=True):
    text_format: TextFormat | None = None
    effort: str | None = None


class ServiceTier(_Struct, frozen=True):
    type: str


class Request(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    messages: list[Message]
    system: list[SystemBlock] | None = None
    inference_config: InferenceConfig | None = None
    tool_config: ToolConfig | None = None
    additional_model_request_fields: msgspec.Raw = ABSENT
    additional_model_response_field_paths: list[str] | None = None
    service_tier: ServiceTier | None = None
    output_config: OutputConfig | None = None


READ_MEMBERS: Final = frozenset(Request.__struct_encode_fields__) - {"additionalModelResponseFieldPaths"}
"""Members that the canonical model takes in; of the first of them, what it knows (`settings`)."""


# --- answers ---------------------------------------------------------------------------------------------------------


class _Answer(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """What every struct of an answer is."""


class CacheDetail(_Answer, frozen=True):
    """Of what was written to a cache, how much is kept for so long: `5m` or `1h`."""

    ttl: str | None = None
    input_tokens: int | None = None


class Usage(_Answer, frozen=True):
    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_write_input_tokens: int | None = None
    cache_details: list[CacheDetail] | None = None


class WebLocation(_Answer, frozen=True):
    url: str | None = None
    domain: str | None = None


class Span(_Answer, frozen=True):
    """Where in a document, in characters, pages or chunks."""

    document_index: int | None = None
    start: int | None = None
    end: int | None = None


class Location(_Answer, frozen=True):
    web: WebLocation | None = None
    document_char: Span | None = None
    document_page: Span | None = None
    document_chunk: Span | None = None


class SourceContent(_Answer, frozen=True):
    text: str | None = None


class Citation(_Answer, frozen=True):
    title: str | None = None
    source: str | None = None
    source_content: list[SourceContent] | None = None
    location: Location | None = None


class CitationsContent(_Answer, frozen=True):
    content: list[SourceContent] | None = None
    citations: list[Citation] | None = None


class AnswerS3Location(_Answer, frozen=True):
    uri: str | None = None


class AnswerSource(_Answer, frozen=True):
    bytes: str | None = None
    s3_location: AnswerS3Location | None = None


class MediaError(_Answer, frozen=True):
    """Why something could not be made."""

    message: str | None = None


class AnswerMedia(_Answer, frozen=True):
    format: str | None = None
    source: AnswerSource | None = None
    error: MediaError | None = None


class AnswerToolUse(_Answer, frozen=True):
    tool_use_id: str | None = None
    name: str | None = None
    input: msgspec.Raw = ABSENT
    type: str | None = None


class AnswerReasoningText(_Answer, frozen=True):
    text: str | None = None
    signature: str | None = None


class AnswerReasoning(_Answer, frozen=True):
    """Of a whole answer `reasoning_text`; of a stream `text` and `signature`."""

    reasoning_text: AnswerReasoningText | None = None
    redacted_content: str | None = None
    text: str | None = None
    signature: str | None = None


class AnswerBlock(_Answer, frozen=True):
    text: str | None = None
    tool_use: AnswerToolUse | None = None
    reasoning_content: AnswerReasoning | None = None
    citations_content: CitationsContent | None = None
    image: AnswerMedia | None = None
    audio: AnswerMedia | None = None
    video: AnswerMedia | None = None
    document: msgspec.Raw = ABSENT
    guard_content: msgspec.Raw = ABSENT
    search_result: msgspec.Raw = ABSENT
    tool_result: msgspec.Raw = ABSENT


OPAQUE_BLOCKS: Final = (
    ("tool_result", "toolResult"),
    ("search_result", "searchResult"),
    ("document", "document"),
    ("guard_content", "guardContent"),
)
"""Blocks of answers that only this dialect understands: attribute, name on the wire."""


class AnswerMessage(_Answer, frozen=True):
    content: list[AnswerBlock] | None = None


class Output(_Answer, frozen=True):
    message: AnswerMessage | None = None


class ResponseFields(msgspec.Struct, frozen=True):
    """What was asked for with `additionalModelResponseFieldPaths`, in the model's own words."""

    stop_sequence: str | None = None


class AnswerServiceTier(_Answer, frozen=True):
    type: str | None = None


class Answer(_Answer, frozen=True):
    output: Output | None = None
    stop_reason: str | None = None
    usage: Usage | None = None
    additional_model_response_fields: ResponseFields | None = None
    service_tier: AnswerServiceTier | None = None
    trace: msgspec.Raw = ABSENT
    """What guardrails and routers did."""


class BlockStart(_Answer, frozen=True):
    tool_use: AnswerToolUse | None = None
    tool_result: msgspec.Raw = ABSENT
    image: AnswerMedia | None = None


class BlockDelta(_Answer, frozen=True):
    text: str | None = None
    tool_use: AnswerToolUse | None = None
    reasoning_content: AnswerReasoning | None = None
    citation: Citation | None = None
    image: AnswerMedia | None = None


class BlockStartEvent(_Answer, frozen=True):
    content_block_index: int = 0
    start: BlockStart | None = None


class BlockDeltaEvent(_Answer, frozen=True):
    content_block_index: int = 0
    delta: BlockDelta | None = None


class BlockStopEvent(_Answer, frozen=True):
    content_block_index: int = 0


class MessageStopEvent(_Answer, frozen=True):
    stop_reason: str | None = None
    additional_model_response_fields: ResponseFields | None = None


class MetadataEvent(_Answer, frozen=True):
    usage: Usage | None = None
    service_tier: AnswerServiceTier | None = None
    trace: msgspec.Raw = ABSENT


REQUEST_DECODER: Final = msgspec.json.Decoder(Request)
ANSWER_DECODER: Final = msgspec.json.Decoder(Answer)
BLOCK_START_DECODER: Final = msgspec.json.Decoder(BlockStartEvent)
BLOCK_DELTA_DECODER: Final = msgspec.json.Decoder(BlockDeltaEvent)
BLOCK_STOP_DECODER: Final = msgspec.json.Decoder(BlockStopEvent)
MESSAGE_STOP_DECODER: Final = msgspec.json.Decoder(MessageStopEvent)
METADATA_DECODER: Final = msgspec.json.Decoder(MetadataEvent)


# --- answers we write ------------------------------------------------------------------------------------------------


class WrittenReasoning(_Answer, frozen=True):
    reasoning_text: ReasoningText | None = None
    redacted_content: str | None = None


class WrittenToolUse(msgspec.Struct, frozen=True, rename="camel"):
    tool_use_id: str
    name: str
    input: msgspec.Raw


class WrittenBlock(_Answer, frozen=True):
    text: str | None = None
    tool_use: WrittenToolUse | None = None
    reasoning_content: WrittenReasoning | None = None
    citations_content: CitationsContent | None = None
    image: Media | None = None
    audio: Media | None = None


class WrittenUsage(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    input_tokens: int
    output_tokens: int
    total_tokens: int
    cache_read_input_tokens: int | None = None
    cache_write_input_tokens: int | None = None
    cache_details: tuple[CacheDetail, ...] = ()


OWN_NAMES: Final = MappingProxyType(
    {
        "temperature": "inferenceConfig.temperature",
        "top_p": "inferenceConfig.topP",
        "top_k": "additionalModelRequestFields.top_k",
        "max_tokens": "inferenceConfig.maxTokens",
        "stop": "inferenceConfig.stopSequences",
        "response_format": "outputConfig.textFormat",
        "response_format.json_schema.schema": "outputConfig.textFormat.structure.jsonSchema.schema",
        "response_format.json_schema.description": "outputConfig.textFormat.structure.jsonSchema.description",
        "service_tier": "serviceTier",
        "thinking": "additionalModelRequestFields.thinking",
        "thinking.budget_tokens": "additionalModelRequestFields.thinking.budget_tokens",
        "reasoning_effort": "additionalModelRequestFields",
        "tool_choice": "toolConfig.toolChoice",
        "tools": "toolConfig.tools",
        "cache_control": "cachePoint",
        "strict": "toolSpec.strict",
        "is_error": "toolResult.status",
    }
)
"""See `ChatDialect.own_names`."""
