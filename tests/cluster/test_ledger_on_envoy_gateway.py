"""Usage beside Envoy Gateway: its Envoys tell the chart's collector of every request on AI routes, over mutual TLS."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from headgate.collector.store.asking import ask
from headgate.collector.store.database import StoreError, open_engine
from headgate.collector.store.question import Question
from support import manifests
from support.ai_on_envoy_gateway import POD_ADDRESS, TOLERATED, AiStage
from support.chart_service import ChartService
from support.envoy_gateway import ENVOY, GATEWAY, NAMESPACE, EnvoyGateway
from support.kube import Kube
from support.ports import free_port
from support.providers import OPENAI, Answer, Failure, Provider, Usage
from support.waiting import wait_until

Record = Mapping[str, Any]


@pytest.fixture
async def kept(
    kube: Kube,
    namespace: str,
    our_crds: None,
    run_envoy_gateway: Callable[..., Awaitable[EnvoyGateway]],
    short_path: Path,
    postgres: str,
) -> AsyncIterator[tuple[AiStage, ChartService]]:
    """The stage, and its collector, which writes a line for each record, and keeps them in Postgres."""
    directory = short_path / "stage"
    directory.mkdir()
    port = free_port()
    provider = partial(Provider, OPENAI, host=POD_ADDRESS, tolerated_headers=TOLERATED)
    providers = {name: provider(key=f"sk-{name}") for name in ("first", "second")}
    options = ("--collector-address", f"headgate-collector.envoy-gateway-system.svc:{port}")
    async with AiStage(kube, namespace, run_envoy_gateway, directory, None, *options, **providers) as stage:
        secret = await kube.get("v1", "Secret", "envoy-rate-limit", NAMESPACE)
        settings = ("collector.enabled=true", "collector.store.existingSecret=usage")
        start = partial(ChartService, "collector", directory, *settings, port=port, secret=secret, url=postgres)
        collector = await asyncio.to_thread(start, replaced={"/var/spool/headgate": str(directory / "spool")})
        try:
            yield stage, collector
        finally:
            collector.close()
        assert stage.problems() == []


def _records(collector: ChartService, count: int) -> Sequence[Record]:
    """All of them, once there are so many."""

    def found() -> Sequence[Record] | None:
        lines = [json.loads(line) for line in collector.child.stdout.splitlines()]
        return lines if len(lines) >= count else None

    return wait_until(found, f"{count} records")


def _kept(url: str, requests: int) -> Mapping[tuple[str, ...], tuple[int, int]] | None:
    """Requests and output tokens in the store, by client and model, once there are so many requests."""
    engine = open_engine(url)
    try:
        rows = ask(engine, Question(by=("key", "model")))
    except StoreError:  # no tables yet
        return None
    finally:
        engine.dispose()
    found = {each.group: (each.sums["requests"], each.sums["output_tokens"]) for each in rows}
    return found if sum(count for count, _ in found.values()) >= requests else None


async def test_every_request_on_ai_routes_is_recorded_once(kept: tuple[AiStage, ChartService], postgres: str) -> None:
    stage, collector = kept
    for name in ("first", "second"):
        await stage.backend(name)
        stage.providers[name].answer(Answer(usage=Usage(input=11, output=7)))
    both = [manifests.ref("first", priority=0), manifests.ref("second", priority=1)]
    await stage.apply(manifests.route("chat", [manifests.rule("pair", *both)]))
    await _guarded_and_beside_another(stage)
    await stage.start_envoy()
    known = {"x-client-key": "key-a", "agent-session-id": "s-1"}

    async def ask(model: str, **more: object) -> httpx.Response:
        body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], **more}
        return await stage.http.post("/v1/chat/completions?x=1", json=body, headers=known)

    await stage.until(lambda answer: answer.status_code == 200, partial(ask, "pair"))
    assert (await stage.http.get("/app")).status_code == 200
    before = len(await asyncio.to_thread(_records, collector, 1))
    stage.providers["first"].answer(Failure(503))
    assert (await ask("pair", stream=True)).status_code == 200
    stage.providers["first"].answer(Answer(usage=Usage(input=11, output=7)))
    assert (await ask("nobody")).status_code == 404
    assert (await ask("pair")).status_code == 200
    streamed, unknown, whole = (await asyncio.to_thread(_records, collector, before + 3))[before:]
    for each in (streamed, whole):
        assert (each["route"], each["operation"]) == (f"{stage.namespace}/chat", "chat")
        assert each["client"] == "ann"
        assert each["labels"] == {"session.id": "s-1"}
    tried = [(each["backend"].split("/")[1], each["status"]) for each in streamed["attempts"]]
    assert tried == [("first", 503), ("second", 200)]
    assert (unknown["lane"], unknown["error"], unknown["original_model"]) == ("local", "not_found", "nobody")
    for each in (streamed, whole):
        assert (each["tokens"]["input"], each["tokens"]["output"], each["usage_source"]) == (11, 7, "reported")
    assert whole["service"] == f"{stage.namespace}/first"
    lines = await asyncio.to_thread(_records, collector, before + 3)
    assert all("/app" not in each["path"] for each in lines)
    rows = await asyncio.to_thread(wait_until, partial(_kept, postgres, len(lines)), "usage in Postgres")
    asked = [each for each in lines if (each.get("client"), each.get("original_model")) == ("ann", "pair")]
    answered = [each for each in asked if each["status"] == 200]  # not while it was awaited
    assert rows["ann", "pair"] == (len(asked), 7 * len(answered))
    assert sum(count for count, _ in rows.values()) == len(lines)


async def _guarded_and_beside_another(stage: AiStage) -> None:
    """A client with a key, and a route that is not ours."""
    await stage.apply(manifests.secret("clients", ann="key-a"))
    source = {"credentialRefs": [{"group": "", "kind": "Secret", "name": "clients"}]}
    keys = {**source, "extractFrom": [{"headers": ["x-client-key"]}]}
    policy = {**manifests.target("HTTPRoute", "chat"), "apiKeyAuth": keys}
    await stage.apply(manifests.document(ENVOY, "SecurityPolicy", "clients", policy))
    endpoints = [{"ip": {"address": POD_ADDRESS, "port": await stage.web()}}]
    await stage.apply(manifests.document(ENVOY, "Backend", "web", {"endpoints": endpoints}))
    ref = {"group": "gateway.envoyproxy.io", "kind": "Backend", "name": "web"}
    rules = [{"matches": [{"path": {"type": "PathPrefix", "value": "/app"}}], "backendRefs": [ref]}]
    spec = {"parentRefs": [{"name": "gateway"}], "rules": rules}
    await stage.apply(manifests.document(GATEWAY, "HTTPRoute", "web", spec))
