"""QuotaPolicies: a backend that is used up is passed over, by priority; 429 only where nobody has anything left.

Providers refuse other keys than their own, so that no request can have gone where it should not.
"""

from collections.abc import Iterator
from typing import Any, cast

import openai
import pytest
from support import manifests
from support.manifests import AI, backend, document, ref, route, rule
from support.providers import ANTHROPIC, OPENAI, Answer, Failure, Provider, Usage
from support.redis import RedisServer
from support.stage import Stage
from support.waiting import wait_until

pytestmark = [pytest.mark.envoy, pytest.mark.redis]

MESSAGES: Any = [{"role": "user", "content": "Hello!"}]
DAY = "1d"
USAGE = Usage(input=12, output=8)


def quota(name: str, *backends: str, models: dict[str, Any] | None = None, **spec: Any) -> manifests.Document:
    targets = [{"group": AI, "kind": "AIServiceBackend", "name": each} for each in backends]
    per_model = [{"modelName": model, "quota": each} for model, each in (models or {}).items()]
    return document(f"{AI}/v1alpha1", "QuotaPolicy", name, {"targetRefs": targets, "perModelQuotas": per_model, **spec})


def bucket(limit: int) -> dict[str, Any]:
    return {"limit": limit, "duration": DAY}


def by_header(limit: int, value: str, **more: Any) -> dict[str, Any]:
    header = {"name": "x-team", "value": value}
    return {"clientSelectors": [{"headers": [header]}], "quota": bucket(limit), **more}


def _documents(stage: Stage) -> list[manifests.Document]:
    first, second = stage["first"].port, stage["second"].port
    claude = stage["claude"].port

    def pair(name: str, *, second_schema: str = "OpenAI") -> list[manifests.Document]:
        other = second if second_schema == "OpenAI" else claude
        key = "sk-second" if second_schema == "OpenAI" else "sk-claude"
        return [
            *backend(f"{name}-a", first, key="sk-first"),
            *backend(f"{name}-b", other, second_schema, key=key),
        ]

    def failing_over(name: str, **refs: Any) -> manifests.Document:
        a = ref(f"{name}-a", modelNameOverride="gpt-a", priority=0, **refs)
        b = ref(f"{name}-b", modelNameOverride="gpt-b", priority=1, **refs)
        return route(name, [rule(name, a, b)])

    alone = route("alone", [rule("alone", ref("alone-a", modelNameOverride="gpt-a"))])
    dynamic = route("any", [rule("", ref("any-a", priority=0), ref("any-b", priority=1))], hostnames=["any.test"])
    return [
        *manifests.gateway({"port": stage.port}),
        *pair("pair"),
        failing_over("pair"),
        quota(
            "pair",
            "pair-a",
            "pair-b",
            models={"gpt-a": {"defaultBucket": bucket(30)}, "gpt-b": {"defaultBucket": bucket(50)}},
        ),
        *pair("failing"),
        failing_over("failing"),
        quota(
            "failing",
            "failing-a",
            "failing-b",
            models={"gpt-a": {"defaultBucket": bucket(30)}, "gpt-b": {"defaultBucket": bucket(50)}},
        ),
        *pair("mixed", second_schema="Anthropic"),
        failing_over("mixed"),
        quota("mixed", "mixed-a", models={"gpt-a": {"defaultBucket": bucket(30)}}),
        *pair("alone")[:4],
        alone,
        quota(
            "alone",
            "alone-a",
            models={
                "gpt-a": {
                    "costExpression": "input_tokens + 2u * output_tokens",
                    "bucketRules": [by_header(60, "red"), by_header(1, "blue", shadowMode=True)],
                    "defaultBucket": bucket(100),
                }
            },
        ),
        *pair("any"),
        dynamic,
        quota("any", "any-a", models={"gpt-own": {"defaultBucket": bucket(10)}}, serviceQuota={"quota": bucket(30)}),
    ]


@pytest.fixture(scope="module", params=["memory", "redis"])
def quota_stage(request: pytest.FixtureRequest, redis_process: RedisServer) -> Iterator[Stage]:
    redis_process.flush()
    arguments = ("--redis-url", redis_process.url) if request.param == "redis" else ()
    providers = {
        "first": Provider(OPENAI, key="sk-first"),
        "second": Provider(OPENAI, key="sk-second"),
        "claude": Provider(ANTHROPIC, key="sk-claude"),
    }
    with Stage(**providers) as stage:
        yield stage.run(_documents(stage), *arguments)


@pytest.fixture
def stage(quota_stage: Stage) -> Iterator[Stage]:
    quota_stage.forget()
    yield quota_stage
    quota_stage.check()


def ask(stage: Stage, model: str, **more: Any) -> Any:
    for name in stage.providers:
        stage[name].answer(Answer(usage=USAGE))
    try:
        return cast("Any", stage.openai().chat.completions).create(model=model, messages=MESSAGES, **more)
    finally:
        charged(stage)


def charged(stage: Stage) -> None:
    """Waits until the limiter has been told of every answer: two calls for each request."""
    wait_until(lambda: stage.calls("headgate-ratelimit") % 2 == 0, "the charge")


def served(stage: Stage) -> dict[str, int]:
    return {name: len(stage[name].requests) for name in stage.providers if stage[name].requests}


def test_a_backend_that_is_used_up_is_passed_over(stage: Stage) -> None:
    for expected in ("first", "first", "second", "second", "second"):
        stage.forget()
        ask(stage, "pair")
        assert served(stage) == {expected: 1}
    stage.forget()
    with pytest.raises(openai.RateLimitError) as error:
        ask(stage, "pair")
    assert error.value.status_code == 429
    assert int(error.value.response.headers["retry-after"]) > 0
    assert served(stage) == {}


def test_the_next_may_speak_another_dialect(stage: Stage) -> None:
    for expected in ("first", "first", "claude", "claude", "claude"):
        stage.forget()
        stage[expected].answer(Answer(text=expected, usage=USAGE))
        stream = stage.openai().chat.completions.create(model="mixed", messages=MESSAGES, stream=True)
        assert "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices) == expected
        charged(stage)
        assert served(stage) == {expected: 1}


def test_buckets_are_limits_of_their_own_and_the_default_is_for_the_rest(stage: Stage) -> None:
    def as_team(team: str) -> Any:
        return ask(stage, "alone", extra_headers={"x-team": team})

    for _ in range(3):  # 28 each, of 60
        as_team("red")
    with pytest.raises(openai.RateLimitError):
        as_team("red")
    for _ in range(6):  # shadow: counted, never refused
        as_team("blue")
    for _ in range(4):  # 100, which neither red nor blue has touched
        ask(stage, "alone")
    with pytest.raises(openai.RateLimitError):
        ask(stage, "alone")
    as_team("blue")


def test_the_service_quota_is_for_models_without_one_of_their_own(stage: Stage) -> None:
    def whom(model: str) -> dict[str, int]:
        stage.forget()
        ask(stage, model, extra_headers={"host": "any.test"})
        return served(stage)

    assert [whom("gpt-own") for _ in range(2)] == [{"first": 1}, {"second": 1}]
    assert [whom(model) for model in ("gpt-x", "gpt-y", "gpt-z")] == [{"first": 1}, {"first": 1}, {"second": 1}]


def test_who_served_is_charged_after_a_failover(stage: Stage) -> None:
    """The first fails each time: its quota is what it was, and the second's is used up."""
    for _ in range(3):  # 60 of 50
        stage["first"].answer(Failure(503))
        stage["second"].answer(Answer(usage=USAGE))
        assert stage.chat("failing").status_code == 200
        charged(stage)
    stage.forget()
    for _ in range(2):
        ask(stage, "failing")
    assert served(stage) == {"first": 2}
    with pytest.raises(openai.RateLimitError):
        ask(stage, "failing")
