"""What the chart says with nothing set, as `manifests/kustomize` has it."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from support.checkout import REPOSITORY

RENDERED = sorted((REPOSITORY / "manifests" / "kustomize").glob("*/headgate.yaml"))


def _containers(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for each in yaml.safe_load_all(path.read_text()):
        if each and each["kind"] == "Deployment":
            spec = each["spec"]["template"]["spec"]
            for container in (*spec.get("initContainers", ()), *spec["containers"]):
                found[f"{each['metadata']['name']}/{container['name']}"] = container
    return found


@pytest.mark.parametrize("path", RENDERED, ids=lambda path: path.parent.name)
def test_whatever_hangs_is_killed_soon(path: Path) -> None:
    """By a page: the kernel takes connections for a process that hangs, and a socket's file stays."""
    containers = _containers(path)
    assert containers
    for name, container in containers.items():
        probe = container["livenessProbe"]
        assert probe["httpGet"]["path"] == "/healthz", name
        assert probe.get("periodSeconds", 10) * probe.get("failureThreshold", 3) <= 30, name
        assert probe["terminationGracePeriodSeconds"] <= 5, f"{name} hangs, and would not hear that it is to end"
