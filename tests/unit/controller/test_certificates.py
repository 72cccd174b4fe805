"""What is due to certificates over time: nobody is ever shown one that they cannot trust."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from headgate.controller.certificates.authority import (
    CA,
    CA_KEY,
    CERTIFICATE,
    KEY,
    Data,
    Lifetime,
    Subject,
    expires_at,
    renewed_authorities,
    renewed_certificate,
)

LIFETIME = Lifetime(certificate=timedelta(days=30))
START = datetime(2030, 1, 1, tzinfo=UTC)
SUBJECT = Subject(common_name="controller.ns.svc", names=("controller.ns.svc", "127.0.0.1"))


def _trusted(certificate: bytes, bundle: bytes, now: datetime) -> bool:
    leaf = x509.load_pem_x509_certificate(certificate)
    if not leaf.not_valid_before_utc <= now < leaf.not_valid_after_utc:
        return False
    for authority in x509.load_pem_x509_certificates(bundle):
        try:
            leaf.verify_directly_issued_by(authority)
        except (ValueError, InvalidSignature):
            continue
        return authority.not_valid_before_utc <= now < authority.not_valid_after_utc
    return False


def test_for_two_years_a_bundle_from_last_week_trusts_what_is_shown_now() -> None:
    authorities: Data = {}
    shown: Data = {}
    bundles: list[bytes] = []
    serials: set[int] = set()
    signers: set[bytes] = set()
    for day in range(730):
        now = START + timedelta(days=day)
        authorities = renewed_authorities(authorities, LIFETIME, now)
        shown = renewed_certificate(shown, authorities, SUBJECT, LIFETIME, now)
        bundles.append(shown[CA])
        assert _trusted(shown[CERTIFICATE], bundles[max(0, day - 7)], now), day
        leaf = x509.load_pem_x509_certificate(shown[CERTIFICATE])
        serials.add(leaf.serial_number)
        signers.add(leaf.issuer.public_bytes())
        assert len(x509.load_pem_x509_certificates(shown[CA])) <= 3
    assert len(serials) == pytest.approx(730 / 20, abs=3)
    assert len(signers) >= 3


def test_nothing_changes_while_nothing_is_due() -> None:
    authorities = renewed_authorities({}, LIFETIME, START)
    shown = renewed_certificate({}, authorities, SUBJECT, LIFETIME, START)
    later = START + timedelta(days=19)
    assert renewed_authorities(authorities, LIFETIME, later) is authorities
    assert renewed_certificate(shown, authorities, SUBJECT, LIFETIME, later) is shown
    assert renewed_certificate(shown, authorities, SUBJECT, LIFETIME, later + timedelta(days=2)) is not shown


def test_another_name_or_authority_or_broken_data_gives_a_new_certificate() -> None:
    authorities = renewed_authorities({}, LIFETIME, START)
    shown = renewed_certificate({}, authorities, SUBJECT, LIFETIME, START)
    renamed = Subject(common_name="other", names=("other",))
    for data, signers, subject in (
        (shown, authorities, renamed),
        (shown, renewed_authorities({}, LIFETIME, START), SUBJECT),
        ({**shown, KEY: b"nonsense"}, authorities, SUBJECT),
        ({CERTIFICATE: b"nonsense", KEY: b""}, authorities, SUBJECT),
    ):
        found = renewed_certificate(data, signers, subject, LIFETIME, START)
        assert found[CERTIFICATE] != shown[CERTIFICATE]
        assert _trusted(found[CERTIFICATE], signers[CA], START)


@pytest.mark.parametrize("broken", [{CA: b"x", CA_KEY: b"y"}, {CA: b""}, {}])
def test_authorities_that_cannot_be_read_are_made_again(broken: Data) -> None:
    found = renewed_authorities(broken, LIFETIME, START)
    assert len(x509.load_pem_x509_certificates(found[CA])) == 1


def test_a_certificate_never_outlives_its_authority() -> None:
    authorities = renewed_authorities({}, LIFETIME, START)
    late = START + LIFETIME.authority - timedelta(days=3)
    expires = expires_at(renewed_certificate({}, authorities, SUBJECT, LIFETIME, late))
    assert expires == START + LIFETIME.authority
