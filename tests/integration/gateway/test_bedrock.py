"""Bedrock in front and behind, through the real Envoy: boto3 asks other providers, other clients ask Bedrock, which
checks every signature."""

import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import boto3
import openai
import pytest
from botocore.config import Config
from support.bedrock_sdk import EventStreamError
from support.eventstream import CONTENT_TYPE, event, exception
from support.manifests import AI, Document, backend, document, gateway, ref, route, rule, secret, target
from support.processes import cpu_seconds
from support.providers import ANTHROPIC, BEDROCK, OPENAI, Answer, Delivery, Failure, Provider, Raw, ToolUse, Usage
from support.stage import Stage

pytestmark = pytest.mark.envoy

SDK: Any = boto3
"""It has no types."""
CREDENTIALS = "[default]\naws_access_key_id = AKID\naws_secret_access_key = secret\n"
CONVERSE_MODEL = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
INVOKED_MODEL = "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-sonnet-4-5-20250929-v1:0"
MESSAGES: Any = [{"role": "user", "content": "Hello!"}]
CONVERSATION: Any = [{"role": "user", "content": [{"text": "Hello!"}]}]
TOOLS = (ToolUse("weather", '{"city": "Bern"}', "call_1"), ToolUse("weather", '{"city": "Oslo"}', "call_2"))
USAGE = Usage(input=100, output=20, cached=60, cache_creation=10)
CITY = {"type": "object", "properties": {"city": {"type": "string"}}}
OPENAI_TOOLS: Any = [{"type": "function", "function": {"name": "weather", "parameters": CITY}}]
TOOL_CONFIG: Any = {"tools": [{"toolSpec": {"name": "weather", "inputSchema": {"json": CITY}}}]}


def _aws(name: str) -> Document:
    spec = {
        **target("AIServiceBackend", name),
        "type": "AWSCredentials",
        "awsCredentials": {"region": "us-east-1", "credentialsFile": {"secretRef": {"name": "aws"}}},
    }
    return document(f"{AI}/v1beta1", "BackendSecurityPolicy", name, spec)


def _documents(stage: Stage) -> list[Document]:
    return [
        *gateway({"port": stage.port}),
        secret("aws", credentials=CREDENTIALS),
        *backend("converse", stage["bedrock"].port, "AWSBedrock"),
        _aws("converse"),
        *backend("invoke", stage["bedrock"].port, "AWSAnthropic"),
        _aws("invoke"),
        *backend("openai", stage["openai"].port, key="sk-openai"),
        *backend("anthropic", stage["anthropic"].port, "Anthropic", key="sk-anthropic"),
        route(
            "models",
            [
                rule("nova", ref("converse", modelNameOverride=CONVERSE_MODEL)),
                rule("claude", ref("invoke", modelNameOverride=INVOKED_MODEL)),
                rule("gpt:1", ref("openai")),
                rule("anthropic.claude-v9", ref("anthropic")),
                rule("fallback", ref("converse"), ref("openai", priority=1)),
            ],
        ),
    ]


@pytest.fixture(scope="module")
def running() -> Iterator[Stage]:
    providers = {
        "bedrock": Provider(BEDROCK, key="AKID:secret"),
        "openai": Provider(OPENAI, key="sk-openai"),
        "anthropic": Provider(ANTHROPIC, key="sk-anthropic"),
    }
    with Stage(**providers) as stage:
        stage.run(_documents(stage))
        yield stage


@pytest.fixture
def stage(running: Stage) -> Iterator[Stage]:
    running.forget()
    yield running
    running.check()


@pytest.fixture
def aws(stage: Stage) -> Iterator[Any]:
    """boto3 as its users have it, with credentials of its own and the gateway as its endpoint."""
    client: Any = SDK.client(
        "bedrock-runtime",
        endpoint_url=stage.url,
        region_name="eu-west-1",
        aws_access_key_id="CLIENT",
        aws_secret_access_key="client-secret",
        aws_session_token="client-token",
        config=Config(retries={"total_max_attempts": 1}),
    )
    yield client
    client.close()


def read(answer: Any) -> list[Any]:
    """All events of a stream; its connection is closed whatever comes."""
    with closing(answer["stream"]) as stream:
        return list(stream)


def deltas(events: list[Any], name: str) -> str:
    found = (each["contentBlockDelta"]["delta"] for each in events if "contentBlockDelta" in each)
    return "".join(delta[name]["input"] if name == "toolUse" else delta[name] for delta in found if name in delta)


# --- other clients, Bedrock behind


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("nova", "/model/us.anthropic.claude-sonnet-4-5-20250929-v1%3A0/converse"),
        (
            "claude",
            "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Ainference-profile%2F"
            "us.anthropic.claude-sonnet-4-5-20250929-v1%3A0/invoke",
        ),
    ],
)
def test_openai_client_asks_bedrock(stage: Stage, model: str, path: str) -> None:
    stage["bedrock"].answer(Answer(text="Bonjour", tools=TOOLS, usage=USAGE))
    raw = stage.openai().chat.completions.with_raw_response.create(model=model, messages=MESSAGES, tools=OPENAI_TOOLS)
    answer = raw.parse()
    message = answer.choices[0].message
    assert message.content == "Bonjour"
    assert [json.loads(call.function.arguments) for call in message.tool_calls or () if call.type == "function"] == [
        {"city": "Bern"},
        {"city": "Oslo"},
    ]
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (100, 20)
    assert raw.headers["x-request-id"].startswith("req-bedrock-")
    assert stage["bedrock"].last.path == path


@pytest.mark.parametrize("model", ["nova", "claude"])
@pytest.mark.parametrize("cut", ["events", "bytes", "whole"])
def test_openai_client_streams_from_bedrock(stage: Stage, model: str, cut: Any) -> None:
    stage["bedrock"].answer(Answer(text="one two", tools=TOOLS, usage=USAGE, delivery=Delivery(cut=cut)))
    options: Any = {"stream_options": {"include_usage": True}}
    with stage.openai().chat.completions.stream(
        model=model, messages=MESSAGES, tools=OPENAI_TOOLS, **options
    ) as stream:
        final = stream.get_final_completion()
    message = final.choices[0].message
    assert message.content == "one two"
    assert [json.loads(call.function.arguments) for call in message.tool_calls or ()] == [
        {"city": "Bern"},
        {"city": "Oslo"},
    ]
    assert final.usage is not None
    assert (final.usage.prompt_tokens, final.usage.completion_tokens) == (100, 20)
    assert stage["bedrock"].last.path.endswith(("converse-stream", "invoke-with-response-stream"))


@pytest.mark.parametrize("model", ["nova", "claude"])
def test_anthropic_client_streams_from_bedrock(stage: Stage, model: str) -> None:
    stage["bedrock"].answer(Answer(thinking="Hm.", text="one two", usage=USAGE))
    client = stage.anthropic(default_headers={"anthropic-beta": "interleaved-thinking-2025-05-14,unheard-of-2099"})
    with client.messages.stream(model=model, max_tokens=90, messages=MESSAGES) as stream:
        final = stream.get_final_message()
    assert [block.type for block in final.content] == ["thinking", "text"]
    assert (final.usage.input_tokens, final.usage.cache_read_input_tokens, final.usage.output_tokens) == (30, 60, 20)
    received = stage["bedrock"].last
    assert received.header("anthropic-beta") is None
    if model == "claude":
        assert received.json["anthropic_beta"] == ["interleaved-thinking-2025-05-14"]


def test_anthropic_client_asks_claude_on_bedrock(stage: Stage) -> None:
    answer = stage.anthropic().messages.create(model="claude", max_tokens=90, messages=MESSAGES)
    assert [block.type for block in answer.content] == ["text"]
    assert stage["bedrock"].last.json["anthropic_version"] == "bedrock-2023-05-31"


@pytest.mark.parametrize("model", ["nova", "claude"])
def test_a_throttled_bedrock_is_a_rate_limit(stage: Stage, model: str) -> None:
    stage["bedrock"].answer(Failure(429, "slow down"))
    with pytest.raises(openai.RateLimitError, match="slow down"):
        stage.openai().chat.completions.create(model=model, messages=MESSAGES)
    stage["bedrock"].answer(Failure(429, "slow down"))
    answer = stage.messages(model)
    assert (answer.status_code, answer.json()["error"]["type"]) == (429, "rate_limit_error")


def test_an_exception_in_a_stream_is_the_clients_error(stage: Stage) -> None:
    parts = (
        event("messageStart", {"role": "assistant"}),
        event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "Hel"}}),
        exception("throttlingException", "too many tokens"),
    )
    stage["bedrock"].answer(Raw(body=parts, content_type=CONTENT_TYPE))
    with pytest.raises(openai.APIError, match="too many tokens"):
        list(stage.openai().chat.completions.create(model="nova", messages=MESSAGES, stream=True))
    stage["bedrock"].answer(Raw(body=(exception("throttlingException", "too many"),), content_type=CONTENT_TYPE))
    assert '"rate_limit_error"' in stage.messages("claude", stream=True).text


# --- boto3, others behind


@pytest.mark.parametrize(("model", "provider"), [("gpt:1", "openai"), ("anthropic.claude-v9", "anthropic")])
def test_boto3_converses_with_other_providers(stage: Stage, aws: Any, model: str, provider: str) -> None:
    stage[provider].answer(Answer(text="Hello", tools=TOOLS, usage=USAGE))
    answer = aws.converse(
        modelId=model, messages=CONVERSATION, toolConfig=TOOL_CONFIG, inferenceConfig={"maxTokens": 50}
    )
    content = answer["output"]["message"]["content"]
    assert content[0] == {"text": "Hello"}
    assert [block["toolUse"]["input"] for block in content[1:]] == [{"city": "Bern"}, {"city": "Oslo"}]
    assert answer["stopReason"] == "tool_use"
    assert (answer["usage"]["totalTokens"], answer["usage"]["cacheReadInputTokens"]) == (120, 60)
    assert stage[provider].last.header("x-amz-date") is None
    assert stage[provider].last.header("x-amz-security-token") is None


@pytest.mark.parametrize(("model", "provider"), [("gpt:1", "openai"), ("anthropic.claude-v9", "anthropic")])
@pytest.mark.parametrize("cut", ["events", "bytes"])
def test_boto3_streams_from_other_providers(stage: Stage, aws: Any, model: str, provider: str, cut: Any) -> None:
    stage[provider].answer(Answer(text="one two", tools=TOOLS[:1], usage=USAGE, delivery=Delivery(cut=cut)))
    answer = aws.converse_stream(modelId=model, messages=CONVERSATION, toolConfig=TOOL_CONFIG)
    events = read(answer)
    assert deltas(events, "text") == "one two"
    assert json.loads(deltas(events, "toolUse")) == {"city": "Bern"}
    assert events[-2]["messageStop"]["stopReason"] == "tool_use"
    assert events[-1]["metadata"]["usage"]["outputTokens"] == 20


@pytest.mark.parametrize(
    ("status", "name"),
    [
        (400, "ValidationException"),
        (404, "ResourceNotFoundException"),
        (429, "ThrottlingException"),
        (503, "ServiceUnavailableException"),
        (500, "InternalServerException"),
    ],
)
def test_boto3_raises_the_class_of_the_error(stage: Stage, aws: Any, status: int, name: str) -> None:
    stage["openai"].answer(Failure(status, "in its own words"))
    with pytest.raises(getattr(aws.exceptions, name), match="in its own words"):
        aws.converse(modelId="gpt:1", messages=CONVERSATION)


def test_boto3_raises_what_the_gateway_itself_refuses(stage: Stage, aws: Any) -> None:
    with pytest.raises(aws.exceptions.ResourceNotFoundException, match="nobody"):
        aws.converse(modelId="nobody", messages=CONVERSATION)
    with pytest.raises(aws.exceptions.ValidationException):
        aws.converse(modelId="gpt:1", messages=[])


def test_boto3_is_told_what_is_not_served(stage: Stage, aws: Any) -> None:
    content = [{"text": {"text": "Hi"}}]
    with pytest.raises(aws.exceptions.ResourceNotFoundException, match="There is nothing at POST /guardrail/"):
        aws.apply_guardrail(guardrailIdentifier="g", guardrailVersion="1", source="INPUT", content=content)
    with pytest.raises(aws.exceptions.ClientError, match="There is nothing at GET /async-invoke"):
        aws.list_async_invokes()


def test_boto3_learns_of_a_cut_stream(stage: Stage, aws: Any) -> None:
    stage["openai"].answer(Answer(text="word " * 30, pieces=9, delivery=Delivery(end_after_bytes=700)))
    answer = aws.converse_stream(modelId="gpt:1", messages=CONVERSATION)
    with pytest.raises(EventStreamError):
        read(answer)


def test_boto3_at_bedrock_passes_natively_and_is_signed_anew(stage: Stage, aws: Any) -> None:
    stage["bedrock"].answer(Answer(text="Hello", usage=USAGE))
    assert aws.converse(modelId="nova", messages=CONVERSATION)["output"]["message"]["content"] == [{"text": "Hello"}]
    events = read(aws.converse_stream(modelId="nova", messages=CONVERSATION))
    assert deltas(events, "text") == "Hello"
    assert stage["bedrock"].last.path.endswith("%3A0/converse-stream")


def test_what_looks_like_usage_takes_no_time(stage: Stage) -> None:
    """1 MB of it, each in the other: a worker of Envoy's looks at no byte twice."""
    nested = json.loads('{"usage":' * 900 + "{}" + "}" * 900)
    called = {"toolUse": {"toolUseId": "1", "name": "f", "input": {"many": [nested] * 100}}}
    answer: Any = {
        "output": {"message": {"role": "assistant", "content": [called]}},
        "stopReason": "tool_use",
        "usage": {"inputTokens": 3, "outputTokens": 4, "totalTokens": 7},
    }
    stage["bedrock"].answer(Raw(body=json.dumps(answer, separators=(",", ":")).encode()))
    path = "/model/nova/converse?looks=deep"
    before = sum(map(cpu_seconds, stage.gateway.processes()["envoy"]))
    assert stage.post(path, {"messages": CONVERSATION}).status_code == 200
    assert (
        sum(map(cpu_seconds, stage.gateway.processes()["envoy"])) - before < 1
    )  # 0.1; 4 where bytes are looked at anew
    (entry,) = stage.access(lambda entry: entry["path"] == path)
    assert entry["metadata"]["total_tokens"] == 7


@pytest.mark.parametrize("more_bytes", [0, 3_000, 5_000])
def test_what_a_tool_is_called_with_hides_no_usage(stage: Stage, more_bytes: int) -> None:
    """Bedrock says a call's input as JSON: what a client has a model call may look like usage that does not end."""
    called = {"toolUse": {"toolUseId": "1", "name": "f", "input": {"usage": {"a": "{" * 20}, "b": "b" * more_bytes}}}
    answer: Any = {
        "output": {"message": {"role": "assistant", "content": [called]}},
        "stopReason": "tool_use",
        "usage": {"inputTokens": 3, "outputTokens": 4, "totalTokens": 7},
    }
    stage["bedrock"].answer(Raw(body=json.dumps(answer).encode()))
    path = f"/model/nova/converse?hides={more_bytes}"
    assert stage.post(path, {"messages": CONVERSATION}).status_code == 200
    (entry,) = stage.access(lambda entry: entry["path"] == path)
    assert entry["metadata"]["total_tokens"] == 7


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/model/nova/converse", {"messages": CONVERSATION}),
        ("/v1/chat/completions", {"model": "nova", "messages": MESSAGES}),
    ],
    ids=["native", "translated"],
)
def test_what_is_kept_in_a_cache_for_an_hour_is_told_apart(stage: Stage, path: str, body: Any) -> None:
    """It has a price of its own."""
    answer: Any = {
        "output": {"message": {"role": "assistant", "content": [{"text": "Hi"}]}},
        "stopReason": "end_turn",
        "usage": {
            "inputTokens": 3,
            "outputTokens": 4,
            "totalTokens": 107,
            "cacheReadInputTokens": 40,
            "cacheWriteInputTokens": 60,
            "cacheDetails": [{"inputTokens": 50, "ttl": "1h"}, {"ttl": "5m", "inputTokens": 10}],
        },
    }
    stage["bedrock"].answer(Raw(body=json.dumps(answer).encode()))
    path = f"{path}?kept=long"
    assert stage.post(path, body).status_code == 200
    (entry,) = stage.access(lambda entry: entry["path"] == path)
    found = {name: entry["metadata"].get(name) for name in KEPT}
    assert found == KEPT


KEPT = {
    "input_tokens": 103,
    "cached_input_tokens": 40,
    "cache_creation_input_tokens": 60,
    "cache_creation_1h_input_tokens": 50,
    "output_tokens": 4,
}
