"""Grok's models that reason refuse penalties and stop sequences; those that do not take them."""

import json
from typing import Final

import pytest
from headgate.llm.canonical import ChatRequest, Message, Sampling, TextPart
from headgate.llm.dialects.dialect import Target
from headgate.llm.dialects.openai_chat import DIALECT

ASKED: Final = ChatRequest(
    model="asked",
    messages=(Message("user", (TextPart("Hello"),)),),
    sampling=Sampling(temperature=0.5, frequency_penalty=0.1, presence_penalty=0.2),
    stop=("END",),
)
REFUSED: Final = ("frequency_penalty", "presence_penalty", "stop")


@pytest.mark.parametrize("model", ["grok-4", "grok-4.20-reasoning", "grok-4.3", "grok-3-mini", "grok-code-fast-1"])
def test_what_models_that_reason_refuse_is_told(model: str) -> None:
    encoded = DIALECT.encode_request(ASKED, Target(model=model))
    body = json.loads(encoded.body)
    assert not set(REFUSED) & set(body)
    assert body["temperature"] == 0.5
    assert sorted(loss.path for loss in encoded.losses) == sorted(REFUSED)


@pytest.mark.parametrize("model", ["grok-4.20-non-reasoning", "grok-4-fast-non-reasoning", "grok-3"])
def test_what_others_take_is_sent(model: str) -> None:
    encoded = DIALECT.encode_request(ASKED, Target(model=model))
    assert set(REFUSED) <= set(json.loads(encoded.body))
    assert encoded.losses == ()
