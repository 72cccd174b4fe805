"""The recorded chat cases and the pairs of dialects they run through."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from headgate.contract.facts import BackendFacts
from headgate.llm.endpoints import lookup
from headgate.llm.exchange import Plan
from headgate.llm.names import DialectName
from headgate.llm.planning import plan

ROOT: Final = Path(__file__).parent.parent / "golden" / "chat"

PATHS: Final[Mapping[str, str]] = {
    DialectName.OPENAI_CHAT: "/v1/chat/completions",
    DialectName.ANTHROPIC_MESSAGES: "/v1/messages",
}

OTHER: Final[Mapping[str, str]] = {
    DialectName.OPENAI_CHAT: DialectName.ANTHROPIC_MESSAGES,
    DialectName.ANTHROPIC_MESSAGES: DialectName.OPENAI_CHAT,
}

CREATED: Final = 1_700_000_000


def cases(kind: str, suffix: str) -> Iterator[tuple[str, Path]]:
    """Every hand-written input of a kind, with its dialect."""
    for dialect in PATHS:
        for path in sorted((ROOT / kind / dialect).glob(f"*{suffix}")):
            if path.name.count(".") == 1:
                yield dialect, path


def bridge(client: str, **facts: str) -> Plan:
    """The plan of a client of one dialect and a backend of the other (or of what `facts` say)."""
    endpoint = lookup(PATHS[client])
    assert endpoint is not None
    return plan(endpoint, BackendFacts(**{"name": "b", "dialect": OTHER[client], **facts}))  # type: ignore[arg-type]
