"""Small shapes of Envoy's API that every lowering module uses."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from ipaddress import ip_network

from envoy.config.core.v3.address_pb2 import Address, CidrRange, Pipe, SocketAddress
from envoy.config.core.v3.base_pb2 import DataSource, HeaderValueOption
from envoy.config.core.v3.config_source_pb2 import AggregatedConfigSource, ApiVersion, ConfigSource
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.config.route.v3.route_components_pb2 import FilterConfig
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import HttpFilter
from envoy.extensions.transport_sockets.tls.v3.common_pb2 import CertificateValidationContext, TlsParameters
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import UpstreamTlsContext
from envoy.type.matcher.v3.regex_pb2 import RegexMatcher
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct
from headgate import lua
from headgate.contract.addresses import is_address

Json = str | float | bool | None | Sequence["Json"] | Mapping[str, "Json"]


@cache
def type_url(message: type[Message]) -> str:
    return f"type.googleapis.com/{message.DESCRIPTOR.full_name}"


def serialised(message: Message) -> bytes:
    """Deterministic, so that equal configuration has equal bytes."""
    return message.SerializeToString(deterministic=True)


def set_packed(result: Any, message: Message, *parts: bytes) -> None:
    """Puts the message into the Any, with serialised parts behind it: joined, parts are one message."""
    result.type_url = type_url(type(message))
    result.value = serialised(message) + b"".join(parts)


def packed(message: Message) -> Any:
    """The message in an Any."""
    result = Any()
    set_packed(result, message)
    return result


def extension(name: str, message: Message) -> TypedExtensionConfig:
    result = TypedExtensionConfig(name=name)
    set_packed(result.typed_config, message)
    return result


def http_filter(name: str, message: Message, *parts: bytes, disabled: bool = False) -> HttpFilter:
    """`parts` are as of `set_packed`. `disabled` installs the filter switched off: a route's per-filter config switches
    it on."""
    result = HttpFilter(name=name, disabled=disabled)
    set_packed(result.typed_config, message, *parts)
    return result


@cache
def switched_on() -> Any:
    """Per-route config that switches a filter on which is installed disabled, and says nothing else."""
    config = FilterConfig()
    config.config.SetInParent()
    return packed(config)


def duration(seconds: float) -> Duration:
    whole = int(seconds)
    return Duration(seconds=whole, nanos=round((seconds - whole) * 1_000_000_000))


def told(values: Mapping[str, lua.Value]) -> dict[str, Json]:
    """The context of a script that reads it once: see `headgate.lua`."""
    return {"told": lua.expression(values)}


def struct(values: Mapping[str, Json]) -> Struct:
    result = Struct()
    result.update(values)
    return result


def upstream_tls(server_name: str = "") -> UpstreamTlsContext:
    """TLS to a server, up to 1.3: by itself Envoy asks servers for no more than 1.2, and some take no less than 1.3."""
    result = UpstreamTlsContext(sni="" if is_address(server_name) else server_name)  # RFC 6066, section 3
    result.common_tls_context.tls_params.tls_maximum_protocol_version = TlsParameters.TLSv1_3
    return result


def require_name(validation: CertificateValidationContext, name: str) -> None:
    """The certificate must be for this name, or IP address."""
    alternative = validation.match_typed_subject_alt_names.add()
    alternative.san_type = alternative.IP_ADDRESS if is_address(name) else alternative.DNS
    alternative.matcher.exact = name


def socket_address(address: str, port: int) -> Address:
    return Address(socket_address=SocketAddress(address=address, port_value=port))


def cidr_ranges(texts: Iterable[str]) -> list[CidrRange]:
    """Ranges of addresses, like `10.0.0.0/8`."""
    found: list[CidrRange] = []
    for text in texts:
        network = ip_network(text, strict=False)
        found.append(CidrRange(address_prefix=str(network.network_address)))
        found[-1].prefix_len.value = network.prefixlen
    return found


def pipe(path: str) -> Address:
    return Address(pipe=Pipe(path=path))


def inline(text: str) -> DataSource:
    return DataSource(inline_string=text)


def script(name: str, directory: str) -> DataSource:
    """A Lua script of ours: read by Envoy from the directory, or embedded where there is none."""
    if directory:
        return DataSource(filename=f"{directory}/{name}.lua")
    return inline(lua.compact(name))


@cache
def ads() -> ConfigSource:
    return ConfigSource(ads=AggregatedConfigSource(), resource_api_version=ApiVersion.V3)


def regex(pattern: str) -> RegexMatcher:
    """RE2, matched against the whole text."""
    return RegexMatcher(regex=pattern)


def literal(value: str) -> str:
    """A header's value that is not to be read as a format."""
    return value.replace("%", "%%")


def set_header(name: str, value: str) -> HeaderValueOption:
    option = HeaderValueOption(append_action=HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD)
    option.header.key = name
    option.header.value = value
    return option


def add_header(name: str, value: str) -> HeaderValueOption:
    option = HeaderValueOption(append_action=HeaderValueOption.APPEND_IF_EXISTS_OR_ADD)
    option.header.key = name
    option.header.value = value
    return option


def add_header_if_absent(name: str, value: str) -> HeaderValueOption:
    option = HeaderValueOption(append_action=HeaderValueOption.ADD_IF_ABSENT)
    option.header.key = name
    option.header.value = value
    return option
