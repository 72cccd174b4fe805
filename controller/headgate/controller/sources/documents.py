"""Text of a file to its documents, as plain values, with the places of everything in them.

YAML is read as version 1.2 reads it: `no`, `on` and `2024-10-21` are texts, only `true` and `false` are truths. A
document is parsed on its own, so that a mistake costs only the document it is in. Bounds protect against files made to
exhaust: `NESTING_MAX` the stack, `VALUES_MAX` the memory (aliases can repeat a value without end).
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Final

import yaml
from yaml._yaml import CParser
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

NESTING_MAX: Final = 100
VALUES_MAX: Final = 1_000_000

_MARKER: Final = re.compile(r"^(?:---|\.\.\.)(?:[ \t]|$)", re.MULTILINE)
_NESTING: Final = re.compile(r"[\[{]|[-?](?=\s)")
_PLAIN_TAG: Final = "plain"
_TEXT_TAG: Final = "tag:yaml.org,2002:str"
_TYPE_TAGS: Final = {
    "tag:yaml.org,2002:int": (int,),
    "tag:yaml.org,2002:float": (int, float),
    "tag:yaml.org,2002:bool": (bool,),
    "tag:yaml.org,2002:null": (type(None),),
}
_COLLECTION_TAGS: Final = frozenset({"tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"})
_WORDS: Final[dict[str, object]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
# A number with leading zeros is a text: YAML 1.1, 1.2 and JSON each read `0123` differently.
_INTEGER: Final = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,30})\Z|0o[0-7]{1,30}\Z|0x[0-9a-fA-F]{1,30}\Z")
_FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]{1,30}|(?:0|[1-9][0-9]{0,30})(?:\.[0-9]{0,30})?)(?:[eE][-+]?[0-9]{1,3})?\Z")


class DocumentError(Exception):
    """A document that cannot be parsed. `line` (within the file) and `column` count from 1."""

    def __init__(self, message: str, line: int, column: int, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.line = line
        self.column = column
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class Document:
    """One document of a file; `line` is that of the text's first line, from 1."""

    text: str
    line: int
    is_json: bool = False

    @property
    def line_last(self) -> int:
        """Index of the last line. libyaml's end may be on the line after it, and it also counts U+0085 and U+2028."""
        return self.text.rstrip("\n").count("\n")

    def locate(self, path: str) -> int:
        """Line of a field like `items[0].spec.rules`, else of the closest thing around it."""
        node = _compose_quietly(self.text)
        if node is None:
            return self.line
        line = node.start_mark.line
        for step in _steps(path):
            found = _step_into(node, step)
            if found is None:
                break
            node, line = found
        return self.line + min(line, self.line_last)


def split_documents(text: str) -> Iterator[Document]:
    """The documents of a YAML file, without those that hold only comments, directives or nothing."""
    starts = [0, *(match.start() for match in _MARKER.finditer(text)), len(text)]
    line = 1
    for start, end in pairwise(starts):
        part = text[start:end]
        if not part.startswith("..."):
            body = part[3:] if _MARKER.match(part) else part
            if any(row.strip() and row.lstrip()[0] not in "#%" for row in body.splitlines()):
                yield Document(part, line)
        line += part.count("\n")


def parse(document: Document) -> tuple[object, int]:
    """The document as plain values, and the line that it begins on. Nulls in mappings are left out.

    Raises `DocumentError`.
    """
    if document.is_json:
        return _parse_json(document), document.line
    node = _compose(document)
    if node is None:
        return None, document.line
    value = _Construction(document).value(node, 0)
    return value, document.line + min(node.start_mark.line, document.line_last)


# --- parsing


class _Composer(CParser):
    """libyaml's parser, making nodes; plain scalars are resolved later, all at once."""

    def __init__(self, text: str) -> None:
        super().__init__(text)

    def resolve(self, kind: type[Node], value: object, implicit: tuple[bool, bool]) -> str:
        if kind is ScalarNode:
            return _PLAIN_TAG if implicit[0] else _TEXT_TAG
        return ""

    def descend_resolver(self, current_node: object, current_index: object) -> None: ...

    def ascend_resolver(self) -> None: ...


def _compose(document: Document) -> Node | None:
    if len(_NESTING.findall(document.text)) > NESTING_MAX:
        _check_nesting(document)
    try:
        composer = _Composer(document.text)
        try:
            return composer.get_single_node()
        finally:
            composer.dispose()
    except yaml.YAMLError as error:
        raise _document_error(error, document) from None


def _check_nesting(document: Document) -> None:
    """Walks the events, which needs no stack: making nodes recurses in C."""
    depth = 0
    try:
        parser = CParser(document.text)
        while (event := parser.get_event()) is not None:
            match event:
                case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                    depth += 1
                    if depth > NESTING_MAX:
                        mark = event.start_mark
                        message = f"nested more than {NESTING_MAX} deep"
                        raise DocumentError(message, document.line + mark.line, mark.column + 1)
                case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                    depth -= 1
                case _:
                    pass
    except yaml.YAMLError as error:
        raise _document_error(error, document) from None


def _document_error(error: yaml.YAMLError, document: Document) -> DocumentError:
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        message = " ".join(part for part in (error.problem, error.context) if part)
        line, column = (mark.line, mark.column + 1) if mark is not None else (0, 0)
        rows = document.text.split("\n")
        line = min(line, document.line_last)
        if "nesting depth" in (error.problem or ""):  # libyaml has a bound of its own, which may come before ours
            message = f"nested more than {NESTING_MAX} deep"
        if rows[line][: column or None].endswith("\t"):
            return DocumentError("a tab, where YAML takes only spaces", document.line + line, column, "spaces")
        return DocumentError(message or "is not YAML", document.line + line, column)
    if isinstance(error, yaml.reader.ReaderError):
        before = document.text[: error.position]
        message = f"a character that YAML does not allow: U+{_code_point(error):04X}"
        return DocumentError(message, document.line + before.count("\n"), error.position - before.rfind("\n"))
    return DocumentError(str(error), document.line, 0)


def _code_point(error: yaml.reader.ReaderError) -> int:
    character: object = error.character
    return ord(character) if isinstance(character, str) else int(str(character))


def _parse_json(document: Document) -> object:
    def members(pairs: list[tuple[str, object]]) -> dict[str, object]:
        found: dict[str, object] = {}
        for key, value in pairs:
            if key in found:
                raise DocumentError(f'"{key}" is given twice in one object', document.line, 0, "one of them")
            if value is not None:
                found[key] = value
        return found

    def refuse(constant: str) -> object:
        raise DocumentError(f"{constant} is not JSON", document.line, 0)

    try:
        return json.loads(document.text, object_pairs_hook=members, parse_constant=refuse)
    except json.JSONDecodeError as error:
        raise DocumentError(error.msg, error.lineno, error.colno) from None
    except RecursionError:
        raise DocumentError(f"nested more than {NESTING_MAX} deep", document.line, 0) from None
    except ValueError as error:  # an integer with more digits than Python converts
        raise DocumentError(str(error), document.line, 0) from None


class _Construction:
    """Nodes to values."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._left = VALUES_MAX

    def value(self, node: Node, depth: int) -> object:
        self._left -= 1
        if self._left < 0:
            raise self._error(node, f"aliases repeat more than {VALUES_MAX} values")
        if isinstance(node, ScalarNode):
            return self._scalar(node)
        if depth > NESTING_MAX:
            raise self._error(node, f"nested more than {NESTING_MAX} deep")
        if node.tag and node.tag not in _COLLECTION_TAGS:
            raise self._error(node, f"tag {node.tag} is not supported", "the value without a tag")
        if isinstance(node, SequenceNode):
            return [self.value(entry, depth + 1) for entry in node.value]
        assert isinstance(node, MappingNode)
        return self._mapping(node, depth)

    def _mapping(self, node: MappingNode, depth: int) -> dict[str, object]:
        found: dict[str, object] = {}
        merged: dict[str, object] = {}
        seen: set[str] = set()
        for key_node, value_node in node.value:
            if not isinstance(key_node, ScalarNode):
                raise self._error(key_node, "a key must be a text")
            key = str(key_node.value)
            if key == "<<" and key_node.tag == _PLAIN_TAG:
                self._merge(value_node, depth, merged)
                continue
            if key in seen:
                raise self._error(key_node, f'"{key}" is given twice in one object', "one of them")
            seen.add(key)
            value = self.value(value_node, depth + 1)
            if value is not None:
                found[key] = value
        return {**{key: value for key, value in merged.items() if key not in seen}, **found} if merged else found

    def _merge(self, node: Node, depth: int, into: dict[str, object]) -> None:
        for each in node.value if isinstance(node, SequenceNode) else (node,):
            if not isinstance(each, MappingNode):
                raise self._error(each, "<< needs an object to take over")
            value = self.value(each, depth + 1)
            assert isinstance(value, dict)
            for key, member in value.items():  # pyright: ignore[reportUnknownVariableType]
                into.setdefault(str(key), member)  # pyright: ignore[reportUnknownArgumentType]

    def _scalar(self, node: ScalarNode) -> object:
        text = str(node.value)
        if node.tag == _TEXT_TAG:
            return text
        value = plain_value(text)
        if node.tag == _PLAIN_TAG or (node.tag in _TYPE_TAGS and type(value) in _TYPE_TAGS[node.tag]):
            return value
        raise self._error(node, f"tag {node.tag} is not supported here", "the value without a tag")

    def _error(self, node: Node, message: str, remedy: str = "") -> DocumentError:
        mark = node.start_mark
        line = min(mark.line, self._document.line_last)
        return DocumentError(message, self._document.line + line, mark.column + 1, remedy)


def plain_value(text: str) -> object:
    """What an unquoted scalar means."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] in "-+.0123456789":
        if _INTEGER.match(text):
            return int(text, 0)
        if _FLOAT.match(text):
            return float(text)
    return text


# --- places


@lru_cache(maxsize=8)
def _compose_quietly(text: str) -> Node | None:
    try:
        return _compose(Document(text, 1))
    except DocumentError:
        return None


def _steps(path: str) -> Iterator[str | int]:
    for name, index, quoted in re.findall(r'([^.\["\]]+)(?=[.\[]|\Z)|\[(\d+)\]|\["([^"]*)"\]', path):
        yield int(index) if index else quoted or name


def _step_into(node: Node, step: str | int) -> tuple[Node, int] | None:
    if isinstance(step, int):
        if isinstance(node, SequenceNode) and step < len(node.value):
            entry = node.value[step]
            return entry, entry.start_mark.line
        return None
    if isinstance(node, MappingNode):
        for key, value in node.value:
            if isinstance(key, ScalarNode) and key.value == step:
                return value, key.start_mark.line
    return None
