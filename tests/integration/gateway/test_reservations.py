"""Token budgets under concurrency: what a request may cost is reserved, and replaced by what it did cost.

200 streams at once against a budget of ten of them, next to limits that are only charged when a stream ends.
"""

import asyncio
import contextlib
import gzip
import http.client
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from headgate.llm.tokenizers import count_request
from support import manifests
from support.manifests import backend, limits, ref, route, rule, token_limit
from support.providers import OPENAI, Answer, Delivery, Failure, Provider, Usage
from support.redis import RedisServer
from support.stage import Stage
from support.waiting import BUSY_SECONDS, wait_until

pytestmark = [pytest.mark.envoy, pytest.mark.redis]

STREAMS = 200
BUDGET = 1000
ESTIMATE = 100
PROMPT, OUTPUT = 60, 40
BODY_BYTES = 4 * (PROMPT - 1)
"""Its estimate is a quarter of its bytes, and one."""
BY_USER = {"name": "x-user", "type": "Distinct"}
MODES = ("strict", "lenient", "off")
FULL = Usage(input=PROMPT, output=OUTPUT)
HALF = Usage(input=30, output=20)
NEVER = 3600.0
WHILE_ALL_WAIT = Delivery(delay_seconds=3.0)


def _documents(stage: Stage) -> list[manifests.Document]:
    documents = [*manifests.gateway({"port": stage.port}), *backend("openai", stage["openai"].port, key="sk-openai")]
    for mode in MODES:
        documents.append(route(mode, [rule(mode, ref("openai"))], **manifests.costs(total="TotalToken")))
        policy = limits(mode, mode, token_limit("total", BUDGET, BY_USER, unit="Year"))
        policy["metadata"]["annotations"] = {"headgate.dev/token-reservation": mode}
        documents.append(policy)
    counted = route("counted", [rule("counted", ref("openai"))], **manifests.costs(total="TotalToken"))
    counted["metadata"]["annotations"] = {"headgate.dev/count-prompts": "true"}
    policy = limits("counted", "counted", token_limit("total", BUDGET, BY_USER, unit="Year"))
    policy["metadata"]["annotations"] = {"headgate.dev/token-reservation": "strict"}
    documents += [counted, policy]
    documents.append(route("counted-too", [rule("counted-too", ref("openai"))]))
    spec = {
        **manifests.target("AIGatewayRoute", "counted-too"),
        "rules": [{"name": "yearly", "unit": "tokens", "amount": BUDGET, "window": "year", "countPrompts": True}],
    }
    documents.append(manifests.document("headgate.dev/v1alpha1", "LimitPolicy", "counted-too", spec))
    documents.append(route("replaced", [rule("replaced", ref("openai"))], **manifests.costs(total="TotalToken")))
    replaced = limits("replaced", "replaced", token_limit("total", BUDGET, BY_USER, unit="Year"))
    replaced["metadata"]["annotations"] = {"headgate.dev/token-reservation": "strict"}
    override = {"match": {"statusCodes": [{"value": 503}]}, "response": {"statusCode": 200}}
    replaced["spec"]["responseOverride"] = [override]
    documents.append(replaced)
    documents.append(route("both", [rule("both", ref("openai"))], **manifests.costs(total="TotalToken")))
    large, small = (token_limit("total", n, BY_USER, unit="Year") for n in (10 * BUDGET, BUDGET))
    policy = limits("both", "both", large, small)
    policy["metadata"]["annotations"] = {
        "headgate.dev/token-reservation": "strict",
        "headgate.dev/reserved-output-tokens": str(OUTPUT),
    }
    return [*documents, policy]


@pytest.fixture(scope="module", params=["memory", "redis"])
def reserving_stage(request: pytest.FixtureRequest, redis_process: RedisServer) -> Iterator[Stage]:
    redis_process.flush()
    arguments = ("--redis-url", redis_process.url) if request.param == "redis" else ()
    with Stage(openai=Provider(OPENAI, key="sk-openai")) as stage:
        yield stage.run(_documents(stage), *arguments)


@pytest.fixture
def stage(reserving_stage: Stage) -> Iterator[Stage]:
    reserving_stage.forget()
    yield reserving_stage
    reserving_stage.check()


def body(model: str, **more: Any) -> bytes:
    """A request of `BODY_BYTES` bytes."""
    fields = {"model": model, "stream": True, "max_tokens": OUTPUT, **more}
    kept = {name: value for name, value in fields.items() if value is not None}

    def text(content: str) -> bytes:
        return json.dumps({**kept, "messages": [{"role": "user", "content": content}]}).encode()

    return text("a" * (BODY_BYTES - len(text(""))))


def ask(stage: Stage, user: str, model: str, **more: Any) -> httpx.Response:
    return stage.post("/v1/chat/completions", content=body(model, **more), x_user=user)


def wave(stage: Stage, user: str, model: str, count: int) -> int:
    """So many streams at once; how many were let in, once each has been read to its end."""

    async def run() -> list[int]:
        bounds = httpx.Limits(max_connections=count)
        async with httpx.AsyncClient(limits=bounds, timeout=60) as client:

            async def one() -> int:
                sent = {"content-type": "application/json", "x-user": user}
                answer = await client.post(f"{stage.url}/v1/chat/completions", content=body(model), headers=sent)
                return answer.status_code

            return await asyncio.gather(*(one() for _ in range(count)))

    statuses = asyncio.run(run())
    assert set(statuses) <= {200, 429}
    return statuses.count(200)


def left(stage: Stage, user: str, model: str) -> int:
    """What is left of the budget, by a request that fails and so costs nothing."""
    stage["openai"].answer(Failure(400))
    answer = ask(stage, user, model)
    return int(answer.headers["x-ratelimit-remaining"]) if answer.status_code != 429 else 0


def let_in_unasked(stage: Stage) -> int:
    """Requests that Envoy let in because the limiter did not answer in time."""
    return int(stage.stat("envoy_cluster_ratelimit_failure_mode_allowed"))


def wait_left(stage: Stage, user: str, model: str, expected: int) -> None:
    wait_until(lambda: left(stage, user, model) == expected, f"{expected} tokens to be left")


def test_a_budget_holds_under_concurrent_streams(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    spent: dict[str, int] = {}
    unasked: dict[str, int] = {}
    for mode in MODES:
        before = let_in_unasked(stage)
        stage["openai"].answer(Answer(usage=FULL, delivery=WHILE_ALL_WAIT))
        spent[mode] = ESTIMATE * wave(stage, "concurrent", mode, STREAMS)
        unasked[mode] = ESTIMATE * (let_in_unasked(stage) - before)
    with capsys.disabled():
        print(f"\n{STREAMS} streams of {ESTIMATE} tokens at once, budget {BUDGET}: spent {spent}, unasked {unasked}")
    assert spent["off"] == STREAMS * ESTIMATE
    for mode in ("strict", "lenient"):
        assert _fits(spent[mode], unasked[mode]), (mode, spent, unasked)


def _fits(spent: int, unasked: int) -> bool:
    """Whether so many tokens of all that were let in are the budget. On a machine too busy for an answer within 5 s
    Envoy lets in what it could not ask for, as it is told to."""
    asked = spent - unasked
    return asked == BUDGET or (unasked > 0 and asked < BUDGET)


def test_no_token_is_lost_after_settlement(stage: Stage) -> None:
    """Half of what each reserves is used; the rest can be used by others."""
    spent = HALF.input + HALF.output
    admitted = 0
    while True:
        stage["openai"].answer(Answer(usage=HALF))
        now_admitted = wave(stage, "refunded", "strict", 20)
        admitted += now_admitted
        assert admitted * spent <= BUDGET
        if not now_admitted:
            break
        if BUDGET - admitted * spent >= ESTIMATE:  # else nobody may ask
            wait_left(stage, "refunded", "strict", BUDGET - admitted * spent)
    assert admitted * spent > BUDGET - ESTIMATE


def test_more_than_was_reserved_is_charged(stage: Stage) -> None:
    stage["openai"].answer(Answer(usage=Usage(input=200, output=150)))
    assert ask(stage, "more", "strict").status_code == 200
    wait_left(stage, "more", "strict", BUDGET - 350)


def leave(
    stage: Stage, user: str, content: bytes, delivery: Delivery, path: str = "/v1/chat/completions", **more: str
) -> None:
    """A client that hangs up once the provider has its request, or its own answer has begun."""
    stage["openai"].answer(Answer(usage=FULL, delivery=delivery))
    received = len(stage["openai"].requests)
    with contextlib.closing(http.client.HTTPConnection(urlsplit(stage.url).netloc, timeout=BUSY_SECONDS)) as client:
        sent = {"content-type": "application/json", "x-user": user, **more}
        client.request("POST", path, content, sent)
        stage["openai"].wait_for_requests(received + 1)
        if delivery.hang_after_bytes:
            client.getresponse().read(1)


def test_a_client_that_leaves_pays_its_reservation(stage: Stage) -> None:
    """Calls of the limiter cannot be counted for it: one that waits longer than Envoy does may never have been made."""
    for count, delivery in enumerate((Delivery(delay_seconds=NEVER), Delivery(hang_after_bytes=600)), start=1):
        gone = stage["openai"].disconnects
        leave(stage, "leaves", body("strict"), delivery)
        stage["openai"].wait_for_disconnects(gone + 1)  # Envoy settles in the step in which it leaves the provider
        wait_left(stage, "leaves", "strict", BUDGET - count * ESTIMATE)
    assert left(stage, "leaves", "strict") == BUDGET - 2 * ESTIMATE


@pytest.mark.parametrize("delivery", [Delivery(delay_seconds=NEVER), Delivery(hang_after_bytes=600)])
@pytest.mark.parametrize("file", [False, True])
def test_what_is_compressed_is_reserved_by_what_it_holds(stage: Stage, delivery: Delivery, file: bool) -> None:
    """It would be a hundredth; and less than the file in it, which is no number that a limit can be asked for."""
    content = body("strict")
    if file:
        content = content.replace(
            b'"messages": [', b'"messages": [{"role": "user", "content": [%s]}, ' % json.dumps(IN_URL).encode()
        )
    reserved = len(content) // 4 + 1 + OUTPUT
    if file:
        reserved = (len(content) - len(FILE)) // 4 + 1 + FILE_TOKENS + OUTPUT
    user = f"compresses-{file}-{delivery.hang_after_bytes}"
    leave(stage, user, gzip.compress(content), delivery, **{"content-encoding": "gzip"})
    wait_left(stage, user, "strict", BUDGET - reserved)


FILE = "data:image/png;base64," + "iVBORw0KGgo/" * 2_000 + "=="
FILE_TOKENS = 765
BY_ITSELF = {"type": "input_audio", "input_audio": {"data": FILE, "format": "wav"}}
IN_URL = {"type": "image_url", "image_url": {"url": FILE}}


@pytest.mark.parametrize("escaped", [False, True])
@pytest.mark.parametrize("part", [BY_ITSELF, IN_URL])
def test_a_file_is_reserved_as_a_file(stage: Stage, part: dict[str, Any], escaped: bool) -> None:
    """A quarter of its bytes would be six times the budget."""
    said = {"model": "strict", "stream": True, "max_tokens": OUTPUT, "messages": [{"role": "user", "content": [part]}]}
    content = json.dumps(said)
    content = (content.replace("/", "\\/") if escaped else content).encode()
    file_bytes = len(FILE) + escaped * FILE.count("/")
    reserved = (len(content) - file_bytes) // 4 + 1 + FILE_TOKENS + OUTPUT
    user = f"sends-{part['type']}-{escaped}"
    leave(stage, user, content, Delivery(delay_seconds=NEVER))
    wait_left(stage, user, "strict", BUDGET - reserved)


@pytest.mark.parametrize(
    "part",
    [
        pytest.param({"type": "text", "text": FILE}, id="a file's bytes where a text stands"),
        pytest.param({"type": "image_url", "image_url": {"url": FILE + " and text"}}, id="a text where a file stands"),
        pytest.param({"type": "image_url", "image_url": {"url": "and,more," * 2_000}}, id="words with commas between"),
    ],
)
def test_a_text_is_no_file(stage: Stage, part: dict[str, Any]) -> None:
    """Who hides a prompt in what counts as a file would be let in by less than it costs."""
    said = {"model": "strict", "max_tokens": OUTPUT, "messages": [{"role": "user", "content": [part]}]}
    refused = stage.post("/v1/chat/completions", content=json.dumps(said).encode(), x_user="hides")
    assert refused.status_code == 429


def test_a_counted_prompt_is_reserved_by_its_tokens(stage: Stage) -> None:
    """Of 60 tokens by its bytes it has 40: routes that ask for it have prompts counted."""
    asked = body("counted")
    count = count_request("chat-completions", "counted", asked)
    assert count is not None
    assert count.tokens != PROMPT

    def is_counted() -> bool:  # the first prompts find no vocabulary yet
        assert ask(stage, "warms up", "counted").status_code == 200
        entry = stage.access(lambda entry: entry["original_model"] == "counted")[-1]
        return entry["metadata"].get("prompt_tokens") == count.tokens

    wait_until(is_counted, "prompts to be counted")
    received = stage["openai"].last
    assert not [name for name, _ in received.headers if name.startswith("x-headgate")]
    leave(stage, "counted", asked, Delivery(delay_seconds=NEVER))
    wait_left(stage, "counted", "counted", BUDGET - count.tokens - OUTPUT)


def test_prompts_are_counted_where_a_limit_policy_asks_for_it(stage: Stage) -> None:
    count = count_request("chat-completions", "counted-too", body("counted-too"))
    assert count is not None

    def is_counted() -> bool:
        assert ask(stage, "warms up", "counted-too").status_code == 200
        entry = stage.access(lambda entry: entry["original_model"] == "counted-too")[-1]
        return entry["metadata"].get("prompt_tokens") == count.tokens

    stage["openai"].answer(Answer(usage=Usage(input=1, output=1)))
    wait_until(is_counted, "prompts to be counted")


@pytest.mark.parametrize("maximum", [10**30, -5, 2**60, "many", True, [1], 10**9 + 1])
def test_no_maximum_switches_a_limit_off(stage: Stage, maximum: Any) -> None:
    """A number that cannot be reserved must not make the limit vanish: it counts as a very large one, or as none."""
    stage["openai"].answer(Failure(400))
    answer = ask(stage, f"absurd-{maximum}", "strict", max_tokens=maximum)
    assert answer.status_code == 429 or "x-ratelimit-remaining" in answer.headers
    wait_left(stage, f"absurd-{maximum}", "strict", BUDGET)
    stage.forget()  # the provider would refuse most of these


def test_a_maximum_beyond_all_numbers_switches_no_limit_off(stage: Stage) -> None:
    """It is read as infinite, where a JSON parser may refuse it."""
    stage["openai"].answer(Failure(400))
    content = body("strict", max_tokens=0).replace(b'"max_tokens": 0', b'"max_tokens": 1e999')
    assert b"1e999" in content
    answer = stage.post("/v1/chat/completions", content=content, x_user="boundless")
    assert answer.status_code == 429 or "x-ratelimit-remaining" in answer.headers
    wait_left(stage, "boundless", "strict", BUDGET)
    stage.forget()


@pytest.mark.parametrize(
    ("model", "more", "reserved"),
    [
        ("strict", {"n": 5}, 5 * OUTPUT),
        ("strict", {"max_completion_tokens": 1}, OUTPUT),
        ("strict", {"max_completion_tokens": 300}, 300),
        ("both", {"max_tokens": None, "n": 5}, 5 * OUTPUT),
        ("both", {"max_tokens": None, "n": 1}, OUTPUT),
    ],
)
def test_all_that_a_request_may_be_answered_with_is_reserved(
    stage: Stage, model: str, more: dict[str, Any], reserved: int
) -> None:
    """Else a client reserves one short answer and is given many long ones."""
    user = f"asks for {model} {more}"
    leave(stage, user, body(model, **more), Delivery(delay_seconds=NEVER))
    wait_left(stage, user, model, BUDGET - PROMPT - reserved)


def test_a_failure_that_a_policy_calls_a_success_costs_nothing(stage: Stage) -> None:
    stage["openai"].answer(Failure(503))
    assert ask(stage, "told all is well", "replaced").status_code == 200
    wait_left(stage, "told all is well", "replaced", BUDGET)


@pytest.mark.parametrize(
    ("model", "prompts", "more", "answers"),
    [
        ("strict", ["a", "]", ', "c'], {}, 3),
        ("strict", [[1, 2], [3]], {"n": 2, "best_of": 3}, 6),
        ("strict", [1, 2, 3], {}, 1),
        ("strict", "a, b", {}, 1),
        ("strict", [], {}, 1),
        ("both", ["a", "b"], {"max_tokens": None}, 2),
    ],
)
def test_each_prompt_of_a_list_is_answered(
    stage: Stage, model: str, prompts: Any, more: dict[str, Any], answers: int
) -> None:
    fields = {"model": model, "stream": True, "max_tokens": OUTPUT, "prompt": prompts, **more}
    content = json.dumps({name: value for name, value in fields.items() if value is not None}).encode()
    user = f"asks for {model} {prompts} {more}"
    content += b" " * (BODY_BYTES - len(content))
    leave(stage, user, content, Delivery(delay_seconds=NEVER), "/v1/completions")
    wait_left(stage, user, model, BUDGET - PROMPT - answers * OUTPUT)


@pytest.mark.parametrize("model", ["strict", "lenient"])
def test_a_client_that_waits_to_be_told_to_go_on_is_limited_as_others_are(stage: Stage, model: str) -> None:
    """Its response is 100 when the limiter is asked."""
    stage["openai"].answer(Answer(usage=FULL))
    user, statuses = f"continues {model}", list[int]()
    for _ in range(BUDGET // (PROMPT + OUTPUT) + 2):
        with contextlib.closing(http.client.HTTPConnection(urlsplit(stage.url).netloc, timeout=BUSY_SECONDS)) as client:
            sent = {"content-type": "application/json", "x-user": user, "expect": "100-continue"}
            client.request("POST", "/v1/chat/completions", body(model), sent)
            answer = client.getresponse()
            answer.read()
            statuses.append(answer.status)
    assert statuses[0] == 200
    assert statuses[-1] == 429
    wait_left(stage, user, model, 0)


@pytest.mark.parametrize(("first", "second"), [(300, 1), (1, 300), (300, "null")])
def test_of_two_maxima_of_one_name_the_larger_is_reserved(stage: Stage, first: int, second: int | str) -> None:
    """Which of them a provider heeds is its own affair."""
    user = f"says {first} and {second}"
    more = f',"max_tokens":{second}}}'.encode()
    content = body("strict", stream=None, max_tokens=first).replace(b"a" * len(more), b"a", 1)
    leave(stage, user, content[:-1] + more, Delivery(delay_seconds=NEVER))
    wait_left(stage, user, "strict", BUDGET - PROMPT - 300)


@pytest.mark.parametrize("more", [{"n": 10**30}, {"n": 1e300}, {"best_of": 999_999}])
def test_no_number_of_answers_switches_a_limit_off(stage: Stage, more: dict[str, Any]) -> None:
    stage["openai"].answer(Failure(400))
    for model, own in (("strict", {}), ("both", {"max_tokens": None})):
        assert ask(stage, f"absurd-{more}", model, **own, **more).status_code == 429
    stage.forget()


def test_a_lenient_limit_treats_one_client_as_a_check_does(stage: Stage) -> None:
    """While anything is left, a request is let in, whatever it may cost."""
    stage["openai"].answer(Answer(usage=Usage(input=900, output=99)))
    assert ask(stage, "alone", "lenient", max_tokens=100_000).status_code == 200
    wait_left(stage, "alone", "lenient", 1)
    stage["openai"].answer(Answer(usage=FULL))
    assert ask(stage, "alone", "lenient", max_tokens=100_000).status_code == 200
    wait_until(lambda: ask(stage, "alone", "lenient").status_code == 429, "the charge")


def test_limits_of_one_request_are_reserved_together(stage: Stage) -> None:
    before = let_in_unasked(stage)
    stage["openai"].answer(Answer(usage=FULL, delivery=WHILE_ALL_WAIT))
    admitted = wave(stage, "together", "both", 50)
    unasked = let_in_unasked(stage) - before
    assert _fits(ESTIMATE * admitted, ESTIMATE * unasked)
    stage["openai"].answer(Failure(400))

    def refused() -> httpx.Response | None:
        answer = ask(stage, "together", "both", max_tokens=None)
        return answer if answer.status_code == 429 else None

    refusal = wait_until(refused, "a refusal")
    limit = refusal.headers["x-ratelimit-limit"]
    assert limit.startswith(str(BUDGET)), limit


def test_an_answer_without_a_maximum_is_reserved_by_the_policys(stage: Stage) -> None:
    before = let_in_unasked(stage)
    stage["openai"].answer(Answer(usage=FULL, delivery=WHILE_ALL_WAIT))

    async def run() -> list[int]:
        sent = {"content-type": "application/json", "x-user": "unbounded"}
        async with httpx.AsyncClient(timeout=60) as client:
            url = f"{stage.url}/v1/chat/completions"
            calls = [client.post(url, content=body("both", max_tokens=None), headers=sent) for _ in range(30)]
            return [answer.status_code for answer in await asyncio.gather(*calls)]

    admitted = asyncio.run(run()).count(200)
    assert _fits(ESTIMATE * admitted, ESTIMATE * (let_in_unasked(stage) - before))
