"""What models take, as data: rows matched by a substring of the model's name, the first match wins.

A model nobody listed gets the last row of its table, written so that the request works and little is lost. Sources: the
providers' model overviews and migration guides (<https://platform.claude.com/docs/en/about-claude/models/overview>,
<https://platform.openai.com/docs/models>), and the gates of the baseline.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

MODEL_FACTS_MAX: Final = 4096
"""Model names whose facts are kept looked up; a client chooses the names, so there must be a bound."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaudeFacts:
    """What a model behind the Anthropic dialect takes."""

    max_tokens_default: int
    """Sent when the client set no limit: the most the family can write, since that is what other APIs mean by no
    limit."""
    structured_output: bool = False
    """`output_config.format`."""
    effort: bool = False
    """`output_config.effort`."""
    efforts: frozenset[str] = frozenset(("low", "medium", "high"))
    adaptive_thinking: bool = False
    """`thinking.type: adaptive`."""
    manual_thinking: bool = False
    """`thinking.type: enabled` with `budget_tokens`."""
    sampling: bool = True
    """`temperature`, `top_p`, `top_k` are taken at all."""
    one_of_temperature_and_top_p: bool = False
    """Both together are refused."""


_MAX: Final = frozenset(("low", "medium", "high", "max"))
_XHIGH: Final = frozenset(("low", "medium", "high", "xhigh", "max"))

_NEWEST: Final = ClaudeFacts(
    max_tokens_default=64_000,
    structured_output=True,
    effort=True,
    efforts=_XHIGH,
    adaptive_thinking=True,
    sampling=False,
)
_OPUS_4: Final = ClaudeFacts(max_tokens_default=32_000, manual_thinking=True, one_of_temperature_and_top_p=True)

CLAUDE: Final[tuple[tuple[str, ClaudeFacts], ...]] = (
    ("claude-3-7", ClaudeFacts(max_tokens_default=64_000, manual_thinking=True)),
    ("claude-3-5", ClaudeFacts(max_tokens_default=8_192)),
    ("claude-3-", ClaudeFacts(max_tokens_default=4_096)),
    (
        "sonnet-4-6",
        ClaudeFacts(
            max_tokens_default=64_000,
            structured_output=True,
            effort=True,
            efforts=_MAX,
            adaptive_thinking=True,
            manual_thinking=True,
            one_of_temperature_and_top_p=True,
        ),
    ),
    (
        "opus-4-6",
        ClaudeFacts(
            max_tokens_default=128_000,
            structured_output=True,
            effort=True,
            efforts=_MAX,
            adaptive_thinking=True,
            manual_thinking=True,
            one_of_temperature_and_top_p=True,
        ),
    ),
    (
        "opus-4-5",
        ClaudeFacts(
            max_tokens_default=64_000,
            structured_output=True,
            effort=True,
            manual_thinking=True,
            one_of_temperature_and_top_p=True,
        ),
    ),
    (
        "-4-5",  # sonnet and haiku
        ClaudeFacts(
            max_tokens_default=64_000,
            structured_output=True,
            manual_thinking=True,
            one_of_temperature_and_top_p=True,
        ),
    ),
    ("opus-4-7", _NEWEST),
    ("opus-4-8", _NEWEST),
    ("opus-4-1", _OPUS_4),
    ("opus-4", _OPUS_4),
    ("4-opus", _OPUS_4),
    ("sonnet-4", ClaudeFacts(max_tokens_default=64_000, manual_thinking=True)),
    ("4-sonnet", ClaudeFacts(max_tokens_default=64_000, manual_thinking=True)),
    ("claude-2", ClaudeFacts(max_tokens_default=4_096)),
    ("claude-instant", ClaudeFacts(max_tokens_default=4_096)),
    ("claude", _NEWEST),  # newer than this table: what the newest family takes
    ("mythos", _NEWEST),
    ("fable", _NEWEST),
    ("", ClaudeFacts(max_tokens_default=8_192, manual_thinking=True)),  # another vendor's model behind this dialect
)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAIFacts:
    """What a model behind the OpenAI chat dialect takes."""

    max_completion_tokens: bool = False
    """Takes `max_completion_tokens`; `max_tokens` is refused or deprecated. Compatible servers often know only the
    latter."""
    reasoning_effort: bool = False
    """Takes `reasoning_effort`."""
    developer_role: bool = False
    """`developer` is known; elsewhere only `system` is safe."""
    sampling: bool = True
    """`temperature`, `top_p` other than 1 are taken."""


_REASONING: Final = OpenAIFacts(max_completion_tokens=True, reasoning_effort=True, developer_role=True, sampling=False)

OPENAI: Final[tuple[tuple[str, OpenAIFacts], ...]] = (
    ("gpt-oss", OpenAIFacts(reasoning_effort=True)),
    ("gpt-5-chat", OpenAIFacts(max_completion_tokens=True, developer_role=True)),
    ("gpt-5", _REASONING),
    ("o1", _REASONING),
    ("o3", _REASONING),
    ("o4-mini", _REASONING),
    ("codex-", _REASONING),
    ("gpt-4", OpenAIFacts(max_completion_tokens=True, developer_role=True)),
    ("gpt-3.5", OpenAIFacts(max_completion_tokens=True, developer_role=True)),
    ("chatgpt-", OpenAIFacts(max_completion_tokens=True, developer_role=True)),
    ("grok-3-mini", OpenAIFacts(reasoning_effort=True)),
    ("gemini-2.5", OpenAIFacts(reasoning_effort=True)),
    ("gemini-3", OpenAIFacts(reasoning_effort=True)),
    ("", OpenAIFacts()),  # a compatible server: the words every one of them knows
)

_WHOLE_WORDS: Final = frozenset(("o1", "o3"))
"""Keys that must be a word of their own (`o1-mini`, `openai/o3`), not part of another (`foo1`)."""


@lru_cache(maxsize=MODEL_FACTS_MAX)
def claude_facts(model: str) -> ClaudeFacts:
    """The row of a model; dots count as dashes (`claude-sonnet-4.5`)."""
    name = model.lower().replace(".", "-")
    return next(facts for key, facts in CLAUDE if key in name)


@lru_cache(maxsize=MODEL_FACTS_MAX)
def openai_facts(model: str) -> OpenAIFacts:
    """The row of a model, whatever vendor prefix it has."""
    name = model.lower()
    words = frozenset(name.replace("/", "-").replace(":", "-").split("-"))
    return next(facts for key, facts in OPENAI if (key in words if key in _WHOLE_WORDS else key in name))
