"""The image of the Dockerfile, built without a Docker engine: by buildah, on a base that is fetched or made here.

Nothing is left in the machine's own container storage: buildah has one in a folder of ours. The base is `BASE` where
that names one, as a registry has it; else Debian's Python, made by debootstrap and kept in the cache, so that Debian's
archive and PyPI are all that is needed. RUN steps are in a chroot (`--isolation chroot`), which needs root and no more.
"""

import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

REPOSITORY = Path(__file__).parents[2]
PACKAGES = {"buildah": "buildah", "crun": "crun", "debootstrap": "debootstrap", "unshare": "util-linux"}
"""Programs, and Debian's packages that have them."""
SUITE = "trixie"
"""That of the Dockerfile's own base, with the same Python (3.13); the oldest supported (3.11) runs all other tests."""
DEBIAN = "http://deb.debian.org/debian"
BASE_PACKAGES = ("python3", "python3-venv", "python3-pip", "python-is-python3", "ca-certificates")
LOCAL_BASE, BUILT, CONTAINER = "localhost/python:debian", "localhost/headgate:tested", "headgate-tested"
_FROM_HERE = ("etc/ssl/certs/ca-certificates.crt", "etc/pip.conf")
"""How this machine reaches registries: the local base reaches them so too."""


class RecipeError(Exception):
    """The image cannot be built; the message says what to do."""


class ImageConfig(msgspec.Struct, frozen=True, rename="pascal"):
    """What an image says of its processes."""

    env: tuple[str, ...]
    user: str = ""
    working_dir: str = "/"
    cmd: tuple[str, ...] = ()


class _Oci(msgspec.Struct):
    config: ImageConfig


class _Inspected(msgspec.Struct, rename="pascal"):
    oci_v1: _Oci = msgspec.field(name="OCIv1")


@dataclass(frozen=True, slots=True)
class Image:
    """A built image: where its files are, what it says, and how large it is."""

    root: Path
    config: ImageConfig
    bytes: int
    base_bytes: int


def missing(base: str) -> Sequence[str]:
    """The packages that this machine lacks."""
    return [
        package
        for program, package in PACKAGES.items()
        if shutil.which(program) is None and not (base and program == "debootstrap")
    ]


def require_programs(base: str) -> None:
    """Raises RecipeError."""
    if os.geteuid() != 0:
        raise RecipeError("it needs root: buildah's chroot isolation and containers of another user are made with it")
    if packages := missing(base):
        raise RecipeError(
            f"it needs {', '.join(packages)}: `apt-get install --no-install-recommends {' '.join(packages)}`, "
            "or what your distribution calls them"
        )


def cache_root() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "headgate" / "image"


class Buildah:
    """buildah with its storage in `directory`."""

    def __init__(self, directory: Path) -> None:
        self._storage = (
            "--root", str(directory / "storage"), "--runroot", str(directory / "run"), "--storage-driver", "vfs",
        )  # fmt: skip

    def __call__(self, *arguments: str, show: bool = False) -> str:
        """Runs it; raises RecipeError. With `show`, what it says is seen as it comes."""
        done = subprocess.run(
            ["buildah", *self._storage, *arguments],
            text=True,
            stdout=sys.stderr if show else subprocess.PIPE,
            stderr=None if show else subprocess.PIPE,
        )
        if done.returncode:
            raise RecipeError(f"`buildah {' '.join(arguments)}` failed{'' if show else f': {done.stderr[-2000:]}'}")
        return (done.stdout or "").strip()


def build(directory: Path, base: str = "") -> Image:
    """Builds the image below `directory`, on `base` or on Debian's Python; raises RecipeError."""
    buildah = Buildah(directory)
    base = base or _commit_local_base(buildah)
    recipe = ("--isolation", "chroot", "--format", "docker", "--build-arg", f"BASE={base}", "--tag", BUILT)
    buildah("bud", *recipe, "--file", str(REPOSITORY / "Dockerfile"), str(REPOSITORY), show=True)
    config = msgspec.json.decode(buildah("inspect", "--type", "image", BUILT), type=_Inspected).oci_v1.config
    buildah("from", "--pull-never", "--name", CONTAINER, BUILT)
    root = Path(buildah("mount", CONTAINER))
    return Image(root, config, _bytes(root), _bytes(root) - _bytes(root / "opt" / "headgate"))


def check_base() -> None:
    """Whether this machine can make the base and install from within it; raises RecipeError with what it cannot."""
    require_programs(base="")
    with tempfile.TemporaryDirectory(prefix="headgate-image-") as directory:
        buildah = Buildah(Path(directory))
        buildah("from", "--name", "checked", _commit_local_base(buildah))
        fetch = ("python3", "-m", "pip", "download", "--quiet", "--no-deps", "--dest", "/tmp", "pip")
        buildah("run", "--isolation", "chroot", "checked", "--", *fetch)


def _commit_local_base(buildah: Buildah) -> str:
    """Gives its name."""
    buildah("from", "--name", "base", "scratch")
    buildah("add", "--quiet", "base", str(_local_base()), "/")
    buildah("commit", "--quiet", "--rm", "base", LOCAL_BASE)
    return LOCAL_BASE


def _local_base() -> Path:
    """An archive of Debian with Python; made if need be (a minute), then kept."""
    kept = cache_root() / f"base-{SUITE}.tar"
    if kept.exists():
        return kept
    print(f"==> making a base image of Debian's {SUITE} (a minute)", file=sys.stderr, flush=True)
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept.parent) as directory:
        root = Path(directory) / "root"
        made = ("debootstrap", "--variant=minbase", f"--include={','.join(BASE_PACKAGES)}", SUITE, str(root), DEBIAN)
        done = subprocess.run(made, text=True, capture_output=True)
        if done.returncode:
            raise RecipeError(f"debootstrap failed: {done.stdout[-2000:]}{done.stderr[-1000:]}")
        for path in (*root.glob("var/cache/apt/archives/*.deb"), *root.glob("var/lib/apt/lists/*_*")):
            path.unlink()
        for name in _FROM_HERE:
            if (here := Path("/") / name).exists():
                shutil.copy(here, root / name)
        unfinished = Path(directory) / "base.tar"
        with tarfile.open(unfinished, "w") as archive:
            archive.add(root, arcname=".")
        unfinished.rename(kept)
    return kept


def _bytes(root: Path) -> int:
    """Of files, each once."""
    seen = {(found.st_dev, found.st_ino): found.st_size for found in _files(root)}
    return sum(seen.values())


def _files(root: Path) -> Sequence[os.stat_result]:
    return [os.lstat(os.path.join(folder, name)) for folder, _, names in os.walk(root) for name in names]


def save(image: Image, path: Path) -> None:
    """For the tests, which are another process."""
    path.write_text(json.dumps([str(image.root), msgspec.to_builtins(image.config), image.bytes, image.base_bytes]))


def load(path: Path) -> Image:
    root, config, total, base = json.loads(path.read_text())
    return Image(Path(root), msgspec.convert(config, ImageConfig), total, base)


if __name__ == "__main__":
    try:
        check_base()
    except RecipeError as error:
        sys.exit(f"no image can be built here: {error}")
