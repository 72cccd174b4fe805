"""Credentials that have to be fetched and renewed: what the controller exchanges, as values.

`resolve/` makes an `Exchange` of each policy whose credential is a token with an end. The controller runs it and puts
the result into the Secret that the exchange names; from there it comes back like any other Secret, so that every
replica sees it, and the compiler knows no clock.
"""

import json
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Final

from headgate.compiler.resources.metadata import Name
from headgate.contract.secret import Secret

SECRET_PREFIX: Final = "ai-eg-bsp-"  # noqa: S105  (a name)
"""compat: the Secret of policy `x` is `ai-eg-bsp-x`, in its namespace."""
EXPIRATION: Final = "rotators/expiration-time"
"""compat: the annotation with the token's end (RFC 3339)."""
MADE_FROM: Final = "headgate.dev/made-from"
"""The annotation with the `Exchange.fingerprint` that the token was made from."""
ERROR: Final = "headgate.dev/exchange-error"
"""The annotation with why the last exchange failed; absent when it did not."""

AWS_CREDENTIALS: Final = "credentials"
AZURE_TOKEN: Final = "azureAccessToken"  # noqa: S105  (a name)
GCP_TOKEN: Final = "gcpAccessToken"  # noqa: S105  (a name)
GCP_PROJECT: Final = "projectName"
GCP_REGION: Final = "region"


@dataclass(frozen=True, slots=True, kw_only=True)
class Oidc:
    """A client of an OpenID provider."""

    issuer: str
    client_id: str
    client_secret: Secret
    token_endpoint: str = ""
    """Found by discovery when empty."""
    scopes: tuple[str, ...] = ()
    grant_type: str = ""
    audience: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AwsWebIdentity:
    """A role of AWS, for a token of an OpenID provider."""

    oidc: Oidc
    role_arn: str
    region: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AzureSecret:
    """An application of Entra ID with its secret."""

    tenant_id: str
    client_id: str
    client_secret: Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class AzureAssertion:
    """An application of Entra ID, for a token of an OpenID provider."""

    tenant_id: str
    client_id: str
    oidc: Oidc


@dataclass(frozen=True, slots=True, kw_only=True)
class GcpServiceAccount:
    """A service account of Google Cloud with its key file."""

    key_file: Secret
    project: str
    region: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GcpFederation:
    """A workload identity pool of Google Cloud, for a token of an OpenID provider."""

    oidc: Oidc
    pool_project: str
    pool: str
    provider: str
    project: str
    region: str
    service_account: str = ""
    """Address of the service account to act as; empty for none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GcpDefault:
    """Whatever Google Cloud gives the controller: Application Default Credentials."""

    project: str
    region: str


Source = AwsWebIdentity | AzureSecret | AzureAssertion | GcpServiceAccount | GcpFederation | GcpDefault


@dataclass(frozen=True, slots=True, kw_only=True)
class Current:
    """What the exchange's Secret says now."""

    expires: str = ""
    made_from: str = ""
    error: str = ""
    usable: bool = False
    """Whether it holds a credential."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One credential to keep fresh."""

    policy: Name
    source: Source
    api_version: str = ""
    uid: str = ""
    """Of the policy, for owner references."""
    current: Current = Current()

    @property
    def secret(self) -> Name:
        """The Secret that holds the result."""
        return secret_name(self.policy)

    @property
    def fingerprint(self) -> str:
        """Equal for equal sources; tells whether a token was made from what the policy says now."""
        text = json.dumps([type(self.source).__name__, asdict(self.source)], sort_keys=True, default=_revealed)
        return sha256(text.encode()).hexdigest()[:32]


def secret_name(policy: Name) -> Name:
    """The Secret of a policy's token."""
    return Name(policy.namespace, SECRET_PREFIX + policy.name)


def _revealed(value: object) -> object:
    assert isinstance(value, Secret)
    return sha256(value.reveal().encode()).hexdigest()
