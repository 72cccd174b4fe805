"""Credentials that requests bring along for the provider (`credentialOverride`).

    client's header ──> dynamic metadata ──> the backend's own header, attempt by attempt

The header is moved away in the listener, where the route is known: so no attempt, no processor and no other provider
can see it, and each attempt takes what its own backend asks for. Once any route of a listener takes credentials, the
names that they have by default are moved away on all its routes. Metadata that users' filters fill in is read alike.
"""

from collections.abc import Iterable
from functools import lru_cache

from envoy.extensions.filters.http.header_to_metadata.v3.header_to_metadata_pb2 import Config as HeaderToMetadata
from envoy.extensions.filters.http.lua.v3.lua_pb2 import Lua
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import HttpFilter
from google.protobuf.any_pb2 import Any
from headgate.compiler import ir
from headgate.compiler.lower.wire import http_filter, packed, script
from headgate.compiler.options import Options
from headgate.contract import headers, metadata
from headgate.pb import overlay

FILTER = "headgate.header_to_metadata/credentials"
SCRIPT = "headgate.lua/brought"


def overrides(backends: Iterable[ir.Backend]) -> tuple[ir.Override, ...]:
    """What the backends take from requests."""
    return tuple(
        each.credential.override for each in backends if each.credential is not None and each.credential.override
    )


def mover() -> HttpFilter:
    """Moves the usual headers; a route may name others."""
    return http_filter(FILTER, _moving(()))


def per_route(backends: Iterable[ir.Backend]) -> Any:
    """Per-route config: the headers of all backends of a rule."""
    return packed(_moving(tuple(each.header for each in overrides(backends) if each.header)))


@lru_cache(maxsize=256)
def _moving(names: tuple[str, ...]) -> HeaderToMetadata:
    message = HeaderToMetadata()
    for header in sorted({*headers.BROUGHT, *names}):
        rule = message.request_rules.add(header=header, remove=True)
        rule.on_header_present.metadata_namespace = metadata.CREDENTIALS
        rule.on_header_present.key = header
    return message


def injector(credential: ir.Credential, override: ir.Override, options: Options) -> HttpFilter:
    """The script that puts it into the backend's header, or answers 401 where nothing else will."""
    message = Lua(default_source_code=script("brought", options.lua_directory))
    values: dict[str, str | bool] = {
        "namespace": override.namespace,
        "key": override.key,
        "header": credential.header,
        "prefix": credential.prefix,
        "required": not override.fallback,
        "client_header": override.header,
    }
    overlay.lua_filter_context(message, values)
    return http_filter(SCRIPT, message)
