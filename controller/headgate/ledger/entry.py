"""One access-log entry as a small value; `wire` makes it from Envoy's message."""

from collections.abc import Mapping

import msgspec

Value = str | float | bool | tuple[str, ...]


class Entry(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What Envoy wrote about a request (`attempt` false) or about one attempt at a backend."""

    attempt: bool
    peer: str
    """The client's connection, `address:port`: with `started_ns` it names a request, and no client can choose it."""
    started_ns: int
    duration_ns: int = 0
    first_upstream_ns: int | None = None
    """Until the first byte of the backend's answer."""
    first_body_ns: int | None = None
    """Until the first byte of its body."""
    first_sent_ns: int | None = None
    """Until the first byte to the client; not read where the answer's first byte is known."""
    request_id: str = ""
    method: str = ""
    path: str = ""
    """The client's, below the root path."""
    operation: str = ""
    """What it asks for, where telemetry has a name for that."""
    streams: bool = False
    """It says that the answer is a stream."""
    prompts: bool = False
    """It brings a prompt that its provider asks money for, whatever it answers."""
    status: int = 0
    details: str = ""
    flags: tuple[str, ...] = ()
    """Names of Envoy's response flags that are set."""
    route: str = ""
    cluster: str = ""
    upstream: str = ""
    provider: str = ""
    """Whose backend it is, as telemetry calls it."""
    costs: str = ""
    """The costs of its route (`headgate.contract.metadata.INTERNAL_COSTS`)."""
    attempts: int = 0
    request_bytes: int = 0
    response_bytes: int = 0
    published: Mapping[str, Value] = {}
    """Metadata that users read (`headgate.contract.metadata.NAMESPACE`)."""
    internal: Mapping[str, Value] = {}
    """Metadata that our filters tell each other."""
    headers: Mapping[str, str] = {}
    """The request headers that the log was asked for."""
