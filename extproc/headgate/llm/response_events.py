"""A whole answer as the events a stream of it would have made."""

from collections.abc import Iterator

from headgate.llm.canonical import (
    Alternative,
    AnswerMembers,
    ArgumentsDelta,
    ChatResponse,
    CitationDelta,
    Finish,
    ImagePart,
    LogprobsDelta,
    MediaOutput,
    MediaPart,
    OpaqueOutput,
    OpaquePart,
    OtherAnswer,
    Part,
    PartEvent,
    PartStop,
    RedactedThinking,
    RedactedThinkingPart,
    RefusalDelta,
    RefusalPart,
    RefusalStart,
    SignatureDelta,
    Start,
    StreamEvent,
    TextDelta,
    TextPart,
    TextStart,
    ThinkingDelta,
    ThinkingPart,
    ThinkingStart,
    ToolCallPart,
    ToolCallStart,
    UsageUpdate,
)


def response_events(response: ChatResponse) -> Iterator[StreamEvent]:
    """Start, the parts in order, the finish, the other answers, members of its own dialect, the usage."""
    yield Start(id=response.id, model=response.model, created=response.created, service_tier=response.service_tier)
    yield from _answer_events(response)
    for number, alternative in enumerate(response.alternatives, start=1):
        for event in _answer_events(alternative):
            yield OtherAnswer(number, event)
    if response.extras:
        yield AnswerMembers(response.extras)
    yield UsageUpdate(response.usage)


def _answer_events(answer: ChatResponse | Alternative) -> Iterator[PartEvent]:
    logprobs = answer.logprobs
    for index, part in enumerate(answer.parts):
        for event in _part_events(index, part):
            yield event
            if logprobs and isinstance(event, TextDelta):
                # of all texts together: nothing says where one text's tokens end
                yield LogprobsDelta(index, logprobs)
                logprobs = None
    yield Finish(answer.finish_reason, answer.stop_sequence)


def _part_events(index: int, part: Part) -> Iterator[PartEvent]:
    match part:
        case TextPart(text=text, citations=citations):
            yield TextStart(index)
            yield TextDelta(index, text)
            for citation in citations:
                yield CitationDelta(index, citation)
        case RefusalPart(text=text):
            yield RefusalStart(index)
            yield RefusalDelta(index, text)
        case ThinkingPart(text=text, signature=signature):
            yield ThinkingStart(index)
            if text:
                yield ThinkingDelta(index, text)
            if signature:
                yield SignatureDelta(index, signature)
        case ToolCallPart():
            yield ToolCallStart(index, part.id, part.name)
            yield ArgumentsDelta(index, part.arguments)
        case RedactedThinkingPart(data=data):
            yield RedactedThinking(index, data)
            return
        case ImagePart() | MediaPart():
            yield MediaOutput(index, part)
            return
        case OpaquePart():
            yield OpaqueOutput(index, part)
            return
        case _:
            return  # answers hold nothing else that a stream could carry
    yield PartStop(index)
