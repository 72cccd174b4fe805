"""What official clients' streaming helpers add up to, and the same answer whole, as values that can be compared."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import anthropic
import anthropic.types
import httpx2
import openai
import openai.types.chat
import openai.types.responses
from headgate.llm.names import DialectName

from support.chat_goldens import CLIENTS, CREATED, ask, stream_bridge
from support.json_values import is_array, is_object


def _answering(body: bytes) -> httpx2.Client:
    answer = httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=body)
    return httpx2.Client(transport=httpx2.MockTransport(lambda _: answer))


def whole(client: DialectName, provider: DialectName, body: bytes) -> bytes:
    """What a client gets of a provider's whole answer."""
    plan, asked = ask(client, provider)
    translation = plan.open_response(asked, 200, {**CLIENTS[provider].answer_headers}, CREATED)
    translation.feed(body)
    return translation.close()


def streamed(client: DialectName, provider: DialectName, body: bytes, content_type: str = "application/json") -> bytes:
    """What a client that asked for a stream gets of the same answer, or of a stream of the provider's."""
    plan, asked = stream_bridge(client, provider)
    headers = {"content-type": content_type, **CLIENTS[provider].answer_headers}
    translation = plan.open_response(asked, 200, headers, CREATED)
    return translation.feed(body) + translation.close()


def _chat(received: bytes) -> Any:
    client = openai.OpenAI(api_key="k", base_url="http://x", max_retries=0, http_client=_answering(received))
    with client.chat.completions.stream(model="m", messages=[{"role": "user", "content": "Hi"}]) as stream:
        try:
            return stream.get_final_completion()
        except openai.LengthFinishReasonError as error:
            return error.completion
        except openai.ContentFilterFinishReasonError:
            return None  # it tells no more


def _responses(received: bytes) -> Any:
    client = openai.OpenAI(api_key="k", base_url="http://x", max_retries=0, http_client=_answering(received))
    with client.responses.stream(model="m", input="Hi") as stream:
        events: list[Any] = list(stream)
    return events[-1].response  # of what is incomplete the helper gives no final response


def _message(received: bytes) -> Any:
    client = anthropic.Anthropic(api_key="k", max_retries=0, http_client=_answering(received))
    messages: Any = [{"role": "user", "content": "Hi"}]
    with client.messages.stream(model="m", max_tokens=9, messages=messages) as stream:
        return stream.get_final_message()


_READ: Mapping[DialectName, tuple[Callable[[bytes], Any], Any]] = {
    DialectName.OPENAI_CHAT: (_chat, openai.types.chat.ChatCompletion),
    DialectName.OPENAI_RESPONSES: (_responses, openai.types.responses.Response),
    DialectName.ANTHROPIC_MESSAGES: (_message, anthropic.types.Message),
}
HELPERS = tuple(_READ)
"""Dialects whose SDKs have a helper that adds up a stream."""
_ADDED = frozenset(("parsed", "parsed_arguments", "parsed_output", "index"))
"""What helpers add, or keep of the pieces."""
_WHOLE_ONLY = frozenset(("grounding_metadata", "safety_ratings"))
"""Members of Gemini's that only whole answers repeat; what grounds a text is cited in both."""


def added_up(client: DialectName, received: bytes) -> Any:
    """What the client's helper makes of a stream; None where it tells no more."""
    final = _READ[client][0](received)
    return None if final is None else _said(final)


def told(client: DialectName, received: bytes) -> Any:
    """A whole answer as the client's SDK reads it."""
    return _said(_READ[client][1].model_validate_json(received))


def _said(answer: Any) -> Any:
    return _plain(json.loads(answer.model_dump_json(exclude_none=True)))


def _plain(value: Any) -> Any:
    """Without what helpers add, and without what a stream does not say: texts and counts of nothing, thoughts once more
    that nobody has signed."""
    if is_object(value):
        thoughts = value.get("thinking_blocks")
        if is_array(thoughts) and not any("signature" in block or "data" in block for block in thoughts):
            value = {name: each for name, each in value.items() if name != "thinking_blocks"}
        inner = {name: _plain(each) for name, each in value.items() if name not in _ADDED | _WHOLE_ONLY}
        return {name: each for name, each in inner.items() if each not in ("", 0, {})}
    return [_plain(each) for each in value] if is_array(value) else value
