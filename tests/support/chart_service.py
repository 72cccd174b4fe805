"""A program as the chart's Deployment runs it beside Envoy Gateway: its command and arguments, at a port of the test's.

What a kubelet does is the test's: the folder of a Secret, and the names of Services.
"""

import os
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

from support.helm import rendered
from support.kube import Object, write_secret
from support.ports import LOOPBACK, free_port
from support.processes import started_server

CHART = Path(__file__).parents[2] / "manifests" / "chart"
MODULES = {"headgate-ratelimit": "headgate.ratelimit.main", "headgate-collector": "headgate.collector.main"}


class ChartService:
    """Runs `component` of the chart; `secret` is what the Deployment mounts as its certificate."""

    def __init__(
        self,
        component: str,
        directory: Path,
        *settings: str,
        port: int,
        secret: Object,
        replaced: Mapping[str, str],
        url: str = "",
        name: str = "",
    ) -> None:
        """`settings` are values of the chart, `replaced` what else of its arguments is the test's, `url` what it finds
        in a Secret."""
        certificates = directory / f"{component}-certs"
        certificates.mkdir(exist_ok=True)
        write_secret(secret, certificates)
        arguments = [part for setting in settings for part in ("--set", setting)]
        (deployment,) = [
            each
            for each in rendered("headgate", CHART, "headgate-system", *arguments)
            if each["kind"] == "Deployment" and each["metadata"]["name"] == f"headgate-{component}"
        ]
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        assert deployment["spec"]["template"]["spec"]["volumes"][0]["secret"]["secretName"] == "envoy-rate-limit"
        (program,) = container["command"]
        (given,) = (each["containerPort"] for each in container["ports"] if each["name"] == "grpc")
        self.admin_port = free_port()
        own = {
            f"--address=:{given}": f"--address={LOOPBACK}:{port}",
            "--admin-port=8080": f"--admin-port={self.admin_port}",
            "/certs/": f"{certificates}/",
            **replaced,
        }
        command = [sys.executable, "-m", import_module(MODULES[program]).__name__]
        for each in container["args"]:
            changed = each
            for old, new in own.items():
                changed = changed.replace(old, new)
            command.append(changed)
        secrets = [each["name"] for each in container.get("env", ()) if "secretKeyRef" in each.get("valueFrom", {})]
        environment = {**os.environ, **dict.fromkeys(secrets, url)}
        self.child = started_server(command, directory=directory, name=name or component, environment=environment)

    def close(self) -> None:
        self.child.close()
