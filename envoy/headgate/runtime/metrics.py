"""Metrics of a process: counted in plain attributes, told as Prometheus' text or to whoever else reads `Registry.read`.

A family is named as OpenTelemetry would (`gen_ai.server.request.duration`, unit `s`); Prometheus' name follows from it,
as OpenTelemetry's exporters make it. One event loop counts and tells; nothing is locked. A label whose value is empty
is not there.

Bounds: a family has at most `series_max` label sets. What comes beyond is counted where the labels that others choose
(`open`) say `other`.
"""

from bisect import bisect_left
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Final, Generic, TypeVar

SERIES_MAX: Final = 2_000
OTHER: Final = "other"
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_UNITS: Final[Mapping[str, str]] = {"s": "seconds", "By": "bytes", "token": "token", "USD": "usd"}
"""compat: `token` stays as it is. A unit in braces says what is counted and is in no name."""
_EXPONENT_FROM: Final = 6

Labels = tuple[str, ...]


class Kind(StrEnum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What a family is."""

    name: str
    kind: Kind
    help: str
    labels: Labels = ()
    open: frozenset[str] = frozenset()
    """Labels whose values clients choose."""
    unit: str = ""
    bounds: tuple[float, ...] = ()
    """Of a histogram's buckets."""

    @property
    def prometheus_name(self) -> str:
        """As `gen_ai_server_request_duration_seconds`."""
        stem = prometheus_label(self.name)
        unit = _UNITS.get(self.unit, "")
        suffix = f"_{unit}" if unit and not stem.endswith(f"_{unit}") else ""
        return f"{stem}{suffix}{'_total' if self.kind is Kind.COUNTER else ''}"


def prometheus_label(name: str) -> str:
    """A name as Prometheus takes it."""
    return "".join(char if char.isalnum() and char.isascii() else "_" for char in name)


@dataclass(slots=True)
class Number:
    """One counter or gauge. Whole numbers stay whole, and so exact."""

    value: float = 0


class Distribution:
    """One histogram."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total: float = 0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    @property
    def count(self) -> int:
        return sum(self.counts)


Series = TypeVar("Series", Number, Distribution)


class Family(Generic[Series]):
    """The series of one description, by the values of its labels."""

    __slots__ = ("_make", "_open", "_series_max", "description", "folded", "series")

    def __init__(self, description: Description, make: Callable[[], Series], series_max: int) -> None:
        self.description = description
        self.series: dict[Labels, Series] = {}
        self.folded = 0
        """How often `at` found no room."""
        self._make = make
        self._series_max = series_max
        self._open = tuple(name in description.open for name in description.labels)

    def at(self, *values: str) -> Series:
        """The series of these values, made if need be; the one for the rest where there is no room."""
        found = self.series.get(values)
        return self._new(values) if found is None else found

    def _new(self, values: Labels) -> Series:
        if len(self.series) >= self._series_max:
            self.folded += 1
            values = self._rest(values)
        return self.series.setdefault(values, self._make())

    def _rest(self, values: Labels) -> Labels:
        """Where only others' labels are folded, the rest is few: it is bounded by what we are configured to be."""
        if not any(self._open):
            return (OTHER,) * len(values)
        return tuple(OTHER if is_open else value for value, is_open in zip(values, self._open, strict=True))


Value = float | Distribution


@dataclass(frozen=True, slots=True)
class Reading:
    """A family as it is now."""

    description: Description
    values: Mapping[Labels, Value]


Read = Callable[[], AsyncIterator[Reading]]
"""All that there is to tell now."""


class Registry:
    """All metrics of a process, in the order in which they were declared."""

    def __init__(self, series_max: int = SERIES_MAX) -> None:
        self._series_max = series_max
        self._folded: list[Callable[[], int]] = []
        self._read: dict[str, Callable[[], Reading]] = {}

    @property
    def folded(self) -> int:
        """How often, in all, a series was asked for that had no room of its own."""
        return sum(folded() for folded in self._folded)

    def counter(
        self, name: str, help_: str, labels: Labels = (), *, unit: str = "", open_: Labels = (), parts: int = 1
    ) -> Family[Number]:
        """A sum that only grows, counted in whole numbers, and so exact; `parts` of them are one of the unit."""
        described = Description(
            name=name, kind=Kind.COUNTER, help=help_, labels=labels, open=frozenset(open_), unit=unit
        )
        family = self._family(described, Number)
        if not labels:
            family.at()  # it is 0 before it is counted

        def read() -> Reading:
            values = ((key, each.value) for key, each in family.series.items())
            return Reading(described, {key: value if parts == 1 else value / parts for key, value in values})

        self._declare(described, read)
        return family

    def histogram(
        self, name: str, help_: str, labels: Labels, bounds: tuple[float, ...], *, unit: str, open_: Labels = ()
    ) -> Family[Distribution]:
        """How values are spread."""
        described = Description(
            name=name, kind=Kind.HISTOGRAM, help=help_, labels=labels, open=frozenset(open_), unit=unit, bounds=bounds
        )
        family = self._family(described, lambda: Distribution(bounds))
        self._declare(described, lambda: Reading(described, dict(family.series)))
        return family

    def observed(self, description: Description, read: Callable[[], Mapping[Labels, float]]) -> None:
        """Numbers that somebody else counts, read when they are told."""
        self._declare(description, lambda: Reading(description, dict(read())))

    def read(self) -> Iterator[Reading]:
        """All families now, those without series as well."""
        return (read() for read in self._read.values())

    def text(self) -> str:
        """Prometheus' text format."""
        return "".join(f"{line}\n" for reading in self.read() for line in _lines(reading))

    def _family(self, description: Description, make: Callable[[], Series]) -> Family[Series]:
        family = Family(description, make, self._series_max)
        self._folded.append(lambda: family.folded)
        return family

    def _declare(self, description: Description, read: Callable[[], Reading]) -> None:
        if description.name in self._read:
            raise ValueError(f"{description.name} is declared twice")
        self._read[description.name] = read


def number(value: float) -> str:
    """As Go writes it, which is how Prometheus' own exporters label buckets: 1048576 is `1.048576e+06`."""
    _, digits, places = Decimal(repr(value)).normalize().as_tuple()
    exponent = len(digits) + int(places) - 1
    if value and not -4 <= exponent < _EXPONENT_FROM:
        rest = "".join(map(str, digits[1:]))
        return f"{'-' if value < 0 else ''}{digits[0]}{'.' if rest else ''}{rest}e{exponent:+03d}"
    return f"{int(value)}" if value == int(value) else repr(value)


def _lines(reading: Reading) -> Iterator[str]:
    described = reading.description
    name = described.prometheus_name
    yield f"# HELP {name} {described.help}"
    yield f"# TYPE {name} {described.kind}"
    labels = tuple(map(prometheus_label, described.labels))
    edges = (*map(number, described.bounds), "+Inf")
    for values, value in reading.values.items():
        known = [f'{label}="{escaped(text)}"' for label, text in zip(labels, values, strict=True) if text]
        if isinstance(value, Distribution):
            yield from _histogram(name, known, edges, value)
        else:
            yield f"{name}{_braced(known)} {value}"


def _histogram(name: str, labels: list[str], edges: Labels, value: Distribution) -> Iterator[str]:
    running, before = 0, "".join(f"{label}," for label in labels)
    for edge, count in zip(edges, value.counts, strict=True):
        running += count
        yield f'{name}_bucket{{{before}le="{edge}"}} {running}'
    yield f"{name}_sum{_braced(labels)} {value.total}"
    yield f"{name}_count{_braced(labels)} {running}"


def _braced(labels: list[str]) -> str:
    return f"{{{','.join(labels)}}}" if labels else ""


def escaped(value: str) -> str:
    """As a label's value stands in Prometheus' text."""
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
