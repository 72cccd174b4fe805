"""Ranges of client addresses, as Envoy writes addresses, next to Python's own arithmetic."""

import importlib
import random
import socket
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import Any

import pytest
from headgate.compiler.lower.addresses import PROGRAM_MAX, addresses

RE2: Any = importlib.import_module("re2")
"""Envoy's engine, which comes with cel-python."""


def written(address: IPv4Address | IPv6Address) -> str:
    if isinstance(address, IPv4Address):
        return f"{address}:4711"
    # Python 3.11 writes none with dots, 3.13 some
    return f"[{socket.inet_ntop(socket.AF_INET6, address.packed)}]:4711"


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("10.0.0.0/8", ["10.0.0.1", "10.255.255.255"], ["11.0.0.1", "9.10.0.1", "::a"]),
        ("10.16.0.0/12", ["10.16.0.1", "10.31.9.9"], ["10.32.0.1", "10.15.0.1"]),
        ("192.0.2.7/32", ["192.0.2.7"], ["192.0.2.70", "192.0.2.8"]),
        ("0.0.0.0/0", ["1.2.3.4"], ["::1"]),
        ("::/0", ["::1", "2001:db8::"], ["1.2.3.4"]),
        ("2001:db8::/32", ["2001:db8::1", "2001:db8:1::"], ["2001:db80::1", "2001:db9::1", "::2001:db8:0:0"]),
        ("2001:db8::/48", ["2001:db8::1", "2001:db8:0:1::"], ["2001:db8:1::1"]),
        ("2001:db8:0:8000::/50", ["2001:db8:0:8000::1", "2001:db8:0:bfff::"], ["2001:db8:0:c000::", "2001:db8::1"]),
        ("::1/128", ["::1"], ["::2", "1::1", "::1:1"]),
        ("fc00::/7", ["fc00::1", "fdff::1"], ["fe00::1", "fc::1"]),
        ("::/96", ["::1", "::1:2"], ["::1:2:3"]),
        ("::ffff:10.0.0.0/104", ["::ffff:10.0.0.1", "::ffff:10.9.9.9"], ["::ffff:11.0.0.1", "10.0.0.1", "::10.0.0.1"]),
        ("::ffff:0:0/96", ["::ffff:1.2.3.4"], ["::1.2.3.4", "1.2.3.4", "::ffff:0:1:2"]),
    ],
)
def test_ranges(text: str, inside: list[str], outside: list[str]) -> None:
    for each in inside:
        assert _is_in(text, _address(each)), each
    for each in outside:
        assert not _is_in(text, _address(each)), each


def _is_in(text: str, address: IPv4Address | IPv6Address) -> bool:
    found = [RE2.compile(each) for each in addresses(text)]
    assert all(each.programsize <= PROGRAM_MAX for each in found), text
    return any(each.search(written(address)) for each in found)


def _address(text: str) -> IPv4Address | IPv6Address:
    return IPv6Address(text) if ":" in text else IPv4Address(text)


@pytest.mark.parametrize("seed", range(10))
def test_ranges_of_version_6_agree_with_arithmetic(seed: int) -> None:
    """Addresses with many zeros, since those are written in many ways."""
    dice = random.Random(seed)

    def address() -> IPv6Address:
        groups = [dice.choice((0, 0, 0, 1, 0xA, 0x10, 0x8000, 0xFFFF, dice.randrange(2**16))) for _ in range(8)]
        return IPv6Address(":".join(f"{group:x}" for group in groups))

    for _ in range(20):
        network = ip_network(f"{address()}/{dice.randint(0, 128)}", strict=False)
        for _ in range(15):
            near = IPv6Address(int(network.network_address) | dice.getrandbits(128) & int(network.hostmask))
            sparse = IPv6Address(int(network.network_address) | int(address()) & int(network.hostmask))
            for each in (near, sparse, address()):
                assert _is_in(str(network), each) == (each in network), (str(network), str(each))
