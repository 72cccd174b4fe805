"""External authorization of a SecurityPolicy, group `gateway.envoyproxy.io`: another service is asked."""

from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Literal

import msgspec
from headgate.compiler.resources.metadata import Struct, Violation
from headgate.compiler.resources.quantities import Duration, HeaderName
from headgate.compiler.resources.rate_limits import UINT32_MAX
from headgate.compiler.resources.telemetry import Receiver

ErrorStatus = Literal[
    400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 414, 415, 416, 417, 421, 422, 423, 424, 426,
    428, 429, 431, 500, 501, 502, 503, 504, 505, 506, 507, 508, 510, 511,
]  # fmt: skip


class ExtAuthService(Receiver, frozen=True, kw_only=True):
    """Who is asked."""

    def violations(self) -> Iterator[Violation]:
        if not self.references:
            yield Violation("backendRef or backendRefs needs to be set", "backendRefs", "backendRefs: [{name: ...}]")


class HTTPExtAuthService(ExtAuthService, frozen=True, kw_only=True):
    """Who is asked by HTTP: 200 lets a request in, any other answer is the client's."""

    path: str = ""
    """What the path of the question begins with; the request's own follows."""
    headers_to_backend: tuple[HeaderName, ...] = ()
    """Headers of the answer that the request goes on with, in place of its own."""
    refused: ClassVar[Mapping[str, str]] = {"pathOverride": "path"}


class BodyToExtAuth(Struct, frozen=True, kw_only=True):
    """The service is sent the request's body."""

    max_request_bytes: Annotated[int, msgspec.Meta(ge=1, le=UINT32_MAX)]
    """Above it the request is answered 413."""


class ExtAuth(Struct, frozen=True, kw_only=True):
    """Has another service say whether a request is let in, by gRPC or by HTTP."""

    grpc: ExtAuthService | None = None
    """A service that speaks `envoy.service.auth.v3.Authorization`."""
    http: HTTPExtAuthService | None = None
    """A service that speaks HTTP."""
    headers_to_ext_auth: tuple[HeaderName, ...] = ()
    """Headers that it is sent. When empty: by gRPC all; by HTTP `host`, `content-length` and `authorization`, which it
    is always sent."""
    body_to_ext_auth: BodyToExtAuth | None = None
    """Has it sent the body."""
    timeout: Duration = "10s"
    """How long its answer may take."""
    fail_open: bool = False
    """Lets requests in that it does not answer. One that is not there at all, or a policy that is not valid, lets
    nobody in."""
    status_on_error: ErrorStatus = 403
    """What clients are answered where it does not answer."""
    unsupported: ClassVar[Mapping[str, str]] = {
        "recomputeRoute": "routes do not depend on what it adds",
        "includeRouteMetadata": "it is told nothing of the route",
    }
    refused: ClassVar[Mapping[str, str]] = {"contextExtensions": "remove it: use headersToExtAuth"}

    def violations(self) -> Iterator[Violation]:
        if self.grpc is None and self.http is None:
            yield Violation("one of grpc or http must be specified")
        if self.grpc is not None and self.http is not None:
            yield Violation("only one of grpc or http can be specified")
