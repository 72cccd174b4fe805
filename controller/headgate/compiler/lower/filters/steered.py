"""Backends that are chosen once all is known: Envoy chooses one when it first has the route, before anybody was asked.

    rate limit filter ──> dynamic metadata ──┐
    authentication ─────> a client's header ─┴─> the route's cluster specifier, once the route is looked up again

Only routes turn a script on whose backends have limits of their own (`headgate.contract.steering`), or are found by a
header: it costs others nothing.
"""

from collections.abc import Iterable
from functools import lru_cache

from envoy.extensions.filters.http.lua.v3.lua_pb2 import Lua, LuaPerRoute
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import HttpFilter
from google.protobuf.any_pb2 import Any
from headgate.compiler import ir
from headgate.compiler.lower.wire import http_filter, packed, script
from headgate.compiler.options import Options

FILTER = "headgate.lua/steered"
_STEERED = "steered"
_HASHED = "hashed"


def is_steered(backends: tuple[ir.Backend, ...]) -> bool:
    """Whether there is something to choose, and someone who does."""
    return len(backends) > 1 and any(backend.steered for backend in backends)


def _is_hashed(rule: ir.Rule, backends: tuple[ir.Backend, ...]) -> bool:
    return len(backends) > 1 and any(key.kind == "header" for key in rule.hash_keys)


def chooses_late(rules: Iterable[ir.Rule]) -> bool:
    """Whether a route of the rules turns `follower` on."""
    return any(is_steered(rule.backends) or _is_hashed(rule, rule.backends) for rule in rules)


def follower(options: Options) -> HttpFilter:
    """Has the backend chosen again, on the routes that turn it on."""
    scripts = {name: script(name, options.lua_directory) for name in (_STEERED, _HASHED)}
    return http_filter(FILTER, Lua(source_codes=scripts))


def per_route(rule: ir.Rule, backends: tuple[ir.Backend, ...]) -> Any | None:
    """Per-route config that turns `follower` on; None for routes that have no use for it."""
    if _is_hashed(rule, backends):
        return _turned_on(_HASHED)
    return _turned_on(_STEERED) if is_steered(backends) else None


@lru_cache(maxsize=2)
def _turned_on(name: str) -> Any:
    return packed(LuaPerRoute(name=name))
