"""Every recorded stream and error through the bridge, read by the official clients themselves (no network)."""

import json
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import openai
import openai.types.responses
import pytest
from headgate.llm.bridge_stream import StreamTranslation
from headgate.llm.exchange import ResponseTranslation
from headgate.llm.names import DialectName
from headgate.llm.usage import Usage
from support.chat_goldens import CREATED, ask, cases, providers_for, stream_bridge
from support.chat_streams import read_stream, translate_stream


def _told(translation: ResponseTranslation) -> Usage:
    """Usage as its provider reported it: estimates are for the gateway's books."""
    assert isinstance(translation, StreamTranslation)
    return translation.reported


def _answering(body: bytes, *, status: int = 200, headers: dict[str, str]) -> httpx2.Client:
    return httpx2.Client(
        transport=httpx2.MockTransport(lambda _: httpx2.Response(status, headers=headers, content=body))
    )


def _streams(dialect: str) -> list[Any]:
    return [pytest.param(path, id=path.stem) for each, path in cases("streams", ".raw") if each == dialect]


EVENT_STREAM = {"content-type": "text/event-stream"}


@pytest.mark.parametrize("path", _streams(DialectName.OPENAI_CHAT))
def test_anthropic_client_reads_the_stream(path: Path) -> None:
    received, translation = translate_stream(
        DialectName.ANTHROPIC_MESSAGES, DialectName.OPENAI_CHAT, [path.read_bytes()]
    )
    expected = read_stream(DialectName.ANTHROPIC_MESSAGES, received)
    client = anthropic.Anthropic(api_key="k", max_retries=0, http_client=_answering(received, headers=EVENT_STREAM))
    asked: dict[str, Any] = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}

    if expected.failed:
        with pytest.raises(anthropic.APIError), client.messages.stream(**asked) as stream:
            stream.get_final_message()
        return
    with client.messages.stream(**asked) as stream:
        message = stream.get_final_message()

    assert "".join(block.text for block in message.content if block.type == "text") == expected.text
    calls = [block for block in message.content if block.type == "tool_use"]
    assert [(call.id, call.name, call.input) for call in calls] == [
        (call_id, name, json.loads(arguments or "{}")) for call_id, name, arguments in expected.calls
    ]
    usage = _told(translation)
    cached = (message.usage.cache_read_input_tokens or 0) + (message.usage.cache_creation_input_tokens or 0)
    assert message.usage.input_tokens + cached == (usage.input or 0)
    assert message.usage.output_tokens == (usage.output or 0)
    assert message.stop_reason == expected.finish


@pytest.mark.parametrize("path", _streams(DialectName.ANTHROPIC_MESSAGES))
def test_openai_client_reads_the_stream(path: Path) -> None:
    received, translation = translate_stream(
        DialectName.OPENAI_CHAT, DialectName.ANTHROPIC_MESSAGES, [path.read_bytes()]
    )
    expected = read_stream(DialectName.OPENAI_CHAT, received)
    client = openai.OpenAI(
        api_key="k", base_url="http://x", max_retries=0, http_client=_answering(received, headers=EVENT_STREAM)
    )
    asked: dict[str, Any] = {
        "model": "m",
        "messages": [{"role": "user", "content": "Hi"}],
        "stream_options": {"include_usage": True},
    }

    if expected.failed:
        with pytest.raises(openai.APIError), client.chat.completions.stream(**asked) as stream:
            stream.get_final_completion()
        return
    with client.chat.completions.stream(**asked) as stream:
        try:
            completion = stream.get_final_completion()
        except (openai.LengthFinishReasonError, openai.ContentFilterFinishReasonError):
            assert expected.finish in ("length", "content_filter")  # how this client tells them
            return

    message = completion.choices[0].message
    assert (message.content or "") == expected.text
    calls: list[Any] = list(message.tool_calls or ())
    assert [(call.id, call.function.name, call.function.arguments) for call in calls] == expected.calls
    assert completion.usage is not None
    assert completion.usage.prompt_tokens == (_told(translation).input or 0)
    if _told(translation).total is not None:
        assert completion.usage.total_tokens == _told(translation).total


RESPONSES: list[Any] = [
    pytest.param(each, path, id=f"{each}-{path.stem}")
    for each, path in cases("streams", ".raw")
    if each in providers_for(DialectName.OPENAI_RESPONSES)
]


def _responses_client(received: bytes) -> openai.OpenAI:
    http = _answering(received, headers=EVENT_STREAM)
    return openai.OpenAI(api_key="k", base_url="http://x", max_retries=0, http_client=http)


@pytest.mark.parametrize(("provider", "path"), RESPONSES)
def test_responses_client_reads_the_stream(provider: DialectName, path: Path) -> None:
    received, translation = translate_stream(DialectName.OPENAI_RESPONSES, provider, [path.read_bytes()])
    expected = read_stream(DialectName.OPENAI_RESPONSES, received)

    with _responses_client(received).responses.stream(model="m", input="Hi") as stream:
        if expected.failed:
            with pytest.raises(openai.APIError):
                stream.until_done()
            return
        if expected.finish == "incomplete":
            stream.until_done()  # this client has a final response only of what was completed
            return
        response = stream.get_final_response()

    assert response.output_text + _refusal(response) == expected.text
    calls = [item for item in response.output if item.type == "function_call"]
    assert [(call.call_id, call.name, call.arguments) for call in calls] == expected.calls
    assert (response.usage.input_tokens if response.usage is not None else 0) == (_told(translation).input or 0)


def _refusal(response: openai.types.responses.Response) -> str:
    contents = [part for item in response.output if item.type == "message" for part in item.content]
    return "".join(part.refusal for part in contents if part.type == "refusal")


@pytest.mark.parametrize(
    ("provider", "path"),
    [
        pytest.param(each, path, id=f"{each}-{path.stem}")
        for each, path in cases("responses", ".json")
        if each in providers_for(DialectName.OPENAI_RESPONSES)
    ],
)
def test_a_streamed_response_adds_up_to_the_whole_one(provider: DialectName, path: Path) -> None:
    plan, asked = ask(DialectName.OPENAI_RESPONSES, provider)
    translation = plan.open_response(asked, 200, {"content-type": "application/json"}, CREATED)
    translation.feed(path.read_bytes())
    whole = openai.types.responses.Response.model_validate_json(translation.close(), strict=True)
    plan, asked = stream_bridge(DialectName.OPENAI_RESPONSES, provider)
    translation = plan.open_response(asked, 200, {"content-type": "application/json"}, CREATED)
    received = translation.feed(path.read_bytes()) + translation.close()

    with _responses_client(received).responses.stream(model="m", input="Hi") as stream:
        if whole.status == "incomplete":
            stream.until_done()
            return
        final = stream.get_final_response()

    assert _said(final) == _said(whole)


def _said(response: openai.types.responses.Response) -> dict[str, Any]:
    """Without what the client's helper adds: parsed contents."""
    dumped = response.model_dump(exclude_none=True)
    for item in dumped["output"]:
        item.pop("parsed_arguments", None)
        for part in item.get("content", ()):
            part.pop("parsed", None)
    return dumped


CLIENT_OF = {
    DialectName.OPENAI_CHAT: DialectName.ANTHROPIC_MESSAGES,
    DialectName.ANTHROPIC_MESSAGES: DialectName.OPENAI_CHAT,
}
"""Whose official client reads a provider's errors here."""

STATUS_ERRORS: dict[int, str] = {
    400: "BadRequestError",
    401: "AuthenticationError",
    403: "PermissionDeniedError",
    404: "NotFoundError",
    413: "APIStatusError",
    422: "UnprocessableEntityError",
    429: "RateLimitError",
}


@pytest.mark.parametrize(
    ("dialect", "path"),
    [
        pytest.param(each, path, id=f"{each}-{path.stem}")
        for each, path in cases("errors", ".json")
        if each in CLIENT_OF
    ],
)
def test_a_client_raises_what_the_provider_said(dialect: DialectName, path: Path) -> None:
    recorded = json.loads(path.read_text())
    body = recorded["body"]
    plan, asked = ask(CLIENT_OF[dialect], dialect)
    translation = plan.open_response(asked, recorded["status"], recorded["headers"], CREATED)
    translation.feed(body.encode() if isinstance(body, str) else json.dumps(body).encode())
    headers = {**recorded["headers"], **translation.headers}
    http = _answering(translation.close(), status=recorded["status"], headers=headers)

    if dialect == DialectName.OPENAI_CHAT:
        with pytest.raises(anthropic.APIStatusError) as raised:
            anthropic.Anthropic(api_key="k", max_retries=0, http_client=http).messages.create(
                model="m", max_tokens=9, messages=[{"role": "user", "content": "Hi"}]
            )
    else:
        with pytest.raises(openai.APIStatusError) as raised:
            openai.OpenAI(api_key="k", base_url="http://x", max_retries=0, http_client=http).chat.completions.create(
                model="m", messages=[{"role": "user", "content": "Hi"}]
            )

    error = raised.value
    assert error.status_code == recorded["status"]
    names = [each.__name__ for each in type(error).__mro__]
    assert STATUS_ERRORS.get(recorded["status"], "APIStatusError") in names
    sent_id = recorded["headers"].get("request-id") or recorded["headers"].get("x-request-id")
    assert error.request_id == sent_id
