"""`--root-prefix`: endpoints live under a path of the gateway's own, of which providers know nothing."""

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from support.manifests import backend, gateway, limits, ref, route, rule
from support.providers import ANTHROPIC, OPENAI, Failure, Provider, Raw
from support.providers.operations_api import OperationsApi
from support.stage import Stage

pytestmark = pytest.mark.envoy

MESSAGES: Any = [{"role": "user", "content": "Hello!"}]


@pytest.fixture(scope="module")
def standing() -> Iterator[Stage]:
    providers = {"openai": Provider(OPENAI, key="sk-o"), "second": Provider(OPENAI, key="sk-s")}
    forms = OperationsApi(
        {}, "authorization", "Bearer {}", forms={"/v1/audio/transcriptions": frozenset(("model", "file"))}
    )
    providers["forms"] = Provider(forms, key="sk-f")
    with Stage(**providers, anthropic=Provider(ANTHROPIC, key="sk-a")) as stage:
        documents = [
            *gateway({"port": stage.port}),
            *backend("openai", stage["openai"].port, key="sk-o"),
            *backend("second", stage["second"].port, key="sk-s"),
            *backend("forms", stage["forms"].port, key="sk-f"),
            *backend("anthropic", stage["anthropic"].port, "Anthropic", key="sk-a"),
            route(
                "r",
                [
                    rule("native", ref("openai")),
                    rule("renamed", ref("openai", modelNameOverride="other")),
                    rule("form", ref("forms")),
                    rule("form-renamed", ref("forms", modelNameOverride="other")),
                    rule("translated", ref("anthropic")),
                    rule("next", ref("openai", priority=0), ref("second", priority=1)),
                    rule("mixed", ref("openai", priority=0), ref("anthropic", priority=1)),
                ],
            ),
            route("limited", [rule("limited", ref("anthropic"))]),
            limits("limited", "limited", {"limit": {"requests": 2, "unit": "Year"}}),
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


def test_a_limit_refuses_in_the_clients_dialect(rooted: Stage) -> None:
    for _ in range(2):
        assert rooted.messages("limited", path="/ai/v1/messages").status_code == 200
    refused = rooted.messages("limited", path="/ai/v1/messages")
    assert (refused.status_code, refused.json()["type"]) == (429, "error")
    assert refused.json()["error"]["type"] == "rate_limit_error"
    refused = rooted.chat("limited", path="/ai/v1/chat/completions")
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limit_exceeded")


def test_nothing_is_served_beside_the_root(rooted: Stage) -> None:
    assert rooted.chat("native").status_code == 404
    assert rooted.chat("native", path="/ai2/v1/chat/completions").status_code == 404
    for path in ("/v1/models", "/v1/models/native", "/anthropic/v1/models", "/v1beta/models", "/ai2/v1/models"):
        assert rooted.http.get(rooted.url + path).status_code == 404, path


@pytest.mark.parametrize("path", ["/v1", "/anthropic/v1"])
def test_models_are_listed_below_the_root(rooted: Stage, path: str) -> None:
    listed = rooted.http.get(f"{rooted.url}/ai{path}/models").json()["data"]
    assert {"native", "translated"} <= {each["id"] for each in listed}
    assert rooted.http.get(f"{rooted.url}/ai{path}/models/native").json() in listed
    assert rooted.http.post(f"{rooted.url}/ai{path}/models").status_code == 405


@pytest.mark.parametrize(("model", "sent"), [("form", b"form"), ("form-renamed", b"other")])
def test_forms_are_read_below_the_root(rooted: Stage, model: str, sent: bytes) -> None:
    client = rooted.openai(base_url=f"{rooted.url}/ai/v1")
    with pytest.raises(openai.NotFoundError, match="nobody"):
        client.audio.transcriptions.create(model="nobody", file=("a.wav", b"RIFF"))
    assert not rooted["forms"].requests
    rooted["forms"].answer(Raw(body=b'{"text":"Hi"}'))
    assert client.audio.transcriptions.create(model=model, file=("a.wav", b"RIFF")).text == "Hi"
    assert rooted["forms"].last.path == "/v1/audio/transcriptions"
    assert b'name="model"\r\n\r\n' + sent + b"\r\n" in rooted["forms"].last.body


def test_bodies_that_name_their_model_deep_inside_are_read_below_the_root(rooted: Stage) -> None:
    told = {"modelConfiguration": {"modelArn": "arn:aws:bedrock:us-west-2::foundation-model/nobody"}}
    chosen = {"type": "BEDROCK_RERANKING_MODEL", "bedrockRerankingConfiguration": told}
    body: Any = {"queries": [], "sources": [], "rerankingConfiguration": chosen}
    answer = rooted.post("/ai/bedrock/rerank", body)
    assert answer.status_code == 404
    assert "'nobody' does not exist" in answer.json()["message"]


def test_a_root_that_looks_like_a_dialects_path_is_none() -> None:
    with Stage(openai=Provider(OPENAI, key="sk-o")) as stage:
        documents = [
            *gateway({"port": stage.port}),
            *backend("openai", stage["openai"].port, key="sk-o"),
            route("limited", [rule("limited", ref("openai"))]),
            limits("limited", "limited", {"limit": {"requests": 1, "unit": "Year"}}),
        ]
        stage.run(documents, "--root-prefix", "/anthropic")
        chat, messages = "/anthropic/v1/chat/completions", "/anthropic/v1/messages"
        for status, code in ((404, "model_not_found"), (200, ""), (429, "rate_limit_exceeded")):
            answer = stage.chat("limited" if status != 404 else "nobody", path=chat)
            assert answer.status_code == status
            assert status == 200 or answer.json()["error"]["code"] == code
        for status, model in ((404, "nobody"), (429, "limited")):
            answer = stage.messages(model, path=messages)
            assert (answer.status_code, answer.json()["type"]) == (status, "error")
        asked = f"{stage.url}/anthropic/v1/models/limited"
        assert stage.http.get(asked).json()["object"] == "model"
        assert stage.http.get(asked, headers={"anthropic-version": "2023-06-01"}).json()["type"] == "model"
        assert stage.http.get(f"{stage.url}/anthropic/anthropic/v1/models/limited").json()["type"] == "model"


def test_a_body_without_a_model_is_told_so_in_the_clients_dialect(rooted: Stage) -> None:
    answer = rooted.post("/ai/v1/messages", {"messages": MESSAGES})
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")
    assert answer.json()["type"] == "error"
    assert "must name one" in answer.json()["error"]["message"]
