"""What a running gateway's ledger holds, read from outside."""

import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from support.waiting import wait_until

Row = Mapping[str, Any]


class LedgerFile:
    """The SQLite file of a `headgate run --ledger PATH`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def rows(self, query: str = "SELECT * FROM usage_events ORDER BY id") -> list[dict[str, Any]]:
        """Empty before the tables are there. Lists and maps of events come as such."""
        if not self.path.exists():
            return []
        with closing(sqlite3.connect(self.path)) as connection:
            connection.row_factory = sqlite3.Row
            try:
                found = [dict(row) for row in connection.execute(query)]
            except sqlite3.OperationalError:
                return []
        for row in found:
            for name in ("flags", "attempted", "costs", "labels"):
                if name in row:
                    row[name] = json.loads(row[name])
        return found

    def wait(self, count: int) -> list[dict[str, Any]]:
        """All events, once there are `count`."""
        return wait_until(
            lambda: found if len(found := self.rows()) >= count else None,
            f"{count} rows in the ledger ({len(self.rows())} so far)",
        )

    def sums(self) -> dict[str, int]:
        """Of the hourly rows."""
        names = ("requests", "errors", "attempts", "input_tokens", "output_tokens", "total_tokens", "cost_nanos")
        columns = ", ".join(f"SUM({name}) AS {name}" for name in names)
        return self.rows(f"SELECT {columns} FROM usage_hourly")[0]
