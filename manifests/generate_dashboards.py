"""Writes `dashboards/*.json`, what Grafana shows of Headgate's metrics, from rows of panels in the YAML beside them.

Run as `make manifests`; a test fails where a committed file is not what this writes, and another one asks a running
gateway for every metric and label that a panel uses.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import yaml

FOLDER = Path(__file__).with_name("dashboards")
SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
COLUMNS: Final = 24


class Panel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One panel. A `stat` is the last value, large; it is half as wide and high as a graph, unless it says so."""

    title: str
    text: str
    """What it shows."""
    query: str = ""
    """Its only line, without a legend; or else:"""
    queries: Mapping[str, str] = {}
    """Legend to expression, a line each."""
    kind: Literal["timeseries", "stat"] = "timeseries"
    unit: str = "short"
    width: int | None = None
    """Of 24 columns."""
    stacked: bool = False
    red_from: int | float | None = None
    least: int | float | None = 0

    @property
    def size(self) -> int:
        return 4 if self.kind == "stat" else 8


class Row(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Panels below a title."""

    title: str
    panels: tuple[Panel, ...]


class Board(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One dashboard."""

    uid: str
    title: str
    text: str
    variables: Mapping[str, str] = {}
    """Name to the query of its values."""
    rows: tuple[Row, ...]


def files() -> dict[Path, str]:
    """Every file with its content."""
    return {
        source.with_suffix(".json"): json.dumps(_board(_read(source)), indent=1, ensure_ascii=False) + "\n"
        for source in sorted(FOLDER.glob("*.yaml"))
    }


def _read(source: Path) -> Board:
    return msgspec.convert(yaml.safe_load(source.read_text()), Board)


def _board(board: Board) -> dict[str, Any]:
    return {
        "uid": board.uid,
        "title": board.title,
        "description": board.text,
        "tags": ["headgate"],
        "schemaVersion": 39,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": [_DATASOURCE, *(_variable(name, query) for name, query in board.variables.items())]},
        "panels": list(_panels(board.rows)),
    }


_DATASOURCE: Final = {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}


def _variable(name: str, query: str) -> dict[str, Any]:
    return {
        "name": name,
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "sort": 1,
        "includeAll": True,
        "allValue": ".*",
        "multi": True,
        "current": {"text": "All", "value": "$__all"},
    }


def _panels(rows: tuple[Row, ...]) -> Iterator[dict[str, Any]]:
    number, top = 0, 0
    for row in rows:
        number += 1
        yield {
            "id": number,
            "type": "row",
            "title": row.title,
            "collapsed": False,
            "panels": [],
            "gridPos": {"x": 0, "y": top, "w": COLUMNS, "h": 1},
        }
        top += 1
        left = 0
        for panel in row.panels:
            width = panel.width or panel.size
            if left + width > COLUMNS:
                left, top = 0, top + panel.size
            number += 1
            yield _panel(panel, number, {"x": left, "y": top, "w": width, "h": panel.size})
            left += width
        top += row.panels[-1].size


def _panel(panel: Panel, number: int, place: Mapping[str, int]) -> dict[str, Any]:
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.text,
        "datasource": SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": _defaults(panel), "overrides": []},
        "options": _OPTIONS[panel.kind],
        "targets": [
            {"refId": chr(65 + index), "datasource": SOURCE, "expr": expression, "legendFormat": legend}
            for index, (legend, expression) in enumerate((panel.queries or {"": panel.query}).items())
        ],
    }


_OPTIONS: Final[Mapping[str, dict[str, Any]]] = {
    "timeseries": {
        "legend": {"displayMode": "list", "placement": "bottom"},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "stat": {"reduceOptions": {"calcs": ["lastNotNull"]}, "graphMode": "none"},
}


def _defaults(panel: Panel) -> dict[str, Any]:
    """How values are drawn."""
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if panel.red_from is not None:
        steps.append({"color": "red", "value": panel.red_from})
    result: dict[str, Any] = {"unit": panel.unit, "thresholds": {"mode": "absolute", "steps": steps}}
    if panel.least is not None:
        result["min"] = panel.least
    if panel.kind == "timeseries":
        stacking = {"mode": "normal" if panel.stacked else "none", "group": "A"}
        result["custom"] = {"fillOpacity": 25 if panel.stacked else 8, "lineWidth": 1, "stacking": stacking}
    return result


if __name__ == "__main__":
    for path, content in files().items():
        path.write_text(content)
