"""Same-dialect patching: what is named changes, every other byte stays."""

import json

import pytest
from headgate.contract.facts import BodyMutation
from headgate.llm.errors import RequestError
from headgate.llm.relay import (
    asks_for_usage,
    decode_object,
    patch_object,
    read_model,
    read_model_at,
    read_stream,
    relay_request,
)

BODY = b'{ "model" : "gpt-4o" ,\n "messages":[{"role":"user","content":"h\\u0069 \xc3\xa9"}],"n": 1.0 ,"stream":true}\n'


def test_model_override_changes_only_the_model() -> None:
    assert relay_request(decode_object(BODY), model="claude") == BODY.replace(b'"gpt-4o"', b'"claude"')


def test_nothing_to_change_gives_the_same_object() -> None:
    assert relay_request(decode_object(BODY)) is BODY
    assert relay_request(decode_object(BODY), model="gpt-4o") is BODY


def test_forced_usage_is_added_at_the_end() -> None:
    patched = relay_request(decode_object(BODY), include_usage=True)
    assert patched == BODY.replace(b"true}", b'true,"stream_options":{"include_usage":true}}')
    assert asks_for_usage(decode_object(patched))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (b"null", b'{"include_usage":true}'),
        (b"{}", b'{"include_usage":true}'),
        (b'{"x": 1}', b'{"x": 1,"include_usage":true}'),
        (b'{"include_usage":false, "x":2}', b'{"include_usage":true, "x":2}'),
        (b'{"include_usage":true}', b'{"include_usage":true}'),
    ],
)
def test_forced_usage_keeps_other_stream_options(options: bytes, expected: bytes) -> None:
    body = b'{"stream":true,"stream_options":%b}' % options
    assert relay_request(decode_object(body), include_usage=True) == b'{"stream":true,"stream_options":%b}' % expected


def test_usage_is_not_forced_without_a_stream() -> None:
    body = b'{"model":"m","stream":false}'
    assert relay_request(decode_object(body), include_usage=True) is body


def test_stream_options_of_the_wrong_type_are_refused() -> None:
    with pytest.raises(RequestError) as caught:
        relay_request(decode_object(b'{"stream":true,"stream_options":"x"}'), include_usage=True)
    assert caught.value.path == "stream_options"


def test_mutation_removes_then_sets_and_wins_over_the_override() -> None:
    body = b'{"model":"m", "user":"u" ,"temperature":1,"top_p":0.5}'
    mutation = BodyMutation(
        set={"service_tier": '"flex"', "top_p": "0.1", "user": '"x"'}, remove=("user", "temperature")
    )
    patched = relay_request(decode_object(body), model="n", mutation=mutation)
    assert patched == b'{"model":"n", "user":"x" ,"top_p":0.1,"service_tier":"flex"}'
    assert relay_request(decode_object(body), model="n", mutation=BodyMutation(set={"model": '"p"'})).startswith(
        b'{"model":"p"'
    )


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"o": {"a" : 1, "b":2},"m":1}', b'{"o": { "b":2,"c":{"d":true}},"m":1}'),
        (b'{"o":{},"m":1}', b'{"o":{"c":{"d":true}},"m":1}'),
        (b'{"m":1}', b'{"m":1,"o":{"c":{"d":true}}}'),
        (b'{"m":1,"o":"text"}', b'{"m":1,"o":{"c":{"d":true}}}'),
        (b'{"m":1,"o":[{"a":1}]}', b'{"m":1,"o":[{"a":1}]}'),
        (b'{"m":1,"p":{"x":1},"o":null}', b'{"m":1,"p":{},"o":{"c":{"d":true}}}'),
    ],
)
def test_mutation_goes_into_members(body: bytes, expected: bytes) -> None:
    within = {
        "o": BodyMutation(remove=("a",), within={"c": BodyMutation(set={"d": "true"})}),
        "p": BodyMutation(remove=("x",), within={"y": BodyMutation(remove=("z",))}),
    }
    assert relay_request(decode_object(body), mutation=BodyMutation(within=within)) == expected


@pytest.mark.parametrize(
    "remove", [("a",), ("b",), ("c",), ("a", "b"), ("b", "c"), ("a", "c"), ("a", "b", "c"), ("x",)]
)
def test_removal_leaves_valid_json(remove: tuple[str, ...]) -> None:
    body = b' {"a" : 1, "b":[2,{"c":3}] , "c":"}"} '
    patched = patch_object(decode_object(body), set_members={}, remove=remove)
    assert json.loads(patched) == {name: value for name, value in json.loads(body).items() if name not in remove}


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"a","model":"b"}',
        b'{"model":12,"model":1}',
        b'{"model":"a","x":1,"mod\\u0065l":"a"}',
        b'{"a":1,"b":2,"a":1}',
    ],
)
def test_duplicate_members_are_refused(body: bytes) -> None:
    with pytest.raises(RequestError, match="twice") as caught:
        decode_object(body)
    assert caught.value.path in {"model", "a"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b"{",
        b'{"a":1}x',
        b'{"a":"\xff"}',
        b'{"\xff":1}',
        b'{"a":' + b"[" * 100_000,
        b"\xef\xbb\xbf{}",
    ],
)
def test_what_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(RequestError) as caught:
        decode_object(body)
    assert caught.value.status == 400


def test_escaped_member_names_are_patched() -> None:
    assert relay_request(decode_object(b'{"mod\\u0065l":"a"}'), model="b") == b'{"mod\\u0065l":"b"}'


@pytest.mark.parametrize(
    ("body", "message"), [(b"{}", "required"), (b'{"model":1}', "a number"), (b'{"model":""}', "empty")]
)
def test_the_model_must_be_a_name(body: bytes, message: str) -> None:
    with pytest.raises(RequestError, match=message) as caught:
        read_model(decode_object(body))
    assert caught.value.path == "model"


def test_model_and_stream_are_read() -> None:
    source = decode_object(b'{"model":"gpt\\u002d4o","stream":null}')
    assert read_model(source) == "gpt-4o"
    assert not read_stream(source)
    with pytest.raises(RequestError, match="true or false"):
        read_stream(decode_object(b'{"stream":"true"}'))


@pytest.mark.parametrize(
    ("body", "path", "words"),
    [
        (b"{}", "a.b", "a model is required"),
        (b'{"a":[]}', "a.b", "a model is required"),
        (b'{"a":{"b":7}}', "a.b", "must be a string, not a number"),
        (b'{"a":{"b":"arn:aws:bedrock:us-west-2::foundation-model"}}', "a.b", "must name a model"),
        (b'{"a":{"b":"x","b":"y"}}', "b", "this member is given twice"),
    ],
)
def test_a_model_deep_inside_is_read_strictly(body: bytes, path: str, words: str) -> None:
    with pytest.raises(RequestError) as raised:
        read_model_at(decode_object(body), ("a", "b"))
    assert raised.value.path == path
    assert words in str(raised.value)


def test_an_arn_names_its_model() -> None:
    body = b'{"a":{"b":"arn:aws:bedrock:us-west-2::foundation-model/cohere.rerank-v3-5:0"}}'
    assert read_model_at(decode_object(body), ("a", "b")) == "cohere.rerank-v3-5:0"
    assert read_model_at(decode_object(b'{"model":"a/b"}'), ("model",)) == "a/b"
