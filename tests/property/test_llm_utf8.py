"""What is not UTF-8 in a client's body never reaches a provider, wherever it stands in the body, nor what is not in a
provider's answer a client."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from headgate.llm.errors import RequestError, UpstreamError
from headgate.llm.names import DialectName
from support.chat_goldens import CLIENTS, TARGETS, ask, bridge, cases, others, providers_for, stream_bridge

PLACES_MAX: Final = 150
"""Of one recorded request."""

BODIES: Final = [pytest.param(client, path, id=f"{client}-{path.stem}") for client, path in cases("requests", ".json")]


@pytest.mark.parametrize(("client", "path"), BODIES)
def test_only_utf8_is_sent(client: DialectName, path: Path) -> None:
    body = path.read_bytes()
    provider = next(iter(providers_for(client)))
    plan = bridge(client, provider, **next(iter(TARGETS[provider].values())))
    headers = {":path": CLIENTS[client].path}
    refused = 0
    places = range(0, len(body), max(1, len(body) // PLACES_MAX))
    for place in places:
        bad = body[:place] + b"\xff" + body[place + 1 :]
        try:
            sent = plan.translate_request(bad, headers).body
        except RequestError:
            refused += 1
        else:
            sent.decode()

    assert refused


ANSWERS: Final = [
    pytest.param(provider, path, id=f"{provider}-{path.stem}")
    for provider, path in cases("responses", ".json")
    if provider in TARGETS
]
STREAMS: Final = [
    pytest.param(provider, path, id=f"{provider}-{path.stem}")
    for provider, path in cases("streams", ".raw")
    if provider in TARGETS
]


@pytest.mark.parametrize(("provider", "path"), ANSWERS)
def test_an_answer_that_is_no_utf8_is_the_providers_fault(provider: DialectName, path: Path) -> None:
    plan, asked = ask(next(others(provider)), provider)
    for bad in _broken(path.read_bytes()):
        answer = plan.open_response(asked, 200, {"content-type": "application/json"}, 0)
        answer.feed(bad)
        with contextlib.suppress(UpstreamError):
            answer.close().decode()


@pytest.mark.parametrize(("provider", "path"), STREAMS)
def test_a_stream_that_is_no_utf8_is_the_providers_fault(provider: DialectName, path: Path) -> None:
    plan, asked = stream_bridge(next(others(provider)), provider)
    for bad in _broken(path.read_bytes()):
        answer = plan.open_response(asked, 200, {}, 0)
        with contextlib.suppress(UpstreamError):
            (answer.feed(bad) + answer.close()).decode()


def _broken(body: bytes) -> Iterator[bytes]:
    for place in range(0, len(body), max(1, len(body) // PLACES_MAX)):
        yield body[:place] + b"\xff" + body[place + 1 :]
