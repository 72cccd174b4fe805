"""Credentials with an end on a real API server: the leader fetches them, every replica serves them."""

import asyncio
import signal
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from headgate.compiler.exchanges import ERROR, EXPIRATION
from headgate.runtime.envoy import EnvoyOptions, envoy_child, find_envoy
from headgate.runtime.supervisor import Supervisor
from support import manifests
from support.identity import AZURE_CLIENT, CLIENT, TENANT, Identity
from support.kube import Kube, Object, is_true, reference
from support.manifests import AI, document, secret, target
from support.ports import LOOPBACK, free_port
from support.providers import Provider
from support.providers.openai_api import OpenAIApi

from cluster.test_controller import Run, gateway, gateway_class, placed, run_controller

__all__ = ["gateway_class", "run_controller"]
TOKEN_API = OpenAIApi(prefix="/v1", credential_header="authorization", credential_format="Bearer {}")


@pytest.fixture
def identity() -> Iterator[Identity]:
    with Identity() as found:
        yield found
        assert not found.problems


def policies(identity: Identity) -> list[Object]:
    """Two policies of Entra ID: one by secret, one by a token of an issuer."""
    azure = {"tenantID": TENANT, "clientID": AZURE_CLIENT[0]}
    exchanged = {
        "aud": "api://AzureADTokenExchange",
        "oidc": {
            "provider": {"issuer": identity.issuer},
            "clientID": CLIENT[0],
            "clientSecret": {"name": "oidc"},
            "scopes": ["extra"],
        },
    }
    return [
        secret("oidc", **{"client-secret": CLIENT[1]}),
        secret("azure", **{"client-secret": AZURE_CLIENT[1]}),
        *(
            document(
                f"{AI}/v1beta1",
                "BackendSecurityPolicy",
                name,
                {**target("AIServiceBackend", name), "type": "AzureCredentials", "azureCredentials": {**azure, **how}},
            )
            for name, how in (
                ("by-secret", {"clientSecretRef": {"name": "azure"}}),
                ("by-token", {"oidcExchangeToken": exchanged}),
            )
        ),
    ]


async def _chat(port: int) -> httpx.Response:
    """The first answer that is 200; the last one where none comes."""
    body = {"model": "gpt", "messages": [{"role": "user", "content": "Hi"}]}
    last: httpx.Response | None = None
    async with httpx.AsyncClient() as client, asyncio.timeout(20):
        while last is None or last.status_code != 200:
            try:
                last = await client.post(f"http://{LOOPBACK}:{port}/v1/chat/completions", json=body)
            except httpx.TransportError:
                await asyncio.sleep(0.05)
    return last


async def test_the_leader_fetches_and_every_replica_serves(
    kube: Kube, namespace: str, gateway_class: str, run_controller: Run, short_path: Path, identity: Identity
) -> None:
    here = ("--watch-namespaces", namespace, "--leader-election-namespace", namespace, *identity.endpoints)
    leader = run_controller(*here, name="leader")
    await asyncio.to_thread(leader.wait_status, leading=True)
    follower = run_controller(*here, name="follower")
    await asyncio.to_thread(follower.wait_ready)
    port, supervisor = free_port(), Supervisor()
    options = EnvoyOptions(binary=find_envoy(), state_directory=short_path, xds_socket=follower.xds, concurrency=1)
    supervisor.start(envoy_child(options))
    by_secret = reference("v1", "Secret", "ai-eg-bsp-by-secret", namespace)
    by_token = reference("v1", "Secret", "ai-eg-bsp-by-token", namespace)
    try:
        # whatever token comes first: by-secret and by-token are exchanged at the same time
        for each in policies(identity):
            await kube.apply(placed(each, namespace))
        made = await kube.wait_for(by_secret, lambda found: bool(found.get("data")), "the token")
        token = b64decode(made["data"]["azureAccessToken"]).decode()
        with Provider(TOKEN_API, key=token) as provider:
            documents = manifests.backend("by-secret", provider.port)
            documents.append(manifests.route("route", [manifests.rule("gpt", manifests.ref("by-secret"))]))
            for each in (gateway(namespace, gateway_class, port), *(placed(item, namespace) for item in documents)):
                await kube.apply(each)
            assert (await _chat(port)).status_code == 200
            assert not provider.problems
        assert made["metadata"]["annotations"][EXPIRATION].endswith("Z")
        other = await kube.wait_for(by_token, lambda found: bool(found.get("data")), "the other token")
        for token, policy in ((made, "by-secret"), (other, "by-token")):
            assert [each["name"] for each in token["metadata"]["ownerReferences"]] == [policy]
        await asyncio.to_thread(leader.wait_status, tokens=2)
        assert follower.status()["tokens"] == 0

        # a Secret that is taken away comes back
        await kube.delete(by_secret)
        again = await kube.wait_for(by_secret, lambda found: bool(found.get("data")), "another token")
        assert again["metadata"]["uid"] != made["metadata"]["uid"]
        # it knows that it wrote: stopped before the answer to its write, it never would
        await asyncio.to_thread(leader.wait_status, tokens=3)

        # the new leader takes over what there is: it fetches nothing
        issued = len(identity.issued)
        leader.signal(signal.SIGSTOP)  # a leader that hangs, which is worse than one that is gone
        await asyncio.to_thread(follower.wait_status, leading=True)
        policy = reference(f"{AI}/v1beta1", "BackendSecurityPolicy", "by-secret", namespace)
        await kube.wait_for(policy, is_true("Accepted"), "the policy to be accepted")
        assert len(identity.issued) == issued

        # from now on it is the one that fetches, and the old one writes nothing more
        await kube.delete(by_secret)
        await asyncio.to_thread(follower.wait_status, tokens=1)
        leader.signal(signal.SIGCONT)
        await asyncio.to_thread(leader.wait_status, leading=False)
        await kube.delete(by_token)
        await asyncio.to_thread(follower.wait_status, tokens=2)
        assert leader.status()["tokens"] == 3
    finally:
        await supervisor.stop()


async def test_what_fails_is_told_in_the_secret_and_in_the_status(
    kube: Kube, namespace: str, gateway_class: str, run_controller: Run, identity: Identity
) -> None:
    identity.down = True
    here = ("--watch-namespaces", namespace, "--leader-election-namespace", namespace, "--secrets", "referenced")
    controller = run_controller(*here, *identity.endpoints)
    await asyncio.to_thread(controller.wait_status, leading=True)
    backend = manifests.backend("by-secret", 1)
    route = manifests.route("route", [manifests.rule("gpt", manifests.ref("by-secret"))])
    for each in (*policies(identity), *backend, route):
        await kube.apply(placed(each, namespace))
    await kube.apply(gateway(namespace, gateway_class, free_port()))
    token = reference("v1", "Secret", "ai-eg-bsp-by-secret", namespace)
    told = await kube.wait_for(token, lambda found: ERROR in found["metadata"]["annotations"], "the error")
    assert "answered 503" in told["metadata"]["annotations"][ERROR]
    policy = reference(f"{AI}/v1beta1", "BackendSecurityPolicy", "by-secret", namespace)

    def refused(found: Object) -> bool:
        conditions = found.get("status", {}).get("conditions", [])
        accepted = [each for each in conditions if each["type"] == "Accepted" and each["status"] == "False"]
        return any("temporarily_unavailable" in each["message"] for each in accepted)

    await kube.wait_for(policy, refused, "the policy not to be accepted, and why")
    identity.down = False
    await kube.wait_for(policy, is_true("Accepted"), "the policy to be accepted")
    told = await kube.wait_for(token, lambda found: bool(found.get("data")), "the token")
    assert ERROR not in told["metadata"]["annotations"]
