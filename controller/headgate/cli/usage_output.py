"""How `headgate usage` shows rows of sums: a table, JSON, CSV, or a drawing in the terminal."""

import csv
import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from typing import Final, Protocol, cast

from headgate.collector.store.asking import QUANTILES, Answer
from headgate.collector.store.question import TIMES

Shown = Callable[[Sequence[str], Sequence[Answer]], str]
SERIES_MAX: Final = 8
"""Lines in one drawing; the rest would not be told apart."""
BARS_MAX: Final = 20
WIDTH_MIN: Final = 40
"""Of a drawing: in less there is room for names alone."""
_NONE: Final = "-"
_SHOWN_NANOS_MIN: Final = 100_000
"""What is less is not nothing: a table has four digits of a dollar."""
_FORMULAS: Final = ("=", "+", "-", "@")
"""How a cell begins that a spreadsheet computes."""


def _cost(answer: Answer) -> str:
    nanos = answer.sums["cost_nanos"]
    shown = "<0.0001" if 0 < nanos < _SHOWN_NANOS_MIN else f"{nanos / 1e9:,.4f}"
    return shown + ("+" if answer.sums["unpriced"] else "")


def _ms(value: float | None) -> str:
    return _NONE if value is None else f"{value:,.0f}"


def _count(name: str) -> Callable[[Answer], str]:
    return lambda answer: f"{answer.sums[name]:,}"


_COLUMNS: Final[Mapping[str, Callable[[Answer], str]]] = {
    "requests": _count("requests"),
    "errors": _count("errors"),
    "input": _count("input_tokens"),
    "cached": _count("cached_input_tokens"),
    "output": _count("output_tokens"),
    "tokens": _count("total_tokens"),
    "cost $": _cost,
    "p50 ms": lambda answer: _ms(answer.duration_ms[50]),
    "p95 ms": lambda answer: _ms(answer.duration_ms[95]),
    "p99 ms": lambda answer: _ms(answer.duration_ms[99]),
    "ttft p50": lambda answer: _ms(answer.ttft_ms[50]),
    "ttft p95": lambda answer: _ms(answer.ttft_ms[95]),
}


def _printable(value: str) -> str:
    """Part of a group for a terminal, which must not obey it: clients choose the names of models."""
    return "".join(each if each.isprintable() else f"\\x{ord(each):02x}" for each in value)


def _shown(value: str) -> str:
    return _printable(value) or _NONE


def _cell(value: str) -> str:
    """Part of a group for a spreadsheet, which must not take it for a formula."""
    return f"'{_printable(value)}" if value.startswith(_FORMULAS) else _printable(value)


def table(by: Sequence[str], answers: Sequence[Answer]) -> str:
    """Columns that line up, groups to the left. A cost with `+` lacks requests that have no price."""
    if not answers:
        return "no usage\n"
    rows = [[*by, *_COLUMNS]]
    rows += [[*map(_shown, each.group), *(show(each) for show in _COLUMNS.values())] for each in answers]
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    lines = (
        "  ".join(
            text.ljust(width) if index < len(by) else text.rjust(width)
            for index, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )
    return "".join(f"{line}\n" for line in lines)


def _values(by: Sequence[str], answer: Answer) -> dict[str, str | int | float | None]:
    result: dict[str, str | int | float | None] = dict(zip(by, answer.group, strict=True))
    result.update(answer.sums)
    for quantile in QUANTILES:
        result[f"duration_ms_p{quantile}"] = answer.duration_ms[quantile]
    for quantile in QUANTILES:
        result[f"ttft_ms_p{quantile}"] = answer.ttft_ms[quantile]
    return result


def as_json(by: Sequence[str], answers: Sequence[Answer]) -> str:
    """A list of objects."""
    return json.dumps([_values(by, answer) for answer in answers], indent=2) + "\n"


def as_csv(by: Sequence[str], answers: Sequence[Answer]) -> str:
    """With a header; money in billionths of a dollar, so that sums are exact."""
    out = io.StringIO()
    safe = (replace(answer, group=tuple(map(_cell, answer.group))) for answer in answers)
    rows = [_values(by, answer) for answer in safe]
    writer = csv.DictWriter(out, list(rows[0]) if rows else list(by), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


FORMATS: Final[Mapping[str, Shown]] = {"table": table, "json": as_json, "csv": as_csv}

PLOTTED: Final[Mapping[str, Callable[[Answer], float]]] = {
    "tokens": lambda answer: answer.sums["total_tokens"],
    "cost": lambda answer: answer.sums["cost_nanos"] / 1e9,
    "requests": lambda answer: answer.sums["requests"],
    "errors": lambda answer: answer.sums["errors"],
    "p95": lambda answer: answer.duration_ms[95] or 0.0,
    "ttft": lambda answer: answer.ttft_ms[95] or 0.0,
}
"""What can be drawn."""


class _Plotext(Protocol):
    """What we use of plotext, which has no types."""

    def clear_figure(self) -> object: ...
    def plot_size(self, width: int, height: int) -> object: ...
    def theme(self, name: str) -> object: ...
    def title(self, label: str) -> object: ...
    def bar(self, labels: Sequence[str], values: Sequence[float], *, orientation: str, width: float) -> object: ...
    def plot(self, x: Sequence[int], y: Sequence[float], *, label: str) -> object: ...
    def xticks(self, ticks: Sequence[int], labels: Sequence[str]) -> object: ...
    def ylim(self, lower: float, upper: float | None) -> object: ...
    def build(self) -> str: ...


def plot(by: Sequence[str], answers: Sequence[Answer], what: str, *, width: int) -> str:
    """Lines over time where `by` has one, a line per other group; else bars. Long names are cut."""
    if not answers:
        return "no usage"
    width = max(width, WIDTH_MIN)
    plotext = cast("_Plotext", import_module("plotext"))  # imported here: only a drawing needs it
    plotext.clear_figure()
    plotext.theme("clear")
    plotext.title(f"{what} by {', '.join(by)}" if by else what)
    value = PLOTTED[what]
    timed = next((index for index, name in enumerate(by) if name in TIMES), None)
    if timed is None:
        shown = sorted(answers, key=value)[-BARS_MAX:]
        plotext.plot_size(width, len(shown) * 2 + 5)
        labels = [_cut(" ".join(map(_shown, each.group)) or "all", width // 3) for each in shown]
        plotext.bar(labels, [value(each) for each in shown], orientation="horizontal", width=0.5)
        return _plain(plotext.build())
    plotext.plot_size(width, 22)
    _lines(plotext, answers, timed, value, width // 3)
    return _plain(plotext.build())


def _plain(drawing: str) -> str:
    """Without what terminals read as colours: files and pipes get it too."""
    return re.sub(r"\x1b\[[0-9;]*m", "", drawing)


def _cut(name: str, length: int) -> str:
    return name if len(name) <= length else f"{name[: length - 1]}…"


def _lines(
    plotext: _Plotext, answers: Sequence[Answer], timed: int, value: Callable[[Answer], float], name_length: int
) -> None:
    moments = sorted({each.group[timed] for each in answers})
    at = {moment: index for index, moment in enumerate(moments)}
    series: dict[str, list[float]] = {}
    for each in answers:
        name = " ".join(_shown(part) for index, part in enumerate(each.group) if index != timed) or "all"
        series.setdefault(name, [0.0] * len(moments))[at[each.group[timed]]] += value(each)
    for name in sorted(series, key=lambda name: -sum(series[name]))[:SERIES_MAX]:
        plotext.plot(range(len(moments)), series[name], label=_cut(name, name_length))
    step = max(1, len(moments) // 6)
    plotext.xticks(range(0, len(moments), step), moments[::step])
    plotext.ylim(0, None)
