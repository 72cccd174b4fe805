"""Traces, made by Envoy: a span for each request, one for each attempt at a backend, and who is told of them.

    client's traceparent ─► request (server span) ─► attempt (client span) ─► traceparent that the provider sees
                                   └─► calls of our own servers (rate limit, processor)

Attributes are tags that Envoy formats when a span ends, so counts are known by then. A tag without a value is left out.
All of them are text: Envoy's tracer knows no numbers. What an operation is called depends on the path: where a class of
paths is one operation its routes say so in their metadata, else an expression looks at the path.

Nothing of this is in the configuration where requests are not traced.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from itertools import groupby
from types import MappingProxyType
from typing import Final

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.base_pb2 import Metadata
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.config.trace.v3.http_tracer_pb2 import Tracing as Provider
from envoy.config.trace.v3.opentelemetry_pb2 import OpenTelemetryConfig
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
    RequestIDExtension,
)
from envoy.extensions.request_id.uuid.v3.uuid_pb2 import UuidRequestIdConfig
from envoy.extensions.tracers.opentelemetry.resource_detectors.v3.static_config_resource_detector_pb2 import (
    StaticConfigResourceDetectorConfig,
)
from envoy.extensions.tracers.opentelemetry.samplers.v3.always_on_sampler_pb2 import AlwaysOnSamplerConfig
from envoy.extensions.tracers.opentelemetry.samplers.v3.parent_based_sampler_pb2 import ParentBasedSamplerConfig
from envoy.extensions.tracers.opentelemetry.samplers.v3.trace_id_ratio_based_sampler_pb2 import (
    TraceIdRatioBasedSamplerConfig,
)
from envoy.type.tracing.v3.custom_tag_pb2 import CustomTag
from envoy.type.v3.percent_pb2 import FractionalPercent
from google.protobuf.message import Message
from headgate.compiler import ir
from headgate.compiler.lower.otlp import cluster_name, http_service
from headgate.compiler.lower.wire import duration, extension, packed
from headgate.contract import metadata
from headgate.contract.otel import (
    ORIGINAL_MODEL,
    PARAMETERS,
    SEPARATOR,
    TOGETHER,
    Convention,
    Exporter,
    Protocol,
    Sampler,
    Tag,
    Tracing,
)
from headgate.ledger.errors import BY_FLAG, ErrorKind
from headgate.llm import openinference
from headgate.llm.endpoints import Body, Endpoint, endpoint_named, paths
from headgate.llm.names import DialectName, Operation
from headgate.llm.provider_names import otel_provider_name
from opentelemetry.semconv._incubating.attributes import (
    gen_ai_attributes as gen_ai,
)
from opentelemetry.semconv._incubating.attributes import (
    session_attributes,
)
from opentelemetry.semconv.attributes import error_attributes

OPERATION: Final = "operation"
SPAN: Final = "span"
KIND: Final = "kind"
SYSTEM: Final = "system"
"""Keys of a route's metadata (`metadata.INTERNAL`): OpenTelemetry's operation; OpenInference's name, kind, system."""
PROVIDER: Final = "provider"
MODEL: Final = "model"
"""Keys of a cluster's metadata (`metadata.INTERNAL`)."""
_URL: Final = "http.url"
CONTEXT_HEADERS: Final = ("traceparent", "tracestate")
BAGGAGE_HEADER: Final = "baggage"

_OPERATIONS: Final[Mapping[Operation, str]] = MappingProxyType(
    {
        Operation.MESSAGES: "chat",
        Operation.RESPONSES: "chat",
        Operation.COMPLETION: "text_completion",
        Operation.RESPONSES_INPUT_TOKENS: "count_tokens",
    }
)
"""OpenTelemetry's words where ours, which metrics have (compat), are others."""
_FLAGS: Final = (
    "failed_local_healthcheck",
    "no_healthy_upstream",
    "upstream_request_timeout",
    "local_reset",
    "upstream_remote_reset",
    "upstream_connection_failure",
    "upstream_connection_termination",
    "upstream_overflow",
    "no_route_found",
    "delay_injected",
    "fault_injected",
    "rate_limited",
    "unauthorized_details",
    "rate_limit_service_error",
    "downstream_connection_termination",
    "upstream_retry_limit_exceeded",
    "stream_idle_timeout",
    "invalid_envoy_request_headers",
    "downstream_protocol_error",
    "upstream_max_stream_duration_reached",
    "response_from_cache_filter",
    "no_filter_config_found",
    "duration_timeout",
    "upstream_protocol_error",
    "no_cluster_found",
    "overload_manager",
    "dns_resolution_failure",
    "drop_overload",
    "downstream_remote_reset",
)
"""Names of Envoy's response flags in the order of their bits (`source/common/stream_info`, Envoy 1.40)."""


def cluster_metadata(backend: ir.Backend) -> dict[str, str]:
    """What a backend's cluster says of its attempts."""
    name = otel_provider_name(backend.dialect or DialectName.OPENAI_CHAT, backend.host, backend.vendor)
    found = {PROVIDER: name}
    if backend.model:
        found[MODEL] = backend.model
    return found


def _operation(row: Endpoint) -> str:
    return _OPERATIONS.get(row.operation, row.operation.value)


@lru_cache(maxsize=256)
def route_metadata(endpoint: str, convention: Convention) -> bytes:
    """What the routes for an endpoint say of their requests, as serialised metadata; nothing for no endpoint, where a
    class of paths is more than one operation."""
    row = endpoint_named(endpoint) if endpoint else None
    if row is None:
        return b""
    result = Metadata()
    values = result.filter_metadata[metadata.INTERNAL]
    if convention is Convention.GEN_AI:
        values[OPERATION] = _operation(row)
    else:
        values[SPAN], values[KIND] = openinference.span_name(row), openinference.span_kind(row)
        values[SYSTEM] = openinference.system(row)
    return result.SerializeToString(deterministic=True)


# --- formats


def _coalesce(*operators: tuple[str, str]) -> str:
    """The first that has a value; Envoy looks at no more."""
    listed = [{"command": command, "param": param} for command, param in operators]
    return f"%COALESCE({json.dumps({'operators': listed}, separators=(',', ':'))})%"


def _count(tag: str, key: str) -> CustomTag:
    # as a format: what Envoy itself makes of a number has six digits
    return CustomTag(tag=tag, value=f"%DYNAMIC_METADATA({metadata.NAMESPACE}:{key})%")


def _text(tag: str, namespace: str, key: str) -> CustomTag:
    # not as a format, which costs twice as much
    result = CustomTag(tag=tag)
    result.metadata.kind.request.SetInParent()
    result.metadata.metadata_key.key = namespace
    result.metadata.metadata_key.path.add(key=key)
    return result


def _published(tag: str, key: str) -> CustomTag:
    return _text(tag, metadata.NAMESPACE, key)


def _internal(tag: str, key: str) -> CustomTag:
    return _text(tag, metadata.INTERNAL, key)


def _endings() -> Iterator[tuple[str, Endpoint]]:
    """How the paths of endpoints end, longest first: providers have them below prefixes of their own."""
    found: dict[str, Endpoint] = {}
    for path, row in paths().items():
        if row.body is Body.NONE:
            continue
        ending = path.rpartition("{model}")[2] if row.model_in_path else "/" + "/".join(path.split("/")[2:])
        if ending != "/":
            found.setdefault(ending, row)
    yield from sorted(found.items(), key=lambda each: (-len(each[0]), each[0]))


def _by_path(name_of: Callable[[Endpoint], str], otherwise: str) -> str:
    """CEL that names what is asked for by the path: a test for each name, since Envoy nests no more than 32."""
    endings: dict[str, list[str]] = {}
    for ending, row in _endings():
        endings.setdefault(name_of(row), []).append(ending)
    expression = otherwise
    for name in reversed(endings):
        test = " || ".join(f"request.url_path.endsWith('{ending}')" for ending in endings[name])
        expression = f"{test} ? '{name}' : {expression}"
    return expression


@lru_cache(maxsize=8)
def _named(key: str, name_of: Callable[[Endpoint], str], otherwise: str) -> str:
    expression = _by_path(name_of, otherwise)
    return _coalesce(("METADATA", f"ROUTE:{metadata.INTERNAL}:{key}"), ("CEL", expression))


_OVERRIDE: Final = f"%CLUSTER_METADATA({metadata.INTERNAL}:{MODEL})%"
"""The model that the backend is asked for, if it is another one than the client's."""
_SENT: Final = _coalesce(
    ("CLUSTER_METADATA", f"{metadata.INTERNAL}:{MODEL}"),
    ("DYNAMIC_METADATA", f"{metadata.INTERNAL}:{metadata.INTERNAL_MODEL}"),
)
"""The model that the backend is asked for."""
_NAMED_BY: Final = _coalesce(("DYNAMIC_METADATA", f"{metadata.INTERNAL}:{metadata.INTERNAL_MODEL}"), ("ROUTE_NAME", ""))
_USAGE: Final = (
    (gen_ai.GEN_AI_USAGE_INPUT_TOKENS, metadata.INPUT_TOKENS),
    (gen_ai.GEN_AI_USAGE_OUTPUT_TOKENS, metadata.OUTPUT_TOKENS),
    (gen_ai.GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS, metadata.CACHED_INPUT_TOKENS),
    (gen_ai.GEN_AI_USAGE_CACHE_CREATION_INPUT_TOKENS, metadata.CACHE_CREATION_INPUT_TOKENS),
    (gen_ai.GEN_AI_USAGE_REASONING_OUTPUT_TOKENS, metadata.REASONING_TOKENS),
)
_COUNTS: Final = (
    ("llm.token_count.prompt", metadata.INPUT_TOKENS),
    ("llm.token_count.completion", metadata.OUTPUT_TOKENS),
    ("llm.token_count.total", metadata.TOTAL_TOKENS),
    ("llm.token_count.prompt_details.cache_read", metadata.CACHED_INPUT_TOKENS),
    ("llm.token_count.prompt_details.cache_write", metadata.CACHE_CREATION_INPUT_TOKENS),
    ("llm.token_count.completion_details.reasoning", metadata.REASONING_TOKENS),
)


def _error_type() -> str:
    """The `ErrorKind` of a request or an attempt as CEL, in the order of `error_kind`; nothing where all went well."""
    upstream = (
        f"response.code == 429 ? '{ErrorKind.UPSTREAM_LIMITED}' : "
        f"response.code < 500 ? '{ErrorKind.UPSTREAM_REFUSED}' : '{ErrorKind.UPSTREAM_FAILED}'"
    )
    local = (
        f"response.code == 401 ? '{ErrorKind.UNAUTHENTICATED}' : response.code == 403 ? '{ErrorKind.FORBIDDEN}' : "
        f"response.code == 404 ? '{ErrorKind.NOT_FOUND}' : response.code == 429 ? '{ErrorKind.LIMITED}' : "
        f"response.code < 500 ? '{ErrorKind.BAD_REQUEST}' : '{ErrorKind.INTERNAL}'"
    )
    expression = (
        "!has(response.code) || response.code < 400 ? '' : "
        f"has(response.code_details) && response.code_details != 'via_upstream' ? ({local}) : ({upstream})"
    )
    for kind, flags in groupby(reversed(tuple(BY_FLAG)), key=BY_FLAG.__getitem__):
        test = " || ".join(f"response.flags / {1 << _FLAGS.index(flag)} % 2 == 1" for flag in flags)
        expression = f"{test} ? '{kind}' : {expression}"
    well = "response.flags == 0 && has(response.code) && response.code < 400"
    return f"%CEL({well} ? '' : {expression})%"


_ERROR_TYPE: Final = _error_type()


def _formatted(tag: str, value: str) -> CustomTag:
    return CustomTag(tag=tag, value=value)


def _sent(tracing: Tracing, model: str) -> CustomTag:
    gen_ai_names = tracing.convention is Convention.GEN_AI
    return _formatted(gen_ai.GEN_AI_REQUEST_MODEL if gen_ai_names else "llm.model_name", model)


def _headers(tracing: Tracing) -> Iterator[CustomTag]:
    """Attributes that are headers of the request."""
    # Envoy's own has the query, where some clients send their keys
    yield _formatted(_URL, "%REQ(:SCHEME)%://%REQ(:AUTHORITY)%%PATH(NQ:PATH)%")
    for header, attribute in tracing.attributes:
        yield _formatted(attribute, f"%REQ({header})%")
        conversation = attribute == session_attributes.SESSION_ID and tracing.convention is Convention.GEN_AI
        if conversation and not tracing.exporter.socket:  # a collector of ours says it by itself
            yield _formatted(gen_ai.GEN_AI_CONVERSATION_ID, f"%REQ({header})%")


def _words(tracing: Tracing) -> Iterator[CustomTag]:
    """Attributes of whom the request is from, and of the answer: whoever publishes them leaves out what is no text."""
    if tracing.convention is Convention.GEN_AI:
        yield _published(gen_ai.GEN_AI_RESPONSE_MODEL, metadata.RESPONSE_MODEL)
        yield _published(gen_ai.GEN_AI_RESPONSE_ID, metadata.RESPONSE_ID)
        yield _published(gen_ai.GEN_AI_RESPONSE_FINISH_REASONS, metadata.FINISH_REASONS)
    yield _internal("headgate.client", metadata.INTERNAL_CLIENT)


def _facts(tracing: Tracing) -> Iterator[CustomTag]:
    """Attributes that hold nothing but ours, and numbers."""
    provider = f"%CLUSTER_METADATA({metadata.INTERNAL}:{PROVIDER})%"
    if tracing.convention is Convention.GEN_AI:
        yield _formatted(gen_ai.GEN_AI_OPERATION_NAME, _named(OPERATION, _operation, "''"))
        yield _formatted(gen_ai.GEN_AI_PROVIDER_NAME, provider)
        yield _internal(gen_ai.GEN_AI_REQUEST_STREAM, metadata.INTERNAL_STREAM)
        yield _internal(PARAMETERS, metadata.INTERNAL_PARAMETERS)
        yield from (_count(attribute, key) for attribute, key in _USAGE)
    else:
        yield _formatted("openinference.span.kind", _named(KIND, openinference.span_kind, "''"))
        yield _formatted("llm.system", _named(SYSTEM, openinference.system, "''"))
        yield _formatted("llm.provider", provider)
        yield _internal("llm.invocation_parameters", metadata.INTERNAL_PARAMETERS)
        yield from (_count(attribute, key) for attribute, key in _COUNTS)
    yield _formatted(error_attributes.ERROR_TYPE, _ERROR_TYPE)
    yield _formatted("headgate.route", "%ROUTE_NAME%")
    yield _published("headgate.lane", metadata.LANE)
    yield _published("headgate.usage.source", metadata.USAGE_SOURCE)
    yield _formatted("headgate.attempts", "%UPSTREAM_REQUEST_ATTEMPT_COUNT%")


def _tags(tracing: Tracing) -> Iterator[CustomTag]:
    """Attributes of requests and of attempts alike. A tag costs Envoy 4,500 instructions for each span, and more to
    send; an operator amid a text 1,500: where a collector of ours takes them apart, they are one, separated by what
    none of them can hold but the client's model, which is at its end."""
    told, original = (
        (*_headers(tracing), *_words(tracing), *_facts(tracing)),
        _internal(ORIGINAL_MODEL, metadata.INTERNAL_MODEL),
    )
    if tracing.exporter.socket:
        apart = (*told, _sent(tracing, _OVERRIDE), original)
        yield _formatted(TOGETHER, SEPARATOR.join(f"{tag.tag}={_format(tag)}" for tag in apart))
    else:
        yield from (*told, _sent(tracing, _SENT), original)


def _format(tag: CustomTag) -> str:
    """What a tag says, as an operator."""
    key = tag.metadata.metadata_key
    return tag.value or f"%DYNAMIC_METADATA({key.key}:{key.path[0].key})%"


def _custom(tag: Tag) -> CustomTag:
    result = CustomTag(tag=tag.name)
    if tag.format:
        result.value = tag.format
    elif tag.header:
        result.request_header.name = tag.header
        result.request_header.default_value = tag.value
    elif tag.environment:
        result.environment.name = tag.environment
        result.environment.default_value = tag.value
    else:
        result.literal.value = tag.value
    return result


# --- the tracer


def _sampler(sampler: Sampler) -> TypedExtensionConfig:
    own: Message = AlwaysOnSamplerConfig()
    name = "always_on"
    if sampler.ratio < 1.0:
        name = "trace_id_ratio_based"
        numerator = round(sampler.ratio * 1_000_000)
        percentage = FractionalPercent(numerator=numerator, denominator=FractionalPercent.MILLION)
        own = TraceIdRatioBasedSamplerConfig(sampling_percentage=percentage)
    wrapped = extension(f"envoy.tracers.opentelemetry.samplers.{name}", own)
    if not sampler.parent_based:
        return wrapped
    return extension(
        "envoy.tracers.opentelemetry.samplers.parent_based", ParentBasedSamplerConfig(wrapped_sampler=wrapped)
    )


def _send_to(config: OpenTelemetryConfig, exporter: Exporter) -> None:
    if exporter.protocol is Protocol.GRPC:
        config.grpc_service.envoy_grpc.cluster_name = cluster_name(exporter)
        config.grpc_service.envoy_grpc.authority = exporter.authority
        config.grpc_service.timeout.CopyFrom(duration(exporter.timeout_seconds))
    else:
        config.http_service.CopyFrom(http_service(exporter))


def _provider(tracing: Tracing) -> Provider.Http:
    config = OpenTelemetryConfig(service_name=tracing.service_name, sampler=_sampler(tracing.sampler))
    config.max_cache_size.value = tracing.queue_max
    _send_to(config, tracing.exporter)
    if tracing.resource:
        attributes = StaticConfigResourceDetectorConfig(attributes=dict(tracing.resource))
        detector = extension("envoy.tracers.opentelemetry.resource_detectors.static_config", attributes)
        config.resource_detectors.append(detector)
    return Provider.Http(name="envoy.tracers.opentelemetry", typed_config=packed(config))


@lru_cache(maxsize=64)
def connection_manager(tracing: Tracing) -> HttpConnectionManager.Tracing:
    """How a listener traces. Shared: it must not be changed."""
    result = HttpConnectionManager.Tracing(provider=_provider(tracing))
    result.spawn_upstream_span.value = True
    result.random_sampling.value = 100.0  # the sampler decides
    result.custom_tags.extend(_tags(tracing))
    if tracing.exporter.socket:  # Envoy's own URL, which gives way to ours
        result.max_path_tag_length.value = 1
    result.custom_tags.extend(map(_custom, tracing.tags))
    if tracing.convention is Convention.GEN_AI:
        name = _named(OPERATION, _operation, "request.method")
        result.operation, result.upstream_operation = f"{name} {_NAMED_BY}", f"{name} {_SENT}"
    else:
        result.operation = result.upstream_operation = _named(SPAN, openinference.span_name, "request.method")
    return result


@lru_cache(maxsize=1)
def request_ids() -> RequestIDExtension:
    """Clients' own request ids stay as they are: Envoy would write into them whether a request is traced."""
    config = UuidRequestIdConfig()
    config.pack_trace_reason.value = False
    config.use_request_id_for_trace_sampling.value = False
    return RequestIDExtension(typed_config=packed(config))


def withheld(tracing: Tracing | None) -> tuple[str, ...]:
    """The headers of trace context that no provider gets."""
    if tracing is None:
        return ()
    return (*(() if tracing.trace_context else CONTEXT_HEADERS), *(() if tracing.baggage else (BAGGAGE_HEADER,)))


def ignored(tracing: Tracing | None) -> tuple[str, ...]:
    """The headers of trace context that are not taken from clients."""
    return CONTEXT_HEADERS if tracing is not None and not tracing.trace_context else ()


def describe(cluster: Cluster, backend: ir.Backend) -> None:
    """Writes into a backend's cluster what spans say of it."""
    values = cluster.metadata.filter_metadata[metadata.INTERNAL]
    for key, value in cluster_metadata(backend).items():
        values[key] = value
