"""What is asked of identity providers, and how their answers are read: shapes as the providers document them."""

import json
from collections.abc import Generator, Mapping
from dataclasses import replace
from urllib.parse import parse_qsl

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from headgate.compiler.exchanges import (
    AwsWebIdentity,
    AzureAssertion,
    AzureSecret,
    GcpDefault,
    GcpFederation,
    GcpServiceAccount,
    Oidc,
)
from headgate.contract.secret import Secret
from headgate.controller.credentials import aws, azure, gcp, oidc
from headgate.controller.credentials.exchange import Answer, Call, Endpoints, ExchangeError, Moment, Token
from support.identity import new_key, verified

CLIENT = Oidc(issuer="https://issuer.test", client_id="id", client_secret=Secret("s/ecret"), scopes=("a",))
NOW = Moment(now=1_700_000_000.0)
DISCOVERED = {
    "issuer": "https://issuer.test/",
    "token_endpoint": "https://issuer.test/t",
    "scopes_supported": ["openid", "a"],
    "other": 1,
}
IDENTITY = {"access_token": "idt", "token_type": "Bearer", "expires_in": 300}
STS_XML = (
    '<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">'
    "<AssumeRoleWithWebIdentityResult><SubjectFromWebIdentityToken>x</SubjectFromWebIdentityToken><Credentials>"
    "<AccessKeyId>ASIA1</AccessKeyId><SecretAccessKey>a/b+c</SecretAccessKey><SessionToken>t&amp;==</SessionToken>"
    "<Expiration>2023-11-14T23:13:20Z</Expiration></Credentials></AssumeRoleWithWebIdentityResult>"
    "</AssumeRoleWithWebIdentityResponse>"
)
STS_ERROR = (
    '<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>'
    "<Code>AccessDenied</Code><Message>Not authorized to perform sts:AssumeRoleWithWebIdentity</Message></Error>"
    "<RequestId>1</RequestId></ErrorResponse>"
)


def converse(steps: Generator[Call, Answer, object], *answers: object) -> tuple[list[Call], object]:
    """The calls, and what the exchange gives after these answers (JSON values, texts or Answers)."""
    calls = [next(steps)]
    for each in answers:
        answer = each
        if not isinstance(answer, Answer):
            answer = Answer(200, (each if isinstance(each, str) else json.dumps(each)).encode())
        try:
            calls.append(steps.send(answer))
        except StopIteration as done:
            return calls, done.value
    raise AssertionError(f"more is asked: {calls[-1].url}")


def form(call: Call) -> dict[str, str]:
    return dict(parse_qsl(call.body.reveal()))


def values(token: object) -> Mapping[str, str]:
    assert isinstance(token, Token)
    return {name: value.reveal() for name, value in token.values.items()}


# --- OpenID


def test_a_client_is_found_by_discovery() -> None:
    calls, token = converse(oidc.token(CLIENT), DISCOVERED, IDENTITY)
    assert token == Secret("idt")
    assert calls[0].url == "https://issuer.test/.well-known/openid-configuration"
    assert calls[1].url == "https://issuer.test/t"
    assert form(calls[1]) == {"grant_type": "client_credentials", "scope": "a openid"}
    authorization = calls[1].headers["authorization"]
    assert isinstance(authorization, Secret)
    assert authorization.reveal() == "Basic aWQ6cyUyRmVjcmV0"


def test_an_issuer_may_want_the_secret_in_the_form() -> None:
    methods = {"token_endpoint_auth_methods_supported": ["client_secret_post"]}
    calls, _ = converse(oidc.token(replace(CLIENT, audience="x")), {**DISCOVERED, **methods}, IDENTITY)
    assert form(calls[1])["client_secret"] == "s/ecret"
    assert form(calls[1])["audience"] == "x"
    assert "authorization" not in calls[1].headers


def test_a_token_endpoint_that_is_named_needs_no_discovery() -> None:
    calls, _ = converse(oidc.token(replace(CLIENT, token_endpoint="https://t.test/token")), IDENTITY)
    assert [call.url for call in calls] == ["https://t.test/token"]


def test_a_document_of_another_issuer_is_not_believed() -> None:
    with pytest.raises(ExchangeError, match="about another issuer"):
        converse(oidc.token(CLIENT), {**DISCOVERED, "issuer": "https://evil.test"})


# --- AWS


ROLE = AwsWebIdentity(oidc=CLIENT, role_arn="arn:aws:iam::1:role/r", region="eu-west-1")


def test_aws_gives_a_file() -> None:
    calls, token = converse(aws.exchange(ROLE, "my policy", NOW), DISCOVERED, IDENTITY, STS_XML)
    assert calls[2].url == "https://sts.eu-west-1.amazonaws.com"
    assert form(calls[2]) == {
        "Action": "AssumeRoleWithWebIdentity",
        "Version": "2011-06-15",
        "RoleArn": "arn:aws:iam::1:role/r",
        "RoleSessionName": "ai-gateway-my-policy",
        "WebIdentityToken": "idt",
    }
    assert values(token)["credentials"] == (
        "[default]\naws_access_key_id = ASIA1\naws_secret_access_key = a/b+c\naws_session_token = t&==\n"
        "region = eu-west-1\n"
    )
    assert isinstance(token, Token)
    assert token.expires == NOW.now + 3600


def test_china_has_its_own_domain() -> None:
    calls, _ = converse(aws.exchange(replace(ROLE, region="cn-north-1"), "p", NOW), DISCOVERED, IDENTITY, STS_XML)
    assert calls[2].url == "https://sts.cn-north-1.amazonaws.com.cn"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Answer(403, STS_ERROR.encode()), "answered 403: AccessDenied: Not authorized to perform sts:AssumeRole"),
        (Answer(200, b"<a/>"), "answered 200, which lacks what is needed"),
        (Answer(200, STS_XML.replace("a/b+c", "a\nb").encode()), "lacks what is needed"),
        (Answer(500, b"\xff\xfe"), "answered 500"),
    ],
)
def test_aws_may_refuse(answer: Answer, said: str) -> None:
    with pytest.raises(ExchangeError, match=said):
        converse(aws.exchange(ROLE, "p", NOW), DISCOVERED, IDENTITY, answer)


# --- Azure


def test_azure_takes_a_secret() -> None:
    source = AzureSecret(tenant_id="t/1", client_id="app", client_secret=Secret("s"))
    token_answer = {"token_type": "Bearer", "expires_in": 3599, "ext_expires_in": 3599, "access_token": "eyJ"}
    calls, token = converse(azure.exchange(source, NOW), token_answer)
    assert calls[0].url == "https://login.microsoftonline.com/t%2F1/oauth2/v2.0/token"
    assert form(calls[0]) == {
        "grant_type": "client_credentials",
        "client_id": "app",
        "scope": "https://cognitiveservices.azure.com/.default",
        "client_secret": "s",
    }
    assert values(token) == {"azureAccessToken": "eyJ"}
    assert isinstance(token, Token)
    assert token.expires == NOW.now + 3599


def test_azure_takes_an_assertion() -> None:
    source = AzureAssertion(tenant_id="t", client_id="app", oidc=CLIENT)
    calls, _ = converse(azure.exchange(source, NOW), DISCOVERED, IDENTITY, {"access_token": "x", "expires_in": "3600"})
    assert form(calls[2])["client_assertion"] == "idt"
    assert form(calls[2])["client_assertion_type"] == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    assert "client_secret" not in form(calls[2])


def test_a_refusal_is_told_in_one_line_of_bounded_length() -> None:
    source = AzureSecret(tenant_id="t", client_id="app", client_secret=Secret("s3cr3t"))
    body = {
        "error": "invalid_client",
        "error_description": "AADSTS7000215: Invalid client secret.\r\nTrace " + "x" * 999,
    }
    with pytest.raises(ExchangeError) as caught:
        converse(azure.exchange(source, NOW), Answer(401, json.dumps(body).encode()))
    assert str(caught.value).startswith(
        "login.microsoftonline.com answered 401: invalid_client: AADSTS7000215: Invalid client secret. Trace xx"
    )
    assert len(str(caught.value)) < 400
    assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize("body", [b"", b"[]", b"nonsense", b'{"access_token":1}', b"[" * 100_000, b"\xff"])
@pytest.mark.parametrize("status", [200, 301, 500])
def test_nonsense_is_an_error_and_nothing_else(body: bytes, status: int) -> None:
    source = AzureSecret(tenant_id="t", client_id="app", client_secret=Secret("s"))
    with pytest.raises(ExchangeError):
        converse(azure.exchange(source, NOW), Answer(status, body))


# --- Google Cloud

KEY = new_key()
PEM = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
KEY_FILE = {
    "type": "service_account",
    "project_id": "p",
    "private_key_id": "kid",
    "private_key": PEM,
    "client_email": "a@p.iam.gserviceaccount.com",
    "token_uri": "https://oauth2.googleapis.com/token",
    "universe_domain": "googleapis.com",
}
TOKEN = {"access_token": "ya29", "expires_in": 3599, "token_type": "Bearer"}


def test_google_takes_a_signed_assertion(monkeypatch: pytest.MonkeyPatch) -> None:
    source = GcpServiceAccount(key_file=Secret(json.dumps(KEY_FILE)), project="p", region="r")
    calls, token = converse(gcp.exchange(source, NOW), TOKEN)
    assert calls[0].url == "https://oauth2.googleapis.com/token"
    assertion = form(calls[0])["assertion"]
    monkeypatch.setattr("time.time", lambda: NOW.now)
    assert verified(assertion, KEY) == {
        "iss": "a@p.iam.gserviceaccount.com",
        "scope": "https://www.googleapis.com/auth/cloud-platform",
        "aud": "https://oauth2.googleapis.com/token",
        "iat": 1_700_000_000,
        "exp": 1_700_003_600,
    }
    assert values(token) == {"gcpAccessToken": "ya29", "projectName": "p", "region": "r"}


def test_google_takes_a_token_in_exchange_and_lets_it_act() -> None:
    source = GcpFederation(
        oidc=CLIENT,
        pool_project="42",
        pool="pool",
        provider="prov",
        project="p",
        region="r",
        service_account="sa@p.iam.gserviceaccount.com",
    )
    acting = {"accessToken": "acting", "expireTime": "2023-11-14T23:13:20Z"}
    calls, token = converse(gcp.exchange(source, NOW), DISCOVERED, IDENTITY, TOKEN, acting)
    assert form(calls[2])["audience"] == (
        "//iam.googleapis.com/projects/42/locations/global/workloadIdentityPools/pool/providers/prov"
    )
    assert form(calls[2])["subject_token"] == "idt"
    assert calls[3].url == (
        "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/sa@p.iam.gserviceaccount.com"
        ":generateAccessToken"
    )
    authorization = calls[3].headers["authorization"]
    assert isinstance(authorization, Secret)
    assert authorization.reveal() == "Bearer ya29"
    assert values(token)["gcpAccessToken"] == "acting"
    assert isinstance(token, Token)
    assert token.expires == NOW.now + 3600


def with_file(content: object) -> Moment:
    return replace(NOW, default_credentials=Secret(json.dumps(content)))


USER = {
    "type": "authorized_user",
    "client_id": "c",
    "client_secret": "s",
    "refresh_token": "r",
    "quota_project_id": "q",
}


@pytest.mark.parametrize(
    ("moment", "url", "sent"),
    [
        (with_file(USER), "https://oauth2.googleapis.com/token", {"grant_type": "refresh_token", "refresh_token": "r"}),
        (with_file(KEY_FILE), "https://oauth2.googleapis.com/token", {}),
        (
            NOW,
            "http://metadata.google.internal/computeMetadata/v1/instance/service-accounts/default/token",
            {},
        ),
    ],
)
def test_google_s_defaults_of_the_machine(moment: Moment, url: str, sent: dict[str, str]) -> None:
    calls, token = converse(gcp.exchange(GcpDefault(project="p", region="r"), moment), TOKEN)
    assert calls[0].url == url
    assert sent.items() <= form(calls[0]).items()
    assert values(token)["gcpAccessToken"] == "ya29"


@pytest.mark.parametrize(
    "change",
    [
        {"type": "external_account"},
        {"private_key": "no key"},
        {"client_email": 1},
    ],
)
def test_a_key_file_may_be_broken(change: dict[str, object]) -> None:
    text = json.dumps({**KEY_FILE, **change})
    for source, moment in (
        (GcpServiceAccount(key_file=Secret(text), project="p", region="r"), NOW),
        (GcpDefault(project="p", region="r"), replace(NOW, default_credentials=Secret(text))),
    ):
        with pytest.raises(ExchangeError):
            converse(gcp.exchange(source, moment), TOKEN)


def test_other_clouds_are_elsewhere() -> None:
    there = replace(
        NOW, endpoints=Endpoints(azure="https://login.microsoftonline.us", aws_sts="https://sts.{region}.x")
    )
    source = AzureSecret(tenant_id="t", client_id="app", client_secret=Secret("s"))
    assert next(azure.exchange(source, there)).url.startswith("https://login.microsoftonline.us/t/")
    calls, _ = converse(aws.exchange(ROLE, "p", there), DISCOVERED, IDENTITY, STS_XML)
    assert calls[2].url == "https://sts.eu-west-1.x"
