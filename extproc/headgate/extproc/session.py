"""Opens the session that a stream's invocation metadata asks for.

`x-headgate-backend` makes it an upstream session, `x-headgate-router` a router session. Both values are the
compiler's, the same for every request of a backend, so each distinct one is parsed once.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Final, TypeVar

import msgspec
from headgate.contract import headers as header_names
from headgate.contract.facts import BackendFacts, RouterFacts
from headgate.extproc.published import Clock
from headgate.extproc.router import RouterSession
from headgate.extproc.tap import Tap
from headgate.extproc.upstream import UpstreamSession
from headgate.llm.endpoints import Endpoint, endpoint_named

Session = UpstreamSession | RouterSession
_T = TypeVar("_T")

FACTS_MAX: Final = 4096
"""Distinct facts kept parsed per process: bounds memory when configurations come and go."""


class SessionError(Exception):
    """The stream's invocation metadata is not ours: a mistake in Envoy's configuration. One line for the log."""


def open_session(
    invocation_metadata: Mapping[str, str], created: int, tap: Tap | None = None, *, clock: Clock | None = None
) -> Session:
    """The session of a new stream. `created`: Unix seconds now; `tap` sees what passes of an attempt; `clock` has its
    stream timed. SessionError."""
    backend = invocation_metadata.get(header_names.GRPC_BACKEND)
    if backend is not None:
        name = invocation_metadata.get(header_names.GRPC_ENDPOINT)
        endpoint = None if name is None else _endpoint(name)
        return UpstreamSession(parse_backend(backend), endpoint, created, tap, clock=clock)
    router = invocation_metadata.get(header_names.GRPC_ROUTER)
    if router is not None:
        return RouterSession(parse_router(router))
    raise SessionError(f"initial metadata has neither {header_names.GRPC_BACKEND} nor {header_names.GRPC_ROUTER}")


@lru_cache(maxsize=FACTS_MAX)
def parse_backend(text: str) -> BackendFacts:
    """`BackendFacts` from its JSON; SessionError names the member that is wrong."""
    return _decode(text, BackendFacts, header_names.GRPC_BACKEND)


@lru_cache(maxsize=FACTS_MAX)
def parse_router(text: str) -> RouterFacts:
    """`RouterFacts` from its JSON; an empty value means the defaults."""
    return _decode(text or "{}", RouterFacts, header_names.GRPC_ROUTER)


def _decode(text: str, kind: type[_T], name: str) -> _T:
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.DecodeError as error:
        raise SessionError(f"{name}: {error}") from None


def _endpoint(name: str) -> Endpoint:
    endpoint = endpoint_named(name)
    if endpoint is None:
        raise SessionError(f"{header_names.GRPC_ENDPOINT}: there is no endpoint {name!r}")
    return endpoint
