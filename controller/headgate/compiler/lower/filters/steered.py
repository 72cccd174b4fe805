"""Backends that the rate limit service chooses (`headgate.contract.steering`).

    rate limit filter ──> dynamic metadata ──> the route's cluster specifier, once the route is looked up again

Only routes whose backends have limits of their own turn the script on: it costs others nothing.
"""

from functools import lru_cache

from envoy.extensions.filters.http.lua.v3.lua_pb2 import Lua, LuaPerRoute
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import HttpFilter
from google.protobuf.any_pb2 import Any
from headgate.compiler import ir
from headgate.compiler.lower.wire import http_filter, packed, script
from headgate.compiler.options import Options

FILTER = "headgate.lua/steered"


def is_steered(backends: tuple[ir.Backend, ...]) -> bool:
    """Whether there is something to choose, and someone who does."""
    return len(backends) > 1 and any(backend.steered for backend in backends)


def follower(options: Options) -> HttpFilter:
    """Follows what the rate limit service said, on the routes that turn it on."""
    return http_filter(FILTER, Lua(source_codes={"steered": script("steered", options.lua_directory)}))


@lru_cache(maxsize=1)
def per_route() -> Any:
    """Per-route config that turns `follower` on."""
    return packed(LuaPerRoute(name="steered"))
