"""A program in a container of an image, run by crun as Kubernetes runs ours: as the image's user, without capabilities
or new privileges, on a read-only root, process 1 of its own namespace. The network is the machine's: take free ports.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from support.processes import Child

from image.recipe import Image

WRITABLE = ("/tmp",)
_KERNEL = (
    {"destination": "/proc", "type": "proc", "source": "proc"},
    {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755"]},
)
_NAMESPACES = ("pid", "mount", "ipc", "uts")
_NO_CAPABILITIES: Mapping[str, list[str]] = {
    name: [] for name in ("bounding", "effective", "permitted", "inheritable", "ambient")
}
_START = (
    "mount -t tmpfs none /sys/fs/cgroup && "
    "exec crun --cgroup-manager=disabled --root {root} run --bundle {bundle} {name}"
)
"""Without control groups: crun refuses some arrangements of them, and nothing here is about them."""


class Container(Child):
    """Runs until `close`; a signal goes to the program. `mounts` are folders of the machine by their path inside."""

    def __init__(
        self,
        image: Image,
        directory: Path,
        *command: str,
        name: str,
        mounts: Mapping[str, Path] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        bundle = directory / f"{name}-bundle"
        bundle.mkdir()
        specification = self._specification(image, command, mounts or {}, environment or {})
        (bundle / "config.json").write_text(json.dumps(specification))
        start = _START.format(root=directory / f"{name}-state", bundle=bundle, name=f"headgate-{name}")
        super().__init__(["unshare", "--mount", "sh", "-c", start], directory=directory, name=name)

    @staticmethod
    def _specification(
        image: Image, command: tuple[str, ...], mounts: Mapping[str, Path], environment: Mapping[str, str]
    ) -> Mapping[str, object]:
        user, _, group = image.config.user.partition(":")
        own = [
            {"destination": path, "type": "bind", "source": str(source), "options": ["rbind", "rw"]}
            for path, source in mounts.items()
        ]
        temporary = [
            {"destination": path, "type": "tmpfs", "source": "tmpfs", "options": ["mode=1777"]} for path in WRITABLE
        ]
        return {
            "ociVersion": "1.0.2",
            "process": {
                "user": {"uid": int(user), "gid": int(group)},
                "args": list(command or image.config.cmd),
                "env": [*image.config.env, *(f"{name}={value}" for name, value in environment.items())],
                "cwd": image.config.working_dir,
                "capabilities": _NO_CAPABILITIES,
                "noNewPrivileges": True,
            },
            "root": {"path": str(image.root), "readonly": True},
            "hostname": "headgate",
            "mounts": [*_KERNEL, *temporary, *own],
            "linux": {"namespaces": [{"type": kind} for kind in _NAMESPACES]},
        }
