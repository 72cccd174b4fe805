"""Captured content beside Envoy Gateway: asked for by a GatewayConfig, of one Gateway and not of another."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from headgate.compiler.resolve.scope import CONFIG_ANNOTATION
from headgate.contract.otel import CAPTURE_VARIABLE
from support import manifests
from support.ai_on_envoy_gateway import POD_ADDRESS, TOLERATED, AiStage
from support.envoy_gateway import ENVOY, NAMESPACE, EnvoyGateway
from support.kube import Kube, Object, condition, reference
from support.otlp import OtlpReceiver, Span
from support.pod_webhook import (
    ADMISSION,
    admitted_pod,
    install_webhook,
    processor_arguments,
    processor_of,
    trusted_webhook,
)
from support.ports import LOOPBACK, free_port
from support.processor import ProcessorProcess
from support.providers import ANTHROPIC, OPENAI, Answer, Provider
from support.waiting import wait_until

MODELS = {"loud": ("fast", "claude"), "quiet": ("fast", "claude"), "both": ("shared",)}
"""By route; the last one is on both Gateways."""
PARENTS = {"loud": ("gateway",), "quiet": ("quiet",), "both": ("gateway", "quiet")}


@pytest.fixture
def receiver() -> OtlpReceiver:
    return OtlpReceiver(host=POD_ADDRESS)


@pytest.fixture(params=[False, True], ids=["apart", "merged"])
async def stage(
    kube: Kube,
    namespace: str,
    our_crds: None,
    run_envoy_gateway: Callable[..., Awaitable[EnvoyGateway]],
    short_path: Path,
    receiver: OtlpReceiver,
    request: pytest.FixtureRequest,
) -> AsyncIterator[AiStage]:
    """With the pod webhook and two Gateways, which share their Envoys as the parameter says; one of them captures."""
    directory, port = short_path / "stage", free_port()
    directory.mkdir()
    provider = partial(Provider, host=POD_ADDRESS, tolerated_headers=TOLERATED)
    providers = {"first": provider(OPENAI, key="sk-first"), "claude": provider(ANTHROPIC, key="sk-claude")}
    webhook = ("--webhook-address", f"{LOOPBACK}:{port}", "--certificate-names", LOOPBACK)
    own = ("--leader-election-namespace", namespace, "--webhook-configuration", f"headgate-pods.{NAMESPACE}")
    made = await install_webhook(kube, NAMESPACE, port)
    stage = AiStage(kube, namespace, run_envoy_gateway, directory, None, *webhook, *own, **providers)
    stage.merges = request.param
    try:
        with receiver:
            async with stage:
                await trusted_webhook(kube, NAMESPACE)
                yield stage
                assert stage.problems() == []
    finally:
        await kube.delete(reference(ADMISSION, "MutatingWebhookConfiguration", made["metadata"]["name"]))


async def _collector(kube: Kube, receiver: OtlpReceiver) -> list[Object]:
    """The Service of the receiver, as one names it in an EnvoyProxy, with where it listens."""
    service = {"ports": [{"name": "grpc", "port": 4317}], "clusterIP": "None"}
    endpoints = reference("discovery.k8s.io/v1", "EndpointSlice", "otel-collector", NAMESPACE)
    endpoints["metadata"]["labels"] = {"kubernetes.io/service-name": "otel-collector"}
    ports = [{"name": "grpc", "port": receiver.grpc_port, "protocol": "TCP"}]
    listed: list[Object] = [
        {**reference("v1", "Service", "otel-collector", NAMESPACE), "spec": service},
        {
            **endpoints,
            "addressType": "IPv4",
            "ports": ports,
            "endpoints": [{"addresses": [POD_ADDRESS], "conditions": {"ready": True}}],
        },
    ]
    return await kube.apply_all(listed)


async def _routes(stage: AiStage, receiver: OtlpReceiver, quiet_port: int) -> Object:
    """The Gateways' routes; returns the Gateway that captures nothing."""
    variables = {
        CAPTURE_VARIABLE: "span_and_event",
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.http_url,
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        "OTEL_BLRP_SCHEDULE_DELAY": "100",
    }
    env = [{"name": name, "value": value} for name, value in variables.items()]
    config = {"extProc": {"kubernetes": {"env": env}}}
    await stage.apply(manifests.document(f"{manifests.AI}/v1beta1", "GatewayConfig", "tells", config))
    await stage.add_gateway("gateway", stage.port, **{CONFIG_ANNOTATION: "tells"})
    quiet = await stage.add_gateway("quiet", quiet_port)
    await stage.backend("first")
    await stage.backend("claude", "Anthropic")
    for name, models in MODELS.items():
        rules = [manifests.rule(model, manifests.ref("claude" if model == "claude" else "first")) for model in models]
        route = manifests.route(name, rules)
        route["spec"]["parentRefs"] = [{"name": parent} for parent in PARENTS[name]]
        await stage.apply(route)
    return quiet


async def _processor(stage: AiStage) -> ProcessorProcess:
    """As the pods of the Gateway that captures have it, once the webhook has read its GatewayConfig."""
    deployment = await stage.envoy_gateway.deployment(stage.gateway)
    container: Object = {}
    async with asyncio.timeout(20):
        while not container.get("env"):
            container = processor_of(await admitted_pod(stage.kube, deployment))
            await asyncio.sleep(0.1)
    stage.processor.close()
    arguments = processor_arguments(container, stage.processor.socket_path)
    environment = {each["name"]: each["value"] for each in container["env"]}
    return await asyncio.to_thread(
        partial(ProcessorProcess, stage.directory, arguments=arguments, environment=environment)
    )


async def _asked(client: httpx.AsyncClient, model: str, *, traced: bool = True) -> str:
    """The id of the trace of one chat, whose prompt has that id in it; `traced` is whether the client begins one."""
    trace = secrets.token_hex(16)
    body = {"model": model, "messages": [{"role": "user", "content": f"I am {trace}"}]}
    headers = {"traceparent": f"00-{trace}-{secrets.token_hex(8)}-01"} if traced else {}
    answer = await client.post("/v1/chat/completions", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    return trace


def _is_content(span: Span) -> bool:
    return "gen_ai.input.messages" in span.attributes


def _said(found: Mapping[str, Any], text: str) -> bool:
    return text in condition(dict(found), "Programmed").get("message", "")


async def test_content_is_captured_of_the_gateway_that_asks_for_it(stage: AiStage, receiver: OtlpReceiver) -> None:
    kube, quiet_port = stage.kube, free_port()
    for provider in stage.providers.values():
        provider.answer(Answer(text="Good day!"))
    quiet = await _routes(stage, receiver, quiet_port)
    await stage.start_envoy()
    if not stage.merges:
        await stage.envoy_gateway.start_envoy(quiet)
    async with httpx.AsyncClient(base_url=f"http://{LOOPBACK}:{quiet_port}", timeout=30) as other:
        for model in (*MODELS["loud"], *MODELS["both"]):
            await stage.served(model)
            body = {"model": model, "messages": [{"role": "user", "content": "Hi"}]}
            await stage.until(
                lambda answer: answer.status_code == 200,
                lambda body=body: other.post("/v1/chat/completions", json=body),
            )
        with await _processor(stage):
            await _is_told_and_mended(stage, receiver)
            silent = [await _asked(other, model) for name in ("quiet", "both") for model in MODELS[name]]
            shared = await _asked(stage.http, "shared")
            told = [await _asked(stage.http, model) for model in MODELS["loud"]]
            captured = {*told, *(() if stage.merges else (shared,))}
            spans = await asyncio.to_thread(receiver.wait, lambda span: span.trace in captured and _is_content(span), 2)
            await asyncio.to_thread(
                wait_until, lambda: captured <= {each.trace for each in receiver.received.logs}, "the log records"
            )
    asked = json.loads(str(spans[0]["gen_ai.input.messages"]))[0]["parts"][0]["content"]
    assert asked == f"I am {spans[0].trace}"
    assert "Good day!" in str(spans[0]["gen_ai.output.messages"])
    everything = b"".join(receiver.received.raw)
    for trace in (*silent, *({shared} - captured)):
        assert f"I am {trace}".encode() not in everything
    if stage.merges:
        both = reference(f"{manifests.AI}/v1beta1", "AIGatewayRoute", "both", stage.namespace)
        await kube.wait_for(both, lambda item: _said(item, "mergeGateways"), "what merged Gateways cannot do")


async def _is_told_and_mended(stage: AiStage, receiver: OtlpReceiver) -> None:
    """Without traces nothing is captured, which the routes say; what they say to write, mends it."""
    kube = stage.kube
    loud, quiet = (
        reference(f"{manifests.AI}/v1beta1", "AIGatewayRoute", name, stage.namespace) for name in ("loud", "quiet")
    )
    told = await kube.wait_for(loud, lambda item: _said(item, "nothing is captured"), "what is missing")
    assert condition(told, "Programmed")["status"] == "True"
    (line,) = [
        each for each in condition(told, "Programmed")["message"].splitlines() if each.startswith("nothing is captured")
    ]
    untraced = await _asked(stage.http, "fast", traced=False)
    what, _, remedy = line.partition("; try: in the EnvoyProxy, spec.telemetry.tracing: ")
    assert what.endswith(f"the Envoys of {stage.namespace}/gateway trace none"), line
    assert not _said(await kube.get(*_named(quiet)), "nothing is captured")
    await _collector(kube, receiver)
    proxy = reference(ENVOY, "EnvoyProxy", stage.envoy_gateway.gateway_class, NAMESPACE)
    await kube.patch(proxy, {"spec": {"telemetry": {"tracing": yaml.safe_load(remedy)}}})
    await kube.wait_for(loud, lambda item: not _said(item, "nothing is captured"), "nothing to be missing")
    async with asyncio.timeout(20):
        while not any(map(_is_content, receiver.received.spans)):
            await _asked(stage.http, "fast", traced=False)
            await asyncio.sleep(0.1)
    assert f"I am {untraced}".encode() not in b"".join(receiver.received.raw)


def _named(item: Object) -> tuple[str, str, str, str]:
    metadata = item["metadata"]
    return item["apiVersion"], item["kind"], metadata["name"], metadata["namespace"]
