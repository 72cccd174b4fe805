"""What is not UTF-8 in a client's body never reaches a provider, wherever it stands in the body."""

from pathlib import Path
from typing import Final

import pytest
from headgate.llm.errors import RequestError
from headgate.llm.names import DialectName
from support.chat_goldens import CLIENTS, TARGETS, bridge, cases, providers_for

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
