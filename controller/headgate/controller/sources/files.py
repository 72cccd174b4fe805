"""Objects from files.

    paths → files → documents → objects → world

Rules: a mistake costs the object it is in, a syntax error its document, an unreadable file that file; whatever of these
was good in the load before stays as it was. Hidden files and folders are skipped, links are followed. Nothing is taken
from the environment but `${NAME}` as a whole `stringData` value of a Secret.
"""

import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Final

from headgate.compiler.conditions import Diagnostic, Severity, diagnostic_order, stays
from headgate.compiler.reading import read_object
from headgate.compiler.resources.metadata import Key, Resource, Source
from headgate.compiler.resources.policy import PolicySpec
from headgate.compiler.world import Rejected, Target, World, make_world
from headgate.controller.sources.documents import Document, DocumentError, parse, split_documents
from headgate.controller.sources.folders import SUFFIXES, walk

FILES_MAX: Final = 20_000
"""Files in the folders of one load: a folder like `/` is a mistake."""
FILE_BYTES_MAX: Final = 64 * 1024 * 1024

_VARIABLE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}\Z")


@dataclass(frozen=True, slots=True)
class ReadDocument:
    """What one document holds."""

    resources: tuple[tuple[Key, Resource], ...] = ()
    rejected: tuple[Rejected, ...] = ()
    diagnostics: tuple[Diagnostic, ...] = ()
    parsed: bool = True
    """Whether its text could be parsed at all."""


@dataclass(frozen=True, slots=True)
class ReadFile:
    """What one file holds. An equal text is not split again, an equal document is not parsed again."""

    text: str
    documents: Mapping[Document, ReadDocument]


@dataclass(frozen=True, slots=True)
class Loaded:
    """What files say: the world of what is valid, and what is wrong with the rest."""

    world: World
    diagnostics: tuple[Diagnostic, ...]
    resources: Mapping[Key, Resource] = field(default_factory=dict[Key, Resource], repr=False)
    """The objects of the world, for the next load."""
    files: Mapping[str, ReadFile] = field(default_factory=dict[str, ReadFile], repr=False)
    """What each file held, for the next load."""

    @property
    def errors(self) -> tuple[Diagnostic, ...]:
        return tuple(each for each in self.diagnostics if each.severity is Severity.ERROR)


def load(
    paths: Sequence[Path], *, environment: Mapping[str, str], previous: Loaded | None = None, beside: bool = False
) -> Loaded:
    """Reads files and folders of YAML and JSON.

    With `previous` (of the same environment), what did not change is not parsed again, and an object that is broken now
    keeps its last good version. `beside` is for objects that are to be applied beside Envoy Gateway, which
    serves what we do not of its own kinds. Raises nothing for what files hold or for files that cannot be read: these
    are diagnostics.
    """
    gathering = _Gathering(previous, beside=beside)
    for path in paths:
        if not path.exists():
            gathering.miss(path, "no such file or folder")
    empty: list[Diagnostic] = []
    files = find_files(paths, empty)
    if files or previous is None or not previous.resources:
        gathering.diagnostics += empty
    else:  # nothing at all is left: who wants that ends the gateway
        for path in filter(Path.exists, paths):
            gathering.miss(path, "holds no file any more, as if it were about to be written")
    for path in files:
        gathering.read_file(path, environment)
    return gathering.finish()


class _Gathering:
    """The objects of one load, as they come."""

    def __init__(self, previous: Loaded | None, *, beside: bool) -> None:
        self.diagnostics: list[Diagnostic] = []
        self._previous = previous
        self._beside = beside
        self._resources: dict[Key, Resource] = {}
        self._rejected: dict[Key, Rejected] = {}
        self._unused: list[Rejected] = []
        self._files: dict[str, ReadFile] = {}
        self._broken_files: set[str] = set()
        self._emptied: dict[str, Diagnostic] = {}

    def miss(self, path: Path, message: str) -> None:
        """Remembers that a path that was named is not there, or empty: somebody may be about to write it again."""
        self.diagnostics.append(Diagnostic(severity=Severity.ERROR, message=message, file=str(path)))
        self._broken_files.add(str(path))
        if self._previous is not None:
            files = {resource.source.file for resource in self._previous.resources.values()}
            self._broken_files.update(file for file in files if Path(file).is_relative_to(path))

    def read_file(self, path: Path, environment: Mapping[str, str]) -> None:
        """Adds the objects of a file."""
        name = str(path)
        try:
            text = read_text(path)
        except _UnreadableFileError as error:
            self.diagnostics.append(error.diagnostic)
            self._broken_files.add(name)
            return
        known = self._previous.files.get(name) if self._previous is not None else None
        if known is not None and known.text and not text:
            self._emptied[name] = _emptied(path)
            self._broken_files.add(name)
            self._files[name] = known
            return
        if known is None or known.text != text:
            known = read_file(text, name, environment, known, beside=self._beside)
        self._files[name] = file = known
        for read in file.documents.values():
            self._add(read, name)

    def _add(self, read: ReadDocument, file: str) -> None:
        if not read.parsed:
            self._broken_files.add(file)
        self.diagnostics.extend(read.diagnostics)
        for key, resource in read.resources:
            first = self._resources.setdefault(key, resource)
            if first != resource:  # files that go together may each bring the Gateway that they share
                self.diagnostics.append(_declared_twice(resource, first))
                self._unused.append(_not_used(key, resource))
        for rejected in read.rejected:
            self._rejected.setdefault(rejected.key, rejected)

    def finish(self) -> Loaded:
        """The world of it all."""
        kept = self._last_good()
        # nothing is to be said of a file whose objects stand in others now
        self.diagnostics += [
            self._emptied[each] for each in self._emptied.keys() & {r.source.file for r in kept.values()}
        ]
        resources = {**self._resources, **kept}
        rejected = [each for key, each in self._rejected.items() if key not in resources] + self._unused
        diagnostics = sorted({self._with_stay(each, kept) for each in self.diagnostics}, key=diagnostic_order)
        outdated = [each for key, each in self._rejected.items() if key in kept]
        world = make_world(resources.values(), rejected, outdated=outdated, diagnostics=diagnostics)
        return Loaded(world, tuple(diagnostics), resources, self._files)

    def _last_good(self) -> dict[Key, Resource]:
        """Objects of the load before that are broken now, or that may stand in text that cannot be parsed now."""
        if self._previous is None:
            return {}
        return {
            key: resource
            for key, resource in self._previous.resources.items()
            if key not in self._resources and (key in self._rejected or resource.source.file in self._broken_files)
        }

    def _with_stay(self, diagnostic: Diagnostic, kept: Mapping[Key, Resource]) -> Diagnostic:
        kept_here = (
            diagnostic.key in kept
            if diagnostic.key is not None
            else diagnostic.file in self._broken_files
            and any(Path(each.source.file).is_relative_to(diagnostic.file) for each in kept.values())
        )
        return stays(diagnostic) if kept_here else diagnostic


def read_file(
    text: str, name: str, environment: Mapping[str, str], known: ReadFile | None, *, beside: bool = False
) -> ReadFile:
    """The objects of one file. `known` is what it held before."""
    is_json = name.endswith(".json")
    documents = (Document(text, 1, is_json=True),) if is_json else split_documents(text)
    before: Mapping[Document, ReadDocument] = known.documents if known is not None else {}
    return ReadFile(
        text,
        {
            document: before.get(document) or read_document(document, name, environment, beside=beside)
            for document in documents
        },
    )


def read_document(
    document: Document, file: str, environment: Mapping[str, str], *, beside: bool = False
) -> ReadDocument:
    """The objects of one document: one, or those of a list."""
    try:
        value, line = parse(document)
    except DocumentError as error:
        diagnostic = Diagnostic(
            severity=Severity.ERROR,
            message=error.message,
            remedy=error.remedy,
            file=file,
            line=error.line,
            column=error.column,
        )
        return ReadDocument(diagnostics=(diagnostic,), parsed=False)
    if value is None:
        return ReadDocument()
    resources: list[tuple[Key, Resource]] = []
    rejected: list[Rejected] = []
    diagnostics: list[Diagnostic] = []
    for path, raw in _objects(value):
        locate = partial(_locate, document, path)
        source = Source(file, locate("") if path else line, locate)
        expanded, missing = _expand_variables(raw, environment)
        reading = read_object(expanded, source, path=path, beside=beside)
        read = reading.resource or reading.rejected
        key = read.key if read is not None else None
        diagnostics.extend(_missing_variable(field, name, source, key) for field, name in missing)
        diagnostics.extend(reading.diagnostics)
        if reading.resource is not None:
            resources.append((reading.resource.key, reading.resource))
        if reading.rejected is not None:
            rejected.append(reading.rejected)
    return ReadDocument(tuple(resources), tuple(rejected), tuple(diagnostics))


def _locate(document: Document, path: str, field: str) -> int:
    return document.locate(f"{path}.{field}" if path and field else path or field)


def _objects(value: object) -> Iterator[tuple[str, object]]:
    """The objects in a document, with their paths: those of a `List`, else the document itself."""
    if isinstance(value, dict):
        members: dict[str, object] = value  # pyright: ignore[reportUnknownVariableType]
        kind, items = members.get("kind"), members.get("items")
        if isinstance(kind, str) and kind.endswith("List") and isinstance(items, list):
            entries: list[object] = items  # pyright: ignore[reportUnknownVariableType]
            for index, entry in enumerate(entries):
                yield f"items[{index}]", entry
            return
    yield "", value


def _expand_variables(raw: object, environment: Mapping[str, str]) -> tuple[object, list[tuple[str, str]]]:
    """A Secret with the `${NAME}` of its `stringData` replaced; which fields name variables that are not set."""
    if not isinstance(raw, dict):
        return raw, []
    members: dict[str, object] = raw  # pyright: ignore[reportUnknownVariableType]
    values = members.get("stringData")
    if members.get("kind") != "Secret" or not isinstance(values, dict):
        return members, []
    missing: list[tuple[str, str]] = []
    expanded: dict[str, object] = {}
    for key, value in values.items():  # pyright: ignore[reportUnknownVariableType]
        named = _VARIABLE.match(value) if isinstance(value, str) else None
        if named is None:
            expanded[str(key)] = value  # pyright: ignore[reportUnknownArgumentType]
        elif named[1] in environment:
            expanded[str(key)] = environment[named[1]]  # pyright: ignore[reportUnknownArgumentType]
        else:
            missing.append((f"stringData.{key}", named[1]))
    return {**members, "stringData": expanded}, missing


def _missing_variable(field: str, name: str, source: Source, key: Key | None) -> Diagnostic:
    return Diagnostic(
        severity=Severity.ERROR,
        message=f"the environment has no variable {name}, so the value is missing",
        remedy=f"export {name}=..., or the value itself",
        file=source.file,
        line=source.line_of(field),
        field=field,
        key=key,
    )


def _not_used(key: Key, resource: Resource) -> Rejected:
    """The second of two objects of one name: what it targets must not stand open either."""
    spec: object = getattr(resource, "spec", None)
    if not isinstance(spec, PolicySpec):
        return Rejected(key, resource.source)
    targets = (Target(each.group, each.kind, key.namespace, each.name, each.section_name) for each in spec.targets)
    return Rejected(key, resource.source, tuple(targets), unclear=bool(spec.target_selectors))


def _emptied(path: Path) -> Diagnostic:
    """Who writes into a file empties it first, and may take its time then (`render > gateway.yaml`)."""
    message, remedy = "is empty now, as if it were about to be written", "its objects, or no file"
    return Diagnostic(severity=Severity.ERROR, message=message, remedy=remedy, file=str(path))


def _declared_twice(resource: Resource, first: Resource) -> Diagnostic:
    return Diagnostic(
        severity=Severity.ERROR,
        message=f"declared otherwise at {first.source!r}; that one is used",
        remedy="the same, one of them alone, or another name",
        file=resource.source.file,
        line=resource.source.line,
        key=resource.key,
    )


# --- files


class _UnreadableFileError(Exception):
    def __init__(self, path: Path, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.diagnostic = Diagnostic(severity=Severity.ERROR, message=message, remedy=remedy, file=str(path))


def find_files(paths: Sequence[Path], diagnostics: list[Diagnostic]) -> list[Path]:
    """The files of paths, in order: a file itself whatever its name, of a folder those that `walk` finds.

    A path that does not exist has none.
    """
    found: dict[str, Path] = {}
    for path in paths:
        if path.is_dir():
            before = len(found)
            for each in walk(path):
                if len(found) >= FILES_MAX:
                    message = f"more than {FILES_MAX} files"
                    diagnostics.append(Diagnostic(severity=Severity.ERROR, message=message, file=str(path)))
                    return list(found.values())
                found.setdefault(os.path.realpath(each), each)
            if len(found) == before:
                message = f"holds no file that is read: {', '.join(f'*{suffix}' for suffix in SUFFIXES)}"
                diagnostics.append(Diagnostic(severity=Severity.WARNING, message=message, file=str(path)))
        elif path.exists():
            found.setdefault(os.path.realpath(path), path)
    return list(found.values())


def read_text(path: Path) -> str:
    """A file's text. Raises `_UnreadableFileError`."""
    try:
        # Opening a pipe would wait for its writer.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise _UnreadableFileError(path, "is not a regular file")
            if status.st_size > FILE_BYTES_MAX:
                raise _UnreadableFileError(path, f"is larger than {FILE_BYTES_MAX} bytes", "several files")
            data = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise _UnreadableFileError(path, f"cannot be read: {error.strerror or error}") from None
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        unreadable = _UnreadableFileError(path, "is not UTF-8", "the file saved as UTF-8")
        unreadable.diagnostic = replace(unreadable.diagnostic, line=line)
        raise unreadable from None
