"""A token of an OpenID provider for the gateway itself: discovery, then client credentials.

https://openid.net/specs/openid-connect-discovery-1_0.html, https://www.rfc-editor.org/rfc/rfc6749#section-4.4
"""

from base64 import b64encode
from urllib.parse import quote_plus

import msgspec
from headgate.compiler.exchanges import Oidc
from headgate.contract.secret import Secret
from headgate.controller.credentials.exchange import FORM, AccessToken, Call, ExchangeError, Steps, form, read


class Discovery(msgspec.Struct, frozen=True):
    """What we read of the issuer's document."""

    issuer: str
    token_endpoint: str
    scopes_supported: tuple[str, ...] = ()
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)


def token(oidc: Oidc) -> Steps[Secret]:
    """The provider's access token. Raises ExchangeError."""
    found = yield from _discovered(oidc)
    values = [("grant_type", oidc.grant_type or "client_credentials")]
    # compat: all that the issuer offers is asked for
    if scopes := dict.fromkeys((*oidc.scopes, *found.scopes_supported)):
        values.append(("scope", " ".join(scopes)))
    if oidc.audience:
        values.append(("audience", oidc.audience))
    headers: dict[str, str | Secret] = dict(FORM)
    if "client_secret_basic" in found.token_endpoint_auth_methods_supported:
        headers["authorization"] = _basic(oidc)
    else:
        values += [("client_id", oidc.client_id), ("client_secret", oidc.client_secret.reveal())]
    call = Call(party="oidc", method="POST", url=found.token_endpoint, headers=headers, body=form(values))
    answer = yield call
    return Secret(read(answer, call, AccessToken).access_token)


def _discovered(oidc: Oidc) -> Steps[Discovery]:
    if oidc.token_endpoint:
        return Discovery(oidc.issuer, oidc.token_endpoint)
    url = f"{oidc.issuer}/.well-known/openid-configuration"
    call = Call(party="oidc", method="GET", url=url, headers={"accept": "application/json"})
    answer = yield call
    found = read(answer, call, Discovery)
    if found.issuer.rstrip("/") != oidc.issuer.rstrip("/"):
        raise ExchangeError(f"{url} is about another issuer, {found.issuer}")
    return found


def _basic(oidc: Oidc) -> Secret:
    pair = f"{quote_plus(oidc.client_id)}:{quote_plus(oidc.client_secret.reveal())}"
    return Secret("Basic " + b64encode(pair.encode()).decode())
