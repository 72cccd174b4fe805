"""Whom a limit counts: the select conditions of BackendTrafficPolicy and QuotaPolicy as selectors."""

import re
from collections.abc import Sequence
from ipaddress import ip_network
from typing import Protocol

from headgate.compiler import ir
from headgate.compiler.resolve.scope import Scope
from headgate.compiler.resources.metadata import Resource


class _Valued(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def type(self) -> str: ...
    @property
    def value(self) -> str | None: ...
    @property
    def invert(self) -> bool: ...


class _Typed(Protocol):
    @property
    def type(self) -> str: ...
    @property
    def value(self) -> str: ...
    @property
    def invert(self) -> bool: ...


class _Method(Protocol):
    @property
    def value(self) -> str: ...
    @property
    def invert(self) -> bool: ...


class Condition(Protocol):
    """Selects requests; all of it must hold."""

    @property
    def headers(self) -> Sequence[_Valued]: ...
    @property
    def methods(self) -> Sequence[_Method]: ...
    @property
    def path(self) -> _Typed | None: ...
    @property
    def source_cidr(self) -> _Typed | None: ...
    @property
    def query_params(self) -> Sequence[_Valued]: ...


def selectors(scope: Scope, policy: Resource, field: str, condition: Condition) -> tuple[ir.Selector, ...] | None:
    """What `condition` selects; None, reported, where a part of it cannot be expressed."""
    found = [_header(each) for each in condition.headers]
    if condition.methods:
        found.append(_methods(condition.methods))
    if condition.path is not None:
        found.append(_path(condition.path))
    for each in condition.query_params:
        found.append(_query(each))
        if each.type == "Distinct":
            found.append(ir.Selector(source=f"query:{each.name}", value=None))
    if condition.source_cidr is not None:
        chosen = _addresses(scope, policy, f"{field}.sourceCIDR", condition.source_cidr)
        if chosen is None:
            return None
        found.extend(chosen)
    return tuple(found)


def _header(header: _Valued) -> ir.Selector:
    name = header.name.lower()
    source = "model" if name == "x-ai-eg-model" else f"header:{name}"
    value = None if header.type == "Distinct" else header.value
    # (as the value of a descriptor's entry an empty one would stand for any)
    regex = header.type == "RegularExpression" or value == ""
    return ir.Selector(source=source, value=value, regex=regex, invert=header.invert)


def _methods(methods: Sequence[_Method]) -> ir.Selector:
    """Any of those that are not inverted, and none of those that are."""
    wanted = [each.value for each in methods if not each.invert]
    unwanted = [each.value for each in methods if each.invert]
    if not unwanted and len(wanted) == 1:
        return ir.Selector(source="header::method", value=wanted[0])
    if wanted:
        kept = [each for each in wanted if each not in unwanted] or ["-"]
        return ir.Selector(source="header::method", value="|".join(kept), regex=True)
    return ir.Selector(source="header::method", value="|".join(unwanted), regex=True, invert=True)


def _path(path: _Typed) -> ir.Selector:
    return ir.Selector(source="header::path", value=path_pattern(path), regex=True, invert=path.invert)


def path_pattern(path: _Typed) -> str:
    """The expression for a path with its query, whether or not it is to match."""
    escaped = re.escape(path.value.rstrip("/") if path.type == "PathPrefix" else path.value)
    match path.type:
        case "Exact":
            return rf"{escaped}(\?.*)?"
        case "PathPrefix":
            return rf"{escaped}([/?].*)?"
        case _:
            return rf"(?:{path.value})(\?.*)?"


def _query(parameter: _Valued) -> ir.Selector:
    if parameter.type == "Distinct":
        return ir.Selector(source="header::path", value=rf"[^?]*\?(.*&)?{re.escape(parameter.name)}=.*", regex=True)
    value = parameter.value or ""
    wanted = rf"(?:{value})" if parameter.type == "RegularExpression" else re.escape(value)
    pattern = rf"[^?]*\?(.*&)?{re.escape(parameter.name)}={wanted}(&.*)?"
    return ir.Selector(source="header::path", value=pattern, regex=True, invert=parameter.invert)


def _addresses(scope: Scope, policy: Resource, field: str, source: _Typed) -> list[ir.Selector] | None:
    try:
        network = ip_network(source.value, strict=False)
    except ValueError:
        scope.report.error(policy, f"{field}.value", f"{source.value} is no address range", remedy="like 10.0.0.0/8")
        return None
    found: list[ir.Selector] = []
    if network.prefixlen or source.invert:
        found.append(ir.Selector(source="range", value=str(network), invert=source.invert))
    if source.type == "Distinct":
        found.append(ir.Selector(source="remote_address", value=None))
    return found
