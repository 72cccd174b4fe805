"""The hand-written configuration of envoy/examples: Envoy, the processor and the limiter, no controller."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import anthropic
import httpx
import openai
import pytest
import yaml
from support.envoy import EnvoyProcess
from support.ports import LOOPBACK
from support.processes import Child
from support.processor import ProcessorProcess
from support.providers import ANTHROPIC, OPENAI, Answer, Delivery, Failure, Provider, Raw, ToolUse, Usage
from support.waiting import wait_until

pytestmark = pytest.mark.envoy

EXAMPLES = Path(__file__).parents[3] / "envoy" / "examples"
MESSAGES: list[Any] = [{"role": "user", "content": "hello"}]


@dataclass(frozen=True, slots=True)
class Example:
    """The running example with fake providers in the place of the real ones."""

    envoy: EnvoyProcess
    processor: ProcessorProcess
    openai_provider: Provider
    anthropic_provider: Provider

    @property
    def openai(self) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.envoy.url()}/v1", api_key="client-key", max_retries=0)

    @property
    def anthropic(self) -> anthropic.Anthropic:
        return anthropic.Anthropic(base_url=self.envoy.url(), api_key="client-key", max_retries=0)

    def access(self, entries: int = 1) -> dict[str, Any]:
        """The newest line of the access log, once there are `entries`."""
        return self.envoy.access_log(entries)[-1]


def bootstrap(directory: Path, processor: Path, limiter: Path, providers: dict[str, int]) -> dict[str, Any]:
    """The example as it is, but for addresses."""
    text = (EXAMPLES / "envoy.yaml").read_text()
    text = text.replace("/tmp/headgate-extproc.sock", str(processor)).replace(
        "/tmp/headgate-ratelimit.sock", str(limiter)
    )
    text = text.replace("/dev/stdout", str(directory / "access.log"))
    config = cast("dict[str, Any]", yaml.safe_load(text))
    del config["admin"]
    resources = config["static_resources"]
    resources["listeners"][0]["address"]["socket_address"]["port_value"] = 0
    for cluster in resources["clusters"]:
        if (port := providers.get(cluster["name"])) is not None:
            del cluster["transport_socket"]
            cluster["type"] = "STATIC"
            address = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]
            address["socket_address"] = {"address": LOOPBACK, "port_value": port}
    return config


@pytest.fixture
def example(
    short_path: Path,
    start_envoy: Callable[..., EnvoyProcess],
    start_provider: Callable[..., Provider],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Example]:
    monkeypatch.setenv("OPENAI_API_KEY", "openai-secret")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "anthropic-secret")
    openai_provider = start_provider(OPENAI, key="openai-secret")
    anthropic_provider = start_provider(ANTHROPIC, key="anthropic-secret")
    limiter_socket = short_path / "limiter.sock"
    command = [sys.executable, "-c", "import sys; from headgate.ratelimit.main import main; sys.exit(main())"]
    command += ["--address", f"unix:{limiter_socket}", "--config", str(EXAMPLES / "limits.yaml")]
    with ProcessorProcess(short_path) as processor, Child(command, directory=short_path, name="limiter") as limiter:
        wait_until(lambda: limiter.require_alive() or limiter_socket.exists(), "the limiter")
        ports = {"openai": openai_provider.port, "anthropic": anthropic_provider.port}
        config = bootstrap(short_path / "envoy0", processor.socket_path, limiter_socket, ports)
        yield Example(start_envoy(config), processor, openai_provider, anthropic_provider)
        assert "session_crashed" not in processor.log


def test_an_openai_client_reaches_claude(example: Example) -> None:
    example.anthropic_provider.answer(Answer(text="Bonjour", usage=Usage(input=21, output=9)))
    answer = example.openai.chat.completions.create(model="claude-sonnet", messages=MESSAGES, seed=1)
    assert answer.choices[0].message.content == "Bonjour"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (21, 9)
    received = example.anthropic_provider.last
    assert received.path == "/v1/messages"
    assert received.json["model"] == "claude-sonnet"
    access = example.access()
    assert access["backend"] == "default/anthropic/route/example/rule/0/ref/0"
    assert (access["model"], access["input_tokens"], access["output_tokens"]) == ("claude-sonnet", 21, 9)
    assert "seed" in access["losses"]


def test_an_anthropic_client_reaches_gpt(example: Example) -> None:
    example.openai_provider.answer(Answer(tools=(ToolUse("weather", '{"city":"Bern"}'),)))
    answer = example.anthropic.messages.create(model="gpt-4o-mini", max_tokens=100, messages=MESSAGES)
    assert answer.stop_reason == "tool_use"
    (block,) = [block for block in answer.content if block.type == "tool_use"]
    assert (block.name, block.input) == ("weather", {"city": "Bern"})
    assert example.openai_provider.last.path == "/v1/chat/completions"


def test_one_dialect_passes_through(example: Example) -> None:
    answer = example.openai.chat.completions.create(model="gpt-4o-mini", messages=MESSAGES)
    assert answer.choices[0].message.content == "Hello from the provider."
    message = example.anthropic.messages.create(model="claude-sonnet", max_tokens=5, messages=MESSAGES)
    assert [block.text for block in message.content if block.type == "text"] == ["Hello from the provider."]


@pytest.mark.parametrize("cut", ["events", "bytes", "whole"])
def test_streams_are_translated_as_they_come(example: Example, cut: Any) -> None:
    example.anthropic_provider.answer(
        Answer(text="one two three", usage=Usage(input=5, output=3), delivery=Delivery(cut=cut))
    )
    stream = example.openai.chat.completions.create(
        model="claude-sonnet", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "one two three"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 8
    assert example.access()["output_tokens"] == 3


def test_a_streams_first_words_do_not_wait_for_its_last(example: Example) -> None:
    example.anthropic_provider.answer(Answer(text="first words", delivery=Delivery(hang_after_bytes=600)))
    with example.openai.chat.completions.create(model="claude-sonnet", messages=MESSAGES, stream=True) as stream:
        assert next(iter(stream)).choices[0].delta.role == "assistant"
    example.anthropic_provider.wait_for_disconnects()


def test_provider_errors_keep_their_identity(example: Example) -> None:
    example.anthropic_provider.answer(Failure(429, "slow down", retry_after_seconds=7))
    with pytest.raises(openai.RateLimitError, match="slow down") as limited:
        example.openai.chat.completions.create(model="claude-sonnet", messages=MESSAGES)
    assert limited.value.response.headers["retry-after"] == "7"
    with pytest.raises(openai.RateLimitError, match="slow down"):
        example.openai.chat.completions.create(model="claude-sonnet", messages=MESSAGES, stream=True)


def test_provider_nonsense_is_a_clean_502(example: Example) -> None:
    example.anthropic_provider.answer(Raw(body=b"<html>hello</html>", content_type="text/html"))
    with pytest.raises(openai.InternalServerError) as failure:
        example.openai.chat.completions.create(model="claude-sonnet", messages=MESSAGES)
    assert failure.value.status_code == 502
    assert failure.value.response.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("/v1/chat/completions", b"{", 400, "JSON"),
        ("/v1/chat/completions", b"\xff\xfe", 400, "UTF-8"),
        ("/v1/chat/completions", b'{"messages":[]}', 400, "model"),
        ("/v1/chat/completions", b'{"model":7}', 400, "model"),
        ("/v1/chat/completions", b'{"model":"claude-x","model":"gpt-x"}', 400, "twice"),
        ("/v1/chat/completions", b'{"model":"claude-x","messages":7}', 400, "messages"),
        ("/v1/chat/completions", b'{"model":"mystery","messages":[]}', 404, "model"),
        ("/v1/nowhere", b'{"model":"claude-x"}', 404, "/v1/nowhere"),
        ("/v1/embeddings", b'{"model":"claude-x","input":"a"}', 422, "embeddings"),
    ],
)
def test_bad_requests_are_told_what_is_wrong(example: Example, path: str, body: bytes, status: int, words: str) -> None:
    answer = httpx.post(example.envoy.url() + path, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == status
    assert words in answer.json()["error"]["message"]
    assert not example.anthropic_provider.requests


def test_errors_speak_the_clients_dialect(example: Example) -> None:
    answer = httpx.post(f"{example.envoy.url()}/v1/messages", content=b"{")
    assert answer.status_code == 400
    assert answer.json()["type"] == "error"
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_five_megabytes_pass_both_ways(example: Example) -> None:
    text = "x" * 5_000_000
    example.anthropic_provider.answer(Answer(text=text))
    answer = example.openai.chat.completions.create(model="claude-sonnet", messages=[{"role": "user", "content": text}])
    assert answer.choices[0].message.content == text
    assert len(example.anthropic_provider.last.body) > 5_000_000


def test_a_client_cannot_speak_for_our_filters(example: Example) -> None:
    headers = {"x-ai-eg-model": "claude-x", "x-ai-eg-original-path": "/v1/embeddings", "x-headgate-backend": "{}"}
    answer = httpx.post(
        f"{example.envoy.url()}/v1/chat/completions",
        json={"model": "gpt-4o-mini", "messages": MESSAGES},
        headers={**headers, "authorization": "Bearer client-key"},
    )
    assert answer.status_code == 200
    assert not example.anthropic_provider.requests
    received = example.openai_provider.last
    assert not [name for name, _ in received.headers if name.startswith(("x-ai-eg-", "x-headgate-"))]


def test_tokens_are_charged_when_the_answer_is_out(example: Example) -> None:
    example.anthropic_provider.answer(Answer(usage=Usage(input=60_000, output=40_000)))
    example.openai.chat.completions.create(model="claude-sonnet", messages=MESSAGES)
    url, body = f"{example.envoy.url()}/v1/chat/completions", {"model": "claude-sonnet", "messages": MESSAGES}

    def refused() -> httpx.Response | None:
        answer = httpx.post(url, json=body)  # the charge is on its way; what gets through meanwhile is charged too
        return answer if answer.status_code == 429 else None

    wait_until(refused, "the limit to be reached")
    assert httpx.post(url, json={**body, "model": "gpt-4o-mini"}).status_code == 200
