"""Envoy's spans as OpenTelemetry's conventions have them. Pure.

Envoy's tracer knows texts alone, and of an attempt that failed no more than its status and flags: counts become
numbers, the list of finish reasons a list, parameters of a request an attribute each, and such an attempt gets its
`error.type` and an error's status. OpenInference's request that failed gets the event that tells so.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Any, Final

import msgspec
from headgate.contract.otel import ORIGINAL_MODEL, PARAMETERS, SEPARATOR, TOGETHER, Limits
from headgate.ledger.errors import BY_FLAG, ErrorKind
from headgate.llm import openinference
from headgate.runtime.otlp.wire import STATUS_ERROR, limit
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.semconv._incubating.attributes import (
    gen_ai_attributes as gen_ai,
)
from opentelemetry.semconv._incubating.attributes import (
    session_attributes,
)
from opentelemetry.semconv.attributes import error_attributes, exception_attributes

_SERVER: Final = 2
_CLIENT: Final = 3
_ASYNC: Final = "async "
"""How Envoy's spans of calls to our own servers begin."""
_NUMBERS: Final = frozenset(
    {
        gen_ai.GEN_AI_USAGE_INPUT_TOKENS,
        gen_ai.GEN_AI_USAGE_OUTPUT_TOKENS,
        gen_ai.GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS,
        gen_ai.GEN_AI_USAGE_CACHE_CREATION_INPUT_TOKENS,
        gen_ai.GEN_AI_USAGE_REASONING_OUTPUT_TOKENS,
        *(f"llm.token_count.{kind}" for kind in ("prompt", "completion", "total")),
        *(f"llm.token_count.prompt_details.{kind}" for kind in ("cache_read", "cache_write")),
        "llm.token_count.completion_details.reasoning",
        "headgate.attempts",
        *("http.status_code", "request_size", "response_size", "retry.count"),
    }
)
_UNKNOWN: Final = ("", "-")
_SENT: Final = frozenset({gen_ai.GEN_AI_REQUEST_MODEL, "llm.model_name"})
"""The model that the backend is asked for: the client's, where Envoy names none."""
_DIGITS_MAX: Final = 18
"""Of a number that a span can hold."""
_OPENINFERENCE: Final = "openinference.span.kind"
_READ: Final = frozenset(
    {
        *("response_flags", PARAMETERS, _OPENINFERENCE),
        *(session_attributes.SESSION_ID, gen_ai.GEN_AI_OPERATION_NAME),
    }
)
_TRUTHS: Final = frozenset({gen_ai.GEN_AI_REQUEST_STREAM, "error", "canceled"})
_PARAMETERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "max_tokens": gen_ai.GEN_AI_REQUEST_MAX_TOKENS,
        "temperature": gen_ai.GEN_AI_REQUEST_TEMPERATURE,
        "top_p": gen_ai.GEN_AI_REQUEST_TOP_P,
        "top_k": gen_ai.GEN_AI_REQUEST_TOP_K,
        "frequency_penalty": gen_ai.GEN_AI_REQUEST_FREQUENCY_PENALTY,
        "presence_penalty": gen_ai.GEN_AI_REQUEST_PRESENCE_PENALTY,
        "seed": gen_ai.GEN_AI_REQUEST_SEED,
        "n": gen_ai.GEN_AI_REQUEST_CHOICE_COUNT,
    }
)
_read_parameters: Final = msgspec.json.Decoder(dict[str, int | float]).decode
_LISTS: Final = frozenset({gen_ai.GEN_AI_RESPONSE_FINISH_REASONS})
_read_list: Final = msgspec.json.Decoder(tuple[str, ...]).decode
_FLAGS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "UT": "upstream_request_timeout",
        "SI": "stream_idle_timeout",
        "DT": "duration_timeout",
        "UMSDR": "upstream_max_stream_duration_reached",
        "LR": "local_reset",
        "UR": "upstream_remote_reset",
        "UF": "upstream_connection_failure",
        "UC": "upstream_connection_termination",
        "UPE": "upstream_protocol_error",
        "UH": "no_healthy_upstream",
        "NC": "no_cluster_found",
        "UO": "upstream_overflow",
        "URX": "upstream_retry_limit_exceeded",
        "LH": "failed_local_healthcheck",
        "DF": "dns_resolution_failure",
        "OM": "overload_manager",
        "DC": "downstream_connection_termination",
        "DR": "downstream_remote_reset",
        "DPE": "downstream_protocol_error",
    }
)
"""Envoy's short words of how an attempt ended, and what entries call them."""


def mend(message: ExportTraceServiceRequest, limits: Limits) -> ExportTraceServiceRequest:
    """Changes the message and returns it."""
    for of_resource in message.resource_spans:
        for scope in of_resource.instrumentation_library_spans:
            for span in scope.spans:
                _mend(span)
                limit(span, limits)
    return message


def spans_of(message: ExportTraceServiceRequest) -> int:
    """How many there are."""
    return sum(
        len(scope.spans)
        for of_resource in message.resource_spans
        for scope in of_resource.instrumentation_library_spans
    )


def _mend(span: Any) -> None:
    _take_apart(span)
    texts: dict[str, str] = {}
    for pair in span.attributes:
        key = pair.key
        if key in _NUMBERS:
            texts[key] = text = pair.value.string_value
            if text.isdecimal() and len(text) <= _DIGITS_MAX:
                pair.value.int_value = int(text)
        elif key in _TRUTHS:
            pair.value.bool_value = pair.value.string_value == "true"
        elif key in _LISTS:
            _tell_list(pair.value)
        elif key in _READ:
            texts[key] = pair.value.string_value
    if PARAMETERS in texts:
        _tell_parameters(span, texts[PARAMETERS])
    if session_attributes.SESSION_ID in texts and gen_ai.GEN_AI_OPERATION_NAME in texts:
        span.attributes.add(key=gen_ai.GEN_AI_CONVERSATION_ID).value.string_value = texts[session_attributes.SESSION_ID]
    if span.kind == _CLIENT and not span.name.startswith(_ASYNC):
        _tell_error(span, attempt_error(texts.get("http.status_code", ""), texts.get("response_flags", "")))
    elif span.kind == _SERVER and _OPENINFERENCE in texts:
        _tell_exception(span, texts.get("http.status_code", ""))


def _take_apart(span: Any) -> None:
    """What Envoy tells together, each by itself, in the place of what Envoy calls so."""
    for pair in [pair for pair in span.attributes if pair.key == TOGETHER]:
        span.attributes.remove(pair)
        told = dict(_told(pair.value.string_value))
        for other in [other for other in span.attributes if other.key in told]:
            span.attributes.remove(other)
        for name, value in told.items():
            span.attributes.add(key=name).value.string_value = value


def _told(text: str) -> Iterator[tuple[str, str]]:
    others, _, model = text.partition(f"{SEPARATOR}{ORIGINAL_MODEL}=")
    for each in others.split(SEPARATOR):
        name, _, value = each.partition("=")
        if value in _UNKNOWN and name in _SENT:
            value = model
        if value not in _UNKNOWN:
            yield name, value
    if model not in _UNKNOWN:
        yield ORIGINAL_MODEL, model


def _tell_list(value: Any) -> None:
    """A list, of the JSON that Envoy makes of one; else it stays what it is."""
    with suppress(msgspec.DecodeError):
        texts = _read_list(value.string_value)
        value.array_value.SetInParent()
        for text in texts:
            value.array_value.values.add(string_value=text)


def _tell_parameters(span: Any, text: str) -> None:
    """Each by itself; a text that cannot be read stays what it is."""
    with suppress(msgspec.DecodeError):
        for name, value in _read_parameters(text).items():
            told = span.attributes.add(key=_PARAMETERS.get(name, f"{PARAMETERS}.{name}")).value
            if isinstance(value, int) and abs(value) < 10**_DIGITS_MAX:
                told.int_value = value
            else:
                told.double_value = value
        for pair in [pair for pair in span.attributes if pair.key == PARAMETERS]:
            span.attributes.remove(pair)


def attempt_error(status: str, flags: str) -> str:
    """The `ErrorKind` of an attempt; empty for one that served."""
    said = {_FLAGS.get(flag, "") for flag in flags.split(",")}
    kind = next((kind for flag, kind in BY_FLAG.items() if flag in said), None)
    if kind is not None:
        return kind
    if status == "429":
        return ErrorKind.UPSTREAM_LIMITED
    if status in ("", "0"):
        return ErrorKind.UPSTREAM_RESET
    return "" if status < "400" else ErrorKind.UPSTREAM_REFUSED if status < "500" else ErrorKind.UPSTREAM_FAILED


def _tell_error(span: Any, kind: str) -> None:
    others = [pair for pair in span.attributes if pair.key == error_attributes.ERROR_TYPE]
    for pair in others:  # Envoy's is of the request
        span.attributes.remove(pair)
    if kind:
        span.attributes.add(key=error_attributes.ERROR_TYPE).value.string_value = kind
        span.status.code = STATUS_ERROR


def _tell_exception(span: Any, status: str) -> None:
    """compat: the event of a request that was answered by an error; nobody sees the answer's words here."""
    if len(status) != 3 or not status.isdecimal() or int(status) < 400:
        return
    event = span.events.add(name="exception", time_unix_nano=span.end_time_unix_nano)
    told = {
        exception_attributes.EXCEPTION_TYPE: openinference.exception_type(int(status)),
        exception_attributes.EXCEPTION_MESSAGE: openinference.exception_message(int(status)),
    }
    for key, value in told.items():
        event.attributes.add(key=key).value.string_value = value


def joined(messages: Iterable[ExportTraceServiceRequest]) -> bytes:
    """All in one."""
    result = ExportTraceServiceRequest()
    for message in messages:
        result.MergeFrom(message)
    return result.SerializeToString()
