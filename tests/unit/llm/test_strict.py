"""Bad bodies: what is wrong, and where."""

import msgspec
import pytest
from headgate.llm.dialects.anthropic import DIALECT
from headgate.llm.errors import RequestError
from headgate.llm.members import decode_members

MINIMAL = b'"model":"m","max_tokens":1'


@pytest.mark.parametrize(
    ("body", "path", "words"),
    [
        (b"", "", "not valid JSON"),
        (b"{", "", "not valid JSON"),
        (b"[]", "", "must be a JSON object"),
        (b'"x"', "", "must be a JSON object"),
        (b'{"model":"\xff"}', "", "not valid UTF-8"),
        (b'{"model":"m","model":"n"}', "model", "twice"),
        (b'{"mod\\u0065l":"m","model":"n"}', "model", "twice"),
        (b'{"max_tokens":1,"messages":[]}', "model", "required"),
        (b'{"model":1}', "model", "expected `str`"),
        (b"{%b}" % MINIMAL, "messages", "required"),
        (b'{%b,"messages":[]}' % MINIMAL, "messages", "at least one"),
        (b'{%b,"messages":[3]}' % MINIMAL, "messages[0]", "expected `object`"),
        (b'{%b,"messages":[{"role":"bot","content":"x"}]}' % MINIMAL, "messages[0].role", "bot"),
        (
            b'{%b,"messages":[{"role":"user","content":"x"},{"role":"user","content":[{"type":"text","text":"x"},'
            b'{"type":"hologram"}]}]}' % MINIMAL,
            "messages[1].content[1].type",
            "hologram",
        ),
        (
            b'{%b,"messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":'
            b'[{"type":"text","text":"x"},{"type":"image"}]}]}]}' % MINIMAL,
            "messages[0].content[0].content[1].source",
            "required",
        ),
        (b'{%b,"messages":[{"role":"user","content":"x"}],"stream":"yes"}' % MINIMAL, "stream", "expected"),
        (b'{%b,"messages":[{"role":"user","content":"x"}],"tools":[{}]}' % MINIMAL, "tools[0].name", "required"),
        (
            b'{%b,"messages":[{"role":"assistant","content":[{"type":"tool_use","id":"t","name":"f","input":[]}]}]}'
            % MINIMAL,
            "messages[0].content[0].input",
            "object",
        ),
        (
            b'{%b,"messages":[{"role":"user","content":"x"}],"output_config":{"format":{"type":"json_schema",'
            b'"schema":"["}}}' % MINIMAL,
            "output_config.format.schema",
            "object",
        ),
        (b'{"model":"m","max_tokens":0,"messages":[{"role":"user","content":"x"}]}', "max_tokens", "at least 1"),
        (b'{"model":"","max_tokens":1,"messages":[{"role":"user","content":"x"}]}', "model", "empty"),
        (b'{%b,"messages":[],"x":%b}' % (MINIMAL, b"[" * 100_000 + b"]" * 100_000), "", "recursion"),
    ],
)
def test_refused(body: bytes, path: str, words: str) -> None:
    with pytest.raises(RequestError) as refused:
        DIALECT.decode_request(body)

    assert refused.value.status == 400
    assert refused.value.path == path
    assert words in refused.value.message
    assert refused.value.code


@pytest.mark.parametrize(
    "cut", ["\\ud83d", "a\\uD83Db", "\\ude00", "\\ud83d\\ud83d\\ude00", "\\ud83d\\u0041", "\\ud83d\\n"]
)
@pytest.mark.parametrize(
    "body",
    [
        '{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"😀 \\\\ud83d \\ud83d\\ude00 %s"}]}',
        '{"model":"%s","max_tokens":1,"messages":[]}',
        '{"%s":1,"model":"m","max_tokens":1,"messages":[]}',
        '{"model":"m","max_tokens":1,"metadata":{"x":"%s"},"messages":[]}',
        '{"model":"m","max_tokens":1,"tools":[{"name":"f","input_schema":{"title":"%s"}}],"messages":[]}',
    ],
)
def test_half_a_character_is_called_what_it_is(body: str, cut: str) -> None:
    """msgspec says that the body was truncated, or that a hex escape was."""
    with pytest.raises(RequestError, match="half a character") as refused:
        DIALECT.decode_request((body % cut).encode())

    half = cut[cut.index("\\") :][:6]
    assert refused.value.status == 400
    assert f"{half} at byte {len(body.partition('%s')[0].encode()) + cut.index(half)} " in refused.value.message
    assert refused.value.code == "invalid_unicode"


def test_the_place_is_found_in_a_long_conversation() -> None:
    messages = [{"role": "user", "content": "x"} for _ in range(300)]
    messages[271]["content"] = 5  # type: ignore[assignment]
    body = msgspec.json.encode({"model": "m", "max_tokens": 1, "messages": messages})

    with pytest.raises(RequestError, match=r"expected `str") as refused:
        DIALECT.decode_request(body)

    assert refused.value.path == "messages[271].content"


def test_members_keep_their_order_and_bytes() -> None:
    members = decode_members(b'{ "b" : 1.50 , "a":{"x": [ 1 ]} , "\xc3\xa9":"\\u00e9"}')

    assert list(members) == ["b", "a", "é"]
    assert [bytes(raw) for raw in members.values()] == [b"1.50", b'{"x": [ 1 ]}', b'"\\u00e9"']
