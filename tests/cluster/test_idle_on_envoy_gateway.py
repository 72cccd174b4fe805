"""Beside the real Envoy Gateway: what did not change is not written again."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

from support import manifests
from support.ai_on_envoy_gateway import POD_ADDRESS, TOLERATED, AiStage
from support.envoy_gateway import NAMESPACE, EnvoyGateway
from support.kube import Kube, is_true
from support.providers import OPENAI, Provider
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


async def test_nothing_is_written_again_where_nothing_changed(
    kube: Kube,
    namespace: str,
    our_crds: None,
    run_envoy_gateway: Callable[..., Awaitable[EnvoyGateway]],
    short_path: Path,
) -> None:
    """Not when Envoy Gateway translates for somebody else, nor by another controller, which it does not ask again."""
    first = Provider(OPENAI, key="sk-first", host=POD_ADDRESS, tolerated_headers=TOLERATED)
    directory = short_path / "stage"
    directory.mkdir()
    own = ("--watch-namespaces", f"{namespace},{NAMESPACE}")
    async with AiStage(kube, namespace, run_envoy_gateway, directory, None, *own, first=first) as stage:
        await stage.backend("first")
        await stage.apply(manifests.route("chat", [manifests.rule("fast", manifests.ref("first"))]))
        await stage.start_envoy()
        await stage.served("fast")
        versions, writes = await _versions(stage), _writes(stage)
        await stage.web_route("/app")
        await stage.until(lambda answer: answer.status_code == 200, lambda: stage.http.get("/app/x"))
        assert (await _versions(stage), _writes(stage)) == (versions, writes)
        stage.controller.child.signal(signal.SIGTERM)
        assert await asyncio.to_thread(stage.controller.child.wait) == 0
        stage.controller = await stage.start_controller("--no-leader-elect", *own)
        assert (await _versions(stage), _writes(stage)) == (versions, (0, 0))
        await stage.apply(manifests.route("late", [manifests.rule("late", manifests.ref("first"))]))
        await stage.served("late")
        after = await _versions(stage)
        assert {name for name in after if after[name] != versions.get(name)} == {"AIGatewayRoute/late"}
        assert _writes(stage)[0] == 3
