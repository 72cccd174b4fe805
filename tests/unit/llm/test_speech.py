"""Answers that sound, from a Gemini model to OpenAI's clients and from OpenAI's to Gemini's."""

import base64
import io
import json
import wave
from typing import Any, Literal

import pytest
from headgate.llm.canonical import Base64Source, MediaPart
from headgate.llm.dialects.speech import PCM_TYPE, heard
from headgate.llm.exchange import Plan, UpstreamRequest
from headgate.llm.names import DialectName
from support.chat_goldens import CLIENTS, CREATED, bridge

SAMPLES = bytes(range(64))


def _asked(audio_format: str, *, stream: bool = False) -> tuple[Plan, UpstreamRequest]:
    plan = bridge(DialectName.OPENAI_CHAT, DialectName.GEMINI, model="gemini-2.5-flash-preview-tts")
    body = {
        "model": "m",
        "stream": stream,
        "messages": [{"role": "user", "content": "Say hello."}],
        "modalities": ["text", "audio"],
        "audio": {"voice": "Kore", "format": audio_format},
    }
    path = CLIENTS[DialectName.OPENAI_CHAT].path
    return plan, plan.translate_request(json.dumps(body).encode(), {":path": path})


def _spoken(samples: bytes, **members: Any) -> bytes:
    part = {"inlineData": {"mimeType": PCM_TYPE, "data": base64.b64encode(samples).decode()}}
    return json.dumps({"candidates": [{"content": {"role": "model", "parts": [part]}, **members}]}).encode()


@pytest.mark.parametrize("audio_format", ["wav", "mp3"])
def test_samples_become_a_file(audio_format: str) -> None:
    plan, request = _asked(audio_format)
    translation = plan.open_response(request, 200, {"content-type": "application/json"}, CREATED)
    translation.feed(_spoken(SAMPLES, finishReason="STOP"))
    audio = json.loads(translation.close())["choices"][0]["message"]["audio"]

    with wave.open(io.BytesIO(base64.b64decode(audio["data"]))) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 24_000)
        assert file.readframes(file.getnframes()) == SAMPLES


def test_samples_stay_samples_for_whom_asks_for_them() -> None:
    plan, request = _asked("pcm16")
    translation = plan.open_response(request, 200, {"content-type": "application/json"}, CREATED)
    translation.feed(_spoken(SAMPLES, finishReason="STOP"))
    audio = json.loads(translation.close())["choices"][0]["message"]["audio"]

    assert base64.b64decode(audio["data"]) == SAMPLES


@pytest.mark.parametrize("audio_format", ["pcm16", "wav"])
def test_a_stream_is_samples(audio_format: str) -> None:
    plan, request = _asked(audio_format, stream=True)
    translation = plan.open_response(request, 200, {"content-type": "text/event-stream"}, CREATED)
    pieces = (_spoken(SAMPLES[:10]), _spoken(SAMPLES[10:], finishReason="STOP"))
    received = b"".join(translation.feed(b"data: " + piece + b"\r\n\r\n") for piece in pieces) + translation.close()

    chunks = [json.loads(line[6:]) for line in received.splitlines() if line.startswith(b"data: {")]
    deltas = [choice["delta"]["audio"] for chunk in chunks for choice in chunk["choices"] if "audio" in choice["delta"]]
    assert b"".join(base64.b64decode(delta["data"]) for delta in deltas) == SAMPLES
    assert ["id" in delta for delta in deltas] == [True, False]
    told = [loss.path for loss in request.losses]
    assert told == (["audio.format"] if audio_format == "wav" else [])


@pytest.mark.parametrize("media_type", [PCM_TYPE, "audio/l16; rate=16000", "audio/L16"])
def test_the_rate_is_the_providers(media_type: str) -> None:
    part = MediaPart("audio", Base64Source(media_type, base64.b64encode(SAMPLES).decode()), "L16")
    source = heard(part, "wav").source
    assert isinstance(source, Base64Source)

    with wave.open(io.BytesIO(base64.b64decode(source.data))) as file:
        assert file.getframerate() == (16_000 if "16000" in media_type else 24_000)


@pytest.mark.parametrize(("media_type", "data"), [(PCM_TYPE, "no base64!"), ("audio/mp3", "AAAA")])
def test_what_is_no_samples_stays_as_it_came(media_type: str, data: str) -> None:
    kind: Literal["audio"] = "audio"
    part = MediaPart(kind, Base64Source(media_type, data), "x")
    assert heard(part, "wav") == part


def test_a_gemini_client_hears_an_openai_model() -> None:
    plan = bridge(DialectName.GEMINI, DialectName.OPENAI_CHAT, model="gpt-audio")
    body = {
        "contents": [{"role": "user", "parts": [{"text": "Say hello."}]}],
        "generationConfig": {"responseModalities": ["AUDIO"]},
    }
    path = CLIENTS[DialectName.GEMINI].path
    request = plan.translate_request(json.dumps(body).encode(), {":path": path})
    assert json.loads(request.body)["audio"] == {"voice": "alloy", "format": "pcm16"}

    audio = {"id": "a", "data": base64.b64encode(SAMPLES).decode(), "transcript": "Hello.", "expires_at": 1}
    message = {"role": "assistant", "content": None, "audio": audio}
    answer = {"id": "c", "model": "gpt-audio", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    translation = plan.open_response(request, 200, {"content-type": "application/json"}, CREATED)
    translation.feed(json.dumps(answer).encode())
    parts = json.loads(translation.close())["candidates"][0]["content"]["parts"]

    assert parts == [{"text": "Hello."}, {"inlineData": {"mimeType": PCM_TYPE, "data": audio["data"]}}]
