"""Patching keeps every byte it was not asked to change; any bytes give an object or a refusal."""

import json
from typing import Any

from headgate.llm.errors import RequestError
from headgate.llm.relay import decode_object, patch_object, relay_request
from hypothesis import given
from hypothesis import strategies as st

JSON_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(["model", "stream", "stream_options", "a", "\u00e9", '"', "\\", ""]) | st.text(max_size=4)
SPACE = st.text(" \t\r\n", max_size=2)


@st.composite
def objects(draw: st.DrawFn) -> tuple[dict[str, Any], str]:
    """A value, and its text with white space anywhere and escapes at will."""
    value: dict[str, Any] = draw(st.dictionaries(NAMES, JSON_VALUES, max_size=6))

    def space() -> str:
        return draw(SPACE)

    ascii_only = draw(st.booleans())
    members = [
        f"{space()}{json.dumps(name, ensure_ascii=ascii_only)}{space()}:{space()}"
        f"{json.dumps(item, ensure_ascii=ascii_only)}{space()}"
        for name, item in value.items()
    ]
    return value, f"{space()}{{{','.join(members) or space()}}}{space()}"


@given(objects(), st.sets(NAMES, max_size=3), st.dictionaries(NAMES, JSON_VALUES, max_size=3))
def test_a_patch_changes_what_it_says(
    case: tuple[dict[str, Any], str], remove: set[str], set_members: dict[str, Any]
) -> None:
    value, text = case
    raws = {name: json.dumps(item).encode() for name, item in set_members.items()}
    patched = patch_object(decode_object(text.encode()), set_members=raws, remove=remove)
    kept = {name: item for name, item in value.items() if name not in remove or name in set_members}
    assert json.loads(patched) == {**kept, **set_members}


@given(objects())
def test_members_are_found_where_they_are(case: tuple[dict[str, Any], str]) -> None:
    value, text = case
    source = decode_object(text.encode())
    assert [member.name for member in source.members] == list(value)
    for member in source.members:
        assert json.loads(source.raw(member.name) or b"") == value[member.name]
    assert patch_object(source, set_members={}) is source.body


@given(objects())
def test_an_override_keeps_all_bytes_around_the_model(case: tuple[dict[str, Any], str]) -> None:
    value, text = case
    body = text.encode()
    source = decode_object(body)
    patched = relay_request(source, model="other")
    if "model" not in value:
        return
    member = next(member for member in source.members if member.name == "model")
    assert patched == body[: member.value_start] + b'"other"' + body[member.value_end :]


@given(st.binary(max_size=60) | st.text('{}[]:,"\\ntrue1e.-', max_size=30).map(str.encode))
def test_any_bytes_are_an_object_or_refused(body: bytes) -> None:
    try:
        source = decode_object(body)
    except RequestError:
        return
    assert json.loads(body).keys() == {member.name for member in source.members}
