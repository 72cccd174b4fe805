"""Every recorded answer and error, as a client of the other dialect would receive it. The client's SDK judges it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anthropic.types
import cohere.v2.types
import google.genai.types
import msgspec
import openai.types
import openai.types.chat
import openai.types.responses
import pytest
from headgate.llm.errors import UpstreamError
from headgate.llm.names import DialectName
from pydantic import BaseModel
from support import bedrock_sdk
from support.chat_goldens import CLIENTS, CREATED, PAIRS, answer_cells, ask

Golden = Callable[[Path, bytes], None]


def _model(kind: type[BaseModel]) -> Callable[[bytes], Any]:
    return lambda body: kind.model_validate_json(body, strict=True)


ANSWER_READERS: dict[str, Callable[[bytes], Any]] = {
    DialectName.OPENAI_CHAT: _model(openai.types.chat.ChatCompletion),
    DialectName.ANTHROPIC_MESSAGES: _model(anthropic.types.Message),
    DialectName.BEDROCK_CONVERSE: bedrock_sdk.parse_answer,
    DialectName.OPENAI_RESPONSES: _model(openai.types.responses.Response),
    DialectName.COHERE: _model(cohere.v2.types.V2ChatResponse),
    DialectName.GEMINI: _model(google.genai.types.GenerateContentResponse),
    DialectName.OPENAI_COMPLETIONS: _model(openai.types.Completion),
}


def _rows(kind: str) -> list[Any]:
    return [
        pytest.param(provider, path, client, id=f"{provider}-{path.stem}-{client}")
        for provider, path, client in answer_cells(kind, ".json")
    ]


@pytest.mark.parametrize(("provider", "path", "client"), _rows("responses"))
def test_response(provider: DialectName, path: Path, client: DialectName, golden: Golden) -> None:
    plan, request = ask(client, provider)
    headers = {"content-type": "application/json", **CLIENTS[provider].answer_headers}
    translation = plan.open_response(request, 200, headers, CREATED)

    assert translation.feed(path.read_bytes()) == b""
    body = translation.close()

    written: dict[str, object] = {
        "body": msgspec.Raw(body),
        "usage": translation.usage,
        "response_model": translation.response_model,
        "headers": translation.headers,
    }
    if translation.losses:
        written["losses"] = translation.losses
    text = msgspec.json.format(msgspec.json.encode(written), indent=2) + b"\n"
    golden(path.with_name(f"{path.stem}.to.{client}.json"), text)
    ANSWER_READERS[client](body)


@pytest.mark.parametrize(("provider", "path", "client"), _rows("errors"))
def test_error(provider: DialectName, path: Path, client: DialectName, golden: Golden) -> None:
    recorded = json.loads(path.read_text())
    body = recorded["body"]
    raw = body.encode() if isinstance(body, str) else json.dumps(body).encode()

    plan, request = ask(client, provider)
    translation = plan.open_response(request, recorded["status"], recorded["headers"], CREATED)
    translation.feed(raw)
    written = {"body": msgspec.Raw(translation.close()), "headers": translation.headers}

    text = msgspec.json.format(msgspec.json.encode(written), indent=2) + b"\n"
    golden(path.with_name(f"{path.stem}.to.{client}.json"), text)


@pytest.mark.parametrize(("client", "provider"), PAIRS)
@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"{}", b'{"error":{"message":"x"}}', b"<html>", b'{"id":"'])
def test_an_answer_that_is_none_is_the_providers_fault(client: DialectName, provider: DialectName, body: bytes) -> None:
    plan, request = ask(client, provider)
    translation = plan.open_response(request, 200, {}, CREATED)
    translation.feed(body)

    with pytest.raises(UpstreamError):
        translation.close()
