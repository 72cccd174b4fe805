"""What telemetry calls whoever serves a backend: one attribute, `gen_ai.provider.name`, two vocabularies.

Metrics and usage records have Envoy AI Gateway's words, which its dashboards look for (`compat_provider_name`); spans
have OpenTelemetry's, for whatever reads spans (`otel_provider_name`).
"""

from collections.abc import Mapping
from typing import Final

from headgate.llm.names import DialectName, HostName

_OPENAI: Final = "openai"
_DIRECT: Final[Mapping[DialectName, str]] = {
    DialectName.ANTHROPIC_MESSAGES: "anthropic",
    DialectName.BEDROCK_CONVERSE: "aws.bedrock",
    DialectName.COHERE: "cohere",
    DialectName.GEMINI: "gcp.gemini",  # OpenTelemetry's; upstream has no such schema
}
"""Where both agree."""
_COMPAT_ELSEWHERE: Final[Mapping[tuple[DialectName, HostName], str]] = {
    (DialectName.OPENAI_CHAT, HostName.AZURE): "azure.openai",
    (DialectName.ANTHROPIC_MESSAGES, HostName.BEDROCK): "aws.anthropic",
    (DialectName.ANTHROPIC_MESSAGES, HostName.VERTEX): "gcp.anthropic",
    (DialectName.GEMINI, HostName.VERTEX): "gcp.vertex_ai",
}
_OTEL_HOSTS: Final[Mapping[HostName, str]] = {
    HostName.AZURE: "azure.ai.openai",
    HostName.BEDROCK: "aws.bedrock",
    HostName.VERTEX: "gcp.vertex_ai",
}
_OTEL_VENDORS: Final[Mapping[str, str]] = {
    "Mistral": "mistral_ai",
    "xAI": "x_ai",
    "ChatCompletions": _OPENAI,
}
"""Vendors that are not called what our row calls them, in small letters."""


def compat_provider_name(dialect: DialectName, host: HostName) -> str:
    """compat: it goes by the schema, so any server of OpenAI's is `openai`."""
    return _COMPAT_ELSEWHERE.get((dialect, host)) or _DIRECT.get(dialect, _OPENAI)


def otel_provider_name(dialect: DialectName, host: HostName, vendor: str) -> str:
    """Whose service it is, in OpenTelemetry's words where it has one. `vendor` is empty where it is not known."""
    return _OTEL_HOSTS.get(host) or _DIRECT.get(dialect) or _OTEL_VENDORS.get(vendor, vendor.lower()) or _OPENAI
