"""What an official client's streaming helper adds up to is what the same answer says whole.

Every recorded answer of every provider, through the bridge, for each client whose SDK has such a helper.
"""

from pathlib import Path
from typing import Any

import pytest
from headgate.llm.errors import UpstreamError
from headgate.llm.names import DialectName
from support.chat_goldens import answer_cells
from support.sdk_accumulation import HELPERS, added_up, streamed, told, whole

CELLS: list[Any] = [
    pytest.param(client, provider, path, id=f"{client}-{provider}-{path.stem}")
    for provider, path, client in answer_cells("responses", ".json")
    if client in HELPERS
]
CUT = frozenset(("tool_arguments_cut",))
"""Of arguments that break off the helpers make what they like."""


@pytest.mark.parametrize(("client", "provider", "path"), CELLS)
def test_a_stream_adds_up_to_the_whole_answer(client: DialectName, provider: DialectName, path: Path) -> None:
    body = path.read_bytes()
    try:
        expected = told(client, whole(client, provider, body))
    except UpstreamError:
        return  # no answer
    if path.stem in CUT:
        return
    final = added_up(client, streamed(client, provider, body))
    assert final is None or final == expected
