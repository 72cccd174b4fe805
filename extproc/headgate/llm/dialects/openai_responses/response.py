"""Whole answers of the Responses API.

Read: items of every kind; what OpenAI's own tools did passes as opaque parts, images that were made as images.
Written: parts become items; texts and refusals that follow each other are one message. Ids of items follow from the
answer's id, so that a stream and a whole answer name them alike.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, assert_never

import msgspec
from headgate.contract import metadata as keys
from headgate.llm.answer_losses import opened, own_end, own_members, says
from headgate.llm.canonical import (
    Base64Source,
    ChatResponse,
    Citation,
    DocumentPart,
    Extras,
    FinishReason,
    ImagePart,
    MediaPart,
    OpaquePart,
    Part,
    RedactedThinkingPart,
    RefusalPart,
    StandIn,
    StandInKind,
    TextPart,
    ThinkingPart,
    TokenLogprob,
    ToolCallPart,
    ToolResultPart,
    TopLogprob,
)
from headgate.llm.dialects.dialect import Memo, ReplyContext
from headgate.llm.dialects.openai_chat.annotations import encode_logprobs
from headgate.llm.dialects.openai_chat.response import apart_of, service_tier_word
from headgate.llm.dialects.openai_responses import client_tools, wire
from headgate.llm.dialects.openai_responses.echo import DEFAULT
from headgate.llm.dialects.openai_responses.errors import failure_code, failure_of
from headgate.llm.dialects.openai_responses.wire import Members
from headgate.llm.errors import ErrorDetail, UpstreamError
from headgate.llm.names import DialectName
from headgate.llm.stand_ins import freeform_arguments, freeform_text, told_as
from headgate.llm.usage import NO_USAGE, Apart, Usage, apart

NAME: Final = DialectName.OPENAI_RESPONSES

_encode = msgspec.json.Encoder().encode

# --- read ------------------------------------------------------------------------------------------------------------


def decode_response(body: bytes, memo: Memo) -> ChatResponse:
    """The provider's whole answer. UpstreamError if it is none, or a failure with a status of success."""
    try:
        answer = wire.decode_answer(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UpstreamError(f"the provider's answer is not a response: {error}") from None
    if answer.error or answer.status in ("failed", "cancelled"):
        failure = failure_of(answer.error)
        raise UpstreamError(failure.message, status=failure.status, kind=failure.kind)
    if answer.output is None:
        raise UpstreamError("the provider's answer is not a response: it has no output")
    parts = tuple(part for item in answer.output for part in parts_of(item, memo))
    return ChatResponse(
        id=answer.id or "",
        model=answer.model or "",
        parts=parts,
        finish_reason=finish_of(
            answer,
            called=any(isinstance(part, ToolCallPart) for part in parts),
            refused=_is_refused(answer.output, parts),
        ),
        logprobs=_logprobs_of(answer.output),
        usage=usage_of(answer),
        created=created_of(answer),
        service_tier=answer.service_tier or "",
        extras=extras_of(answer),
    )


def extras_of(answer: wire.Answer) -> Extras:
    """What only this dialect says of an answer."""
    members = [("moderation", answer.moderation), ("input_transformations", answer.input_transformations)]
    if answer.incomplete_details is not None:
        members.append(own_end(answer.incomplete_details.reason, _ENDS))
    for item in answer.output or ():
        if item.type in _CALLS_AND_IMAGES:
            members += _beyond(item)
    return own_members(NAME, *members)


def _is_refused(items: Sequence[wire.AnswerItem], parts: Sequence[Part]) -> bool:
    """The model refuses; a picture that was not made refuses nothing beside what is said."""
    if any(content.type == "refusal" for item in items for content in _said(item)):
        return True
    failed = any(isinstance(part, RefusalPart) for part in parts)
    return failed and not any(isinstance(part, TextPart | ImagePart) for part in parts)


def _said(item: wire.AnswerItem) -> Sequence[wire.AnswerPart]:
    return item.content or () if item.type == "message" else ()


CALLS: Final = frozenset(("function_call", "custom_tool_call"))
"""Of a client's tools. A call of one that takes a text is told as of a function that does (`stand_ins`)."""
_CALLS_AND_IMAGES: Final = CALLS | {"image_generation_call"}


_CALLER: Final = msgspec.json.Decoder(wire.Caller).decode
_TEXT: Final = msgspec.json.Decoder(str).decode
_ITEM_ERROR: Final = msgspec.json.Decoder(wire.ItemError | None).decode


def _beyond(item: wire.AnswerItem) -> Iterator[tuple[str, msgspec.Raw]]:
    yield "tool_calls.namespace", item.namespace
    yield "tool_calls.async", item.asynchronous
    if says(item.caller):
        caller = opened(item.caller, _CALLER)
        if caller is None or caller.type != "direct":
            yield "tool_calls.caller", item.caller
    yield "images.revised_prompt", item.revised_prompt


def created_of(answer: wire.Answer) -> int | None:
    """When the provider says it began."""
    return None if answer.created_at is None else int(answer.created_at)


def parts_of(item: wire.AnswerItem, memo: Memo) -> Sequence[Part]:
    """The parts of one item."""
    match item.type:
        case "message":
            return [part for content in item.content or () if (part := _content_part(content)) is not None]
        case "function_call" | "custom_tool_call":
            return (tool_call_of(item, memo),)
        case "reasoning":
            text, signature = thinking_of(item)
            return (ThinkingPart(text, signature),) if text or signature else ()
        case "image_generation_call":
            image = image_of(item)
            return () if image is None else (image,)
        case kind:
            return (OpaquePart(NAME, kind),)


def _content_part(content: wire.AnswerPart) -> Part | None:
    if content.type == "refusal":
        return RefusalPart(content.refusal or "")
    if not content.text:
        return None
    citations = tuple(citation_of(annotation) for annotation in content.annotations or ())
    return TextPart(content.text, citations=citations)


def citation_of(annotation: wire.Annotation) -> Citation:
    """A place that a text refers to."""
    title = annotation.title or annotation.filename or ""
    return Citation(annotation.url or "", title, start=annotation.start_index, end=annotation.end_index)


def tool_call_of(item: wire.AnswerItem, memo: Memo) -> ToolCallPart:
    """A tool of the client's that the model calls."""
    name = item.name or ""
    arguments = item.arguments if isinstance(item.arguments, str) else ""
    if item.type == "custom_tool_call":
        arguments = freeform_arguments(opened(item.input, _TEXT) or "")
    call_id = item.call_id or item.id or ""
    return ToolCallPart(call_id, memo.tool_names.get(name, name), arguments if arguments.strip() else "{}")


def thinking_of(item: wire.AnswerItem) -> tuple[str, str]:
    """Text and signature of a reasoning item. Open models say what they think, OpenAI's a summary of it."""
    said = item.content or item.summary or ()
    text = "\n\n".join(part.text for part in said if part.text)
    return text, wire.signature_of(item.id, item.encrypted_content)


def image_of(item: wire.AnswerItem) -> ImagePart | RefusalPart | None:
    """A picture that was made, or why it was not."""
    if not item.result:
        error = opened(item.error, _ITEM_ERROR) if item.error is not wire.ABSENT else None
        return RefusalPart(error.message) if error is not None and error.message else None
    return ImagePart(Base64Source(f"image/{item.output_format or 'png'}", item.result))


def logprobs_of(logprobs: Sequence[wire.Logprob]) -> tuple[TokenLogprob, ...]:
    """How likely each token was."""
    return tuple(
        TokenLogprob(
            each.token, each.logprob, tuple(TopLogprob(top.token, top.logprob) for top in each.top_logprobs or ())
        )
        for each in logprobs
    )


def _logprobs_of(items: Sequence[wire.AnswerItem]) -> tuple[TokenLogprob, ...] | None:
    found = [
        token
        for item in items
        if item.type == "message"
        for part in item.content or ()
        for token in logprobs_of(part.logprobs or ())
    ]
    return tuple(found) or None


INCOMPLETE: Final[Mapping[str, FinishReason]] = MappingProxyType(
    {
        "max_output_tokens": FinishReason.LENGTH,
        "max_messages": FinishReason.LENGTH,
        "content_filter": FinishReason.REFUSAL,
        "steered": FinishReason.LENGTH,
    }
)
_ENDS: Final = frozenset(("max_output_tokens", "content_filter"))


def finish_of(answer: wire.Answer, *, called: bool, refused: bool) -> FinishReason:
    """Why it ended; whatever made it incomplete was a limit, if nobody knows it."""
    if answer.status == "incomplete":
        reason = answer.incomplete_details.reason if answer.incomplete_details is not None else None
        return INCOMPLETE.get(reason or "", FinishReason.LENGTH)
    if called:
        return FinishReason.TOOL_CALLS
    return FinishReason.REFUSAL if refused else FinishReason.STOP


def usage_of(answer: wire.Answer) -> Usage:
    """Usage in canonical terms; input tokens already include cached ones."""
    usage, searches = answer.usage, searches_of(answer.tool_usage)
    if usage is None:
        return Usage(apart=searches) if searches else NO_USAGE
    given, written = usage.input_tokens_details, usage.output_tokens_details
    created = None
    if given is not None:
        created = given.cache_write_tokens
        if given.cache_creation_input_tokens is not None:
            created = given.cache_creation_input_tokens
    return Usage(
        input=usage.input_tokens,
        cached_input=None if given is None else given.cached_tokens,
        cache_creation_input=created,
        output=usage.output_tokens,
        total=usage.total_tokens,
        reasoning=None if written is None else written.reasoning_tokens,
        apart=apart_of(given, written) + searches,
    )


def searches_of(tool_usage: msgspec.Raw) -> Apart:
    """How often OpenAI searched the web, of what is sold at a price of its own."""
    used = None if tool_usage is wire.ABSENT else opened(tool_usage, _TOOL_USAGE)
    searches = None if used is None or used.web_search is None else used.web_search.num_requests
    return apart(((keys.WEB_SEARCHES, searches),))


_TOOL_USAGE: Final = msgspec.json.Decoder(wire.ToolUsage).decode


# --- written ---------------------------------------------------------------------------------------------------------


def encode_response(response: ChatResponse, context: ReplyContext) -> bytes:
    """The client's whole answer."""
    head = ResponseHead(context, response.id, response.model, response.created, response.service_tier)
    refused = any(isinstance(part, RefusalPart) for part in response.parts)
    status, reason = outcome_of(response.finish_reason, refused=refused)
    return head.response(status, reason=reason, output=_items(response, head, status), usage=response.usage)


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a client's tool, without its arguments."""

    item_id: str
    call_id: str
    tool: StandIn


_CALL_PREFIXES: Final[Mapping[StandInKind, str]] = {
    "function": "fc",
    "client_tool": "fc",
    "custom": "ctc",
    "tool_search": "tsc",
    "shell": "sh",
    "local_shell": "lsh",
    "apply_patch": "apc",
}


class ResponseHead:
    """What every response object of one answer says alike."""

    __slots__ = ("_before", "_model", "_rest", "_stand_ins", "_tail", "base")

    def __init__(self, context: ReplyContext, answer_id: str, model: str, created: int | None, tier: str) -> None:
        bare = answer_id.removeprefix("resp_").removeprefix("chatcmpl-").removeprefix("msg_")
        self.base = bare or f"{context.created:x}"
        """What ids of items are made from."""
        self._stand_ins = context.stand_ins
        at = context.created if created is None else created
        self._before = b'{"id":%b,"object":"response","created_at":%d' % (_encode(f"resp_{self.base}"), at)
        self._model = model or context.model
        self._rest = b"," + (context.echo or DEFAULT) + b"}"
        self.set_tier(tier)

    def set_tier(self, tier: str) -> None:
        """As what it is served."""
        tail: Members = {"model": self._model}
        word = service_tier_word(tier)
        if word:
            tail["service_tier"] = word
        self._tail = b"," + _encode(tail)[1:-1] + self._rest

    def item_id(self, prefix: str, place: int) -> str:
        """The id of an item, by its place in the output."""
        return f"{prefix}_{self.base}_{place}"

    def call_of(self, call_id: str, function: str, place: int) -> Call:
        """A call of a function, as a call of the client's tool."""
        tool = told_as(self._stand_ins, function)
        return Call(self.item_id(_CALL_PREFIXES[tool.kind], place), call_id, tool)

    def response(
        self,
        status: str,
        *,
        reason: str = "",
        error: ErrorDetail | None = None,
        output: Sequence[bytes] = (),
        usage: Usage = NO_USAGE,
    ) -> bytes:
        """A response object. `output`: items as JSON."""
        details = b'{"reason":%b}' % _encode(reason) if reason else b"null"
        failure = b"null"
        if error is not None:
            failure = _encode({"code": failure_code(error), "message": error.message})
        return b"".join(
            (
                self._before,
                b',"status":"%b","error":%b,"incomplete_details":%b' % (status.encode(), failure, details),
                b',"output":[',
                b",".join(output),
                b'],"usage":',
                _encode_usage(usage),
                _encode_tool_usage(usage) if usage.apart else b"",
                self._tail,
            )
        )


def outcome_of(reason: FinishReason, *, refused: bool) -> tuple[str, str]:
    """Status, and the reason where it is incomplete. A refusal in words is a whole answer; without words a filter took
    the rest away."""
    match reason:
        case FinishReason.REFUSAL if not refused:
            return "incomplete", "content_filter"
        case FinishReason.LENGTH | FinishReason.CONTEXT_WINDOW:
            return "incomplete", "max_output_tokens"
        case _:
            return "completed", ""


def _encode_tool_usage(usage: Usage) -> bytes:
    """The member `tool_usage`, with its comma, if anybody searched: every kind of tool has its counts there."""
    searches = dict(usage.apart).get(keys.WEB_SEARCHES)
    return b',"tool_usage":' + _encode({**_NO_TOOLS, "web_search": {"num_requests": searches}}) if searches else b""


_NO_TOOLS: Final[Members] = {
    "image_gen": {
        "input_tokens": 0,
        "input_tokens_details": {"image_tokens": 0, "text_tokens": 0},
        "output_tokens": 0,
        "total_tokens": 0,
    }
}


def _encode_usage(usage: Usage) -> bytes:
    """The member `usage`, with every count that clients insist on; `null` where nothing was counted."""
    if usage.input is None and usage.output is None:
        return b"null"
    given, written = usage.input or 0, usage.output or 0
    return _encode(
        {
            "input_tokens": given,
            "input_tokens_details": {
                "cached_tokens": usage.cached_input or 0,
                "cache_write_tokens": usage.cache_creation_input or 0,
            },
            "output_tokens": written,
            "output_tokens_details": {"reasoning_tokens": usage.reasoning or 0},
            "total_tokens": given + written if usage.total is None else usage.total,
        }
    )


def _items(response: ChatResponse, head: ResponseHead, status: str) -> list[bytes]:
    items: list[bytes] = []
    content: list[Members] = []
    logprobs = response.logprobs
    for part in response.parts:
        if isinstance(part, TextPart | RefusalPart):
            if isinstance(part, TextPart):
                content.append(text_part(part.text, part.citations, logprobs or ()))
                logprobs = None
            else:
                content.append({"type": "refusal", "refusal": part.text})
            continue
        if content:
            items.append(message_item(head.item_id("msg", len(items)), content, "completed"))
            content = []
        item = _item(part, head, len(items))
        if item is not None:
            items.append(item)
    if content or not items:
        items.append(message_item(head.item_id("msg", len(items)), content, status))
    return items


def _item(part: Part, head: ResponseHead, place: int) -> bytes | None:
    match part:
        case ToolCallPart():
            call = head.call_of(part.id, part.name, place)
            return call_item(call, freeform_text(part.arguments) if call.tool.freeform else part.arguments, "completed")
        case ThinkingPart():
            return reasoning_item(head.item_id("rs", place), part.text, sealed(part.signature))
        case RedactedThinkingPart():
            return reasoning_item(head.item_id("rs", place), "", wire.sealed_redacted(part.data))
        case ImagePart(source=Base64Source() as source):
            return image_item(head.item_id("ig", place), source)
        case ImagePart() | DocumentPart() | MediaPart() | ToolResultPart() | OpaquePart() | TextPart() | RefusalPart():
            return None  # a provider's own blocks: the text around them says what was found
        case _:
            assert_never(part)


def sealed(signature: str) -> str:
    """A signature as `encrypted_content`, also where there is none: some clients that keep the conversation themselves
    (Microsoft's Agent Framework) refuse to go on after what has nothing encrypted."""
    return wire.sealed_signature(signature)


def text_part(text: str, citations: Sequence[Citation], logprobs: Sequence[TokenLogprob]) -> Members:
    """A content part with text."""
    annotations = [encode_citation(citation) for citation in citations if citation.url]
    return {
        "type": "output_text",
        "text": text,
        "annotations": annotations,
        "logprobs": encode_logprobs(logprobs),
    }


def encode_citation(citation: Citation) -> Members:
    """A citation of a page."""
    return {
        "type": "url_citation",
        "url": citation.url,
        "title": citation.title,
        "start_index": citation.start or 0,
        "end_index": citation.end or 0,
    }


def message_item(item_id: str, content: Sequence[Members], status: str) -> bytes:
    """What the model said."""
    return _encode({"id": item_id, "type": "message", "status": status, "role": "assistant", "content": content})


def call_item(call: Call, arguments: str, status: str) -> bytes:
    """A call. `arguments`: of the function; where it stands for a custom tool, the tool's text."""
    tool = call.tool
    kind = "custom_tool_call" if tool.freeform else f"{tool.kind}_call"
    item: Members = {"id": call.item_id, "type": kind, "status": status, "call_id": call.call_id}
    if tool.kind == "tool_search":
        return _encode({**item, "execution": "client", "arguments": _object_of(arguments)})
    if tool.kind in client_tools.KINDS:
        return _encode({**item, **client_tools.members_of(tool.kind, arguments, begun=status == "in_progress")})
    item["name"] = tool.name
    if tool.namespace:
        item["namespace"] = tool.namespace
    item["input" if tool.freeform else "arguments"] = arguments
    return _encode(item)


def _object_of(arguments: str) -> dict[str, msgspec.Raw]:
    try:
        return wire.decode_raw_object(arguments)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return {}


def reasoning_item(item_id: str, text: str, encrypted: str) -> bytes:
    """What the model thought."""
    item: Members = {"id": item_id, "type": "reasoning", "summary": []}
    if text:
        item["summary"] = [{"type": "summary_text", "text": text}]
    if encrypted:
        item["encrypted_content"] = encrypted
    return _encode(item)


def image_item(item_id: str, source: Base64Source) -> bytes:
    """A picture that the model made."""
    item: Members = {"id": item_id, "type": "image_generation_call", "status": "completed", "result": source.data}
    if source.media_type.startswith("image/"):
        item["output_format"] = source.media_type.removeprefix("image/")
    return _encode(item)
