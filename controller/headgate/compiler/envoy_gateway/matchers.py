"""Matchers with an entry for each of many models, as serialised parts: routes are bytes already, and stay the same."""

from functools import lru_cache
from typing import Final

from envoy.config.route.v3.route_components_pb2 import RouteList
from google.protobuf.any_pb2 import Any
from headgate.compiler.envoy_gateway.joined import Parts, head, head_of, nested
from xds.core.v3.extension_pb2 import TypedExtensionConfig
from xds.type.matcher.v3.matcher_pb2 import Matcher

_Map = Matcher.MatcherTree.MatchMap
_KEY, _VALUE = 1, 2
"""Fields of a map's entry."""
_TYPE: Final = Any(type_url=f"type.googleapis.com/{RouteList.DESCRIPTOR.full_name}").SerializeToString()
_NAME: Final = TypedExtensionConfig(name="headgate/routes").SerializeToString()


def routes_entry(key: str, listed: Parts) -> list[bytes]:
    """The entry of a map that leads to the routes of serialised lists, one after the other."""
    return [_before_routes(key, sum(map(len, listed))), *listed]


@lru_cache(maxsize=65_536)
def _before_routes(key: str, size: int) -> bytes:
    levels = (
        (Any.VALUE_FIELD_NUMBER, _TYPE),
        (TypedExtensionConfig.TYPED_CONFIG_FIELD_NUMBER, _NAME),
        (Matcher.OnMatch.ACTION_FIELD_NUMBER, b""),
        (_VALUE, _key(key)),
        (_Map.MAP_FIELD_NUMBER, b""),
    )
    return head_of(levels, size)


def matcher_entry(key: str, matcher: Parts) -> list[bytes]:
    """The entry of a map that leads to a serialised matcher."""
    value = nested(_VALUE, nested(Matcher.OnMatch.MATCHER_FIELD_NUMBER, matcher))
    return nested(_Map.MAP_FIELD_NUMBER, [_key(key), *value])


def _key(key: str) -> bytes:
    text = key.encode()
    return head(_KEY, len(text)) + text


def with_entries(matcher: Matcher, entries: Parts) -> list[bytes]:
    """A matcher that looks an exact value up, with more entries in its map. Takes `matcher` apart."""
    tree = matcher.matcher_tree
    found = [tree.exact_match_map.SerializeToString(deterministic=True), *entries]
    tree.ClearField("exact_match_map")
    rest = tree.SerializeToString(deterministic=True)
    matcher.ClearField("matcher_tree")
    map_ = nested(Matcher.MatcherTree.EXACT_MATCH_MAP_FIELD_NUMBER, found)
    return [
        *nested(Matcher.MATCHER_TREE_FIELD_NUMBER, [rest, *map_]),
        matcher.SerializeToString(deterministic=True),
    ]
