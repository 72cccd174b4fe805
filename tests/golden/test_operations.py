"""Every recorded request of the operations beyond chat as each provider would receive it, and every answer as each
client would. What we send is judged by the provider's own SDK types."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from headgate.llm.errors import TranslationError
from support.operation_goldens import ASKED, CREATED, answers, open_plan, requests
from support.providers.checking import sdk_problems

SDK_TYPES = {
    ("embeddings", "openai-chat"): "openai.types.embedding_create_params.EmbeddingCreateParams",
    ("embeddings", "openai-chat@voyage"): "support.providers.operation_types.VoyageEmbed",
    ("embeddings", "openai-chat@jina"): "support.providers.operation_types.JinaEmbed",
    ("embeddings", "openai-chat@nvidia"): "support.providers.operation_types.NvidiaEmbed",
    ("rerank", "openai-chat@voyage"): "support.providers.operation_types.VoyageRerank",
    ("rerank", "openai-chat@tei"): "support.providers.operation_types.TeiRerank",
    ("embeddings", "cohere"): "support.providers.operation_types.CohereEmbed",
    ("embeddings", "gemini"): "support.providers.operation_types.GeminiEmbed",
}


def _pretty(value: object) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"


def _rows(cells: Any) -> list[Any]:
    return [pytest.param(*cell, id=f"{cell[0]}-{cell[1]}-{cell[2].stem}-{cell[3]}") for cell in cells]


@pytest.mark.parametrize(("operation", "endpoint", "path", "target"), _rows(requests()))
def test_request(operation: str, endpoint: str, path: Path, target: str, golden: Callable[[Path, bytes], None]) -> None:
    plan = open_plan(endpoint, operation, target)
    assert plan is not None
    headers = {":path": ASKED[endpoint].path}
    try:
        request = plan.translate_request(path.read_bytes(), headers)
    except TranslationError as error:
        golden(path.with_name(f"{path.stem}.to.{target}.json"), _pretty({"refused": error.detail()}))
        return
    if request.local is not None:
        written = {"counted_here": request.local.chat, "answer": msgspec.Raw(request.local.answer(42))}
        golden(path.with_name(f"{path.stem}.to.{target}.json"), _pretty(written))
        return
    written = {
        "path": request.path,
        "headers": request.headers,
        "remove_headers": request.remove_headers,
        "body": msgspec.Raw(request.body),
        "losses": request.losses,
    }
    golden(path.with_name(f"{path.stem}.to.{target}.json"), _pretty(written))
    judged = SDK_TYPES.get((operation, target)) or SDK_TYPES.get((operation, target.partition("@")[0]))
    if judged is not None:
        assert sdk_problems(judged, request.body) == []
    assert plan.translate_request(path.read_bytes(), headers).body == request.body


@pytest.mark.parametrize(("operation", "target", "path", "endpoint"), _rows(answers()))
def test_answer(operation: str, target: str, path: Path, endpoint: str, golden: Callable[[Path, bytes], None]) -> None:
    plan = open_plan(endpoint, operation, target)
    assert plan is not None
    asked = ASKED[endpoint]
    recorded = msgspec.json.decode(path.read_bytes())
    try:
        request = plan.translate_request(asked.minimal, {":path": asked.path})
    except TranslationError:
        return  # a pair whose smallest request is refused has no answers
    assert request.local is None, f"{target} answers nothing: it is not asked"
    status, headers = recorded["status"], {"content-type": "application/json", **recorded.get("headers", {})}
    try:
        translation = plan.open_response(request, status, headers, CREATED)
        assert translation.feed(msgspec.json.encode(recorded["body"])) == b""
        body: object = msgspec.Raw(translation.close())
        written = {
            "headers": translation.headers,
            "body": body,
            "usage": translation.usage,
            "model": translation.response_model,
        }
    except TranslationError as error:
        written = {"refused": error.detail()}
    golden(path.with_name(f"{path.stem}.to.{endpoint}.json"), _pretty(written))
