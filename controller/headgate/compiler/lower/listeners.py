"""Listeners: one per port, with the HTTP filters in order.

The order is a table with its reasons. Names of filters are keys of per-route config, so they never change silently.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache

from envoy.config.common.mutation_rules.v3.mutation_rules_pb2 import HeaderMutation as Mutation
from envoy.config.core.v3.grpc_service_pb2 import GrpcService
from envoy.config.listener.v3.listener_components_pb2 import Filter, FilterChain, FilterChainMatch, ListenerFilter
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.ratelimit.v3.rls_pb2 import RateLimitServiceConfig
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.compression.gzip.decompressor.v3.gzip_pb2 import Gzip
from envoy.extensions.filters.http.buffer.v3.buffer_pb2 import Buffer
from envoy.extensions.filters.http.decompressor.v3.decompressor_pb2 import Decompressor
from envoy.extensions.filters.http.ratelimit.v3.rate_limit_pb2 import RateLimit
from envoy.extensions.filters.http.router.v3.router_pb2 import Router
from envoy.extensions.filters.listener.tls_inspector.v3.tls_inspector_pb2 import TlsInspector
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
    HttpFilter,
    LocalReplyConfig,
    Rds,
)
from envoy.extensions.http.early_header_mutation.header_mutation.v3.header_mutation_pb2 import (
    HeaderMutation as EarlyHeaderMutation,
)
from headgate.compiler import ir
from headgate.compiler.lower import access_logs, clients, limits, replies, server_tls, tracing
from headgate.compiler.lower.clusters import RATELIMIT_CLUSTER
from headgate.compiler.lower.filters import (
    authorization,
    brought,
    compressors,
    extraction,
    faults,
    overrides,
    published,
    security,
    steered,
    telemetry,
)
from headgate.compiler.lower.hosts import set_virtual_host
from headgate.compiler.lower.routes import rule_choices, specifier, specifier_name
from headgate.compiler.lower.wire import ads, duration, extension, http_filter, literal, packed, socket_address
from headgate.compiler.options import Options
from headgate.contract import headers
from headgate.pb import overlay
from headgate.pb.body_size_limit_pb2 import BodySizeLimit

RATELIMIT_TIMEOUT_SECONDS = 5.0
"""A limiter that is slow slows requests; only where it does not answer at all are they let in, or refused. More than it
takes for its Redis (`--redis-timeout-seconds`, to connect and to be answered): it says itself what is gone."""
RATELIMIT_UNAVAILABLE = 500
FOREIGN_STAGE = 10
"""Of `rate_limits` in routes: Envoy's last, which nobody else uses."""
STREAM_IDLE_SECONDS = 300.0
REQUEST_RECEIVED_SECONDS = 60.0
"""A client that sends its body more slowly than this is answered 408."""
HEAD_RECEIVED_SECONDS = 10.0
"""Likewise its head."""
HANDSHAKE_SECONDS = 10.0
"""A client that takes longer for TLS is let go."""
STREAMS_MAX = 100
"""Of one HTTP/2 connection at a time, as Envoy's documentation has it for edges: each may bring a body."""
UNSENT_BYTES_MAX = 67_108_864
"""What an answer may be ahead of a client that reads slowly, before the provider has to wait.

More than any translated stream, for it crashes Envoy 1.40 to stop a provider that has ended already, as one has whose
last chunks are still with the processor. A hundred thousand tokens are some 30 MB of events.
"""
DIRECT_RESPONSE_BYTES_MAX = 16_777_216
"""Envoy refuses all routes of a listener for a direct response over 4 KiB, if not told; a thousand models are 97 KB."""


def _rules(listener: ir.Listener) -> list[ir.Rule]:
    return [rule for host in listener.hosts for rule in host.all_rules]


def _body_bytes_max(listener: ir.Listener, options: Options) -> int:
    return listener.traffic.body_bytes_max or options.body_bytes_max


def _auth_by_route(listener: ir.Listener) -> bool:
    own = any(rule.auth is not None for rule in _rules(listener))
    return own and any(policy.guards for policy in _policies(listener))


def _policies(listener: ir.Listener) -> list[ir.Auth]:
    found = {rule.auth.name: rule.auth for rule in _rules(listener) if rule.auth is not None}
    if listener.auth is not None:
        found[listener.auth.name] = listener.auth
    return [found[name] for name in sorted(found)]


def _has_cors(listener: ir.Listener) -> bool:
    return any(policy.cors for policy in _policies(listener)) or any(rule.cors for rule in _rules(listener))


_HostPolicies = tuple[tuple[str, ir.Cors | None], ...]
"""(hostname, CORS policy of its virtual host)"""


def _host_policies(listener: ir.Listener) -> _HostPolicies:
    default = listener.auth.cors if listener.auth is not None else None
    return tuple((host.hostname, security.common_cors(host.all_rules) or default) for host in listener.hosts)


@lru_cache(maxsize=256)
def _local_replies(
    options: Options, body_bytes_max: int, policies: _HostPolicies, *, overridden: bool
) -> LocalReplyConfig:
    allowed = tuple(security.reply_headers(policies))
    return replies.local_replies(options, body_bytes_max, allowed, overridden=overridden)


def _client_headers(policies: Sequence[ir.Auth]) -> list[str]:
    return [
        each.client_header or security.CLIENT_HEADER
        for policy in policies
        for each in (policy.api_keys, policy.basic)
        if each is not None
    ]


def short_lines(listener: ir.Listener, options: Options) -> bool:
    """Whether lines of the listener can be written as text: they are ours, and no client chooses its own name."""
    policies = _policies(listener)
    chosen = any(header != security.CLIENT_HEADER for header in _client_headers(policies))
    known = [name for policy in policies if policy.api_keys is not None for name, _ in policy.api_keys.keys]
    known += [name for policy in policies if policy.basic is not None for name, _ in policy.basic.users]
    named = not chosen and all(map(telemetry.is_plain, known))
    return named and listener.logs is None and bool(options.access_log) and not options.envoy_gateway


def _early_auth(listener: ir.Listener) -> Iterator[HttpFilter]:
    """The listener's own policy, before anything that buffers."""
    if _has_cors(listener):
        yield security.cors(security.CORS)
    if listener.auth is None or _auth_by_route(listener):
        return
    yield from security.listener_filters(listener.name, listener.auth)
    if listener.auth.jwt:
        yield security.jwt([listener.auth])
    if listener.auth.authorization is not None and not listener.auth.authorization.asks_model:
        yield authorization.listener_filter(listener.auth.authorization)


def _late_auth(listener: ir.Listener) -> Iterator[HttpFilter]:
    """Policies of routes, and what the listener's asks of the model: the route and the model are known by now."""
    if not _auth_by_route(listener):
        asked = listener.auth.authorization if listener.auth is not None else None
        if asked is not None and asked.asks_model:
            yield authorization.listener_filter(asked)
        return
    policies = _policies(listener)
    for policy in policies:
        yield from security.route_filters(policy)
    with_jwt = [policy for policy in policies if policy.jwt]
    if with_jwt:
        yield security.jwt(with_jwt)
    if any(policy.authorization for policy in policies):
        yield authorization.route_filter()


def _identity(listener: ir.Listener, options: Options) -> Iterator[HttpFilter]:
    clients, selectors = _client_headers(_policies(listener)), limits.selector_headers(_rules(listener))
    queries = limits.selector_queries(_rules(listener))
    found = security.identity(clients, selectors, options.header_attributes, queries=queries)
    if found is not None:
        yield found


def decompressor() -> HttpFilter:
    """Requests are read as plain text; answers are left as they are."""
    message = Decompressor(decompressor_library=extension("gzip", Gzip()))
    message.request_direction_config.SetInParent()
    off = message.response_direction_config.common_config.enabled
    off.default_value.value = False
    off.runtime_key = "headgate.never.decompress"
    return http_filter("envoy.filters.http.decompressor", message)


def buffer(body_bytes_max: int) -> HttpFilter:
    """Lets filters hold larger bodies than a connection may: a virtual host's request_body_buffer_limit does not count
    while the route is a direct response, and until the model is known it is one."""
    message = Buffer()
    message.max_request_bytes.value = body_bytes_max
    return http_filter("envoy.filters.http.buffer", message)


def body_size_limit(body_bytes_max: int) -> HttpFilter:
    """The cap on request bodies."""
    size = BodySizeLimit()
    size.max_request_bytes.value = body_bytes_max
    return http_filter("envoy.filters.http.body_size_limit", size)


def ratelimit(options: Options, *, reserves: bool, told: bool = True) -> HttpFilter:
    """Asks the rate limit service; with `reserves` it tells which request it is about, with `told` clients of their
    limits."""
    service = GrpcService(timeout=duration(RATELIMIT_TIMEOUT_SECONDS))
    service.envoy_grpc.cluster_name = RATELIMIT_CLUSTER
    service.envoy_grpc.skip_envoy_headers = True  # nobody reads Envoy's own of the call
    service.initial_metadata.add(key=headers.GRPC_MOMENT, value=headers.GRPC_MOMENT_FORMAT)
    service.initial_metadata.add(key=headers.GRPC_PATH, value=headers.GRPC_PATH_FORMAT)
    service.initial_metadata.add(key=headers.GRPC_FETCHED, value=headers.GRPC_FETCHED_FORMAT)
    if root := options.path_root.rstrip("/"):
        service.initial_metadata.add(key=headers.GRPC_ROOT, value=literal(root))
    if reserves:
        service.initial_metadata.add(key=headers.GRPC_STREAM, value=headers.GRPC_STREAM_FORMAT)
    message = RateLimit(
        domain=limits.DOMAIN,
        rate_limit_service=RateLimitServiceConfig(grpc_service=service, transport_api_version="V3"),
        failure_mode_deny=options.ratelimit_failure_deny,
        timeout=duration(RATELIMIT_TIMEOUT_SECONDS),
        enable_x_ratelimit_headers=RateLimit.DRAFT_VERSION_03 if told else RateLimit.OFF,
        disable_x_envoy_ratelimited_header=True,
    )
    overlay.rate_limit_metadata(message, limits.METADATA)
    message.status_on_error.code = RATELIMIT_UNAVAILABLE  # pyright: ignore[reportAttributeAccessIssue]
    if options.envoy_gateway:  # what others say of limits in routes is for others' filters
        message.stage = FOREIGN_STAGE
    return http_filter(limits.filter_name(options), message)


def _overridden(listener: ir.Listener) -> bool:
    return any(rule.overrides for rule in _rules(listener))


def _limited(listener: ir.Listener) -> bool:
    return any(rule.limits for rule in _rules(listener))


def http_filters(listener: ir.Listener, options: Options) -> Iterator[HttpFilter]:
    """The filters of a listener, in order, each with the reason for its place."""
    rules = _rules(listener)
    ai = any(rule.ai for rule in rules)
    reserves = limits.reserves(rules)
    body_bytes_max = _body_bytes_max(listener, options)
    # who asks whether all is well need not be known
    yield from clients.first_filters(listener.traffic)
    if _overridden(listener):  # last on the way back: of what all others have seen, and of what they answer
        yield overrides.replacer()
    # a client we do not know is answered before its body is read
    yield from _early_auth(listener)
    if ai:  # what follows reads plain JSON
        yield decompressor()
    # a body that is too large costs nothing but its reading; what counts is what a compressed one holds
    yield body_size_limit(body_bytes_max)
    if ai and body_bytes_max > UNSENT_BYTES_MAX:  # (a connection may hold less than the largest body)
        yield buffer(body_bytes_max)
    if ai:  # holds the headers until the body has come; from here on the model is known
        yield extraction.path_model(options)  # before the body's: it is the one that counts
        yield extraction.request_fields(options, max_tokens=reserves)
        yield extraction.answer_headers()
    if ai and options.extproc_sockets:  # the model of a form, which Envoy cannot read
        yield extraction.router_processor(options)
    if ai and _has_cors(listener):  # marks answers for browsers by the route's policy: the route is known only now
        yield security.cors(security.LATE_CORS)
    # likewise
    yield from _late_auth(listener)
    # after authentication, which sets the client's name; before limits, which count by it
    yield from _identity(listener, options)
    if any(brought.overrides(rule.backends) for rule in rules):
        # out of the headers before anything else could pass it on; the route that is known says what is moved
        yield from brought.movers()
    if any(rule.counts_prompts for rule in rules):  # only for those who may ask; before limits, which reserve by it
        yield extraction.prompt_counter(options)
    if _limited(listener) and options.limits:  # refuses before any backend is chosen; charges when the stream is done
        yield ratelimit(options, reserves=reserves, told=not listener.traffic.headers.hides_limits)
    # begins with the backend that the limits answered, or that a client's name comes to
    if steered.chooses_late(rules):
        yield steered.follower(options)
    if any(rule.local_limits for rule in rules):  # refuses too, but by this Envoy alone
        yield limits.local_filter(rules)
    # in front of whatever reads answers, so behind it on the way back; the route that is known says which
    yield from compressors.compressors(rule.compressors for rule in rules)
    if any(rule.fault for rule in rules):  # of what was let in
        yield faults.injector()
    if ai:  # only of what is sent on
        yield published.publisher()
        # read the answer: last in the list, so first on the way back
        yield from extraction.response_filters(options, computed=any(map(extraction.computes, rules)))
    yield _router(listener, options)


def _upgraded_filters(listener: ir.Listener, options: Options) -> Iterator[HttpFilter]:
    """The filters of what is upgraded, in the same order: those that ask who it is and how much there may be. What goes
    on then is no body, for which others would wait, and which has a bound."""
    yield from clients.first_filters(listener.traffic)
    if _overridden(listener):
        yield overrides.replacer()
    yield from _early_auth(listener)
    yield from _late_auth(listener)
    yield from _identity(listener, options)
    if _limited(listener) and options.limits:
        yield ratelimit(options, reserves=False, told=not listener.traffic.headers.hides_limits)
    rules = _rules(listener)
    if any(rule.local_limits for rule in rules):
        yield limits.local_filter(rules)
    if any(rule.fault for rule in rules):
        yield faults.injector()
    yield _router(listener, options)


def _router(listener: ir.Listener, options: Options) -> HttpFilter:
    message = Router(suppress_envoy_headers=True, upstream_log=access_logs.attempts(listener.logs, options))
    return http_filter("envoy.filters.http.router", message)


def early_header_mutation(ignored: Sequence[str] = (), first: Iterable[Mutation] = ()) -> EarlyHeaderMutation:
    """A client's own copies of internal headers are removed before any filter runs, and `ignored` ones; `first` is done
    before that."""
    message = EarlyHeaderMutation(mutations=first)
    for prefix in headers.INTERNAL_PREFIXES:
        mutation = Mutation()
        mutation.remove_on_match.key_matcher.prefix = prefix
        message.mutations.append(mutation)
    for name in (*headers.INTERNAL, *ignored):
        message.mutations.append(Mutation(remove=name))
    return message


def _connection_manager(listener: ir.Listener, options: Options) -> HttpConnectionManager:
    traffic = listener.traffic
    edits = traffic.headers.early
    first = (*(clients.edits(edits) if edits is not None else ()), *clients.distrusted(traffic.address))
    early = early_header_mutation(tracing.ignored(options.tracing), first)
    manager = HttpConnectionManager(
        stat_prefix=listener.name.replace("/", "."),
        rds=Rds(config_source=ads(), route_config_name=listener.name),
        http_filters=http_filters(listener, options),
        early_header_mutation_extensions=[extension("headgate/strip", early)],
        local_reply_config=_local_replies(
            options, _body_bytes_max(listener, options), _host_policies(listener), overridden=_overridden(listener)
        ),
        stream_idle_timeout=duration(traffic.stream_idle_seconds or STREAM_IDLE_SECONDS),
        request_timeout=duration(
            REQUEST_RECEIVED_SECONDS if traffic.request_received_seconds is None else traffic.request_received_seconds
        ),
    )
    clients.set_address(manager, traffic.address)
    manager.request_headers_timeout.CopyFrom(duration(HEAD_RECEIVED_SECONDS))
    manager.http2_protocol_options.initial_stream_window_size.value = UNSENT_BYTES_MAX
    manager.http2_protocol_options.max_concurrent_streams.value = STREAMS_MAX
    # what asks for a tunnel has no body that ends, which other filters would wait for: here no route takes it, at once
    manager.upgrade_configs.add(upgrade_type="CONNECT").filters.append(_router(listener, options))
    for name in sorted({each for rule in _rules(listener) for each in rule.upgrades}):
        upgrade = manager.upgrade_configs.add(upgrade_type=name, filters=_upgraded_filters(listener, options))
        upgrade.enabled.value = False  # but on the routes that say so
    manager.scheme_header_transformation.match_upstream = True
    manager.normalize_path.value = True
    manager.merge_slashes = True
    clients.set_protocols(manager, traffic)
    clients.set_bounds(manager, traffic)
    if options.tracing is not None:
        manager.tracing.CopyFrom(tracing.connection_manager(options.tracing))
        manager.request_id_extension.CopyFrom(tracing.request_ids())
    named, ai = bool(_client_headers(_policies(listener))), any(rule.ai for rule in _rules(listener))
    manager.access_log.extend(access_logs.requests(listener.logs, options, clients=named, ai=ai))
    return manager


def _filter_chain(listener: ir.Listener, options: Options, *, tls: bool) -> FilterChain:
    manager = _connection_manager(listener, options)
    result = FilterChain(
        name=listener.name,
        filters=[
            *clients.network_filters(listener.name, listener.traffic),
            Filter(name="envoy.filters.network.http_connection_manager", typed_config=packed(manager)),
        ],
    )
    if tls:
        if listener.hostname != "*":
            result.filter_chain_match.CopyFrom(FilterChainMatch(server_names=[listener.hostname]))
        result.transport_socket.CopyFrom(server_tls.transport_socket(listener))
        handshake = listener.traffic.connections.handshake_seconds or HANDSHAKE_SECONDS
        result.transport_socket_connect_timeout.CopyFrom(duration(handshake))
    return result


def port_listener(port: ir.Port, options: Mapping[str, Options]) -> Listener:
    """The Envoy listener of a port. Plain HTTP listeners share one chain, told apart by their virtual hosts.

    `options` are those of each listener, by its name.
    """
    address = next((options[listener.name].listen_address for listener in port.listeners), "")
    result = Listener(name=f"port-{port.number}", address=socket_address(address, port.number))
    result.per_connection_buffer_limit_bytes.value = UNSENT_BYTES_MAX
    clients.set_socket(result, port.listeners[0].traffic.socket)
    if port.tls:
        inspector = ListenerFilter(name="envoy.filters.listener.tls_inspector", typed_config=packed(TlsInspector()))
        result.listener_filters.append(inspector)
    for listener in port.listeners:
        result.filter_chains.append(_filter_chain(listener, options[listener.name], tls=port.tls))
    return result


def route_configuration(listener: ir.Listener, options: Options) -> RouteConfiguration:
    """The routes of one listener."""
    result = RouteConfiguration(name=listener.name)
    result.ignore_port_in_host_matching = True
    result.validate_clusters.value = False  # a cluster that went away answers 503 for its routes, not for all
    result.max_direct_response_body_size_bytes.value = DIRECT_RESPONSE_BYTES_MAX
    limit = _body_bytes_max(listener, options)
    choices = {specifier_name(found): found for rule in _rules(listener) for found in rule_choices(rule, options)}
    result.cluster_specifier_plugins.extend(specifier(choices[name]) for name in sorted(choices))
    auth, by_route = listener.auth, _auth_by_route(listener)
    replaced = security.unasked(auth) if auth is not None and by_route else ()
    withheld = [name for name in (listener.traffic.address.header,) if name]
    for host in listener.hosts:
        virtual = result.virtual_hosts.add(name=f"{listener.name}/{host.hostname}", domains=[host.hostname])
        basic = auth is not None and auth.basic is not None
        marks = auth is None or auth.cors is None
        set_virtual_host(virtual, host, limit, options, replaced=replaced, basic=basic, withheld=withheld, marks=marks)
        for key, config in security.host_configs(auth, by_route=by_route) if auth is not None else ():
            virtual.typed_per_filter_config[key].CopyFrom(config)
    return result
