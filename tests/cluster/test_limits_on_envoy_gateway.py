"""Limits beside Envoy Gateway.

Those of its own policies are counted by our rate limit service in the place of its own: Envoy Gateway is configured by
`manifests/envoy-gateway-values.yaml` and its own chart, and deploys the service; the test runs what is deployed.
LimitPolicies and QuotaPolicies are counted by the service of our chart, over mutual TLS.
"""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import hiredis
import httpx
import pytest
from openai import RateLimitError
from support import manifests
from support.ai_on_envoy_gateway import POD_ADDRESS, TOLERATED, AiStage
from support.chart_service import ChartService
from support.envoy_gateway import ENVOY, NAMESPACE, EnvoyGateway, GatewaysLimiter
from support.helm import envoy_gateway_config
from support.kube import Kube, condition, is_true, reference, unique_name
from support.ports import free_port
from support.providers import ANTHROPIC, OPENAI, Answer, Provider, ToolUse, Usage
from support.redis import RedisServer
from support.waiting import wait_until

HOUR = 3600
ENOUGH_SECONDS = 20
"""What three calls and their charges take at most, on a machine that is not overrun."""
ATTEMPTS_MAX = 3
IMAGE = Path(__file__).parents[2] / "manifests" / "image"
"""What of the image's `/bin` is ours."""


@pytest.fixture
def redis_server(short_path: Path) -> RedisServer:
    directory = short_path / "redis"
    directory.mkdir()
    return RedisServer(directory)


@pytest.fixture(params=[False, True], ids=["open", "closed"])
async def stage(
    kube: Kube,
    namespace: str,
    our_crds: None,
    run_envoy_gateway: Callable[..., Awaitable[EnvoyGateway]],
    short_path: Path,
    redis_server: RedisServer,
    request: pytest.FixtureRequest,
) -> AsyncIterator[AiStage]:
    """`failClosed` as the parameter says."""
    values = "config.envoyGateway.rateLimit"
    config = envoy_gateway_config(
        f"{values}.backend.redis.url=localhost:{redis_server.port}",
        f"{values}.failClosed={str(request.param).lower()}",
        f"{values}.timeout=5s",  # of 20 ms, a busy machine makes a failure
    )
    directory = short_path / "stage"
    directory.mkdir()
    provider = partial(Provider, host=POD_ADDRESS, tolerated_headers=TOLERATED)
    providers = {"first": provider(OPENAI, key="sk-first"), "claude": provider(ANTHROPIC, key="sk-claude")}
    with redis_server:
        async with AiStage(kube, namespace, run_envoy_gateway, directory, _ours(config), **providers) as made:
            yield made
            assert made.problems() == []


def _ours(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The configuration without what is different in a test: who asks whom, and by which name it finds Gateways."""
    manager = {name: value for name, value in config["extensionManager"].items() if name != "service"}
    return {**{k: v for k, v in config.items() if k != "gateway"}, "extensionManager": manager}


async def _limiter(stage: AiStage, port: int, redis_port: int) -> GatewaysLimiter:
    deployment = await stage.kube.wait_for(
        reference("apps/v1", "Deployment", "envoy-ratelimit", NAMESPACE),
        lambda found: _is_ours(found["spec"]["template"]["spec"]["containers"][0], redis_port),
        "Envoy Gateway to deploy our image",
    )
    secret = await stage.kube.get("v1", "Secret", "envoy-rate-limit", NAMESPACE)
    return await asyncio.to_thread(GatewaysLimiter, deployment, secret, stage.directory, port=port, image=IMAGE)


def _is_ours(container: Mapping[str, Any], redis_port: int) -> bool:
    """Whether it is of this test: others leave theirs."""
    said = {each["name"]: each.get("value") for each in container["env"]}
    return container["image"].startswith("ghcr.io/headgate/") and said["REDIS_URL"] == f"localhost:{redis_port}"


async def _limited(stage: AiStage, port: int) -> None:
    """A token limit for each tenant and the models; Envoy finds the service on a port of the test's.

    Its endpoint alone: Envoy Gateway itself has the port that it has in a cluster.
    """
    selectors = [
        {"name": "x-tenant-id", "type": "Distinct"},
        {"name": "x-ai-eg-model", "type": "RegularExpression", "value": "fast|claude"},
    ]
    response = {"from": "Metadata", "metadata": {"namespace": "io.envoy.ai_gateway", "key": "total"}}
    rule = {
        "clientSelectors": [{"headers": selectors}],
        "limit": {"requests": 30, "unit": "Hour"},
        "cost": {"request": {"from": "Number", "number": 0}, "response": response},
    }
    policy = {**manifests.target("HTTPRoute", "chat"), "rateLimit": {"type": "Global", "global": {"rules": [rule]}}}
    await stage.apply(manifests.document(ENVOY, "BackendTrafficPolicy", "limits", policy))
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": address}}]}]
    assignment = {"cluster_name": "ratelimit_cluster", "endpoints": endpoints}
    operations = [
        {"op": "remove", "path": "/eds_cluster_config"},
        {"op": "replace", "path": "/type", "value": "STATIC"},
        {"op": "add", "path": "/load_assignment", "value": assignment},
    ]
    cluster = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
    patches = [{"type": cluster, "name": "ratelimit_cluster", "operation": each} for each in operations]
    target = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "gateway"}
    patch = {"targetRef": target, "type": "JSONPatch", "jsonPatches": patches}
    await stage.apply(manifests.document(ENVOY, "EnvoyPatchPolicy", "limiter", patch))


async def _chat(stage: AiStage, tenant: str, **more: object) -> httpx.Response:
    body = {"model": "fast", "messages": [{"role": "user", "content": "Hi"}], **more}
    return await stage.http.post("/v1/chat/completions", json=body, headers={"x-tenant-id": tenant})


async def test_our_limiter_is_envoy_gateways_and_does_as_it_says_when_it_is_gone(
    stage: AiStage, redis_server: RedisServer, request: pytest.FixtureRequest
) -> None:
    await stage.backend("first")
    await stage.backend("claude", "Anthropic")
    cost = [{"metadataKey": "total", "type": "TotalToken"}]
    rules = [manifests.rule("fast", manifests.ref("first")), manifests.rule("claude", manifests.ref("claude"))]
    await stage.apply(manifests.route("chat", rules, llmRequestCosts=cost))
    port = free_port()
    await _limited(stage, port)
    limiter = await _limiter(stage, port, redis_server.port)
    try:
        await stage.start_envoy()
        for provider in stage.providers.values():
            provider.answer(Answer(tools=(ToolUse("weather", "{}", "call_1"),), usage=Usage(input=11, output=7)))
        await stage.until(lambda answer: "x-ratelimit-limit" in answer.headers, lambda: _chat(stage, "probe"))
        assert f"{stage.namespace}/gateway/http" in limiter.limits()
        for model in ("fast", "claude"):
            await _in_one_hour(partial(_holds, stage, redis_server, model))
        closed = request.node.callspec.params["stage"]

        async def comes_back(tenant: str) -> None:
            """Used up before it went, and so when it is there again: Redis knows."""
            nonlocal limiter
            await _uses_up(stage, redis_server, tenant)
            limiter.close()
            away = await stage.until(
                lambda answer: "x-ratelimit-limit" not in answer.headers, lambda: _chat(stage, tenant)
            )
            assert away.status_code == (500 if closed else 200), away.text
            if closed:
                assert away.json()["error"]["type"] == "server_error"
            limiter = await _limiter(stage, port, redis_server.port)
            again = await stage.until(
                lambda answer: "x-ratelimit-limit" in answer.headers, lambda: _chat(stage, tenant)
            )
            assert again.status_code == 429, again.text

        await _in_one_hour(comes_back)
        await _in_one_hour(partial(_holds, stage, redis_server, "fast"))
        if not closed:
            limiter = await _nobody_notices(stage, limiter, partial(_limiter, stage, port, redis_server.port))
    finally:
        limiter.close()


async def _nobody_notices(
    stage: AiStage, limiter: GatewaysLimiter, restart: Callable[[], Awaitable[GatewaysLimiter]]
) -> GatewaysLimiter:
    """The controller and then the service are killed, and come back: no request fails that no limit refuses."""
    statuses: list[int] = []
    over = asyncio.Event()

    async def call() -> None:
        while not over.is_set():
            statuses.append((await _chat(stage, unique_name("tenant"))).status_code)

    calling = [asyncio.create_task(call()) for _ in range(4)]
    try:
        stage.controller.child.signal(signal.SIGKILL)
        await asyncio.to_thread(stage.controller.child.wait)
        limiter.child.signal(signal.SIGKILL)
        await asyncio.to_thread(limiter.child.wait)
        gone = len(statuses)
        await asyncio.to_thread(wait_until, lambda: len(statuses) > gone + 20, "calls without either")
        limiter.close()
        limiter = await restart()
        stage.controller = await stage.start_controller("--no-leader-elect")
        await stage.until(lambda answer: "x-ratelimit-limit" in answer.headers, lambda: _chat(stage, "probe"))
        rules = [manifests.rule("late", manifests.ref("first"))]
        await stage.apply(manifests.route("late", rules))
        await stage.served("late")
    finally:
        over.set()
        await asyncio.gather(*calling)
    assert set(statuses) == {200}, statuses
    return limiter


async def _in_one_hour(attempt: Callable[[str], Awaitable[None]]) -> None:
    """Runs it, with a tenant of its own, within one window of the limit.

    Too near to the end of an hour it waits for the next; what was cut by it says nothing, and is asked once more.
    """
    for _ in range(ATTEMPTS_MAX):
        left = HOUR - time.time() % HOUR
        if left < ENOUGH_SECONDS:
            await asyncio.sleep(left)
        hour = time.time() // HOUR
        try:
            await attempt(unique_name("tenant"))
        except (AssertionError, TimeoutError, pytest.fail.Exception, RateLimitError):
            if time.time() // HOUR == hour:
                raise
        else:
            if time.time() // HOUR == hour:
                return
    pytest.fail(f"{ATTEMPTS_MAX} attempts took longer than an hour each")


async def _uses_up(stage: AiStage, redis: RedisServer, tenant: str) -> None:
    for spent in (18, 36):
        assert (await _chat(stage, tenant)).status_code == 200
        await asyncio.to_thread(wait_until, partial(_counted, redis, tenant, spent), f"{spent} tokens in Redis")


async def _holds(stage: AiStage, redis: RedisServer, model: str, tenant: str) -> None:
    """Two answers of 18 tokens use up 30, whole or streamed; another tenant has its own."""
    for who, stream in ((f"{tenant}-whole", False), (f"{tenant}-streams", True)):
        client = stage.openai(default_headers={"x-tenant-id": who})
        for spent in (18, 36):
            await _calls_a_tool(client, model, stream=stream)
            charged = partial(_counted, redis, who, spent)
            await asyncio.to_thread(wait_until, charged, f"{spent} tokens of {who} in Redis")
        with pytest.raises(RateLimitError) as refused:
            await _calls_a_tool(client, model, stream=stream)
        assert refused.value.code == "rate_limit_exceeded"
        assert 0 < int(refused.value.response.headers["x-ratelimit-reset"]) <= HOUR
        assert _counted(redis, who, 36)
    await _calls_a_tool(stage.openai(default_headers={"x-tenant-id": f"{tenant}-other"}), model, stream=False)


async def _calls_a_tool(client: Any, model: str, *, stream: bool) -> None:
    """One call of OpenAI's client."""
    function: Any = {"name": "weather", "parameters": {"type": "object", "properties": {}}}
    asked: Any = {"model": model, "messages": [{"role": "user", "content": "Hi"}]}
    tools: Any = [{"type": "function", "function": function}]
    if stream:
        usage: Any = {"include_usage": True}
        async with client.chat.completions.stream(**asked, tools=tools, stream_options=usage) as events:
            answer: Any = await events.get_final_completion()
    else:
        answer = await client.chat.completions.create(**asked, tools=tools)
    assert [call.function.name for call in answer.choices[0].message.tool_calls] == ["weather"]
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (11, 7, 18)


def _counted(redis: RedisServer, tenant: str, tokens: int) -> bool:
    """Whether that is what the tenant's counter says."""
    return [_answer(redis, f'GET "{name}"') for name in _answer(redis, f"KEYS *{tenant}_*")] == [str(tokens)]


def _answer(redis: RedisServer, line: str) -> Any:
    reader = hiredis.Reader(encoding="utf-8")
    reader.feed(redis.command(line))
    return reader.gets()


@pytest.fixture
async def counted(
    kube: Kube,
    namespace: str,
    our_crds: None,
    run_envoy_gateway: Callable[..., Awaitable[EnvoyGateway]],
    short_path: Path,
) -> AsyncIterator[tuple[AiStage, Callable[[], Awaitable[ChartService]]]]:
    """Our own policies: the stage, and what starts the rate limit service."""
    directory = short_path / "stage"
    directory.mkdir()
    port = free_port()
    provider = partial(Provider, OPENAI, host=POD_ADDRESS, tolerated_headers=TOLERATED)
    providers = {name: provider(key=f"sk-{name}") for name in ("first", "second")}
    options = ("--ratelimit-address", f"headgate-ratelimit.envoy-gateway-system.svc:{port}")
    started: list[ChartService] = []
    async with AiStage(kube, namespace, run_envoy_gateway, directory, None, *options, **providers) as made:

        async def start() -> ChartService:
            secret = await kube.get("v1", "Secret", "envoy-rate-limit", NAMESPACE)
            ours = {"headgate-controller.headgate-system.svc:8082": f"{POD_ADDRESS}:{made.controller.health_port}"}
            started.append(
                await asyncio.to_thread(
                    ChartService,
                    "ratelimit",
                    directory,
                    port=port,
                    secret=secret,
                    replaced=ours,
                    name=f"limiter{len(started)}",
                )
            )
            return started[-1]

        try:
            yield made, start
        finally:
            for each in started:
                each.close()
        assert made.problems() == []


def _limit_policy(name: str, kind: str, target: str, **rule: Any) -> manifests.Document:
    group = manifests.GATEWAY_API if kind == "Gateway" else manifests.AI
    targets = [{"group": group, "kind": kind, "name": target}]
    spec = {"targetRefs": targets, "rules": [{"name": name, "window": "hour", **rule}]}
    return manifests.document("headgate.dev/v1alpha1", "LimitPolicy", name, spec)


async def _guarded(stage: AiStage) -> None:
    """Two clients with keys of their own."""
    await stage.apply(manifests.secret("clients", ann="key-a", bob="key-b"))
    source = {"credentialRefs": [{"group": "", "kind": "Secret", "name": "clients"}]}
    keys = {**source, "extractFrom": [{"headers": ["x-client-key"]}]}
    policy = {**manifests.target("HTTPRoute", "chat"), "apiKeyAuth": keys}
    await stage.apply(manifests.document(ENVOY, "SecurityPolicy", "clients", policy))


async def _ask(stage: AiStage, model: str, key: str = "key-a", **more: object) -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], **more}
    return await stage.http.post("/v1/chat/completions", json=body, headers={"x-client-key": key})


async def test_our_policies_limit_and_steer_and_let_pass_when_their_service_is_gone(
    counted: tuple[AiStage, Callable[[], Awaitable[ChartService]]],
) -> None:
    stage, start = counted
    for name in ("first", "second"):
        await stage.backend(name)
        stage.providers[name].answer(Answer(usage=Usage(input=11, output=7)))
    both = [manifests.ref("first", priority=0), manifests.ref("second", priority=1)]
    await stage.apply(
        manifests.route("chat", [manifests.rule("fast", manifests.ref("second")), manifests.rule("pair", *both)])
    )
    await _guarded(stage)
    await stage.apply(
        _limit_policy("hourly", "AIGatewayRoute", "chat", unit="tokens", amount=100, per=["client", "model"]),
        _limit_policy("all", "Gateway", "gateway", unit="requests", amount=1000),
        _quota("first", 30),
    )
    limiter = await start()
    await stage.start_envoy()
    await stage.until(lambda answer: "x-ratelimit-limit" in answer.headers, lambda: _ask(stage, "fast", "key-b"))
    await _holds_by_client(stage)
    await _steers(stage)
    await _is_told(stage)
    limiter.close()
    assert (await _ask(stage, "fast")).status_code == 200
    await start()
    await stage.until(lambda answer: "x-ratelimit-limit" in answer.headers, lambda: _ask(stage, "fast"))


def _quota(backend: str, tokens: int) -> manifests.Document:
    quota = {"defaultBucket": {"limit": tokens, "duration": "1d"}}
    targets = [{"group": manifests.AI, "kind": "AIServiceBackend", "name": backend}]
    spec = {"targetRefs": targets, "perModelQuotas": [{"modelName": "pair", "quota": quota}]}
    return manifests.document(f"{manifests.AI}/v1alpha1", "QuotaPolicy", "quota", spec)


async def _holds_by_client(stage: AiStage) -> None:
    """Six answers of 18 tokens use up 100; the refusal is our service's, and the other client has its own limit."""
    for number in range(6):
        answer = await _ask(stage, "fast", stream=number % 2 == 0)
        assert answer.status_code == 200, answer.text
    refused = await stage.until(lambda answer: answer.status_code == 429, lambda: _ask(stage, "fast"))
    assert refused.json()["error"]["code"] == "rate_limit_exceeded"
    assert "hourly" in refused.text, refused.text
    assert int(refused.headers["retry-after"]) > 0
    assert (await _ask(stage, "fast", "key-b")).status_code == 200
    for provider in stage.providers.values():
        assert all("x-headgate-client" not in each.headers for each in provider.requests)


async def _steers(stage: AiStage) -> None:
    """Two answers of 18 use up the first backend's 30; then the second serves, without a failed attempt."""
    first, second = stage.providers["first"], stage.providers["second"]
    first.forget()
    second.forget()
    assert [(await _ask(stage, "pair")).status_code for _ in range(2)] == [200, 200]
    served = await stage.until(lambda answer: bool(second.requests), lambda: _ask(stage, "pair"))
    assert served.status_code == 200
    before = len(first.requests)
    assert before <= 3
    assert (await _ask(stage, "pair")).status_code == 200
    assert len(first.requests) == before


async def _is_told(stage: AiStage) -> None:
    for version, kind, name in (
        ("headgate.dev/v1alpha1", "LimitPolicy", "hourly"),
        ("headgate.dev/v1alpha1", "LimitPolicy", "all"),
        (f"{manifests.AI}/v1alpha1", "QuotaPolicy", "quota"),
    ):
        item = reference(version, kind, name, stage.namespace)
        found = await stage.kube.wait_for(item, is_true("Programmed"), f"{kind} {name}")
        assert condition(found, "Accepted")["status"] == "True"
        counts = "only requests on AI routes are counted" in condition(found, "Programmed")["message"]
        assert counts is (name == "all")
