"""Objects that are renamed, written in other versions and deleted, in any order: what is told, and what is left.

Our controller runs as beside Envoy Gateway, which these tests do without: what that is given is in the API server.
"""

import asyncio
import json
import re
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from headgate.compiler.resolve.leaving import UPSTREAMS
from support import manifests
from support.controller import Controller
from support.kube import Access, ApiError, Kube, Object, condition, reference, unique_name
from support.manifests import AI, ENVOY_GATEWAY, GATEWAY_API
from support.ports import LOOPBACK, free_port
from support.waiting import wait_until

ALPHA, BETA = f"{AI}/v1alpha1", f"{AI}/v1beta1"
OURS = (
    (f"{GATEWAY_API}/v1", "HTTPRoute"),
    (f"{ENVOY_GATEWAY}/v1alpha1", "HTTPRouteFilter"),
    ("v1", "Secret"),
    ("v1", "ConfigMap"),
)
"""Kinds of which we write objects; the API server itself has a ConfigMap in each namespace."""
Run = Callable[..., Awaitable[Controller]]
MIGRATE = Path(__file__).parents[2] / "docs" / "migrate.md"


@pytest.fixture
def run_controller(
    kube_access: Access, short_path: Path, namespace: str, gateway_crds: None, our_crds: None
) -> Iterator[Run]:
    """Starts one that watches the test's namespace, or others, and waits until it leads."""
    started: list[Controller] = []

    async def run(*watched: str) -> Controller:
        always = ["--mode", "envoy-gateway", "--extension-address", f"{LOOPBACK}:{free_port()}"]
        always += ["--leader-election-namespace", namespace, "--proxy-namespaces", namespace]
        always += ["--watch-namespaces", ",".join(watched or (namespace,))]
        controller = Controller(kube_access.kubeconfig, short_path, *always, name=f"controller{len(started)}")
        started.append(controller)
        await asyncio.to_thread(controller.wait_ready)
        await asyncio.to_thread(controller.wait_status, leading=True)
        return controller

    yield run
    for each in started:
        each.close()


@pytest.fixture
async def place(kube: Kube) -> AsyncIterator[Callable[..., Awaitable[None]]]:
    """Applies documents in a namespace, with a GatewayClass that Envoy Gateway would have."""
    name = unique_name("eg")
    spec = {"controllerName": f"{ENVOY_GATEWAY}/gatewayclass-controller"}
    gateway_class = await kube.create({**reference(f"{GATEWAY_API}/v1", "GatewayClass", name), "spec": spec})

    async def apply(namespace: str, *documents: Object, **options: Any) -> None:
        for each in documents:
            made = {**each, "metadata": {**each["metadata"], "namespace": namespace}}
            if made["kind"] == "Gateway":
                made["spec"] = {**made["spec"], "gatewayClassName": name}
            await kube.apply(made, **options)

    yield apply
    await kube.delete(gateway_class)


Place = Callable[..., Awaitable[None]]


def _gateway(name: str = "gateway") -> Object:
    return manifests.gateway({"name": "http", "port": 8080}, name=name)[1]


def _backend(name: str, *, key: str = "sk") -> list[Object]:
    """Outside of loopback, which the API server takes for no endpoint."""
    found = manifests.backend(name, 9, key=key)
    for each in found:
        if each["kind"] == "Backend":
            each["spec"]["endpoints"] = [{"ip": {"address": "192.0.2.1", "port": 9}}]
    return found


def _route(name: str, backend: str = "openai", *, parent: str = "gateway", version: str = BETA, **ref: Any) -> Object:
    rule = manifests.rule("gpt", manifests.ref(backend, **ref))
    return {**manifests.route(name, [rule], parent={"name": parent}), "apiVersion": version}


def _objects_of(route: str) -> set[str]:
    return {
        f"HTTPRoute/{route}",
        f"HTTPRouteFilter/ai-eg-host-rewrite-{route}",
        f"HTTPRouteFilter/ai-eg-route-not-found-response-{route}",
    }


async def _left(kube: Kube, namespace: str) -> set[str]:
    """What is there of the kinds that we write, without what the test put there."""
    found: set[str] = set()
    for version, kind in OURS:
        for each in await kube.list(version, kind, namespace):
            name = each["metadata"]["name"]
            if name not in ("openai", "other", "azure", "kube-root-ca.crt", "headgate-controller-last-good"):
                found.add(f"{kind}/{name}")
    return found


async def _leaves(kube: Kube, namespace: str, *wanted: set[str]) -> None:
    """Until exactly these are there."""
    expected = {name for names in wanted for name in names}
    found: set[str] | None = None
    try:
        async with asyncio.timeout(20):
            while found != expected:
                found = await _left(kube, namespace)
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"{found} instead of {expected}") from None


def _named(kind: str, name: str, namespace: str, version: str = BETA) -> Object:
    return reference(version, kind, name, namespace)


def _says(type_: str, status: str, text: str = "") -> Callable[[Object], bool]:
    """Of what the object says now."""

    def holds(item: Object) -> bool:
        found = condition(item, type_)
        newest = found.get("observedGeneration") == item["metadata"]["generation"]
        return newest and found["status"] == status and text in found["message"]

    return holds


async def _accepted(kube: Kube, namespace: str, *names: tuple[str, str]) -> None:
    for kind, name in names:
        await kube.wait_for(_named(kind, name, namespace), _says("Accepted", "True"), f"{kind} {name} to be accepted")


async def _quiet(controller: Controller) -> dict[str, Any]:
    """Its counts once all that is known was written."""

    def counts() -> dict[str, Any] | None:
        status = controller.status()
        return status if status and status["statuses"]["idle"] else None

    return await asyncio.to_thread(wait_until, counts, "nothing to be due")


async def test_a_renamed_route_leaves_nothing_behind(
    kube: Kube, namespace: str, place: Place, run_controller: Run
) -> None:
    controller = await run_controller()
    await place(namespace, _gateway(), *_backend("openai"), _route("before"))
    await _accepted(kube, namespace, ("AIGatewayRoute", "before"))
    await _leaves(kube, namespace, _objects_of("before"))
    await place(namespace, _route("after"))
    await kube.delete(_named("AIGatewayRoute", "before", namespace))
    await _leaves(kube, namespace, _objects_of("after"))
    await _accepted(kube, namespace, ("AIGatewayRoute", "after"), ("AIServiceBackend", "openai"))
    status = await _quiet(controller)
    assert status["objects"] == {"writes": 6, "failures": 0}
    assert status["statuses"]["failures"] == 0


async def test_a_renamed_backend_is_missed_until_its_route_follows(
    kube: Kube, namespace: str, place: Place, run_controller: Run
) -> None:
    await run_controller()
    await place(namespace, _gateway(), *_backend("openai"), _route("route"))
    await _accepted(kube, namespace, ("AIGatewayRoute", "route"))
    await place(namespace, *_backend("other"))
    for each in _backend("openai"):
        await kube.delete({**each, "metadata": {**each["metadata"], "namespace": namespace}})
    route = _named("AIGatewayRoute", "route", namespace)
    told = await kube.wait_for(route, _says("ResolvedRefs", "False", "openai"), "the backend to be missed")
    assert condition(told, "Accepted")["status"] == "False"
    await place(namespace, _route("route", "other"))
    await _accepted(kube, namespace, ("AIGatewayRoute", "route"), ("AIServiceBackend", "other"))
    found = await kube.get(f"{GATEWAY_API}/v1", "HTTPRoute", "route", namespace)
    assert [each["name"] for each in found["spec"]["rules"][0]["backendRefs"]] == ["other"]


async def test_a_renamed_gateway_is_missed_until_its_route_follows(
    kube: Kube, namespace: str, place: Place, run_controller: Run
) -> None:
    await run_controller()
    await place(namespace, _gateway("before"), *_backend("openai"), _route("route", parent="before"))
    await _accepted(kube, namespace, ("AIGatewayRoute", "route"))
    await place(namespace, _gateway("after"))
    await kube.delete({**_gateway("before"), "metadata": {"name": "before", "namespace": namespace}})
    route = _named("AIGatewayRoute", "route", namespace)
    await kube.wait_for(route, _says("Accepted", "False", "before"), "the Gateway to be missed")
    await _leaves(kube, namespace, _objects_of("route"))  # it is not the Gateway that they belong to
    await place(namespace, _route("route", parent="after"))
    await _accepted(kube, namespace, ("AIGatewayRoute", "route"))
    http_route = reference(f"{GATEWAY_API}/v1", "HTTPRoute", "route", namespace)
    await kube.wait_for(
        http_route, lambda item: [each["name"] for each in item["spec"]["parentRefs"]] == ["after"], "the new parent"
    )


@pytest.mark.parametrize(("first", "second"), [(ALPHA, BETA), (BETA, ALPHA)], ids=["alpha-beta", "beta-alpha"])
async def test_what_is_written_in_either_version_is_one_object(
    kube: Kube, namespace: str, place: Place, run_controller: Run, first: str, second: str
) -> None:
    """A client of the old version after one of the new, and the other way round."""
    controller = await run_controller()
    written = [_gateway(), *_backend("openai"), _route("route", version=first, weight=3)]
    for each in written:
        if each["apiVersion"] == BETA:
            each["apiVersion"] = first
    await place(namespace, *written, manager="first")
    kinds = (
        ("AIGatewayRoute", "route"),
        ("AIServiceBackend", "openai"),
        ("BackendSecurityPolicy", "openai"),
    )
    await _accepted(kube, namespace, *kinds)
    for kind, name in kinds:
        old, new = [await kube.get(version, kind, name, namespace) for version in (ALPHA, BETA)]
        assert (old.pop("apiVersion"), new.pop("apiVersion")) == (ALPHA, BETA)
        for each in (old, new):
            each["metadata"].pop("managedFields")
        assert old == new
    await place(namespace, _route("route", version=second, weight=5), manager="second")
    http_route = reference(f"{GATEWAY_API}/v1", "HTTPRoute", "route", namespace)

    def weighs(item: Object) -> bool:
        return [each["weight"] for each in item["spec"]["rules"][0]["backendRefs"]] == [5]

    found = await kube.wait_for(http_route, weighs, "the change of the other version")
    assert [each["apiVersion"] for each in found["metadata"]["ownerReferences"]] == [BETA]
    await _accepted(kube, namespace, *kinds)
    replaced = await kube.get(second, "AIGatewayRoute", "route", namespace)
    replaced["spec"]["rules"][0]["backendRefs"][0]["weight"] = 7
    await kube.replace(replaced)
    route = _named("AIGatewayRoute", "route", namespace)
    await kube.wait_for(route, lambda item: item["metadata"]["generation"] == 3, "the third version")
    await _accepted(kube, namespace, *kinds)
    assert (await _quiet(controller))["objects"] == {"writes": 5, "failures": 0}
    for kind in ("aigatewayroutes", "aiservicebackends", "backendsecuritypolicies"):
        definition = await kube.get("apiextensions.k8s.io/v1", "CustomResourceDefinition", f"{kind}.{AI}")
        assert definition["status"]["storedVersions"] == ["v1beta1"]


async def test_what_only_the_new_version_has_goes_when_the_old_one_is_written(
    kube: Kube, namespace: str, place: Place, run_controller: Run
) -> None:
    """`credentialOverride` of a BackendSecurityPolicy: the API server drops what a write's version does not know."""
    await run_controller()
    documents = [_gateway(), *_backend("openai"), _route("route")]
    (policy,) = [each for each in documents if each["kind"] == "BackendSecurityPolicy"]
    override = {"fromRequestHeaders": {"header": "x-own-key"}}
    policy["spec"]["credentialOverride"] = override
    await place(namespace, *documents, manager="new")
    await _accepted(kube, namespace, ("BackendSecurityPolicy", "openai"))
    old = {key: value for key, value in policy["spec"].items() if key != "credentialOverride"}
    await place(namespace, {**policy, "apiVersion": ALPHA, "spec": old}, manager="old")
    found = await kube.get(BETA, "BackendSecurityPolicy", "openai", namespace)
    assert "credentialOverride" not in found["spec"]
    await _accepted(kube, namespace, ("BackendSecurityPolicy", "openai"), ("AIGatewayRoute", "route"))


async def _gone(kube: Kube, namespace: str, documents: Sequence[Object]) -> None:
    """Deletes them in this order, and waits for each."""
    for each in documents:
        item = {**each, "metadata": {**each["metadata"], "namespace": namespace}}
        await kube.delete(item)
        await kube.wait_gone(item)


@pytest.mark.parametrize("order", ["Gateway", "AIServiceBackend", "BackendSecurityPolicy", "Secret", "AIGatewayRoute"])
async def test_whatever_goes_first_nothing_stays(
    kube: Kube, namespace: str, place: Place, run_controller: Run, order: str
) -> None:
    """What is left says what it lacks, what goes goes at once, and when all is gone nothing of ours is there."""
    controller = await run_controller()
    documents = [_gateway(), *_backend("openai"), _route("route")]
    await place(namespace, *documents)
    await _accepted(kube, namespace, ("AIGatewayRoute", "route"), ("BackendSecurityPolicy", "openai"))
    await _leaves(kube, namespace, _objects_of("route"))
    first = [each for each in documents if each["kind"] == order]
    await _gone(kube, namespace, first)
    lacking = {
        "Gateway": (("AIGatewayRoute", "route"), "Accepted", "False", "gateway"),
        "AIServiceBackend": (("AIGatewayRoute", "route"), "ResolvedRefs", "False", "openai"),
        "BackendSecurityPolicy": (("AIGatewayRoute", "route"), "Accepted", "True", ""),  # it may need none
        "Secret": (("BackendSecurityPolicy", "openai"), "Accepted", "False", "openai"),
        "AIGatewayRoute": (("AIServiceBackend", "openai"), "Programmed", "False", "no route that is served"),
    }
    named, type_, status, text = lacking[order]
    await kube.wait_for(_named(*named, namespace), _says(type_, status, text), f"{named[0]} to say what it lacks")
    await _gone(kube, namespace, [each for each in documents if each["kind"] != order])
    await _leaves(kube, namespace)
    status = await _quiet(controller)
    assert (status["objects"]["failures"], status["statuses"]["failures"]) == (0, 0)


async def test_a_secret_that_comes_back_is_in_force_again(
    kube: Kube, namespace: str, place: Place, run_controller: Run
) -> None:
    await run_controller()
    documents = [_gateway(), *_backend("openai"), _route("route")]
    await place(namespace, *documents)
    await _accepted(kube, namespace, ("BackendSecurityPolicy", "openai"))
    (secret,) = [each for each in documents if each["kind"] == "Secret"]
    await _gone(kube, namespace, [secret])
    policy = _named("BackendSecurityPolicy", "openai", namespace)
    await kube.wait_for(policy, _says("Accepted", "False", "openai"), "the Secret to be missed")
    await place(namespace, secret)
    await _accepted(kube, namespace, ("BackendSecurityPolicy", "openai"), ("AIGatewayRoute", "route"))


async def test_a_namespace_goes_with_everything_in_it(
    kube: Kube, namespace: str, place: Place, run_controller: Run
) -> None:
    """While the controller runs, which makes nothing anew of what is going, and serves the others on."""
    doomed = unique_name("doomed")
    item = await kube.create(reference("v1", "Namespace", doomed))
    controller = await run_controller(namespace, doomed)
    for where in (namespace, doomed):
        await place(where, _gateway(), *_backend("openai"), _route("route"))
        await _accepted(kube, where, ("AIGatewayRoute", "route"))
        await _leaves(kube, where, _objects_of("route"))
    await kube.delete(item)
    await kube.wait_gone(item)
    writes = (await _quiet(controller))["objects"]["writes"]
    await place(namespace, _route("later"))
    await _accepted(kube, namespace, ("AIGatewayRoute", "later"), ("AIGatewayRoute", "route"))
    await _leaves(kube, namespace, _objects_of("route"), _objects_of("later"))
    assert (await _quiet(controller))["objects"]["writes"] == writes + 3


async def test_what_goes_while_no_controller_runs_is_gone_and_what_stays_is_not_written_again(
    kube: Kube, namespace: str, place: Place, run_controller: Run
) -> None:
    first = await run_controller()
    await place(namespace, _gateway(), *_backend("openai"), *_backend("other"))
    await place(namespace, _route("stays"), _route("goes", "other"))
    await _accepted(kube, namespace, ("AIGatewayRoute", "stays"), ("AIGatewayRoute", "goes"))
    await _leaves(kube, namespace, _objects_of("stays"), _objects_of("goes"))
    await _quiet(first)
    first.signal(signal.SIGKILL)
    await asyncio.to_thread(first.wait)
    await _gone(kube, namespace, [_route("goes", "other"), *_backend("other")])
    await _leaves(kube, namespace, _objects_of("stays"))
    before = await kube.get(f"{GATEWAY_API}/v1", "HTTPRoute", "stays", namespace)
    second = await run_controller()
    await _accepted(kube, namespace, ("AIGatewayRoute", "stays"))
    status = await _quiet(second)
    assert status["objects"] == {"writes": 0, "failures": 0}
    after = await kube.get(f"{GATEWAY_API}/v1", "HTTPRoute", "stays", namespace)
    assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]


def _step_six() -> tuple[list[str], str, Object]:
    """Of docs/migrate.md: the kinds, and the patch with its type."""
    text = MIGRATE.read_text()
    (kinds,) = re.findall(r"for kind in ([a-z ]+); do", text)
    ((content, patch),) = re.findall(r"patch \$kind \"\$name\" --type=(\w+) -p '(.*)'", text)
    return kinds.split(), content, json.loads(patch)


async def test_what_upstreams_finalizer_keeps_says_so_and_goes_by_the_documented_way(
    kube: Kube, namespace: str, place: Place, run_controller: Run
) -> None:
    """Objects as Envoy AI Gateway's controller leaves them. It is gone; ours takes no finalizer that is not its own."""
    documents = [_gateway(), *_backend("openai"), _route("route")]
    quota = {"perModelQuotas": [{"modelName": "gpt", "quota": {"defaultBucket": {"limit": 9, "duration": "1d"}}}]}
    quota |= manifests.target("AIServiceBackend", "openai")
    mcp = {"parentRefs": [{"name": "gateway"}], "backendRefs": [{"name": "tools", "port": 80}]}
    documents += [manifests.document(ALPHA, "QuotaPolicy", "openai", quota)]
    documents += [manifests.document(BETA, "MCPRoute", "tools", mcp)]
    finalized = [each for each in documents if each["apiVersion"] in (ALPHA, BETA)]
    for each in finalized:
        each["metadata"]["finalizers"] = [UPSTREAMS]
    await place(namespace, *documents)
    controller = await run_controller()
    await _accepted(kube, namespace, ("AIGatewayRoute", "route"))
    await _leaves(kube, namespace, _objects_of("route"))
    for each in finalized:
        item = {**each, "metadata": {**each["metadata"], "namespace": namespace}}
        await kube.delete(item)
        if each["kind"] != "MCPRoute":
            text = f"kubectl -n {namespace} patch {each['kind'].lower()} {each['metadata']['name']} --type=merge -p "
            told = await kube.wait_for(
                item, lambda found, text=text: text in condition(found, "Programmed").get("message", ""), "the remedy"
            )
            assert UPSTREAMS in told["metadata"]["finalizers"]
    await _leaves(kube, namespace, _objects_of("route"))  # served until it goes
    kinds, content, patch = _step_six()
    assert content == "merge"
    assert set(kinds) == {f"{each['kind'].lower()}s".replace("policys", "policies") for each in finalized}
    for each in finalized:
        item = {**each, "metadata": {**each["metadata"], "namespace": namespace}}
        await kube.patch(item, patch)
        await kube.wait_gone(item)
    await _leaves(kube, namespace)
    assert (await _quiet(controller))["objects"]["failures"] == 0


async def test_a_token_goes_with_its_policy(kube: Kube, namespace: str, place: Place, run_controller: Run) -> None:
    """Whatever made it; a new name has a Secret of its own. The exchange itself fails here, which a Secret tells."""
    await run_controller()
    azure = {"tenantID": "t", "clientID": "c", "clientSecretRef": {"name": "azure"}}
    for name in ("before", "after"):
        spec = {**manifests.target("AIServiceBackend", "openai"), "type": "AzureCredentials", "azureCredentials": azure}
        await place(
            namespace,
            *_backend("openai", key=""),
            manifests.secret("azure", **{"client-secret": "s"}),
            manifests.document(BETA, "BackendSecurityPolicy", name, spec),
        )
        await _leaves(kube, namespace, {f"Secret/ai-eg-bsp-{name}"})
        await kube.delete(_named("BackendSecurityPolicy", name, namespace))
        await _leaves(kube, namespace)


async def test_the_api_server_refuses_an_older_write_of_a_newer_object(
    kube: Kube, namespace: str, place: Place, our_crds: None
) -> None:
    """Whoever read v1alpha1 before somebody wrote v1beta1 cannot overwrite that by accident."""
    await place(namespace, _route("route"))
    stale = await kube.get(ALPHA, "AIGatewayRoute", "route", namespace)
    await place(namespace, _route("route", weight=2))
    stale["spec"]["rules"][0]["backendRefs"][0]["weight"] = 3
    with pytest.raises(ApiError) as refused:
        await kube.replace(stale)
    assert refused.value.code == 409
