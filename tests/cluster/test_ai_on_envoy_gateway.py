"""AI routes through the real Envoy Gateway, the real Envoy and our controller, with the official clients."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any, Self

import httpx
import pytest
from openai import DEFAULT_MAX_RETRIES, APIConnectionError, APIStatusError, BadRequestError, NotFoundError
from support import manifests
from support.ai_on_envoy_gateway import POD_ADDRESS, AiStage, standard_providers
from support.envoy_gateway import ENVOY, GATEWAY
from support.kube import Kube, Object, condition, is_true, reference, unique_name
from support.providers import Failure, Provider
from support.waiting import BUSY_SECONDS, until, wait_until

CALLS_PER_SECOND = 50
ONE_CONNECTION = httpx.Limits(max_connections=1, keepalive_expiry=None)
COMMITS_BEFORE = 100
"""How old the Headgate is that is upgraded."""


@pytest.fixture
async def stage(share_stage: Callable[..., AiStage]) -> AsyncIterator[AiStage]:
    async with share_stage(**standard_providers()) as made:
        yield made
        assert made.problems() == []


async def test_a_client_finds_its_backend_again(stage: AiStage) -> None:
    """By the header in which Envoy Gateway tells who a client is: what a provider keeps is in one account."""
    await stage.standard()
    both = [manifests.ref("first"), manifests.ref("second")]
    target = manifests.target("HTTPRoute", "kept")
    balancer = {"type": "ConsistentHash", "consistentHash": {"type": "Header", "header": {"name": "x-client"}}}
    clients = {f"client-{number}": f"sk-{number}" for number in range(8)}
    await stage.apply(
        manifests.document(ENVOY, "BackendTrafficPolicy", "kept", {**target, "loadBalancer": balancer}),
        *manifests.api_keys("clients", target, clients, forwardClientIDHeader="x-client"),
        manifests.route("kept", [manifests.rule("kept", *both)]),
    )

    def ask(key: str) -> Awaitable[httpx.Response]:
        asked = {"model": "kept", "messages": [{"role": "user", "content": "Hello!"}]}
        return stage.http.post("/v1/chat/completions", json=asked, headers={"authorization": f"Bearer {key}"})

    await stage.until(lambda answer: answer.status_code == 401, lambda: ask("nobody's"))
    await stage.until(lambda answer: answer.status_code == 200, lambda: ask("sk-0"))
    accounts = [stage.providers[name] for name in ("first", "second")]

    async def asked_of(key: str) -> list[int]:
        """How many of twelve requests each account got."""
        before = [len(account.requests) for account in accounts]
        for _ in range(12):
            assert (await ask(key)).status_code == 200
        return [len(account.requests) - count for account, count in zip(accounts, before, strict=True)]

    async with asyncio.timeout(BUSY_SECONDS):
        while sorted(await asked_of("sk-0")) != [0, 12]:  # until the policy has reached Envoy too
            pass
    found = [await asked_of(key) for key in clients.values()]
    assert {tuple(grown) for grown in found} == {(0, 12), (12, 0)}


async def test_clients_of_any_dialect_reach_their_models(stage: AiStage) -> None:
    await stage.standard()
    assert stage.providers["first"].last.json["model"] == "real-1"
    openai, anthropic = stage.openai(), stage.anthropic()
    assert [each.id async for each in openai.models.list()] == ["claude", "fast", "safe"]
    with pytest.raises(NotFoundError) as unknown:
        await openai.chat.completions.create(model="nope", messages=[{"role": "user", "content": "Hi"}])
    assert unknown.value.code == "model_not_found"

    for model in ("fast", "claude"):
        answer = await openai.chat.completions.create(model=model, messages=[{"role": "user", "content": "Hi"}])
        assert answer.choices[0].message.content
        stream = await openai.chat.completions.create(
            model=model, messages=[{"role": "user", "content": "Hi"}], stream=True
        )
        assert "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])
        message = await anthropic.messages.create(
            model=model, max_tokens=64, messages=[{"role": "user", "content": "Hi"}]
        )
        assert message.content
    contents = {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}
    named = await stage.http.post("/v1beta/models/nope:generateContent", json=contents)  # the model is in the path
    assert (named.status_code, named.json()["error"]["status"]) == (404, "NOT_FOUND")  # as Google says it
    assert "'nope'" in named.json()["error"]["message"]
    envoy = stage.envoy
    assert "false" in envoy.admin("/runtime").split("grpc_side_stream_flow_control")[1][:200]
    lines = stage.access(lambda line: line["model"] == "claude", count=3)
    assert lines[0]["metadata"]["total"] > 0
    assert lines[0]["metadata"]["ai_service_backend_name"] == f"{stage.namespace}/claude"
    fast = stage.access(lambda line: (line["model"], line["status"]) == ("fast", 200))[0]  # not while it was awaited
    assert fast["metadata"]["model_name_override"] == "real-1"


async def test_a_failed_attempt_goes_to_the_next_backend(stage: AiStage) -> None:
    await stage.standard()
    first, second = stage.providers["first"], stage.providers["second"]
    first.answer(Failure(503))
    messages: Any = [{"role": "user", "content": "Hi"}]
    whole = await stage.openai().chat.completions.create(model="safe", messages=messages)
    assert whole.choices[0].message.content
    assert (second.last.path, second.last.json["model"]) == ("/other/v1/chat/completions", "b")
    stream = await stage.openai().chat.completions.create(
        model="safe", messages=[{"role": "user", "content": "Hi"}], stream=True
    )
    assert "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])
    assert [len(each.requests) for each in (first, second)] == [3, 2]  # `fast` was asked of the first before
    logged = stage.access(lambda line: line["model"] == "safe", count=2)
    assert [(line["attempts"], line["status"]) for line in logged] == [(2, 200), (2, 200)]
    first.forget()
    second.forget()
    first.answer(Failure(400))
    with pytest.raises(BadRequestError):
        await stage.openai().chat.completions.create(model="safe", messages=[{"role": "user", "content": "Hi"}])
    assert second.requests == []


async def _guarded(stage: AiStage) -> None:
    """A key for the clients of the AI route, and another route beside it without."""
    await stage.apply(manifests.secret("clients", ann="key-a"))
    source = {"credentialRefs": [{"group": "", "kind": "Secret", "name": "clients"}]}
    keys = {**source, "extractFrom": [{"headers": ["x-client-key"]}]}
    policy = {**manifests.target("HTTPRoute", "chat"), "apiKeyAuth": keys}
    await stage.apply(manifests.document(ENVOY, "SecurityPolicy", "clients", policy))
    await stage.web_route("/app", "/")


async def test_who_may_call_is_envoy_gateways_to_decide_and_other_routes_are_untouched(stage: AiStage) -> None:
    await stage.standard()
    await _guarded(stage)
    refused = await stage.until(lambda answer: answer.status_code == 401, lambda: stage.chat("fast"))
    assert refused.json()["error"]["code"] == "invalid_api_key"
    await stage.until(lambda answer: answer.status_code == 200, lambda: stage.http.get("/app/x"))
    for path in ("/v1/models", "/v1/models/fast"):
        assert (await stage.http.get(path)).status_code == 401, path
    anthropic = await stage.http.post("/v1/messages", json={"model": "claude"})
    assert (anthropic.status_code, anthropic.json()["error"]["type"]) == (401, "authentication_error")
    known = {"x-client-key": "key-a"}
    assert (await stage.http.get("/v1/models", headers=known)).status_code == 200
    body = {"model": "fast", "messages": [{"role": "user", "content": "Hi"}]}
    assert (await stage.http.post("/v1/chat/completions", json=body, headers=known)).status_code == 200
    # larger than any prompt may be, and not JSON: only AI routes read bodies
    upload = await stage.http.post("/app/upload", content=b"x" * 60_000_000)
    assert (upload.status_code, upload.text) == (200, "POST /app/upload 60000000")
    assert (await stage.http.get("/somewhere")).text == "GET /somewhere 0"
    await _another_policy(stage)


async def _another_policy(stage: AiStage) -> None:
    """An AI route of the same hostname that asks for another key stays closed, and its status says why."""
    await stage.apply(manifests.route("late", [manifests.rule("late", manifests.ref("second"))]))
    await stage.apply(manifests.secret("others", bob="key-b"))
    source = {"credentialRefs": [{"group": "", "kind": "Secret", "name": "others"}]}
    keys = {**source, "extractFrom": [{"headers": ["x-other-key"]}]}
    policy = {**manifests.target("HTTPRoute", "late"), "apiKeyAuth": keys}
    await stage.apply(manifests.document(ENVOY, "SecurityPolicy", "others", policy))
    route = reference(f"{manifests.AI}/v1beta1", "AIGatewayRoute", "late", stage.namespace)
    told = await stage.kube.wait_for(
        route, lambda item: "one SecurityPolicy" in condition(item, "Programmed").get("message", ""), "the problem"
    )
    assert condition(told, "Programmed")["status"] == "False"
    assert condition(told, "Accepted")["status"] == "True"


async def test_what_somebody_deletes_of_ours_comes_back(stage: AiStage) -> None:
    await stage.standard()
    route = reference(GATEWAY, "HTTPRoute", "chat", stage.namespace)
    before = (await stage.kube.get(GATEWAY, "HTTPRoute", "chat", stage.namespace))["metadata"]["uid"]
    await stage.kube.delete(route)
    await stage.kube.wait_for(route, lambda item: item["metadata"]["uid"] != before, "the HTTPRoute again")
    await stage.served("fast")


async def test_an_answer_that_a_policy_replaces_is_what_was_written(stage: AiStage) -> None:
    """It is Envoy Gateway that replaces it, and what we answer ourselves is in the client's dialect as ever."""
    await stage.standard()
    body = {"type": "Inline", "inline": "as it was written"}
    override = {"match": {"statusCodes": [{"type": "Value", "value": 418}]}, "response": {"body": body}}
    target = manifests.target("HTTPRoute", "replaced")
    await stage.apply(
        manifests.document(ENVOY, "BackendTrafficPolicy", "replaced", {**target, "responseOverride": [override]}),
        manifests.route("replaced", [manifests.rule("replaced", manifests.ref("first"))]),
    )

    async def ask(model: str) -> httpx.Response:
        stage.providers["first"].answer(Failure(418))
        asked = {"model": model, "messages": [{"role": "user", "content": "Hello!"}]}
        return await stage.http.post("/v1/chat/completions", json=asked)

    await stage.until(lambda answer: answer.text == "as it was written", lambda: ask("replaced"))
    assert (await ask("replaced")).status_code == 418
    assert (await ask("nobody's")).json()["error"]["code"] == "model_not_found"


async def test_what_a_filter_of_the_users_own_answers_as_json_is_left(stage: AiStage) -> None:
    """Guards of prompts answer in the client's dialect themselves; what is no JSON becomes the message of an error."""
    await stage.standard()
    script = """
function envoy_on_request(handle)
  local guard = handle:headers():get("x-guard")
  if guard then handle:respond({[":status"] = "451", ["content-type"] = guard}, '{"guard": "no"}') end
end
"""
    spec = {**manifests.target("HTTPRoute", "guarded"), "lua": [{"type": "Inline", "inline": script}]}
    await stage.apply(
        manifests.document(ENVOY, "EnvoyExtensionPolicy", "guard", spec),
        manifests.route("guarded", [manifests.rule("guarded", manifests.ref("first"))]),
    )

    def ask(guard: str) -> Awaitable[httpx.Response]:
        asked = {"model": "guarded", "messages": [{"role": "user", "content": "Hello!"}]}
        return stage.http.post("/v1/chat/completions", json=asked, headers={"x-guard": guard})

    answer = await stage.until(lambda answer: answer.status_code == 451, lambda: ask("application/json"))
    assert answer.json() == {"guard": "no"}
    assert (await ask("text/plain")).json()["error"]["message"] == '{"guard": "no"}'


def _accepted_as_it_is(item: Object) -> bool:
    """Its newest version, not one of before."""
    found = condition(item, "Accepted")
    return found.get("status") == "True" and found["observedGeneration"] == item["metadata"]["generation"]


class _Load:
    """Calls of OpenAI's clients, 50 a second whatever the answers take, of the models by turns.

    By model, how often a client tries again.
    """

    def __init__(self, stage: AiStage, **retries: int) -> None:
        self.statuses: list[tuple[str, int]] = []
        """Of calls that are over, in that order; 0 for a connection that failed."""
        client = stage.openai()
        self._clients = {model: client.with_options(max_retries=most) for model, most in retries.items()}
        self._over = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._running = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._over.set()
        await self._running

    def of(self, model: str, since: int = 0) -> list[int]:
        """The statuses of a model's calls that ended after so many."""
        return [status for name, status in self.statuses[since:] if name == model]

    async def _run(self) -> None:
        began, models = asyncio.get_running_loop().time(), list(self._clients)
        async with asyncio.TaskGroup() as calls:
            for number in itertools.count():
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(began + number / CALLS_PER_SECOND):
                        await self._over.wait()
                if self._over.is_set():
                    return
                calls.create_task(self._call(models[number % len(models)]))

    async def _call(self, model: str) -> None:
        status = 200
        try:
            await self._clients[model].chat.completions.create(
                model=model, messages=[{"role": "user", "content": "Hi"}]
            )
        except APIStatusError as error:
            status = error.status_code
        except APIConnectionError:
            status = 0
        self.statuses.append((model, status))


def _asked(provider: Provider, model: str) -> bool:
    return any(each.json["model"] == model for each in provider.requests)


async def test_a_route_is_applied_changed_broken_and_deleted_under_load(stage: AiStage) -> None:
    """50 calls a second of it and of another: none fails, but with 404 while the route is not there.

    Clients of the route itself try again, as they do where nobody says otherwise: on an overrun machine Envoy may hear
    of clusters that go long before it hears of routes.
    """
    await stage.standard()

    def late(first: int, second: int) -> manifests.Document:
        refs = [manifests.ref("first", weight=first), manifests.ref("second", weight=second)]
        return manifests.route("late", [manifests.rule("late", *refs)])

    route = reference(f"{manifests.AI}/v1beta1", "AIGatewayRoute", "late", stage.namespace)
    second = stage.providers["second"]
    async with _Load(stage, fast=0, late=DEFAULT_MAX_RETRIES) as load:
        await stage.apply(late(1, 0))
        await stage.served("late")
        served = len(load.statuses)
        await stage.apply(late(0, 1))
        second.forget()
        await stage.until(
            lambda answer: answer.status_code == 200 and bool(second.requests), lambda: stage.chat("late")
        )
        await stage.kube.wait_for(route, _accepted_as_it_is, "to be accepted")
        for name in ("first", "second"):  # alone: no cluster of before has its name
            stage.providers[name].forget()
            await stage.apply(manifests.route("late", [manifests.rule("late", manifests.ref(name))]))
            await until(partial(_asked, stage.providers[name], "late"), f"{name} in place of all others")
        await stage.apply(manifests.route("late", [manifests.rule("late", manifests.ref("nobody"))]))
        await stage.kube.wait_for(
            route, lambda found: "nobody" in condition(found, "NotAccepted").get("message", ""), "not to be accepted"
        )
        second.forget()
        broken = len(load.statuses)
        await until(lambda: len(load.of("late", broken)) >= CALLS_PER_SECOND, "a second or two of calls")
        assert second.requests
        last = len(load.statuses)
        await stage.kube.delete(route)
        await stage.until(lambda answer: answer.status_code == 404, lambda: stage.chat("late"))
    assert set(load.of("fast")) == {200}
    assert {status for _, status in load.statuses} == {200, 404}
    between = [status for name, status in load.statuses[served:last] if name == "late"]
    assert set(between) == {200}, between
    assert len(load.statuses) > 2 * CALLS_PER_SECOND


async def test_a_connection_from_before_the_first_ai_route_is_closed_after_one_answer(stage: AiStage) -> None:
    """It is served by the listener of before, which reads no bodies, with the routes of now (docs/operate.md)."""
    await stage.backend("first")
    await stage.web_route("/app")
    await stage.start_envoy()
    await stage.until(lambda answer: answer.status_code == 200, lambda: stage.http.get("/app/x"))
    await stage.apply(manifests.route("chat", [manifests.rule("fast", manifests.ref("first"))]))
    async with httpx.AsyncClient(base_url=stage.url) as other:
        body = {"model": "fast", "messages": [{"role": "user", "content": "Hi"}]}
        headers = {"connection": "close"}
        await stage.until(
            lambda answer: answer.status_code == 200,
            lambda: other.post("/v1/chat/completions", json=body, headers=headers),
        )
    stage.providers["first"].forget()
    before = await stage.chat("fast")
    assert (before.status_code, before.headers["connection"]) == (400, "close")
    assert not stage.providers["first"].requests
    assert (await stage.chat("fast")).status_code == 200


async def test_a_connection_from_before_the_first_policy_is_closed_after_one_answer(stage: AiStage) -> None:
    """That one answer is not asked for a key: its listener has no filter that could (docs/operate.md)."""
    await stage.standard()
    body = {"model": "fast", "messages": [{"role": "user", "content": "Hi"}]}
    async with httpx.AsyncClient(base_url=stage.url, limits=ONE_CONNECTION) as client:
        assert (await client.post("/v1/chat/completions", json=body)).status_code == 200
        await _guarded(stage)
        async with httpx.AsyncClient(base_url=stage.url) as other:
            await stage.until(
                lambda answer: answer.status_code == 401,
                lambda: other.post("/v1/chat/completions", json=body, headers={"connection": "close"}),
            )
        before = await client.post("/v1/chat/completions", json=body)
        assert (before.status_code, before.headers.get("connection")) == (200, "close")
        assert (await client.post("/v1/chat/completions", json=body)).status_code == 401


async def test_a_route_that_never_was_good_is_answered_500(stage: AiStage) -> None:
    await stage.standard()
    await stage.apply(manifests.route("broken", [manifests.rule("broken", manifests.ref("nobody"))]))
    answer = await stage.until(lambda answer: answer.status_code == 500, lambda: stage.chat("broken"))
    assert answer.json()["error"]["type"] == "server_error"
    assert (await stage.chat("fast")).status_code == 200


async def test_the_versions_that_run_are_read_and_an_old_envoy_is_told(stage: AiStage) -> None:
    await stage.envoys_image("docker.io/envoyproxy/envoy:distroless-v1.39.0")
    await stage.standard()
    route = reference(f"{manifests.AI}/v1beta1", "AIGatewayRoute", "chat", stage.namespace)

    def says(text: str) -> Callable[[dict[str, Any]], bool]:
        return lambda found: text in condition(found, "Programmed").get("message", "")

    told = await stage.kube.wait_for(route, says("1.39"), "the old Envoy")
    assert condition(told, "Programmed")["status"] == "False"
    versions = await asyncio.to_thread(
        wait_until,
        lambda: stage.controller.status()["deployed"].get(f"{stage.namespace}/gateway"),
        "the workloads",
    )
    assert (versions["envoy"], versions["envoy_gateway"][0]) == ([1, 39], 1)
    await stage.envoys_image("docker.io/envoyproxy/envoy:distroless-v1.40.0")
    told = await stage.kube.wait_for(route, is_true("Programmed"), "the new one")


async def _grant(kube: Kube, namespace: str, spec: manifests.Document) -> None:
    item = manifests.document(f"{manifests.GATEWAY_API}/v1beta1", "ReferenceGrant", "ai", spec)
    await kube.apply({**item, "metadata": {"name": "ai", "namespace": namespace}})


async def test_backends_of_another_namespace_need_grants(stage: AiStage, kube: Kube) -> None:
    await stage.standard()
    other = unique_name("test")
    await kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": other}})
    provider = stage.providers["second"]
    address = [{"ip": {"address": POD_ADDRESS, "port": provider.port}}]
    for each in manifests.backend("shared", provider.port, key=provider.key, schema_fields={"prefix": "/other/v1"}):
        if each["kind"] == "Backend":
            each["spec"]["endpoints"] = address
        await kube.apply({**each, "metadata": {**each["metadata"], "namespace": other}})
    await stage.apply(manifests.route("shared", [manifests.rule("shared", manifests.ref("shared", namespace=other))]))
    refused = await stage.until(lambda answer: answer.status_code == 500, lambda: stage.chat("shared"))
    assert refused.json()["error"]["type"] == "server_error"
    ours = {"group": manifests.AI, "kind": "AIGatewayRoute", "namespace": stage.namespace}
    http = {"group": manifests.GATEWAY_API, "kind": "HTTPRoute", "namespace": stage.namespace}
    to = [{"group": manifests.AI, "kind": "AIServiceBackend"}, {"group": manifests.ENVOY_GATEWAY, "kind": "Backend"}]
    route = reference(f"{manifests.AI}/v1beta1", "AIGatewayRoute", "shared", stage.namespace)
    await _grant(kube, other, {"from": [ours], "to": to})
    told = await kube.wait_for(
        route, lambda item: "the HTTPRoute" in condition(item, "ResolvedRefs").get("message", ""), "the other grant"
    )
    assert f"from {manifests.GATEWAY_API}/HTTPRoute" in condition(told, "ResolvedRefs")["message"]
    await _grant(kube, other, {"from": [ours, http], "to": to})
    await stage.served("shared")
