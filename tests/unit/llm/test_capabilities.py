"""Which row of facts a model gets."""

import msgspec
import pytest
from headgate.contract.facts import ModelRow
from headgate.llm.canonical import ChatRequest, FunctionTool, Message, Reasoning, TextPart
from headgate.llm.capabilities import claude_facts, cohere_facts, gemini_facts, openai_facts
from headgate.llm.dialects.dialect import Target
from headgate.llm.dialects.table import DIALECTS
from headgate.llm.names import DialectName


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


def test_a_row_of_the_installation_changes_what_it_says_and_no_more() -> None:
    rows = (
        ModelRow(match="tomorrow", like="claude-sonnet-4-5", max_output_tokens=200_000, thinking="both"),
        ModelRow(match="claude", efforts=("low",)),
    )
    new, known = claude_facts("Claude-Tomorrow", rows), claude_facts("claude-sonnet-4-5")

    assert (new.max_tokens_default, new.adaptive_thinking, new.manual_thinking) == (200_000, True, True)
    assert (new.structured_output, new.sampling) == (known.structured_output, known.sampling)
    other = claude_facts("claude-3-haiku", rows)
    assert (other.effort, other.efforts, other.max_tokens_default) == (True, frozenset(("low",)), 4_096)
    assert not claude_facts("claude-3-haiku", (ModelRow(match="claude", efforts=()),)).effort
    assert claude_facts("claude-3-haiku") == claude_facts("claude-3-haiku", (ModelRow(match="gpt", sampling=False),))


def test_rows_reach_every_dialect() -> None:
    row = ModelRow(
        match="m",
        max_output_tokens=10,
        max_completion_tokens=True,
        efforts=("low", "high"),
        thinking="budget",
        thinking_budget=(1, 2),
        structured_output=True,
        sampling=False,
        developer_role=True,
        stop_sequences=2,
        web_search=True,
        images=False,
    )
    openai, gemini, cohere = openai_facts("m", (row,)), gemini_facts("m", (row,)), cohere_facts("m", (row,))

    assert (openai.output_tokens_max, openai.max_completion_tokens, openai.efforts) == (10, True, ("low", "high"))
    assert (openai.thinking, openai.thinking_budget) == (frozenset(("enabled", "disabled")), True)
    assert (openai.sampling, openai.developer_role, openai.stop_max, openai.web_search) == (False, True, 2, True)
    assert (gemini.levels, gemini.budget, gemini.json_schema) == (("low", "high"), (1, 2), True)
    assert (cohere.thinking, cohere.images) == (True, False)
    silent = gemini_facts("gemini-3-pro", (ModelRow(match="gemini", thinking="none"),))
    assert not silent.thinks


HELLO = Message("user", (TextPart("Hello!"),))
TOOL = FunctionTool("look")
EFFORTS = {"gpt-5.2": "high", "gpt-5.4": "none", "gpt-5.6-sol": "none", "gpt-6.2-sol": "high", "gpt-4o": None}


@pytest.mark.parametrize(("model", "effort"), EFFORTS.items())
def test_tools_exclude_reasoning_where_chat_completions_cannot_have_both(model: str, effort: str | None) -> None:
    asked = ChatRequest(model=model, messages=(HELLO,), tools=(TOOL,), reasoning=Reasoning(effort="high"))
    encoded = DIALECTS[DialectName.OPENAI_CHAT].encode_request(asked, Target(model))

    assert msgspec.json.decode(encoded.body).get("reasoning_effort") == effort
    assert bool(encoded.losses) is (effort != "high")


@pytest.mark.parametrize(
    ("model", "said"), [("claude-opus-5", True), ("claude-opus-5-5", False), ("claude-fable-5", False)]
)
def test_thinking_is_switched_off_only_where_it_can_be(model: str, said: bool) -> None:
    asked = ChatRequest(model=model, messages=(HELLO,), reasoning=Reasoning("disabled"))
    encoded = DIALECTS[DialectName.ANTHROPIC_MESSAGES].encode_request(asked, Target(model))

    assert (b"disabled" in encoded.body) is said
    assert bool(encoded.losses) is not said
