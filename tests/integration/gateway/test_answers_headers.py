"""What a provider's answer may bring to a client: nothing under names that the gateway speaks by."""

from typing import Any

import pytest
from headgate.contract.headers import (
    BEGAN,
    COUNT_SOURCE,
    INTERNAL_PREFIXES,
    LIMIT_WARNING,
    LOSSES,
    MODEL,
    ORIGINAL_PATH,
    PROMPT_TOKENS,
)
from support.providers import Answer, Failure
from support.stage import Stage

pytestmark = pytest.mark.envoy

NAMES = (LOSSES, COUNT_SOURCE, LIMIT_WARNING, BEGAN, MODEL, ORIGINAL_PATH, PROMPT_TOKENS, "x-headgate-client")
SPOOFED = {name.title(): "spoofed" for name in (*NAMES, *(f"{prefix}invented" for prefix in INTERNAL_PREFIXES))}
LOSSY: dict[str, Any] = {"seed": 1}
"""What Claude cannot be asked."""


def said_by_the_gateway(answer: Any) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name.startswith(INTERNAL_PREFIXES)}


@pytest.mark.parametrize("reply", [Answer(headers=SPOOFED), Failure(404, headers=SPOOFED)], ids=["answer", "error"])
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("model", ["gpt", "renamed", "native-native", "claude"])
def test_a_provider_does_not_speak_as_the_gateway(stage: Stage, model: str, streamed: bool, reply: Any) -> None:
    """In the native lane, also where a script changes the request or several backends are there, and translated."""
    for provider in ("openai", "anthropic"):
        stage[provider].answer(reply)
    answer = stage.chat(model, stream=streamed)
    assert answer.status_code == (200 if isinstance(reply, Answer) else 404)
    assert said_by_the_gateway(answer) == {}


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_what_the_gateway_says_itself_comes_through(stage: Stage, streamed: bool) -> None:
    stage["anthropic"].answer(Answer(headers=SPOOFED))
    said = said_by_the_gateway(stage.chat("claude", stream=streamed, **LOSSY))
    assert set(said) == {LOSSES}
    assert said[LOSSES].startswith("seed;")


def test_losses_are_those_of_the_attempt_that_answered(stage: Stage) -> None:
    stage["anthropic"].answer(Failure(429))
    answer = stage.chat("translated-native", **LOSSY)
    assert answer.status_code == 200
    assert stage["openai"].last.json["seed"] == 1
    assert said_by_the_gateway(answer) == {}
