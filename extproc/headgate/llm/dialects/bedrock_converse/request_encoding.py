"""The canonical model to a Converse request.

What the service insists on: turns of two roles that alternate and begin with the user's, no blank text, tool results
first in their turn, document names of few characters and no two alike, a text beside every document.
"""

import re
from hashlib import sha256
from typing import Final, assert_never

import msgspec
from headgate.llm.canonical import (
    Base64Source,
    CachePoint,
    ChatRequest,
    DocumentPart,
    FileSource,
    ImagePart,
    MediaPart,
    Message,
    OpaquePart,
    Part,
    RedactedThinkingPart,
    RefusalPart,
    TextPart,
    TextSource,
    ThinkingPart,
    ToolCallPart,
    ToolResultContent,
    ToolResultPart,
    UrlSource,
)
from headgate.llm.capabilities import claude_facts, converse_facts
from headgate.llm.dialects.bedrock_converse import wire
from headgate.llm.dialects.bedrock_converse.media import (
    AUDIO_FORMATS,
    AUDIO_WORDS,
    DOCUMENT_FORMATS,
    IMAGE_FORMATS,
    VIDEO_FORMATS,
    VIDEO_WORDS,
    blob_of_text,
    document_name,
    text_blob,
)
from headgate.llm.dialects.bedrock_converse.settings import ToolNames, encode_settings
from headgate.llm.dialects.cache_marks import last_marks
from headgate.llm.dialects.dialect import EncodedRequest, Memo, Target
from headgate.llm.dialects.turns import GO_ON, inlined, refuse_lost, report_begun, without_blanks
from headgate.llm.dialects.unsaid import report_cited_history, report_names
from headgate.llm.errors import RequestError
from headgate.llm.losses import Loss
from headgate.llm.signatures import ELSEWHERE, is_claudes

FIRST_TURN: Final = "."
"""Stands where a conversation begins with the assistant (a greeting, say), and beside documents that come alone."""

_ENCODER: Final = msgspec.json.Encoder()


def encode_request(request: ChatRequest, target: Target) -> EncodedRequest:
    """See `ChatDialect.encode_request`."""
    losses: list[Loss] = []
    request = last_marks(request, losses)
    names = ToolNames()
    facts = converse_facts(target.model, target.models)
    turns = _Turns(losses, names, facts.cache_points, cites=facts.claude)
    for message in without_blanks(request.messages, losses):
        turns.take(message)
    if turns.lost or not turns.turns:
        refuse_lost(losses, turns.lost)
    settings = encode_settings(
        request, target, losses, names=names, calls=turns.calls, unsigned_loop=turns.unsigned_loop()
    )
    report_cited_history(request.messages, losses)
    report_names(request.messages, losses)
    if not (claude_facts(target.model, target.models).prefill if facts.claude else facts.prefill):
        turns.ask_to_go_on()
    system, messages = turns.result()
    fields = msgspec.Raw(_ENCODER.encode(settings.fields)) if settings.fields else wire.ABSENT
    body = wire.Request(
        messages=messages,
        system=system or None,
        inference_config=settings.inference(),
        tool_config=settings.tool_config(),
        additional_model_request_fields=fields,
        additional_model_response_field_paths=settings.response_paths,
        service_tier=settings.service_tier,
        output_config=settings.output,
    )
    memo = Memo(
        include_usage=request.include_usage,
        json_tool=settings.json_tool,
        stop=request.stop,
        tool_names=names.renamed,
    )
    return EncodedRequest(_ENCODER.encode(body), memo, losses)


class _Turns(msgspec.Struct, gc=False):
    """Collects messages into the service's shape. Feed every message in order, then read `result`."""

    losses: list[Loss]
    names: ToolNames
    cache_points: frozenset[str]
    cites: bool
    """The model cites documents."""
    system: list[wire.SystemBlock] = []
    turns: list[tuple[str, list[wire.ContentBlock]]] = []
    lost: Message | None = None
    """The last message, where it is the user's and nothing of it is left behind a turn of the assistant's."""
    calls: dict[str, None] = {}
    """Names of the tools that the history calls, in order, as the client knows them."""
    documents: dict[str, int] = {}
    """How often a document's name came."""

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
            if not isinstance(part, TextPart):
                self.losses.append(Loss(message.path, "dropped", "instructions are text only in this dialect"))
            elif part.text and not part.text.isspace():
                self.system.append(wire.SystemBlock(part.text))
                point = self._cache_point(part.cache, "system", message.path)
                if point is not None:
                    self.system.append(wire.SystemBlock(cache_point=point))

    def _take_turn(self, role: str, message: Message) -> None:
        blocks: list[wire.ContentBlock] = []
        for part in message.parts:
            if type(part) is TextPart and part.cache is None:
                if part.text and not part.text.isspace():  # blank text is refused
                    blocks.append(wire.ContentBlock(text=part.text))
            else:
                self._take_part(part, message.path, blocks)
        said = self.turns[-1][0] if self.turns else ""
        self.lost = message if not blocks and (role, said) == ("user", "assistant") else None
        if not blocks:
            return
        if _documents_alone(blocks):
            self.losses.append(Loss(message.path, "changed", "a document must not come without a text: one is added"))
            blocks.append(wire.ContentBlock(text=FIRST_TURN))
        if self.turns and self.turns[-1][0] == role:
            self.turns[-1][1].extend(blocks)
        else:
            self.turns.append((role, blocks))

    def _take_part(self, part: Part, path: str, blocks: list[wire.ContentBlock]) -> None:
        block = self._encode_part(part, path)
        if block is None:
            return
        blocks.append(block)
        cache = None
        if isinstance(part, _CACHED):
            cache = part.cache
        if cache is None and isinstance(part, ToolResultPart):
            cache = next((point for content in part.content if (point := _cache_of(content)) is not None), None)
        point = self._cache_point(cache, "messages", path)
        if point is not None:
            blocks.append(wire.ContentBlock(cache_point=point))

    def _cache_point(self, cache: CachePoint | None, place: str, path: str) -> wire.CachePoint | None:
        if cache is None:
            return None
        if place not in self.cache_points:
            self.losses.append(Loss(path, "dropped", "this model takes no cache points"))
            return None
        return wire.CachePoint("default", cache.ttl or None)

    def _encode_part(self, part: Part, path: str) -> wire.ContentBlock | None:
        match part:
            case TextPart(text=text) | RefusalPart(text=text):
                return wire.ContentBlock(text=text) if text.strip() else None  # blank text is refused
            case ToolCallPart():
                self.calls[part.name] = None
                call = wire.ToolUse(encode_id(part.id), self.names.encode(part.name), _check_arguments(part, path))
                return wire.ContentBlock(tool_use=call)
            case ToolResultPart():
                return wire.ContentBlock(tool_result=self._encode_result(part, path))
            case ThinkingPart():
                if not part.signature:
                    self.losses.append(Loss(path, "dropped", "reasoning without a signature is not taken back"))
                    return None
                if not is_claudes(part.signature):
                    self.losses.append(Loss(path, "dropped", ELSEWHERE))
                    return None
                shown = wire.ReasoningText(part.text, part.signature)
                return wire.ContentBlock(reasoning_content=wire.ReasoningContent(shown))
            case RedactedThinkingPart():
                hidden = wire.ReasoningContent(redacted_content=blob_of_text(part.data))
                return wire.ContentBlock(reasoning_content=hidden)
            case ImagePart() | DocumentPart() | MediaPart() | OpaquePart():
                return _block_of(self._encode_content(part, path))
            case _:
                assert_never(part)

    def _encode_result(self, part: ToolResultPart, path: str) -> wire.ToolResult:
        items: list[wire.ToolResultContent] = []
        for content in part.content:
            if type(content) is TextPart:
                if content.text and not content.text.isspace():
                    items.append(wire.ToolResultContent(text=content.text))
                continue
            match self._encode_content(content, path):
                case wire.Document() as document:
                    items.append(wire.ToolResultContent(document=document))
                case ("image", media):
                    items.append(wire.ToolResultContent(image=media))
                case ("video", media):
                    items.append(wire.ToolResultContent(video=media))
                case None:
                    pass
                case _:
                    self.losses.append(Loss(path, "dropped", "tool results hold no sound in this dialect"))
        if part.is_error and not items:
            items.append(wire.ToolResultContent(text="Error"))  # Claude refuses an error that says nothing
        return wire.ToolResult(encode_id(part.call_id), items, "error" if part.is_error else None)

    def _encode_content(
        self, part: ImagePart | DocumentPart | MediaPart | OpaquePart, path: str
    ) -> "tuple[str, wire.Media] | wire.Document | None":
        reason = ""
        match part:
            case OpaquePart():
                reason = f"{part.kind} is known to {part.dialect} only"
            case ImagePart(source=UrlSource()) | DocumentPart(source=UrlSource()) | MediaPart(source=UrlSource()):
                reason = "this dialect takes no URLs: send the bytes"
            case ImagePart(source=FileSource()) | DocumentPart(source=FileSource()) | MediaPart(source=FileSource()):
                reason = "files uploaded to one provider are unknown to another"
            case ImagePart(source=Base64Source() as source):
                return self._encode_image(part, source, path)
            case MediaPart(source=Base64Source() as source):
                return self._encode_media(part, source, path)
            case DocumentPart():
                return self._encode_document(part, path)
            case _:
                raise AssertionError("every source is handled")
        self.losses.append(Loss(path, "dropped", reason))
        return None

    def _encode_image(
        self, part: ImagePart, source: Base64Source, path: str
    ) -> "tuple[str, wire.Media] | wire.Document | None":
        """An image, or a document where the sender put one (OpenAI clients send PDFs as image URLs)."""
        if part.detail not in ("", "auto"):
            self.losses.append(Loss(path, "dropped", "this dialect knows no image detail"))
        word = IMAGE_FORMATS.get(source.media_type)
        if word is not None:
            return "image", wire.Media(word, wire.Source(source.data))
        if source.media_type in DOCUMENT_FORMATS:
            return self._encode_document(DocumentPart(source), path)
        kind = source.media_type or "unknown"
        self.losses.append(Loss(path, "dropped", f"this dialect takes no image of type {kind}"))
        return None

    def _encode_media(self, part: MediaPart, source: Base64Source, path: str) -> tuple[str, wire.Media] | None:
        formats, words = (AUDIO_FORMATS, AUDIO_WORDS) if part.kind == "audio" else (VIDEO_FORMATS, VIDEO_WORDS)
        word = part.format if part.format in words else formats.get(source.media_type)
        if word is None:
            kind = part.format or source.media_type or "unknown"
            self.losses.append(Loss(path, "dropped", f"this dialect takes no {part.kind} of type {kind}"))
            return None
        return part.kind, wire.Media(word, wire.Source(source.data))

    def _encode_document(self, part: DocumentPart, path: str) -> wire.Document | None:
        match part.source:
            case TextSource(text=text):
                word, data = "txt", text_blob(text)
            case Base64Source(media_type=media_type, data=data):
                word = DOCUMENT_FORMATS.get(media_type or "application/pdf")
                if word is None:
                    self.losses.append(Loss(path, "dropped", f"this dialect takes no document of type {media_type}"))
                    return None
            case _:
                raise AssertionError("documents elsewhere have been dropped")
        cited = wire.CitationsConfig(True) if part.cited and self.cites else None
        if part.cited and not self.cites:
            self.losses.append(Loss(f"{path}.citations", "dropped", "this model does not cite documents"))
        return wire.Document(self._name(part.title), wire.Source(data), word, part.context or None, cited)

    def _name(self, title: str) -> str:
        name = document_name(title)
        self.documents[name] = count = self.documents.get(name, 0) + 1
        return name if count == 1 else f"{name} ({count})"

    def unsigned_loop(self) -> bool:
        """The conversation goes on from tool results whose call comes without signed thinking: Claude then refuses
        manual thinking."""
        if len(self.turns) < 2 or not any(block.tool_result for block in self.turns[-1][1]):
            return False
        return self.turns[-2][1][0].reasoning_content is None

    def ask_to_go_on(self) -> None:
        """Ends the conversation with the user where it ends with a text of the assistant's."""
        if self.turns and self.turns[-1][0] == "assistant" and self.turns[-1][1][-1].text:
            report_begun("messages", self.losses)
            self.turns.append(("user", [wire.ContentBlock(text=GO_ON)]))

    def result(self) -> tuple[list[wire.SystemBlock], list[wire.Message]]:
        """`system` and `messages`; instructions alone become a user turn, since there must be one."""
        turns, system = self.turns, self.system
        if not turns and system:
            self.losses.append(Loss("messages", "changed", "instructions alone become a user turn: there must be one"))
            turns = [("user", [wire.ContentBlock(text=each.text, cache_point=each.cache_point) for each in system])]
            system = []
        if turns and turns[0][0] == "assistant":
            self.losses.append(Loss("messages", "changed", "the first turn must be the user's: one is put before it"))
            turns = [("user", [wire.ContentBlock(text=FIRST_TURN)]), *turns]
        if turns and turns[-1][0] == "assistant":
            _trim_end(turns[-1][1])
        return system, [
            wire.Message("user" if role == "user" else "assistant", _results_first(blocks)) for role, blocks in turns
        ]


def _documents_alone(blocks: list[wire.ContentBlock]) -> bool:
    """A turn holds a document and no text."""
    documents = [block for block in blocks if block.document is not None]
    return bool(documents) and not any(block.text for block in blocks)


def _cache_of(content: ToolResultContent) -> CachePoint | None:
    return content.cache if isinstance(content, _CACHED) else None


_CACHED: Final = (TextPart, ImagePart, DocumentPart, ToolCallPart, ToolResultPart)
"""Parts after which a cached prefix may end. A tuple: a union would be made anew for each part."""


def _block_of(content: tuple[str, wire.Media] | wire.Document | None) -> wire.ContentBlock | None:
    match content:
        case None:
            return None
        case wire.Document():
            return wire.ContentBlock(document=content)
        case ("image", media):
            return wire.ContentBlock(image=media)
        case ("video", media):
            return wire.ContentBlock(video=media)
        case (_, media):
            return wire.ContentBlock(audio=media)


def _results_first(blocks: list[wire.ContentBlock]) -> list[wire.ContentBlock]:
    """Tool results must precede everything else of a turn; a cache point stays behind its block."""
    if len(blocks) == 1 or not any(block.tool_result is not None for block in blocks):
        return blocks
    results: list[wire.ContentBlock] = []
    rest: list[wire.ContentBlock] = []
    current = rest
    for block in blocks:
        if block.cache_point is None:
            current = results if block.tool_result is not None else rest
        current.append(block)
    return [*results, *rest]


def _trim_end(blocks: list[wire.ContentBlock]) -> None:
    """White space at the end of a prefilled answer is refused."""
    text = blocks[-1].text
    if text is not None and text != text.rstrip():
        blocks[-1] = wire.ContentBlock(text=text.rstrip())


def _check_arguments(part: ToolCallPart, path: str) -> msgspec.Raw:
    """The arguments as they are, known to be a JSON object."""
    try:
        _OBJECT.decode(part.arguments)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        raise RequestError(
            f"the arguments of tool call {part.id[:64]} are not a JSON object", path=path, code="invalid_value"
        ) from None
    return msgspec.Raw(part.arguments)


_OBJECT: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])

_ID: Final = re.compile(r"[a-zA-Z0-9_.:-]{1,64}")
_ID_CHARACTERS: Final = re.compile(r"[^a-zA-Z0-9_.:-]")
_ID_READABLE_CHARACTERS: Final = 47


def encode_id(call_id: str) -> str:
    """A call's id as the service takes it; equal ids stay equal, and others stay apart."""
    if _ID.fullmatch(call_id):
        return call_id
    mark = sha256(call_id.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{_ID_CHARACTERS.sub('_', call_id)[:_ID_READABLE_CHARACTERS]}_{mark}"
