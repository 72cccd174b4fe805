import pytest
from headgate.controller.store import SnapshotStore
from headgate.controller.xds.references import Reference
from headgate.controller.xds.resource_types import CLUSTER, LISTENER, ROUTE
from headgate.controller.xds.session import Rejected
from support.xds import cluster, listener, resource, route, snapshot

GOOD = snapshot(cluster("a"), listener("l", route="r"), route("r", clusters=["a"]))
BAD = snapshot(cluster("a", "2"), listener("l", "2", route="r"), route("r", clusters=["a"]))


def refusal(version: str) -> Rejected:
    return Rejected(type_url=CLUSTER, versions={"a": version}, message="bad cluster", snapshot_version="")


def test_a_refused_resource_stays_as_accepted_and_the_rest_changes() -> None:
    store = SnapshotStore()
    assert store.want(GOOD).version == GOOD.version
    assert store.applied(GOOD.version)
    assert store.want(BAD).version == BAD.version
    served = store.refused(refusal("2"))
    assert served is not None
    assert (
        served.version == snapshot(*[cluster("a"), listener("l", "2", route="r"), route("r", clusters=["a"])]).version
    )
    assert [str(each) for each in store.refusals] == ["Envoy refused Cluster a: bad cluster"]


NEWER = snapshot(cluster("a"), listener("l", "2", route="r"), route("r", "2", clusters=["a"]), cluster("new"))


@pytest.mark.parametrize(("kind", "name"), [(ROUTE, "r"), (LISTENER, "l")])
def test_a_listener_and_its_routes_change_together_or_not_at_all(kind: str, name: str) -> None:
    """New routes ask filters for keys that an old listener does not have, and the other way round."""
    store = SnapshotStore()
    store.want(GOOD)
    store.applied(GOOD.version)
    store.want(NEWER)
    served = store.refused(Rejected(type_url=kind, versions={name: "2"}, message="bad", snapshot_version=""))
    assert served is not None
    expected = snapshot(cluster("a"), listener("l", route="r"), route("r", clusters=["a"]), cluster("new"))
    assert served.version == expected.version


def test_routes_that_are_refused_hold_back_no_other_listeners_or_routes() -> None:
    shared = resource(LISTENER, "l", "1", (Reference(ROUTE, "r"), Reference(ROUTE, "s")))
    both = (shared, route("r", clusters=["a"]), cluster("a"))
    alone = (listener("m", route="t"), route("s", clusters=["a"]), route("t", clusters=["a"]))
    changed = (listener("m", "2", route="t"), route("s", "2", clusters=["a"]), route("t", "2", clusters=["a"]))
    store = SnapshotStore()
    store.want(before := snapshot(*both, *alone))
    store.applied(before.version)
    store.want(snapshot(shared, route("r", "2", clusters=["a"]), cluster("a"), *changed))
    served = store.refused(Rejected(type_url=ROUTE, versions={"r": "2"}, message="bad", snapshot_version=""))
    assert served is not None
    assert served.version == snapshot(*both, *changed).version


def test_the_same_bad_resource_is_not_published_again() -> None:
    store = SnapshotStore()
    store.want(GOOD)
    store.applied(GOOD.version)
    store.want(BAD)
    store.refused(refusal("2"))
    again = snapshot(cluster("a", "2"), cluster("b"), listener("l", route="r"), route("r", clusters=["a"]))
    served = store.want(again)
    assert {name: each.version for name, each in served.resources[CLUSTER].items()} == {"a": "1", "b": "1"}
    assert len(store.refusals) == 1


def test_a_mended_resource_is_published_and_the_refusal_forgotten() -> None:
    store = SnapshotStore()
    store.want(BAD)
    store.refused(refusal("2"))
    mended = snapshot(cluster("a", "3"))
    assert store.want(mended).version == mended.version
    assert store.refusals == ()


def test_an_acknowledgement_of_an_older_snapshot_is_not_taken_for_the_newest() -> None:
    store = SnapshotStore()
    store.want(GOOD)
    store.want(BAD)
    assert not store.applied(GOOD.version)
    assert store.accepted is None
    assert store.applied(BAD.version)
    assert store.accepted == BAD
