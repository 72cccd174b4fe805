"""What an official client's streaming helper adds up to is what the same answer says whole.

Every recorded answer of every provider, through the bridge, for each client whose SDK has such a helper.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anthropic
import anthropic.types
import httpx2
import openai
import openai.types.chat
import openai.types.responses
import pytest
from headgate.llm.errors import UpstreamError
from headgate.llm.names import DialectName
from support.chat_goldens import CLIENTS, CREATED, answer_cells, ask, stream_bridge
from support.json_values import is_array, is_object

EVENT_STREAM = {"content-type": "text/event-stream"}
HELPERS = (DialectName.OPENAI_CHAT, DialectName.OPENAI_RESPONSES, DialectName.ANTHROPIC_MESSAGES)
CELLS: list[Any] = [
    pytest.param(client, provider, path, id=f"{client}-{provider}-{path.stem}")
    for provider, path, client in answer_cells("responses", ".json")
    if client in HELPERS
]


def _answering(body: bytes) -> httpx2.Client:
    answer = httpx2.Response(200, headers=EVENT_STREAM, content=body)
    return httpx2.Client(transport=httpx2.MockTransport(lambda _: answer))


def _whole(client: DialectName, provider: DialectName, body: bytes) -> bytes:
    plan, asked = ask(client, provider)
    translation = plan.open_response(asked, 200, {**CLIENTS[provider].answer_headers}, CREATED)
    translation.feed(body)
    return translation.close()


def _streamed(client: DialectName, provider: DialectName, body: bytes) -> bytes:
    """The same answer, for a client that asked for a stream."""
    plan, asked = stream_bridge(client, provider)
    headers = {"content-type": "application/json", **CLIENTS[provider].answer_headers}
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


READ: dict[DialectName, tuple[Callable[[bytes], Any], Any]] = {
    DialectName.OPENAI_CHAT: (_chat, openai.types.chat.ChatCompletion),
    DialectName.OPENAI_RESPONSES: (_responses, openai.types.responses.Response),
    DialectName.ANTHROPIC_MESSAGES: (_message, anthropic.types.Message),
}
ADDED = frozenset(("parsed", "parsed_arguments", "parsed_output", "index"))
"""What helpers add, or keep of the pieces."""
WHOLE_ONLY = frozenset(("grounding_metadata", "safety_ratings"))
"""Members of Gemini's that only whole answers repeat; what grounds a text is cited in both."""


CUT = frozenset(("tool_arguments_cut",))
"""Of arguments that break off the helpers make what they like."""


@pytest.mark.parametrize(("client", "provider", "path"), CELLS)
def test_a_stream_adds_up_to_the_whole_answer(client: DialectName, provider: DialectName, path: Path) -> None:
    body = path.read_bytes()
    read, whole_type = READ[client]
    try:
        whole = whole_type.model_validate_json(_whole(client, provider, body))
    except UpstreamError:
        return  # no answer
    if path.stem in CUT:
        return
    final = read(_streamed(client, provider, body))
    if final is not None:
        assert _said(final) == _said(whole)


def _said(answer: Any) -> Any:
    return _plain(json.loads(answer.model_dump_json(exclude_none=True)))


def _plain(value: Any) -> Any:
    """Without what helpers add, and without what a stream does not say: texts and counts of nothing, thoughts once more
    that nobody has signed."""
    if is_object(value):
        thoughts = value.get("thinking_blocks")
        if is_array(thoughts) and not any("signature" in block or "data" in block for block in thoughts):
            value = {name: each for name, each in value.items() if name != "thinking_blocks"}
        inner = {name: _plain(each) for name, each in value.items() if name not in ADDED | WHOLE_ONLY}
        return {name: each for name, each in inner.items() if each not in ("", 0, {})}
    return [_plain(each) for each in value] if is_array(value) else value
