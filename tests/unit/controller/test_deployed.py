"""What the images of Envoy Gateway's workloads say of versions."""

import json
from collections.abc import Mapping

import msgspec
import pytest
from headgate.compiler.envoy_gateway.envoys import Deployed
from headgate.compiler.resources.metadata import Name
from headgate.controller.extension.workloads import Workload, deployed


def workload(images: Mapping[str, str], labels: Mapping[str, str]) -> Workload:
    containers: list[Mapping[str, str]] = [{"name": name, "image": image} for name, image in images.items()]
    raw: Mapping[str, object] = {
        "metadata": {"name": "envoy-x", "labels": labels, "uid": "1"},
        "spec": {"replicas": 1, "template": {"metadata": {"labels": labels}, "spec": {"containers": containers}}},
    }
    return msgspec.json.decode(json.dumps(raw), type=Workload)


OWNED = {"gateway.envoyproxy.io/owning-gateway-name": "eg", "gateway.envoyproxy.io/owning-gateway-namespace": "ns"}


@pytest.mark.parametrize(
    ("images", "wanted"),
    [
        (
            {
                "envoy": "docker.io/envoyproxy/envoy:distroless-v1.39.1",
                "shutdown-manager": "docker.io/envoyproxy/gateway:v1.9.1",
            },
            Deployed((1, 39), (1, 9)),
        ),
        (
            {"envoy": "mirror:5000/envoy@sha256:00", "shutdown-manager": "envoyproxy/gateway-dev:latest"},
            Deployed(None, None),
        ),
        ({"other": "x:v1.2"}, Deployed(None, None)),
    ],
)
def test_versions_are_read_off_images(images: Mapping[str, str], wanted: Deployed) -> None:
    assert dict(deployed([workload(images, OWNED)])) == {Name("ns", "eg"): wanted}


def test_what_merged_gateways_share_is_their_classs() -> None:
    shared = workload({"envoy": "envoy:v1.40.0"}, {"gateway.envoyproxy.io/owning-gatewayclass": "eg"})
    assert dict(deployed([shared])) == {Name("", "eg"): Deployed((1, 40), None)}


def test_what_belongs_to_no_gateway_is_left_alone() -> None:
    assert dict(deployed([workload({"envoy": "envoy:v1.40.0"}, {})])) == {}
