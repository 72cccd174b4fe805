"""Links between the pages of this repository lead to a file, and to a heading of it."""

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]
_ROOMS = ("controller", "docs", "envoy", "extproc", "manifests", "protos", "ratelimit", "tests")
PAGES = sorted([*REPOSITORY.glob("*.md"), *(page for room in _ROOMS for page in (REPOSITORY / room).rglob("*.md"))])
_FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ +(.*)$", re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_every_link_leads_somewhere(page: Path) -> None:
    broken: list[str] = []
    for link in _LINK.findall(_FENCED.sub("", page.read_text())):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in _anchors(target)):
            broken.append(link)
    assert not broken


def _anchors(page: Path) -> set[str]:
    """What the headings of a page are called in links, as GitHub names them."""
    headings = _HEADING.findall(_FENCED.sub("", page.read_text()))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_source_file_a_page_names_is_there() -> None:
    sources = [path for room in _ROOMS for path in (REPOSITORY / room).rglob("*.py")]
    there = {"/".join(path.parts[-depth:]) for path in sources for depth in range(1, len(path.parts))}
    named = {(page.name, name) for page in PAGES for name in re.findall(r"`([\w./-]+\.py)`", page.read_text())}
    assert not {each for each in named if each[1] not in there}
