"""The configuration as YAML text: one or more documents, a domain each.

Errors name the file, the line and the field: `limits.yaml:12: descriptors[0].rate_limit.unit: expected one of …`.
"""

from collections.abc import Iterable
from typing import Any, Final, cast

import yaml
from headgate.limits.config import ConfigError, Domain, Path, dump_domain, parse_domain, path_text

_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DUMPER: Final = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class ConfigTextError(ConfigError):
    """A text that cannot be used; prints as `file:line: field: what is wrong`. `line` counts from 1."""

    def __init__(self, message: str, *, file: str, line: int, path: Path = ()) -> None:
        super().__init__(message, path)
        self.file = file
        self.line = line

    def __str__(self) -> str:
        where = f"{path_text(self.path)}: " if self.path else ""
        return f"{self.file}:{self.line}: {where}{self.message}"


def parse_text(text: str, *, file: str) -> tuple[Domain, ...]:
    """The domains of a YAML text; empty documents are skipped. Raises ConfigTextError, which names `file`."""
    domains: list[Domain] = []
    loader = cast("Any", _LOADER(text))
    try:
        while loader.check_node():
            node: yaml.Node = loader.get_node()
            _refuse_repeated_keys(node, (), file, set())
            document: object = loader.construct_document(node)
            if document is not None:
                domains.append(_domain(document, node, file))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = str(getattr(error, "problem", None) or error)
        # libyaml's own bound on nesting, where it has one, comes before Python's stack ends
        message = "nested too deeply" if "nesting depth" in problem else f"not YAML: {problem}"
        raise ConfigTextError(message, file=file, line=mark.line + 1 if mark else 1) from error
    except RecursionError as error:
        raise ConfigTextError("nested too deeply", file=file, line=1) from error
    finally:
        loader.dispose()
    return tuple(domains)


def _domain(document: object, node: yaml.Node, file: str) -> Domain:
    try:
        return parse_domain(document)
    except ConfigError as error:
        line = _line_of(node, error.path)
        raise ConfigTextError(error.message, file=file, line=line, path=error.path) from error


def _refuse_repeated_keys(node: yaml.Node, path: Path, file: str, visited: set[int]) -> None:
    """PyYAML keeps the last of two equal keys without a word: half of somebody's limits would vanish.

    `visited` holds the nodes seen, because an alias may point to what contains it.
    """
    if id(node) in visited:
        return
    visited.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(cast("list[yaml.Node]", node.value)):
            _refuse_repeated_keys(item, (*path, index), file, visited)
    elif isinstance(node, yaml.MappingNode):
        seen: set[object] = set()
        for key, value in cast("list[tuple[yaml.Node, yaml.Node]]", node.value):
            name = str(key.value)
            if name in seen:
                raise ConfigTextError(
                    "this field is here twice", file=file, line=key.start_mark.line + 1, path=(*path, name)
                )
            seen.add(name)
            _refuse_repeated_keys(value, (*path, name), file, visited)


def _line_of(node: yaml.Node, path: Path) -> int:
    """The line, from 1, of the deepest part of `path` that exists below `node`."""
    line = node.start_mark.line + 1
    for step in path:
        if isinstance(node, yaml.SequenceNode) and isinstance(step, int):
            node = cast("list[yaml.Node]", node.value)[step]
            line = node.start_mark.line + 1
        elif isinstance(node, yaml.MappingNode):
            for key, value in cast("list[tuple[yaml.Node, yaml.Node]]", node.value):
                if key.value == step:
                    node, line = value, key.start_mark.line + 1
                    break
            else:
                break
        else:
            break
    return line


def dump_text(domains: Iterable[Domain]) -> str:
    """YAML that `parse_text` reads back to equal values, and envoyproxy/ratelimit too where there is one domain."""
    documents = [dump_domain(domain) for domain in domains]
    return yaml.dump_all(documents, Dumper=_DUMPER, sort_keys=False, explicit_start=len(documents) > 1)
