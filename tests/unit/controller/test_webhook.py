"""Questions about pods and their answers; which pods have to be made again."""

import base64
import json
from typing import Any

import msgspec
import pytest
from headgate.compiler.envoy_gateway.sidecar import POD_ANNOTATION, Pod, Processor, Sidecar, container_json
from headgate.compiler.resources.ai_gateway import GatewayConfigExtProcKubernetes
from headgate.compiler.resources.metadata import Name
from headgate.controller.webhook.review import ReviewError, answer
from headgate.controller.webhook.rollout import stale_gateways

PROCESSOR = Processor(
    container=container_json(Sidecar(image="a:1"), GatewayConfigExtProcKubernetes()), native=True, image_pull_secrets=()
)


def _pod(gateway: str, **metadata: Any) -> dict[str, Any]:
    prefix = "gateway.envoyproxy.io/owning-gateway"
    labels = {f"{prefix}-name": gateway, f"{prefix}-namespace": "ns"}
    return {"metadata": {"labels": labels, **metadata}, "spec": {"containers": [{"name": "envoy"}]}}


def _question(pod: object) -> bytes:
    request = {"uid": "u", "namespace": "ns", "operation": "CREATE", "object": pod, "oldObject": None, "dryRun": False}
    return json.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}).encode()


def test_an_answer_carries_the_patch() -> None:
    seen: list[Pod] = []

    def decide(pod: Pod) -> list[dict[str, object]]:
        seen.append(pod)
        return [{"op": "add", "path": "/x", "value": 1}]

    found = json.loads(answer(_question(_pod("gw")), decide))
    assert seen[0].gateway == Name("ns", "gw")
    assert (found["apiVersion"], found["kind"]) == ("admission.k8s.io/v1", "AdmissionReview")
    assert found["response"]["uid"] == "u"
    assert found["response"]["allowed"] is True
    assert found["response"]["patchType"] == "JSONPatch"
    assert json.loads(base64.b64decode(found["response"]["patch"])) == [{"op": "add", "path": "/x", "value": 1}]


def test_a_pod_that_needs_nothing_is_allowed_without_a_patch() -> None:
    found = json.loads(answer(_question(_pod("gw")), lambda _: ()))
    assert found["response"] == {"uid": "u", "allowed": True}


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", _question(None), _question({"spec": {"containers": 1}})])
def test_what_is_no_question_about_a_pod_is_refused(body: bytes) -> None:
    with pytest.raises(ReviewError):
        answer(body, lambda _: ())


def test_pods_that_have_to_be_made_again() -> None:
    wanted = {Name("ns", "gw"): PROCESSOR}
    current = {"annotations": {POD_ANNOTATION: PROCESSOR.fingerprint}}
    cases: list[tuple[dict[str, Any], bool]] = [
        (_pod("gw", **current), False),
        (_pod("gw"), True),
        (_pod("gw", annotations={POD_ANNOTATION: "older"}), True),
        (_pod("gw", deletionTimestamp="2030-01-01T00:00:00Z"), False),
        (_pod("other"), False),
        ({"metadata": {}, "spec": {}}, False),
    ]
    for pod, stale in cases:
        found = stale_gateways([msgspec.convert(pod, Pod)], wanted)
        assert bool(found) is stale, pod
