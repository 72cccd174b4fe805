"""Clusters of AI backends: ours, with what Envoy Gateway's policies say of connections to them."""

from collections.abc import Mapping

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


ClusterMemo = dict[tuple[str, bytes, str], bytes]


def rule_clusters(
    known: KnownRule, templates: Templates, options: Options, memo: ClusterMemo, fresh: ClusterMemo
) -> dict[str, bytes]:
    """The clusters of a rule's backends by name."""
    result: dict[str, bytes] = {}
    for backend in known.rule.backends:
        template = _template(templates, backend)
        credential = backend.credential
        # the fingerprint knows no secrets, and a signer's are in its cluster
        secret = str(hash(credential.value)) if credential is not None else ""
        key = (f"{known.fingerprint}/{backend.name}", template, secret)
        made = memo.get(key) or ai_cluster(backend, known.rule.route, template, options)
        result[backend.name] = fresh[key] = made
    return result


def rule_secrets(known: KnownRule) -> dict[str, bytes]:
    """What its clusters ask for by SDS, by name."""
    result: dict[str, bytes] = {}
    for backend in known.rule.backends:
        credential = backend.credential
        if credential is not None and credential.kind is ir.CredentialKind.HEADER and credential.value:
            secret = SdsSecret(name=credential.secret)
            secret.generic_secret.secret.inline_string = credential.value.reveal()
            result[credential.secret] = secret.SerializeToString(deterministic=True)
    return result
