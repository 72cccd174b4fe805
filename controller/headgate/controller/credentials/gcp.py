"""An access token of Google Cloud: by a service account's key, a token in exchange, or what the machine has.

https://developers.google.com/identity/protocols/oauth2/service-account#httprest,
https://cloud.google.com/iam/docs/reference/sts/rest/v1/TopLevel/token,
https://cloud.google.com/docs/authentication/application-default-credentials
"""

from base64 import urlsafe_b64encode
from datetime import datetime
from typing import Final, Literal

import msgspec
from headgate.compiler.exchanges import (
    GCP_PROJECT,
    GCP_REGION,
    GCP_TOKEN,
    GcpDefault,
    GcpFederation,
    GcpServiceAccount,
)
from headgate.contract.secret import Secret
from headgate.controller.credentials import oidc
from headgate.controller.credentials.exchange import (
    FORM,
    AccessToken,
    Call,
    ExchangeError,
    Moment,
    Steps,
    Token,
    bearer,
    form,
    host_of,
    read,
)

SCOPE: Final = "https://www.googleapis.com/auth/cloud-platform"
_JWT_GRANT: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_EXCHANGE_GRANT: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
_JWT_TYPE: Final = "urn:ietf:params:oauth:token-type:jwt"
_ACCESS_TYPE: Final = "urn:ietf:params:oauth:token-type:access_token"
_ASSERTION_SECONDS: Final = 3600


class ServiceAccountKey(msgspec.Struct, frozen=True, tag_field="type", tag="service_account"):
    """A service account's key file."""

    client_email: str
    private_key: str
    private_key_id: str = ""
    token_uri: str = ""


class AuthorizedUser(msgspec.Struct, frozen=True, tag_field="type", tag="authorized_user"):
    """What `gcloud auth application-default login` leaves behind."""

    client_id: str
    client_secret: str
    refresh_token: str


class _Impersonated(msgspec.Struct, frozen=True):
    accessToken: str  # noqa: N815  (as on the wire)
    expireTime: str  # noqa: N815


def exchange(source: GcpServiceAccount | GcpFederation | GcpDefault, moment: Moment) -> Steps[Token]:
    """The token, with the place that the placement needs. Raises ExchangeError."""
    match source:
        case GcpServiceAccount():
            found = yield from _by_key(_read_key(source.key_file, ServiceAccountKey), moment)
        case GcpFederation():
            found = yield from _by_federation(source, moment)
        case GcpDefault():
            found = yield from _by_default(moment)
    token, expires = found
    values = {GCP_TOKEN: token, GCP_PROJECT: Secret(source.project), GCP_REGION: Secret(source.region)}
    return Token(values, expires)


def _read_key(text: Secret, shape: type[ServiceAccountKey]) -> ServiceAccountKey:
    try:
        return msgspec.json.decode(text.reveal(), type=shape)
    except (msgspec.DecodeError, RecursionError):
        raise ExchangeError("service_account.json is not the key file of a service account") from None


# --- a service account's key


def signed(key: ServiceAccountKey, audience: str, now: float) -> Secret:
    """The assertion that the account signs (RS256, https://www.rfc-editor.org/rfc/rfc7523). Raises ExchangeError."""
    header: dict[str, str] = {"alg": "RS256", "typ": "JWT"}
    if key.private_key_id:
        header["kid"] = key.private_key_id
    claims = {
        "iss": key.client_email,
        "scope": SCOPE,
        "aud": audience,
        "iat": int(now),
        "exp": int(now) + _ASSERTION_SECONDS,
    }
    text = f"{_base64(msgspec.json.encode(header))}.{_base64(msgspec.json.encode(claims))}"
    # Imported here: most start without such a key.
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import padding, rsa
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        private = load_pem_private_key(key.private_key.encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ExchangeError("the private_key of service_account.json cannot be read") from None
    if not isinstance(private, rsa.RSAPrivateKey):
        raise ExchangeError("the private_key of service_account.json is not an RSA key")
    return Secret(f"{text}.{_base64(private.sign(text.encode(), padding.PKCS1v15(), SHA256()))}")


def _base64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def _by_key(key: ServiceAccountKey, moment: Moment) -> Steps[tuple[Secret, float]]:
    url = key.token_uri or moment.endpoints.gcp_token
    assertion = signed(key, url, moment.now)
    body = form([("grant_type", _JWT_GRANT), ("assertion", assertion.reveal())])
    return (yield from _token(Call(party="gcp", method="POST", url=url, headers=FORM, body=body), moment))


def _token(call: Call, moment: Moment) -> Steps[tuple[Secret, float]]:
    answer = yield call
    found = read(answer, call, AccessToken)
    return Secret(found.access_token), moment.now + found.seconds()


# --- workload identity federation


def audience(source: GcpFederation) -> str:
    """The pool's provider, as Google Cloud names it."""
    return (
        f"//iam.googleapis.com/projects/{source.pool_project}/locations/global/workloadIdentityPools/{source.pool}"
        f"/providers/{source.provider}"
    )


def _by_federation(source: GcpFederation, moment: Moment) -> Steps[tuple[Secret, float]]:
    identity = yield from oidc.token(source.oidc)
    body = form(
        [
            ("grant_type", _EXCHANGE_GRANT),
            ("audience", audience(source)),
            ("scope", SCOPE),
            ("requested_token_type", _ACCESS_TYPE),
            ("subject_token_type", _JWT_TYPE),
            ("subject_token", identity.reveal()),
        ]
    )
    url = f"{moment.endpoints.gcp_sts}/v1/token"
    federated = yield from _token(Call(party="gcp", method="POST", url=url, headers=FORM, body=body), moment)
    if not source.service_account:
        return federated
    return (yield from _acting_as(source.service_account, federated[0], moment))


def _acting_as(account: str, federated: Secret, moment: Moment) -> Steps[tuple[Secret, float]]:
    call = Call(
        party="gcp",
        method="POST",
        url=f"{moment.endpoints.gcp_iam}/v1/projects/-/serviceAccounts/{account}:generateAccessToken",
        headers={"content-type": "application/json", "authorization": bearer(federated)},
        body=Secret(msgspec.json.encode({"scope": [SCOPE]}).decode()),
    )
    answer = yield call
    found = read(answer, call, _Impersonated)
    try:
        expires = datetime.fromisoformat(found.expireTime.replace("Z", "+00:00")).timestamp()
    except ValueError:
        raise ExchangeError(f"{host_of(call)} answered with an expireTime that is no time") from None
    return Secret(found.accessToken), expires


# --- what the machine has


_DEFAULT: Final = ServiceAccountKey | AuthorizedUser


def _by_default(moment: Moment) -> Steps[tuple[Secret, float]]:
    if moment.default_credentials is None:
        return (yield from _by_metadata(moment))
    try:
        text = moment.default_credentials.reveal()
        found: ServiceAccountKey | AuthorizedUser = msgspec.json.decode(text, type=_DEFAULT)
    except (msgspec.DecodeError, RecursionError):
        message = "the file of default credentials is neither a service account's key nor that of a user"
        raise ExchangeError(message) from None
    match found:
        case ServiceAccountKey():
            return (yield from _by_key(found, moment))
        case AuthorizedUser():
            return (yield from _by_user(found, moment))


def _by_user(user: AuthorizedUser, moment: Moment) -> Steps[tuple[Secret, float]]:
    body = form(
        [
            ("grant_type", "refresh_token"),
            ("client_id", user.client_id),
            ("client_secret", user.client_secret),
            ("refresh_token", user.refresh_token),
        ]
    )
    url = moment.endpoints.gcp_token
    return (yield from _token(Call(party="gcp", method="POST", url=url, headers=FORM, body=body), moment))


_ACCOUNT: Final[Literal["default"]] = "default"


def _by_metadata(moment: Moment) -> Steps[tuple[Secret, float]]:
    url = f"{moment.endpoints.gcp_metadata}/computeMetadata/v1/instance/service-accounts/{_ACCOUNT}/token"
    call = Call(party="machine", method="GET", url=url, headers={"metadata-flavor": "Google"})
    return (yield from _token(call, moment))
