"""What a broken or hostile provider says ends as an error that the client's SDK understands, in bounded memory."""

import json
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest
from headgate.llm.errors import UpstreamError
from headgate.llm.names import DialectName
from support.chat_goldens import PAIRS, TARGETS, ask
from support.chat_streams import read_stream, translate_stream
from support.hostile import WHOLE, endless, streams

HELD_BYTES_MAX = 96 * 1024 * 1024
"""An event of 32 MB, joined once, and what is made of it."""
ASKED_FIRST = {
    provider: next(client for client, each in PAIRS if each == provider and client != "openai-completions")
    for provider in TARGETS
}


@pytest.mark.parametrize(("client", "provider"), PAIRS)
def test_a_stream_of_nonsense_is_an_error(client: DialectName, provider: DialectName) -> None:
    for name, pieces in streams(provider).items():
        received, _ = translate_stream(client, provider, pieces())
        result = read_stream(client, received)
        assert result.failed, name
        assert not result.ended, name


@pytest.mark.parametrize(("client", "provider"), PAIRS)
def test_an_answer_of_nonsense_is_the_providers_fault(client: DialectName, provider: DialectName) -> None:
    for name, body in WHOLE.items():
        plan, asked = ask(client, provider)
        translation = plan.open_response(asked, 200, {"content-type": "application/json"}, 1)
        translation.feed(body)
        with pytest.raises(UpstreamError) as raised:
            raise AssertionError(f"{name}: {translation.close()[:200]!r}")
        assert raised.value.detail().status == 502, name


@pytest.mark.parametrize(("client", "provider"), PAIRS)
@pytest.mark.parametrize("status", [400, 429, 500, 503])
def test_an_error_of_nonsense_is_still_an_error(client: DialectName, provider: DialectName, status: int) -> None:
    for name, body in WHOLE.items():
        plan, asked = ask(client, provider)
        translation = plan.open_response(asked, status, {"content-type": "application/json"}, 1)
        translation.feed(body)
        assert "essage" in json.dumps(json.loads(translation.close())), name


def _endless() -> Iterator[Any]:
    for provider, client in ASKED_FIRST.items():
        for name in endless(provider):
            yield pytest.param(client, provider, name, id=f"{client}-{provider}-{name}")


@pytest.mark.parametrize(("client", "provider", "name"), list(_endless()))
def test_what_never_ends_is_held_up_to_a_bound(client: DialectName, provider: DialectName, name: str) -> None:
    pieces = endless(provider)[name]
    tracemalloc.start()
    received, _ = translate_stream(client, provider, pieces())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < HELD_BYTES_MAX
    assert read_stream(client, received).failed
