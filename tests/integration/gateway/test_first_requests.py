"""The first requests of a gateway: every worker's connections to providers and processors are still to be made.

Were the headers of a translated request to reach a connection in the making before its body is translated, the client's
body would go out as it came, and the fake provider refuse it.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from support.manifests import backend, gateway, ref, route, rule
from support.providers import ANTHROPIC, OPENAI, Provider
from support.stage import Stage

pytestmark = pytest.mark.envoy

RULES = 12
"""Each has clusters of its own, and each worker makes its own connections for each."""


@pytest.fixture
def cold_stage() -> Iterator[Stage]:
    with Stage(openai=Provider(OPENAI, key="k"), anthropic=Provider(ANTHROPIC, key="k")) as stage:
        stage.run(
            [
                *gateway({"port": stage.port}),
                *backend("openai", stage["openai"].port, key="k"),
                *backend("anthropic", stage["anthropic"].port, "Anthropic", key="k"),
                route("claude", [rule(f"claude-{n}", ref("anthropic")) for n in range(RULES)]),
                route("gpt", [rule(f"gpt-{n}", ref("openai")) for n in range(RULES)]),
            ]
        )
        yield stage
        stage.check()


@pytest.mark.parametrize("size", [10, 300_000])
def test_the_first_requests_are_translated(cold_stage: Stage, size: int) -> None:
    def call(number: int) -> int:
        """One request on a connection of its own; an OpenAI client's for Claude, an Anthropic client's for GPT."""
        n = number // 8 % RULES
        body = {"max_tokens": 9, "messages": [{"role": "user", "content": "x" * size}], "stream": number % 4 > 1}
        path, model = ("/v1/messages", f"gpt-{n}") if number % 2 else ("/v1/chat/completions", f"claude-{n}")
        with httpx.Client(timeout=30) as client:
            headers = {"anthropic-version": "2023-06-01"}
            return client.post(cold_stage.url + path, json={**body, "model": model}, headers=headers).status_code

    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(call, range(RULES * 8))) == {200}
