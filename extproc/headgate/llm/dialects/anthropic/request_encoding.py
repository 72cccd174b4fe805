"""A chat request, written as the Messages API takes it.

One `system`, turns of two roles that alternate, no empty text, tool results first, a token limit always.
"""

import base64
import binascii
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, TypeAlias, assert_never

import msgspec
from headgate.llm.canonical import (
    Base64Source,
    CachePoint,
    ChatRequest,
    DocumentPart,
    DocumentSource,
    FileSource,
    ImagePart,
    MediaPart,
    Message,
    OpaquePart,
    RedactedThinkingPart,
    RefusalPart,
    TextPart,
    TextSource,
    ThinkingPart,
    ToolCallPart,
    ToolResultPart,
    UrlSource,
)
from headgate.llm.capabilities import claude_facts
from headgate.llm.dialects.anthropic import wire
from headgate.llm.dialects.anthropic.settings import encode_settings, provider_name
from headgate.llm.dialects.cache_marks import last_marks
from headgate.llm.dialects.dialect import EncodedRequest, Memo, Target
from headgate.llm.dialects.turns import GO_ON, inlined, refuse_lost, report_begun, without_blanks
from headgate.llm.dialects.unsaid import report_cited_history, report_names
from headgate.llm.errors import RequestError
from headgate.llm.losses import Loss
from headgate.llm.signatures import ELSEWHERE, is_claudes


def encode_request(request: ChatRequest, target: Target) -> EncodedRequest:
    """See `ChatDialect.encode_request`."""
    losses: list[Loss] = []
    request = last_marks(request, losses)
    turns = _Turns(losses)
    for message in without_blanks(_cite_all_or_none(request, losses), losses):
        turns.take(message)
    if turns.lost or not turns.turns:
        refuse_lost(losses, turns.lost)
    settings = encode_settings(request, target, losses, calls=turns.calls, unsigned_loop=turns.unsigned_loop())
    report_cited_history(request.messages, losses)
    report_names(request.messages, losses)
    if not claude_facts(target.model, target.models).prefill:
        turns.ask_to_go_on()
    system, messages = turns.result()
    body = wire.Request(
        model=target.model,
        max_tokens=settings.max_tokens,
        messages=messages,
        system=system or None,
        tools=settings.tools or None,
        tool_choice=settings.tool_choice,
        stop_sequences=settings.stop or None,
        stream=True if request.stream else None,
        temperature=settings.temperature,
        top_p=settings.top_p,
        top_k=settings.top_k,
        thinking=settings.thinking,
        output_config=settings.output_config,
        metadata=_encode_user(request.user, losses),
        service_tier=settings.service_tier,
    )
    memo = Memo(
        include_usage=request.include_usage,
        json_tool=settings.json_tool,
        stop=request.stop,
        tool_names=settings.tool_names,
    )
    return EncodedRequest(_ENCODER.encode(body), memo, losses)


_ENCODER: Final = msgspec.json.Encoder()


def _cite_all_or_none(request: ChatRequest, losses: list[Loss]) -> Sequence[Message]:
    """The messages, where the API takes citations: of all documents or none, and not with a schema for the answer."""
    if not _cites(request.messages):
        return request.messages
    cited = request.response_format is None or request.response_format.kind == "text"
    if not cited:
        losses.append(Loss("citations", "dropped", "a format of the answer excludes citations"))
    return [
        Message(
            message.role,
            tuple(
                msgspec.structs.replace(part, cited=cited) if isinstance(part, DocumentPart) else part
                for part in message.parts
            ),
            message.name,
            message.path,
        )
        for message in request.messages
    ]


def _cites(messages: Sequence[Message]) -> bool:
    for message in messages:
        for part in message.parts:
            if type(part) is DocumentPart and part.cited:
                return True
    return False


_PERSONAL: Final = re.compile(r"[^@\s]+@[^@\s.]+\.[^@\s]+|\+?[\d\s().-]{7,}")
"""An e-mail address or a telephone number: the API refuses them as `user_id`."""


def _encode_user(user: str, losses: list[Loss]) -> wire.Metadata | None:
    if not user:
        return None
    if _PERSONAL.fullmatch(user):
        losses.append(Loss("user", "dropped", "this dialect refuses addresses and telephone numbers as user ids"))
        return None
    return wire.Metadata(user)


_ID_CHARACTERS: Final = re.compile(r"[^a-zA-Z0-9_-]")
"""What a tool call's id may not hold; some servers make ids like `functions.search:0`."""

FIRST_TURN: Final = "(The conversation begins.)"
"""Said for the user where the history begins with the assistant, a greeting say."""

ERROR: Final = "Error"
"""Stands for an error of a tool's that says nothing."""

IMAGE_TYPES: Final = frozenset(("image/jpeg", "image/png", "image/gif", "image/webp"))
PDF: Final = "application/pdf"
TEXT_TYPES: Final = frozenset(("text/plain", "text/markdown", "text/csv", "text/html", "application/json"))


class _Turns:
    """Collects messages into the API's shape. Feed every message in order, then read `result`."""

    __slots__ = ("calls", "losses", "lost", "system", "turns")

    def __init__(self, losses: list[Loss]) -> None:
        self.losses = losses
        self.system: list[wire.TextBlock] = []
        self.turns: list[tuple[str, list[wire.Block]]] = []
        self.lost: Message | None = None
        """The last message, where it is the user's and nothing of it is left behind a turn of the assistant's."""
        self.calls: dict[str, None] = {}
        """Names of the tools that the history calls, in order."""

    def take(self, message: Message) -> None:
        match message.role:
            case "system" | "developer":
                self._take_system(message)
            case "user":
                self._take_turn("user", message)
            case "assistant":
                self._take_turn("assistant", message)

    def _take_system(self, message: Message) -> None:
        if self.turns:
            self._take_turn("user", inlined(message, self.losses))
            return
        for part in message.parts:
            if type(part) is TextPart:
                if part.text and not part.text.isspace():
                    self.system.append(wire.TextBlock(part.text, _encode_cache(part.cache)))
            else:
                self.losses.append(Loss(message.path, "dropped", "instructions are text only in this dialect"))

    def _take_turn(self, role: str, message: Message) -> None:
        blocks: list[wire.Block] = []
        for part in message.parts:
            if type(part) is TextPart:
                if part.text and not part.text.isspace():  # the API refuses blank text
                    blocks.append(wire.TextBlock(part.text, _encode_cache(part.cache)))
            elif type(part) is ToolCallPart:
                self.calls[part.name] = None
                arguments = _check_arguments(part, message.path)
                name = provider_name(part.name)
                blocks.append(wire.ToolUseBlock(_encode_id(part.id), name, arguments, _encode_cache(part.cache)))
            elif type(part) is ToolResultPart:
                blocks.append(_encode_result(part, message.path, self.losses))
            else:
                block = _encode_part(part, message.path, self.losses)
                if block is not None:
                    blocks.append(block)
        said = self.turns[-1][0] if self.turns else ""
        self.lost = message if not blocks and (role, said) == ("user", "assistant") else None
        if not blocks:
            return
        if self.turns and self.turns[-1][0] == role:
            self.turns[-1][1].extend(blocks)
        else:
            self.turns.append((role, blocks))

    def unsigned_loop(self) -> bool:
        """The conversation goes on from tool results whose call comes without signed thinking: the API then refuses
        manual thinking."""
        if len(self.turns) < 2 or not any(type(block) is wire.ToolResultBlock for block in self.turns[-1][1]):
            return False
        first = self.turns[-2][1][0]
        return not isinstance(first, wire.ThinkingBlock | wire.RedactedThinkingBlock)

    def ask_to_go_on(self) -> None:
        """Ends the conversation with the user where it ends with a text of the assistant's."""
        if self.turns and self.turns[-1][0] == "assistant" and type(self.turns[-1][1][-1]) is wire.TextBlock:
            report_begun("messages", self.losses)
            self.turns.append(("user", list[wire.Block]((wire.TextBlock(GO_ON),))))

    def result(self) -> tuple[list[wire.TextBlock], list[wire.Message]]:
        """`system` and `messages`. A conversation of nothing but instructions becomes a user turn, since there must be
        one; white space at the end of a prefilled answer goes, since the API refuses it."""
        turns, system = self.turns, self.system
        if not turns and system:
            self.losses.append(Loss("messages", "changed", "instructions alone become a user turn: there must be one"))
            turns, system = [("user", list[wire.Block](system))], []
        if turns and turns[0][0] == "assistant":
            self.losses.append(Loss("messages", "changed", "the first turn must be the user's: one is put before it"))
            turns = [("user", list[wire.Block]((wire.TextBlock(FIRST_TURN),))), *turns]
        messages = [
            wire.Message("user" if role == "user" else "assistant", _results_first(blocks)) for role, blocks in turns
        ]
        if turns and turns[-1][0] == "assistant":
            _trim_end(turns[-1][1])
            messages[-1] = wire.Message("assistant", turns[-1][1])
        return system, messages


def _results_first(blocks: list[wire.Block]) -> str | list[wire.Block]:
    """Tool results must precede everything else of a turn. A lone text without cache point is written as a string."""
    if len(blocks) == 1:
        only = blocks[0]
        if type(only) is wire.TextBlock and only.cache_control is None:
            return only.text
        return blocks
    results = [block for block in blocks if type(block) is wire.ToolResultBlock]
    if not results:
        return blocks
    return [*results, *(block for block in blocks if type(block) is not wire.ToolResultBlock)]


def _trim_end(blocks: list[wire.Block]) -> None:
    last = blocks[-1]
    if isinstance(last, wire.TextBlock) and last.text != last.text.rstrip():
        blocks[-1] = wire.TextBlock(last.text.rstrip(), last.cache_control)


_RarePart: TypeAlias = (
    ImagePart | DocumentPart | MediaPart | ThinkingPart | RedactedThinkingPart | RefusalPart | OpaquePart
)


def _encode_part(part: _RarePart, path: str, losses: list[Loss]) -> wire.Block | None:
    match part:
        case RefusalPart():
            return wire.TextBlock(part.text) if part.text.strip() else None
        case ImagePart() | DocumentPart() | MediaPart() | OpaquePart():
            return _encode_content(part, path, losses)
        case ThinkingPart():
            if not part.signature:
                losses.append(Loss(path, "dropped", "reasoning without a signature is not taken back"))
                return None
            if not is_claudes(part.signature):
                losses.append(Loss(path, "dropped", ELSEWHERE))
                return None
            return wire.ThinkingBlock(part.text, part.signature)
        case RedactedThinkingPart():
            return wire.RedactedThinkingBlock(part.data)
        case _:
            assert_never(part)


def _encode_content(
    part: ImagePart | DocumentPart | MediaPart | OpaquePart, path: str, losses: list[Loss]
) -> wire.TextBlock | wire.ImageBlock | wire.DocumentBlock | None:
    match part:
        case ImagePart():
            if part.detail not in ("", "auto"):
                losses.append(Loss(path, "dropped", "this dialect knows no image detail"))
            return _encode_image(part, path, losses)
        case DocumentPart():
            source = _encode_document_source(part.source, path, losses)
            if source is None:
                return None
            cited = wire.Citations(True) if part.cited else None
            return wire.DocumentBlock(
                source, part.title or None, part.context or None, _encode_cache(part.cache), cited
            )
        case MediaPart():
            losses.append(Loss(path, "dropped", f"this dialect takes no {part.kind}"))
        case OpaquePart():
            losses.append(Loss(path, "dropped", f"{part.kind} is known to {part.dialect} only"))
    return None


def _encode_image(
    part: ImagePart, path: str, losses: list[Loss]
) -> wire.TextBlock | wire.ImageBlock | wire.DocumentBlock | None:
    """An image, or a document where the sender put one (OpenAI clients send PDFs as image URLs)."""
    cache = _encode_cache(part.cache)
    match part.source:
        case UrlSource(url=url):
            if url.partition("?")[0].lower().endswith(".pdf"):
                return wire.DocumentBlock(wire.UrlSource(url), cache_control=cache)
            return wire.ImageBlock(wire.UrlSource(url), cache)
        case Base64Source(media_type=media_type, data=data):
            media_type = "image/jpeg" if media_type == "image/jpg" else media_type
            if media_type in IMAGE_TYPES:
                return wire.ImageBlock(wire.Base64Source(media_type, data), cache)
            if media_type == PDF:
                return wire.DocumentBlock(wire.Base64Source(media_type, data), cache_control=cache)
            losses.append(Loss(path, "dropped", f"this dialect takes no image of type {media_type or 'unknown'}"))
            return None
        case FileSource():
            losses.append(Loss(path, "dropped", "files uploaded to one provider are unknown to another"))
            return None


def _encode_document_source(
    source: DocumentSource, path: str, losses: list[Loss]
) -> wire.Base64Source | wire.UrlSource | wire.TextSource | None:
    match source:
        case TextSource(text=text):
            return wire.TextSource(text)
        case UrlSource(url=url):
            return wire.UrlSource(url)
        case Base64Source(media_type=media_type, data=data):
            if media_type in ("", PDF):
                return wire.Base64Source(PDF, data)
            decoded = _text_of(data) if media_type in TEXT_TYPES else None
            if decoded is not None:
                return wire.TextSource(decoded)
            losses.append(Loss(path, "dropped", f"this dialect takes no document of type {media_type}"))
            return None
        case FileSource():
            losses.append(Loss(path, "dropped", "files uploaded to one provider are unknown to another"))
            return None


def _text_of(data: str) -> str | None:
    try:
        return base64.b64decode(data, validate=True).decode()
    except (binascii.Error, ValueError):
        return None


def _encode_result(part: ToolResultPart, path: str, losses: list[Loss]) -> wire.ToolResultBlock:
    items: list[wire.ToolResultItem] = []
    for content in part.content:
        if type(content) is TextPart:
            if content.text and not content.text.isspace():
                items.append(wire.TextBlock(content.text, _encode_cache(content.cache)))
            continue
        block = _encode_content(content, path, losses)
        if block is not None:
            items.append(block)
    if part.is_error and not items:
        items.append(wire.TextBlock(ERROR))  # the API refuses an error that says nothing
    only = items[0] if len(items) == 1 else None
    content_out = only.text if type(only) is wire.TextBlock and only.cache_control is None else items or None
    is_error = True if part.is_error else None
    return wire.ToolResultBlock(_encode_id(part.call_id), content_out, is_error, _encode_cache(part.cache))


def _check_arguments(part: ToolCallPart, path: str) -> msgspec.Raw:
    """The arguments as they are, known to be a JSON object."""
    try:
        _ARGUMENTS.decode(part.arguments)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        raise RequestError(
            f"the arguments of tool call {part.id[:64]} are not a JSON object", path=path, code="invalid_value"
        ) from None
    return msgspec.Raw(part.arguments)


_ARGUMENTS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


@lru_cache(maxsize=4096)
def _encode_id(call_id: str) -> str:
    """Remembered: it comes with the call, with its result, and with both again in every later turn."""
    return _ID_CHARACTERS.sub("_", call_id)


def _encode_cache(cache: CachePoint | None) -> wire.CacheControl | None:
    return None if cache is None else wire.CacheControl("ephemeral", cache.ttl or None)
