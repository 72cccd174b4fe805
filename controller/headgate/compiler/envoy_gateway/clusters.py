"""Clusters of AI backends: ours, with what Envoy Gateway's policies say of connections to them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret as SdsSecret
from google.protobuf.wrappers_pb2 import UInt32Value
from headgate.compiler import ir
from headgate.compiler.envoy_gateway.rules import KnownRule
from headgate.compiler.lower.clusters import backend_cluster
from headgate.compiler.options import Options

_INHERITED = (
    "connect_timeout",
    "circuit_breakers",
    "health_checks",
    "outlier_detection",
    "upstream_connection_options",
    "load_balancing_policy",
    "slow_start_config",
    "upstream_bind_config",
    "track_cluster_stats",
)
"""What BackendTrafficPolicy and EnvoyProxy say, as Envoy Gateway put it into the cluster of the rule."""
_INHERITED_DNS = ("dns_lookup_family", "dns_refresh_rate", "respect_dns_ttl")

Templates = Mapping[int | None, bytes]
"""Envoy Gateway's clusters of one rule: by backendRef, or under None for all of them."""


def _template(templates: Templates, backend: ir.Backend) -> bytes:
    index = backend.name.rpartition("/")[2]
    found = templates.get(int(index)) if index.isdecimal() else None
    return found or templates.get(None, b"")


def _inherit(cluster: Cluster, theirs: Cluster) -> None:
    names = {field.name for field, _ in theirs.ListFields()}
    wanted = (*_INHERITED, *(_INHERITED_DNS if cluster.type == Cluster.STRICT_DNS else ()))
    source = Cluster()
    source.CopyFrom(theirs)
    for name in names - set(wanted):
        source.ClearField(name)
    for name in names.intersection(wanted):
        cluster.ClearField(name)
    cluster.MergeFrom(source)
    for check in cluster.health_checks:
        if check.HasField("http_health_check") and cluster.load_assignment.endpoints:
            members = cluster.load_assignment.endpoints[0].lb_endpoints
            check.http_health_check.host = check.http_health_check.host or members[0].endpoint.hostname
    if "load_balancing_policy" in names:
        cluster.ClearField("lb_policy")
        for locality in cluster.load_assignment.endpoints:  # policies may weigh localities; ours are one
            locality.load_balancing_weight.CopyFrom(UInt32Value(value=1))


def ai_cluster(backend: ir.Backend, route: str, template: bytes, options: Options) -> bytes:
    """The cluster of one backend."""
    ours = backend_cluster(backend, route, options)
    if not template:
        return ours.SerializeToString(deterministic=True)
    cluster = Cluster()
    cluster.CopyFrom(ours)
    _inherit(cluster, Cluster.FromString(template))
    return cluster.SerializeToString(deterministic=True)


@dataclass(frozen=True, slots=True)
class RuleClusters:
    """What a rule's backends are asked by: clusters, and the secrets that these ask for by SDS, by name."""

    known: KnownRule
    templates: Templates
    clusters: Mapping[str, bytes]
    secrets: Mapping[str, bytes]


def rule_clusters(
    known: KnownRule, templates: Templates, options: Options, previous: RuleClusters | None = None
) -> RuleClusters:
    """`previous` saves making what did not change: an equal rule is the same object, credentials included."""
    if previous is not None and previous.known is known and previous.templates == templates:
        return previous
    rule = known.rule
    clusters = {
        backend.name: ai_cluster(backend, rule.route, _template(templates, backend), options)
        for backend in rule.backends
    }
    return RuleClusters(known, templates, clusters, dict(_secrets(rule)))


def _secrets(rule: ir.Rule) -> Iterator[tuple[str, bytes]]:
    for backend in rule.backends:
        credential = backend.credential
        if credential is not None and credential.kind is ir.CredentialKind.HEADER and credential.value:
            secret = SdsSecret(name=credential.secret)
            secret.generic_secret.secret.inline_string = credential.value.reveal()
            yield credential.secret, secret.SerializeToString(deterministic=True)
