"""What the demo provider says: pure functions from a request, in no wire format, to a reply."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

Schema: TypeAlias = Mapping[str, Any]
CountTokens: TypeAlias = Callable[[str], int]

QUOTED_CHARACTERS_MAX: Final = 300
SCHEMA_DEPTH_MAX: Final = 8
TOKENS_PER_MESSAGE: Final = 3
"""What chat formats add around each message."""


@dataclass(frozen=True, slots=True)
class Tool:
    name: str
    description: str
    parameters: Schema


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoRequest:
    """What matters of a request. `said` is the last user text; `tool_results` are set where they are the last turn."""

    model: str
    said: str
    texts: tuple[str, ...]
    """Every text of the prompt, for counting."""
    tools: tuple[Tool, ...] = ()
    tool_choice: Literal["auto", "none", "any"] | Tool = "auto"
    parallel_tools: bool = True
    tool_results: tuple[str, ...] = ()
    output_tokens_max: int | None = None
    stops: tuple[str, ...] = ()
    schema: Schema | None = None
    """The JSON schema that the answer must have; empty for any object."""
    streamed: bool = False
    include_usage: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call; `arguments` is JSON text."""

    name: str
    arguments: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoReply:
    text: str
    calls: tuple[Call, ...]
    finish: Literal["stop", "length", "tools", "stop_sequence"]
    stop_sequence: str
    input_tokens: int
    output_tokens: int


def reply_to(request: DemoRequest, count_tokens: CountTokens) -> DemoReply:
    """The demo's answer: a tool call where one is wanted, else a text that says it is a demo."""
    input_tokens = count_prompt(request, count_tokens)
    if calls := _calls(request):
        output_tokens = sum(count_tokens(call.name) + count_tokens(call.arguments) for call in calls)
        return DemoReply(
            text="",
            calls=calls,
            finish="tools",
            stop_sequence="",
            input_tokens=input_tokens,
            output_tokens=max(1, output_tokens),
        )
    text, finish, stop_sequence = _bounded(_text(request), request, count_tokens)
    return DemoReply(
        text=text,
        calls=(),
        finish=finish,
        stop_sequence=stop_sequence,
        input_tokens=input_tokens,
        output_tokens=max(1, count_tokens(text)),
    )


def count_prompt(request: DemoRequest, count_tokens: CountTokens) -> int:
    """Input tokens: every text, and a little for each message and tool."""
    texts = sum(count_tokens(text) + TOKENS_PER_MESSAGE for text in request.texts)
    tools = sum(count_tokens(json.dumps([each.name, each.description, each.parameters])) for each in request.tools)
    return max(1, texts + tools)


def pieces(text: str) -> list[str]:
    """A text as a stream sends it: word by word, with the spaces before them."""
    return re.findall(r"\s*\S+\s*$|\s*\S+", text) or ([text] if text else [])


def _text(request: DemoRequest) -> str:
    if request.schema is not None:
        return json.dumps(example(request.schema, request.said), ensure_ascii=False)
    if request.tool_results:
        results = "; ".join(_shortened(each) for each in request.tool_results)
        return f"This is Headgate's demo provider, no model ran. The tools answered: {results}"
    said = f' You said: "{_shortened(request.said)}".' if request.said else ""
    return (
        f'This is Headgate\'s demo provider answering as "{request.model}": no model ran.{said}'
        " Configure a backend, or set OPENAI_API_KEY or ANTHROPIC_API_KEY, to talk to a real one."
    )


def _shortened(text: str) -> str:
    return text if len(text) <= QUOTED_CHARACTERS_MAX else text[:QUOTED_CHARACTERS_MAX] + "…"


def _bounded(
    text: str, request: DemoRequest, count_tokens: CountTokens
) -> tuple[str, Literal["stop", "length", "stop_sequence"], str]:
    """Cuts the text before the first stop sequence, or at the last word within the token limit."""
    found = min(((text.find(stop), stop) for stop in request.stops if stop and stop in text), default=None)
    finish: Literal["stop", "stop_sequence"] = "stop"
    stop_sequence = ""
    if found:
        text, finish, stop_sequence = text[: found[0]], "stop_sequence", found[1]
    limit = request.output_tokens_max
    if limit is None or count_tokens(text) <= limit:
        return text, finish, stop_sequence
    words = pieces(text)
    # Counting grows with the words, so the longest text that fits is found in log(n) counts.
    low, high = 0, len(words)
    while low < high:
        middle = (low + high + 1) // 2
        if count_tokens("".join(words[:middle])) <= limit:
            low = middle
        else:
            high = middle - 1
    return "".join(words[:low]), "length", ""


def _calls(request: DemoRequest) -> tuple[Call, ...]:
    match request.tool_choice:
        case "none":
            return ()
        case "any":
            chosen = [tool for tool in request.tools if _fits(tool, request.said)] or list(request.tools[:1])
        case "auto":
            fitting = [tool for tool in request.tools if _fits(tool, request.said)]
            chosen = [] if request.tool_results else fitting
        case Tool():
            chosen = [request.tool_choice]
    if not request.parallel_tools:
        chosen = chosen[:1]
    return tuple(
        Call(tool.name, json.dumps(example(tool.parameters, request.said), ensure_ascii=False)) for tool in chosen
    )


def _words(text: str) -> set[str]:
    return {word for word in re.findall(r"[^\W\d_]+", text.lower()) if len(word) >= 4}


def _fits(tool: Tool, said: str) -> bool:
    """Whether the user's words are in the tool's name or description."""
    return bool(_words(f"{tool.name} {tool.description}") & _words(said))


def example(schema: Schema, said: str, depth: int = 0) -> Any:
    """A value of a JSON schema, with words and numbers of what was said where they fit; references are not followed."""
    if depth > SCHEMA_DEPTH_MAX:
        return None
    for key in ("const", "default"):
        if key in schema:
            return schema[key]
    if options := schema.get("enum"):
        return next((option for option in options if str(option).lower() in said.lower()), options[0])
    for key in ("anyOf", "oneOf", "allOf"):
        if alternatives := schema.get(key):
            return example(alternatives[0], said, depth + 1)
    kind = schema.get("type", "object" if "properties" in schema else None)
    if isinstance(kind, list):
        kinds: Sequence[Any] = [each for each in kind if each != "null"]  # pyright: ignore[reportUnknownVariableType]
        kind = kinds[0] if kinds else None
    return _example_of(str(kind), schema, said, depth)


def _example_of(kind: str, schema: Schema, said: str, depth: int) -> Any:
    number = re.search(r"-?\d+(?:\.\d+)?", said)
    match kind:
        case "object":
            properties: Mapping[str, Schema] = schema.get("properties") or {}
            wanted: Sequence[str] = schema.get("required") or tuple(properties)
            return {name: example(properties.get(name, {}), said, depth + 1) for name in wanted}
        case "array":
            return [example(schema.get("items") or {}, said, depth + 1)]
        case "integer":
            return int(float(number[0])) if number else 1
        case "number":
            return float(number[0]) if number else 1.0
        case "boolean":
            return True
        case "null":
            return None
        case _:
            return _name_in(said) or "demo"


def _name_in(said: str) -> str:
    """The first capitalised words that do not begin a sentence: "weather in New York?" has New York."""
    found = re.search(r"(?<=[^\W\d_][ ,])\s*([A-ZÄÖÜ][^\W\d_]+(?: [A-ZÄÖÜ][^\W\d_]+)*)", said)
    return found[1] if found else ""
