"""Our controller beside a real Envoy Gateway, with the processor and the Envoy that a pod would have had.

`Installation` is what an operator has before there is any route, `AiStage` a test's Gateway on it.

>>> async with AiStage(kube, namespace, run_envoy_gateway, directory, openai=Provider(...)) as stage:
...     await stage.apply(manifests.route(...))
...     await stage.served("model")
"""

import asyncio
import json
import sys
import urllib.request
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeAlias

import anthropic
import httpx
import openai
from aiohttp import web
from headgate.compiler.envoy_gateway.sidecar import RUNTIME_GUARD

from support import manifests
from support.checkout import importing
from support.envoy import EnvoyProcess
from support.envoy_gateway import ENVOY, GATEWAY, NAMESPACE, EnvoyGateway
from support.kube import Access, ApiError, Kube, Object, reference
from support.ports import LOOPBACK, free_port
from support.processes import Child
from support.processor import ProcessorProcess
from support.providers import ANTHROPIC, OPENAI, Provider
from support.waiting import BUSY_SECONDS, wait_until

POD_ADDRESS = "10.99.0.1"
CLIENT_KEY = "client-key"
TOLERATED = ("x-ai-eg-model",)
"""What providers are told beside Envoy Gateway (compat)."""
SERVED_SECONDS = 15.0
ACCESS_LOG = {
    "model": "%REQ(X-AI-EG-MODEL)%",
    "metadata": "%DYNAMIC_METADATA(io.envoy.ai_gateway)%",
    "route": "%ROUTE_NAME%",
    "backend": "%UPSTREAM_CLUSTER%",
    "status": "%RESPONSE_CODE%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
}


async def _answer(request: web.Request) -> web.Response:
    return web.Response(text=f"{request.method} {request.path} {len(await request.read())}")


class ControllerProcess:
    """`headgate-controller --mode envoy-gateway`."""

    def __init__(
        self,
        kubeconfig: Path,
        directory: Path,
        port: int,
        socket: Path,
        *options: str,
        name: str,
        version: str = "",
        checkout: Path | None = None,
    ) -> None:
        """`version` is what it takes itself for, where that is not what it is; `checkout` has other modules."""
        self.port = port
        self.health_port = free_port()
        pretend = f"from importlib import metadata; metadata.version = lambda name: {version!r}; " if version else ""
        program = (
            f"{importing(checkout)}{pretend}from headgate.controller.main import main; import sys; sys.exit(main())"
        )
        command = [sys.executable, "-c", program]
        command += ["--mode", "envoy-gateway", "--kubeconfig", str(kubeconfig), "--log-format", "json"]
        command += ["--extension-address", f"{LOOPBACK}:{port}", "--extproc-socket", str(socket)]
        command += ["--health-address", f"{POD_ADDRESS}:{self.health_port}", "--log-level", "debug", *options]
        self.child = Child(command, directory=directory, name=name)
        try:
            wait_until(self._serving, "the controller to serve", progress=self.child.progress)
        except BaseException:
            self.child.close()
            raise

    def _serving(self) -> bool:
        self.child.require_alive()
        return '"event":"serving"' in self.child.stderr

    def status(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"http://{POD_ADDRESS}:{self.health_port}/status", timeout=BUSY_SECONDS) as answer:
            return json.load(answer)

    def close(self) -> None:
        self.child.close()


RunEnvoyGateway: TypeAlias = Callable[..., Awaitable[EnvoyGateway]]
"""Starts one; its arguments are those of `EnvoyGatewayOptions`."""


@dataclass(frozen=True, slots=True)
class Installation:
    """What runs. Make it with `install`; nothing of it belongs to an event loop."""

    processor: ProcessorProcess
    controller: ControllerProcess
    envoy_gateway: EnvoyGateway

    def close(self) -> None:
        for each in (self.envoy_gateway, self.controller, self.processor):
            each.close()


async def install(
    access: Access,
    directory: Path,
    run_envoy_gateway: RunEnvoyGateway,
    *options: str,
    extra: Mapping[str, Any] | None = None,
    checkout: Path | None = None,
) -> Installation:
    """Starts all of it at once: a controller with `options`, and with `extra` in Envoy Gateway's configuration.

    Controller and processor are of `checkout`, if not from here.
    """
    port, socket = free_port(), directory / "extproc.sock"
    controller = partial(ControllerProcess, access.kubeconfig, directory, port, socket, "--no-leader-elect", *options)
    started = await asyncio.gather(
        asyncio.to_thread(partial(ProcessorProcess, directory, checkout=checkout)),
        asyncio.to_thread(partial(controller, name="controller", checkout=checkout)),
        run_envoy_gateway(extension_server=(LOOPBACK, port), redis_url="redis://127.0.0.1:6379", extra=extra),
        return_exceptions=True,
    )
    match started:
        case [ProcessorProcess() as processor, ControllerProcess() as controller, EnvoyGateway() as envoy_gateway]:
            return Installation(processor, controller, envoy_gateway)
        case _:
            for each in started:
                if not isinstance(each, BaseException):
                    each.close()
            raise next(each for each in started if isinstance(each, BaseException))


def standard_providers() -> dict[str, Provider]:
    """Those of `AiStage.standard`."""
    provider = partial(Provider, host=POD_ADDRESS, tolerated_headers=TOLERATED)
    return {
        "first": provider(OPENAI, key="sk-first"),
        "second": provider(replace(OPENAI, prefix="/other/v1"), key="sk-second"),
        "claude": provider(ANTHROPIC, key="sk-claude"),
    }


class AiStage:
    """See the module. Providers are by the name of the AIServiceBackend that they stand for."""

    def __init__(
        self,
        kube: Kube,
        namespace: str,
        on: RunEnvoyGateway | Installation,
        directory: Path,
        extra: Mapping[str, Any] | None = None,
        /,
        *controller_options: str,
        **providers: Provider,
    ) -> None:
        """`on` is an installation that others use too, which the test must leave as it is, or what starts an Envoy
        Gateway for one of its own; only such a one can have options, and `extra` of Envoy Gateway's configuration."""
        self.checkout: Path | None = None
        """Where controllers and processors that start from now on are from, if not from here."""
        self.older = False
        """Whether its Envoy Gateway is the oldest that is supported."""
        self.merges = False
        """Whether the Gateways share their Envoys."""
        self._extra = extra
        self._controller_options = controller_options
        self.kube = kube
        self.namespace = namespace
        self.providers = providers
        self.directory = directory
        self.port = free_port()
        self._on = on
        self._stack = AsyncExitStack()
        self._controllers = 0
        self.access_log_path = directory / "access.log"

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def _start(self) -> None:
        for provider in self.providers.values():
            self._stack.enter_context(provider)
        installation = await self._installation()
        self.processor, self.controller = installation.processor, installation.controller
        self.envoy_gateway = installation.envoy_gateway
        await self._configure_envoys()
        self.gateway = await self.add_gateway("gateway", self.port)
        kept = httpx.Limits(
            keepalive_expiry=None
        )  # a connection stays, whatever a busy machine takes between two calls
        self.http = await self._stack.enter_async_context(httpx.AsyncClient(base_url=self.url, timeout=30, limits=kept))

    async def _installation(self) -> Installation:
        if isinstance(self._on, Installation):
            gateway = await self._on.envoy_gateway.shared(self.kube, self.directory)
            self._stack.callback(gateway.close)
            return replace(self._on, envoy_gateway=gateway)
        run, options = partial(self._on, older=self.older), self._controller_options
        made = await install(self.kube.access, self.directory, run, *options, extra=self._extra, checkout=self.checkout)
        self._stack.callback(made.close)
        return made

    async def add_gateway(self, name: str, port: int, **annotations: str) -> Object:
        """Another Gateway of the same class."""
        gateway: Object = {
            **reference(GATEWAY, "Gateway", name, self.namespace),
            "spec": {
                "gatewayClassName": self.envoy_gateway.gateway_class,
                "listeners": [{"name": "http", "port": port, "protocol": "HTTP"}],
            },
        }
        gateway["metadata"]["annotations"] = annotations
        await self.kube.apply(gateway)
        return gateway

    async def start_controller(self, *options: str, port: int | None = None, version: str = "") -> ControllerProcess:
        """Starts another controller. On the port that Envoy Gateway calls, the one before must be gone."""
        self._controllers += 1
        found = await asyncio.to_thread(
            ControllerProcess,
            self.kube.access.kubeconfig,
            self.directory,
            port or self.controller.port,
            self.processor.socket_path,
            *options,
            name=f"controller{self._controllers}",
            version=version,
            checkout=self.checkout,
        )
        self._stack.callback(found.close)
        return found

    async def _configure_envoys(self) -> None:
        """What an operator sets: Envoy's version, the runtime guard, and what the access log tells."""
        if self.merges:
            await self.envoy_gateway.merge_gateways()
        layer = {"name": "headgate", "static_layer": {RUNTIME_GUARD: False}}
        bootstrap = {"type": "Merge", "value": json.dumps({"layered_runtime": {"layers": [layer]}})}
        sink = {"type": "File", "file": {"path": str(self.access_log_path)}}
        log = {"settings": [{"format": {"type": "JSON", "json": ACCESS_LOG}, "sinks": [sink]}]}
        proxy = reference(ENVOY, "EnvoyProxy", self.envoy_gateway.gateway_class, NAMESPACE)
        await self.kube.patch(proxy, {"spec": {"bootstrap": bootstrap, "telemetry": {"accessLog": log}}})
        await self.envoys_image("docker.io/envoyproxy/envoy:distroless-v1.40.0")

    async def envoys_image(self, image: str) -> None:
        """What Envoy Gateway puts into its Deployments; the test's Envoy is the same whatever it says."""
        proxy = reference(ENVOY, "EnvoyProxy", self.envoy_gateway.gateway_class, NAMESPACE)
        kubernetes = {"envoyDeployment": {"container": {"image": image}}}
        await self.kube.patch(proxy, {"spec": {"provider": {"type": "Kubernetes", "kubernetes": kubernetes}}})

    async def web(self) -> int:
        """The port of a web server that says what it was sent, on the pods' address."""
        application = web.Application(client_max_size=1 << 30)
        application.router.add_route("*", "/{path:.*}", _answer)
        runner = web.AppRunner(application)
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, POD_ADDRESS, port := free_port()).start()
        return port

    async def web_route(self, *paths: str) -> None:
        """An HTTPRoute of the Gateway to a web server, for these paths."""
        endpoints = [{"ip": {"address": POD_ADDRESS, "port": await self.web()}}]
        ref = {"group": "gateway.envoyproxy.io", "kind": "Backend", "name": "web"}
        rules = [{"matches": [{"path": {"type": "PathPrefix", "value": path}}], "backendRefs": [ref]} for path in paths]
        spec = {"parentRefs": [{"name": "gateway"}], "rules": rules}
        await self.apply(
            manifests.document(ENVOY, "Backend", "web", {"endpoints": endpoints}),
            manifests.document(GATEWAY, "HTTPRoute", "web", spec),
        )

    async def start_envoy(self) -> EnvoyProcess:
        """The Gateway's Envoy."""
        self.envoy = await self.envoy_gateway.start_envoy(self.gateway)
        return self.envoy

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    async def apply(self, *documents: manifests.Document) -> None:
        """Applies documents of `support.manifests` in the test's namespace."""
        for each in documents:
            await self.kube.apply({**each, "metadata": {"namespace": self.namespace, **each["metadata"]}})

    async def backend(self, name: str, schema: str = "OpenAI", **spec: Any) -> None:
        """The provider of that name as an AIServiceBackend."""
        provider = self.providers[name]
        made = manifests.backend(name, provider.port, schema, key=provider.key, **spec)
        for each in made:
            if each["kind"] == "Backend":
                each["spec"]["endpoints"] = [{"ip": {"address": provider.host, "port": provider.port}}]
        await self.apply(*made)

    async def standard(self) -> None:
        """Routes to `standard_providers`, once they are served."""
        await self.backend("first")
        await self.backend("second", schema_fields={"prefix": "/other/v1"})
        await self.backend("claude", "Anthropic")
        rules = [
            manifests.rule("fast", manifests.ref("first", modelNameOverride="real-1")),
            manifests.rule(
                "safe",
                manifests.ref("first", modelNameOverride="a", priority=0),
                manifests.ref("second", modelNameOverride="b", priority=1),
            ),
            manifests.rule("claude", manifests.ref("claude")),
        ]
        costs = [{"metadataKey": "total", "type": "TotalToken"}]
        await self.apply(manifests.route("chat", rules, llmRequestCosts=costs))
        await self.start_envoy()
        await self.served("fast")

    async def chat(self, model: str, **more: Any) -> httpx.Response:
        body = {"model": model, "messages": [{"role": "user", "content": "Hello!"}], **more}
        return await self.http.post(
            "/v1/chat/completions", json=body, headers={"authorization": f"Bearer {CLIENT_KEY}"}
        )

    async def until(
        self, wanted: Callable[[httpx.Response], bool], ask: Callable[[], Awaitable[httpx.Response]]
    ) -> httpx.Response:
        """Asks until the answer is the one that is wanted; raises TimeoutError with the last one."""
        last: httpx.Response | httpx.HTTPError | None = None
        try:
            async with asyncio.timeout(SERVED_SECONDS):
                while True:
                    try:
                        last = await ask()
                        if wanted(last):
                            return last
                    except httpx.HTTPError as error:
                        last = error
                    await asyncio.sleep(0.02)
        except TimeoutError:
            said = last.text if isinstance(last, httpx.Response) else repr(last)
            raise TimeoutError(f"last answer: {said}; {self.controller.child.stderr[-3000:]}") from None

    async def served(self, model: str) -> httpx.Response:
        """The first good answer for a model."""
        return await self.until(lambda answer: answer.status_code == 200, lambda: self.chat(model))

    def openai(self, **options: Any) -> openai.AsyncOpenAI:
        """A stock client that does not retry."""
        client = openai.AsyncOpenAI(base_url=f"{self.url}/v1", api_key=CLIENT_KEY, max_retries=0, **options)
        self._stack.push_async_callback(client.close)
        return client

    def anthropic(self, **options: Any) -> anthropic.AsyncAnthropic:
        """A stock client that does not retry."""
        client = anthropic.AsyncAnthropic(base_url=self.url, api_key=CLIENT_KEY, max_retries=0, **options)
        self._stack.push_async_callback(client.close)
        return client

    def access(self, wanted: Callable[[Mapping[str, Any]], bool], count: int = 1) -> list[dict[str, Any]]:
        """Lines of the access log, once there are `count`."""

        def found() -> list[dict[str, Any]] | None:
            lines = self.access_log_path.read_text().splitlines() if self.access_log_path.exists() else []
            entries = [entry for line in lines if line.endswith("}") and wanted(entry := json.loads(line))]
            return entries if len(entries) >= count else None

        return wait_until(found, f"{count} lines of the access log")

    def problems(self) -> Sequence[str]:
        """What providers refused."""
        return [problem for provider in self.providers.values() for problem in provider.problems]

    async def condition(self, kind: str, name: str, type_: str) -> Mapping[str, Any] | None:
        """A condition of one of our objects."""
        try:
            found = await self.kube.get(f"{manifests.AI}/v1beta1", kind, name, self.namespace)
        except ApiError:
            return None
        listed: list[dict[str, Any]] = found.get("status", {}).get("conditions", [])
        return next((each for each in listed if each["type"] == type_), None)
