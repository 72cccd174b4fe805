"""One request and its answer, as the shells see them: what a `Plan` makes of a body, and what it makes of the
answer."""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, Protocol

import msgspec
from headgate.contract.facts import BackendFacts
from headgate.llm.canonical import ChatRequest, Sampling, StandIns
from headgate.llm.dialects.dialect import NO_MEMO, Memo
from headgate.llm.endpoints import NO_PATH, Endpoint, PathFacts
from headgate.llm.losses import Loss
from headgate.llm.marks import Marks
from headgate.llm.usage import Usage

Lane = Literal["relay", "bridge"]


class LocalCount(msgspec.Struct, frozen=True, gc=False):
    """Nothing is sent: the shell counts this prompt for the request model, and the client gets `answer` of it."""

    chat: ChatRequest
    answer: Callable[[int], bytes]


class UpstreamRequest(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What the provider gets. `headers` are set, `remove_headers` removed; `content-length` is the shell's."""

    path: str
    headers: Mapping[str, str]
    remove_headers: Sequence[str]
    body: bytes
    original_model: str
    """As the client named it."""
    request_model: str
    """As we sent it."""
    shown_model: str = ""
    """What the client is told has answered, whatever the provider says; empty: what it says."""
    stream: bool
    memo: Memo = NO_MEMO
    client_path: PathFacts = NO_PATH
    echo: bytes = b""
    """What the client's dialect repeats of its request in the answer."""
    stand_ins: StandIns = {}
    """`ChatRequest.stand_ins`."""
    asked: object = None
    """For the plan that made it: an operation's canonical request, or of a chat the plan that took it over."""
    prompt_tokens: int = 0
    """What the prompt comes to, for providers that do not count it (`estimates`); 0 where nobody wants to know."""
    local: LocalCount | None = None
    """The gateway answers itself: path and body are empty."""
    losses: Sequence[Loss] = ()
    max_tokens: int | None = None
    sampling: Sampling | None = None
    """Of a chat that was decoded."""


class ResponseTranslation(Protocol):
    """One answer on its way back. `feed` what comes, then `close` once; both return bytes for the client.

    An answer that is not streamed comes out of `close` as a whole. UpstreamError (from either) means nothing usable
    came and nothing was sent yet: answer with its status in the client's dialect. Once a stream has begun, failures
    become the dialect's error event instead.
    """

    @property
    def headers(self) -> Mapping[str, str]:
        """Response headers to set; known as soon as the translation is open."""
        ...

    @property
    def remove_headers(self) -> Sequence[str]: ...

    @property
    def usage(self) -> Usage:
        """What is known so far; final after `close`."""
        ...

    @property
    def estimated(self) -> bool:
        """Part of the usage was counted here, since the provider did not, or broke off before it did."""
        ...

    @property
    def response_model(self) -> str:
        """As the provider named it, else the request model."""
        ...

    @property
    def marks(self) -> Marks:
        """What is known so far; final after `close`."""
        ...

    @property
    def losses(self) -> Sequence[Loss]: ...

    @property
    def streamed(self) -> bool:
        """Bytes come out of `feed` as they come in; otherwise all of them out of `close`."""
        ...

    def hold(self) -> bool:
        """Asks to keep back what only tells that a stream has begun, until something of the answer comes: as long as
        nothing has come out, a failure is an `UpstreamError`, and another backend may still serve. False if nothing
        is ever kept."""
        ...

    def feed(self, data: bytes) -> bytes: ...

    def close(self) -> bytes: ...


class Plan(Protocol):
    """How one endpoint is served by one backend. Holds no state of any request; shared by all of them."""

    @property
    def endpoint(self) -> Endpoint: ...

    @property
    def facts(self) -> BackendFacts: ...

    @property
    def lane(self) -> Lane: ...

    def translate_request(self, body: bytes, headers: Mapping[str, str]) -> UpstreamRequest:
        """The client's body (may be gzip) for the provider. `headers`: the client's, lower case, `:path` included if
        known; may be empty. RequestError with status, path and code if it cannot be."""
        ...

    def open_response(
        self, request: UpstreamRequest, status: int, headers: Mapping[str, str], created: int
    ) -> ResponseTranslation:
        """The answer begins. `headers`: the provider's, lower case; may be empty, then the answer is taken for what was
        asked. `created`: Unix seconds. UpstreamError 502 if the headers already tell that it is nonsense."""
        ...
