"""Every member, kind and word that the providers' own SDKs know of answers reaches clients of every other dialect or
is told as lost.

The answers are made of the SDKs' types (`support.sdk_answers`). Each says one thing more than the smallest one: another
value of that thing must change what the client gets, or a loss must tell of it. What may vanish is listed, with the
reason.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from headgate.llm.errors import UpstreamError
from headgate.llm.names import DialectName
from support.chat_goldens import CREATED, ask, others
from support.sdk_answers import ANSWERS, SAMPLES, in_context
from support.sdk_says_nothing import SAYS_NOTHING
from support.sdk_shapes import Place, Variant, Writer, leaves, replaced, value_at, written


def _name(place: Place) -> str:
    return next((str(step) for step in reversed(place) if isinstance(step, str)), "")


class _Answered:
    """What becomes of answers of one provider to one client."""

    def __init__(self, client: DialectName, provider: DialectName, smallest: Any) -> None:
        self.provider = provider
        self.plan, self.request = ask(client, provider)
        self.always = self.got(smallest)[1]

    def got(self, document: Any) -> tuple[bytes, frozenset[str]]:
        body = json.dumps(in_context(self.provider, document)).encode()
        answer = self.plan.open_response(self.request, 200, {"content-type": "application/json"}, CREATED)
        try:
            sent = answer.feed(body) + answer.close()
        except UpstreamError as error:
            return repr((str(error), error.status, error.kind)).encode(), frozenset()
        return sent + repr((answer.usage, answer.marks)).encode(), frozenset(loss.path for loss in answer.losses)


def _silent(answered: _Answered, variants: Sequence[Variant], writer: Writer) -> Iterator[str]:
    for variant in variants:
        got, losses = answered.got(variant.document)
        if losses - answered.always:
            continue
        for leaf in leaves(value_at(variant.document, variant.place), variant.place):
            value = value_at(variant.document, leaf)
            if value in ({}, [], None) or any(each.search(written(leaf)) for each in SAYS_NOTHING):
                continue
            other = replaced(variant.document, leaf, writer.other(value, _name(leaf)))
            if answered.got(other) == (got, losses):
                yield written(leaf)


@pytest.mark.parametrize(
    ("provider", "client"),
    [pytest.param(provider, client, id=f"{provider}-{client}") for provider in ANSWERS for client in others(provider)],
)
def test_nothing_an_sdk_knows_of_an_answer_vanishes_in_silence(provider: DialectName, client: DialectName) -> None:
    writer = Writer(SAMPLES[provider])
    shape = ANSWERS[provider]
    answered = _Answered(client, provider, writer.smallest(shape))
    assert list(dict.fromkeys(_silent(answered, list(writer.variants(shape)), writer))) == []
