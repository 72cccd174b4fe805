"""External authorization: which service a SecurityPolicy has asked, and how."""

from headgate.compiler import ir
from headgate.compiler.options import Mode
from headgate.compiler.resolve.backends import Address, address
from headgate.compiler.resolve.scope import Scope, service_address
from headgate.compiler.resources import envoy_gateway, ext_auth, security_policy, telemetry
from headgate.compiler.resources.metadata import Name
from headgate.compiler.resources.quantities import duration_seconds


def external(scope: Scope, policy: security_policy.SecurityPolicy, spec: ext_auth.ExtAuth) -> ir.ExtAuth | None:
    """Whom a policy has asked; None, reported, where that cannot be."""
    service = spec.http or spec.grpc
    assert service is not None
    backend = _backend(scope, policy, "http" if spec.http is not None else "grpc", service)
    if backend is None:
        return None
    return ir.ExtAuth(
        backend=backend,
        by_http=spec.http is not None,
        path=spec.http.path if spec.http is not None else "",
        headers=tuple(name.lower() for name in spec.headers_to_ext_auth),
        headers_added=tuple(name.lower() for name in spec.http.headers_to_backend) if spec.http is not None else (),
        body_bytes_max=spec.body_to_ext_auth.max_request_bytes if spec.body_to_ext_auth is not None else 0,
        timeout_seconds=duration_seconds(spec.timeout),
        fail_open=spec.fail_open,
        error_status=spec.status_on_error,
    )


def _backend(
    scope: Scope, policy: security_policy.SecurityPolicy, kind: str, service: ext_auth.ExtAuthService
) -> ir.Backend | None:
    field = f"spec.extAuth.{kind}.{'backendRefs' if service.backend_refs else 'backendRef'}"
    found = [_address(scope, policy, field, reference) for reference in service.references]
    known = [each for each in found if each is not None]
    if len(known) < len(found):
        return None
    if len({each.tls for each in known}) > 1:
        message = "one is spoken to with TLS and another without, or by another name"
        scope.report.error(policy, field, message, remedy="one Backend with several endpoints")
        return None
    name = f"ext-auth/{policy.name}"
    return ir.Backend(
        name=name,
        service=name,
        endpoints=tuple(endpoint for each in known for endpoint in each.endpoints),
        authority=known[0].authority,
        tls=known[0].tls,
        http2=kind == "grpc" or known[0].http2,
    )


def _address(
    scope: Scope, policy: security_policy.SecurityPolicy, field: str, reference: telemetry.ReceiverReference
) -> Address | None:
    name = Name(reference.namespace or policy.metadata.namespace, reference.name)
    if (reference.group, reference.kind) == (envoy_gateway.GROUP, "Backend"):
        return address(scope, policy, field, name)
    if (reference.group, reference.kind) != ("", "Service"):
        scope.report.error(policy, field, f"{reference.kind} cannot be asked", remedy="a Service or a Backend")
        return None
    if scope.options.mode is Mode.FILES:
        scope.report.error(policy, field, "only a cluster has Services", remedy="kind: Backend")
        return None
    found = service_address(scope, policy, field, name, reference.port, example=9001)
    if found is None:
        return None
    host, port = found
    endpoint = ir.Endpoint(host, port, is_dns=True)
    return Address(endpoints=(endpoint,), authority=f"{host}:{port}", tls=None, http2=False, fallback=False)
