"""Listeners that serve AI routes: our filters among Envoy Gateway's.

All of ours are installed switched off; a route that is found without a model switches them on (`routes`). So requests
of other routes run none of them, whatever shares their listener.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from envoy.config.accesslog.v3.accesslog_pb2 import AccessLog, AccessLogFilter, AndFilter, ExtensionFilter
from envoy.config.listener.v3.listener_components_pb2 import Filter, FilterChain
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.access_loggers.filters.cel.v3.cel_pb2 import ExpressionFilter
from envoy.extensions.filters.http.router.v3.router_pb2 import Router
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
    HttpFilter,
    LocalReplyConfig,
    ResponseMapper,
)
from headgate.compiler.envoy_gateway.needs import Needs
from headgate.compiler.lower import access_logs, limits, replies
from headgate.compiler.lower.filters import brought, extraction, overrides, security, steered, telemetry
from headgate.compiler.lower.listeners import (
    UNSENT_BYTES_MAX,
    body_size_limit,
    buffer,
    decompressor,
    early_header_mutation,
    ratelimit,
)
from headgate.compiler.lower.wire import extension, packed
from headgate.compiler.options import Mode, Options
from headgate.contract import metadata

MANAGER = f"type.googleapis.com/{HttpConnectionManager.DESCRIPTOR.full_name}"
STRIP = "headgate/strip"
BODY_SIZE_LIMIT = "headgate.body_size_limit"
DECOMPRESSOR = "headgate.decompressor"
BUFFER = "headgate.buffer"
LIMITS = limits.filter_name(Options(mode=Mode.ENVOY_GATEWAY))
"""Names of our own: Envoy Gateway has filters of the same kind, switched by their names."""
SWITCHED = (
    BODY_SIZE_LIMIT,
    DECOMPRESSOR,
    BUFFER,
    extraction.REQUEST,
    extraction.ANSWER_HEADERS,
    security.IDENTITY,
    LIMITS,
    steered.FILTER,
    extraction.COSTS,
    extraction.COST_TRAILERS,
    extraction.TRAILERS,
    extraction.USAGE_SCRIPT,
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


def _request_filters(needs: Needs, options: Options) -> Iterator[HttpFilter]:
    yield _renamed(body_size_limit(options.body_bytes_max), BODY_SIZE_LIMIT)
    yield _renamed(decompressor(), DECOMPRESSOR)
    yield _renamed(buffer(options.body_bytes_max), BUFFER)
    # a path's model before the body's: it is the one that counts
    yield _renamed(extraction.path_model(options), extraction.PATH_MODEL)
    yield _renamed(extraction.request_fields(options, max_tokens=needs.reserves), extraction.REQUEST)
    yield _renamed(extraction.answer_headers(), extraction.ANSWER_HEADERS)
    if options.extproc_sockets:
        yield extraction.router_processor(options)
    identity = security.identity(needs.clients, needs.selected, options.header_attributes, queries=needs.queries)
    if identity is not None:
        yield _renamed(identity, security.IDENTITY)
    if needs.brings:
        # not switched off: the route that says what is moved is known only now
        yield from brought.movers()
    if needs.counts:
        # not switched off either: it asks for nothing but where the route says so
        yield extraction.prompt_counter(options)
    if needs.limited and options.limits:
        yield _renamed(ratelimit(options, reserves=needs.reserves), LIMITS)
    if needs.chooses_late:
        yield _renamed(steered.follower(options), steered.FILTER)


def place_of(names: Sequence[str]) -> int:
    """Where ours go among Envoy Gateway's filters: right after the last that must come first.

    A user's own order (`filterOrder`) may have put limits or scripts before authentication: then they come before ours
    too, for nothing of a body is read for a client that is not known.
    """
    return max((index for index, name in enumerate(names) if name.startswith(_FIRST)), default=-1) + 1


def _http_filters(filters: Sequence[HttpFilter], needs: Needs, options: Options) -> list[HttpFilter]:
    place = place_of([each.name for each in filters])
    answers = [_renamed(each, each.name) for each in extraction.response_filters(options, computed=needs.computes)]
    # answers are read before anything of Envoy Gateway's changes them: last in the list
    last = [_with_attempts(each, options) for each in filters[-1:]]
    return [*filters[:place], *_request_filters(needs, options), *filters[place:-1], *answers, *last]


def _with_attempts(router: HttpFilter, options: Options) -> HttpFilter:
    """The router, which tells the collector of attempts on AI routes that failed."""
    message = Router()
    if not options.collects or not router.typed_config.Unpack(message):
        return router
    message.upstream_log.extend(_logged(each) for each in access_logs.attempts(None, options))
    result = HttpFilter()
    result.CopyFrom(router)
    result.typed_config.CopyFrom(packed(message))
    return result


def _logged(log: AccessLog) -> AccessLog:
    """On AI routes only."""
    result = AccessLog()
    result.CopyFrom(log)
    result.filter.CopyFrom(_both(_cel(_IS_AI), log.filter) if log.HasField("filter") else _cel(_IS_AI))
    return result


def _cel(expression: str) -> AccessLogFilter:
    message = ExpressionFilter(expression=expression)
    name = "envoy.access_loggers.extension_filters.cel"
    return AccessLogFilter(extension_filter=ExtensionFilter(name=name, typed_config=packed(message)))


def _on_ai_routes(mapper: ResponseMapper) -> ResponseMapper:
    result = ResponseMapper()
    result.CopyFrom(mapper)
    result.filter.CopyFrom(_both(_cel(_IS_AI), mapper.filter))
    return result


def _both(first: AccessLogFilter, second: AccessLogFilter) -> AccessLogFilter:
    return AccessLogFilter(and_filter=AndFilter(filters=[first, second]))


def _add_local_replies(manager: HttpConnectionManager, options: Options) -> None:
    """Errors in the client's dialect, on AI routes only."""
    overridden = any(each.name.startswith(overrides.FILTER) for each in manager.http_filters)
    ours: LocalReplyConfig = replies.local_replies(options, options.body_bytes_max, overridden=overridden)
    added = [_on_ai_routes(mapper) for mapper in ours.mappers]
    theirs = list(manager.local_reply_config.mappers)
    del manager.local_reply_config.mappers[:]
    manager.local_reply_config.mappers.extend([*added, *theirs])


def _edit(manager: HttpConnectionManager, needs: Needs, options: Options) -> None:
    filters = _http_filters(list(manager.http_filters), needs, options)
    del manager.http_filters[:]
    manager.http_filters.extend(filters)
    manager.early_header_mutation_extensions.append(extension(STRIP, early_header_mutation()))
    _add_local_replies(manager, options)
    manager.access_log.extend(_logged(each) for each in telemetry.collected(options))
    manager.scheme_header_transformation.match_upstream = True
    window = manager.http2_protocol_options.initial_stream_window_size
    window.value = max(window.value, UNSENT_BYTES_MAX)


def _chains(listener: Listener) -> Iterator[FilterChain]:
    yield from listener.filter_chains
    if listener.HasField("default_filter_chain"):
        yield listener.default_filter_chain


def _managers(chain: FilterChain) -> Iterator[tuple[Filter, HttpConnectionManager]]:
    """A chain without HTTP has none."""
    for each in chain.filters:
        if each.typed_config.type_url == MANAGER:
            yield each, HttpConnectionManager.FromString(each.typed_config.value)


def _chain(chain: FilterChain, served: Mapping[str, Needs], options: Options) -> bool:
    """Edits the chain where it serves AI routes; whether it does."""
    changed = False
    for each, manager in _managers(chain):
        needs = served.get(manager.rds.route_config_name)
        if needs is not None and manager.http_filters:
            _edit(manager, needs, options)
            each.typed_config.CopyFrom(packed(manager))
            changed = True
    return changed


def with_ai_filters(data: bytes, served: Mapping[str, Needs], options: Options) -> bytes:
    """A listener with our filters where it serves AI routes, else its own bytes. `served` is by configuration."""
    listener = Listener.FromString(data)
    changed = [_chain(chain, served, options) for chain in _chains(listener)]
    if True not in changed:
        return data
    # 32 KiB, if nobody says otherwise, is less than a prompt; and see UNSENT_BYTES_MAX
    bound = listener.per_connection_buffer_limit_bytes
    bound.value = max(bound.value, UNSENT_BYTES_MAX)
    return listener.SerializeToString(deterministic=True)


def untraced(listeners: Iterable[bytes]) -> frozenset[str]:
    """The route configurations whose requests are not traced: nothing in Envoy Gateway's configuration asks for it."""
    managers = (
        manager for data in listeners for chain in _chains(Listener.FromString(data)) for _, manager in _managers(chain)
    )
    return frozenset(each.rds.route_config_name for each in managers if not each.HasField("tracing"))
