"""Credentials of a role of AWS, for a token of an OpenID provider.

https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html
"""

import re
from collections.abc import Mapping
from datetime import datetime
from html import unescape

from headgate.compiler.exchanges import AWS_CREDENTIALS, AwsWebIdentity
from headgate.contract.secret import Secret
from headgate.controller.credentials import oidc
from headgate.controller.credentials.exchange import (
    Answer,
    Call,
    ExchangeError,
    Moment,
    Steps,
    Token,
    explained,
    form,
    host_of,
)

SESSION_CHARACTERS_MAX = 64
_ELEMENT = re.compile(
    r"<(AccessKeyId|SecretAccessKey|SessionToken|Expiration|Code|Message)>([^<]*)</\1>"  # none of them has attributes
)


def exchange(source: AwsWebIdentity, policy: str, moment: Moment) -> Steps[Token]:
    """The role's credentials, as a file of AWS's tools. `policy` names the session."""
    identity = yield from oidc.token(source.oidc)
    # compat: the session is called after the policy
    session = re.sub(r"[^\w+=,.@-]", "-", f"ai-gateway-{policy}", flags=re.ASCII)[:SESSION_CHARACTERS_MAX]
    body = form(
        [
            ("Action", "AssumeRoleWithWebIdentity"),
            ("Version", "2011-06-15"),
            ("RoleArn", source.role_arn),
            ("RoleSessionName", session),
            ("WebIdentityToken", identity.reveal()),
        ]
    )
    url = _endpoint(source, moment)
    headers = {"content-type": "application/x-www-form-urlencoded", "accept": "text/xml"}
    call = Call(party="aws", method="POST", url=url, headers=headers, body=body)
    answer = yield call
    found = _elements(answer)
    if answer.status != 200:
        said = ": ".join(found[name] for name in ("Code", "Message") if name in found)
        raise ExchangeError(explained(call, answer, said))
    try:
        expires = datetime.fromisoformat(found["Expiration"].replace("Z", "+00:00")).timestamp()
        text = credentials_file(found, source.region)
    except (KeyError, ValueError):
        raise ExchangeError(f"{host_of(call)} answered {answer.status}, which lacks what is needed") from None
    return Token({AWS_CREDENTIALS: Secret(text)}, expires)


def _endpoint(source: AwsWebIdentity, moment: Moment) -> str:
    url = moment.endpoints.aws_sts.replace("{region}", source.region)
    return url + ".cn" if source.region.startswith("cn-") and url.endswith(".amazonaws.com") else url


def _elements(answer: Answer) -> Mapping[str, str]:
    text = answer.body.decode("utf-8", "replace")
    return {name: unescape(value).strip() for name, value in _ELEMENT.findall(text)}


def credentials_file(found: Mapping[str, str], region: str) -> str:
    """compat: profile `default`. Raises KeyError, or ValueError for values that would not stay in their lines."""
    lines = [
        "[default]",
        f"aws_access_key_id = {found['AccessKeyId']}",
        f"aws_secret_access_key = {found['SecretAccessKey']}",
        f"aws_session_token = {found['SessionToken']}",
        f"region = {region}",
    ]
    if any(len(line.splitlines()) != 1 for line in lines):
        raise ValueError("a value has several lines")
    return "\n".join(lines) + "\n"
