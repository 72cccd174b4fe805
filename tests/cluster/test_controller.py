"""`headgate-controller --mode standalone` on a real API server: what it serves, what it writes, and who writes."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from headgate.compiler.options import CONTROLLER_NAME, Mode
from headgate.controller.rbac import objects
from headgate.runtime.envoy import EnvoyOptions, envoy_child, find_envoy
from headgate.runtime.supervisor import Supervisor
from support import manifests
from support.controller import Controller
from support.kube import Access, Kube, Object, condition, is_true, reference, unique_name
from support.ports import LOOPBACK, free_port
from support.providers import OPENAI, Answer, Provider
from support.waiting import wait_until

GATEWAY_API = "gateway.networking.k8s.io/v1"
Run = Callable[..., Controller]


@pytest.fixture
def run_controller(kube_access: Access, short_path: Path, gateway_crds: None, our_crds: None) -> Iterator[Run]:
    """Starts `headgate-controller --mode standalone`; arguments as on the command line."""
    started: list[Controller] = []

    def run(*arguments: str, kubeconfig: Path = kube_access.kubeconfig, name: str = "controller") -> Controller:
        always = ("--mode", "standalone", "--gateway-address", LOOPBACK)
        started.append(Controller(kubeconfig, short_path, *always, *arguments, name=name))
        return started[-1]

    yield run
    for each in started:
        each.close()


@pytest.fixture
async def gateway_class(kube: Kube) -> AsyncIterator[str]:
    """A GatewayClass of ours."""
    item = {**reference(GATEWAY_API, "GatewayClass", unique_name("ours")), "spec": {"controllerName": CONTROLLER_NAME}}
    await kube.create(item)
    yield item["metadata"]["name"]
    await kube.delete(item)


def placed(item: Object, namespace: str) -> Object:
    return {**item, "metadata": {**item["metadata"], "namespace": namespace}}


def gateway(namespace: str, class_name: str, *ports: int, name: str = "gateway") -> Object:
    listeners = [{"name": f"http{port}", "port": port, "protocol": "HTTP"} for port in ports]
    item = reference(GATEWAY_API, "Gateway", name, namespace)
    return {**item, "spec": {"gatewayClassName": class_name, "listeners": listeners}}


async def settled(controller: Controller, quiet_seconds: float = 2.0) -> dict[str, Any]:
    """Its status once it has written nothing for a while."""
    status, since = controller.status(), time.monotonic()
    async with asyncio.timeout(60):
        while time.monotonic() - since < quiet_seconds or not status["statuses"]["idle"]:
            await asyncio.sleep(0.1)
            now = await asyncio.to_thread(controller.status)
            if now["statuses"] != status["statuses"] or now["wanted"] != status["wanted"]:
                status, since = now, time.monotonic()
    return status


async def test_what_is_applied_is_served_and_told(
    kube: Kube, namespace: str, gateway_class: str, run_controller: Run, short_path: Path
) -> None:
    """A Gateway and an AIGatewayRoute on the API server, the real Envoy on our xDS, OpenAI's client on Envoy."""
    controller = run_controller("--watch-namespaces", namespace, "--leader-election-namespace", namespace)
    await asyncio.to_thread(controller.wait_ready)
    port, supervisor = free_port(), Supervisor()
    options = EnvoyOptions(binary=find_envoy(), state_directory=short_path, xds_socket=controller.xds, concurrency=1)
    supervisor.start(envoy_child(options))
    with Provider(OPENAI, key="sk-provider") as provider:
        provider.answer(Answer(text="from the cluster"))
        documents = manifests.backend("openai", provider.port, key="sk-provider")
        documents.append(manifests.route("route", [manifests.rule("gpt", manifests.ref("openai"))]))
        for each in (gateway(namespace, gateway_class, port), *(placed(item, namespace) for item in documents)):
            await kube.apply(each)
        applied = time.monotonic()
        async with openai.AsyncOpenAI(
            base_url=f"http://{LOOPBACK}:{port}/v1", api_key="client", max_retries=0
        ) as client:
            text = await _ask(client)
        print(f"served {time.monotonic() - applied:.2f} s after the last apply")
        assert text == "from the cluster"
        assert provider.problems == []
    route = reference("aigateway.envoyproxy.io/v1beta1", "AIGatewayRoute", "route", namespace)
    for type_ in ("Accepted", "ResolvedRefs", "Programmed"):
        await kube.wait_for(route, is_true(type_), f"{type_} of the route")
    await kube.wait_for(gateway(namespace, gateway_class), is_true("Programmed"), "the Gateway to be programmed")
    found = reference(GATEWAY_API, "GatewayClass", gateway_class)
    await kube.wait_for(found, is_true("Accepted"), "the class to be accepted")
    await supervisor.stop()


async def _ask(client: openai.AsyncOpenAI) -> str:
    async with asyncio.timeout(20):
        while True:
            try:
                answer = await client.chat.completions.create(
                    model="gpt", messages=[{"role": "user", "content": "Hello!"}]
                )
            # 400: the listener of before reads no models, and has the routes of now already
            except (openai.APIConnectionError, openai.NotFoundError, openai.BadRequestError):
                await asyncio.sleep(0.02)
            else:
                return answer.choices[0].message.content or ""


async def test_nothing_is_written_again_where_nothing_changed(
    kube: Kube, namespace: str, gateway_class: str, run_controller: Run
) -> None:
    """Not by the same process, not after a restart, and only one object's status where only that changed."""
    here = ("--watch-namespaces", namespace, "--leader-election-namespace", namespace)
    for number in range(20):
        await kube.create(gateway(namespace, gateway_class, 8000 + number, name=f"g{number}"))
    first = run_controller(*here)
    await asyncio.to_thread(first.wait_ready)
    written = (await settled(first))["statuses"]["writes"]
    assert written >= 21
    versions = await _versions(kube, namespace)
    await kube.patch(gateway(namespace, gateway_class, 8000, name="g0"), {"metadata": {"labels": {"a": "b"}}})
    assert (await settled(first))["statuses"]["writes"] == written
    first.close()
    second = run_controller(*here, name="second")
    await asyncio.to_thread(second.wait_ready)
    await asyncio.to_thread(second.wait_status, leading=True)
    assert (await settled(second))["statuses"]["writes"] == 0
    after = await _versions(kube, namespace)
    assert {name for name in versions if versions[name] != after[name]} == {"g0"}
    before = await kube.get(GATEWAY_API, "Gateway", "g1", namespace)
    changed = gateway(namespace, gateway_class, 9001, name="g1")
    await kube.apply(changed, manager="editor")
    newer = await kube.wait_for(changed, _observed(2), "the new generation to be told")
    assert (await settled(second))["statuses"]["writes"] == 1
    assert condition(newer, "Accepted")["lastTransitionTime"] == condition(before, "Accepted")["lastTransitionTime"]


def _observed(generation: int) -> Callable[[Object], bool]:
    return lambda item: condition(item, "Accepted").get("observedGeneration") == generation


async def _versions(kube: Kube, namespace: str) -> dict[str, str]:
    found = await kube.list(GATEWAY_API, "Gateway", namespace)
    return {each["metadata"]["name"]: each["metadata"]["resourceVersion"] for each in found}


async def test_a_status_that_breaks_is_told_as_an_event_once(
    kube: Kube, namespace: str, gateway_class: str, run_controller: Run
) -> None:
    controller = run_controller("--watch-namespaces", namespace, "--leader-election-namespace", namespace)
    await asyncio.to_thread(controller.wait_ready)
    await kube.create(gateway(namespace, gateway_class, free_port()))
    item = placed(manifests.route("route", [manifests.rule("gpt", manifests.ref("missing"))]), namespace)
    await kube.apply(item)
    told = await kube.wait_for(item, lambda it: condition(it, "ResolvedRefs").get("status") == "False", "a refusal")
    assert "missing" in condition(told, "ResolvedRefs")["message"]
    await settled(controller)
    events = [
        each
        for each in await kube.list("events.k8s.io/v1", "Event", namespace)
        if each["regarding"]["kind"] == "AIGatewayRoute" and "ResolvedRefs" in each["note"]
    ]
    assert [(each["type"], each["reportingController"]) for each in events] == [("Warning", CONTROLLER_NAME)]


async def test_classes_of_others_are_left_alone(kube: Kube, namespace: str, run_controller: Run) -> None:
    theirs = {
        **reference(GATEWAY_API, "GatewayClass", unique_name("theirs")),
        "spec": {"controllerName": "a.example/b"},
    }
    await kube.create(theirs)
    created = await kube.create(gateway(namespace, theirs["metadata"]["name"], free_port()))
    controller = run_controller("--watch-namespaces", namespace, "--leader-election-namespace", namespace)
    await asyncio.to_thread(controller.wait_ready)
    await settled(controller)
    found = await kube.get(GATEWAY_API, "Gateway", "gateway", namespace)
    assert found["metadata"]["resourceVersion"] == created["metadata"]["resourceVersion"]
    await kube.delete(theirs)


async def test_of_two_only_the_leader_writes_and_the_other_takes_over(
    kube: Kube, namespace: str, gateway_class: str, run_controller: Run
) -> None:
    here = ("--watch-namespaces", namespace, "--leader-election-namespace", namespace)
    first = run_controller(*here, name="first")
    await asyncio.to_thread(first.wait_status, leading=True)
    second = run_controller(*here, name="second")
    await asyncio.to_thread(second.wait_ready)
    await kube.create(gateway(namespace, gateway_class, free_port()))
    await kube.wait_for(gateway(namespace, gateway_class), is_true("Accepted"), "the Gateway to be accepted")
    status = await settled(second)
    assert (status["leading"], status["statuses"]["writes"], status["events"]) == (False, 0, 0)
    assert status["wanted"] == first.status()["wanted"]
    written = (await settled(first))["statuses"]["writes"]
    first.signal(signal.SIGSTOP)  # a leader that hangs, which is worse than one that is gone
    hung = time.monotonic()
    await asyncio.to_thread(second.wait_status, leading=True)
    took = time.monotonic() - hung
    print(f"a new leader {took:.1f} s after the old one hung")
    await kube.create(gateway(namespace, gateway_class, free_port(), name="later"))
    later = gateway(namespace, gateway_class, name="later")
    await kube.wait_for(later, is_true("Accepted"), "the new leader's word")
    first.signal(signal.SIGCONT)
    await asyncio.to_thread(first.wait_status, leading=False)
    assert first.status()["statuses"]["writes"] == written
    second.signal(signal.SIGTERM)
    left = time.monotonic()
    assert await asyncio.to_thread(second.wait) == 0
    await asyncio.to_thread(first.wait_status, leading=True)
    print(f"a new leader {time.monotonic() - left:.1f} s after the old one was told to end")


async def test_the_role_is_enough_and_no_more(
    kube: Kube, namespace: str, gateway_class: str, kube_access: Access, run_controller: Run, tmp_path: Path
) -> None:
    """As its ServiceAccount, in its namespaces: everything is read, statuses and events are written, no more."""
    watched = unique_name("watched")
    await kube.create(reference("v1", "Namespace", watched))
    cluster_wide: list[Object] = []
    for item in objects(Mode.STANDALONE, namespace=namespace, watch_namespaces=(watched,)):
        made: Any = dict(item)
        if made["kind"].startswith("ClusterRole"):
            made["metadata"] = (
                {"name": unique_name("headgate-test")} if made["kind"] == "ClusterRole" else made["metadata"]
            )
            if made["kind"] == "ClusterRoleBinding":
                role = cluster_wide[-1]["metadata"]["name"]
                made |= {"metadata": {"name": role}, "roleRef": {**made["roleRef"], "name": role}}
            cluster_wide.append(made)
        await kube.apply(made)
    token = await kube.service_account_token(namespace, "headgate-controller")
    weak = tmp_path / "kubeconfig"
    weak.write_text(kube_access.kubeconfig.read_text().replace(kube_access.token, token))
    await kube.create(gateway(watched, gateway_class, free_port()))
    route = placed(manifests.route("route", [manifests.rule("gpt", manifests.ref("missing"))]), watched)
    await kube.apply(route)
    user = f"system:serviceaccount:{namespace}:headgate-controller"
    await _in_force(kube, user, cluster=cluster_wide[0], namespace=namespace, watched=watched)
    controller = run_controller(
        "--watch-namespaces", watched, "--leader-election-namespace", namespace, kubeconfig=weak
    )
    await asyncio.to_thread(controller.wait_ready)
    await kube.wait_for(gateway(watched, gateway_class), is_true("Accepted"), "the Gateway to be accepted")
    await settled(controller)

    def told() -> dict[str, Any] | None:
        """Its status once events are written and every watch is well, which follows in its own time."""
        found = controller.status()
        return found if found["events"] and not any(each["error"] for each in found["watches"]) else None

    status = await asyncio.to_thread(wait_until, told, "events, and watches without errors")
    of_class = reference("gateway.networking.k8s.io/v1", "GatewayClass", gateway_class)
    found = await kube.wait_for(of_class, is_true("SupportedVersion"), "the version to be told")
    assert condition(found, "SupportedVersion")["message"].startswith("Gateway API v1.")
    assert status["statuses"]["failures"] == 0
    assert "forbidden" not in (controller.stdout + controller.stderr).lower()
    for verb, group, resource, where in (
        ("get", "", "secrets", watched),
        ("list", "", "secrets", namespace),
        ("patch", "gateway.networking.k8s.io", "gateways", watched),
        ("delete", "gateway.networking.k8s.io", "gateways", watched),
        ("list", "", "pods", watched),
    ):
        assert not await _allowed(kube, user, verb=verb, group=group, resource=resource, namespace=where), verb
    for each in (*cluster_wide, reference("v1", "Namespace", watched)):
        await kube.delete(each)


async def test_an_upgrade_of_gateway_api_is_told(
    kube: Kube, namespace: str, gateway_class: str, run_controller: Run
) -> None:
    definition = reference(
        "apiextensions.k8s.io/v1", "CustomResourceDefinition", "gatewayclasses.gateway.networking.k8s.io"
    )
    annotation = "gateway.networking.k8s.io/bundle-version"
    there = (await kube.get(definition["apiVersion"], definition["kind"], definition["metadata"]["name"]))["metadata"]
    controller = run_controller("--watch-namespaces", namespace, "--leader-election-namespace", namespace)
    await asyncio.to_thread(controller.wait_ready)
    of_class = reference(GATEWAY_API, "GatewayClass", gateway_class)
    await kube.wait_for(of_class, is_true("SupportedVersion"), "the version to be told")
    try:
        await kube.patch(definition, {"metadata": {"annotations": {annotation: "v2.0.0"}}})
        told = await kube.wait_for(
            of_class, lambda item: condition(item, "SupportedVersion")["status"] == "False", "the other version"
        )
    finally:
        await kube.patch(definition, {"metadata": {"annotations": {annotation: there["annotations"][annotation]}}})
    assert condition(told, "SupportedVersion")["message"].startswith("Gateway API v2.0.0; 1.2 and newer")
    await kube.wait_for(of_class, is_true("SupportedVersion"), "the first version again")


async def _in_force(kube: Kube, user: str, *, cluster: Object, namespace: str, watched: str) -> None:
    """Waits until the API server, which follows roles in its own time, lets the account do what each role is for."""
    (definition,) = [rule for rule in cluster["rules"] if rule["apiGroups"] == ["apiextensions.k8s.io"]]
    wanted: list[dict[str, str]] = [
        {"verb": "get", "group": "apiextensions.k8s.io", "resource": "customresourcedefinitions"}
        | {"name": definition["resourceNames"][0]},
        {"verb": "patch", "group": "", "resource": "secrets", "namespace": watched},
        {"verb": "create", "group": "coordination.k8s.io", "resource": "leases", "namespace": namespace},
    ]
    async with asyncio.timeout(20):
        while wanted:
            if await _allowed(kube, user, **wanted[0]):
                wanted.pop(0)
            else:
                await asyncio.sleep(0.1)


async def _allowed(kube: Kube, user: str, **attributes: str) -> bool:
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": user, "resourceAttributes": attributes},
    }
    answer = await kube.request("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
    return answer["status"]["allowed"]


async def test_a_controller_that_starts_while_an_object_is_broken_has_its_last_good_version(
    kube: Kube, namespace: str, gateway_class: str, run_controller: Run
) -> None:
    here = ("--watch-namespaces", namespace, "--leader-election-namespace", namespace)
    await kube.create(gateway(namespace, gateway_class, free_port()))
    for each in manifests.backend("openai", 1, key="sk"):
        await kube.apply(placed(each, namespace))
    route = reference("aigateway.envoyproxy.io/v1beta1", "AIGatewayRoute", "route", namespace)
    kept = f"/api/v1/namespaces/{namespace}/configmaps/headgate-controller-last-good"

    async def edit(backend: str, *, model: str = "gpt") -> int:
        item = manifests.route("route", [manifests.rule(model, manifests.ref(backend))])
        return (await kube.apply(placed(item, namespace)))["metadata"]["generation"]

    async def told(generation: int) -> str:
        """What `Programmed` says of a version that is broken."""

        def holds(item: Object) -> bool:
            found = condition(item, "Programmed")
            return found.get("observedGeneration") == generation and found["reason"] == "LastGoodVersion"

        return condition(await kube.wait_for(route, holds, "the last good version"), "Programmed")["message"]

    first = run_controller(*here)
    await asyncio.to_thread(first.wait_ready)
    good = await edit("openai")
    await kube.wait_for(route, is_true("Programmed"), "the route to be programmed")
    assert f"generation {good}," in await told(await edit("nobody"))
    first.close()
    second = run_controller(*here, name="second")
    await asyncio.to_thread(second.wait_ready)
    await asyncio.to_thread(second.wait_status, leading=True)
    assert f"generation {good}," in await told(await edit("nobody", model="other"))
    await edit("openai", model="other")
    await kube.wait_for(route, is_true("Programmed"), "the route to be programmed")
    async with asyncio.timeout(20):
        data = "something"
        while data:
            data = (await kube.request("GET", kept))["data"]["objects.json"]
            await asyncio.sleep(0.1)
