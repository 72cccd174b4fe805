"""The image's recipe names what is there, and runs as nobody."""

import re
from pathlib import Path

REPOSITORY = Path(__file__).parents[3]
DOCKERFILE = (REPOSITORY / "Dockerfile").read_text()


def test_what_is_copied_is_there_and_not_ignored() -> None:
    ignored = (REPOSITORY / ".dockerignore").read_text().splitlines()
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    for source in (name for line in copied for name in line.split()):
        assert (REPOSITORY / source).exists(), source
        assert f"!{source}" in ignored, source


def test_every_room_of_the_package_is_in_it() -> None:
    rooms = {path.parent.name for path in REPOSITORY.glob("*/headgate")}
    assert {*re.findall(r"^COPY (\w+)/headgate", DOCKERFILE, re.MULTILINE)} == rooms


def test_it_runs_as_a_number_that_is_not_root() -> None:
    """A name would not do for `runAsNonRoot`."""
    assert re.findall(r"^USER (.+)$", DOCKERFILE, re.MULTILINE) == ["65532:65532"]
