"""Which statuses have to be written, and how. Pure; `status_writer` does it.

A status is written by server-side apply, and only where the API server shows something else than what it should be:
* a condition keeps its `lastTransitionTime` for as long as its status stays;
* entries of other controllers in `parents` and `ancestors` stay: those lists are one field to the API server, so they
  are written whole, on the condition that nobody wrote them meanwhile (the resource version);
* what is there beyond what we want may be ours from an earlier life: it is written over once, and then left alone.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeGuard

from headgate.compiler.conditions import ObjectStatus
from headgate.compiler.resources.metadata import Key

SHARED_LISTS: Final = ("parents", "ancestors")
"""Members of a status that several controllers write entries of."""
_TIME: Final = "lastTransitionTime"

Json = Mapping[str, object]
_NOTHING: Final[Json] = {}


@dataclass(frozen=True, slots=True)
class Refused:
    """Envoy refused part of what an object says."""

    key: Key
    message: str


def with_programmed(
    statuses: Sequence[ObjectStatus], *, pending: Collection[Key] = (), refused: Sequence[Refused] = ()
) -> tuple[ObjectStatus, ...]:
    """Statuses whose `Programmed` conditions know what Envoy said.

    The compiler says whether there is a configuration. What Envoy refused of it is not programmed, and what no Envoy
    has answered to yet (`pending`) is unknown. Without any Envoy it counts as programmed, as Gateway API has it:
    there is a configuration that will be in force once something serves it.
    """
    refusals = {each.key: each.message for each in refused}

    def changed(key: Key, condition: Json) -> Json:
        if condition.get("type") != "Programmed" or condition.get("status") != "True":
            return condition
        if (message := refusals.get(key)) is not None:
            return {**condition, "status": "False", "reason": "Invalid", "message": f"Envoy refused it: {message}"}
        if key in pending:
            return {**condition, "status": "Unknown", "reason": "Pending", "message": "Envoy has not answered yet"}
        return condition

    def walk(key: Key, value: object) -> object:
        if _is_map(value):
            if "type" in value and "status" in value:
                return changed(key, value)
            return {name: walk(key, member) for name, member in value.items()}
        return [walk(key, each) for each in value] if _is_list(value) else value

    if not pending and not refusals:
        return tuple(statuses)
    found: list[ObjectStatus] = []
    for each in statuses:
        if each.key in refusals or each.key in pending:
            status = walk(each.key, each.status)
            assert _is_map(status)
            found.append(replace(each, status=status))
        else:
            found.append(each)
    return tuple(found)


def merged(wanted: Json, seen: Json, controller_name: str, now: str) -> Json:
    """What to write: `wanted` with the times of conditions, and with what other controllers said in shared lists."""
    with_times = _timed(wanted, seen, now)
    assert _is_map(with_times)
    return {
        name: [*value, *_foreign(seen.get(name), controller_name)]
        if name in SHARED_LISTS and _is_list(value)
        else value
        for name, value in with_times.items()
    }


def shared(status: Json) -> bool:
    """Whether the status holds lists that other controllers write too."""
    return any(name in status for name in SHARED_LISTS)


def covers(seen: Json, wanted: Json) -> bool:
    """Whether all of `wanted` is in `seen`."""
    return all(name in seen and _covered(seen[name], value) for name, value in wanted.items())


def has_more(seen: Json, wanted: Json, controller_name: str) -> bool:
    """Whether `seen` says more than `wanted`, entries of other controllers aside."""
    own = {
        name: [each for each in value if not _is_foreign(each, controller_name)]
        if name in SHARED_LISTS and _is_list(value)
        else value
        for name, value in seen.items()
    }
    return not _covered(_untimed(wanted), _untimed({name: value for name, value in own.items() if value != []}))


@dataclass(frozen=True, slots=True)
class ConditionChange:
    """A condition that becomes another one."""

    type: str
    status: str
    reason: str
    message: str
    before: str
    """Its status until now; empty where there was none."""


def condition_changes(wanted: Json, seen: Json) -> tuple[ConditionChange, ...]:
    """Conditions whose status or reason changes, each once."""
    found: dict[ConditionChange, None] = {}
    for path, condition in _conditions(wanted, ()):
        before = next((each for other, each in _conditions(seen, ()) if other == path), _NOTHING)
        values = {name: str(condition.get(name, "")) for name in ("type", "status", "reason", "message")}
        if (before.get("status"), before.get("reason")) != (condition.get("status"), condition.get("reason")):
            found[ConditionChange(**values, before=str(before.get("status", "")))] = None
    return tuple(found)


# --- walking along JSON


def _is_map(value: object) -> TypeGuard[Json]:
    return isinstance(value, Mapping)


def _is_list(value: object) -> TypeGuard[Sequence[object]]:
    return isinstance(value, (list, tuple))


def _identity(value: object) -> object:
    """What tells an entry of a list from its siblings."""
    if not _is_map(value):
        return value
    for name in ("parentRef", "ancestorRef"):
        reference = value.get(name)
        if _is_map(reference):
            kept = sorted((key, str(part)) for key, part in reference.items())
            return (name, *kept, str(value.get("controllerName", "")))
    for name in ("type", "name"):
        if name in value and ("status" in value or name == "name"):
            return (name, value[name])
    return None


def _timed(wanted: object, seen: object, now: str) -> object:
    if _is_map(wanted):
        before = seen if _is_map(seen) else _NOTHING
        if "type" in wanted and "status" in wanted:
            kept = before.get(_TIME) if before.get("status") == wanted["status"] else None
            return {**wanted, _TIME: kept or now}
        return {name: _timed(value, before.get(name), now) for name, value in wanted.items()}
    if _is_list(wanted):
        entries = seen if _is_list(seen) else ()
        return [_timed(each, _counterpart(each, entries), now) for each in wanted]
    return wanted


def _counterpart(entry: object, entries: Sequence[object]) -> object:
    identity = _identity(entry)
    return next((each for each in entries if _identity(each) == identity), None) if identity is not None else None


def _covered(seen: object, wanted: object) -> bool:
    if _is_map(wanted):
        return _is_map(seen) and covers(seen, wanted)
    if _is_list(wanted):
        if not _is_list(seen):
            return False
        return all(
            _covered(_counterpart(each, seen), each) if _identity(each) is not None else each in seen for each in wanted
        )
    return seen == wanted


def _untimed(value: object) -> object:
    if _is_map(value):
        return {name: _untimed(member) for name, member in value.items() if name != _TIME}
    return [_untimed(each) for each in value] if _is_list(value) else value


def _is_foreign(entry: object, controller_name: str) -> bool:
    return _is_map(entry) and entry.get("controllerName", controller_name) != controller_name


def _foreign(entries: object, controller_name: str) -> Iterator[object]:
    if _is_list(entries):
        yield from (each for each in entries if _is_foreign(each, controller_name))


def _conditions(value: object, path: tuple[object, ...]) -> Iterator[tuple[tuple[object, ...], Json]]:
    if _is_map(value):
        if "type" in value and "status" in value:
            yield (*path, value["type"]), value
        else:
            for name, member in value.items():
                yield from _conditions(member, (*path, name))
    elif _is_list(value):
        for each in value:
            identity = _identity(each)
            is_condition = _is_map(each) and "type" in each and "status" in each
            yield from _conditions(each, path if is_condition else (*path, identity))
