"""Arbitrary JSON, on its own and in the middle of a document."""

from typing import Any, Final

from hypothesis import strategies as st

from support.json_values import is_array, is_object

SCALARS: Final = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 5),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=4),
)

JSON: Final = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


def replace_somewhere(document: Any, data: st.DataObject) -> None:
    """Puts arbitrary JSON at one place of a document, in place."""
    while True:
        keys: list[Any]
        if is_object(document):
            keys = list(document)
        elif is_array(document):
            keys = list(range(len(document)))
        else:
            return
        if not keys:
            return
        key = data.draw(st.sampled_from(keys))
        inner: Any = document[key]
        if not (is_object(inner) or is_array(inner)) or data.draw(st.booleans()):
            document[key] = data.draw(JSON)
            return
        document = inner
