"""API keys and limits: who may call, how often, and for how many tokens; counted in memory and in Redis."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import anthropic
import httpx
import openai
import pytest
from support import manifests
from support.manifests import api_keys, backend, limits, ref, route, rule, target, token_limit
from support.providers import ANTHROPIC, OPENAI, Answer, Delivery, Failure, Provider, Usage
from support.redis import RedisServer
from support.stage import Stage
from support.waiting import wait_until

pytestmark = [pytest.mark.envoy, pytest.mark.redis]

MESSAGES: Any = [{"role": "user", "content": "Hello!"}]
CLIENTS = {f"client-{n}": f"key-{n}" for n in range(60)}
BY_CLIENT = {"name": "x-client-id", "type": "Distinct"}
ALL_TOKENS = Answer(usage=Usage(input=60, output=40))
"""What one client may use of a model whose tokens are limited."""
COSTS = {"total": "TotalToken", "weighed": "input_tokens + 10u * output_tokens"}
REQUESTS = {"clientSelectors": [{"headers": [BY_CLIENT]}], "limit": {"requests": 3, "unit": "Day"}}


def _documents(stage: Stage) -> list[manifests.Document]:
    return [
        *manifests.gateway({"port": stage.port}),
        *backend("openai", stage["openai"].port, key="sk-openai"),
        *backend("anthropic", stage["anthropic"].port, "Anthropic", key="sk-anthropic"),
        *api_keys("clients", target("Gateway", "gateway"), CLIENTS, forwardClientIDHeader="x-client-id"),
        route("free", [rule("free", ref("openai"))]),
        route("tokens", [rule("gpt", ref("openai")), rule("claude", ref("anthropic"))], **manifests.costs(**COSTS)),
        limits("tokens", "tokens", token_limit("total", 100, BY_CLIENT, unit="Day")),
        route("weighed", [rule("weighed", ref("openai"))], **manifests.costs(**COSTS)),
        limits("weighed", "weighed", token_limit("weighed", 460, BY_CLIENT, unit="Day")),
        route("models", [rule("large", ref("openai")), rule("small", ref("openai"))], **manifests.costs(**COSTS)),
        limits("models", "models", token_limit("total", 100, BY_CLIENT, {"name": "x-ai-eg-model", "value": "large"})),
        route("requests", [rule("counted", ref("openai")), rule("counted-claude", ref("anthropic"))]),
        limits("requests", "requests", REQUESTS),
    ]


@pytest.fixture(scope="module", params=["memory", "redis"])
def limited_stage(request: pytest.FixtureRequest, redis_process: RedisServer) -> Iterator[Stage]:
    redis_process.flush()
    arguments = ("--redis-url", redis_process.url) if request.param == "redis" else ()
    providers = {
        "openai": Provider(OPENAI, key="sk-openai"),
        "anthropic": Provider(ANTHROPIC, key="sk-anthropic"),
    }
    with Stage(**providers) as stage:
        yield stage.run(_documents(stage), *arguments)


@pytest.fixture
def stage(limited_stage: Stage) -> Iterator[Stage]:
    limited_stage.forget()
    yield limited_stage
    limited_stage.check()


@pytest.fixture(scope="module")
def unused_keys() -> dict[int, Iterator[str]]:
    return {}


@pytest.fixture
def key(limited_stage: Stage, unused_keys: dict[int, Iterator[str]]) -> str:
    """The key of a client that has used nothing."""
    return next(unused_keys.setdefault(id(limited_stage), iter(CLIENTS.values())))


def ask(stage: Stage, key: str, model: str, **more: Any) -> httpx.Response:
    body = {"model": model, "messages": MESSAGES, **more}
    return stage.post("/v1/chat/completions", body, authorization=f"Bearer {key}")


def tell(stage: Stage, key: str, model: str, **more: Any) -> httpx.Response:
    body = {"model": model, "messages": MESSAGES, "max_tokens": 9, **more}
    return stage.post("/v1/messages", body, x_api_key=key, anthropic_version="2023-06-01")


def wait_refused(call: Callable[[], httpx.Response]) -> httpx.Response:
    """The refusal, once the charge has arrived."""

    def refused() -> httpx.Response | None:
        answer = call()
        assert answer.status_code in (200, 429)
        return answer if answer.status_code == 429 else None

    return wait_until(refused, "the limit to be reached")


# --- who may call


@pytest.mark.parametrize("wrong", ["nobody's", "key-1x", "key-", "KEY-1"])
def test_who_has_no_valid_key_is_told_in_its_dialect(stage: Stage, wrong: str) -> None:
    answer = ask(stage, wrong, "free")
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
    answer = tell(stage, wrong, "free")
    assert (answer.status_code, answer.json()["error"]["type"]) == (401, "authentication_error")
    assert not stage["openai"].requests


def test_who_has_no_key_is_told_in_its_dialect(stage: Stage) -> None:
    answer = stage.chat("free")
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
    answer = stage.messages("free")
    assert (answer.status_code, answer.json()["error"]["type"]) == (401, "authentication_error")
    assert not stage["openai"].requests


def test_official_clients_send_their_keys_where_they_are_looked_for(stage: Stage, key: str) -> None:
    assert stage.openai(api_key=key).chat.completions.create(model="free", messages=MESSAGES).choices
    assert stage.anthropic(api_key=key).messages.create(model="free", max_tokens=9, messages=MESSAGES).content
    assert not [value for each in stage["openai"].requests for _, value in each.headers if key in value]
    with pytest.raises(openai.AuthenticationError):
        stage.openai(api_key="wrong").chat.completions.create(model="free", messages=MESSAGES)
    with pytest.raises(anthropic.AuthenticationError):
        stage.anthropic(api_key="wrong").messages.create(model="free", max_tokens=9, messages=MESSAGES)


def test_models_are_listed_to_clients_only(stage: Stage, key: str) -> None:
    assert stage.http.get(f"{stage.url}/v1/models").status_code == 401
    assert {model.id for model in stage.openai(api_key=key).models.list()} >= {"free", "gpt", "claude"}


def test_a_wrong_key_costs_no_buffering(stage: Stage) -> None:
    """An unknown client is answered before its body is read, whatever the body is."""
    assert stage.post("/v1/chat/completions", content=b"{" * 100_000).status_code == 401


# --- how often


def test_requests_are_counted_exactly(stage: Stage, key: str) -> None:
    assert [ask(stage, key, "counted").status_code for _ in range(5)] == [200, 200, 200, 429, 429]
    assert len(stage["openai"].requests) == 3


def test_what_is_left_is_told(stage: Stage, key: str) -> None:
    answers = [ask(stage, key, "counted") for _ in range(4)]
    assert [answer.headers["x-ratelimit-remaining"] for answer in answers] == ["2", "1", "0", "0"]
    assert answers[0].headers["x-ratelimit-limit"].startswith("3")
    assert 0 < int(answers[3].headers["x-ratelimit-reset"]) <= 86_400


def test_a_refusal_speaks_openais_dialect(stage: Stage, key: str) -> None:
    for _ in range(3):
        ask(stage, key, "counted")
    with pytest.raises(openai.RateLimitError) as error:
        stage.openai(api_key=key).chat.completions.create(model="counted", messages=MESSAGES)
    assert 0 < int(error.value.response.headers["retry-after"]) <= 86_400
    assert error.value.code == "rate_limit_exceeded"
    assert "x-ratelimit-limit" in error.value.response.headers


def test_a_refusal_speaks_anthropics_dialect(stage: Stage, key: str) -> None:
    for _ in range(3):
        ask(stage, key, "counted")
    with pytest.raises(anthropic.RateLimitError) as error:
        stage.anthropic(api_key=key).messages.create(model="counted-claude", max_tokens=9, messages=MESSAGES)
    assert 0 < int(error.value.response.headers["retry-after"]) <= 86_400
    body: Any = error.value.body
    assert body["error"]["type"] == "rate_limit_error"


# --- for how many tokens


SHAPES: dict[str, Callable[[Stage, str, str], Any]] = {
    "chat": ask,
    "chat stream": lambda stage, key, model: ask(stage, key, model, stream=True),
    "chat by OpenAI's client": lambda stage, key, model: list(
        stage.openai(api_key=key).chat.completions.create(model=model, messages=MESSAGES, stream=True)
    ),
    "messages": tell,
    "messages stream": lambda stage, key, model: tell(stage, key, model, stream=True),
    "messages by Anthropic's client": lambda stage, key, model: (
        stage.anthropic(api_key=key).messages.stream(model=model, max_tokens=9, messages=MESSAGES).__enter__()
    ).get_final_message(),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("model", "provider"), [("gpt", "openai"), ("claude", "anthropic")])
def test_every_answer_is_charged(stage: Stage, key: str, model: str, provider: str, shape: str) -> None:
    stage[provider].answer(ALL_TOKENS, Answer(usage=Usage(input=0, output=0)))
    SHAPES[shape](stage, key, model)
    refusal = wait_refused(lambda: ask(stage, key, model))
    assert int(refusal.headers["retry-after"]) > 0


def test_a_stream_left_at_its_end_is_charged(stage: Stage, key: str) -> None:
    """OpenAI's clients leave at [DONE], whatever the provider does then."""
    hangs = Delivery(hang_after_bytes=100_000)
    stage["openai"].answer(Answer(usage=ALL_TOKENS.usage, delivery=hangs), Answer(usage=Usage(input=0, output=0)))
    body = {"model": "gpt", "messages": MESSAGES, "stream": True}
    headers = {"authorization": f"Bearer {key}"}
    with stage.http.stream("POST", f"{stage.url}/v1/chat/completions", json=body, headers=headers) as answer:
        assert "data: [DONE]" in answer.iter_lines()
    wait_refused(lambda: ask(stage, key, "gpt"))


def test_clients_are_charged_apart(stage: Stage, key: str) -> None:
    stage["openai"].answer(ALL_TOKENS)
    ask(stage, key, "gpt")
    wait_refused(lambda: ask(stage, key, "gpt"))
    assert ask(stage, "key-59", "gpt").status_code == 200


def test_a_client_cannot_be_another(stage: Stage, key: str) -> None:
    stage["openai"].answer(ALL_TOKENS)
    body = {"model": "gpt", "messages": MESSAGES}

    def spoofed() -> httpx.Response:
        return stage.post("/v1/chat/completions", body, authorization=f"Bearer {key}", x_client_id="client-58")

    assert spoofed().status_code == 200
    wait_refused(spoofed)
    assert ask(stage, "key-58", "gpt").status_code == 200


def test_limits_of_one_model_leave_others_alone(stage: Stage, key: str) -> None:
    stage["openai"].answer(ALL_TOKENS)
    ask(stage, key, "large")
    wait_refused(lambda: ask(stage, key, "large"))
    assert ask(stage, key, "small").status_code == 200


def test_a_computed_cost_is_what_is_charged(stage: Stage, key: str) -> None:
    stage["openai"].answer(Answer(usage=Usage(input=60, output=20)))  # 260 of 460
    assert ask(stage, key, "weighed").headers["x-ratelimit-remaining"] == "460"
    remaining = wait_until(
        lambda: (left := ask(stage, key, "weighed").headers["x-ratelimit-remaining"]) != "460" and left, "the charge"
    )
    assert remaining == "200"
    wait_refused(lambda: ask(stage, key, "weighed"))


@pytest.mark.parametrize("failure", [Failure(500), Failure(429), Failure(400)])
def test_what_fails_costs_no_tokens(stage: Stage, key: str, failure: Failure) -> None:
    stage["openai"].answer(*itertools.repeat(failure, 5), ALL_TOKENS)
    for _ in range(5):
        assert ask(stage, key, "gpt").status_code == failure.status
    answer = ask(stage, key, "gpt")
    assert (answer.status_code, answer.headers["x-ratelimit-remaining"]) == (200, "100")


def test_routes_without_limits_ask_nobody(stage: Stage, key: str) -> None:
    before = stage.calls("headgate-ratelimit")
    for _ in range(5):
        assert ask(stage, key, "free").status_code == 200
    assert stage.calls("headgate-ratelimit") == before
    ask(stage, key, "gpt")
    wait_until(lambda: stage.calls("headgate-ratelimit") == before + 2, "a check and a charge")
