"""What a provider's answer holds and the client's dialect has no place for, as losses.

An answer is never refused for it, whatever the backend's policy: it has been written and will be billed. Told are
things that an answer says or that a client must send back; not told are finer grains of what is carried (where in a
source the cited words stand, details of the usage, which of the stop sequences or limits it was).
"""

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType
from typing import Final, TypeVar

import msgspec
from headgate.llm.canonical import (
    Alternative,
    AnswerMembers,
    Base64Source,
    ChatResponse,
    Citation,
    CitationDelta,
    Extras,
    ImagePart,
    LogprobsDelta,
    MediaOutput,
    MediaPart,
    OpaqueOutput,
    OpaquePart,
    OtherAnswer,
    Part,
    RedactedThinking,
    RedactedThinkingPart,
    SignatureDelta,
    StreamEvent,
    TextPart,
    ThinkingPart,
    ThinkingStart,
    ToolCallPart,
    ToolCallStart,
)
from headgate.llm.losses import Loss
from headgate.llm.names import DialectName


class Matter(StrEnum):
    """What an answer may hold and not every dialect can say; the loss's path."""

    ALTERNATIVES = "answer.alternatives"
    AUDIO = "answer.audio"
    DOCUMENT_CITATIONS = "answer.citations.documents"
    """Citations of the request's documents."""
    ENCRYPTED_REASONING = "answer.reasoning.encrypted"
    IMAGES = "answer.images"
    IMAGE_URLS = "answer.images.url"
    LOGPROBS = "answer.logprobs"
    MEDIA_URLS = "answer.media.url"
    """Sounds and films that are elsewhere."""
    NAMELESS_CITATIONS = "answer.citations.nameless"
    """Citations that name neither a page nor a document."""
    PAGE_CITATIONS = "answer.citations.pages"
    PROVIDER_TOOLS = "answer.provider_tools"
    """Calls of the provider's own tools, and what they found."""
    REASONING = "answer.reasoning"
    SIGNATURES = "answer.reasoning.signature"
    TOOL_CALLS = "answer.tool_calls"
    TOP_LOGPROBS = "answer.logprobs.top"
    """What else might have stood in a token's place."""
    VIDEO = "answer.video"


Unsaid = Mapping[Matter, str]
"""What a dialect's answers cannot say: the reason, for the client."""

_FINISH_REASON: Final = "finish_reason"
_SAID_OTHERWISE: Final[Mapping[str, str]] = MappingProxyType(
    {
        "groundingMetadata": "of a search only its pages are told, as citations",
        _FINISH_REASON: "the provider ended with a word of its own; the nearest is told",
    }
)
"""Members of one dialect's answers of which the most is told in canonical words as well: what is left out."""

SAID: Final = msgspec.Raw(b"true")
"""For a member of an answer whose content nobody needs: that it is there."""

_SAYS_NOTHING: Final = frozenset((b"null", b"[]", b"{}", b"false", b'""'))
T = TypeVar("T")


def says(member: msgspec.Raw) -> bool:
    """Whether a member says anything."""
    return bool(member) and bytes(member).translate(None, b" \t\r\n") not in _SAYS_NOTHING


def opened(member: msgspec.Raw, decode: Callable[[msgspec.Raw], T]) -> T | None:
    """A member that an answer can do without; None where it is not there, or of another kind than it should be."""
    if not member:  # as in nearly all answers
        return None
    try:
        return decode(member)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def own_members(dialect: DialectName, *members: tuple[str, msgspec.Raw]) -> Extras:
    """What only one dialect's answers say: its members that say anything, by what losses call them."""
    found = {name: raw for name, raw in members if says(raw)}
    return {dialect: found} if found else {}


def own_end(word: str | None, words: Container[str]) -> tuple[str, msgspec.Raw]:
    """The member that tells of the word with which an answer ended, unless it is one of those that every dialect has
    a word for."""
    return _FINISH_REASON, SAID if word and word not in words else _SAYS_NOTHING_ITSELF


_SAYS_NOTHING_ITSELF: Final = msgspec.Raw(b"null")
_NO_SUCH_MEMBER: Final = "answers of this dialect have no such member"


def losses_of(answer: ChatResponse, unsaid: Unsaid, extras: frozenset[str]) -> tuple[Loss, ...]:
    """The losses of a whole answer, each once. `extras`: members of other dialects that this one's answers repeat."""
    matters = _matters(answer)
    if not matters and not answer.extras:
        return ()
    found = dict.fromkeys([matter for matter in matters if matter in unsaid])
    return (*(Loss(matter, "dropped", unsaid[matter]) for matter in found), *_unknown_members(answer.extras, extras))


def _unknown_members(members: Extras, repeated: frozenset[str] = frozenset()) -> Iterator[Loss]:
    for each in members.values():
        for name in each:
            if name in repeated:
                continue
            otherwise = _SAID_OTHERWISE.get(name)
            action, reason = ("dropped", _NO_SUCH_MEMBER) if otherwise is None else ("changed", otherwise)
            yield Loss(f"answer.{name}", action, reason)


class StreamLosses:
    """The losses of a stream so far. Bounded: each matter is told once."""

    __slots__ = ("_unsaid", "found", "kinds")

    def __init__(self, unsaid: Unsaid) -> None:
        self._unsaid = unsaid
        self.kinds = kinds_of(unsaid)
        """The events that may be lost; only these need be noted."""
        self.found: tuple[Loss, ...] = ()

    def note(self, event: StreamEvent) -> None:
        """An event of one of the `kinds`."""
        if isinstance(event, AnswerMembers):
            self._add(_unknown_members(event.extras))
            return
        lost = (matter for matter in _matters_of(event) if matter in self._unsaid)
        self._add(Loss(matter, "dropped", self._unsaid[matter]) for matter in lost)

    def _add(self, losses: Iterable[Loss]) -> None:
        for loss in losses:
            if loss not in self.found:
                self.found = (*self.found, loss)


_EVENTS: Final[Mapping[Matter, type[StreamEvent]]] = {
    Matter.ALTERNATIVES: OtherAnswer,
    Matter.AUDIO: MediaOutput,
    Matter.DOCUMENT_CITATIONS: CitationDelta,
    Matter.ENCRYPTED_REASONING: RedactedThinking,
    Matter.IMAGES: MediaOutput,
    Matter.IMAGE_URLS: MediaOutput,
    Matter.LOGPROBS: LogprobsDelta,
    Matter.MEDIA_URLS: MediaOutput,
    Matter.NAMELESS_CITATIONS: CitationDelta,
    Matter.PAGE_CITATIONS: CitationDelta,
    Matter.PROVIDER_TOOLS: OpaqueOutput,
    Matter.REASONING: ThinkingStart,
    Matter.SIGNATURES: SignatureDelta,
    Matter.TOOL_CALLS: ToolCallStart,
    Matter.TOP_LOGPROBS: LogprobsDelta,
    Matter.VIDEO: MediaOutput,
}
"""The event that tells of each matter."""


def kinds_of(unsaid: Unsaid) -> frozenset[type[StreamEvent]]:
    """The events in which something of that may come."""
    return frozenset((AnswerMembers, OtherAnswer, *(_EVENTS[matter] for matter in unsaid)))


def _matters_of(event: StreamEvent) -> Iterator[Matter]:
    match event:
        case OtherAnswer(event=said):
            yield Matter.ALTERNATIVES
            yield from _matters_of(said)
        case MediaOutput(part=part) | OpaqueOutput(part=part):
            yield from _of_part(part)
        case CitationDelta(citation=citation):
            yield _of_citation(citation)
        case RedactedThinking():
            yield Matter.ENCRYPTED_REASONING
        case LogprobsDelta(tokens=tokens):
            yield Matter.LOGPROBS
            if any(token.top for token in tokens):
                yield Matter.TOP_LOGPROBS
        case SignatureDelta():
            yield Matter.SIGNATURES
        case ThinkingStart():
            yield Matter.REASONING
        case ToolCallStart():
            yield Matter.TOOL_CALLS
        case _:
            pass


def _matters(answer: ChatResponse | Alternative) -> list[Matter]:
    found: list[Matter] = []
    for part in answer.parts:
        if type(part) is not TextPart or part.citations:  # most answers are a text
            found += _of_part(part)
    if answer.logprobs:
        found.append(Matter.LOGPROBS)
        if any(token.top for token in answer.logprobs):
            found.append(Matter.TOP_LOGPROBS)
    if isinstance(answer, ChatResponse) and answer.alternatives:
        found.append(Matter.ALTERNATIVES)
        for alternative in answer.alternatives:
            found += _matters(alternative)
    return found


def _of_part(part: Part) -> Sequence[Matter]:
    match part:
        case TextPart(citations=citations):
            return [_of_citation(citation) for citation in citations]
        case ThinkingPart(signature=signature):
            return (Matter.REASONING, Matter.SIGNATURES) if signature else (Matter.REASONING,)
        case RedactedThinkingPart():
            return (Matter.ENCRYPTED_REASONING,)
        case ToolCallPart():
            return (Matter.TOOL_CALLS,)
        case ImagePart(source=source):
            return (Matter.IMAGES if isinstance(source, Base64Source) else Matter.IMAGE_URLS,)
        case MediaPart(source=source) if not isinstance(source, Base64Source):
            return (Matter.MEDIA_URLS,)
        case MediaPart(kind=kind):
            return (Matter.AUDIO if kind == "audio" else Matter.VIDEO,)
        case OpaquePart():
            return (Matter.PROVIDER_TOOLS,)
        case _:
            return ()


def _of_citation(citation: Citation) -> Matter:
    if citation.url:
        return Matter.PAGE_CITATIONS
    return Matter.NAMELESS_CITATIONS if citation.document is None else Matter.DOCUMENT_CITATIONS
