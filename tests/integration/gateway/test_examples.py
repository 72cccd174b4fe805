"""Every file of manifests/examples, as it is but for the providers' addresses, called as its comment says."""

import re
import shlex
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest
from support.chat_clients import fronts
from support.manifests import EXAMPLES, example
from support.providers import ANTHROPIC, AZURE_OPENAI, BEDROCK, OPENAI, Answer, Api, Failure, Provider, Raw, Usage
from support.providers.operations_api import OperationsApi
from support.stage import Stage
from support.waiting import wait_until

pytestmark = pytest.mark.envoy

MESSAGES: Any = [{"role": "user", "content": "Hello!"}]
EMBEDDER = OperationsApi(
    {r"/v1beta/models/gemini-embedding-001:batchEmbedContents": "support.providers.operation_types.GeminiEmbed"},
    "x-goog-api-key",
    "{}",
)
VECTORS = b'{"embeddings":[{"values":[0.25,-0.5]},{"values":[1.0,2.0]}],"usageMetadata":{"promptTokenCount":4}}'
PROVIDERS: dict[str, tuple[Api, str]] = {
    "openai": (OPENAI, "sk-openai"),
    "anthropic": (ANTHROPIC, "sk-anthropic"),
    "azure": (AZURE_OPENAI, "sk-azure"),
    "bedrock": (BEDROCK, "AKIAEXAMPLE:secret/access+key"),
    "gemini": (EMBEDDER, "sk-gemini"),
}
ENVIRONMENT = {
    "OPENAI_API_KEY": "sk-openai",
    "ANTHROPIC_API_KEY": "sk-anthropic",
    "AZURE_OPENAI_API_KEY": "sk-azure",
    "GEMINI_API_KEY": "sk-gemini",
    "AWS_CREDENTIALS": "[default]\naws_access_key_id = AKIAEXAMPLE\naws_secret_access_key = secret/access+key\n",
    "ALICE_KEY": "alice-1",
    "BOB_KEY": "bob-1",
}

Start = Callable[[str], Stage]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts an example with fakes for the providers that it names."""
    stages: list[Stage] = []

    def start(name: str) -> Stage:
        text = (EXAMPLES / f"{name}.yaml").read_text()
        named = [each for each in PROVIDERS if f"kind: Backend, name: {each}}}" in text]
        stage = Stage(**{each: Provider(PROVIDERS[each][0], key=PROVIDERS[each][1]) for each in named})
        stages.append(stage)
        config = example(name, port=stage.port, providers={each: stage[each].port for each in named})
        return stage.run(config, environment=ENVIRONMENT)

    yield start
    for stage in stages:
        try:
            assert ": error:" not in stage.gateway.output, stage.gateway.output
            stage.check()
        finally:
            stage.close()


def called(stage: Stage, name: str) -> Any:
    """Does what the curl line in the example's comment does."""
    comment = re.findall(r"^# ?(.*)$", (EXAMPLES / f"{name}.yaml").read_text(), re.MULTILINE)
    command = " ".join(line.strip().rstrip("\\") for line in comment[comment.index("") :] if line.strip())
    words = shlex.split(command[command.index("curl ") : command.rindex("}'") + 2])
    headers = dict(words[n + 1].split(": ", 1) for n, word in enumerate(words) if word == "-H")
    url = words[1].replace("http://127.0.0.1:8080", stage.url)
    return stage.http.post(url, content=words[words.index("-d") + 1], headers=headers)


def test_every_example_is_here() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.yaml")} == {
        "azure",
        "bedrock",
        "bedrock-for-openai-clients",
        "claude-for-openai-clients",
        "claude-for-responses-clients",
        "embeddings-for-openai-clients",
        "failover",
        "gpt-for-anthropic-clients",
        "gpt-for-bedrock-clients",
        "gpt-for-cohere-clients",
        "gpt-for-google-clients",
        "limits",
        "route-by-model",
        "strict-translation",
        "token-limit",
        "weights-and-canary",
    }


def test_route_by_model(start: Start) -> None:
    stage = start("route-by-model")
    assert called(stage, "route-by-model").json()["choices"][0]["message"]["content"] == "Hello from the provider."
    assert stage["openai"].last.json["model"] == "gpt-4o-mini"
    assert stage["openai"].last.header("host") == "api.openai.com"
    stage.anthropic().messages.create(model="claude-sonnet", max_tokens=9, messages=MESSAGES)
    assert stage["anthropic"].last.json["model"] == "claude-sonnet-5"
    unknown = stage.chat("mistral")
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "model_not_found")
    assert [model.id for model in stage.openai().models.list()] == ["claude-sonnet"]


def test_failover(start: Start) -> None:
    stage = start("failover")
    assert called(stage, "failover").status_code == 200
    assert stage["openai"].last.json["model"] == "gpt-4o"
    stage["openai"].answer(Failure(429))
    answer = stage.openai().chat.completions.create(model="assistant", messages=MESSAGES)
    assert answer.choices[0].message.content == "Hello from the provider."
    assert stage["anthropic"].last.json["model"] == "claude-sonnet-5"
    stage["anthropic"].answer(Failure(529, "overloaded"))
    assert "overloaded" in stage.chat("assistant").json()["error"]["message"]


def test_token_limit(start: Start) -> None:
    stage = start("token-limit")
    stage["openai"].answer(Answer(usage=Usage(input=60_000, output=40_000)))
    assert called(stage, "token-limit").status_code == 200
    alice, bob = stage.openai(api_key="alice-1"), stage.openai(api_key="bob-1")

    def refused() -> openai.RateLimitError | None:
        try:
            alice.chat.completions.create(model="gpt-4o", messages=MESSAGES)
        except openai.RateLimitError as error:
            return error
        return None  # the charge is on its way

    limited = wait_until(refused, "Alice to be refused")
    assert 0 < int(limited.response.headers["retry-after"]) <= 3600
    assert bob.chat.completions.create(model="gpt-4o", messages=MESSAGES).choices
    with pytest.raises(openai.AuthenticationError):
        stage.openai(api_key="mallory").chat.completions.create(model="gpt-4o", messages=MESSAGES)


def test_limits(start: Start) -> None:
    """Each client at its pace, and whatever goes beyond what OpenAI serves in a minute is served by Claude."""
    stage = start("limits")
    stage["openai"].answer(Answer(usage=Usage(input=60_000, output=40_000)))
    assert called(stage, "limits").status_code == 200
    client = stage.openai(api_key="bob-1").chat.completions

    def by_claude() -> bool:
        client.create(model="assistant", messages=MESSAGES)
        return bool(stage["anthropic"].requests)

    wait_until(by_claude, "the charge")
    paced = stage.openai(api_key="alice-1").chat.completions

    def refused() -> openai.RateLimitError | None:
        try:
            paced.create(model="assistant", messages=MESSAGES)
        except openai.RateLimitError as error:
            return error
        return None

    assert "clients/pace" in str(wait_until(refused, "Alice to be too fast"))


def test_claude_for_openai_clients(start: Start) -> None:
    stage = start("claude-for-openai-clients")
    stage["anthropic"].answer(Answer(text="Bonjour"))
    assert called(stage, "claude-for-openai-clients").json()["choices"][0]["message"]["content"] == "Bonjour"
    stream = stage.openai().chat.completions.create(model="claude-opus-5", messages=MESSAGES, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices) == "Bonjour"
    answer = stage.anthropic().messages.create(model="claude-opus-5", max_tokens=9, messages=MESSAGES)
    assert answer.content[0].type == "text"


def test_strict_translation(start: Start) -> None:
    stage = start("strict-translation")
    assert called(stage, "strict-translation").status_code == 200
    before = len(stage["anthropic"].requests)
    refused = stage.chat("claude-sonnet-5", seed=7)
    assert (refused.status_code, refused.json()["error"]["param"]) == (422, "seed")
    assert len(stage["anthropic"].requests) == before


def test_gpt_for_anthropic_clients(start: Start) -> None:
    stage = start("gpt-for-anthropic-clients")
    stage["openai"].answer(Answer(text="Hello from GPT"))
    assert called(stage, "gpt-for-anthropic-clients").json()["content"] == [{"type": "text", "text": "Hello from GPT"}]
    assert stage["openai"].last.json["model"] == "gpt-4o"
    with stage.anthropic().messages.stream(model="claude-sonnet-5", max_tokens=9, messages=MESSAGES) as stream:
        assert "".join(stream.text_stream) == "Hello from GPT"


@pytest.mark.parametrize(
    ("example_name", "front", "model"),
    [
        ("gpt-for-google-clients", "gemini", "gemini-3-flash"),
        ("gpt-for-cohere-clients", "cohere", "command-a-plus"),
        ("gpt-for-bedrock-clients", "bedrock-converse", "amazon.nova-pro-v1:0"),
    ],
)
def test_gpt_for_other_clients(start: Start, example_name: str, front: str, model: str) -> None:
    stage = start(example_name)
    answer = called(stage, example_name)
    assert answer.status_code == 200, answer.text
    assert "Hello from the provider." in answer.text
    assert stage["openai"].last.json["model"] == "gpt-4o"
    with fronts(stage.url) as clients:
        assert clients[front].ask(model).text == "Hello from the provider."
        assert clients[front].stream(model).text == "Hello from the provider."


def test_embeddings_for_openai_clients(start: Start) -> None:
    stage = start("embeddings-for-openai-clients")
    stage["gemini"].answer(Raw(body=VECTORS))
    answer = called(stage, "embeddings-for-openai-clients")
    assert answer.status_code == 200, answer.text
    assert [each["embedding"] for each in answer.json()["data"]] == [[0.25, -0.5], [1.0, 2.0]]
    # OpenAI's client asks for base64, and reads it.
    made = stage.openai().embeddings.create(model="text-embedding-3-small", input=["Hello!", "Good bye!"])
    assert [each.embedding for each in made.data] == [[0.25, -0.5], [1.0, 2.0]]


def test_claude_for_responses_clients(start: Start) -> None:
    stage = start("claude-for-responses-clients")
    assert called(stage, "claude-for-responses-clients").json()["object"] == "response"
    client = stage.openai()
    assert client.responses.create(model="claude-opus-5", input="Hello!").output_text == "Hello from the provider."
    with pytest.raises(openai.BadRequestError, match="previous_response_id"):
        client.responses.create(model="claude-opus-5", input="Hello!", previous_response_id="resp_1")


def test_bedrock_for_openai_clients(start: Start) -> None:
    stage = start("bedrock-for-openai-clients")
    answer = called(stage, "bedrock-for-openai-clients")
    assert answer.json()["choices"][0]["message"]["content"] == "Hello from the provider."
    assert stage["bedrock"].last.path == "/model/us.amazon.nova-2-lite-v1%3A0/converse"
    with stage.anthropic().messages.stream(model="claude", max_tokens=9, messages=MESSAGES) as stream:
        assert "".join(stream.text_stream) == "Hello from the provider."
    assert stage["bedrock"].last.path.endswith("/invoke-with-response-stream")


def test_azure(start: Start) -> None:
    stage = start("azure")
    assert called(stage, "azure").status_code == 200
    received = stage["azure"].last
    assert received.path == "/openai/deployments/my-gpt-4o-deployment/chat/completions"
    assert received.query == "api-version=2024-10-21"
    assert received.header("host") == "my-resource.openai.azure.com"
    answer = stage.anthropic().messages.create(model="gpt-4o", max_tokens=9, messages=MESSAGES)
    assert answer.content[0].type == "text"


def test_bedrock(start: Start) -> None:
    stage = start("bedrock")
    answer = called(stage, "bedrock")
    assert answer.json()["output"]["message"]["content"][0]["text"] == "Hello from the provider."
    assert stage["bedrock"].last.header("host") == "bedrock-runtime.us-east-1.amazonaws.com"


def test_weights_and_canary(start: Start) -> None:
    stage = start("weights-and-canary")
    assert called(stage, "weights-and-canary").status_code == 200
    assert stage["openai"].last.json["model"] == "gpt-5-mini"
    stage.forget()
    for _ in range(200):
        assert stage.chat("assistant").status_code == 200
    models = [request.json["model"] for request in stage["openai"].requests]
    assert set(models) == {"gpt-4o-mini", "gpt-5-mini"}
    assert 2 <= models.count("gpt-5-mini") <= 50
