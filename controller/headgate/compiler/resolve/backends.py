"""Backends: where they are, how they are verified, what authenticates the gateway to them, what they speak."""

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import msgspec
from headgate.compiler import ir
from headgate.compiler.resolve.credentials import backend_credential, cloud_place, policy_credential, signed_at
from headgate.compiler.resolve.pem import are_certificates
from headgate.compiler.resolve.scope import Scope, grant_remedy, granted, similar
from headgate.compiler.resources import ai_gateway, backend_tls, envoy_gateway, gateway_api, headgate
from headgate.compiler.resources.metadata import Name, Resource
from headgate.compiler.world import Target
from headgate.contract.facts import ModelRow
from headgate.contract.headers import CREDENTIALS
from headgate.llm.dialects.table import DIALECTS
from headgate.llm.names import DialectName, HostName
from headgate.llm.vendors import vendor_at


@dataclass(frozen=True, slots=True)
class Schema:
    """What an API schema name of upstream's means: dialect, host, default path prefix."""

    dialect: DialectName
    host: HostName
    prefix: str = ""


SCHEMAS: Mapping[str, Schema] = {
    "OpenAI": Schema(DialectName.OPENAI_CHAT, HostName.DIRECT, "v1"),
    "AzureOpenAI": Schema(DialectName.OPENAI_CHAT, HostName.AZURE),
    "Anthropic": Schema(DialectName.ANTHROPIC_MESSAGES, HostName.DIRECT, "v1"),
    "AWSAnthropic": Schema(DialectName.ANTHROPIC_MESSAGES, HostName.BEDROCK),
    "GCPAnthropic": Schema(DialectName.ANTHROPIC_MESSAGES, HostName.VERTEX),
    "AWSBedrock": Schema(DialectName.BEDROCK_CONVERSE, HostName.BEDROCK),
    "GCPVertexAI": Schema(DialectName.GEMINI, HostName.VERTEX),
    "Gemini": Schema(DialectName.GEMINI, HostName.DIRECT, "v1beta"),
    "Cohere": Schema(DialectName.COHERE, HostName.DIRECT, "v2"),
}


DIALECTS_DECLARED: Mapping[str, Schema] = {
    "OpenAIResponses": Schema(DialectName.OPENAI_RESPONSES, HostName.DIRECT, "v1"),
    "Gemini": Schema(DialectName.GEMINI, HostName.DIRECT, "v1beta"),
}
"""What a TranslationPolicy may declare, which upstream's schema has no name for."""


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
            scope.report.error(policy, f"{field}[{index}]", message, reason="InvalidCACertificateRef")
            continue
        if not are_certificates(text):
            message = f"{ref.kind} {name} has no certificates as PEM under the key ca.crt"
            scope.report.error(policy, f"{field}[{index}]", message, reason="InvalidCACertificateRef")
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
        remedy = "" if broken else similar(name, scope.world.backends)
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
        msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return msgspec.json.encode(value).decode()
    return value.strip()


def ai_backend(
    scope: Scope,
    route: ai_gateway.AIGatewayRoute,
    place: tuple[int, int],
    ref: ai_gateway.AIGatewayRouteRuleBackendRef,
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
        remedy = "" if broken else similar(name, scope.world.ai_service_backends)
        scope.report.error(route, f"{field}.name", message, remedy=remedy, reason="BackendNotFound")
        return None
    if scope.options.envoy_gateway and not _reached(scope, route, backend, field):
        return None
    return _ai_backend(scope, route, backend, (rule, index, ref))


_HTTP_ROUTE = (gateway_api.GROUP, "HTTPRoute")


def _reached(scope: Scope, route: ai_gateway.AIGatewayRoute, backend: ai_gateway.AIServiceBackend, field: str) -> bool:
    """Whether the HTTPRoute that Envoy Gateway is given may refer to the Backend: it answers 500 itself where not."""
    kind, target = (envoy_gateway.GROUP, "Backend"), backend.spec.backend_ref
    name = Name(target.namespace or backend.metadata.namespace, target.name)
    if granted(scope, route, *kind, name, through=_HTTP_ROUTE):
        return True
    message = f"the HTTPRoute that Envoy Gateway reads may not refer to Backend {name} in another namespace"
    remedy = grant_remedy(route, *kind, name, through=_HTTP_ROUTE)
    scope.report.error(route, f"{field}.namespace", message, remedy=remedy, reason="RefNotPermitted")
    return False


def _ai_backend(
    scope: Scope,
    route: ai_gateway.AIGatewayRoute,
    backend: ai_gateway.AIServiceBackend,
    place: tuple[int, int, ai_gateway.AIGatewayRouteRuleBackendRef],
) -> ir.Backend | None:
    rule, index, ref = place
    schema, vendor = _spoken(scope, backend)
    usable = _service(scope, backend)
    if usable is None:
        return None
    found, credential = usable
    header_set, header_remove, body_set, body_remove = _mutations(backend, ref)
    policy = _policy(scope, backend)
    return ir.Backend(
        name=f"{route.metadata.namespace}/{ref.name}/route/{route.metadata.name}/rule/{rule}/ref/{index}",
        service=str(backend.name),
        endpoints=found.endpoints,
        weight=ref.weight,
        priority=ref.priority if ref.priority is not None else int(found.fallback),
        dialect=schema.dialect,
        host=schema.host,
        vendor=vendor or vendor_at((found.authority, *(each.address for each in found.endpoints if each.is_dns))),
        prefix=_prefix(backend.spec.schema, schema),
        version=backend.spec.schema.version,
        project=cloud_place(scope, backend)[0],
        region=cloud_place(scope, backend)[1],
        model=ref.model_name_override,
        authority=found.authority,
        tls=found.tls,
        credential=credential,
        header_set=header_set,
        header_remove=header_remove,
        body_set=body_set,
        body_remove=body_remove,
        losses="report" if policy is None else _LOSSES[policy.spec.losses],
        models=_models(policy),
        response_model="requested" if _names_requested(policy) else "provider",
        forced_by=_forced_by(scope, policy),
        http2=found.http2,
    )


_LOSSES: Mapping[str, Literal["report", "reject", "emulate"]] = {
    "Report": "report",
    "Reject": "reject",
    "Emulate": "emulate",
}


def _policy(scope: Scope, backend: ai_gateway.AIServiceBackend) -> headgate.TranslationPolicy | None:
    target = Target(ai_gateway.GROUP, "AIServiceBackend", backend.metadata.namespace, backend.metadata.name)
    return scope.translation.get(target)


def _spoken(scope: Scope, backend: ai_gateway.AIServiceBackend) -> tuple[Schema, str]:
    """What the backend speaks, and the vendor that its policy names; empty where none does."""
    schema = SCHEMAS[backend.spec.schema.name]
    policy = _policy(scope, backend)
    if policy is None:
        return schema, ""
    said = policy.spec.backend
    return DIALECTS_DECLARED.get(said.dialect, schema), "" if said.vendor == "Auto" else said.vendor


def _names_requested(policy: headgate.TranslationPolicy | None) -> bool:
    return policy is not None and policy.spec.response_model == "Requested"


def _forced_by(scope: Scope, policy: headgate.TranslationPolicy | None) -> str:
    """The policy that forces the processor, if one does, and why where it does not say so outright."""
    if policy is None:
        return ""
    field, remedy, why = "lane", "lane: Auto", ""
    if policy.spec.lane != "ExtProc":
        if not _names_requested(policy):
            return ""
        field, remedy = "responseModel", "responseModel: Provider"
        why = ": answers name the model that was asked for"
    if not scope.options.extproc_sockets:
        scope.report.error(policy, f"spec.{field}", "this installation runs no processor", remedy=remedy)
    return f"{policy.kind} {policy.name}{why}"


def _models(policy: headgate.TranslationPolicy | None) -> tuple[ModelRow, ...]:
    """The policy's rows of models, as the translating processor reads them."""
    return () if policy is None else tuple(_model_row(model) for model in policy.spec.models)


_THINKING: Mapping[str, Literal["none", "budget", "adaptive", "both"]] = {
    "None": "none",
    "Budget": "budget",
    "Adaptive": "adaptive",
    "Both": "both",
}


def _model_row(model: headgate.TranslationModel) -> ModelRow:
    budget = model.thinking_budget
    return ModelRow(
        match=model.match.lower(),
        like=model.like,
        max_output_tokens=model.max_output_tokens,
        max_completion_tokens=model.max_completion_tokens,
        efforts=model.efforts,
        thinking=None if model.thinking is None else _THINKING[model.thinking],
        thinking_budget=None if budget is None else (budget.minimum, budget.maximum),
        structured_output=model.structured_output,
        sampling=model.sampling,
        developer_role=model.developer_role,
        stop_sequences=model.stop_sequences,
        web_search=model.web_search,
        images=model.images,
    )


def _service(scope: Scope, backend: ai_gateway.AIServiceBackend) -> tuple[Address, ir.Credential | None] | None:
    """Where a backend is and what authenticates us to it; None, reported, where it cannot be served. Rules refer to one
    backend by the hundred."""
    return scope.once(("service", backend.name), lambda: _found_service(scope, backend))


def _found_service(scope: Scope, backend: ai_gateway.AIServiceBackend) -> tuple[Address, ir.Credential | None] | None:
    target = backend.spec.backend_ref
    where = Name(target.namespace or backend.metadata.namespace, target.name)
    found = address(scope, backend, "spec.backendRef", where)
    credential, allowed = backend_credential(scope, backend)
    if found is None or not allowed:
        return None
    return found, signed_at(credential, found.authority) if credential is not None else None


def check_backends(scope: Scope) -> None:
    """Reports on what no route leads to, too: its status must not say that nothing is wrong."""
    for backend in scope.world.ai_service_backends.values():
        _service(scope, backend)
    for policy in scope.world.backend_security_policies.values():
        policy_credential(scope, policy)
    for policy in scope.world.backend_tls_policies.values():
        if any(policies[0] is policy for policies in scope.tls.values()):
            continue
        _policy_tls(scope, policy)


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
    # stripped from every attempt anyway: kept for the next one, a client's own key would be in metadata
    names -= set(CREDENTIALS)
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
    found = object_backend(scope, route, field, f"httproute/{route.name}/rule/{rule}/backend/{index}", ref)
    return replace(found, weight=ref.weight) if found is not None else None


def object_backend(
    scope: Scope, route: gateway_api.HTTPRoute, field: str, name: str, ref: gateway_api.BackendObjectReference
) -> ir.Backend | None:
    """What a reference at `field` of a plain route leads to; None, reported, where it cannot be used."""
    if (ref.group, ref.kind) != (envoy_gateway.GROUP, "Backend"):
        message = f"{ref.kind} is not supported as a backend here"
        remedy = f"group: {envoy_gateway.GROUP}, kind: Backend"
        scope.report.error(route, f"{field}.kind", message, remedy=remedy, reason="InvalidKind")
        return None
    found = address(scope, route, field, Name(ref.namespace or route.metadata.namespace, ref.name))
    if found is None:
        return None
    return ir.Backend(
        name=name,
        service=f"{ref.namespace or route.metadata.namespace}/{ref.name}",
        endpoints=found.endpoints,
        priority=int(found.fallback),
        authority=found.authority,
        tls=found.tls,
        http2=found.http2,
    )
