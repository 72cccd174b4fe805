"""Beside the real Envoy Gateway: what did not change is not written again."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable

import pytest
from support import manifests
from support.ai_on_envoy_gateway import AiStage, standard_providers
from support.envoy_gateway import NAMESPACE
from support.kube import is_true
from support.waiting import wait_until


async def _versions(stage: AiStage) -> dict[str, str]:
    """Of every object that has a status of ours, once all are programmed and nothing is left to be written."""
    found: dict[str, str] = {}
    for kind in ("AIGatewayRoute", "AIServiceBackend", "BackendSecurityPolicy"):
        for each in await stage.kube.list(f"{manifests.AI}/v1beta1", kind, stage.namespace):
            item = {**each, "apiVersion": f"{manifests.AI}/v1beta1", "kind": kind}
            await stage.kube.wait_for(item, is_true("Programmed"), f"{kind} to be programmed")
    await asyncio.to_thread(wait_until, lambda: stage.controller.status()["statuses"]["idle"], "no more writes")
    for kind in ("AIGatewayRoute", "AIServiceBackend", "BackendSecurityPolicy"):
        for each in await stage.kube.list(f"{manifests.AI}/v1beta1", kind, stage.namespace):
            found[f"{kind}/{each['metadata']['name']}"] = each["metadata"]["resourceVersion"]
    return found


def _writes(stage: AiStage) -> tuple[int, int]:
    status = stage.controller.status()
    return status["objects"]["writes"], status["statuses"]["writes"]


@pytest.fixture
async def stage(make_stage: Callable[..., AiStage], namespace: str) -> AsyncIterator[AiStage]:
    """Its controller sees no objects of others, so every write is the test's."""
    async with make_stage(None, *_own(namespace), **standard_providers()) as made:
        await made.standard()
        yield made
        assert made.problems() == []


def _own(namespace: str) -> tuple[str, ...]:
    return ("--watch-namespaces", f"{namespace},{NAMESPACE}")


async def test_nothing_is_written_again_where_nothing_changed(stage: AiStage) -> None:
    """Not when Envoy Gateway translates for somebody else, nor by another controller, which it does not ask again."""
    versions, writes = await _versions(stage), _writes(stage)
    await stage.web_route("/app")
    await stage.until(lambda answer: answer.status_code == 200, lambda: stage.http.get("/app/x"))
    assert (await _versions(stage), _writes(stage)) == (versions, writes)
    stage.controller.child.signal(signal.SIGTERM)
    assert await asyncio.to_thread(stage.controller.child.wait) == 0
    stage.controller = await stage.start_controller("--no-leader-elect", *_own(stage.namespace))
    assert (await _versions(stage), _writes(stage)) == (versions, (0, 0))
    await stage.apply(manifests.route("late", [manifests.rule("late", manifests.ref("first"))]))
    await stage.served("late")
    after = await _versions(stage)
    assert {name for name in after if after[name] != versions.get(name)} == {"AIGatewayRoute/late"}
    assert _writes(stage)[0] == 3


async def test_a_change_that_only_we_see_reaches_envoy(stage: AiStage) -> None:
    writes = stage.controller.status()["objects"]["writes"]
    await stage.apply(manifests.secret("first", apiKey="sk-rotated"))
    stage.providers["first"].key = "sk-rotated"
    stage.providers["first"].forget()
    await stage.until(
        lambda answer: answer.status_code == 200 and "sk-rotated" in str(stage.providers["first"].last.headers),
        lambda: stage.chat("fast"),
    )
    stage.providers["first"].forget()
    assert stage.controller.status()["objects"]["writes"] == writes + 1
    assert stage.controller.status()["hooks"]["gateways"][f"{stage.namespace}/gateway"] == "Called"
