"""Crossing dialects: decode to the canonical model, encode from it, both ways.

The answer is handled by what comes, not by what was hoped for: errors by status, streams and whole answers by content
type. Once bytes of a stream have gone out, every failure is the client's dialect's error event; before that it is
`UpstreamError`.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec
from headgate.contract import headers as header_names
from headgate.contract.facts import BackendFacts
from headgate.llm.answer_body import AnswerBody
from headgate.llm.answer_losses import losses_of
from headgate.llm.bridge_stream import HeaderEdits, StreamTranslation
from headgate.llm.canonical import ChatRequest, ChatResponse, Reasoning
from headgate.llm.capabilities import openai_facts
from headgate.llm.content_coding import GZIP_MAGIC, Inflater, inflate_request
from headgate.llm.dialects.dialect import EVENT_STREAM, ChatDialect, ReplyContext, Target
from headgate.llm.endpoints import NO_PATH, Endpoint, PathFacts, path_facts
from headgate.llm.errors import ErrorDetail, UnsupportedTranslation, UpstreamError
from headgate.llm.estimates import completed, prompt_tokens, tokens_of, written_by
from headgate.llm.exchange import Lane, ResponseTranslation, UpstreamRequest
from headgate.llm.hosts.host import Asked, Framing, Host
from headgate.llm.losses import Loss, format_losses, in_place, in_words_of
from headgate.llm.marks import NO_MARKS, Marks, marks_of
from headgate.llm.mutation import mutate_body, mutate_headers
from headgate.llm.names import HostName
from headgate.llm.response_events import response_events
from headgate.llm.stand_ins import stand_in_losses
from headgate.llm.unnamed_stream import UnnamedStream
from headgate.llm.usage import NO_USAGE, Usage
from headgate.llm.vendors import vendor_named

JSON: Final = "application/json"
_CALLED_JSON: Final = frozenset(("", JSON, "text/plain"))
"""Some servers say nothing of their JSON, some (Go's, by default) call it text."""

DATED_VERSION: Final = re.compile(r"\d{4}-\d\d-\d\d")
"""What a version header may hold; a backend's `version` may also be a path's (`v1`)."""

ERROR_BODY_BYTES_MAX: Final = 1_048_576
"""An error's body is read up to here; what comes after cannot be part of a message."""


def own_headers(provider: ChatDialect, host: Host, version: str) -> dict[str, str]:
    """What a provider of this dialect must be sent, whoever asks (`anthropic-version`), with a backend's `version`."""
    sent = {name: value for name, value in provider.request_headers.items() if name not in host.headers_in_body}
    configured = host.name is HostName.DIRECT and DATED_VERSION.fullmatch(version) is not None
    return dict.fromkeys(sent, version) if configured else sent


class BridgePlan:
    """An endpoint of one chat dialect served by a backend of another."""

    __slots__ = (
        "_client",
        "_decode_error",
        "_framing",
        "_host",
        "_provider",
        "_remove_headers",
        "_responses",
        "_set_headers",
        "_targets",
        "_vendor",
        "endpoint",
        "facts",
    )

    lane: Lane = "bridge"

    def __init__(
        self,
        endpoint: Endpoint,
        facts: BackendFacts,
        host: Host,
        *,
        targets: tuple[Endpoint, Endpoint],
        client: ChatDialect,
        provider: ChatDialect,
        responses: "BridgePlan | None" = None,
    ) -> None:
        """`responses`: to another API of the backend's, for what its models do only there."""
        self.endpoint = endpoint
        self.facts = facts
        self._responses = responses
        self._host = host
        self._targets = targets
        self._client = client
        self._provider = provider
        self._vendor = vendor_named(facts.vendor)
        self._decode_error = host.decode_error or provider.decode_error
        self._framing = host.framings.get(provider.name) or Framing(provider.stream_type(NO_PATH), provider.frames)
        own = own_headers(provider, host, facts.version)
        set_headers, remove_headers = mutate_headers(facts, {"content-type": JSON, **own}, client.client_headers)
        self._set_headers, self._remove_headers = set_headers, (*remove_headers, "content-encoding")

    def translate_request(self, body: bytes, headers: Mapping[str, str]) -> UpstreamRequest:
        """See `exchange.Plan`."""
        facts = self.facts
        if body.startswith(GZIP_MAGIC):
            body = inflate_request(body, bytes_max=facts.body_bytes_max)
        path = path_facts(self.endpoint, headers.get(header_names.ORIGINAL_PATH) or headers.get(":path", ""))
        request = self._client.decode_request(body, path)
        if self._responses is not None and belongs_to_responses(request, facts):
            return msgspec.structs.replace(
                self._responses._encoded(request, path, body, headers), asked=self._responses
            )
        return self._encoded(request, path, body, headers)

    def _encoded(
        self, request: ChatRequest, path: PathFacts, body: bytes, headers: Mapping[str, str]
    ) -> UpstreamRequest:
        facts = self.facts
        model = facts.model or request.model
        target = Target(
            model=model,
            host=self._host.name,
            version=facts.version,
            vendor=self._vendor,
            models=facts.models,
            losses=facts.losses,
        )
        encoded = self._provider.encode_request(request, target)
        losses = (*stand_in_losses(request.stand_ins), *encoded.losses) if request.stand_ins else encoded.losses
        if losses:
            losses = in_words_of(losses, self._client.own_names, _reasoning_name(request.reasoning))
            losses = in_place(losses, body, self._client.other_names)
            if facts.losses == "reject":
                refuse_losses(losses)
        asked, target_endpoint = Asked(model, request.stream, headers), self._targets[request.stream]
        return UpstreamRequest(
            path=self._host.place(target_endpoint, facts, asked),
            headers=self._set_headers,
            remove_headers=self._remove_headers,
            body=mutate_body(facts.body, self._host.envelope(target_endpoint, facts, asked, encoded.body)),
            original_model=request.model,
            request_model=model,
            shown_model=request.model if facts.response_model == "requested" else "",
            stream=request.stream,
            memo=encoded.memo,
            client_path=path,
            echo=request.echo,
            stand_ins=request.stand_ins,
            losses=losses,
            prompt_tokens=prompt_tokens(request, len(body)),
            max_tokens=request.max_tokens,
            sampling=request.sampling,
        )

    def open_response(
        self, request: UpstreamRequest, status: int, headers: Mapping[str, str], created: int
    ) -> ResponseTranslation:
        """See `exchange.Plan`."""
        if isinstance(request.asked, BridgePlan):
            return request.asked.open_response(msgspec.structs.replace(request, asked=None), status, headers, created)
        if not (200 <= status < 300 or 400 <= status < 600):
            # A redirection would send the client, with its prompt, where a provider says.
            raise UpstreamError(f"the provider answered {status}, which no API answers")
        content_type = headers.get("content-type", "").partition(";")[0].strip().lower()
        set_headers, remove_headers = response_headers(self._client, request, headers)
        if not 200 <= status < 300:
            set_headers["content-type"] = JSON
            return ErrorTranslation(
                self._client, self._decode_error, request, (status, headers), (set_headers, remove_headers)
            )
        include_usage = request.memo.include_usage or self.facts.include_usage
        context = ReplyContext(
            model=request.shown_model or request.request_model,
            created=created,
            include_usage=include_usage,
            request_id=request_id_of(headers),
            path=request.client_path,
            echo=request.echo,
            stand_ins=request.stand_ins,
        )
        edits, bytes_max = (set_headers, remove_headers), self.facts.body_bytes_max
        if request.stream:
            set_headers["content-type"] = self._client.stream_type(request.client_path)
            streams = (self._client, self._provider, self._framing)
            stream = StreamTranslation(streams, request, context, bytes_max, edits)
            if content_type in ("", self._framing.content_type):
                return stream
        else:
            set_headers["content-type"] = JSON
            stream = None
        require_json(status, content_type)
        whole = WholeTranslation(self._client, self._provider, request, context, bytes_max, edits)
        if stream is None or self._framing.content_type != EVENT_STREAM:
            return whole
        return UnnamedStream(whole, stream)


def may_be_json(content_type: str) -> bool:
    """Some servers call JSON what is none, and JSON something else."""
    return content_type in _CALLED_JSON or content_type.endswith("+json")


def require_json(status: int, content_type: str) -> None:
    """UpstreamError for an answer that is called anything that is no JSON."""
    if not may_be_json(content_type):
        raise UpstreamError(f"the provider answered {status} with {content_type[:80]}, not with {JSON}")


def belongs_to_responses(request: ChatRequest, backend: BackendFacts) -> bool:
    """Whether OpenAI's responses API alone serves the model, or does so where it reasons and may call functions."""
    facts = openai_facts(backend.model or request.model, backend.models)
    if facts.responses_only:
        return True
    if not request.tools or facts.tools_while_reasoning:
        return False
    wanted = request.reasoning
    off = wanted is not None and (wanted.mode == "disabled" or (not wanted.mode and wanted.effort == "none"))
    return not off or "none" not in facts.efforts


def _reasoning_name(reasoning: Reasoning | None) -> str:
    """The canonical name of what a client said of reasoning, for losses."""
    if reasoning is None:
        return ""
    if reasoning.effort:
        return reasoning.path or "reasoning_effort"
    return "thinking" if reasoning.budget_tokens is None else "thinking.budget_tokens"


def refuse_losses(losses: Sequence[Loss]) -> None:
    """UnsupportedTranslation for the first loss.

    What is said by other means (a cache point to a provider that caches by itself) is not lost.
    """
    for loss in losses:
        if loss.action != "emulated":
            raise UnsupportedTranslation(f"{loss.reason} (this backend refuses what it cannot carry)", path=loss.path)


RETRY_AFTER: Final = "retry-after"

REQUEST_ID_HEADERS: Final = ("x-request-id", "request-id", "x-amzn-requestid")
"""OpenAI's SDK reads the first, Anthropic's the second, AWS's the third: each gets the others' as well."""


def request_id_of(headers: Mapping[str, str]) -> str:
    """The provider's, under any of its names; else empty."""
    return next(filter(None, map(headers.get, REQUEST_ID_HEADERS)), "")


def response_headers(
    client: ChatDialect, request: UpstreamRequest, headers: Mapping[str, str]
) -> tuple[dict[str, str], tuple[str, ...]]:
    """What a client of this dialect is told besides the answer: losses, and the request's id under its own name."""
    result: dict[str, str] = {}
    if request.losses:
        result[header_names.LOSSES] = format_losses(request.losses)
    request_id = request_id_of(headers)
    if request_id and client.request_id_header and not headers.get(client.request_id_header):
        result[client.request_id_header] = request_id
    remove = ("content-encoding",) if "content-encoding" in headers else ()
    return result, remove


class WholeTranslation:
    """An answer that comes whole, for a client that asked for it whole or as a stream."""

    __slots__ = (
        "_body",
        "_client",
        "_context",
        "_provider",
        "_request",
        "estimated",
        "headers",
        "losses",
        "marks",
        "remove_headers",
        "response_model",
        "streamed",
        "usage",
    )

    def __init__(
        self,
        client: ChatDialect,
        provider: ChatDialect,
        request: UpstreamRequest,
        context: ReplyContext,
        bytes_max: int,
        edits: HeaderEdits,
    ) -> None:
        self._client = client
        self._provider = provider
        self._request = request
        self._context = context
        self._body = AnswerBody(bytes_max)
        self.headers, self.remove_headers = edits
        self.losses = request.losses
        self.usage: Usage = NO_USAGE
        self.estimated = False
        self.marks: Marks = NO_MARKS
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
        response = self._provider.decode_response(self._body.take(), self._request.memo)
        self.usage, self.marks = response.usage, marks_of(response)
        if self.usage.input is None or self.usage.output is None:
            self.estimated = True
            written = written_by(response) if self.usage.output is None else 0
            self.usage = completed(self.usage, self._request.prompt_tokens, tokens_of(written))
        if response.model:
            self.response_model = response.model
        if self._request.shown_model:
            response = msgspec.structs.replace(response, model=self._request.shown_model)
        client = self._client
        streamed = self._request.stream
        unsaid = {**client.unsaid, **client.unsaid_streamed} if streamed else client.unsaid
        lost = losses_of(response, unsaid, frozenset() if streamed else client.answer_extras)
        if lost:
            self.losses = (*self.losses, *lost)
        return self._as_stream(response) if streamed else client.encode_response(response, self._context)

    def _as_stream(self, response: ChatResponse) -> bytes:
        # Some servers do not stream (with tools, say): the client still gets the stream it asked for.
        encoder = self._client.stream_encoder(self._context)
        parts = [encoder.feed(event) for event in response_events(response)]
        parts.append(encoder.close())
        return b"".join(parts)


class ErrorTranslation:
    """A provider's error, said in the client's dialect. The status is the provider's."""

    marks: Marks = NO_MARKS

    __slots__ = (
        "_chunks",
        "_client",
        "_decode_error",
        "_provider_headers",
        "_size",
        "_status",
        "estimated",
        "headers",
        "losses",
        "remove_headers",
        "response_model",
        "streamed",
        "usage",
    )

    def __init__(
        self,
        client: ChatDialect,
        decode_error: Callable[[int, Mapping[str, str], bytes], ErrorDetail],
        request: UpstreamRequest,
        answered: tuple[int, Mapping[str, str]],
        edits: HeaderEdits,
    ) -> None:
        self._client = client
        self._decode_error = decode_error
        self._status, self._provider_headers = answered
        self._chunks: list[bytes] = []
        self._size = 0
        self.headers, self.remove_headers = edits
        self.losses = request.losses
        self.usage: Usage = NO_USAGE
        self.estimated = False
        self.response_model = request.request_model
        self.streamed = False

    def hold(self) -> bool:
        """All is kept to the end anyway."""
        return False

    def feed(self, data: bytes) -> bytes:
        """Holds the data; what is beyond the bound is of no use and dropped."""
        if self._size < ERROR_BODY_BYTES_MAX:
            self._chunks.append(data[: ERROR_BODY_BYTES_MAX - self._size])
        self._size += len(data)
        return b""

    def close(self) -> bytes:
        """The error's body."""
        body = _join(self._chunks)
        if body.startswith(GZIP_MAGIC):
            try:
                body = Inflater(bytes_max=ERROR_BODY_BYTES_MAX).feed(body)
            except ValueError:
                body = b""
        detail = self._decode_error(self._status, self._provider_headers, body)
        if detail.retry_after_seconds and RETRY_AFTER not in self._provider_headers:
            self.headers = {**self.headers, RETRY_AFTER: str(detail.retry_after_seconds)}
        return self._client.encode_error(detail)


def _join(chunks: Sequence[bytes]) -> bytes:
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)
