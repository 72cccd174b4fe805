"""What Grafana's typed models say against a dashboard: members they do not know, and values that are none of theirs.

The models (PyPI's `grafana-foundation-sdk`, made from Grafana's own schemas) read whatever they are given: a member
that they do not know is lost, a value of another type kept. So what was read is compared with what it was read from.
"""

import types
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any, Literal, Union, cast, get_args, get_origin, get_type_hints

from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

Members = Mapping[str, Any]


def faults(board: Members) -> list[str]:
    """Each with its path; none for a dashboard that is as Grafana declares it, its panels and queries included."""
    register_default_plugins()
    read = Dashboard.from_json(dict(board))
    return [*_lost(board, _plain(read), "$"), *_mistyped(read, Dashboard, "$")]


def _plain(value: Any) -> Any:
    """As JSON would have it: the models write one level at a time."""
    if hasattr(value, "to_json"):
        return _plain(value.to_json())
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in cast("Members", value).items()}
    return [_plain(each) for each in cast("list[Any]", value)] if isinstance(value, list) else value


def _lost(given: Any, kept: Any, path: str) -> Iterator[str]:
    """Members that are not in what was read. What is null counts as left out."""
    if isinstance(given, dict) and isinstance(kept, dict):
        members = cast("Members", kept)
        for key, value in cast("Members", given).items():
            if value is None:
                continue
            if key not in members:
                yield f"{path}.{key}: no such member"
            else:
                yield from _lost(value, members[key], f"{path}.{key}")
    elif isinstance(given, list) and isinstance(kept, list):
        for index, (one, other) in enumerate(zip(cast("list[Any]", given), cast("list[Any]", kept), strict=True)):
            yield from _lost(one, other, f"{path}[{index}]")
    elif given != kept:
        yield f"{path}: read as {kept!r}"


def _mistyped(value: Any, hint: Any, path: str) -> Iterator[str]:
    """Values that are not what their model declares."""
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        wanted = [each for each in get_args(hint) if (each is types.NoneType) is (value is None)]
        found = [list(_mistyped(value, each, path)) for each in wanted]
        yield from min(found, key=len, default=[f"{path}: {value!r} where there must be something"])
    elif origin is list and isinstance(value, list):
        for index, each in enumerate(cast("list[Any]", value)):
            yield from _mistyped(each, get_args(hint)[0], f"{path}[{index}]")
    elif origin is dict and isinstance(value, dict):
        for key, each in cast("Members", value).items():
            yield from _mistyped(each, get_args(hint)[1], f"{path}.{key}")
    elif hasattr(value, "to_json"):
        hints = get_type_hints(cast("object", value).__class__)
        for name, each in cast("Members", vars(value)).items():
            yield from _mistyped(each, hints.get(name, object), f"{path}.{name}")
    elif not _is(value, hint, origin):
        yield f"{path}: {value!r} is no {getattr(hint, '__name__', hint)}"


def _is(value: Any, hint: Any, origin: Any) -> bool:
    if origin is Literal:
        return value in get_args(hint)
    if hint in (object, Any):
        return True
    if isinstance(hint, type) and issubclass(hint, Enum):
        return value in {each.value for each in hint}
    if hint in (int, float):
        return isinstance(value, (int, hint)) and not isinstance(value, bool)
    return isinstance(value, origin or hint)
