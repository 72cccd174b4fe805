"""Headgate's own kinds, group `headgate.dev`: what upstream's API has no word for. All attach to upstream's objects."""

from collections.abc import Iterator
from typing import Annotated, Literal

import msgspec
from headgate.compiler.resources.ai_gateway import GROUP as AI_GROUP
from headgate.compiler.resources.metadata import Name63, Name253, Resource, Struct, Violation
from headgate.compiler.resources.quantities import INT32_MAX, Group

GROUP = "headgate.dev"


class TranslationTarget(Struct, frozen=True, kw_only=True):
    """Names a backend in the policy's namespace."""

    group: Group
    """`aigateway.envoyproxy.io`."""
    kind: Name63
    """`AIServiceBackend`."""
    name: Name253
    """Name of the backend."""


class TranslationBackend(Struct, frozen=True, kw_only=True):
    """What a backend speaks, where its API schema has no name for it."""

    dialect: Literal["Schema", "OpenAIResponses", "Gemini"] = "Schema"
    """`Schema`: what the backend's API schema says. `OpenAIResponses`: a server that has `/v1/responses` and no other
    chat. `Gemini`: Google's Gemini API, as AI Studio serves it (prefix `v1beta`)."""
    vendor: Literal[
        "Auto",
        "OpenAI",
        "ChatCompletions",
        "Mistral",
        "Groq",
        "DeepSeek",
        "xAI",
        "Together",
        "Fireworks",
        "OpenRouter",
        "Ollama",
        "vLLM",
        "SGLang",
        "LlamaCpp",
        "LMStudio",
        "Cerebras",
        "SambaNova",
        "NVIDIA",
        "HuggingFace",
        "Moonshot",
        "ZAI",
        "DashScope",
        "MiniMax",
        "Perplexity",
        "DeepInfra",
        "Baseten",
        "Nebius",
        "Hyperbolic",
        "Novita",
        "GitHubModels",
        "Cloudflare",
        "Databricks",
        "Snowflake",
        "Upstage",
        "Vercel",
        "AI21",
        "OCI",
        "Watsonx",
        "Voyage",
        "Jina",
        "TEI",
        "Infinity",
    ] = "Auto"
    """Whose server speaks OpenAI's dialect: decides which of OpenAI's paths it lacks (they are translated to chat
    completions) and which parameters it refuses. `Auto`: as the host name tells. `ChatCompletions`: a server of which
    nothing else is known. `OpenAI`: one that lacks nothing."""


class ThinkingBudget(Struct, frozen=True, kw_only=True):
    """Tokens of thinking that a model takes."""

    minimum: Annotated[int, msgspec.Meta(ge=0, le=INT32_MAX)]
    """The least."""
    maximum: Annotated[int, msgspec.Meta(ge=1, le=INT32_MAX)]
    """The most."""

    def violations(self) -> Iterator[Violation]:
        if self.minimum > self.maximum:
            yield Violation("minimum must not be above maximum", "minimum", f"minimum: {self.maximum}")


class TranslationModel(Struct, frozen=True, kw_only=True):
    """What models of one name take. What is not said stays as Headgate knows it of the model's family."""

    match: Annotated[str, msgspec.Meta(min_length=1, max_length=253)]
    """Part of the model's name as the provider gets it, whatever its case; of several rows the first that matches
    counts."""
    like: Annotated[str, msgspec.Meta(max_length=253)] = ""
    """Name of a model that Headgate knows, whose facts are taken for this one's; what else is said here changes
    them."""
    max_output_tokens: Annotated[int, msgspec.Meta(ge=1, le=INT32_MAX)] | None = None
    """The most tokens it writes. Larger limits are lowered to it where the provider would refuse them; it is the limit
    where the provider insists on one and the client set none."""
    max_completion_tokens: bool | None = None
    """OpenAI's dialect: whether it takes `max_completion_tokens`; otherwise `max_tokens` is sent."""
    efforts: (
        Annotated[
            tuple[Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"], ...],
            msgspec.Meta(max_length=7),
        ]
        | None
    ) = None
    """Words for how much to reason that it takes, from little to much; an empty list if it takes none."""
    thinking: Literal["None", "Budget", "Adaptive", "Both"] | None = None
    """How it is told to think: not at all, by a budget of tokens, by being left to decide, or either way."""
    thinking_budget: ThinkingBudget | None = None
    """Gemini's dialect: the budgets it takes."""
    structured_output: bool | None = None
    """Whether its answer can be held to a JSON schema."""
    sampling: bool | None = None
    """Whether it takes `temperature`, `top_p` and the like."""
    developer_role: bool | None = None
    """OpenAI's dialect: whether it knows messages of the role `developer`."""
    stop_sequences: Annotated[int, msgspec.Meta(ge=0, le=INT32_MAX)] | None = None
    """OpenAI's dialect: how many stop sequences it takes."""
    web_search: bool | None = None
    """Whether it searches the web by itself."""
    images: bool | None = None
    """Cohere's dialect: whether it takes images."""


class TranslationPolicySpec(Struct, frozen=True, kw_only=True):
    """How requests are translated for backends."""

    target_refs: Annotated[tuple[TranslationTarget, ...], msgspec.Meta(min_length=1, max_length=16)]
    """Backends; each may have one policy. Of two the older counts, and the other is reported."""
    lane: Literal["Auto", "ExtProc"] = "Auto"
    """`Auto`: Envoy serves a request by itself where client and backend speak the same dialect, and the processor
    translates where they do not. `ExtProc`: chat completions and messages go through the processor in any case, which
    costs more CPU for each request."""
    losses: Literal["Report", "Reject", "Emulate"] = "Report"
    """What becomes of that in a request which the backend's dialect cannot say. `Report`: it is left out, and the
    answer's header `x-headgate-losses` says so. `Reject`: the request is refused, with its place. `Emulate`: what other
    means can do is done so (a JSON schema by a forced tool), and all is reported."""
    response_model: Literal["Provider", "Requested"] = "Provider"
    """Which model the answers to chats name. `Provider`: as the backend calls it. `Requested`: as the client asked for
    it, for clients that compare the two; chats go through the processor then. Records and prices go by the backend's
    name either way."""
    backend: TranslationBackend = TranslationBackend()
    """What the backends speak, where their schema and host name do not tell."""
    models: Annotated[tuple[TranslationModel, ...], msgspec.Meta(max_length=64)] = ()
    """What their models take, where Headgate does not know them or knows them otherwise: a model that is new is a row
    here."""

    def violations(self) -> Iterator[Violation]:
        for index, target in enumerate(self.target_refs):
            if (target.group, target.kind) != (AI_GROUP, "AIServiceBackend"):
                message = "this policy can only target an AIServiceBackend"
                yield Violation(message, f"targetRefs[{index}]", f"group: {AI_GROUP}, kind: AIServiceBackend")


class TranslationPolicy(Resource, frozen=True, kw_only=True):
    """Decides how requests are translated for backends: by whom, and what happens to what cannot be said."""

    spec: TranslationPolicySpec
