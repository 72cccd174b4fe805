"""A GatewayConfig's forward proxy beside the real Envoy Gateway, and policies that Envoy Gateway alone reads."""

import asyncio
import gc
from collections.abc import Callable
from functools import partial

import pytest
from headgate.cli.main import main
from headgate.compiler.resolve.scope import CONFIG_ANNOTATION
from support import manifests
from support.ai_on_envoy_gateway import POD_ADDRESS, TOLERATED, AiStage
from support.connect_proxy import ConnectProxy
from support.kube import Access, Kube
from support.manifests import AI, ENVOY_GATEWAY, document, ref, rule
from support.providers import ANTHROPIC, OPENAI, Provider


async def _egress(stage: AiStage, address: str) -> None:
    await stage.apply(document(f"{AI}/v1beta1", "GatewayConfig", "egress", {"forwardProxy": {"address": address}}))


async def test_backends_are_reached_through_the_gateways_proxy(share_stage: Callable[..., AiStage]) -> None:
    """In both lanes, as soon as the annotation is there, and not around a proxy that cannot be used."""
    provider = partial(Provider, host=POD_ADDRESS, tolerated_headers=TOLERATED)
    providers = {"first": provider(OPENAI, key="sk-first"), "claude": provider(ANTHROPIC, key="sk-claude")}
    with ConnectProxy({}) as proxy:
        async with share_stage(**providers) as stage:
            await stage.backend("first")
            await stage.backend("claude", "Anthropic")
            await stage.apply(manifests.route("chat", [rule("fast", ref("first")), rule("claude", ref("claude"))]))
            await stage.start_envoy()
            await stage.served("fast")
            assert not proxy.asked
            await _egress(stage, proxy.address)
            await stage.add_gateway("gateway", stage.port, **{CONFIG_ANNOTATION: "egress"})
            for model, name in (("fast", "first"), ("claude", "claude")):
                target = f"{POD_ADDRESS}:{providers[name].port}"
                await stage.until(lambda _, target=target: target in proxy.asked, partial(stage.chat, model))
                await stage.served(model)
            await _egress(stage, "proxy.corp:3128")
            closed = await stage.until(lambda answer: answer.status_code == 503, partial(stage.chat, "fast"))
            assert "The proxy that this gateway reaches providers through" in closed.json()["error"]["message"]
            said = await stage.condition("GatewayConfig", "egress", "NotAccepted")
            assert said is not None
            assert "is no IP address with a port" in said["message"]
            await _egress(stage, proxy.address)
            await stage.served("fast")
            assert stage.problems() == []


async def test_check_tells_nothing_of_what_envoy_gateway_serves(
    kube: Kube,
    kube_access: Access,
    gateway_crds: None,
    our_crds: None,
    namespace: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """External authorization, which a gateway of ours would refuse to leave out."""
    (gateway,) = manifests.gateway({"port": 80})[1:]
    authorization = {"http": {"backendRefs": [{"name": "authorization", "port": 80}]}}
    spec = {**manifests.target("Gateway", "gateway"), "extAuth": authorization}
    made = [
        gateway,
        *manifests.backend("b", 80),
        manifests.route("chat", [rule("m", ref("b"))]),
        document(f"{ENVOY_GATEWAY}/v1alpha1", "SecurityPolicy", "guard", spec),
    ]
    for each in made:
        if each["kind"] == "Backend":
            each["spec"]["endpoints"] = [{"fqdn": {"hostname": "api.test", "port": 80}}]
        each["metadata"]["namespace"] = namespace
        await kube.apply(each)
    cluster = ("--kubeconfig", str(kube_access.kubeconfig), "-n", namespace)
    # no class names this one, so the Gateways are Envoy Gateway's
    code = await asyncio.to_thread(main, ["check", *cluster, "--controller-name", "example.com/nobody"])
    gc.collect()  # a socket that was left open is an error here, and not in whichever test comes later
    told = capsys.readouterr()
    assert (code, told.out) == (0, ""), told
