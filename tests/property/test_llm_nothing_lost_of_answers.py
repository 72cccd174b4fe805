"""Everything that a provider's answer holds reaches the client, or is named in the losses: taking it away changes what
the client gets or what is said to be lost. Whole answers, and the same as streams."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from headgate.llm.answer_losses import StreamLosses, losses_of
from headgate.llm.canonical import ChatResponse, Part, RefusalPart, TextPart, ThinkingPart
from headgate.llm.dialects.dialect import NO_MEMO, ReplyContext
from headgate.llm.dialects.table import DIALECTS
from headgate.llm.errors import UpstreamError
from headgate.llm.losses import Loss
from headgate.llm.names import DialectName
from headgate.llm.response_events import response_events
from support.chat_goldens import answer_cells

CONTEXT = ReplyContext("model", 1_700_000_000)

Told = Callable[[DialectName, ChatResponse], tuple[bytes, tuple[Loss, ...]]]
"""What the client gets, and what is said to be lost."""


def _whole(client: DialectName, answer: ChatResponse) -> tuple[bytes, tuple[Loss, ...]]:
    dialect = DIALECTS[client]
    losses = losses_of(answer, dialect.unsaid, dialect.answer_extras)
    return dialect.encode_response(answer, CONTEXT), losses


def _streamed(client: DialectName, answer: ChatResponse) -> tuple[bytes, tuple[Loss, ...]]:
    dialect = DIALECTS[client]
    encoder = dialect.stream_encoder(CONTEXT)
    losses = StreamLosses({**dialect.unsaid, **dialect.unsaid_streamed})
    sent: list[bytes] = []
    for event in response_events(answer):
        if type(event) in losses.kinds:
            losses.note(event)
        sent.append(encoder.feed(event))
    return b"".join((*sent, encoder.close())), losses.found


Taken = tuple[str, ChatResponse, ChatResponse]
"""What was taken away, what is left, and what was taken as an answer of its own."""


def _poorer_parts(parts: tuple[Part, ...]) -> Iterator[tuple[str, tuple[Part, ...], Part]]:
    for place, part in enumerate(parts):
        before, after = parts[:place], parts[place + 1 :]
        if not (isinstance(part, TextPart | RefusalPart) and not part.text):  # an empty text says nothing
            yield f"parts[{place}]", (*before, *after), part
        if isinstance(part, TextPart):
            for number, citation in enumerate(part.citations):
                cited = part.citations[:number] + part.citations[number + 1 :]
                poorer = msgspec.structs.replace(part, citations=cited)
                name = f"parts[{place}].citations[{number}]"
                yield name, (*before, poorer, *after), TextPart(part.text, citations=(citation,))
        elif isinstance(part, ThinkingPart) and part.signature:
            yield f"parts[{place}].signature", (*before, ThinkingPart(part.text), *after), part


def _poorer(answer: ChatResponse) -> Iterator[Taken]:
    replace = msgspec.structs.replace
    for name, parts, taken in _poorer_parts(answer.parts):
        yield name, replace(answer, parts=parts), ChatResponse(parts=(taken,))
    if answer.logprobs:
        alone = ChatResponse(parts=(TextPart("a"),), logprobs=answer.logprobs)
        yield "logprobs", replace(answer, logprobs=None), alone
    for place, other in enumerate(answer.alternatives):
        before, after = answer.alternatives[:place], answer.alternatives[place + 1 :]
        alone = ChatResponse(alternatives=(other,))
        yield f"alternatives[{place}]", replace(answer, alternatives=(*before, *after)), alone
        for name, parts, taken in _poorer_parts(other.parts):
            poorer = (*before, replace(other, parts=parts), *after)
            alone = ChatResponse(alternatives=(replace(other, parts=(taken,)),))
            yield f"alternatives[{place}].{name}", replace(answer, alternatives=poorer), alone


def _poorer_members(answer: ChatResponse) -> Iterator[Taken]:
    for dialect, members in answer.extras.items():
        for name, raw in members.items():
            left = {each: raw for each, raw in members.items() if each != name}
            alone = ChatResponse(extras={dialect: {name: raw}})
            yield name, msgspec.structs.replace(answer, extras={dialect: left}), alone


def _rows() -> list[Any]:
    return [
        pytest.param(provider, path, client, id=f"{provider}-{path.stem}-{client}")
        for provider, path, client in answer_cells("responses", ".json")
    ]


def _answer(provider: DialectName, path: Path) -> ChatResponse | None:
    try:
        return DIALECTS[provider].decode_response(path.read_bytes(), NO_MEMO)
    except UpstreamError:
        return None  # told as an error


@pytest.mark.parametrize(("provider", "path", "client"), _rows())
def test_nothing_of_an_answer_vanishes_in_silence(provider: DialectName, path: Path, client: DialectName) -> None:
    answer = _answer(provider, path)
    if answer is not None:
        assert _silent(_whole, client, answer) == []


@pytest.mark.parametrize(("provider", "path", "client"), _rows())
def test_nothing_of_a_stream_vanishes_in_silence(provider: DialectName, path: Path, client: DialectName) -> None:
    answer = _answer(provider, path)
    if answer is not None:
        assert _silent(_streamed, client, answer) == []


def _silent(told: Told, client: DialectName, answer: ChatResponse) -> list[str]:
    all_of_it, taken = told(client, answer)[0], (*_poorer(answer), *_poorer_members(answer))
    return [
        name for name, poorer, alone in taken if told(client, poorer)[0] == all_of_it and not told(client, alone)[1]
    ]
