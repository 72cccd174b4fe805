"""The commands that look at a cluster: `check`, `explain`, `diff` and `status` with a kubeconfig."""

import asyncio
from pathlib import Path

import pytest
import yaml
from headgate.cli.main import main
from headgate.compiler.options import CONTROLLER_NAME
from support.kube import Access, Kube, Object, reference

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
        assert f"rule {namespace}/web/rule/0: changed" in text
        assert f"there is no Backend {namespace}/absent" in text
        applied.write_text(yaml.safe_dump(_web(namespace, "web")))
        assert await headgate("diff", str(applied)) == (0, "nothing would change\n")
    finally:
        await kube.delete(reference(GATEWAY, "GatewayClass", namespace))
