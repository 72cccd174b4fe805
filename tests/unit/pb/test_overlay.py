"""Fields the wheel does not know are set, survive the wire, are read back and are printed."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.config.route.v3.route_components_pb2 import RetryPolicy, Route, RouteAction
from envoy.extensions.common.ratelimit.v3.ratelimit_pb2 import RateLimitDescriptor
from envoy.extensions.filters.http.lua.v3.lua_pb2 import Lua
from envoy.extensions.filters.http.ratelimit.v3.rate_limit_pb2 import RateLimit
from google.protobuf import descriptor_pool
from google.protobuf.any_pb2 import Any as AnyMessage
from headgate.pb import overlay, overlay_pb2
from headgate.pb.priority_group_pb2 import PriorityGroupClusterSpecifier
from support.envoy import EnvoyProcess
from support.static_envoy import bootstrap, cluster, listener, tcp


def test_refresh_cluster_on_retry_survives_the_wire_and_is_printed() -> None:
    policy = RetryPolicy(retry_on="5xx")
    overlay.refresh_cluster_on_retry(policy)
    again = RouteAction.FromString(RouteAction(retry_policy=policy).SerializeToString())
    assert overlay.to_dict(again) == {"retry_policy": {"retry_on": "5xx", "refresh_cluster_on_retry": True}}
    assert overlay_pb2.RetryPolicy.FromString(policy.SerializeToString()).refresh_cluster_on_retry


def test_lua_filter_context_is_printed_inside_any() -> None:
    lua = Lua(stat_prefix="s")
    overlay.lua_filter_context(lua, {"path": "/v1", "strip": ["a", "b"], "body": {"model": "m"}, "n": 1, "none": None})
    packed = AnyMessage()
    packed.Pack(lua)
    printed = overlay.to_dict(TypedExtensionConfig(name="lua", typed_config=packed))
    assert printed == {
        "name": "lua",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua",
            "stat_prefix": "s",
            "filter_context": {"path": "/v1", "strip": ["a", "b"], "body": {"model": "m"}, "n": 1.0, "none": None},
        },
    }


def test_the_namespace_of_a_limiters_metadata_is_printed() -> None:
    limit = RateLimit(domain="d")
    overlay.rate_limit_metadata(limit, "headgate.limits")
    assert "headgate.limits" in overlay.to_json(RateLimit.FromString(limit.SerializeToString()))


def test_equal_contexts_have_equal_bytes() -> None:
    def encoded(names: list[str]) -> bytes:
        lua = Lua()
        overlay.lua_filter_context(lua, {name: name for name in names})
        return lua.SerializeToString()

    names = [f"key{i}" for i in range(50)]
    assert encoded(names) == encoded(names[::-1])


def test_any_inside_any_and_our_own_messages_are_printed() -> None:
    inner = AnyMessage()
    inner.Pack(PriorityGroupClusterSpecifier())
    outer = AnyMessage()
    outer.Pack(TypedExtensionConfig(name="inner", typed_config=inner))
    printed = overlay.to_dict(TypedExtensionConfig(name="outer", typed_config=outer))
    assert printed["typed_config"]["typed_config"]["@type"].endswith("PriorityGroupClusterSpecifier")


def test_json_is_sorted_text() -> None:
    text = overlay.to_json(RetryPolicy(retry_on="5xx", num_retries={"value": 3}))
    assert list(json.loads(text)) == ["num_retries", "retry_on"]


def test_an_unknown_type_in_an_any_is_refused() -> None:
    with pytest.raises(TypeError, match=r"no\.such\.Type"):
        overlay.to_dict(TypedExtensionConfig(typed_config=AnyMessage(type_url="type.googleapis.com/no.such.Type")))


@pytest.mark.parametrize("negative", [False, True])
def test_negative_hits_are_read_from_the_wire(negative: bool) -> None:
    descriptor = RateLimitDescriptor(entries=[RateLimitDescriptor.Entry(key="k", value="v")])
    if negative:
        overlay.negative_hits(descriptor)
    assert overlay.is_negative_hits(RateLimitDescriptor.FromString(descriptor.SerializeToString())) is negative


def test_every_overlaid_message_exists_in_the_wheel_without_those_fields() -> None:
    """A newer wheel that knows a field makes its overlay superfluous: remove it then."""
    for each in overlay.OVERLAYS:
        declared = descriptor_pool.Default().FindMessageTypeByName(each.target)
        known = {field.number for field in declared.fields}
        assert not known & {field.number for field in each.fields.fields}, each.target


@pytest.mark.envoy
def test_envoy_knows_the_fields_under_these_names(start_envoy: Callable[..., EnvoyProcess]) -> None:
    """What `to_dict` prints is what Envoy reads, and what Envoy reads over xDS is the same bytes."""
    policy = RetryPolicy(retry_on="5xx")
    overlay.refresh_cluster_on_retry(policy)
    lua = Lua(default_source_code={"inline_string": "function envoy_on_request(handle) end"})
    overlay.lua_filter_context(lua, {"a": "b"})
    route = overlay.to_dict(Route(match={"prefix": "/"}, route={"cluster": "c", "retry_policy": policy}))
    start_envoy(bootstrap([listener("main", tcp(), route, _packed(lua))], [cluster("c", tcp(1))]))


def _packed(message: Lua) -> dict[str, Any]:
    packed = AnyMessage()
    packed.Pack(message)
    return overlay.to_dict(TypedExtensionConfig(name="lua", typed_config=packed))
