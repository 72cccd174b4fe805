"""Fake identity providers: an OpenID issuer, AWS's STS, Entra ID, Google Cloud's token, STS and IAM endpoints.

One server plays them all and holds every request to what the real ones ask: client credentials, signatures, audiences,
scopes, expiry. What it refuses is in `problems`; what it gave is in `issued`.
"""

import json
import threading
import time
from base64 import b64decode, urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, unquote_plus, urlsplit

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from support.ports import LOOPBACK

CLIENT = ("gateway", "client secret/1")
"""Client id and secret at the issuer."""
TENANT = "tenant-1"
AZURE_CLIENT = ("app-1", "azure secret")
ROLE = "arn:aws:iam::123456789012:role/gateway"
ACCOUNT = "caller@project-1.iam.gserviceaccount.com"
POOL = "//iam.googleapis.com/projects/42/locations/global/workloadIdentityPools/pool/providers/issuer"
CLOUD_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
AZURE_SCOPE = "https://cognitiveservices.azure.com/.default"


@dataclass(slots=True)
class Reply:
    status: int
    body: bytes
    content_type: str = "application/json"


class RefusedError(Exception):
    """Why an endpoint refuses."""


def ok(**values: Any) -> Reply:
    return Reply(200, json.dumps(values).encode())


def _encoded(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def _decoded(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def new_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def jwt(key: rsa.RSAPrivateKey, claims: Mapping[str, Any]) -> str:
    """A JSON web token, signed with RS256."""
    header, payload = b'{"alg":"RS256"}', json.dumps(dict(claims)).encode()
    text = f"{_encoded(header)}.{_encoded(payload)}"
    return f"{text}.{_encoded(key.sign(text.encode(), padding.PKCS1v15(), SHA256()))}"


def verified(token: str, key: rsa.RSAPrivateKey) -> dict[str, Any]:
    """The claims of a token that this key signed and that has not ended. Raises RefusedError."""
    try:
        text, _, signature = token.rpartition(".")
        header, _, claims = text.partition(".")
        if json.loads(_decoded(header))["alg"] != "RS256":
            raise RefusedError("the assertion is not signed with RS256")
        key.public_key().verify(_decoded(signature), text.encode(), padding.PKCS1v15(), SHA256())
        found: dict[str, Any] = json.loads(_decoded(claims))
    except (ValueError, KeyError, InvalidSignature) as error:
        raise RefusedError(f"the assertion is not valid: {error!r}") from None
    if not found["iat"] - 60 <= time.time() < found["exp"] or found["exp"] - found["iat"] > 3600:
        raise RefusedError("the assertion is not of now")
    return found


@dataclass
class Identity:
    """All of them, at `url`. `life_seconds` is how long what it gives holds; `down` makes it answer 503."""

    life_seconds: float = 3600.0
    down: bool = False
    issued: list[str] = field(default_factory=list[str])
    """Access tokens and access key ids, in order."""
    problems: list[str] = field(default_factory=list[str])
    requests: list[str] = field(default_factory=list[str])
    """Paths."""

    def __post_init__(self) -> None:
        self.key = new_key()
        self.account_key = new_key()
        self._ends: dict[str, float] = {}
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer((LOOPBACK, 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self._server.server_address[1]}"

    @property
    def issuer(self) -> str:
        return f"{self.url}/issuer"

    @property
    def endpoints(self) -> tuple[str, ...]:
        """`--credential-endpoint` options that lead here."""
        named = {
            "aws-sts": f"{self.url}/sts/{{region}}",
            "azure": self.url,
            "gcp-token": f"{self.url}/google/token",
            "gcp-sts": self.url,
            "gcp-iam": self.url,
            "gcp-metadata": self.url,
        }
        return tuple(part for name, url in named.items() for part in ("--credential-endpoint", f"{name}={url}"))

    def holds(self, token: str) -> bool:
        """Whether a token was given here and has not ended."""
        with self._lock:
            return self._ends.get(token, 0.0) > time.time()

    @property
    def key_file(self) -> str:
        """`service_account.json`."""
        pem = self.account_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        return json.dumps(
            {
                "type": "service_account",
                "project_id": "project-1",
                "private_key_id": "key-1",
                "private_key": pem,
                "client_email": ACCOUNT,
                "token_uri": f"{self.url}/google/token",
            }
        )

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=10)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- the endpoints

    def answer(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """What one of them answers."""
        self.requests.append(path)
        if self.down:
            return Reply(503, b'{"error":"temporarily_unavailable","error_description":"try later"}')
        form = {name: values[0] for name, values in parse_qs(body.decode()).items()} if body[:1] != b"{" else {}
        routes: dict[tuple[str, str], Callable[[], Reply]] = {
            ("GET", "/issuer/.well-known/openid-configuration"): self._discovery,
            ("POST", "/issuer/token"): lambda: self._issuer(form, headers),
            ("POST", "/sts/us-east-1"): lambda: self._sts(form),
            ("POST", f"/{TENANT}/oauth2/v2.0/token"): lambda: self._azure(form),
            ("POST", "/google/token"): lambda: self._google(form),
            ("POST", "/v1/token"): lambda: self._google_sts(form),
            ("POST", f"/v1/projects/-/serviceAccounts/{ACCOUNT}:generateAccessToken"): lambda: self._impersonate(
                headers, body
            ),
            ("GET", "/computeMetadata/v1/instance/service-accounts/default/token"): lambda: self._metadata(headers),
        }
        try:
            route = routes.get((method, path))
            if route is None:
                raise RefusedError("there is nothing here")
            return route()
        except (RefusedError, KeyError) as error:
            self.problems.append(f"{method} {path}: {error!r}")
            return Reply(400, json.dumps({"error": "invalid_request", "error_description": str(error)}).encode())

    def _new(self, kind: str) -> str:
        with self._lock:
            token = f"{kind}-{len(self.issued) + 1}"
            self.issued.append(token)
            self._ends[token] = time.time() + self.life_seconds
        return token

    def _discovery(self) -> Reply:
        return ok(issuer=self.issuer, token_endpoint=f"{self.issuer}/token", scopes_supported=["openid", "offered"])

    def _issuer(self, form: Mapping[str, str], headers: Mapping[str, str]) -> Reply:
        given = b64decode(headers["authorization"].removeprefix("Basic ")).decode().partition(":")
        if (unquote_plus(given[0]), unquote_plus(given[2])) != CLIENT:
            raise RefusedError("unknown client")
        if form["grant_type"] != "client_credentials" or set(form["scope"].split()) != {"openid", "offered", "extra"}:
            raise RefusedError(f"scope {form.get('scope')}")
        now = int(time.time())
        claims = {"iss": self.issuer, "sub": CLIENT[0], "aud": form["audience"], "iat": now, "exp": now + 300}
        return ok(access_token=jwt(self.key, claims), token_type="Bearer", expires_in=300)

    def _identity(self, token: str, audience: str) -> None:
        claims = verified(token, self.key)
        if (claims["iss"], claims["aud"]) != (self.issuer, audience):
            raise RefusedError(f"a token of {claims['iss']} for {claims['aud']}")

    def _sts(self, form: Mapping[str, str]) -> Reply:
        self._identity(form["WebIdentityToken"], "sts.amazonaws.com")
        if (form["Action"], form["Version"]) != ("AssumeRoleWithWebIdentity", "2011-06-15") or form["RoleArn"] != ROLE:
            raise RefusedError(f"action {form['Action']}, role {form['RoleArn']}")
        if not form["RoleSessionName"].startswith("ai-gateway-"):
            raise RefusedError(f"session {form['RoleSessionName']}")
        key = self._new("AKIA")
        end = datetime.fromtimestamp(time.time() + self.life_seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        members = {"AccessKeyId": key, "SecretAccessKey": f"secret/{key}+", "SessionToken": f"session/{key}=="}
        inner = "".join(f"<{name}>{value}</{name}>" for name, value in {**members, "Expiration": end}.items())
        xml = (
            '<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">'
            f"<AssumeRoleWithWebIdentityResult><Credentials>{inner}</Credentials></AssumeRoleWithWebIdentityResult>"
            "</AssumeRoleWithWebIdentityResponse>"
        )
        return Reply(200, xml.encode(), "text/xml")

    def _azure(self, form: Mapping[str, str]) -> Reply:
        if form["grant_type"] != "client_credentials" or form["scope"] != AZURE_SCOPE:
            raise RefusedError(f"{form['grant_type']} for {form['scope']}")
        if form["client_id"] != AZURE_CLIENT[0]:
            raise RefusedError("unknown client")
        if "client_assertion" in form:
            if form["client_assertion_type"] != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer":
                raise RefusedError(form["client_assertion_type"])
            self._identity(form["client_assertion"], "api://AzureADTokenExchange")
        elif form["client_secret"] != AZURE_CLIENT[1]:
            raise RefusedError("wrong secret")
        return ok(access_token=self._new("azure"), token_type="Bearer", expires_in=self.life_seconds)

    def _google(self, form: Mapping[str, str]) -> Reply:
        if form["grant_type"] == "refresh_token":
            if (form["client_id"], form["client_secret"], form["refresh_token"]) != ("user", "user-secret", "refresh"):
                raise RefusedError("unknown user")
            return ok(access_token=self._new("google-user"), expires_in=self.life_seconds)
        if form["grant_type"] != "urn:ietf:params:oauth:grant-type:jwt-bearer":
            raise RefusedError(form["grant_type"])
        claims = verified(form["assertion"], self.account_key)
        if (claims["iss"], claims["scope"], claims["aud"]) != (ACCOUNT, CLOUD_SCOPE, f"{self.url}/google/token"):
            raise RefusedError(f"claims {claims}")
        return ok(access_token=self._new("google"), token_type="Bearer", expires_in=self.life_seconds)

    def _google_sts(self, form: Mapping[str, str]) -> Reply:
        self._identity(form["subject_token"], "google-pool")
        wanted = {
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "audience": POOL,
            "scope": CLOUD_SCOPE,
            "requested_token_type": "urn:ietf:params:oauth:token-type:access_token",
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        }
        if wrong := {name for name, value in wanted.items() if form[name] != value}:
            raise RefusedError(f"wrong {wrong}")
        return ok(access_token=self._new("federated"), token_type="Bearer", expires_in=self.life_seconds)

    def _impersonate(self, headers: Mapping[str, str], body: bytes) -> Reply:
        token = headers["authorization"].removeprefix("Bearer ")
        if not token.startswith("federated-") or not self.holds(token) or json.loads(body) != {"scope": [CLOUD_SCOPE]}:
            raise RefusedError("not a federated token with the scope of the cloud")
        end = datetime.fromtimestamp(time.time() + self.life_seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return ok(accessToken=self._new("acting"), expireTime=end)

    def _metadata(self, headers: Mapping[str, str]) -> Reply:
        if headers.get("metadata-flavor") != "Google":
            raise RefusedError("no metadata-flavor")
        return ok(access_token=self._new("machine"), token_type="Bearer", expires_in=self.life_seconds)


def _handler(identity: Identity) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._serve("GET")

        def do_POST(self) -> None:
            self._serve("POST")

        def _serve(self, method: str) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            reply = identity.answer(method, urlsplit(self.path).path, headers, body)
            self.send_response(reply.status)
            self.send_header("content-type", reply.content_type)
            self.send_header("content-length", str(len(reply.body)))
            self.end_headers()
            self.wfile.write(reply.body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler
