"""Invocation metadata decides what a stream is; facts are parsed once."""

import pytest
from headgate.extproc.router import RouterSession
from headgate.extproc.session import SessionError, open_session, parse_backend
from headgate.extproc.upstream import UpstreamSession

FACTS = '{"name":"default/b","dialect":"openai-chat"}'


def test_the_metadata_decides() -> None:
    assert isinstance(open_session({"x-headgate-backend": FACTS}, 0), UpstreamSession)
    assert isinstance(open_session({"x-headgate-router": '{"count_prompt":true}'}, 0), RouterSession)
    assert isinstance(open_session({"x-headgate-router": ""}, 0), RouterSession)


def test_equal_facts_are_parsed_once() -> None:
    assert parse_backend(FACTS) is parse_backend(str(FACTS.encode(), "utf-8"))


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({}, "neither"),
        ({"x-headgate-backend": "{"}, "x-headgate-backend"),
        ({"x-headgate-backend": '{"name":"b"}'}, "dialect"),
        ({"x-headgate-backend": '{"name":"b","dialect":"openai-chat","colour":1}'}, "colour"),
        ({"x-headgate-router": '{"count_prompt":1}'}, "count_prompt"),
        ({"x-headgate-backend": FACTS, "x-headgate-endpoint": "nowhere"}, "nowhere"),
    ],
)
def test_metadata_that_is_not_ours_is_refused_with_its_reason(metadata: dict[str, str], words: str) -> None:
    with pytest.raises(SessionError, match=words):
        open_session(metadata, 0)
