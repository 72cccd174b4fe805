"""Another service says whether a request is let in."""

from collections.abc import Iterable

from envoy.config.core.v3.config_source_pb2 import ApiVersion
from envoy.config.core.v3.grpc_service_pb2 import GrpcService
from envoy.extensions.filters.http.ext_authz.v3.ext_authz_pb2 import ExtAuthz
from envoy.type.matcher.v3.string_pb2 import ListStringMatcher, StringMatcher
from headgate.compiler import ir
from headgate.compiler.lower.wire import duration


def ext_authz(external: ir.ExtAuth) -> ExtAuthz:
    """Envoy's form of it."""
    message = ExtAuthz(transport_api_version=ApiVersion.V3, failure_mode_allow=external.fail_open)
    message.status_on_error.code = external.error_status  # pyright: ignore[reportAttributeAccessIssue]
    if external.body_bytes_max:
        message.with_request_body.max_request_bytes = external.body_bytes_max
    if external.headers:
        message.allowed_headers.CopyFrom(_named(external.headers))
    if external.by_http:
        service = message.http_service
        service.path_prefix = external.path
        service.server_uri.uri = f"http://{external.backend.authority}{external.path}"  # its scheme is the cluster's
        service.server_uri.cluster = external.backend.name
        service.server_uri.timeout.CopyFrom(duration(external.timeout_seconds))
        if external.headers_added:
            added = service.authorization_response.allowed_upstream_headers
            added.CopyFrom(_named(external.headers_added))
    else:
        service = GrpcService(timeout=duration(external.timeout_seconds))
        service.envoy_grpc.cluster_name = external.backend.name
        service.envoy_grpc.authority = external.backend.authority
        message.grpc_service.CopyFrom(service)
    return message


def _named(names: Iterable[str]) -> ListStringMatcher:
    return ListStringMatcher(patterns=[StringMatcher(exact=name, ignore_case=True) for name in names])
