"""One object, from plain values to its type, with all that is wrong about it.

Rules: an error leaves out the object and nothing else; a warning leaves out a field; a message never repeats a value of
a Secret.
"""

import base64
import binascii
import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar, cast

import msgspec
from headgate.compiler.conditions import Diagnostic, Severity
from headgate.compiler.resources.checking import Finding, broken_rules, check, child_path
from headgate.compiler.resources.gateway_api import ParentReference
from headgate.compiler.resources.kinds import BY_NAME, DEPRECATED, ENVOY_GATEWAYS, KINDS, NOT_SUPPORTED, Kind
from headgate.compiler.resources.metadata import Key, Resource, Source
from headgate.compiler.resources.policy import MergedPolicy, Written
from headgate.compiler.world import Rejected, Target
from headgate.contract.secret import Secret

DEFAULT_NAMESPACE: Final = "default"


@dataclass(frozen=True, slots=True)
class Reading:
    """What one written object is: a resource, or rejected, or neither where it is not a kind that is read."""

    resource: Resource | None
    rejected: Rejected | None
    diagnostics: tuple[Diagnostic, ...]


def read_object(raw: object, source: Source, *, path: str = "", lenient: bool = False, beside: bool = False) -> Reading:
    """Reads one object (not a list of them). `path` is where in its document it is: `items[3]`.

    `lenient` is for objects that an API server has checked: a field that is not known here belongs to a newer version
    of their kind, and is no slip of the pen. In what guards (`Struct.guards`), it is an error all the same. `beside`
    is for objects beside Envoy Gateway, which serves its kinds whole: of what we do not read of them nothing is said.
    """
    kind, finding = _kind_of(raw)
    if kind is None or not isinstance(raw, dict):
        return Reading(None, None, (_diagnostic(finding, source, path, None),) if finding else ())
    members: dict[str, object] = dict(raw)  # pyright: ignore[reportUnknownArgumentType]
    key = _key_of(members, kind)
    findings: list[Finding] = [finding] if finding else []
    theirs = beside and (kind.group, kind.name) in ENVOY_GATEWAYS
    resource = _read(members, kind, findings, lenient=lenient, beside=theirs)
    diagnostics = tuple(_diagnostic(each, source, path, key) for each in findings)
    if resource is not None:
        msgspec.structs.force_setattr(resource, "source", source)
        return Reading(resource, None, diagnostics)
    return Reading(None, _rejected(members, key, source) if key else None, diagnostics)


def _read(
    members: dict[str, object], kind: Kind, findings: list[Finding], *, lenient: bool, beside: bool
) -> Resource | None:
    _place(members, kind)
    if kind.name == "Secret":
        findings.extend(_decode_secret(members))
    kept: object = members
    try:
        resource = msgspec.convert(members, kind.type)
    except msgspec.ValidationError as error:
        kept, found = check(members, kind.type, lenient=lenient, beside=beside)
        findings.extend(found)
        if any(not each.warning for each in found):
            return None
        try:
            resource = msgspec.convert(kept, kind.type)
        except msgspec.ValidationError:  # the walk and msgspec disagree: msgspec's words are better than none
            findings.append(Finding("", str(error)))
            return None
    else:
        findings.extend(() if beside else broken_rules(resource))
    if any(not each.warning for each in findings):
        return None
    if isinstance(resource, MergedPolicy):
        spec = cast("Mapping[str, Mapping[str, object]]", kept)["spec"]
        msgspec.structs.force_setattr(resource, "written", Written(spec))
    return resource


def _place(members: dict[str, object], kind: Kind) -> None:
    """Fills in the namespace."""
    metadata = members.get("metadata")
    if not isinstance(metadata, dict):
        return
    placed: dict[str, object] = dict(metadata)  # pyright: ignore[reportUnknownArgumentType]
    if not kind.namespaced:
        placed.pop("namespace", None)
    elif not placed.get("namespace"):
        placed["namespace"] = DEFAULT_NAMESPACE
    members["metadata"] = placed


def _decode_secret(members: dict[str, object]) -> Iterator[Finding]:
    """Turns the values of a Secret into secrets, so that nothing after this can print them."""
    for field, decode in (("data", _decode_base64), ("stringData", Secret)):
        values = members.get(field, {})
        if not isinstance(values, dict):
            del members[field]
            yield Finding(field, "must be an object, is not one", "key: value, indented below it")
            continue
        decoded: dict[str, object] = {}
        for name, value in values.items():  # pyright: ignore[reportUnknownVariableType]
            key = str(name)  # pyright: ignore[reportUnknownArgumentType]
            path = child_path(field, key)
            if isinstance(value, Secret):
                decoded[key] = value
            elif not isinstance(value, str):
                yield Finding(path, "must be a text", "the value in quotes")
            else:
                try:
                    decoded[key] = decode(value)
                except UnicodeDecodeError:
                    yield Finding(path, "is no text and is left out", warning=True)
                except (binascii.Error, ValueError):
                    yield Finding(path, "is not base64", "the value in base64, or the value itself below stringData")
        if field in members:
            members[field] = decoded


def _decode_base64(value: str) -> Secret:
    return Secret(base64.b64decode("".join(value.split()), validate=True).decode())


def _kind_of(raw: object) -> tuple[Kind | None, Finding | None]:
    """The row of an object's kind, and what there is to say about its head."""
    if not isinstance(raw, dict):
        return None, Finding("", "is not an object", "apiVersion, kind, metadata and spec")
    api_version, name = (raw.get(field) for field in ("apiVersion", "kind"))  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    if not raw.keys() & {"apiVersion", "kind", "metadata", "spec"}:
        return None, Finding("", "is no object of Kubernetes, and is left out", warning=True)
    if not isinstance(api_version, str) or not api_version:
        return None, Finding("apiVersion", "required, and missing", "apiVersion: group/version")
    if not isinstance(name, str) or not name:
        return None, Finding("kind", "required, and missing", "kind: the object's kind")
    group, _, version = api_version.rpartition("/")
    kind = BY_NAME.get((group, name))
    if kind is None:
        return None, _unknown_kind(group, name, api_version)
    if version not in kind.served:
        served = f"{group}/{kind.served[0]}" if group else kind.served[0]
        return None, Finding("apiVersion", f"version {version} of {name} is not read", served)
    if api_version in DEPRECATED and len(kind.served) > 1:
        return kind, Finding("apiVersion", DEPRECATED[api_version], warning=True)
    return kind, None


def _unknown_kind(group: str, name: str, api_version: str) -> Finding:
    if (group, name) in NOT_SUPPORTED:
        return Finding("kind", f"{name} is not supported: {NOT_SUPPORTED[group, name]}", warning=True)
    for kind in KINDS:
        if kind.name == name:
            right = f"{kind.group}/{kind.served[0]}" if kind.group else kind.served[0]
            if group not in _GROUPS or not group:
                return Finding("apiVersion", f"there is no {name} in {api_version}", right)
    if group in _GROUPS and group:
        names = [kind.name for kind in KINDS if kind.group == group]
        close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
        return Finding("kind", f"there is no kind {name} in {api_version}", close[0] if close else ", ".join(names))
    return Finding("kind", f"{name} of {api_version} is not read", warning=True)


_GROUPS: Final = frozenset(kind.group for kind in KINDS)


def _key_of(members: Mapping[str, object], kind: Kind) -> Key | None:
    metadata = members.get("metadata")
    if not isinstance(metadata, dict):
        return None
    name, namespace = metadata.get("name"), metadata.get("namespace")  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    if not isinstance(name, str) or not name:
        return None
    if not kind.namespaced:
        return Key(kind.group, kind.name, "", name)
    return Key(
        kind.group, kind.name, namespace if isinstance(namespace, str) and namespace else DEFAULT_NAMESPACE, name
    )


class _ReadableTarget(msgspec.Struct, frozen=True):
    """What can be read of a target of a policy that is not valid."""

    name: str
    group: str = ""
    kind: str = ""
    section_name: str = msgspec.field(name="sectionName", default="")


class _ReadableMeta(msgspec.Struct, frozen=True):
    """What can be read of the metadata of an object that is not valid."""

    uid: str = ""
    generation: int = 0


class _ReadableSpec(msgspec.Struct, frozen=True, rename="camel"):
    """What can be read of its spec that tells whose it is."""

    parent_refs: tuple[ParentReference, ...] = ()
    gateway_class_name: str = ""
    controller_name: str = ""


R = TypeVar("R", _ReadableMeta, _ReadableSpec)


def _readable(value: object, what: type[R]) -> R:
    try:
        return msgspec.convert(value, what)
    except msgspec.ValidationError:
        return what()


def _rejected(members: Mapping[str, object], key: Key, source: Source) -> Rejected:
    """The object as one that is not valid, with what its status needs and the targets that can be read."""
    metadata = _readable(members.get("metadata"), _ReadableMeta)
    spec = _readable(members.get("spec"), _ReadableSpec)
    targets, unclear = _readable_targets(members, key)
    return Rejected(
        key,
        source,
        targets,
        unclear,
        api_version=str(members.get("apiVersion", "")),
        generation=metadata.generation,
        uid=metadata.uid,
        parents=spec.parent_refs,
        gateway_class=spec.gateway_class_name,
        controller_name=spec.controller_name,
    )


def _readable_targets(members: Mapping[str, object], key: Key) -> tuple[tuple[Target, ...], bool]:
    """The targets that can be read, and whether there may be more.

    Of a policy that guards, whose targets are selected by label or cannot be read, every target that there may be
    counts: it was to guard something, and nobody can tell that it was not this.
    """
    spec = members.get("spec")
    guards = key.kind == "SecurityPolicy" or (key.kind == "ClientTrafficPolicy" and _asks_certificates(spec))
    if not isinstance(spec, dict):
        return (), guards
    written: dict[str, object] = spec  # pyright: ignore[reportUnknownVariableType]
    references = written.get("targetRefs")
    candidates: list[object] = references if isinstance(references, list) else []  # pyright: ignore[reportUnknownVariableType]
    if "targetRef" in written:
        candidates = [*candidates, written["targetRef"]]
    targets: list[Target] = []
    for candidate in candidates:
        try:
            read = msgspec.convert(candidate, _ReadableTarget)
        except msgspec.ValidationError:
            continue
        targets.append(Target(read.group, read.kind, key.namespace, read.name, read.section_name))
    unclear = guards and ("targetSelectors" in written or not targets or len(targets) < len(candidates))
    return tuple(targets), unclear


def _asks_certificates(spec: object) -> bool:
    """Whether a ClientTrafficPolicy lets in those alone who show a certificate."""
    tls = spec.get("tls") if isinstance(spec, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return isinstance(tls, dict) and "clientValidation" in tls


def _diagnostic(finding: Finding, source: Source, path: str, key: Key | None) -> Diagnostic:
    place = f"{path}.{finding.path}" if path and finding.path else path or finding.path
    return Diagnostic(
        severity=Severity.WARNING if finding.warning else Severity.ERROR,
        message=finding.message,
        remedy=finding.remedy,
        file=source.file,
        line=source.line_of(finding.path),
        field=place,
        key=key,
    )
