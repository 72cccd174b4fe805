"""Backends: where they are, how they are verified, what authenticates the gateway to them, what they speak."""

import ipaddress
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

from headgate.compiler import ir
from headgate.compiler.resolve.scope import Scope, grant_remedy, granted
from headgate.compiler.resources import ai_gateway, backend_tls, core, envoy_gateway, gateway_api
from headgate.compiler.resources.metadata import Name, Resource
from headgate.compiler.world import Target
from headgate.contract.secret import Secret
from headgate.llm.dialects.table import DIALECTS
from headgate.llm.names import DialectName, HostName


@dataclass(frozen=True, slots=True)
class Schema:
    """What an API schema name of upstream's means: dialect, host, default path prefix."""

    dialect: DialectName
    host: HostName
    prefix: str = ""
    served: bool = True
    """False where answers come in an envelope that nothing unwraps yet."""


SCHEMAS: Mapping[str, Schema] = {
    "OpenAI": Schema(DialectName.OPENAI_CHAT, HostName.DIRECT, "v1"),
    "AzureOpenAI": Schema(DialectName.OPENAI_CHAT, HostName.AZURE),
    "Anthropic": Schema(DialectName.ANTHROPIC_MESSAGES, HostName.DIRECT, "v1"),
    "AWSAnthropic": Schema(DialectName.ANTHROPIC_MESSAGES, HostName.BEDROCK, served=False),
    "GCPAnthropic": Schema(DialectName.ANTHROPIC_MESSAGES, HostName.VERTEX, served=False),
    "AWSBedrock": Schema(DialectName.BEDROCK_CONVERSE, HostName.BEDROCK),
    "GCPVertexAI": Schema(DialectName.GEMINI, HostName.VERTEX),
    "Cohere": Schema(DialectName.COHERE, HostName.DIRECT, "v2"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where an Envoy Gateway Backend is."""

    endpoints: tuple[ir.Endpoint, ...]
    authority: str
    tls: ir.UpstreamTls | None
    http2: bool
    fallback: bool


def _endpoint(entry: envoy_gateway.BackendEndpoint) -> ir.Endpoint:
    if entry.fqdn is not None:
        return ir.Endpoint(entry.fqdn.hostname, entry.fqdn.port, is_dns=True)
    if entry.ip is not None:
        return ir.Endpoint(entry.ip.address, entry.ip.port)
    assert entry.unix is not None
    return ir.Endpoint(entry.unix.path, 0, is_socket=True)


@lru_cache(maxsize=16_384)
def _authority(entry: envoy_gateway.BackendEndpoint, *, tls: bool) -> str:
    """What the backend is called: with the port where it is not the scheme's own."""
    if entry.hostname:
        return entry.hostname
    if entry.unix is not None:
        return "localhost"
    host, port = ("", 0)
    if entry.fqdn is not None:
        host, port = entry.fqdn.hostname, entry.fqdn.port
    elif entry.ip is not None:
        bare = ipaddress.ip_address(entry.ip.address)
        host, port = (f"[{bare}]" if bare.version == 6 else str(bare)), entry.ip.port
    return host if port == (443 if tls else 80) else f"{host}:{port}"


def _certificates(scope: Scope, policy: Resource, refs: Iterable[gateway_api.LocalObjectReference], field: str) -> str:
    """The PEM texts of the references, joined; a broken reference is reported and gives nothing."""
    texts: list[str] = []
    for index, ref in enumerate(refs):
        name = Name(policy.metadata.namespace, ref.name)
        text: str | None = None
        if ref.kind == "ConfigMap" and (found := scope.world.config_maps.get(name)) is not None:
            text = found.data.get("ca.crt")
        elif ref.kind == "Secret" and (secret := scope.world.secrets.get(name)) is not None:
            value = secret.value("ca.crt")
            text = value.reveal() if value is not None else None
        if text is None:
            message = f"there is no {ref.kind} {name} with a key ca.crt"
            scope.report.error(policy, f"{field}[{index}]", message, reason="InvalidCertificateRef")
            continue
        texts.append(text)
    return "\n".join(texts)


def _policy_tls(scope: Scope, policy: backend_tls.BackendTLSPolicy) -> ir.UpstreamTls | None:
    validation = policy.spec.validation
    field = "spec.validation.caCertificateRefs"
    certificates = _certificates(scope, policy, validation.ca_certificate_refs, field)
    if validation.ca_certificate_refs and not certificates:
        return None
    return ir.UpstreamTls(server_name=validation.hostname, system=not certificates, ca_certificates=certificates)


def _tls(scope: Scope, backend: envoy_gateway.Backend) -> tuple[ir.UpstreamTls | None, bool]:
    """How to verify the backend, and whether it may be used at all."""
    policies = scope.tls.get(backend.name, ())
    if len(policies) > 1:
        names = ", ".join(str(policy.name) for policy in policies[1:])
        scope.report.error(policies[1], "spec.targetRefs", f"Backend {backend.name} has another policy: {names}")
    if policies:
        tls = _policy_tls(scope, policies[0])
        return tls, tls is not None
    own = backend.spec.tls
    if own is None:
        return None, True
    certificates = _certificates(scope, backend, own.ca_certificate_refs, "spec.tls.caCertificateRefs")
    if own.ca_certificate_refs and not certificates:
        return None, False
    name = own.sni or _server_name(backend)
    return ir.UpstreamTls(
        server_name=name,
        system=not certificates,
        ca_certificates=certificates,
        insecure=own.insecure_skip_verify,
    ), True


def _server_name(backend: envoy_gateway.Backend) -> str:
    for entry in backend.spec.endpoints:
        if entry.hostname:
            return entry.hostname
        if entry.fqdn is not None:
            return entry.fqdn.hostname
    return ""


def address(scope: Scope, source: Resource, field: str, name: Name) -> Address | None:
    """The Backend that `source` refers to in `field`; None, reported, where it cannot be used."""
    kind = (envoy_gateway.GROUP, "Backend")
    if not granted(scope, source, *kind, name):
        message = f"may not refer to Backend {name} in another namespace"
        remedy = grant_remedy(source, *kind, name)
        scope.report.error(source, field, message, remedy=remedy, reason="RefNotPermitted")
        return None
    backend = scope.world.backends.get(name)
    if backend is None:
        broken = scope.world.is_rejected(*kind, name)
        message = f"Backend {name} is not valid" if broken else f"there is no Backend {name}"
        remedy = _similar(name, scope.world.backends)
        scope.report.error(source, field, message, remedy=remedy, reason="BackendNotFound")
        return None
    if backend.spec.type != "Endpoints":
        scope.report.error(backend, "spec.type", "only Endpoints are supported", remedy="type: Endpoints")
        return None
    tls, usable = _tls(scope, backend)
    if not usable:
        return None
    return Address(
        endpoints=tuple(_endpoint(entry) for entry in backend.spec.endpoints),
        authority=_authority(backend.spec.endpoints[0], tls=tls is not None),
        tls=tls,
        http2="gateway.envoyproxy.io/h2c" in backend.spec.app_protocols,
        fallback=backend.spec.fallback,
    )


def _similar(name: Name, known: Iterable[Name]) -> str:
    """The names that there are, where they are few enough to help."""
    same = sorted(other.name for other in known if other.namespace == name.namespace)
    return f"one of {', '.join(same)}" if 0 < len(same) <= 8 else ""


def secret_value(
    scope: Scope, policy: Resource, field: str, ref: gateway_api.SecretReference, key: str
) -> Secret | None:
    name = Name(ref.namespace or policy.metadata.namespace, ref.name)
    if not granted(scope, policy, "", "Secret", name):
        remedy = grant_remedy(policy, "", "Secret", name)
        message = f"may not refer to Secret {name} in another namespace"
        scope.report.error(policy, field, message, remedy=remedy, reason="RefNotPermitted")
        return None
    secret: core.Secret | None = scope.world.secrets.get(name)
    if secret is None:
        scope.report.error(policy, field, f"there is no Secret {name}", reason="BackendNotFound")
        return None
    value = secret.value(key)
    text = value.reveal().strip() if value is not None else ""
    if not text:
        message = f"Secret {name} has no value under the key {key}"
        scope.report.error(policy, field, message, remedy=f"stringData: {{{key}: ...}}", reason="BackendNotFound")
        return None
    return Secret(text)


_HEADER_KINDS: Mapping[str, tuple[str, str, str, str]] = {
    "APIKey": ("api_key", "apiKey", "authorization", "Bearer "),
    "AzureAPIKey": ("azure_api_key", "azureAPIKey", "api-key", ""),
    "AnthropicAPIKey": ("anthropic_api_key", "anthropicAPIKey", "x-api-key", ""),
}
"""BackendSecurityPolicy type to (attribute, field, header, prefix of the header's value)."""


def _credential(scope: Scope, policy: ai_gateway.BackendSecurityPolicy) -> ir.Credential | None:
    """The credential of a policy; None, reported, where it cannot be had: its backends are then not served."""
    spec = policy.spec
    secret_name = f"backend-security-policy/{policy.name}"
    if spec.type in _HEADER_KINDS:
        attribute, field, header, prefix = _HEADER_KINDS[spec.type]
        found: ai_gateway.APIKeyCredential = getattr(spec, attribute)
        value = secret_value(scope, policy, f"spec.{field}.secretRef", found.secret_ref, "apiKey")
        if value is None:
            return None
        return ir.Credential(
            kind=ir.CredentialKind.HEADER, secret=secret_name, value=Secret(prefix + value.reveal()), header=header
        )
    aws = spec.aws_credentials
    if spec.type != "AWSCredentials" or aws is None or aws.credentials_file is None:
        message = f"credentials of type {spec.type} are supported with {'credentialsFile' if aws else 'keys'} only"
        scope.report.error(policy, "spec.type", message, remedy=f"one of {', '.join(_HEADER_KINDS)}, AWSCredentials")
        return None
    field = "spec.awsCredentials.credentialsFile.secretRef"
    value = secret_value(scope, policy, field, aws.credentials_file.secret_ref, "credentials")
    if value is None:
        return None
    if not scope.options.secrets_directory and not scope.options.envoy_gateway:
        scope.report.error(policy, field, "this installation gives Envoy no directory for credential files")
        return None
    return ir.Credential(
        kind=ir.CredentialKind.AWS,
        secret=secret_name.replace("/", "-"),
        value=value,
        region=aws.region,
        profile=aws.credentials_file.profile,
    )


def _backend_credential(scope: Scope, backend: ai_gateway.AIServiceBackend) -> tuple[ir.Credential | None, bool]:
    """The backend's credential, and whether it may be served."""
    policies = scope.credentials.get(backend.name, ())
    if len(policies) > 1:
        names = ", ".join(str(policy.name) for policy in policies)
        message = f"multiple BackendSecurityPolicies found for AIServiceBackend {backend.name.name}: [{names}]"
        scope.report.error(backend, "metadata.name", message, remedy="one policy for each backend")
        return None, False
    if policies:
        credential = _credential(scope, policies[0])
        return credential, credential is not None
    broken = [
        entry
        for entry in scope.world.rejected.values()
        if entry.key.kind == "BackendSecurityPolicy"
        and any(Name(target.namespace, target.name) == backend.name for target in entry.targets)
    ]
    if broken:
        message = f"{broken[0].key} that gives it a credential is not valid"
        scope.report.error(backend, "metadata.name", message)
    return None, not broken


def _prefix(schema: ai_gateway.VersionedAPISchema, row: Schema) -> str:
    text = (row.prefix if schema.prefix is None else schema.prefix).strip("/")
    return f"/{text}" if text else ""


def _mutations(
    backend: ai_gateway.AIServiceBackend, ref: ai_gateway.AIGatewayRouteRuleBackendRef
) -> tuple[ir.Pairs, tuple[str, ...], ir.Pairs, tuple[str, ...]]:
    """Header and body mutations, the route's over the backend's; sorted, so that equal input gives equal output."""
    headers: dict[str, str] = {}
    header_removals: set[str] = set()
    body: dict[str, str] = {}
    body_removals: set[str] = set()
    for source in (backend.spec, ref):
        if source.header_mutation is not None:
            headers |= {item.name.lower(): item.value for item in source.header_mutation.set}
            header_removals |= {name.lower() for name in source.header_mutation.remove}
        if source.body_mutation is not None:
            body |= {item.path: item.value for item in source.body_mutation.set}
            body_removals |= set(source.body_mutation.remove)
    return (
        tuple(sorted((name, value) for name, value in headers.items() if _mutable(name))),
        tuple(sorted(name for name in header_removals - set(headers) if _mutable(name))),
        tuple(sorted((path, raw_json(value)) for path, value in body.items())),
        tuple(sorted(body_removals)),
    )


def _mutable(name: str) -> bool:
    return not name.startswith((":", "x-ai-eg-", "x-headgate-")) and name != "x-envoy-original-path"


def raw_json(value: str) -> str:
    """compat: a value that is JSON stays as it is, any other text becomes a JSON string."""
    try:
        json.loads(value)
    except ValueError:
        return json.dumps(value, ensure_ascii=False)
    return value.strip()


def ai_backend(
    scope: Scope,
    route: ai_gateway.AIGatewayRoute,
    place: tuple[int, int],
    ref: ai_gateway.AIGatewayRouteRuleBackendRef,
    *,
    include_usage: bool,
) -> ir.Backend | None:
    """One backendRef of an AI route; None, reported, where it cannot be served."""
    rule, index = place
    field = f"spec.rules[{rule}].backendRefs[{index}]"
    if ref.kind and ref.kind != "AIServiceBackend":
        scope.report.error(route, f"{field}.kind", f"{ref.kind} is not supported", remedy="an AIServiceBackend")
        return None
    name = Name(ref.namespace or route.metadata.namespace, ref.name)
    kind = (ai_gateway.GROUP, "AIServiceBackend")
    if not granted(scope, route, *kind, name):
        message = (
            f"cross-namespace reference from AIGatewayRoute in namespace {route.metadata.namespace} to "
            f"AIServiceBackend {name.name} in namespace {name.namespace} is not permitted: "
            "no valid ReferenceGrant found"
        )
        remedy = grant_remedy(route, *kind, name)
        scope.report.error(route, f"{field}.namespace", message, remedy=remedy, reason="RefNotPermitted")
        return None
    backend = scope.world.ai_service_backends.get(name)
    if backend is None:
        broken = scope.world.is_rejected(*kind, name)
        message = f"AIServiceBackend {name} is not valid" if broken else f"there is no AIServiceBackend {name}"
        remedy = _similar(name, scope.world.ai_service_backends)
        scope.report.error(route, f"{field}.name", message, remedy=remedy, reason="BackendNotFound")
        return None
    return _ai_backend(scope, route, backend, (rule, index, ref), include_usage=include_usage)


def _ai_backend(
    scope: Scope,
    route: ai_gateway.AIGatewayRoute,
    backend: ai_gateway.AIServiceBackend,
    place: tuple[int, int, ai_gateway.AIGatewayRouteRuleBackendRef],
    *,
    include_usage: bool,
) -> ir.Backend | None:
    rule, index, ref = place
    schema = SCHEMAS[backend.spec.schema.name]
    if not schema.served:
        message = f"nothing translates to {backend.spec.schema.name} yet"
        remedy = f"one of {', '.join(name for name, row in SCHEMAS.items() if row.served)}"
        scope.report.error(backend, "spec.schema.name", message, remedy=remedy)
        return None
    target = backend.spec.backend_ref
    where = Name(target.namespace or backend.metadata.namespace, target.name)
    found = address(scope, backend, "spec.backendRef", where)
    credential, allowed = _backend_credential(scope, backend)
    if found is None or not allowed:
        return None
    header_set, header_remove, body_set, body_remove = _mutations(backend, ref)
    forced_by, losses = _translation(scope, backend)
    return ir.Backend(
        name=f"{route.metadata.namespace}/{ref.name}/route/{route.metadata.name}/rule/{rule}/ref/{index}",
        service=str(backend.name),
        endpoints=found.endpoints,
        weight=ref.weight,
        priority=ref.priority if ref.priority is not None else int(found.fallback),
        dialect=schema.dialect,
        host=schema.host,
        prefix=_prefix(backend.spec.schema, schema),
        version=backend.spec.schema.version,
        model=ref.model_name_override,
        authority=found.authority,
        tls=found.tls,
        credential=credential,
        header_set=header_set,
        header_remove=header_remove,
        body_set=body_set,
        body_remove=body_remove,
        include_usage=include_usage,
        losses=losses,
        forced_by=forced_by,
        http2=found.http2,
    )


_LOSSES: Mapping[str, Literal["report", "reject", "emulate"]] = {
    "Report": "report",
    "Reject": "reject",
    "Emulate": "emulate",
}


def _translation(
    scope: Scope, backend: ai_gateway.AIServiceBackend
) -> tuple[str, Literal["report", "reject", "emulate"]]:
    """What forces the processor, if anything does, and what becomes of losses."""
    target = Target(ai_gateway.GROUP, "AIServiceBackend", backend.metadata.namespace, backend.metadata.name)
    policy = scope.translation.get(target)
    if policy is None:
        return "", "report"
    forced_by = f"{policy.kind} {policy.name}" if policy.spec.lane == "ExtProc" else ""
    if forced_by and not scope.options.extproc_sockets:
        scope.report.error(policy, "spec.lane", "this installation runs no processor", remedy="lane: Auto")
    return forced_by, _LOSSES[policy.spec.losses]


def with_managed_headers(backends: tuple[ir.Backend, ...]) -> tuple[ir.Backend, ...]:
    """Each backend told which headers any of them changes, as attempts share them; or that it is alone."""
    if len(backends) == 1:
        return (replace(backends[0], alone=True),)
    names = {name for backend in backends for name, _ in backend.header_set}
    names |= {name for backend in backends for name in backend.header_remove}
    spoken = {backend.dialect for backend in backends} & DIALECTS.keys()
    if len(spoken) > 1:  # translating to one of them sets and removes these
        names |= {name for dialect in spoken if dialect is not None for name in DIALECTS[dialect].request_headers}
        names |= {name for dialect in spoken if dialect is not None for name in DIALECTS[dialect].client_headers}
    if not names:
        return backends
    managed = tuple(sorted(names))
    return tuple(replace(backend, managed_headers=managed) for backend in backends)


def http_backend(
    scope: Scope, route: gateway_api.HTTPRoute, place: tuple[int, int], ref: gateway_api.HTTPBackendReference
) -> ir.Backend | None:
    """One backendRef of a plain route; None, reported, where it cannot be used."""
    rule, index = place
    field = f"spec.rules[{rule}].backendRefs[{index}]"
    if (ref.group, ref.kind) != (envoy_gateway.GROUP, "Backend"):
        message = f"{ref.kind} is not supported as a backend here"
        remedy = f"group: {envoy_gateway.GROUP}, kind: Backend"
        scope.report.error(route, f"{field}.kind", message, remedy=remedy, reason="InvalidKind")
        return None
    found = address(scope, route, field, Name(ref.namespace or route.metadata.namespace, ref.name))
    if found is None:
        return None
    return ir.Backend(
        name=f"httproute/{route.name}/rule/{rule}/backend/{index}",
        service=f"{ref.namespace or route.metadata.namespace}/{ref.name}",
        endpoints=found.endpoints,
        weight=ref.weight,
        priority=int(found.fallback),
        authority=found.authority,
        tls=found.tls,
        http2=found.http2,
    )
