"""Every recorded chat request, as every target receives it, whole and streamed: a digest for each. Run as a program it
prints them, for tests that compare processes."""

import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
from headgate.llm.endpoints import lookup
from headgate.llm.errors import RequestError
from headgate.llm.exchange import UpstreamRequest
from headgate.llm.names import DialectName
from headgate.llm.planning import plan

from support.chat_goldens import CLIENTS, TARGETS, backend_facts, cases, providers_for

STREAM_MEMBERS = frozenset(("stream", "stream_options"))
"""Of any dialect's body: what says no more than that the answer shall stream."""


def every_cell() -> Iterator[tuple[DialectName, Path, DialectName, str]]:
    """Each case and each target of each other dialect's providers."""
    for dialect, path in cases("requests", ".json"):
        for provider in providers_for(dialect):
            for target in TARGETS[provider]:
                yield dialect, path, provider, target


def translated(
    dialect: DialectName, case: Path, provider: DialectName, target: str, *, streamed: bool
) -> UpstreamRequest | RequestError:
    """What the provider gets, or why it gets nothing."""
    client = CLIENTS[dialect]
    path = client.stream_path if streamed and client.stream_path else client.path
    body = case.read_bytes()
    if not client.stream_path:
        members = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        members["stream"] = msgspec.Raw(b"true" if streamed else b"false")
        body = msgspec.json.encode(members)
    endpoint = lookup(path)
    assert endpoint is not None
    try:
        chosen = plan(endpoint, backend_facts(dialect, provider, **TARGETS[provider][target]))
        return chosen.translate_request(body, {":path": path})
    except RequestError as error:
        return error


def digests() -> Iterator[str]:
    """A line for each cell, whole and streamed."""
    for dialect, case, provider, target in every_cell():
        for streamed in (False, True):
            found = translated(dialect, case, provider, target, streamed=streamed)
            if isinstance(found, RequestError):
                said = repr((found.status, found.path, str(found))).encode()
            else:
                told = [found.path, found.headers, found.remove_headers, found.losses, found.memo]
                said = found.body + msgspec.json.encode(told)
            kind = "streamed" if streamed else "whole"
            yield f"{dialect}/{case.stem} {provider}@{target} {kind} {hashlib.sha256(said).hexdigest()}"


if __name__ == "__main__":
    sys.stdout.write("\n".join(digests()))
