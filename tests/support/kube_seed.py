"""API servers that have the CRDs of Gateway API and Envoy Gateway from the start.

To install them costs one ten seconds of CPU. So what etcd holds once they are established is kept with the programs of
`make cluster`, and a copy of it is what such a server starts with.
"""

import asyncio
import fcntl
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from support.kube import MISSING, Kube, KubeProcess, install_crds, read_crds, tools_directory

SEED = "seed-1"
"""Another number for other contents of the same tools."""


def kube_with_gateway_crds(directory: Path) -> KubeProcess:
    """Starts one in an empty folder."""
    tools = tools_directory()
    if tools is None:
        raise RuntimeError(MISSING)
    shutil.copytree(_seed(tools), directory / "etcd")
    return KubeProcess(directory)


def _seed(tools: Path) -> Path:
    """Made by the first who asks; others wait for it."""
    seed = tools / SEED
    with (tools / "seed.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not seed.is_dir():
            with tempfile.TemporaryDirectory(dir=tools, prefix="seeding-") as directory:
                with KubeProcess(Path(directory)) as server, ThreadPoolExecutor(1) as pool:  # tests have an event loop
                    pool.submit(asyncio.run, _install(server, tools / "crds.json")).result()
                (Path(directory) / "etcd").rename(seed)
    return seed


async def _install(server: KubeProcess, crds: Path) -> None:
    async with Kube(server.access) as kube:
        await install_crds(kube, read_crds(crds))
