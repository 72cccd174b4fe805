"""The image's steps, as far as they go without a base image: what the recipe copies is all that the wheel is built
from, the wheel installs into an empty environment without asking anyone, and every program of it runs there.

What is different: dependencies are those of the tests' environment, since fetching them again takes minutes, and the
base is this machine's Python. `make image-test` builds the image itself and runs its roles in containers.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

REPOSITORY = Path(__file__).parents[2]
DOCKERFILE = (REPOSITORY / "Dockerfile").read_text()
EXAMPLE = REPOSITORY / "manifests" / "examples" / "claude-for-openai-clients.yaml"
IMAGE_BYTES_MAX = 550_000_000
"""Of what is installed, uncompressed; the base image has 130 MB more."""


def _run(*command: str, cwd: Path, environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}{done.stderr[-4000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def prefix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The environment that the image has at /opt/headgate."""
    directory = tmp_path_factory.mktemp("image")
    source, wheels, made = directory / "source", directory / "wheels", directory / "headgate"
    source.mkdir()
    for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE.split("\nFROM ")[1], re.MULTILINE):
        *names, target = line.split()
        for name in names:
            _copy(REPOSITORY / name, source / (name if target == "./" else target))
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    _run(*pip, "wheel", "--quiet", "--no-deps", "--no-cache-dir", "--wheel-dir", str(wheels), ".", cwd=source)
    shutil.rmtree(source)
    _run(sys.executable, "-m", "venv", "--without-pip", str(made), cwd=directory)
    python = str(made / "bin" / "python")
    offline = ("--no-deps", "--no-index", "--find-links", str(wheels))
    _run(*pip, "--python", python, "install", "--quiet", *offline, "headgate", cwd=directory)
    site = Path(_run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=directory).strip())
    # as a folder of modules: what is installed editably there is not seen
    (site / "dependencies.pth").write_text(f"{Path(pytest.__file__).parents[1]}\n")
    (link,) = re.findall(r'ln -sf "\$\(/opt/headgate/bin/python -c \'(.+)\'\)"', DOCKERFILE)
    (made / "bin" / "envoy").symlink_to(_run(python, "-c", link, cwd=directory).strip())
    shutil.copy(REPOSITORY / "manifests" / "image" / "ratelimit", made / "bin" / "ratelimit")
    return made


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)


@pytest.fixture
def environment(prefix: Path) -> dict[str, str]:
    """What the image sets, and nothing of the tests'."""
    return {"PATH": f"{prefix / 'bin'}:{os.defpath}", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1"}


@pytest.mark.parametrize(
    "program",
    ["headgate", "headgate-controller", "headgate-extproc", "headgate-ratelimit", "headgate-collector", "ratelimit"],
)
def test_every_program_starts(prefix: Path, environment: dict[str, str], program: str) -> None:
    assert "usage: headgate" in _run(str(prefix / "bin" / program), "--help", cwd=prefix, environment=environment)


@pytest.mark.envoy
def test_its_envoy_runs(prefix: Path, environment: dict[str, str]) -> None:
    assert "/1.40.0/" in _run(str(prefix / "bin" / "envoy"), "--version", cwd=prefix, environment=environment)


def test_a_configuration_is_compiled_from_what_is_in_the_image_alone(prefix: Path, environment: dict[str, str]) -> None:
    """Scripts, tables and generated code included."""
    ask = "import headgate.cli.main as cli, headgate.lua as lua; print(cli.__file__, lua.__file__)"
    for path in _run(str(prefix / "bin" / "python"), "-c", ask, cwd=prefix, environment=environment).split():
        assert Path(path).is_relative_to(prefix)
    known = {**environment, "ANTHROPIC_API_KEY": "sk"}
    compiled = _run(str(prefix / "bin" / "headgate"), "compile", str(EXAMPLE), cwd=prefix, environment=known)
    assert '"Listener": [' in compiled


def test_no_file_of_the_package_is_left_out(prefix: Path) -> None:
    (site,) = prefix.glob("lib/python*/site-packages")
    installed = {str(path.relative_to(site)) for path in (site / "headgate").rglob("*") if path.is_file()}
    rooms = [path for path in REPOSITORY.glob("*/headgate") if path.is_dir()]
    tracked = _run("git", "ls-files", *(str(path.relative_to(REPOSITORY)) for path in rooms), cwd=REPOSITORY)
    there = {line.partition("/")[2] for line in tracked.splitlines() if not line.endswith("/README.md")}
    assert there <= {path for path in installed if "__pycache__" not in path}


def _distributions(requirement: str, seen: set[str]) -> Iterator[metadata.Distribution]:
    """What a requirement brings here."""
    wanted = Requirement(requirement)
    if wanted.name.lower() in seen:
        return
    seen.add(wanted.name.lower())
    found = metadata.distribution(wanted.name)
    yield found
    for each in found.requires or ():
        needed = Requirement(each)
        extras = (*wanted.extras, "")
        if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in extras):
            yield from _distributions(each, seen)


def test_what_is_installed_is_small_enough() -> None:
    sizes = {each.name: _bytes(each) for each in _distributions("headgate[postgres]", set())}
    total = sum(sizes.values())
    largest = sorted(sizes.items(), key=lambda item: -item[1])[:5]
    print(f"{total / 1e6:.0f} MB in {len(sizes)} distributions; largest: {largest}")
    assert total < IMAGE_BYTES_MAX, largest


def _bytes(distribution: metadata.Distribution) -> int:
    paths = (Path(str(distribution.locate_file(path))) for path in distribution.files or ())
    return sum(path.stat().st_size for path in paths if path.is_file())
