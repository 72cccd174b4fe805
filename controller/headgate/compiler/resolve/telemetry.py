"""What a Gateway's EnvoyProxy says of access logs and traces."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from headgate.compiler import ir
from headgate.compiler.options import Mode
from headgate.compiler.resolve import backends
from headgate.compiler.resolve.envoy_proxies import at, proxies_of
from headgate.compiler.resolve.scope import Scope, service_address
from headgate.compiler.resources import envoy_gateway, gateway_api
from headgate.compiler.resources import telemetry as said
from headgate.compiler.resources.headers import HTTPHeader
from headgate.compiler.resources.metadata import Name
from headgate.contract.addresses import host_port
from headgate.contract.otel import Address, Exporter, Protocol, Sampler, Tag, Tracing
from headgate.contract.secret import Secret

LOG_NAME = "accesslog"


@dataclass(frozen=True, slots=True)
class Telemetry:
    """None for what nobody says."""

    tracing: Tracing | None = None
    logs: tuple[ir.AccessLog, ...] | None = None


def telemetry(scope: Scope, gateway: gateway_api.Gateway) -> Telemetry:
    """Of the Gateway's own EnvoyProxy, else of its class's; what is wrong with it is reported, and left out."""
    proxy = next(proxies_of(scope.world, gateway.name), None)
    if proxy is None or proxy.spec.telemetry is None:
        return Telemetry()
    found = proxy.spec.telemetry
    logs = None if found.access_log is None else _logs(scope, proxy, found.access_log)
    return Telemetry(None if found.tracing is None else _tracing(scope, proxy, gateway, found.tracing), logs)


def check_proxies(scope: Scope) -> None:
    """References to EnvoyProxies that are not there, and what of Envoys is not read."""
    for gateway in scope.gateways.values():
        infrastructure = gateway.spec.infrastructure
        name = at(infrastructure, "parametersRef", "name")
        if isinstance(name, str):
            field, found = "spec.infrastructure.parametersRef", Name(gateway.metadata.namespace, name)
            _check_proxy(scope, gateway, field, found)
        for other in sorted(set(infrastructure or ()) - {"parametersRef"}):
            field = f"spec.infrastructure.{other}"
            scope.report.warning(gateway, field, "ignored; a standalone gateway has its own Envoy")
    for each in scope.world.gateway_classes.values():
        if each.spec.parameters_ref is not None and scope.serves_class(each.metadata.name):
            namespace, name = (at(each.spec.parameters_ref, part) for part in ("namespace", "name"))
            if isinstance(namespace, str) and isinstance(name, str):
                _check_proxy(scope, each, "spec.parametersRef", Name(namespace, name))


def _check_proxy(scope: Scope, source: gateway_api.Gateway | gateway_api.GatewayClass, field: str, name: Name) -> None:
    if name not in scope.world.envoy_proxies:
        broken = scope.world.is_rejected(envoy_gateway.GROUP, "EnvoyProxy", name)
        wrong = f"EnvoyProxy {name} is not valid" if broken else f"there is no EnvoyProxy {name}"
        scope.report.warning(source, field, f"{wrong}; the installation's own telemetry is in force")


# --- where to


def _exporter(scope: Scope, proxy: envoy_gateway.EnvoyProxy, field: str, receiver: said.Receiver) -> Exporter | None:
    """The receiver, by gRPC; None, reported, where it cannot be told."""
    if not receiver.references and isinstance(receiver, said.HostReceiver) and receiver.host:
        address = Address(receiver.host, receiver.port)
        authority = host_port(address.host, address.port)
        return Exporter(protocol=Protocol.GRPC, authority=authority, addresses=(address,))
    named = "backendRefs" if receiver.backend_refs else "backendRef"
    found = [
        where
        for index, reference in enumerate(receiver.references)
        if (where := _referred(scope, proxy, f"{field}.{named}[{index}]", reference)) is not None
    ]
    if not found:
        return None
    return replace(found[0], addresses=tuple(address for each in found for address in each.addresses))


def _referred(
    scope: Scope, proxy: envoy_gateway.EnvoyProxy, field: str, reference: said.ReceiverReference
) -> Exporter | None:
    name = Name(reference.namespace or proxy.metadata.namespace, reference.name)
    if (reference.group, reference.kind) == (envoy_gateway.GROUP, "Backend"):
        found = backends.address(scope, proxy, field, name)
        if found is None:
            return None
        if any(endpoint.is_socket for endpoint in found.endpoints):
            scope.report.error(proxy, field, "a receiver of telemetry is no socket", remedy="fqdn or ip")
            return None
        return Exporter(
            protocol=Protocol.GRPC,
            authority=found.authority,
            addresses=tuple(Address(endpoint.address, endpoint.port) for endpoint in found.endpoints),
            tls=found.tls is not None,
        )
    if (reference.group, reference.kind) != ("", "Service"):
        scope.report.error(proxy, field, f"{reference.kind} receives no telemetry", remedy="a Service or a Backend")
        return None
    return _service(scope, proxy, field, reference, name)


def _service(
    scope: Scope, proxy: envoy_gateway.EnvoyProxy, field: str, reference: said.ReceiverReference, name: Name
) -> Exporter | None:
    if scope.options.mode is Mode.FILES:
        scope.report.warning(proxy, field, "ignored; only a cluster has Services", remedy="a Backend, or host and port")
        return None
    found = service_address(scope, proxy, field, name, reference.port, example=4317)
    if found is None:
        return None
    host, port = found
    address = Address(host, port)
    return Exporter(protocol=Protocol.GRPC, authority=f"{host}:{port}", addresses=(address,))


def _headers(headers: Sequence[HTTPHeader]) -> tuple[tuple[str, Secret], ...]:
    return tuple((header.name.lower(), Secret(header.value)) for header in headers)


# --- traces


def _tracing(
    scope: Scope, proxy: envoy_gateway.EnvoyProxy, gateway: gateway_api.Gateway, tracing: said.ProxyTracing
) -> Tracing | None:
    provider, field = tracing.provider, "spec.telemetry.tracing.provider"
    if provider.type != "OpenTelemetry":
        message = f"{provider.type} is not spoken; nothing is traced"
        scope.report.error(proxy, f"{field}.type", message, remedy="type: OpenTelemetry")
        return None
    exporter = _exporter(scope, proxy, field, provider)
    if exporter is None:
        return None
    more = provider.open_telemetry or said.OpenTelemetryTracing()
    return Tracing(
        exporter=replace(exporter, headers=_headers(more.headers)),
        service_name=provider.service_name or f"{gateway.metadata.name}.{gateway.metadata.namespace}",
        resource=tuple(sorted(more.resource_attributes.items())),
        sampler=_sampler(tracing, more.sampler),
        attributes=scope.options.span_attributes,
        tags=tuple(_tags(tracing)),
    )


def _sampler(tracing: said.ProxyTracing, sampler: said.OTelSampler | None) -> Sampler:
    if sampler is not None:
        share = 1.0 if sampler.sampling_percentage is None else sampler.sampling_percentage.ratio
        ratio = 0.0 if sampler.type.endswith("AlwaysOff") else share if sampler.type.endswith("Ratio") else 1.0
        return Sampler(ratio=ratio, parent_based=sampler.type.startswith("ParentBased"))
    if tracing.sampling_fraction is not None:
        return Sampler(ratio=tracing.sampling_fraction.ratio)
    return Sampler(ratio=1.0 if tracing.sampling_rate is None else tracing.sampling_rate / 100)


def _tags(tracing: said.ProxyTracing) -> Iterator[Tag]:
    for name, tag in sorted(tracing.custom_tags.items()):
        if tag.type == "Literal" and tag.literal is not None:
            yield Tag(name=name, value=tag.literal.value)
        elif tag.type == "Environment" and tag.environment is not None:
            yield Tag(name=name, environment=tag.environment.name, value=tag.environment.default_value or "")
        elif tag.request_header is not None:
            yield Tag(name=name, header=tag.request_header.name.lower(), value=tag.request_header.default_value or "")
    for name, value in sorted(tracing.tags.items()):
        yield Tag(name=name, format=value)


# --- access logs


def _logs(
    scope: Scope, proxy: envoy_gateway.EnvoyProxy, said_of: said.ProxyAccessLog
) -> tuple[ir.AccessLog, ...] | None:
    if said_of.disable:
        return ()
    if not said_of.settings:
        return None
    found: list[ir.AccessLog] = []
    for index, setting in enumerate(said_of.settings):
        field = f"spec.telemetry.accessLog.settings[{index}]"
        if setting.type == "Listener":
            message = "ignored; connections without requests are not told of"
            scope.report.warning(proxy, f"{field}.type", message, remedy="leave it out: requests")
            continue
        form = setting.format or said.AccessLogFormat()
        log = ir.AccessLog(
            text=form.text if form.type != "JSON" else None,
            fields=None if form.json is None or form.type == "Text" else tuple(form.json.items()),
            matches=setting.matches,
            attempts=setting.type == "Upstream",
        )
        for number, sink in enumerate(setting.sinks):
            made = _sink(scope, proxy, f"{field}.sinks[{number}]", sink, log)
            if made is not None:
                found.append(made)
    return tuple(found)


def _sink(
    scope: Scope, proxy: envoy_gateway.EnvoyProxy, field: str, sink: said.AccessLogSink, log: ir.AccessLog
) -> ir.AccessLog | None:
    if sink.type == "File":
        return replace(log, path=(sink.file or said.FileSink()).path)
    if sink.type == "OpenTelemetry" and sink.open_telemetry is not None:
        where = _exporter(scope, proxy, f"{field}.openTelemetry", sink.open_telemetry)
        resource = {**sink.open_telemetry.resources, **sink.open_telemetry.resource_attributes}
        if where is None:
            return None
        where = replace(where, headers=_headers(sink.open_telemetry.headers))
        return replace(log, otlp=where, resource=tuple(sorted(resource.items())))
    if sink.als is None:
        return None
    if sink.als.type == "TCP":
        scope.report.error(proxy, f"{field}.als.type", "there are no TCP routes to tell of", remedy="type: HTTP")
        return None
    where = _exporter(scope, proxy, f"{field}.als", sink.als)
    if where is None:
        return None
    headers = sink.als.http or said.AlsHttp()
    return replace(
        log,
        als=where,
        log_name=sink.als.log_name or LOG_NAME,
        request_headers=_names(headers.request_headers),
        response_headers=_names(headers.response_headers),
        response_trailers=_names(headers.response_trailers),
    )


def _names(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(name.lower() for name in names)
