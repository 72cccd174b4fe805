"""The pages on Kubernetes, followed to the letter: commands are run and manifests applied as they are written.

On an API server of their own, since they name what they make. There is no kubelet: Envoy Gateway and the controller's
pod are run here, as their Deployments say. Not run are `port-forward`, which asks a kubelet, and what comes from
registries: Envoy Gateway's chart is the one of `make cluster`, Envoy AI Gateway's a stand-in with its names.
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.checkout import older_checkout
from support.docs import REPOSITORY, Shell, block, blocks
from support.envoy_gateway import ENVOY, GATEWAY, EnvoyGateway, EnvoyGatewayOptions, start_envoy_gateway
from support.envoy_gateway import NAMESPACE as PROXIES
from support.kube import (
    MISSING,
    Access,
    Kube,
    Object,
    crds_served,
    is_true,
    read_crds,
    reference,
    tools_directory,
)
from support.kube_seed import kube_with_gateway_crds
from support.pod import Pod
from support.waiting import wait_until

AI = "aigateway.envoyproxy.io/v1beta1"
OURS = "headgate-system"
THEIRS = "envoy-ai-gateway-system"
WEBHOOK = 10443
COMMITS_BEFORE = 60
"""How far back an upgrade starts."""
SPECS: Mapping[tuple[str, str], Object] = {
    (AI, "AIGatewayRoute"): {"parentRefs": [{"name": "g"}], "rules": [{"backendRefs": [{"name": "mine"}]}]},
    (AI, "AIServiceBackend"): {
        "schema": {"name": "OpenAI"},
        "backendRef": {"name": "b", "kind": "Backend", "group": "gateway.envoyproxy.io"},
    },
    (AI, "BackendSecurityPolicy"): {"type": "APIKey", "apiKey": {"secretRef": {"name": "key"}}},
    (AI, "MCPRoute"): {"parentRefs": [{"name": "g"}], "backendRefs": [{"name": "server", "port": 80}]},
    ("aigateway.envoyproxy.io/v1alpha1", "QuotaPolicy"): {
        "targetRefs": [{"group": "aigateway.envoyproxy.io", "kind": "AIServiceBackend", "name": "mine"}]
    },
}
"""What Envoy AI Gateway's controller puts its finalizer on."""
FINALIZER = "aigateway.envoyproxy.io/finalizer"


@dataclass(frozen=True, slots=True)
class Site:
    """An API server with the definitions of Gateway API and Envoy Gateway, and somebody at a prompt."""

    access: Access
    shell: Shell

    def helm_names(self, namespace: str) -> set[str]:
        return set(self.shell(f"helm list -n {namespace} -q").split())


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    """For one test alone, so that nothing needs to be removed after it: a namespace with pods takes minutes to go."""
    tools = tools_directory()
    if tools is None:
        pytest.skip(f"{MISSING}; not on a cluster of KUBECONFIG, which has what the docs install")
    with tempfile.TemporaryDirectory(prefix="hg-") as directory, kube_with_gateway_crds(Path(directory)) as server:
        shell = Shell(
            Path(directory),
            server.access.kubeconfig,
            helm=tools / "helm",
            kubectl=tools / "kubectl",
            gateway_chart=tools / "gateway-helm",
        )
        async with Kube(server.access) as kube:
            await crds_served(kube, read_crds(tools / "crds.json"))
        shell(f"kubectl create namespace {PROXIES}")
        yield Site(server.access, shell)


@pytest.fixture
async def prompt(site: Site) -> AsyncIterator[Kube]:
    """A client of that API server, for what no page says."""
    async with Kube(site.access) as client:
        yield client


async def _do(site: Site, commands: str, *, stdin: str = "", code: int = 0) -> str:
    return await asyncio.to_thread(partial(site.shell, commands, stdin=stdin, code=code))


async def _install(site: Site) -> None:
    """Step 1 of install.md."""
    said = await _do(site, block("install.md", "1. Headgate").text)
    assert said.count("STATUS: deployed") == 2


async def _controller(site: Site, kube: Kube, directory: Path) -> Pod:
    """The pod of the Deployment that Helm installed, with its account."""
    deployment = await kube.get("apps/v1", "Deployment", "headgate-controller", OURS)
    for each in deployment["spec"]["template"]["spec"]["containers"]:
        each["args"] = [
            part.replace("--webhook-address=:9443", f"--webhook-address=:{WEBHOOK}") for part in each["args"]
        ]
    token = await kube.service_account_token(OURS, "headgate-controller")
    return Pod(deployment, directory, account=(site.access, token))


async def _move_webhook(kube: Kube) -> None:
    """To a port that Envoy Gateway has not taken: here they are on one machine."""
    service = await kube.get("v1", "Service", "headgate-controller", OURS)
    ports = [{**each, "port": WEBHOOK} if each["port"] == 9443 else each for each in service["spec"]["ports"]]
    await kube.patch(service, {"spec": {"ports": ports}})
    kind = "admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration"
    found = await kube.get(*kind, f"headgate-pods.{OURS}")
    (webhook,) = found["webhooks"]
    webhook["clientConfig"]["service"]["port"] = WEBHOOK
    await kube.patch(found, {"webhooks": [webhook]})


async def _envoy_gateway(kube: Kube, directory: Path) -> EnvoyGateway:
    """Envoy Gateway with the configuration that Helm installed for it."""
    found = await kube.get("v1", "ConfigMap", "envoy-gateway-config", PROXIES)
    configuration = yaml.safe_load(found["data"]["envoy-gateway.yaml"])
    return await start_envoy_gateway(kube, directory, EnvoyGatewayOptions(extra=configuration))


async def _shows(site: Site, commands: str, *wanted: str, seconds: float = 60.0) -> str:
    """What commands print, once all of that is in it."""
    last = ""

    def found() -> str:
        nonlocal last
        last = site.shell(commands)
        return last if all(each in last for each in wanted) else ""

    try:
        return await asyncio.to_thread(
            partial(wait_until, found, f"{commands!r} to show {wanted}", timeout_seconds=seconds)
        )
    except TimeoutError as error:
        raise AssertionError(f"{error}: {last}") from None


async def test_installed_on_envoy_gateway(site: Site, prompt: Kube, short_path: Path) -> None:
    """install.md: from nothing to a route that Envoy Gateway has asked for."""
    await _install(site)
    await _do(site, block("install.md", "2. Envoy Gateway asks Headgate").text)
    await _do(site, "kubectl apply -f -", stdin=block("install.md", "3. An Envoy that can", language="yaml").text)
    await _move_webhook(prompt)
    controller = await _controller(site, prompt, short_path)
    with closing(controller):
        await asyncio.to_thread(controller.start)
        (eg := short_path / "eg").mkdir()
        with await _envoy_gateway(prompt, eg):
            apply, look = (block("install.md", "4. A route", number=number).text for number in (0, 1))
            await _do(site, apply)
            key = await prompt.get("v1", "Secret", "anthropic", "default")
            assert key["data"]["apiKey"] == "4oCm", "what the page has in place of a key"
            table, describe, pods = look.strip().splitlines()
            await _shows(site, table, "claude   Accepted")
            route = reference(AI, "AIGatewayRoute", "claude", "default")
            await prompt.wait_for(route, is_true("Programmed"), "Envoy Gateway to ask")
            said = await _do(site, describe)
            assert said.count("Status:                True") == 3, said
            shown = await _shows(site, f"{pods.partition('#')[0]} -o wide", "envoy-default-gateway")
            await _shows(site, f"kubectl -n {PROXIES} get pods -o jsonpath='{{..name}}'", "ai-gateway-extproc")
            assert "envoy-default-gateway" in shown
        configuration = block("install.md", "The processor", language="yaml").text
        await _do(site, "kubectl apply -f -", stdin=configuration)
        await _shows(site, "kubectl get gwconfig big", "Accepted")


async def test_installed_without_helm(site: Site, prompt: Kube) -> None:
    """What install.md says for those; the same objects as the chart's, which a test of the chart compares."""
    for command in (
        "kubectl apply --server-side -f manifests/crds",
        "kubectl apply --server-side -k manifests/kustomize/envoy-gateway",
    ):
        assert command in (REPOSITORY / "docs" / "install.md").read_text()
        await _do(site, command)
    await prompt.get("apps/v1", "Deployment", "headgate-controller", OURS)
    await _do(site, "kubectl delete -k manifests/kustomize/envoy-gateway")


async def test_upgraded_and_taken_back(site: Site, prompt: Kube, tmp_path: Path) -> None:
    """operate.md, from an older chart and its definitions; values that were said stay."""
    old = older_checkout(tmp_path, COMMITS_BEFORE, "manifests")
    settings = "--set controller.replicaCount=3"
    await _do(site, f"helm install headgate-crds {old}/manifests/crds-chart")
    await _do(site, f"helm install headgate {old}/manifests/chart -n {OURS} --create-namespace {settings}")
    await _do(site, "kubectl apply -f -", stdin=yaml.safe_dump(_objects()[0]))
    said = await _do(site, block("operate.md", "Upgrade").text)
    assert said.count("STATUS: deployed") == 2
    assert said.count("REVISION: 2") == 2
    deployment = await prompt.get("apps/v1", "Deployment", "headgate-controller", OURS)
    assert deployment["spec"]["replicas"] == 3
    await prompt.get(AI, "AIGatewayRoute", "mine", "default")
    await _do(site, "helm rollback headgate -n headgate-system")


def _objects(**metadata: Any) -> list[Object]:
    made = [{**reference(version, kind, "mine", "default"), "spec": spec} for (version, kind), spec in SPECS.items()]
    return [{**each, "metadata": {**each["metadata"], **metadata}} for each in made]


def _surroundings() -> list[Object]:
    """What those refer to."""
    listeners = [{"name": "http", "port": 8080, "protocol": "HTTP"}]
    endpoints = [{"fqdn": {"hostname": "provider.example.com", "port": 443}}]
    return [
        {**reference("v1", "Secret", "key", "default"), "stringData": {"apiKey": "sk"}},
        {**reference(ENVOY, "Backend", "b", "default"), "spec": {"endpoints": endpoints}},
        {**reference(GATEWAY, "Gateway", "g", "default"), "spec": {"gatewayClassName": "eg", "listeners": listeners}},
    ]


async def test_removed_leaves_what_the_page_says(site: Site, prompt: Kube, short_path: Path) -> None:
    """operate.md: "Remove" and "Rotate", with a controller that has made what it makes."""
    await _install(site)
    controller = await _controller(site, prompt, short_path)
    with closing(controller):
        await asyncio.to_thread(controller.start)
        await prompt.apply(_objects()[0])
        secret = ("v1", "Secret", "headgate-controller-tls", OURS)
        before = await prompt.get(*secret)
        (rotate,) = [
            part for part in (REPOSITORY / "docs" / "operate.md").read_text().split("`") if "delete secret" in part
        ]
        await _do(site, rotate)
        item = reference(*secret)
        await prompt.wait_for(item, lambda found: found["data"] != before["data"], "another certificate")
    await _do(site, block("operate.md", "Remove").text)
    left = await _do(site, f"kubectl get deployments,services,roles,secrets,leases,configmaps -n {OURS} -o name")
    kept = {line for line in left.splitlines() if "kube-root-ca" not in line}
    assert kept == {
        "secret/headgate-authority",
        "secret/headgate-controller-tls",
        "lease.coordination.k8s.io/headgate-controller",
    }
    assert (
        await prompt.find("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration", f"headgate-pods.{OURS}")
        is None
    )
    await prompt.get(AI, "AIGatewayRoute", "mine", "default")
    await _do(site, "helm uninstall headgate-crds")
    await prompt.get(AI, "AIGatewayRoute", "mine", "default")
    await _do(site, "kubectl delete -f manifests/crds")


def _their_charts(directory: Path) -> None:
    """Charts of Envoy AI Gateway's names: its definitions are those of ours, whose shape is the same."""
    for name, templates in (
        (
            "crds",
            {path.name: path.read_text() for path in sorted((REPOSITORY / "manifests" / "crds").glob("aigateway*"))},
        ),
        (
            "controller",
            {"account.yaml": yaml.safe_dump(reference("v1", "ServiceAccount", "ai-gateway-controller", THEIRS))},
        ),
    ):
        chart = directory / name
        (chart / "templates").mkdir(parents=True)
        (chart / "Chart.yaml").write_text(
            yaml.safe_dump({"apiVersion": "v2", "name": f"aieg-{name}", "version": "1.1.0"})
        )
        for file, text in templates.items():
            # no templates: descriptions may hold braces
            (chart / "templates" / file).write_text("{{ `" + text.replace("`", '` }}{{ "`" }}{{ `') + "` }}")


async def test_migrated_there_and_back(site: Site, prompt: Kube, tmp_path: Path) -> None:
    """migrate.md: objects stay, and can be deleted afterwards; the way back installs what was there."""
    their = tmp_path / "their"
    _their_charts(their)
    theirs = f"helm install aieg-crd {their}/crds {{}} -n {THEIRS} && helm install aieg {their}/controller -n {THEIRS}"
    await _do(site, theirs.format("--create-namespace"))
    for each in (*_surroundings(), *_objects(finalizers=[FINALIZER])):
        await prompt.apply(each)
    look, leave, take, finalizers = [each.text for each in blocks("migrate.md") if each.heading == "There"]
    kubeconfig = str(site.access.kubeconfig)
    with tempfile.TemporaryDirectory(prefix="hg-") as written:
        said = await _do(
            site,
            look.replace("~/.kube/config", kubeconfig).replace("before.yaml", f"{written}/before.yaml"),
        )
        assert "default/mine" in said
        files = await _do(site, f"headgate check {written}/before.yaml", code=1)
        assert "MCPRoute is not supported" in files, "what was kept can be read as files too"
    await _do(site, leave)
    await _do(site, take)
    assert site.helm_names(THEIRS) == set()
    await _install_again(site)
    await _do(site, finalizers)
    for each in _objects():
        await prompt.get(each["apiVersion"], each["kind"], "mine", "default")
        await prompt.delete(each)
        await prompt.wait_gone(each)
    (back,) = [each.text for each in blocks("migrate.md") if each.heading == "Back"]
    remove, install = back.strip().splitlines()
    await _do(site, remove)
    assert install.startswith("helm install aieg-crd … && helm install aieg …")
    await _do(site, theirs.format("--take-ownership"))
    labels = {"gateway.envoyproxy.io/owning-gateway-name": "gateway"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "envoy", "image": "envoy"}]}}
    proxy = reference("apps/v1", "Deployment", "proxy", PROXIES)
    proxy["metadata"]["labels"] = labels
    await prompt.apply({**proxy, "spec": {"selector": {"matchLabels": labels}, "template": template}})
    (restart,) = [
        part for part in (REPOSITORY / "docs" / "migrate.md").read_text().split("`") if "rollout restart" in part
    ]
    assert "restarted" in await _do(site, restart)
    await prompt.delete(proxy)


async def _install_again(site: Site) -> None:
    """Step 4 of migrate.md: step 1 of install.md, of which the definitions are there already."""
    *_, install = block("install.md", "1. Headgate").text.strip().splitlines()
    assert "STATUS: deployed" in await _do(site, install)
    assert "headgate-crds" in site.helm_names("default")


async def test_standalone(site: Site, prompt: Kube, short_path: Path) -> None:
    """standalone.md: the release, its Gateway, an example, and the values for production."""
    page = "standalone.md"
    install, example = [each.text for each in blocks(page) if each.language == "sh"]
    gateway, values = [each.text for each in blocks(page) if each.language == "yaml"]
    await _do(site, install)
    controller = await _controller(site, prompt, short_path)
    with closing(controller):
        await asyncio.to_thread(controller.start)
        await _do(site, "kubectl apply -f -", stdin=gateway)
        await _do(site, example)
        found = reference(GATEWAY, "Gateway", "gateway", "default")
        await prompt.wait_for(found, is_true("Programmed"), "Programmed")
        await _shows(site, "kubectl get gateway gateway", "headgate", f"headgate-envoy.{OURS}.svc", "True")
        await _shows(site, "kubectl get aigatewayroutes -A", "models   Accepted")
    await _do(site, f"helm upgrade headgate manifests/chart -n {OURS} --values -", stdin=values)
    scaler = await prompt.get("autoscaling/v2", "HorizontalPodAutoscaler", "headgate-envoy", OURS)
    assert (scaler["spec"]["minReplicas"], scaler["spec"]["maxReplicas"]) == (3, 20)
