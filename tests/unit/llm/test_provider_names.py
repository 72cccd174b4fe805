"""`gen_ai.provider.name` in metrics and records, and in spans."""

import pytest
from headgate.llm.names import DialectName, HostName
from headgate.llm.provider_names import compat_provider_name, otel_provider_name

OPENAI, CLAUDE = DialectName.OPENAI_CHAT, DialectName.ANTHROPIC_MESSAGES
GEMINI, CONVERSE, COHERE = DialectName.GEMINI, DialectName.BEDROCK_CONVERSE, DialectName.COHERE
DIRECT, AZURE, BEDROCK, VERTEX = HostName.DIRECT, HostName.AZURE, HostName.BEDROCK, HostName.VERTEX


@pytest.mark.parametrize(
    ("dialect", "host", "vendor", "compat", "otel"),
    [
        (OPENAI, DIRECT, "", "openai", "openai"),
        (OPENAI, DIRECT, "Mistral", "openai", "mistral_ai"),
        (OPENAI, DIRECT, "xAI", "openai", "x_ai"),
        (OPENAI, DIRECT, "Groq", "openai", "groq"),
        (OPENAI, DIRECT, "ChatCompletions", "openai", "openai"),
        (OPENAI, AZURE, "", "azure.openai", "azure.ai.openai"),
        (CLAUDE, DIRECT, "", "anthropic", "anthropic"),
        (CLAUDE, BEDROCK, "", "aws.anthropic", "aws.bedrock"),
        (CLAUDE, VERTEX, "", "gcp.anthropic", "gcp.vertex_ai"),
        (CONVERSE, BEDROCK, "", "aws.bedrock", "aws.bedrock"),
        (GEMINI, DIRECT, "", "gcp.gemini", "gcp.gemini"),
        (GEMINI, VERTEX, "", "gcp.vertex_ai", "gcp.vertex_ai"),
        (COHERE, DIRECT, "", "cohere", "cohere"),
    ],
)
def test_each_reader_finds_the_words_that_it_knows(
    dialect: DialectName, host: HostName, vendor: str, compat: str, otel: str
) -> None:
    assert compat_provider_name(dialect, host) == compat
    assert otel_provider_name(dialect, host, vendor) == otel
