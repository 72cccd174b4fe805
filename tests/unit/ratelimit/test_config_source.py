"""Which limits are in force while files come, change, break and go."""

import os
from pathlib import Path

import pytest
from headgate.limits.matching import Snapshot
from headgate.ratelimit.config_source import ConfigSource


def limits(domain: str, amount: int = 1) -> str:
    limit = f"{{unit: day, requests_per_unit: {amount}}}"
    return f"domain: {domain}\ndescriptors:\n- {{key: k, rate_limit: {limit}}}\n"


def amounts(snapshot: Snapshot | None) -> dict[str, int]:
    assert snapshot is not None
    found: dict[str, int] = {}
    for domain in snapshot.source:
        limit = domain.descriptors[0].rate_limit
        assert limit is not None
        found[domain.name] = limit.requests_per_unit
    return found


class Watched:
    """A source and the errors it reported since last asked."""

    def __init__(self, path: Path) -> None:
        self._errors: list[str] = []
        self.source = ConfigSource(path, on_error=self._errors.append)

    def load(self) -> dict[str, int]:
        return amounts(self.source.load())

    def errors(self) -> list[str]:
        errors = self._errors[:]
        self._errors.clear()
        return errors


def replace(path: Path, text: str) -> None:
    """As editors and our own writers do: a new file under the old name."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)


def test_reads_a_file_once_until_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "limits.yaml"
    path.write_text(limits("a"))
    watched = Watched(path)
    assert watched.load() == {"a": 1}
    assert watched.source.load() is None
    replace(path, limits("a", 2))
    assert watched.load() == {"a": 2}
    assert watched.errors() == []


def test_sees_a_change_in_place_of_equal_size(tmp_path: Path) -> None:
    path = tmp_path / "limits.yaml"
    path.write_text(limits("a", 1))
    watched = Watched(path)
    watched.load()
    path.write_text(limits("a", 2))
    os.utime(path, ns=(1, path.stat().st_mtime_ns + 1))
    assert watched.load() == {"a": 2}


def test_a_broken_file_keeps_its_last_good_content(tmp_path: Path) -> None:
    path = tmp_path / "limits.yaml"
    path.write_text(limits("a"))
    watched = Watched(path)
    watched.load()
    replace(path, limits("a", 2).replace("day", "noon"))
    assert watched.load() == {"a": 1}
    (error,) = watched.errors()
    assert error.startswith(f"{path}:3: descriptors[0].rate_limit.unit: expected one of")
    replace(path, limits("a", 3))
    assert watched.load() == {"a": 3}


def test_a_broken_file_costs_only_itself(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(limits("a"))
    (tmp_path / "b.yml").write_text("domain: [")
    (tmp_path / "c.yaml").write_bytes(b"domain: \xff")
    (tmp_path / "notes.txt").write_text("not read")
    watched = Watched(tmp_path)
    assert watched.load() == {"a": 1}
    assert watched.source.usable
    assert [error.partition(":")[0] for error in watched.errors()] == [
        str(tmp_path / "b.yml"),
        str(tmp_path / "c.yaml"),
    ]


def test_files_may_come_and_go(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(limits("a"))
    watched = Watched(tmp_path)
    watched.load()
    (tmp_path / "b.yaml").write_text(limits("b"))
    assert watched.load() == {"a": 1, "b": 1}
    (tmp_path / "a.yaml").unlink()
    assert watched.load() == {"b": 1}


def test_a_domain_belongs_to_the_first_file_that_defines_it(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(limits("a", 1))
    (tmp_path / "b.yaml").write_text(limits("a", 2) + "---\n" + limits("b", 3))
    watched = Watched(tmp_path)
    assert watched.load() == {"a": 1, "b": 3}
    assert watched.errors() == [f"{tmp_path / 'b.yaml'}: domain 'a' is defined already in {tmp_path / 'a.yaml'}"]


def test_follows_a_swapped_folder_as_kubernetes_does_with_a_config_map(tmp_path: Path) -> None:
    for name, amount in (("one", 1), ("two", 2)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "limits.yaml").write_text(limits("a", amount))
    (tmp_path / "data").symlink_to("one")
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    (mounted / "limits.yaml").symlink_to(tmp_path / "data" / "limits.yaml")
    watched = Watched(mounted)
    assert watched.load() == {"a": 1}
    (tmp_path / "next").symlink_to("two")
    (tmp_path / "next").replace(tmp_path / "data")
    assert watched.load() == {"a": 2}


def test_a_file_that_is_gone_keeps_what_was_read(tmp_path: Path) -> None:
    path = tmp_path / "limits.yaml"
    path.write_text(limits("a"))
    watched = Watched(path)
    watched.load()
    path.unlink()
    assert watched.source.load() is None
    assert watched.errors() == [f"{path}: there is no such file or folder"]
    assert watched.source.load() is None
    assert watched.errors() == []
    path.write_text(limits("a", 2))
    assert watched.load() == {"a": 2}


@pytest.mark.parametrize(("text", "usable"), [("", True), ("domain: [", False)])
def test_a_source_without_a_good_file_is_not_usable(tmp_path: Path, text: str, usable: bool) -> None:
    path = tmp_path / "limits.yaml"
    path.write_text(text)
    source = ConfigSource(path)
    source.load()
    assert source.usable is usable


def test_an_empty_folder_is_usable_and_a_missing_path_is_not(tmp_path: Path) -> None:
    empty, missing = ConfigSource(tmp_path), ConfigSource(tmp_path / "missing")
    assert amounts(empty.load()) == {}
    assert empty.usable
    assert missing.load() is None
    assert not missing.usable
