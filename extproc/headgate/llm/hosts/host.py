"""What a host is: a row that says which dialects it serves, at which path, in which envelope and framing."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

import msgspec
from headgate.contract.facts import BackendFacts
from headgate.llm.endpoints import Endpoint
from headgate.llm.errors import ErrorDetail
from headgate.llm.framing.frame import FrameDecoder
from headgate.llm.names import DialectName, HostName


class Asked(msgspec.Struct, frozen=True, gc=False):
    """What a placement depends on besides endpoint and facts. `model` is the request model, not encoded."""

    model: str
    stream: bool = False
    headers: Mapping[str, str] = {}
    """The client's, lower case: some hosts take in the body what a dialect says in headers."""

    @property
    def segment(self) -> str:
        """The model as one segment of a path."""
        return quote(self.model, safe="")


def same_body(_endpoint: Endpoint, _facts: BackendFacts, _asked: Asked, body: bytes) -> bytes:
    """The envelope of hosts that have none."""
    return body


@dataclass(frozen=True, slots=True)
class Framing:
    """How a host cuts a dialect's streams where it is not the dialect's own way."""

    content_type: str
    frames: Callable[[], FrameDecoder]


@dataclass(frozen=True, slots=True)
class Host:
    """Where dialects are served."""

    name: HostName
    dialects: frozenset[DialectName]
    """Dialects whose relay or translation to this host is whole."""
    place: Callable[[Endpoint, BackendFacts, Asked], str]
    """Endpoint of the backend's dialect, facts, what is asked: the path, with query where the host wants one.
    RequestError where the model would name another path."""
    envelope: Callable[[Endpoint, BackendFacts, Asked, bytes], bytes] = same_body
    """The dialect's body as this host takes it."""
    framings: Mapping[DialectName, Framing] = field(default_factory=dict[DialectName, Framing])
    headers_in_body: frozenset[str] = frozenset()
    """Headers of the dialects that the envelope says in the body: not sent."""
    decode_error: Callable[[int, Mapping[str, str], bytes], ErrorDetail] | None = None
    """The host's own error answers, where they are not the dialect's."""
