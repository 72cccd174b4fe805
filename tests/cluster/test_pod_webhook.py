"""The pod webhook on a real API server: pods get the processor, certificates rotate, pods from before are rolled."""

import asyncio
import base64
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography import x509
from headgate.compiler.envoy_gateway.sidecar import CONTAINER, POD_ANNOTATION, VOLUME
from headgate.compiler.options import Mode
from headgate.controller.rbac import NAME, PROXY_NAMESPACE, objects
from headgate.controller.webhook.rollout import TEMPLATE_ANNOTATION
from support import manifests
from support.controller import Controller
from support.kube import Access, ApiError, Kube, Object, reference, unique_name
from support.pod_webhook import ADMISSION, install_webhook
from support.ports import LOOPBACK, free_port

GATEWAY_API = "gateway.networking.k8s.io/v1"
AI = "aigateway.envoyproxy.io/v1beta1"
Run = Callable[..., Controller]


@pytest.fixture
def run_controller(kube_access: Access, short_path: Path, gateway_crds: None, our_crds: None) -> Iterator[Run]:
    """Starts `headgate-controller --mode envoy-gateway` with a webhook."""
    started: list[Controller] = []

    def run(
        namespace: str, port: int, *arguments: str, name: str = "controller", kubeconfig: Path | None = None
    ) -> Controller:
        always = ["--mode", "envoy-gateway", "--extension-address", f"{LOOPBACK}:{free_port()}"]
        always += ["--webhook-address", f"{LOOPBACK}:{port}", "--certificate-names", LOOPBACK]
        always += ["--leader-election-namespace", namespace, "--proxy-namespaces", namespace]
        always += ["--watch-namespaces", namespace]
        config = kubeconfig or kube_access.kubeconfig
        started.append(Controller(config, short_path, *always, *arguments, name=name))
        return started[-1]

    yield run
    for each in started:
        each.close()


def _labels(namespace: str, gateway: str) -> dict[str, str]:
    prefix = "gateway.envoyproxy.io/owning-gateway"
    names = {f"{prefix}-name": gateway, f"{prefix}-namespace": namespace}
    return {"app.kubernetes.io/managed-by": "envoy-gateway", "app.kubernetes.io/component": "proxy", **names}


def _template(namespace: str, gateway: str) -> Object:
    containers = [{"name": "envoy", "image": "envoy"}, {"name": "shutdown-manager", "image": "envoy"}]
    return {"metadata": {"labels": _labels(namespace, gateway)}, "spec": {"containers": containers}}


def _pod(namespace: str, gateway: str = "gateway") -> Object:
    item, template = reference("v1", "Pod", unique_name("pod"), namespace), _template(namespace, gateway)
    return {**item, "metadata": {**item["metadata"], **template["metadata"]}, "spec": template["spec"]}


async def _translated_route(kube: Kube, namespace: str) -> None:
    """A Gateway whose route translates for one of the clients."""
    gateway_class = unique_name("eg")
    class_spec = {"controllerName": "gateway.envoyproxy.io/gatewayclass-controller"}
    listeners = [{"name": "http", "port": 8080, "protocol": "HTTP"}]
    documents: list[Object] = [
        {**reference(GATEWAY_API, "GatewayClass", gateway_class), "spec": class_spec},
        {
            **reference(GATEWAY_API, "Gateway", "gateway", namespace),
            "spec": {"gatewayClassName": gateway_class, "listeners": listeners},
        },
    ]
    documents += manifests.backend("claude", 9, "Anthropic", key="sk")
    documents.append(manifests.route("route", [manifests.rule("claude", manifests.ref("claude"))]))
    for each in documents:
        if each["kind"] == "Backend":
            each["spec"]["endpoints"] = [{"ip": {"address": "10.99.0.1", "port": 9}}]
        await kube.apply({**each, "metadata": {"namespace": namespace, **each["metadata"]}})


def _processors(pod: Object) -> list[Object]:
    return [each for each in pod["spec"].get("initContainers", ()) if each["name"] == CONTAINER]


async def _ready(controller: Controller) -> None:
    await asyncio.to_thread(controller.wait_ready)


async def _needed(kube: Kube, namespace: str, controller: Controller) -> None:
    """Until the webhook knows that the Gateway needs the processor, and the API server trusts it."""
    configuration = reference(ADMISSION, "MutatingWebhookConfiguration", f"headgate-pods.{namespace}")
    await kube.wait_for(
        configuration, lambda found: bool(found["webhooks"][0]["clientConfig"].get("caBundle")), "the caBundle"
    )

    def known() -> bool:
        return controller.status().get("webhook", {}).get("gateways") == [f"{namespace}/gateway"]

    async with asyncio.timeout(20):
        while not await asyncio.to_thread(known):  # noqa: ASYNC110 - it is another process
            await asyncio.sleep(0.1)


async def test_a_pod_gets_the_processor_once_and_as_its_gateway_config_says(
    kube: Kube, namespace: str, run_controller: Run
) -> None:
    port = free_port()
    await install_webhook(kube, namespace, port)
    with pytest.raises(ApiError, match="failed calling webhook"):  # nothing answers yet: no pod without its processor
        await kube.create(_pod(namespace), dry_run=True)
    controller = run_controller(namespace, port, "--extproc-image", "registry/headgate:9", "--extproc-env", "A=1;B=2")
    await _ready(controller)
    await _translated_route(kube, namespace)
    await _needed(kube, namespace, controller)

    pod = await kube.create(_pod(namespace))
    (processor,) = _processors(pod)
    assert processor["image"] == "registry/headgate:9"
    assert processor["restartPolicy"] == "Always"
    assert [volume["name"] for volume in pod["spec"]["volumes"]] == [VOLUME]
    assert pod["metadata"]["annotations"][POD_ANNOTATION]
    for container in (*pod["spec"]["containers"][:1], processor):
        assert [mount["mountPath"] for mount in container["volumeMounts"]] == ["/etc/ai-gateway-extproc-uds"]

    again = {**_pod(namespace), "spec": {**pod["spec"]}}
    assert len(_processors(await kube.create(again))) == 1
    other = await kube.create(_pod(namespace, gateway="another"))
    assert _processors(other) == []

    settings = {"imageRepository": "mirror/headgate", "env": [{"name": "B", "value": "theirs"}]}
    settings |= {"resources": {"requests": {"cpu": "2"}}}
    await kube.apply(
        {**reference(AI, "GatewayConfig", "config", namespace), "spec": {"extProc": {"kubernetes": settings}}}
    )
    gateway = reference(GATEWAY_API, "Gateway", "gateway", namespace)
    await kube.patch(gateway, {"metadata": {"annotations": {"aigateway.envoyproxy.io/gateway-config": "config"}}})
    async with asyncio.timeout(20):
        while True:
            (processor,) = _processors(await kube.create(_pod(namespace), dry_run=True))
            if processor["image"] == "mirror/headgate:9":
                break
            await asyncio.sleep(0.1)
    assert processor["env"] == [{"name": "A", "value": "1"}, {"name": "B", "value": "theirs"}]
    assert processor["resources"]["requests"] == {"cpu": "2"}


async def test_certificates_rotate_and_every_replica_goes_on_answering(
    kube: Kube, namespace: str, run_controller: Run
) -> None:
    """Certificates of 6 s: two replicas answer without a break while certificates are renewed under them."""
    ports = (free_port(), free_port())
    await install_webhook(kube, namespace, ports[0])
    replicas = [
        run_controller(namespace, port, "--certificate-lifetime", "6s", name=f"replica{index}")
        for index, port in enumerate(ports)
    ]
    for each in replicas:
        await _ready(each)
    await _translated_route(kube, namespace)
    await _needed(kube, namespace, replicas[0])
    configuration = reference(ADMISSION, "MutatingWebhookConfiguration", f"headgate-pods.{namespace}")
    serials: set[int] = set()
    calls = 0
    async with asyncio.timeout(60):
        while len(serials) < 5:
            for port in ports:
                change = [{"op": "replace", "path": "/webhooks/0/clientConfig/url"}]
                change[0]["value"] = f"https://{LOOPBACK}:{port}/mutate"
                await kube.request(
                    "PATCH", await kube.path(configuration), change, content_type="application/json-patch+json"
                )
                assert len(_processors(await kube.create(_pod(namespace), dry_run=True))) == 1
                calls += 1
            secret = await kube.get("v1", "Secret", "headgate-controller-tls", namespace)
            pem = base64.b64decode(secret["data"]["tls.crt"])
            serials.add(x509.load_pem_x509_certificate(pem).serial_number)
            await asyncio.sleep(0.1)
    print(f"{calls} pods were reviewed across {len(serials)} certificates")
    leading = [each.status()["leading"] for each in replicas]
    assert sorted(leading) == [False, True]


async def test_pods_from_before_are_rolled_once(kube: Kube, namespace: str, run_controller: Run) -> None:
    port = free_port()
    controller = run_controller(namespace, port)
    await _ready(controller)
    await install_webhook(kube, namespace, port)
    deployment = {
        **reference("apps/v1", "Deployment", "proxy", namespace),
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": _labels(namespace, "gateway")},
            "template": _template(namespace, "gateway"),
        },
    }
    deployment["metadata"]["labels"] = _labels(namespace, "gateway")
    await kube.wait_for(
        reference(ADMISSION, "MutatingWebhookConfiguration", f"headgate-pods.{namespace}"),
        lambda found: bool(found["webhooks"][0]["clientConfig"].get("caBundle")),
        "the caBundle",
    )
    await kube.create(deployment)
    await kube.wait_for(deployment, lambda found: found.get("status", {}).get("readyReplicas") == 2, "two pods")
    before = await kube.list("v1", "Pod", namespace)
    assert [_processors(pod) for pod in before] == [[], []]

    await _translated_route(kube, namespace)

    async def rolled() -> bool:
        pods = [pod for pod in await kube.list("v1", "Pod", namespace) if not pod["metadata"].get("deletionTimestamp")]
        return len(pods) == 2 and all(len(_processors(pod)) == 1 for pod in pods)

    async with asyncio.timeout(40):
        while not await rolled():  # noqa: ASYNC110 - it is the API server that knows
            await asyncio.sleep(0.2)
    found = await kube.get("apps/v1", "Deployment", "proxy", namespace)
    assert found["spec"]["template"]["metadata"]["annotations"][TEMPLATE_ANNOTATION]
    assert controller.status()["webhook"]["restarts"] == 1


async def test_the_webhook_needs_no_more_rights_than_the_role_gives(
    kube: Kube, kube_access: Access, namespace: str, short_path: Path, run_controller: Run
) -> None:
    """As its own ServiceAccount: certificates, caBundle and rollouts, and no Secret of others is written."""
    made = objects(Mode.ENVOY_GATEWAY, namespace=namespace, watch_namespaces=(namespace,))
    suffix = unique_name("x")
    for each in made:
        item: Object = {**each, "metadata": {**each["metadata"]}}  # pyright: ignore
        if item["metadata"].get("namespace") == PROXY_NAMESPACE:
            item["metadata"]["namespace"] = namespace
        if item["kind"].startswith("ClusterRole"):
            item["metadata"]["name"] += suffix
            if "roleRef" in item:
                item["roleRef"] = {**item["roleRef"], "name": item["roleRef"]["name"] + suffix}
        await kube.apply(item)
    port = free_port()
    await install_webhook(kube, namespace, port)
    token = await kube.service_account_token(namespace, NAME)
    config = short_path / "own.yaml"
    config.write_text(kube_access.kubeconfig.read_text().replace(kube_access.token, token))
    controller = run_controller(namespace, port, kubeconfig=config)
    await _ready(controller)
    await _translated_route(kube, namespace)
    await _needed(kube, namespace, controller)
    assert len(_processors(await kube.create(_pod(namespace)))) == 1
    log = controller.stdout + controller.stderr
    assert "forbidden" not in log.lower()
