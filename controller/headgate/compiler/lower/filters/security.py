"""Who may call: API keys, passwords, JWTs, other services, CORS.

A listener's own policy runs before anything that buffers. Where a route brings its own policy, the route is known only
after the body was read, so all authentication of that listener then runs there, route by route: a route's own policy
replaces the listener's.

API keys and users are delivered as extension configs of their own (ECDS): changing one drains no listener.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from functools import lru_cache
from ipaddress import ip_address
from urllib.parse import urlsplit

from envoy.config.core.v3.base_pb2 import HeaderValueOption
from envoy.config.core.v3.config_source_pb2 import ExtensionConfigSource
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.config.route.v3.route_components_pb2 import HeaderMatcher, Route, RouteAction, RouteMatch
from envoy.extensions.common.matching.v3.extension_matcher_pb2 import (
    ExtensionWithMatcher,
    ExtensionWithMatcherPerRoute,
)
from envoy.extensions.filters.common.matcher.action.v3.skip_action_pb2 import SkipFilter
from envoy.extensions.filters.http.api_key_auth.v3.api_key_auth_pb2 import (
    ApiKeyAuth,
    Credential,
    Forwarding,
    KeySource,
)
from envoy.extensions.filters.http.basic_auth.v3.basic_auth_pb2 import BasicAuth
from envoy.extensions.filters.http.cors.v3.cors_pb2 import Cors, CorsPolicy
from envoy.extensions.filters.http.header_to_metadata.v3.header_to_metadata_pb2 import Config as HeaderToMetadata
from envoy.extensions.filters.http.jwt_authn.v3.config_pb2 import (
    JwtAuthentication,
    JwtProvider,
    JwtRequirement,
    PerRouteConfig,
)
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import HttpFilter
from envoy.type.matcher.v3.http_inputs_pb2 import HttpRequestHeaderMatchInput
from google.protobuf.any_pb2 import Any
from google.protobuf.message import Message
from headgate.compiler import cel, ir
from headgate.compiler.lower.filters import authorization, ext_auth
from headgate.compiler.lower.limits import header_key, query_key
from headgate.compiler.lower.wire import ads, duration, extension, http_filter, inline, packed, regex, set_header
from headgate.contract import metadata
from headgate.contract.addresses import is_address
from xds.core.v3.extension_pb2 import TypedExtensionConfig as MatcherExtension
from xds.type.matcher.v3.matcher_pb2 import Matcher

API_KEYS = "headgate.api_key_auth/listener"
ROUTE_API_KEYS = "headgate.api_key_auth/route"
BASIC = "headgate.basic_auth/listener"
ROUTE_BASIC = "headgate.basic_auth/route"
EXTERNAL = "headgate.ext_authz/listener"
ROUTE_EXTERNAL = "headgate.ext_authz/route"
JWT = "headgate.jwt_authn"
CORS = "envoy.filters.http.cors"
"""Answers preflight requests, which carry no key: before authentication."""
LATE_CORS = "headgate.cors/late"
"""Marks answers: where the model is known. Until then the route is a direct response, which Envoy's CORS ignores."""
IDENTITY = "headgate.header_to_metadata/identity"
CLIENT_HEADER = "x-headgate-client"
"""Where authentication leaves the client's name until it is in metadata; a client's own is overwritten."""
JWKS_TIMEOUT_SECONDS = 5.0


def _key_sources(keys: ir.ApiKeys) -> list[KeySource]:
    sources = [KeySource(header=name) for name in keys.headers]
    sources += [KeySource(query=name) for name in keys.queries]
    sources += [KeySource(cookie=name) for name in keys.cookies]
    return sources


def _credentials(keys: ir.ApiKeys) -> list[Credential]:
    return [Credential(key=key.reveal(), client=client) for client, key in keys.keys]


def _forwarding(keys: ir.ApiKeys) -> Forwarding:
    return Forwarding(header=keys.client_header or CLIENT_HEADER, hide_credentials=keys.sanitize)


def api_keys_resource_name(listener: str) -> str:
    return f"{API_KEYS}/{listener}"


def api_keys(keys: ir.ApiKeys) -> ApiKeyAuth:
    """Envoy's form of client keys."""
    return ApiKeyAuth(credentials=_credentials(keys), key_sources=_key_sources(keys), forwarding=_forwarding(keys))


def basic(auth: ir.BasicAuth) -> BasicAuth:
    """Envoy's form of users."""
    lines = "\n".join(f"{name}:{password.reveal()}" for name, password in auth.users)
    return BasicAuth(users=inline(lines), forward_username_header=auth.client_header or CLIENT_HEADER)


def listener_resources(listener: str, auth: ir.Auth) -> Iterator[TypedExtensionConfig]:
    """The listener's keys and users as ECDS resources."""
    if auth.api_keys is not None:
        name = api_keys_resource_name(listener)
        yield TypedExtensionConfig(name=name, typed_config=packed(api_keys(auth.api_keys)))
    if auth.basic is not None:
        yield TypedExtensionConfig(name=f"{BASIC}/{listener}", typed_config=packed(basic(auth.basic)))


def listener_filters(listener: str, auth: ir.Auth) -> Iterator[HttpFilter]:
    """Who is asked, and the filters whose config `listener_resources` delivers; until it has come, requests wait."""
    if auth.external is not None:
        yield http_filter(EXTERNAL, ext_auth.ext_authz(auth.external))
    if auth.api_keys is not None:
        yield _delivered(api_keys_resource_name(listener), ApiKeyAuth)
    if auth.basic is not None:
        yield _delivered(f"{BASIC}/{listener}", BasicAuth)


def _delivered(name: str, message: type[Message]) -> HttpFilter:
    types = [f"type.googleapis.com/{message.DESCRIPTOR.full_name}"]
    source = ExtensionConfigSource(config_source=ads(), type_urls=types)
    return HttpFilter(name=name, config_discovery=source)


def _skip_unless_asked() -> Matcher:
    return Matcher(on_no_match=Matcher.OnMatch(action=_matcher_extension("skip", SkipFilter())))


def _never_skip() -> Matcher:
    """A matcher that decides nothing: the delegated filter runs."""
    matcher = Matcher()
    row = matcher.matcher_list.matchers.add()
    predicate = row.predicate.single_predicate
    predicate.input.CopyFrom(_matcher_extension("method", HttpRequestHeaderMatchInput(header_name=":method")))
    predicate.value_match.exact = "never"
    row.on_match.action.CopyFrom(_matcher_extension("skip", SkipFilter()))
    return matcher


def _matcher_extension(name: str, message: Message) -> MatcherExtension:
    return MatcherExtension(name=name, typed_config=packed(message))


def route_filters(policy: ir.Auth) -> Iterator[HttpFilter]:
    """Authentication by one policy's service, keys and users, run on the routes that name it.

    `match_delegate` asks the route when the request arrives here; a filter installed disabled would be decided on
    before the body, and so the route, is known.
    """
    if policy.external is not None:
        found = extension("envoy.filters.http.ext_authz", ext_auth.ext_authz(policy.external))
        yield _delegated(f"{ROUTE_EXTERNAL}/{policy.name}", found)
    if policy.api_keys is not None:
        found = extension("envoy.filters.http.api_key_auth", api_keys(policy.api_keys))
        yield _delegated(f"{ROUTE_API_KEYS}/{policy.name}", found)
    if policy.basic is not None:
        found = extension("envoy.filters.http.basic_auth", basic(policy.basic))
        yield _delegated(f"{ROUTE_BASIC}/{policy.name}", found)


def _delegated(name: str, config: TypedExtensionConfig) -> HttpFilter:
    return http_filter(name, ExtensionWithMatcher(xds_matcher=_skip_unless_asked(), extension_config=config))


def _delegated_names(policy: ir.Auth) -> Iterator[str]:
    if policy.external is not None:
        yield f"{ROUTE_EXTERNAL}/{policy.name}"
    if policy.api_keys is not None:
        yield f"{ROUTE_API_KEYS}/{policy.name}"
    if policy.basic is not None:
        yield f"{ROUTE_BASIC}/{policy.name}"


def jwks_host_and_port(uri: str) -> tuple[str, int]:
    parts = urlsplit(uri)
    host = parts.hostname or ""
    return str(ip_address(host)) if is_address(host) else host, parts.port or (443 if parts.scheme == "https" else 80)


def jwks_cluster_name(uri: str) -> str:
    host, port = jwks_host_and_port(uri)
    return f"headgate-jwks/{host}:{port}"


def _jwt_provider(provider: ir.JwtProvider) -> JwtProvider:
    result = JwtProvider(
        issuer=provider.issuer, audiences=provider.audiences, payload_in_metadata=provider.name, forward=False
    )
    result.normalize_payload_in_metadata.space_delimited_claims.extend(authorization.SCOPE_CLAIMS)
    if provider.jwks_inline:
        result.local_jwks.CopyFrom(inline(provider.jwks_inline))
    else:
        remote = result.remote_jwks
        remote.http_uri.uri = provider.jwks_uri
        remote.http_uri.cluster = jwks_cluster_name(provider.jwks_uri)
        remote.http_uri.timeout.CopyFrom(duration(JWKS_TIMEOUT_SECONDS))
        remote.cache_duration.CopyFrom(duration(300))
    for header, claim in provider.claim_headers:
        result.claim_to_headers.add(header_name=header, claim_name=claim)
    return result


def _requirement(auth: ir.Auth) -> JwtRequirement:
    names = [f"{auth.name}/{provider.name}" for provider in auth.jwt]
    requirement = JwtRequirement()
    options = [JwtRequirement(provider_name=name) for name in names]
    if auth.jwt_optional:
        options.append(JwtRequirement())
        options[-1].allow_missing.SetInParent()
    if len(options) == 1:
        return options[0]
    requirement.requires_any.requirements.extend(options)
    return requirement


def jwt(policies: Iterable[ir.Auth]) -> HttpFilter:
    """One filter for all JWT policies of a listener; a route picks its requirement by the policy's name."""
    message = JwtAuthentication()
    for policy in policies:
        for provider in policy.jwt:
            message.providers[f"{policy.name}/{provider.name}"].CopyFrom(_jwt_provider(provider))
        message.requirement_map[policy.name].CopyFrom(_requirement(policy))
    return http_filter(JWT, message)


def cors(name: str) -> HttpFilter:
    """`CORS` or `LATE_CORS`; does nothing where a route or its host has no policy."""
    return http_filter(name, Cors())


def preflight_route(name: str = "headgate/preflight", match: RouteMatch | None = None) -> Route:
    """A route for preflight requests to what `match` asks for besides the method (any path by default), which the
    filter answers on the way; others find nothing at its end."""
    # No request has this header: clients' own are stripped. A cluster's name would have to be one that exists.
    nowhere = RouteAction(cluster_header="x-headgate-nowhere", cluster_not_found_response_code=RouteAction.NOT_FOUND)
    route = Route(name=name, match=match or RouteMatch(prefix="/"), route=nowhere)
    only_preflights(route.match)
    return route


def only_preflights(match: RouteMatch) -> None:
    """Has a match take nothing but preflight requests."""
    names = ("origin", "access-control-request-method")
    match.headers.extend(HeaderMatcher(name=name, present_match=True) for name in names)
    match.headers.add(name=":method").string_match.exact = "OPTIONS"


def _cors_configs(policy: ir.Cors, *, forwards: bool = True) -> Iterator[tuple[str, Any]]:
    message = _cors_policy(policy)
    if not forwards:
        message.forward_not_matching_preflights.value = False
    config = packed(message)
    yield CORS, config
    yield LATE_CORS, config


def _unmarked() -> Iterator[tuple[str, Any]]:
    """Of a route that no page may call, whatever its virtual host says."""
    message = CorsPolicy()
    message.filter_enabled.default_value.SetInParent()
    config = packed(message)
    yield CORS, config
    yield LATE_CORS, config


def _cors_policy(policy: ir.Cors) -> CorsPolicy:
    result = CorsPolicy(
        allow_methods=", ".join(policy.allow_methods),
        allow_headers=", ".join(policy.allow_headers),
        expose_headers=", ".join(policy.expose_headers),
    )
    for origin in policy.allow_origins:
        matcher = result.allow_origin_string_match.add()
        if origin.kind is ir.MatchKind.REGEX:
            matcher.safe_regex.CopyFrom(regex(origin.value))
        else:
            matcher.exact = origin.value
    if policy.max_age_seconds is not None:
        result.max_age = str(policy.max_age_seconds)
    result.allow_credentials.value = policy.allow_credentials
    return result


def identity(
    clients: Iterable[str],
    selectors: Iterable[str],
    attributes: ir.Pairs = (),
    *,
    queries: Iterable[str] = (),
    name: str = IDENTITY,
) -> HttpFilter | None:
    """Who the client is, and what limits select on, from headers into metadata, out of reach of later header edits;
    and the headers that users want in their logs, as (header, attribute)."""
    message = HeaderToMetadata()
    for header in sorted(set(clients)):
        rule = message.request_rules.add(header=header, remove=header == CLIENT_HEADER)
        rule.on_header_present.metadata_namespace = metadata.INTERNAL
        rule.on_header_present.key = metadata.INTERNAL_CLIENT
    for header in sorted(set(selectors)):
        rule = message.request_rules.add(header=header)
        rule.on_header_present.metadata_namespace = metadata.INTERNAL
        rule.on_header_present.key = header_key(header)
    for query in sorted(set(queries)):
        rule = message.request_rules.add(header=":path")
        rule.on_header_present.metadata_namespace = metadata.INTERNAL
        rule.on_header_present.key = query_key(query)
        # a path without it stays whole: limits that count its values select requests that have it
        pattern = regex(rf"^[^?]*\?(?:.*&)?{re.escape(query)}=([^&]*).*$")
        rule.on_header_present.regex_value_rewrite.pattern.CopyFrom(pattern)
        rule.on_header_present.regex_value_rewrite.substitution = r"\1"
    for header, attribute in attributes:
        rule = message.request_rules.add(header=header)
        rule.on_header_present.metadata_namespace = metadata.NAMESPACE
        rule.on_header_present.key = attribute
    if not message.request_rules:
        return None
    return http_filter(name, message)


@lru_cache(maxsize=4096)
def auth_configs(auth: ir.Auth) -> tuple[tuple[str, Any], ...]:
    """Per-route config of one policy."""
    result: list[tuple[str, Any]] = []
    asked = packed(ExtensionWithMatcherPerRoute(xds_matcher=_never_skip()))
    result.extend((name, asked) for name in _delegated_names(auth))
    if auth.jwt:
        result.append((JWT, packed(PerRouteConfig(requirement_name=auth.name))))
    if auth.authorization is not None:
        result.append((authorization.FILTER, authorization.per_route(auth.authorization)))
    if auth.cors is not None:
        result.extend(_cors_configs(auth.cors))
    return tuple(result)


def host_configs(auth: ir.Auth, *, by_route: bool) -> Iterator[tuple[str, Any]]:
    """Config of a listener's policy for its virtual hosts."""
    for name, config in auth_configs(auth):
        if by_route or name in (JWT, CORS, LATE_CORS):  # the filters of the others have it themselves
            yield name, config


def host_cors(rules: Iterable[ir.Rule]) -> ir.Cors | None:
    """CORS of models on a virtual host: a preflight request has no body, so no model tells which rule it is about."""
    return next((rule.cors for rule in rules if not rule.plain and rule.cors is not None), None)


def common_cors(rules: Sequence[ir.Rule]) -> ir.Cors | None:
    """What the gateway's own answers on a virtual host say of pages: as its models, else as its routes agree."""
    if not all(rule.plain for rule in rules):
        return host_cors(rules)
    found = {rule.cors for rule in rules}
    return found.pop() if len(found) == 1 else None


def cors_config(rules: Iterable[ir.Rule]) -> Iterator[tuple[str, Any]]:
    """Per-route config of `host_cors`, for the virtual host."""
    policy = host_cors(rules)
    if policy is not None:
        yield from _cors_configs(policy)


def _text(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _origin_allowed(policy: ir.Cors) -> str:
    """CEL: whether the policy allows the request's origin."""
    origin = "request.headers['origin']"
    tests: list[str] = []
    for each in policy.allow_origins:
        if each.kind is ir.MatchKind.REGEX:
            tests.append(f"{origin}.matches({_text('^(?:' + each.value + ')$')})")
        else:
            tests.append("true" if each.value == "*" else f"{origin} == {_text(each.value)}")
    return f"({' || '.join(tests)})" if tests else "false"


def _host_is(hostname: str) -> str:
    """CEL: whether a request is for that virtual host."""
    if hostname == "*":
        return "true"
    label = "[^:]+" if hostname.startswith("*") else ""
    pattern = f"(?i)^{label}{re.escape(hostname.removeprefix('*'))}(:[0-9]+)?$"
    return f"request.host.matches({_text(pattern)})"


def _by_host(chosen: Sequence[tuple[str, str]]) -> str:
    """CEL that yields the value of the most specific hostname that is the request's, else an empty text."""
    if len({value for _, value in chosen}) == 1 and any(name == "*" for name, _ in chosen):
        return chosen[0][1]
    expression = "''"
    # the widest first, so that it is tried last
    for hostname, value in sorted(chosen, key=lambda each: (not each[0].startswith("*"), len(each[0]))):
        expression = f"{_host_is(hostname)} ? {value} : {expression}"
    return expression


def reply_headers(policies: Sequence[tuple[str, ir.Cors | None]]) -> Iterator[HeaderValueOption]:
    """What lets a browser read the gateway's own answers, by (hostname, policy of its host).

    Envoy's filter marks no answer of a route that is a direct response, as all are until the model is known.
    """
    if not any(policy for _, policy in policies):
        return
    said: Mapping[str, Callable[[ir.Cors], str]] = {
        "access-control-allow-origin": lambda _: "request.headers['origin']",
        "access-control-allow-credentials": lambda policy: "'true'" if policy.allow_credentials else "''",
        "access-control-expose-headers": lambda policy: _text(", ".join(policy.expose_headers)),
    }
    for name, value in said.items():
        values = [
            (hostname, f"({_origin_allowed(policy)} ? {value(policy)} : '')" if policy is not None else "''")
            for hostname, policy in policies
        ]
        expression = f"'origin' in request.headers ? ({_by_host(values)}) : ''".replace(")%", ") %")
        yield set_header(name, cel.formatted(expression))


Configs = tuple[tuple[str, bytes], ...]
"""Per-route config by the name of its filter, serialised."""


@lru_cache(maxsize=256)
def unasked(auth: ir.Auth) -> Configs:
    """What a route of the policy's virtual host has in place of its config, where its own policy says nothing there."""
    result: list[tuple[str, Any]] = []
    skipped = packed(ExtensionWithMatcherPerRoute(xds_matcher=_skip_unless_asked()))
    result.extend((name, skipped) for name in _delegated_names(auth))
    if auth.jwt:
        result.append((JWT, packed(PerRouteConfig(disabled=True))))
    if auth.authorization is not None:
        result.append((authorization.FILTER, authorization.per_route(None)))
    return tuple((name, config.SerializeToString(deterministic=True)) for name, config in result)


def set_route_configs(configs: MutableMapping[str, Any], rule: ir.Rule, replaced: Configs, *, marked: bool) -> None:
    """Per-route config of the rule's own policy and filter; `replaced` is `unasked` of its virtual host's, which is
    `marked` for pages that may call its models."""
    for name, config in replaced if rule.auth is not None else ():
        configs[name].MergeFromString(config)
    for name, config in auth_configs(rule.auth) if rule.auth is not None else ():
        configs[name].CopyFrom(config)
    if not rule.plain:
        return
    own = _cors_configs(rule.cors, forwards=False) if rule.cors is not None else ()
    for name, config in own or (_unmarked() if marked else ()):
        configs[name].CopyFrom(config)
