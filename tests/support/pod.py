"""A pod of a rendered Deployment, run as a kubelet would: sidecars first, each once the one before has started; its
commands, arguments, environment, volumes and probes as they are written. What is not here is the image (`make
image-test` runs that): programs are those of the tests' environment. Ports are the pod's own too, so it needs the
network of `make cluster`, and two pods with the same ports do not run at once.
"""

import base64
import json
import os
import re
import signal
import sys
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

from support.envoy import envoy_binary
from support.kube import Access, Object
from support.ports import LOOPBACK
from support.processes import Child
from support.waiting import wait_until

ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
TESTS = Path(__file__).parents[1]


class MountedSecret:
    """A folder that follows a Secret like one that a kubelet mounts: `..data` is a link that is replaced at once."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._version = ""
        self.renewals = -1
        self.serial = b""
        directory.mkdir()

    def write(self, secret: Object) -> None:
        version: str = secret["metadata"]["resourceVersion"]
        if version == self._version:
            return
        self._version = version
        folder = self.directory / f"..{version}"
        folder.mkdir()
        for name, value in secret["data"].items():
            (folder / name).write_bytes(base64.b64decode(value))
            link = self.directory / name
            if not link.is_symlink():
                link.symlink_to(f"..data/{name}")
        new = self.directory / "..data_tmp"
        new.symlink_to(folder.name)
        os.replace(new, self.directory / "..data")
        self.serial = base64.b64decode(secret["data"].get("tls.crt", ""))
        self.renewals += 1


class Pod:
    """The first pod of a Deployment; `close` ends it as a kubelet does."""

    def __init__(
        self,
        deployment: Object,
        directory: Path,
        *,
        volumes: Mapping[str, Path] | None = None,
        config_maps: Mapping[str, Mapping[str, str]] | None = None,
        secrets: Mapping[str, Mapping[str, str]] | None = None,
        services: Sequence[str] = (),
        account: tuple[Access, str] | None = None,
    ) -> None:
        """`volumes` are folders for those of Secrets, by the volume's name; `config_maps` are texts by name, `secrets`
        what environment variables ask for; `services` are names that lead to this machine; `account` is an API server
        and the token of the pod's account."""
        self.name = "pod"
        self._namespace: str = deployment["metadata"]["namespace"]
        self._spec: Object = deployment["spec"]["template"]["spec"]
        self._secrets = secrets or {}
        self._directory = directory / deployment["metadata"]["name"]
        self._directory.mkdir()
        self._services = {"KUBERNETES_SERVICE_HOST": "", "KUBERNETES_SERVICE_PORT": ""}
        self._own: dict[str, str] = {"/etc/hosts": str(self._hosts(services))}
        if account is not None:
            self._own[ACCOUNT] = str(self._account(*account))
        self._volumes = {
            each["name"]: self._volume(each, volumes or {}, config_maps or {}) for each in self._spec["volumes"]
        }
        programs = self._directory / "programs"
        programs.mkdir()
        (programs / "envoy").symlink_to(envoy_binary())
        self._path = f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        self._containers = {
            each["name"]: each for each in (*self._spec.get("initContainers", ()), *self._spec["containers"])
        }
        self.children: dict[str, Child] = {}

    def start(self) -> None:
        """Until every container has started and the pod is ready."""
        for name, container in self._containers.items():
            self.children[name] = self._run(container)
            if "startupProbe" in container:
                self._passes(container, container["startupProbe"])
        for container in self._containers.values():
            for probe in ("readinessProbe", "livenessProbe"):
                if probe in container:
                    self._passes(container, container[probe])

    def close(self) -> Mapping[str, int]:
        """Hooks and SIGTERM, sidecars last and in the other order; the exit codes."""
        codes: dict[str, int] = {}
        for each in reversed(self._containers.values()):
            child = self.children.get(each["name"])
            if child is None:
                continue
            if child.exit_code() is None:
                if (hook := each.get("lifecycle", {}).get("preStop")) is not None:
                    with self._inside(each, hook["exec"]["command"], name=f"{each['name']}-stop") as stopping:
                        stopping.wait(self._spec["terminationGracePeriodSeconds"])
                child.signal(signal.SIGTERM)
            try:
                codes[each["name"]] = child.wait(self._spec["terminationGracePeriodSeconds"])
            finally:
                child.close()
        return codes

    def said(self) -> str:
        """The end of what each container said, for failures."""
        return "\n".join(f"{name}: {child.stderr[-2000:]}" for name, child in self.children.items())

    def port(self, container: str, name: str) -> int:
        """A port by its name."""
        (found,) = [each["containerPort"] for each in self._containers[container]["ports"] if each["name"] == name]
        return found

    def _run(self, container: Object) -> Child:
        environment = self._environment(container)
        return self._inside(
            container, [*container["command"], *container.get("args", ())], environment, container["name"]
        )

    def _inside(
        self, container: Object, command: Sequence[str], environment: Mapping[str, str] | None = None, name: str = ""
    ) -> Child:
        mounts = {each["mountPath"]: str(self._volumes[each["name"]]) for each in container.get("volumeMounts", ())}
        given = self._environment(container) if environment is None else environment
        expanded = [re.sub(r"\$\((\w+)\)", lambda found: given[found[1]], each) for each in command]
        start = ("unshare", "--mount", sys.executable, "-m", "support.pod_root", json.dumps(self._own | mounts))
        return Child(
            [*start, *expanded], directory=self._directory, name=name, environment={**given, "PYTHONPATH": str(TESTS)}
        )

    def _environment(self, container: Object) -> Mapping[str, str]:
        return {
            "PATH": self._path,
            "HOME": "/tmp",
            **{name: value for name, value in self._services.items() if value},
            **{each["name"]: self._value(each) for each in container.get("env", ())},
        }

    def _value(self, variable: Object) -> str:
        match variable:
            case {"value": str(value)}:
                return value
            case {"valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}:
                return "pod"
            case {"valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}}:
                return self._namespace
            case {"valueFrom": {"resourceFieldRef": {"resource": "limits.memory"}}}:
                return str(1 << 30)
            case {"valueFrom": {"secretKeyRef": {"name": str(name), "key": str(key)}}}:
                return self._secrets[name][key]
            case _:
                raise NotImplementedError(f"of environment variables: {variable}")

    def _volume(self, volume: Object, given: Mapping[str, Path], config_maps: Mapping[str, Mapping[str, str]]) -> Path:
        if volume["name"] in given:
            return given[volume["name"]]
        folder = self._directory / f"volume-{volume['name']}"
        folder.mkdir()
        match volume:
            case {"emptyDir": _}:
                pass
            case {"configMap": {"name": str(name)}}:
                for key, text in config_maps[name].items():
                    (folder / key).write_text(text)
            case _:
                raise NotImplementedError(f"of volumes: {volume}")
        return folder

    def _hosts(self, services: Sequence[str]) -> Path:
        path = self._directory / "hosts"
        path.write_text(Path("/etc/hosts").read_text() + "".join(f"{LOOPBACK} {name}\n" for name in services))
        return path

    def _account(self, access: Access, token: str) -> Path:
        """What a pod finds of its account, and where its API server is."""
        folder = self._directory / "account"
        folder.mkdir()
        (folder / "token").write_text(token)
        (folder / "namespace").write_text(self._namespace)
        (folder / "ca.crt").write_text(access.ca)
        host, _, port = access.server.removeprefix("https://").rpartition(":")
        self._services |= {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}
        return folder

    def _passes(self, container: Object, probe: Object) -> None:
        name: str = container["name"]

        def passes() -> bool:
            self.children[name].require_alive()
            return self._probe(container, probe)

        wait_until(passes, f"{name} to pass {probe}")

    def _probe(self, container: Object, probe: Object) -> bool:
        match probe:
            case {"httpGet": {"path": str(path), "port": str(port)}}:
                try:
                    with urllib.request.urlopen(
                        f"http://{LOOPBACK}:{self.port(container['name'], port)}{path}", timeout=5
                    ):
                        return True
                except OSError:
                    return False
            case {"exec": {"command": command}}:
                with self._inside(container, command, name=f"{container['name']}-probe") as asked:
                    return asked.wait() == 0
            case _:
                raise NotImplementedError(f"of probes: {probe}")
