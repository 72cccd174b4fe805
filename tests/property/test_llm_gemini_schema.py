"""Schemas of any shape: an older Gemini model gets one that it may take, or the client an error; nothing runs on."""

import contextlib
from typing import Any

import msgspec
import pytest
from headgate.llm.dialects.gemini.schema import SchemaError, from_openapi, to_openapi
from hypothesis import given, settings
from hypothesis import strategies as st
from support.arbitrary_json import SCALARS

KEYWORDS = (
    *("type", "format", "description", "enum", "const", "properties", "required", "items", "anyOf", "oneOf", "allOf"),
    *("$ref", "$defs", "nullable", "title", "minItems", "x"),
)
WORDS: st.SearchStrategy[Any] = st.sampled_from(("string", "object", "array", "null", "#", "#/$defs/x", "date-time"))
SCHEMAS: st.SearchStrategy[Any] = st.recursive(
    SCALARS | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYWORDS), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=400, deadline=None)
@given(schema=st.dictionaries(st.sampled_from(KEYWORDS), SCHEMAS, max_size=5))
def test_any_schema_is_said_or_refused(schema: dict[str, Any]) -> None:
    raw = msgspec.Raw(msgspec.json.encode(schema))
    with contextlib.suppress(SchemaError):
        msgspec.json.encode(to_openapi(raw)[0])
    with contextlib.suppress(SchemaError):
        from_openapi(raw)


SELF: dict[str, Any] = {"$ref": "#/$defs/x"}


@pytest.mark.parametrize(
    "part", [{"anyOf": [SELF, {"type": "null"}]}, {"allOf": [SELF]}, {"properties": {"a": SELF}}, SELF]
)
def test_a_schema_that_is_made_of_itself_is_refused(part: dict[str, Any]) -> None:
    schema = {"$defs": {"x": part}, **SELF}
    with pytest.raises(SchemaError, match="refers to itself"):
        to_openapi(msgspec.Raw(msgspec.json.encode(schema)))


NONSENSE: list[Any] = [
    {"format": {"type": "text"}},
    {"required": [{}], "allOf": [{"required": [{}, "a"]}]},
    {"description": 5, "enum": [1]},
]


@pytest.mark.parametrize("schema", NONSENSE)
def test_nonsense_in_a_schema_harms_nobody(schema: dict[str, Any]) -> None:
    to_openapi(msgspec.Raw(msgspec.json.encode(schema)))
