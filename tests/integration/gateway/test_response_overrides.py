"""Answers that a BackendTrafficPolicy replaces, in front of the real Envoy."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from support.manifests import (
    ENVOY_GATEWAY,
    GATEWAY_API,
    Document,
    backend,
    document,
    endpoint,
    gateway,
    ref,
    route,
    rule,
    target,
    traffic,
)
from support.providers import ANTHROPIC, OPENAI, Answer, Failure, Provider, Raw
from support.stage import Stage

pytestmark = pytest.mark.envoy

ORIGIN = "https://app.test"
OWN_WORDS = '{"error": {"message": "%RESPONSE_CODE% of %REQ(X-ASKED)%, 100%% ours"}}'


def _statuses(*values: int) -> Document:
    return {"statusCodes": [{"type": "Value", "value": value} for value in values]}


def _range(start: int, end: int) -> Document:
    return {"statusCodes": [{"type": "Range", "range": {"start": start, "end": end}}]}


def _header(name: str, kind: str, value: str) -> Document:
    return {"name": name, "value": {"type": kind, "value": value}}


OVERRIDES: list[Document] = [
    {
        "match": _statuses(503),
        "response": {
            "statusCode": 529,
            "contentType": "application/vnd.ours+json",
            "body": {"type": "Inline", "inline": OWN_WORDS},
            "header": {"set": [{"name": "x-said", "value": "100% ours"}], "add": [{"name": "x-added", "value": "1"}]},
        },
    },
    {
        "match": _range(505, 511),
        "response": {
            "contentType": "text/html",
            "body": {"type": "ValueRef", "valueRef": {"group": "", "kind": "ConfigMap", "name": "page"}},
        },
    },
    {
        "match": {
            **_statuses(418),
            "responseHeaders": [
                _header("x-error-type", "Prefix", "up-"),
                _header("x-where", "RegularExpression", "eu.*"),
            ],
        },
        "response": {"statusCode": 200, "body": {"type": "Inline", "inline": "it is well"}},
    },
    {
        "match": _statuses(401),
        "redirect": {
            "hostname": "login.test",
            "port": 8443,
            "path": {"type": "ReplaceFullPath", "replaceFullPath": "/sign%20in"},
        },
    },
    {"match": _statuses(402), "redirect": {"path": {"type": "ReplaceFullPath", "replaceFullPath": "/pay"}}},
    {"match": _statuses(429), "source": "Local", "response": {"body": {"type": "Inline", "inline": "slow down"}}},
    {"match": _statuses(410), "response": {"statusCode": 204, "body": {"type": "Inline", "inline": "HTTP/1.1 200 OK"}}},
    {
        "match": {"responseHeaders": [_header("x-error-type", "Exact", "not modified")]},
        "response": {"body": {"type": "Inline", "inline": "HTTP/1.1 200 OK"}},
    },
    {"match": _statuses(409), "source": "Backend", "response": {"body": {"type": "Inline", "inline": "theirs"}}},
]


def _documents(stage: Stage) -> list[Document]:
    limit = {"type": "Local", "local": {"rules": [{"limit": {"requests": 2, "unit": "Hour"}}]}}
    cors = {"allowOrigins": [ORIGIN], "exposeHeaders": ["x-said"]}
    plain = [{"group": ENVOY_GATEWAY, "kind": "Backend", "name": "plain"}]
    served = {"matches": [{"path": {"value": "/plain"}}], "backendRefs": plain}
    http_route = {"parentRefs": [{"name": "gateway"}], "rules": [served]}
    return [
        *gateway({"port": stage.port}),
        *backend("gpt", stage["openai"].port, key="k"),
        *backend("claude", stage["anthropic"].port, "Anthropic", key="k"),
        endpoint("plain", stage["openai"].port),
        document("v1", "ConfigMap", "page", data={"response.body": "<p>%RESPONSE_CODE%</p>"}),
        route("replaced", [rule("gpt", ref("gpt")), rule("claude", ref("claude"))]),
        traffic("replaced", "replaced", responseOverride=OVERRIDES),
        route("limited", [rule("limited", ref("gpt"))]),
        traffic("limited", "limited", responseOverride=OVERRIDES, rateLimit=limit),
        route("other", [rule("other", ref("gpt"))]),
        document(f"{GATEWAY_API}/v1", "HTTPRoute", "plain", http_route),
        traffic("plain", "plain", responseOverride=[{**OVERRIDES[0], "match": _statuses(400)}]),
        document(f"{ENVOY_GATEWAY}/v1alpha1", "SecurityPolicy", "cors", {**target("Gateway", "gateway"), "cors": cors}),
    ]


@pytest.fixture(scope="module")
def replacing_stage() -> Iterator[Stage]:
    with Stage(openai=Provider(OPENAI, key="k"), anthropic=Provider(ANTHROPIC, key="k")) as stage:
        yield stage.run(_documents(stage))


@pytest.fixture
def stage(replacing_stage: Stage) -> Iterator[Stage]:
    replacing_stage.forget()
    yield replacing_stage
    replacing_stage.check()


def _ask(stage: Stage, model: str, **headers: str) -> httpx.Response:
    body: Any = {"model": model, "messages": [{"role": "user", "content": "Hello!"}]}
    sent = {"x-asked": "me", **headers}
    return stage.http.post(f"{stage.url}/v1/chat/completions", json=body, headers=sent)


@pytest.mark.parametrize(("model", "provider"), [("gpt", "openai"), ("claude", "anthropic")])
def test_an_answer_is_replaced_whole(stage: Stage, model: str, provider: str) -> None:
    stage[provider].answer(Failure(503, headers={"x-theirs": "1"}))
    answer = _ask(stage, model)
    assert (answer.status_code, answer.headers["content-type"]) == (529, "application/vnd.ours+json")
    assert answer.json() == {"error": {"message": "503 of me, 100% ours"}}
    assert (answer.headers["x-said"], answer.headers["x-added"]) == ("100% ours", "1")
    assert "x-theirs" not in answer.headers
    (line,) = stage.access(lambda entry: model in entry.values())
    assert line["status"] == 529


@pytest.mark.parametrize("status", [505, 509, 510, 511])
def test_a_range_of_statuses_has_its_ends(stage: Stage, status: int) -> None:
    stage["openai"].answer(Failure(status))
    answer = _ask(stage, "gpt")
    assert (answer.status_code, answer.headers["content-type"], answer.text) == (
        status,
        "text/html",
        f"<p>{status}</p>",
    )


@pytest.mark.parametrize("status", [500, 504, 512, 200])
def test_what_matches_nothing_stays_as_it_is(stage: Stage, status: int) -> None:
    stage["openai"].answer(Answer() if status == 200 else Failure(status))
    answer = _ask(stage, "gpt")
    assert answer.status_code == status
    assert status == 200 or answer.json()["error"]["message"] == "the provider's own words"


def test_all_headers_that_are_named_must_be_there(stage: Stage) -> None:
    both = {"x-error-type": "up-there", "x-where": "europe"}
    for headers, replaced in ((both, True), ({"x-error-type": "up-there"}, False), ({**both, "x-where": "us"}, False)):
        stage["openai"].answer(Failure(418, headers=headers))
        answer = _ask(stage, "gpt")
        assert (answer.status_code, answer.text == "it is well") == ((200, True) if replaced else (418, False))


def test_a_client_is_sent_elsewhere(stage: Stage) -> None:
    for status, location in ((401, "https://login.test:8443/sign%20in"), (402, "/pay")):
        stage["openai"].answer(Failure(status))
        answer = _ask(stage, "gpt")
        assert (answer.status_code, answer.headers["location"], answer.content) == (302, location, b"")


def test_an_answer_that_has_no_body_is_given_none(stage: Stage) -> None:
    """Else it would be read as the next answer of the client's connection."""
    stage["openai"].answer(Failure(410), Raw(status=304, headers={"x-error-type": "not modified"}), Failure(409))
    for status, text in ((204, ""), (304, ""), (409, "theirs")):
        answer = _ask(stage, "gpt")
        assert (answer.status_code, answer.text) == (status, text)
    assert answer.headers["content-type"] == "text/plain"


def test_whose_answer_it_is_counts(stage: Stage) -> None:
    stage["openai"].answer(Failure(429), Answer())
    theirs = _ask(stage, "limited")
    assert (theirs.status_code, theirs.json()["error"]["message"]) == (429, "the provider's own words")
    assert _ask(stage, "limited").status_code == 200
    ours = _ask(stage, "limited", origin=ORIGIN)
    assert ours.headers.get_list("access-control-allow-origin") == [ORIGIN]
    assert (ours.status_code, ours.text) == (429, "slow down")
    stage["openai"].answer(Failure(409))
    assert _ask(stage, "gpt").text == "theirs"


def test_other_routes_and_the_gateways_own_errors_stay_as_they_are(stage: Stage) -> None:
    stage["openai"].answer(Failure(503))
    assert _ask(stage, "other").json()["error"]["message"] == "the provider's own words"
    unknown = _ask(stage, "unknown")
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "model_not_found")


def test_an_answer_of_a_plain_route_is_replaced(stage: Stage) -> None:
    replaced = stage.http.get(f"{stage.url}/plain", headers={"x-asked": "you"})  # which is none of this provider's
    assert (replaced.status_code, json.loads(replaced.text)["error"]["message"]) == (529, "400 of you, 100% ours")
    for request in stage["openai"].requests:
        request.problems.clear()


def test_streams_that_match_nothing_are_streams(stage: Stage) -> None:
    stage["openai"].answer(Answer(text="one two three"))
    with stage.openai().chat.completions.create(
        model="gpt", messages=[{"role": "user", "content": "Hello!"}], stream=True
    ) as stream:
        assert "".join(event.choices[0].delta.content or "" for event in stream if event.choices) == "one two three"
