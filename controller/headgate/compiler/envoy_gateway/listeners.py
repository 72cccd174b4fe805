"""Listeners that serve AI routes: our filters among Envoy Gateway's.

All of ours are installed switched off; a route that is found without a model switches them on (`routes`). So requests
of other routes run none of them, whatever shares their listener.
"""

from collections.abc import Iterable, Iterator, Sequence

from envoy.config.accesslog.v3.accesslog_pb2 import AccessLogFilter, AndFilter, ExtensionFilter
from envoy.config.listener.v3.listener_components_pb2 import FilterChain
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.access_loggers.filters.cel.v3.cel_pb2 import ExpressionFilter
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
    HttpFilter,
    LocalReplyConfig,
    ResponseMapper,
)
from headgate.compiler import ir
from headgate.compiler.lower import replies
from headgate.compiler.lower.filters import brought, extraction
from headgate.compiler.lower.listeners import (
    UNSENT_BYTES_MAX,
    body_size_limit,
    buffer,
    decompressor,
    early_header_mutation,
)
from headgate.compiler.lower.wire import extension, packed
from headgate.compiler.options import Options
from headgate.contract import metadata

MANAGER = f"type.googleapis.com/{HttpConnectionManager.DESCRIPTOR.full_name}"
STRIP = "headgate/strip"
BODY_SIZE_LIMIT = "headgate.body_size_limit"
DECOMPRESSOR = "headgate.decompressor"
BUFFER = "headgate.buffer"
"""Names of our own: Envoy Gateway has filters of the same kind, switched by their names."""
SWITCHED = (
    BODY_SIZE_LIMIT,
    DECOMPRESSOR,
    BUFFER,
    extraction.JSON_TO_METADATA,
    extraction.MODEL_HEADER,
    extraction.USAGE_SCRIPT,
    extraction.COSTS,
    extraction.COST_TRAILERS,
    extraction.USAGE,
)
"""What routes that are found without a model switch on."""
_FIRST = (
    "envoy.filters.http.custom_response",
    "envoy.filters.http.health_check",
    "envoy.filters.http.fault",
    "envoy.filters.http.cors",
    "envoy.filters.http.csrf",
    "envoy.filters.http.header_mutation",
    "envoy.filters.http.ext_authz",
    "envoy.filters.http.api_key_auth",
    "envoy.filters.http.basic_auth",
    "envoy.filters.http.oauth2",
    "envoy.filters.http.jwt_authn",
)
"""Envoy Gateway's filters that ours come after: who a client is, is known before anything of a body is read."""
_IS_AI = f"'{metadata.RESOURCE}' in xds.route_metadata.filter_metadata"


def _renamed(filter_: HttpFilter, name: str) -> HttpFilter:
    result = HttpFilter()
    result.CopyFrom(filter_)
    result.name = name
    result.disabled = True
    return result


def _request_filters(rules: Iterable[ir.Rule], options: Options) -> Iterator[HttpFilter]:
    yield _renamed(body_size_limit(options.body_bytes_max), BODY_SIZE_LIMIT)
    yield _renamed(decompressor(), DECOMPRESSOR)
    yield _renamed(buffer(options.body_bytes_max), BUFFER)
    # a path's model before the body's: it is the one that counts
    yield _renamed(extraction.path_model(options), extraction.PATH_MODEL)
    yield _renamed(extraction.request_fields(), extraction.JSON_TO_METADATA)
    yield _renamed(extraction.model_header(), extraction.MODEL_HEADER)
    if options.extproc_sockets:
        yield extraction.router_processor()
    if any(brought.overrides(rule.backends) for rule in rules):
        # not switched off: the route that says what is moved is known only now
        yield brought.mover()


def place_of(names: Sequence[str]) -> int:
    """Where ours go among Envoy Gateway's filters: right after the last that must come first.

    A user's own order (`filterOrder`) may have put limits or scripts before authentication: then they come before ours
    too, for nothing of a body is read for a client that is not known.
    """
    return max((index for index, name in enumerate(names) if name.startswith(_FIRST)), default=-1) + 1


def _http_filters(filters: Sequence[HttpFilter], rules: Iterable[ir.Rule], options: Options) -> list[HttpFilter]:
    place = place_of([each.name for each in filters])
    answers = [_renamed(each, each.name) for each in extraction.response_filters(rules, options)]
    # answers are read before anything of Envoy Gateway's changes them: last in the list
    return [*filters[:place], *_request_filters(rules, options), *filters[place:-1], *answers, *filters[-1:]]


def _cel(expression: str) -> AccessLogFilter:
    message = ExpressionFilter(expression=expression)
    name = "envoy.access_loggers.extension_filters.cel"
    return AccessLogFilter(extension_filter=ExtensionFilter(name=name, typed_config=packed(message)))


def _on_ai_routes(mapper: ResponseMapper) -> ResponseMapper:
    result = ResponseMapper()
    result.CopyFrom(mapper)
    both = AccessLogFilter(and_filter=AndFilter(filters=[_cel(_IS_AI), mapper.filter]))
    result.filter.CopyFrom(both)
    return result


def _add_local_replies(manager: HttpConnectionManager, options: Options) -> None:
    """Errors in the client's dialect, on AI routes only."""
    ours: LocalReplyConfig = replies.local_replies(options, options.body_bytes_max)
    added = [_on_ai_routes(mapper) for mapper in ours.mappers]
    theirs = list(manager.local_reply_config.mappers)
    del manager.local_reply_config.mappers[:]
    manager.local_reply_config.mappers.extend([*added, *theirs])


def _edit(manager: HttpConnectionManager, rules: Sequence[ir.Rule], options: Options) -> None:
    filters = _http_filters(list(manager.http_filters), rules, options)
    del manager.http_filters[:]
    manager.http_filters.extend(filters)
    manager.early_header_mutation_extensions.append(extension(STRIP, early_header_mutation()))
    _add_local_replies(manager, options)
    window = manager.http2_protocol_options.initial_stream_window_size
    window.value = max(window.value, UNSENT_BYTES_MAX)


def _chain(chain: FilterChain, served: dict[str, list[ir.Rule]], options: Options) -> bool:
    """Edits the chain where it serves AI routes; whether it does. A chain without HTTP is not ours."""
    changed = False
    for each in chain.filters:
        if each.typed_config.type_url != MANAGER:
            continue
        manager = HttpConnectionManager.FromString(each.typed_config.value)
        rules = served.get(manager.rds.route_config_name)
        if rules is not None and manager.http_filters:
            _edit(manager, rules, options)
            each.typed_config.CopyFrom(packed(manager))
            changed = True
    return changed


def with_ai_filters(data: bytes, served: dict[str, list[ir.Rule]], options: Options) -> bytes:
    """A listener with our filters where it serves AI routes, else its own bytes. `served` is rules by configuration."""
    listener = Listener.FromString(data)
    chains = list(listener.filter_chains)
    if listener.HasField("default_filter_chain"):
        chains.append(listener.default_filter_chain)
    changed = [_chain(chain, served, options) for chain in chains]
    if True not in changed:
        return data
    # 32 KiB, if nobody says otherwise, is less than a prompt; and see UNSENT_BYTES_MAX
    bound = listener.per_connection_buffer_limit_bytes
    bound.value = max(bound.value, UNSENT_BYTES_MAX)
    return listener.SerializeToString(deterministic=True)
