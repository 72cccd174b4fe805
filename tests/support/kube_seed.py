"""API servers that have CRDs from the start.

To install those of Gateway API and Envoy Gateway costs one ten seconds of CPU. So what etcd holds once they are
established is kept with the programs of `make cluster`, and a copy of it is what such a server starts with.
"""

import asyncio
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from support.kube import MISSING, Kube, KubeProcess, install_crds, read_crds, tools_directory

KEPT = 4
"""Of each definition that changes there is another seed (20 MB): the last ones are kept."""


def kube_with_gateway_crds(directory: Path, *more: Path) -> KubeProcess:
    """Starts one in an empty folder, with the CRDs of Gateway API and Envoy Gateway, and of more files or folders."""
    tools = tools_directory()
    if tools is None:
        raise RuntimeError(MISSING)
    with (tools / "seeds.lock").open("w") as lock:  # who asks first makes it; others wait for it
        fcntl.flock(lock, fcntl.LOCK_EX)
        shutil.copytree(_seed(tools, (tools / "crds.json", *more)), directory / "etcd")
    return KubeProcess(directory)


def _seed(tools: Path, sources: Sequence[Path]) -> Path:
    files = [file for path in sources for file in (sorted(path.glob("*.yaml")) if path.is_dir() else [path])]
    digest = hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()
    seed = tools / f"seed-{digest[:16]}"
    if not seed.is_dir():
        with tempfile.TemporaryDirectory(dir=tools, prefix="seeding-") as directory:
            with KubeProcess(Path(directory)) as server, ThreadPoolExecutor(1) as pool:  # tests have an event loop
                pool.submit(asyncio.run, _install(server, sources)).result()
            (Path(directory) / "etcd").rename(seed)
    os.utime(seed)
    for old in sorted(tools.glob("seed-*"), key=lambda path: path.stat().st_mtime)[:-KEPT]:
        shutil.rmtree(old)
    return seed


async def _install(server: KubeProcess, sources: Sequence[Path]) -> None:
    async with Kube(server.access) as kube:
        await install_crds(kube, read_crds(*sources))
