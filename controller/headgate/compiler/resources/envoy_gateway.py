"""Envoy Gateway's backends and routes' filters, group `gateway.envoyproxy.io`; policies are in `policies.py`.

Bounds and defaults: https://gateway.envoyproxy.io/docs/api/extension_types/ (v1.8).
"""

import ipaddress
from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Literal

import msgspec
from headgate.compiler.resources.gateway_api import (
    LocalObjectReference,
)
from headgate.compiler.resources.metadata import Resource, Struct, Violation
from headgate.compiler.resources.quantities import Hostname
from headgate.compiler.resources.telemetry import ProxyTelemetry

GROUP = "gateway.envoyproxy.io"

TlsVersion = Literal["Auto", "1.0", "1.1", "1.2", "1.3"]


class FQDNEndpoint(Struct, frozen=True, kw_only=True):
    """A DNS name."""

    hostname: Annotated[
        str,
        msgspec.Meta(
            min_length=1,
            max_length=253,
            pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\.?\Z",
        ),
    ]
    """The name; also the TLS server name and the host that the backend is told."""
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)]
    """Port."""


class IPEndpoint(Struct, frozen=True, kw_only=True):
    """An IP address."""

    address: Annotated[str, msgspec.Meta(min_length=3, max_length=45)]
    """The address, IPv4 or IPv6."""
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)]
    """Port."""

    def violations(self) -> Iterator[Violation]:
        try:
            ipaddress.ip_address(self.address)
        except ValueError:
            yield Violation("is no IP address", "address", "127.0.0.1, or fqdn for a name")


class UnixSocket(Struct, frozen=True, kw_only=True):
    """A socket on Envoy's machine."""

    path: Annotated[str, msgspec.Meta(min_length=1)]
    """Path of the socket, at most 108 characters."""

    def violations(self) -> Iterator[Violation]:
        if len(self.path) > 108:
            yield Violation("unix domain socket path must not exceed 108 characters", "path")


class BackendEndpoint(Struct, frozen=True, kw_only=True):
    """One address of a backend: exactly one of `fqdn`, `ip` and `unix`."""

    hostname: Hostname = ""
    """Host for health checks and TLS of this endpoint."""
    fqdn: FQDNEndpoint | None = None
    """A DNS name."""
    ip: IPEndpoint | None = None
    """An IP address."""
    unix: UnixSocket | None = None
    """A socket on Envoy's machine."""
    unsupported: ClassVar[Mapping[str, str]] = {"zone": "endpoints are not chosen by zone"}

    def violations(self) -> Iterator[Violation]:
        given = sum(value is not None for value in (self.fqdn, self.ip, self.unix))
        if given == 0:
            yield Violation("one of fqdn, ip or unix must be specified", remedy="fqdn: {hostname: ..., port: ...}")
        if given > 1:
            yield Violation("only one of fqdn, ip or unix can be specified")


class BackendTls(Struct, frozen=True, kw_only=True):
    """Speaks TLS with a backend."""

    ca_certificate_refs: Annotated[tuple[LocalObjectReference, ...], msgspec.Meta(max_length=8)] = msgspec.field(
        name="caCertificateRefs", default=()
    )
    """ConfigMaps (or Secrets) with `ca.crt`."""
    well_known_ca_certificates: Annotated[str, msgspec.Meta(min_length=1, max_length=253)] = msgspec.field(
        name="wellKnownCACertificates", default=""
    )
    """`System`: the CAs of the machine that Envoy runs on."""
    insecure_skip_verify: bool = False
    """Verifies nothing."""
    sni: Hostname = ""
    """TLS server name; the endpoint's host when absent."""
    auto_sni_from_endpoint_hostname: bool = msgspec.field(name="autoSNIFromEndpointHostname", default=False)
    """Uses the endpoint's `hostname` as the TLS server name."""
    unsupported: ClassVar[Mapping[str, str]] = {
        "alpnProtocols": "appProtocols of the Backend decides",
        "ciphers": "Envoy's default ciphers are used",
        "ecdhCurves": "Envoy's default curves are used",
        "fingerprints": "no fingerprints are computed",
        "maxVersion": "Envoy's default versions are used",
        "minVersion": "Envoy's default versions are used",
        "signatureAlgorithms": "Envoy's default algorithms are used",
    }
    refused: ClassVar[Mapping[str, str]] = {"clientCertificateRef": "remove it: no client certificate is presented"}

    def violations(self) -> Iterator[Violation]:
        if self.ca_certificate_refs and self.well_known_ca_certificates:
            yield Violation("must not contain both CACertificateRefs and WellKnownCACertificates")
        if self.insecure_skip_verify and (self.ca_certificate_refs or self.well_known_ca_certificates):
            yield Violation(
                "must not contain either CACertificateRefs or WellKnownCACertificates "
                "when InsecureSkipVerify is enabled"
            )
        if self.sni and self.auto_sni_from_endpoint_hostname:
            yield Violation("sni and autoSNIFromEndpointHostname are mutually exclusive", "sni")
        if self.well_known_ca_certificates not in ("", "System"):
            yield Violation("only System is supported", "wellKnownCACertificates", "System")


class BackendSpec(Struct, frozen=True, kw_only=True):
    """Where a backend is."""

    type: Literal["Endpoints", "DynamicResolver"] = "Endpoints"
    """Only `Endpoints`."""
    endpoints: Annotated[tuple[BackendEndpoint, ...], msgspec.Meta(min_length=1, max_length=256)] = ()
    """Its addresses."""
    app_protocols: tuple[
        Literal["gateway.envoyproxy.io/h2c", "gateway.envoyproxy.io/ws", "gateway.envoyproxy.io/wss"], ...
    ] = ()
    """`gateway.envoyproxy.io/h2c` speaks HTTP/2 without TLS."""
    fallback: bool = False
    """Used only when backends of the rule that are no fallback have failed; a `priority` in an AIGatewayRoute wins."""
    tls: BackendTls | None = None
    """Speaks TLS with the backend."""

    def violations(self) -> Iterator[Violation]:
        if self.type == "DynamicResolver":
            yield Violation("type DynamicResolver is not supported", "type", "type: Endpoints")
        elif not self.endpoints:
            yield Violation("a Backend needs endpoints", "endpoints", "endpoints: [{fqdn: {hostname: ..., port: ...}}]")
        names = sum(endpoint.fqdn is not None for endpoint in self.endpoints)
        if 0 < names < len(self.endpoints):
            yield Violation("fqdn addresses cannot be mixed with other address types", "endpoints")
        if self.tls is not None and self.tls.auto_sni_from_endpoint_hostname:
            for index, endpoint in enumerate(self.endpoints):
                if endpoint.fqdn is None and not endpoint.hostname:
                    message = (
                        "when autoSNIFromEndpointHostname is enabled, IP and Unix endpoints must define a hostname"
                    )
                    yield Violation(message, f"endpoints[{index}].hostname")


class Backend(Resource, frozen=True, kw_only=True):
    """Addresses of a service outside of the cluster."""

    spec: BackendSpec


class CustomResponseBody(Struct, frozen=True, kw_only=True):
    """A body."""

    type: Literal["Inline", "ValueRef"] = "Inline"
    """Where it is written."""
    inline: str | None = None
    """The body itself."""
    value_ref: LocalObjectReference | None = None
    """A ConfigMap: its key `response.body`, else its first key."""

    def violations(self) -> Iterator[Violation]:
        if self.type == "Inline" and self.inline is None:
            yield Violation("inline must be set for type Inline", "inline")
        if self.type == "ValueRef" and self.value_ref is None:
            yield Violation("valueRef must be set for type ValueRef", "valueRef")
        if self.value_ref is not None and self.value_ref.kind != "ConfigMap":
            yield Violation("only ConfigMap is supported for ValueRef", "valueRef.kind", "ConfigMap")


class HTTPDirectResponseFilter(Struct, frozen=True, kw_only=True):
    """Answers without asking a backend."""

    content_type: str | None = None
    """Content type of the body."""
    body: CustomResponseBody | None = None
    """The body; none when absent."""
    status_code: Annotated[int, msgspec.Meta(ge=200, le=599)] = 200
    """The status."""
    unsupported: ClassVar[Mapping[str, str]] = {
        "header": "the answer has its content type only",
    }


class HTTPHostnameModifier(Struct, frozen=True, kw_only=True):
    """Changes the host that the backend is told."""

    type: Literal["Header", "Backend", "PathRegex"]
    """From a header, or the backend's own DNS name."""
    header: str = ""
    """The header, for type Header."""
    refused: ClassVar[Mapping[str, str]] = {"pathRegex": "type: Header or Backend"}

    def violations(self) -> Iterator[Violation]:
        if self.header and self.type != "Header":
            yield Violation("header must be nil if the type is not Header", "header")
        if not self.header and self.type == "Header":
            yield Violation("header must be specified for Header type", "header")


class FilterURLRewrite(Struct, frozen=True, kw_only=True):
    """Changes where a request goes to, beyond what a route's own filter can."""

    hostname: HTTPHostnameModifier | None = None
    """Changes the host that the backend is told."""
    unsupported: ClassVar[Mapping[str, str]] = {"appendXForwardedHost": "x-forwarded-host is not set"}
    refused: ClassVar[Mapping[str, str]] = {
        "path": "urlRewrite.path of the route",
    }


class HTTPRouteFilterSpec(Struct, frozen=True, kw_only=True):
    """What is done to requests."""

    url_rewrite: FilterURLRewrite | None = None
    """Changes host and path."""
    direct_response: HTTPDirectResponseFilter | None = None
    """Answers without asking a backend."""
    refused: ClassVar[Mapping[str, str]] = {
        "credentialInjection": "a BackendSecurityPolicy of an AIServiceBackend",
        "matches": "matches of the route",
    }


class HTTPRouteFilter(Resource, frozen=True, kw_only=True):
    """A filter that an HTTPRoute names by `extensionRef`."""

    spec: HTTPRouteFilterSpec


class EnvoyProxySpec(Struct, frozen=True, kw_only=True):
    """How Envoys are started, and what they tell. A standalone gateway has its own, and reads `telemetry` alone."""

    bootstrap: Mapping[str, object] | None = None
    """Beside Envoy Gateway: whether it turns off what crashes an Envoy whose processor answers late."""
    provider: Mapping[str, object] | None = None
    """Beside Envoy Gateway: which Envoy its image brings."""
    telemetry: ProxyTelemetry | None = None
    """What is told of requests: access logs and traces."""
    unsupported: ClassVar[Mapping[str, str]] = dict.fromkeys(
        (
            "backendTLS",
            "concurrency",
            "dynamicModules",
            "extraArgs",
            "filterOrder",
            "geoIP",
            "ipFamily",
            "logging",
            "lua",
            "luaValidation",
            "mergeBackends",
            "mergeGateways",
            "mergeType",
            "preserveRouteOrder",
            "routingType",
            "shutdown",
        ),
        "read by Envoy Gateway alone; without it Headgate ignores it",
    )


class EnvoyProxy(Resource, frozen=True, kw_only=True):
    """How Envoy Gateway runs Envoy."""

    spec: EnvoyProxySpec = EnvoyProxySpec()
