"""Usage read from answers that pass: every operation, whole and streamed, without changing a byte."""

from pathlib import Path

import pytest
from headgate.llm.canonical import FinishReason
from headgate.llm.dialects.dialect import NO_MEMO
from headgate.llm.dialects.table import DIALECTS
from headgate.llm.endpoints import ENDPOINTS, Endpoint
from headgate.llm.marks import Marks, marks_of
from headgate.llm.names import DialectName, Operation
from headgate.llm.operations.table import relay_reader
from headgate.llm.usage import NO_USAGE, Usage
from support.chat_goldens import ROOT


def _endpoint(operation: Operation) -> Endpoint:
    return next(each for each in ENDPOINTS if each.operation is operation)


CHAT_USAGE = (
    b'{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15,"prompt_tokens_details":{"cached_tokens":4,'
    b'"cache_creation_input_tokens":2},"completion_tokens_details":{"reasoning_tokens":3}}'
)
CHAT_COUNTED = Usage(10, 4, 2, 5, 15, 3)
RESPONSES_USAGE = (
    b'{"input_tokens":10,"input_tokens_details":{"cached_tokens":4,"cache_creation_input_tokens":2},'
    b'"output_tokens":5,"output_tokens_details":{"reasoning_tokens":3},"total_tokens":15}'
)
MESSAGES_USAGE = (
    b'{"input_tokens":4,"cache_read_input_tokens":4,"cache_creation_input_tokens":2,"output_tokens":5,'
    b'"output_tokens_details":{"thinking_tokens":3}}'
)

WHOLE = [
    (Operation.CHAT, b'{"model":"m","choices":[],"usage":%b}' % CHAT_USAGE, CHAT_COUNTED, "m"),
    (Operation.COMPLETION, b'{"model":"m","choices":[{"text":"x"}],"usage":%b}' % CHAT_USAGE, CHAT_COUNTED, "m"),
    (
        Operation.EMBEDDINGS,
        b'{"model":"m","data":[{"embedding":[0.1]}],"usage":{"prompt_tokens":8,"total_tokens":8}}',
        Usage(input=8, total=8),
        "m",
    ),
    (Operation.RESPONSES, b'{"model":"m","output":[],"usage":%b}' % RESPONSES_USAGE, CHAT_COUNTED, "m"),
    (Operation.RESPONSES_INPUT_TOKENS, b'{"object":"response.input_tokens","input_tokens":9}', Usage(input=9), ""),
    (Operation.MESSAGES, b'{"model":"m","content":[],"usage":%b}' % MESSAGES_USAGE, CHAT_COUNTED, "m"),
    (Operation.COUNT_TOKENS, b'{"input_tokens":9}', Usage(input=9), ""),
    (
        Operation.IMAGE_GENERATION,
        b'{"data":[],"usage":{"input_tokens":1,"output_tokens":2,"total_tokens":3}}',
        Usage(input=1, output=2, total=3),
        "",
    ),
    (
        Operation.TRANSCRIPTION,
        b'{"text":"x","usage":{"type":"tokens","input_tokens":1,"output_tokens":2,"total_tokens":3}}',
        Usage(input=1, output=2, total=3),
        "",
    ),
    (
        Operation.TRANSCRIPTION,
        b'{"text":"x","usage":{"type":"duration","seconds":2.3}}',
        Usage(apart=(("audio_seconds", 3),)),
        "",
    ),
    (
        Operation.TRANSCRIPTION,
        b'{"text":"x","usage":{"type":"tokens","input_tokens":9,"output_tokens":2,"total_tokens":11,'
        b'"input_token_details":{"text_tokens":2,"audio_tokens":7}}}',
        Usage(input=9, output=2, total=11, apart=(("audio_input_tokens", 7),)),
        "",
    ),
    (Operation.IMAGE_VARIATION, b'{"data":[{"url":"a"},{"url":"b"}]}', Usage(apart=(("images", 2),)), ""),
    (
        Operation.IMAGE_EDIT,
        b'{"data":[{"b64_json":"A"}],"usage":{"input_tokens":8,"output_tokens":5,"total_tokens":13,'
        b'"input_tokens_details":{"text_tokens":3,"image_tokens":5},"output_tokens_details":{"image_tokens":4}}}',
        Usage(
            input=8,
            output=5,
            total=13,
            apart=(("image_input_tokens", 5), ("image_output_tokens", 4), ("images", 1)),
        ),
        "",
    ),
    (
        Operation.CHAT,
        b'{"model":"m","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":9,"total_tokens":12,'
        b'"prompt_tokens_details":{"audio_tokens":2},"completion_tokens_details":{"audio_tokens":8}}}',
        Usage(input=3, output=9, total=12, apart=(("audio_input_tokens", 2), ("audio_output_tokens", 8))),
        "m",
    ),
    (Operation.TRANSCRIPTION, b"just text", NO_USAGE, ""),
    (
        Operation.RERANK,
        b'{"meta":{"tokens":{"input_tokens":7.9,"output_tokens":1}}}',
        Usage(input=7, output=1, total=8),
        "",
    ),
    (Operation.RERANK, b'{"meta":{"billed_units":{"input_tokens":7}}}', Usage(input=7, output=0, total=7), ""),
    (Operation.RERANK, b'{"meta":{"billed_units":{"search_units":1}}}', NO_USAGE, ""),
    (Operation.TOKENIZE, b'{"count":3}', NO_USAGE, ""),
    (Operation.SPEECH, b"ID3\xff\xfb", NO_USAGE, ""),
    (Operation.CHAT, b"<html>", NO_USAGE, ""),
    (Operation.CHAT, b'{"usage":"a lot"}', NO_USAGE, ""),
    (Operation.CHAT, b"", NO_USAGE, ""),
]

STREAMS = [
    (
        Operation.CHAT,
        b'data: {"model":"m","choices":[{"delta":{}}],"usage":null}\n\n'
        b'data: {"model":"m","choices":[],"usage":%b}\n\ndata: [DONE]\n\n' % CHAT_USAGE,
    ),
    (Operation.CHAT, b'data: {"model":"m","choices":[{"delta":{},"usage":%b}]}\r\n\r\n' % CHAT_USAGE),
    (Operation.CHAT, b'data: {"model":"m","choices":[{"delta":{}}],"x_groq":{"usage":%b}}\n\n' % CHAT_USAGE),
    (Operation.COMPLETION, b'data: {"model":"m","choices":[{"text":""}],"usage":%b}' % CHAT_USAGE),
    (
        Operation.MESSAGES,
        b'event: message_start\ndata: {"type":"message_start","message":{"model":"m","usage":{"input_tokens":4,'
        b'"cache_read_input_tokens":4,"cache_creation_input_tokens":2,"output_tokens":1}}}\n\n'
        b'event: ping\ndata: {"type":"ping"}\n\n'
        b'event: message_delta\ndata: {"type":"message_delta","delta":{},"usage":{"input_tokens":0,"output_tokens":5,'
        b'"output_tokens_details":{"thinking_tokens":3}}}\n\n',
    ),
    (
        Operation.MESSAGES,  # a compatible server that tells its input at the end
        b'data: {"type":"message_start","message":{"model":"m","usage":{"input_tokens":0,"output_tokens":0}}}\n\n'
        b'data: {"type":"message_delta","usage":%b}\n\n' % MESSAGES_USAGE,
    ),
    (
        Operation.RESPONSES,
        b'event: response.created\ndata: {"type":"response.created","response":{"model":"m","usage":null}}\n\n'
        b'event: response.completed\ndata: {"type":"response.completed","response":{"usage":%b}}\n\n' % RESPONSES_USAGE,
    ),
]


@pytest.mark.parametrize(("operation", "body", "usage", "model"), WHOLE)
def test_whole_answers_are_read_in_passing(operation: Operation, body: bytes, usage: Usage, model: str) -> None:
    for step in (1, 7, 10_000):
        reader = relay_reader(_endpoint(operation), stream=False, hide_usage=False)
        chunks = [body[i : i + step] for i in range(0, len(body), step)]
        assert b"".join(reader.feed(chunk) for chunk in chunks) + reader.close() == body
        assert reader.usage == usage
        assert reader.response_model == model


@pytest.mark.parametrize(("operation", "body"), STREAMS)
@pytest.mark.parametrize("step", [1, 2, 13, 10_000])
def test_streams_are_read_in_passing(operation: Operation, body: bytes, step: int) -> None:
    reader = relay_reader(_endpoint(operation), stream=True, hide_usage=False)
    chunks = [body[i : i + step] for i in range(0, len(body), step)]
    assert b"".join(reader.feed(chunk) for chunk in chunks) + reader.close() == body
    assert reader.usage == CHAT_COUNTED
    assert reader.response_model == "m"


def test_a_stream_tells_of_caches_first_and_of_searches_last() -> None:
    reader = relay_reader(_endpoint(Operation.MESSAGES), stream=True, hide_usage=False)
    reader.feed(
        b'data: {"type":"message_start","message":{"model":"m","usage":{"input_tokens":4,'
        b'"cache_creation_input_tokens":5,"cache_creation":{"ephemeral_1h_input_tokens":3},"output_tokens":1}}}\n\n'
        b'data: {"type":"message_delta","usage":{"output_tokens":6,"server_tool_use":{"web_search_requests":2}}}\n\n'
    )
    assert reader.usage.apart == (("cache_creation_1h_input_tokens", 3), ("web_searches", 2))


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_the_forced_usage_chunk_is_hidden_and_nothing_else(end: bytes) -> None:
    before = b'data: {"model":"m","choices":[{"delta":{"content":"\\"usage\\""}}],"usage":null}' + end * 2
    before += b": comment" + end + b'data: {"choices":[]}' + end * 2
    usage = b'data: {"choices":[],"usage":' + CHAT_USAGE + b"}" + end * 2
    after = b"data: [DONE]" + end * 2
    body = before + usage + after
    for cut in range(len(body)):
        reader = relay_reader(_endpoint(Operation.CHAT), stream=True, hide_usage=True)
        passed = reader.feed(body[:cut]) + reader.feed(body[cut:]) + reader.close()
        assert passed == before + after
        assert reader.usage == CHAT_COUNTED


def test_an_event_goes_out_when_it_is_complete() -> None:
    reader = relay_reader(_endpoint(Operation.CHAT), stream=True, hide_usage=True)
    event = b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'
    assert reader.feed(event[:10]) == b""
    assert reader.feed(event[10:] + b"da") == event
    assert reader.close() == b"da"


def _row(name: str) -> Endpoint:
    return next(each for each in ENDPOINTS if each.name == name)


CALLED = b'[{"type":"function_call","name":"f","call_id":"c","arguments":"{}"}]'
REFUSED = b'[{"type":"message","content":[{"type":"refusal","refusal":"no"}]}]'
MARKS = [
    ("chat-completions", b'{"id":"a","choices":[{"index":0,"finish_reason":"length"}]}', "a", FinishReason.LENGTH),
    ("messages", b'{"id":"a","stop_reason":"tool_use","content":[]}', "a", FinishReason.TOOL_CALLS),
    ("responses", b'{"id":"a","status":"completed","output":[{"type":"message"}]}', "a", FinishReason.STOP),
    ("responses", b'{"id":"a","status":"completed","output":%b}' % CALLED, "a", FinishReason.TOOL_CALLS),
    ("responses", b'{"id":"a","status":"completed","output":%b}' % REFUSED, "a", FinishReason.REFUSAL),
    (
        "responses",
        b'{"id":"a","status":"incomplete","incomplete_details":{"reason":"content_filter"}}',
        "a",
        FinishReason.REFUSAL,
    ),
    ("responses", b'{"id":"a","status":"incomplete","output":"odd"}', "a", FinishReason.LENGTH),
    ("responses", b'{"id":"a","status":"completed","output":"odd"}', "a", None),
    (
        "generate-content",
        b'{"responseId":"a","candidates":[{"content":{"parts":[{"text":"x"}]},"finishReason":"MAX_TOKENS"}]}',
        "a",
        FinishReason.LENGTH,
    ),
    (
        "converse",
        b'{"output":{"message":{"role":"assistant","content":[{"text":"x"}]}},"stopReason":"max_tokens",'
        b'"usage":{"inputTokens":1,"outputTokens":1,"totalTokens":2}}',
        "",
        FinishReason.LENGTH,
    ),
    (
        "cohere-chat",
        b'{"id":"a","finish_reason":"MAX_TOKENS","message":{"role":"assistant","content":[{"type":"text","text":"x"}]}}',
        "a",
        FinishReason.LENGTH,
    ),
]


@pytest.mark.parametrize(("name", "answer", "called", "reason"), MARKS)
def test_what_a_whole_answer_is_called_and_why_it_ended(
    name: str, answer: bytes, called: str, reason: FinishReason | None
) -> None:
    reader = relay_reader(_row(name), stream=False, hide_usage=False)
    assert reader.feed(answer) == answer
    assert reader.close() == b""
    assert reader.marks == Marks(called, () if reason is None else (reason,))


RECORDED = [
    pytest.param(name, dialect, path, id=f"{dialect}-{path.stem}")
    for name, dialect in (("generate-content", "gemini"), ("converse", "bedrock-converse"), ("cohere-chat", "cohere"))
    for path in sorted((ROOT / "responses" / dialect).glob("*.json"))
    if ".to." not in path.name
]


@pytest.mark.parametrize(("name", "dialect", "path"), RECORDED)
def test_what_is_read_of_an_answer_is_what_its_dialect_says(name: str, dialect: str, path: Path) -> None:
    answer = path.read_bytes()
    reader = relay_reader(_row(name), stream=False, hide_usage=False)
    reader.feed(answer)
    reader.close()

    assert reader.marks == marks_of(DIALECTS[DialectName(dialect)].decode_response(answer, NO_MEMO))


@pytest.mark.parametrize("name", ["generate-content", "converse", "cohere-chat"])
@pytest.mark.parametrize("answer", [b"<html>", b"{}", b"[]", b'{"error":{"message":"no"}}', b""])
def test_what_cannot_be_decoded_passes(name: str, answer: bytes) -> None:
    reader = relay_reader(_row(name), stream=False, hide_usage=False)
    assert reader.feed(answer) + reader.close() == answer
