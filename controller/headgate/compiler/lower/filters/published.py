"""Who serves a request, in the metadata that users read (compat: keys of `io.envoy.ai_gateway`).

    what a route knows     constants, by a filter of the listener (`publisher`); all of it where a rule has one backend
    whose an attempt is    of several backends: the script of its cluster, or the processor

The model is known to the route where that matches on it, else it is the client's until somebody says another one
(`security.identity`). What an answer tells, and the times of a stream, the scripts that read answers add (`usage.lua`),
or the processor.
"""

from collections.abc import Iterable
from functools import lru_cache

from envoy.extensions.filters.http.set_metadata.v3.set_metadata_pb2 import Config as SetMetadata
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import HttpFilter
from google.protobuf.any_pb2 import Any
from headgate.compiler import ir
from headgate.compiler.lower.wire import http_filter, packed
from headgate.contract import headers, metadata

FILTER = "headgate.set_metadata/published"


def names(backend: ir.Backend, lane: str) -> dict[str, str]:
    """Whose an attempt is."""
    namespace, _, rest = backend.name.partition("/")
    return {
        metadata.BACKEND_NAME: backend.name,
        metadata.SERVICE_BACKEND_NAME: f"{namespace}/{rest.partition('/')[0]}",
        metadata.LANE: lane,
    }


def of_route(route: str) -> dict[str, str]:
    """What all attempts of a route have in common."""
    found = {metadata.USAGE_SOURCE: metadata.USAGE_NONE}  # until the answer says more
    return {**found, metadata.ROUTE_NAME: route} if route else found


def publisher() -> HttpFilter:
    """Says what the route says (`per_route`); nothing elsewhere."""
    return http_filter(FILTER, SetMetadata())


@lru_cache(maxsize=16_384)
def per_route(backend: ir.Backend, route: str, *, lane: str, model: str) -> Any:
    """Per-route config of `publisher`: of the backend where it is alone, else what it and the others have in common.
    `model` is empty where any may be asked for."""
    values = {**of_route(route), **(names(backend, lane) if backend.alone else {})}
    asked = "" if backend.renamed else backend.model or model
    if asked:
        values[metadata.MODEL_NAME_OVERRIDE] = asked
    message = SetMetadata()
    message.metadata.add(metadata_namespace=metadata.NAMESPACE, allow_overwrite=True).value.update(values)
    return packed(message)


def model_of(match: ir.Match) -> str:
    """The one model that the match is for; empty where there may be several."""
    found = (each for each in match.headers if each.name == headers.MODEL and each.kind is ir.MatchKind.EXACT)
    return next((each.value for each in found), "")


def any_model(rules: Iterable[ir.Rule]) -> bool:
    """Whether only the request tells which model its route serves."""
    return any(rule.ai and not all(map(model_of, rule.matches)) for rule in rules)
