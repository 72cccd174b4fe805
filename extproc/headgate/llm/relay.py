"""Staying in one dialect: patch named top-level members of a JSON body, by byte range.

The top level is decoded to raw values only; every byte that is not part of a patched, added or removed member goes out
as it came, so that providers' prompt caches keep hitting and no number, escape or unknown field changes.

`decode_members` refuses what is no JSON object in UTF-8, and members given twice: two readers may disagree on which of
two `model` members counts, which would let a client reach a model it is not allowed.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
from headgate.contract.facts import BodyMutation
from headgate.llm.errors import RequestError
from headgate.llm.members import decode_members

MODEL: Final = "model"
STREAM: Final = "stream"
STREAM_OPTIONS: Final = "stream_options"
INCLUDE_USAGE: Final = "include_usage"

_WHITESPACE: Final = re.compile(rb"[ \t\n\r]*")
_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.)*"')
_decode_string = msgspec.json.Decoder(str).decode
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Member:
    """Where one top-level member lies in its body: `segment` runs from after `{` or `,` to before `,` or `}`."""

    name: str
    segment_start: int
    value_start: int
    value_end: int
    segment_end: int


@dataclass(frozen=True, slots=True)
class JsonObject:
    """A body known to be one valid JSON object without duplicate top-level members."""

    body: bytes
    members: tuple[Member, ...]

    def raw(self, name: str) -> bytes | None:
        """The JSON text of a member's value, or None."""
        for member in self.members:
            if member.name == name:
                return self.body[member.value_start : member.value_end]
        return None


def decode_object(body: bytes) -> JsonObject:
    """The top level of `body`; `RequestError` as `decode_members` says.

    Cost: one validating pass over the body (about 1 ms for 5 MB), about 2 us per top-level member.
    """
    return JsonObject(body, _locate_members(body, decode_members(body)))


def patch_object(source: JsonObject, *, set_members: Mapping[str, bytes], remove: Collection[str] = ()) -> bytes:
    """The body with members removed, replaced where they stand, or added at the end, in that order of precedence:
    a name in both `remove` and `set_members` is set. Values are JSON text. The same object back if nothing changes.
    """
    body = source.body
    segments: list[bytes] = []
    changed = False
    present: set[str] = set()
    for member in source.members:
        present.add(member.name)
        value = set_members.get(member.name)
        if value is not None:
            changed = changed or body[member.value_start : member.value_end] != value
            segments.append(
                body[member.segment_start : member.value_start] + value + body[member.value_end : member.segment_end]
            )
        elif member.name in remove:
            changed = True
        else:
            segments.append(body[member.segment_start : member.segment_end])
    for name, value in set_members.items():
        if name not in present:
            changed = True
            segments.append(_encode(name) + b":" + value)
    if not changed:
        return body
    opening = body.index(b"{") + 1
    closing = source.members[-1].segment_end if source.members else body.rindex(b"}")
    return b"".join((body[:opening], b",".join(segments), body[closing:]))


def relay_request(
    source: JsonObject, *, model: str = "", include_usage: bool = False, mutation: BodyMutation | None = None
) -> bytes:
    """The body for the provider, in the client's own dialect.

    `model` overrides the model if not empty. `include_usage` forces `stream_options.include_usage` on a streamed
    request (OpenAI chat and completions only). The operator's `mutation` comes last and so wins.
    """
    set_members: dict[str, bytes] = {}
    if model:
        set_members[MODEL] = _encode(model)
    if include_usage and source.raw(STREAM) == b"true":
        set_members[STREAM_OPTIONS] = _with_usage(source.raw(STREAM_OPTIONS))
    if mutation is not None:
        return mutate_object(source, mutation, before=set_members)
    return patch_object(source, set_members=set_members) if set_members else source.body


def mutate_object(source: JsonObject, mutation: BodyMutation, *, before: Mapping[str, bytes]) -> bytes:
    """The body with the operator's changes; `before` are members that the gateway sets, which the changes win over.
    `RequestError` where a member that is changed within names one of its own twice."""
    set_members = {name: value for name, value in before.items() if name not in mutation.remove}
    set_members |= {name: value.encode() for name, value in mutation.set.items()}
    body = source.body
    if set_members or mutation.remove:
        body = patch_object(source, set_members=set_members, remove=mutation.remove)
    return _mutate_within(body, mutation.within) if mutation.within else body


def _mutate_within(body: bytes, within: Mapping[str, BodyMutation]) -> bytes:
    source = decode_object(body)
    changed: dict[str, bytes] = {}
    for name, inner in within.items():
        raw = source.raw(name) or b""
        if raw.startswith(b"{"):
            changed[name] = mutate_object(decode_object(raw), inner, before={})
        elif not raw.startswith(b"[") and _sets(inner):
            changed[name] = mutate_object(decode_object(b"{}"), inner, before={})
    return patch_object(source, set_members=changed)


def _sets(mutation: BodyMutation) -> bool:
    return bool(mutation.set) or any(map(_sets, mutation.within.values()))


def asks_for_usage(source: JsonObject) -> bool:
    """Whether the client itself asked for the usage chunk of an OpenAI stream."""
    options = source.raw(STREAM_OPTIONS)
    if options is None or not options.startswith(b"{"):
        return False
    return decode_object(options).raw(INCLUDE_USAGE) == b"true"


def read_model(source: JsonObject) -> str:
    """The `model` member; `RequestError` if it is missing, empty or not a string."""
    raw = source.raw(MODEL)
    if raw is None:
        raise RequestError("a model is required", path=MODEL)
    if not raw.startswith(b'"'):
        raise RequestError(f"must be a string, not {_kind_of(raw)}", path=MODEL)
    model = _decode_string(raw)
    if not model:
        raise RequestError("must not be empty", path=MODEL)
    return model


def read_model_at(source: JsonObject, place: Sequence[str]) -> str:
    """The model where an endpoint's bodies name it (`Endpoint.model_member`); of an ARN, what it is the ARN of.
    `RequestError` as `read_model` says."""
    if len(place) == 1:
        return read_model(source)
    path = ".".join(place)
    raw: bytes = source.body
    for name in place:
        found = decode_object(raw).raw(name) if raw.startswith(b"{") else None
        if found is None:
            raise RequestError("a model is required", path=path)
        raw = found
    if not raw.startswith(b'"'):
        raise RequestError(f"must be a string, not {_kind_of(raw)}", path=path)
    model = model_of_arn(_decode_string(raw))
    if not model:
        raise RequestError("must name a model", path=path)
    return model


def model_of_arn(text: str) -> str:
    """`cohere.rerank-v3-5:0` of `arn:aws:bedrock:us-west-2::foundation-model/cohere.rerank-v3-5:0`; a model's own name
    stays as it is."""
    return text.partition("/")[2] if text.startswith("arn:") else text


def read_stream(source: JsonObject) -> bool:
    """The `stream` member, false if it is missing or null; `RequestError` if it is no boolean."""
    raw = source.raw(STREAM)
    match raw:
        case None | b"null" | b"false":
            return False
        case b"true":
            return True
        case _:
            raise RequestError(f"must be true or false, not {_kind_of(raw)}", path=STREAM)


def _with_usage(options: bytes | None) -> bytes:
    if options is None or options == b"null":
        return b'{"include_usage":true}'
    if not options.startswith(b"{"):
        raise RequestError(f"must be an object, not {_kind_of(options)}", path=STREAM_OPTIONS)
    return patch_object(decode_object(options), set_members={INCLUDE_USAGE: b"true"})


def _locate_members(body: bytes, raws: Mapping[str, msgspec.Raw]) -> tuple[Member, ...]:
    """Walks the valid object along its decoded members: they tell how long each value is."""
    members: list[Member] = []
    position = body.index(b"{") + 1
    for name, raw in raws.items():
        segment_start = position
        key = _STRING.match(body, _skip_whitespace(body, position))
        assert key is not None, "decode_members accepted the object"
        value_start = _skip_whitespace(body, _skip_whitespace(body, key.end()) + 1)  # over the colon
        value_end = value_start + len(memoryview(raw))
        position = _skip_whitespace(body, value_end)
        members.append(Member(name, segment_start, value_start, value_end, position))
        position += 1  # over the comma, or the closing brace
    return tuple(members)


def _skip_whitespace(body: bytes, position: int) -> int:
    if body[position : position + 1] not in _WHITESPACE_BYTES:
        return position
    match = _WHITESPACE.match(body, position)
    return position if match is None else match.end()


_WHITESPACE_BYTES: Final = frozenset((b" ", b"\t", b"\n", b"\r"))


def _kind_of(raw: bytes) -> str:
    first = raw.lstrip()[:1]
    match first:
        case b'"':
            return "a string"
        case b"[":
            return "an array"
        case b"{":
            return "an object"
        case b"t" | b"f":
            return "a boolean"
        case b"n":
            return "null"
        case _:
            return "a number"
