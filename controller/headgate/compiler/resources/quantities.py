"""Numbers that the API writes as text: durations, sizes, and what is checked by pattern."""

import re
from collections.abc import Iterator
from ipaddress import ip_network
from typing import Annotated, Final

import msgspec
from headgate.compiler.resources.metadata import (
    KIND_PATTERN,
    NAMESPACE_PATTERN,
    OBJECT_NAME_PATTERN,
    Violation,
)

INT32_MAX: Final = 2_147_483_647
HOSTNAME_PATTERN: Final = OBJECT_NAME_PATTERN
WILDCARD_HOSTNAME_PATTERN: Final = r"^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\Z"
DURATION_PATTERN: Final = r"^([0-9]{1,5}(h|m|s|ms)){1,4}\Z"
HEADER_NAME_PATTERN: Final = r"^[A-Za-z0-9!#$%&'*+\-.^_\x60|~]+\Z"
LABEL_PATTERN: Final = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?\Z"
GROUP_PATTERN: Final = r"^\Z|^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\Z"
OPTIONAL_KIND_PATTERN: Final = r"^\Z|^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?\Z"
QUANTITY_PATTERN: Final = r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?\Z"
ORIGIN_PATTERN: Final = r"^(\*|[A-Za-z][A-Za-z0-9+.-]*://(\*|(\*\.)?[\w-]+(\.[\w-]+)*)(:\d{1,5})?)\Z"

PATTERN_MEANINGS: Final = {
    HOSTNAME_PATTERN: "lower-case letters, digits, dashes and dots, like api.example.com",
    NAMESPACE_PATTERN: "lower-case letters, digits and dashes, starting and ending with a letter or digit",
    WILDCARD_HOSTNAME_PATTERN: "a lower-case DNS name without a port, like api.example.com or *.example.com",
    DURATION_PATTERN: "a duration, like 30s, 1m30s or 500ms",
    HEADER_NAME_PATTERN: "a header name: letters, digits and dashes",
    KIND_PATTERN: "a kind, like Gateway",
    OPTIONAL_KIND_PATTERN: "a kind, like InferencePool",
    LABEL_PATTERN: "lower-case letters, digits and dashes, starting and ending with a letter or digit",
    GROUP_PATTERN: "an API group, like gateway.networking.k8s.io",
    QUANTITY_PATTERN: "a size, like 50Mi, 4Gi or a number of bytes",
    ORIGIN_PATTERN: "an origin, like https://app.example.com or https://*.example.com",
}
"""What to tell a person instead of a regular expression."""

Duration = Annotated[str, msgspec.Meta(pattern=DURATION_PATTERN)]
Hostname = Annotated[str, msgspec.Meta(min_length=1, max_length=253, pattern=HOSTNAME_PATTERN)]
WildcardHostname = Annotated[str, msgspec.Meta(min_length=1, max_length=253, pattern=WILDCARD_HOSTNAME_PATTERN)]
HeaderName = Annotated[str, msgspec.Meta(min_length=1, max_length=256, pattern=HEADER_NAME_PATTERN)]
SectionName = Annotated[str, msgspec.Meta(min_length=1, max_length=253, pattern=HOSTNAME_PATTERN)]
Namespace = Annotated[str, msgspec.Meta(min_length=1, max_length=63, pattern=LABEL_PATTERN)]
Group = Annotated[str, msgspec.Meta(max_length=253, pattern=GROUP_PATTERN)]
Quantity = Annotated[str, msgspec.Meta(pattern=QUANTITY_PATTERN)] | Annotated[int, msgspec.Meta(ge=0)]
Origin = Annotated[str, msgspec.Meta(min_length=1, max_length=253, pattern=ORIGIN_PATTERN)]

_DURATION_UNITS: Final = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_QUANTITY_UNITS: Final = {"": 1.0, "m": 0.001} | {
    f"{letter}{suffix}": float(base**power)
    for suffix, base in (("", 1000), ("i", 1024))
    for power, letter in enumerate("KMGTPE", start=1)
}
_QUANTITY_UNITS["k"] = 1000.0


def not_positive(**durations: str) -> Iterator[Violation]:
    """Those of some durations, by their fields' names, that are nothing, where Envoy takes only more."""
    for field, duration in durations.items():
        if duration and not duration_seconds(duration):
            yield Violation("must be more than nothing", field, f"{field}: 1s")


def duration_seconds(duration: str) -> float:
    """Seconds of a `Duration` such as `1m30s`; a `Duration` has been checked to be one."""
    return sum(int(count) * _DURATION_UNITS[unit] for count, unit in re.findall(r"(\d+)(ms|h|m|s)", duration))


def quantity_bytes(quantity: str | int) -> int:
    """Whole bytes of a `Quantity` such as `50Mi`; a `Quantity` has been checked to be one."""
    if isinstance(quantity, int):
        return quantity
    number = quantity.rstrip("mkKMGTPEi")
    return int(float(number) * _QUANTITY_UNITS[quantity[len(number) :]])


def is_address_range(text: str) -> bool:
    """Whether it is a range of addresses, like `10.0.0.0/8`; an address alone is none."""
    try:
        ip_network(text, strict=False)
    except ValueError:
        return False
    return "/" in text
