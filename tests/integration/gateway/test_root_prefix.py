"""`--root-prefix`: endpoints live under a path of the gateway's own, of which providers know nothing."""

from collections.abc import Iterator
from typing import Any

import pytest
from support.manifests import backend, gateway, ref, route, rule
from support.providers import ANTHROPIC, OPENAI, Failure, Provider
from support.stage import Stage

pytestmark = pytest.mark.envoy

MESSAGES: Any = [{"role": "user", "content": "Hello!"}]


@pytest.fixture(scope="module")
def standing() -> Iterator[Stage]:
    providers = {"openai": Provider(OPENAI, key="sk-o"), "second": Provider(OPENAI, key="sk-s")}
    with Stage(**providers, anthropic=Provider(ANTHROPIC, key="sk-a")) as stage:
        documents = [
            *gateway({"port": stage.port}),
            *backend("openai", stage["openai"].port, key="sk-o"),
            *backend("second", stage["second"].port, key="sk-s"),
            *backend("anthropic", stage["anthropic"].port, "Anthropic", key="sk-a"),
            route(
                "r",
                [
                    rule("native", ref("openai")),
                    rule("renamed", ref("openai", modelNameOverride="other")),
                    rule("translated", ref("anthropic")),
                    rule("next", ref("openai", priority=0), ref("second", priority=1)),
                    rule("mixed", ref("openai", priority=0), ref("anthropic", priority=1)),
                ],
            ),
        ]
        yield stage.run(documents, "--root-prefix", "/ai")


@pytest.fixture
def rooted(standing: Stage) -> Iterator[Stage]:
    standing.forget()
    yield standing
    standing.check()


@pytest.mark.parametrize("model", ["native", "renamed", "translated"])
def test_providers_are_asked_without_the_root(rooted: Stage, model: str) -> None:
    base = f"{rooted.url}/ai"
    assert rooted.openai(base_url=f"{base}/v1").chat.completions.create(model=model, messages=MESSAGES).choices
    assert rooted.anthropic(base_url=base).messages.create(model=model, max_tokens=9, messages=MESSAGES).content


@pytest.mark.parametrize(("model", "second"), [("next", "second"), ("mixed", "anthropic")])
def test_so_is_the_one_after_a_failure(rooted: Stage, model: str, second: str) -> None:
    rooted["openai"].answer(Failure(503))
    assert rooted.chat(model, path="/ai/v1/chat/completions").status_code == 200
    assert len(rooted["openai"].requests) == len(rooted[second].requests) == 1


def test_nothing_is_served_beside_the_root(rooted: Stage) -> None:
    assert rooted.chat("native").status_code == 404
    assert rooted.chat("native", path="/ai2/v1/chat/completions").status_code == 404
