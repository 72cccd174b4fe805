"""A whole answer as the events a stream of it would have made."""

from collections.abc import Iterator

from headgate.llm.canonical import (
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
    Part,
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
    """Start, the parts in order, the finish, the usage."""
    yield Start(id=response.id, model=response.model, created=response.created, service_tier=response.service_tier)
    logprobs = response.logprobs
    for index, part in enumerate(response.parts):
        for event in _part_events(index, part):
            yield event
            if logprobs and isinstance(event, TextDelta):
                # of all texts together: nothing says where one text's tokens end
                yield LogprobsDelta(index, logprobs)
                logprobs = None
    yield Finish(response.finish_reason, response.stop_sequence)
    yield UsageUpdate(response.usage)


def _part_events(index: int, part: Part) -> Iterator[StreamEvent]:
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
