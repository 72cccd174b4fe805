"""The commands that look at a cluster: `check`, `explain`, `diff` and `status` with a kubeconfig."""

import asyncio
import gc
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from headgate.cli.main import main
from headgate.compiler.options import CONTROLLER_NAME
from headgate.controller.rbac import Rule, reads
from support.kube import Access, Kube, Object, reference, unique_name

GATEWAY = "gateway.networking.k8s.io/v1"
ENVOY_GATEWAY = "gateway.envoyproxy.io/v1alpha1"


def _web(namespace: str, backend: str) -> Object:
    refs = [{"group": "gateway.envoyproxy.io", "kind": "Backend", "name": backend}]
    spec = {"parentRefs": [{"name": "g"}], "rules": [{"backendRefs": refs}]}
    return {**reference(GATEWAY, "HTTPRoute", "web", namespace), "spec": spec}


async def _apply(kube: Kube, namespace: str) -> None:
    listeners = [{"name": "http", "port": 8080, "protocol": "HTTP"}]
    gateway_class = {**reference(GATEWAY, "GatewayClass", namespace), "spec": {"controllerName": CONTROLLER_NAME}}
    gateway = {
        **reference(GATEWAY, "Gateway", "g", namespace),
        "spec": {"gatewayClassName": namespace, "listeners": listeners},
    }
    backend = {
        **reference(ENVOY_GATEWAY, "Backend", "web", namespace),
        "spec": {"endpoints": [{"fqdn": {"hostname": "web.internal", "port": 80}}]},
    }
    for each in (gateway_class, gateway, backend, _web(namespace, "web")):
        await kube.create(each)


async def test_commands_read_a_cluster(
    kube: Kube,
    kube_access: Access,
    gateway_crds: None,
    namespace: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    await _apply(kube, namespace)
    cluster = ("--kubeconfig", str(kube_access.kubeconfig), "-n", namespace)

    async def headgate(*arguments: str) -> tuple[int, str]:
        code = await asyncio.to_thread(main, [*arguments, *cluster])
        gc.collect()  # a socket that was left open is an error here, and not in whichever test comes later
        return code, capsys.readouterr().out

    try:
        code, _ = await headgate("check")
        assert code == 0
        code, text = await headgate("explain")
        assert code == 0
        assert f"{namespace}/web at web.internal" in text
        code, text = await headgate("status")
        assert code == 1, "no controller has reported on the Gateway"
        assert f"Gateway {namespace}/g" in text
        assert "not Accepted (Pending)" in text

        applied = tmp_path / "new.yaml"
        applied.write_text(yaml.safe_dump(_web(namespace, "absent")))
        code, text = await headgate("diff", str(applied))
        assert code == 1
        assert f"rule HTTPRoute/{namespace}/web/rule/0: changed" in text
        assert f"there is no Backend {namespace}/absent" in text
        applied.write_text(yaml.safe_dump(_web(namespace, "web")))
        assert await headgate("diff", str(applied)) == (0, "nothing would change\n")
    finally:
        await kube.delete(reference(GATEWAY, "GatewayClass", namespace))


class Accounts:
    """Kubeconfigs of accounts with some rights."""

    def __init__(self, kube: Kube, access: Access, namespace: str, directory: Path) -> None:
        self._kube, self._access, self._namespace, self._directory = kube, access, namespace, directory
        self._made: list[Object] = []

    async def may(self, *rules: Rule) -> Path:
        """A kubeconfig of an account that has these rights everywhere."""
        name = unique_name("reader")
        group = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name}
        version = "rbac.authorization.k8s.io/v1"
        account = reference("v1", "ServiceAccount", name, self._namespace)
        self._made += [
            account,
            {**reference(version, "ClusterRole", name), "rules": [each.as_json() for each in rules]},
            {
                **reference(version, "ClusterRoleBinding", name),
                "roleRef": group,
                "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": self._namespace}],
            },
        ]
        for each in self._made[-3:]:
            await self._kube.create(each)
        return self.kubeconfig(name, {"token": await self._kube.service_account_token(self._namespace, name)})

    def kubeconfig(self, name: str, user: Object, **cluster: str) -> Path:
        """A file that says so; its other context is the administrator's."""
        config = yaml.safe_load(self._access.kubeconfig.read_text())
        (there,) = config["clusters"]
        config["clusters"].append({"name": "own", "cluster": {**there["cluster"], **cluster}})
        config["contexts"].append({"name": "own", "context": {"cluster": "own", "user": "own"}})
        config["users"].append({"name": "own", "user": user})
        path = self._directory / f"{name}.yaml"
        path.write_text(yaml.safe_dump({**config, "current-context": "own"}))
        return path

    async def close(self) -> None:
        for each in self._made:
            await self._kube.delete(each)


@pytest.fixture
async def accounts(kube: Kube, kube_access: Access, namespace: str, tmp_path: Path) -> AsyncIterator[Accounts]:
    made = Accounts(kube, kube_access, namespace, tmp_path)
    yield made
    await made.close()


Headgate = Callable[..., Any]


@pytest.fixture
def headgate(capsys: pytest.CaptureFixture[str]) -> Headgate:
    """Runs a command; its exit code, output and errors."""

    async def run(*arguments: str) -> tuple[int, str, str]:
        code = await asyncio.to_thread(main, [*arguments])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


READS = reads()
FINE = (0, "", "everything is in force\nnothing is served: no Gateway has a listener with a valid route\n")
"""Of a namespace without routes."""


def _without(*resources: str) -> list[Rule]:
    return [
        Rule(each.group, tuple(name for name in each.resources if name not in resources), each.verbs) for each in READS
    ]


async def test_who_may_read_what_the_controller_reads_may_look(
    accounts: Accounts, kube: Kube, gateway_crds: None, our_crds: None, namespace: str, headgate: Headgate
) -> None:
    await _apply(kube, namespace)
    try:
        config = await accounts.may(*READS)
        code, text, errors = await headgate("explain", "--kubeconfig", str(config), "-n", namespace)
        assert (code, errors) == (0, "")
        assert f"{namespace}/web at web.internal" in text
    finally:
        await kube.delete(reference(GATEWAY, "GatewayClass", namespace))


async def test_what_may_not_be_read_is_told(
    accounts: Accounts, gateway_crds: None, our_crds: None, headgate: Headgate
) -> None:
    config = await accounts.may(*_without("httproutes", "gateways"))
    code, text, errors = await headgate("check", "--kubeconfig", str(config))
    assert (code, text) == (2, "")
    (line,) = errors.splitlines()
    assert line.startswith("headgate check: not allowed to read Gateway, HTTPRoute: 403 Forbidden: ")
    assert "cannot watch resource" in line


async def test_secrets_need_only_be_read_where_something_names_them(
    accounts: Accounts, kube: Kube, gateway_crds: None, our_crds: None, namespace: str, headgate: Headgate
) -> None:
    """Nobody has to be given all Secrets to look; and `status` reads none."""
    config = await accounts.may(*_without("secrets", "configmaps"))
    arguments = ("--kubeconfig", str(config), "-n", namespace)
    assert await headgate("check", *arguments) == FINE
    policy = {
        **reference("aigateway.envoyproxy.io/v1beta1", "BackendSecurityPolicy", "key", namespace),
        "spec": {"type": "APIKey", "apiKey": {"secretRef": {"name": "key"}}},
    }
    await kube.create(policy)
    code, _, errors = await headgate("check", *arguments)
    assert code == 2
    assert "not allowed to read Secret key: 403 Forbidden" in errors
    _, text, errors = await headgate("status", *arguments)
    assert errors == ""
    assert f"BackendSecurityPolicy {namespace}/key" in text


@pytest.mark.parametrize("user", [{"token": "expired"}, {}], ids=["expired", "none"])
async def test_a_credential_that_is_not_taken(accounts: Accounts, headgate: Headgate, user: Object) -> None:
    config = accounts.kubeconfig("wrong", user)
    code, text, errors = await headgate("status", "--kubeconfig", str(config))
    assert (code, text) == (2, "")
    (line,) = errors.splitlines()
    assert "the credential of the kubeconfig is wrong or has expired: log in again" in line


async def test_an_authority_that_the_server_is_not_of(accounts: Accounts, headgate: Headgate, namespace: str) -> None:
    config = accounts.kubeconfig("other", {"token": "t"})
    text = yaml.safe_load(config.read_text())
    for each in text["clusters"]:
        for name in ("certificate-authority", "certificate-authority-data"):
            each["cluster"].pop(name, None)  # the machine's own authorities: none of them knows the test server
    config.write_text(yaml.safe_dump(text))
    code, _, errors = await headgate("check", "--kubeconfig", str(config), "-n", namespace)
    assert code == 2
    assert "cannot be reached" in errors
    assert "certificate verify failed" in errors


async def test_a_plugin_gives_the_credential(
    accounts: Accounts, kube_access: Access, gateway_crds: None, headgate: Headgate, namespace: str, tmp_path: Path
) -> None:
    """As those of clouds do; how often it was asked is counted."""
    status = {"token": kube_access.token, "expirationTimestamp": "2099-01-01T00:00:00Z"}
    credential = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status}
    answer, asked, plugin = tmp_path / "answer.json", tmp_path / "asked", tmp_path / "plugin"
    answer.write_text(json.dumps(credential))
    plugin.write_text(f"#!/bin/sh\necho x >> {asked}\ncat $WHERE\n")
    plugin.chmod(0o755)
    exec_ = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": str(plugin),
        "env": [{"name": "WHERE", "value": str(answer)}],
        "interactiveMode": "Never",
    }
    config = accounts.kubeconfig("plugin", {"exec": exec_})
    assert await headgate("check", "--kubeconfig", str(config), "-n", namespace) == FINE
    assert asked.read_text() == "x\n"


async def test_a_context_says_which_cluster_and_who(
    accounts: Accounts,
    kube_access: Access,
    gateway_crds: None,
    headgate: Headgate,
    namespace: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The file's own one is not taken; KUBECONFIG names the file where nothing else does."""
    config = accounts.kubeconfig("wrong", {"token": "wrong"})
    monkeypatch.setenv("KUBECONFIG", str(config))
    administrator = yaml.safe_load(kube_access.kubeconfig.read_text())["current-context"]
    assert await headgate("check", "--context", administrator, "-n", namespace) == FINE
    code, _, errors = await headgate("check", "--context", "own", "-n", namespace)
    assert code == 2
    assert "401 Unauthorized" in errors


async def test_only_the_namespaces_that_are_named_are_read(
    kube: Kube, kube_access: Access, gateway_crds: None, our_crds: None, namespace: str, headgate: Headgate
) -> None:
    await _apply(kube, namespace)
    try:
        config = str(kube_access.kubeconfig)
        _, text, _ = await headgate("status", "--kubeconfig", config, "-n", namespace)
        assert f"Gateway {namespace}/g" in text
        _, text, _ = await headgate("status", "--kubeconfig", config, "-n", "default")
        assert namespace not in text.replace(f"GatewayClass {namespace}", "")
    finally:
        await kube.delete(reference(GATEWAY, "GatewayClass", namespace))
