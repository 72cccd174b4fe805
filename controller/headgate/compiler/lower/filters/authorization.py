"""What a client that was let in may ask for: a policy's rules in order, as Envoy's RBAC filter tries them.

A token's claims are in the metadata that its verification left there (`security.jwt`).
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

from envoy.config.rbac.v3 import rbac_pb2
from envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBAC, RBACPerRoute
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import HttpFilter
from envoy.extensions.matching.common_inputs.network.v3.network_inputs_pb2 import DynamicMetadataInput, SourceIPInput
from envoy.extensions.matching.input_matchers.ip.v3.ip_pb2 import Ip
from envoy.extensions.matching.input_matchers.metadata.v3.metadata_pb2 import Metadata
from envoy.type.matcher.v3.http_inputs_pb2 import HttpRequestHeaderMatchInput
from envoy.type.matcher.v3.value_pb2 import ValueMatcher
from google.protobuf.any_pb2 import Any
from headgate.compiler import ir
from headgate.compiler.lower.predicates import Predicate, all_of, any_of, asked, compared, expression, named
from headgate.compiler.lower.wire import cidr_ranges, http_filter, packed
from xds.type.matcher.v3.matcher_pb2 import Matcher
from xds.type.matcher.v3.string_pb2 import StringMatcher

FILTER = "headgate.rbac"
SCOPE_CLAIMS = ("scope", "scp")
"""Claims that are a list of scopes, as a text with spaces; verification makes lists of them."""
_CLAIMS = "envoy.filters.http.jwt_authn"
"""Namespace of the metadata with tokens' claims, by provider."""


def listener_filter(authorization: ir.Authorization) -> HttpFilter:
    """Asks every request of a listener."""
    return http_filter(FILTER, _rbac(authorization))


def route_filter() -> HttpFilter:
    """Asks as the route says, or not."""
    return http_filter(FILTER, RBAC())


@lru_cache(maxsize=4096)
def per_route(authorization: ir.Authorization | None) -> Any:
    """Per-route config; None asks nothing."""
    return packed(RBACPerRoute(rbac=_rbac(authorization)) if authorization is not None else RBACPerRoute())


def _rbac(authorization: ir.Authorization) -> RBAC:
    matcher = Matcher(on_no_match=_decision("default", allows=authorization.allows))
    for rule in authorization.rules:
        row = matcher.matcher_list.matchers.add(on_match=_decision(rule.name, allows=rule.allows))
        row.predicate.CopyFrom(all_of(list(_conditions(rule))))
    return RBAC(matcher=matcher)


def _decision(name: str, *, allows: bool) -> Matcher.OnMatch:
    action = rbac_pb2.Action(name=name, action=rbac_pb2.RBAC.ALLOW if allows else rbac_pb2.RBAC.DENY)
    return Matcher.OnMatch(action=named("action", action))


def _conditions(rule: ir.AuthorizationRule) -> Iterator[Predicate]:
    if rule.methods:
        yield _header(":method", rule.methods)
    if rule.path:
        found = compared(HttpRequestHeaderMatchInput(header_name=":path"), expression(rule.path))
        yield Predicate(not_matcher=found) if rule.path_inverted else found
    if rule.ranges:
        yield _address(rule.ranges)
    for scope in rule.scopes:
        yield any_of(_claim(rule.provider, (name,), scope, listed=True) for name in SCOPE_CLAIMS)
    for claim in rule.claims:
        yield any_of(_claim(rule.provider, claim.path, value, listed=claim.listed) for value in claim.values)
    for name, values in rule.headers:
        yield _header(name, values)


def _header(name: str, values: Iterable[str]) -> Predicate:
    taken = HttpRequestHeaderMatchInput(header_name=name)
    return any_of(compared(taken, StringMatcher(exact=value)) for value in values)


def _address(ranges: Iterable[str]) -> Predicate:
    return asked(SourceIPInput(), Ip(stat_prefix="client", cidr_ranges=cidr_ranges(ranges)))


def _claim(provider: str, path: Sequence[str], value: str, *, listed: bool) -> Predicate:
    taken = DynamicMetadataInput(filter=_CLAIMS)
    for key in (provider, *path):
        taken.path.add(key=key)
    wanted = ValueMatcher()
    text = wanted.list_match.one_of if listed else wanted
    text.string_match.exact = value
    return asked(taken, Metadata(value=wanted))
