"""Every member, kind and word that the providers' own SDKs know of the operations beyond chat is carried, told as lost,
or refused.

As `test_llm_sdk_requests.py` and `test_llm_sdk_answers.py` hold it of chat: the documents are made of the SDKs' types
(`support.sdk_operations`), so what a new release adds is asked for here without anybody writing it down. Of prompts
that are counted only the outermost members are looked at: the rest is chat's.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, Final

import pytest
from headgate.llm.errors import RequestError, UnsupportedTranslation, UpstreamError
from headgate.llm.exchange import Plan, UpstreamRequest
from support.operation_goldens import ASKED, CREATED, TARGETS, open_plan
from support.sdk_operations import ANSWER_SAMPLES, ANSWERS, PROMPTS, REQUESTS, SAMPLES, embedded, in_context
from support.sdk_shapes import Place, Variant, Writer, written
from support.sdk_silence import silent

SAYS_NOTHING: Final = tuple(
    re.compile(pattern)
    for pattern in (
        # Whom to ask is the gateway's to say.
        r"^(requests\[0\]\.)?model$",
        # What a value is follows from its other members; who speaks, where everything is embedded.
        r"(^|[.\]])(type|role)$",
        # A file's type where the model finds it out by itself.
        r"\.inlineData\.mimeType$",
        # Texts that are said to be an image.
        r"^input_type \w+ = image$",
        # Of one text there is one result. A text or JSON, which is ranked as its text.
        r"^top_n$|\.numberOfResults$|\.inlineDocumentSource\.type ",
        # Not of the prompt.
        r"^(speed|thinking|tool_choice|parallel_tool_calls)( .*)?$|^tool_choice\.name$|^tools\[0\]\.strict$",
        r"^generateContentRequest\.serviceTier\b",
        # Headers, which its SDK lists with the members.
        r"^(betas|user_profile_id|workspace_id)\b",
    )
)
"""Places of requests, and pairs of words or kinds at a place, that may vanish."""

REFUSED: Final = tuple(
    re.compile(pattern)
    for pattern in (
        # A word that was made up, where another was to be tried.
        r": invalid enum value '\w+x'$|type: (invalid value|no item is called) '\w+x'$",
        # What a model does not embed; how it does not write vectors.
        r" embeds? (texts?|images|one text|as floats)\b| embeddings are ",
        # Members without which a part is nothing, though the SDK's types have them optional.
        r"^inputs\[0\]\.content\[0\]\.(image_url|text): this member is required$",
        r"\.parts\[0\]: must be text, inlineData or fileData$",
        # What lives at the provider.
        r"^(conversation|previous_response_id|cachedContent|continuationToken): .* kept at|^compaction: ",
        r"^tool_choice(\.mode)?: must be auto",
    )
)
"""Refusals, as `path: reason`: what cannot be answered without."""

ANSWERS_SAY_NOTHING: Final = tuple(
    re.compile(pattern)
    for pattern in (
        # What a value is, which is known; whose answer it is, which only some dialects' clients can be told.
        r"(^|[.\]])(object|type|response_type)( .*)?$|^(id|model)$",
        # OpenAI's clients read one vector for each input; of which input, its place tells.
        r"^data\[0\]\.index$",
        # The request's texts and images, repeated; spans are found where they were asked for.
        r"^(texts|images)\[0\]|\.relevant_spans\[0\]\.",
        # Which API it was; what limits and prices do not know of usage.
        r"^meta\.api_version\.|^meta\.(billed_units\.|cached_tokens$|tokens\.output_tokens$)",
        r"^usageMetadata\.(?!promptTokenCount)|^metadata\.billableCharacterCount$",
        # Vertex's of one vector: of `predict` they are read, of `batchEmbedContents` the whole answer says so.
        r"^embeddings\[0\]\.statistics\.",
        # Of a count: how much of it was cached, and what it was before it was shortened.
        r"^cachedContentTokenCount$|^context_management\.",
    )
)
"""Places of answers that may vanish."""


def _request(plan: Plan, endpoint: str, document: Any) -> UpstreamRequest:
    body = json.dumps(in_context(endpoint, document)).encode()
    return plan.translate_request(body, {":path": ASKED[endpoint].path})


def _answer(plan: Plan, request: UpstreamRequest, document: Any) -> tuple[str, frozenset[str]]:
    answer = plan.open_response(request, 200, {"content-type": "application/json"}, CREATED)
    try:
        sent = answer.feed(json.dumps(document).encode()) + answer.close()
    except UpstreamError as error:  # vectors are not of the type that was asked for
        sent = str(error).encode()
    losses = frozenset(loss.path for loss in answer.losses)
    return repr((sent, answer.usage, answer.response_model, answer.losses)), losses


class _Asked:
    """What becomes of requests at one endpoint for one provider."""

    def __init__(self, endpoint: str, plan: Plan, answer: Any) -> None:
        self._endpoint = endpoint
        self._plan = plan
        self._answer = answer
        self.refusals: set[str] = set()

    def sent(self, document: Any) -> tuple[str, frozenset[str]] | None:
        try:
            request = _request(self._plan, self._endpoint, document)
        except (RequestError, UnsupportedTranslation) as error:
            self.refusals.add(f"{error.path}: {error}")
            return None
        if request.local is not None:
            return None  # the gateway counts itself, and sends nothing
        answered = "" if self._answer is None else _answer(self._plan, request, self._answer)[0]
        told = (request.body, request.path, answered, request.losses)
        return repr(told), frozenset(loss.path for loss in request.losses)

    def reported(self, place: Place, losses: frozenset[str]) -> bool:
        path = written(place[len(PROMPTS.get(self._endpoint, ())) :])
        return any(
            path == loss or path.startswith((f"{loss}.", f"{loss}[")) or loss.startswith(path) for loss in losses
        )

    def says_nothing(self, path: str) -> bool:
        return any(each.search(path) for each in SAYS_NOTHING)


def _variants(endpoint: str) -> Iterator[Variant]:
    writer = Writer(SAMPLES[endpoint])
    variants = writer.variants(REQUESTS[endpoint][1])
    prompt = PROMPTS.get(endpoint)
    return variants if prompt is None else (each for each in variants if len(each.place) <= len(prompt) + 1)


_PAIRS: Final = [
    pytest.param(endpoint, target, id=f"{endpoint}-{target}")
    for endpoint, (operation, _) in REQUESTS.items()
    for target in TARGETS[operation]
    if open_plan(endpoint, operation, target) is not None
]


@pytest.mark.parametrize(("endpoint", "target"), _PAIRS)
def test_nothing_an_sdk_can_ask_for_vanishes_in_silence(endpoint: str, target: str) -> None:
    operation, _ = REQUESTS[endpoint]
    plan = open_plan(endpoint, operation, target)
    assert plan is not None
    asked = _Asked(endpoint, plan, embedded(target) if operation == "embeddings" else None)
    assert list(dict.fromkeys(silent(asked, _variants(endpoint), Writer(SAMPLES[endpoint])))) == []
    assert [each for each in asked.refusals if not any(known.search(each) for known in REFUSED)] == []


class _Answered:
    """What becomes of one provider's answers to requests at one endpoint."""

    def __init__(self, endpoint: str, plan: Plan) -> None:
        self._plan = plan
        self._request = _request(plan, endpoint, Writer(SAMPLES[endpoint]).smallest(REQUESTS[endpoint][1]))

    def sent(self, document: Any) -> tuple[str, frozenset[str]]:
        sent, losses = _answer(self._plan, self._request, document)
        return sent, losses - {loss.path for loss in self._request.losses}

    def reported(self, place: Place, losses: frozenset[str]) -> bool:
        return any(written(place).startswith(loss.removeprefix("answer.")) for loss in losses)

    def says_nothing(self, path: str) -> bool:
        return any(each.search(path) for each in ANSWERS_SAY_NOTHING)


@pytest.mark.parametrize(
    ("endpoint", "target"),
    [pair for pair in _PAIRS if (REQUESTS[str(pair.values[0])][0], pair.values[1]) in ANSWERS],
)
def test_nothing_an_sdk_knows_of_an_answer_vanishes_in_silence(endpoint: str, target: str) -> None:
    operation, _ = REQUESTS[endpoint]
    plan = open_plan(endpoint, operation, target)
    assert plan is not None
    writer = Writer(ANSWER_SAMPLES[operation, target])
    variants = writer.variants(ANSWERS[operation, target])
    assert list(dict.fromkeys(silent(_Answered(endpoint, plan), variants, writer))) == []
