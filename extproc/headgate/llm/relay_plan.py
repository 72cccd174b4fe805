"""Staying in one dialect: the bytes pass, named members are patched, usage is read on the way."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final
from urllib.parse import parse_qsl, unquote_plus

from headgate.contract import headers as header_names
from headgate.contract.facts import BackendFacts
from headgate.llm import multipart, relay
from headgate.llm.bridge import ErrorTranslation, may_be_json, own_headers, response_headers
from headgate.llm.content_coding import GZIP_MAGIC, inflate_request
from headgate.llm.dialects.dialect import EVENT_STREAM, Memo
from headgate.llm.dialects.table import DIALECTS
from headgate.llm.endpoints import Endpoint, PathFacts, StreamRule, path_facts
from headgate.llm.error_bodies import error_response
from headgate.llm.errors import ErrorDetail, UpstreamError, kind_of_status
from headgate.llm.estimates import relayed_prompt_tokens
from headgate.llm.exchange import Lane, ResponseTranslation, UpstreamRequest
from headgate.llm.hosts.host import Asked, Host
from headgate.llm.marks import NO_MARKS, Marks
from headgate.llm.mutation import mutate_body, mutate_headers
from headgate.llm.names import DialectName, Operation
from headgate.llm.operations.reader import RelayReader
from headgate.llm.operations.renaming import renaming_reader
from headgate.llm.operations.table import relay_reader
from headgate.llm.relay_stream import RelayedStream, UnwrappedTranslation
from headgate.llm.unnamed_stream import UnnamedStream
from headgate.llm.usage import NO_USAGE, Usage

DecodeError = Callable[[int, Mapping[str, str], bytes], ErrorDetail]

JSON: Final = "application/json"
HTML: Final = "text/html"

QUOTED_BYTES_MAX: Final = 1_000
"""Of a provider's error page, at most this much is quoted to the client."""

_USAGE_ON_REQUEST: Final = frozenset((DialectName.OPENAI_CHAT, DialectName.OPENAI_COMPLETIONS))
"""Streams that carry usage only if `stream_options.include_usage` asks for it."""

COUNTING: Final = frozenset((Operation.COUNT_TOKENS, Operation.RESPONSES_INPUT_TOKENS, Operation.TOKENIZE))
"""Operations whose answers say who has counted."""

NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})


class RelayPlan:
    """An endpoint served by a backend of its own dialect."""

    __slots__ = ("_host", "endpoint", "facts")

    lane: Lane = "relay"

    def __init__(self, endpoint: Endpoint, facts: BackendFacts, host: Host) -> None:
        self.endpoint = endpoint
        self.facts = facts
        self._host = host

    def translate_request(self, body: bytes, headers: Mapping[str, str]) -> UpstreamRequest:
        """See `exchange.Plan`."""
        facts = self.facts
        if body.startswith(GZIP_MAGIC):
            body = inflate_request(body, bytes_max=facts.body_bytes_max)
        path = path_facts(self.endpoint, headers.get(header_names.ORIGINAL_PATH) or headers.get(":path", ""))
        content_type = headers.get("content-type", "")
        if multipart.reads_form(self.endpoint, content_type):
            original_model, stream, patched, memo = self._patch_form(body, content_type)
        elif self.endpoint.model_in_path:
            original_model, stream, patched, memo = path.model, path.stream, mutate_body(facts.body, body), Memo()
        else:
            original_model, stream, patched, memo = self._patch_object(body)
        model = facts.model or original_model
        asked = Asked(model, stream, headers)
        unsent = tuple(self._host.headers_in_body)
        set_headers, remove_headers = mutate_headers(facts, self._dialect_headers(headers), unsent)
        return UpstreamRequest(
            path=self._path(asked, path),
            headers=set_headers,
            remove_headers=(*remove_headers, "content-encoding"),
            body=self._host.envelope(self.endpoint, facts, asked, patched),
            original_model=original_model,
            request_model=model,
            shown_model=original_model if facts.response_model == "requested" else "",
            stream=stream,
            memo=memo,
            client_path=path,
            prompt_tokens=relayed_prompt_tokens(body),
        )

    def open_response(
        self, request: UpstreamRequest, status: int, headers: Mapping[str, str], created: int
    ) -> ResponseTranslation:
        """See `exchange.Plan`. `created` is not needed: nothing is made here."""
        content_type = headers.get("content-type", "").partition(";")[0].strip().lower()
        framing = self._host.framings.get(self.endpoint.dialect)
        if not 200 <= status < 300:
            if self._host.decode_error is not None and self.endpoint.dialect in DIALECTS and framing is not None:
                return self._translate_error(request, status, headers, self._host.decode_error)
            if content_type in ("", JSON) or content_type.endswith("+json"):
                return RelayTranslation(request, None)
            return PageTranslation(self.endpoint.dialect, request, status)
        if content_type == HTML:
            raise UpstreamError(f"the provider answered {status} with {HTML}")
        if framing is not None and content_type in (framing.content_type, "") and request.stream:
            reader = self._reader(request, stream=True, hide_usage=False)
            return UnwrappedTranslation(request, reader, framing, DIALECTS[self.endpoint.dialect])
        relayed = self._relayed(request, content_type)
        if request.stream and content_type and may_be_json(content_type):
            return UnnamedStream(relayed, self._relayed(request, EVENT_STREAM))
        return relayed

    def _relayed(self, request: UpstreamRequest, content_type: str) -> ResponseTranslation:
        # What came decides: some servers do not stream where they were asked to, some stream where it was not seen.
        stream = content_type == EVENT_STREAM or (request.stream and not content_type)
        shown = request.memo.include_usage or self.facts.include_usage
        reader = self._reader(request, stream=stream, hide_usage=not shown)
        chat = DIALECTS.get(self.endpoint.dialect) if content_type == EVENT_STREAM and request.stream else None
        if chat is None or not chat.backend:
            counts = self.endpoint.operation in COUNTING
            return RelayTranslation(request, reader, {header_names.COUNT_SOURCE: "provider"} if counts else {})
        return RelayedStream(request, reader, chat)

    def _reader(self, request: UpstreamRequest, *, stream: bool, hide_usage: bool) -> RelayReader:
        reader = relay_reader(self.endpoint, stream=stream, hide_usage=hide_usage)
        if not request.shown_model:
            return reader
        return renaming_reader(reader, self.endpoint.dialect, request.shown_model, stream=stream)

    def _translate_error(
        self, request: UpstreamRequest, status: int, headers: Mapping[str, str], decode_error: DecodeError
    ) -> ResponseTranslation:
        """An error of the host's, in the client's dialect."""
        client = DIALECTS[self.endpoint.dialect]
        set_headers, remove_headers = response_headers(client, request, headers)
        set_headers["content-type"] = JSON
        return ErrorTranslation(client, decode_error, request, (status, headers), (set_headers, remove_headers))

    def _patch_object(self, body: bytes) -> tuple[str, bool, bytes, Memo]:
        source = relay.decode_object(body)
        model = relay.read_model(source)
        stream = self._read_stream(source)
        force = stream and self.endpoint.dialect in _USAGE_ON_REQUEST
        memo = Memo(include_usage=not force or relay.asks_for_usage(source))
        patched = relay.relay_request(
            source, model=self.facts.model, include_usage=not memo.include_usage, mutation=self.facts.body
        )
        return model, stream, patched, memo

    def _read_stream(self, source: relay.JsonObject) -> bool:
        match self.endpoint.stream:
            case StreamRule.NEVER:
                return False
            case StreamRule.ALWAYS:
                return True
            case StreamRule.FLAG:
                return relay.read_stream(source)
            case StreamRule.SSE_FORMAT:
                return source.raw("stream_format") == b'"sse"'

    def _patch_form(self, body: bytes, content_type: str) -> tuple[str, bool, bytes, Memo]:
        form = multipart.decode_form(body, content_type)
        model = multipart.read_model(form)
        stream = self.endpoint.stream is StreamRule.FLAG and multipart.read_stream(form)
        patched = multipart.override_model(form, self.facts.model) if self.facts.model else body
        return model, stream, patched, Memo()

    def _path(self, asked: Asked, client: PathFacts) -> str:
        path = self._host.place(self.endpoint, self.facts, asked)
        if not client.query:
            return path
        if self.endpoint.model_in_path:  # the client says itself how it wants its stream
            path = path.removesuffix("?alt=sse")
        if "?" not in path:
            return f"{path}?{client.query}"
        kept = _other_parameters(client.query, of=path)
        return f"{path}&{kept}" if kept else path

    def _dialect_headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        spoken = DIALECTS.get(self.endpoint.dialect)
        if spoken is None or not headers:
            return {}
        own = own_headers(spoken, self._host, self.facts.version)
        return {name: value for name, value in own.items() if name not in headers}


def _other_parameters(query: str, *, of: str) -> str:
    """The client's query without what the path says itself: of two api-versions, a provider may take either."""
    own = {name.lower() for name, _ in parse_qsl(of.partition("?")[2], keep_blank_values=True)}
    kept = (part for part in query.split("&") if unquote_plus(part.partition("=")[0]).lower() not in own)
    return "&".join(kept)


class RelayTranslation:
    """An answer that passes as it came."""

    __slots__ = ("_reader", "_request", "estimated", "headers", "losses", "remove_headers", "streamed")

    def __init__(
        self, request: UpstreamRequest, reader: RelayReader | None, headers: Mapping[str, str] = NO_HEADERS
    ) -> None:
        self._request = request
        self._reader = reader
        self.estimated = False
        self.headers = headers
        self.remove_headers: tuple[str, ...] = ()
        self.losses = request.losses
        self.streamed = True

    @property
    def usage(self) -> Usage:
        return NO_USAGE if self._reader is None else self._reader.usage

    @property
    def response_model(self) -> str:
        model = "" if self._reader is None else self._reader.response_model
        return model or self._request.request_model

    @property
    def marks(self) -> Marks:
        return NO_MARKS if self._reader is None else self._reader.marks

    def hold(self) -> bool:
        """Bytes pass at once."""
        return False

    def feed(self, data: bytes) -> bytes:
        """The same bytes, but for a usage chunk that must be hidden."""
        return data if self._reader is None else self._reader.feed(data)

    def close(self) -> bytes:
        """Whatever was held."""
        return b"" if self._reader is None else self._reader.close()


class PageTranslation:
    """An error that is no JSON (a proxy's HTML page): said in the client's dialect, the page quoted in part."""

    marks: Marks = NO_MARKS

    __slots__ = (
        "_dialect",
        "_status",
        "_text",
        "estimated",
        "headers",
        "losses",
        "remove_headers",
        "response_model",
        "streamed",
        "usage",
    )

    def __init__(self, dialect: DialectName, request: UpstreamRequest, status: int) -> None:
        self._dialect = dialect
        self._status = status
        self._text = b""
        self.headers = {"content-type": JSON}
        self.remove_headers: tuple[str, ...] = ()
        self.losses = request.losses
        self.response_model = request.request_model
        self.streamed = False
        self.usage = NO_USAGE
        self.estimated = False

    def hold(self) -> bool:
        """All is kept to the end anyway."""
        return False

    def feed(self, data: bytes) -> bytes:
        """Holds the first bytes of the page."""
        self._text = (self._text + data)[:QUOTED_BYTES_MAX] if len(self._text) < QUOTED_BYTES_MAX else self._text
        return b""

    def close(self) -> bytes:
        """The error's body."""
        text = self._text.decode("utf-8", "replace").strip()
        message = f"the provider answered {self._status} without a message of its API: {text}"
        return error_response(self._dialect, self._status, message, kind=kind_of_status(self._status))
