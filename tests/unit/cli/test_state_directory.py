"""The folder of a running gateway: who may use it, and what becomes of those whose process was killed."""

import os
from pathlib import Path

import pytest
from headgate.cli.start_error import StartError
from headgate.cli.state_directory import StateDirectory, remove_stale


@pytest.fixture
def temporary(short_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary folders are made; its path is short enough for sockets."""
    monkeypatch.setattr("tempfile.tempdir", str(short_path))
    return short_path


def _aged(path: Path) -> Path:
    os.utime(path, (0, 0))
    return path


def test_a_temporary_folder_goes_when_it_is_closed(temporary: Path) -> None:
    state = StateDirectory()
    assert state.path.parent == temporary
    state.close()
    assert not list(temporary.iterdir())


def test_the_folder_of_a_killed_process_goes_at_the_next_start(temporary: Path) -> None:
    killed = temporary / "headgate-killed"
    (killed / "files").mkdir(parents=True)
    (killed / "files" / "credentials").write_text("secret")
    (killed / "lock-temporary").touch()
    _aged(killed)
    state = StateDirectory()
    assert list(temporary.iterdir()) == [state.path]
    state.close()


def test_the_folder_of_another_gateway_stays(temporary: Path) -> None:
    first = StateDirectory()
    _aged(first.path)
    second = StateDirectory()
    assert {first.path, second.path} == set(temporary.iterdir())
    first.close()
    second.close()


def test_what_is_not_a_folder_of_ours_stays(short_path: Path) -> None:
    starting = short_path / "headgate-starting"
    starting.mkdir()
    (starting / "lock-temporary").touch()
    unlocked = short_path / "headgate-unlocked"
    unlocked.mkdir()
    _aged(unlocked)
    given = short_path / "headgate-given"
    StateDirectory(given).close()
    _aged(given)
    other = short_path / "other"
    (other / "files").mkdir(parents=True)
    (other / "lock-temporary").touch()
    _aged(other)
    (short_path / "headgate-link").symlink_to(other)
    before = sorted(short_path.iterdir())
    remove_stale(short_path)
    assert sorted(short_path.iterdir()) == before
    assert (other / "files").is_dir()


def test_a_given_folder_is_used_by_one_and_stays(short_path: Path) -> None:
    state = StateDirectory(short_path / "given")
    with pytest.raises(StartError, match="another headgate"):
        StateDirectory(short_path / "given")
    state.close()
    assert (short_path / "given").is_dir()
