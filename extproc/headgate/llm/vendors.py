"""Servers that speak OpenAI's dialects, and where each deviates: a row a vendor.

A backend names its vendor (`TranslationPolicy`), or its host's name tells. What is not said here follows from the model
(`capabilities`) or is read as it comes (`dialects/openai_chat`): usage in five places, reasoning under four names.

A vendor that is not known is taken to serve OpenAI's whole API, and to take every member that its models take. Whoever
runs an older server, or one of which only chat is known, names `ChatCompletions`.

Sources: each vendor's API reference, as of 2026.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Literal

from headgate.llm.names import Operation


@dataclass(frozen=True, slots=True, kw_only=True)
class Vendor:
    """Where a server deviates from OpenAI's own."""

    name: str
    hosts: tuple[str, ...] = ()
    """Host names that are this vendor's, with all names below them; none for servers that users run themselves."""
    lacks: frozenset[Operation] = frozenset()
    """Operations that it does not serve."""
    refuses: frozenset[str] = frozenset()
    """Members of a chat completion that it answers with an error; they are left out, and reported."""
    renamed: Mapping[str, str] = field(default_factory=dict[str, str])
    """Members of a chat completion that have another name here."""
    usage_unasked: bool = False
    """Streams end with usage by themselves, and `stream_options` is refused."""
    reasoning_history: Literal["", "reasoning_content", "reasoning"] = ""
    """Under which name earlier turns' reasoning goes back; empty: as the model's row says."""


_RESPONSES: Final = frozenset((Operation.RESPONSES, Operation.RESPONSES_INPUT_TOKENS))
_COUNT: Final = frozenset((Operation.RESPONSES_INPUT_TOKENS,))
_COMPLETIONS: Final = frozenset((Operation.COMPLETION,))

_OPENAI_ONLY: Final = frozenset(
    ("store", "metadata", "prompt_cache_key", "prompt_cache_retention", "safety_identifier", "verbosity")
)
"""Members about OpenAI's own service."""

VENDORS: Final = (
    Vendor(name="OpenAI", hosts=("api.openai.com",)),  # also said of a server at another's host name that is whole
    Vendor(name="ChatCompletions", lacks=_RESPONSES | _COMPLETIONS),
    Vendor(
        name="Mistral",
        hosts=("api.mistral.ai",),
        lacks=_RESPONSES | _COMPLETIONS,
        # Unknown members are refused: `extra_forbidden`.
        refuses=_OPENAI_ONLY
        | {"user", "service_tier", "logit_bias", "logprobs", "top_logprobs", "top_k", "reasoning_effort"},
        renamed=MappingProxyType({"max_completion_tokens": "max_tokens", "seed": "random_seed"}),
        usage_unasked=True,
    ),
    Vendor(
        name="Groq",
        hosts=("api.groq.com",),
        lacks=_COUNT | _COMPLETIONS,
        # <https://console.groq.com/docs/openai>
        refuses=frozenset(("logprobs", "top_logprobs", "logit_bias", "n")),
        reasoning_history="reasoning",
    ),
    Vendor(
        name="DeepSeek",
        hosts=("api.deepseek.com",),
        lacks=_RESPONSES | _COMPLETIONS,  # completions are another API there, at /beta
        refuses=frozenset(("n",)),
        renamed=MappingProxyType({"max_completion_tokens": "max_tokens"}),
        reasoning_history="reasoning_content",
    ),
    Vendor(name="xAI", hosts=("api.x.ai",), lacks=_COUNT, refuses=frozenset(("logit_bias",))),
    Vendor(
        name="Together",
        hosts=("api.together.xyz", "api.together.ai"),
        lacks=_RESPONSES,
        renamed=MappingProxyType({"max_completion_tokens": "max_tokens"}),
    ),
    Vendor(name="Fireworks", hosts=("api.fireworks.ai",), lacks=_COUNT),
    Vendor(name="OpenRouter", hosts=("openrouter.ai",), lacks=_COUNT, reasoning_history="reasoning"),
    Vendor(
        name="Ollama",
        hosts=("ollama.com",),
        # Its responses (since 0.13.3) keep nothing either; older servers answer 404.
        lacks=_RESPONSES,
        renamed=MappingProxyType({"max_completion_tokens": "max_tokens"}),
        reasoning_history="reasoning",
    ),
    Vendor(name="vLLM", lacks=_COUNT),
    Vendor(name="SGLang", lacks=_COUNT),
)

BY_NAME: Final = MappingProxyType({vendor.name: vendor for vendor in VENDORS})

UNKNOWN: Final = Vendor(name="")


def vendor_named(name: str) -> Vendor:
    """The vendor of that name; one that deviates nowhere for a name nobody knows."""
    return BY_NAME.get(name, UNKNOWN)


def vendor_at(hosts: Iterable[str]) -> str:
    """The name of the vendor whose host name that is; empty where none is known."""
    for host in hosts:
        name = host.partition(":")[0].rstrip(".").lower()
        for vendor in VENDORS:
            if any(name == known or name.endswith(f".{known}") for known in vendor.hosts):
                return vendor.name
    return ""
