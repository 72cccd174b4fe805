"""Every way to configure the filter gives the same translation through the real Envoy; what Envoy does is pinned."""

import copy
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.envoy import EnvoyProcess
from support.processor import ProcessorProcess
from support.providers import ANTHROPIC, Answer, Delivery, Failure, Provider, Raw, Usage
from support.static_envoy import Config, bootstrap, cluster, extension, listener, pipe, routed, tcp

pytestmark = pytest.mark.envoy

EXAMPLES = Path(__file__).parents[3] / "envoy" / "examples"
FACTS = {"name": "default/claude/route/r/rule/0/ref/0", "dialect": "anthropic-messages", "route": "default/r"}


def lua(name: str, source: str) -> Config:
    return extension(name, "filters.http.lua.v3.Lua", default_source_code={"inline_string": source})


def ext_proc(processing_mode: Mapping[str, str], **options: Any) -> Config:
    metadata = [
        {"key": "x-headgate-backend", "value": json.dumps(FACTS)},
        {"key": "x-headgate-endpoint", "value": "chat-completions"},
    ]
    return extension(
        "headgate.ext_proc/anthropic",
        "filters.http.ext_proc.v3.ExternalProcessor",
        grpc_service={"envoy_grpc": {"cluster_name": "processor"}, "initial_metadata": metadata},
        processing_mode=processing_mode,
        mutation_rules={"allow_all_routing": True},
        message_timeout="10s",
        metadata_options={
            "receiving_namespaces": {"untyped": ["headgate", "io.envoy.ai_gateway"]},
            "forwarding_namespaces": {"untyped": ["headgate"]},
        },
        **options,
    )


def modes(request_headers: str, response_headers: str, request_body: str, response_body: str) -> dict[str, str]:
    trailers = {True: "SEND", False: "SKIP"}
    return {
        "request_header_mode": request_headers,
        "request_body_mode": request_body,
        "request_trailer_mode": trailers[request_body == "FULL_DUPLEX_STREAMED"],
        "response_header_mode": response_headers,
        "response_body_mode": response_body,
        "response_trailer_mode": trailers[response_body == "FULL_DUPLEX_STREAMED"],
    }


CHAINS: Mapping[str, list[Config]] = {
    "buffered": [ext_proc(modes("SEND", "SEND", "BUFFERED", "BUFFERED"))],
    "override": [ext_proc(modes("SEND", "SEND", "BUFFERED", "BUFFERED"), allow_mode_override=True)],
    "streamed": [ext_proc(modes("SEND", "SEND", "BUFFERED", "STREAMED"))],
    "duplex answer": [ext_proc(modes("SEND", "SEND", "BUFFERED", "FULL_DUPLEX_STREAMED"))],
    "answer without headers": [
        ext_proc(modes("SEND", "SKIP", "BUFFERED", "BUFFERED"), response_attributes=["response.code"])
    ],
}
"""Not here, because Envoy 1.40 crashes now and then (a body of some 100 KB must meet a connection that is being made):
request headers skipped, and full-duplex request bodies. See extproc/DECISIONS.md."""
FULL = ("buffered", "override", "duplex answer")
"""Where the processor is free to change everything about an answer, but for its length in the last: Envoy takes that
away."""


def translating_envoy(chain: Sequence[Config], provider_port: int, processor: Path, access_log: Path) -> Config:
    """Its bootstrap: one cluster behind one chain of upstream filters."""
    told = ("backend_name", "input_tokens", "output_tokens", "total_tokens", "response_model", "losses")
    line = {name: f"%DYNAMIC_METADATA(io.envoy.ai_gateway:{name})%" for name in told}
    log = extension(
        "file", "access_loggers.file.v3.FileAccessLog", path=str(access_log), log_format={"json_format": line}
    )
    room: Config = {"per_connection_buffer_limit_bytes": 52_428_800}
    clients = listener("clients", tcp(), routed("provider", timeout="60s"), access_log=[log])
    return bootstrap(
        [clients | room],
        [
            cluster("provider", tcp(provider_port), *chain, **room),
            cluster("processor", pipe(processor), http2=True, **room),
        ],
    )


@dataclass(frozen=True, slots=True)
class Gateway:
    """One cluster behind one chain."""

    mode: str
    envoy: EnvoyProcess
    provider: Provider
    client: httpx.Client

    def call(self, **members: Any) -> httpx.Response:
        body = {"model": "claude-x", "messages": [{"role": "user", "content": "hi"}], **members}
        return self.client.post("/v1/chat/completions", json=body)


@pytest.fixture
def gateway(
    request: pytest.FixtureRequest,
    short_path: Path,
    start_envoy: Callable[..., EnvoyProcess],
    start_provider: Callable[..., Provider],
) -> Iterator[Gateway]:
    """Parametrised indirectly with a name of `CHAINS`."""
    provider = start_provider(ANTHROPIC, key="k")
    with ProcessorProcess(short_path) as processor:
        access_log = short_path / "envoy0" / "access.log"
        envoy = start_envoy(translating_envoy(CHAINS[request.param], provider.port, processor.socket_path, access_log))
        with httpx.Client(base_url=envoy.url(), headers={"x-api-key": "k"}, timeout=20) as client:
            yield Gateway(request.param, envoy, provider, client)
        assert "session_crashed" not in processor.log


def in_modes(*names: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("gateway", names, indirect=True)


@in_modes(*FULL, "streamed")
def test_an_answer_is_translated_and_its_usage_published(gateway: Gateway) -> None:
    gateway.provider.answer(Answer(text="hello", usage=Usage(input=21, output=9)))
    answer = gateway.call()
    assert answer.status_code == 200
    assert answer.json()["choices"][0]["message"]["content"] == "hello"
    assert gateway.provider.last.path == "/v1/messages"
    (access,) = gateway.envoy.access_log(1)
    assert access["backend_name"] == FACTS["name"]
    assert (access["input_tokens"], access["output_tokens"], access["total_tokens"]) == (21, 9, 30)
    assert access["response_model"]


@in_modes(*FULL, "streamed")
def test_a_stream_is_translated(gateway: Gateway) -> None:
    gateway.provider.answer(Answer(text="one two three", usage=Usage(input=5, output=3)))
    answer = gateway.call(stream=True)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.text.endswith("data: [DONE]\n\n")
    assert gateway.envoy.access_log(1)[0]["total_tokens"] == 8


@in_modes("override", "streamed", "duplex answer")
def test_a_stream_is_not_held_back(gateway: Gateway) -> None:
    gateway.provider.answer(Answer(text="first words", delivery=Delivery(hang_after_bytes=600)))
    body = {"model": "claude-x", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
    with gateway.client.stream("POST", "/v1/chat/completions", json=body) as answer:
        assert next(line for line in answer.iter_lines() if line.startswith("data: {"))


@in_modes(*FULL, "streamed")
def test_losses_are_named_in_a_header(gateway: Gateway) -> None:
    assert "seed" in gateway.call(seed=1).headers["x-headgate-losses"]
    assert "seed" in gateway.envoy.access_log(1)[0]["losses"]


@in_modes("buffered", "override")
def test_lengths_are_right_both_ways(gateway: Gateway) -> None:
    answer = gateway.call()
    assert len(answer.content) == int(answer.headers["content-length"])
    received = gateway.provider.last
    given = dict(received.headers)
    assert int(given["content-length"]) == len(received.body)


@in_modes(*FULL, "streamed")
def test_a_bad_request_is_answered_without_asking_the_provider(gateway: Gateway) -> None:
    answer = gateway.call(messages=7)
    assert answer.status_code == 400
    assert "messages" in answer.json()["error"]["message"]
    assert not gateway.provider.requests


@in_modes(*FULL, "streamed")
def test_a_providers_error_keeps_its_status_and_headers(gateway: Gateway) -> None:
    gateway.provider.answer(Failure(429, "slow down", retry_after_seconds=7))
    for answer in (gateway.call(), gateway.call(stream=True)):
        assert answer.status_code == 429
        assert answer.headers["retry-after"] == "7"
        assert "slow down" in answer.json()["error"]["message"]


@in_modes(*FULL)
def test_provider_nonsense_is_a_clean_502(gateway: Gateway) -> None:
    gateway.provider.answer(Raw(body=b"<html>", content_type="text/html"))
    answer = gateway.call()
    assert answer.status_code == 502
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["error"]["message"]


@in_modes(*FULL)
def test_a_compressed_answer_arrives_plain(gateway: Gateway) -> None:
    gateway.provider.answer(Answer(text="hello", delivery=Delivery(gzip=True)))
    answer = gateway.call()
    assert "content-encoding" not in answer.headers
    assert answer.json()["choices"][0]["message"]["content"] == "hello"


@in_modes(*FULL, "streamed")
def test_five_megabytes_pass_both_ways(gateway: Gateway) -> None:
    text = "x" * 5_000_000
    gateway.provider.answer(Answer(text=text))
    answer = gateway.call(messages=[{"role": "user", "content": text}])
    assert answer.json()["choices"][0]["message"]["content"] == text
    assert text.encode() in gateway.provider.last.body


def add_backend(config: dict[str, Any], port: int) -> None:
    """A second provider behind the same chain, for attempts after the first."""
    resources = config["static_resources"]
    second = copy.deepcopy(resources["clusters"][0])
    second["name"] = second["load_assignment"]["cluster_name"] = "second"
    address = second["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]
    address["socket_address"]["port_value"] = port
    resources["clusters"].append(second)
    groups = [{"name": name, "clusters": [{"cluster_name": name, "weight": 1}]} for name in ("provider", "second")]
    plugin = extension(
        "envoy.router.cluster_specifier_plugin.priority_group",
        "router.cluster_specifiers.priority_group.v3.PriorityGroupClusterSpecifier",
        priority_groups=groups,
    )
    manager = resources["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    manager["route_config"]["virtual_hosts"][0]["routes"][0]["route"] = {
        "inline_cluster_specifier_plugin": {"extension": plugin},
        "retry_policy": {"retry_on": "5xx", "num_retries": 1, "refresh_cluster_on_retry": True},
    }


@pytest.mark.parametrize("chain", ["override", "duplex answer"])
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "nonsense", [Raw(body=b"<html>", content_type="text/html"), Raw(body=b"[]"), Failure(503, "busy")]
)
def test_what_is_no_answer_is_left_for_the_next_backend(
    short_path: Path,
    start_envoy: Callable[..., EnvoyProcess],
    start_provider: Callable[..., Provider],
    nonsense: Raw | Failure,
    stream: bool,
    chain: str,
) -> None:
    first, second = start_provider(ANTHROPIC, key="k"), start_provider(ANTHROPIC, key="k")
    first.answer(nonsense)
    second.answer(Answer(text="fine"))
    with ProcessorProcess(short_path) as processor:
        access_log = short_path / "envoy0" / "access.log"
        config = translating_envoy(CHAINS[chain], first.port, processor.socket_path, access_log)
        add_backend(config, second.port)
        envoy = start_envoy(config)
        body = {"model": "claude-x", "stream": stream, "messages": [{"role": "user", "content": "hi"}]}
        answer = httpx.post(f"{envoy.url()}/v1/chat/completions", json=body, headers={"x-api-key": "k"})
        assert answer.status_code == 200
        assert "<html>" not in answer.text
        assert len(first.requests) == len(second.requests) == 1
        assert envoy.access_log(1)[0]["output_tokens"] == Usage().output


@in_modes("answer without headers")
def test_an_answer_without_its_headers_is_translated_but_keeps_them(gateway: Gateway) -> None:
    """Why a third and fourth message are worth it: if this fails, fewer have become possible."""
    gateway.provider.answer(Failure(429, "slow down"))
    limited = gateway.call()
    assert "slow down" in limited.json()["error"]["message"]  # the status came as an attribute
    gateway.provider.answer(Raw(body=b"<html>", content_type="text/html"))
    nonsense = gateway.call()
    assert nonsense.json()["error"]["message"]
    assert (nonsense.status_code, nonsense.headers["content-type"]) == (200, "text/html")
    assert "x-headgate-losses" not in gateway.call(seed=1).headers
