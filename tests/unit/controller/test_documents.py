"""Text to plain values, and places in it."""

import json

import pytest
from headgate.controller.sources.documents import (
    NESTING_MAX,
    Document,
    DocumentError,
    parse,
    plain_value,
    split_documents,
)


def value(text: str) -> object:
    return parse(Document(text, 1))[0]


def error(text: str, *, is_json: bool = False) -> DocumentError:
    with pytest.raises(DocumentError) as caught:
        parse(Document(text, 1, is_json=is_json))
    return caught.value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no", "no"),
        ("on", "on"),
        ("y", "y"),
        ("True", True),
        ("false", False),
        ("~", None),
        ("", None),
        ("2024-10-21", "2024-10-21"),
        ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z"),
        ("1_000", "1_000"),
        ("12:30:00", "12:30:00"),
        ("0123", "0123"),
        ("0", 0),
        ("-7", -7),
        ("0x1F", 31),
        ("0o17", 15),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        (".5", 0.5),
        (".", "."),
        ("-", "-"),
        ("1.2.3", "1.2.3"),
        ("9" * 40, "9" * 40),
        ("v1", "v1"),
    ],
)
def test_unquoted_text_means_what_yaml_1_2_says(text: str, expected: object) -> None:
    assert plain_value(text) == expected
    assert type(plain_value(text)) is type(expected)


def test_quoted_text_is_text() -> None:
    assert value("a: '1'\nb: \"true\"\nc: |\n  null\n") == {"a": "1", "b": "true", "c": "null\n"}


def test_keys_are_texts_whatever_they_look_like() -> None:
    assert value("on: 1\n8080: 2\ntrue: 3\nn: 4\n") == {"on": 1, "8080": 2, "true": 3, "n": 4}


def test_nulls_in_objects_are_left_out() -> None:
    assert value("a:\nb: ~\nc: [~]") == {"c": [None]}


def test_anchors_and_merges() -> None:
    text = "base: &b {x: 1, y: 2}\nmore:\n  <<: *b\n  y: 3\nlist:\n  - <<: [*b, {z: 4, x: 9}]\n"
    assert value(text) == {
        "base": {"x": 1, "y": 2},
        "more": {"x": 1, "y": 3},
        "list": [{"x": 1, "y": 2, "z": 4}],
    }


def test_documents_are_split_with_their_lines() -> None:
    text = "# only a comment\n---\na: 1\n--- # next\nb: |\n  ---\n  text\n...\n%YAML 1.2\n---\nc: 1\n---\n"
    assert [(document.line, value(document.text)) for document in split_documents(text)] == [
        (2, {"a": 1}),
        (4, {"b": "---\ntext\n"}),
        (10, {"c": 1}),
    ]


def test_nothing_is_no_document() -> None:
    assert list(split_documents("")) == []
    assert list(split_documents("\n# x\n---\n---\n\n")) == []


@pytest.mark.parametrize(
    ("text", "line", "column", "words"),
    [
        ("a: 1\nb: [1\nc: 2\n", 3, 2, "did not find expected ',' or ']'"),
        ("a: b: c\n", 1, 5, "mapping values are not allowed"),
        ("a:\n\t- b\n", 2, 1, "a tab"),
        ("a: 1\nb: 2\na: 3\n", 3, 1, '"a" is given twice'),
        ("a: \x07\n", 1, 4, "U+0007"),
        ("a: !env X\n", 1, 4, "tag !env is not supported"),
        ("a: !!timestamp 2024-01-01\n", 1, 4, "is not supported"),
        ("? [a]\n: b\n", 1, 3, "a key must be a text"),
        ("a: *b\n", 1, 4, "alias"),
        ("a: {<<: 7}\n", 1, 9, "<< needs an object"),
    ],
)
def test_a_mistake_has_its_place(text: str, line: int, column: int, words: str) -> None:
    caught = error(text)
    assert (caught.line, caught.column) == (line, column)
    assert words in caught.message


def test_a_place_counts_from_the_start_of_the_file() -> None:
    with pytest.raises(DocumentError) as caught:
        parse(Document("a: [", 40))
    assert caught.value.line >= 40


def test_explicit_tags_of_plain_types_are_fine() -> None:
    assert value('a: !!str 5\nb: !!int "7"\nc: !!map {}\nd: !!float 1') == {"a": "5", "b": 7, "c": {}, "d": 1}


@pytest.mark.parametrize(
    "text",
    ["[" * 50_000, "- " * 50_000 + "x", "{a: " * 50_000, "&a [*a]", "a: &a\n  b: *a\n"],
    ids=["brackets", "dashes", "braces", "itself", "itself in an object"],
)
def test_nesting_is_bounded(text: str) -> None:
    assert f"nested more than {NESTING_MAX} deep" in error(text).message


def test_repetition_by_aliases_is_bounded() -> None:
    text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    for level in range(1, 9):
        text += f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]\n"
    assert "aliases repeat more than" in error(text).message


def test_json() -> None:
    text = json.dumps({"a": [1, None, True], "b": None}, indent=1)
    assert parse(Document(text, 1, is_json=True))[0] == {"a": [1, None, True]}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"a": 1 "b": 2}', "delimiter"),
        ('{"a": 1, "a": 2}', "given twice"),
        ('{"a": NaN}', "NaN is not JSON"),
        ("[" * 100_000, "nested more than"),
        ('{"a": ' + "9" * 5000 + "}", "digits"),
    ],
)
def test_a_mistake_in_json(text: str, words: str) -> None:
    assert words in error(text, is_json=True).message


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("", 10),
        ("spec", 12),
        ("spec.rules[1].name", 16),
        ("spec.rules[1].missing.deeper", 16),
        ("spec.rules[7]", 13),
        ('metadata.annotations["a.b/c"]', 18),
        ("metadata.annotations", 17),
    ],
)
def test_fields_are_found_again(path: str, line: int) -> None:
    document = Document(
        "kind: X\n# comment\nspec:\n  rules:\n  - name: a\n\n  - name: b\nmetadata: {annotations: {\n  a.b/c: d}}\n", 10
    )
    expected = {"metadata.annotations": 17}.get(path, line)
    assert document.locate(path) == expected


def test_a_document_that_cannot_be_parsed_again_is_found_as_a_whole() -> None:
    assert Document("a: [", 7).locate("a") == 7
