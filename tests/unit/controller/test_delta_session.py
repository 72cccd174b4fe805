import pytest
from headgate.controller.xds.references import Reference
from headgate.controller.xds.resource_types import CLUSTER, LISTENER, ROUTE, SECRET
from headgate.controller.xds.session import (
    Action,
    Applied,
    DeltaSession,
    Hold,
    HoldReason,
    Rejected,
    Request,
    Send,
)
from headgate.controller.xds.snapshot import EMPTY, Snapshot
from support.xds import ModelEnvoy, cluster, listener, route, secret, snapshot

FIRST = snapshot(cluster("a", secret="s"), secret("s"), listener("l", route="r"), route("r", clusters=["a"]))


def connected(target: Snapshot) -> ModelEnvoy:
    envoy = ModelEnvoy(DeltaSession(target))
    envoy.connect()
    envoy.run()
    envoy.sent.clear()
    return envoy


def sends(actions: tuple[Action, ...]) -> list[tuple[str, list[str], list[str]]]:
    return [
        (send.type_url.rpartition(".")[2], [r.name for r in send.resources], list(send.removed))
        for send in actions
        if isinstance(send, Send)
    ]


def acknowledge(session: DeltaSession, actions: tuple[Action, ...]) -> tuple[Action, ...]:
    """Acknowledges every response in `actions`; returns what the last one led to."""
    result: tuple[Action, ...] = ()
    for send in actions:
        if isinstance(send, Send):
            result = session.receive(Request(type_url=send.type_url, nonce=send.nonce))
    return result


def test_nothing_is_sent_before_there_is_a_snapshot() -> None:
    session = DeltaSession()
    assert session.receive(Request(type_url=CLUSTER)) == ()
    assert sends(session.publish(FIRST)) == [("Cluster", ["a"], [])]


def test_an_empty_snapshot_is_answered_so_that_envoy_gets_ready() -> None:
    session = DeltaSession(EMPTY)
    clusters = session.receive(Request(type_url=CLUSTER))
    assert sends(clusters) == [("Cluster", [], [])]
    acknowledge(session, clusters)
    listeners = session.receive(Request(type_url=LISTENER))
    assert sends(listeners) == [("Listener", [], [])]
    assert acknowledge(session, listeners) == (Applied(EMPTY.version),)


def test_a_change_goes_clusters_then_listeners_then_routes() -> None:
    envoy = connected(FIRST)
    session = envoy.session
    second = snapshot(
        cluster("a", secret="s"),
        cluster("b"),
        secret("s", "2"),
        listener("l", "2", route="r"),
        route("r", "2", clusters=["b"]),
    )
    actions = session.publish(second)
    assert sends(actions) == [("Cluster", ["b"], []), ("Secret", ["s"], [])]
    actions = acknowledge(session, actions)
    assert sends(actions) == [("Listener", ["l"], [])]
    actions = acknowledge(session, actions)
    assert sends(actions) == [("RouteConfiguration", ["r"], [])]
    assert acknowledge(session, actions) == (Applied(second.version),)


def test_only_what_changed_is_sent() -> None:
    envoy = connected(FIRST)
    changed = snapshot(cluster("a", secret="s"), secret("s"), listener("l", route="r"), route("r", "2", clusters=["a"]))
    assert sends(envoy.session.publish(changed)) == [("RouteConfiguration", ["r"], [])]
    assert connected(FIRST).session.publish(FIRST) == ()


def test_clusters_are_removed_only_after_the_routes_and_the_wait() -> None:
    envoy = connected(FIRST)
    session = envoy.session
    without = snapshot(listener("l", route="r"), route("r", "2"))
    actions = session.publish(without)
    assert sends(actions) == [("RouteConfiguration", ["r"], [])]
    applied, hold = acknowledge(session, actions)
    assert applied == Applied(without.version)
    assert isinstance(hold, Hold)
    assert hold.reason is HoldReason.REMOVAL
    assert sends(session.release(hold.ticket)) == [("Cluster", [], ["a"]), ("Secret", [], ["s"])]
    assert session.release(hold.ticket) == ()


def test_a_cluster_that_comes_back_during_the_wait_is_kept() -> None:
    envoy = connected(FIRST)
    session = envoy.session
    actions = acknowledge(session, session.publish(snapshot(listener("l", route="r"), route("r", "2"))))
    hold = next(action for action in actions if isinstance(action, Hold))
    back = acknowledge(session, session.publish(FIRST))
    assert Applied(FIRST.version) in back
    assert session.release(hold.ticket) == ()
    assert envoy.session.settled()


def test_a_listener_is_removed_in_the_response_that_adds_its_successor() -> None:
    envoy = connected(FIRST)
    renamed = snapshot(cluster("a", secret="s"), secret("s"), listener("m", route="r"), route("r", clusters=["a"]))
    assert sends(envoy.session.publish(renamed)) == [("Listener", ["m"], ["l"])]


def test_clusters_that_do_not_warm_hold_routes_only_for_a_while() -> None:
    session = connected(FIRST).session
    target = snapshot(cluster("a", secret="s"), cluster("slow"), secret("s"), listener("l", route="r"), route("r", "2"))
    actions = session.publish(target)
    hold = next(action for action in actions if isinstance(action, Hold))
    assert hold.reason is HoldReason.WARMING
    actions_after = session.release(hold.ticket)
    assert sends(actions_after) == [("RouteConfiguration", ["r"], [])]
    assert acknowledge(session, actions_after) == (), "not applied while a cluster is not acknowledged"
    assert acknowledge(session, actions) == (Applied(target.version),)


def test_a_refusal_stops_the_snapshot_and_names_the_resource() -> None:
    session = connected(FIRST).session
    bad = snapshot(
        cluster("a", secret="s"),
        cluster("a/b"),
        cluster("a/bad"),
        secret("s"),
        listener("l", route="r"),
        route("r", "2", clusters=["a/bad"]),
    )
    (send, _) = session.publish(bad)
    assert isinstance(send, Send)
    message = "Error adding/updating cluster(s) a/bad: malformed"
    actions = session.receive(Request(type_url=CLUSTER, nonce=send.nonce, error=message))
    assert actions == (
        Rejected(
            type_url=CLUSTER,
            versions={"a/bad": "1"},
            message="Error adding/updating cluster(s) a/bad: malformed",
            snapshot_version=bad.version,
        ),
    )
    assert session.receive(Request(type_url=SECRET, subscribe=("x",)))[0] == Send(
        type_url=SECRET, nonce="6", snapshot_version=bad.version, removed=("x",)
    )


def test_after_a_refusal_the_last_accepted_version_is_sent_again() -> None:
    session = connected(FIRST).session
    bad = snapshot(cluster("a", "2", secret="s"), secret("s"), listener("l", route="r"), route("r", clusters=["a"]))
    (send, _) = session.publish(bad)
    assert isinstance(send, Send)
    session.receive(Request(type_url=CLUSTER, nonce=send.nonce, error="no"))
    assert sends(session.publish(bad)) == [], "what was refused is not sent again"
    assert sends(session.publish(FIRST)) == [("Cluster", ["a"], [])]


def test_a_refusal_without_a_name_is_taken_apart_until_it_is_known_which() -> None:
    envoy = ModelEnvoy(DeltaSession(EMPTY), lambda reference, _version: reference.name == "c", names=False)
    envoy.connect()
    envoy.run()
    envoy.publish(snapshot(*(cluster(name) for name in "abcde")))
    envoy.run()
    assert [rejected.versions for rejected in envoy.rejected] == [{"c": "1"}]
    assert {reference.name for reference in envoy.has} == set("abde")
    assert [[each.name for each in send.resources] for send in envoy.sent if send.resources] == [
        ["a", "b", "c", "d", "e"],
        ["a", "b"],
        ["c", "d", "e"],
        ["c"],
        ["d", "e"],
    ]


def test_what_is_taken_apart_is_not_sent_in_an_older_version() -> None:
    session = connected(FIRST).session
    rest = (secret("s"), listener("l", route="r"), route("r", clusters=["a"]))
    (send, _) = session.publish(snapshot(cluster("a", "2", secret="s"), cluster("b"), *rest))
    assert isinstance(send, Send)
    session.publish(snapshot(cluster("a", "3", secret="s"), cluster("b"), *rest))
    actions = session.receive(Request(type_url=CLUSTER, nonce=send.nonce, error="no"))
    assert sends(actions) == [("Cluster", ["b"], [])]


def test_a_listener_whose_routes_were_refused_keeps_nothing_else_waiting() -> None:
    envoy = ModelEnvoy(DeltaSession(FIRST), lambda reference, _version: reference.name == "bad", names=False)
    envoy.connect()
    envoy.run()
    more = (*FIRST, listener("m", route="bad"))
    envoy.publish(snapshot(*more, route("bad")))
    envoy.run()
    assert [rejected.names for rejected in envoy.rejected] == [("bad",)]
    for target in (snapshot(*more), snapshot(*more, cluster("b"))):
        envoy.publish(target)
        envoy.run()
        assert envoy.applied[-1] == target.version


def test_a_name_that_does_not_exist_is_answered_as_removed() -> None:
    session = connected(FIRST).session
    assert sends(session.receive(Request(type_url=SECRET, subscribe=("missing",)))) == [("Secret", [], ["missing"])]


def test_a_name_asked_for_again_is_sent_again() -> None:
    session = connected(FIRST).session
    assert sends(session.receive(Request(type_url=SECRET, subscribe=("s",)))) == [("Secret", ["s"], [])]


def test_an_unsubscribed_name_is_not_updated() -> None:
    session = connected(FIRST).session
    session.receive(Request(type_url=SECRET, unsubscribe=("s",)))
    changed = snapshot(cluster("a", secret="s"), secret("s", "2"), listener("l", route="r"), route("r", clusters=["a"]))
    assert sends(session.publish(changed)) == []


def test_a_reconnecting_envoy_that_has_everything_is_sent_nothing() -> None:
    envoy = connected(FIRST)
    envoy.reconnect(DeltaSession(FIRST))
    envoy.sent.clear()
    envoy.run()
    assert envoy.sent == []
    assert envoy.applied[-1] == FIRST.version


@pytest.mark.parametrize("nonce", ["", "nonsense", "999"])
def test_unknown_nonces_and_types_change_nothing(nonce: str) -> None:
    session = connected(FIRST).session
    assert session.receive(Request(type_url=ROUTE, nonce=nonce, error="late")) == ()
    assert session.receive(Request(type_url="type.googleapis.com/other", nonce=nonce)) == ()
    assert session.settled()


def test_references_compare_by_value() -> None:
    assert Reference(CLUSTER, "a") in {Reference(CLUSTER, "a")}
