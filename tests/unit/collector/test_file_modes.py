"""What the collector keeps in files is its user's alone: who asked what, and what it cost."""

import os
import stat
from pathlib import Path

from headgate.collector.spool import Spool
from headgate.collector.store.database import open_engine


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_folder_of_a_store_is_private(tmp_path: Path) -> None:
    open_engine(str(tmp_path / "data" / "headgate" / "usage.db")).dispose()
    assert mode(tmp_path / "data" / "headgate") == 0o700


def test_the_folder_of_a_spool_is_private(tmp_path: Path) -> None:
    Spool(tmp_path / "spool" / "store.jsonl", bytes_max=1000).close()
    assert mode(tmp_path / "spool") == 0o700


def test_what_tells_who_used_what_is_private(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        engine = open_engine(str(tmp_path / "usage.db"))
        with engine.connect() as connection:
            connection.exec_driver_sql("create table used (who text)")
            found = sorted(tmp_path.iterdir())
            assert {path.name: mode(path) for path in found} == dict.fromkeys((path.name for path in found), 0o600)
            assert len(found) == 3, "SQLite's journal has the file's mode"
        engine.dispose()
        Spool(tmp_path / "store.jsonl", bytes_max=1000).close()
        assert mode(tmp_path / "store.jsonl") == 0o600
    finally:
        os.umask(before)


def test_what_is_there_stays_as_its_owner_wants_it(tmp_path: Path) -> None:
    (tmp_path / "usage.db").touch(0o640)
    open_engine(str(tmp_path / "usage.db")).dispose()
    assert mode(tmp_path / "usage.db") == 0o640
