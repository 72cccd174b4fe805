"""Legacy completions for chat backends: what cannot be carried is refused by name; the prompt is repeated if asked."""

import json
from typing import Any

import pytest
from headgate.llm.dialects.openai_completions import DIALECT
from headgate.llm.endpoints import endpoint_named
from headgate.llm.errors import RequestError
from headgate.llm.names import DialectName
from headgate.llm.planning import lane_for
from support.chat_goldens import CREATED, bridge
from support.chat_streams import read_stream

COMPLETIONS, ANTHROPIC = DialectName.OPENAI_COMPLETIONS, DialectName.ANTHROPIC_MESSAGES


@pytest.mark.parametrize(
    ("members", "path"),
    [
        ({"prompt": ["a", "b"]}, "prompt"),
        ({"prompt": [1, 2]}, "prompt"),
        ({"prompt": [[1, 2]]}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": None}, "prompt"),
        ({"suffix": "end"}, "suffix"),
        ({"n": 2}, "n"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"model": ""}, "model"),
    ],
)
def test_what_cannot_be_carried_is_named(members: dict[str, Any], path: str) -> None:
    with pytest.raises(RequestError) as raised:
        DIALECT.decode_request(json.dumps({"model": "m", "prompt": "Hi", **members}).encode())

    assert raised.value.path == path
    assert raised.value.status == 400


def test_no_limit_means_sixteen_tokens() -> None:
    assert DIALECT.decode_request(b'{"model":"m","prompt":"Hi"}').max_tokens == 16


@pytest.mark.parametrize("stream", [False, True])
def test_the_prompt_is_repeated_on_request(*, stream: bool) -> None:
    plan = bridge(COMPLETIONS, ANTHROPIC)
    body = json.dumps({"model": "m", "prompt": "100% of", "echo": True, "stream": stream}).encode()
    request = plan.translate_request(body, {})
    answer = {"id": "msg_1", "content": [{"type": "text", "text": " 5%s"}], "stop_reason": "end_turn"}
    translation = plan.open_response(request, 200, {"content-type": "application/json"}, CREATED)
    translation.feed(json.dumps(answer).encode())
    told = translation.close()

    text = read_stream(COMPLETIONS, told).text if stream else json.loads(told)["choices"][0]["text"]
    assert text == "100% of 5%s"


def test_completions_serve_no_other_dialect() -> None:
    row = endpoint_named("messages")
    assert row is not None

    assert lane_for(row, COMPLETIONS) is None
