"""Where many models ask for the same classes of paths: a request finds what it would among few."""

from collections.abc import Iterator

import httpx
import pytest
from headgate.compiler.lower.hosts import ASKED_ONCE_MIN
from support.manifests import backend, gateway, ref, route, rule
from support.providers import ANTHROPIC, OPENAI, Provider
from support.stage import Stage

pytestmark = pytest.mark.envoy

MESSAGES = [{"role": "user", "content": "Hello!"}]


@pytest.fixture(scope="module", params=["/", "/ai"])
def standing(request: pytest.FixtureRequest) -> Iterator[tuple[Stage, str]]:
    providers = {"openai": Provider(OPENAI, key="sk-o"), "second": Provider(OPENAI, key="sk-s")}
    with Stage(**providers, anthropic=Provider(ANTHROPIC, key="sk-a")) as stage:
        models = [rule(f"{name}-{n}", ref(name)) for name in ("openai", "anthropic") for n in range(ASKED_ONCE_MIN)]
        documents = [
            *gateway({"port": stage.port}),
            *backend("openai", stage["openai"].port, key="sk-o"),
            *backend("second", stage["second"].port, key="sk-s"),
            *backend("anthropic", stage["anthropic"].port, "Anthropic", key="sk-a"),
            *(route(f"r{n}", models[n : n + 8]) for n in range(0, len(models), 8)),
            route("canary", [rule("openai-1", ref("second"), headers={"x-canary": "yes"})]),
        ]
        yield stage.run(documents, "--root-prefix", request.param), request.param.rstrip("/")


@pytest.fixture
def many(standing: tuple[Stage, str]) -> Iterator[tuple[Stage, str]]:
    standing[0].forget()
    yield standing
    standing[0].check()


def post(many: tuple[Stage, str], path: str, model: str, *, canary: str = "no") -> httpx.Response:
    stage, root = many
    body = {"model": model, "messages": MESSAGES, "max_tokens": 9}
    return stage.post(f"{root}{path}", body, anthropic_version="2023-06-01", x_canary=canary)


@pytest.mark.parametrize(
    ("path", "model", "asked"),
    [
        ("/v1/chat/completions", "openai-7", "openai"),
        ("/v1/chat/completions", "anthropic-7", "anthropic"),
        ("/v1/messages", "openai-7", "openai"),
        ("/anthropic/v1/messages?beta=true", "openai-7", "openai"),
        ("/v1/messages", "anthropic-7", "anthropic"),
        ("/v1/messages?beta=true", "anthropic-7", "anthropic"),
    ],
)
def test_each_finds_its_backend(many: tuple[Stage, str], path: str, model: str, asked: str) -> None:
    answer = post(many, path, model)
    assert answer.status_code == 200, answer.text
    assert len(many[0][asked].requests) == 1


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
def test_a_canary_takes_what_it_asks_for_and_no_more(many: tuple[Stage, str], path: str) -> None:
    assert post(many, path, "openai-1", canary="yes").status_code == 200
    assert len(many[0]["second"].requests) == 1
    assert post(many, path, "openai-1").status_code == 200
    assert len(many[0]["openai"].requests) == 1


@pytest.mark.parametrize(
    ("path", "model"),
    [
        ("/v1/messages", "nobody"),
        ("/v1/chat/completions", "nobody"),
        ("/v1/messages/batches", "openai-7"),
        ("/v1/messagesx", "openai-7"),
        ("/v3/chat", "openai-7"),
    ],
)
def test_what_nobody_serves_is_refused(many: tuple[Stage, str], path: str, model: str) -> None:
    answer = post(many, path, model)
    assert answer.status_code == 404, answer.text
    assert "does not exist here, or is not served" in answer.text
    assert not any(many[0][name].requests for name in ("openai", "second", "anthropic"))
