"""Two gateways on one Redis hold one budget together, and go on where one of them, or what Redis kept, is gone."""

import json
import os
import signal
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from support import manifests
from support.manifests import Document, backend, document, ref, route, rule, target
from support.processes import descendants
from support.providers import OPENAI, Answer, Delivery, Failure, Provider, Usage
from support.redis import RedisServer
from support.stage import Stage
from support.waiting import wait_until

pytestmark = [pytest.mark.envoy, pytest.mark.redis]

BUDGET = 1000
PROMPT, OUTPUT = 60, 40
ESTIMATE = PROMPT + OUTPUT
MICROS = 100
"""Of a token."""
FULL = Usage(input=PROMPT, output=OUTPUT)
AT_ONCE = 30
"""At each of the gateways."""


def _documents(port: int, provider: Provider) -> list[Document]:
    prices = [{"model": "*", "input": MICROS * 1_000_000, "output": MICROS * 1_000_000}]
    strict: dict[str, Any] = {"window": "year", "reservation": "Strict"}
    rules = [
        {"name": "tokens", "unit": "tokens", "amount": BUDGET, "per": ["header:x-tokens"], **strict},
        {
            "name": "money",
            "unit": "usd",
            "amount": BUDGET * MICROS,
            "per": ["header:x-money"],
            "prices": prices,
            "refusalStatus": 429,
            **strict,
        },
    ]
    policy = {**target("AIGatewayRoute", "models"), "rules": rules}
    return [
        *manifests.gateway({"port": port}),
        *backend("openai", provider.port, key="sk-openai"),
        route("models", [rule("gpt", ref("openai"))]),
        document("headgate.dev/v1alpha1", "LimitPolicy", "all", policy),
    ]


class Pair:
    """Two gateways before one provider."""

    def __init__(self, redis_url: str, stack: ExitStack) -> None:
        self.provider = stack.enter_context(Provider(OPENAI, key="sk-openai"))
        self.gateways: list[Stage] = []
        for _ in range(2):
            stage = stack.enter_context(Stage())
            self.gateways.append(stage.run(_documents(stage.port, self.provider), "--redis-url", redis_url))

    def check(self) -> None:
        assert not self.provider.problems
        for stage in self.gateways:
            stage.check()


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with tempfile.TemporaryDirectory(prefix="hg-") as directory, RedisServer(Path(directory)) as server:
        yield server


@pytest.fixture(scope="module")
def running(redis: RedisServer) -> Iterator[Pair]:
    with ExitStack() as stack:
        yield Pair(redis.url, stack)


@pytest.fixture
def pair(running: Pair, redis: RedisServer) -> Iterator[Pair]:
    redis.flush()
    running.provider.forget()
    yield running
    running.check()


def _body() -> bytes:
    """Whose estimate is `ESTIMATE`."""
    said = {"model": "gpt", "stream": True, "max_tokens": OUTPUT}
    empty = len(json.dumps({**said, "messages": [{"role": "user", "content": ""}]}))
    content = "a" * (4 * (PROMPT - 1) - empty)
    return json.dumps({**said, "messages": [{"role": "user", "content": content}]}).encode()


def _headers(who: str, what: str) -> dict[str, str]:
    return {"content-type": "application/json", f"x-{what}": who}


def _ask(stage: Stage, who: str, what: str) -> int:
    """Its status, once it was read to its end; 0 where it broke off."""
    url, headers = f"{stage.url}/v1/chat/completions", _headers(who, what)
    try:
        with httpx.Client(timeout=60) as client:
            return client.post(url, content=_body(), headers=headers).status_code
    except httpx.HTTPError:
        return 0


def _wave(pair: Pair, who: str, what: str, count: int) -> list[int]:
    with ThreadPoolExecutor(2 * count) as pool:
        asked = [pool.submit(_ask, stage, who, what) for _ in range(count) for stage in pair.gateways]
        return [each.result() for each in asked]


def _spent(pair: Pair, stage: Stage, who: str, what: str) -> int:
    """In tokens, by a request that costs nothing."""
    pair.provider.answer(Failure(400))
    url, headers = f"{stage.url}/v1/chat/completions", _headers(who, what)
    answer = stage.http.post(url, content=_body(), headers=headers)
    if answer.status_code == 429:
        return BUDGET
    left = int(answer.headers["x-ratelimit-remaining"])
    return BUDGET - (left // MICROS if what == "money" else left)


@pytest.mark.parametrize("what", ["tokens", "money"])
def test_they_hold_one_budget(pair: Pair, what: str) -> None:
    """All that either lets in is held at once."""
    pair.provider.answer(Answer(usage=FULL, delivery=Delivery(delay_seconds=2.0)))
    statuses = _wave(pair, "crowd", what, AT_ONCE)
    assert statuses.count(200) == BUDGET // ESTIMATE, statuses
    assert set(statuses) == {200, 429}
    for stage in pair.gateways:
        assert _spent(pair, stage, "crowd", what) == BUDGET


def test_what_a_gateway_that_died_let_in_stays_charged(pair: Pair, redis: RedisServer) -> None:
    """Its streams go on at the other one only as far as the budget goes."""
    with Stage() as doomed:
        doomed.run(_documents(doomed.port, pair.provider), "--redis-url", redis.url)
        _die(doomed, pair)
    pair.provider.answer(Answer(usage=FULL))
    statuses = [_ask(pair.gateways[0], "dies", "tokens") for _ in range(6)]
    assert statuses == [200] * 4 + [429] * 2


def _die(doomed: Stage, pair: Pair) -> None:
    """With six streams open."""
    pair.provider.answer(Answer(usage=FULL, delivery=Delivery(hang_after_bytes=300)))
    with ThreadPoolExecutor(6) as pool:
        streams = [pool.submit(_ask, doomed, "dies", "tokens") for _ in range(6)]
        pair.provider.wait_for_requests(6)
        main = doomed.gateway.child.pid
        for pid in (main, *descendants(main)):
            os.kill(pid, signal.SIGKILL)
        assert [each.result() for each in streams] == [0] * 6


def test_what_redis_forgot_is_charged_as_it_was_used(pair: Pair, redis: RedisServer) -> None:
    """Requests that were let in before it was emptied end after it."""
    first, second = pair.gateways
    pair.provider.answer(Answer(usage=FULL, text="word " * 20, pieces=20, delivery=Delivery(pause_seconds=0.1)))
    with ThreadPoolExecutor(4) as pool:
        streams = [pool.submit(_ask, stage, "forgotten", "tokens") for stage in (first, second) * 2]
        pair.provider.wait_for_requests(4)
        redis.flush()
        assert [each.result() for each in streams] == [200] * 4
    wait_until(lambda: _spent(pair, second, "forgotten", "tokens") == 4 * ESTIMATE, "what was used to be charged")


def test_redis_comes_back_and_limits_hold_again() -> None:
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hg-")))
        redis = stack.enter_context(RedisServer(directory))
        pair = Pair(redis.url, stack)
        first, second = pair.gateways
        pair.provider.answer(Answer(usage=FULL))
        assert _ask(first, "back", "tokens") == 200
        before = [stage.gateway.processes()["ratelimit"] for stage in pair.gateways]
        redis.close()
        assert set(_wave(pair, "back", "tokens", 10)) == {200}, "who cannot be checked is let in"
        stack.enter_context(RedisServer(directory, port=redis.port))
        wait_until(lambda: _checked(pair), "limits to be checked again")
        pair.provider.answer(Answer(usage=FULL, delivery=Delivery(delay_seconds=1.0)))
        assert _wave(pair, "again", "tokens", 15).count(200) == BUDGET // ESTIMATE
        assert _spent(pair, second, "again", "tokens") == BUDGET
        assert [stage.gateway.processes()["ratelimit"] for stage in pair.gateways] == before
        pair.check()


def _checked(pair: Pair) -> bool:
    """Whether both gateways tell what is left."""
    pair.provider.answer(Failure(400))
    asked = [
        stage.http.post(f"{stage.url}/v1/chat/completions", content=_body(), headers=_headers("checks", "tokens"))
        for stage in pair.gateways
    ]
    return all("x-ratelimit-remaining" in each.headers for each in asked)


def test_a_key_that_is_rotated_reaches_the_next_request_and_drops_no_stream(pair: Pair) -> None:
    stage = pair.gateways[0]
    slow = Answer(text="word " * 60, pieces=60, usage=FULL, delivery=Delivery(pause_seconds=0.1))
    pair.provider.answer(lambda received: slow if "rotates" in (received.header("x-tokens") or "") else Answer())
    with ThreadPoolExecutor(50) as pool:
        streams = [pool.submit(_ask, stage, f"rotates-{number}", "tokens") for number in range(50)]
        pair.provider.wait_for_requests(50)
        pair.provider.key = "sk-rotated"
        text = manifests.text(_documents(stage.port, pair.provider)).replace("sk-openai", "sk-rotated")
        stage.gateway.write(text)
        asked = iter(range(10_000))
        wait_until(lambda: _ask(stage, f"after-{next(asked)}", "tokens") == 200, "the new key to be used")
        assert not all(each.done() for each in streams), "streams were still open"
        assert [each.result() for each in streams] == [200] * 50
    assert {each.header("authorization") for each in pair.provider.requests[:50]} == {"Bearer sk-openai"}
    pair.provider.key = "sk-openai"
    stage.gateway.write(manifests.text(_documents(stage.port, pair.provider)))
    for each in pair.provider.requests:  # refused with the old key until the new one was there
        each.problems.clear()
