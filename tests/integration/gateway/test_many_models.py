"""Where many models ask for the same classes of paths: a request finds what it would among few."""

from collections.abc import Iterator, Mapping
from urllib.parse import quote

import httpx
import pytest
from headgate.compiler.lower.hosts import ASKED_ONCE_MIN
from support.manifests import backend, gateway, ref, route, rule
from support.providers import ANTHROPIC, OPENAI, Provider
from support.stage import Stage

pytestmark = pytest.mark.envoy

MESSAGES = [{"role": "user", "content": "Hello!"}]
NAMES = [f"{name}-{n}" for name in ("openai", "anthropic") for n in range(ASKED_ONCE_MIN)]
ODD = 'meta/"llama" 3:latest'


@pytest.fixture(scope="module", params=["/", "/ai"])
def standing(request: pytest.FixtureRequest) -> Iterator[tuple[Stage, str]]:
    providers = {"openai": Provider(OPENAI, key="sk-o"), "second": Provider(OPENAI, key="sk-s")}
    with Stage(**providers, anthropic=Provider(ANTHROPIC, key="sk-a")) as stage:
        models = [rule(name, ref(name.partition("-")[0])) for name in NAMES]
        documents = [
            *gateway({"port": stage.port}),
            *backend("openai", stage["openai"].port, key="sk-o"),
            *backend("second", stage["second"].port, key="sk-s"),
            *backend("anthropic", stage["anthropic"].port, "Anthropic", key="sk-a"),
            *(route(f"r{n}", models[n : n + 8]) for n in range(0, len(models), 8)),
            route("odd", [rule(ODD, ref("openai"))]),
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
    assert "does not exist here, or not at POST" in answer.text
    assert not any(many[0][name].requests for name in ("openai", "second", "anthropic"))


@pytest.mark.parametrize("headers", [{}, {"anthropic-version": "2023-06-01"}])
@pytest.mark.parametrize("path", ["/v1", "/anthropic/v1"])
def test_each_model_alone_is_told_as_in_the_list(
    many: tuple[Stage, str], path: str, headers: Mapping[str, str]
) -> None:
    stage, root = many
    base = f"{stage.url}{root}{path}/models"
    listed = stage.http.get(base, headers=headers).json()["data"]
    assert len(listed) == len(NAMES) + 1
    for name in (*NAMES[:2], ODD):
        for written in (quote(name, safe=""), quote(name, safe="/:")):
            answer = stage.http.get(f"{base}/{written}?x=1", headers=headers)
            assert answer.json() == next(each for each in listed if each["id"] == name)
            assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize("path", ["/v1beta", "/gemini/v1beta", "/gemini/v1"])
def test_each_model_alone_is_told_as_in_googles_list(many: tuple[Stage, str], path: str) -> None:
    stage, root = many
    base = f"{stage.url}{root}{path}/models"
    listed = stage.http.get(base).json()["models"]
    for name in (*NAMES[:2], ODD):
        for written in (quote(name, safe=""), quote(name, safe="/:")):
            told = stage.http.get(f"{base}/{written}?key=k").json()
            assert told == next(each for each in listed if each["name"] == f"models/{name}")


@pytest.mark.parametrize("path", ["openai", "openai-1/", "openai-1%0a", "%22", "openai-1%5c", ".*", ""])
def test_a_model_that_there_is_none_of_is_not_found(many: tuple[Stage, str], path: str) -> None:
    stage, root = many
    for base in ("/v1/models", "/anthropic/v1/models", "/v1beta/models"):
        answer = stage.http.get(f"{stage.url}{root}{base}/{path}")
        assert answer.status_code == 404, answer.text
        assert "There is nothing at GET" in answer.json()["error"]["message"]
        code = answer.json()["error"].get("code")
        assert base.startswith("/anthropic") or code == (404 if base == "/v1beta/models" else "model_not_found")


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/openai-1", "/anthropic/v1/models/openai-1"])
def test_models_can_be_asked_for_by_head(many: tuple[Stage, str], path: str) -> None:
    stage, root = many
    answer, told = stage.http.head(stage.url + root + path), stage.http.get(stage.url + root + path)
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-length"] == told.headers["content-length"]


def test_a_model_is_only_got(many: tuple[Stage, str]) -> None:
    stage, root = many
    assert stage.http.delete(f"{stage.url}{root}/v1/models/openai-1").status_code == 404
    assert stage.http.get(f"{stage.url}{root}/v1/models/openai-1:countTokens").status_code == 405
