"""How backends are verified, group `gateway.networking.k8s.io`."""

from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar

import msgspec
from headgate.compiler.resources.gateway_api import LocalObjectReference, PolicyTargetReference
from headgate.compiler.resources.metadata import Resource, Struct, Violation
from headgate.compiler.resources.quantities import Hostname


class BackendTLSPolicyValidation(Struct, frozen=True, kw_only=True):
    """How the certificate of a backend is verified."""

    hostname: Hostname
    """Sent as SNI, and what the certificate must be for."""
    ca_certificate_refs: Annotated[tuple[LocalObjectReference, ...], msgspec.Meta(max_length=8)] = msgspec.field(
        name="caCertificateRefs", default=()
    )
    """ConfigMaps (or Secrets) with `ca.crt`."""
    well_known_ca_certificates: Annotated[str, msgspec.Meta(min_length=1, max_length=253)] = msgspec.field(
        name="wellKnownCACertificates", default=""
    )
    """`System`: the CAs of the machine that Envoy runs on."""
    unsupported: ClassVar[Mapping[str, str]] = {
        "subjectAltNames": "the certificate must be for hostname",
    }

    def violations(self) -> Iterator[Violation]:
        if self.ca_certificate_refs and self.well_known_ca_certificates:
            yield Violation("must not contain both CACertificateRefs and WellKnownCACertificates")
        if not self.ca_certificate_refs and not self.well_known_ca_certificates:
            message = "must specify either CACertificateRefs or WellKnownCACertificates"
            yield Violation(message, remedy="wellKnownCACertificates: System")
        if self.well_known_ca_certificates not in ("", "System"):
            yield Violation("only System is supported", "wellKnownCACertificates", "System")


class BackendTLSPolicySpec(Struct, frozen=True, kw_only=True):
    """How connections to backends are secured."""

    target_refs: Annotated[tuple[PolicyTargetReference, ...], msgspec.Meta(min_length=1, max_length=16)]
    """Backends of the same namespace."""
    validation: BackendTLSPolicyValidation
    """How their certificates are verified."""
    unsupported: ClassVar[Mapping[str, str]] = {"options": "TLS options are ignored"}


class BackendTLSPolicy(Resource, frozen=True, kw_only=True):
    """Speaks TLS with backends, and verifies them."""

    spec: BackendTLSPolicySpec
