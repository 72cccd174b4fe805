"""What restarts, ends or is upgraded beside the real Envoy Gateway: traffic goes on, and who comes back knows."""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import httpx
import pytest
from headgate.compiler.envoy_gateway.sidecar import DIRECTORY
from support import manifests
from support.ai_on_envoy_gateway import POD_ADDRESS, AiStage, standard_providers
from support.checkout import older_checkout
from support.envoy_gateway import NAMESPACE
from support.kube import is_true, reference
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
from support.providers import Answer, Failure
from support.waiting import wait_until

CALLS_PER_SECOND = 50
ONE_CONNECTION = httpx.Limits(max_connections=1, keepalive_expiry=None)
COMMITS_BEFORE = 100
"""How old the Headgate is that is upgraded."""


@pytest.fixture
async def stage(make_stage: Callable[..., AiStage]) -> AsyncIterator[AiStage]:
    async with make_stage(**standard_providers()) as made:
        yield made
        assert made.problems() == []


async def _calls_through(
    stage: AiStage, work: Callable[[], Awaitable[None]], models: Sequence[str] = ("fast",)
) -> list[int]:
    """The statuses of calls that went on while `work` was done, and of some after it."""
    statuses: list[int] = []
    over = asyncio.Event()

    async def call(model: str) -> None:
        while not over.is_set():
            statuses.append((await stage.chat(model)).status_code)

    calling = [asyncio.create_task(call(models[number % len(models)])) for number in range(4)]
    try:
        await work()
    finally:
        over.set()
        await asyncio.gather(*calling)
    return [*statuses, *[(await stage.chat(models[number % len(models)])).status_code for number in range(20)]]


async def test_traffic_goes_on_while_controllers_come_and_go(stage: AiStage) -> None:
    await stage.standard()

    async def work() -> None:
        stage.controller.child.signal(signal.SIGKILL)
        await asyncio.to_thread(stage.envoy_gateway.restart)
        stage.controller = await stage.start_controller("--no-leader-elect")
        stage.envoy_gateway.stop()
        await asyncio.to_thread(stage.envoy_gateway.restart)
        rule = manifests.rule("late", manifests.ref("second"))
        await stage.apply(manifests.route("late", [rule]))
        await stage.served("late")

    statuses = await _calls_through(stage, work)
    assert set(statuses) == {200}, statuses
    assert len(statuses) > 100


async def test_traffic_goes_on_through_an_upgrade_which_translates_everything_again(stage: AiStage) -> None:
    await stage.standard()

    async def work() -> None:
        stage.controller.child.signal(signal.SIGTERM)
        assert await asyncio.to_thread(stage.controller.child.wait) == 0
        stage.controller = await stage.start_controller("--no-leader-elect", version="99.0")
        await asyncio.to_thread(wait_until, lambda: stage.controller.status()["hooks"]["heard"], "a call")
        assert stage.controller.status()["objects"]["writes"] >= 1  # the objects of other tests are written again too
        await stage.apply(manifests.route("late", [manifests.rule("late", manifests.ref("second"))]))
        await stage.served("late")

    statuses = await _calls_through(stage, work)
    assert set(statuses) == {200}, statuses
    assert len(statuses) > 100


async def test_traffic_goes_on_while_an_older_headgate_is_upgraded(make_stage: Callable[..., AiStage]) -> None:
    """Its controller first: until the pods are rolled, the processor of before serves what the new one compiles."""
    made = make_stage(**standard_providers())
    made.checkout = older_checkout(made.directory, COMMITS_BEFORE)
    async with made as stage:
        await stage.backend("first")
        await stage.backend("claude", "Anthropic")
        rules = [manifests.rule("fast", manifests.ref("first")), manifests.rule("claude", manifests.ref("claude"))]
        await stage.apply(manifests.route("chat", rules))
        await stage.start_envoy()
        await stage.served("fast")

        async def work() -> None:
            stage.controller.child.signal(signal.SIGTERM)
            assert await asyncio.to_thread(stage.controller.child.wait) == 0
            stage.checkout = None
            stage.controller = await stage.start_controller("--no-leader-elect", version="99.0")
            await stage.apply(manifests.route("late", [manifests.rule("late", manifests.ref("first"))]))
            await stage.served("late")

        statuses = await _calls_through(stage, work, ("fast", "claude"))
        assert set(statuses) == {200}, statuses
        assert len(statuses) > 100
        stage.processor.close()
        with await asyncio.to_thread(ProcessorProcess, stage.directory):
            await stage.until(lambda answer: answer.status_code == 200, lambda: stage.chat("claude"))
        assert stage.problems() == []


async def test_traffic_goes_on_while_envoy_gateway_is_upgraded(make_stage: Callable[..., AiStage]) -> None:
    """From the oldest that is supported: its translation is served by us as the newer one's is."""
    made = make_stage(**standard_providers())
    made.older = True
    async with made as stage:
        await stage.backend("first")
        await stage.apply(manifests.route("chat", [manifests.rule("fast", manifests.ref("first"))]))
        await stage.start_envoy()
        await stage.served("fast")

        async def work() -> None:
            await asyncio.to_thread(stage.envoy_gateway.upgrade)
            await stage.apply(manifests.route("late", [manifests.rule("late", manifests.ref("first"))]))
            await stage.served("late")

        statuses = await _calls_through(stage, work)
        assert set(statuses) == {200}, statuses
        assert len(statuses) > 100
        assert stage.problems() == []


async def test_a_leader_that_is_not_called_knows_what_another_replica_was_asked(stage: AiStage) -> None:
    await stage.standard()
    stage.controller.child.signal(signal.SIGTERM)
    await asyncio.to_thread(stage.controller.child.wait)
    replica = ("--leader-election-namespace", stage.namespace, "--service-name", "controllers")
    leader = await stage.start_controller(*replica, port=free_port())
    await asyncio.to_thread(wait_until, lambda: leader.status()["leading"], "a leader")
    called = stage.controller = await stage.start_controller(*replica)
    assert not called.status()["leading"]
    await stage.apply(manifests.route("late", [manifests.rule("late", manifests.ref("second"))]))
    await stage.served("late")
    assert called.status()["hooks"]["heard"]
    assert not leader.status()["hooks"]["heard"]
    route = reference(f"{manifests.AI}/v1beta1", "AIGatewayRoute", "late", stage.namespace)
    for number, each in enumerate((leader, called)):
        made = reference("discovery.k8s.io/v1", "EndpointSlice", f"controllers-{number}", stage.namespace)
        made["metadata"]["labels"] = {"kubernetes.io/service-name": "controllers"}
        ports = [{"name": "http-health", "port": each.health_port, "protocol": "TCP"}]
        await stage.kube.apply(
            {**made, "addressType": "IPv4", "ports": ports, "endpoints": [{"addresses": [POD_ADDRESS]}]}
        )
    await stage.kube.wait_for(route, is_true("Programmed"), "the route to be programmed")
    assert not leader.status()["hooks"]["heard"]


async def test_an_attempt_in_another_dialect_follows_one_that_failed(stage: AiStage) -> None:
    await stage.standard()
    refs = [manifests.ref("first", priority=0), manifests.ref("claude", priority=1, modelNameOverride="opus")]
    await stage.apply(manifests.route("mixed", [manifests.rule("mixed", *refs)]))
    await stage.served("mixed")
    stage.providers["first"].answer(Failure(503))
    answer = await stage.openai().chat.completions.create(model="mixed", messages=[{"role": "user", "content": "Hi"}])
    assert answer.choices[0].message.content
    assert stage.providers["claude"].last.json["model"] == "opus"
    message = await stage.anthropic().messages.create(
        model="mixed", max_tokens=64, messages=[{"role": "user", "content": "Hi"}]
    )
    assert message.content
    stage.processor.close()
    translated = await stage.chat("claude")
    assert (translated.status_code, translated.json()["error"]["code"]) == (503, "service_unavailable")
    stage.providers["first"].answer(Answer())
    assert (await stage.chat("fast")).status_code == 200


async def test_pods_of_envoy_gateway_get_a_processor_that_serves(stage: AiStage) -> None:
    """The pod of Envoy Gateway's own Deployment, created as a ReplicaSet does, and the command that is put into it."""
    port = free_port()
    await install_webhook(stage.kube, NAMESPACE, port)
    stage.controller.child.signal(signal.SIGTERM)
    await asyncio.to_thread(stage.controller.child.wait)
    webhook = ("--webhook-address", f"{LOOPBACK}:{port}", "--certificate-names", LOOPBACK)
    own = ("--leader-election-namespace", stage.namespace, "--webhook-configuration", f"headgate-pods.{NAMESPACE}")
    stage.controller = await stage.start_controller("--no-leader-elect", *webhook, *own)
    await stage.standard()
    try:
        await trusted_webhook(stage.kube, NAMESPACE)
        made = await admitted_pod(stage.kube, await stage.envoy_gateway.deployment(stage.gateway))
        envoy = next(each for each in made["spec"]["containers"] if each["name"] == "envoy")
        assert DIRECTORY in [each["mountPath"] for each in envoy["volumeMounts"]]
        stage.processor.close()
        assert (await stage.chat("claude")).status_code == 503
        arguments = processor_arguments(processor_of(made), stage.processor.socket_path)
        with ProcessorProcess(stage.directory, arguments=arguments):
            assert (await stage.served("claude")).json()["object"] == "chat.completion"
    finally:
        await stage.kube.delete(reference(ADMISSION, "MutatingWebhookConfiguration", f"headgate-pods.{NAMESPACE}"))
