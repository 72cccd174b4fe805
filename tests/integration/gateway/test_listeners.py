"""Listeners: ports, hostnames, certificates, model lists, and the bound on bodies."""

import gzip
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import cohere
import httpx
import pytest
from google.genai import Client as GoogleClient
from google.genai.types import HttpOptions
from support.manifests import ENVOY_GATEWAY, Document, backend, document, ref, route, rule, target
from support.manifests import gateway as gateway_documents
from support.ports import LOOPBACK, free_ports
from support.providers import ANTHROPIC, OPENAI, Provider
from support.stage import Stage

pytestmark = pytest.mark.envoy

MESSAGES: Any = [{"role": "user", "content": "Hello!"}]
SDK: Any = boto3
"""It has no types."""
CREATED = "2025-02-01T00:00:00Z"
BODY_BYTES_MAX = 65_536


def certificate(directory: Path, hostname: str) -> tuple[str, str]:
    """(certificate, key) for a hostname, signed by itself, as PEM."""
    key, chain = directory / f"{hostname}.key", directory / f"{hostname}.crt"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-keyout", str(key), "-out", str(chain), "-days", "2", "-subj", f"/CN={hostname}"]
    command += ["-addext", f"subjectAltName=DNS:{hostname}"]
    subprocess.run(command, check=True, capture_output=True)
    return chain.read_text(), key.read_text()


def _secure(port: int, name: str, hostname: str) -> Document:
    tls = {"mode": "Terminate", "certificateRefs": [{"name": name}]}
    return {"name": name, "port": port, "protocol": "HTTPS", "hostname": hostname, "tls": tls}


def _named(model: str, where: str) -> Document:
    return rule(model, ref(where), modelsOwnedBy="tests", modelsCreatedAt=CREATED)


class Listeners:
    """The running gateway with its ports and what clients must trust."""

    def __init__(self, stage: Stage, ports: tuple[int, ...], trusted: str) -> None:
        self.stage = stage
        self.plain, self.secure, self.bounded = ports
        self.trusted = trusted

    def models(self, host: str = "", **headers: str) -> Any:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if host:
            sent["host"] = host
        return self.stage.http.get(f"http://{LOOPBACK}:{self.plain}/v1/models", headers=sent).json()

    def over_tls(self, hostname: str, model: str) -> httpx.Response:
        context = ssl.create_default_context(cadata=self.trusted)
        with httpx.Client(verify=context) as client:
            return client.post(
                f"https://{LOOPBACK}:{self.secure}/v1/chat/completions",
                json={"model": model, "messages": MESSAGES},
                headers={"host": hostname},
                extensions={"sni_hostname": hostname},
            )


@pytest.fixture(scope="module")
def listeners(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listeners]:
    directory = tmp_path_factory.mktemp("certificates")
    first, second = certificate(directory, "first.test"), certificate(directory, "second.test")
    ports = free_ports(3)
    plain, secure, bounded = ports
    limit: Document = {**target("Gateway", "gateway"), "connection": {"bufferLimit": f"{BODY_BYTES_MAX // 1024}Ki"}}
    limit["targetRefs"][0]["sectionName"] = "bounded"
    with Stage(openai=Provider(OPENAI, key="k"), anthropic=Provider(ANTHROPIC, key="k")) as stage:
        stage.run(
            [
                *gateway_documents(
                    {"name": "plain", "port": plain},
                    _secure(secure, "first", "first.test"),
                    _secure(secure, "second", "second.test"),
                    {"name": "bounded", "port": bounded},
                ),
                document("v1", "Secret", "first", type="kubernetes.io/tls", stringData=_pem(first)),
                document("v1", "Secret", "second", type="kubernetes.io/tls", stringData=_pem(second)),
                document(f"{ENVOY_GATEWAY}/v1alpha1", "ClientTrafficPolicy", "bounded", limit),
                *backend("openai", stage["openai"].port, key="k"),
                *backend("anthropic", stage["anthropic"].port, "Anthropic", key="k"),
                route("all", [_named("gpt", "openai"), _named("claude", "anthropic")]),
                route("a", [_named("only-a", "openai")], hostnames=["a.test"]),
                route("b", [_named("only-b", "anthropic")], hostnames=["*.b.test"]),
                route("first", [_named("only-first", "openai")], parent={"name": "gateway", "sectionName": "first"}),
            ]
        )
        yield Listeners(stage, ports, first[0] + second[0])
        stage.check()


def _pem(pair: tuple[str, str]) -> dict[str, str]:
    return {"tls.crt": pair[0], "tls.key": pair[1]}


def test_models_are_listed_as_openai_does(listeners: Listeners) -> None:
    listed = listeners.models()
    assert listed["object"] == "list"
    assert listed["data"][1] == {"id": "gpt", "created": 1_738_368_000, "object": "model", "owned_by": "tests"}
    assert [model["id"] for model in listed["data"]] == ["claude", "gpt"]


def test_models_are_listed_as_anthropic_does(listeners: Listeners) -> None:
    listed = listeners.models(anthropic_version="2023-06-01")
    expected = {"id": "claude", "type": "model", "display_name": "claude", "created_at": CREATED}
    assert listed["data"][0] == expected
    assert (listed["has_more"], listed["first_id"], listed["last_id"]) == (False, "claude", "gpt")


def test_official_clients_list_and_look_up_models(listeners: Listeners) -> None:
    url = f"http://{LOOPBACK}:{listeners.plain}"
    openai, anthropic = listeners.stage.openai(base_url=f"{url}/v1"), listeners.stage.anthropic(base_url=url)
    assert [model.id for model in openai.models.list()] == ["claude", "gpt"]
    assert [model.id for model in anthropic.models.list()] == ["claude", "gpt"]
    assert openai.models.retrieve("gpt").owned_by == "tests"
    assert anthropic.models.retrieve("claude").display_name == "claude"


def test_other_official_clients_list_models(listeners: Listeners) -> None:
    url = f"http://{LOOPBACK}:{listeners.plain}"
    with httpx.Client(timeout=10) as connections:
        for base, version in ((url, None), (url, "v1beta"), (f"{url}/gemini", None), (f"{url}/gemini", "v1beta")):
            options = HttpOptions(base_url=base, api_version=version, httpx_client=connections)
            google: Any = GoogleClient(api_key="client-key", http_options=options)
            assert [model.name for model in google.models.list()] == ["models/claude", "models/gpt"]
        client = cohere.Client(api_key="client-key", base_url=f"{url}/cohere", httpx_client=connections)
        assert [model.name for model in client.models.list().models] == ["claude", "gpt"]
    aws: Any = SDK.client(
        "bedrock",
        endpoint_url=f"{url}/bedrock",
        region_name="us-east-1",
        aws_access_key_id="client",
        aws_secret_access_key="client",
    )
    summaries = aws.list_foundation_models()["modelSummaries"]
    assert [(model["modelId"], model["providerName"]) for model in summaries] == [("claude", "tests"), ("gpt", "tests")]


@pytest.mark.parametrize(
    ("host", "models"),
    [
        ("a.test", ["claude", "gpt", "only-a"]),
        ("x.b.test", ["claude", "gpt", "only-b"]),
        ("x.y.b.test", ["claude", "gpt", "only-b"]),
        ("b.test", ["claude", "gpt"]),
        ("elsewhere.test", ["claude", "gpt"]),
    ],
)
def test_models_are_listed_per_hostname(listeners: Listeners, host: str, models: list[str]) -> None:
    assert [model["id"] for model in listeners.models(host)["data"]] == models
    assert [model["id"] for model in listeners.models(f"{host}:{listeners.plain}")["data"]] == models


def test_models_of_another_hostname_do_not_exist(listeners: Listeners) -> None:
    url = f"http://{LOOPBACK}:{listeners.plain}/v1/chat/completions"
    body = {"model": "only-a", "messages": MESSAGES}
    assert listeners.stage.http.post(url, json=body, headers={"host": "a.test"}).status_code == 200
    assert listeners.stage.http.post(url, json=body).status_code == 404


def test_https_with_a_certificate_per_hostname(listeners: Listeners) -> None:
    assert listeners.over_tls("first.test", "gpt").status_code == 200
    assert listeners.over_tls("second.test", "gpt").status_code == 200


def test_https_offers_http2(listeners: Listeners) -> None:
    context = ssl.create_default_context(cadata=listeners.trusted)
    context.set_alpn_protocols(["h2", "http/1.1"])
    with (
        socket.create_connection((LOOPBACK, listeners.secure), timeout=5) as connection,
        context.wrap_socket(connection, server_hostname="first.test") as secured,
    ):
        assert secured.selected_alpn_protocol() == "h2"


def test_an_unknown_server_name_is_hung_up_on(listeners: Listeners) -> None:
    with pytest.raises(httpx.ConnectError):
        listeners.over_tls("third.test", "gpt")


def test_a_route_of_one_listener_is_not_on_another(listeners: Listeners) -> None:
    assert listeners.over_tls("first.test", "only-first").status_code == 200
    assert listeners.over_tls("second.test", "only-first").status_code == 404


def test_urls_tell_ports_and_schemes(listeners: Listeners) -> None:
    found = listeners.stage.gateway.urls
    assert any(url.startswith("https://") and url.endswith(str(listeners.secure)) for url in found)
    assert f"http://{LOOPBACK}:{listeners.plain}" in found


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(("path", "model"), [("/v1/chat/completions", "gpt"), ("/v1/messages", "gpt")])
def test_a_body_above_the_bound_is_a_413(listeners: Listeners, path: str, model: str, chunked: bool) -> None:
    url = f"http://{LOOPBACK}:{listeners.bounded}{path}"

    def send(size: int) -> httpx.Response:
        head = b'{"model":"%s","max_tokens":9,"messages":[{"role":"user","content":"' % model.encode()
        tail = b'"}]}'
        body = head + b"x" * (size - len(head) - len(tail)) + tail
        parts = (body[start : start + 8192] for start in range(0, len(body), 8192))
        headers = {"content-type": "application/json", "anthropic-version": "2023-06-01"}
        return listeners.stage.http.post(url, content=parts if chunked else body, headers=headers)

    assert send(BODY_BYTES_MAX).status_code == 200
    refused = send(BODY_BYTES_MAX + 1)
    assert refused.status_code == 413
    expected = "request_too_large"
    error = refused.json()["error"]
    assert expected in (error["type"], error.get("code"))
    assert str(BODY_BYTES_MAX) in error["message"]


def test_the_bound_counts_what_a_compressed_body_holds(listeners: Listeners) -> None:
    body = gzip.compress(b'{"model":"gpt","messages":[{"role":"user","content":"' + b"x" * 10_000_000 + b'"}]}')
    assert len(body) < BODY_BYTES_MAX
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    url = f"http://{LOOPBACK}:{listeners.bounded}/v1/chat/completions"
    assert listeners.stage.http.post(url, content=body, headers=headers).status_code == 413
