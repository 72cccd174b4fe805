"""Ranges of addresses as regular expressions for Envoy's text of an address, `10.1.2.3:80` or `[2001:db8::1]:80`."""

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network

_GROUPS = 8
_GROUP_BITS = 16
_ANY = "[0-9a-f]+"
"""A group, of a text that is known to be an address."""

_DOTTED = (("::ffff:", IPv6Network("::ffff:0:0/96")), ("::", IPv6Network("::/96")))
"""Whose last 32 bits are written as those of version 4 are (`inet_ntop`)."""

PROGRAM_MAX = 100
"""Envoy's bound of a regular expression in CEL, as RE2 counts it."""


def addresses(text: str) -> Sequence[str]:
    """What the addresses of a range, like `10.0.0.0/8` or `2001:db8::/32`, match, each one of these, and no others.

    Several, because Envoy takes none that is a larger program than `PROGRAM_MAX`.
    """
    network = ip_network(text, strict=False)
    if isinstance(network, IPv4Network):
        return (f"^{_octets(network)}:.*$",)
    return (*_version6(network), *_dotted(network))


def _octets(network: IPv4Network) -> str:
    whole, rest = divmod(network.prefixlen, 8)
    octets = network.network_address.packed
    parts = [str(octet) for octet in octets[:whole]]
    if rest:
        low = octets[whole]
        parts.append(f"({'|'.join(str(low + more) for more in range(2 ** (8 - rest)))})")
    parts += [r"\d+"] * (4 - len(parts))
    return r"\.".join(parts)


def _dotted(network: IPv6Network) -> Iterator[str]:
    """The addresses of the range that end like one of version 4."""
    for begin, block in _DOTTED:
        if block.subnet_of(network):
            yield rf"^\[{begin}\d+\.\d"
        elif network.subnet_of(block):
            last = int(network.network_address) - int(block.network_address)
            octets = _octets(IPv4Network((last, network.prefixlen - block.prefixlen)))
            yield rf"^\[{begin}{octets}\]"


def _version6(network: IPv6Network) -> Iterator[str]:
    """By how the address is written: without `::` among the groups that the range is about, or with it from one of them
    on. `::` stands for the longest run of zeros, so it begins and ends at groups that are not 0."""
    about = -(-network.prefixlen // _GROUP_BITS)
    groups = [_group(network, index) for index in range(about)]
    patterns = [pattern for pattern, _ in groups]
    zeros = [pattern == "0" for pattern in patterns]
    free = _GROUPS - about
    yield r"^\[" + ":".join(patterns) + ((":" if about else "") if free else r"\]")
    for start in range(about):
        if start and zeros[start - 1]:
            continue
        before = r"^\[" + ":".join(patterns[:start]) + "::"
        for end in range(start + 1, about):
            if not groups[end - 1][1]:
                break
            if end - start > 1 and not zeros[end]:
                yield before + ":".join(patterns[end:]) + f"(:{_ANY}){{{free}}}" * bool(free) + r"\]"
        else:
            if groups[about - 1][1] and start + 2 <= _GROUPS:
                most = min(free, _GROUPS - start - 2)
                yield before + (f"({_ANY}(:{_ANY}){{0,{most - 1}}})?" if most else "") + r"\]"


def _group(network: IPv6Network, index: int) -> tuple[str, bool]:
    """A pattern for a group of 16 bits, and whether it may be 0."""
    low = int.from_bytes(network.network_address.packed[2 * index : 2 * index + 2])
    fixed = min(max(network.prefixlen - _GROUP_BITS * index, 0), _GROUP_BITS)
    if fixed == 0:
        return _ANY, True
    if fixed == _GROUP_BITS:
        return f"{low:x}", low == 0
    return _between(low, low + 2 ** (_GROUP_BITS - fixed) - 1), low == 0


def _between(low: int, high: int) -> str:
    """Hexadecimal numbers without leading zeros of a range that has all that follow its first bits."""
    for free in (3, 2, 1):
        step = 16**free
        if low % step == 0 and (high + 1) % step == 0:
            first, last = low // step, high // step
            ways = [f"{_digit(max(first, 1), last)}[0-9a-f]{{{free}}}"] if last >= 1 and last < 16 else []
            if last >= 16:
                prefix = first // 16
                ways = [f"{prefix:x}{_digit(first % 16, last % 16)}[0-9a-f]{{{free}}}"]
            if first == 0:
                ways.append(f"[0-9a-f]{{1,{free}}}")
            return ways[0] if len(ways) == 1 else f"({'|'.join(ways)})"
    head = f"{low // 16:x}" if low >= 16 else ""
    return f"{head}{_digit(low % 16, high % 16)}"


def _digit(first: int, last: int) -> str:
    digits = "0123456789abcdef"[first : last + 1]
    return digits if len(digits) == 1 else f"[{digits}]"
