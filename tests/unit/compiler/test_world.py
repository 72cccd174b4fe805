"""The world is the same for any order of its objects."""

from random import Random

from headgate.compiler.reading import read_object
from headgate.compiler.resources.metadata import NOWHERE, Key, Name, Resource
from headgate.compiler.world import Rejected, Target, World, make_world


def backend(namespace: str, name: str) -> Resource:
    raw = {
        "apiVersion": "gateway.envoyproxy.io/v1alpha1",
        "kind": "Backend",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"endpoints": [{"fqdn": {"hostname": "example.com", "port": 443}}]},
    }
    resource = read_object(raw, NOWHERE).resource
    assert resource is not None
    return resource


def test_any_order_gives_the_same_world() -> None:
    resources = [backend(f"n{index % 3}", f"b{index}") for index in range(20)]
    expected = make_world(resources)
    for seed in range(10):
        shuffled = Random(seed).sample(resources, len(resources))
        world = make_world(shuffled)
        assert world == expected
        assert list(world.backends) == sorted(expected.backends)


def test_objects_are_found_by_name() -> None:
    world = make_world([backend("n", "b")])
    assert world.backends[Name("n", "b")].metadata.name == "b"
    assert Name("n", "c") not in world.backends
    assert world.gateways == {}


def test_knows_what_was_rejected() -> None:
    key = Key("gateway.envoyproxy.io", "Backend", "n", "b")
    world = make_world([], [Rejected(key, NOWHERE)])
    assert world.is_rejected("gateway.envoyproxy.io", "Backend", Name("n", "b"))
    assert not world.is_rejected("gateway.envoyproxy.io", "Backend", Name("n", "c"))


def test_what_may_have_been_guarded_counts_as_a_target() -> None:
    raw = {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": "r", "namespace": "n"},
        "spec": {},
    }
    route = read_object(raw, NOWHERE).resource
    assert route is not None
    key = Key("gateway.envoyproxy.io", "SecurityPolicy", "n", "s")
    other = Key("gateway.envoyproxy.io", "SecurityPolicy", "m", "s")
    world = make_world([route], [Rejected(key, NOWHERE, unclear=True), Rejected(other, NOWHERE, unclear=True)])
    assert world.rejected[key].targets == (Target("gateway.networking.k8s.io", "HTTPRoute", "n", "r"),)
    assert world.rejected[other].targets == ()


def test_every_namespace_has_its_name_as_a_label() -> None:
    raw = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n", "labels": {"team": "a"}}}
    resource = read_object(raw, NOWHERE).resource
    assert resource is not None
    world = make_world([resource])
    assert world.namespace_labels("n") == {"team": "a", "kubernetes.io/metadata.name": "n"}
    assert World().namespace_labels("m") == {"kubernetes.io/metadata.name": "m"}
