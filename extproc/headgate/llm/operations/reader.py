"""The seam between a relay and what reads usage from the bytes that pass.

`operations.table.relay_reader(endpoint, *, stream: bool, hide_usage: bool) -> RelayReader` opens one per answer;
`hide_usage` says that the gateway, not the client, asked for the usage chunk of an OpenAI stream.
"""

from typing import Protocol

from headgate.llm.marks import Marks
from headgate.llm.usage import Usage


class RelayReader(Protocol):
    """Lets an answer pass and reads it on the way. Never fails: what it cannot read passes unread."""

    @property
    def usage(self) -> Usage: ...

    @property
    def response_model(self) -> str:
        """Empty until, or unless, the provider names one."""
        ...

    @property
    def marks(self) -> Marks:
        """Of a chat's answer that comes whole; of streams nothing, for `Overheard` reads those."""
        ...

    def feed(self, data: bytes) -> bytes:
        """The bytes to pass on: the same ones, unless a usage chunk the client did not ask for is taken out."""
        ...

    def close(self) -> bytes:
        """Whatever was held."""
        ...
