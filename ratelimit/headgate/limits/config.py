"""envoyproxy/ratelimit's configuration model as values: domains of nested descriptors with limits.

`parse_domain` reads one plain (YAML- or JSON-like) mapping and says what is wrong with the path of the field;
`dump_domain` is its inverse, without defaults. Unknown keys are errors, never ignored. `config_text` does it for YAML.
Reference: the README of https://github.com/envoyproxy/ratelimit, "Configuration".
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, cast

from headgate.limits.algorithms.pooled_window import POOL_ENTRY, Pool
from headgate.limits.algorithms.token_bucket import HITS_PER_SECOND_MAX
from headgate.limits.calendar import known_zone
from headgate.limits.units import COUNT_MAX, UNIT_SECONDS, UNITS_BY_NAME, Unit

Path = tuple[str | int, ...]
"""Where a value stands in its document: names of members and indices of elements."""

DEPTH_MAX: Final = 32
"""Nesting of descriptors; bounds recursion over a hostile file. Envoy sends at most a handful of entries."""


TOO_MANY: Final = 429
PAYMENT_REQUIRED: Final = 402
"""For budgets: clients try again by themselves after 429, which cannot help there."""


class ConfigError(Exception):
    """A configuration that cannot be used; `path` is where in the document."""

    def __init__(self, message: str, path: Path = ()) -> None:
        super().__init__(message)
        self.message = message
        self.path = path

    def __str__(self) -> str:
        return f"{path_text(self.path)}: {self.message}" if self.path else self.message


def path_text(path: Path) -> str:
    """`('descriptors', 0, 'key')` as `descriptors[0].key`."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


class Reserve(StrEnum):
    """What the hits at admission are; ours, envoyproxy/ratelimit has nothing like it."""

    OFF = ""
    """Counted for good."""
    LENIENT = "lenient"
    """An estimate that a settlement replaces. While anything is left, all are let in, and take at most that."""
    STRICT = "strict"
    """An estimate that a settlement replaces. Who might use more than is left is refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """`rate_limit`: so many hits per unit, or unlimited (then `unit` is None and nothing is counted)."""

    unit: Unit | None = None
    requests_per_unit: int = 0
    unlimited: bool = False
    name: str = ""
    """Shown to clients and in metrics, and what `replaces` refers to."""
    replaces: tuple[str, ...] = ()
    """Names of limits that do not count in a request where this one matches."""
    reserve: Reserve = Reserve.OFF
    slides: bool = False
    """Counts the last so many seconds, not those since the window began; ours."""
    time_zone: str = ""
    """Whose calendar days, weeks, months and years are; without one they are whole days since 1970, as there. Ours."""
    burst: int = 0
    """What a token bucket holds, which is refilled evenly; 0 where it is none. Ours."""
    warn_at: tuple[int, ...] = ()
    """Per cent of it from which answers warn; ours."""
    pools: tuple[Pool, ...] = ()
    """Who shares it, and how; a descriptor's last entry `pool` names the request's. Ours."""
    refusal_status: int = TOO_MANY
    """With which HTTP status it refuses; ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptor:
    """One level of the tree: an entry's key, maybe its value (`*` matches any run of characters), and what follows."""

    key: str
    value: str = ""
    rate_limit: RateLimit | None = None
    descriptors: tuple["Descriptor", ...] = ()
    shadow_mode: bool = False
    """Counts and reports, but never refuses."""
    quota_mode: bool = False
    """Refuses only together: where all limits of a request that are in quota mode are over."""
    detailed_metric: bool = False
    """Metrics name the request's values, not the rule's: as many series as there are values."""
    value_to_metric: bool = False
    """Likewise for this level alone."""
    share_threshold: bool = False
    """All values that match this wildcard share one counter."""
    domain: str = ""
    """Counters and metrics of this level and those below are named as if that domain had been asked; ours."""
    metadata: str = ""
    """What the answer's dynamic metadata gets where this limit has room, as JSON; empty is nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Domain:
    """A set of limits that Envoy's filter asks for by name."""

    name: str
    descriptors: tuple[Descriptor, ...] = ()


_DOMAIN_KEYS: Final = frozenset({"domain", "descriptors"})
_DESCRIPTOR_KEYS: Final = frozenset(
    {
        "key",
        "value",
        "rate_limit",
        "descriptors",
        "shadow_mode",
        "quota_mode",
        "detailed_metric",
        "value_to_metric",
        "share_threshold",
        "domain",
        "metadata",
    }
)
_RATE_LIMIT_KEYS: Final = frozenset(
    {
        "unit",
        "requests_per_unit",
        "unlimited",
        "name",
        "replaces",
        "reserve",
        "algorithm",
        "time_zone",
        "burst",
        "warn_at",
        "pools",
        "refusal_status",
    }
)
_REPLACES_KEYS: Final = frozenset({"name"})
_POOL_KEYS: Final = frozenset({"name", "rank", "min_reservation", "max_reservation"})
POOLS_MAX: Final = 16

FIXED_WINDOW: Final = "fixed_window"
SLIDING_WINDOW: Final = "sliding_window"
TOKEN_BUCKET: Final = "token_bucket"  # noqa: S105
_ALGORITHMS: Final = ("", FIXED_WINDOW, SLIDING_WINDOW, TOKEN_BUCKET)


def parse_domain(document: object, path: Path = ()) -> Domain:
    """One domain from a plain mapping; raises ConfigError with the path of the field."""
    mapping = _mapping(document, _DOMAIN_KEYS, path)
    name = _text(mapping, "domain", path)
    if not name:
        raise ConfigError("a domain needs a name", (*path, "domain"))
    return Domain(name=name, descriptors=_descriptors(mapping, path, depth=1))


def _descriptors(mapping: Mapping[str, object], path: Path, *, depth: int) -> tuple[Descriptor, ...]:
    path = (*path, "descriptors")
    if depth > DEPTH_MAX:
        raise ConfigError(f"descriptors are nested deeper than {DEPTH_MAX}", path)
    parsed: list[Descriptor] = []
    seen: set[tuple[str, str]] = set()
    for index, item in enumerate(_sequence(mapping, "descriptors", path)):
        descriptor = _descriptor(item, (*path, index), depth=depth)
        if (descriptor.key, descriptor.value) in seen:
            raise ConfigError(f"a second descriptor with {_naming(descriptor)} on this level", (*path, index))
        seen.add((descriptor.key, descriptor.value))
        parsed.append(descriptor)
    return tuple(parsed)


def _naming(descriptor: Descriptor) -> str:
    if descriptor.value:
        return f"key {descriptor.key!r} and value {descriptor.value!r}"
    return f"key {descriptor.key!r} and no value"


def _descriptor(document: object, path: Path, *, depth: int) -> Descriptor:
    mapping = _mapping(document, _DESCRIPTOR_KEYS, path)
    key, value = _text(mapping, "key", path), _text(mapping, "value", path)
    if not key:
        raise ConfigError("a descriptor needs a key", (*path, "key") if "key" in mapping else path)
    share_threshold = _flag(mapping, "share_threshold", path)
    if share_threshold and "*" not in value:
        raise ConfigError("needs a value with a wildcard (*)", (*path, "share_threshold"))
    rate_limit = (
        None if mapping.get("rate_limit") is None else _rate_limit(mapping["rate_limit"], (*path, "rate_limit"))
    )
    descriptors = _descriptors(mapping, path, depth=depth + 1)
    if rate_limit is not None and rate_limit.pools and any(each.key == POOL_ENTRY for each in descriptors):
        raise ConfigError(f"below a limit with pools, {POOL_ENTRY!r} names one of them", (*path, "descriptors"))
    return Descriptor(
        key=key,
        value=value,
        rate_limit=rate_limit,
        descriptors=descriptors,
        shadow_mode=_flag(mapping, "shadow_mode", path),
        quota_mode=_flag(mapping, "quota_mode", path),
        value_to_metric=_flag(mapping, "value_to_metric", path),
        detailed_metric=_flag(mapping, "detailed_metric", path),
        share_threshold=share_threshold,
        domain=_text(mapping, "domain", path),
        metadata=_metadata(mapping, path),
    )


def _metadata(mapping: Mapping[str, object], path: Path) -> str:
    value = mapping.get("metadata")
    if not value:
        return ""
    path = (*path, "metadata")
    if not isinstance(value, Mapping):
        raise ConfigError(f"expected a mapping, found {_kind(value)}", path)
    try:
        return json.dumps(value, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ConfigError("expected text, numbers, true, false, null, lists and mappings by text", path) from error


def _rate_limit(document: object, path: Path) -> RateLimit:
    mapping = _mapping(document, _RATE_LIMIT_KEYS, path)
    name, replaces = _text(mapping, "name", path), _replaces(mapping, path)
    if name and name in replaces:
        raise ConfigError("a limit cannot replace itself", (*path, "replaces"))
    unit_name = _text(mapping, "unit", path)
    if _flag(mapping, "unlimited", path):
        if unit_name:
            raise ConfigError("an unlimited limit has no unit", (*path, "unit"))
        return RateLimit(unlimited=True, name=name, replaces=replaces)
    unit = UNITS_BY_NAME.get(unit_name.lower())
    if unit is None:
        raise ConfigError(
            f"expected one of {', '.join(UNITS_BY_NAME)}, found {unit_name!r}",
            (*path, "unit") if "unit" in mapping else path,
        )
    amount = _amount(mapping, "requests_per_unit", path)
    algorithm = _algorithm(mapping, path)
    if unit is Unit.LIFETIME and (algorithm not in ("", FIXED_WINDOW) or mapping.get("time_zone")):
        raise ConfigError("what never resets has neither another algorithm nor a calendar", (*path, "unit"))
    return RateLimit(
        unit=unit,
        requests_per_unit=amount,
        name=name,
        replaces=replaces,
        reserve=_reserve(mapping, path),
        slides=algorithm == SLIDING_WINDOW,
        time_zone=_time_zone(mapping, path),
        burst=_burst(mapping, path, amount, unit) if algorithm == TOKEN_BUCKET else 0,
        warn_at=_warn_at(mapping, path),
        pools=_pools(mapping, path, algorithm, unit),
        refusal_status=_refusal_status(mapping, path),
    )


def _refusal_status(mapping: Mapping[str, object], path: Path) -> int:
    status = mapping.get("refusal_status", TOO_MANY)
    if status not in (TOO_MANY, PAYMENT_REQUIRED):
        raise ConfigError(f"expected {PAYMENT_REQUIRED} or {TOO_MANY}, found {status!r}", (*path, "refusal_status"))
    return int(cast("int", status))


def _pools(mapping: Mapping[str, object], path: Path, algorithm: str, unit: Unit) -> tuple[Pool, ...]:
    path = (*path, "pools")
    items = _sequence(mapping, "pools", path)
    if not items:
        return ()
    if algorithm or mapping.get("time_zone"):
        raise ConfigError("what pools share slides: it has no other algorithm, and no calendar", path)
    if unit in (Unit.SECOND, Unit.LIFETIME):
        raise ConfigError("pools share what there is in a minute or longer, but not for ever", path)
    if len(items) > POOLS_MAX:
        raise ConfigError(f"more than {POOLS_MAX} pools", path)
    pools = tuple(_pool(item, (*path, index)) for index, item in enumerate(items))
    if len({pool.name for pool in pools}) < len(pools):
        raise ConfigError("two pools have one name", path)
    if sum(pool.minimum for pool in pools) > 100:
        raise ConfigError("what is kept for pools is more than 100 per cent in all", path)
    return pools


def _pool(document: object, path: Path) -> Pool:
    mapping = _mapping(document, _POOL_KEYS, path)
    name = _text(mapping, "name", path)
    if not name:
        raise ConfigError("a pool needs a name", (*path, "name") if "name" in mapping else path)
    rank = _bounded(mapping, "rank", path, default=0, most=1_000_000)
    minimum = _bounded(mapping, "min_reservation", path, default=0, most=100)
    maximum = _bounded(mapping, "max_reservation", path, default=100, most=100)
    if maximum < minimum:
        raise ConfigError(f"is below min_reservation ({minimum})", (*path, "max_reservation"))
    return Pool(name=name, rank=rank, minimum=minimum, maximum=maximum)


def _bounded(mapping: Mapping[str, object], key: str, path: Path, *, default: int, most: int) -> int:
    value = mapping.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise ConfigError(f"expected a whole number from 0 to {most}, found {value!r}", (*path, key))
    return value


def _warn_at(mapping: Mapping[str, object], path: Path) -> tuple[int, ...]:
    found: list[int] = []
    for index, each in enumerate(_sequence(mapping, "warn_at", (*path, "warn_at"))):
        if not isinstance(each, int) or isinstance(each, bool) or not 1 <= each <= 100:
            raise ConfigError(f"expected per cent, from 1 to 100, found {each!r}", (*path, "warn_at", index))
        found.append(each)
    return tuple(found)


def _algorithm(mapping: Mapping[str, object], path: Path) -> str:
    text = _text(mapping, "algorithm", path)
    if text not in _ALGORITHMS:
        raise ConfigError(f"expected one of {', '.join(_ALGORITHMS[1:])}, found {text!r}", (*path, "algorithm"))
    if text in (SLIDING_WINDOW, TOKEN_BUCKET) and mapping.get("time_zone"):
        what = "windows of the calendar do not slide" if text == SLIDING_WINDOW else "a bucket has no calendar"
        raise ConfigError(f"{what}: their lengths differ", (*path, "algorithm"))
    if "burst" in mapping and text != TOKEN_BUCKET:
        raise ConfigError(f"only a limit with algorithm {TOKEN_BUCKET} has a burst", (*path, "burst"))
    return text


def _burst(mapping: Mapping[str, object], path: Path, amount: int, unit: Unit) -> int:
    fastest = HITS_PER_SECOND_MAX * UNIT_SECONDS[unit]
    if not 1 <= amount <= fastest:
        raise ConfigError(
            f"a bucket is refilled with 1 to {fastest} per {unit.name.lower()}, found {amount}",
            (*path, "requests_per_unit"),
        )
    burst = _amount(mapping, "burst", path) if "burst" in mapping else amount
    if not burst:
        raise ConfigError("a bucket that holds nothing refuses everything: expected at least 1", (*path, "burst"))
    return burst


def _time_zone(mapping: Mapping[str, object], path: Path) -> str:
    text = _text(mapping, "time_zone", path)
    if text and not known_zone(text):
        raise ConfigError(f"expected a time zone, like Europe/Berlin, found {text!r}", (*path, "time_zone"))
    return text


def _reserve(mapping: Mapping[str, object], path: Path) -> Reserve:
    text = _text(mapping, "reserve", path)
    if text not in set(Reserve):
        raise ConfigError(f"expected lenient or strict, found {text!r}", (*path, "reserve"))
    return Reserve(text)


def _amount(mapping: Mapping[str, object], key: str, path: Path) -> int:
    return _bounded(mapping, key, path, default=0, most=COUNT_MAX)


def _replaces(mapping: Mapping[str, object], path: Path) -> tuple[str, ...]:
    path = (*path, "replaces")
    names: list[str] = []
    for index, item in enumerate(_sequence(mapping, "replaces", path)):
        name = _text(_mapping(item, _REPLACES_KEYS, (*path, index)), "name", (*path, index))
        if not name:
            raise ConfigError("expected the name of a limit", (*path, index))
        names.append(name)
    return tuple(names)


def _mapping(document: object, known: frozenset[str], path: Path) -> Mapping[str, object]:
    if not isinstance(document, Mapping):
        raise ConfigError(f"expected a mapping, found {_kind(document)}", path)
    mapping = cast("Mapping[object, object]", document)
    for key in mapping:
        if isinstance(key, str) and key in known:
            continue
        raise ConfigError(f"unknown field; expected one of {', '.join(sorted(known))}", (*path, str(key)))
    return cast("Mapping[str, object]", mapping)


def _sequence(mapping: Mapping[str, object], key: str, path: Path) -> Sequence[object]:
    value = mapping.get(key)
    if value is None:
        return ()
    if not isinstance(value, (list, tuple)):
        raise ConfigError(f"expected a list, found {_kind(value)}", path)
    return cast("Sequence[object]", value)


def _text(mapping: Mapping[str, object], key: str, path: Path) -> str:
    match mapping.get(key):
        case None:
            return ""
        case str(value):
            return value
        case bool(value):
            # YAML reads unquoted yes/no/true/false as booleans; the descriptor's text cannot be recovered from them.
            raise ConfigError("expected text, found a boolean: put it in quotes", (*path, key))
        case int(value):
            return str(value)
        case other:
            raise ConfigError(f"expected text, found {_kind(other)}", (*path, key))


def _flag(mapping: Mapping[str, object], key: str, path: Path) -> bool:
    value = mapping.get(key, False)
    if not isinstance(value, bool):
        raise ConfigError(f"expected true or false, found {_kind(value)}", (*path, key))
    return value


def _kind(value: object) -> str:
    match value:
        case None:
            return "nothing"
        case Mapping():
            return "a mapping"
        case list() | tuple():
            return "a list"
        case bool():
            return "a boolean"
        case _:
            return repr(value)


def with_modes(domain: Domain, *, shadow: bool, quota: bool) -> Domain:
    """The domain with all its limits in shadow or quota mode besides those that are."""

    def changed(descriptor: Descriptor) -> Descriptor:
        return replace(
            descriptor,
            shadow_mode=descriptor.shadow_mode or shadow,
            quota_mode=descriptor.quota_mode or quota,
            descriptors=tuple(map(changed, descriptor.descriptors)),
        )

    return replace(domain, descriptors=tuple(map(changed, domain.descriptors)))


def merge_domains(domains: Iterable[Domain]) -> tuple[Domain, ...]:
    """Domains of one name as one, with all their descriptors; raises ConfigError where two have the same one."""
    merged: dict[str, tuple[Descriptor, ...]] = {}
    for domain in domains:
        before = merged.get(domain.name, ())
        for descriptor in domain.descriptors:
            if any((each.key, each.value) == (descriptor.key, descriptor.value) for each in before):
                raise ConfigError(f"domain {domain.name!r} has a second descriptor with {_naming(descriptor)}")
        merged[domain.name] = before + domain.descriptors
    return tuple(Domain(name=name, descriptors=descriptors) for name, descriptors in merged.items())


def dump_domain(domain: Domain) -> dict[str, object]:
    """The plain mapping that `parse_domain` reads back to an equal value; defaults are left out."""
    return {"domain": domain.name, "descriptors": [_dump_descriptor(each) for each in domain.descriptors]}


def _dump_descriptor(descriptor: Descriptor) -> dict[str, object]:
    fields: dict[str, object] = {
        "key": descriptor.key,
        "value": descriptor.value,
        "shadow_mode": descriptor.shadow_mode,
        "quota_mode": descriptor.quota_mode,
        "value_to_metric": descriptor.value_to_metric,
        "detailed_metric": descriptor.detailed_metric,
        "share_threshold": descriptor.share_threshold,
        "domain": descriptor.domain,
        "metadata": json.loads(descriptor.metadata) if descriptor.metadata else None,
        "rate_limit": None if descriptor.rate_limit is None else _dump_rate_limit(descriptor.rate_limit),
        "descriptors": [_dump_descriptor(each) for each in descriptor.descriptors],
    }
    return {key: value for key, value in fields.items() if value}


def _dump_rate_limit(limit: RateLimit) -> dict[str, object]:
    fields: dict[str, object] = {
        "name": limit.name,
        "unlimited": limit.unlimited,
        "replaces": [{"name": name} for name in limit.replaces],
        "reserve": str(limit.reserve),
        "algorithm": SLIDING_WINDOW if limit.slides else TOKEN_BUCKET if limit.burst else "",
        "burst": 0 if limit.burst == limit.requests_per_unit else limit.burst,
        "time_zone": limit.time_zone,
        "warn_at": list(limit.warn_at),
        "pools": [_dump_pool(pool) for pool in limit.pools],
        "refusal_status": 0 if limit.refusal_status == TOO_MANY else limit.refusal_status,
    }
    kept = {key: value for key, value in fields.items() if value}
    if limit.unit is None:
        return kept
    return {"unit": limit.unit.name.lower(), "requests_per_unit": limit.requests_per_unit, **kept}


def _dump_pool(pool: Pool) -> dict[str, object]:
    return {
        "name": pool.name,
        "rank": pool.rank,
        "min_reservation": pool.minimum,
        "max_reservation": pool.maximum,
    }
