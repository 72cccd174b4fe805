"""Answers that are sent compressed to clients that take them so.

https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/compressor_filter
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from envoy.extensions.compression.brotli.compressor.v3.brotli_pb2 import Brotli
from envoy.extensions.compression.gzip.compressor.v3.gzip_pb2 import Gzip
from envoy.extensions.compression.zstd.compressor.v3.zstd_pb2 import Zstd
from envoy.extensions.filters.http.compressor.v3.compressor_pb2 import (
    Compressor,
    CompressorOverrides,
    CompressorPerRoute,
    ResponseDirectionOverrides,
)
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import HttpFilter
from google.protobuf.message import Message
from headgate.compiler import answers
from headgate.compiler.lower.wire import extension, http_filter, packed

_LIBRARIES: Final[Mapping[str, type[Message]]] = MappingProxyType({"gzip": Gzip, "brotli": Brotli, "zstd": Zstd})


def compressors(asked: Iterable[Sequence[answers.Compressor]]) -> Iterator[HttpFilter]:
    """A filter for each that some route asks for, which does nothing but on the routes that say so: the least length is
    no route's to say. Neither is what is preferred, where all filters of a listener have a say: so all must agree."""
    routes = {route for each in asked if (route := tuple(each))}
    preferred = {route[0].kind for route in routes}
    for each in sorted({each for route in routes for each in route}):
        message = Compressor(compressor_library=extension(each.kind, _LIBRARIES[each.kind]()))
        message.choose_first = preferred == {each.kind}
        common = message.response_direction_config.common_config
        common.min_content_length.value = each.bytes_min
        common.enabled.default_value.value = False
        common.enabled.runtime_key = "headgate.never.compress"
        yield http_filter(_name(each), message)


def per_route(asked: Sequence[answers.Compressor]) -> Iterator[tuple[str, Any]]:
    """Per-route config by the name of its filter. No backend is asked for what is compressed already: the last filter
    takes out of the request what all of them read."""
    for each in asked:
        overrides = ResponseDirectionOverrides()
        overrides.remove_accept_encoding_header.value = each == max(asked)
        config = CompressorPerRoute(overrides=CompressorOverrides(response_direction_config=overrides))
        yield _name(each), packed(config)


def _name(compressor: answers.Compressor) -> str:
    return f"headgate.compressor/{compressor.kind}/{compressor.bytes_min}"
