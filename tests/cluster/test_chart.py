"""The Helm charts: linted, rendered for every values file in `ci/`, taken by a real API server, and run as rendered."""

import asyncio
import json
import ssl
import sys
import urllib.request
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import httpx
import pytest
import yaml
from headgate.collector.main import make_parser as make_collector_parser
from headgate.compiler.envoy_gateway.sidecar import ADMIN_PORT, ADMIN_PORT_NAME
from headgate.controller.main import make_parser
from headgate.extproc.main import parse_arguments
from headgate.ratelimit.main import make_parser as make_limiter_parser
from support import manifests
from support.controller import Controller
from support.envoy import envoy_binary
from support.helm import KUBERNETES, helm, helm_program, monitored, rendered
from support.kube import Access, ApiError, Kube, Object, reference, tools_directory, unique_name
from support.pod import MountedSecret
from support.ports import LOOPBACK, free_port
from support.processes import Child
from support.providers import OPENAI, Answer, Provider

MANIFESTS = Path(__file__).parents[2] / "manifests"
CHART = MANIFESTS / "chart"
CRDS_CHART = MANIFESTS / "crds-chart"
VALUES = sorted((CHART / "ci").glob("*-values.yaml"))


def render(namespace: str, values: Path | None = None, *settings: str, chart: Path = CHART) -> list[Object]:
    """The objects of a chart."""
    arguments = ["--values", str(values)] if values is not None else []
    for setting in settings:
        arguments += ["--set", setting]
    return rendered("headgate", chart, namespace, *arguments)


def found(objects: list[Object], kind: str, name: str = "") -> Object:
    """The one object of a kind (and name)."""
    (item,) = [each for each in objects if each["kind"] == kind and name in ("", each["metadata"]["name"])]
    return item


def container(deployment: Object, name: str) -> Object:
    spec = deployment["spec"]["template"]["spec"]
    (item,) = [each for each in (*spec["containers"], *spec.get("initContainers", ())) if each["name"] == name]
    return item


@pytest.mark.parametrize("values", VALUES, ids=lambda path: path.stem)
def test_the_chart_is_sound(values: Path) -> None:
    done = helm("lint", "--strict", "--values", str(values), str(CHART))
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_chart_of_definitions_is_sound() -> None:
    done = helm("lint", "--strict", str(CRDS_CHART))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (("controller.replicaCout=3",), "replicaCout"),
        (("mode=docker",), "mode"),
        (("extProc.enableRedaction=true",), "enableRedaction"),
        (("rateLimit.redis.url=localhost:6379",), "rateLimit.redis.url"),
        (("mode=standalone", "envoy.replicaCount=2"), "several Envoys share their limits through Redis"),
        (("rateLimit.replicaCount=2",), "several rate limit services share their counters through Redis"),
        (("collector.store.url=usage.db",), "collector.store.url"),
        (("controller.leaderElection.enabled=false",), "two controllers would write against each other"),
    ],
)
def test_what_cannot_work_is_refused(settings: tuple[str, ...], told: str) -> None:
    arguments = [part for setting in settings for part in ("--set", setting)]
    done = helm("template", "headgate", str(CHART), "--kube-version", KUBERNETES, *arguments)
    assert done.returncode != 0
    assert told.rpartition(".")[2] in done.stderr, done.stderr


Leaves = dict[tuple[str, ...], Object]
WRONG: dict[str, object] = {"string": 7, "integer": "many", "number": "much", "boolean": "maybe", "array": "one"}


def _leaves(schema: Object, path: tuple[str, ...] = ()) -> Leaves:
    """Every value that may be said, with its schema."""
    found: Leaves = {}
    for name, each in schema["properties"].items():
        found |= _leaves(each, (*path, name)) if "properties" in each else {(*path, name): each}
    return found


def _said(values: Object, path: tuple[str, ...]) -> object:
    for name in path:
        if name not in values:
            return None
        values = values[name]
    return values


SCHEMA = json.loads((CHART / "values.schema.json").read_text())
DEFAULTS = yaml.safe_load((CHART / "values.yaml").read_text())


def test_every_value_of_a_wrong_type_is_refused_by_its_name(tmp_path: Path) -> None:
    wrong: Object = {}
    leaves = _leaves(SCHEMA)
    for path, schema in leaves.items():
        at = wrong
        for name in path[:-1]:
            at = at.setdefault(name, {})
        type_ = schema.get("type", "string")
        at[path[-1]] = "one" if type_ == "object" else True if isinstance(type_, list) else WRONG[type_]
    values = tmp_path / "values.yaml"
    values.write_text(yaml.safe_dump(wrong))
    done = helm("template", "headgate", str(CHART), "--values", str(values))
    assert done.returncode != 0
    told = done.stderr.replace("/", ".")
    assert [path for path in leaves if ".".join(path) not in told] == []


def test_every_value_is_there_by_default_and_said_otherwise_once() -> None:
    """The values files of `ci/`, which are rendered, put to an API server and run, leave none out."""
    said = [yaml.safe_load(path.read_text()) for path in VALUES]
    # of a disruption budget it is either this or minAvailable; of header attributes null is not the same as none
    absent = {"maxUnavailable", "spanRequestHeaderAttributes", "logRequestHeaderAttributes"}
    for path in _leaves(SCHEMA):
        default = _said(DEFAULTS, path)
        assert default is not None or path[-1] in absent, path
        assert any(_said(each, path) not in (None, default) for each in said), path


@pytest.mark.parametrize("values", VALUES, ids=lambda path: path.stem)
async def test_a_real_api_server_takes_all_of_it(
    kube: Kube, gateway_crds: None, monitoring_crds: None, values: Path
) -> None:
    """Strictly: an unknown or misspelt field is refused."""
    namespace, proxies = unique_name("chart"), unique_name("proxies")
    for name in (namespace, proxies):
        await kube.create(reference("v1", "Namespace", name))
    objects = render(
        namespace, values, f"envoyGateway.namespace={proxies}", "controller.mutatingWebhook.failurePolicy=Ignore"
    )
    for each in objects:
        await kube.apply(each)
    for each in objects:
        if each["kind"] == "Deployment":
            template = each["spec"]["template"]
            pod = {**reference("v1", "Pod", unique_name("pod"), namespace), "spec": template["spec"]}
            pod["spec"].pop("priorityClassName", None)
            await kube.create(pod, dry_run=True)
    for each in (*objects, *(reference("v1", "Namespace", name) for name in (namespace, proxies))):
        await kube.delete(each)


async def test_the_definitions_are_those_of_crds_and_stay(kube: Kube) -> None:
    rendered = {each["metadata"]["name"]: each for each in render("x", chart=CRDS_CHART)}
    written = [yaml.safe_load(path.read_text()) for path in sorted((MANIFESTS / "crds").glob("*.yaml"))]
    assert set(rendered) == {each["metadata"]["name"] for each in written}
    for each in written:
        definition = rendered[each["metadata"]["name"]]
        assert definition["spec"] == each["spec"]
        assert definition["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
        await kube.apply(definition, dry_run=True)


def test_what_kustomize_has_is_what_the_chart_says() -> None:
    spec = spec_from_file_location("generate_kustomize", MANIFESTS / "generate_kustomize.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    for path, content in module.files(helm_program()).items():
        assert path.read_text() == content, f"{path} is not up to date: run `make kustomize`"


@pytest.mark.parametrize("values", VALUES, ids=lambda path: path.stem)
def test_every_program_takes_the_arguments_that_it_is_given(values: Path) -> None:
    objects = render("ns", values)
    deployments = [each for each in objects if each["kind"] == "Deployment"]
    for deployment in deployments:
        spec = deployment["spec"]["template"]["spec"]
        for each in (*spec["containers"], *spec.get("initContainers", ())):
            match each["command"]:
                case ["headgate-controller"]:
                    options = make_parser().parse_args(each["args"])
                    assert (
                        options.certificate_lifetime
                        == (240 if values.stem == "envoy-gateway-other-values" else 720) * 3600
                    )
                case ["headgate-extproc"]:
                    parse_arguments(each["args"])
                case ["headgate-ratelimit"]:
                    make_limiter_parser().parse_args(each["args"])
                case ["headgate-collector"]:
                    make_collector_parser().parse_args(each["args"])
                case command:
                    assert command == ["envoy"]


@pytest.mark.parametrize("values", VALUES, ids=lambda path: path.stem)
def test_pods_are_restricted(values: Path) -> None:
    """What the `restricted` pod security standard asks for, and a read-only file system."""
    for deployment in (each for each in render("ns", values) if each["kind"] == "Deployment"):
        spec = deployment["spec"]["template"]["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for each in (*spec["containers"], *spec.get("initContainers", ())):
            context = each["securityContext"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert context["readOnlyRootFilesystem"] is True
            assert each["resources"]["requests"]


def test_monitors_are_asked_for_only_and_name_ports_that_there_are() -> None:
    asked: dict[str, set[str]] = {}
    for path in VALUES:
        objects = render("ns", path)
        ports = {
            port["name"]: port["containerPort"]
            for each in objects
            if each["kind"] == "Deployment"
            for spec in (each["spec"]["template"]["spec"],)
            for part in (*spec["containers"], *spec.get("initContainers", ()))
            for port in part.get("ports", ())
        } | {ADMIN_PORT_NAME: ADMIN_PORT}
        for monitor, endpoints in monitored(objects):
            asked.setdefault(path.stem, set()).add(monitor["kind"])
            assert {each["port"] for each in endpoints} <= ports.keys()
            if monitor["kind"] == "ServiceMonitor":
                (service,) = _selected(objects, monitor)
                listed = [(each["name"], each["port"], each["targetPort"]) for each in service["spec"]["ports"]]
                assert listed == [(each["port"], ports[each["port"]], each["port"]) for each in endpoints]
    assert asked == {
        "envoy-gateway-all-values": {"ServiceMonitor"},
        "envoy-gateway-other-values": {"PodMonitor"},
        "standalone-scaled-values": {"PodMonitor"},
    }


def _selected(objects: list[Object], monitor: Object) -> list[Object]:
    """The Services that a ServiceMonitor selects."""
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    own = {"matchNames": [monitor["metadata"]["namespace"]]}
    namespaces = monitor["spec"].get("namespaceSelector", own)["matchNames"]
    return [
        each
        for each in objects
        if each["kind"] == "Service"
        and each["metadata"]["namespace"] in namespaces
        and wanted <= each["metadata"]["labels"].items()
    ]


@pytest.mark.parametrize("values", ["envoy-gateway-other", "standalone-scaled"])
def test_either_kind_of_monitor_asks_the_same_pods(values: str) -> None:
    path = CHART / "ci" / f"{values}-values.yaml"
    of_pods = {each["metadata"]["name"]: (each, asked) for each, asked in monitored(render("ns", path))}
    objects = render("ns", path, "monitoring.kind=ServiceMonitor")
    of_services = {each["metadata"]["name"]: (each, asked) for each, asked in monitored(objects)}
    assert {name: asked for name, (_, asked) in of_services.items()} == {
        name: asked for name, (_, asked) in of_pods.items()
    }
    for name, (monitor, _) in of_services.items():
        (service,) = _selected(objects, monitor)
        pods = of_pods[name][0]["spec"]
        assert service["spec"]["selector"] == pods["selector"]["matchLabels"]
        assert [service["metadata"]["namespace"]] == pods.get("namespaceSelector", {"matchNames": ["ns"]})["matchNames"]


def test_alerts_and_dashboards_are_the_files() -> None:
    """Prometheus and Grafana are given `manifests/alerts` and `dashboards`, with the objectives of the values."""
    objects = render("ns", CHART / "ci" / "envoy-gateway-all-values.yaml")
    objectives, *groups = found(objects, "PrometheusRule")["spec"]["groups"]
    assert groups == yaml.safe_load((MANIFESTS / "alerts" / "headgate.yaml").read_text())["groups"]
    (defaults,) = yaml.safe_load((MANIFESTS / "alerts" / "objectives.yaml").read_text())["groups"]
    assert [each["record"] for each in objectives["rules"]] == [each["record"] for each in defaults["rules"]]
    assert [each["expr"] for each in objectives["rules"]] == ["vector(0.0005)", "vector(10)", "vector(1.5)"]
    plain = render("ns", CHART / "ci" / "standalone-scaled-values.yaml")
    assert found(plain, "PrometheusRule")["spec"]["groups"][0] == defaults
    boards = [
        each for each in objects if each["kind"] == "ConfigMap" and "grafana_dashboard" in each["metadata"]["labels"]
    ]
    shown = {name: json.loads(text) for each in boards for name, text in each["data"].items()}
    files = (MANIFESTS / "dashboards").glob("*.json")
    assert shown == {f"headgate-{path.name}": json.loads(path.read_text()) for path in files}


def test_what_stands_beside_envoy_gateway_is_in_its_namespace() -> None:
    objects = render("ns", CHART / "ci" / "envoy-gateway-all-values.yaml")
    controller = container(found(objects, "Deployment", "ai-gateway-controller"), "controller")["args"]
    options = make_parser().parse_args(controller)
    assert options.ratelimit_address == "ai-gateway-ratelimit.envoy-gateway-system.svc:8081"
    assert options.ratelimit_fail_closed
    assert options.collector_address == "ai-gateway-collector.envoy-gateway-system.svc:9190"
    for name, port in (("ai-gateway-ratelimit", 8081), ("ai-gateway-collector", 9190)):
        for kind in ("Deployment", "Service", "NetworkPolicy"):
            assert found(objects, kind, name)["metadata"]["namespace"] == "envoy-gateway-system"
        assert found(objects, "Service", name)["spec"]["ports"][0]["port"] == port


def test_values_of_envoy_ai_gateway_arrive() -> None:
    objects = render("ns", CHART / "ci" / "envoy-gateway-all-values.yaml")
    arguments = container(found(objects, "Deployment", "ai-gateway-controller"), "controller")["args"]
    options = make_parser().parse_args(arguments)
    assert options.extproc_image == "registry.example.com/headgate:1.2.3-extproc"
    assert options.extproc_image_pull_policy == "Always"
    assert options.extproc_image_pull_secrets == ("mine", "another")
    assert options.extproc_env == (("FIRST", "one"), ("SECOND", "two"))
    assert options.root_prefix == "/ai"
    assert options.watch_namespaces == ("default", "kube-public")
    assert options.cache_sync_timeout_seconds == 90.0
    assert options.extension_message_bytes_max == 67108864
    webhook = found(objects, "MutatingWebhookConfiguration")["webhooks"][0]
    assert webhook["failurePolicy"] == "Ignore"
    assert webhook["clientConfig"]["service"]["name"] == "ai-gateway-controller"


@pytest.fixture
def started(kube_access: Access, short_path: Path) -> Iterator[list[Controller]]:
    controllers: list[Controller] = []
    yield controllers
    for each in controllers:
        each.close()


async def _installed(kube: Kube, access: Access, namespace: str, objects: list[Object], directory: Path) -> Path:
    """Applies all of it; the result is a kubeconfig of the controller's own account."""
    for each in objects:
        if each["kind"] != "Deployment":
            await kube.apply(each)
    token = await kube.service_account_token(namespace, found(objects, "ServiceAccount")["metadata"]["name"])
    config = directory / "own.yaml"
    config.write_text(access.kubeconfig.read_text().replace(access.token, token))
    return config


async def test_the_webhook_of_the_chart_is_called_by_its_service(
    kube: Kube, kube_access: Access, namespace: str, our_crds: None, gateway_crds: None, short_path: Path,
    started: list[Controller], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The controller with the arguments, the rights and the names of the chart; the API server finds it by Service."""
    if tools_directory() is None:
        pytest.skip("needs a network in which every ClusterIP is local: run `make cluster` without KUBECONFIG")
    objects = render(
        namespace, None, f"envoyGateway.namespace={namespace}", f"controller.watch.namespaces={{{namespace}}}"
    )
    config = await _installed(kube, kube_access, namespace, objects, short_path)
    monkeypatch.setenv("POD_NAMESPACE", namespace)
    arguments: list[str] = container(found(objects, "Deployment", "headgate-controller"), "controller")["args"]
    kept = [each for each in arguments if not each.startswith(("--health-address", "--extension-address"))]
    # As IPv4: a ClusterIP is local here, and the test's network has no other addresses.
    own = ["--extension-address", f"{LOOPBACK}:{free_port()}"]
    controller = Controller(config, short_path, *kept, *own)
    started.append(controller)
    await asyncio.to_thread(controller.wait_ready)
    webhook = found(objects, "MutatingWebhookConfiguration")
    await kube.wait_for(webhook, lambda item: bool(item["webhooks"][0]["clientConfig"].get("caBundle")), "the caBundle")
    prefix = "gateway.envoyproxy.io/owning-gateway"
    labels = {"app.kubernetes.io/managed-by": "envoy-gateway", "app.kubernetes.io/component": "proxy"}
    labels |= {f"{prefix}-name": "g", f"{prefix}-namespace": namespace}
    pod = reference("v1", "Pod", "proxy", namespace)
    pod |= {
        "metadata": {**pod["metadata"], "labels": labels},
        "spec": {"containers": [{"name": "envoy", "image": "i"}]},
    }
    async with asyncio.timeout(20):
        while True:  # the API server takes a moment to see a new webhook, and a new Service
            try:
                await kube.create(pod, dry_run=True)
            except ApiError as error:
                if "failed calling webhook" not in str(error):
                    raise
            if await asyncio.to_thread(lambda: controller.status()["webhook"]["answers"]):
                break
            await asyncio.sleep(0.1)
    assert "forbidden" not in (controller.stdout + controller.stderr).lower()
    await kube.delete(webhook)


async def test_an_envoy_of_the_chart_is_served_over_mutual_tls_that_rotates(
    kube: Kube, kube_access: Access, namespace: str, our_crds: None, gateway_crds: None, short_path: Path,
    started: list[Controller], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The bootstrap of the chart; the kubelet's part, files that follow a Secret, is the test's."""
    settings = (f"controller.watch.namespaces={{{namespace}}}", "controller.certificates.lifetime=9s")
    settings += ("mode=standalone", "rateLimit.enabled=false", f"envoy.gatewayClass.name={unique_name('ours')}")
    objects = render(namespace, None, *settings)
    config = await _installed(kube, kube_access, namespace, objects, short_path)
    monkeypatch.setenv("POD_NAMESPACE", namespace)
    arguments: list[str] = container(found(objects, "Deployment", "headgate-controller"), "controller")["args"]
    kept = [each for each in arguments if not each.startswith(("--health-address", "--address", "--state-dir"))]
    port = free_port()

    def start(name: str) -> Controller:
        started.append(Controller(config, short_path, *kept, "--address", f"{LOOPBACK}:{port}", name=name))
        return started[-1]

    controller = start("first")
    await asyncio.to_thread(controller.wait_ready)
    files = MountedSecret(short_path / "tls")
    secret = await kube.get("v1", "Secret", "headgate-envoy-tls", namespace)
    files.write(secret)
    stop = asyncio.Event()
    following = asyncio.create_task(_follow(kube, namespace, files, stop))
    bootstrap = _local(found(objects, "ConfigMap")["data"], short_path, port)
    gateway_port = free_port()
    await kube.apply(_gateway(namespace, found(objects, "GatewayClass")["metadata"]["name"], gateway_port))
    with Provider(OPENAI, key="sk") as provider, _envoy(objects, bootstrap, short_path) as envoy:
        provider.answer(Answer(text="over TLS"))
        await _apply_route(kube, namespace, provider, "one")
        try:
            await _served(gateway_port, "one", envoy)
            await _renewed(files)
            await asyncio.to_thread(controller.close)  # Envoy connects anew, with what is valid by now
            await asyncio.to_thread(start("second").wait_ready)
            await _apply_route(kube, namespace, provider, "two")
            await _served(gateway_port, "two", envoy)
            assert "LIVE" in await asyncio.to_thread(_page, bootstrap, "/ready")
            assert not await _greeted(port), "who shows no certificate is told nothing"
            await _drains(short_path)
        finally:
            stop.set()
            await following


def _gateway(namespace: str, class_name: str, port: int) -> Object:
    listeners = [{"name": "http", "port": port, "protocol": "HTTP"}]
    item = reference("gateway.networking.k8s.io/v1", "Gateway", "gateway", namespace)
    return {**item, "spec": {"gatewayClassName": class_name, "listeners": listeners}}


def _envoy(objects: list[Object], bootstrap: Object, directory: Path) -> Child:
    """With the arguments of the chart's Deployment."""
    (directory / "envoy.json").write_text(json.dumps(bootstrap))
    given: list[str] = container(found(objects, "Deployment", "headgate-envoy"), "envoy")["args"]
    known = {"/etc/headgate/envoy": str(directory), "$(POD_NAME)": "pod", "$(MEMORY_BYTES)": str(1 << 30)}
    for name, value in known.items():
        given = [each.replace(name, value) for each in given]
    return Child([str(envoy_binary()), *given], directory=directory, name="envoy")


async def _renewed(files: MountedSecret) -> None:
    """Until the controller has renewed the certificate twice."""
    first = files.serial
    async with asyncio.timeout(30):
        while files.renewals < 2:  # noqa: ASYNC110 - it is the controller that renews
            await asyncio.sleep(0.1)
    assert files.serial != first


async def _drains(directory: Path) -> None:
    """What the chart runs before Envoy ends."""
    drain = [sys.executable, "-m", "headgate.runtime.drain", str(directory / "envoy-admin.sock"), "6"]
    with Child(drain, directory=directory, name="drain") as draining:
        assert await asyncio.to_thread(draining.wait) == 0
        assert "envoy_not_drained" not in draining.stderr


async def _follow(kube: Kube, namespace: str, files: MountedSecret, stop: asyncio.Event) -> None:
    while not stop.is_set():
        files.write(await kube.get("v1", "Secret", "headgate-envoy-tls", namespace))
        await asyncio.sleep(0.2)


def _local(texts: dict[str, str], directory: Path, port: int) -> Object:
    """The chart's bootstrap on this machine: same content, other paths, address and ports."""
    for name in ("certificate.json", "authorities.json"):
        (directory / name).write_text(texts[name].replace("/etc/headgate/tls", str(directory / "tls")))
    text = texts["envoy.json"].replace("/etc/headgate/envoy", str(directory)).replace("/run/headgate", str(directory))
    bootstrap: Object = json.loads(text)
    (pages,) = bootstrap["static_resources"]["listeners"]
    pages["address"]["socket_address"] |= {"address": LOOPBACK, "port_value": free_port()}
    endpoint = bootstrap["static_resources"]["clusters"][0]["load_assignment"]["endpoints"][0]["lb_endpoints"][0]
    endpoint["endpoint"]["address"]["socket_address"] = {"address": LOOPBACK, "port_value": port}
    return bootstrap


async def _greeted(port: int) -> bool:
    """Whether the xDS port speaks HTTP/2 with a client that has no certificate."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    try:
        async with asyncio.timeout(10):
            reader, writer = await asyncio.open_connection(LOOPBACK, port, ssl=context)
            try:
                writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0")
                return bool(await reader.read(1))
            finally:
                writer.close()
    except OSError:
        return False


def _page(bootstrap: Object, path: str) -> str:
    port = bootstrap["static_resources"]["listeners"][0]["address"]["socket_address"]["port_value"]
    with urllib.request.urlopen(f"http://{LOOPBACK}:{port}{path}", timeout=5) as response:
        return response.read().decode()


async def _apply_route(kube: Kube, namespace: str, provider: Provider, model: str) -> None:
    documents = manifests.backend("openai", provider.port, key="sk")
    documents.append(manifests.route(f"route-{model}", [manifests.rule(model, manifests.ref("openai"))]))
    for each in documents:
        await kube.apply({**each, "metadata": {**each["metadata"], "namespace": namespace}})


async def _served(port: int, model: str, envoy: Child) -> None:
    last = ""
    body = {"model": model, "messages": [{"role": "user", "content": "Hi"}]}
    try:
        async with httpx.AsyncClient(base_url=f"http://{LOOPBACK}:{port}") as client, asyncio.timeout(20):
            while True:
                try:
                    answer = await client.post("/v1/chat/completions", json=body)
                    if answer.status_code == 200:
                        return
                    last = answer.text
                except httpx.HTTPError as error:
                    last = repr(error)
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise TimeoutError(f"last answer: {last}; Envoy's log: {envoy.stderr[-3000:]}") from None
