"""Every recorded request, as each target would receive it. The provider's own SDK types judge what we send."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from headgate.llm.names import DialectName
from support import bedrock_sdk
from support.chat_goldens import CLIENTS, COVERS, TARGETS, bridge, cases, request_cells
from support.providers.checking import anthropic_messages_rules, openai_chat_rules, openai_responses_rules, sdk_problems
from support.providers.cohere_types import cohere_rules
from support.providers.gemini_types import gemini_rules

SDK_TYPES: dict[str, str] = {
    DialectName.OPENAI_CHAT: "openai.types.chat.completion_create_params.CompletionCreateParams",
    DialectName.OPENAI_RESPONSES: "openai.types.responses.response_create_params.ResponseCreateParams",
    DialectName.ANTHROPIC_MESSAGES: "anthropic.types.message_create_params.MessageCreateParams",
    DialectName.COHERE: "support.providers.cohere_types.ChatRequest",
    DialectName.GEMINI: "support.providers.gemini_types.GenerateContentRequest",
}
SDK_CHECKS: dict[str, Callable[[bytes], list[str]]] = {DialectName.BEDROCK_CONVERSE: bedrock_sdk.request_problems}
"""Providers whose SDK has no types but a model of its service."""
RULES: dict[str, Callable[[dict[str, Any]], Iterator[str]]] = {
    DialectName.OPENAI_CHAT: openai_chat_rules,
    DialectName.OPENAI_RESPONSES: openai_responses_rules,
    DialectName.ANTHROPIC_MESSAGES: anthropic_messages_rules,
    DialectName.COHERE: cohere_rules,
    DialectName.GEMINI: gemini_rules,
    DialectName.BEDROCK_CONVERSE: bedrock_sdk.converse_rules,
}


def _rows() -> list[Any]:
    return [
        pytest.param(dialect, path, provider, target, id=f"{dialect}-{path.stem}-{provider}-{target}")
        for dialect, path, provider, target in request_cells()
    ]


@pytest.mark.parametrize(("dialect", "path", "provider", "target"), _rows())
def test_request(
    dialect: DialectName, path: Path, provider: DialectName, target: str, golden: Callable[[Path, bytes], None]
) -> None:
    plan = bridge(dialect, provider, **TARGETS[provider][target])
    headers = {":path": CLIENTS[dialect].path}
    request = plan.translate_request(path.read_bytes(), headers)

    written = {
        "path": request.path,
        "headers": request.headers,
        "remove_headers": request.remove_headers,
        "body": msgspec.Raw(request.body),
        "losses": request.losses,
        "memo": request.memo,
    }
    text = msgspec.json.format(msgspec.json.encode(written), indent=2) + b"\n"
    golden(path.with_name(f"{path.stem}.to.{provider}@{target}.json"), text)

    assert _problems(provider, request.body) == []
    assert list(RULES[provider](msgspec.json.decode(request.body))) == []
    again = plan.translate_request(path.read_bytes(), headers)
    assert again.body == request.body


def _problems(provider: DialectName, body: bytes) -> list[str]:
    if provider in SDK_CHECKS:
        return SDK_CHECKS[provider](body)
    judged = _direct_body(body) if provider == DialectName.ANTHROPIC_MESSAGES else body
    return sdk_problems(SDK_TYPES[provider], judged)


def _direct_body(body: bytes) -> bytes:
    """Anthropic's SDK no longer has types for what its newest models do not take; the older models still do. Bedrock's
    and Vertex's envelopes have a version, and the model in the path."""
    members = msgspec.json.decode(body)
    if members.pop("anthropic_version", None):
        members.setdefault("model", "in the path")
    for name in ("temperature", "top_p", "top_k"):
        members.pop(name, None)
    return msgspec.json.encode(members)


def test_every_row_of_the_table_is_a_case() -> None:
    known = {f"{dialect}/{path.stem}" for dialect, path in cases("requests", ".json")}

    assert COVERS.keys() <= known
