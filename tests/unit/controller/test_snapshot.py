from collections.abc import Mapping
from typing import Any

import pytest
from headgate.controller.xds.references import Reference
from headgate.controller.xds.resource_types import CLUSTER, EXTENSION, LISTENER, ROUTE, SECRET
from headgate.controller.xds.snapshot import EMPTY, SnapshotTaker, dangling, make_snapshot
from headgate.controller.xds.withhold import withhold
from headgate.pb import priority_group_pb2
from support.ads import cluster_json, cluster_route_json, listener_json, reply_route_json, snapshot_of
from support.xds import cluster, listener, route, snapshot

LINKED_IN = priority_group_pb2


def refers(type_url: str, values: Mapping[str, Any]) -> set[tuple[str, str]]:
    taken = snapshot_of({type_url: (values,)})
    return {(r.type_url, r.name) for _, each in taken for r in each.references}


def test_a_listener_refers_to_its_routes() -> None:
    assert refers(LISTENER, listener_json("l", 80, "r")) == {(ROUTE, "r")}


def test_a_cluster_refers_to_the_secret_of_a_filter_in_its_protocol_options() -> None:
    assert refers(CLUSTER, cluster_json("c", 80, secret="s")) == {(SECRET, "s")}


def test_a_filter_by_discovery_is_referred_to() -> None:
    values = listener_json("l", 80, "r")
    filters: list[Any] = values["filter_chains"][0]["filters"][0]["typed_config"]["http_filters"]
    source = {"ads": dict[str, str](), "resource_api_version": "V3"}
    types = ["type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"]
    filters.insert(0, {"name": "keys", "config_discovery": {"config_source": source, "type_urls": types}})
    assert refers(LISTENER, values) == {(ROUTE, "r"), (EXTENSION, "keys")}


def test_a_route_refers_to_the_clusters_of_its_priority_groups() -> None:
    specifier = {
        "@type": "type.googleapis.com/envoy.extensions.router.cluster_specifiers.priority_group.v3"
        ".PriorityGroupClusterSpecifier",
        "priority_groups": [
            {"name": "0", "clusters": [{"cluster_name": "a", "weight": 1}, {"cluster_name": "b", "weight": 1}]}
        ],
    }
    values = cluster_route_json("r", "unused")
    values["virtual_hosts"][0]["routes"][0]["route"] = {
        "inline_cluster_specifier_plugin": {"extension": {"name": "p", "typed_config": specifier}}
    }
    assert refers(ROUTE, values) == {(CLUSTER, "a"), (CLUSTER, "b")}


def test_versions_depend_on_content_and_not_on_order_or_history() -> None:
    one = snapshot_of({ROUTE: (reply_route_json("a", "x"), reply_route_json("b", "y"))})
    other = snapshot_of({ROUTE: (reply_route_json("b", "y"), reply_route_json("a", "x"))})
    assert one.version == other.version
    assert one.version != snapshot_of({ROUTE: (reply_route_json("a", "x"),)}).version
    assert one.version != snapshot_of({ROUTE: (reply_route_json("a", "z"), reply_route_json("b", "y"))}).version


def test_what_did_not_change_is_not_made_again() -> None:
    taker = SnapshotTaker()
    one = snapshot_of({ROUTE: (reply_route_json("a", "x"), reply_route_json("b", "y"))}, taker)
    two = snapshot_of({ROUTE: (reply_route_json("a", "x"), reply_route_json("b", "z"))}, taker)
    assert two.resources[ROUTE]["a"] is one.resources[ROUTE]["a"]
    assert two.resources[ROUTE]["b"].version != one.resources[ROUTE]["b"].version


def test_references_that_do_not_resolve_are_told_with_both_ends() -> None:
    taken = snapshot(listener("l", route="r"), route("r", clusters=["a", "static"]))
    (found,) = dangling(taken, static_clusters=frozenset({"static"}))
    assert str(found) == "RouteConfiguration r refers to Cluster a, which does not exist"
    assert dangling(EMPTY) == ()


def test_a_type_that_is_not_served_is_refused() -> None:
    with pytest.raises(ValueError, match="not served"):
        make_snapshot([(Reference("type.googleapis.com/x", "a"), cluster("a")[1])])
    with pytest.raises(ValueError, match="not served"):
        SnapshotTaker().take({"type.googleapis.com/x": {"a": priority_group_pb2.ClusterWeight()}})


def test_nothing_is_withheld_when_nothing_was_refused() -> None:
    wanted = snapshot(cluster("a"), listener("l", route="r"), route("r", clusters=["a"]))
    assert withhold(wanted, None, {}).version == wanted.version


def test_a_refused_change_keeps_the_accepted_version_and_lets_the_rest_through() -> None:
    accepted = snapshot(cluster("a"), cluster("b"))
    wanted = snapshot(cluster("a", "2"), cluster("b", "2"))
    served = withhold(wanted, accepted, {Reference(CLUSTER, "a"): frozenset({"2"})})
    assert {name: each.version for name, each in served.resources[CLUSTER].items()} == {"a": "1", "b": "2"}


def test_a_route_whose_new_cluster_was_refused_keeps_its_old_one() -> None:
    accepted = snapshot(cluster("old"), listener("l", route="r"), route("r", clusters=["old"]))
    wanted = snapshot(cluster("new"), listener("l", route="r"), route("r", "2", clusters=["new"]))
    served = withhold(wanted, accepted, {Reference(CLUSTER, "new"): frozenset({"1"})})
    assert served.version == accepted.version


def test_a_refused_cluster_of_a_first_snapshot_is_left_out() -> None:
    wanted = snapshot(cluster("bad"), cluster("good"), listener("l", route="r"), route("r", clusters=["bad", "good"]))
    served = withhold(wanted, None, {Reference(CLUSTER, "bad"): frozenset({"1"})})
    assert list(served.resources[CLUSTER]) == ["good"]
    assert served.resources[ROUTE] == wanted.resources[ROUTE]
