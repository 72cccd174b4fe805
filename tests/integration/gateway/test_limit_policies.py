"""LimitPolicies through Envoy: requests, tokens and money, of Gateways, routes, rules, models, clients and backends."""

from collections.abc import Iterator
from typing import Any, cast

import httpx
import openai
import pytest
from support import manifests
from support.manifests import AI, GATEWAY, GATEWAY_API, Document, api_keys, backend, document, ref, route, rule, target
from support.providers import OPENAI, Answer, Provider, Usage
from support.redis import RedisServer
from support.stage import Stage
from support.waiting import wait_until

pytestmark = [pytest.mark.envoy, pytest.mark.redis]

MESSAGES: Any = [{"role": "user", "content": "Hello!"}]
USAGE = Usage(input=12, output=8)
WARNED = "LimitPolicy/default/second/soft;used=50%"


def limit(name: str, unit: str, amount: int, **more: Any) -> Document:
    return {"name": name, "unit": unit, "amount": amount, "window": "year", **more}


def policy(name: str, kind: str, of: str, *rules: Document, section: str = "") -> Document:
    group = GATEWAY_API if kind == "Gateway" else AI
    where = {"group": group, "kind": kind, "name": of, **({"sectionName": section} if section else {})}
    return document("headgate.dev/v1alpha1", "LimitPolicy", name, {"targetRefs": [where], "rules": list(rules)})


def _documents(stage: Stage) -> list[Document]:
    openai_port = stage["openai"].port
    clients = {name: f"sk-{name}" for name in ("alice", "bob", "carol", "dave", "erin")}
    rules = [
        rule("one", ref("openai"), name="first"),
        rule("two", ref("openai"), name="second"),
        rule("money", ref("openai", modelNameOverride="gpt-priced"), name="money"),
    ]
    return [
        *manifests.gateway({"port": stage.port}),
        *backend("openai", openai_port, key="sk-openai"),
        *backend("busy", openai_port, key="sk-openai"),
        *backend("pooled", openai_port, key="sk-openai"),
        *backend("spare", stage["spare"].port, key="sk-spare"),
        route("models", rules),
        route("shared", [rule("shared", ref("busy", priority=0), ref("spare", priority=1))]),
        *api_keys("clients", target("Gateway", GATEWAY), clients, forwardClientIDHeader="x-client-id"),
        policy("everyone", "Gateway", GATEWAY, limit("rpy", "requests", 9, per=["client"])),
        policy("first", "AIGatewayRoute", "models", limit("tokens", "tokens", 30), section="first"),
        policy(
            "second",
            "AIGatewayRoute",
            "models",
            limit("burst", "requests", 3, window="day", algorithm="TokenBucket", burst=2, models=["two"]),
            limit("soft", "requests", 4, mode="Shadow", warnAt=[50], per=["header:x-team"], models=["two"]),
        ),
        policy(
            "money",
            "AIGatewayRoute",
            "models",
            limit(
                "spent",
                "usd",
                5_000_000_000_000,
                window="month",
                timeZone="Europe/Berlin",
                models=["money"],
                prices=[
                    {"model": "gpt-priced", "input": 40_000_000_000_000, "output": 52_500_000_000_000},
                    {"model": "*", "input": 1, "output": 1},
                ],
            ),
        ),
        policy("busy", "AIServiceBackend", "busy", limit("tpy", "tokens", 30)),
        *_budgets(),
        *_pools(),
    ]


def _budgets() -> list[Document]:
    """A budget that never resets, of dollars; and a limit for each value of a query parameter."""
    prices = [{"model": "*", "input": 1_000_000, "output": 5_000_000}]
    tenants = {"clientSelectors": [{"queryParams": [{"name": "tenant", "type": "Distinct"}]}]}
    return [
        route("trials", [rule("trial", ref("openai")), rule("tenants", ref("openai"), name="tenants")]),
        policy(
            "trial",
            "AIGatewayRoute",
            "trials",
            limit("all", "usd", 60, window="lifetime", models=["trial"], prices=prices),
        ),
        policy("tenants", "AIGatewayRoute", "trials", limit("each", "requests", 2, **tenants), section="tenants"),
    ]


def _pools() -> list[Document]:
    """Ten requests an hour, shared by two pools and by who is in none."""
    pools = [
        {"name": "chat", "rank": 1, "minReservation": 50, "routes": ["chat"]},
        {"name": "docs", "rank": 2, "maxReservation": 50, "routes": ["docs"]},
    ]
    shared = policy("shares", "AIServiceBackend", "pooled", limit("rph", "requests", 10, window="hour"))
    shared["spec"] |= {"pools": pools, "pooledRule": "rph"}
    names = ("chat", "docs", "rest")
    return [shared, *(route(name, [rule(name, ref("pooled"))]) for name in names)]


@pytest.fixture(scope="module", params=["memory", "redis"])
def limit_stage(request: pytest.FixtureRequest, redis_process: RedisServer) -> Iterator[Stage]:
    redis_process.flush()
    arguments = ("--redis-url", redis_process.url) if request.param == "redis" else ()
    with Stage(openai=Provider(OPENAI, key="sk-openai"), spare=Provider(OPENAI, key="sk-spare")) as stage:
        yield stage.run(_documents(stage), *arguments)


@pytest.fixture
def stage(limit_stage: Stage) -> Iterator[Stage]:
    limit_stage.forget()
    yield limit_stage
    limit_stage.check()


def ask(stage: Stage, model: str, *, key: str = "sk-bob", usage: Usage = USAGE, team: str = "") -> Any:
    """The answer's headers; the limiter has been told of its end."""
    for provider in stage.providers.values():
        provider.answer(Answer(usage=usage))
    calls = stage.calls("headgate-ratelimit")
    client = cast("Any", stage.openai(api_key=key).chat.completions.with_raw_response)
    try:
        return client.create(model=model, messages=MESSAGES, extra_headers={"x-team": team} if team else {}).headers
    finally:
        wait_until(lambda: stage.calls("headgate-ratelimit") >= calls + 2, "the charge")


def test_a_rules_tokens(stage: Stage) -> None:
    for _ in range(2):
        ask(stage, "one")
    with pytest.raises(openai.RateLimitError, match="first/tokens"):
        ask(stage, "one")
    ask(stage, "two", team="x")


def test_a_backend_that_is_used_up_is_passed_over(stage: Stage) -> None:
    for expected in ("openai", "openai", "spare", "spare"):
        stage.forget()
        ask(stage, "shared")
        assert [name for name in stage.providers if stage[name].requests] == [expected]


def test_each_client_of_the_gateway_by_itself(stage: Stage) -> None:
    for _ in range(9):
        ask(stage, "shared", key="sk-alice")
    with pytest.raises(openai.RateLimitError, match="everyone/rpy"):
        ask(stage, "shared", key="sk-alice")


def test_a_bucket_and_a_soft_limit(stage: Stage) -> None:
    """The bucket holds two and gets three a day; the shadow of the other limit only warns."""
    found: list[Any] = []

    def refused() -> openai.RateLimitError | None:
        try:
            found.append(ask(stage, "two", team="y"))
        except openai.RateLimitError as error:
            return error
        return None

    error = wait_until(refused, "the bucket to be empty")
    assert "second/burst" in str(error)
    assert 0 < int(error.response.headers["retry-after"]) <= 28_800
    assert [headers.get("x-headgate-limit-warning") for headers in found] in ([None], [None, WARNED])


def test_money_beyond_32_bits(stage: Stage) -> None:
    """900,000,000 millionths a request, of 5,000,000,000,000."""
    headers = ask(stage, "money")
    assert "money/spent" in headers["x-ratelimit-limit"]
    found = stage.access(lambda line: line.get("original_model") == "money")
    assert {line["metadata"]["limit_cost"] for line in found} == {900_000_000}


def test_money_that_is_used_up_is_402_and_stays_so(stage: Stage) -> None:
    """52 millionths a request, of 60: the second is let in with what is left, and nothing comes back."""
    for _ in range(2):
        ask(stage, "trial", key="sk-carol")
    with pytest.raises(openai.APIStatusError) as refused:
        ask(stage, "trial", key="sk-carol")
    assert refused.value.status_code == 402
    assert (refused.value.code, refused.value.type) == ("budget_exceeded", "insufficient_quota")
    assert "Budget 'LimitPolicy/default/trial/all' is used up." in str(refused.value)
    assert "retry-after" not in refused.value.response.headers
    assert len(stage["openai"].requests) == 2, "a client does not try again"


def post(stage: Stage, model: str, client: str, query: str = "") -> httpx.Response:
    stage["openai"].answer(Answer(usage=USAGE))
    body = {"model": model, "messages": MESSAGES}
    headers = {"authorization": f"Bearer sk-{client}"}
    return stage.http.post(f"{stage.url}/v1/chat/completions{query}", headers=headers, json=body)


def test_each_value_of_a_query_parameter(stage: Stage) -> None:
    """Requests without it are not counted."""

    def codes(query: str, times: int) -> list[int]:
        return [post(stage, "tenants", "dave", query).status_code for _ in range(times)]

    assert codes("?tenant=a", 3) == [200, 200, 429]
    assert codes("?x=1&tenant=b&y=2", 3) == [200, 200, 429]
    assert codes("", 3) == [200, 200, 200]


def test_pools_share_what_a_backend_may_be_asked(stage: Stage) -> None:
    """Who is in no pool has what is left of it; docs has no more than half, chat no less."""

    def granted(model: str, times: int, client: str) -> int:
        return sum(post(stage, model, client).status_code == 200 for _ in range(times))

    assert granted("rest", 3, "carol") == 3
    assert granted("docs", 5, "erin") == 2
    assert granted("chat", 6, "erin") == 5
    assert granted("rest", 1, "carol") == 0
    refused = post(stage, "docs", "erin")
    error = refused.json()["error"]
    assert (refused.status_code, error["code"]) == (429, "prioritization_gate_denied")
    assert "pool 'docs' may have" in error["message"]
