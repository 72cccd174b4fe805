"""A chat request, written as generateContent takes it.

- Instructions go to `systemInstruction`, whatever their place; contents alternate between user and model.
- A signature belongs to the part after its thought: first of all to a turn's first call, which models from Gemini 3
  on refuse without one. Where the history has none, Google's own word for that stands in.
- Responses come first in their content; media that a tool returned follow there if the model takes none inside them.
- Equal requests give equal bytes: members have one order, JSON from the client goes out as it came.
"""

from collections.abc import Sequence
from typing import Final, assert_never

import msgspec
from headgate.llm.canonical import (
    Base64Source,
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
    ToolResultPart,
    UrlSource,
)
from headgate.llm.capabilities import GeminiFacts, gemini_facts
from headgate.llm.dialects.dialect import EncodedRequest, Memo, Target
from headgate.llm.dialects.gemini.openai_extensions import read_extensions
from headgate.llm.dialects.gemini.settings import (
    Members,
    add_tools,
    function_name,
    generation_config,
    part_resolutions,
    service_tier,
)
from headgate.llm.dialects.gemini.signatures import SKIP
from headgate.llm.dialects.speech import answer_format
from headgate.llm.dialects.turns import GO_ON, inlined, refuse_lost, report_begun, without_blanks
from headgate.llm.dialects.unsaid import report_cache_points, report_cited_history, report_names, report_uncited
from headgate.llm.errors import RequestError
from headgate.llm.losses import Loss
from headgate.llm.names import DialectName, HostName
from headgate.llm.signatures import ELSEWHERE, google_signature

_encode = msgspec.json.Encoder().encode
_decode_arguments = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def encode_request(request: ChatRequest, target: Target) -> EncodedRequest:
    """See `ChatDialect.encode_request`. Model and streaming are said by the path."""
    facts = gemini_facts(target.model, target.models)
    losses: list[Loss] = []
    contents = _Contents(facts, target, losses)
    for message in without_blanks(request.messages, losses):
        contents.take(message)
    body: Members = {}
    if contents.lost or not contents.turns:
        refuse_lost(losses, contents.lost)
    system, turns = contents.result()
    if system:
        body["systemInstruction"] = {"parts": system}
    body["contents"] = turns
    report_uncited(request.messages, losses)
    report_cited_history(request.messages, losses)
    report_names(request.messages, losses)
    report_cache_points(request, losses)
    extensions = read_extensions(request, losses)
    tool_names = add_tools(body, request, facts, losses)
    config = generation_config(request, target, facts, extensions, losses)
    if config:
        body["generationConfig"] = config
    tier = service_tier(request)
    if tier:
        body["serviceTier"] = tier
    for name, value in extensions.top_level.items():
        body[name] = [*body.get(name, []), *value] if name == "tools" else value
    wanted = extensions.audio_format
    memo = Memo(
        include_usage=request.include_usage,
        stop=request.stop,
        tool_names=tool_names,
        audio_format=answer_format(wanted, stream=request.stream, losses=losses) if wanted else "",
    )
    return EncodedRequest(_encode(body), memo, tuple(losses))


class _Contents:
    """Writes the turns of one request. Feed every message in order, then read `result`."""

    __slots__ = ("_facts", "_losses", "_names", "_resolutions", "_system", "_target", "lost", "turns")

    def __init__(self, facts: GeminiFacts, target: Target, losses: list[Loss]) -> None:
        self._facts = facts
        self._target = target
        self._losses = losses
        self._resolutions = part_resolutions(facts, target)
        self._names: dict[str, str] = {}  # of calls, by id
        self._system: list[Members] = []
        self.turns: list[tuple[str, list[Members]]] = []
        self.lost: Message | None = None
        """The last message, where it is the user's and nothing of it is left behind a turn of the assistant's."""

    def take(self, message: Message) -> None:
        match message.role:
            case "system" | "developer":
                self._take_system(message)
            case "user":
                parts: list[Members] = []
                for index, part in enumerate(message.parts):
                    if type(part) is TextPart:
                        if part.text:
                            parts.append({"text": part.text})
                    else:
                        parts.extend(self._user_part(part, f"{message.path}.content[{index}]"))
                self._add("user", parts)
                self.lost = message if not parts and self.turns and self.turns[-1][0] == "model" else None
            case "assistant":
                self._add("model", self._model_parts(message))
                self.lost = None
            case _:
                assert_never(message.role)

    def result(self) -> tuple[list[Members], list[Members]]:
        """The parts of `systemInstruction`, and `contents`; there must be one."""
        turns, system = self.turns, self._system
        if not turns and system:
            self._losses.append(Loss("messages", "changed", "instructions alone become a user turn: there must be one"))
            turns, system = [("user", system)], []
        if turns and turns[-1][0] == "model" and "text" in turns[-1][1][-1] and not self._facts.prefill:
            report_begun("messages", self._losses)
            turns = [*turns, ("user", [{"text": GO_ON}])]
        return system, [{"role": role, "parts": _responses_first(parts)} for role, parts in turns]

    def _add(self, role: str, parts: list[Members]) -> None:
        if not parts:
            return
        if self.turns and self.turns[-1][0] == role:
            self.turns[-1][1].extend(parts)
        else:
            self.turns.append((role, parts))

    def _take_system(self, message: Message) -> None:
        if self.turns:
            said = inlined(message, self._losses)
            self._add("user", [{"text": part.text} for part in said.parts if type(part) is TextPart])
            self.lost = None
            return
        for index, part in enumerate(message.parts):
            if type(part) is TextPart:
                if part.text:
                    self._system.append({"text": part.text})
            else:
                self._drop(f"{message.path}[{index}]", "instructions are text only in this dialect")

    # --- the model's turns

    def _model_parts(self, message: Message) -> list[Members]:
        parts: list[Members] = []
        signature = ""
        called = False
        for index, part in enumerate(message.parts):
            if type(part) is TextPart and not signature:
                if part.text:
                    parts.append({"text": part.text})
                continue
            path = f"{message.path}.content[{index}]"
            match part:
                case ToolCallPart():
                    if not signature and not called and self._facts.signatures:
                        signature = SKIP
                    parts.append(_signed({"functionCall": self._call(part, path)}, signature))
                    signature, called = "", True
                case ThinkingPart():
                    if part.text:
                        parts.append({"text": part.text, "thought": True})
                    if part.signature and not google_signature(part.signature):
                        self._drop(path, ELSEWHERE)
                    signature = google_signature(part.signature) or signature
                case RedactedThinkingPart():
                    self._drop(path, "another provider's encrypted reasoning is not taken back")
                case _:
                    for encoded in self._model_part(part, path):
                        # a call that comes later has the better claim
                        if signature and not _calls(message.parts[index + 1 :]):
                            encoded, signature = _signed(encoded, signature), ""
                        parts.append(encoded)
        if signature:
            parts.append({"text": "", "thoughtSignature": signature})
        return parts

    def _model_part(self, part: Part, path: str) -> list[Members]:
        match part:
            case TextPart(text=text) | RefusalPart(text=text):
                return [{"text": text}] if text else []
            case ImagePart() | DocumentPart() | MediaPart() | OpaquePart():
                return self._content(part, path)
            case _:
                return self._drop(path, "the model's turn cannot hold this here")

    def _call(self, part: ToolCallPart, path: str) -> Members:
        self._names[part.id] = function_name(part.name)
        try:
            _decode_arguments(part.arguments)
        except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
            message = f"the arguments of tool call {part.id[:64]} are not a JSON object"
            raise RequestError(message, path=path, code="invalid_value") from None
        call: Members = {"name": self._names[part.id], "args": msgspec.Raw(part.arguments)}
        return self._identified(call, part.id)

    def _identified(self, members: Members, call_id: str) -> Members:
        """With its id, which tells parallel calls apart. Vertex goes by their order."""
        return {"id": call_id, **members} if call_id and self._target.host is not HostName.VERTEX else members

    # --- the user's turns

    def _user_part(self, part: Part, path: str) -> list[Members]:
        match part:
            case TextPart(text=text) | RefusalPart(text=text):
                return [{"text": text}] if text else []
            case ImagePart() | DocumentPart() | MediaPart() | OpaquePart():
                return self._content(part, path)
            case ToolResultPart():
                return self._result(part, path)
            case ToolCallPart() | ThinkingPart() | RedactedThinkingPart():
                return self._drop(path, "a user's turn cannot hold this here")
            case _:
                assert_never(part)

    def _result(self, part: ToolResultPart, path: str) -> list[Members]:
        texts: list[str] = []
        media: list[Members] = []
        for index, item in enumerate(part.content):
            if type(item) is TextPart:
                if item.text:
                    texts.append(item.text)
                continue
            for encoded in self._user_part(item, f"{path}.content[{index}]"):
                if "text" in encoded:
                    texts.append(encoded["text"])
                else:
                    media.append(encoded)
        name = self._names.get(part.call_id, "") or function_name(part.call_id)
        response: Members = {"name": name, "response": {"error" if part.is_error else "output": "\n".join(texts)}}
        result = self._identified(response, part.call_id)
        if not media:
            return [{"functionResponse": result}]
        inline = [encoded for encoded in media if "inlineData" in encoded]
        if self._facts.media_results and len(inline) == len(media):
            result["parts"] = [{"inlineData": encoded["inlineData"]} for encoded in inline]
            return [{"functionResponse": result}]
        self._losses.append(Loss(path, "emulated", "media of a tool result follow it"))
        return [{"functionResponse": result}, {"text": f"Result of {name}:"}, *media]

    def _content(self, part: ImagePart | DocumentPart | MediaPart | OpaquePart, path: str) -> list[Members]:
        match part:
            case ImagePart():
                return self._image(part, path)
            case DocumentPart():
                return self._document(part, path)
            case MediaPart():
                return self._media(part, path)
            case OpaquePart() if part.dialect is DialectName.GEMINI:
                return [{part.kind: part.raw}]
            case OpaquePart():
                return self._drop(path, f"{part.kind} is known to {part.dialect} only")

    def _image(self, part: ImagePart, path: str) -> list[Members]:
        encoded = self._data(part.source, path, _type_of(part.source, "image/jpeg"))
        if encoded is None:
            return []
        if part.detail and self._resolutions and part.detail in _RESOLUTIONS:
            encoded["mediaResolution"] = {"level": _RESOLUTIONS[part.detail]}
        elif part.detail not in ("", "auto"):
            self._drop(path, "this model knows no image detail")
        return [encoded]

    def _media(self, part: MediaPart, path: str) -> list[Members]:
        default = "video/mp4" if part.kind == "video" else f"audio/{part.format or 'wav'}"
        encoded = self._data(part.source, path, _type_of(part.source, default))
        return [] if encoded is None else [encoded]

    def _document(self, part: DocumentPart, path: str) -> list[Members]:
        if isinstance(part.source, TextSource):
            return [{"text": "\n\n".join(filter(None, (part.title, part.context, part.source.text)))}]
        encoded = self._data(part.source, path, _type_of(part.source, "application/pdf"))
        if encoded is None:
            return []
        about = "\n\n".join(filter(None, (part.title, part.context)))
        return [{"text": about}, encoded] if about else [encoded]

    def _data(self, source: Base64Source | UrlSource | FileSource, path: str, media_type: str) -> Members | None:
        match source:
            case Base64Source(data=data):
                return {"inlineData": {"mimeType": media_type, "data": data}}
            case UrlSource(url=url):
                return {"fileData": {"mimeType": media_type, "fileUri": url}}
            case FileSource(file_id=file_id) if file_id.startswith(_OWN_FILES):
                return {"fileData": {"mimeType": media_type, "fileUri": file_id}}
            case FileSource():
                self._drop(path, "files uploaded to one provider are unknown to another")
                return None
            case _:
                assert_never(source)

    def _drop(self, path: str, reason: str) -> list[Members]:
        self._losses.append(Loss(path, "dropped", reason))
        return []


_OWN_FILES: Final = ("gs://", "files/", "https://generativelanguage.googleapis.com/")

_RESOLUTIONS: Final = {
    "low": "MEDIA_RESOLUTION_LOW",
    "medium": "MEDIA_RESOLUTION_MEDIUM",
    "high": "MEDIA_RESOLUTION_HIGH",
}


def _responses_first(parts: list[Members]) -> list[Members]:
    """The answers to calls stand together, directly after them."""
    responses = [part for part in parts if "functionResponse" in part]
    if not responses or len(responses) == len(parts):
        return parts
    return [*responses, *(part for part in parts if "functionResponse" not in part)]


def _calls(parts: Sequence[Part]) -> bool:
    """A call comes before the next thought."""
    for part in parts:
        if isinstance(part, ToolCallPart):
            return True
        if isinstance(part, ThinkingPart):
            return False
    return False


def _signed(part: Members, signature: str) -> Members:
    return {**part, "thoughtSignature": signature} if signature else part


_TYPES: Final = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "gif": "image/gif",
    "heic": "image/heic",
    "heif": "image/heif",
    "pdf": "application/pdf",
    "txt": "text/plain",
    "md": "text/markdown",
    "csv": "text/csv",
    "html": "text/html",
    "mp3": "audio/mp3",
    "wav": "audio/wav",
    "flac": "audio/flac",
    "ogg": "audio/ogg",
    "aac": "audio/aac",
    "mp4": "video/mp4",
    "mov": "video/mov",
    "webm": "video/webm",
    "mpeg": "video/mpeg",
}


def _type_of(source: Base64Source | UrlSource | FileSource, default: str) -> str:
    """The media type that was given, or that a URL's ending tells."""
    match source:
        case Base64Source(media_type=media_type):
            return media_type or default
        case UrlSource(url=address) | FileSource(file_id=address):
            ending = address.partition("?")[0].partition("#")[0].rpartition(".")[2].lower()
            return _TYPES.get(ending, default)
