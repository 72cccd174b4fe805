"""What models take, as data: rows matched by a substring of the model's name, the first match wins.

An installation's own rows (`ModelRow`, from a TranslationPolicy) come first and change only what they say.

A model nobody listed gets the last row of its table, written so that the request works and little is lost. Sources: the
providers' model overviews and migration guides, as of November 2026 (<https://platform.claude.com/docs/en/models>,
<https://developers.openai.com/api/docs/guides/reasoning>, <https://ai.google.dev/gemini-api/docs/models>,
<https://docs.x.ai/docs/models>, <https://api-docs.deepseek.com/guides/thinking_mode>,
<https://docs.mistral.ai/capabilities/reasoning/adjustable>, <https://platform.kimi.ai/docs/models>), and the gates of
the baseline.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final, Literal

from headgate.contract.facts import ModelRow

MODEL_FACTS_MAX: Final = 4096
"""Model names whose facts are kept looked up; a client chooses the names, so there must be a bound."""

EFFORT_BUDGETS: Final[Mapping[str, int]] = MappingProxyType(
    {"minimal": 1_024, "low": 2_048, "medium": 8_192, "high": 16_384, "xhigh": 24_576, "max": 32_768}
)
"""Thinking tokens that stand for an effort where a model takes only a budget."""


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
    thinks_by_default: bool = False
    """Thinks unless told `thinking.type: disabled`."""
    thinking_off: Literal["", "disabled", "between_tools"] = "disabled"
    """The `thinking.type` that asks for none, or for the least; empty where it always thinks."""
    forced_tools: bool = True
    """A call can be forced: `tool_choice` `any` and `tool` are taken.
    <https://platform.claude.com/docs/en/models/opus-5-5/migration-guide>, and the other models' guides"""
    thinking_omitted: bool = False
    """Shows no thinking unless asked to by `thinking.display`."""
    sampling: bool = True
    """`temperature`, `top_p`, `top_k` are taken at all."""
    one_of_temperature_and_top_p: bool = False
    """Both together are refused."""
    web_search: bool = True
    """Takes the server tool `web_search_20250305`, where the host runs it."""
    prefill: bool = True
    """Goes on with a last turn of the assistant's; else it is refused.
    <https://platform.claude.com/docs/en/about-claude/models/migration-guide>"""


_MAX: Final = frozenset(("low", "medium", "high", "max"))
_XHIGH: Final = frozenset(("low", "medium", "high", "xhigh", "max"))

_NEWEST: Final = ClaudeFacts(
    max_tokens_default=128_000,
    structured_output=True,
    effort=True,
    efforts=_XHIGH,
    adaptive_thinking=True,
    thinking_omitted=True,
    sampling=False,
    prefill=False,
)
_THINKING: Final = replace(_NEWEST, thinks_by_default=True)
_ALWAYS_THINKING: Final = replace(_THINKING, thinking_off="")
_UNFORCED: Final = replace(_ALWAYS_THINKING, forced_tools=False)
_OPUS_4: Final = ClaudeFacts(max_tokens_default=32_000, manual_thinking=True, one_of_temperature_and_top_p=True)

CLAUDE: Final[tuple[tuple[str, ClaudeFacts], ...]] = (
    ("claude-3-7", ClaudeFacts(max_tokens_default=64_000, manual_thinking=True)),
    ("claude-3-5", ClaudeFacts(max_tokens_default=8_192)),
    ("claude-3-", ClaudeFacts(max_tokens_default=4_096, web_search=False)),
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
            prefill=False,
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
            prefill=False,
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
    ("claude-2", ClaudeFacts(max_tokens_default=4_096, web_search=False)),
    ("claude-instant", ClaudeFacts(max_tokens_default=4_096, web_search=False)),
    ("opus-5-5", _UNFORCED),
    ("sonnet-5-5", replace(_UNFORCED, thinking_off="between_tools")),
    ("fable-5-1", _UNFORCED),
    ("fable-5-2", _UNFORCED),
    ("mythos-5-1", _UNFORCED),
    ("mythos-5-2", _UNFORCED),
    ("fable", _ALWAYS_THINKING),
    ("mythos", _ALWAYS_THINKING),
    ("claude", _THINKING),  # newer than this table: what the newest family takes
    ("", ClaudeFacts(max_tokens_default=8_192, manual_thinking=True)),  # another vendor's model behind this dialect
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConverseFacts:
    """What a model behind Bedrock's Converse takes, besides what its row in `CLAUDE` says."""

    claude: bool = False
    """Takes Claude's own parameters as additional fields."""
    cache_points: frozenset[str] = frozenset()
    """Where cache points may stand: `system`, `messages`, `tools`."""
    tool_choices: frozenset[str] = frozenset(("any", "tool"))
    """Of `toolChoice`, besides `auto`."""
    top_k: tuple[str, ...] = ()
    """Path of `top_k` in the additional fields; empty where there is none."""
    effort: Literal["", "reasoning_effort", "reasoning_config"] = ""
    """How a reasoning effort is said in the additional fields, in three words."""
    unlimited_high_effort: bool = False
    """At the effort `high` neither `maxTokens` nor `temperature` nor `topP` may be said.
    <https://docs.aws.amazon.com/nova/latest/nova2-userguide/using-converse-api.html>"""
    structured_output: bool = False
    """`outputConfig.textFormat`; of Claude its own row says whether it does.
    <https://docs.aws.amazon.com/bedrock/latest/userguide/structured-output.html>"""
    prefill: bool = False
    """Goes on with a last turn of the assistant's; of Claude its own row says whether it does."""


_ANYWHERE: Final = frozenset(("system", "messages", "tools"))
_CLAUDE_CONVERSE: Final = ConverseFacts(claude=True, cache_points=_ANYWHERE, top_k=("top_k",))
_CLAUDE_UNCACHED: Final = ConverseFacts(claude=True, top_k=("top_k",))
_NOVA: Final = ConverseFacts(
    cache_points=frozenset(("system", "messages")), top_k=("inferenceConfig", "topK"), prefill=True
)
_AUTO_ONLY: Final = ConverseFacts(tool_choices=frozenset())
_STRUCTURED: Final = ConverseFacts(structured_output=True)
_ANY_ONLY: Final = ConverseFacts(tool_choices=frozenset(("any",)))

CONVERSE: Final[tuple[tuple[str, ConverseFacts], ...]] = (
    ("claude-3-haiku", _CLAUDE_UNCACHED),
    ("claude-3-sonnet", _CLAUDE_UNCACHED),
    ("claude-3-opus", _CLAUDE_UNCACHED),
    ("claude-3-5-sonnet-20240620", _CLAUDE_UNCACHED),
    ("claude-v2", _CLAUDE_UNCACHED),
    ("claude-instant", _CLAUDE_UNCACHED),
    ("claude", _CLAUDE_CONVERSE),
    ("anthropic", _CLAUDE_CONVERSE),
    ("nova-2", replace(_NOVA, effort="reasoning_config", unlimited_high_effort=True)),
    ("nova", _NOVA),
    ("gpt-oss", replace(_STRUCTURED, effort="reasoning_effort")),
    ("qwen3", _STRUCTURED),
    ("gemma-3", _STRUCTURED),
    ("kimi-k2-thinking", _STRUCTURED),
    ("nemotron-nano-12b-v2", _STRUCTURED),
    ("ministral-3", _STRUCTURED),
    ("magistral-small-2509", _STRUCTURED),
    ("voxtral-small-24b", _STRUCTURED),
    ("mistral-large-3", replace(_ANY_ONLY, structured_output=True)),
    ("mistral-large", _ANY_ONLY),
    ("llama", _AUTO_ONLY),
    ("cohere", replace(_AUTO_ONLY, top_k=("k",))),
    ("ai21", _AUTO_ONLY),
    ("deepseek.v3-v1", replace(_AUTO_ONLY, structured_output=True)),  # V3.1
    ("deepseek", _AUTO_ONLY),
    ("application-inference-profile", ConverseFacts(cache_points=_ANYWHERE, prefill=True)),  # hides which model it is
    ("", ConverseFacts()),
)
"""<https://docs.aws.amazon.com/bedrock/latest/userguide/conversation-inference-supported-models-features.html>,
`.../prompt-caching.html`, and the pages of the families' parameters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAIFacts:
    """What a model behind the OpenAI chat dialect takes."""

    max_completion_tokens: bool = False
    """Takes `max_completion_tokens`; `max_tokens` is refused or deprecated. Compatible servers often know only the
    latter."""
    efforts: tuple[str, ...] = ()
    """Values of `reasoning_effort` it takes, from little to much; empty where the member is refused."""
    thinking: frozenset[str] = frozenset()
    """Types of the member `thinking` it takes (Anthropic's member, taken over by other vendors)."""
    thinking_budget: bool = False
    """`thinking.budget_tokens` is taken."""
    template_switch: Literal["", "enable_thinking", "thinking"] = ""
    """The variable of its chat template that says whether it thinks, for servers that fill templates in
    (`Vendor.reasoning`); empty where there is none, as with models that always think or never do."""
    reasoning_history: Literal["", "reasoning_content", "reasoning", "thinking_blocks", "think_tags"] = ""
    """How earlier turns' reasoning goes back to it; empty where it must not."""
    developer_role: bool = False
    """`developer` is known; elsewhere only `system` is safe."""
    sampling: bool = True
    """`temperature`, `top_p` other than 1 are taken."""
    penalties: bool = True
    """`frequency_penalty`, `presence_penalty` are taken."""
    reasoning_required: bool = False
    """While it thinks it refuses a history with calls whose turns bear no reasoning."""
    responses_only: bool = False
    """OpenAI serves it in its responses API alone; chat completions answer 404."""
    tools_while_reasoning: bool = True
    """Functions may be offered while it reasons; else only with the effort `none`."""
    stop_max: int = 1_000
    """Stop sequences taken."""
    output_tokens_max: int | None = None
    """The most it can write, where more is refused: clients of other models ask for what those can."""
    own_api: bool = False
    """Served by OpenAI or Azure: `service_tier`, `user`, `seed` and the like mean what OpenAI says."""
    cache_control: bool = False
    """Cache points are taken as the member `cache_control` of content parts and tools."""
    cache_breakpoints: bool = False
    """Cache points are taken as the member `prompt_cache_breakpoint` of content parts."""
    web_search: bool = False
    """`web_search_options` is taken."""
    audio: bool = False
    """Answers in sound: `modalities` and `audio` are taken."""


_LOW_TO_HIGH: Final = ("low", "medium", "high")


def _openai_reasoning(
    *efforts: str, output_tokens_max: int = 128_000, tools_while_reasoning: bool = True
) -> OpenAIFacts:
    return OpenAIFacts(
        max_completion_tokens=True,
        efforts=efforts,
        tools_while_reasoning=tools_while_reasoning,
        developer_role=True,
        sampling=False,
        stop_max=0,
        output_tokens_max=output_tokens_max,
        own_api=True,
    )


def _responses_only(*efforts: str, output_tokens_max: int = 128_000) -> OpenAIFacts:
    return replace(_openai_reasoning(*efforts, output_tokens_max=output_tokens_max), responses_only=True)


def _openai_classic(output_tokens_max: int | None = None) -> OpenAIFacts:
    return OpenAIFacts(
        max_completion_tokens=True,
        developer_role=True,
        stop_max=4,
        output_tokens_max=output_tokens_max,
        own_api=True,
    )


_LOW_TO_MAX: Final = (*_LOW_TO_HIGH, "xhigh", "max")
_GPT_5_4: Final = _openai_reasoning("none", *_LOW_TO_HIGH, "xhigh", tools_while_reasoning=False)
_GPT_5_6: Final = replace(_openai_reasoning("none", *_LOW_TO_MAX, tools_while_reasoning=False), cache_breakpoints=True)
_ALWAYS_REASONING: Final = replace(_GPT_5_6, efforts=_LOW_TO_MAX)

_THINKING_SWITCH: Final = OpenAIFacts(
    thinking=frozenset(("enabled", "disabled")), reasoning_history="reasoning_content"
)
_GLM: Final = replace(_THINKING_SWITCH, output_tokens_max=131_072, template_switch="enable_thinking")
"""<https://github.com/zai-org/GLM-4.5>: its template's switch."""
_DEEPSEEK: Final = replace(_THINKING_SWITCH, efforts=("low", "high", "max"), reasoning_required=True)
_TEMPLATE_THINKING: Final = OpenAIFacts(template_switch="thinking")
_TEMPLATE_ENABLE_THINKING: Final = OpenAIFacts(template_switch="enable_thinking")
"""<https://docs.vllm.ai/en/latest/features/reasoning_outputs>,
<https://docs.sglang.io/docs/advanced_features/separate_reasoning>: which switch a family's template has."""
_KIMI: Final = OpenAIFacts(
    reasoning_history="reasoning_content", reasoning_required=True, sampling=False, penalties=False
)
"""<https://platform.kimi.ai/docs/api/chat>: how its newer models choose tokens is fixed."""
_GROK: Final = OpenAIFacts(penalties=False, stop_max=0)
"""Grok that reasons. <https://docs.x.ai/docs/guides/reasoning>: it refuses penalties and stop sequences."""
_MISTRAL: Final = OpenAIFacts(efforts=("none", "high"))
"""Small 4, Medium 3.5 and after; others refuse an effort."""
_CHAT_LATEST: Final = _openai_reasoning("medium", output_tokens_max=16_384)
"""Decides for itself how much to reason."""

_SEARCHING: Final = OpenAIFacts(
    max_completion_tokens=True,
    developer_role=True,
    sampling=False,
    stop_max=0,
    output_tokens_max=16_384,
    own_api=True,
    web_search=True,
)

OPENAI: Final[tuple[tuple[str, OpenAIFacts], ...]] = (
    ("search-preview", _SEARCHING),
    ("search-api", _SEARCHING),
    ("sonar", OpenAIFacts(web_search=True)),  # Perplexity
    ("gpt-audio", replace(_openai_classic(16_384), audio=True)),
    ("gpt-4o-audio", replace(_openai_classic(16_384), audio=True)),
    ("gpt-4o-mini-audio", replace(_openai_classic(16_384), audio=True)),
    ("gpt-oss", OpenAIFacts(efforts=_LOW_TO_HIGH)),
    ("gpt-5-chat", _openai_classic(16_384)),
    ("gpt-5.1-chat", _CHAT_LATEST),
    ("gpt-5.2-chat", _CHAT_LATEST),
    ("gpt-5.1-codex-max", _responses_only(*_LOW_TO_HIGH, "xhigh")),
    ("gpt-5.1-codex", _responses_only(*_LOW_TO_HIGH)),
    ("gpt-5.2-codex", _responses_only(*_LOW_TO_HIGH, "xhigh")),
    ("gpt-5.3-codex", _responses_only("none", *_LOW_TO_HIGH, "xhigh")),
    ("gpt-5.1", _openai_reasoning("none", "low", "medium", "high")),
    ("gpt-5-codex", _responses_only(*_LOW_TO_HIGH)),
    ("gpt-5-pro", _responses_only("high", output_tokens_max=272_000)),
    ("gpt-5.2-pro", _responses_only("medium", "high", "xhigh")),
    ("gpt-5.4-pro", _responses_only("medium", "high", "xhigh")),
    ("gpt-5.5-pro", _responses_only("medium", "high", "xhigh")),
    ("gpt-5.3-chat", _openai_classic(16_384)),
    ("gpt-5.6-cyber", replace(_GPT_5_6, responses_only=True)),
    ("gpt-5.2", _openai_reasoning("none", *_LOW_TO_HIGH, "xhigh")),
    ("gpt-5.3", _openai_reasoning("none", *_LOW_TO_HIGH, "xhigh")),
    ("gpt-5.4", _GPT_5_4),
    ("gpt-5.5", _GPT_5_4),
    ("gpt-5.", _GPT_5_6),
    ("gpt-5", _openai_reasoning("minimal", *_LOW_TO_HIGH)),
    ("gpt-6-cyber", replace(_GPT_5_6, responses_only=True)),
    ("rosalind", replace(_GPT_5_6, responses_only=True)),
    ("gpt-daybreak", replace(_GPT_5_6, responses_only=True)),  # another name of theirs
    ("astra-law", replace(_ALWAYS_REASONING, responses_only=True)),
    ("gpt-6-astra", _ALWAYS_REASONING),
    ("gpt-6.1-sol", _ALWAYS_REASONING),
    ("gpt-6.2", _ALWAYS_REASONING),
    ("gpt-6", _GPT_5_6),
    ("gpt-7", _GPT_5_6),  # newer than this table: what the newest family takes
    ("computer-use-preview", replace(_responses_only(), output_tokens_max=None)),
    ("deep-research", _responses_only("medium", output_tokens_max=100_000)),
    ("o1-pro", _responses_only(*_LOW_TO_HIGH, output_tokens_max=100_000)),
    ("o3-pro", _responses_only(*_LOW_TO_HIGH, output_tokens_max=100_000)),
    ("o1", _openai_reasoning(*_LOW_TO_HIGH, output_tokens_max=100_000)),
    ("o3", _openai_reasoning(*_LOW_TO_HIGH, output_tokens_max=100_000)),
    ("o4-mini", _openai_reasoning(*_LOW_TO_HIGH, output_tokens_max=100_000)),
    ("codex-", _responses_only(*_LOW_TO_HIGH, output_tokens_max=100_000)),
    ("gpt-4.1", _openai_classic(32_768)),
    ("gpt-4o-2024-05-13", _openai_classic(4_096)),
    ("gpt-4o", _openai_classic(16_384)),
    ("gpt-4-turbo", _openai_classic(4_096)),
    ("gpt-4", _openai_classic()),
    ("gpt-3.5", _openai_classic(4_096)),
    ("chatgpt-4o", _openai_classic(16_384)),
    ("chatgpt-", _openai_classic()),
    ("non-reasoning", OpenAIFacts()),  # Grok, from 4-fast to 4.20: reasons or does not, by its name
    ("grok-3-mini", replace(_GROK, efforts=("low", "high"))),
    ("grok-4.20-multi-agent", replace(_GROK, efforts=(*_LOW_TO_HIGH, "xhigh"))),
    ("grok-4.20", _GROK),
    ("grok-4.1", _GROK),
    ("grok-4.3", replace(_GROK, efforts=("none", *_LOW_TO_HIGH))),
    ("grok-4.6", replace(_GROK, efforts=(*_LOW_TO_HIGH, "xhigh"))),
    ("grok-4.", replace(_GROK, efforts=_LOW_TO_HIGH)),
    ("grok-4", _GROK),
    ("grok-code", _GROK),
    ("grok-build", _GROK),
    ("mistral-small-24", OpenAIFacts()),
    ("mistral-small-25", OpenAIFacts()),
    ("mistral-medium-25", OpenAIFacts()),
    ("mistral-medium-latest", OpenAIFacts()),  # was 2508 still in June 2026
    ("mistral-small", _MISTRAL),
    ("mistral-medium", _MISTRAL),
    ("gemini-2.5", OpenAIFacts(efforts=("none", *_LOW_TO_HIGH))),
    ("gemini-3", OpenAIFacts(efforts=("minimal", *_LOW_TO_HIGH))),
    ("deepseek-v3.1", replace(_DEEPSEEK, template_switch="thinking")),
    ("deepseek-v3.2", replace(_DEEPSEEK, template_switch="thinking")),
    ("deepseek", _DEEPSEEK),
    ("instruct-2507", OpenAIFacts()),  # Qwen3 that never thinks, as the next three
    ("qwen3-coder", OpenAIFacts()),
    ("qwen3-next", OpenAIFacts()),
    ("qwen3-vl", OpenAIFacts()),
    ("thinking-2507", OpenAIFacts()),  # Qwen3 that always does
    ("qwen3", _TEMPLATE_ENABLE_THINKING),
    ("gemma-4", _TEMPLATE_ENABLE_THINKING),
    ("granite-3.2", _TEMPLATE_THINKING),
    ("glm-4.5v", replace(_GLM, output_tokens_max=16_384)),
    ("glm-4.5", replace(_GLM, output_tokens_max=98_304)),
    ("glm-4.6v", replace(_GLM, output_tokens_max=32_768)),
    ("glm-5.2", replace(_GLM, efforts=("high", "max"))),
    (
        "glm-5.3",
        replace(_GLM, efforts=("low", "high", "max"), thinking=frozenset(("enabled",)), template_switch=""),
    ),  # it always thinks
    ("glm-", _GLM),
    ("kimi-k2-", replace(_THINKING_SWITCH, reasoning_required=True)),
    ("kimi-k2.7", _KIMI),
    ("kimi-k2", replace(_KIMI, thinking=_THINKING_SWITCH.thinking)),
    ("kimi-", replace(_KIMI, efforts=("low", "high", "max"))),
    ("solar-pro2", OpenAIFacts(efforts=("minimal", "high"))),
    ("solar-pro3", OpenAIFacts(efforts=_LOW_TO_HIGH)),
    ("solar-pro", OpenAIFacts(efforts=("none", "minimal", *_LOW_TO_MAX))),  # 4: does not reason unless told to
    ("minimax-m3", OpenAIFacts(thinking=frozenset(("disabled",)))),  # else it decides
    (
        "claude",  # behind a gateway that speaks OpenAI's dialect
        OpenAIFacts(
            thinking=frozenset(("enabled", "disabled", "adaptive")),
            thinking_budget=True,
            reasoning_history="thinking_blocks",
            cache_control=True,
        ),
    ),
    ("", OpenAIFacts()),  # a compatible server: the words every one of them knows
)


@dataclass(frozen=True, slots=True, kw_only=True)
class GeminiFacts:
    """What a model behind the Gemini dialect takes."""

    levels: tuple[str, ...] = ()
    """Values of `thinkingLevel`, from little to much; empty where only budgets are known."""
    budget: tuple[int, int] | None = None
    """Least and most `thinkingBudget`; None where the model does not think or is told by levels."""
    thinking_off: bool = False
    """A budget of 0 is taken: no thinking."""
    json_schema: bool = False
    """Schemas are taken as they are; older models know a subset of OpenAPI's."""
    json_with_tools: bool = False
    """JSON may be asked for in a request that has functions."""
    signatures: bool = False
    """A call in the history must bear a thought signature."""
    media_results: bool = False
    """A function's response may hold images and documents."""
    media_resolution: bool = False
    """The detail of an image can be asked for."""
    only_speaks: bool = False
    """Its answers are sound; asked for text as well, it refuses."""
    prefill: bool = True
    """Goes on with a last turn of the model's."""

    @property
    def thinks(self) -> bool:
        """Thinking can be asked for at all."""
        return bool(self.levels) or self.budget is not None


def _gemini_3(*levels: str) -> GeminiFacts:
    return GeminiFacts(
        levels=levels,
        json_schema=True,
        json_with_tools=True,
        signatures=True,
        media_results=True,
        media_resolution=True,
        prefill=False,
    )


_GEMINI_3_FLASH: Final = _gemini_3("minimal", *_LOW_TO_HIGH)

GEMINI: Final[tuple[tuple[str, GeminiFacts], ...]] = (
    ("gemini-3-pro-image", _gemini_3()),
    ("gemini-3.1-flash-image", _gemini_3("minimal", "high")),
    ("gemini-3-pro", _gemini_3("low", "high")),
    ("gemini-3-flash", _GEMINI_3_FLASH),
    ("flash-image", GeminiFacts(json_schema=True)),
    ("-tts", GeminiFacts(json_schema=True, only_speaks=True)),
    ("gemini-2.5-pro", GeminiFacts(budget=(128, 32_768), json_schema=True)),
    ("gemini-2.5-flash-lite", GeminiFacts(budget=(512, 24_576), thinking_off=True, json_schema=True)),
    ("gemini-2.5", GeminiFacts(budget=(1, 24_576), thinking_off=True, json_schema=True)),
    ("gemini-robotics", GeminiFacts(budget=(1, 24_576), thinking_off=True, json_schema=True)),
    ("gemini-2", GeminiFacts()),
    ("gemini-1", GeminiFacts()),
    ("gemini-pro", GeminiFacts()),
    ("gemini-exp", GeminiFacts()),
    ("flash-lite", _GEMINI_3_FLASH),
    ("gemini-3.1-flash", _GEMINI_3_FLASH),
    ("gemini-3.5-flash", _GEMINI_3_FLASH),
    ("flash", _gemini_3(*_LOW_TO_HIGH)),  # 3.7, which refuses `minimal`, and what is newer: `gemini-flash-latest`
    ("gemini", _gemini_3(*_LOW_TO_HIGH)),
    ("", GeminiFacts()),  # Gemma and others behind this dialect
)
"""<https://ai.google.dev/gemini-api/docs/thinking>, <https://ai.google.dev/gemini-api/docs/structured-output>."""

_WHOLE_WORDS: Final = frozenset(("o1", "o3"))
"""Keys that must be a word of their own (`o1-mini`, `openai/o3`), not part of another (`foo1`)."""


Rows = tuple[ModelRow, ...]


def _row_of(name: str, rows: Rows) -> ModelRow | None:
    return next((row for row in rows if row.match in name), None)


def _said(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


@lru_cache(maxsize=MODEL_FACTS_MAX)
def claude_facts(model: str, rows: Rows = ()) -> ClaudeFacts:
    """The row of a model; dots count as dashes (`claude-sonnet-4.5`)."""
    row = _row_of(model.lower(), rows)
    name = ((row.like if row is not None else "") or model).lower().replace(".", "-")
    facts = next(facts for key, facts in CLAUDE if key in name)
    if row is None:
        return facts
    thinking = row.thinking
    said = _said(
        max_tokens_default=row.max_output_tokens,
        structured_output=row.structured_output,
        effort=None if row.efforts is None else bool(row.efforts),
        efforts=None if not row.efforts else frozenset(row.efforts),
        adaptive_thinking=None if thinking is None else thinking in ("adaptive", "both"),
        manual_thinking=None if thinking is None else thinking in ("budget", "both"),
        sampling=row.sampling,
        web_search=row.web_search,
    )
    return replace(facts, **said)


@lru_cache(maxsize=MODEL_FACTS_MAX)
def converse_facts(model: str, rows: Rows = ()) -> ConverseFacts:
    """The row of a model id, an inference profile's id or an ARN."""
    row = _row_of(model.lower(), rows)
    name = ((row.like if row is not None else "") or model).lower()
    facts = next(facts for key, facts in CONVERSE if key in name)
    return facts if row is None else replace(facts, **_said(structured_output=row.structured_output))


@lru_cache(maxsize=MODEL_FACTS_MAX)
def openai_facts(model: str, rows: Rows = ()) -> OpenAIFacts:
    """The row of a model, whatever vendor prefix it has."""
    row = _row_of(model.lower(), rows)
    name = ((row.like if row is not None else "") or model).lower()
    words = frozenset(name.replace("/", "-").replace(":", "-").split("-"))
    facts = next(facts for key, facts in OPENAI if (key in words if key in _WHOLE_WORDS else key in name))
    if row is None:
        return facts
    thinking = row.thinking
    switch = ("enabled", "disabled") if thinking in ("budget", "both") else ()
    adaptive = ("adaptive",) if thinking in ("adaptive", "both") else ()
    said = _said(
        output_tokens_max=row.max_output_tokens,
        max_completion_tokens=row.max_completion_tokens,
        efforts=row.efforts,
        thinking=None if thinking is None else frozenset((*switch, *adaptive)),
        thinking_budget=None if thinking is None else thinking in ("budget", "both"),
        sampling=row.sampling,
        developer_role=row.developer_role,
        stop_max=row.stop_sequences,
        web_search=row.web_search,
    )
    return replace(facts, **said)


# --- Cohere ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class CohereFacts:
    """What a model behind Cohere's chat takes. <https://docs.cohere.com/docs/models>"""

    thinking: bool = False
    """`thinking` and thinking contents in the history."""
    images: bool = False


COHERE: Final[tuple[tuple[str, CohereFacts], ...]] = (
    ("reasoning", CohereFacts(thinking=True)),
    ("vision", CohereFacts(images=True)),
    ("command-a-03", CohereFacts()),
    ("command-a-translate", CohereFacts()),
    ("command-r", CohereFacts()),
    ("", CohereFacts(thinking=True, images=True)),
)
"""A model that nobody listed is asked for what it is asked for: it refuses with better words than a guess could."""


@lru_cache(maxsize=MODEL_FACTS_MAX)
def cohere_facts(model: str, rows: Rows = ()) -> CohereFacts:
    """The first row whose key the name contains."""
    row = _row_of(model.lower(), rows)
    name = ((row.like if row is not None else "") or model).lower()
    facts = next(facts for key, facts in COHERE if key in name)
    if row is None:
        return facts
    thinking = None if row.thinking is None else row.thinking != "none"
    return replace(facts, **_said(thinking=thinking, images=row.images))


@lru_cache(maxsize=MODEL_FACTS_MAX)
def gemini_facts(model: str, rows: Rows = ()) -> GeminiFacts:
    """The row of a model, whatever its publisher's prefix."""
    row = _row_of(model.lower(), rows)
    name = ((row.like if row is not None else "") or model).lower()
    facts = next(facts for key, facts in GEMINI if key in name)
    if row is None:
        return facts
    if row.thinking == "none":
        facts = replace(facts, levels=(), budget=None, thinking_off=False)
    said = _said(
        levels=row.efforts,
        budget=row.thinking_budget,
        json_schema=row.structured_output,
    )
    return replace(facts, **said)
