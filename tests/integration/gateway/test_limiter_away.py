"""What becomes of limited requests while the rate limit service is slow, or its storage is gone."""

import os
import signal
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from support import manifests
from support.manifests import backend, limits, ref, route, rule, token_limit
from support.providers import ANTHROPIC, OPENAI, Provider
from support.redis import RedisServer
from support.stage import Stage

pytestmark = [pytest.mark.envoy, pytest.mark.redis]

IMPATIENT_SECONDS = 1.0
"""Of a client: far more than a limiter takes, and far less than Envoy waits for one."""
UNCHECKED = r"let_in_unchecked.*requests=(\d+)"


def _documents(stage: Stage) -> list[manifests.Document]:
    return [
        *manifests.gateway({"port": stage.port}),
        *backend("openai", stage["openai"].port, key="sk-openai"),
        *backend("anthropic", stage["anthropic"].port, "Anthropic", key="sk-anthropic"),
        route(
            "models",
            [rule("gpt", ref("openai")), rule("claude", ref("anthropic"))],
            **manifests.costs(total="TotalToken"),
        ),
        limits("models", "models", token_limit("total", 1000)),
    ]


def _stage(*arguments: str) -> Stage:
    stage = Stage(openai=Provider(OPENAI, key="sk-openai"), anthropic=Provider(ANTHROPIC, key="sk-anthropic"))
    return stage.run(_documents(stage), *arguments)


@pytest.fixture
def slow() -> Iterator[Stage]:
    with _stage() as stage:
        yield stage


@pytest.mark.parametrize("model", ["gpt", "claude"])
def test_a_slow_limiter_slows_requests_and_lets_none_in(slow: Stage, model: str) -> None:
    (limiter,) = slow.gateway.processes()["ratelimit"]
    os.kill(limiter, signal.SIGSTOP)
    try:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{slow.url}/v1/chat/completions", json=_chat(model), timeout=IMPATIENT_SECONDS)
    finally:
        os.kill(limiter, signal.SIGCONT)
    assert not any(provider.requests for provider in slow.providers.values())
    assert slow.chat(model).status_code == 200
    slow.check()


def _chat(model: str) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "Hello!"}]}


def test_without_its_storage_requests_are_let_in_and_that_is_told(redis_server: RedisServer) -> None:
    with _stage("--redis-url", _nowhere(redis_server)) as stage:
        assert stage.chat("gpt").status_code == 200
        assert stage.chat("claude").status_code == 200
        assert stage.stat("envoy_cluster_ratelimit_failure_mode_allowed") == 2
        assert int(stage.gateway.wait_output(UNCHECKED)[1]) in (1, 2)
        stage.check()


def test_where_the_user_says_so_nobody_is_let_in_unchecked(redis_server: RedisServer) -> None:
    with _stage("--redis-url", _nowhere(redis_server), "--ratelimit-fail-closed") as stage:
        refused = stage.chat("gpt")
        assert (refused.status_code, refused.json()["error"]["type"]) == (500, "server_error")
        refused = stage.messages("gpt")
        assert (refused.status_code, refused.json()["error"]["type"]) == (500, "api_error")
        assert not stage["openai"].requests
        assert stage.access(lambda line: line["status"] == 500, 2)
        stage.check()


def _nowhere(redis: RedisServer) -> str:
    """A Redis that answers nobody who has not the password."""
    return redis.url.replace("redis://", "redis://nobody:wrong@")
