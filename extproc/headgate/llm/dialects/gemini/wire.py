"""Gemini's generateContent as it is on the wire: structs to read it with.

Requests are read strictly: Google's own API refuses a member it does not know, and so does this. Answers are read
tolerantly. Member names are lower camel case; `proto_names` turns the snake case that Google takes as well.

Sources: <https://ai.google.dev/api/generate-content>,
<https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference>.
"""

from types import MappingProxyType
from typing import Final

import msgspec

ABSENT: Final = msgspec.Raw(b"")
"""A raw member that was not sent: msgspec cannot decode `Raw | None`. Ask `present`."""


def present(raw: msgspec.Raw) -> bytes:
    """The JSON text of a raw member; empty if it was not sent or is null."""
    if raw is ABSENT:
        return b""
    text = bytes(raw)
    return b"" if text == b"null" else text


class Said(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """What a client says: a member nobody knows is an error."""


class Open(msgspec.Struct, frozen=True, rename="camel"):
    """Where further members are kept (a request's) or skipped (an answer's)."""


# --- request ---------------------------------------------------------------------------------------------------------


class Blob(Said, frozen=True):
    data: str
    mime_type: str | None = None
    display_name: str | None = None


class FileData(Said, frozen=True):
    file_uri: str
    mime_type: str | None = None
    display_name: str | None = None


class FunctionCall(Said, frozen=True):
    name: str
    id: str | None = None
    args: msgspec.Raw = ABSENT
    partial_args: msgspec.Raw = ABSENT
    will_continue: bool | None = None


class PartResolution(Said, frozen=True):
    level: str | None = None
    num_tokens: int | None = None


class Media(Said, frozen=True):
    """What a part may hold beside its data: how Google shall look at it, and what it is."""

    inline_data: Blob | None = None
    file_data: FileData | None = None
    media_resolution: PartResolution | None = None
    media_processing: msgspec.Raw = ABSENT
    video_metadata: msgspec.Raw = ABSENT
    audio_metadata: msgspec.Raw = ABSENT
    document_metadata: msgspec.Raw = ABSENT
    spreadsheet_metadata: msgspec.Raw = ABSENT


MEDIA_SETTINGS: Final = (
    ("media_processing", "mediaProcessing"),
    ("video_metadata", "videoMetadata"),
    ("audio_metadata", "audioMetadata"),
    ("document_metadata", "documentMetadata"),
    ("spreadsheet_metadata", "spreadsheetMetadata"),
)
"""Of these: attribute, name on the wire."""


class FunctionResponse(Said, frozen=True):
    name: str
    id: str | None = None
    response: msgspec.Raw = ABSENT
    parts: list[Media] | None = None
    scheduling: msgspec.Raw = ABSENT
    will_continue: bool | None = None


class Part(Media, frozen=True):
    text: str | None = None
    thought: bool | None = None
    thought_signature: str | None = None
    function_call: FunctionCall | None = None
    function_response: FunctionResponse | None = None
    executable_code: msgspec.Raw = ABSENT
    code_execution_result: msgspec.Raw = ABSENT
    tool_call: msgspec.Raw = ABSENT
    tool_response: msgspec.Raw = ABSENT
    part_metadata: msgspec.Raw = ABSENT
    speech_metadata: msgspec.Raw = ABSENT
    audio_transcription: msgspec.Raw = ABSENT


PART_SETTINGS: Final = (
    *MEDIA_SETTINGS,
    ("part_metadata", "partMetadata"),
    ("speech_metadata", "speechMetadata"),
    ("audio_transcription", "audioTranscription"),
)
"""Of these: attribute, name on the wire."""


OPAQUE_PARTS: Final = (
    ("executable_code", "executableCode"),
    ("code_execution_result", "codeExecutionResult"),
    ("tool_call", "toolCall"),
    ("tool_response", "toolResponse"),
)
"""Parts that only this dialect understands: attribute, name on the wire."""


class Content(Said, frozen=True):
    parts: list[Part] | None = None
    role: str | None = None


class FunctionDeclaration(Said, frozen=True):
    name: str
    description: str | None = None
    parameters: msgspec.Raw = ABSENT
    parameters_json_schema: msgspec.Raw = ABSENT
    response: msgspec.Raw = ABSENT
    response_json_schema: msgspec.Raw = ABSENT
    behavior: str | None = None


class Tool(Open, frozen=True):
    """Functions, or a tool that Google runs: any other member."""

    function_declarations: list[FunctionDeclaration] | None = None


class FunctionCallingConfig(Said, frozen=True):
    mode: str | None = None
    allowed_function_names: list[str] | None = None
    stream_function_call_arguments: bool | None = None


class ToolConfig(Said, frozen=True):
    function_calling_config: FunctionCallingConfig | None = None
    retrieval_config: msgspec.Raw = ABSENT
    include_server_side_tool_invocations: bool | None = None


class ThinkingConfig(Said, frozen=True):
    include_thoughts: bool | None = None
    thinking_budget: int | None = None
    thinking_level: str | None = None


class GenerationConfig(Open, frozen=True):
    stop_sequences: list[str] | None = None
    response_mime_type: str | None = None
    response_schema: msgspec.Raw = ABSENT
    response_json_schema: msgspec.Raw = ABSENT
    candidate_count: int | None = None
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: float | None = None
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    response_logprobs: bool | None = None
    logprobs: int | None = None
    thinking_config: ThinkingConfig | None = None


class Request(Open, frozen=True):
    contents: list[Content]
    system_instruction: Content | None = None
    tools: list[Tool] | None = None
    tool_config: ToolConfig | None = None
    generation_config: GenerationConfig | None = None
    service_tier: str | None = None


REQUEST_MEMBERS: Final = frozenset(Request.__struct_encode_fields__)
CONFIG_MEMBERS: Final = frozenset(GenerationConfig.__struct_encode_fields__)
TOOL_MEMBERS: Final = frozenset(Tool.__struct_encode_fields__)

REQUEST_DECODER: Final = msgspec.json.Decoder(Request)

# --- answer ----------------------------------------------------------------------------------------------------------


class AnswerBlob(Open, frozen=True):
    data: str = ""
    mime_type: str | None = None


class AnswerFile(Open, frozen=True):
    file_uri: str = ""
    mime_type: str | None = None


class AnswerCall(Open, frozen=True):
    name: str | None = None
    id: str | None = None
    args: msgspec.Raw = ABSENT


class AnswerPart(Open, frozen=True):
    text: str | None = None
    thought: bool | None = None
    thought_signature: str | None = None
    function_call: AnswerCall | None = None
    inline_data: AnswerBlob | None = None
    file_data: AnswerFile | None = None
    executable_code: msgspec.Raw = ABSENT
    code_execution_result: msgspec.Raw = ABSENT
    tool_call: msgspec.Raw = ABSENT
    tool_response: msgspec.Raw = ABSENT
    function_response: msgspec.Raw = ABSENT


class AnswerContent(Open, frozen=True):
    parts: list[AnswerPart] | None = None


class Web(Open, frozen=True):
    uri: str | None = None
    title: str | None = None
    text: str | None = None


class Image(Open, frozen=True):
    source_uri: str | None = None
    title: str | None = None


class GroundingChunk(Open, frozen=True):
    web: Web | None = None
    image: Image | None = None
    retrieved_context: Web | None = None
    maps: Web | None = None


class Segment(Open, frozen=True):
    start_index: int | None = None
    end_index: int | None = None
    part_index: int | None = None
    text: str | None = None


class GroundingSupport(Open, frozen=True):
    segment: Segment | None = None
    grounding_chunk_indices: list[int] | None = None


class GroundingMetadata(Open, frozen=True):
    grounding_chunks: list[GroundingChunk] | None = None
    grounding_supports: list[GroundingSupport] | None = None


class Token(Open, frozen=True):
    token: str | None = None
    log_probability: float | None = None


class TopTokens(Open, frozen=True):
    candidates: list[Token] | None = None


class LogprobsResult(Open, frozen=True):
    chosen_candidates: list[Token] | None = None
    top_candidates: list[TopTokens] | None = None


class Candidate(Open, frozen=True):
    content: AnswerContent | None = None
    finish_reason: str | None = None
    finish_message: str | None = None
    index: int | None = None
    grounding_metadata: msgspec.Raw = ABSENT
    safety_ratings: msgspec.Raw = ABSENT
    citation_metadata: msgspec.Raw = ABSENT
    url_context_metadata: msgspec.Raw = ABSENT
    logprobs_result: LogprobsResult | None = None
    continuation_token: msgspec.Raw = ABSENT


class PromptFeedback(Open, frozen=True):
    block_reason: str | None = None
    block_reason_message: str | None = None
    safety_ratings: msgspec.Raw = ABSENT


class ModalityCount(Open, frozen=True):
    modality: str | None = None
    token_count: int | None = None


class UsageMetadata(Open, frozen=True):
    prompt_token_count: int | None = None
    candidates_token_count: int | None = None
    thoughts_token_count: int | None = None
    tool_use_prompt_token_count: int | None = None
    cached_content_token_count: int | None = None
    total_token_count: int | None = None
    traffic_type: str | None = None
    service_tier: str | None = None
    prompt_tokens_details: list[ModalityCount] | None = None
    candidates_tokens_details: list[ModalityCount] | None = None


class ErrorStatus(Open, frozen=True):
    """`google.rpc.Status`."""

    code: int | None = None
    message: str | None = None
    status: str | None = None
    details: msgspec.Raw = ABSENT


class Answer(Open, frozen=True):
    """A whole answer or one chunk of a stream."""

    candidates: list[Candidate] | None = None
    prompt_feedback: PromptFeedback | None = None
    usage_metadata: UsageMetadata | None = None
    model_version: str | None = None
    response_id: str | None = None
    create_time: str | None = None
    model_status: msgspec.Raw = ABSENT
    error: ErrorStatus | None = None


ANSWER_DECODER: Final = msgspec.json.Decoder(Answer)
GROUNDING_DECODER: Final = msgspec.json.Decoder(GroundingMetadata)


OWN_NAMES: Final = MappingProxyType(
    {
        "service_tier": "serviceTier",
        "messages": "contents",
        "temperature": "generationConfig.temperature",
        "top_p": "generationConfig.topP",
        "top_k": "generationConfig.topK",
        "max_tokens": "generationConfig.maxOutputTokens",
        "stop": "generationConfig.stopSequences",
        "n": "generationConfig.candidateCount",
        "seed": "generationConfig.seed",
        "presence_penalty": "generationConfig.presencePenalty",
        "frequency_penalty": "generationConfig.frequencyPenalty",
        "logprobs": "generationConfig.responseLogprobs",
        "top_logprobs": "generationConfig.logprobs",
        "response_format": "generationConfig.responseMimeType",
        "thinking": "generationConfig.thinkingConfig",
        "thinking.budget_tokens": "generationConfig.thinkingConfig.thinkingBudget",
        "thinking.display": "generationConfig.thinkingConfig.includeThoughts",
        "reasoning_effort": "generationConfig.thinkingConfig.thinkingLevel",
        "tool_choice": "toolConfig.functionCallingConfig",
        "content": "parts",
        "is_error": "functionResponse.response.error",
    }
)
"""See `ChatDialect.own_names`."""

OTHER_NAMES: Final = MappingProxyType(
    {
        "responseSchema": ("responseJsonSchema", "_responseJsonSchema"),
        "blocked_domains": ("googleSearch.excludeDomains",),
    }
)
"""See `ChatDialect.other_names`."""
