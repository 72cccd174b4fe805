"""How requests are received from clients, as a ClientTrafficPolicy says."""

from collections.abc import Iterator

from envoy.config.common.mutation_rules.v3.mutation_rules_pb2 import HeaderMutation as Mutation
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from envoy.extensions.http.original_ip_detection.custom_header.v3.custom_header_pb2 import CustomHeaderConfig
from envoy.extensions.http.original_ip_detection.xff.v3.xff_pb2 import XffConfig
from headgate.compiler.clients import ClientAddress
from headgate.compiler.lower.wire import cidr_ranges, extension

_XFF = "envoy.extensions.http.original_ip_detection.xff"
_CUSTOM_HEADER = "envoy.extensions.http.original_ip_detection.custom_header"
REFUSED = 403
ENVOY_PREFIX = "x-envoy-"
"""Headers by which one Envoy tells another what to do."""


def set_address(manager: HttpConnectionManager, address: ClientAddress) -> None:
    """Which address a client has.

    Where only the connection and the number of proxies count, Envoy stays at the edge (`use_remote_address`), and takes
    out what only its like may say. Its extensions of detection leave that to `distrusted`.
    """
    manager.use_remote_address.value = not _by_extension(address)
    manager.skip_xff_append = not address.appends
    if address.header:
        custom = CustomHeaderConfig(header_name=address.header, allow_extension_to_set_address_as_trusted=True)
        if address.required:
            custom.reject_with_status.code = REFUSED  # pyright: ignore[reportAttributeAccessIssue]
        manager.original_ip_detection_extensions.append(extension(_CUSTOM_HEADER, custom))
    elif address.trusted_ranges:
        forwarded = XffConfig()
        forwarded.xff_trusted_cidrs.cidrs.extend(cidr_ranges(address.trusted_ranges))
        forwarded.skip_xff_append.value = not address.appends
        manager.original_ip_detection_extensions.append(extension(_XFF, forwarded))
    else:
        manager.xff_num_trusted_hops = address.trusted_hops


def distrusted(address: ClientAddress) -> Iterator[Mutation]:
    """What clients may not say where Envoy does not see to it by itself: to it, who comes through proxies is none of
    the outside."""
    if _by_extension(address):
        mutation = Mutation()
        mutation.remove_on_match.key_matcher.prefix = ENVOY_PREFIX
        yield mutation
        yield Mutation(remove="x-request-id")


def _by_extension(address: ClientAddress) -> bool:
    return bool(address.header or address.trusted_ranges)
