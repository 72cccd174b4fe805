"""One page for all processes."""

from headgate.cli.joined_metrics import joined
from headgate.runtime.metrics import Registry
from support.prometheus import Page


def page(name: str, value: int, *labels: str) -> str:
    registry = Registry()
    registry.counter(name, f"help of {name}", tuple(labels)).at(*("v" for _ in labels)).value = value
    registry.histogram("headgate.event_loop.lag", "lag", (), (1.0,), unit="s").at().observe(value)
    return registry.text()


def test_families_stand_once_and_say_whose_they_are() -> None:
    text = joined(
        {
            "run": page("headgate.ready", 1),
            "extproc-0": page("headgate.extproc.streams", 2, "kind"),
            "extproc-1": page("headgate.extproc.streams", 3, "kind"),
            "collector": page("headgate.requests", 4, "route"),
        }
    )
    assert text.count("# TYPE headgate_extproc_streams_total ") == 1
    assert text.count("# TYPE headgate_event_loop_lag_seconds ") == 1
    found = Page(text)
    assert found.by("process", "headgate_extproc_streams_total", kind="v") == {"extproc-0": 2, "extproc-1": 3}
    assert found.by("process", "headgate_event_loop_lag_seconds_count").keys() == {
        "run",
        "extproc-0",
        "extproc-1",
        "collector",
    }
    assert found.by("process", "headgate_requests_total") == {"": 4}, "one collector needs no name"
