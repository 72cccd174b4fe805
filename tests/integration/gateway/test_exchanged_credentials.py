"""Credentials with an end, from fake identity providers to the provider, through the real Envoy."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from support import manifests
from support.identity import ACCOUNT, AZURE_CLIENT, CLIENT, ROLE, TENANT, Identity
from support.issued import Issued
from support.manifests import AI, Document, backend, document, ref, route, rule, secret, target
from support.providers import BEDROCK, OPENAI, Provider
from support.providers.openai_api import OpenAIApi
from support.stage import Stage
from support.waiting import wait_until

AZURE = OpenAIApi(prefix="/v1", credential_header="authorization", credential_format="Bearer {}")
AWS_OPTIONS = {"AWS_EC2_METADATA_DISABLED": "true"}


def policy(name: str, kind: str, **spec: Any) -> Document:
    field_name = {"AWSCredentials": "awsCredentials", "AzureCredentials": "azureCredentials"}.get(
        kind, "gcpCredentials"
    )
    return document(
        f"{AI}/v1beta1",
        "BackendSecurityPolicy",
        name,
        {**target("AIServiceBackend", name), "type": kind, field_name: spec},
    )


def oidc(identity: Identity, audience: str, **more: Any) -> Document:
    return {
        "aud": audience,
        "oidc": {
            "provider": {"issuer": identity.issuer},
            "clientID": CLIENT[0],
            "clientSecret": {"name": "oidc"},
            "scopes": ["extra"],
        },
        **more,
    }


GCP = {"projectName": "project-1", "region": "us-east5"}


def policies(identity: Identity) -> dict[str, Document]:
    """One of each kind whose result is a token, by the name of its backend."""
    federation = {
        "projectID": "42",
        "workloadIdentityPoolName": "pool",
        "workloadIdentityProviderName": "issuer",
        "oidcExchangeToken": oidc(identity, "google-pool"),
    }
    acting = {**federation, "serviceAccountImpersonation": {"serviceAccountName": ACCOUNT.partition("@")[0]}}
    azure = {"tenantID": TENANT, "clientID": AZURE_CLIENT[0]}
    return {
        "azure-secret": policy("azure-secret", "AzureCredentials", **azure, clientSecretRef={"name": "azure"}),
        "azure-oidc": policy(
            "azure-oidc",
            "AzureCredentials",
            **azure,
            oidcExchangeToken=oidc(identity, "api://AzureADTokenExchange"),
        ),
        "gcp-file": policy("gcp-file", "GCPCredentials", **GCP, credentialsFile={"secretRef": {"name": "gcp"}}),
        "gcp-federated": policy("gcp-federated", "GCPCredentials", **GCP, workloadIdentityFederationConfig=federation),
        "gcp-acting": policy("gcp-acting", "GCPCredentials", **GCP, workloadIdentityFederationConfig=acting),
        "gcp-default": policy("gcp-default", "GCPCredentials", **GCP),
    }


def secrets(identity: Identity) -> list[Document]:
    return [
        secret("oidc", **{"client-secret": CLIENT[1]}),
        secret("azure", **{"client-secret": AZURE_CLIENT[1]}),
        secret("gcp", **{"service_account.json": identity.key_file}),
    ]


def aws_oidc(identity: Identity) -> Document:
    exchanged = oidc(identity, "sts.amazonaws.com", awsRoleArn=ROLE)
    return policy("aws-oidc", "AWSCredentials", region="us-east-1", oidcExchangeToken=exchanged)


@dataclass
class Scene:
    """A gateway with fake identity providers, and a provider that takes what they give."""

    identity: Identity
    tokens: Issued
    keys: Issued
    stage: Stage

    def documents(self, *names: str, first: str = "") -> list[Document]:
        known = {**policies(self.identity), "aws-oidc": aws_oidc(self.identity)}
        found = [*manifests.gateway({"port": self.stage.port}), *secrets(self.identity)]
        for name in names:
            aws = name.startswith("aws")
            port = self.stage["bedrock" if aws else "openai"].port
            found += [*backend(name, port, "AWSBedrock" if aws else "OpenAI"), known[name]]
        found += backend("spare", self.stage["spare"].port, key="sk-spare")
        rules = [rule(name, ref(name)) for name in names]
        if first:
            rules.append(rule("either", ref(first), ref("spare", priority=1)))
        return [*found, route("models", rules)]

    def served(self, model: str) -> httpx.Response:
        """The first answer that is not 503: until then the token is awaited."""
        return wait_until(
            lambda: answer if (answer := self.stage.chat(model)).status_code != 503 else None,
            f"a token for {model}",
        )


@pytest.fixture
def scene() -> Iterator[Scene]:
    with ExitStack() as stack:
        identity = stack.enter_context(Identity())
        tokens, keys = Issued(AZURE, identity), Issued(BEDROCK, identity)
        providers = {
            "openai": Provider(tokens),
            "bedrock": Provider(keys),
            "spare": Provider(OPENAI, key="sk-spare"),
        }
        yield Scene(identity, tokens, keys, stack.enter_context(Stage(**providers)))
        assert not identity.problems


ARRIVES = {
    "azure-secret": "azure-",
    "azure-oidc": "azure-",
    "gcp-file": "google-",
    "gcp-federated": "federated-",
    "gcp-acting": "acting-",
    "gcp-default": "machine-",
}


def test_every_kind_of_token_reaches_its_provider(scene: Scene) -> None:
    scene.stage.run(scene.documents(*ARRIVES), *scene.identity.endpoints)
    for name, kind in ARRIVES.items():
        assert scene.served(name).status_code == 200, name
        assert scene.tokens.used[-1].startswith(kind)
    scene.stage.check()


def converse(stage: Stage) -> httpx.Response:
    body = {"messages": [{"role": "user", "content": [{"text": "Hi"}]}]}
    return stage.post("/model/anthropic.claude/converse", body, x_ai_eg_model="")


def test_a_role_of_aws_signs_requests(scene: Scene) -> None:
    documents = [*scene.documents("aws-oidc")[:-1], route("models", [rule("", ref("aws-oidc"))])]
    scene.stage.run(documents, *scene.identity.endpoints)
    answer = wait_until(
        lambda: answer if (answer := converse(scene.stage)).status_code != 503 else None, "credentials of the role"
    )
    assert answer.status_code == 200, answer.text
    assert scene.keys.used[-1].startswith("AKIA-")
    scene.stage.check()


def test_what_envoy_finds_where_it_runs_signs_requests(scene: Scene) -> None:
    """AWS's default chain, here from the environment."""
    own = Provider(BEDROCK, key="AKIAENV:env/secret")
    with own:
        spec = {
            **target("AIServiceBackend", "aws"),
            "type": "AWSCredentials",
            "awsCredentials": {"region": "us-east-1"},
        }
        documents = [
            *manifests.gateway({"port": scene.stage.port}),
            *backend("aws", own.port, "AWSBedrock"),
            document(f"{AI}/v1beta1", "BackendSecurityPolicy", "aws", spec),
            route("models", [rule("", ref("aws"))]),
        ]
        keys = {"AWS_ACCESS_KEY_ID": "AKIAENV", "AWS_SECRET_ACCESS_KEY": "env/secret"}
        scene.stage.run(documents, environment={**keys, **AWS_OPTIONS})
        answer = converse(scene.stage)
        assert answer.status_code == 200, answer.text
        assert not own.problems


def test_the_profile_of_a_credentials_file_signs_requests(scene: Scene) -> None:
    text = "[default]\naws_access_key_id = AKIAWRONG\naws_secret_access_key = wrong\n\n"
    text += "[team]\naws_access_key_id = AKIATEAM\naws_secret_access_key = team/secret\n"
    with Provider(BEDROCK, key="AKIATEAM:team/secret") as own:
        file = {"secretRef": {"name": "aws"}, "profile": "team"}
        documents = [
            *manifests.gateway({"port": scene.stage.port}),
            *backend("aws", own.port, "AWSBedrock"),
            secret("aws", credentials=text),
            policy("aws", "AWSCredentials", region="us-east-1", credentialsFile=file),
            route("models", [rule("", ref("aws"))]),
        ]
        scene.stage.run(documents)
        answer = converse(scene.stage)
        assert answer.status_code == 200, answer.text
        assert not own.problems


def test_without_a_token_requests_are_answered_503(scene: Scene) -> None:
    """…and go to the next backend where there is one; never out without a credential, or with another's."""
    scene.identity.down = True
    scene.stage.run(scene.documents("azure-secret", first="azure-secret"), *scene.identity.endpoints)
    answer = scene.stage.chat("azure-secret")
    assert answer.status_code == 503
    assert "credential" in answer.json()["error"]["message"]
    answer = scene.stage.messages("azure-secret")
    assert (answer.status_code, answer.json()["type"]) == (503, "error")
    assert scene.stage.chat("either").status_code == 200
    assert not scene.stage["openai"].requests
    told = scene.stage.gateway.wait_output(
        r"BackendSecurityPolicy default/azure-secret: spec: no token could be had: (.*)"
    )
    assert "answered 503: temporarily_unavailable: try later" in told[1]
    scene.identity.down = False
    assert scene.served("azure-secret").status_code == 200
    assert scene.stage.chat("either").status_code == 200
    assert scene.tokens.used


class Load:
    """Requests without pause on several connections, until `stop`."""

    def __init__(self, stage: Stage, workers: int = 4) -> None:
        self.answers: list[int] = []
        self._stage = stage
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(workers)]
        for thread in self._threads:
            thread.start()

    def _run(self) -> None:
        body = {"model": "azure-secret", "messages": [{"role": "user", "content": "Hi"}]}
        with httpx.Client(timeout=10) as client:
            while not self._stopped.is_set():
                try:
                    self.answers.append(client.post(f"{self._stage.url}/v1/chat/completions", json=body).status_code)
                except httpx.HTTPError:
                    self.answers.append(0)

    def stop(self) -> list[int]:
        self._stopped.set()
        for thread in self._threads:
            thread.join(timeout=20)
        return self.answers


def test_tokens_are_renewed_under_load_without_a_failure(scene: Scene) -> None:
    """Tokens of 4 s, so every 2 s a new one: no request fails, none goes out with one that has ended, and Envoy is
    told of nothing but the secret."""
    scene.identity.life_seconds = 4.0
    stage = scene.stage.run(scene.documents("azure-secret"), *scene.identity.endpoints)
    assert scene.served("azure-secret").status_code == 200
    clusters = stage.stat("envoy_cluster_manager_cluster_modified"), stage.stat("envoy_cluster_manager_cluster_added")
    load = Load(stage)
    try:
        wait_until(lambda: len(set(scene.tokens.used)) >= 5, "five tokens")
    finally:
        answers = load.stop()
    assert set(answers) == {200}
    assert len(answers) > 100
    assert clusters == (
        stage.stat("envoy_cluster_manager_cluster_modified"),
        stage.stat("envoy_cluster_manager_cluster_added"),
    )
    stage.check()


def test_keys_of_aws_are_renewed(scene: Scene) -> None:
    scene.identity.life_seconds = 8.0
    documents = [*scene.documents("aws-oidc")[:-1], route("models", [rule("", ref("aws-oidc"))])]
    stage = scene.stage.run(documents, *scene.identity.endpoints)
    wait_until(lambda: converse(stage).status_code == 200, "credentials of the role")
    answers: list[int] = []

    def renewed() -> bool:
        answers.append(converse(stage).status_code)
        return len(set(scene.keys.used)) >= 3

    wait_until(renewed, "new keys")
    assert set(answers) == {200}
    stage.check()


def test_a_token_that_could_not_be_renewed_is_used_until_it_ends(scene: Scene) -> None:
    scene.identity.life_seconds = 6.0
    stage = scene.stage.run(scene.documents("azure-secret"), *scene.identity.endpoints)
    assert scene.served("azure-secret").status_code == 200
    scene.identity.down = True
    stage.gateway.wait_output("its token could not be renewed and ends soon")
    assert stage.chat("azure-secret").status_code == 200
    wait_until(lambda: stage.chat("azure-secret").status_code == 503, "the end of the token")
    scene.identity.down = False
    assert scene.served("azure-secret").status_code == 200
    assert len(set(scene.tokens.used)) == 2


def test_tokens_are_written_to_no_disk(scene: Scene) -> None:
    stage = scene.stage.run(scene.documents("azure-secret"), *scene.identity.endpoints)
    assert scene.served("azure-secret").status_code == 200
    token = scene.tokens.used[-1]
    for folder in (stage.gateway.state_path, stage.gateway.config_path):
        for path in folder.rglob("*"):
            assert not path.is_file() or token not in path.read_bytes().decode("latin-1"), path
    assert token not in stage.gateway.output
