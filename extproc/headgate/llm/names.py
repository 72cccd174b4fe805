"""The names of wire formats, of the places that serve them, and of the jobs they do.

The values are written in configuration, logs and golden file names; they do not change.
"""

from enum import StrEnum


class DialectName(StrEnum):
    """A wire format. Those without a package under `dialects/` pass through and are never translated."""

    OPENAI_CHAT = "openai-chat"
    ANTHROPIC_MESSAGES = "anthropic-messages"
    OPENAI_RESPONSES = "openai-responses"
    OPENAI_COMPLETIONS = "openai-completions"
    OPENAI_EMBEDDINGS = "openai-embeddings"
    OPENAI_IMAGES = "openai-images"
    OPENAI_AUDIO = "openai-audio"
    OPENAI_MODERATIONS = "openai-moderations"
    VLLM_TOKENIZE = "vllm-tokenize"
    JINA_RERANK = "jina-rerank"
    COHERE = "cohere"
    GEMINI = "gemini"
    BEDROCK_CONVERSE = "bedrock-converse"


class HostName(StrEnum):
    """Where a dialect is served: decides path, envelope and framing."""

    DIRECT = "direct"
    AZURE = "azure"
    BEDROCK = "bedrock"
    VERTEX = "vertex"


class Operation(StrEnum):
    """What an endpoint does. compat: the values are those of the metric label `gen_ai.operation.name`."""

    CHAT = "chat"
    GENERATE_CONTENT = "generate_content"
    """Gemini's chat; OpenTelemetry's word for it."""
    MESSAGES = "messages"
    COUNT_TOKENS = "count_tokens"
    COMPLETION = "completion"
    EMBEDDINGS = "embeddings"
    RESPONSES = "responses"
    RESPONSES_INPUT_TOKENS = "responses_input_tokens"
    IMAGE_GENERATION = "image_generation"
    IMAGE_EDIT = "image_edit"
    IMAGE_VARIATION = "image_variation"
    SPEECH = "speech"
    TRANSCRIPTION = "transcription"
    TRANSLATION = "translation"
    MODERATION = "moderation"
    RERANK = "rerank"
    TOKENIZE = "tokenize"
    MODELS = "models"
