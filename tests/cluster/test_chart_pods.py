"""The chart's pods, run as they are rendered: commands, volumes, probes, hooks, accounts and names of Services."""

import asyncio
from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from headgate.collector.store.asking import ask
from headgate.collector.store.database import StoreError, open_engine
from headgate.collector.store.question import Question
from support import manifests
from support.helm import rendered
from support.kube import Access, Kube, Object, is_true, reference, tools_directory, unique_name
from support.pod import MountedSecret, Pod
from support.ports import LOOPBACK, free_port
from support.providers import ANTHROPIC, OPENAI, Answer, Provider, Usage
from support.waiting import wait_until

CHART = Path(__file__).parents[2] / "manifests" / "chart"
KEY = "key-of-ann"
ACCEPTED = ("AIGatewayRoute", "AIServiceBackend", "BackendSecurityPolicy", "LimitPolicy")


def _one(objects: list[Object], kind: str, name: str = "") -> Object:
    (found,) = [each for each in objects if each["kind"] == kind and name in ("", each["metadata"]["name"])]
    return found


def _installation(namespace: str, class_name: str, port: int) -> list[Object]:
    """Standalone with all that it can have."""
    settings = {
        "mode": "standalone",
        "controller.watch.namespaces": f"{{{namespace}}}",
        "controller.replicaCount": "1",
        "envoy.gatewayClass.name": class_name,
        "envoy.drainSeconds": "5",
        "envoy.service.ports[0].name": "http",
        "envoy.service.ports[0].port": str(port),
        "collector.enabled": "true",
        "collector.store.existingSecret": "usage",
        "collector.prices.prices[0].model": "*",
        "collector.prices.prices[0].input": "1",
        "collector.prices.prices[0].output": "2",
        "collector.prices.teams.research": "{ann}",
    }
    arguments = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
    return rendered("headgate", CHART, namespace, *arguments)


def _documents(namespace: str, class_name: str, port: int, providers: Mapping[str, Provider]) -> list[Object]:
    """A Gateway with clients of keys, a native and a translated model, and two requests an hour for a third."""
    listeners = [{"name": "http", "port": port, "protocol": "HTTP"}]
    spec = {"gatewayClassName": class_name, "listeners": listeners}
    documents = [{**reference("gateway.networking.k8s.io/v1", "Gateway", manifests.GATEWAY), "spec": spec}]
    documents += manifests.backend("openai", providers["openai"].port, key="sk-openai")
    documents += manifests.backend("claude", providers["claude"].port, "Anthropic", key="sk-claude")
    rules = [
        manifests.rule("native", manifests.ref("openai")),
        manifests.rule("translated", manifests.ref("claude")),
    ]
    documents.append(manifests.route("chat", rules))
    documents.append(manifests.route("scarce", [manifests.rule("scarce", manifests.ref("openai"))]))
    documents += manifests.api_keys("clients", manifests.target("Gateway", manifests.GATEWAY), {"ann": KEY})
    limit = {"name": "few", "unit": "requests", "amount": 2, "window": "hour"}
    target = {"group": "aigateway.envoyproxy.io", "kind": "AIGatewayRoute", "name": "scarce"}
    policy = {"targetRefs": [target], "rules": [limit]}
    documents.append(manifests.document("headgate.dev/v1alpha1", "LimitPolicy", "few", policy))
    return [{**each, "metadata": {**each["metadata"], "namespace": namespace}} for each in documents]


async def _call(client: httpx.AsyncClient, model: str) -> httpx.Response:
    body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": "Hi"}]}
    return await client.post("/v1/chat/completions", json=body, headers={"authorization": f"Bearer {KEY}"})


async def test_a_standalone_installation_serves_as_it_is_rendered(
    kube: Kube, kube_access: Access, namespace: str, our_crds: None, gateway_crds: None, short_path: Path, postgres: str
) -> None:
    """Controller, Envoy, processor, rate limit service and collector; usage in Postgres; the pod ends in order."""
    if tools_directory() is None:
        pytest.skip("needs a network of its own: run `make cluster` without KUBECONFIG")
    class_name, port = unique_name("ours"), free_port()
    objects = _installation(namespace, class_name, port)
    for each in objects:
        if each["kind"] != "Deployment":
            await kube.apply(each)
    token = await kube.service_account_token(namespace, _one(objects, "ServiceAccount")["metadata"]["name"])
    names = [f"headgate-controller.{namespace}.svc"]
    controller = Pod(
        _one(objects, "Deployment", "headgate-controller"), short_path, services=names, account=(kube_access, token)
    )
    certificate = MountedSecret(short_path / "certificate")
    config_maps = {each["metadata"]["name"]: each["data"] for each in objects if each["kind"] == "ConfigMap"}
    envoy = Pod(
        _one(objects, "Deployment", "headgate-envoy"),
        short_path,
        volumes={"certificate": certificate.directory},
        config_maps=config_maps,
        secrets={"usage": {"url": postgres}},
        services=names,
    )
    with (
        Provider(OPENAI, key="sk-openai") as openai,
        Provider(ANTHROPIC, key="sk-claude") as claude,
        closing(controller),
        closing(envoy),
    ):
        for provider in (openai, claude):
            provider.answer(Answer(text="as rendered", usage=Usage(input=11, output=7)))
        await asyncio.to_thread(controller.start)
        certificate.write(await kube.get("v1", "Secret", "headgate-envoy-tls", namespace))
        documents = _documents(namespace, class_name, port, {"openai": openai, "claude": claude})
        for each in documents:
            await kube.apply(each)
        for each in documents:  # kinds are watched apart: what is asked of Envoy must not meet half of it
            if each["kind"] in ACCEPTED:
                await kube.wait_for(each, is_true("Accepted"), f"{each['kind']} to be accepted")
        await asyncio.to_thread(envoy.start)
        await _served(envoy, port)
        gateway = reference("gateway.networking.k8s.io/v1", "Gateway", manifests.GATEWAY, namespace)
        await kube.wait_for(gateway, is_true("Programmed"), "the Gateway to be programmed")
        assert openai.problems == claude.problems == []
        sums = await asyncio.to_thread(wait_until, lambda: _usage(postgres, input_tokens=44), "usage in Postgres")
        assert sums == {("ann", "research", "native"): (11, 7), ("ann", "research", "translated"): (11, 7)} | {
            ("ann", "research", "scarce"): (22, 14)
        }
        codes = await asyncio.to_thread(envoy.close)
        assert set(codes.values()) == {0}, envoy.said()
        assert await asyncio.to_thread(controller.close) == {"controller": 0}, controller.said()


async def _served(envoy: Pod, port: int) -> None:
    """Both lanes, the limit, and every page that a monitor asks for."""
    async with httpx.AsyncClient(base_url=f"http://{LOOPBACK}:{port}", timeout=30) as client:
        async with asyncio.timeout(30):
            while True:
                with suppress(httpx.HTTPError):
                    known = await client.get("/v1/models", headers={"authorization": f"Bearer {KEY}"})
                    if known.status_code == 200 and (await client.get("/v1/models")).status_code == 401:
                        break
                await asyncio.sleep(0.1)
        for model in ("native", "translated"):
            answer = await _call(client, model)
            assert answer.status_code == 200, f"{model}: {answer.text}; {envoy.said()}"
            assert answer.json()["choices"][0]["message"]["content"] == "as rendered"
        assert [(await _call(client, "scarce")).status_code for _ in range(3)] == [200, 200, 429], envoy.said()
        for container, name, path in (
            ("envoy", "metrics", "/stats/prometheus"),
            ("extproc-0", "extproc-0", "/metrics"),
            ("ratelimit", "ratelimit", "/metrics"),
            ("collector", "collector", "/metrics"),
        ):
            page = await client.get(f"http://{LOOPBACK}:{envoy.port(container, name)}{path}")
            assert page.status_code == 200, container


def _usage(url: str, *, input_tokens: int) -> Mapping[tuple[str, ...], tuple[int, int]] | None:
    """Input and output tokens by client, team and model, once there are so many."""
    engine = open_engine(url)
    try:
        rows = ask(engine, Question(by=("key", "team", "model")))
    except StoreError:  # no tables yet
        return None
    finally:
        engine.dispose()
    found = {each.group: (each.sums["input_tokens"], each.sums["output_tokens"]) for each in rows}
    answered = {group: sums for group, sums in found.items() if any(sums)}
    return answered if sum(read for read, _ in answered.values()) >= input_tokens else None
