"""Envoy Gateway, and the Envoy that it configures, run as they would in a cluster."""

import asyncio

import aiohttp
from aiohttp import web
from support.envoy_gateway import ENVOY, GATEWAY, EnvoyGateway
from support.kube import Kube, reference
from support.ports import free_port

from cluster.sandbox import POD_ADDRESS


async def test_a_route_is_served_by_the_real_envoy(kube: Kube, namespace: str, envoy_gateway: EnvoyGateway) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=f"{request.method} {request.path}")

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, POD_ADDRESS, upstream := free_port()).start()
    port = free_port()
    gateway = {
        **reference(GATEWAY, "Gateway", "gateway", namespace),
        "spec": {
            "gatewayClassName": envoy_gateway.gateway_class,
            "listeners": [{"name": "http", "port": port, "protocol": "HTTP"}],
        },
    }
    backend = {
        **reference(ENVOY, "Backend", "upstream", namespace),
        "spec": {"endpoints": [{"ip": {"address": POD_ADDRESS, "port": upstream}}]},
    }
    backend_ref = {"group": "gateway.envoyproxy.io", "kind": "Backend", "name": "upstream"}
    route = {
        **reference(GATEWAY, "HTTPRoute", "route", namespace),
        "spec": {"parentRefs": [{"name": "gateway"}], "rules": [{"backendRefs": [backend_ref]}]},
    }
    await kube.apply_all([gateway, backend, route])
    await envoy_gateway.start_envoy(gateway)
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client:
            assert await _text(client, "/hello") == (200, "GET /hello")
    finally:
        await runner.cleanup()


async def _text(client: aiohttp.ClientSession, path: str) -> tuple[int, str]:
    """The answer, once the listener is there."""
    async with asyncio.timeout(15):
        while True:
            try:
                async with client.get(path) as response:
                    if response.status != 404:
                        return response.status, await response.text()
            except aiohttp.ClientConnectionError:
                pass
            await asyncio.sleep(0.02)
