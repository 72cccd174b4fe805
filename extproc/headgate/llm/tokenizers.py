"""Counts prompts before a provider does: exactly where the tokenizer is public, else as an estimate that says so.

The rule for chat is OpenAI's (<https://github.com/openai/openai-cookbook>, "How to count tokens with tiktoken"): 3 to
start the answer, 3 per message, and the tokens of every string in it, 1 more for a name. Only an OpenAI model's text is
exact; tools, media and other vendors' models are estimates.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, assert_never

import msgspec
from headgate.llm.canonical import (
    Base64Source,
    ChatRequest,
    DocumentPart,
    FunctionTool,
    ImagePart,
    MediaPart,
    OpaquePart,
    OpaqueTool,
    Part,
    RedactedThinkingPart,
    RefusalPart,
    TextPart,
    TextSource,
    ThinkingPart,
    Tool,
    ToolCallPart,
    ToolResultPart,
    WebSearchTool,
)
from headgate.llm.dialects.table import DIALECTS
from headgate.llm.endpoints import Endpoint, PathFacts, endpoint_named
from headgate.llm.errors import RequestError
from headgate.llm.names import DialectName, Operation
from headgate.llm.operations.counting.table import FAMILY as COUNTING
from headgate.llm.usage import TokenCount
from headgate.llm.vocabularies import encoding_of

if TYPE_CHECKING:
    from tiktoken import Encoding

ANSWER_TOKENS: Final = 3
"""Every answer is primed with `<|start|>assistant<|message|>`."""
MESSAGE_TOKENS: Final = 3
NAME_TOKENS: Final = 1
TOOL_TOKENS: Final = 8
"""Around one function's definition."""

IMAGE_TOKENS: Final = 765
"""An image of 1024 x 1024 in high detail, OpenAI's own example; the size is not looked up."""
IMAGE_LOW_TOKENS: Final = 85
DOCUMENT_TOKENS: Final = 1_500
"""A page or two; how many there are cannot be seen from outside."""
MEDIA_BYTES_PER_TOKEN: Final = 1_600
"""16 kHz, 16 bit audio at 20 tokens a second."""


def count_request(endpoint: str, model: str, body: bytes) -> TokenCount | None:
    """Tokens of a JSON request's prompt, by the name of its endpoint; None for operations that have no prompt of text.

    RequestError if the body is not a request of that endpoint.
    """
    row = endpoint_named(endpoint)
    if row is None:
        return None
    match row.operation:
        case Operation.CHAT | Operation.MESSAGES | Operation.GENERATE_CONTENT:
            return count_chat(DIALECTS[row.dialect].decode_request(body, PathFacts(model)), model)
        case Operation.COMPLETION:
            return _count_strings(_decode_prompt(body).prompt, model)
        case Operation.EMBEDDINGS | Operation.RESPONSES | Operation.RESPONSES_INPUT_TOKENS:
            return _count_prompt(row, model, body)
        case Operation.COUNT_TOKENS | Operation.TOKENIZE:
            return count_chat(_decode_count(row, model, body), model)
        case _:
            return None


def _count_prompt(row: Endpoint, model: str, body: bytes) -> TokenCount:
    """Responses as a chat, with tools and images; where they refer to what is kept elsewhere, and of embeddings, all
    that is text."""
    if row.dialect is DialectName.OPENAI_RESPONSES:
        try:
            return count_chat(DIALECTS[row.dialect].decode_request(body), model)
        except RequestError:
            pass
    prompt = _decode_prompt(body)
    given = (prompt.instructions, prompt.input, prompt.messages, prompt.texts, prompt.content, prompt.requests)
    return _count_strings((*given, prompt.input_text), model)


def _decode_count(row: Endpoint, model: str, body: bytes) -> ChatRequest:
    decode = COUNTING.codecs[row.dialect].decode_request
    assert decode is not None
    return decode(body, row, PathFacts(model)).chat


def count_chat(request: ChatRequest, model: str) -> TokenCount:
    """Tokens of a chat prompt for a model."""
    encoding, exact = encoding_of(model)
    counter = _Counter(encoding, exact)
    total = ANSWER_TOKENS
    for message in request.messages:
        total += MESSAGE_TOKENS + counter.text(message.role)
        if message.name:
            total += NAME_TOKENS + counter.text(message.name)
        total += sum(counter.part(part) for part in message.parts)
    total += sum(counter.tool(tool) for tool in request.tools)
    if request.response_format is not None and request.response_format.schema is not None:
        total += counter.estimate(bytes(request.response_format.schema))
    return TokenCount(total, counter.exact)


class _Counter:
    """Counts values of one prompt; `exact` turns false with the first one that can only be estimated."""

    __slots__ = ("_encoding", "exact")

    def __init__(self, encoding: "Encoding", exact: bool) -> None:
        self._encoding = encoding
        self.exact = exact

    def text(self, text: str) -> int:
        """Exact for the vocabulary."""
        return len(self._encoding.encode_ordinary(text))

    def estimate(self, raw: bytes) -> int:
        """JSON that the provider writes into the prompt in a form of its own."""
        self.exact = False
        return self.text(raw.decode("utf-8", "replace"))

    def part(self, part: Part) -> int:
        """One part of a message."""
        match part:
            case TextPart(text=text) | RefusalPart(text=text):
                return self.text(text)
            case ToolCallPart():
                self.exact = False
                return MESSAGE_TOKENS + self.text(part.name) + self.text(part.arguments)
            case ToolResultPart():
                self.exact = False
                return sum(self.part(item) for item in part.content)
            case ThinkingPart(text=text):
                self.exact = False
                return self.text(text)
            case RedactedThinkingPart(data=data):
                self.exact = False
                return len(data) // 4
            case ImagePart(detail=detail):
                self.exact = False
                return IMAGE_LOW_TOKENS if detail == "low" else IMAGE_TOKENS
            case DocumentPart(source=source):
                self.exact = False
                return self.text(source.text) if isinstance(source, TextSource) else DOCUMENT_TOKENS
            case MediaPart(source=source):
                self.exact = False
                data_bytes = len(source.data) * 3 // 4 if isinstance(source, Base64Source) else 0
                return max(DOCUMENT_TOKENS, data_bytes // MEDIA_BYTES_PER_TOKEN)
            case OpaquePart(raw=raw):
                return self.estimate(bytes(raw))
            case _:
                assert_never(part)

    def tool(self, tool: Tool) -> int:
        """One tool's definition."""
        self.exact = False
        match tool:
            case FunctionTool():
                schema = b"" if tool.parameters is None else bytes(tool.parameters)
                return TOOL_TOKENS + self.text(tool.name) + self.text(tool.description) + self.estimate(schema)
            case WebSearchTool():
                return TOOL_TOKENS
            case OpaqueTool(raw=raw):
                return TOOL_TOKENS + self.estimate(bytes(raw))
            case _:
                assert_never(tool)


class _Prompt(msgspec.Struct, frozen=True):
    """Members that carry the prompt of the operations without a dialect here."""

    prompt: object = None
    input: object = None
    instructions: object = None
    messages: object = None
    texts: object = None
    content: object = None
    requests: object = None
    input_text: object = msgspec.field(default=None, name="inputText")


def _decode_prompt(body: bytes) -> _Prompt:
    try:
        return _prompt_decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RequestError(f"the body is not a JSON object: {error}", code="invalid_json") from None


_prompt_decoder: Final = msgspec.json.Decoder(_Prompt)

_NO_TEXT: Final = frozenset(
    (
        "model",
        "taskType",
        "type",
        "id",
        "role",
        "status",
        "image_url",
        "file_data",
        "file_id",
        "call_id",
        "data",
    )
)
"""Members that hold no text of the prompt, or not as text."""


def _count_strings(prompt: object, model: str) -> TokenCount:
    """Every string in a JSON value; a number is a token of a prompt that came as tokens.

    Walked with a list of its own: depth is the client's choice.
    """
    encoding, exact = encoding_of(model)
    total = 0
    waiting: list[object] = [prompt]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            total += len(encoding.encode_ordinary(value))
        elif isinstance(value, int) and not isinstance(value, bool):
            total += 1
        elif isinstance(value, Mapping):
            waiting.extend(item for name, item in value.items() if name not in _NO_TEXT)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
        elif isinstance(value, Sequence) and not isinstance(value, bytes):
            waiting.extend(value)  # pyright: ignore[reportUnknownArgumentType]
    return TokenCount(total, exact)
