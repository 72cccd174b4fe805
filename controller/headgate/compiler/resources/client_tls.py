"""TLS of a ClientTrafficPolicy, group `gateway.envoyproxy.io`: how it is spoken with clients, and who they must be."""

from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Literal

import msgspec
from headgate.compiler.resources.gateway_api import SecretReference
from headgate.compiler.resources.metadata import Struct, Violation
from headgate.compiler.resources.text_matches import StringMatch

TlsVersion = Literal["Auto", "1.0", "1.1", "1.2", "1.3"]
Cipher = Literal[
    "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-RSA-CHACHA20-POLY1305",
    "ECDHE-ECDSA-AES128-SHA", "ECDHE-RSA-AES128-SHA", "AES128-GCM-SHA256", "AES128-SHA", "ECDHE-ECDSA-AES256-SHA",
    "ECDHE-RSA-AES256-SHA", "AES256-GCM-SHA384", "AES256-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA", "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA", "TLS_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_RSA_WITH_AES_128_CBC_SHA", "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA", "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_AES_256_GCM_SHA384", "TLS_RSA_WITH_AES_256_CBC_SHA",
]  # fmt: skip
Curve = Literal["X25519", "P-256", "P-384", "P-521", "X25519MLKEM768"]
SignatureAlgorithm = Literal[
    "rsa_pkcs1_sha256", "rsa_pkcs1_sha384", "rsa_pkcs1_sha512", "ecdsa_secp256r1_sha256", "ecdsa_secp384r1_sha384",
    "ecdsa_secp521r1_sha512", "rsa_pss_rsae_sha256", "rsa_pss_rsae_sha384", "rsa_pss_rsae_sha512", "ed25519",
    "rsa_pkcs1_sha1", "ecdsa_sha1",
]  # fmt: skip
ValidationMode = Literal["Request", "RequireAny", "VerifyIfGiven", "RequireAndVerify"]


class OtherName(StringMatch, frozen=True, kw_only=True):
    """A name of another kind."""

    oid: Annotated[str, msgspec.Meta(pattern=r"^[0-2](\.[0-9]+)+\Z")]
    """The kind, as its object identifier."""


_CERTIFICATE_HASH = r"^([0-9a-fA-F]{64}|[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){31})\Z"


class SubjectAltNames(Struct, frozen=True, kw_only=True):
    """Names, of which a certificate must have one."""

    dns_names: tuple[StringMatch, ...] = ()
    """Host names."""
    email_addresses: tuple[StringMatch, ...] = ()
    """Addresses of mail."""
    ip_addresses: tuple[StringMatch, ...] = ()
    """Addresses."""
    uris: tuple[StringMatch, ...] = ()
    """URIs, as SPIFFE has them."""
    other_names: tuple[OtherName, ...] = ()
    """Names of other kinds."""


class Crl(Struct, frozen=True, kw_only=True):
    """Which certificates are revoked."""

    refs: Annotated[tuple[SecretReference, ...], msgspec.Meta(min_length=1, max_length=8)]
    """ConfigMaps or Secrets with `ca.crl`, as PEM; one for each authority of a chain."""
    only_verify_leaf_certificate: bool = False
    """Whether only the client's own certificate is looked for, and not those of authorities."""


class ClientValidation(Struct, frozen=True, kw_only=True):
    """Which certificate a client must show."""

    guards: ClassVar[bool] = True
    mode: ValidationMode | None = None
    """`RequireAndVerify` when absent. `VerifyIfGiven` lets in who shows none, `RequireAny` takes any, and `Request`
    asks for one and lets all in."""
    optional: bool = False
    """The older form of `mode: VerifyIfGiven`."""
    ca_certificate_refs: Annotated[tuple[SecretReference, ...], msgspec.Meta(max_length=8)] = msgspec.field(
        name="caCertificateRefs", default=()
    )
    """ConfigMaps or Secrets with `ca.crt`: the authorities that are trusted."""
    spki_hashes: tuple[Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9+/]{43}=\Z")], ...] = ()
    """SHA-256 of public keys, in base64, of which it must have one."""
    certificate_hashes: tuple[Annotated[str, msgspec.Meta(pattern=_CERTIFICATE_HASH)], ...] = ()
    """SHA-256 of certificates, in hexadecimal, of which it must be one."""
    subject_alt_names: SubjectAltNames | None = None
    """Names, of which it must have one."""
    crl: Crl | None = None
    """Which are revoked."""
    allow_expired_certificate: bool = False
    """Takes certificates whose time is over."""

    @property
    def in_force(self) -> ValidationMode:
        """`mode`, or what stands for it."""
        return self.mode or ("VerifyIfGiven" if self.optional else "RequireAndVerify")

    def violations(self) -> Iterator[Violation]:
        verifies = self.in_force in ("VerifyIfGiven", "RequireAndVerify")
        # also `RequireAny` (not in Envoy Gateway): without authorities Envoy asks for no certificate at all
        if self.in_force != "Request" and not self.ca_certificate_refs:
            message = f"mode {self.in_force} requires caCertificateRefs"
            yield Violation(message, "caCertificateRefs", "caCertificateRefs: [{kind: ConfigMap, name: ...}]")
        if self.allow_expired_certificate and not verifies:
            message = "allowExpiredCertificate can only be set when mode is VerifyIfGiven or RequireAndVerify"
            yield Violation(message, "allowExpiredCertificate")


class Resumption(Struct, frozen=True, kw_only=True):
    """How sessions are resumed: each is possible where it is named."""

    stateful: Mapping[str, str] | None = None
    """By their ids."""
    stateless: Mapping[str, str] | None = None
    """By tickets."""


class Session(Struct, frozen=True, kw_only=True):
    """About sessions."""

    resumption: Resumption | None = None
    """How they are resumed. When absent, both ways; with `clientValidation` not at all, for a session would outlive its
    certificate."""


class ClientTls(Struct, frozen=True, kw_only=True):
    """How TLS is spoken with clients."""

    min_version: TlsVersion | None = None
    """The oldest version that is spoken; 1.2 when absent."""
    max_version: TlsVersion | None = None
    """The newest; 1.3 when absent."""
    ciphers: tuple[Cipher, ...] = ()
    """Cipher suites up to version 1.2; Envoy's when empty."""
    ecdh_curves: tuple[Curve, ...] = ()
    """Curves; Envoy's when empty."""
    signature_algorithms: tuple[SignatureAlgorithm, ...] = ()
    """Algorithms of signatures; Envoy's when empty."""
    alpn_protocols: tuple[Literal["h2", "http/1.1", "http/1.0"], ...] | None = None
    """What is offered by ALPN; `h2` and `http/1.1` when absent, nothing when empty."""
    client_validation: ClientValidation | None = None
    """Which certificate a client must show."""
    session: Session | None = None
    """About sessions."""
    unsupported: ClassVar[Mapping[str, str]] = {"fingerprints": "no fingerprints are computed"}

    def violations(self) -> Iterator[Violation]:
        oldest, newest = self.min_version or "Auto", self.max_version or "Auto"
        if oldest != "Auto" and newest != "Auto" and oldest > newest:
            yield Violation("minVersion must be smaller or equal to maxVersion", "minVersion")
        if oldest == "Auto" and newest in ("1.0", "1.1"):
            message = "1.2 when absent, which is newer than maxVersion"
            yield Violation(message, "minVersion", f'minVersion: "{newest}"')
        if oldest == "1.3" and self.ciphers:
            message = "setting ciphers has no effect if the minimum possible TLS version is 1.3"
            yield Violation(message, "ciphers", "remove it")
