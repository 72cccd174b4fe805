"""Prometheus' text format, read by its own library."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Sample:
    """One line."""

    name: str
    labels: Labels
    value: float


class Page:
    """What a `/metrics` page said."""

    def __init__(self, text: str) -> None:
        self.families = {family.name: family for family in text_string_to_metric_families(text)}
        self.samples = tuple(
            Sample(sample.name, sample.labels, sample.value)
            for family in self.families.values()
            for sample in family.samples
        )

    def of(self, name: str, **labels: str) -> Iterator[Sample]:
        """The samples of this name that have these labels; an empty value is a label that is not there."""
        return (
            sample
            for sample in self.samples
            if sample.name == name and all(sample.labels.get(label, "") == value for label, value in labels.items())
        )

    def sum(self, name: str, **labels: str) -> float:
        return sum(sample.value for sample in self.of(name, **labels))

    def by(self, label: str, name: str, **labels: str) -> dict[str, float]:
        """Sums by the values of a label, without those that are 0."""
        found: Counter[str] = Counter()
        for sample in self.of(name, **labels):
            found[sample.labels.get(label, "")] += sample.value  # pyright: ignore[reportArgumentType]
        return {value: total for value, total in found.items() if total}


def page_when(text: str, done: Callable[[Page], bool]) -> Page | None:
    """The page if it says so; for `wait_until`."""
    page = Page(text)
    return page if done(page) else None
