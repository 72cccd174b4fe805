"""The shape of every exchange: requests out, answers in, a token at the end.

An exchange is a generator: it yields a `Call` and is sent the `Answer`. So a provider's whole protocol reads from top
to bottom, and a test plays the provider without a network.
"""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, TypeVar
from urllib.parse import urlencode, urlsplit

import msgspec
from headgate.contract.secret import Secret

ERROR_CHARACTERS_MAX: Final = 300
"""Of what a provider says, in logs and conditions."""

Party = Literal["oidc", "aws", "azure", "gcp", "machine"]
"""Whom a call goes to; decides which proxy it takes. `machine` is this machine's own metadata service: none."""


class ExchangeError(Exception):
    """Why no token could be had, in one line without secrets."""


NO_BODY: Final = Secret("")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One HTTP request."""

    party: Party
    method: Literal["GET", "POST"]
    url: str
    headers: Mapping[str, str | Secret] = field(default_factory=dict[str, "str | Secret"])
    body: Secret = NO_BODY


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Token:
    """What the exchange was about: the values of the Secret, and when they end (seconds since 1970)."""

    values: Mapping[str, Secret]
    expires: float


T = TypeVar("T")
Steps = Generator[Call, Answer, T]


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoints:
    """Where providers are: other clouds of theirs have other addresses. `{region}` is the policy's."""

    aws_sts: str = "https://sts.{region}.amazonaws.com"
    azure: str = "https://login.microsoftonline.com"
    gcp_token: str = "https://oauth2.googleapis.com/token"  # noqa: S105  (an address)
    gcp_sts: str = "https://sts.googleapis.com"
    gcp_iam: str = "https://iamcredentials.googleapis.com"
    gcp_metadata: str = "http://metadata.google.internal"


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """What an exchange may know of the world."""

    now: float
    endpoints: Endpoints = Endpoints()
    default_credentials: Secret | None = None
    """Google Cloud's file of default credentials on this machine, where there is one."""


def form(values: Sequence[tuple[str, str]]) -> Secret:
    """A form's body."""
    return Secret(urlencode(values))


FORM: Final = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json"}


def bearer(token: Secret) -> Secret:
    """The value of an `authorization` header."""
    return Secret("Bearer " + token.reveal())


class AccessToken(msgspec.Struct, frozen=True):
    """The answer of a token endpoint (RFC 6749, 5.1); members of no interest are left out."""

    access_token: str
    expires_in: float | str = 3600
    """Some send it as a text."""

    def seconds(self) -> float:
        try:
            return float(self.expires_in)
        except ValueError:
            return 3600.0


S = TypeVar("S", bound=msgspec.Struct)


def read(answer: Answer, call: Call, shape: type[S]) -> S:
    """The answer's JSON. Raises ExchangeError for an error, or for what is not of that shape."""
    require_success(answer, call)
    try:
        return msgspec.json.decode(answer.body, type=shape)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        reason = "which lacks what is needed" if isinstance(error, msgspec.ValidationError) else "not JSON"
        raise ExchangeError(f"{host_of(call)} answered {answer.status}, {reason}") from None


class _Said(msgspec.Struct, frozen=True):
    error: str | dict[str, object] = ""
    error_description: str = ""


def require_success(answer: Answer, call: Call) -> None:
    """Raises ExchangeError with what the provider says of itself."""
    if 200 <= answer.status < 300:
        return
    said = ""
    try:
        found = msgspec.json.decode(answer.body, type=_Said)
        error = found.error if isinstance(found.error, str) else str(found.error.get("message", ""))
        said = ": ".join(part for part in (error, found.error_description) if part)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        pass
    raise ExchangeError(explained(call, answer, said))


def explained(call: Call, answer: Answer, said: str) -> str:
    """One line about a refusal."""
    words = " ".join(said.split())[:ERROR_CHARACTERS_MAX]
    return f"{host_of(call)} answered {answer.status}" + (f": {words}" if words else "")


def host_of(call: Call) -> str:
    """Whom a call goes to, for people."""
    return urlsplit(call.url).netloc
