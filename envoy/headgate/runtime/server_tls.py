"""TLS of our gRPC servers: the certificate that is shown, renewed while it is served, and whom clients must be.

Both are mounted from secrets, which are replaced in place: a file that changes is read again, for connections
from then on.
"""

import argparse
import asyncio
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

from headgate.runtime.logging import event_log

log = event_log("tls")

POLL_SECONDS: Final = 10.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line's part."""
    add = parser.add_argument
    add("--tls-certificate", type=Path, default=None, help="serve over TLS; read again when it changes")
    add("--tls-key", type=Path, default=None)
    add("--tls-client-ca", type=Path, default=None, help="clients must show a certificate of it")


def open_tls(options: argparse.Namespace) -> "ServerTls | None":
    """What the command line asks for. Raises TlsError."""
    if options.tls_certificate is None and options.tls_client_ca is None:
        return None
    if options.tls_certificate is None or options.tls_key is None:
        raise TlsError("TLS needs --tls-certificate and --tls-key")
    try:
        return ServerTls(
            TlsFiles(certificate=options.tls_certificate, key=options.tls_key, client_ca=options.tls_client_ca)
        )
    except (OSError, ssl.SSLError) as error:
        raise TlsError(f"TLS: {error}") from error


def names(certificate: object, wanted: str) -> bool:
    """Whether a peer's certificate, as `getpeercert` tells it, is for a name: a host's, an address or a URI."""
    shown = cast("Mapping[str, Iterable[tuple[str, str]]]", certificate or {})
    return any(_is_for(kind, value, wanted) for kind, value in shown.get("subjectAltName", ()))


def _is_for(kind: str, value: str, wanted: str) -> bool:
    value, wanted = value.lower(), wanted.lower()
    if kind == "DNS" and value.startswith("*."):
        return wanted.partition(".")[2] == value[2:]
    return value == wanted


class TlsError(Exception):
    """Why there is no TLS, in one line for the user."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """Where certificate and key are; clients must show one of `client_ca`, where it is given."""

    certificate: Path
    key: Path
    client_ca: Path | None = None


class ServerTls:
    """The context to serve with."""

    def __init__(self, files: TlsFiles) -> None:
        """Raises OSError or ssl.SSLError for files that cannot be used."""
        self._files = files
        self._seen = self._times()
        self.context = self._current = self._made()
        self.context.sni_callback = self._hand_over

    def load(self) -> bool:
        """Reads the files if they have changed, and says whether it did."""
        seen = self._times()
        if seen == self._seen:
            return False
        self._current, self._seen = self._made(), seen
        return True

    def _made(self) -> ssl.SSLContext:
        """A context of its own for each state of the files: what one trusts cannot be taken back."""
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.set_alpn_protocols(["h2"])
        made.load_cert_chain(self._files.certificate, self._files.key)
        if self._files.client_ca is not None:
            made.verify_mode = ssl.CERT_REQUIRED
            made.load_verify_locations(self._files.client_ca)
        return made

    def _hand_over(self, connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, context: ssl.SSLContext) -> None:
        """A handshake begins with the context that listens, and goes on with the newest."""
        del name, context
        connection.context = self._current

    def _times(self) -> tuple[int, ...]:
        return tuple(path.stat().st_mtime_ns for path in self._paths())

    def _paths(self) -> tuple[Path, ...]:
        files = self._files
        return (files.certificate, files.key, *(() if files.client_ca is None else (files.client_ca,)))

    async def watch(self, poll_seconds: float = POLL_SECONDS) -> None:
        """Reads what changes, until it is cancelled; files that cannot be used leave in force what was."""
        while True:
            await asyncio.sleep(poll_seconds)
            try:
                if self.load():
                    log.info("certificate_loaded", path=str(self._files.certificate))
            except (OSError, ssl.SSLError) as error:
                log.error("certificate_rejected", path=str(self._files.certificate), error=str(error))
