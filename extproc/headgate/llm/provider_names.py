"""What telemetry calls whoever serves a backend.

compat: `gen_ai.provider.name` of Envoy AI Gateway, which goes by the schema: any server of OpenAI's is `openai`.
"""

from collections.abc import Mapping
from typing import Final

from headgate.llm.names import DialectName, HostName

UNKNOWN: Final = "unknown"
"""compat: before a backend was chosen."""

_ELSEWHERE: Final[Mapping[tuple[DialectName, HostName], str]] = {
    (DialectName.OPENAI_CHAT, HostName.AZURE): "azure.openai",
    (DialectName.ANTHROPIC_MESSAGES, HostName.BEDROCK): "aws.anthropic",
    (DialectName.ANTHROPIC_MESSAGES, HostName.VERTEX): "gcp.anthropic",
    (DialectName.GEMINI, HostName.VERTEX): "gcp.vertex_ai",
}
_DIRECT: Final[Mapping[DialectName, str]] = {
    DialectName.ANTHROPIC_MESSAGES: "anthropic",
    DialectName.BEDROCK_CONVERSE: "aws.bedrock",
    DialectName.COHERE: "cohere",
    DialectName.GEMINI: "gcp.gemini",  # OpenTelemetry's; upstream has no such schema
}


def provider_name(dialect: DialectName, host: HostName) -> str:
    """Of a backend that speaks this dialect, there."""
    return _ELSEWHERE.get((dialect, host)) or _DIRECT.get(dialect, "openai")
