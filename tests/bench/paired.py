"""How much later a chunk comes through the gateway than through a bare hop, on a machine that others use too.

Both are asked for the same streams at the same time, by one generator, of one provider; so what disturbs the chunks of
one disturbs those of the other, and a round is the difference of two quantiles of the same seconds. The first row is a
bare hop against itself: what it differs by is what the method cannot tell.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from bench import report
from bench.data_path import PACE_FOR_LATENCY_MS, Stage, load_for
from bench.measure import quantile, run_load
from bench.scenarios import Scenario

ROUNDS: Final = 20
STREAMS: Final = 8
"""Of each: some 400 chunks a second."""
BARE: Final = "bare-stream"


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """Quantiles in microseconds of the chunks of some seconds."""

    chunks: int
    """Of each."""
    bare_p50: float
    bare_p99: float
    p50: float
    p99: float
    failures: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """A scenario beside a bare hop."""

    means: str
    rounds: tuple[Round, ...]


def _round(scenario: Scenario, ready: Mapping[str, Stage], seconds: float, *, bare_first: bool) -> Round:
    ports = [ready[scenario.name].port, ready[BARE].port]
    if bare_first:  # of two chunks that come together, the generator sees one first
        ports.reverse()
    load = load_for(scenario, "chunk-latency", ports[0], seconds)
    stagger_seconds = PACE_FOR_LATENCY_MS / 1000 / (2 * STREAMS)
    load = replace(load, connections=STREAMS, other_ports=ports[1:], stagger_seconds=stagger_seconds)
    result = run_load(load)
    ours, bare = reversed(result.by_port_us) if bare_first else result.by_port_us
    return Round(
        chunks=min(len(ours), len(bare)),
        bare_p50=quantile(bare, 0.5),
        bare_p99=quantile(bare, 0.99),
        p50=quantile(ours, 0.5),
        p99=quantile(ours, 0.99),
        failures=result.failures,
    )


def run(scenarios: Sequence[Scenario], ready: Mapping[str, Stage], *, rounds: int, seconds: float) -> tuple[Pairs, ...]:
    """Every streamed scenario that goes through an Envoy, in turns."""
    streamed = [each for each in scenarios if each.streamed and each.via != "nothing"]
    found: dict[str, list[Round]] = {each.name: [] for each in streamed}
    for number in range(rounds):
        for scenario in streamed:
            found[scenario.name].append(_round(scenario, ready, seconds, bare_first=number % 2 == 1))
    return tuple(Pairs(means=each.means, rounds=tuple(found[each.name])) for each in streamed)


def _quieter(rounds: Sequence[Round]) -> Sequence[Round]:
    """The half of the rounds that was better to the bare hop: a choice that can only speak against the other."""
    return sorted(rounds, key=lambda each: each.bare_p99)[: (len(rounds) + 1) // 2]


def table(pairs: Sequence[Pairs]) -> str:
    """What is added to each quantile, as the median of the rounds."""
    rows: list[list[str]] = []
    for each in pairs:
        quieter = _quieter(each.rounds)
        added = [one.p99 - one.bare_p99 for one in each.rounds]
        numbers = (
            statistics.median(one.p50 - one.bare_p50 for one in each.rounds),
            statistics.median(added),
            min(added),
            statistics.median(one.p99 - one.bare_p99 for one in quieter),
            statistics.median(one.bare_p99 for one in quieter),
            sum(one.chunks for one in each.rounds),
            sum(one.failures for one in each.rounds),
        )
        rows.append([each.means, *(f"{number:,.0f}" for number in numbers)])
    head = [
        "us added to a bare hop",
        "p50",
        "p99",
        "least p99",
        "quieter half: p99",
        "bare hop's p99",
        "chunks",
        "failed",
    ]
    return report.table(head, rows)
