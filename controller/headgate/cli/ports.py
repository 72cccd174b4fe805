"""Whether addresses can be listened on, asked before Envoy is."""

import errno
import socket
from collections.abc import Iterable

from headgate.contract.addresses import host_port


def unusable(addresses: Iterable[tuple[str, int]]) -> str | None:
    """Why the first address that cannot be listened on cannot, in one line; None if all can.

    Envoy's listeners share ports (SO_REUSEPORT), so a second gateway on the same port would silently take half of the
    first one's connections. This probe does not share.
    """
    for host, port in addresses:
        try:
            with socket.socket(_family(host)) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((host, port))
                probe.listen(1)
        except OSError as error:
            return f"cannot listen on {host_port(host, port)}: {_reason(error)}"
    return None


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _reason(error: OSError) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return "the port is in use"
        case errno.EACCES:
            return "this user may not use that port"
        case errno.EADDRNOTAVAIL:
            return "this machine does not have that address"
        case _:
            return error.strerror or str(error)
