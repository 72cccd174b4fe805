"""Helm: the one that `make cluster` builds, or one in PATH."""

import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.kube import Object, tools_directory

KUBERNETES = "1.32"
"""What charts are rendered for; a Helm that nobody gave a version takes itself for one of long ago."""
VALUES_OF_ENVOY_GATEWAY = Path(__file__).parents[2] / "manifests" / "envoy-gateway-values.yaml"


def helm_program() -> str:
    """Where Helm is; skips where there is none."""
    tools = tools_directory()
    program = str(tools / "helm") if tools is not None else shutil.which("helm")
    if program is None:
        pytest.skip("needs Helm: run `make cluster`, which builds one, or have a `helm` in PATH")
    return program


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs Helm; skips where there is none."""
    return subprocess.run([helm_program(), *arguments], capture_output=True, text=True)


def rendered(release: str, chart: Path, namespace: str, *arguments: str) -> list[Object]:
    """The objects of a chart."""
    done = helm("template", release, str(chart), "--namespace", namespace, "--kube-version", KUBERNETES, *arguments)
    assert done.returncode == 0, done.stderr
    return [each for each in yaml.load_all(done.stdout, yaml.CSafeLoader) if each]


def monitored(objects: Sequence[Object]) -> Iterator[tuple[Object, Sequence[Object]]]:
    """The monitors of the Prometheus operator, of either kind, each with what it asks."""
    for each in objects:
        for field in ("podMetricsEndpoints", "endpoints"):
            if each["kind"] in ("PodMonitor", "ServiceMonitor") and field in each["spec"]:
                yield each, each["spec"][field]


def envoy_gateway_config(*settings: str) -> Mapping[str, Any]:
    """Envoy Gateway's configuration: what its own chart makes of `manifests/envoy-gateway-values.yaml`.

    `settings` are more values, as `a.b=c`.
    """
    tools = tools_directory()
    assert tools is not None, "Envoy Gateway's chart is there only within `make cluster`"
    arguments: Sequence[str] = [part for setting in settings for part in ("--set", setting)]
    chart, values = tools / "gateway-helm", ("--values", str(VALUES_OF_ENVOY_GATEWAY))
    (found,) = [
        each
        for each in rendered("eg", chart, "envoy-gateway-system", *values, *arguments)
        if each["metadata"]["name"] == "envoy-gateway-config"
    ]
    return yaml.safe_load(found["data"]["envoy-gateway.yaml"])
