"""Clients that reset their stream in HTTP/2, in every phase of a request: limits are charged as documented, and the
connection serves on."""

import json
from collections.abc import Iterator

import pytest
from support import manifests
from support.http2_frames import Http2Connection
from support.manifests import backend, ref, route, rule
from support.providers import OPENAI, Answer, Delivery, Failure, Provider, Raw, Usage
from support.stage import Stage
from support.waiting import wait_until

pytestmark = pytest.mark.envoy

BUDGET, PROMPT, OUTPUT = 1000, 60, 40
CHAT = "/v1/chat/completions"
TEXT = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
LARGE = {"prompt_tokens": 60, "completion_tokens": 90, "total_tokens": 150}
SMALL = {"prompt_tokens": 6, "completion_tokens": 4, "total_tokens": 10}


@pytest.fixture(scope="module")
def running() -> Iterator[Stage]:
    limit = {"name": "yearly", "unit": "tokens", "amount": BUDGET, "window": "year", "per": ["header:x-user"]}
    spec = {**manifests.target("AIGatewayRoute", "r"), "rules": [{**limit, "reservation": "Strict"}]}
    with Stage(openai=Provider(OPENAI, key="sk-openai")) as stage:
        yield stage.run(
            [
                *manifests.gateway({"port": stage.port}),
                *backend("openai", stage["openai"].port, key="sk-openai"),
                route("r", [rule("gpt", ref("openai"))]),
                manifests.document("headgate.dev/v1alpha1", "LimitPolicy", "r", spec),
            ]
        )


@pytest.fixture
def stage(running: Stage) -> Iterator[Stage]:
    running.forget()
    yield running
    running.check()


@pytest.fixture
def connection(stage: Stage) -> Iterator[Http2Connection]:
    with Http2Connection(stage.url) as made:
        yield made


def _body() -> bytes:
    """A request that reserves `PROMPT` and `OUTPUT`."""
    said = {"role": "user", "content": ""}
    asked = {"model": "gpt", "stream": True, "max_tokens": OUTPUT, "messages": [said]}
    said["content"] = "a" * (4 * (PROMPT - 1) - len(json.dumps(asked)))
    return json.dumps(asked).encode()


def _head(connection: Http2Connection, user: str) -> None:
    connection.head(CHAT, {"content-type": "application/json", "x-user": user})


def _left(stage: Stage, user: str) -> int:
    """By a request that fails and so costs nothing."""
    stage["openai"].answer(Failure(400))
    return int(stage.post(CHAT, content=_body(), x_user=user).headers.get("x-ratelimit-remaining", "0"))


def _wait_charged(stage: Stage, user: str, tokens: int) -> None:
    wait_until(lambda: _left(stage, user) == BUDGET - tokens, f"{tokens} tokens to be charged")


def _serves_on(stage: Stage, connection: Http2Connection, user: str) -> None:
    stage["openai"].answer(Answer())
    _head(connection, user)
    connection.body(_body(), ends=True)
    assert b"[DONE]" in connection.read_until(b"[DONE]")


@pytest.mark.parametrize("sent", [0, 100])
def test_a_request_that_never_came_whole_costs_nothing(stage: Stage, connection: Http2Connection, sent: int) -> None:
    _head(connection, f"unfinished {sent}")
    if sent:
        connection.body(_body()[:sent], ends=False)
    connection.reset()
    _serves_on(stage, connection, "other")
    assert len(stage["openai"].requests) == 1
    _wait_charged(stage, f"unfinished {sent}", 0)


def test_a_client_that_leaves_before_the_answer_pays_what_was_reserved(
    stage: Stage, connection: Http2Connection
) -> None:
    stage["openai"].answer(Answer(delivery=Delivery(hang_after_bytes=1)))
    _head(connection, "waits")
    connection.body(_body(), ends=True)
    wait_until(lambda: stage["openai"].requests, "the provider to be asked")
    connection.reset()
    _wait_charged(stage, "waits", PROMPT + OUTPUT)
    _serves_on(stage, connection, "other")


def _event(**more: object) -> bytes:
    return f"data: {json.dumps({**TEXT, **more})}\n\n".encode()


WORD = _event(choices=[{"index": 0, "delta": {"content": "Hi"}}])


@pytest.mark.parametrize(
    ("name", "told", "charged"),
    [
        ("before usage", b"", PROMPT + OUTPUT),
        ("behind little usage", _event(choices=[], usage=SMALL), PROMPT + OUTPUT),
        ("behind much usage", _event(choices=[], usage=LARGE), 150),
    ],
)
def test_a_client_that_leaves_an_answer_pays_what_was_reserved_or_used(
    stage: Stage, connection: Http2Connection, name: str, told: bytes, charged: int
) -> None:
    # the second word comes behind the usage, so who has seen it has seen the usage pass
    body = WORD + told + WORD.replace(b"Hi", b"Ho")
    rest = Delivery(hang_after_bytes=len(body))
    stage["openai"].answer(Raw(body=body + b"data: [DONE]\n\n", content_type="text/event-stream", delivery=rest))
    _head(connection, name)
    connection.body(_body(), ends=True)
    assert b"Ho" in connection.read_until(b"Ho")
    connection.reset()
    _wait_charged(stage, name, charged)
    _serves_on(stage, connection, "other")


@pytest.mark.parametrize(
    "trailers",
    [{"x-checksum": "a"}, {"x-ai-eg-model": "other", "x-headgate-fetched": "resp_1"}],
    ids=["plain", "of our names"],
)
def test_a_request_with_trailers_is_served_and_counted(
    stage: Stage, connection: Http2Connection, trailers: dict[str, str]
) -> None:
    stage["openai"].answer(Answer(usage=Usage(input=30, output=20)))
    user = f"trails {len(trailers)}"
    _head(connection, user)
    connection.body(_body(), ends=False)
    connection.trailers(trailers)
    assert b"[DONE]" in connection.read_until(b"[DONE]")
    assert stage["openai"].last.model == "gpt"
    _wait_charged(stage, user, 50)
