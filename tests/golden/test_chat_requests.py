"""Every recorded request, as each target would receive it. The provider's own SDK types judge what we send."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from headgate.llm.names import DialectName
from support.chat_goldens import OTHER, bridge, cases
from support.providers.checking import anthropic_messages_rules, openai_chat_rules, sdk_problems

# Which targets each case covers: by default the first of its dialect's. `name@host` is the golden file's; then facts.
TARGETS: dict[str, dict[str, dict[str, str]]] = {
    DialectName.OPENAI_CHAT: {
        "direct": {"model": "claude-sonnet-4-5"},
        "direct-old": {"model": "claude-3-5-haiku-20241022"},
        "direct-manual": {"model": "claude-sonnet-4-20250514"},
        "direct-adaptive": {"model": "claude-opus-4-6"},
        "direct-newest": {"model": "claude-opus-4-8", "version": "2024-01-01"},
        "direct-emulate": {"model": "claude-3-5-haiku-20241022", "losses": "emulate"},
    },
    DialectName.ANTHROPIC_MESSAGES: {
        "direct": {"model": "gpt-4o"},
        "direct-reasoning": {"model": "gpt-5"},
        "direct-compatible": {"model": "llama-3.3-70b", "prefix": "/openai/v1"},
        "azure": {"model": "my deployment", "host": "azure", "version": "2024-10-21"},
        "azure-v1": {"model": "gpt-4.1", "host": "azure", "version": "v1"},
    },
}
COVERS: dict[str, tuple[str, ...]] = {
    "openai-chat/minimal": ("direct", "direct-newest"),
    "openai-chat/json_schema": ("direct", "direct-old", "direct-emulate"),
    "openai-chat/json_object": ("direct", "direct-emulate"),
    "openai-chat/reasoning_effort": (
        "direct",
        "direct-old",
        "direct-manual",
        "direct-adaptive",
        "direct-newest",
    ),
    "openai-chat/reasoning_minimal_with_forced_tool": ("direct", "direct-adaptive"),
    "openai-chat/reasoning_none": ("direct", "direct-newest"),
    "openai-chat/thinking_enabled": ("direct", "direct-old", "direct-newest"),
    "openai-chat/thinking_round_trip": ("direct", "direct-adaptive"),
    "openai-chat/thinking_unsigned": ("direct", "direct-adaptive"),
    "openai-chat/every_sampling_parameter": ("direct", "direct-old", "direct-newest"),
    "openai-chat/tool_choice_named": ("direct", "direct-old"),
    "anthropic-messages/minimal": ("direct", "direct-reasoning", "direct-compatible", "azure", "azure-v1"),
    "anthropic-messages/thinking": ("direct", "direct-reasoning", "direct-compatible"),
    "anthropic-messages/thinking_adaptive_effort": ("direct", "direct-reasoning", "direct-compatible"),
    "anthropic-messages/thinking_disabled": ("direct", "direct-reasoning", "direct-compatible"),
    "anthropic-messages/every_parameter": ("direct", "direct-reasoning", "direct-compatible"),
}

SDK_TYPES: dict[str, str] = {
    DialectName.OPENAI_CHAT: "openai.types.chat.completion_create_params.CompletionCreateParams",
    DialectName.ANTHROPIC_MESSAGES: "anthropic.types.message_create_params.MessageCreateParams",
}
RULES: dict[str, Callable[[dict[str, Any]], Iterator[str]]] = {
    DialectName.OPENAI_CHAT: openai_chat_rules,
    DialectName.ANTHROPIC_MESSAGES: anthropic_messages_rules,
}


def _rows() -> Iterator[Any]:
    for dialect, path in cases("requests", ".json"):
        for target in COVERS.get(f"{dialect}/{path.stem}", ("direct",)):
            yield pytest.param(dialect, path, target, id=f"{dialect}-{path.stem}-{target}")


@pytest.mark.parametrize(("dialect", "path", "target"), list(_rows()))
def test_request(dialect: str, path: Path, target: str, golden: Callable[[Path, bytes], None]) -> None:
    plan = bridge(dialect, **TARGETS[dialect][target])
    request = plan.translate_request(path.read_bytes(), {})
    other = OTHER[dialect]

    written = {
        "path": request.path,
        "headers": request.headers,
        "remove_headers": request.remove_headers,
        "body": msgspec.Raw(request.body),
        "losses": request.losses,
        "memo": request.memo,
    }
    text = msgspec.json.format(msgspec.json.encode(written), indent=2) + b"\n"
    golden(path.with_name(f"{path.stem}.to.{other}@{target}.json"), text)

    judged = _without_sampling(request.body) if other == DialectName.ANTHROPIC_MESSAGES else request.body
    assert sdk_problems(SDK_TYPES[other], judged) == []
    assert list(RULES[other](msgspec.json.decode(request.body))) == []
    again = plan.translate_request(path.read_bytes(), {})
    assert again.body == request.body


def _without_sampling(body: bytes) -> bytes:
    """Anthropic's SDK no longer has types for what its newest models do not take; the older models still do."""
    members = msgspec.json.decode(body)
    for name in ("temperature", "top_p", "top_k"):
        members.pop(name, None)
    return msgspec.json.encode(members)


def test_every_row_of_the_table_is_a_case() -> None:
    known = {f"{dialect}/{path.stem}" for dialect, path in cases("requests", ".json")}

    assert COVERS.keys() <= known
