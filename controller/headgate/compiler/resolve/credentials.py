"""Credentials: what authenticates the gateway to a backend, from policies, Secrets and requests."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from headgate.compiler import exchanges, ir
from headgate.compiler.resolve.scope import Scope, grant_remedy, granted
from headgate.compiler.resources import ai_gateway, core, credentials, gateway_api
from headgate.compiler.resources.metadata import Name, Resource
from headgate.contract import metadata
from headgate.contract.secret import Secret

Policy = ai_gateway.BackendSecurityPolicy


@dataclass(frozen=True, slots=True)
class _Header:
    """How a type's credential is sent, and the header in which a request may bring its own."""

    name: str
    prefix: str
    override: str


_HEADERS: Mapping[str, _Header] = {
    "APIKey": _Header("authorization", "Bearer ", "x-aigw-api-key"),
    "AzureAPIKey": _Header("api-key", "", "x-aigw-azure-api-key"),
    "AnthropicAPIKey": _Header("x-api-key", "", "x-aigw-anthropic-api-key"),
    "AzureCredentials": _Header("authorization", "Bearer ", "x-aigw-azure-access-token"),
    "GCPCredentials": _Header("authorization", "Bearer ", "x-aigw-gcp-access-token"),
}
"""By type; those of AWS sign instead."""


def secret_value(
    scope: Scope, policy: Resource, field: str, ref: gateway_api.SecretReference, key: str
) -> Secret | None:
    """A Secret's value under a key, trimmed; None, reported, where it cannot be had."""
    name = Name(ref.namespace or policy.metadata.namespace, ref.name)
    if not granted(scope, policy, "", "Secret", name):
        remedy = grant_remedy(policy, "", "Secret", name)
        message = f"may not refer to Secret {name} in another namespace"
        scope.report.error(policy, field, message, remedy=remedy, reason="RefNotPermitted")
        return None
    secret: core.Secret | None = scope.world.secrets.get(name)
    if secret is None:
        scope.report.error(policy, field, f"there is no Secret {name}", reason="InvalidSecretRef")
        return None
    value = secret.value(key)
    text = value.reveal().strip() if value is not None else ""
    if not text:
        message, reason = f"Secret {name} has no value under the key {key}", "InvalidSecretRef"
        if any(each.field == f"stringData.{key}" for each in scope.world.diagnostics.get(secret.key, ())):
            scope.report.follow(policy, field, message, reason=reason)
        else:
            scope.report.error(policy, field, message, remedy=f"stringData: {{{key}: ...}}", reason=reason)
        return None
    return Secret(text)


# --- exchanges


def _oidc(scope: Scope, policy: Policy, field: str, exchanged: credentials.OIDCExchangeToken) -> exchanges.Oidc | None:
    oidc, field = exchanged.oidc, f"{field}.oidc"
    client_id = oidc.client_id or ""
    if oidc.client_id_ref is not None:
        found = secret_value(scope, policy, f"{field}.clientIDRef", oidc.client_id_ref, "client-id")
        if found is None:
            return None
        client_id = found.reveal()
    secret = secret_value(scope, policy, f"{field}.clientSecret", oidc.client_secret, "client-secret")
    if secret is None:
        return None
    return exchanges.Oidc(
        issuer=oidc.provider.issuer.rstrip("/"),
        client_id=client_id,
        client_secret=secret,
        token_endpoint=oidc.provider.token_endpoint,
        scopes=oidc.scopes,
        grant_type=exchanged.grant_type,
        audience=exchanged.aud,
    )


def _azure(scope: Scope, policy: Policy, azure: credentials.AzureCredentials) -> exchanges.Source | None:
    field = "spec.azureCredentials"
    if azure.client_secret_ref is not None:
        value = secret_value(scope, policy, f"{field}.clientSecretRef", azure.client_secret_ref, "client-secret")
        if value is None:
            return None
        return exchanges.AzureSecret(tenant_id=azure.tenant_id, client_id=azure.client_id, client_secret=value)
    assert azure.oidc_exchange_token is not None
    oidc = _oidc(scope, policy, f"{field}.oidcExchangeToken", azure.oidc_exchange_token)
    if oidc is None:
        return None
    return exchanges.AzureAssertion(tenant_id=azure.tenant_id, client_id=azure.client_id, oidc=oidc)


def _gcp(scope: Scope, policy: Policy, gcp: credentials.GCPCredentials) -> exchanges.Source | None:
    field = "spec.gcpCredentials"
    if gcp.credentials_file is not None:
        place = f"{field}.credentialsFile.secretRef"
        value = secret_value(scope, policy, place, gcp.credentials_file.secret_ref, "service_account.json")
        if value is None:
            return None
        return exchanges.GcpServiceAccount(key_file=value, project=gcp.project_name, region=gcp.region)
    federation = gcp.workload_identity_federation_config
    if federation is None:
        return exchanges.GcpDefault(project=gcp.project_name, region=gcp.region)
    place = f"{field}.workloadIdentityFederationConfig.oidcExchangeToken"
    oidc = _oidc(scope, policy, place, federation.oidc_exchange_token)
    if oidc is None:
        return None
    acting = federation.service_account_impersonation
    account = f"{acting.service_account_name}@{gcp.project_name}.iam.gserviceaccount.com" if acting is not None else ""
    return exchanges.GcpFederation(
        oidc=oidc,
        pool_project=federation.project_id,
        pool=federation.workload_identity_pool_name,
        provider=federation.workload_identity_provider_name,
        project=gcp.project_name,
        region=gcp.region,
        service_account=account,
    )


def _source(scope: Scope, policy: Policy) -> tuple[exchanges.Source | None, bool]:
    """What the policy's token is made from, and whether the policy has one at all."""
    spec = policy.spec
    if spec.azure_credentials is not None:
        return _azure(scope, policy, spec.azure_credentials), True
    if spec.gcp_credentials is not None:
        return _gcp(scope, policy, spec.gcp_credentials), True
    if spec.aws_credentials is None or spec.aws_credentials.oidc_exchange_token is None:
        return None, False
    exchanged = spec.aws_credentials.oidc_exchange_token
    oidc = _oidc(scope, policy, "spec.awsCredentials.oidcExchangeToken", exchanged)
    if oidc is None:
        return None, True
    region = spec.aws_credentials.region
    return exchanges.AwsWebIdentity(oidc=oidc, role_arn=exchanged.aws_role_arn, region=region), True


_TOKEN_KEYS: Mapping[str, str] = {
    "AWSCredentials": exchanges.AWS_CREDENTIALS,
    "AzureCredentials": exchanges.AZURE_TOKEN,
    "GCPCredentials": exchanges.GCP_TOKEN,
}


def _token(scope: Scope, policy: Policy) -> Secret | None:
    """The token that the controller has put into the policy's Secret, if it has."""
    secret = scope.world.secrets.get(exchanges.secret_name(policy.name))
    value = secret.value(_TOKEN_KEYS[policy.spec.type]) if secret is not None else None
    return value or None


def _current(scope: Scope, policy: Policy) -> exchanges.Current:
    secret = scope.world.secrets.get(exchanges.secret_name(policy.name))
    notes: Mapping[str, str] = secret.metadata.annotations if secret is not None else {}
    return exchanges.Current(
        expires=notes.get(exchanges.EXPIRATION, ""),
        made_from=notes.get(exchanges.MADE_FROM, ""),
        error=notes.get(exchanges.ERROR, ""),
        usable=_token(scope, policy) is not None,
    )


def wanted_exchanges(scope: Scope) -> Iterator[exchanges.Exchange]:
    """The credentials that the controller has to keep fresh, by policy."""
    for policy in scope.world.backend_security_policies.values():
        override = policy.spec.credential_override
        if override is not None and not _falls_back(override):
            continue
        source, _ = _source(scope, policy)
        if source is not None:
            yield exchanges.Exchange(
                policy=policy.name,
                source=source,
                api_version=policy.api_version,
                uid=policy.metadata.uid,
                current=_current(scope, policy),
            )


# --- credentials


def _falls_back(override: credentials.CredentialOverride) -> bool:
    chosen = override.from_request_headers or override.from_dynamic_metadata
    return chosen is None or chosen.fallback_to_configured


def _override(override: credentials.CredentialOverride | None, header: _Header) -> ir.Override | None:
    if override is None:
        return None
    if (by_header := override.from_request_headers) is not None:
        name = by_header.header.lower() or header.override
        return ir.Override(
            namespace=metadata.CREDENTIALS, key=name, header=name, fallback=by_header.fallback_to_configured
        )
    found = override.from_dynamic_metadata
    assert found is not None
    return ir.Override(
        namespace=found.namespace, key=found.key or header.override, fallback=found.fallback_to_configured
    )


def _configured(scope: Scope, policy: Policy) -> tuple[Secret | None, bool]:
    """The credential that the policy itself names, None where it is broken; and whether it is still awaited."""
    spec = policy.spec
    for key, field in (
        (spec.api_key, "apiKey"),
        (spec.azure_api_key, "azureAPIKey"),
        (spec.anthropic_api_key, "anthropicAPIKey"),
    ):
        if key is not None:
            return secret_value(scope, policy, f"spec.{field}.secretRef", key.secret_ref, "apiKey"), False
    source, _ = _source(scope, policy)
    if source is None:
        return None, False
    if scope.options.offline:
        return Secret(""), False
    token, error = _token(scope, policy), _current(scope, policy).error
    if error and token is not None:
        scope.report.warning(policy, "spec", f"its token could not be renewed and ends soon: {error}")
    elif error:
        scope.report.error(policy, "spec", f"no token could be had: {error}", reason="CredentialUnavailable")
    elif token is None:
        scope.report.error(policy, "spec", "its first token has not arrived yet", reason="CredentialUnavailable")
    return token, token is None


def policy_credential(scope: Scope, policy: Policy) -> ir.Credential | None:
    """The credential of a policy; None, reported, where it cannot be had: its backends are then not served."""
    spec = policy.spec
    if spec.aws_credentials is not None:
        return _aws(scope, policy, spec.aws_credentials)
    header = _HEADERS[spec.type]
    override = _override(spec.credential_override, header)
    value, awaited = (None, False)
    if override is None or override.fallback:
        value, awaited = _configured(scope, policy)
        if value is None and not awaited:
            return None
    return ir.Credential(
        kind=ir.CredentialKind.HEADER,
        secret=f"backend-security-policy/{policy.name}",
        value=Secret(header.prefix + value.reveal()) if value else Secret(""),
        header=header.name,
        prefix=header.prefix,
        override=override,
        awaited=awaited,
    )


def _aws(scope: Scope, policy: Policy, aws: credentials.AWSCredentials) -> ir.Credential | None:
    if policy.spec.credential_override is not None:
        message = (
            "AWS credentials cannot come with a request: Envoy signs with what its configuration names, and no other "
            "process may see them"
        )
        remedy = "remove it, or a backend with keys (type: APIKey; Bedrock has API keys too)"
        scope.report.error(policy, "spec.credentialOverride", message, remedy=remedy, reason="UnsupportedValue")
        return None
    name = f"backend-security-policy-{policy.metadata.namespace}-{policy.metadata.name}"
    value, awaited, profile, field = None, False, "default", "spec.awsCredentials"
    if aws.oidc_exchange_token is not None:
        value, awaited = _configured(scope, policy)
    elif aws.credentials_file is not None:
        field, profile = f"{field}.credentialsFile.secretRef", aws.credentials_file.profile
        value = secret_value(scope, policy, field, aws.credentials_file.secret_ref, "credentials")
    else:
        return ir.Credential(kind=ir.CredentialKind.AWS_CHAIN, secret=name, value=Secret(""), region=aws.region)
    if value is None and not awaited:
        return None
    return ir.Credential(
        kind=ir.CredentialKind.AWS,
        secret=name,
        value=value or Secret(""),
        region=aws.region,
        profile=profile,
        awaited=awaited,
    )


def backend_credential(scope: Scope, backend: ai_gateway.AIServiceBackend) -> tuple[ir.Credential | None, bool]:
    """The backend's credential, and whether it may be served."""
    policies = scope.credentials.get(backend.name, ())
    if len(policies) > 1:
        names = ", ".join(str(policy.name) for policy in policies)
        message = f"multiple BackendSecurityPolicies found for AIServiceBackend {backend.name.name}: [{names}]"
        scope.report.error(backend, "metadata.name", message, remedy="one policy for each backend")
        return None, False
    if policies:
        credential = policy_credential(scope, policies[0])
        if credential is not None and policies[0].spec.type == "APIKey" and backend.spec.schema.name in _GOOGLE_KEYS:
            credential = _google_key(credential)
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


_BEDROCK_HOST = re.compile(
    r"(?:^|\.)bedrock(?:-agent)?-runtime(?:-fips)?\.([a-z0-9-]+)\.(?:(?:vpce\.)?amazonaws\.com(?:\.cn)?|api\.aws)$"
)


def signed_at(credential: ir.Credential, authority: str) -> ir.Credential:
    """compat: requests are signed for the region that the host's name says, so one policy does for several regions."""
    found = _BEDROCK_HOST.search(authority.partition(":")[0])
    return credential if found is None or not credential.region else replace(credential, region=found[1])


_GOOGLE_KEYS = frozenset(("Gemini", "GCPVertexAI"))
"""Schemas whose API keys come in Google's header; what it takes as a bearer are tokens."""


def _google_key(credential: ir.Credential) -> ir.Credential:
    return replace(
        credential,
        secret=f"{credential.secret}/google",
        value=Secret(credential.value.reveal().removeprefix(credential.prefix)),
        header="x-goog-api-key",
        prefix="",
    )


def cloud_place(scope: Scope, backend: ai_gateway.AIServiceBackend) -> tuple[str, str]:
    """Project and region that the backend's policy names; empty where it does not."""
    for policy in scope.credentials.get(backend.name, ()):
        if policy.spec.gcp_credentials is not None:
            return policy.spec.gcp_credentials.project_name, policy.spec.gcp_credentials.region
        if policy.spec.aws_credentials is not None:
            return "", policy.spec.aws_credentials.region
    return "", ""


def asked(backends: tuple[ir.Backend, ...]) -> tuple[tuple[ir.Backend, ...], str]:
    """The backends that can be asked now; where that is none of them, what clients are told."""
    usable = tuple(each for each in backends if each.credential is None or not each.credential.awaited)
    message = "The gateway has no credential for this model's provider at the moment; try again."
    return usable, message if backends and not usable else ""
