"""Fixtures of the image's tests; `make image-test` builds the image and runs them. Elsewhere they are skipped."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from image.__main__ import IMAGE_VARIABLE
from image.recipe import Image, load

MISSING = (
    "needs the built image: run `make image-test`, which builds it on a base of its own (as root, with buildah, crun "
    "and debootstrap), or with BASE=python:3.13-slim-trixie on one of a registry"
)


@pytest.fixture(scope="session")
def image() -> Image:
    """The image of the Dockerfile."""
    if (said := os.environ.get(IMAGE_VARIABLE)) is None:
        pytest.skip(MISSING)
    return load(Path(said))


@pytest.fixture
def shared(image: Image) -> Iterator[Path]:
    """A folder for sockets and files that containers may write into, as a pod's volumes are."""
    with tempfile.TemporaryDirectory(prefix="hg-") as directory:
        Path(directory).chmod(0o755)
        volume = Path(directory) / "volume"
        volume.mkdir()
        user, _, group = image.config.user.partition(":")
        os.chown(volume, int(user), int(group))
        yield Path(directory)
