"""Which row of facts a model gets."""

import pytest
from headgate.llm.capabilities import claude_facts, openai_facts


@pytest.mark.parametrize(
    ("model", "structured", "adaptive", "manual", "sampling"),
    [
        ("claude-3-haiku-20240307", False, False, False, True),
        ("claude-3-5-sonnet-latest", False, False, False, True),
        ("claude-3-7-sonnet-20250219", False, False, True, True),
        ("claude-sonnet-4-20250514", False, False, True, True),
        ("claude-opus-4-1-20250805", False, False, True, True),
        ("claude-sonnet-4-5-20250929", True, False, True, True),
        ("anthropic/claude-sonnet-4.5", True, False, True, True),
        ("eu.anthropic.claude-haiku-4-5-20251001-v1:0", True, False, True, True),
        ("claude-opus-4-5", True, False, True, True),
        ("claude-opus-4-6", True, True, True, True),
        ("claude-opus-4-7", True, True, False, False),
        ("claude-sonnet-5", True, True, False, False),
        ("claude-mythos-preview", True, True, False, False),
        ("claude-of-tomorrow-9", True, True, False, False),
        ("deepseek-chat", False, False, True, True),
    ],
)
def test_claude(model: str, structured: bool, adaptive: bool, manual: bool, sampling: bool) -> None:
    facts = claude_facts(model)

    assert facts.structured_output is structured
    assert facts.adaptive_thinking is adaptive
    assert facts.manual_thinking is manual
    assert facts.sampling is sampling
    assert facts.max_tokens_default >= 4_096


@pytest.mark.parametrize(
    ("model", "completion_tokens", "effort"),
    [
        ("gpt-4o-mini", True, False),
        ("gpt-5", True, True),
        ("gpt-5-chat-latest", True, False),
        ("openai/o3-mini", True, True),
        ("o1", True, True),
        ("gpt-oss-120b", False, True),
        ("foo1", False, False),
        ("llama-3.3-70b", False, False),
        ("qwen3-32b", False, False),
    ],
)
def test_openai(model: str, completion_tokens: bool, effort: bool) -> None:
    facts = openai_facts(model)

    assert facts.max_completion_tokens is completion_tokens
    assert bool(facts.efforts) is effort
