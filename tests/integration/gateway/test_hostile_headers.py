"""Bytes in headers that no text has: what is limited and booked stays so, for who sends them and for everybody else."""

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from support import manifests
from support.manifests import api_keys, backend, limits, ref, route, rule, target, token_limit
from support.ports import LOOPBACK
from support.providers import ANTHROPIC, OPENAI, Provider
from support.stage import TIMEOUT_SECONDS, Stage

pytestmark = pytest.mark.envoy

BY_CLIENT = {"name": "x-client-id", "type": "Distinct"}
BY_USER = {"name": "x-user", "type": "Distinct"}
MODELS = {"gpt": "openai", "claude": "anthropic"}
NO_TEXTS = (b"\xff", b"a\xc3\x28", b"\xed\xa0\x80", b"\x80" * 5000)


def _documents(stage: Stage) -> list[manifests.Document]:
    keys = {f"{model}-{number}": f"key-{model}-{number}" for model in MODELS for number in range(len(NO_TEXTS))}
    found = [
        *manifests.gateway({"port": stage.port}),
        *backend("openai", stage["openai"].port, key="sk-openai"),
        *backend("anthropic", stage["anthropic"].port, "Anthropic", key="sk-anthropic"),
        *api_keys("clients", target("Gateway", "gateway"), keys, forwardClientIDHeader="x-client-id"),
    ]
    for model, provider in MODELS.items():
        found.append(route(model, [rule(model, ref(provider))], **manifests.costs(total="TotalToken")))
        own = token_limit("total", 1, BY_CLIENT, unit="Year")
        found.append(limits(model, model, own, token_limit("total", 1_000_000, BY_USER, unit="Year")))
    return found


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with Stage(openai=Provider(OPENAI, key="sk-openai"), anthropic=Provider(ANTHROPIC, key="sk-anthropic")) as stage:
        yield stage.run(_documents(stage), "--ledger", str(tmp_path_factory.mktemp("ledger") / "usage.db"))
        stage.check()


@pytest.mark.parametrize("number", range(len(NO_TEXTS)))
@pytest.mark.parametrize("model", MODELS)
def test_bytes_that_are_no_text_open_no_limit(stage: Stage, model: str, number: int) -> None:
    """A call of the limiter's that cannot be read would let in whoever sends them, past all their limits."""
    key = f"key-{model}-{number}"
    bad = NO_TEXTS[number]
    headers = {"x-user": bad, "agent-session-id": bad, "authorization": b"Bearer " + key.encode()}
    assert _status(stage, model, headers) == 200
    (entry,) = stage.access(lambda entry: entry.get("client") == f"{model}-{number}")
    assert entry["tokens"]["output"], "what was used is booked"
    assert _status(stage, model, headers) == 429
    assert not stage.stat("envoy_cluster_ratelimit_failure_mode_allowed")


def test_a_model_in_a_path_that_is_no_text_is_booked(stage: Stage) -> None:
    headers = {"authorization": b"Bearer key-gpt-0"}
    assert _status(stage, "gpt", headers, path=b"/v1beta/models/%ff:generateContent") == 404
    stage.access(lambda entry: entry["status"] == 404)


def _status(stage: Stage, model: str, headers: dict[str, bytes], path: bytes = b"/v1/chat/completions") -> int:
    """Of a chat whose headers are sent exactly so."""
    messages: Any = [{"role": "user", "content": "Hello!"}]
    body = json.dumps({"model": model, "messages": messages}).encode()
    sent = {"host": b"gateway", "content-type": b"application/json", "content-length": b"%d" % len(body), **headers}
    head = b"".join(name.encode() + b": " + value + b"\r\n" for name, value in sent.items())
    with socket.create_connection((LOOPBACK, stage.port), timeout=TIMEOUT_SECONDS) as connection:
        connection.sendall(b"POST " + path + b" HTTP/1.1\r\n" + head + b"connection: close\r\n\r\n" + body)
        answer = connection.makefile("rb").read()  # to its end: who hangs up is not told what was used
        return int(answer.split(b" ", 2)[1])
