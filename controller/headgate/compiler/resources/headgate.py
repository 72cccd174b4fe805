"""Headgate's own kinds, group `headgate.dev`: what upstream's API has no word for. All attach to upstream's objects."""

from collections.abc import Iterator
from typing import Annotated, Literal

import msgspec
from headgate.compiler.resources.ai_gateway import GROUP as AI_GROUP
from headgate.compiler.resources.metadata import Name63, Name253, Resource, Struct, Violation
from headgate.compiler.resources.quantities import Group

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
    ] = "Auto"
    """Whose server speaks OpenAI's dialect: decides which of OpenAI's paths it lacks (they are translated to chat
    completions) and which parameters it refuses. `Auto`: as the host name tells. `ChatCompletions`: a server of which
    nothing else is known. `OpenAI`: one that lacks nothing."""


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
    backend: TranslationBackend = TranslationBackend()
    """What the backends speak, where their schema and host name do not tell."""

    def violations(self) -> Iterator[Violation]:
        for index, target in enumerate(self.target_refs):
            if (target.group, target.kind) != (AI_GROUP, "AIServiceBackend"):
                message = "this policy can only target an AIServiceBackend"
                yield Violation(message, f"targetRefs[{index}]", f"group: {AI_GROUP}, kind: AIServiceBackend")


class TranslationPolicy(Resource, frozen=True, kw_only=True):
    """Decides how requests are translated for backends: by whom, and what happens to what cannot be said."""

    spec: TranslationPolicySpec
