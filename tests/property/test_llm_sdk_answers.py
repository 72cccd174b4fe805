"""Every member, kind and word that the providers' own SDKs know of answers reaches clients of every other dialect or
is told as lost.

The answers are made of the SDKs' types (`support.sdk_answers`). Each says one thing more than the smallest one: another
value of that thing must change what the client gets, or a loss must tell of it. What may vanish is listed, with the
reason.
"""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

import pytest
from headgate.llm.errors import UpstreamError
from headgate.llm.names import DialectName
from support.chat_goldens import CREATED, ask, others
from support.sdk_answers import ANSWERS, SAMPLES, in_context
from support.sdk_shapes import Place, Variant, Writer, leaves, replaced, value_at, written

SAYS_NOTHING: Final = tuple(
    re.compile(pattern)
    for pattern in (
        # What a value is follows from its other members; who speaks in an answer is known.
        r"(^|[.\]])(type|role|object)$",
        # OpenAI's answers repeat the request.
        r"^(instructions|tools|tool_choice|parallel_tool_calls|temperature|top_p|top_logprobs|background|image)\b",
        r"^(access_programs|max_output_tokens|max_tool_calls|metadata|conversation|previous_response_id|prompt)\b",
        r"^(prompt_cache_\w+|reasoning|safety_identifier|text|truncation|user)\b",
        r"^output\[0\]\.(action|background|output_format|quality|size)$",
        r"^performanceConfig\.latency$|^additionalModelResponseFields\.",
        # Names and dates of what lives at the provider. What made the answer, and how it was doing.
        r"^container\.|^output\[0\]\.id$|\.audio\.(id|expires_at)$|^system_fingerprint$",
        r"^(completed_at|createTime|modelVersion)$|^output\[0\]\.(status|phase)$|^diagnostics\.",
        # How it was served; what limits and prices do not know of usage.
        r"(^|[.])(service_tier|serviceTier\.type|trafficType|speed|inference_geo)$",
        r"^usage\.(completion|prompt)_tokens_details\.",
        r"^usage\.(fallback_credit|iterations|cache_creation|server_tool_use|cacheDetails|billed_units)\b",
        r"^usage\.input_tokens_details\.cache_write_tokens_details\.",
        r"^usage\.cached_tokens$|^tool_usage\.|^output\[0\]\.svg_usage\.",
        r"^usageMetadata\.(\w+Details\[|totalTokenCount$)",
        r"^candidates\[0\]\.tokenCount$",
        # Words that an SDK does not know yet: an ordinary end, an ordinary picture. Which of the stop sequences it was.
        r"(^|[.])(finish_reason|finishReason|stop_reason|stopReason|stop_sequence)$",
        r"\.(image|audio)\.format$|\.(inlineData|fileData)\.mimeType$|^incomplete_details\.reason$",
        # Of an error, or of a refused prompt, beside its words.
        r"^(output\[0\]\.)?error\.|^promptFeedback\.blockReason|^stop_details\.fallback_has_prefill_claim$",
        # Finer grains of likelihood: what a token is made of, its number, sums of them all.
        r"\.bytes\[0\]$|\.(tokenId|token_ids\[0\])$|\.(avgLogprobs|logProbabilitySum)$",
        # Where in a source, and in the answer, the cited words stand; what else is known of a source.
        r"(annotations|citations)\[0\]\.(\w+\.)*(start|end)(_\w+)?$|\.search_?[rR]esult_?[iI]ndex$",
        r"citations\[0\]\.(cited_text|encrypted_index|file_id|text|content_index|source|location\.web\.domain)$",
        r"citations\[0\]\.(sourceContent\[0\]\.text|sources\[0\]\.(tool_output|document)\.k\.a)$",
        # Told once: it names neither page nor document, as in the smallest answer.
        r"annotations\[0\]\.(file_id|filename|index|container_id)$",
        # Of a picture or a film beside itself.
        r"^candidates\[0\]\.content\.parts\[0\]\.(part|speech|video|audio|document|spreadsheet)Metadata\.",
        r"^candidates\[0\]\.content\.parts\[0\]\.(mediaResolution|mediaProcessing|audioTranscription)\b",
        r"\.displayName$|\.bucketOwner$",
        # Pieces of arguments, which are asked for in streams.
        r"\.functionCall\.(partialArgs|willContinue)\b",
        # The first answer is the first.
        r"^candidates\[0\]\.index$",
        # What only requests hold.
        r"^output\.message\.content\[0\]\.(cachePoint|toolAddition|toolRemoval)\.",
    )
)
"""Places that may vanish."""


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
