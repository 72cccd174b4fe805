"""Access logs: where requests and attempts are told of, and in what words.

An EnvoyProxy's settings stand in place of the installation's own file. What Envoy sends by its own access log service
holds all of a request's dynamic metadata; credentials that clients brought are not there (`filters/brought`).
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from envoy.config.accesslog.v3.accesslog_pb2 import AccessLog, AccessLogFilter, ExtensionFilter
from envoy.config.core.v3.config_source_pb2 import ApiVersion
from envoy.config.core.v3.http_service_pb2 import HttpService
from envoy.config.core.v3.substitution_format_string_pb2 import SubstitutionFormatString
from envoy.extensions.access_loggers.file.v3.file_pb2 import FileAccessLog
from envoy.extensions.access_loggers.filters.cel.v3.cel_pb2 import ExpressionFilter
from envoy.extensions.access_loggers.grpc.v3.als_pb2 import CommonGrpcAccessLogConfig, HttpGrpcAccessLogConfig
from envoy.extensions.access_loggers.open_telemetry.v3.logs_service_pb2 import OpenTelemetryAccessLogConfig
from headgate.compiler import ir
from headgate.compiler.lower.filters import telemetry
from headgate.compiler.lower.otlp import cluster_name, http_service
from headgate.compiler.lower.wire import Json, inline, packed, struct
from headgate.compiler.options import Options
from headgate.contract.otel import Exporter, Protocol
from headgate.pb import overlay
from opentelemetry.proto.common.v1.common_pb2 import KeyValueList

Fields = Mapping[str, Json]


def requests(
    said: tuple[ir.AccessLog, ...] | None, options: Options, *, clients: bool, ai: bool
) -> Iterator[AccessLog]:
    """The logs of a listener; `said` is what its EnvoyProxy says."""
    fields = telemetry.request_fields(clients=clients, ai=ai)
    for log in _installed(options) if said is None else said:
        if ai and options.short_lines and log.path and log.path == options.access_log:
            yield from _lines(log, fields, options)
        elif not log.attempts:
            yield _logger(log, fields)
    yield from telemetry.collected(options)


def attempts(said: tuple[ir.AccessLog, ...] | None, options: Options) -> Iterator[AccessLog]:
    """What is told of attempts: the router's `upstream_log`. Ours are of those that failed."""
    ours = telemetry.collected(options)
    if said is None:
        ours += [_logger(log, telemetry.ATTEMPT_FIELDS) for log in _installed(options)]
    for log in ours:
        log.filter.CopyFrom(telemetry.failed())
        yield log
    for log in said or ():
        if log.attempts:
            yield _logger(log, telemetry.ATTEMPT_FIELDS)


def _lines(log: ir.AccessLog, fields: Fields, options: Options) -> Iterator[AccessLog]:
    """Two loggers of one file: a line is written by either, from text where that has all that it tells."""
    short, whole = _file(replace(log, text=telemetry.short_line(fields)), fields), _file(log, fields)
    short.filter.CopyFrom(telemetry.told(options, by_text=True))
    whole.filter.CopyFrom(telemetry.told(options, by_text=False))
    yield from (short, whole)


def _installed(options: Options) -> tuple[ir.AccessLog, ...]:
    file = (ir.AccessLog(path=options.access_log),) if options.access_log else ()
    return (*file, *options.logs)


def _logger(log: ir.AccessLog, fields: Fields) -> AccessLog:
    """`fields` are ours, for a log that says nothing itself."""
    if log.als is not None:
        result = _als(log, log.als)
    elif log.otlp is not None:
        result = _otlp(log, log.otlp, fields)
    else:
        result = _file(log, fields)
    if log.matches:
        result.filter.CopyFrom(_matching(log.matches))
    return result


def _file(log: ir.AccessLog, fields: Fields) -> AccessLog:
    message = FileAccessLog(path=log.path)
    if log.text is not None:
        line = log.text if log.text.endswith("\n") else log.text + "\n"
        message.log_format.CopyFrom(SubstitutionFormatString(text_format_source=inline(line)))
    else:
        own = fields if log.fields is None else dict(log.fields)
        message.log_format.CopyFrom(SubstitutionFormatString(json_format=struct(own)))
    return AccessLog(name="envoy.access_loggers.file", typed_config=packed(message))


def _common(name: str, exporter: Exporter) -> CommonGrpcAccessLogConfig:
    common = CommonGrpcAccessLogConfig(log_name=name, transport_api_version=ApiVersion.V3)
    common.grpc_service.envoy_grpc.cluster_name = cluster_name(exporter)
    common.grpc_service.envoy_grpc.authority = exporter.authority
    common.buffer_size_bytes.value = telemetry.UNSENT_BYTES_MAX
    return common


def _als(log: ir.AccessLog, exporter: Exporter) -> AccessLog:
    message = HttpGrpcAccessLogConfig(
        common_config=_common(log.log_name, exporter),
        additional_request_headers_to_log=log.request_headers,
        additional_response_headers_to_log=log.response_headers,
        additional_response_trailers_to_log=log.response_trailers,
    )
    return AccessLog(name="envoy.access_loggers.http_grpc", typed_config=packed(message))


def _otlp(log: ir.AccessLog, exporter: Exporter, fields: Fields) -> AccessLog:
    message = OpenTelemetryAccessLogConfig(disable_builtin_labels=True)
    if exporter.protocol is Protocol.GRPC:
        message.common_config.CopyFrom(_common("headgate", exporter))
    else:
        _by_http(message, http_service(exporter))
    _put(message.resource_attributes, dict(log.resource))
    if log.text is not None:
        message.body.string_value = log.text
    _put(message.attributes, dict(log.fields) if log.fields is not None else {} if log.text is not None else fields)
    return AccessLog(name="envoy.access_loggers.open_telemetry", typed_config=packed(message))


def _by_http(message: OpenTelemetryAccessLogConfig, service: HttpService) -> None:
    overlay.otlp_by_http(message, service)


def _put(attributes: KeyValueList, values: Fields) -> None:
    for key, value in values.items():
        attributes.values.add(key=key).value.string_value = value if isinstance(value, str) else str(value).lower()


def _matching(expressions: tuple[str, ...]) -> AccessLogFilter:
    """All of them hold."""
    filters = [
        AccessLogFilter(
            extension_filter=ExtensionFilter(
                name="envoy.access_loggers.extension_filters.cel",
                typed_config=packed(ExpressionFilter(expression=expression)),
            )
        )
        for expression in expressions
    ]
    if len(filters) == 1:
        return filters[0]
    result = AccessLogFilter()
    result.and_filter.filters.extend(filters)
    return result
