"""The processor beside Envoy in a pod of Envoy Gateway's: which pods need it, and the JSON patch that puts it there.

    wanted_processors(world, rules, sidecar)   by Gateway, and by class: the container that its pods need
    injection(pod, processor) -> [..]          the patch for one of them; empty where the pod has it already

Names are Envoy AI Gateway's (compat): users' EnvoyProxy patches, dashboards and alerts know them.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

import msgspec
from headgate.compiler.envoy_gateway.rules import GatewayRules, Rules
from headgate.compiler.lanes import needs_processor as rule_needs_processor
from headgate.compiler.resolve.scope import CONFIG_ANNOTATION
from headgate.compiler.resources.ai_gateway import GatewayConfigExtProcKubernetes
from headgate.compiler.resources.metadata import Name, Struct
from headgate.compiler.world import World

CONTAINER: Final = "ai-gateway-extproc"
VOLUME: Final = "ai-gateway-extproc-uds"
DIRECTORY: Final = "/etc/ai-gateway-extproc-uds"
SOCKET: Final = f"{DIRECTORY}/run.sock"
ADMIN_PORT: Final = 1064
ADMIN_PORT_NAME: Final = "aigw-admin"
ENVOY_CONTAINER: Final = "envoy"
GATEWAY_NAME_LABEL: Final = "gateway.envoyproxy.io/owning-gateway-name"
GATEWAY_NAMESPACE_LABEL: Final = "gateway.envoyproxy.io/owning-gateway-namespace"
GATEWAY_CLASS_LABEL: Final = "gateway.envoyproxy.io/owning-gatewayclass"
"""In place of the two where the Gateways of a class share their Envoys (`mergeGateways`)."""
PROXIES: Final = "app.kubernetes.io/managed-by=envoy-gateway,app.kubernetes.io/component=proxy"
"""Selects Envoy Gateway's Envoys: pods, Deployments and DaemonSets."""
NONROOT: Final = 65532
"""The user of Envoy Gateway's proxies too: a unix socket opens only to its owner."""
POD_ANNOTATION: Final = "headgate.dev/processor"
"""On pods that we changed: a hash of the container that was put in."""
RUNTIME_GUARD: Final = "envoy.reloadable_features.grpc_side_stream_flow_control"
"""Must be off where the processor runs: with it Envoy up to 1.40 crashes when a filter upstream is told to wait."""

Json = Mapping[str, object]

_SECURITY_CONTEXT: Final[Json] = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "privileged": False,
    "readOnlyRootFilesystem": True,
    "runAsGroup": NONROOT,
    "runAsNonRoot": True,
    "runAsUser": NONROOT,
    "seccompProfile": {"type": "RuntimeDefault"},
}


class Container(Struct, frozen=True, kw_only=True, forbid_unknown_fields=False):
    """What is read of a pod's container."""

    name: str = ""
    image: str = ""
    volume_mounts: tuple[Json, ...] | None = None


class PodSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=False):
    """What is read of a pod's `spec`."""

    containers: tuple[Container, ...] = ()
    init_containers: tuple[Container, ...] | None = None
    volumes: tuple[Json, ...] | None = None
    image_pull_secrets: tuple[Json, ...] | None = None


class PodMetadata(Struct, frozen=True, kw_only=True, forbid_unknown_fields=False):
    """What is read of a pod's `metadata`."""

    name: str = ""
    namespace: str = ""
    labels: Mapping[str, str] | None = None
    annotations: Mapping[str, str] | None = None
    deletion_timestamp: str = ""


class Pod(Struct, frozen=True, kw_only=True, forbid_unknown_fields=False):
    """What is read of a pod."""

    metadata: PodMetadata = PodMetadata()
    spec: PodSpec = PodSpec()

    @property
    def gateway(self) -> Name | None:
        """The Gateway whose Envoy it runs; where that serves all Gateways of a class, the class."""
        labels = self.metadata.labels or {}
        name, namespace = labels.get(GATEWAY_NAME_LABEL, ""), labels.get(GATEWAY_NAMESPACE_LABEL, "")
        if name and namespace:
            return Name(namespace, name)
        shared = labels.get(GATEWAY_CLASS_LABEL, "")
        return Name("", shared) if shared else None

    @property
    def has_processor(self) -> bool:
        """Whether the processor's container is there."""
        return any(each.name == CONTAINER for each in (*self.spec.containers, *(self.spec.init_containers or ())))


@dataclass(frozen=True, slots=True, kw_only=True)
class Sidecar:
    """The processor's container, where no GatewayConfig says otherwise."""

    image: str
    image_pull_policy: str = "IfNotPresent"
    image_pull_secrets: tuple[str, ...] = ()
    log_level: str = "info"
    log_format: str = "json"
    environment: tuple[tuple[str, str], ...] = ()
    native: bool = True
    """As an init container that keeps running (Kubernetes 1.33): it starts before Envoy and ends after it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Processor:
    """What the pods of a Gateway need."""

    container: Json
    native: bool
    image_pull_secrets: tuple[str, ...]

    @property
    def fingerprint(self) -> str:
        """A hash of all of it."""
        text = msgspec.json.encode((self.container, self.native, self.image_pull_secrets), order="deterministic")
        return sha256(text).hexdigest()[:16]


def wanted_processors(world: World, rules: Rules, sidecar: Sidecar) -> Mapping[Name, Processor]:
    """The container that the pods of each Gateway need; Gateways without translated routes are not in it.

    So do the pods of a class whose Gateways share them: nothing but their labels says whether there are any.
    """
    settings: dict[Name, GatewayConfigExtProcKubernetes] = {}
    shared: defaultdict[Name, list[GatewayConfigExtProcKubernetes]] = defaultdict(list)
    for text, known in sorted(rules.by_gateway.items()):
        namespace, _, name = text.partition("/")
        gateway = world.gateways.get(Name(namespace, name))
        if gateway is not None and needs_processor(known):
            settings[gateway.name] = container_settings(world, gateway.name)
            shared[Name("", gateway.spec.gateway_class_name)].append(settings[gateway.name])
    settings |= {name: _joined(each) for name, each in shared.items()}
    return {
        name: Processor(
            container=container_json(sidecar, each),
            native=sidecar.native,
            image_pull_secrets=sidecar.image_pull_secrets,
        )
        for name, each in settings.items()
    }


def _joined(several: Sequence[GatewayConfigExtProcKubernetes]) -> GatewayConfigExtProcKubernetes:
    """Of Gateways that share a pod: those of the first that says anything, with the variables of all."""
    nothing = GatewayConfigExtProcKubernetes()
    first = next((each for each in several if each != nothing), nothing)
    variables = {each.get("name"): each for settings in reversed(several) for each in settings.env}
    return msgspec.structs.replace(first, env=tuple(variables.values()))


def needs_processor(rules: GatewayRules) -> bool:
    """Whether any path of a Gateway's rules goes through the processor."""
    return any(rule_needs_processor(known.rule) for known in rules.values())


def container_settings(world: World, gateway: Name) -> GatewayConfigExtProcKubernetes:
    """What the Gateway's GatewayConfig says of the container; nothing where there is none."""
    found = world.gateways.get(gateway)
    name = found.metadata.annotations.get(CONFIG_ANNOTATION, "") if found is not None else ""
    config = world.gateway_configs.get(Name(gateway.namespace, name)) if name else None
    processor = config.spec.ext_proc if config is not None else None
    return (processor.kubernetes if processor is not None else None) or GatewayConfigExtProcKubernetes()


def injection(pod: Pod, processor: Processor) -> Sequence[Json]:
    """A JSON patch (RFC 6902) for a pod; empty where it has the processor, or no Envoy."""
    envoy = next((index for index, each in enumerate(pod.spec.containers) if each.name == ENVOY_CONTAINER), None)
    if envoy is None or pod.has_processor:
        return ()
    return tuple(_operations(pod, envoy, processor))


def _operations(pod: Pod, envoy: int, processor: Processor) -> Iterator[Json]:
    spec = pod.spec
    if processor.native:
        yield _append("/spec/initContainers", spec.init_containers, processor.container)
    else:
        yield _append("/spec/containers", spec.containers, processor.container)
    if not any(each.get("name") == VOLUME for each in spec.volumes or ()):
        yield _append("/spec/volumes", spec.volumes, {"name": VOLUME, "emptyDir": {}})
    mounts = spec.containers[envoy].volume_mounts
    if not any(each.get("mountPath") == DIRECTORY for each in mounts or ()):
        yield _append(f"/spec/containers/{envoy}/volumeMounts", mounts, _MOUNT)
    known = {each.get("name") for each in spec.image_pull_secrets or ()}
    missing = [{"name": name} for name in processor.image_pull_secrets if name not in known]
    if missing:
        path, present = "/spec/imagePullSecrets", spec.image_pull_secrets or ()
        yield {"op": "add", "path": path, "value": [*present, *missing]}
    annotations = {**(pod.metadata.annotations or {}), POD_ANNOTATION: processor.fingerprint}
    yield {"op": "add", "path": "/metadata/annotations", "value": annotations}


_MOUNT: Final[Json] = {"name": VOLUME, "mountPath": DIRECTORY}


def _append(path: str, present: Sequence[object] | None, value: Json) -> Json:
    if present:
        return {"op": "add", "path": f"{path}/-", "value": value}
    return {"op": "add", "path": path, "value": [value]}


def container_json(sidecar: Sidecar, settings: GatewayConfigExtProcKubernetes) -> Json:
    """The container as the API has it."""
    probe: Json = {"httpGet": {"path": "/health", "port": ADMIN_PORT}, "timeoutSeconds": 5}
    container: dict[str, object] = {
        "name": CONTAINER,
        "image": image_of(sidecar.image, settings),
        "imagePullPolicy": sidecar.image_pull_policy,
        "command": ["headgate-extproc"],
        "args": _arguments(sidecar),
        "ports": [{"name": ADMIN_PORT_NAME, "containerPort": ADMIN_PORT}],
        "readinessProbe": {**probe, "periodSeconds": 10, "failureThreshold": 3},
        # One that hangs is killed, and not asked to end for as long as Envoy is.
        "livenessProbe": {**probe, "periodSeconds": 5, "failureThreshold": 6, "terminationGracePeriodSeconds": 5},
        "securityContext": settings.security_context or _SECURITY_CONTEXT,
        "volumeMounts": [_MOUNT, *settings.volume_mounts],
    }
    if sidecar.native:
        # Envoy's container starts when this one is up: its first request finds the socket.
        container["restartPolicy"] = "Always"
        container["startupProbe"] = {**probe, "periodSeconds": 1, "failureThreshold": 60}
    if environment := _environment(sidecar, settings):
        container["env"] = environment
    if settings.resources:
        container["resources"] = settings.resources
    return container


def image_of(default: str, settings: GatewayConfigExtProcKubernetes) -> str:
    """The image: the GatewayConfig's, or its repository with the default's tag or digest, or the default."""
    if settings.image or not settings.image_repository:
        return settings.image or default
    slash = default.rfind("/")
    marks = [place for mark in "@:" if (place := default.find(mark, slash + 1)) > 0]
    return settings.image_repository + (default[min(marks) :] if marks else "")


def _arguments(sidecar: Sidecar) -> Sequence[str]:
    # The empty host is every address of both families: the kubelet's probes come to the pod's own.
    admin = ("--admin-host", "", "--admin-port", str(ADMIN_PORT))
    return [
        *("--address", f"unix:{SOCKET}", *admin),
        *("--log-level", sidecar.log_level, "--log-format", sidecar.log_format),
    ]


def _environment(sidecar: Sidecar, settings: GatewayConfigExtProcKubernetes) -> Sequence[Json]:
    """Ours, then the GatewayConfig's: of the same name, its own in our place."""
    merged: dict[object, Json] = {name: {"name": name, "value": value} for name, value in sidecar.environment}
    merged.update({each.get("name"): each for each in settings.env})
    return list(merged.values())
