"""A network and a root folder of one's own for a test run.

Envoy Gateway listens on ports that cannot be changed (18000, 18001, 8081 and more) and reads its keys from `/certs`;
its Envoys find theirs by `/sds`; names like those of Services must resolve to this machine. So the run gets a network
namespace with nothing but loopback, and a `/certs`, an `/sds` and an `/etc/hosts` that nobody else sees. It needs root
or user namespaces, no other right, and leaves nothing behind: all of it goes when its last process ends.

Loopback there has two more addresses: 10.99.0.1, since Kubernetes refuses 127.0.0.1 as an endpoint, and all of
10.96.0.0/16, so that every ClusterIP of the test API server is local.
"""

import fcntl
import os
import shutil
import socket
import struct
import subprocess
import sys
from pathlib import Path

POD_ADDRESS = "10.99.0.1"
SERVICES_NETWORK = ("10.96.0.1", "255.255.0.0")
HOSTS = """\
127.0.0.1 localhost
::1 localhost
127.0.0.1 envoy-gateway envoy-gateway.envoy-gateway-system.svc envoy-gateway.envoy-gateway-system.svc.cluster.local
127.0.0.1 envoy-ratelimit.envoy-gateway-system.svc.cluster.local
127.0.0.1 headgate-ratelimit.envoy-gateway-system.svc headgate-collector.envoy-gateway-system.svc
127.0.0.1 ai-gateway-controller.envoy-ai-gateway-system.svc.cluster.local
127.0.0.1 headgate-controller.headgate-system.svc.cluster.local
"""

OWN = ("certs", "sds")
"""Folders of the root that are the run's own."""

_SIOCSIFFLAGS, _SIOCSIFADDR, _SIOCSIFNETMASK, _IFF_UP, _IFF_RUNNING = 0x8914, 0x8916, 0x891C, 0x1, 0x40


class SandboxError(Exception):
    """This machine allows no namespaces; the message says what would."""


def enter_command() -> list[str]:
    """What to put before a command that calls `arrange` in namespaces of its own; raises SandboxError."""
    unshare = shutil.which("unshare")
    if unshare is None:
        raise SandboxError("there is no `unshare` here (package util-linux)")
    command = [unshare, "--net", "--mount"]
    if os.geteuid() != 0:
        command += ["--user", "--map-root-user"]
    tried = subprocess.run([*command, "true"], capture_output=True, text=True)
    if tried.returncode:
        raise SandboxError(
            f"no network namespace: {tried.stderr.strip() or tried.returncode}. It needs root with CAP_SYS_ADMIN, or "
            "unprivileged user namespaces (sysctl kernel.unprivileged_userns_clone=1 and "
            "kernel.apparmor_restrict_unprivileged_userns=0); in Docker, `--privileged`. "
            "Or set KUBECONFIG to a cluster of yours for the tests that need only an API server."
        )
    return command


def arrange(mount_point: Path) -> None:
    """Called in fresh namespaces: brings up loopback and moves this process below a root of its own.

    `mount_point` is a folder on which it is made; outside it stays empty, so any number of runs may use the same one.
    """
    _configure_loopback()
    current = Path.cwd()
    root = mount_point
    root.mkdir(parents=True, exist_ok=True)
    _mount("--make-rprivate", "/")
    _mount("-t", "tmpfs", "tmpfs", str(root))
    for entry in Path("/").iterdir():
        inside = root / entry.name
        if entry.is_symlink():
            inside.symlink_to(os.readlink(entry))
        elif entry.is_dir() and entry.name not in OWN:
            inside.mkdir()
            _mount("--rbind", str(entry), str(inside))
    for name in OWN:
        (root / name).mkdir()
    hosts = root / "hosts"
    hosts.write_text(HOSTS)
    _mount("--bind", str(hosts), str(root / "etc" / "hosts"))
    os.chroot(root)
    os.chdir(current)


def _mount(*arguments: str) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True)
    if done.returncode:
        raise SandboxError(f"mount {' '.join(arguments)}: {done.stderr.strip()}")


def _configure_loopback() -> None:
    """With ioctls: not every container has `ip`."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP | _IFF_RUNNING))
        for alias, address, netmask in (
            (b"lo:pods", POD_ADDRESS, "255.255.255.255"),
            (b"lo:services", *SERVICES_NETWORK),
        ):
            fcntl.ioctl(control, _SIOCSIFADDR, _address_request(alias, address))
            fcntl.ioctl(control, _SIOCSIFNETMASK, _address_request(alias, netmask))


def _address_request(alias: bytes, address: str) -> bytes:
    return struct.pack("16sHH4s8x", alias, socket.AF_INET, 0, socket.inet_aton(address))


def main() -> None:
    """`python -m cluster.sandbox MOUNT_POINT COMMAND…`, in fresh namespaces."""
    mount_point, *command = sys.argv[1:]
    try:
        arrange(Path(mount_point))
    except (SandboxError, OSError) as error:
        sys.exit(f"cannot arrange the test run's own network and root: {error}")
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
