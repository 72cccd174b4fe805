"""An access token of Entra ID for an application, by its secret or by a token that stands for it.

https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow
"""

from urllib.parse import quote

from headgate.compiler.exchanges import AZURE_TOKEN, AzureAssertion, AzureSecret
from headgate.contract.secret import Secret
from headgate.controller.credentials import oidc
from headgate.controller.credentials.exchange import FORM, AccessToken, Call, Moment, Steps, Token, form, read

SCOPE = "https://cognitiveservices.azure.com/.default"
_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


def exchange(source: AzureSecret | AzureAssertion, moment: Moment) -> Steps[Token]:
    """The application's token for Azure's AI services. Raises ExchangeError."""
    values = [("grant_type", "client_credentials"), ("client_id", source.client_id), ("scope", SCOPE)]
    match source:
        case AzureSecret():
            values.append(("client_secret", source.client_secret.reveal()))
        case AzureAssertion():
            identity = yield from oidc.token(source.oidc)
            values += [("client_assertion_type", _ASSERTION), ("client_assertion", identity.reveal())]
    url = f"{moment.endpoints.azure}/{quote(source.tenant_id, safe='')}/oauth2/v2.0/token"
    call = Call(party="azure", method="POST", url=url, headers=FORM, body=form(values))
    answer = yield call
    found = read(answer, call, AccessToken)
    return Token({AZURE_TOKEN: Secret(found.access_token)}, moment.now + found.seconds())
