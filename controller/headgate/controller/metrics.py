"""What the controller tells of its work: builds, what Envoys said, the state of objects, hooks of Envoy Gateway.

Declared once for all modes, so that a name means one thing; what a mode does not have stays without series.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, cast

from headgate.compiler.conditions import ObjectStatus
from headgate.runtime.metrics import Description, Kind, Labels, Registry

SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
OK: Final = "ok"
FAILED: Final = "failed"
_NUMBERS: Final = (
    ("envoys", Kind.GAUGE, "Envoys that are connected."),
    ("problems", Kind.GAUGE, "Diagnostics of the configuration."),
    ("refusals", Kind.GAUGE, "Resources that are wanted and that an Envoy refuses."),
    ("leading", Kind.GAUGE, "Whether this replica writes."),
    ("status.writes", Kind.COUNTER, "Statuses written."),
    ("status.failures", Kind.COUNTER, "Statuses that could not be written."),
)


class ControllerMetrics:
    """Counts into a registry, and has the rest read where it is when somebody asks."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        counter, histogram = registry.counter, registry.histogram
        self._builds = histogram(
            "headgate.controller.build.duration",
            "Reading and compiling everything after a change.",
            ("result",),
            SECONDS,
            unit="s",
        )
        self._applied = histogram(
            "headgate.controller.apply.duration",
            "From a change to Envoy's last acknowledgement of it.",
            (),
            SECONDS,
            unit="s",
        )
        self.pushes = counter("headgate.controller.pushes", "Snapshots offered to Envoys.").at()
        self._nacks = counter("headgate.controller.nacks", "Refusals by Envoys, by the type of resource.", ("type",))
        self._hooks = histogram(
            "headgate.controller.hook.duration", "Calls of Envoy Gateway's hook.", ("result",), SECONDS, unit="s"
        )
        self.statuses: Callable[[], Iterable[ObjectStatus]] = tuple
        """Of all objects that are ours."""
        objects = Description(
            name="headgate.controller.objects",
            kind=Kind.GAUGE,
            help="Objects by what their conditions say; one with several parents counts as its worst.",
            labels=("kind", "condition", "status"),
        )
        registry.observed(objects, lambda: objects_by_condition(self.statuses()))
        self.numbers: dict[str, Callable[[], float]] = {}
        """What the mode counts, by the names below."""
        for name, kind, help_ in _NUMBERS:
            described = Description(name=f"headgate.controller.{name}", kind=kind, help=help_)
            registry.observed(described, lambda name=name: self._number(name))

    def built(self, seconds: float, *, failed: bool = False) -> None:
        """A build ended."""
        self._builds.at(FAILED if failed else OK).observe(seconds)

    def applied(self, seconds: float) -> None:
        """All of a snapshot was acknowledged."""
        self._applied.at().observe(seconds)

    def rejected(self, type_url: str) -> None:
        """An Envoy refused resources of a type."""
        self._nacks.at(type_url.rpartition(".")[2]).value += 1

    def hook(self, seconds: float, *, failed: bool = False) -> None:
        """A hook was answered."""
        self._hooks.at(FAILED if failed else OK).observe(seconds)

    def _number(self, name: str) -> Mapping[Labels, float]:
        read = self.numbers.get(name)
        return {} if read is None else {(): read()}


def objects_by_condition(statuses: Iterable[ObjectStatus]) -> Mapping[Labels, float]:
    """How many objects of a kind say what of themselves."""
    found: Counter[Labels] = Counter()
    for status in statuses:
        for condition, value in _worst(status.status).items():
            found[status.key.kind, condition, value] += 1
    return dict(found)


def _worst(status: object) -> Mapping[str, str]:
    """Conditions at any depth: of the object, of its parents, its ancestors, its listeners."""
    found: dict[str, str] = {}
    for condition in _conditions(status):
        name, value = str(condition.get("type", "")), str(condition.get("status", ""))
        if found.get(name) != "False":
            found[name] = value
    return found


def _conditions(value: object) -> Iterator[Mapping[str, object]]:
    if isinstance(value, Mapping):
        entries = cast("Mapping[str, object]", value)
        for name, inner in entries.items():
            if name == "conditions":
                yield from cast("Iterable[Mapping[str, object]]", inner)
            else:
                yield from _conditions(inner)
    elif isinstance(value, list | tuple):
        for inner in cast("Iterable[object]", value):
            yield from _conditions(inner)
