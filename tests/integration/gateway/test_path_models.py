"""Dialects whose paths name the model: it routes, is rewritten for the backend, and nothing in the body replaces it."""

from collections.abc import Iterator

import pytest
from support.manifests import AI, Document, backend, document, gateway, ref, route, rule, secret, target
from support.ports import free_port
from support.providers import BEDROCK, Answer, Provider
from support.stage import Stage

CREDENTIALS = "[default]\naws_access_key_id = AKID\naws_secret_access_key = secret\n"
BODY = {"messages": [{"role": "user", "content": [{"text": "Hi"}]}]}


def _documents(stage: Stage, port: int) -> list[Document]:
    aws = {
        **target("AIServiceBackend", "bedrock"),
        "type": "AWSCredentials",
        "awsCredentials": {"region": "us-east-1", "credentialsFile": {"secretRef": {"name": "aws"}}},
    }
    rules = [
        rule("claude:0", ref("bedrock")),
        rule("renamed", ref("bedrock", modelNameOverride="anthropic.claude-v1:0")),
    ]
    return [
        *gateway({"port": port}),
        *backend("bedrock", stage["bedrock"].port, "AWSBedrock"),
        secret("aws", credentials=CREDENTIALS),
        document(f"{AI}/v1beta1", "BackendSecurityPolicy", "aws", aws),
        route("models", rules),
    ]


@pytest.fixture(scope="module")
def bedrock() -> Iterator[Stage]:
    with Stage(bedrock=Provider(BEDROCK, key="AKID:secret")) as stage:
        stage.run(_documents(stage, free_port()))
        yield stage


@pytest.fixture(autouse=True)
def clean(bedrock: Stage) -> Iterator[None]:
    bedrock.forget()
    yield
    bedrock.check()


@pytest.mark.parametrize(
    ("path", "sent"),
    [
        ("/model/claude:0/converse", "/model/claude:0/converse"),
        ("/model/claude%3A0/converse", "/model/claude%3A0/converse"),
        ("/bedrock/model/claude:0/converse", "/model/claude:0/converse"),
        ("/model/renamed/converse", "/model/anthropic.claude-v1%3A0/converse"),
    ],
)
def test_the_path_names_the_model(bedrock: Stage, path: str, sent: str) -> None:
    bedrock["bedrock"].answer(Answer(text="Hello"))

    answer = bedrock.post(path, BODY)

    assert answer.status_code == 200, answer.text
    assert bedrock["bedrock"].last.path == sent


def test_a_model_in_the_body_counts_for_nothing(bedrock: Stage) -> None:
    answer = bedrock.post("/model/forbidden/converse", {**BODY, "model": "claude:0"})

    assert answer.status_code == 404
    assert "forbidden" in answer.text
    assert not bedrock["bedrock"].requests


def test_a_model_nobody_serves_is_named(bedrock: Stage) -> None:
    answer = bedrock.post("/model/other/converse", BODY)

    assert answer.status_code == 404
    assert "'other' does not exist" in answer.text
