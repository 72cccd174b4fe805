"""Scripts as Envoy gets them: joined from their parts, in a folder or embedded."""

import re
from collections import defaultdict
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
    lua.write(tmp_path)
    texts = {path.name: path.read_text() for path in tmp_path.iterdir()}
    for name in NAMES:
        assert texts[f"{name}.whole.lua" if name in lua.IN_CLUSTERS else f"{name}.lua"] == lua.compact(name)


def test_a_script_of_clusters_names_the_file_that_has_it(tmp_path: Path) -> None:
    lua.write(tmp_path)
    for name in lua.IN_CLUSTERS:
        assert f'"{tmp_path}/{name}.whole.lua"' in (tmp_path / f"{name}.lua").read_text()


_TARGETS = re.compile(r"(?<![\w.])((?:[\w.\[\]#+ ]+,)*[\w. ]+)=(?!=)")
_DECLARED = re.compile(r"^-- Sets members of `state` that another part has: ([\w, ]+)\.$", re.MULTILINE)


def _members_set(text: str) -> set[str]:
    """The members of `state` that a part sets."""
    code = re.sub(r"--.*", "", text)
    targets = (target.split()[-1] for found in _TARGETS.findall(code) for target in found.split(",") if target.strip())
    return {target.removeprefix("state.") for target in targets if re.fullmatch(r"state\.\w+", target)}


def test_parts_say_which_members_of_the_state_they_share() -> None:
    """By its name alone a member would be two things, if two parts happened to choose the same."""
    setters = defaultdict[str, set[str]](set)
    for part in lua.PARTS["usage"]:
        for member in _members_set((FOLDER / f"{part}.lua").read_text()):
            setters[member].add(part)
    assert {"kept", "written", "images"} < setters.keys()
    for part in lua.PARTS["usage"]:
        said = {name for found in _DECLARED.findall((FOLDER / f"{part}.lua").read_text()) for name in found.split(", ")}
        shared = {name for name, parts in setters.items() if part in parts and len(parts) > 1}
        assert said == shared, f"{part}.lua must say: Sets members of `state` that another part has: {sorted(shared)}"
