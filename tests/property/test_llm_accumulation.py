"""What an official client's streaming helper adds up to is what the same answer says whole, for every answer that the
providers' SDKs know (`support.sdk_answers`), from whole answers and from streams of the providers'.

A stream of a provider's is what that dialect's own clients get of another provider's answer, so it is the pair of the
whole answer that they get.
"""

import json
import re
from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

import pytest
from headgate.llm.errors import UpstreamError
from headgate.llm.names import DialectName
from support.chat_goldens import CLIENTS
from support.json_values import is_array, is_object
from support.sdk_accumulation import HELPERS, added_up, streamed, told, whole
from support.sdk_answers import ANSWERS, SAMPLES, in_context
from support.sdk_shapes import Writer, written

PAIRS: Final = [
    pytest.param(client, provider, id=f"{provider}-{client}")
    for provider in ANSWERS
    for client in HELPERS
    if client is not provider
]
EVERY: Final = 7
"""Of what others say, one in so many."""


def _answers(provider: DialectName) -> Iterator[tuple[str, bytes]]:
    """(what it says more than the smallest, body)"""
    for variant in Writer(SAMPLES[provider]).variants(ANSWERS[provider]):
        yield f"{written(variant.place)}={variant.choice}", json.dumps(in_context(provider, variant.document)).encode()


@pytest.mark.parametrize(("client", "provider"), PAIRS)
def test_a_whole_answer_adds_up_as_a_stream(client: DialectName, provider: DialectName) -> None:
    wrong: list[str] = []
    for name, body in _answers(provider):
        try:
            expected = told(client, whole(client, provider, body))
        except UpstreamError:
            continue
        final = added_up(client, streamed(client, provider, body))
        if final is not None and final != expected:
            wrong.append(name)
    assert wrong == []


@pytest.mark.parametrize(("client", "provider"), PAIRS)
def test_a_stream_adds_up_to_the_whole_answer(client: DialectName, provider: DialectName) -> None:
    wrong: list[str] = []
    for other in ANSWERS:
        if other is provider:
            continue
        for name, body in islice(_answers(other), 0, None, EVERY):
            try:
                expected = told(client, whole(client, provider, whole(provider, other, body)))
                raw = streamed(provider, other, body)
                final = added_up(client, streamed(client, provider, raw, CLIENTS[provider].stream_type))
            except UpstreamError:
                continue
            if final is not None and _comparable(final) != _comparable(expected):
                wrong.append(f"{other}: {name}")
    assert wrong == []


_LATE: Final = frozenset(("service_tier", "created_at"))
"""What some streams know at their end alone, where helpers take no note of it; when an answer of no time was made."""
_NUMBERED: Final = re.compile(r"^(\w+_.+)_\d+$")
"""Ids that we make of a part's place."""


def _comparable(value: Any) -> Any:
    """Without order among parts, which whole answers of Chat and Cohere do not have, and where texts are parted."""
    if is_object(value):
        inner = {name: _comparable(each) for name, each in value.items() if name not in _LATE}
        for name in ("output", "content"):
            if is_array(parts := inner.get(name)) and all(is_object(part) for part in parts):
                inner[name] = _joined(sorted(parts, key=lambda part: str(part.get("type"))))
        return {name: each for name, each in inner.items() if each != {}}
    if is_array(value):
        return [_comparable(each) for each in value]
    return _NUMBERED.sub(r"\1", value) if isinstance(value, str) else value


def _joined(parts: list[Any]) -> list[Any]:
    found: list[Any] = []
    for part in parts:
        last: Any = found[-1] if found and found[-1].get("type") == part.get("type") else {}
        if is_array(content := part.get("content")) and "content" in last:
            found[-1] = {**last, "content": _joined([*last["content"], *content])}
        elif "text" in last and not any(part.get(name) for name in ("annotations", "citations", "logprobs")):
            found[-1] = {**last, "text": last["text"] + part.get("text", "")}
        else:
            found.append(part)
    return found
