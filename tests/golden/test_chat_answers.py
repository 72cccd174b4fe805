"""Every recorded answer and error, as a client of the other dialect would receive it. The client's SDK judges it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anthropic.types
import msgspec
import openai.types.chat
import pytest
from headgate.llm.errors import UpstreamError
from headgate.llm.exchange import UpstreamRequest
from headgate.llm.names import DialectName
from pydantic import BaseModel
from support.chat_goldens import CREATED, OTHER, bridge, cases

Golden = Callable[[Path, bytes], None]

ANSWER_TYPES: dict[str, type[BaseModel]] = {
    DialectName.OPENAI_CHAT: openai.types.chat.ChatCompletion,
    DialectName.ANTHROPIC_MESSAGES: anthropic.types.Message,
}

MINIMAL: dict[str, bytes] = {
    DialectName.OPENAI_CHAT: b'{"model":"asked","messages":[{"role":"user","content":"Hi"}]}',
    DialectName.ANTHROPIC_MESSAGES: b'{"model":"asked","max_tokens":9,"messages":[{"role":"user","content":"Hi"}]}',
}


def _rows(kind: str) -> list[Any]:
    return [pytest.param(OTHER[dialect], path, id=f"{dialect}-{path.stem}") for dialect, path in cases(kind, ".json")]


def _asked(client: str) -> UpstreamRequest:
    return bridge(client).translate_request(MINIMAL[client], {})


@pytest.mark.parametrize(("client", "path"), _rows("responses"))
def test_response(client: str, path: Path, golden: Golden) -> None:
    translation = bridge(client).open_response(_asked(client), 200, {"content-type": "application/json"}, CREATED)

    assert translation.feed(path.read_bytes()) == b""
    body = translation.close()

    written = {
        "body": msgspec.Raw(body),
        "usage": translation.usage,
        "response_model": translation.response_model,
        "headers": translation.headers,
    }
    text = msgspec.json.format(msgspec.json.encode(written), indent=2) + b"\n"
    golden(path.with_name(f"{path.stem}.to.{client}.json"), text)
    ANSWER_TYPES[client].model_validate_json(body, strict=True)


@pytest.mark.parametrize(("client", "path"), _rows("errors"))
def test_error(client: str, path: Path, golden: Golden) -> None:
    recorded = json.loads(path.read_text())
    body = recorded["body"]
    raw = body.encode() if isinstance(body, str) else json.dumps(body).encode()

    translation = bridge(client).open_response(_asked(client), recorded["status"], recorded["headers"], CREATED)
    translation.feed(raw)
    written = {"body": msgspec.Raw(translation.close()), "headers": translation.headers}

    text = msgspec.json.format(msgspec.json.encode(written), indent=2) + b"\n"
    golden(path.with_name(f"{path.stem}.to.{client}.json"), text)


@pytest.mark.parametrize("client", OTHER)
@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"{}", b'{"error":{"message":"x"}}', b"<html>", b'{"id":"'])
def test_an_answer_that_is_none_is_the_providers_fault(client: str, body: bytes) -> None:
    translation = bridge(client).open_response(_asked(client), 200, {}, CREATED)
    translation.feed(body)

    with pytest.raises(UpstreamError):
        translation.close()
