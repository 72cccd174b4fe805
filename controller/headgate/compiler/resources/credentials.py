"""What a BackendSecurityPolicy can hold, a struct per source of credentials.

Bounds, defaults and messages: Envoy AI Gateway 1.1, https://aigateway.envoyproxy.io/docs/api/.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar

import msgspec
from headgate.compiler.resources.gateway_api import SecretReference
from headgate.compiler.resources.metadata import Struct, Violation

_LOGIN_ONLY = "not used: it is about people's logins"


class APIKeyCredential(Struct, frozen=True, kw_only=True):
    """A key."""

    secret_ref: SecretReference
    """A Secret with key `apiKey`."""


class OIDCProvider(Struct, frozen=True, kw_only=True):
    """Who issues the tokens."""

    issuer: Annotated[str, msgspec.Meta(min_length=1)]
    """URL of the issuer; its endpoints are found below it, at `/.well-known/openid-configuration`."""
    token_endpoint: str = ""
    """URL of its token endpoint; found by discovery when absent."""
    unsupported: ClassVar[Mapping[str, str]] = {
        "authorizationEndpoint": _LOGIN_ONLY,
        "backendRef": "ignored: the issuer is reached by its URL",
        "backendRefs": "ignored: the issuer is reached by its URL",
        "backendSettings": "ignored: the issuer is reached by its URL",
        "endSessionEndpoint": _LOGIN_ONLY,
    }


class OIDC(Struct, frozen=True, kw_only=True):
    """How the gateway gets a token of an OpenID provider: as a client, with its own id and secret."""

    provider: OIDCProvider
    """Who issues the tokens."""
    client_id: Annotated[str, msgspec.Meta(min_length=1)] | None = msgspec.field(name="clientID", default=None)
    """The client's id."""
    client_id_ref: SecretReference | None = msgspec.field(name="clientIDRef", default=None)
    """A Secret with the client's id under `client-id`."""
    client_secret: SecretReference
    """A Secret with key `client-secret`."""
    scopes: tuple[str, ...] = ()
    """Scopes to ask for, beside those that the issuer's discovery document lists."""
    unsupported: ClassVar[Mapping[str, str]] = dict.fromkeys(
        (
            "cookieConfig",
            "cookieDomain",
            "cookieNames",
            "csrfTokenTTL",
            "defaultRefreshTokenTTL",
            "defaultTokenTTL",
            "denyRedirect",
            "disableTokenEncryption",
            "forwardAccessToken",
            "forwardIDToken",
            "logoutPath",
            "passThroughAuthHeader",
            "redirectURL",
            "refreshToken",
            "resources",
        ),
        _LOGIN_ONLY,
    )

    def violations(self) -> Iterator[Violation]:
        if (self.client_id is None) == (self.client_id_ref is None):
            yield Violation("only one of clientID or clientIDRef must be set", "clientID", "clientID: ...")


class OIDCExchangeToken(Struct, frozen=True, kw_only=True):
    """A token of an OpenID provider, given in exchange for the cloud's credential."""

    oidc: OIDC
    """Where it comes from."""
    grant_type: str = ""
    """`grant_type` of the request for it; `client_credentials` when absent."""
    aud: str = ""
    """`audience` of the request for it; none when absent."""


class AWSCredentialsFile(Struct, frozen=True, kw_only=True):
    """A credentials file of AWS's tools."""

    secret_ref: SecretReference
    """A Secret with key `credentials`."""
    profile: str = "default"
    """The profile to use."""


class AWSOIDCExchangeToken(OIDCExchangeToken, frozen=True, kw_only=True):
    """A token of an OpenID provider, given to AWS's STS for the credentials of a role."""

    aws_role_arn: Annotated[str, msgspec.Meta(min_length=1)]
    """The role."""


class AWSCredentials(Struct, frozen=True, kw_only=True):
    """Signs requests for AWS; without a field for it, with what Envoy finds where it runs: environment, web identity of
    the pod, container, instance."""

    region: Annotated[str, msgspec.Meta(min_length=1)]
    """Region of the service, for hosts whose name says none: `bedrock-runtime.us-west-2.amazonaws.com` is us-west-2."""
    credentials_file: AWSCredentialsFile | None = None
    """Credentials in a file."""
    oidc_exchange_token: AWSOIDCExchangeToken | None = None
    """Credentials of a role, renewed by the controller."""

    def violations(self) -> Iterator[Violation]:
        if self.credentials_file is not None and self.oidc_exchange_token is not None:
            yield Violation("at most one of credentialsFile or oidcExchangeToken may be specified", "credentialsFile")


class AzureOIDCExchangeToken(OIDCExchangeToken, frozen=True, kw_only=True):
    """A token of an OpenID provider, given to Entra ID as the client's assertion."""


class AzureCredentials(Struct, frozen=True, kw_only=True):
    """Access tokens of Entra ID, renewed by the controller; sent as `Authorization: Bearer`."""

    client_id: Annotated[str, msgspec.Meta(min_length=1)] = msgspec.field(name="clientID")
    """The application's (client's) id."""
    tenant_id: Annotated[str, msgspec.Meta(min_length=1)] = msgspec.field(name="tenantID")
    """The directory (tenant)."""
    client_secret_ref: SecretReference | None = None
    """A Secret with key `client-secret`."""
    oidc_exchange_token: AzureOIDCExchangeToken | None = None
    """A token that stands for the secret."""

    def violations(self) -> Iterator[Violation]:
        if (self.client_secret_ref is None) == (self.oidc_exchange_token is None):
            message = "Exactly one of clientSecretRef or oidcExchangeToken must be specified"
            yield Violation(message, "clientSecretRef", "clientSecretRef: {name: ...}")


class GCPCredentialsFile(Struct, frozen=True, kw_only=True):
    """The key file of a service account."""

    secret_ref: SecretReference
    """A Secret with key `service_account.json`."""


class GCPServiceAccountImpersonation(Struct, frozen=True, kw_only=True):
    """A service account to act as."""

    service_account_name: Annotated[str, msgspec.Meta(min_length=1)]
    """Its name, the part of its address before `@<projectName>.iam.gserviceaccount.com`."""


class GCPWorkloadIdentityFederationConfig(Struct, frozen=True, kw_only=True):
    """A token of an OpenID provider, given to Google Cloud's STS."""

    project_id: Annotated[str, msgspec.Meta(min_length=1)] = msgspec.field(name="projectID")
    """The project of the pool."""
    workload_identity_pool_name: Annotated[str, msgspec.Meta(min_length=1)]
    """The pool."""
    workload_identity_provider_name: Annotated[str, msgspec.Meta(min_length=1)]
    """The pool's provider that trusts the issuer."""
    oidc_exchange_token: OIDCExchangeToken
    """The token to exchange."""
    service_account_impersonation: GCPServiceAccountImpersonation | None = None
    """A service account to act as, of the project `projectName`."""


class GCPCredentials(Struct, frozen=True, kw_only=True):
    """Access tokens of Google Cloud, renewed by the controller; sent as `Authorization: Bearer`. With neither field for
    it, those of the machine that the controller runs on (Application Default Credentials)."""

    project_name: Annotated[str, msgspec.Meta(min_length=1)]
    """The project of the service."""
    region: Annotated[str, msgspec.Meta(min_length=1)]
    """Its region."""
    credentials_file: GCPCredentialsFile | None = None
    """A service account's key."""
    workload_identity_federation_config: GCPWorkloadIdentityFederationConfig | None = None
    """A token in exchange."""

    def violations(self) -> Iterator[Violation]:
        if self.credentials_file is not None and self.workload_identity_federation_config is not None:
            message = "At most one of credentialsFile or workloadIdentityFederationConfig may be specified"
            yield Violation(message, "credentialsFile")


class CredentialFromRequestHeaders(Struct, frozen=True, kw_only=True):
    """The client sends the credential in a header, which no provider sees."""

    header: str = ""
    """The header; by type when absent: `x-aigw-api-key`, `x-aigw-anthropic-api-key`, `x-aigw-azure-api-key`,
    `x-aigw-azure-access-token`, `x-aigw-gcp-access-token`."""
    fallback_to_configured: bool = True
    """Whether a request without it gets the policy's own credential; else it is answered 401."""


class CredentialFromDynamicMetadata(Struct, frozen=True, kw_only=True):
    """A filter of Envoy has put the credential into the request's dynamic metadata."""

    namespace: Annotated[str, msgspec.Meta(min_length=1)]
    """Namespace of the metadata."""
    key: str = ""
    """Key in it; when absent, the name that the header has by default."""
    fallback_to_configured: bool = True
    """Whether a request without it gets the policy's own credential; else it is answered 401."""


class CredentialOverride(Struct, frozen=True, kw_only=True):
    """Takes the credential from the request."""

    from_request_headers: CredentialFromRequestHeaders | None = None
    """From a header."""
    from_dynamic_metadata: CredentialFromDynamicMetadata | None = None
    """From dynamic metadata."""

    def violations(self) -> Iterator[Violation]:
        if (self.from_request_headers is None) == (self.from_dynamic_metadata is None):
            message = "exactly one of fromRequestHeaders or fromDynamicMetadata must be specified"
            yield Violation(message, "", "fromRequestHeaders: {}")
