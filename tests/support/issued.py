"""Providers that take what fake identity providers have given."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from support.identity import Identity
from support.providers import Answer, Failure
from support.providers.bedrock_api import AUTHORIZATION
from support.providers.received import Received
from support.providers.server import Api, Rendered


@dataclass
class Issued:
    """A provider that takes what an identity provider has given and that has not ended."""

    api: Api
    identity: Identity
    used: list[str] = field(default_factory=list[str])
    """Tokens, or access key ids, in the order of the requests."""

    @property
    def credential_header(self) -> str:
        return self.api.credential_header

    def problems(self, received: Received, key: str, allow_unknown: bool) -> list[str]:
        value = received.header("authorization") or ""
        signed = AUTHORIZATION.fullmatch(value)
        token = signed["access"] if signed else value.removeprefix("Bearer ")
        self.used.append(token)
        if not self.identity.holds(token):
            return [f"{token!r} was not issued, or has ended"]
        if not signed:
            return self.api.problems(received, token, allow_unknown)
        if received.header("x-amz-security-token") != f"session/{token}==":
            return ["the session token is not the key's"]
        return self.api.problems(received, f"{token}:secret/{token}+", allow_unknown)

    def render(self, answer: Answer, received: Received) -> Rendered:
        return self.api.render(answer, received)

    def render_failure(self, failure: Failure) -> Rendered:
        return self.api.render_failure(failure)

    def headers(self, number: int) -> Mapping[str, str]:
        return self.api.headers(number)
