"""The hook over gRPC: when it answers, when it refuses, when it waits."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import grpc.aio
import pytest
from envoy.config.route.v3.route_components_pb2 import Route
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from headgate.compiler.envoy_gateway.rules import Rules
from headgate.compiler.lower.wire import struct
from headgate.compiler.options import Mode, Options
from headgate.controller.extension import server as extension
from headgate.controller.extension.server import SERVICE, ExtensionServer, Served
from headgate.pb.envoy_gateway_extension_pb2 import PostTranslateModifyRequest, PostTranslateModifyResponse
from headgate.runtime.grpc_server import listen, make_server
from support.waiting import BUSY_SECONDS

HASH = "0123456789abcdef0123456789abcdef"
OTHER = "fedcba9876543210fedcba9876543210"


@asynccontextmanager
async def serving(path: Path) -> AsyncGenerator[tuple[ExtensionServer, grpc.aio.Channel]]:
    server = make_server()
    made = ExtensionServer(Options(mode=Mode.ENVOY_GATEWAY))
    made.add_to(server)
    address = f"unix:{path}/x.sock"
    listen(server, address)
    await server.start()
    async with grpc.aio.insecure_channel(address) as channel:
        yield made, channel
    await server.stop(0)


async def ask(channel: grpc.aio.Channel, request: PostTranslateModifyRequest) -> PostTranslateModifyResponse:
    call: grpc.aio.UnaryUnaryMultiCallable[PostTranslateModifyRequest, PostTranslateModifyResponse] = (
        channel.unary_unary(
            f"/{SERVICE}/PostTranslateModify",
            request_serializer=PostTranslateModifyRequest.SerializeToString,
            response_deserializer=PostTranslateModifyResponse.FromString,
        )
    )
    return await call(request)


def asked(inputs: str) -> PostTranslateModifyRequest:
    """A route of a Gateway that the server knows nothing of."""
    notes = {"ai-gateway-generated": "true", "headgate-inputs": inputs}
    origin = {"kind": "HTTPRoute", "namespace": "default", "name": "chat", "annotations": notes}
    route = Route(name="httproute/default/chat/rule/0/match/0/*")
    route.match.prefix = "/"
    route.route.cluster = "c"
    route.metadata.filter_metadata["envoy-gateway"].CopyFrom(struct({"resources": [origin]}))
    configuration = RouteConfiguration(name="default/gateway/http")
    configuration.virtual_hosts.add(name="h", domains=["*"]).routes.append(route)
    return PostTranslateModifyRequest(routes=[configuration.SerializeToString()], clusters=[b""])


async def test_nothing_is_answered_before_there_is_something_to_answer_from(short_path: Path) -> None:
    async with serving(short_path) as (made, channel):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await ask(channel, PostTranslateModifyRequest())
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        made.serve(Served(Rules()))
        request = PostTranslateModifyRequest(clusters=[b"\x0a\x01c"], secrets=[b"\x0a\x01s"], listeners=[b"\x0a\x01l"])
        answer = await ask(channel, request)
        assert (list(answer.clusters), list(answer.secrets)) == ([b"\x0a\x01c"], [b"\x0a\x01s"])
        assert list(answer.listeners) == [b"\x0a\x01l"]


async def test_the_hooks_for_single_routes_and_clusters_change_nothing(short_path: Path) -> None:
    async with serving(short_path) as (_, channel):
        for name in ("PostRouteModify", "PostClusterModify"):
            call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"/{SERVICE}/{name}")
            assert await call(b"\x0a\x00") == b""


async def test_a_call_waits_for_what_this_replica_has_not_seen_yet(
    short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extension, "CATCH_UP_SECONDS", 10 * BUSY_SECONDS)
    async with serving(short_path) as (made, channel):
        made.serve(Served(Rules(), {"default/chat": OTHER}))
        call = asyncio.create_task(ask(channel, asked(HASH)))
        done, _ = await asyncio.wait((call,), timeout=0.1)
        assert not done
        made.serve(Served(Rules(), {"default/chat": HASH}))
        assert (await call).routes
        # and one that it has seen is not waited for
        async with asyncio.timeout(BUSY_SECONDS):
            await ask(channel, asked(OTHER))


async def test_it_does_not_wait_for_ever(short_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extension, "CATCH_UP_SECONDS", 0.05)
    async with serving(short_path) as (made, channel):
        made.serve(Served(Rules(), {}))
        async with asyncio.timeout(BUSY_SECONDS):
            assert (await ask(channel, asked(HASH))).routes


async def test_what_cannot_be_read_is_an_error_and_not_an_answer_without_our_routes(short_path: Path) -> None:
    async with serving(short_path) as (made, channel):
        made.serve(Served(Rules(), {}))
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await ask(channel, PostTranslateModifyRequest(routes=[b"\xffai-gateway-generated"]))
        assert refused.value.code() is grpc.StatusCode.INTERNAL
