"""Which bodies are JSON, and what is read of them (by `request.lua`), as a strict parser of Python's sees it.

Most ask for a model that there is none of: a body that is read is answered 404, and no provider need take it.
"""

import json
import random
import re
from collections.abc import Iterator

import msgspec
import pytest
from headgate.compiler.lower.filters.extraction import JSON_TYPES
from support.stage import Stage

pytestmark = pytest.mark.envoy

CHAT = "/v1/chat/completions"
INVALID = "The request body is not valid JSON."
VALUES = (
    *('""', '"a\\n\\"\\\\\\/\\b\\f\\r\\t"', '"\\u00e9\\uD83D\\uDE00"', '"é€😀"', '"\x7f"'),
    *("0", "-0", "12", "-1.5", "1e5", "1E+5", "0.1e-2", "[]", "{}", "[ ]", "{ }", "[[{}],[]]", "true", "false", "null"),
    *(" [1 , 2,\t3 ]\r\n", '{"a" : {"b":[{"c":null}]}}'),
)
BROKEN = (
    *(
        '"',
        '"\\x"',
        '"\\u12g4"',
        '"\\ud83d"',
        '"\\ud83dx"',
        '"\\ud83d\\u0041"',
        '"\\udc00"',
        '"\t"',
        '"\n"',
        '"\\"',
        "'a'",
    ),
    *(
        "01",
        "-",
        "+1",
        ".5",
        "1.",
        "1e",
        "1e+",
        "1.e5",
        "0x1",
        "NaN",
        "Infinity",
        "tru",
        "True",
        "nul",
        "truee",
        "undefined",
    ),
    *(
        "[",
        "]",
        "[1,]",
        "[,1]",
        "[1 2]",
        "{",
        "}",
        '{"a"}',
        '{"a":}',
        '{"a":1,}',
        "{a:1}",
        "{1:1}",
        '{"a" 1}',
        "[}",
        "{]",
        '{"a":1]',
    ),
    *("", "1,", "/* a */ 1", "1 // a", "\v1", "\f1"),
)
BYTES = (
    b"\xff",
    b"\xc0\x80",
    b"\xc3",
    b"\xe2\x82",
    b"\xe0\x80\x80",
    b"\xed\xa0\x80",
    b"\xf0\x80\x80\x80",
    b"\xf4\x90\x80\x80",
    b"\x80",
)


def _body(value: bytes) -> bytes:
    return b'{"model":"mystery","messages":[],"metadata":' + value + b"}"


def _is_json(body: bytes) -> bool:
    try:
        msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return True


def _refused(stage: Stage, body: bytes) -> bool:
    answer = stage.post(CHAT, content=body)
    assert answer.status_code in (400, 404), (body, answer.text)
    return answer.status_code == 400 and answer.json()["error"]["message"] == INVALID


def test_what_is_json_is_read(stage: Stage) -> None:
    marked = b"\xef\xbb\xbf" + _body(b"1")
    for body in (*(_body(value.encode()) for value in VALUES), marked):
        assert stage.post(CHAT, content=body).status_code == 404, body


def test_what_is_no_json_is_refused(stage: Stage) -> None:
    values = [*(value.encode() for value in BROKEN), *(b'"' + each + b'"' for each in BYTES), b"1\0"]
    for body in map(_body, values):
        assert not _is_json(body), body
        assert _refused(stage, body), body
    assert not stage["openai"].requests


def _mutations(count: int) -> Iterator[bytes]:
    """Bodies with a few bytes taken away, put in, exchanged or doubled; the same in each run."""
    chance = random.Random(7)
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"a": [1, -2.5e3, None, True, "é\\\n😀"]}}}]
    whole = {
        "messages": [{"role": "user", "content": 'a "b" \\ c'}],
        "tools": tools,
        "stream": False,
        "model": "mystery",
    }
    seeds = [
        json.dumps(whole, ensure_ascii=ascii_only, indent=indent).encode()
        for ascii_only in (True, False)
        for indent in (None, 1)
    ]
    alphabet = [bytes((each,)) for each in b'{}[]",:\\u0e-+. \n\x01\x80\xe2\xff'] + [
        b"null",
        b"\\u12",
        b"\\\\",
        b"\xc3\xa9",
    ]
    for _ in range(count):
        body = chance.choice(seeds)
        for _ in range(chance.choice((1, 1, 2, 3))):
            at = chance.randrange(len(body))
            put = chance.choice(alphabet) if chance.random() < 0.7 else body[at : at + chance.randrange(12)]
            body = body[:at] + put + body[at + chance.choice((0, 0, 1, 3)) :]
        yield body


def test_bodies_with_damage_are_judged_as_a_parser_judges_them(stage: Stage) -> None:
    for body in _mutations(1500):
        assert _refused(stage, body) != _is_json(body), body


def _types() -> Iterator[str]:
    """What a client may call its body, some of it JSON; the same in each run."""
    chance = random.Random(11)
    ends = ("", ";", " ; charset=utf-8", ";json", " json", "x", "-seq", "+json", "/json", ",")
    for _ in range(120):
        kind = chance.choice(("application/",) * 5 + ("text/", "application", "x-application/"))
        kind += chance.choice(("", "", "", "vnd.api+", "a.b-1+", "+", "_+", "x-")) + "json" + chance.choice(ends)
        yield chance.choice((kind, kind, kind.upper(), kind.title()))


def test_the_script_and_the_routes_know_the_same_types(stage: Stage) -> None:
    """The script reads what it takes for JSON, and a route tells what it takes for something else."""
    found: set[bool] = set()
    for kind in _types():
        known = re.fullmatch(JSON_TYPES, kind) is not None
        answer = stage.post(CHAT, content=_body(b"1"), content_type=kind)
        assert answer.status_code == (404 if known else 415), (kind, answer.text)
        found.add(known)
    assert found == {True, False}


def test_a_member_is_read_wherever_it_stands_and_however_it_is_written(stage: Stage) -> None:
    """Not one of the same name elsewhere, nor one within a text."""
    said = '{"role":"user","content":"\\"model\\":\\"text\\""}'
    inner = '"metadata":{"model":"inner"},"response_format":{"type":"text"}'
    for body in (
        f'{{{inner},"messages":[{said}],"model":"gpt"}}',
        f' {{ "model" : "gpt" ,{inner},"messages":[{said}]}} ',
        f'{{"model":"g\\u0070t",{inner},"messages":[{said}]}}',
    ):
        assert stage.post(CHAT, content=body.encode()).status_code == 200, body
    assert [request.model for request in stage["openai"].requests] == ["gpt"] * 3


@pytest.mark.parametrize("name", ["\\u65e5\\u672c-\\ud83d\\ude00", "日本-😀", 'a\\/b\\\\c\\"d'])
def test_a_model_that_is_escaped_is_told_as_it_reads(stage: Stage, name: str) -> None:
    body = f'{{"model":"{name}","messages":[]}}'
    answer = stage.post(CHAT, content=body.encode())
    assert answer.status_code == 404
    assert json.loads(f'"{name}"') in answer.json()["error"]["message"]


def test_a_model_with_control_characters_is_none_of_ours(stage: Stage) -> None:
    for name in ("gpt\\u0000", "g\\npt", "\\u007fgpt"):
        answer = stage.post(CHAT, content=f'{{"model":"{name}","messages":[]}}'.encode())
        assert answer.status_code == 404


def test_deep_is_not_endless(stage: Stage) -> None:
    body = _body(b"[" * 900 + b"]" * 900)
    assert stage.post(CHAT, content=body).status_code == 404
    answer = stage.post(CHAT, content=_body(b"[" * 2000 + b"]" * 2000))
    assert (answer.status_code, "1000 deep" in answer.text) == (400, True)
