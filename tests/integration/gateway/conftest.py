"""One gateway for the tests that need no configuration of their own: several providers, a rule per use.

Models are named after what their rule shows.
"""

from collections.abc import Iterator
from typing import Any

import pytest
from support import manifests
from support.manifests import Document, backend, ref, route, rule
from support.ports import free_port
from support.providers import ANTHROPIC, AZURE_OPENAI, OPENAI, Provider
from support.providers.openai_api import OpenAIApi
from support.stage import Stage

DEPLOYED = OpenAIApi(prefix="/llm/api", credential_header="authorization", credential_format="Bearer {}")
"""OpenAI's API under another path, as vLLM and many vendors serve it."""

CACHED = {"set": [{"path": "cache_control", "value": '{"type": "ephemeral"}'}]}
"""Has Claude cache the prompts of clients who do not ask it to."""


def _backends(stage: Stage, refused_port: int) -> list[Document]:
    openai, anthropic = stage["openai"].port, stage["anthropic"].port
    mutated: dict[str, Any] = {
        "headerMutation": {
            "set": [{"name": "X-Team", "value": "blue"}, {"name": "openai-organization", "value": "org-1"}],
            "remove": ["x-client-secret"],
        },
        "bodyMutation": {
            "set": [{"path": "service_tier", "value": '"flex"'}, {"path": "temperature", "value": "0.5"}],
            "remove": ["user", "logit_bias"],
        },
    }
    within: dict[str, Any] = {
        "set": [
            {"path": r"metadata.team\.name", "value": "blue"},
            {"path": "web_search_options.user_location.type", "value": "approximate"},
            {"path": "web_search_options.user_location.approximate", "value": '{"city":"Oslo"}'},
        ],
        "remove": ["metadata.user", "stop.x", "prediction.y"],
    }
    return [
        *backend("openai", openai, key="sk-openai"),
        *backend("second", stage["second"].port, key="sk-second"),
        *backend("anthropic", anthropic, "Anthropic", key="sk-anthropic"),
        *backend("azure", stage["azure"].port, "AzureOpenAI", key="sk-azure", schema_fields={"version": "2024-10-21"}),
        *backend("deployed", stage["deployed"].port, key="sk-deployed", schema_fields={"prefix": "/llm/api"}),
        *backend("mutated", openai, key="sk-openai", **mutated),
        *backend("mutated-within", openai, key="sk-openai", bodyMutation=within),
        *backend("cached", anthropic, "Anthropic", key="sk-anthropic", bodyMutation=CACHED),
        *backend("refused", refused_port, key="sk-refused"),
        *backend("keyless", stage["second"].port),
    ]


def _native_rules() -> list[Document]:
    route_mutation = {"headerMutation": {"set": [{"name": "x-team", "value": "red"}]}}
    return [
        rule("gpt", ref("openai")),
        rule("claude", ref("anthropic")),
        rule("azure", ref("azure")),
        rule("renamed", ref("openai", modelNameOverride='real "model"')),
        rule("deployed", ref("deployed")),
        rule("mutated", ref("mutated")),
        rule("mutated-by-rule", ref("mutated", **route_mutation)),
        rule("slow", ref("openai"), timeouts={"request": "300ms"}),
        rule("slow-claude", ref("anthropic"), timeouts={"request": "300ms"}),
        rule("renamed-claude", ref("anthropic", modelNameOverride="claude-opus-5")),
        rule("renamed-azure", ref("azure", modelNameOverride="my deployment/1")),
        rule("cached-claude", ref("cached")),
        rule("mutated-within", ref("mutated-within")),
    ]


def _failover_rules() -> list[Document]:
    by_rule = {"headerMutation": {"set": [{"name": "x-first", "value": "1"}], "remove": ["x-kept"]}}
    return [
        rule("native-native", ref("openai"), ref("second", priority=1)),
        rule("native-translated", ref("openai"), ref("anthropic", priority=1)),
        rule("translated-native", ref("anthropic"), ref("openai", priority=1)),
        rule("claude-then-azure", ref("anthropic"), ref("azure", priority=1, modelNameOverride="gpt-4o")),
        rule("refused-first", ref("refused"), ref("second", priority=1)),
        rule(
            "hangs-first",
            ref("openai"),
            ref("second", priority=1),
            timeouts={"request": "10s", "backendRequest": "300ms"},
        ),
        rule("three", ref("openai"), ref("anthropic", priority=1), ref("second", priority=2)),
        rule("mutated-first", ref("openai", **by_rule), ref("second", priority=1, modelNameOverride="other")),
        rule(
            "renamed-first",
            ref("openai", modelNameOverride="first"),
            ref("anthropic", priority=1, modelNameOverride="second"),
            ref("second", priority=2),
        ),
        rule("weighted", ref("openai", weight=3), ref("second", weight=1), ref("azure", weight=0)),
        rule("weighted-then", ref("openai", weight=1), ref("second", weight=1), ref("anthropic", priority=1)),
    ]


def _priced_rules() -> list[Document]:
    return [
        rule("priced", ref("openai")),
        rule("priced-claude", ref("anthropic")),
        rule("priced-renamed", ref("openai", modelNameOverride="dear")),
    ]


PRICES = {
    "input": "InputToken",
    "cached": "CachedInputToken",
    "created": "CacheCreationInputToken",
    "output": "OutputToken",
    "total": "TotalToken",
    "reasoning": "ReasoningToken",
    "weighed": "input_tokens + 3u * output_tokens",
    "named": "model == 'dear' && backend.contains('openai') && route_name == 'default/priced' ? 7u : 1u",
}


@pytest.fixture(scope="session")
def standard_stage() -> Iterator[Stage]:
    """The running gateway; tests ask for `stage`, which starts clean."""
    providers = {
        "openai": Provider(OPENAI, key="sk-openai"),
        "second": Provider(OPENAI, key="sk-second"),
        "anthropic": Provider(ANTHROPIC, key="sk-anthropic"),
        "azure": Provider(AZURE_OPENAI, key="sk-azure"),
        "deployed": Provider(DEPLOYED, key="sk-deployed"),
    }
    with Stage(**providers) as stage:
        stage.run(
            [
                *manifests.gateway({"port": stage.port}),
                *_backends(stage, free_port()),
                route("native", _native_rules()),
                route("failover", _failover_rules()),
                route("priced", _priced_rules(), **manifests.costs(**PRICES)),
            ]
        )
        yield stage


@pytest.fixture
def stage(standard_stage: Stage) -> Iterator[Stage]:
    """The standard gateway, with providers that remember nothing; afterwards they must have accepted every request."""
    standard_stage.forget()
    yield standard_stage
    standard_stage.check()
