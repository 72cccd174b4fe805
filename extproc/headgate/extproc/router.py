"""A stream in the listener position: reads what routing and limits need from the request, and routes again by it.

Only for routes that need it (a model inside a multipart body, an exact count of the prompt before admission); the
others are routed by Envoy's own JSON extraction. The answer passes untouched.
"""

import re
from typing import Final, assert_never

from headgate.contract import headers as header_names
from headgate.contract import metadata as keys
from headgate.contract.facts import RouterFacts
from headgate.extproc.answers import INTERNAL_ERROR, reject
from headgate.extproc.body_buffer import BodyBuffer
from headgate.extproc.events import (
    NO_HEADERS,
    NOTHING,
    Actions,
    BodyMode,
    Change,
    Chunk,
    Continue,
    CountPrompt,
    Event,
    Headers,
    Phase,
    PromptCounted,
    RequestBody,
    RequestHeaders,
    RequestTrailers,
    ResponseBody,
    ResponseHeaders,
    ResponseTrailers,
    Value,
)
from headgate.llm import multipart, relay
from headgate.llm.content_coding import GZIP_MAGIC, inflate_request
from headgate.llm.endpoints import Body, Endpoint, StreamRule, lookup, path_facts
from headgate.llm.errors import ErrorDetail, RequestError, TranslationError
from headgate.llm.estimates import BYTES_PER_TOKEN, FILE_TOKENS

_PATH: Final = ":path"
_CONTENT_TYPE: Final = "content-type"
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_JSON_SSE: Final = b'"sse"'


class RouterSession:
    """One ext_proc stream in the listener position."""

    __slots__ = (
        "_body",
        "_endpoint",
        "_facts",
        "_headers",
        "_held",
        "_mode",
        "_passes",
        "_path",
        "_waiting",
    )

    def __init__(self, facts: RouterFacts) -> None:
        self._facts = facts
        self._headers: Headers = NO_HEADERS
        self._endpoint: Endpoint | None = None
        self._mode = BodyMode.BUFFERED
        self._body = BodyBuffer(facts.body_bytes_max)
        self._waiting: Change | None = None
        self._held: bytes | None = None
        self._passes = False
        self._path = ""

    def receive(self, event: Event) -> Actions:
        """What to tell Envoy, or the shell (`CountPrompt`)."""
        try:
            return self._receive(event)
        except TranslationError as error:
            if self._facts.count_prompt and isinstance(event, RequestHeaders | RequestBody):
                # What has no prompt here goes on without a number: those that serve it say what is wrong with it.
                self._passes = True
                return self._without_count(event)
            return self._fail(error.detail())

    def crash(self, event: Event) -> Actions:
        """The answer to a client whose request hit a bug of ours at `event`."""
        del event
        return self._fail(INTERNAL_ERROR)

    def _receive(self, event: Event) -> Actions:
        match event:
            case RequestHeaders():
                return self._on_headers(event)
            case RequestBody():
                return self._on_body(event)
            case RequestTrailers():
                return self._on_trailers()
            case ResponseHeaders():
                return (Continue(Phase.RESPONSE_HEADERS),)
            case ResponseBody():
                if event.context.response_body_mode is BodyMode.FULL_DUPLEX_STREAMED:
                    raise AssertionError("a router stream must not ask for responses")
                return (Continue(Phase.RESPONSE_BODY),)
            case ResponseTrailers():
                return (Continue(Phase.RESPONSE_TRAILERS),)
            case PromptCounted():
                return self._on_counted(event)
            case _:
                assert_never(event)

    def _without_count(self, event: RequestHeaders | RequestBody) -> Actions:
        if self._mode is BodyMode.FULL_DUPLEX_STREAMED:
            raise AssertionError("a stream that counts prompts needs request bodies buffered")
        return (Continue(Phase.REQUEST_HEADERS if isinstance(event, RequestHeaders) else Phase.REQUEST_BODY),)

    def _fail(self, detail: ErrorDetail) -> Actions:
        return (reject(self._endpoint, detail),)

    def _on_headers(self, event: RequestHeaders) -> Actions:
        if event.context.request_body_mode is not None:
            self._mode = event.context.request_body_mode
        self._headers = event.headers
        asked = event.headers.get(_PATH, "")
        self._path = path = asked.removeprefix(self._facts.root)
        self._endpoint = lookup(path)
        if event.end_of_stream:
            return self._without_body(path)
        if self._endpoint is None:
            raise RequestError(f"unsupported path: {asked}", status=404, code="unsupported_path")
        if self._mode is BodyMode.FULL_DUPLEX_STREAMED:
            return NOTHING
        return (Continue(Phase.REQUEST_HEADERS),)

    def _without_body(self, path: str) -> Actions:
        endpoint = self._endpoint
        if endpoint is not None and endpoint.body is not Body.NONE:
            raise RequestError("a request body is required")
        return (Change(phase=Phase.REQUEST_HEADERS, set_headers=_paths(path), clear_route_cache=True),)

    def _on_body(self, event: RequestBody) -> Actions:
        if event.context.request_body_mode is not None:
            raise AssertionError("a router stream needs the request's header message")
        if self._passes:
            return self._without_count(event)
        self._body.add(event.body)
        if not event.end_of_stream and self._mode is not BodyMode.BUFFERED:
            if self._mode is BodyMode.FULL_DUPLEX_STREAMED:
                return NOTHING
            raise AssertionError("a router stream needs request bodies buffered or full duplex")
        return self._route(self._body.take())

    def _on_trailers(self) -> Actions:
        if self._mode is BodyMode.FULL_DUPLEX_STREAMED:
            raise RequestError("request trailers are not supported")
        return (Continue(Phase.REQUEST_TRAILERS),)

    def _route(self, body: bytes) -> Actions:
        endpoint = self._endpoint
        assert endpoint is not None
        plain = inflate_request(body, bytes_max=self._facts.body_bytes_max) if body.startswith(GZIP_MAGIC) else body
        path = self._path
        if endpoint.model_in_path:
            facts = path_facts(endpoint, path)
            model, stream, text_bytes = facts.model, facts.stream, None
        else:
            model, stream, text_bytes = read_route(endpoint, self._headers.get(_CONTENT_TYPE, ""), plain)
        if _CONTROL.search(model):
            raise RequestError("must be one line of text", path="model")  # no header can carry it
        duplex = self._mode is BodyMode.FULL_DUPLEX_STREAMED
        internal: dict[str, Value] = {
            keys.INTERNAL_MODEL: model,
            keys.INTERNAL_STREAM: stream,
            keys.INTERNAL_PATH: path,
        }
        if text_bytes is not None:
            internal[keys.INTERNAL_TEXT_BYTES] = text_bytes
        change = Change(
            phase=Phase.REQUEST_HEADERS if duplex else Phase.REQUEST_BODY,
            set_headers={header_names.MODEL: model, **_paths(path)},
            clear_route_cache=True,
            metadata={keys.INTERNAL: internal, keys.NAMESPACE: {keys.MODEL_NAME_OVERRIDE: model}},
        )
        self._held = body if duplex else None
        if self._facts.count_prompt and endpoint.body is Body.JSON:
            self._waiting = change
            return (CountPrompt(endpoint.name, model, plain),)
        return self._finish(change)

    def _on_counted(self, event: PromptCounted) -> Actions:
        change, self._waiting = self._waiting, None
        assert change is not None, "a count was asked for"
        if event.tokens is None:
            return self._finish(change)
        ours: dict[str, Value] = {**change.metadata[keys.NAMESPACE], keys.PROMPT_TOKENS: event.tokens}
        return self._finish(
            Change(
                phase=change.phase,
                set_headers={**change.set_headers, header_names.PROMPT_TOKENS: str(event.tokens)},
                clear_route_cache=True,
                metadata={**change.metadata, keys.NAMESPACE: ours},
            )
        )

    def _finish(self, change: Change) -> Actions:
        if self._held is None:
            return (change,)
        held, self._held = self._held, None
        return (change, Chunk(phase=Phase.REQUEST_BODY, body=held, end_of_stream=True))


def read_route(endpoint: Endpoint, content_type: str, body: bytes) -> tuple[str, bool, int | None]:
    """Model and stream flag of a request, and how much of a form is text (`metadata.INTERNAL_TEXT_BYTES`).

    RequestError: no model, or not the body that the endpoint takes.
    """
    if multipart.reads_form(endpoint, content_type):
        form = multipart.decode_form(body, content_type)
        files = [field.value_end - field.value_start for field in form.fields if field.file]
        stream = endpoint.stream is StreamRule.FLAG and multipart.read_stream(form)
        no_text = sum(files) - len(files) * FILE_TOKENS * BYTES_PER_TOKEN
        return multipart.read_model(form), stream, len(body) - max(no_text, 0)
    if multipart.is_multipart(content_type):
        raise RequestError(f"{endpoint.path} takes JSON, not multipart/form-data")
    members = relay.decode_object(body)
    model = relay.read_model_at(members, endpoint.model_member)
    match endpoint.stream:
        case StreamRule.FLAG:
            return model, relay.read_stream(members), None
        case StreamRule.SSE_FORMAT:
            return model, members.raw("stream_format") == _JSON_SSE, None
        case StreamRule.NEVER:
            return model, False, None
        case StreamRule.ALWAYS:
            return model, True, None
        case _:
            assert_never(endpoint.stream)


def _paths(path: str) -> dict[str, str]:
    """compat: both names."""
    return {header_names.ORIGINAL_PATH: path, header_names.ENVOY_ORIGINAL_PATH: path}
