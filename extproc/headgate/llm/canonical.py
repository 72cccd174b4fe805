"""The canonical chat model: what the chat dialects have in common, once.

Decoders make these values, encoders read them; nothing else does. A concept enters when a third dialect has it; before
that it travels in `extras` (members) or in an `OpaquePart` / `OpaqueTool`, under the name of the dialect it came from,
and goes back only to that dialect.

Values are frozen msgspec structs rather than dataclasses: a stream makes thousands a second, and a frozen struct is
made in a tenth of the time of a frozen dataclass and writes itself as JSON into the golden files.

JSON that nobody here needs to look into (schemas, tool arguments) stays text, exactly as it was sent: cheaper, and the
same bytes on every call, which is what providers' prompt caches need.
"""

from enum import StrEnum
from typing import Literal, TypeAlias, final

import msgspec
from headgate.llm.errors import ErrorDetail
from headgate.llm.names import DialectName
from headgate.llm.usage import NO_USAGE, Usage

Extras: TypeAlias = dict[DialectName, dict[str, msgspec.Raw]]
"""Members only one dialect knows: dialect to member name to raw JSON."""


class Value(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """What every canonical value is: frozen, compared by content, JSON-encodable. None can hold itself: nothing for a
    collector of cycles to do."""


# --- parts -----------------------------------------------------------------------------------------------------------
#
# Most of a conversation is texts, calls and results. Where parts are told apart these are asked for first, by
# `type(part) is TextPart`: a class pattern that does not match costs more than making a part. Hence final.


class CachePoint(Value, frozen=True):
    """A prompt prefix ends here and may be cached. `ttl` is `5m`, `1h` or empty for the provider's default."""

    ttl: str = ""
    path: str = ""
    """Where it stood, if not with what it marks."""


class UrlSource(Value, frozen=True, tag="url"):
    url: str


class Base64Source(Value, frozen=True, tag="base64"):
    media_type: str
    """`image/png`, `application/pdf`; empty where the sender did not say."""
    data: str
    """Standard base64, not decoded."""


class FileSource(Value, frozen=True, tag="file"):
    """A file uploaded earlier to the provider."""

    file_id: str


class TextSource(Value, frozen=True, tag="text"):
    """A document given as plain text."""

    text: str


Source: TypeAlias = UrlSource | Base64Source | FileSource
DocumentSource: TypeAlias = UrlSource | Base64Source | FileSource | TextSource


class Citation(Value, frozen=True):
    """Where something that a text says comes from. What is not known is empty."""

    url: str = ""
    title: str = ""
    quote: str = ""
    """The words of the source."""
    start: int | None = None
    """First character of the cited passage in the text part that bears the citation."""
    end: int | None = None
    """One past its last character."""
    document: int | None = None
    """Which of the request's documents, counted from 0."""
    extras: Extras = {}


@final
class TextPart(Value, frozen=True, tag="text"):
    text: str
    cache: CachePoint | None = None
    citations: tuple[Citation, ...] = ()


class ImagePart(Value, frozen=True, tag="image"):
    source: Source
    detail: str = ""
    cache: CachePoint | None = None


class DocumentPart(Value, frozen=True, tag="document"):
    source: DocumentSource
    title: str = ""
    """File name or title."""
    context: str = ""
    cache: CachePoint | None = None
    cited: bool = False
    """The answer shall say what it takes from this document, as `Citation`s."""


class MediaPart(Value, frozen=True, tag="media"):
    """Audio or video."""

    kind: Literal["audio", "video"]
    source: Source
    format: str = ""
    """`wav`, `mp3`… where the sender named one."""


@final
class ToolCallPart(Value, frozen=True, tag="tool_call"):
    """The model asks for a tool. `arguments` is JSON text as it was sent; a decoder makes empty text `{}`."""

    id: str
    name: str
    arguments: str
    cache: CachePoint | None = None


class ThinkingPart(Value, frozen=True, tag="thinking"):
    """Reasoning the provider shows. Without a signature most providers will not take it back."""

    text: str
    signature: str = ""


class RedactedThinkingPart(Value, frozen=True, tag="redacted_thinking"):
    """Reasoning the provider encrypted; `data` is its text, never decoded."""

    data: str


class RefusalPart(Value, frozen=True, tag="refusal"):
    text: str


class OpaquePart(Value, frozen=True, tag="opaque"):
    """A part that only its own dialect understands. `raw` is given where the dialect could get it back."""

    dialect: DialectName
    kind: str
    raw: msgspec.Raw = msgspec.Raw(b"null")


ToolResultContent: TypeAlias = TextPart | ImagePart | DocumentPart | MediaPart | OpaquePart


@final
class ToolResultPart(Value, frozen=True, tag="tool_result"):
    """What a tool said. Sits in a user message, whatever role the client's dialect gives it."""

    call_id: str
    content: tuple[ToolResultContent, ...] = ()
    is_error: bool | None = None
    cache: CachePoint | None = None


Part: TypeAlias = (
    TextPart
    | ImagePart
    | DocumentPart
    | MediaPart
    | ToolCallPart
    | ToolResultPart
    | ThinkingPart
    | RedactedThinkingPart
    | RefusalPart
    | OpaquePart
)


Role: TypeAlias = Literal["system", "developer", "user", "assistant"]
"""Whose turn it is. Words rather than an enum: they are compared several times a message."""


class Message(Value, frozen=True):
    """One turn as the client sent it: not merged, not reordered. Encoders merge where their dialect asks for it."""

    role: Role
    parts: tuple[Part, ...]
    name: str = ""
    path: str = ""
    """Where it stood in the client's body (`messages[2]`, `system`), for losses and errors."""


# --- request ---------------------------------------------------------------------------------------------------------


class FunctionTool(Value, frozen=True, tag="function"):
    name: str
    description: str = ""
    parameters: msgspec.Raw | None = None
    """JSON schema object as it was sent; `None` where the client gave none."""
    strict: bool | None = None
    cache: CachePoint | None = None
    path: str = ""
    """Where it stood in the client's body; empty: `tools`, at its place."""


class UserLocation(Value, frozen=True):
    """Roughly where the user is; for searches."""

    city: str = ""
    region: str = ""
    country: str = ""
    """Two letters, ISO 3166-1."""
    timezone: str = ""
    """IANA name."""


class WebSearchTool(Value, frozen=True, tag="web_search"):
    """The provider's own search of the web."""

    allowed_domains: tuple[str, ...] = ()
    blocked_domains: tuple[str, ...] = ()
    uses_max: int | None = None
    context_size: str = ""
    """`low`, `medium`, `high` or empty."""
    location: UserLocation | None = None
    dialect: DialectName | None = None
    """Where `raw` comes from."""
    raw: msgspec.Raw | None = None
    """As it was sent: goes back to its own dialect byte for byte."""
    path: str = ""
    """As of a function."""


class OpaqueTool(Value, frozen=True, tag="opaque"):
    """A tool the provider runs that has no like elsewhere (`code_interpreter`, `web_fetch_20250910`)."""

    dialect: DialectName
    kind: str
    raw: msgspec.Raw = msgspec.Raw(b"null")
    path: str = ""
    """As of a function."""


Tool: TypeAlias = FunctionTool | WebSearchTool | OpaqueTool


def tool_path(tool: Tool, index: int) -> str:
    """Where the tool at a place of a request's stood in the client's body."""
    return tool.path or f"tools[{index}]"


class ToolChoice(Value, frozen=True):
    mode: Literal["auto", "none", "required", "named"]
    name: str = ""
    """With `named`: the function that must be called."""
    allowed: tuple[str, ...] = ()
    """With `auto` or `required`: only these functions; empty means all."""


StandInKind: TypeAlias = Literal[
    "function", "custom", "tool_search", "shell", "local_shell", "apply_patch", "client_tool"
]


class StandIn(Value, frozen=True):
    """What a function stands for that only its client's dialect has."""

    name: str
    """Of the client's tool."""
    namespace: str = ""
    """The group of tools that it is of."""
    kind: StandInKind = "function"
    """A custom tool takes a text, not arguments. A search finds tools for the client, which adds them. The others are
    OpenAI's own tools that a client runs (`openai_responses.client_tools`), and Anthropic's (`client_tool`:
    `anthropic.client_tools`, and with a namespace `anthropic.toolsets`)."""
    grammar: bool = False
    """The text must follow a grammar."""
    path: str = ""
    """Where it stood in the client's body."""

    @property
    def freeform(self) -> bool:
        """Its calls have a text."""
        return self.kind == "custom"


StandIns: TypeAlias = dict[str, StandIn]
"""By the names of the functions."""


class ResponseFormat(Value, frozen=True):
    kind: Literal["text", "json_object", "json_schema"]
    name: str = ""
    description: str = ""
    schema: msgspec.Raw | None = None
    strict: bool | None = None


class Reasoning(Value, frozen=True):
    """How much to think. The fields say what the client said; encoders choose between them by the target model."""

    mode: Literal["", "enabled", "disabled", "adaptive"] = ""
    budget_tokens: int | None = None
    effort: str = ""
    """`none`, `minimal`, `low`, `medium`, `high`, `xhigh`, `max` or empty."""
    display: str = ""
    """`summarized`, `omitted` or empty."""
    path: str = ""
    """Where the effort stood, if its dialect has more places for it than one."""


class Sampling(Value, frozen=True):
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    seed: int | None = None
    candidates: int | None = None
    """OpenAI's `n`."""
    logprobs: bool | None = None
    top_logprobs: int | None = None
    logit_bias: msgspec.Raw | None = None


class ChatRequest(Value, frozen=True, kw_only=True):
    model: str
    messages: tuple[Message, ...]
    """System and developer messages included, where they stood."""
    tools: tuple[Tool, ...] = ()
    stand_ins: StandIns = {}
    """Which of the functions stand for other tools: the client is told of calls in its own words."""
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    sampling: Sampling = Sampling()
    stop: tuple[str, ...] = ()
    max_tokens: int | None = None
    reasoning: Reasoning | None = None
    user: str = ""
    """OpenAI `user` / `safety_identifier`, Anthropic `metadata.user_id`."""
    service_tier: str = ""
    stream: bool = False
    include_usage: bool = False
    """The client asked for a usage chunk at the end of the stream (dialects that always send usage: true)."""
    extras: Extras = {}
    echo: bytes = b""
    """What the client's dialect repeats of the request in its answers, in its own form."""


# --- response --------------------------------------------------------------------------------------------------------


class FinishReason(StrEnum):
    """Why the model stopped. A word that says more, or that nobody knows, is told as the nearest of these (`STOP`, or
    `TOOL_CALLS` if it called tools), never as an error, and with a loss (`answer_losses.own_end`)."""

    STOP = "stop"
    STOP_SEQUENCE = "stop_sequence"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    REFUSAL = "refusal"
    """The model, or a filter before or after it, declined."""
    PAUSE = "pause"
    """A server tool's turn is unfinished: send it back to go on."""
    CONTEXT_WINDOW = "context_window"


class TopLogprob(Value, frozen=True):
    token: str
    logprob: float


class TokenLogprob(Value, frozen=True):
    """How likely one token of the answer's text was, and what else might have stood there."""

    token: str
    logprob: float
    top: tuple[TopLogprob, ...] = ()


class Alternative(Value, frozen=True, kw_only=True):
    """Another answer to the same request (OpenAI's `n`, Gemini's `candidateCount`)."""

    parts: tuple[Part, ...] = ()
    finish_reason: FinishReason = FinishReason.STOP
    stop_sequence: str = ""
    logprobs: tuple[TokenLogprob, ...] | None = None


class ChatResponse(Value, frozen=True, kw_only=True):
    id: str = ""
    model: str = ""
    parts: tuple[Part, ...] = ()
    finish_reason: FinishReason = FinishReason.STOP
    stop_sequence: str = ""
    logprobs: tuple[TokenLogprob, ...] | None = None
    alternatives: tuple[Alternative, ...] = ()
    """The second answer and on, where more than one was asked for."""
    usage: Usage = NO_USAGE
    created: int | None = None
    """Unix seconds, where the provider said."""
    service_tier: str = ""
    """As what it was served, in OpenAI's words: `default`, `flex`, `priority`, `scale`; and `batch`."""
    extras: Extras = {}


# --- stream ----------------------------------------------------------------------------------------------------------
#
# Rules every decoder keeps and every encoder may rely on:
# * `Start` comes first and once (before it only `Ping`, or an `Error` that ends everything).
# * A part is `TextStart` / `ThinkingStart` / `ToolCallStart` / `RefusalStart`, its deltas, `PartStop`, all with one
#   `index` that is never used again; indexes rise. `RedactedThinking`, `MediaOutput` and `OpaqueOutput` are whole in
#   one event. `CitationDelta` and `LogprobsDelta` belong to the open text part.
# * Text, thinking and refusal parts are stopped before another part starts. Tool calls may overlap: providers that do
#   not say when a call is complete leave them open until the end, and may interleave their deltas.
# * `Finish` comes at most once and after it only `UsageUpdate`, `OtherAnswer` and `AnswerMembers`; the end of input
#   ends the message. A stream that ended without `Finish` was cut.


class Start(Value, frozen=True, tag="start"):
    id: str = ""
    model: str = ""
    created: int | None = None
    usage: Usage = NO_USAGE
    service_tier: str = ""


class TextStart(Value, frozen=True, tag="text_start"):
    index: int


class ThinkingStart(Value, frozen=True, tag="thinking_start"):
    index: int


class RefusalStart(Value, frozen=True, tag="refusal_start"):
    index: int


class ToolCallStart(Value, frozen=True, tag="tool_call_start"):
    index: int
    id: str
    name: str


@final
class TextDelta(Value, frozen=True, tag="text"):
    index: int
    text: str


class RefusalDelta(Value, frozen=True, tag="refusal"):
    index: int
    text: str


class ThinkingDelta(Value, frozen=True, tag="thinking"):
    index: int
    text: str


class SignatureDelta(Value, frozen=True, tag="signature"):
    index: int
    signature: str


class ArgumentsDelta(Value, frozen=True, tag="arguments"):
    """A piece of a tool call's arguments, as JSON text."""

    index: int
    text: str


class CitationDelta(Value, frozen=True, tag="citation"):
    index: int
    citation: Citation


class LogprobsDelta(Value, frozen=True, tag="logprobs"):
    """Of the tokens of the next or the last `TextDelta`."""

    index: int
    tokens: tuple[TokenLogprob, ...]


class PartStop(Value, frozen=True, tag="part_stop"):
    index: int


class RedactedThinking(Value, frozen=True, tag="redacted_thinking"):
    index: int
    data: str


class MediaOutput(Value, frozen=True, tag="media_output"):
    """An image or a sound that the model made, whole."""

    index: int
    part: ImagePart | MediaPart


class OpaqueOutput(Value, frozen=True, tag="opaque_output"):
    """A part of the answer that only its own dialect understands (a server tool's call or result), whole."""

    index: int
    part: OpaquePart


class OtherAnswer(Value, frozen=True, tag="other_answer"):
    """Something happened in another answer to the same request (OpenAI's `n`, Gemini's `candidateCount`).

    The events of one number are a stream of their own, with its own parts and its own `Finish`, but no `Start` and no
    usage. They may come before and after the first answer's `Finish`.
    """

    number: int
    """From 1; the first answer, 0, is told without this."""
    event: "PartEvent"


class AnswerMembers(Value, frozen=True, tag="members"):
    """Members that only one dialect's answers have (`ChatResponse.extras`), as the stream's end leaves them."""

    extras: Extras


class UsageUpdate(Value, frozen=True, tag="usage"):
    """What is known so far, cumulative: merge it into what was known."""

    usage: Usage
    service_tier: str = ""
    """As it was served after all."""


class Finish(Value, frozen=True, tag="finish"):
    reason: FinishReason
    stop_sequence: str = ""


class StreamFailure(Value, frozen=True, tag="error"):
    """The provider reported an error inside the stream. Nothing follows."""

    error: ErrorDetail


class Ping(Value, frozen=True, tag="ping"):
    """Nothing happened, but the provider is alive."""


PartEvent: TypeAlias = (
    TextStart
    | ThinkingStart
    | RefusalStart
    | ToolCallStart
    | TextDelta
    | RefusalDelta
    | ThinkingDelta
    | SignatureDelta
    | ArgumentsDelta
    | CitationDelta
    | LogprobsDelta
    | PartStop
    | RedactedThinking
    | MediaOutput
    | OpaqueOutput
    | Finish
)
"""What one answer says, between its start and its end."""

StreamEvent: TypeAlias = Start | PartEvent | OtherAnswer | AnswerMembers | UsageUpdate | StreamFailure | Ping
