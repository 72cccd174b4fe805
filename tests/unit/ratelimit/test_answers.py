"""What a refused client reads, held to the official SDKs' own types."""

import json

import pytest
from anthropic.types import ErrorResponse
from headgate.limits.config import Descriptor, Domain, RateLimit
from headgate.limits.engine import Decision, LimitRequest, Outcome, RequestDescriptor, decide_request, plan_request
from headgate.limits.matching import build_snapshot
from headgate.limits.units import Unit
from headgate.ratelimit.answers import LIMIT_HEADERS, NO_ANSWER, Answer, answer
from openai.types.shared import ErrorObject


def _budget(unit: Unit) -> RateLimit:
    return RateLimit(unit=unit, requests_per_unit=50_000_000, name="budget", refusal_status=402)


LIMITS = build_snapshot(
    [
        Domain(
            name="d",
            descriptors=(
                Descriptor(key="a", rate_limit=RateLimit(unit=Unit.MINUTE, requests_per_unit=10, name='the "a"')),
                Descriptor(key="b", rate_limit=RateLimit(unit=Unit.MINUTE, requests_per_unit=20)),
                Descriptor(key="usd", rate_limit=_budget(Unit.MINUTE)),
                Descriptor(key="trial", rate_limit=_budget(Unit.LIFETIME)),
            ),
        )
    ]
)


def decision(before: int, *keys: str) -> Decision:
    asked = LimitRequest("d", tuple(RequestDescriptor(((key, "v"),)) for key in keys))
    plan = plan_request(LIMITS, asked, now=59)
    return decide_request(plan, Outcome((before,) * len(plan.transaction.ops), applied=True))


MESSAGE = "Rate limit 'the \"a\"' of 10 per minute is used up. Try again in 1 second."


def body(path: str) -> bytes:
    answered = answer(decision(10, "a"), path=path)
    assert dict(answered.headers) == {"content-type": "application/json", "retry-after": "1"}
    return answered.body


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("usd", "Budget 'budget' per minute is used up. Try again in 1 second."),
        ("trial", "Budget 'budget' is used up."),
    ],
)
def test_a_budget_is_not_told_in_millionths_of_a_dollar(key: str, said: str) -> None:
    error = json.loads(answer(decision(50_000_000, key), path="/v1/chat/completions").body)["error"]
    assert (error["code"], error["message"]) == ("budget_exceeded", said)


@pytest.mark.parametrize(
    "path", ["/v1/chat/completions", "/v1/models", "/v1/responses?x=/v1/messages", "", "/v1/threads/t/messages"]
)
def test_openai_clients_can_read_the_body(path: str) -> None:
    error = ErrorObject.model_validate(json.loads(body(path))["error"], strict=True)
    assert (error.type, error.code, error.message) == ("rate_limit_error", "rate_limit_exceeded", MESSAGE)


@pytest.mark.parametrize(
    "path",
    [
        "/v1/messages",
        "/anthropic/v1/messages?beta=true",
        "/v1/messages/",
        "/v1/messages/batches/b",
        "/anthropic/v1/models",
    ],
)
def test_anthropic_clients_can_read_the_body(path: str) -> None:
    response = ErrorResponse.model_validate_json(body(path))
    assert response.error.type == "rate_limit_error"
    assert (response.type, response.error.message) == ("error", MESSAGE)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        (
            "/v1beta/models/gemini:streamGenerateContent?alt=sse",
            {"error": {"code": 429, "message": MESSAGE, "status": "RESOURCE_EXHAUSTED"}},
        ),
        (
            "/gemini/v1/models/g:generateContent",
            {"error": {"code": 429, "message": MESSAGE, "status": "RESOURCE_EXHAUSTED"}},
        ),
        ("/bedrock/model/a.b%3A0/converse-stream", {"__type": "ThrottlingException", "message": MESSAGE}),
        ("/model/a/invoke", {"__type": "ThrottlingException", "message": MESSAGE}),
        ("/cohere/v2/chat", {"message": MESSAGE}),
        ("/v2/rerank", {"message": MESSAGE}),
    ],
)
def test_other_clients_can_read_the_body(path: str, said: object) -> None:
    assert json.loads(body(path)) == said


def test_without_a_path_the_body_is_left_to_envoy() -> None:
    assert answer(decision(10, "a"), path=None) == Answer((("retry-after", "1"),))


def test_a_grant_adds_nothing() -> None:
    assert answer(decision(0, "a"), path="/v1/messages") is NO_ANSWER


def test_limit_headers_show_the_limit_with_the_least_remaining() -> None:
    expected = (("x-ratelimit-limit", "10"), ("x-ratelimit-remaining", "4"), ("x-ratelimit-reset", "1"))
    for keys in (("a", "b", "unknown"), ("b", "a")):
        assert answer(decision(5, *keys), path=None, limit_headers=LIMIT_HEADERS).headers == expected


def test_limit_headers_show_the_limit_that_refuses() -> None:
    headers = answer(decision(10, "b", "a"), path=None, limit_headers=LIMIT_HEADERS).headers
    assert dict(headers) == {
        "retry-after": "1",
        "x-ratelimit-limit": "10",
        "x-ratelimit-remaining": "0",
        "x-ratelimit-reset": "1",
    }


def test_limit_headers_are_left_out_where_nothing_limits() -> None:
    assert answer(decision(0, "unknown"), path=None, limit_headers=LIMIT_HEADERS).headers == ()
