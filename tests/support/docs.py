"""What the docs tell people to type and to apply: the code blocks of a page, and a shell that runs them.

Commands run as they are written. Beside them stand a `helm` and a `kubectl` that are built here; what leads to a
registry leads to the chart that this machine has.
"""

import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from support.kube import Object

REPOSITORY = Path(__file__).parents[2]
_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
TIMEOUT_SECONDS = 180.0
HELM = """\
#!/bin/sh
# Envoy Gateway's chart is here, not in a registry; its hook is a Job, which nothing here runs.
for argument in "$@"; do
  case "$argument" in
    oci://docker.io/envoyproxy/gateway-helm) set -- "$@" {chart} --skip-crds --no-hooks ;;
    *) set -- "$@" "$argument" ;;
  esac
  shift
done
exec {helm} "$@"
"""


@dataclass(frozen=True, slots=True)
class Block:
    """A code block: the heading that it stands below, its language and its text."""

    heading: str
    language: str
    text: str

    def objects(self) -> list[Object]:
        """Of YAML."""
        return [each for each in yaml.safe_load_all(self.text) if each]


def blocks(page: str) -> Sequence[Block]:
    """All code blocks of a page of `docs/`, in order."""
    text = (REPOSITORY / "docs" / page).read_text()
    found: list[Block] = []
    for match in _FENCE.finditer(text):
        headings = _HEADING.findall(_FENCE.sub("", text[: match.start()]))
        found.append(Block(headings[-1], match["language"], textwrap.dedent(match["text"])))
    return found


def block(page: str, heading: str, *, language: str = "sh", number: int = 0) -> Block:
    """One block below a heading, by language."""
    found = [each for each in blocks(page) if (each.heading, each.language) == (heading, language)]
    assert len(found) > number, f"docs/{page} has no {language} block {number} below {heading!r}"
    return found[number]


class Shell:
    """Runs commands at the top of the repository, against one API server."""

    def __init__(self, directory: Path, kubeconfig: Path, *, helm: Path, kubectl: Path, gateway_chart: Path) -> None:
        programs = directory / "programs"
        programs.mkdir()
        (programs / "helm").write_text(HELM.format(helm=helm, chart=gateway_chart))
        (programs / "helm").chmod(0o755)
        (programs / "kubectl").symlink_to(kubectl)
        (programs / "headgate").symlink_to(Path(sys.executable).with_name("headgate"))
        self._environment: Mapping[str, str] = {
            **os.environ,
            "PATH": f"{programs}:{os.defpath}",
            "HOME": str(directory),  # of Helm's and kubectl's caches
            "KUBECONFIG": str(kubeconfig),
        }

    def __call__(self, commands: str, *, stdin: str = "", code: int = 0) -> str:
        """Runs them until one fails; gives what they print."""
        try:
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", commands],
                cwd=REPOSITORY,
                env=self._environment,
                input=stdin,
                capture_output=True,
                text=True,
                timeout=TIMEOUT_SECONDS,
            )
        except subprocess.TimeoutExpired as error:
            # bytes, though text was asked for
            said = b"\n".join(each for each in (error.stdout, error.stderr) if isinstance(each, bytes)).decode()
            raise AssertionError(f"no end in {TIMEOUT_SECONDS:.0f} s of {commands}\n{said[-4000:]}") from None
        assert done.returncode == code, f"{commands}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        return done.stdout + done.stderr
