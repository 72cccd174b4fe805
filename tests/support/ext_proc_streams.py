"""Plays an ext_proc stream against a session: what Envoy would send in each way it can be configured."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
from headgate.contract.facts import BackendFacts
from headgate.extproc.events import (
    EMPTY,
    NO_NAMESPACES,
    Action,
    BodyMode,
    Change,
    Chunk,
    Context,
    Continue,
    Event,
    Headers,
    Phase,
    Reject,
    RequestBody,
    RequestHeaders,
    ResponseBody,
    ResponseHeaders,
    Value,
)
from headgate.extproc.published import Clock
from headgate.extproc.session import open_session
from headgate.extproc.upstream import UpstreamSession

Mode = Literal["buffered", "override", "streamed", "answer", "duplex"]
"""buffered: four messages; override: four, the response switched to streaming by the reply to its headers;
streamed: the response configured as a stream; answer: only it full duplex; duplex: both ways."""

MODES: tuple[Mode, ...] = ("buffered", "override", "streamed", "answer", "duplex")

_BODY_MODES: Mapping[Mode, tuple[BodyMode, BodyMode]] = {
    "buffered": (BodyMode.BUFFERED, BodyMode.BUFFERED),
    "override": (BodyMode.BUFFERED, BodyMode.BUFFERED),
    "streamed": (BodyMode.BUFFERED, BodyMode.STREAMED),
    "answer": (BodyMode.BUFFERED, BodyMode.FULL_DUPLEX_STREAMED),
    "duplex": (BodyMode.FULL_DUPLEX_STREAMED, BodyMode.FULL_DUPLEX_STREAMED),
}

OPENAI_REQUEST = {"model": "claude-x", "messages": [{"role": "user", "content": "hi"}]}


def backend(dialect: str = "anthropic-messages", **facts: Any) -> BackendFacts:
    """Facts of a backend called default/b."""
    name = "default/b/route/r/rule/0/ref/0"
    return msgspec.convert({"name": name, "dialect": dialect, "route": "default/r", **facts}, BackendFacts)


def open_upstream(facts: BackendFacts, endpoint: str = "", clock: Clock | None = None) -> UpstreamSession:
    """An upstream session as the invocation metadata of `facts` opens it."""
    metadata = {"x-headgate-backend": msgspec.json.encode(facts).decode()}
    if endpoint:
        metadata["x-headgate-endpoint"] = endpoint
    session = open_session(metadata, created=1_700_000_000, clock=clock)
    assert isinstance(session, UpstreamSession)
    return session


@dataclass(slots=True)
class Seen:
    """What the peer (provider or client) gets in the end, as Envoy would put it together."""

    headers: dict[str, str]
    body: bytes
    metadata: dict[str, dict[str, Value]]
    rejected: Reject | None = None
    chunks: list[bytes] | None = None

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Exchange:
    """One HTTP request through a session in one mode. One reply per message, as Envoy demands, unless full duplex."""

    def __init__(self, session: UpstreamSession, mode: Mode, path: str = "/v1/chat/completions") -> None:
        self.session = session
        self.mode: Mode = mode
        self.path = path
        self._first = True
        self.metadata: dict[str, dict[str, Value]] = {}

    def request(self, body: bytes, headers: Headers | None = None, pieces: int = 1) -> Seen:
        """What the provider gets, or the rejection."""
        seen = Seen({":path": self.path, "content-type": "application/json", **(headers or {})}, body, self.metadata)
        self._apply(seen, self._send(RequestHeaders(dict(seen.headers), context=self._context())))
        if seen.rejected is not None:
            return seen
        cuts = _cut(body, pieces if self.mode == "duplex" else 1)
        for index, piece in enumerate(cuts):
            self._apply(seen, self._send(RequestBody(piece, index == len(cuts) - 1, self._context())))
        return seen

    def response(self, chunks: Sequence[bytes], headers: Headers | None = None, status: int = 200) -> Seen:
        """What the client gets."""
        given = {":status": str(status), "content-type": "application/json", **(headers or {})}
        seen = Seen(given, b"", self.metadata, chunks=[])
        mode = self.mode
        actions = self._send(ResponseHeaders(dict(given)))
        self._apply(seen, actions)
        if seen.rejected is not None:
            return seen
        overridden = any(isinstance(each, Change) and each.response_body_mode for each in actions)
        if mode == "buffered" or (mode == "override" and not overridden):
            chunks = (b"".join(chunks),)
        for index, chunk in enumerate(chunks):
            self._apply(seen, self._send(ResponseBody(chunk, index == len(chunks) - 1)))
        return seen

    def _send(self, event: Event) -> Sequence[Action]:
        actions = self.session.receive(event)
        duplex = _BODY_MODES[self.mode][isinstance(event, ResponseHeaders | ResponseBody)]
        if duplex is not BodyMode.FULL_DUPLEX_STREAMED:
            assert len(actions) == 1, f"{type(event).__name__} needs exactly one reply, got {actions}"
        return actions

    def _context(self) -> Context:
        first, self._first = self._first, False
        request_mode, response_mode = _BODY_MODES[self.mode] if first else (None, None)
        return Context(EMPTY, NO_NAMESPACES, request_mode, response_mode)

    def _apply(self, seen: Seen, actions: Sequence[Action]) -> None:
        for action in actions:
            if isinstance(action, Change | Chunk | Reject):
                for namespace, values in action.metadata.items():
                    self.metadata.setdefault(namespace, {}).update(values)
            match action:
                case Continue():
                    pass
                case Change():
                    self._change(seen, action)
                case Chunk():
                    seen.body = action.body if seen.chunks is None else seen.body + action.body
                    if seen.chunks is not None:
                        seen.chunks.append(action.body)
                case Reject():
                    seen.rejected = action
                    seen.headers = {":status": str(action.status), **action.headers}
                    seen.body = action.body
                case _:
                    raise AssertionError(f"not for Envoy: {action}")

    def _change(self, seen: Seen, change: Change) -> None:
        for name in change.remove_headers:
            seen.headers.pop(name, None)
        seen.headers.update(change.set_headers)
        if change.body is None:
            return
        if change.phase in (Phase.RESPONSE_BODY, Phase.RESPONSE_HEADERS) and seen.chunks is not None:
            seen.chunks.append(change.body)
            seen.body += change.body
        else:
            seen.body = change.body


def _cut(data: bytes, pieces: int) -> list[bytes]:
    size = max(1, -(-len(data) // pieces))
    return [data[start : start + size] for start in range(0, len(data), size)] or [b""]
