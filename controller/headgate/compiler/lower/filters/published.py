"""Who serves a request, in the metadata that users read (compat: keys of `io.envoy.ai_gateway`).

    one backend of a rule    constants of its routes, by a filter of the listener (`publisher`)
    several                  each attempt says its own: the script of its cluster (`names`), or the processor

The model is the client's (`extraction.request_fields`) until somebody says another one. What an answer tells, and the
times of a stream, the scripts that read answers add (`usage.lua`), or the processor.
"""

import json

from envoy.extensions.filters.http.set_metadata.v3.set_metadata_pb2 import Config as SetMetadata
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import HttpFilter
from google.protobuf.any_pb2 import Any
from headgate.compiler import ir
from headgate.compiler.lower.wire import http_filter, packed
from headgate.compiler.options import Options
from headgate.compiler.remembered import remembered
from headgate.contract import metadata

FILTER = "headgate.set_metadata/published"


def names(backend: ir.Backend, route: str, lane: str) -> dict[str, str]:
    """What there is to say of an attempt but for the model."""
    namespace, _, rest = backend.name.partition("/")
    found = {
        metadata.BACKEND_NAME: backend.name,
        metadata.SERVICE_BACKEND_NAME: f"{namespace}/{rest.partition('/')[0]}",
        metadata.LANE: lane,
        metadata.USAGE_SOURCE: metadata.USAGE_NONE,  # until the answer says more
    }
    return {**found, metadata.ROUTE_NAME: route} if route else found


def by_route(backend: ir.Backend, options: Options) -> bool:
    """Whether the backend's routes say that it serves, which costs less than to be told by scripts or the processor."""
    return backend.alone and not options.envoy_gateway


def as_text(backend: ir.Backend, options: Options) -> bool:
    """Whether the processor also says what it publishes as text, for the access log's line (`telemetry.short_line`).

    It does not where the client's path would have to be escaped there.
    """
    read = bool(options.access_log) and not options.collects and backend.known
    return read and by_route(backend, options)


def publisher() -> HttpFilter:
    """Says what the route says (`per_route`); nothing elsewhere."""
    return http_filter(FILTER, SetMetadata())


@remembered
def per_route(backend: ir.Backend, route: str, *, lane: str) -> Any:
    """Per-route config of `publisher` where no other backend can serve."""
    values = names(backend, route, lane)
    if backend.model:
        values[metadata.MODEL_NAME_OVERRIDE] = backend.model
    message = SetMetadata()
    message.metadata.add(metadata_namespace=metadata.NAMESPACE, allow_overwrite=True).value.update(values)
    return packed(message)


def line(backend: ir.Backend, route: str, *, lane: str, model: str) -> str:
    """The same as the access log writes it, with the model before it: `"original_model":"m","metadata":{"lane":…`.
    The answer's own (`metadata.INTERNAL_FACTS`) follow."""
    values = names(backend, route, lane)
    values[metadata.MODEL_NAME_OVERRIDE] = backend.model or model
    del values[metadata.USAGE_SOURCE]  # the answer says it
    members = json.dumps(values, separators=(",", ":"))
    return f'"original_model":{json.dumps(model)},"metadata":{members[:-1]}'
