"""Servers that speak OpenAI's dialects, and where each deviates: a row a vendor.

A backend names its vendor (`TranslationPolicy`), or its host's name tells. What is not said here follows from the model
(`capabilities`) or is read as it comes (`dialects/openai_chat`): usage in five places, reasoning under four names.

A vendor that is not known is taken to serve OpenAI's whole API, and to take every member that its models take. Whoever
runs an older server, or one of which only chat is known, names `ChatCompletions`.

Sources: each vendor's API reference, as of November 2026, at its row.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
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
    """Members of a chat completion that it answers with an error, or does not heed; they are left out, and reported."""
    renamed: Mapping[str, str] = field(default_factory=dict[str, str])
    """Members of a chat completion that have another name here."""
    short_call_ids: bool = False
    """Ids of calls are nine letters and digits."""
    named_messages: bool = True
    """Messages may have a `name`."""
    tool_choices: frozenset[str] = frozenset(("none", "auto", "required", "named"))
    """Of `tool_choice`; `named` is an object."""
    forces_while_thinking: bool = True
    """A call can be forced of a model that thinks; else it is told not to think, as those models do by themselves."""
    usage_unasked: bool = False
    """Streams end with usage by themselves, and `stream_options` is refused."""
    reasoning: Literal["", "chat_template_kwargs", "enable_thinking", "reasoning"] = ""
    """The member that says how much to think, whatever the model; empty: as the model's row says. Of
    `chat_template_kwargs` the model's row names the one that is its template's (`OpenAIFacts.template_switch`)."""
    reasoning_history: Literal["", "reasoning_content", "reasoning", "think_tags"] = ""
    """Under which name earlier turns' reasoning goes back; empty: as the model's row says. `think_tags`: in the text,
    as it came."""


_COUNT: Final = frozenset((Operation.RESPONSES_INPUT_TOKENS,))
_RESPONSES: Final = _COUNT | {Operation.RESPONSES}
_COMPLETIONS: Final = frozenset((Operation.COMPLETION,))

_OPENAI_ONLY: Final = frozenset(("store", "metadata", "prompt_cache_retention", "safety_identifier", "verbosity"))
"""Members about OpenAI's own service."""
_UNHEEDED: Final = frozenset(("frequency_penalty", "presence_penalty", "logit_bias", "n"))
"""Members that several servers leave out."""
_MAX_TOKENS: Final = MappingProxyType({"max_completion_tokens": "max_tokens"})
_MAX_COMPLETION_TOKENS: Final = MappingProxyType({"max_tokens": "max_completion_tokens"})
_AUTO: Final = frozenset(("auto",))

VENDORS: Final = (
    Vendor(name="OpenAI", hosts=("api.openai.com",)),  # also said of a server at another's host name that is whole
    Vendor(name="ChatCompletions", lacks=_RESPONSES | _COMPLETIONS),
    Vendor(
        # <https://docs.mistral.ai/api>. Unknown members are refused: `extra_forbidden`. It completes at `/v1/fim`.
        name="Mistral",
        hosts=("api.mistral.ai",),
        lacks=_COMPLETIONS,
        refuses=(_OPENAI_ONLY - {"metadata"}) | {"user", "logit_bias"},
        renamed=MappingProxyType({**_MAX_TOKENS, "seed": "random_seed"}),
        usage_unasked=True,
        short_call_ids=True,
    ),
    Vendor(
        # <https://console.groq.com/docs/openai>, <https://console.groq.com/docs/api-reference>
        name="Groq",
        hosts=("api.groq.com",),
        lacks=_COUNT | _COMPLETIONS,
        refuses=_UNHEEDED | {"logprobs", "top_logprobs", "metadata", "store"},
        named_messages=False,
        reasoning_history="reasoning",
    ),
    Vendor(
        # <https://api-docs.deepseek.com/api/create-chat-completion>. Completions are another API there, at /beta.
        name="DeepSeek",
        hosts=("api.deepseek.com",),
        lacks=_RESPONSES | _COMPLETIONS,
        refuses=frozenset(("n",)),
        renamed=_MAX_TOKENS,
        reasoning_history="reasoning_content",
        forces_while_thinking=False,
    ),
    # <https://docs.x.ai/docs/api-reference>
    Vendor(name="xAI", hosts=("api.x.ai",), lacks=_COUNT, refuses=frozenset(("logit_bias",))),
    Vendor(
        # <https://docs.together.ai/docs/inference/openai-compatibility>
        name="Together",
        hosts=("api.together.ai", "api.together.xyz"),
        lacks=_RESPONSES,
        renamed=_MAX_TOKENS,
    ),
    # <https://docs.fireworks.ai/tools-sdks/openai-compatibility>
    Vendor(name="Fireworks", hosts=("api.fireworks.ai",), lacks=_COUNT),
    Vendor(
        # <https://openrouter.ai/docs/use-cases/reasoning-tokens>: one member for every model.
        name="OpenRouter",
        hosts=("openrouter.ai",),
        lacks=_COUNT,
        reasoning="reasoning",
        reasoning_history="reasoning",
    ),
    Vendor(
        # <https://docs.ollama.com/api/openai-compatibility>. Its responses (since 0.13.3) keep nothing; older servers
        # answer 404.
        name="Ollama",
        hosts=("ollama.com",),
        lacks=_RESPONSES,
        refuses=frozenset(("logit_bias", "n", "user")),
        renamed=_MAX_TOKENS,
        reasoning_history="reasoning",
    ),
    # <https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html>
    Vendor(name="vLLM", lacks=_COUNT, reasoning="chat_template_kwargs"),
    # <https://docs.sglang.ai/basic_usage/openai_api_completions.html>
    Vendor(name="SGLang", lacks=_COUNT, reasoning="chat_template_kwargs"),
    # <https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md>. Older servers have no responses.
    Vendor(name="LlamaCpp", lacks=_RESPONSES, reasoning="chat_template_kwargs"),
    # <https://lmstudio.ai/docs/developer/openai-compat>
    Vendor(name="LMStudio", lacks=_COUNT),
    Vendor(
        # <https://inference-docs.cerebras.ai/resources/openai>
        name="Cerebras",
        hosts=("api.cerebras.ai",),
        lacks=_RESPONSES,
        refuses=frozenset(("frequency_penalty", "presence_penalty", "logit_bias")),
        reasoning_history="reasoning",
    ),
    # <https://docs.sambanova.ai/docs/en/features/openai-compatibility>
    Vendor(name="SambaNova", hosts=("api.sambanova.ai",), lacks=_RESPONSES, renamed=_MAX_TOKENS),
    # <https://docs.api.nvidia.com/nim/reference/llm-apis>
    Vendor(name="NVIDIA", hosts=("integrate.api.nvidia.com",), lacks=_RESPONSES, renamed=_MAX_TOKENS),
    # <https://huggingface.co/docs/inference-providers>
    Vendor(name="HuggingFace", hosts=("router.huggingface.co",), lacks=_COUNT | _COMPLETIONS),
    Vendor(
        # <https://platform.kimi.ai/docs/api/overview>, `.../docs/guide/migrating-from-openai-to-kimi`. A call cannot be
        # forced, least of all while its models think, as the newer ones do.
        name="Moonshot",
        hosts=("api.moonshot.ai", "api.moonshot.cn"),
        lacks=_COUNT | _COMPLETIONS,
        refuses=frozenset(("logit_bias",)),
        renamed=_MAX_COMPLETION_TOKENS,
        tool_choices=frozenset(("none", "auto")),
    ),
    Vendor(
        # <https://docs.z.ai/api-reference/llm/chat-completion>
        name="ZAI",
        hosts=("api.z.ai", "open.bigmodel.cn"),
        lacks=_RESPONSES | _COMPLETIONS,
        refuses=_UNHEEDED,
        renamed=_MAX_TOKENS,
        named_messages=False,
        tool_choices=_AUTO,
        usage_unasked=True,
    ),
    Vendor(
        # <https://www.alibabacloud.com/help/en/model-studio/deep-thinking>. Its responses are not asked: they ignore
        # what they do not know, `instructions` among it. Workspaces have hosts of their own.
        name="DashScope",
        hosts=(
            "dashscope.aliyuncs.com",
            "dashscope-intl.aliyuncs.com",
            "dashscope-us.aliyuncs.com",
            "maas.aliyuncs.com",
        ),
        lacks=_RESPONSES | _COMPLETIONS,
        renamed=_MAX_TOKENS,
        reasoning="enable_thinking",
        reasoning_history="reasoning_content",
        forces_while_thinking=False,
    ),
    Vendor(
        # <https://platform.minimax.io/docs/api-reference/text-openai-api>. What most of its models think stands in the
        # text, between tags, and goes back so.
        name="MiniMax",
        hosts=("api.minimax.io", "api.minimaxi.com"),
        lacks=_COUNT | _COMPLETIONS,
        refuses=_UNHEEDED,
        renamed=_MAX_COMPLETION_TOKENS,
        reasoning_history="think_tags",
    ),
    Vendor(
        # <https://docs.perplexity.ai/docs/sonar/openai-compatibility>. Chat is at `/chat/completions`, with no version
        # before it. Its responses ask other models than Sonar.
        name="Perplexity",
        hosts=("api.perplexity.ai",),
        lacks=_RESPONSES | _COMPLETIONS,
        refuses=_UNHEEDED,
        renamed=_MAX_TOKENS,
        usage_unasked=True,
    ),
    Vendor(
        # <https://deepinfra.com/docs/openai_api>, `.../docs/advanced/function_calling`
        name="DeepInfra",
        hosts=("api.deepinfra.com",),
        lacks=_RESPONSES,
        renamed=_MAX_TOKENS,
        tool_choices=frozenset(("none", "auto")),
    ),
    # <https://docs.baseten.co/development/model-apis/overview>
    Vendor(name="Baseten", hosts=("inference.baseten.co",), lacks=_RESPONSES, renamed=_MAX_TOKENS),
    # <https://docs.tokenfactory.nebius.com>
    Vendor(
        name="Nebius",
        hosts=("api.tokenfactory.nebius.com", "api.studio.nebius.com", "api.studio.nebius.ai"),
        lacks=_RESPONSES,
        renamed=_MAX_TOKENS,
    ),
    # <https://docs.hyperbolic.xyz/docs/rest-api>
    Vendor(name="Hyperbolic", hosts=("api.hyperbolic.xyz",), lacks=_RESPONSES, renamed=_MAX_TOKENS),
    # <https://novita.ai/docs/api-reference/model-apis-llm-create-chat-completion>
    Vendor(name="Novita", hosts=("api.novita.ai",), lacks=_RESPONSES, renamed=_MAX_TOKENS),
    # <https://docs.github.com/en/rest/models/inference>
    Vendor(name="GitHubModels", hosts=("models.github.ai",), lacks=_RESPONSES | _COMPLETIONS),
    # <https://developers.cloudflare.com/workers-ai/configuration/open-ai-compatibility/>
    Vendor(name="Cloudflare", hosts=("api.cloudflare.com",), lacks=_COUNT | _COMPLETIONS, renamed=_MAX_TOKENS),
    Vendor(
        # <https://docs.databricks.com/aws/en/machine-learning/foundation-model-apis/api-reference>. Its responses serve
        # OpenAI's models alone.
        name="Databricks",
        hosts=("cloud.databricks.com", "gcp.databricks.com", "azuredatabricks.net"),
        lacks=_RESPONSES,
        renamed=_MAX_TOKENS,
    ),
    Vendor(
        # <https://docs.snowflake.com/en/user-guide/snowflake-cortex/cortex-rest-api>: at `/api/v2/cortex/v1`. It does
        # not heed `max_tokens`, and writes 4,096 then.
        name="Snowflake",
        hosts=("snowflakecomputing.com",),
        lacks=_RESPONSES | _COMPLETIONS,
        renamed=_MAX_COMPLETION_TOKENS,
    ),
    # <https://console.upstage.ai/docs/capabilities/generate/chat>
    Vendor(name="Upstage", hosts=("api.upstage.ai",), lacks=_COUNT | _COMPLETIONS),
    Vendor(
        # <https://vercel.com/docs/ai-gateway/sdks-and-apis/openai-chat-completions>: one member for every model.
        name="Vercel",
        hosts=("ai-gateway.vercel.sh",),
        lacks=_COUNT | _COMPLETIONS,
        reasoning="reasoning",
        reasoning_history="reasoning",
    ),
    # <https://docs.ai21.com/reference/jamba-1-6-api-ref>: at `/studio/v1`.
    Vendor(name="AI21", hosts=("api.ai21.com",), lacks=_RESPONSES | _COMPLETIONS, renamed=_MAX_TOKENS),
    # <https://docs.oracle.com/en-us/iaas/Content/generative-ai/openai-compatible-api.htm>: at `/openai/v1`.
    Vendor(name="OCI", hosts=("oci.oraclecloud.com",), lacks=_COUNT | _COMPLETIONS),
    # <https://www.ibm.com/docs/en/watsonx/saas?topic=generation-inferencing-gateway-models>: at `/ml/gateway/v1`.
    Vendor(name="Watsonx", hosts=("ml.cloud.ibm.com",), lacks=_RESPONSES),
    # What embeds and ranks alone. In which words: `operations/embeddings/openai_words`, `operations/rerank/vendors`.
    # <https://docs.voyageai.com/reference>; MongoDB's keys are taken at a host name of theirs.
    Vendor(name="Voyage", hosts=("api.voyageai.com", "ai.mongodb.com"), lacks=_RESPONSES | _COMPLETIONS),
    # <https://api.jina.ai/redoc>. Its chat (DeepSearch) is at another host name.
    Vendor(name="Jina", hosts=("api.jina.ai",), lacks=_RESPONSES | _COMPLETIONS),
    # <https://huggingface.github.io/text-embeddings-inference>, with prefix `/`: it ranks at no other place.
    Vendor(name="TEI", lacks=_RESPONSES | _COMPLETIONS),
    # <https://michaelfeil.eu/infinity>, with prefix `/` unless it was started with another.
    Vendor(name="Infinity", lacks=_RESPONSES | _COMPLETIONS),
)

BY_NAME: Final = MappingProxyType({vendor.name: vendor for vendor in VENDORS})

UNKNOWN: Final = Vendor(name="")


def vendor_named(name: str) -> Vendor:
    """The vendor of that name; one that deviates nowhere for a name nobody knows."""
    return BY_NAME.get(name, UNKNOWN)


def vendor_at(hosts: Iterable[str]) -> str:
    """The name of the vendor whose host names these are; empty where none is known."""
    return next((name for host in hosts if (name := _vendor_of(host))), "")


@lru_cache(maxsize=4096)
def _vendor_of(host: str) -> str:
    name = host.partition(":")[0].rstrip(".").lower()
    for vendor in VENDORS:
        if any(name == known or name.endswith(f".{known}") for known in vendor.hosts):
            return vendor.name
    return ""
