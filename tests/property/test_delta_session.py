"""Any sequence of snapshots, acknowledgements, refusals and reconnects converges, and the order is respected."""

from collections.abc import Sequence

from headgate.controller.xds.references import Reference
from headgate.controller.xds.resource_types import CLUSTER, LISTENER, ROUTE
from headgate.controller.xds.session import DeltaSession
from headgate.controller.xds.snapshot import EMPTY, Resource, Snapshot, dangling
from headgate.controller.xds.withhold import withhold
from hypothesis import given, settings
from hypothesis import strategies as st
from support.xds import ModelEnvoy, cluster, listener, resource, route, secret, snapshot

NAMES = ("a", "b", "c")
VERSIONS = ("1", "2", "3")


@st.composite
def closed_snapshots(draw: st.DrawFn) -> Snapshot:
    """Snapshots whose references all resolve."""
    names = draw(st.sets(st.sampled_from(NAMES)))
    version = st.sampled_from(VERSIONS)
    made: list[tuple[Reference, Resource]] = []
    for name in sorted(names):
        shape = draw(st.sampled_from(("plain", "secret", "endpoints")))
        # A version stands for content, so what it refers to is part of it.
        made.append(
            cluster(
                name,
                f"{draw(version)}-{shape}",
                secret="s-" + name if shape == "secret" else "",
                endpoints=shape == "endpoints",
            )
        )
        if shape == "secret":
            made.append(secret("s-" + name, draw(version)))
        if shape == "endpoints":
            made.append(resource("type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment", name, "1"))
    for name in sorted(draw(st.sets(st.sampled_from(("x", "y"))))):
        used = sorted(draw(st.sets(st.sampled_from(sorted(names))))) if names else []
        made.append(listener("l-" + name, draw(version), route="r-" + name))
        made.append(route("r-" + name, f"{draw(version)}-{','.join(used)}", clusters=used))
    return snapshot(*made)


def served(envoy: ModelEnvoy) -> dict[Reference, str]:
    return {reference: taken.version for reference, taken in envoy.has.items()}


def expected(target: Snapshot) -> dict[Reference, str]:
    """Everything in the target that the clusters and listeners lead to."""
    found = {r: each for r, each in target if r.type_url in (CLUSTER, LISTENER)}
    for each in tuple(found.values()):
        for reference in each.references:
            inner = target.get(reference)
            assert inner is not None
            found[reference] = inner
    return {reference: each.version for reference, each in found.items()}


def routes_to_missing_clusters(envoy: ModelEnvoy) -> Sequence[Reference]:
    return [
        reference
        for holder, taken in envoy.has.items()
        if holder.type_url == ROUTE
        for reference in taken.references
        if reference not in envoy.has
    ]


STEPS = st.lists(st.integers(0, 2), max_size=12)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(closed_snapshots(), STEPS), min_size=1, max_size=6))
def test_any_sequence_of_snapshots_converges_in_order(changes: list[tuple[Snapshot, list[int]]]) -> None:
    envoy = ModelEnvoy(DeltaSession())
    envoy.connect()
    for target, choices in changes:
        envoy.publish(target)
        for choice in choices:
            envoy.step(choice)
            assert routes_to_missing_clusters(envoy) == []
    while envoy.step():
        assert routes_to_missing_clusters(envoy) == []
    last = changes[-1][0]
    assert served(envoy) == expected(last)
    assert envoy.session.settled()
    assert envoy.applied[-1] == last.version
    assert envoy.rejected == []


@settings(max_examples=200, deadline=None)
@given(closed_snapshots(), closed_snapshots(), STEPS, closed_snapshots())
def test_a_reconnect_at_any_point_converges_and_repeats_nothing(
    first: Snapshot, second: Snapshot, choices: list[int], third: Snapshot
) -> None:
    envoy = ModelEnvoy(DeltaSession(first))
    envoy.connect()
    envoy.run()
    envoy.publish(second)
    for choice in choices:
        envoy.step(choice)
    before = served(envoy)
    envoy.reconnect(DeltaSession(third))
    envoy.sent.clear()
    envoy.run()
    assert served(envoy) == expected(third)
    for send in envoy.sent:
        for each in send.resources:
            reference = Reference(send.type_url, each.name)
            assert before.get(reference) != each.version, "sent again what Envoy has"


@settings(max_examples=300, deadline=None)
@given(
    st.lists(closed_snapshots(), min_size=1, max_size=5),
    st.sets(st.tuples(st.sampled_from(NAMES), st.sampled_from(("2-plain", "2-secret", "3-plain", "1-endpoints")))),
    st.booleans(),
)
def test_refused_clusters_never_take_a_served_route_down(
    targets: list[Snapshot], bad: set[tuple[str, str]], names: bool
) -> None:
    """The publisher's rule: after a refusal, publish the wanted snapshot without what was refused, and nothing else."""
    envoy = ModelEnvoy(DeltaSession(), lambda reference, version: (reference.name, version) in bad, names=names)
    envoy.connect()
    accepted: Snapshot = EMPTY
    for target in targets:
        refused: dict[Reference, frozenset[str]] = {}
        published = withhold(target, accepted, refused)
        envoy.publish(published)
        envoy.run()
        for _ in range(20):
            if not envoy.rejected:
                break
            for rejected in envoy.rejected:
                assert bad.issuperset(rejected.versions.items())
                for name, version in rejected.versions.items():
                    reference = Reference(rejected.type_url, name)
                    refused[reference] = refused.get(reference, frozenset()) | {version}
            envoy.rejected.clear()
            published = withhold(target, accepted, refused)
            envoy.publish(published)
            envoy.run()
        assert not envoy.rejected
        assert envoy.applied[-1] == published.version
        broken = {(d.referrer.name, d.reference.name) for d in dangling(published)}
        served_before = {r.name for r, _ in accepted if r.type_url == ROUTE}
        lost = {name for name, _ in broken if name in served_before and not _was_dangling(accepted, name)}
        assert lost == set()
        accepted = published


def _was_dangling(before: Snapshot, name: str) -> bool:
    return any(each.referrer.name == name for each in dangling(before))
