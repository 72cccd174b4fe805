"""Values as Lua writes them, which is how scripts get their contexts."""

import pytest
from headgate import lua


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain text-1", '"plain text-1"'),
        ('"]]..os.exit()--', '"\\034]]..os.exit()--"'),
        ("a\\b\nc\r\0", '"a\\092b\\010c\\013\\000"'),
        ("1\n2", '"1\\0102"'),
        ("é", '"\\195\\169"'),
        (b"\xff\x00", '"\\255\\000"'),
        (True, "true"),
        (None, "nil"),
        (["a", ["b"], False], '{"a",{"b"},false}'),
        ({"b": ["x"], "a b": {}}, '{["a b"]={},["b"]={"x"}}'),
        (1.5, "1.5"),
    ],
)
def test_a_value_is_written_so_that_nothing_ends_it_early(value: lua.Value, text: str) -> None:
    assert lua.expression(value) == text


def test_equal_values_have_equal_texts() -> None:
    assert lua.expression({"a": "1", "b": "2"}) == lua.expression({"b": "2", "a": "1"})
