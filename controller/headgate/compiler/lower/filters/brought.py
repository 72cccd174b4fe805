"""Credentials that requests bring along for the provider (`credentialOverride`).

    client's header ──> filter state ──> the backend's own header, attempt by attempt

The header is moved away in the listener, where the route is known: so no attempt, no processor and no other provider
can see it, and each attempt takes what its own backend asks for. Once any route of a listener takes credentials, the
names that they have by default are moved away on all its routes. Metadata that users' filters fill in is read alike.

Not into dynamic metadata: Envoy's access log service sends all of that to whoever receives its entries, and of filter
state only what a logger names. `header_to_metadata`, which takes the header away, leaves a word in its place.
"""

from collections.abc import Iterable, Iterator
from functools import lru_cache

from envoy.extensions.filters.http.header_to_metadata.v3.header_to_metadata_pb2 import Config as HeaderToMetadata
from envoy.extensions.filters.http.lua.v3.lua_pb2 import Lua
from envoy.extensions.filters.http.set_filter_state.v3.set_filter_state_pb2 import Config as SetFilterState
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import HttpFilter
from google.protobuf.any_pb2 import Any
from headgate.compiler import ir
from headgate.compiler.lower.wire import http_filter, packed, script
from headgate.compiler.options import Options
from headgate.contract import headers, metadata
from headgate.pb import overlay

FILTER = "headgate.header_to_metadata/credentials"
STATE = "headgate.set_filter_state/credentials"
MOVED = "moved"
SCRIPT = "headgate.lua/brought"


def overrides(backends: Iterable[ir.Backend]) -> tuple[ir.Override, ...]:
    """What the backends take from requests."""
    return tuple(
        each.credential.override for each in backends if each.credential is not None and each.credential.override
    )


def movers() -> Iterator[HttpFilter]:
    """Move the usual headers; a route may name others."""
    yield http_filter(STATE, _keeping(headers.BROUGHT))
    yield http_filter(FILTER, _moving(()))


def per_route(backends: Iterable[ir.Backend]) -> Iterator[tuple[str, Any]]:
    """Per-route configs: the headers of all backends of a rule."""
    names = tuple(each.header for each in overrides(backends) if each.header)
    own = tuple(sorted({*names} - {*headers.BROUGHT}))
    if own:  # Envoy keeps the listener's too
        yield STATE, packed(_keeping(own))
    yield FILTER, packed(_moving(names))


def _object(header: str) -> str:
    """The name of a header's value in filter state."""
    return f"{metadata.CREDENTIALS}/{header}"


@lru_cache(maxsize=256)
def _keeping(names: tuple[str, ...]) -> SetFilterState:
    message = SetFilterState()
    for header in names:
        value = message.on_request_headers.add(object_key=_object(header), factory_key="envoy.string")
        value.skip_if_empty = True
        value.format_string.text_format_source.inline_string = f"%REQ({header})%"
        value.format_string.omit_empty_values = True
    return message


@lru_cache(maxsize=256)
def _moving(names: tuple[str, ...]) -> HeaderToMetadata:
    message = HeaderToMetadata()
    for header in sorted({*headers.BROUGHT, *names}):
        rule = message.request_rules.add(header=header, remove=True)
        rule.on_header_present.metadata_namespace = metadata.CREDENTIALS
        rule.on_header_present.key = header
        rule.on_header_present.value = MOVED
    return message


def injector(credential: ir.Credential, override: ir.Override, options: Options) -> HttpFilter:
    """The script that puts it into the backend's header, or answers 401 where nothing else will."""
    message = Lua(default_source_code=script("brought", options.lua_directory))
    values: dict[str, str | bool] = {
        "object": _object(override.header) if override.header else "",
        "namespace": override.namespace,
        "key": override.key,
        "header": credential.header,
        "prefix": credential.prefix,
        "required": not override.fallback,
        "client_header": override.header,
    }
    overlay.lua_filter_context(message, values)
    return http_filter(SCRIPT, message)
