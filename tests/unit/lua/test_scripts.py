"""Scripts as Envoy gets them: joined from their parts, in a folder or embedded."""

from pathlib import Path

import pytest
from headgate import lua

FOLDER = Path(lua.__file__).parent
NAMES = sorted([*lua.PARTS, *(path.stem for path in FOLDER.glob("*.lua"))])


def test_every_file_of_a_folder_is_a_part() -> None:
    parts = {part for parts in lua.PARTS.values() for part in parts}
    assert parts == {f"{path.parent.name}/{path.stem}" for path in FOLDER.glob("*/*.lua")}


def test_parts_are_joined_in_order() -> None:
    for name, parts in lua.PARTS.items():
        places = [lua.source(name).index((FOLDER / f"{part}.lua").read_text()) for part in parts]
        assert places == sorted(places)


@pytest.mark.parametrize("name", NAMES)
def test_an_embedded_line_has_the_number_that_it_has_in_the_file(name: str) -> None:
    lines = zip(lua.source(name).splitlines(), lua.compact(name).splitlines(), strict=True)
    assert all(
        embedded == "" if line.strip().startswith("--") else embedded == line.strip() for line, embedded in lines
    )


def test_all_scripts_are_written(tmp_path: Path) -> None:
    lua.write(tmp_path / "scripts")
    assert {path.stem: path.read_text() for path in (tmp_path / "scripts").iterdir()} == {
        name: lua.source(name) for name in NAMES
    }
