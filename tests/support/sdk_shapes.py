"""What JSON the types of the providers' own SDKs allow, as shapes, and documents made of them.

Read are TypedDicts (OpenAI, Anthropic), pydantic models (Cohere, google-genai, every SDK's answers) and botocore's
service model. `variants` makes the smallest document of a shape, and from it one for every optional member, every
member of a union and every word of an enumeration, at every depth.
"""

import base64
import collections.abc
import copy
import enum
import inspect
import types
import typing
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any, Final, TypeAlias

import typing_extensions
from pydantic import BaseModel

from support.json_values import is_array, is_object

Place: TypeAlias = tuple[str | int, ...]
"""Where in a document: names of members and indexes."""


@dataclass(frozen=True)
class Scalar:
    kind: str
    """`string`, `integer`, `number`, `bytes` or `any`."""


@dataclass(frozen=True)
class Words:
    words: tuple[Any, ...]


@dataclass(frozen=True)
class Items:
    item: "Shape"


@dataclass(frozen=True)
class Table:
    """An object with names of the sender's choice."""

    value: "Shape"


@dataclass(frozen=True)
class Member:
    shape: "Shape"
    required: bool


@dataclass(frozen=True)
class Struct:
    name: str
    declared: Any
    """What tells it from others of that name."""
    read: Callable[[], Mapping[str, Member]] = field(compare=False)

    @property
    def members(self) -> Mapping[str, Member]:
        return _members_of(self)


@dataclass(frozen=True)
class OneOf:
    options: tuple["Shape", ...]


Shape: TypeAlias = Scalar | Words | Items | Table | Struct | OneOf


@cache
def _members_of(struct: Struct) -> Mapping[str, Member]:
    return struct.read()


# --- Python's types --------------------------------------------------------------------------------------------------

_SCALARS: Final[Mapping[Any, Shape]] = {
    str: Scalar("string"),
    int: Scalar("integer"),
    float: Scalar("number"),
    bool: Words((True, False)),
    bytes: Scalar("bytes"),
    datetime: Scalar("string"),
    object: Scalar("any"),
    Any: Scalar("any"),
}


@dataclass(frozen=True)
class Reader:
    """Reads types as SDKs declare them."""

    needed: Mapping[str, frozenset[str]] = field(default_factory=dict[str, frozenset[str]])
    """By the name of a type that says all its members are optional: those that it means nothing without."""
    kinds: Mapping[str, Mapping[str, Collection[str]]] = field(default_factory=dict[str, Mapping[str, Collection[str]]])
    """By the name of a type: members of which exactly one is there, though it does not say so, and what may be there
    beside each."""
    unsent: Mapping[str, frozenset[str]] = field(default_factory=dict[str, frozenset[str]])
    """By the name of a type: members that are of the SDK alone, and on no wire."""

    def shape_of(self, declared: Any) -> Shape:
        """The shape of a type."""
        origin, arguments = typing.get_origin(declared), typing.get_args(declared)
        if declared in _SCALARS:
            return _SCALARS[declared]
        if origin in (typing.Annotated, typing_extensions.Required, typing_extensions.NotRequired):
            return self.shape_of(arguments[0])
        if origin in (typing.Literal, typing_extensions.Literal):
            return Words(arguments)
        if origin in (typing.Union, types.UnionType):
            return self._union([each for each in arguments if each is not type(None)])
        if isinstance(declared, typing_extensions.TypeAliasType):
            return self.shape_of(declared.__value__)
        if inspect.isclass(origin) and issubclass(origin, collections.abc.Mapping):
            return Table(self.shape_of(arguments[1]))
        if inspect.isclass(origin) and hasattr(origin, "__iter__"):
            return Items(self.shape_of(arguments[0]))
        if getattr(origin, "__name__", "") == "SequenceNotStr":
            return Items(self.shape_of(arguments[0]))
        if inspect.isclass(declared) and issubclass(declared, enum.Enum):
            return Words(tuple(each.value for each in declared if not each.value.endswith("UNSPECIFIED")))
        if typing_extensions.is_typeddict(declared):
            return self._struct(declared, self._of_typed_dict)
        if inspect.isclass(declared) and issubclass(declared, BaseModel):
            return self._struct(declared, self._of_model)
        return Scalar("any")

    def of_signature(self, function: Callable[..., Any], leave_out: Collection[str]) -> Struct:
        """The body that a method of an SDK sends, whose parameters are its members."""

        def read() -> Mapping[str, Member]:
            hints = typing_extensions.get_type_hints(function, include_extras=True)
            parameters = inspect.signature(function).parameters
            return {
                name: Member(self.shape_of(hints[name]), each.default is inspect.Parameter.empty)
                for name, each in parameters.items()
                if name not in leave_out and name != "self"
            }

        return Struct(function.__qualname__, function, read)

    def _struct(self, declared: Any, read: Callable[[Any], Mapping[str, Member]]) -> Shape:
        name: str = declared.__name__
        kinds = self.kinds.get(name)
        if kinds is None:
            return Struct(name, declared, lambda: read(declared))
        return OneOf(tuple(self._of_kind(declared, read, kind, beside) for kind, beside in kinds.items()))

    def _of_kind(
        self, declared: Any, read: Callable[[Any], Mapping[str, Member]], kind: str, beside: Collection[str]
    ) -> Struct:
        def only() -> Mapping[str, Member]:
            members = read(declared)
            return {kind: Member(members[kind].shape, True), **{name: members[name] for name in beside}}

        return Struct(f"{declared.__name__}.{kind}", declared, only)

    def _union(self, arguments: Sequence[Any]) -> Shape:
        if any(typing_extensions.is_typeddict(each) for each in arguments):
            # Clients may send back what answers held: the same members, as the params say.
            arguments = [each for each in arguments if typing.get_origin(each) is not typing.Annotated]
            arguments = [each for each in arguments if not _is_model(each)]
        flat: list[Shape] = []
        for shape in dict.fromkeys(self.shape_of(each) for each in arguments):
            flat += shape.options if isinstance(shape, OneOf) else (shape,)
        words = dict.fromkeys(word for shape in flat if isinstance(shape, Words) for word in shape.words)
        if words:
            loose = (Scalar("string"), Scalar("any"))  # besides the words that are known
            rest = [each for each in flat if not isinstance(each, Words) and each not in loose]
            flat = [Words(tuple(words)), *rest]
        return flat[0] if len(flat) == 1 else OneOf(tuple(flat))

    def _of_typed_dict(self, declared: Any) -> Mapping[str, Member]:
        hints = typing_extensions.get_type_hints(declared, include_extras=True)
        needed = declared.__required_keys__ | self.needed.get(declared.__name__, frozenset())
        return {
            name: Member(self.shape_of(hint), name in needed or _says_required(hint)) for name, hint in hints.items()
        }

    def _of_model(self, declared: type[BaseModel]) -> Mapping[str, Member]:
        found: dict[str, Member] = {}
        needed = self.needed.get(declared.__name__, ())
        for name, info in declared.model_fields.items():
            generate: Any = declared.model_config.get("alias_generator")
            alias = info.alias or _alias_of(info.metadata) or (generate(name) if generate else name)
            if alias in self.unsent.get(declared.__name__, ()):
                continue
            shape = self.shape_of(info.annotation)
            tag = isinstance(shape, Words) and len(shape.words) == 1
            found[alias] = Member(shape, info.is_required() or tag or alias in needed)
        return found


def _is_model(declared: Any) -> bool:
    return inspect.isclass(declared) and issubclass(declared, BaseModel)


def _says_required(hint: Any) -> bool:
    # Classes that are not total say so member by member, in annotations that are text until they are asked for.
    return typing.get_origin(hint) is typing_extensions.Required


def _alias_of(beside: Sequence[Any]) -> str:
    """Cohere's SDK names members of the wire beside their types."""
    return next((str(each.alias) for each in beside if getattr(each, "alias", None)), "")


# --- botocore --------------------------------------------------------------------------------------------------------


def of_botocore(shape: Any) -> Shape:
    """The shape of a shape of AWS's service models; members that travel in path or headers are left out."""
    known: Any = shape.metadata
    match shape.type_name:
        case "structure" if getattr(shape, "is_document_type", False):
            return Scalar("any")
        case "structure" if getattr(shape, "is_tagged_union", False):
            return OneOf(tuple(_only(shape.name, name, each) for name, each in shape.members.items()))
        case "structure":
            return Struct(shape.name, shape.name, lambda: _of_structure(shape))
        case "list":
            return Items(of_botocore(shape.member))
        case "map":
            return Table(of_botocore(shape.value))
        case "string" if "enum" in known:
            return Words(tuple(known["enum"]))
        case "string":
            return Scalar("string")
        case "boolean":
            return Words((True, False))
        case "integer" | "long":
            return Scalar("integer")
        case "float" | "double":
            return Scalar("number")
        case "blob":
            return Scalar("bytes")
        case _:
            return Scalar("any")


def events_of_botocore(shape: Any) -> Shape:
    """The events of a stream, of which each stands alone; errors are left out."""
    events: Mapping[str, Any] = shape.members
    return OneOf(
        tuple(_only(shape.name, name, each) for name, each in events.items() if not each.metadata.get("exception"))
    )


def _only(holder: str, name: str, shape: Any) -> Struct:
    return Struct(f"{holder}.{name}", "", lambda: {name: Member(of_botocore(shape), True)})


def _of_structure(shape: Any) -> Mapping[str, Member]:
    return {
        name: Member(of_botocore(each), name in shape.required_members)
        for name, each in shape.members.items()
        if "location" not in each.serialization
    }


# --- documents -------------------------------------------------------------------------------------------------------

DATA: Final = base64.b64encode(b"some data").decode()
OTHER_DATA: Final = base64.b64encode(b"other data").decode()
URL: Final = "https://example.com/a.png"

Samples: TypeAlias = Mapping[str, tuple[Any, Any]]
"""By the name of a member: a value that it may have, and another."""

_OF_KINDS: Final[Mapping[str, tuple[Any, Any]]] = {
    "string": ("a", "b"),
    "integer": (2, 3),
    "number": (0.25, 0.5),
    "bytes": (DATA, OTHER_DATA),
    "any": ({"a": 1}, {"b": 1}),
}


_ANY: Final = Scalar("any")


@dataclass(frozen=True)
class Variant:
    """A document that differs from the smallest at one place."""

    place: Place
    document: Any
    choice: str = ""
    """Which option or word stands there, where there are several."""


class Writer:
    """Makes documents of shapes, with samples for members that not every value is right for."""

    def __init__(self, samples: Samples) -> None:
        self._samples = samples

    def _has_sample(self, shape: Shape, name: str) -> bool:
        """A text is no sample of what may be anything: it is something else there than elsewhere."""
        return name in self._samples and not (shape == _ANY and isinstance(self._samples[name][0], str))

    def smallest(self, shape: Shape, name: str = "") -> Any:
        match shape:
            case _ if self._has_sample(shape, name):
                return self._samples[name][0]
            case Scalar(kind=kind):
                return _OF_KINDS[kind][0]
            case Words(words=words):
                return words[0]
            case Items(item=item):
                return [self.smallest(item, f"{name}[]")]
            case Table(value=value):
                return {"k": self.smallest(value, f"{name}.k")}
            case Struct():
                return {
                    each: self.smallest(member.shape, each) for each, member in shape.members.items() if member.required
                }
            case OneOf(options=options):
                return self.smallest(options[0], name)

    def other(self, value: Any, name: str) -> Any:
        """Another value than that of a leaf."""
        if name in self._samples and self._samples[name][0] == value:
            return self._samples[name][1]
        for one, another in _OF_KINDS.values():
            if type(one) is type(value) and one == value:
                return another
        return (not value) if isinstance(value, bool) else f"{value}x" if isinstance(value, str) else value + 1

    def variants(self, shape: Shape, name: str = "", within: tuple[str, ...] = ()) -> Iterator[Variant]:
        """Every variant; a struct that holds itself is opened once."""
        match shape:
            case _ if self._has_sample(shape, name):
                return
            case Scalar():
                return
            case Words(words=words):
                if len(words) > 1:
                    yield from (Variant((), word, str(word)) for word in words)
            case Items(item=item):
                for each in self.variants(item, f"{name}[]", within):
                    yield Variant((0, *each.place), [each.document], each.choice)
            case Table(value=value):
                for each in self.variants(value, f"{name}.k", within):
                    yield Variant(("k", *each.place), {"k": each.document}, each.choice)
            case OneOf(options=options):
                for option in options:
                    if isinstance(option, Struct) and option.name in within:
                        continue
                    if isinstance(option, Words) and len(option.words) == 1:
                        yield Variant((), option.words[0], str(option.words[0]))
                    elif not isinstance(option, Words):
                        label = option.name if isinstance(option, Struct) else ""
                        yield Variant((), self.smallest(option, name), label)
                    yield from self.variants(option, name, within)
            case Struct():
                if shape.name in within:
                    return
                base = self.smallest(shape, name)
                for member_name, member in shape.members.items():
                    inside = (*within, shape.name)
                    if not member.required:
                        value = self.smallest(member.shape, member_name)
                        yield Variant((member_name,), {**base, member_name: value})
                    for each in self.variants(member.shape, member_name, inside):
                        document = {**base, member_name: each.document}
                        yield Variant((member_name, *each.place), document, each.choice)


def leaves(value: Any, at: Place = ()) -> Iterator[Place]:
    """Places of what is no object and no list, and of empty ones."""
    if is_object(value) and value:
        for name, inner in value.items():
            yield from leaves(inner, (*at, name))
    elif is_array(value) and value:
        for index, inner in enumerate(value):
            yield from leaves(inner, (*at, index))
    else:
        yield at


def value_at(document: Any, place: Place) -> Any:
    """What stands at a place."""
    for step in place:
        document = document[step]
    return document


def replaced(document: Any, place: Place, value: Any) -> Any:
    """The document with another value at a place."""
    if not place:
        return value
    step, *rest = place
    changed = copy.copy(document)
    changed[step] = replaced(document[step], tuple(rest), value)
    return changed


def written(place: Place) -> str:
    """A place as a JSON path."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place).removeprefix(".")
