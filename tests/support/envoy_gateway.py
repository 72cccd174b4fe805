"""The real Envoy Gateway on the test API server, and the Envoy that one of its pods would have been.

Envoy Gateway's ports and its `/certs` are fixed, so at most one runs at a time, and only in the sandbox that `make
cluster` makes. It takes up only GatewayClasses of its own `controller_name`, which is new for each start: Gateways of
earlier tests stay as they were. There is no kubelet: what Envoy Gateway deploys becomes Available (the API
server's `podready`), and `start_envoy` runs Envoy with what the Deployment says.
"""

import asyncio
import contextlib
import json
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml
from cluster.tools import ENVOY_GATEWAY_VERSION, OLDER_VERSION

from support.envoy import EnvoyProcess
from support.kube import ApiError, Kube, Object, is_true, reference, tools_directory, unique_name, write_secret
from support.ports import LOOPBACK, free_port
from support.processes import Child, started_server
from support.waiting import wait_until

NAMESPACE = "envoy-gateway-system"
GATEWAY = "gateway.networking.k8s.io/v1"
ENVOY = "gateway.envoyproxy.io/v1alpha1"
CERTS = Path("/certs")
SDS = Path("/sds")
"""Where the pods have the files that name their certificates; whatever configuration names them finds them here."""
READY_URL = "http://127.0.0.1:8081/readyz"
CONFIGURATION = "envoy-gateway.json"
HOOKS = ("Translation", "Cluster", "Route")
SERVICE_PORTS = {"grpc": 18000, "ratelimit": 18001, "wasm": 18002, "metrics": 19001}


@dataclass(frozen=True, slots=True)
class EnvoyGatewayOptions:
    """What a test may say of Envoy Gateway's configuration."""

    extension_server: tuple[str, int] | None = None
    """Address of our extension server; without it no hook is called."""
    hooks: tuple[str, ...] = HOOKS
    fail_open: bool = False
    older: bool = False
    """The oldest one that is supported, which `upgrade` replaces."""
    redis_url: str = ""
    """Turns on global rate limits; Envoy Gateway never talks to it."""
    extra: Mapping[str, Any] | None = None
    """More of the EnvoyGateway object, at any depth; it wins."""


class EnvoyGateway:
    """A running Envoy Gateway. Make it with `start_envoy_gateway`."""

    def __init__(
        self, child: Child, kube: Kube, directory: Path, controller_name: str, *, older: bool, owns: bool = True
    ) -> None:
        """`owns` is whether it ends the process that it is."""
        self._child = child
        self._owns = owns
        self._kube = kube
        self._directory = directory
        self._envoys: list[EnvoyProcess] = []
        self._older = older
        self.controller_name = controller_name
        self.gateway_class = ""
        self.merges = False

    @property
    def log(self) -> str:
        """What it wrote so far; it logs to stdout."""
        return self._child.stdout + self._child.stderr

    async def shared(self, kube: Kube, directory: Path) -> "EnvoyGateway":
        """The same process for one of several tests: a GatewayClass and Envoys of its own, which are all it closes."""
        made = EnvoyGateway(self._child, kube, directory, self.controller_name, older=self._older, owns=False)
        await made.make_gateway_class()
        return made

    async def make_gateway_class(self) -> str:
        """A GatewayClass of this Envoy Gateway whose Gateways get an address; returns its name."""
        name = unique_name("test")
        proxy = {
            **reference(ENVOY, "EnvoyProxy", name, NAMESPACE),
            "spec": {"provider": {"type": "Kubernetes", "kubernetes": {"envoyService": {"type": "ClusterIP"}}}},
        }
        parameters = {"group": "gateway.envoyproxy.io", "kind": "EnvoyProxy", "name": name, "namespace": NAMESPACE}
        gateway_class = {
            **reference(GATEWAY, "GatewayClass", name),
            "spec": {"controllerName": self.controller_name, "parametersRef": parameters},
        }
        await self._kube.apply_all([proxy, gateway_class])
        self.gateway_class = name
        return name

    async def programmed(self, gateway: Object) -> Object:
        """The Gateway once Envoy Gateway has set it Programmed."""
        self._child.require_alive()
        what = f"Gateway {gateway['metadata']['name']} to be Programmed"
        return await self._kube.wait_for(gateway, is_true("Programmed"), what)

    async def start_envoy(self, gateway: Object, **options: Any) -> EnvoyProcess:
        """The Envoy of a Gateway, once it is programmed; `options` as of `EnvoyProcess`. Stopped with Envoy Gateway."""
        await self.programmed(gateway)
        deployment = await self.deployment(gateway)
        directory = self._directory / f"envoy{len(self._envoys)}"
        directory.mkdir()
        await self._write_sds(directory, deployment["metadata"]["name"])
        said = _arguments(deployment)
        bootstrap = _bootstrap(said, directory, node=f"envoy-{len(self._envoys)}")
        drain = [part for name, value in said.items() if name.startswith("--drain-") for part in (name, value)]
        arguments = [*drain, "--file-flush-interval-msec", "200"]  # 10 s otherwise, for which tests would wait
        envoy = await asyncio.to_thread(partial(EnvoyProcess, bootstrap, directory, arguments=arguments, **options))
        self._envoys.append(envoy)
        return envoy

    async def deployment(self, gateway: Object) -> Object:
        """Of the Envoys of a Gateway that is programmed, which merged ones share."""
        owner = {"-name": gateway["metadata"]["name"], "-namespace": gateway["metadata"]["namespace"]}
        if self.merges:
            owner = {"class": self.gateway_class}
        selector = ",".join(f"gateway.envoyproxy.io/owning-gateway{key}={value}" for key, value in owner.items())
        (found,) = await self._kube.list("apps/v1", "Deployment", NAMESPACE, labelSelector=selector)
        return {**reference("apps/v1", "Deployment", found["metadata"]["name"], NAMESPACE), **found}

    async def merge_gateways(self) -> None:
        """Has the Gateways of its class, of which there are none yet, share their Envoys."""
        proxy = reference(ENVOY, "EnvoyProxy", self.gateway_class, NAMESPACE)
        await self._kube.patch(proxy, {"spec": {"mergeGateways": True}})
        self.merges = True

    async def _write_sds(self, directory: Path, config_map: str) -> None:
        """The certificate with which Envoy talks to Envoy Gateway, and the files that name it."""
        secret = await self._kube.get("v1", "Secret", "envoy", NAMESPACE)
        write_secret(secret, directory)
        files = (await self._kube.get("v1", "ConfigMap", config_map, NAMESPACE))["data"]
        for name, text in files.items():
            local = text.replace(f"{CERTS}/", f"{directory}/")
            (directory / name).write_text(local)
            (SDS / name).write_text(local)

    def stop(self) -> None:
        """Ends Envoy Gateway and leaves its Envoys; `restart` starts it again."""
        self._child.close()

    def restart(self) -> None:
        """Ends it, if it runs, and starts it with the same configuration; returns once it is ready."""
        self.stop()
        self._child = _start(self._directory, self._kube, older=self._older)

    def upgrade(self) -> None:
        """Replaces the older one by the newest, with the same configuration."""
        self.stop()
        self._older = False
        path = self._directory / CONFIGURATION
        path.write_text(path.read_text().replace(OLDER_VERSION, ENVOY_GATEWAY_VERSION))
        self._child = _start(self._directory, self._kube, older=False)

    def close(self) -> None:
        for envoy in self._envoys:
            envoy.close()
        if self._owns:
            self._child.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


async def start_envoy_gateway(kube: Kube, directory: Path, options: EnvoyGatewayOptions | None = None) -> EnvoyGateway:
    """Starts it with certificates of its own and waits until it is ready; its CRDs must be installed.

    `directory` must be empty and its path short.
    """
    await _install(kube)
    controller_name = f"gateway.envoyproxy.io/{unique_name('test')}"
    options = options or EnvoyGatewayOptions()
    config = _configuration(controller_name, options)
    (directory / CONFIGURATION).write_text(json.dumps(config))
    if await kube.find("v1", "Secret", "envoy-gateway", NAMESPACE) is None:  # once on an API server
        await asyncio.to_thread(_certgen, directory, kube)
    write_secret(await kube.get("v1", "Secret", "envoy-gateway", NAMESPACE), CERTS)
    child = await asyncio.to_thread(partial(_start, directory, kube, older=options.older))
    gateway = EnvoyGateway(child, kube, directory, controller_name, older=options.older)
    try:
        await gateway.make_gateway_class()
    except BaseException:
        gateway.close()
        raise
    return gateway


async def _install(kube: Kube) -> None:
    """What Envoy Gateway's chart leaves in its namespace and Envoy Gateway looks for."""
    if await kube.find("apps/v1", "Deployment", "envoy-gateway", NAMESPACE) is not None:
        return
    with contextlib.suppress(ApiError):
        await kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    labels = {"control-plane": "envoy-gateway"}
    ports = [{"name": name, "port": port} for name, port in SERVICE_PORTS.items()]
    container = {"name": "envoy-gateway", "image": "envoy-gateway"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    deployment = {"replicas": 0, "selector": {"matchLabels": labels}, "template": template}
    await kube.apply_all(
        [
            reference("v1", "ServiceAccount", "envoy-gateway", NAMESPACE),
            {**reference("v1", "Service", "envoy-gateway", NAMESPACE), "spec": {"selector": labels, "ports": ports}},
            {**reference("apps/v1", "Deployment", "envoy-gateway", NAMESPACE), "spec": deployment},
        ]
    )


def _configuration(controller_name: str, options: EnvoyGatewayOptions) -> Object:
    version = OLDER_VERSION if options.older else ENVOY_GATEWAY_VERSION
    config: Object = {
        "apiVersion": ENVOY,
        "kind": "EnvoyGateway",
        "gateway": {"controllerName": controller_name},
        "logging": {"level": {"default": "info"}},
        "provider": {
            "type": "Kubernetes",
            "kubernetes": {
                "leaderElection": {"disable": True},
                "topologyInjector": {"disable": True},
                # what a release puts there by itself
                "shutdownManager": {"image": f"docker.io/envoyproxy/gateway:{version}"},
            },
        },
        "extensionApis": {"enableBackend": True, "enableEnvoyPatchPolicy": True},
    }
    if not options.older:  # which does not know it: there scripts are on
        config["extensionApis"]["enableLua"] = True
    if options.redis_url:
        config["rateLimit"] = {"backend": {"type": "Redis", "redis": {"url": options.redis_url}}}
    if options.extension_server:
        host, port = options.extension_server
        everything = {"includeAll": True}
        translation = dict.fromkeys(("listener", "route", "cluster", "secret"), everything)
        config["extensionManager"] = {
            "maxMessageSize": "64Mi",
            "failOpen": options.fail_open,
            "hooks": {"xdsTranslator": {"translation": translation, "post": list(options.hooks)}},
            "service": {"ip": {"address": host, "port": port}},
        }
    return _merged(config, options.extra or {})


def _merged(base: Mapping[str, Any], more: Mapping[str, Any]) -> Object:
    """Maps are merged, everything else is replaced."""
    result = dict(base)
    for key, value in more.items():
        both = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        result[key] = _merged(result[key], value) if both else value  # pyright: ignore[reportUnknownArgumentType]
    return result


def _program(*, older: bool = False) -> str:
    tools = tools_directory()
    assert tools is not None, "Envoy Gateway runs only within `make cluster`"
    return str(tools / ("envoy-gateway-older" if older else "envoy-gateway"))


def _environment(kube: Kube) -> dict[str, str]:
    return {**os.environ, "KUBECONFIG": str(kube.access.kubeconfig), "ENVOY_GATEWAY_NAMESPACE": NAMESPACE}


def _certgen(directory: Path, kube: Kube) -> None:
    command = [_program(), "certgen", "--disable-topology-injector"]
    with Child(command, directory=directory, name="certgen", environment=_environment(kube)) as child:
        if child.wait() != 0:
            raise RuntimeError(f"certgen failed:\n{child.stdout[-2000:]}\n{child.stderr[-2000:]}")


def _start(directory: Path, kube: Kube, *, older: bool) -> Child:
    command = [_program(older=older), "server", "--config-path", str(directory / CONFIGURATION)]
    child = Child(command, directory=directory, name="envoy-gateway", environment=_environment(kube))

    def ready() -> bool:
        child.require_alive()
        try:
            with urllib.request.urlopen(READY_URL, timeout=5) as response:
                return response.status == 200
        except (urllib.error.URLError, ConnectionError):
            return False

    try:
        wait_until(ready, "Envoy Gateway to be ready", progress=child.progress)
    except BaseException:
        child.close()
        raise
    return child


class GatewaysLimiter:
    """The rate limit service as Envoy Gateway deploys it: command and environment are its Deployment's.

    Of these only ports and paths are the test's: `port` and `admin_port` for those that Envoy Gateway itself has taken
    here, `image` for the folder that `/bin` of the image is.
    """

    def __init__(self, deployment: Object, secret: Object, directory: Path, *, port: int, image: Path) -> None:
        self.port = port
        self.admin_port = free_port()
        certificates = directory / "rate-limit-certs"
        certificates.mkdir(exist_ok=True)
        write_secret(secret, certificates)
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        given = {each["name"]: each.get("value", "") for each in container["env"]}
        own = {name: value.replace(f"{CERTS}/", f"{certificates}/") for name, value in given.items()}
        own |= {"GRPC_PORT": str(port), "PORT": str(self.admin_port)}
        path = f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}"
        program, *arguments = container["command"]
        command = [program.replace("/bin/", f"{image}/"), *arguments]
        environment = {**own, "PATH": path}
        self.child = started_server(command, directory=directory, name="envoy-ratelimit", environment=environment)

    def limits(self) -> str:
        """What it is told to limit, as YAML."""
        with urllib.request.urlopen(f"http://{LOOPBACK}:{self.admin_port}/rlconfig", timeout=5) as response:
            return response.read().decode()

    def close(self) -> None:
        self.child.close()


def _arguments(deployment: Object) -> dict[str, str]:
    """Envoy's arguments by name, from the Deployment's first container."""
    written: list[str] = deployment["spec"]["template"]["spec"]["containers"][0]["args"]
    found: dict[str, str] = {}
    for argument, after in zip(written, [*written[1:], ""], strict=True):
        if argument.startswith("--"):
            name, equals, value = argument.partition("=")
            found[name] = value if equals or after.startswith("--") else after
    return found


def _bootstrap(arguments: Mapping[str, str], directory: Path, *, node: str) -> Object:
    """The Deployment's bootstrap for an Envoy on this machine: keys are in `directory`, Envoy Gateway on loopback."""
    text = arguments["--config-yaml"].replace("/sds/", f"{directory}/").replace("$(ENVOY_SERVICE_ZONE)", "")
    bootstrap: Object = yaml.safe_load(text)
    bootstrap.pop("admin", None)
    bootstrap["node"] = {**bootstrap.get("node", {}), "id": node, "cluster": arguments["--service-cluster"]}
    # Envoy would wait 15 s for the endpoints of its own Service, which nobody sends.
    local = bootstrap.get("cluster_manager", {}).pop("local_cluster_name", None)
    resources = bootstrap["static_resources"]
    resources["clusters"] = [each for each in resources["clusters"] if each["name"] != local]
    for listener in resources.get("listeners", []):
        listener["address"]["socket_address"].update(address=LOOPBACK, port_value=0)
    for cluster in resources["clusters"]:
        for locality in cluster.get("load_assignment", {}).get("endpoints", []):
            for endpoint in locality["lb_endpoints"]:
                address = endpoint["endpoint"]["address"]["socket_address"]
                if address["address"].startswith("envoy-gateway."):
                    address["address"] = LOOPBACK
    return bootstrap
