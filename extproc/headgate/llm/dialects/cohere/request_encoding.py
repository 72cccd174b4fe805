"""A canonical request as a v2 chat request.

Documents of all turns go to the top-level `documents`, under ids that tell their place. Text before calls is their
`tool_plan`. Each tool result is a message of its own.
"""

import base64
import binascii
from typing import Any, Final, assert_never

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
    RedactedThinkingPart,
    RefusalPart,
    TextPart,
    TextSource,
    ThinkingPart,
    ToolCallPart,
    ToolResultPart,
    UrlSource,
)
from headgate.llm.capabilities import CohereFacts, cohere_facts
from headgate.llm.dialects.cohere.citations import document_id, written_citations, written_document
from headgate.llm.dialects.cohere.settings import add_settings
from headgate.llm.dialects.dialect import EncodedRequest, Memo, Target
from headgate.llm.dialects.turns import refuse_lost, results_at_calls, without_blanks
from headgate.llm.dialects.unsaid import report_cache_points, report_cited_history, report_names
from headgate.llm.errors import RequestError
from headgate.llm.losses import Loss

Members = dict[str, Any]

_encode = msgspec.json.Encoder().encode
_ARGUMENTS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


def encode_request(request: ChatRequest, target: Target) -> EncodedRequest:
    """See `ChatDialect.encode_request`."""
    losses: list[Loss] = []
    facts = cohere_facts(target.model, target.models)
    messages = _Messages(facts, losses)
    for message in results_at_calls(without_blanks(request.messages, losses)):
        messages.add(message)
    asks = any(message.role in ("user", "assistant") for message in request.messages)
    if messages.lost or (asks and all(each["role"] == "system" for each in messages.result)):
        refuse_lost(losses, messages.lost)
    report_cache_points(request, losses)
    report_cited_history([message for message in request.messages if message.role != "assistant"], losses)
    report_names(request.messages, losses)
    body: Members = {"model": target.model, "messages": messages.result}
    if messages.documents:
        body["documents"] = messages.documents
    add_settings(body, request, facts, losses)
    if request.stream:
        body["stream"] = True
    return EncodedRequest(_encode(body), Memo(include_usage=request.include_usage, stop=request.stop), losses)


class _Messages:
    """Collects messages and documents. Feed every message in order."""

    def __init__(self, facts: CohereFacts, losses: list[Loss]) -> None:
        self._facts = facts
        self._losses = losses
        self._documents_seen = 0
        self.result: list[Members] = []
        self.lost: Message | None = None
        """The last message, where it is the user's and nothing of it is left behind a turn of the assistant's."""
        self.documents: list[Members] = []

    def add(self, message: Message) -> None:
        """One turn, as the messages that say it."""
        before = len(self.result)
        match message.role:
            case "system" | "developer":
                self._add_system(message)
            case "user":
                self._add_user(message)
            case "assistant":
                self._add_assistant(message)
        nothing = message.role == "user" and len(self.result) == before
        self.lost = message if nothing and before and self.result[-1]["role"] == "assistant" else None

    def _add_system(self, message: Message) -> None:
        texts: list[Members] = []
        for part in message.parts:
            if type(part) is TextPart:
                if part.text:
                    texts.append({"type": "text", "text": part.text})
            else:
                self._drop(message.path, "instructions are text only in this dialect")
        if texts:
            self.result.append({"role": "system", "content": _content(texts)})

    def _add_user(self, message: Message) -> None:
        contents: list[Members] = []
        with_document = False
        for index, part in enumerate(message.parts):
            if type(part) is TextPart:
                if part.text:
                    contents.append({"type": "text", "text": part.text})
                continue
            path = f"{message.path}.content[{index}]"
            match part:
                case ToolResultPart():
                    self._add_result(part, path)
                case RefusalPart():
                    contents.append({"type": "text", "text": part.text})
                case ImagePart():
                    self._image(part, path, contents)
                case DocumentPart():
                    document = self._document(part, path)
                    if document is not None:
                        self.documents.append(document)
                        with_document = True
                case MediaPart():
                    self._drop(path, f"this dialect takes no {part.kind}")
                case OpaquePart():
                    self._drop(path, f"{part.kind} is known to {part.dialect} only")
                case ToolCallPart() | ThinkingPart() | RedactedThinkingPart():
                    self._drop(path, "only an assistant message holds this")
                case _:
                    assert_never(part)
        if contents:
            self.result.append({"role": "user", "content": _content(contents)})
        elif with_document:
            # the documents are beside the messages, and there must be a turn that they answer
            self.result.append({"role": "user", "content": ""})

    def _add_result(self, part: ToolResultPart, path: str) -> None:
        contents: list[Members] = []
        for item in part.content:
            if type(item) is TextPart:
                if item.text:
                    contents.append({"type": "text", "text": item.text})
                continue
            match item:
                case DocumentPart():
                    document = self._document(item, path)
                    if document is not None:
                        contents.append({"type": "document", "document": document})
                case ImagePart() | MediaPart() | OpaquePart():
                    self._drop(path, "tool results are text and documents in this dialect")
                case _:
                    assert_never(item)
        if part.is_error:
            self._losses.append(Loss(f"{path}.is_error", "emulated", "said in the text of the result"))
            contents.insert(0, {"type": "text", "text": "Error:"})
        self.result.append({"role": "tool", "tool_call_id": part.call_id, "content": _content(contents)})

    def _add_assistant(self, message: Message) -> None:
        thoughts: list[Members] = []
        texts: list[TextPart] = []
        calls: list[Members] = []
        for index, part in enumerate(message.parts):
            if type(part) is TextPart:
                if part.text:
                    texts.append(part)
                continue
            path = f"{message.path}.content[{index}]"
            match part:
                case ToolCallPart():
                    calls.append(_call(part, path))
                case RefusalPart():
                    texts.append(TextPart(part.text))
                case ThinkingPart() if self._facts.thinking:
                    thoughts.append({"type": "thinking", "thinking": part.text})
                case ThinkingPart() | RedactedThinkingPart():
                    self._drop(path, "this model does not take this reasoning back")
                case ImagePart() | DocumentPart() | MediaPart() | ToolResultPart() | OpaquePart():
                    self._drop(path, "an assistant message holds only text, thinking and tool calls here")
                case _:
                    assert_never(part)
        encoded = _assistant(thoughts, texts, calls)
        cited, said = sum(len(part.citations) for part in texts), len(encoded.get("citations", ())) if encoded else 0
        if said < cited:
            self._losses.append(Loss(f"{message.path}.citations", "dropped", "it cites documents, at places in a text"))
        if encoded is not None:
            self.result.append(encoded)

    def _image(self, part: ImagePart, path: str, contents: list[Members]) -> None:
        if not self._facts.images:
            self._drop(path, "this model takes no images")
            return
        match part.source:
            case UrlSource(url=url):
                pass
            case Base64Source() as source:
                url = f"data:{source.media_type or 'image/png'};base64,{source.data}"
            case FileSource():
                self._drop(path, "files uploaded to one provider are unknown to another")
                return
            case _:
                assert_never(part.source)
        image: Members = {"url": url}
        if part.detail in ("auto", "low", "high"):
            image["detail"] = part.detail
        elif part.detail:
            self._drop(path, f"this dialect knows no image detail {part.detail[:20]}")
        contents.append({"type": "image_url", "image_url": image})

    def _document(self, part: DocumentPart, path: str) -> Members | None:
        place = self._documents_seen
        self._documents_seen += 1
        match part.source:
            case TextSource(text=text):
                pass
            case Base64Source(media_type=media_type, data=data):
                text = _text_of(data) if media_type.startswith("text/") or media_type == "application/json" else None
                if text is None:
                    self._drop(path, f"documents are text in this dialect, not {media_type or 'data'}")
                    return None
            case UrlSource() | FileSource():
                self._drop(path, "documents are text in this dialect")
                return None
            case _:
                assert_never(part.source)
        return {"id": document_id(place), "data": written_document(text, part)}

    def _drop(self, path: str, reason: str) -> None:
        self._losses.append(Loss(path, "dropped", reason))


def _assistant(thoughts: list[Members], texts: list[TextPart], calls: list[Members]) -> Members | None:
    """Texts before calls are their plan; this dialect has no other place for them."""
    encoded: Members = {"role": "assistant"}
    contents = thoughts
    citations: list[Members] = []
    if calls:
        if texts:
            encoded["tool_plan"] = "".join([part.text for part in texts])
        encoded["tool_calls"] = calls
    else:
        contents = [*thoughts, *[{"type": "text", "text": part.text} for part in texts]]
        for place, part in enumerate(texts, start=len(thoughts)):
            if part.citations:
                citations.extend(written_citations(part.citations, part.text, place))
    if contents:
        encoded["content"] = _content(contents)
    if citations:
        encoded["citations"] = citations
    return encoded if contents or calls else None


def _content(contents: list[Members]) -> object:
    """A lone text as a string, the form every model takes."""
    if not contents:
        return ""
    if len(contents) == 1 and contents[0]["type"] == "text":
        return contents[0]["text"]
    return contents


def _call(part: ToolCallPart, path: str) -> Members:
    try:
        _ARGUMENTS.decode(part.arguments)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        raise RequestError(
            f"the arguments of tool call {part.id[:64]} are not a JSON object", path=path, code="invalid_value"
        ) from None
    return {"id": part.id, "type": "function", "function": {"name": part.name, "arguments": part.arguments}}


def _text_of(data: str) -> str | None:
    try:
        return base64.b64decode(data, validate=True).decode()
    except (binascii.Error, ValueError):
        return None
