"""The official client of every chat dialect, asked in one way: a question, two tools it may call, and what it was told.

Each front keeps what a client of its dialect would send back (`Told.history`), so that a second turn proves that what
the gateway told can be said again.
"""

import json
from collections.abc import Generator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import Any, Final, Protocol

import anthropic
import boto3
import cohere
import google.genai
import httpx
import openai
from botocore.config import Config
from google.genai import errors as google_errors
from google.genai import types as google_types

from support.json_values import is_object

QUESTION: Final = "Weather in Bern and Oslo?"
RESULT: Final = "sunny"
SCHEMA: Final[Any] = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
MAX_TOKENS: Final = 900

SDK: Final[Any] = boto3
"""It has no types."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a client learnt of an answer. `calls`: name and arguments; `history`: the turn as it is sent back."""

    text: str
    thinking: str = ""
    calls: tuple[tuple[str, Any], ...] = ()
    stopped: str = ""
    input: int | None = None
    output: int | None = None
    history: Any = None


class Front(Protocol):
    """One dialect's client. A second turn is asked with `after`: the first one's answer, and results for its calls."""

    @property
    def limited(self) -> type[Exception]:
        """What it raises on a 429."""
        ...

    def ask(self, model: str, after: Told | None = None) -> Told: ...
    def stream(self, model: str) -> Told: ...


def _arguments(text: str) -> Any:
    return json.loads(text or "{}")


class OpenAIChat:
    """OpenAI's chat completions."""

    limited: type[Exception] = openai.RateLimitError
    tools: Any = ({"type": "function", "function": {"name": "weather", "description": "now", "parameters": SCHEMA}},)

    def __init__(self, client: openai.OpenAI) -> None:
        self._client = client.chat.completions

    def ask(self, model: str, after: Told | None = None) -> Told:
        messages: list[Any] = [{"role": "system", "content": "Brief."}, {"role": "user", "content": QUESTION}]
        if after is not None:
            calls = after.history["tool_calls"]
            results = [{"role": "tool", "tool_call_id": call["id"], "content": RESULT} for call in calls]
            messages += [after.history, *results]
        return self._told(
            self._client.create(model=model, messages=messages, tools=self.tools, max_completion_tokens=MAX_TOKENS)
        )

    def stream(self, model: str) -> Told:
        messages: Any = [{"role": "user", "content": QUESTION}]
        options: Any = {"stream_options": {"include_usage": True}}
        with self._client.stream(model=model, messages=messages, tools=self.tools, **options) as stream:
            return self._told(stream.get_final_completion())

    def _told(self, answer: Any) -> Told:
        (choice,), message = answer.choices, answer.choices[0].message
        calls = message.tool_calls or ()
        return Told(
            text=message.content or "",
            thinking=getattr(message, "reasoning_content", None) or "",
            calls=tuple((call.function.name, _arguments(call.function.arguments)) for call in calls),
            stopped=choice.finish_reason,
            input=answer.usage.prompt_tokens,
            output=answer.usage.completion_tokens,
            # What is no member of the API, its own servers would refuse.
            history=message.model_dump(exclude_none=True, exclude={"reasoning_content"}),
        )


class OpenAIResponses:
    """OpenAI's responses."""

    limited: type[Exception] = openai.RateLimitError
    tools: Any = ({"type": "function", "name": "weather", "parameters": SCHEMA, "strict": False},)

    def __init__(self, client: openai.OpenAI) -> None:
        self._client = client.responses

    def _settings(self, model: str) -> dict[str, Any]:
        return {"model": model, "tools": self.tools, "instructions": "Brief.", "store": False}

    def ask(self, model: str, after: Told | None = None) -> Told:
        items: list[Any] = [{"role": "user", "content": QUESTION}]
        if after is not None:
            items += after.history
            called = [item["call_id"] for item in after.history if item["type"] == "function_call"]
            items += [{"type": "function_call_output", "call_id": call_id, "output": RESULT} for call_id in called]
        return self._told(self._client.create(input=items, max_output_tokens=MAX_TOKENS, **self._settings(model)))

    def stream(self, model: str) -> Told:
        with self._client.stream(input=QUESTION, **self._settings(model)) as stream:
            return self._told(stream.get_final_response())

    def _told(self, answer: Any) -> Told:
        thoughts = [part.text for item in answer.output if item.type == "reasoning" for part in item.summary]
        calls = [item for item in answer.output if item.type == "function_call"]
        return Told(
            text=answer.output_text,
            thinking="".join(thoughts),
            calls=tuple((call.name, _arguments(call.arguments)) for call in calls),
            stopped=answer.status,
            input=answer.usage.input_tokens,
            output=answer.usage.output_tokens,
            history=[item.model_dump(exclude_none=True, exclude={"parsed_arguments"}) for item in answer.output],
        )


class OpenAICompletions:
    """OpenAI's legacy completions: text alone, and no turns."""

    limited: type[Exception] = openai.RateLimitError

    def __init__(self, client: openai.OpenAI) -> None:
        self._client = client.completions

    def ask(self, model: str, after: Told | None = None) -> Told:
        assert after is None, "completions have no turns"
        answer = self._client.create(model=model, prompt=QUESTION, max_tokens=MAX_TOKENS)
        assert answer.usage is not None
        (choice,), usage = answer.choices, answer.usage
        return Told(
            text=choice.text, stopped=choice.finish_reason, input=usage.prompt_tokens, output=usage.completion_tokens
        )

    def stream(self, model: str) -> Told:
        options: Any = {"include_usage": True}
        chunks = list(self._client.create(model=model, prompt=QUESTION, stream=True, stream_options=options))
        choices = [choice for chunk in chunks for choice in chunk.choices]
        usage = chunks[-1].usage
        assert usage is not None
        text = "".join(choice.text for choice in choices)
        return Told(
            text=text, stopped=choices[-1].finish_reason, input=usage.prompt_tokens, output=usage.completion_tokens
        )


class AnthropicMessages:
    """Anthropic's messages."""

    limited: type[Exception] = anthropic.RateLimitError
    tools: Any = ({"name": "weather", "description": "now", "input_schema": SCHEMA},)

    def __init__(self, client: anthropic.Anthropic) -> None:
        self._client = client.messages

    def ask(self, model: str, after: Told | None = None) -> Told:
        messages: list[Any] = [{"role": "user", "content": QUESTION}]
        if after is not None:
            called = [block["id"] for block in after.history if block["type"] == "tool_use"]
            results = [{"type": "tool_result", "tool_use_id": each, "content": RESULT} for each in called]
            messages += [{"role": "assistant", "content": after.history}, {"role": "user", "content": results}]
        answer = self._client.create(
            model=model, max_tokens=MAX_TOKENS, messages=messages, tools=self.tools, system="Brief."
        )
        return self._told(answer)

    def stream(self, model: str) -> Told:
        messages: Any = [{"role": "user", "content": QUESTION}]
        with self._client.stream(model=model, max_tokens=MAX_TOKENS, messages=messages, tools=self.tools) as stream:
            return self._told(stream.get_final_message())

    def _told(self, answer: Any) -> Told:
        blocks, usage = answer.content, answer.usage
        return Told(
            text="".join(block.text for block in blocks if block.type == "text"),
            thinking="".join(block.thinking for block in blocks if block.type == "thinking"),
            calls=tuple((block.name, block.input) for block in blocks if block.type == "tool_use"),
            stopped=answer.stop_reason,
            input=usage.input_tokens + (usage.cache_read_input_tokens or 0) + (usage.cache_creation_input_tokens or 0),
            output=usage.output_tokens,
            history=[block.model_dump(exclude_none=True) for block in blocks],
        )


class Gemini:
    """Google's generateContent and streamGenerateContent."""

    limited: type[Exception] = google_errors.ClientError
    config: Any = google_types.GenerateContentConfig(
        system_instruction="Brief.",
        max_output_tokens=MAX_TOKENS,
        tools=[
            google_types.Tool(
                function_declarations=[
                    google_types.FunctionDeclaration(name="weather", description="now", parameters_json_schema=SCHEMA)
                ]
            )
        ],
        automatic_function_calling=google_types.AutomaticFunctionCallingConfig(disable=True),
    )

    def __init__(self, client: google.genai.Client) -> None:
        self._client: Any = client.models

    def ask(self, model: str, after: Told | None = None) -> Told:
        contents: list[Any] = [google_types.Content(role="user", parts=[google_types.Part(text=QUESTION)])]
        if after is not None:
            calls = [part.function_call for part in after.history.parts if part.function_call]
            results = [
                google_types.Part(
                    function_response=google_types.FunctionResponse(
                        id=call.id, name=call.name, response={"output": RESULT}
                    )
                )
                for call in calls
            ]
            contents += [after.history, google_types.Content(role="user", parts=results)]
        return self._told([self._client.generate_content(model=model, contents=contents, config=self.config)])

    def stream(self, model: str) -> Told:
        return self._told(
            list(self._client.generate_content_stream(model=model, contents=QUESTION, config=self.config))
        )

    def _told(self, chunks: Sequence[Any]) -> Told:
        parts = [part for chunk in chunks for part in chunk.candidates[0].content.parts or ()]
        usage = chunks[-1].usage_metadata
        return Told(
            text="".join(part.text or "" for part in parts if not part.thought),
            thinking="".join(part.text or "" for part in parts if part.thought),
            calls=tuple((part.function_call.name, part.function_call.args) for part in parts if part.function_call),
            stopped=chunks[-1].candidates[0].finish_reason.value,
            input=usage.prompt_token_count,
            output=(usage.candidates_token_count or 0) + (usage.thoughts_token_count or 0),
            history=google_types.Content(role="model", parts=parts),
        )


class BedrockConverse:
    """AWS's converse and converse_stream, by boto3."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.limited: type[Exception] = client.exceptions.ThrottlingException

    def _settings(self, model: str) -> dict[str, Any]:
        limit = {"maxTokens": MAX_TOKENS}
        return {
            "modelId": model,
            "toolConfig": {"tools": [{"toolSpec": {"name": "weather", "inputSchema": {"json": SCHEMA}}}]},
            "inferenceConfig": limit,
            "system": [{"text": "Brief."}],
        }

    def ask(self, model: str, after: Told | None = None) -> Told:
        messages: list[Any] = [{"role": "user", "content": [{"text": QUESTION}]}]
        if after is not None:
            called = [block["toolUse"]["toolUseId"] for block in after.history if "toolUse" in block]
            results = [{"toolResult": {"toolUseId": each, "content": [{"text": RESULT}]}} for each in called]
            messages += [{"role": "assistant", "content": after.history}, {"role": "user", "content": results}]
        answer = self._client.converse(messages=messages, **self._settings(model))
        return self._told(answer["output"]["message"]["content"], answer["stopReason"], answer["usage"])

    def stream(self, model: str) -> Told:
        messages = [{"role": "user", "content": [{"text": QUESTION}]}]
        answer = self._client.converse_stream(messages=messages, **self._settings(model))
        with closing(answer["stream"]) as stream:
            events = list(stream)
        blocks: dict[int, dict[str, str]] = {}
        for event in events:
            for kind in ("contentBlockStart", "contentBlockDelta"):
                if kind in event:
                    said = blocks.setdefault(event[kind]["contentBlockIndex"], {})
                    _add(said, event[kind].get("start") or event[kind].get("delta") or {})
        (stopped,) = (event["messageStop"]["stopReason"] for event in events if "messageStop" in event)
        return self._told([_block(said) for said in blocks.values()], stopped, events[-1]["metadata"]["usage"])

    def _told(self, blocks: Sequence[Any], stopped: str, usage: Any) -> Told:
        hidden: list[Any] = [block["reasoningContent"] for block in blocks if "reasoningContent" in block]
        calls = [block["toolUse"] for block in blocks if "toolUse" in block]
        cached = usage.get("cacheReadInputTokens", 0) + usage.get("cacheWriteInputTokens", 0)
        return Told(
            text="".join(block.get("text", "") for block in blocks),
            thinking="".join(thought.get("reasoningText", {}).get("text", "") for thought in hidden),
            calls=tuple((call["name"], call["input"]) for call in calls),
            stopped=stopped,
            input=usage["inputTokens"] + cached,
            output=usage["outputTokens"],
            history=list(blocks),
        )


def _add(said: dict[str, str], delta: dict[str, Any]) -> None:
    """Text by what it is part of; the head of a call as it came."""
    for name, value in delta.items():
        texts: dict[str, Any] = value if is_object(value) else {"": value}
        for member, text in texts.items():
            if isinstance(text, str):
                said[f"{name}.{member}"] = said.get(f"{name}.{member}", "") + text


def _block(said: dict[str, str]) -> dict[str, Any]:
    """A block of a stream as it would have come whole."""
    if "text." in said:
        return {"text": said["text."]}
    if "toolUse.name" in said:
        call = {name: said[f"toolUse.{name}"] for name in ("toolUseId", "name")}
        return {"toolUse": {**call, "input": _arguments(said.get("toolUse.input", ""))}}
    text = {
        name: said[f"reasoningContent.{name}"] for name in ("text", "signature") if f"reasoningContent.{name}" in said
    }
    return {"reasoningContent": {"reasoningText": text}}


class Cohere:
    """Cohere's v2 chat."""

    limited: type[Exception] = cohere.TooManyRequestsError
    tools: Any = OpenAIChat.tools

    def __init__(self, client: cohere.ClientV2) -> None:
        self._client: Any = client

    def ask(self, model: str, after: Told | None = None) -> Told:
        messages: list[Any] = [{"role": "system", "content": "Brief."}, {"role": "user", "content": QUESTION}]
        if after is not None:
            calls = after.history["tool_calls"]
            messages.append(after.history)
            messages += [{"role": "tool", "tool_call_id": call["id"], "content": RESULT} for call in calls]
        options = {"max_retries": 0}
        answer = self._client.chat(
            model=model, messages=messages, tools=self.tools, max_tokens=MAX_TOKENS, request_options=options
        )
        message, blocks = answer.message, answer.message.content or ()
        calls = message.tool_calls or ()
        return Told(
            text="".join(block.text for block in blocks if block.type == "text"),
            thinking="".join(block.thinking for block in blocks if block.type == "thinking"),
            calls=tuple((call.function.name, _arguments(call.function.arguments)) for call in calls),
            stopped=answer.finish_reason,
            input=int(answer.usage.tokens.input_tokens),
            output=int(answer.usage.tokens.output_tokens),
            history=message.model_dump(exclude_none=True),
        )

    def stream(self, model: str) -> Told:
        messages = [{"role": "user", "content": QUESTION}]
        events = list(self._client.chat_stream(model=model, messages=messages, tools=self.tools))
        deltas = [event.delta.message.content for event in events if event.type == "content-delta"]
        names = [event.delta.message.tool_calls.function.name for event in events if event.type == "tool-call-start"]
        arguments = ["" for _ in names]
        first = next((event.index for event in events if event.type == "tool-call-start"), 0)
        for event in events:
            if event.type == "tool-call-delta":
                arguments[event.index - first] += event.delta.message.tool_calls.function.arguments
        ended = events[-1].delta
        return Told(
            text="".join(delta.text or "" for delta in deltas),
            thinking="".join(delta.thinking or "" for delta in deltas),
            calls=tuple(zip(names, map(_arguments, arguments), strict=True)),
            stopped=ended.finish_reason,
            input=int(ended.usage.tokens.input_tokens),
            output=int(ended.usage.tokens.output_tokens),
        )


def _boto3(stack: ExitStack, url: str) -> Any:
    client: Any = SDK.client(
        "bedrock-runtime",
        endpoint_url=url,
        region_name="eu-west-1",
        aws_access_key_id="CLIENT",
        aws_secret_access_key="client-secret",
        config=Config(retries={"total_max_attempts": 1}),
    )
    stack.callback(client.close)
    return client


@contextmanager
def fronts(url: str) -> Generator[dict[str, Front]]:
    """Every dialect's client against one gateway, none of which retries."""
    key = "client-key"
    options: Any = google_types.HttpOptions(base_url=url)
    with ExitStack() as stack:
        gpt = stack.enter_context(openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0))
        claude = stack.enter_context(anthropic.Anthropic(base_url=url, api_key=key, max_retries=0))
        gemini = stack.enter_context(google.genai.Client(api_key=key, http_options=options))
        connections = stack.enter_context(httpx.Client(timeout=10))
        yield {
            "openai-chat": OpenAIChat(gpt),
            "openai-responses": OpenAIResponses(gpt),
            "openai-completions": OpenAICompletions(gpt),
            "anthropic-messages": AnthropicMessages(claude),
            "gemini": Gemini(gemini),
            "bedrock-converse": BedrockConverse(_boto3(stack, url)),
            "cohere": Cohere(cohere.ClientV2(api_key=key, base_url=url, httpx_client=connections)),
        }


FRONTS: Final = (
    "openai-chat",
    "openai-responses",
    "openai-completions",
    "anthropic-messages",
    "gemini",
    "bedrock-converse",
    "cohere",
)
