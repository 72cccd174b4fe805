"""What the collector keeps in files is its user's alone: who asked what, and what it cost."""

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
