"""The whole program as xDS resources and files."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret as SdsSecret
from google.protobuf.message import Message
from headgate.compiler import ir
from headgate.compiler.lower import otlp
from headgate.compiler.lower.clusters import backend_cluster, jwks_cluster, service_clusters
from headgate.compiler.lower.filters import security
from headgate.compiler.lower.listeners import port_listener, route_configuration, short_lines
from headgate.compiler.lower.wire import type_url
from headgate.compiler.options import Options
from headgate.compiler.remembered import remembered
from headgate.contract.otel import Tracing
from headgate.contract.secret import Secret

Resources = Mapping[str, Mapping[str, Message]]
"""Type URL to name to message."""

TYPES = (Cluster, SdsSecret, TypedExtensionConfig, Listener, RouteConfiguration)


@dataclass(frozen=True, slots=True)
class Lowered:
    """What Envoy is given: resources by xDS, and files that it reads by path."""

    resources: Resources
    files: Mapping[str, Secret]


def _listeners(program: ir.Program) -> Iterator[ir.Listener]:
    for port in program.ports:
        yield from port.listeners


def _rules(program: ir.Program) -> Iterator[ir.Rule]:
    seen: set[str] = set()
    for listener in _listeners(program):
        for host in listener.hosts:
            for rule in host.all_rules:
                if rule.name not in seen:
                    seen.add(rule.name)
                    yield rule


def _unknown(program: ir.Program) -> frozenset[str]:
    """Backends of which the routes of some listener do not know all (`ir.Backend.known`): each prices by itself."""
    rules = (rule for listener in _listeners(program) for host in listener.hosts for rule in host.all_rules)
    return frozenset(backend.name for rule in rules for backend in rule.backends if not backend.known)


@remembered
def _credential_secret(credential: ir.Credential) -> SdsSecret:
    secret = SdsSecret(name=credential.secret)
    secret.generic_secret.secret.inline_string = credential.value.reveal()
    return secret


@dataclass(frozen=True, slots=True)
class _Upstreams:
    """What the backends of a rule need, by name."""

    clusters: Mapping[str, Cluster]
    secrets: Mapping[str, SdsSecret]
    files: Mapping[str, Secret]


def _names(rule: ir.Rule) -> set[str]:
    return {backend.name for backend in (*rule.backends, *(mirror.backend for mirror in rule.mirrors))}


@remembered
def _upstreams(rule: ir.Rule, unknown: frozenset[str], options: Options) -> _Upstreams:
    """`unknown` are those of the rule's backends of which it is not known all somewhere (`_unknown`)."""
    backends = [replace(each, known=False) if each.name in unknown else each for each in rule.backends]
    backends += [mirror.backend for mirror in rule.mirrors]
    credentials = {each.credential for each in backends if each.credential is not None}
    headers = (each for each in credentials if each.kind is ir.CredentialKind.HEADER and each.value)
    return _Upstreams(
        clusters={each.name: backend_cluster(each, rule.route, options) for each in backends},
        secrets={each.secret: _credential_secret(each) for each in headers},
        files={each.secret: each.value for each in credentials if each.kind is ir.CredentialKind.AWS},
    )


def _certificate_secret(certificate: ir.Certificate) -> SdsSecret:
    secret = SdsSecret(name=certificate.name)
    secret.tls_certificate.certificate_chain.inline_string = certificate.chain
    secret.tls_certificate.private_key.inline_string = certificate.key.reveal()
    return secret


def _policies(listener: ir.Listener) -> Iterator[ir.Auth]:
    if listener.auth is not None:
        yield listener.auth
    for host in listener.hosts:
        for rule in host.all_rules:
            if rule.auth is not None:
                yield rule.auth


def _policy_clusters(program: ir.Program, options: Options) -> Iterator[Cluster]:
    """Where keys of issuers are fetched, and who is asked whether requests are let in."""
    for listener in _listeners(program):
        for policy in _policies(listener):
            if policy.external is not None:
                yield backend_cluster(policy.external.backend, "", options)
            for provider in policy.jwt:
                if provider.jwks_uri:
                    name = security.jwks_cluster_name(provider.jwks_uri)
                    yield jwks_cluster(name, provider.jwks_uri, options)


def _of_listener(listener: ir.Listener, options: Options) -> Options:
    """What the installation is to one listener: its Gateway's EnvoyProxy may say how requests are traced."""
    tracing = listener.tracing if listener.tracing is not None else options.tracing
    return replace(options, tracing=tracing, short_lines=short_lines(listener, options))


def _of_clusters(options: Options, traced: Sequence[Tracing]) -> Options:
    """What the installation is to clusters. All Gateways share them, so a cluster cannot know whose request it serves:
    what one of them withholds from providers, none of theirs gets."""
    if not traced:
        return replace(options, tracing=None)
    trace_context, baggage = all(each.trace_context for each in traced), all(each.baggage for each in traced)
    return replace(options, tracing=replace(traced[0], trace_context=trace_context, baggage=baggage))


def lower_program(program: ir.Program, options: Options) -> Lowered:
    """Everything of the program; names are sorted, so that equal programs give equal output."""
    found: dict[str, dict[str, Message]] = {type_url(kind): {} for kind in TYPES}
    files: dict[str, Secret] = {}
    by_listener = {listener.name: _of_listener(listener, options) for listener in _listeners(program)}

    def add(message: Cluster | SdsSecret | TypedExtensionConfig | Listener | RouteConfiguration) -> None:
        found[type_url(type(message))][message.name] = message

    for cluster in (*service_clusters(options), *_policy_clusters(program, options)):
        add(cluster)
    traced = sorted({each.tracing for each in by_listener.values() if each.tracing is not None}, key=repr)
    told = (log for each in _listeners(program) for log in (options.logs if each.logs is None else each.logs))
    receivers = {each for log in told for each in (log.otlp, log.als) if each is not None}
    for exporter in receivers | {each.exporter for each in traced if not each.exporter.socket}:
        add(otlp.cluster(exporter, options.ca_file))
        for secret in otlp.secrets(exporter):
            add(secret)
    shared = _of_clusters(options, traced)
    unknown = _unknown(program)
    for rule in _rules(program):
        upstreams = _upstreams(rule, unknown & _names(rule), shared)
        found[type_url(Cluster)].update(upstreams.clusters)
        found[type_url(SdsSecret)].update(upstreams.secrets)
        files.update(upstreams.files)
    for port in program.ports:
        add(port_listener(port, by_listener))
        for listener in port.listeners:
            add(route_configuration(listener, by_listener[listener.name]))
            for certificate in listener.certificates:
                add(_certificate_secret(certificate))
            for config in (
                security.listener_resources(listener.name, listener.auth) if listener.auth is not None else ()
            ):
                add(config)
    ordered = {url: {name: named[name] for name in sorted(named)} for url, named in found.items()}
    return Lowered(ordered, files)
