"""One attempt at one backend: translates the request on its way out and the answer on its way back.

Serves every way Envoy can be told to send bodies, and learns which from the events themselves:

- bodies buffered: one body event each way, headers may still change with it;
- header messages skipped: the body is all that can be replaced, and the status comes as an attribute;
- response body streamed: headers go out first, then a reply per chunk;
- full duplex: nothing is answered before the body is known, or the first of it that is worth telling where it is a
  stream; then headers and body together.

Rule: `content-length` is removed or set wherever a body is replaced.
"""

from collections.abc import Iterable, Mapping
from enum import Enum, auto
from typing import Final

from headgate.contract import headers as header_names
from headgate.contract import metadata as keys
from headgate.contract.facts import BackendFacts
from headgate.extproc.answers import INTERNAL_ERROR, JSON_HEADERS, encode_error, encode_error_event, reject
from headgate.extproc.attributes import headers_of, status_of
from headgate.extproc.body_buffer import BodyBuffer
from headgate.extproc.content_encoding import ContentDecoder, content_decoder
from headgate.extproc.events import (
    EMPTY,
    NO_HEADERS,
    NO_NAMESPACES,
    NOTHING,
    Actions,
    BodyMode,
    Change,
    Chunk,
    Context,
    Continue,
    CountPrompt,
    Event,
    Headers,
    Namespaces,
    Phase,
    PromptCounted,
    Reject,
    RequestBody,
    RequestHeaders,
    RequestTrailers,
    ResponseBody,
    ResponseHeaders,
    ResponseTrailers,
    Value,
    phase_of,
)
from headgate.extproc.published import (
    UNTIMED,
    Clock,
    Pace,
    counts,
    is_plain,
    marked,
    names,
    parameters,
    plain,
    with_text,
)
from headgate.extproc.report import Report
from headgate.extproc.tap import Tap, is_sampled
from headgate.llm import planning
from headgate.llm.endpoints import Endpoint, lookup
from headgate.llm.errors import ErrorDetail, RequestError, TranslationError, UpstreamError
from headgate.llm.exchange import Plan, ResponseTranslation, UpstreamRequest
from headgate.llm.losses import format_losses
from headgate.llm.usage import NO_USAGE

CONTENT_LENGTH: Final = "content-length"
CONTENT_ENCODING: Final = "content-encoding"

# As names of this module: to look up a member of an enum costs ten times as much.
_REQUEST_HEADERS, _RESPONSE_HEADERS, _REQUEST_BODY, _RESPONSE_BODY, _REQUEST_TRAILERS, _RESPONSE_TRAILERS = Phase
_NONE, _STREAMED, _BUFFERED, _, _DUPLEX, _ = BodyMode
_RESPONSE_PHASES: Final = (_RESPONSE_HEADERS, _RESPONSE_BODY)


class Progress(Enum):
    """How far an attempt got."""

    REQUEST = auto()
    """The request is not sent yet."""
    WAITING = auto()
    """Sent; nothing of the answer has gone to the client."""
    ANSWERING = auto()
    """The answer's headers are out: nothing but its body can still be changed."""
    DONE = auto()


_REQUEST, _WAITING, _ANSWERING, _DONE = Progress
_NOT_UNDER_WAY: Final = (_REQUEST, _DONE)


class UpstreamSession:
    """One ext_proc stream in the upstream position. `created`: Unix seconds at its start; `clock` has
    streams timed."""

    __slots__ = (
        "_body",
        "_created",
        "_decoder",
        "_endpoint",
        "_error",
        "_facts",
        "_names",
        "_original_headers",
        "_pace",
        "_plan",
        "_progress",
        "_provider_headers",
        "_published",
        "_request",
        "_request_mode",
        "_response_bytes",
        "_response_mode",
        "_saw_request_headers",
        "_saw_response_headers",
        "_status",
        "_tap",
        "_translation",
    )

    def __init__(
        self,
        facts: BackendFacts,
        endpoint: Endpoint | None,
        created: int,
        tap: Tap | None = None,
        *,
        clock: Clock | None = None,
    ) -> None:
        self._pace = Pace(clock)
        self._facts = facts
        self._endpoint = endpoint
        self._created = created
        self._tap = tap
        self._original_headers: Headers = NO_HEADERS
        self._provider_headers: Headers = NO_HEADERS
        self._saw_request_headers = False
        self._saw_response_headers = False
        self._request_mode = _BUFFERED
        self._response_mode = _BUFFERED
        self._progress = _REQUEST
        self._body = BodyBuffer(facts.body_bytes_max)
        self._response_bytes = 0
        self._plan: Plan | None = None
        self._request: UpstreamRequest | None = None
        self._translation: ResponseTranslation | None = None
        self._decoder: ContentDecoder | None = None
        self._status = 0
        self._error = ""
        self._published = NO_USAGE
        self._names: Mapping[str, Value] = EMPTY

    def receive(self, event: Event) -> Actions:
        """What to tell Envoy. Clients' and providers' errors are answers; any other exception is a bug: see `crash`."""
        try:
            if type(event) is ResponseBody:  # first: most events are pieces of a stream
                return self._on_response_body(event)
            if type(event) is RequestHeaders:
                return self._on_request_headers(event)
            if type(event) is RequestBody:
                return self._on_request_body(event)
            if type(event) is ResponseHeaders:
                return self._on_response_headers(event)
            if type(event) is ResponseTrailers:
                return self._on_response_trailers()
            if type(event) is RequestTrailers:
                return self._on_request_trailers()
            return (self._answer_count(event),)
        except TranslationError as error:
            return self._fail(error.detail(), phase_of(event))

    def crash(self, event: Event) -> Actions:
        """The answer to a client whose request hit a bug of ours at `event`."""
        return self._fail(INTERNAL_ERROR, phase_of(event))

    def report(self) -> Report:
        """What is known of this attempt; final when the stream has ended."""
        request, translation = self._request, self._translation
        return Report(
            facts=self._facts,
            endpoint=self._endpoint,
            original_model="" if request is None else request.original_model,
            request_model="" if request is None else request.request_model,
            response_model="" if translation is None else translation.response_model,
            usage=NO_USAGE if translation is None else translation.usage,
            status=self._status,
            error=self._error,
            complete=self._progress is _DONE,
            first_seconds=self._pace.first_seconds,
        )

    # Request

    def _read_modes(self, first: Context) -> None:
        """How bodies are sent: the first event of a stream tells it."""
        if first.request_body_mode is not None:
            self._request_mode = first.request_body_mode
            self._response_mode = first.response_body_mode or _NONE

    def _on_request_headers(self, event: RequestHeaders) -> Actions:
        self._saw_request_headers = True
        self._read_modes(event.context)
        self._original_headers = event.headers
        if self._endpoint is None:
            self._endpoint = _endpoint_of(event.headers)
        if event.end_of_stream:
            return self._sent(_REQUEST_HEADERS, self._translate(b""))
        if self._request_mode is _DUPLEX:
            return NOTHING
        if self._request_mode is _NONE:
            raise AssertionError("the filter must send request bodies to a translating processor")
        return (Continue(_REQUEST_HEADERS),)

    def _on_request_body(self, event: RequestBody) -> Actions:
        if not self._saw_request_headers:
            self._read_modes(event.context)
            self._original_headers = headers_of(event.context) or self._original_headers
            if self._endpoint is None:
                self._endpoint = _endpoint_of(self._original_headers)
        self._body.add(event.body)
        if not event.end_of_stream and self._request_mode is not _BUFFERED:
            return self._swallowed_request_chunk()
        return self._sent(_REQUEST_BODY, self._translate(self._body.take()))

    def _sent(self, phase: Phase, request: UpstreamRequest) -> Actions:
        if request.local is not None:
            assert self._endpoint is not None, "it was translated"
            return (CountPrompt(self._endpoint.name, request.request_model, b"", request.local.chat),)
        if self._request_mode is _DUPLEX and phase is _REQUEST_BODY:
            return self._duplex_request(request, end_of_stream=True)
        return (self._change_request(phase, request),)

    def _answer_count(self, event: PromptCounted) -> Reject:
        """A count that no provider was asked for, as Envoy's own answer."""
        request = self._request
        assert request is not None, "it was translated"
        assert request.local is not None, "a count was asked for"
        self._progress = _DONE
        if event.tokens is None:
            self._status, self._error = INTERNAL_ERROR.status, INTERNAL_ERROR.code
            return reject(self._endpoint, INTERNAL_ERROR)
        self._status = 200
        source = "exact" if event.exact else "estimated"
        return Reject(
            status=200,
            headers={**JSON_HEADERS, header_names.COUNT_SOURCE: source},
            body=request.local.answer(event.tokens),
            details="headgate_counted",
            metadata=self._request_metadata(request),
        )

    def _on_request_trailers(self) -> Actions:
        if self._progress is _REQUEST and self._request_mode is _DUPLEX:
            request = self._translate(self._body.take())
            return (*self._duplex_request(request, end_of_stream=False), Continue(_REQUEST_TRAILERS))
        return (Continue(_REQUEST_TRAILERS),)

    def _swallowed_request_chunk(self) -> Actions:
        if self._request_mode is _DUPLEX:
            return NOTHING
        return (Change(phase=_REQUEST_BODY, body=b""),)

    def _translate(self, body: bytes) -> UpstreamRequest:
        if self._endpoint is None:
            path = self._original_headers.get(":path", "")
            raise RequestError(f"unsupported path: {path}", status=404, code="unsupported_path")
        if self._tap is not None:
            self._tap.asked(body, self._original_headers, captured=planning.is_chat(self._endpoint))
        self._plan = planning.plan(self._endpoint, self._facts)
        request = self._plan.translate_request(body, self._original_headers)
        self._request = request
        if not request.stream:
            self._pace = UNTIMED
        if self._tap is not None:
            self._tap.stream = request.stream
        self._progress = _WAITING
        return request

    def _change_request(self, phase: Phase, request: UpstreamRequest) -> Change:
        metadata = self._request_metadata(request)
        if not self._saw_request_headers:
            return Change(phase=phase, body=request.body, metadata=metadata)
        return Change(
            phase=phase,
            set_headers=_news_to(
                self._original_headers,
                {":path": request.path, **request.headers, CONTENT_LENGTH: str(len(request.body))},
            ),
            remove_headers=_there(self._original_headers, request.remove_headers),
            body=request.body if phase is _REQUEST_BODY or request.body else None,
            metadata=metadata,
        )

    def _duplex_request(self, request: UpstreamRequest, *, end_of_stream: bool) -> Actions:
        change = Change(
            phase=_REQUEST_HEADERS,
            set_headers={":path": request.path, **request.headers},
            remove_headers=(*request.remove_headers, CONTENT_LENGTH),
            metadata=self._request_metadata(request),
        )
        return (change, Chunk(phase=_REQUEST_BODY, body=request.body, end_of_stream=end_of_stream))

    def _request_metadata(self, request: UpstreamRequest) -> Namespaces:
        """Who serves this attempt: published at once, so that a request that never ends is still accounted for. Where
        it is traced, Envoy has the processor know, and its spans say how the answer is to be drawn."""
        ours = self._names = names(self._facts, request)
        internal: dict[str, Value] = {}
        if self._facts.announced and self._saw_request_headers:  # the path is replaced
            internal[keys.INTERNAL_PATH] = self._original_headers[":path"]
        trace = self._original_headers.get("traceparent")
        if trace and is_sampled(trace) and (said := parameters(request)):
            internal[keys.INTERNAL_PARAMETERS] = said
        return {keys.NAMESPACE: ours, keys.INTERNAL: internal} if internal else {keys.NAMESPACE: ours}

    # Response

    def _on_response_headers(self, event: ResponseHeaders) -> Actions:
        if self._progress is not _WAITING:
            return (Continue(_RESPONSE_HEADERS),)  # an answer of Envoy's own, before the provider was asked
        self._saw_response_headers = True
        self._provider_headers = event.headers
        status = event.headers.get(":status", "")
        translation = self._open(int(status) if status.isdecimal() else 0, event.headers)
        if event.end_of_stream:
            body = translation.close()
            return (self._change_response(_RESPONSE_HEADERS, body, ended=True),)
        # The body decides whether this is an answer at all: hold what can be held.
        if self._response_mode is _DUPLEX:
            if not translation.streamed or translation.hold():
                return NOTHING
        elif not translation.streamed and self._response_mode is not _STREAMED:
            return (Continue(_RESPONSE_HEADERS),)
        return (self._begin(translation),)

    def _begin(self, translation: ResponseTranslation) -> Change:
        """The headers of an answer whose body goes out piece by piece."""
        self._progress = _ANSWERING
        set_headers, remove_headers = self._response_headers(translation)
        overridden = translation.streamed and self._response_mode is _BUFFERED
        return Change(
            phase=_RESPONSE_HEADERS,
            set_headers=set_headers,
            remove_headers=(*remove_headers, CONTENT_LENGTH),
            response_body_mode=_STREAMED if overridden else None,
        )

    def _on_response_body(self, event: ResponseBody) -> Actions:
        if self._progress in _NOT_UNDER_WAY:
            return self._after_the_end(event)
        translation = self._translation
        if translation is None:
            translation = self._open(status_of(event.context), NO_HEADERS)
        assert self._decoder is not None
        if not translation.streamed:
            self._response_bytes += len(event.body)
            if self._response_bytes > self._facts.body_bytes_max:
                raise UpstreamError(f"the provider's answer is larger than {self._facts.body_bytes_max} bytes")
        body = translation.feed(self._decoder.feed(event.body)) if event.body else b""
        ended = event.end_of_stream or self._whole_response()
        if not ended:
            return self._response_chunk(translation, body)
        self._decoder.close()
        body += translation.close()
        if self._response_mode is _DUPLEX:
            return self._end_duplex_response(body, end_of_stream=True)
        return (self._change_response(_RESPONSE_BODY, body, ended=True),)

    def _on_response_trailers(self) -> Actions:
        last = Continue(_RESPONSE_TRAILERS)
        translation = self._translation
        if translation is None or self._progress in _NOT_UNDER_WAY:
            return (last,)
        body = translation.close()
        if self._response_mode is _DUPLEX:
            return (*self._end_duplex_response(body, end_of_stream=False), last)
        self._progress = _DONE
        return (Change(phase=_RESPONSE_TRAILERS, metadata=self._final_metadata(translation)),)

    def _whole_response(self) -> bool:
        """A buffered body is whole even where trailers follow it; not so once it has been switched to streaming."""
        return self._response_mode is _BUFFERED and self._progress is not _ANSWERING

    def _open(self, status: int, headers: Headers) -> ResponseTranslation:
        request = self._request
        assert request is not None, "the request was translated"
        assert self._plan is not None
        self._status = status or 200
        self._decoder = content_decoder(headers.get(CONTENT_ENCODING, ""), self._facts.body_bytes_max)
        self._translation = self._plan.open_response(request, self._status, headers, self._created)
        return self._translation

    def _response_headers(self, translation: ResponseTranslation) -> tuple[dict[str, str], tuple[str, ...]]:
        """Headers to set and to remove; the decoded body has no content encoding."""
        set_headers = dict(translation.headers)
        losses = self._losses(translation)
        if losses:
            set_headers[header_names.LOSSES] = losses
        known = self._provider_headers
        return _news_to(known, set_headers), _there(known, (*translation.remove_headers, CONTENT_ENCODING))

    def _losses(self, translation: ResponseTranslation) -> str:
        request = self._request
        if not translation.losses and (request is None or not request.losses):
            return ""
        before = () if request is None else tuple(request.losses)
        return format_losses((*before, *(loss for loss in translation.losses if loss not in before)))

    def _response_chunk(self, translation: ResponseTranslation, body: bytes) -> Actions:
        if self._tap is not None:
            self._tap.answered(body)
        duplex = self._response_mode is _DUPLEX
        if duplex and not body:
            return NOTHING
        news = self._news(translation)
        if body:
            news = self._pace.told(news, translation)
        if not duplex:
            return (Change(phase=_RESPONSE_BODY, body=body, metadata=news),)
        chunk = Chunk(phase=_RESPONSE_BODY, body=body, end_of_stream=False, metadata=news)
        return (chunk,) if self._progress is _ANSWERING else (self._begin(translation), chunk)

    def _news(self, translation: ResponseTranslation) -> Namespaces:
        """Usage as soon as it is known: a client that hangs up before the end owes what it used."""
        usage = translation.usage
        if usage is self._published or usage == self._published:
            return NO_NAMESPACES
        self._published = usage
        return self._final_metadata(translation)

    def _change_response(self, phase: Phase, body: bytes, *, ended: bool) -> Change:
        """The last reply of an answer whose headers may still be changeable."""
        translation = self._translation
        assert translation is not None
        if self._tap is not None:
            self._tap.answered(body)
        answering = self._progress is _ANSWERING
        if ended:
            self._progress = _DONE
        metadata = self._pace.told(self._final_metadata(translation), translation, ended=ended)
        if answering or not self._saw_response_headers:
            return Change(phase=phase, body=body, metadata=metadata)
        set_headers, remove_headers = self._response_headers(translation)
        replaced = body if body or phase is _RESPONSE_BODY else None
        if replaced is not None:
            set_headers[CONTENT_LENGTH] = str(len(replaced))
        return Change(
            phase=phase, set_headers=set_headers, remove_headers=remove_headers, body=replaced, metadata=metadata
        )

    def _end_duplex_response(self, body: bytes, *, end_of_stream: bool) -> Actions:
        translation = self._translation
        assert translation is not None
        if self._tap is not None:
            self._tap.answered(body)
        metadata = self._pace.told(self._final_metadata(translation), translation, ended=True)
        if self._facts.as_text and not translation.streamed and is_plain(self._original_headers.get(":path", "")):
            metadata = with_text(metadata, self._names)
        answering = self._progress is _ANSWERING
        self._progress = _DONE
        chunk = Chunk(phase=_RESPONSE_BODY, body=body, end_of_stream=end_of_stream, metadata=metadata)
        if answering:
            return (chunk,)
        if translation.streamed:
            head, self._progress = self._begin(translation), _DONE
            return (head, chunk)
        set_headers, remove_headers = self._response_headers(translation)
        set_headers[CONTENT_LENGTH] = str(len(body))
        return (Change(phase=_RESPONSE_HEADERS, set_headers=set_headers, remove_headers=remove_headers), chunk)

    def _final_metadata(self, translation: ResponseTranslation) -> Namespaces:
        ours = counts(translation.usage, estimated=translation.estimated)
        if translation.response_model:
            ours[keys.RESPONSE_MODEL] = plain(translation.response_model)
        ours |= marked(translation.marks)
        if translation.losses:
            ours[keys.LOSSES] = self._losses(translation)
        return {keys.NAMESPACE: ours} if ours else NO_NAMESPACES

    # Failure

    def _after_the_end(self, event: ResponseBody) -> Actions:
        """Envoy's own answer passes; what a provider sends after we gave up on it is swallowed."""
        if self._progress is _REQUEST:
            return (Continue(_RESPONSE_BODY),)
        if self._response_mode is _DUPLEX:
            return NOTHING
        del event
        return (Change(phase=_RESPONSE_BODY, body=b""),)

    def _fail(self, detail: ErrorDetail, phase: Phase) -> Actions:
        progress, self._progress = self._progress, _DONE
        self._error = detail.code or str(detail.kind)
        if progress in (_ANSWERING, _DONE):
            return self._fail_late(detail, phase)
        self._status = detail.status
        if phase is _RESPONSE_BODY and not self._saw_response_headers:
            # The headers have passed this filter unseen: an answer of Envoy's own would only cut the provider's off.
            return (Change(phase=phase, body=encode_error(self._endpoint, detail)),)
        duplex = self._response_mode is _DUPLEX
        changeable = phase in _RESPONSE_PHASES or (duplex and phase is _RESPONSE_TRAILERS)
        if self._request_mode is _DUPLEX or not changeable:
            return (reject(self._endpoint, detail),)
        # Not an answer of Envoy's own: those are never retried, and another backend may do better.
        body = encode_error(self._endpoint, detail)
        set_headers = {**JSON_HEADERS, ":status": str(detail.status), CONTENT_LENGTH: str(len(body))}
        if duplex and phase is not _RESPONSE_HEADERS:
            headers = Change(phase=_RESPONSE_HEADERS, set_headers=set_headers, remove_headers=(CONTENT_ENCODING,))
            return (headers, *_last_piece(phase, body))
        return (Change(phase=phase, set_headers=set_headers, remove_headers=(CONTENT_ENCODING,), body=body),)

    def _fail_late(self, detail: ErrorDetail, phase: Phase) -> Actions:
        duplex = self._response_mode is _DUPLEX
        if phase is not _RESPONSE_BODY and not (duplex and phase is _RESPONSE_TRAILERS):
            return (Continue(phase),)
        translation = self._translation
        streamed = translation is not None and translation.streamed
        body = encode_error_event(self._endpoint, detail) if streamed else encode_error(self._endpoint, detail)
        metadata = NO_NAMESPACES if translation is None else self._final_metadata(translation)
        if duplex:
            return _last_piece(phase, body, metadata)
        return (Change(phase=phase, body=body, metadata=metadata),)


def _last_piece(phase: Phase, body: bytes, metadata: Namespaces = NO_NAMESPACES) -> Actions:
    """The end of a full-duplex answer: at the end of its body, or at the trailers that follow it."""
    if phase is _RESPONSE_TRAILERS:
        return (
            Chunk(phase=_RESPONSE_BODY, body=body, end_of_stream=False, metadata=metadata),
            Continue(_RESPONSE_TRAILERS),
        )
    return (Chunk(phase=phase, body=body, end_of_stream=True, metadata=metadata),)


def _news_to(known: Headers, set_headers: Mapping[str, str]) -> dict[str, str]:
    """Without the headers that are so already: each costs Envoy some 2,500 instructions."""
    return {name: value for name, value in set_headers.items() if known.get(name) != value}


def _there(known: Headers, names: Iterable[str]) -> tuple[str, ...]:
    """Without a content encoding that is not there. Of other names we may not have been told."""
    return tuple(names) if CONTENT_ENCODING in known else tuple([name for name in names if name != CONTENT_ENCODING])


def _endpoint_of(headers: Headers) -> Endpoint | None:
    """By the client's path: the router's copy of it where there is one, since Lua may have written the provider's."""
    return lookup(headers.get(header_names.ORIGINAL_PATH) or headers.get(":path", ""))
