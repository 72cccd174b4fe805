"""Counts what was decided, per rule, and writes it in Prometheus's text format under envoyproxy/ratelimit's names.

Plain integers: a decision costs a dictionary lookup, and importing a metrics library would be half of our start.
"""

import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Final

from headgate.limits.algorithms.counting import Part
from headgate.limits.engine import Decision, Moment, Status
from headgate.limits.warnings import crossed
from headgate.runtime.metrics import Description, Distribution, Kind, Reading, escaped

RULES_MAX: Final = 10_000
"""Rules with counters of their own; the rest share one named `other`. Bounds what `detailed_metric` can make."""

PART_RULES: Final = 200
"""Rules of a part of the text: less than a millisecond of work."""

NEAR_LIMIT_RATIO: Final = 0.8

DURATIONS: Final = (0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Seconds; those from 5 ms on are the exporter's that envoyproxy/ratelimit has."""


@dataclass(slots=True)
class RuleCounts:
    """Hits of one rule; the names are envoyproxy/ratelimit's."""

    total_hits: int = 0
    over_limit: int = 0
    near_limit: int = 0
    within_limit: int = 0
    over_limit_with_local_cache: int = 0
    shadow_mode: int = 0
    refused: int = 0
    """Requests this rule refused; ours."""
    warned: int = 0
    """How often use of it crossed a share that it warns at; ours."""
    steered: int = 0
    """Requests that did not begin with the backend it limits, because it is used up; ours."""


Single = tuple[str, Kind, int]
"""A counter or gauge without labels: its name in Prometheus' form, what it is, and how much."""
_RULE_LABELS: Final = ("domain", "rule", "key1", "key2")
_METHOD: Final = ("ShouldRateLimit",)
_RESPONSE_TIME: Final = Description(
    name="ratelimit.service.response_time",
    kind=Kind.HISTOGRAM,
    help="",
    labels=("grpc_method",),
    unit="s",
    bounds=DURATIONS,
)

OUTSTANDING: Final = "headgate_ratelimit_reservations_outstanding"
"""A gauge that every process on one Redis tells the same of: not to be added up."""


class Metrics:
    """The service's counters."""

    def __init__(self, *, near_limit_ratio: float = NEAR_LIMIT_RATIO, shadow_mode: bool = False) -> None:
        self._near_limit_ratio = near_limit_ratio
        self._shadow_mode = shadow_mode
        self.global_shadow_mode = 0
        """Decisions that would be refusals, were not all limits in shadow mode."""
        self._rules: dict[tuple[str, str], RuleCounts] = {}
        self.admissions = 0
        self.settlements = 0
        self.refusals = 0
        self.request_errors = 0
        self.storage_errors = 0
        self.config_loads = 0
        self.config_errors = 0
        self._durations = [0] * (len(DURATIONS) + 1)
        """Answers by the first of `DURATIONS` that they were not longer than."""
        self._duration_seconds = 0.0

    def record(self, decision: Decision, moment: Moment) -> Sequence[tuple[Status, int]]:
        """Counts one decision; returns which of its statuses crossed a share that their rule warns at (`crossed`)."""
        if moment is Moment.ADMISSION:
            self.admissions += 1
            if decision.refusal is not None:
                self.refusals += 1
        else:
            self.settlements += 1
        if self._shadow_mode and any(status.over for status in decision.statuses):
            self.global_shadow_mode += 1
        found: list[tuple[Status, int]] = []
        for status in decision.statuses:
            if status.op is not None:
                counts = self._record_status(status, decision, moment)
                if share := crossed(status):
                    counts.warned += 1
                    found.append((status, share))
            elif status.passed and status.match is not None:
                self.rule(status.match.rule.domain, status.match.metric_key).steered += 1
        return found

    def took(self, seconds: float) -> None:
        """Counts how long one answer took."""
        self._durations[bisect_left(DURATIONS, seconds)] += 1
        self._duration_seconds += seconds

    def rule(self, domain: str, key: str) -> RuleCounts:
        """The counts of a rule, made if need be."""
        counts = self._rules.get((domain, key))
        if counts is None:
            if len(self._rules) >= RULES_MAX:
                domain, key = "", "other"
            counts = self._rules.setdefault((domain, key), RuleCounts())
        return counts

    def _record_status(self, status: Status, decision: Decision, moment: Moment) -> RuleCounts:
        match, op = status.match, status.op
        assert match is not None
        assert op is not None
        counts = self.rule(match.rule.domain, match.metric_key)
        # A reservation is an estimate; what it came to is counted when it is settled.
        hits = 0 if op.part is Part.RESERVE else max(op.hits, 0)
        counts.total_hits += hits
        near = math.floor(op.limit * self._near_limit_ratio)
        if status.over:
            if status.before < op.limit < status.after:
                # A charge that crosses the limit: what lies below it was near.
                counts.near_limit += min(op.limit - max(near, status.before), hits)
            # Of a charge that crosses the limit, only what lies above it is over; a refused one is over as a whole.
            over = hits if status.before >= op.limit else max(status.before + hits - op.limit, 0)
            if op.refuses or op.quota:
                counts.over_limit += over
                counts.over_limit_with_local_cache += over if status.remembered else 0
                refuses = op.refuses or (decision.refusal is not None and decision.refusal.op == op)
                counts.refused += refuses and moment is Moment.ADMISSION
            else:
                counts.shadow_mode += over
        else:
            counts.within_limit += hits
            if status.after > near:
                # Of one that comes near, only what lies above.
                counts.near_limit += hits if status.before >= near else min(status.after - near, hits)
        return counts

    def statsd_counters(self) -> Iterator[tuple[str, int]]:
        """Counters under the names that envoyproxy/ratelimit gives them in statsd."""
        for (domain, key), counts in self._rules.items():
            for field in fields(RuleCounts):
                yield f"ratelimit.service.rate_limit.{domain}.{key}.{field.name}", getattr(counts, field.name)
        yield "ratelimit.service.call.should_rate_limit.redis_error", self.storage_errors
        yield "ratelimit.service.call.should_rate_limit.service_error", self.request_errors
        yield "ratelimit.service.config_load_success", self.config_loads
        yield "ratelimit.service.config_load_error", self.config_errors
        yield "ratelimit.service.global_shadow_mode", self.global_shadow_mode
        yield "ratelimit_server.ShouldRateLimit.total_requests", self._requests()

    def _duration_lines(self) -> Iterator[str]:
        name, method = "ratelimit_service_response_time_seconds", 'grpc_method="ShouldRateLimit"'
        yield f"# TYPE {name} histogram"
        total = 0
        for bound, count in zip((*DURATIONS, "+Inf"), self._durations, strict=True):
            total += count
            yield f'{name}_bucket{{{method},le="{bound}"}} {total}'
        yield f"{name}_sum{{{method}}} {self._duration_seconds:.9g}"
        yield f"{name}_count{{{method}}} {total}"

    def _requests(self) -> int:
        return self.admissions + self.settlements + self.storage_errors + self.request_errors

    def text(self, others: Iterable[Single] = ()) -> str:
        """Everything in Prometheus's text format; `others` are those of others: name, type and value."""
        return "".join(self.parts(others))

    def parts(self, others: Iterable[Single] = ()) -> Iterator[str]:
        """The text in parts of a few hundred lines, counted as late as each is taken: whoever takes them may count
        in between."""
        rules = tuple(self._rules.items())
        for field in fields(RuleCounts):
            name = f"ratelimit_service_rate_limit_{field.name}"
            yield f"# TYPE {name} counter\n"
            for first in range(0, len(rules), PART_RULES):
                yield "".join(
                    f"{name}{{{_labels(domain, key)}}} {getattr(counts, field.name)}\n"
                    for (domain, key), counts in rules[first : first + PART_RULES]
                )
        yield "".join(f"{line}\n" for line in self._service_lines(others))

    def readings(self, others: Iterable[Single] = ()) -> Iterator[Reading]:
        """The same as values, under names with dots."""
        rules = tuple(self._rules.items())
        for field in fields(RuleCounts):
            described = Description(
                name=f"ratelimit.service.rate_limit.{field.name}", kind=Kind.COUNTER, help="", labels=_RULE_LABELS
            )
            yield Reading(
                described, {_levels(domain, key): getattr(counts, field.name) for (domain, key), counts in rules}
            )
        failed = {("redis_error",): self.storage_errors, ("service_error",): self.request_errors}
        yield _reading("ratelimit.service.should_rate_limit_error", Kind.COUNTER, failed, ("err_type",))
        method = ("grpc_method",)
        yield _reading("ratelimit.service.total_requests", Kind.COUNTER, {_METHOD: self._requests()}, method)
        took = Distribution(DURATIONS)
        took.counts, took.total = [*self._durations], self._duration_seconds
        yield Reading(_RESPONSE_TIME, {_METHOD: took})
        for name, kind, value in (*self._singles(), *others):
            yield _reading(_dotted(name), kind, {(): value})

    def _service_lines(self, others: Iterable[Single]) -> Iterator[str]:
        yield "# TYPE ratelimit_service_should_rate_limit_error counter"
        yield f'ratelimit_service_should_rate_limit_error{{err_type="redis_error"}} {self.storage_errors}'
        yield f'ratelimit_service_should_rate_limit_error{{err_type="service_error"}} {self.request_errors}'
        yield "# TYPE ratelimit_service_total_requests counter"
        yield f'ratelimit_service_total_requests{{grpc_method="ShouldRateLimit"}} {self._requests()}'
        yield from self._duration_lines()
        for name, kind, value in (*self._singles(), *others):
            yield f"# TYPE {name} {kind}"
            yield f"{name} {value}"

    def _singles(self) -> Iterator[Single]:
        """Counters without labels."""
        for name, value in (
            ("headgate_ratelimit_admissions", self.admissions),
            ("headgate_ratelimit_settlements", self.settlements),
            ("headgate_ratelimit_refusals", self.refusals),
            ("headgate_ratelimit_request_errors", self.request_errors),
            ("headgate_ratelimit_storage_errors", self.storage_errors),
            ("ratelimit_service_config_load_success", self.config_loads),
            ("ratelimit_service_config_load_error", self.config_errors),
            ("ratelimit_service_global_shadow_mode", self.global_shadow_mode),
        ):
            yield name, Kind.COUNTER, value


@lru_cache(maxsize=RULES_MAX + 1)
def _labels(domain: str, key: str) -> str:
    named = zip(_RULE_LABELS, _levels(domain, key), strict=True)
    return ",".join(f'{name}="{escaped(value)}"' for name, value in named if value or name != "key2")


def _levels(domain: str, key: str) -> tuple[str, str, str, str]:
    """The rule, and its first two levels as the mapping that envoyproxy/ratelimit ships calls them."""
    first, _, rest = key.partition(".")
    return domain, key, first, rest.partition(".")[0]


def _reading(name: str, kind: Kind, values: Mapping[tuple[str, ...], int], labels: tuple[str, ...] = ()) -> Reading:
    return Reading(Description(name=name, kind=kind, help="", labels=labels), values)


def _dotted(name: str) -> str:
    """Of a name in Prometheus' form: `ratelimit_service_…`, `headgate_ratelimit_…`."""
    first, second, rest = name.split("_", 2)
    return f"{first}.{second}.{rest}"
