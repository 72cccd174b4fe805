"""An operation as planning sees it: who can be served from whom, and the plan of a pair."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Generic, Protocol

from headgate.contract import headers as header_names
from headgate.contract.facts import BackendFacts
from headgate.llm.answer_body import AnswerBody
from headgate.llm.bridge import ErrorTranslation, refuse_losses, request_id_of, require_json, response_headers
from headgate.llm.bridge_stream import HeaderEdits
from headgate.llm.canonical import ChatRequest
from headgate.llm.content_coding import GZIP_MAGIC, inflate_request
from headgate.llm.dialects.dialect import ChatDialect, Target
from headgate.llm.dialects.table import DIALECTS
from headgate.llm.endpoints import Endpoint, PathFacts, path_facts
from headgate.llm.errors import UpstreamError
from headgate.llm.exchange import Lane, LocalCount, Plan, ResponseTranslation, UpstreamRequest
from headgate.llm.hosts.host import Asked, Host
from headgate.llm.losses import Loss
from headgate.llm.marks import NO_MARKS, Marks
from headgate.llm.mutation import mutate_body, mutate_headers
from headgate.llm.names import DialectName, HostName
from headgate.llm.operations.codec import A, Answered, CanonicalAnswer, Codec, Q
from headgate.llm.usage import NO_USAGE, Usage
from headgate.llm.vendors import vendor_named

JSON: Final = "application/json"


class Bridged(Protocol):
    """What planning asks of an operation."""

    def relays(self, endpoint: Endpoint, host: HostName, vendor: str) -> bool:
        """Whether that host, and a server of that vendor's, serves the endpoint of its backend's own dialect."""
        ...

    def serves(self, endpoint: Endpoint, spoken: frozenset[DialectName], *, lacking: bool) -> bool:
        """Whether clients of the endpoint can be served from a backend that speaks these dialects.

        `lacking`: its vendor is known not to serve what the endpoint does.
        """
        ...

    def plan(self, endpoint: Endpoint, spoken: frozenset[DialectName], facts: BackendFacts, host: Host) -> Plan: ...


@dataclass(frozen=True, slots=True)
class Family(Generic[Q, A]):
    """An operation: its codecs, by the dialect they are of."""

    request: type[Q]
    codecs: Mapping[DialectName, Codec[Q, A]]
    unlike: Mapping[HostName, frozenset[str]] = field(default_factory=dict[HostName, frozenset[str]])
    """Endpoints of a dialect that a host which serves the dialect has not: they are translated to what it has."""
    vendors: Mapping[str, Codec[Q, A]] = field(default_factory=dict[str, Codec[Q, A]])
    """Vendors that serve it otherwise than the dialects they speak."""
    relayed: frozenset[str] = frozenset()
    """Vendors among these that take what clients of the dialect say as it is, too."""
    choose: Callable[[Target, frozenset[DialectName]], Codec[Q, A] | None] | None = None
    """Where the backend's dialects do not decide it; None: the gateway answers itself."""
    here: "Local[Q, A] | None" = None
    answer_headers: Mapping[str, str] = field(default_factory=dict[str, str])
    """Of answers that a provider gave."""

    def relays(self, endpoint: Endpoint, host: HostName, vendor: str) -> bool:
        """See `Bridged`."""
        own_words = vendor in self.vendors and vendor not in self.relayed
        return not own_words and endpoint.name not in self.unlike.get(host, frozenset())

    def serves(self, endpoint: Endpoint, spoken: frozenset[DialectName], *, lacking: bool) -> bool:
        """See `Bridged`."""
        client = self.codecs.get(endpoint.dialect)
        if client is None or client.decode_request is None:
            return False
        return self.here is not None or (not lacking and self._provider(spoken) is not None)

    def plan(self, endpoint: Endpoint, spoken: frozenset[DialectName], facts: BackendFacts, host: Host) -> Plan:
        """See `Bridged`."""
        return OperationPlan(self, spoken, endpoint, facts, host)

    def provider(self, target: Target, spoken: frozenset[DialectName]) -> Codec[Q, A] | None:
        """How that target is asked; None: the gateway answers itself."""
        if self.choose is not None:
            return self.choose(target, spoken)
        found = self.vendors.get(target.vendor.name) or self._provider(spoken)
        assert found is not None, "serves() was asked"
        return found

    def _provider(self, spoken: frozenset[DialectName]) -> Codec[Q, A] | None:
        known = (codec for dialect, codec in self.codecs.items() if dialect in spoken and codec.encode_request)
        return next(known, None)


@dataclass(frozen=True, slots=True)
class Local(Generic[Q, A]):
    """How the gateway answers where no provider can: by counting the tokens of a prompt."""

    prompt: Callable[[Q], ChatRequest]
    answer: Callable[[int], A]


def chat_dialect(name: DialectName) -> ChatDialect:
    """Whose errors and headers an endpoint's clients know: their chat dialect's, else OpenAI's."""
    return DIALECTS.get(name, DIALECTS[DialectName.OPENAI_CHAT])


class OperationPlan(Generic[Q, A]):
    """An endpoint of one dialect served by a backend of another."""

    __slots__ = ("_client", "_decode_error", "_family", "_host", "_speaker", "_spoken", "_vendor", "endpoint", "facts")

    lane: Lane = "bridge"

    def __init__(
        self,
        family: Family[Q, A],
        spoken: frozenset[DialectName],
        endpoint: Endpoint,
        facts: BackendFacts,
        host: Host,
    ) -> None:
        self._family = family
        self._spoken = spoken
        self._client = family.codecs[endpoint.dialect]
        self._speaker = chat_dialect(endpoint.dialect)
        self._host = host
        self._vendor = vendor_named(facts.vendor)
        self._decode_error = host.decode_error or chat_dialect(DialectName(facts.dialect)).decode_error
        self.endpoint = endpoint
        self.facts = facts

    def translate_request(self, body: bytes, headers: Mapping[str, str]) -> UpstreamRequest:
        """See `exchange.Plan`."""
        facts = self.facts
        if body.startswith(GZIP_MAGIC):
            body = inflate_request(body, bytes_max=facts.body_bytes_max)
        path = path_facts(self.endpoint, headers.get(header_names.ORIGINAL_PATH) or headers.get(":path", ""))
        assert self._client.decode_request is not None
        request = self._client.decode_request(body, self.endpoint, path)
        target = self._target(facts.model or request.model)
        provider = self._family.provider(target, self._spoken)
        if provider is None:
            return self._answered_here(request, target.model, path)
        assert provider.encode_request is not None
        encoded = provider.encode_request(request, target)
        if encoded.losses and facts.losses == "reject":
            refuse_losses(encoded.losses)
        set_headers, remove_headers = mutate_headers(facts, self._request_headers(), self._speaker.client_headers)
        asked = Asked(encoded.model or target.model, False, headers)
        return UpstreamRequest(
            path=self._host.place(encoded.endpoint, facts, asked),
            headers=set_headers,
            remove_headers=(*remove_headers, "content-encoding"),
            body=mutate_body(facts.body, self._host.envelope(encoded.endpoint, facts, asked, encoded.body)),
            original_model=request.model,
            request_model=target.model,
            stream=False,
            client_path=path,
            asked=request,
            losses=encoded.losses,
        )

    def _target(self, model: str) -> Target:
        facts = self.facts
        return Target(
            model=model, host=self._host.name, version=facts.version, vendor=self._vendor, losses=facts.losses
        )

    def _request_headers(self) -> dict[str, str]:
        own = {"content-type": JSON, **chat_dialect(DialectName(self.facts.dialect)).request_headers}
        return {name: value for name, value in own.items() if name not in self._host.headers_in_body}

    def _answered_here(self, request: Q, model: str, path: PathFacts) -> UpstreamRequest:
        here, encode = self._family.here, self._client.encode_response
        assert here is not None
        assert encode is not None
        answered = Answered(request, model, {})

        def answer(tokens: int) -> bytes:
            return encode(here.answer(tokens), answered)

        return UpstreamRequest(
            path="",
            headers={},
            remove_headers=(),
            body=b"",
            original_model=request.model,
            request_model=model,
            stream=False,
            client_path=path,
            local=LocalCount(here.prompt(request), answer),
        )

    def open_response(
        self, request: UpstreamRequest, status: int, headers: Mapping[str, str], created: int
    ) -> ResponseTranslation:
        """See `exchange.Plan`."""
        del created
        if not (200 <= status < 300 or 400 <= status < 600):
            raise UpstreamError(f"the provider answered {status}, which no API answers")
        set_headers, remove_headers = response_headers(self._speaker, request, headers)
        set_headers["content-type"] = JSON
        edits = (set_headers, remove_headers)
        if not 200 <= status < 300:
            return ErrorTranslation(self._speaker, self._decode_error, request, (status, headers), edits)
        content_type = headers.get("content-type", "").partition(";")[0].strip().lower()
        require_json(status, content_type)
        set_headers.update(self._family.answer_headers)
        asked = request.asked
        assert isinstance(asked, self._family.request), "a plan gets its own requests back"
        answered = Answered(asked, request.request_model, headers, request_id_of(headers))
        return AnswerTranslation(self._finish(answered), request, self.facts.body_bytes_max, edits)

    def _finish(self, answered: Answered[Q]) -> "Finish":
        provider = self._family.provider(self._target(answered.model), self._spoken)
        assert provider is not None, "it was asked"
        decode, encode = provider.decode_response, self._client.encode_response
        assert decode is not None
        assert encode is not None

        def finish(body: bytes) -> tuple[bytes, A]:
            answer = decode(body, answered)
            return encode(answer, answered), answer

        return finish


Finish = Callable[[bytes], tuple[bytes, CanonicalAnswer]]
"""The provider's body: the client's, and what it says."""


class AnswerTranslation:
    """An operation's answer: it comes whole, and goes whole."""

    marks: Marks = NO_MARKS  # no chat

    __slots__ = (
        "_body",
        "_finish",
        "estimated",
        "headers",
        "losses",
        "remove_headers",
        "response_model",
        "streamed",
        "usage",
    )

    def __init__(self, finish: Finish, request: UpstreamRequest, bytes_max: int, edits: HeaderEdits) -> None:
        self._finish = finish
        self._body = AnswerBody(bytes_max)
        self.headers, self.remove_headers = edits
        self.losses: Sequence[Loss] = request.losses
        self.usage: Usage = NO_USAGE
        self.estimated = False
        self.response_model = request.request_model
        self.streamed = False

    def hold(self) -> bool:
        """All is kept to the end anyway."""
        return False

    def feed(self, data: bytes) -> bytes:
        """Holds the data, up to the backend's bound."""
        self._body.add(data)
        return b""

    def close(self) -> bytes:
        """The whole answer in the client's dialect."""
        body, answer = self._finish(self._body.take())
        self.usage = answer.usage
        self.losses = (*self.losses, *answer.losses)
        self.response_model = answer.model or self.response_model
        return body
