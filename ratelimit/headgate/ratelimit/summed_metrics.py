"""The metrics of several processes as those of one: pages in Prometheus' text format, added up. Pure.

What only grows (counters, histograms) never falls: what a process had counted when it answered last stays counted
while it does not answer, and when it is gone. A gauge is the sum over those that answer now; one that is `shared`, of
which all tell the same, is the highest that any tells. No sample has a time, and a histogram has the same buckets
everywhere: they are pages of one program.
"""

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

GONE_SERIES_MAX: Final = 100_000
"""Series that are kept of processes that are gone: names of clients may be among them, and processes may die often."""


@dataclass(slots=True)
class _Family:
    head: tuple[str, ...]
    """Its comments: what it is, and of what type."""
    grows: bool
    samples: dict[str, float] = field(default_factory=dict[str, float])
    """By name and labels."""


_Page = dict[str, _Family]


class Sums:
    """What processes have counted together since this was made."""

    def __init__(self, *, shared: Collection[str] = (), gone_series_max: int = GONE_SERIES_MAX) -> None:
        """`shared` are names of families."""
        self._shared = shared
        self._gone_series_max = gone_series_max
        self._gone: _Page = {}
        self._last: dict[int, _Page] = {}
        """By process: what grows, as it was told last."""

    def text(self, pages: Mapping[int, str | None]) -> str:
        """One page of those of all processes that there are now, each by a number of its own; None is for one that does
        not answer."""
        for process in [each for each in self._last if each not in pages]:
            _add(self._last.pop(process), self._gone, self._gone_series_max)
        total: _Page = {}
        for process, text in pages.items():
            page = self._last.get(process, {}) if text is None else _parsed(text)
            self._last[process] = {name: family for name, family in page.items() if family.grows}
            shared = {name: page.pop(name) for name in self._shared if name in page}
            _add(page, total)
            _raise(shared, total)
        _add(self._gone, total)
        return "".join(f"{line}\n" for line in _lines(total))


def _add(page: _Page, total: _Page, series_max: float = math.inf) -> None:
    """Into `total`, which gets no new series when it has so many."""
    count = sum(len(family.samples) for family in total.values())
    for name, family in page.items():
        into = total.setdefault(name, _Family(family.head, family.grows)).samples
        for series, value in family.samples.items():
            if series in into:
                into[series] += value
            elif count < series_max:
                into[series] = value
                count += 1


def _raise(page: _Page, total: _Page) -> None:
    for name, family in page.items():
        into = total.setdefault(name, _Family(family.head, family.grows)).samples
        for series, value in family.samples.items():
            into[series] = max(into.get(series, value), value)


def _parsed(text: str) -> _Page:
    page: _Page = {}
    head: list[str] = []
    name, samples = "", dict[str, float]()
    for line in text.splitlines():
        if not line.startswith("#"):
            series, _, value = line.rpartition(" ")
            samples[series] = _number(value)
            continue
        _, what, named, said = line.split(" ", 3)
        if named != name:
            name, head = named, []
        head.append(line)
        if what == "TYPE":
            family = page[name] = _Family(tuple(head), grows=said in ("counter", "histogram"))
            samples = family.samples
    return page


def _number(text: str) -> float:
    """Whole numbers stay whole, and so exact."""
    try:
        return int(text)
    except ValueError:
        return float(text)


def _lines(page: _Page) -> Iterator[str]:
    for family in page.values():
        yield from family.head
        for series, value in family.samples.items():
            yield f"{series} {value}"
