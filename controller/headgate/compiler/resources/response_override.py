"""Answers that a BackendTrafficPolicy replaces: which ones, and by what.

https://gateway.envoyproxy.io/docs/api/extension_types/#responseoverride
"""

from collections.abc import Iterator
from typing import Annotated, Literal

import msgspec
from headgate.compiler.resources.envoy_gateway import CustomResponseBody
from headgate.compiler.resources.formats import format_violations
from headgate.compiler.resources.gateway_api import HTTPPathModifier
from headgate.compiler.resources.headers import HTTPHeaderFilter, line_violations
from headgate.compiler.resources.metadata import Struct, Violation
from headgate.compiler.resources.quantities import HeaderName, Hostname
from headgate.compiler.resources.text_matches import StringMatch

Status = Annotated[int, msgspec.Meta(ge=100, le=599)]


class StatusCodeRange(Struct, frozen=True, kw_only=True):
    """Several statuses."""

    start: Status
    """The first."""
    end: Status
    """The last."""

    def violations(self) -> Iterator[Violation]:
        if self.end <= self.start:
            yield Violation("end must be greater than start", "end")


class StatusCodeMatch(Struct, frozen=True, kw_only=True):
    """A status, or several."""

    type: Literal["Value", "Range"] = "Value"
    """Which of the two."""
    value: Status | None = None
    """The status, for type Value."""
    range: StatusCodeRange | None = None
    """The statuses, for type Range."""

    def violations(self) -> Iterator[Violation]:
        if self.type == "Value" and self.value is None:
            yield Violation("value must be set for type Value", "value", "value: 503")
        if self.type == "Range" and self.range is None:
            yield Violation("range must be set for type Range", "range", "range: {start: 500, end: 599}")


class ResponseHeaderMatch(Struct, frozen=True, kw_only=True):
    """A header of an answer."""

    name: HeaderName
    """Name of the header, case-insensitive."""
    value: StringMatch
    """What its value must be."""


class CustomResponseMatch(Struct, frozen=True, kw_only=True):
    """Which answers: all that is given must hold."""

    status_codes: Annotated[tuple[StatusCodeMatch, ...], msgspec.Meta(max_length=50)] = ()
    """Their status is one of these."""
    response_headers: Annotated[tuple[ResponseHeaderMatch, ...], msgspec.Meta(max_length=16)] = ()
    """They have all of these headers."""

    def violations(self) -> Iterator[Violation]:
        if not self.status_codes and not self.response_headers:
            message = "at least one of statusCodes or responseHeaders must be specified"
            yield Violation(message, "statusCodes", "statusCodes: [{value: 503}]")


class CustomResponse(Struct, frozen=True, kw_only=True):
    """What a client gets in place of an answer, of whose headers nothing is left."""

    content_type: str | None = None
    """Content type of the body."""
    body: CustomResponseBody | None = None
    """The body, in which commands of Envoy's access log stand for values, like `%REQ(X-REQUEST-ID)%`; none when
    absent."""
    status_code: Annotated[int, msgspec.Meta(ge=200, le=599)] | None = None
    """The status; that of the answer when absent."""
    header: HTTPHeaderFilter | None = None
    """Headers of it."""

    def violations(self) -> Iterator[Violation]:
        if self.body is not None and self.body.inline is not None:
            yield from format_violations("body.inline", self.body.inline)
        yield from line_violations("contentType", self.content_type or "")
        if self.header is not None and self.header.remove:
            yield Violation("Remove is not supported for header in CustomResponse", "header.remove")


class CustomRedirect(Struct, frozen=True, kw_only=True):
    """Where a client is sent instead. The address is absolute where `hostname` is given, else of the same host."""

    scheme: Literal["http", "https"] | None = None
    """Scheme of the address; `https` when absent."""
    hostname: Hostname = ""
    """Its host."""
    path: HTTPPathModifier | None = None
    """Its path, of type ReplaceFullPath."""
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] | None = None
    """Its port; that of the scheme when absent."""
    status_code: Literal[301, 302] = 302
    """The status."""

    def violations(self) -> Iterator[Violation]:
        if self.path is not None and self.path.replace_full_path is None:
            yield Violation("only ReplaceFullPath is supported for path.type", "path.type", "ReplaceFullPath")
        if self.path is not None:
            yield from line_violations("path.replaceFullPath", self.path.replace_full_path or "")


class ResponseOverride(Struct, frozen=True, kw_only=True):
    """Answers that are replaced."""

    match: CustomResponseMatch
    """Which ones."""
    source: Literal["All", "Local", "Backend"] = "All"
    """Whose: the gateway's own (`Local`), backends' or both."""
    response: CustomResponse | None = None
    """By what."""
    redirect: CustomRedirect | None = None
    """Or where a client is sent."""

    def violations(self) -> Iterator[Violation]:
        if (self.response is None) == (self.redirect is None):
            yield Violation("exactly one of response or redirect must be specified", "response")
