"""The requests of every chat dialect that its provider's own SDK can say."""

from collections.abc import Mapping
from typing import Any, Final

import anthropic.types.beta.message_create_params as anthropic_beta
import botocore.session
import openai.types.chat.completion_create_params as openai_chat
import openai.types.completion_create_params as openai_completions
import openai.types.responses.response_create_params as openai_responses
from cohere.v2.client import V2Client
from headgate.llm.names import DialectName

from support.json_values import is_array
from support.providers.gemini_types import GenerateContentRequest
from support.sdk_shapes import DATA, OTHER_DATA, URL, Reader, Samples, Shape, of_botocore

_SESSION: Any = botocore.session


def _converse() -> Shape:
    model: Any = _SESSION.get_session().get_service_model("bedrock-runtime")
    return of_botocore(model.operation_model("Converse").input_shape)


_OPENAI_IMAGE: Final = {
    "image_url": ("type", "detail", "prompt_cache_breakpoint"),
    "file_id": ("type", "detail", "prompt_cache_breakpoint"),
}
_OPENAI_FILE: Final = {
    "file_data": ("type", "detail", "filename", "prompt_cache_breakpoint"),
    "file_url": ("type", "detail", "filename"),
    "file_id": ("type", "detail", "filename"),
}

READER: Final = Reader(
    needed={
        # What must be there in one of several forms.
        "File": frozenset(("file",)),
        "FunctionCallOutput": frozenset(("call_id",)),
        "ItemReference": frozenset(("type",)),
        "BetaToolResultBlockParam": frozenset(("content",)),
        "AssistantChatMessageV2": frozenset(("content",)),
        "ToolV2": frozenset(("function",)),
        "ToolCallV2": frozenset(("function",)),
        "ToolCallV2Function": frozenset(("name", "arguments")),
    },
    kinds={
        "FileFile": {"file_data": ("filename",), "file_id": ("filename",)},
        "ResponseInputImageParam": _OPENAI_IMAGE,
        "ResponseInputImageContentParam": _OPENAI_IMAGE,
        "ResponseInputFileParam": _OPENAI_FILE,
        "ResponseInputFileContentParam": _OPENAI_FILE,
    },
)

_OF_MEDIA: Final = (
    "mediaResolution",
    "mediaProcessing",
    "videoMetadata",
    "audioMetadata",
    "documentMetadata",
    "spreadsheetMetadata",
)
_OF_DATA: Final = (*_OF_MEDIA, "thoughtSignature", "partMetadata", "speechMetadata", "audioTranscription")
READER_OF_GOOGLE: Final = Reader(
    needed={
        "Blob": frozenset(("data", "mimeType")),
        "FileData": frozenset(("fileUri", "mimeType")),
        "FunctionCall": frozenset(("name",)),
        "FunctionResponse": frozenset(("name", "response")),
        "FunctionResponseBlob": frozenset(("data", "mimeType")),
        "FunctionResponseFileData": frozenset(("fileUri", "mimeType")),
        "FunctionDeclaration": frozenset(("name",)),
        "Content": frozenset(("parts",)),
        "SafetySetting": frozenset(("category", "threshold")),
    },
    kinds={
        "Part": {
            "text": ("thought", "thoughtSignature", "partMetadata", "speechMetadata"),
            "inlineData": _OF_DATA,
            "fileData": _OF_DATA,
            "functionCall": ("thoughtSignature",),
            "functionResponse": ("partMetadata",),
            "executableCode": (),
            "codeExecutionResult": (),
            "toolCall": (),
            "toolResponse": (),
        },
        "FunctionResponsePart": {"inlineData": _OF_MEDIA, "fileData": _OF_MEDIA},
    },
)

REQUESTS: Final[Mapping[str, tuple[DialectName, Shape]]] = {
    "openai-chat": (DialectName.OPENAI_CHAT, READER.shape_of(openai_chat.CompletionCreateParamsNonStreaming)),
    "openai-responses": (
        DialectName.OPENAI_RESPONSES,
        READER.shape_of(openai_responses.ResponseCreateParamsNonStreaming),
    ),
    "openai-completions": (
        DialectName.OPENAI_COMPLETIONS,
        READER.shape_of(openai_completions.CompletionCreateParamsNonStreaming),
    ),
    "anthropic-beta": (DialectName.ANTHROPIC_MESSAGES, READER.shape_of(anthropic_beta.MessageCreateParamsNonStreaming)),
    "gemini": (DialectName.GEMINI, READER_OF_GOOGLE.shape_of(GenerateContentRequest)),
    "bedrock-converse": (DialectName.BEDROCK_CONVERSE, _converse()),
    "cohere": (DialectName.COHERE, READER.of_signature(V2Client.chat, ("request_options",))),
}

_SCHEMA: Final[tuple[Any, Any]] = (
    {"type": "object", "properties": {"a": {}}},
    {"type": "object", "properties": {"b": {}}},
)
_URLS: Final = (URL, "https://example.com/b.png")
_URI: Final = (f"data:image/png;base64,{DATA}", f"data:image/png;base64,{OTHER_DATA}")

SAMPLES: Final[Mapping[DialectName, Samples]] = {
    DialectName.OPENAI_CHAT: {
        "model": ("m", "m"),
        "stream": (False, False),
        "arguments": ('{"a":1}', '{"b":1}'),
        "parameters": _SCHEMA,
        "schema": _SCHEMA,
        "url": _URLS,
        "file_data": (DATA, OTHER_DATA),
        "data": (DATA, OTHER_DATA),
    },
    DialectName.OPENAI_RESPONSES: {
        "model": ("m", "m"),
        "stream": (False, False),
        "arguments": ('{"a":1}', '{"b":1}'),
        "parameters": _SCHEMA,
        "schema": _SCHEMA,
        "image_url": _URLS,
        "file_url": _URLS,
        "file_data": _URI,
        "data": (DATA, OTHER_DATA),
    },
    DialectName.OPENAI_COMPLETIONS: {"model": ("m", "m"), "stream": (False, False)},
    DialectName.ANTHROPIC_MESSAGES: {
        "model": ("m", "m"),
        "stream": (False, False),
        "max_tokens": (5000, 6000),
        "budget_tokens": (2000, 3000),
        "input_schema": _SCHEMA,
        "schema": _SCHEMA,
        "url": _URLS,
        "data": (DATA, OTHER_DATA),
        "input": ({"a": 1}, {"b": 1}),
    },
    DialectName.GEMINI: {
        "mimeType": ("image/png", "image/jpeg"),
        "fileUri": _URLS,
        "parameters": _SCHEMA,
        "responseSchema": _SCHEMA,
        "response": ({"a": 1}, {"b": 1}),
        "thoughtSignature": (DATA, OTHER_DATA),
        "topK": (2, 3),
        "parametersJsonSchema": _SCHEMA,
        "responseJsonSchema": _SCHEMA,
    },
    DialectName.BEDROCK_CONVERSE: {
        "json": _SCHEMA,
        "uri": ("s3://a/b", "s3://a/c"),
        "schema": ('{"type":"object","properties":{"a":{}}}', '{"type":"object","properties":{"b":{}}}'),
        "effort": ("low", "high"),
    },
    DialectName.COHERE: {
        "model": ("m", "m"),
        "arguments": ('{"a":1}', '{"b":1}'),
        "parameters": _SCHEMA,
        "json_schema": _SCHEMA,
        "url": _URLS,
    },
}

_AFTER: Final[Mapping[DialectName, tuple[str, Any]]] = {
    DialectName.OPENAI_CHAT: ("messages", {"role": "user", "content": "And then?"}),
    DialectName.OPENAI_RESPONSES: ("input", {"role": "user", "content": "And then?"}),
    DialectName.ANTHROPIC_MESSAGES: ("messages", {"role": "user", "content": "And then?"}),
    DialectName.GEMINI: ("contents", {"role": "user", "parts": [{"text": "And then?"}]}),
    DialectName.BEDROCK_CONVERSE: ("messages", {"role": "user", "content": [{"text": "And then?"}]}),
    DialectName.COHERE: ("messages", {"role": "user", "content": "And then?"}),
}
"""The last turn: what comes before it may be lost without losing the question."""

_CHOICES: Final = frozenset(
    ("tool_choice", "parallel_tool_calls", "function_call", "toolConfig", "strict_tools", "top_logprobs")
)
"""Members that mean nothing alone."""

_BESIDE: Final[Mapping[DialectName, Mapping[str, Any]]] = {
    DialectName.OPENAI_CHAT: {
        "tools": [{"type": "function", "function": {"name": "a", "parameters": _SCHEMA[0]}}],
        "logprobs": True,
    },
    DialectName.OPENAI_RESPONSES: {"tools": [{"type": "function", "name": "a", "parameters": _SCHEMA[0]}]},
    DialectName.ANTHROPIC_MESSAGES: {"tools": [{"name": "a", "input_schema": _SCHEMA[0]}]},
    DialectName.GEMINI: {"tools": [{"functionDeclarations": [{"name": "a", "parametersJsonSchema": _SCHEMA[0]}]}]},
    DialectName.COHERE: {"tools": [{"type": "function", "function": {"name": "a", "parameters": _SCHEMA[0]}}]},
}
"""What makes those mean something."""

_AT_LEAST: Final[Mapping[DialectName, Mapping[str, Any]]] = {
    DialectName.OPENAI_RESPONSES: {"model": "m", "input": "Hi"},
    DialectName.BEDROCK_CONVERSE: {"messages": [{"role": "user", "content": [{"text": "Hi"}]}]},
}
"""What the SDK thinks a request can do without."""


def in_context(dialect: DialectName, document: Mapping[str, Any]) -> dict[str, Any]:
    """The request with what it needs to mean something, all places as they were."""
    beside = _BESIDE.get(dialect, {}) if not _CHOICES.isdisjoint(document) else {}
    whole = {**_AT_LEAST.get(dialect, {}), **beside, **document}
    name, turn = _AFTER.get(dialect, ("", None))
    if is_array(whole.get(name)):
        whole[name] = [*whole[name], turn]
    return whole
