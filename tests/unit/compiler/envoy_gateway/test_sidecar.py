"""What is put into a pod, and what is left as it is."""

import json
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from headgate.compiler.compile import compile_world
from headgate.compiler.envoy_gateway.rules import known_rules
from headgate.compiler.envoy_gateway.sidecar import (
    CONTAINER,
    DIRECTORY,
    VOLUME,
    Pod,
    Processor,
    Sidecar,
    container_json,
    image_of,
    injection,
    wanted_processors,
)
from headgate.compiler.options import Mode, Options
from headgate.compiler.reading import read_object
from headgate.compiler.resolve.scope import CONFIG_ANNOTATION
from headgate.compiler.resources.ai_gateway import GatewayConfigExtProcKubernetes as Settings
from headgate.compiler.resources.metadata import NOWHERE, Name
from headgate.compiler.world import make_world
from support import manifests

DEFAULT = Sidecar(image="registry/headgate:1", environment=(("A", "1"), ("B", "2")), image_pull_secrets=("mine",))
OLD = Sidecar(image="registry/headgate:1", native=False)
LABELS = {
    "gateway.envoyproxy.io/owning-gateway-name": "gw",
    "gateway.envoyproxy.io/owning-gateway-namespace": "ns",
}


def _pod(**spec: Any) -> dict[str, Any]:
    envoy = {"name": "envoy", "image": "envoy", "volumeMounts": [{"name": "certs", "mountPath": "/certs"}]}
    return {
        "metadata": {"generateName": "envoy-", "labels": LABELS, "annotations": {"kept": "yes"}},
        "spec": {"containers": [envoy, {"name": "shutdown-manager"}], "volumes": [{"name": "certs"}], **spec},
    }


def _processor(sidecar: Sidecar = DEFAULT, settings: Settings | None = None) -> Processor:
    container = container_json(sidecar, settings or Settings())
    return Processor(container=container, native=sidecar.native, image_pull_secrets=sidecar.image_pull_secrets)


def _patched(pod: Mapping[str, Any], processor: Processor) -> dict[str, Any]:
    """Applies the operations that we use: `add` to an object, or to the end of a list."""
    result = json.loads(json.dumps(pod))
    for operation in injection(msgspec.convert(pod, Pod), processor):
        assert operation["op"] == "add"
        *way, last = str(operation["path"]).strip("/").split("/")
        place: Any = result
        for step in way:
            place = place[int(step) if step.isdecimal() else step]
        if last == "-":
            place.append(operation["value"])
        else:
            place[last] = operation["value"]
    return result


def test_a_pod_gets_the_processor_its_volume_and_the_mount() -> None:
    patched = _patched(_pod(), _processor())
    (container,) = patched["spec"]["initContainers"]
    assert container["name"] == CONTAINER
    assert container["restartPolicy"] == "Always"
    assert container["image"] == "registry/headgate:1"
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert container["livenessProbe"]["terminationGracePeriodSeconds"] == 5, "a pod of Envoy Gateway's has six minutes"
    assert {"name": VOLUME, "emptyDir": {}} in patched["spec"]["volumes"]
    assert {"name": VOLUME, "mountPath": DIRECTORY} in patched["spec"]["containers"][0]["volumeMounts"]
    assert patched["spec"]["imagePullSecrets"] == [{"name": "mine"}]
    assert patched["metadata"]["annotations"]["kept"] == "yes"
    assert _patched(patched, _processor()) == patched, "a second time changes nothing"


def test_an_older_cluster_gets_an_ordinary_container() -> None:
    patched = _patched(_pod(), _processor(OLD))
    assert [each["name"] for each in patched["spec"]["containers"]] == ["envoy", "shutdown-manager", CONTAINER]
    assert "restartPolicy" not in patched["spec"]["containers"][2]
    assert _patched(patched, _processor(OLD)) == patched


def test_what_is_there_stays() -> None:
    pod = _pod(initContainers=[{"name": "first"}], imagePullSecrets=[{"name": "mine"}, {"name": "other"}])
    patched = _patched(pod, _processor())
    assert [each["name"] for each in patched["spec"]["initContainers"]] == ["first", CONTAINER]
    assert patched["spec"]["imagePullSecrets"] == pod["spec"]["imagePullSecrets"]


def test_a_pod_without_envoy_is_left_alone() -> None:
    pod = {"metadata": {"labels": LABELS}, "spec": {"containers": [{"name": "ratelimit"}]}}
    assert injection(msgspec.convert(pod, Pod), _processor()) == ()


def test_a_gateway_config_changes_the_container() -> None:
    settings = Settings(
        env=({"name": "B", "value": "theirs"}, {"name": "C", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}),
        resources={"limits": {"cpu": "1"}},
        security_context={"runAsUser": 7},
        volume_mounts=({"name": "extra", "mountPath": "/extra"},),
    )
    container = container_json(DEFAULT, settings)
    assert [each["name"] for each in container["env"]] == ["A", "B", "C"]  # pyright: ignore
    assert container["env"][1]["value"] == "theirs"  # pyright: ignore
    assert container["resources"] == {"limits": {"cpu": "1"}}
    assert container["securityContext"] == {"runAsUser": 7}
    assert container["volumeMounts"][-1] == {"name": "extra", "mountPath": "/extra"}  # pyright: ignore


@pytest.mark.parametrize(
    ("default", "settings", "wanted"),
    [
        ("host:5000/a/headgate:1", Settings(), "host:5000/a/headgate:1"),
        ("host:5000/a/headgate:1", Settings(image="b:2"), "b:2"),
        ("host:5000/a/headgate:1", Settings(image_repository="other/b"), "other/b:1"),
        ("host:5000/a/headgate@sha256:aa", Settings(image_repository="other/b"), "other/b@sha256:aa"),
        ("host:5000/a/headgate:1@sha256:aa", Settings(image_repository="other/b"), "other/b:1@sha256:aa"),
        ("host:5000/a/headgate", Settings(image_repository="other/b"), "other/b"),
    ],
)
def test_the_image(default: str, settings: Settings, wanted: str) -> None:
    assert image_of(default, settings) == wanted


def test_a_fingerprint_changes_with_the_container() -> None:
    assert _processor().fingerprint == _processor().fingerprint
    assert _processor().fingerprint != _processor(settings=Settings(image="b:2")).fingerprint


def test_merged_gateways_share_the_settings_of_the_first_and_the_variables_of_all() -> None:
    """The pods of a class, which are there where `mergeGateways` is on."""
    documents = [*manifests.backend("claude", 1, "Anthropic", key="sk")]
    configs = {"a": {"image": "own:1", "env": [{"name": "A", "value": "a"}]}, "b": {"env": [{"name": "B"}]}, "c": None}
    for name, kubernetes in configs.items():
        gateway_class, gateway = manifests.gateway({"name": "http", "port": 80}, name=name)
        if kubernetes is not None:
            gateway["metadata"]["annotations"] = {CONFIG_ANNOTATION: name}
            spec = {"extProc": {"kubernetes": kubernetes}}
            documents.append(manifests.document(f"{manifests.AI}/v1beta1", "GatewayConfig", name, spec))
        rule = manifests.rule("m", manifests.ref("claude"))
        documents += [gateway, manifests.route(name, [rule], parent={"name": name}), *([gateway_class] * (name == "a"))]
    found = [read_object(each, NOWHERE) for each in documents]
    world = make_world(each.resource for each in found if each.resource)
    options = Options(mode=Mode.ENVOY_GATEWAY, extproc_sockets=("/run.sock",))
    wanted = wanted_processors(world, known_rules(compile_world(world, options).program), Sidecar(image="ours:1"))
    told = {str(name): (each.container["image"], each.container.get("env")) for name, each in wanted.items()}
    assert told == {
        "default/a": ("own:1", [{"name": "A", "value": "a"}]),
        "default/b": ("ours:1", [{"name": "B"}]),
        "default/c": ("ours:1", None),
        "headgate": ("own:1", [{"name": "B"}, {"name": "A", "value": "a"}]),
    }
    shared = msgspec.convert({"metadata": {"labels": {"gateway.envoyproxy.io/owning-gatewayclass": "headgate"}}}, Pod)
    assert shared.gateway == Name("", "headgate")
