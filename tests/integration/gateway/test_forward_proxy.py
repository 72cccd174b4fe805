"""Providers that only a forward proxy reaches: their names are known to nobody else on this machine."""

from collections.abc import Iterator
from typing import Any

import pytest
from headgate.compiler.resolve.scope import CONFIG_ANNOTATION
from support import manifests
from support.connect_proxy import ConnectProxy
from support.manifests import AI, Document, backend, document, ref, route, rule
from support.ports import LOOPBACK
from support.providers import ANTHROPIC, OPENAI, Answer, Provider
from support.stage import Stage
from support.tls import server_tls

pytestmark = pytest.mark.envoy

MESSAGES: Any = [{"role": "user", "content": "Hello!"}]
TEXT = Answer().text
NAMES = {"secured.test": LOOPBACK, "spare.test": LOOPBACK, "plain.test": LOOPBACK}


def _named(stage: Stage, name: str, schema: str = "OpenAI", tls: Document | None = None) -> list[Document]:
    """A backend at `<name>.test`."""
    documents = backend(name, 0, schema, key=f"k-{name}")
    where: Document = {"fqdn": {"hostname": f"{name}.test", "port": stage[name].port}}
    documents[0]["spec"] = {"endpoints": [where], **({"tls": tls} if tls else {})}
    return documents


def documents(stage: Stage, certificate: str, address: str) -> list[Document]:
    found = manifests.gateway({"port": stage.port})
    found[1]["metadata"]["annotations"] = {CONFIG_ANNOTATION: "egress"}
    ca = {"kind": "ConfigMap", "name": "ca", "group": ""}
    return [
        *found,
        document(f"{AI}/v1beta1", "GatewayConfig", "egress", {"forwardProxy": {"address": address}}),
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "ca"}, "data": {"ca.crt": certificate}},
        *_named(stage, "secured", tls={"caCertificateRefs": [ca]}),
        *_named(stage, "spare", "Anthropic"),
        *_named(stage, "plain"),
        route(
            "models",
            [
                rule("secured", ref("secured")),
                rule("plain", ref("plain")),
                # of those below nothing opens a tunnel before its test
                rule("either", ref("secured"), ref("spare", priority=1)),
                rule("neither", ref("secured"), ref("spare", priority=1)),
            ],
        ),
    ]


@pytest.fixture(scope="module")
def proxy() -> Iterator[ConnectProxy]:
    with ConnectProxy(NAMES) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def proxied_stage(tmp_path_factory: pytest.TempPathFactory, proxy: ConnectProxy) -> Iterator[Stage]:
    context, certificate = server_tls(tmp_path_factory.mktemp("certificates"), "secured.test")
    providers = {
        "secured": Provider(OPENAI, key="k-secured", tls=context),
        "spare": Provider(ANTHROPIC, key="k-spare"),
        "plain": Provider(OPENAI, key="k-plain"),
    }
    with Stage(**providers) as stage:
        yield stage.run(documents(stage, certificate, proxy.address))


@pytest.fixture
def stage(proxied_stage: Stage, proxy: ConnectProxy) -> Iterator[Stage]:
    proxied_stage.forget()
    proxy.refused.clear()
    yield proxied_stage
    proxied_stage.check()


def test_the_proxy_opens_a_tunnel_to_the_providers_name(stage: Stage, proxy: ConnectProxy) -> None:
    """In both lanes; within it, TLS is between Envoy and the provider."""
    chat = stage.openai().chat.completions.create(model="secured", messages=MESSAGES)
    message = stage.anthropic().messages.create(model="secured", max_tokens=9, messages=MESSAGES)
    assert (chat.choices[0].message.content, message.content[0].type) == (TEXT, "text")
    assert f"secured.test:{stage['secured'].port}" in proxy.asked
    assert {each.header("host") for each in stage["secured"].requests} == {f"secured.test:{stage['secured'].port}"}


def test_a_stream_comes_through_the_tunnel(stage: Stage) -> None:
    stage["secured"].answer(Answer(text="one two three"))
    stream = stage.openai().chat.completions.create(model="secured", messages=MESSAGES, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices) == "one two three"


def test_a_provider_in_clear_is_reached_by_a_tunnel_too(stage: Stage, proxy: ConnectProxy) -> None:
    assert stage.chat("plain").status_code == 200
    assert stage.messages("plain").status_code == 200
    assert f"plain.test:{stage['plain'].port}" in proxy.asked


def test_a_tunnel_that_is_refused_fails_over(stage: Stage, proxy: ConnectProxy) -> None:
    proxy.refused.add("secured.test")
    stage["spare"].answer(Answer(text="from the next"))
    chat = stage.chat("either")
    assert chat.json()["choices"][0]["message"]["content"] == "from the next"
    assert not stage["secured"].requests


def test_where_no_tunnel_opens_clients_are_told_in_their_dialect(stage: Stage, proxy: ConnectProxy) -> None:
    proxy.refused.update(NAMES)
    refused = stage.chat("neither")
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "service_unavailable")
    assert stage.messages("neither").json()["error"]["type"] == "overloaded_error"
    assert not stage["secured"].requests
