"""Every member, kind and word that the providers' own SDKs know of the events of a stream reaches clients of every
other dialect or is told as lost.

The same as `test_llm_sdk_answers`, event by event: each says one thing more than the smallest of its kind, in a stream
that it makes sense in.
"""

import re
from collections.abc import Iterator
from typing import Any, Final

import pytest
from headgate.llm.names import DialectName
from support.chat_goldens import CLIENTS, CREATED, others, stream_bridge
from support.chat_streams import read_stream
from support.sdk_says_nothing import SAYS_NOTHING
from support.sdk_shapes import leaves, replaced, value_at, written
from support.sdk_streams import EVENTS, plain, said, stream, writer_of

SAYS_NOTHING_STREAMED: Final = tuple(
    re.compile(pattern)
    for pattern in (
        # Where an event belongs.
        r"(^|[.:])((output|content|summary|annotation|command|partial_image)_index|sequence_number|item_id|index)$",
        r"contentBlockIndex$",
        # What the stream begins with, or ends with, says so.
        r"^response\.(in_progress|queued|incomplete|failed|completed):response\.(id|created_at|model)$",
        r"^response\.output_item\.added:item\.(?!(call_id|name)$)|^message_start:message\.usage\.output_tokens$",
        r"^message-end:id$",
        # What has been said in pieces.
        r"^response\.(output_text|refusal|function_call_arguments|custom_tool_call_input)\.done:",
        r"^response\.(content_part\.(added|done)|reasoning_summary_part\.(added|done)):(part|status)\b",
        # Pictures that are not done yet; how long a hidden thought is so far; padding.
        r"^response\.image_generation_call\.partial_image:|:delta\.estimated_tokens$|^:obfuscation$",
        # When it was made, by whom (Cohere's and Bedrock's answers name no model), and how fast.
        r"^(:|response\.created:response\.|message_start:message\.)(created|created_at|model)$",
        r"^metadata:metadata\.(metrics\.latencyMs|usage\.totalTokens)$",
        # Of an error beside its words.
        r"^error:(code|param)$",
        # Where in a source, and in the answer, the cited words stand; what else is known of a source.
        r"[.:](citations?|annotation)\.(\w+\.)*(start|end)(_\w+)?$|\.citation\.(cited_text|encrypted_index|file_id)$",
        r"\.citations?\.(text|location\.web\.domain|sourceContent\[0\]\.text)$",
        r"\.citations\.sources\[0\]\.(tool_output|document)\.k\.a$|:annotation\.(file_id|container_id)$",
    )
)
"""Places that may vanish, beside those of whole answers."""

_WHOLE: Final = re.compile(r"^(response|message|delta|messageStop|metadata)\.")
"""Events that hold what whole answers say, at these places."""
_CITES: Final = re.compile(r"citation|annotation|grounding|source", re.IGNORECASE)


class _Streamed:
    """What becomes of streams of one provider to one client."""

    def __init__(self, client: DialectName, provider: DialectName) -> None:
        self._provider = provider
        self._plan, self._request = stream_bridge(client, provider)
        self._headers = {"content-type": CLIENTS[provider].stream_type, **CLIENTS[provider].answer_headers}
        self.always = self._got(plain(provider))[1]

    def got(self, kind: str, event: Any) -> tuple[bytes, frozenset[str]]:
        return self._got(stream(self._provider, kind, event))

    def sent(self, kind: str, event: Any) -> bytes:
        """What the client gets."""
        answer = self._plan.open_response(self._request, 200, self._headers, CREATED)
        return answer.feed(stream(self._provider, kind, event)) + answer.close()

    def _got(self, raw: bytes) -> tuple[bytes, frozenset[str]]:
        answer = self._plan.open_response(self._request, 200, self._headers, CREATED)
        sent = answer.feed(raw) + answer.close()
        return sent + repr((answer.usage, answer.marks)).encode(), frozenset(loss.path for loss in answer.losses)


def _silent(streamed: _Streamed, provider: DialectName) -> Iterator[str]:
    for each in said(provider):
        writer, document, place = writer_of(provider, each.kind), each.variant.document, each.variant.place
        got, losses = streamed.got(each.kind, document)
        told = losses - streamed.always
        of_citations = {path for path in told if "citations" in path}
        if told - of_citations:
            continue
        for leaf in leaves(value_at(document, place), place):
            value, path = value_at(document, leaf), written(leaf)
            full = f"{each.kind}:{path}"
            if value in ({}, [], None) or _may_vanish(full, path) or (of_citations and _CITES.search(path)):
                continue
            name = next((str(step) for step in reversed(leaf) if isinstance(step, str)), "")
            if streamed.got(each.kind, replaced(document, leaf, writer.other(value, name))) == (got, losses):
                yield full


def _may_vanish(full: str, path: str) -> bool:
    if any(each.search(full) for each in SAYS_NOTHING_STREAMED):
        return True
    whole = re.sub(r"^item\.", "output[0].", _WHOLE.sub("", path))
    return any(each.search(whole) for each in SAYS_NOTHING)


@pytest.mark.parametrize(
    ("provider", "client"),
    [pytest.param(provider, client, id=f"{provider}-{client}") for provider in EVENTS for client in others(provider)],
)
def test_nothing_an_sdk_knows_of_a_stream_vanishes_in_silence(provider: DialectName, client: DialectName) -> None:
    assert list(dict.fromkeys(_silent(_Streamed(client, provider), provider))) == []


FAILURES: Final = re.compile(r"^(response\.failed|error):|:(response|delta)\.error\b|=(ERROR|TIMEOUT)$")
"""Events that say of themselves that the stream fails."""


@pytest.mark.parametrize("provider", [*EVENTS])
def test_nothing_an_sdk_knows_of_a_stream_breaks_it(provider: DialectName) -> None:
    client = next(others(provider))
    streamed = _Streamed(client, provider)
    wrong: list[str] = []
    for each in said(provider):
        name = f"{each.kind}:{written(each.variant.place)}={each.variant.choice}"
        failed = read_stream(client, streamed.sent(each.kind, each.variant.document)).failed
        if failed != bool(FAILURES.search(name)):
            wrong.append(name)
    assert wrong == []
