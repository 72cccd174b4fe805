"""`headgate run --ledger`: every request of the real Envoy becomes a record, once."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import httpx
import pytest
from support import manifests
from support.gateway import Gateway
from support.ledger import LedgerFile
from support.manifests import backend, ref, route, rule
from support.providers import ANTHROPIC, OPENAI, Answer, Delivery, Failure, Provider, Raw
from support.providers.gemini_api import GEMINI
from support.providers.operations_api import OperationsApi
from support.stage import Stage
from support.waiting import wait_until

PRICES = """
prices:
- {model: "*", input: 2.5, output: 10, cache_creation_1h_input: 5, audio_input: 4.5, audio_output: 20, image_output: 40,
   web_search: 0.01, image: 0.04, characters: 15}
teams:
  research: [alice]
"""
MEDIA = {"/v1/images/generations": "", "/v1/audio/speech": "", "/v1/embeddings": ""}
MEDIA_FORMS = {"/v1/audio/transcriptions": frozenset(("model", "file"))}
PRICE_NANOS = 11 * 2_500 + 7 * 10_000


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> LedgerFile:
    return LedgerFile(tmp_path_factory.mktemp("ledger") / "usage.db")


@pytest.fixture(scope="module")
def running(ledger: LedgerFile) -> Iterator[Stage]:
    prices = ledger.path.with_name("prices.yaml")
    prices.write_text(PRICES)
    providers = {"openai": Provider(OPENAI, key="sk-o"), "second": Provider(OPENAI, key="sk-2")}
    providers["gemini"] = Provider(GEMINI, key="sk-g")
    media = Provider(OperationsApi(MEDIA, "authorization", "Bearer {}", forms=MEDIA_FORMS), key="sk-m")
    with Stage(**providers, anthropic=Provider(ANTHROPIC, key="sk-a"), media=media) as stage:
        documents = [
            *manifests.gateway({"port": stage.port}),
            *backend("openai", stage["openai"].port, key="sk-o"),
            *backend("second", stage["second"].port, key="sk-2"),
            *backend("gemini", stage["gemini"].port, "Gemini", key="sk-g"),
            *backend("media", stage["media"].port, key="sk-m"),
            *backend("anthropic", stage["anthropic"].port, "Anthropic", key="sk-a"),
            route(
                "r",
                [
                    rule("gpt", ref("openai")),
                    rule("claude", ref("anthropic")),
                    rule("media", ref("media")),
                    rule("gemini-3-flash", ref("gemini")),
                    rule("two", ref("openai"), ref("second", priority=1)),
                    rule("renamed", ref("openai", modelNameOverride="real")),
                ],
            ),
            route(
                "priced",
                [rule("priced", ref("openai", modelNameOverride="dear")), rule("priced-claude", ref("anthropic"))],
                **manifests.costs(
                    total="TotalToken", weighed="model == 'dear' ? 3u * output_tokens : 2u * output_tokens"
                ),
            ),
        ]
        stage.run(documents, "--ledger", str(ledger.path), "--prices", str(prices))
        yield stage


@pytest.fixture
def stage(running: Stage, ledger: LedgerFile) -> Iterator[Stage]:
    yield running
    running.check()


def test_native_request(stage: Stage, ledger: LedgerFile) -> None:
    before = len(ledger.rows())
    assert stage.chat("gpt").status_code == 200
    row = ledger.wait(before + 1)[-1]
    assert (row["lane"], row["route"], row["operation"]) == ("native", "default/r", "chat")
    assert (row["input_tokens"], row["output_tokens"], row["total_tokens"]) == (11, 7, 18)
    assert (row["usage_source"], row["cost_nanos"]) == ("reported", PRICE_NANOS)
    assert (row["original_model"], row["request_model"]) == ("gpt", "gpt")
    assert (row["service"], row["provider"]) == ("default/openai", "openai")


def test_translated_request(stage: Stage, ledger: LedgerFile) -> None:
    before = len(ledger.rows())
    assert stage.chat("claude").status_code == 200
    row = ledger.wait(before + 1)[-1]
    assert (row["lane"], row["total_tokens"]) == ("extproc", 18)
    assert row["response_id"]
    assert row["finish_reasons"] == '["stop"]'


def _json(**body: object) -> Raw:
    return Raw(body=json.dumps(body).encode(), delivery=Delivery(cut="bytes"))


SPOKEN = _json(
    choices=[],
    usage={
        "prompt_tokens": 10,
        "completion_tokens": 20,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 15},
    },
)
KEPT = {
    "input_tokens": 10,
    "cache_creation_input_tokens": 1_000,
    "cache_creation": {"ephemeral_5m_input_tokens": 400, "ephemeral_1h_input_tokens": 600},
    "output_tokens": 20,
    "server_tool_use": {"web_search_requests": 2, "web_fetch_requests": 0},
}
KEPT_ANSWER = _json(
    id="m", type="message", role="assistant", model="c", content=[{"type": "text", "text": "Hi"}], usage=KEPT
)
KEPT_NANOS = 1_010 * 2_500 + 20 * 10_000 + 600 * 2_500 + 2 * 10_000_000
HEARD = {"type": "tokens", "input_tokens": 40, "output_tokens": 2, "input_token_details": {"audio_tokens": 30}}
DRAWN = {"input_tokens": 9, "output_tokens": 50, "output_tokens_details": {"image_tokens": 40, "text_tokens": 10}}
SEEN = {
    "promptTokenCount": 11,
    "candidatesTokenCount": 37,
    "totalTokenCount": 48,
    "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 6}, {"modality": "AUDIO", "tokenCount": 5}],
    "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 30}],
}
SPOKEN_OF = {"schema": {"tool_usage": {"web_search": {"num_requests": 99}}, "x": "\\"}}
"""A schema of a client's, which the response says again, before what OpenAI says or behind it."""
RESPONSE: dict[str, Any] = {
    "id": "resp",
    "object": "response",
    "status": "completed",
    "model": "gpt",
    "output": [{"type": "message", "content": [{"type": "output_text", "text": '"tool_usage":{'}]}],
    "text": {"format": SPOKEN_OF},
    "tool_usage": {"image_gen": {"input_tokens": 0, "output_tokens": 0}, "web_search": {"num_requests": 3}},
    "tools": [{"type": "function", "parameters": SPOKEN_OF}],
    "usage": {"input_tokens": 10, "output_tokens": 20, "total_tokens": 30},
    "metadata": {},
}


def _searched(cut: Literal["events", "bytes", "whole"]) -> Raw:
    begun = {**RESPONSE, "status": "in_progress", "tool_usage": {"web_search": {"num_requests": 0}}, "usage": None}
    events = (("created", begun), ("completed", RESPONSE))
    body = tuple(
        f"event: response.{name}\ndata: {json.dumps({'type': f'response.{name}', 'response': said})}\n\n".encode()
        for name, said in events
    )
    return Raw(body=body, content_type="text/event-stream", delivery=Delivery(cut=cut))


SEARCHED = {
    "whole": Raw(body=json.dumps(RESPONSE, indent=1).encode()),
    "in bytes": _json(**RESPONSE),
    "streamed": _searched("events"),
    "streamed at once": _searched("whole"),
    "streamed in bytes": _searched("bytes"),
}
APART: dict[str, tuple[str, str, Raw, dict[str, int], int]] = {
    "audio of a chat": ("/v1/chat/completions", "gpt", SPOKEN, {"audio_output_tokens": 15}, 375_000),
    "an hour's cache": (
        "/v1/messages",
        "claude",
        KEPT_ANSWER,
        {"cache_creation_1h_input_tokens": 600, "web_searches": 2},
        KEPT_NANOS,
    ),
    "an hour's cache, translated": (
        "/v1/chat/completions",
        "claude",
        KEPT_ANSWER,
        {"cache_creation_1h_input_tokens": 600, "web_searches": 2},
        KEPT_NANOS,
    ),
    "audio that is heard": (
        "/v1/audio/transcriptions",
        "media",
        _json(text="Hello.", usage=HEARD),
        {"audio_input_tokens": 30},
        40 * 2_500 + 2 * 10_000 + 30 * 2_000,
    ),
    "images": (
        "/v1/images/generations",
        "media",
        _json(created=1, data=[{"url": "https://a.test/1"}, {"url": "https://a.test/2", "revised_prompt": '"url"'}]),
        {"images": 2},
        80_000_000,
    ),
    "images of tokens": (
        "/v1/images/generations",
        "media",
        _json(created=1, data=[{"b64_json": "A" * 3_000}] * 3, usage=DRAWN),
        {"image_output_tokens": 40, "images": 3},
        9 * 2_500 + 50 * 10_000 + 40 * 30_000 + 120_000_000,
    ),
    "images that come one after the other": (
        "/v1/images/generations",
        "media",
        Raw(
            body=(b'{"created":1,"data":[{"b64_json":"A"}', b',{"b64_json":"A"}', b',{"b64_json":"A"}', b"]}"),
            delivery=Delivery(pause_seconds=0.05),
        ),
        {"images": 3},
        120_000_000,
    ),
    "a speech": (
        "/v1/audio/speech",
        "media",
        Raw(body=b"ID3", content_type="audio/mpeg"),
        {"characters": 11},
        165_000,
    ),
    "Google's kinds of tokens": (
        "/v1beta/models/gemini-3-flash:generateContent",
        "gemini",
        _json(candidates=[], modelVersion="gemini-3-flash", usageMetadata=SEEN),
        {"audio_input_tokens": 5, "image_output_tokens": 30},
        11 * 2_500 + 37 * 10_000 + 5 * 2_000 + 30 * 30_000,
    ),
    **{
        f"searches of a response, {how}": (
            "/v1/responses",
            "gpt",
            answer,
            {"web_searches": 3},
            10 * 2_500 + 20 * 10_000 + 3 * 10_000_000,
        )
        for how, answer in SEARCHED.items()
    },
    "searches that a client speaks of": (
        "/v1/responses",
        "gpt",
        _json(**{**RESPONSE, "tool_usage": None}),
        {},
        10 * 2_500 + 20 * 10_000,
    ),
    "no image, but a list": (
        "/v1/embeddings",
        "media",
        _json(object="list", data=[{"object": "embedding", "embedding": [0.5]}], usage={"prompt_tokens": 4}),
        {},
        10_000,
    ),
}


@pytest.mark.parametrize("name", APART)
def test_what_is_sold_apart_has_its_price(stage: Stage, ledger: LedgerFile, name: str) -> None:
    path, model, answer, costs, nanos = APART[name]
    stage[{"claude": "anthropic", "gpt": "openai"}.get(model, model)].answer(answer)
    before = len(ledger.rows())
    body = {"model": model, "messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 9}
    if path.endswith("transcriptions"):
        url = f"{stage.url}{path}"
        found = httpx.post(url, data={"model": model}, files={"file": ("a.wav", b"RIFF")})
    elif model == "gemini":
        found = stage.post(path, {"contents": [{"role": "user", "parts": [{"text": "Hello!"}]}]})
    elif path.endswith("speech"):
        found = stage.post(
            path, content=b'{"model":"media", "voice" : "alloy","input": "h\\u00e9ll\xc3\xb6 \\"you\\""}'
        )
    elif path.endswith("responses"):
        found = stage.post(path, {"model": model, "input": "Hello!", "stream": "streamed" in name})
    else:
        found = stage.post(path, body, anthropic_version="2023-06-01")
    assert found.status_code == 200, found.text
    row = ledger.wait(before + 1)[-1]
    assert row["costs"] == costs
    assert row["cost_nanos"] == nanos


def test_failover_tells_of_both_attempts(stage: Stage, ledger: LedgerFile) -> None:
    before = len(ledger.rows())
    stage["openai"].answer(Failure(503, "away"))
    assert stage.chat("two").status_code == 200
    row = ledger.wait(before + 1)[-1]
    tried = [
        (attempt["backend"].split("/")[1], attempt["status"], attempt.get("error")) for attempt in row["attempted"]
    ]
    assert tried == [("openai", 503, "upstream_failed"), ("second", 200, None)]
    assert row["error"] == ""


def test_stream_is_counted_without_a_cost(stage: Stage, ledger: LedgerFile) -> None:
    before = len(ledger.rows())
    answer = stage.chat("gpt", stream=True)
    assert '"prompt_tokens"' not in answer.text, "the client did not ask for usage"
    row = ledger.wait(before + 1)[-1]
    assert (row["stream"], row["total_tokens"], row["usage_source"]) == (1, 18, "reported")
    assert row["ttft_ms"] > 0


def test_client_that_hangs_up(stage: Stage, ledger: LedgerFile) -> None:
    before = len(ledger.rows())
    stage["openai"].answer(Answer(delivery=Delivery(hang_after_bytes=400)))
    body = {"model": "gpt", "stream": True, "messages": [{"role": "user", "content": "Hello!"}]}
    with httpx.stream("POST", f"{stage.url}/v1/chat/completions", json=body) as response:
        next(response.iter_raw())
    row = ledger.wait(before + 1)[-1]
    assert (row["error"], row["usage_source"], row["output_tokens"]) == ("client_gone", "estimated", 0)
    assert row["input_tokens"] == row["total_tokens"] == row["request_bytes"] // 4 + 1


@pytest.mark.parametrize(("model", "provider", "factor"), [("priced", "openai", 3), ("priced-claude", "anthropic", 2)])
def test_client_that_hangs_up_has_all_costs(
    stage: Stage, ledger: LedgerFile, model: str, provider: str, factor: int
) -> None:
    before = len(ledger.rows())
    stage[provider].answer(Answer(text="word " * 400, pieces=40, delivery=Delivery(hang_after_bytes=3_000)))
    body = {"model": model, "stream": True, "messages": [{"role": "user", "content": "Hello!"}]}
    with httpx.stream("POST", f"{stage.url}/v1/chat/completions", json=body) as response:
        seen = 0
        for piece in response.iter_raw():
            if (seen := seen + len(piece)) > 1_500:
                break
    row = ledger.wait(before + 1)[-1]
    assert (row["error"], row["usage_source"]) == ("client_gone", "estimated")
    assert row["output_tokens"] > 10
    assert row["costs"] == {"total": row["total_tokens"], "weighed": factor * row["output_tokens"]}


def test_stream_whose_provider_reports_nothing(stage: Stage, ledger: LedgerFile) -> None:
    before = len(ledger.rows())
    words = b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"%b"}}]}\n\n' % (b"w" * 400)
    stage["openai"].answer(Raw(body=words + b"data: [DONE]\n\n", content_type="text/event-stream"))
    assert stage.chat("gpt", stream=True).status_code == 200
    row = ledger.wait(before + 1)[-1]
    assert (row["usage_source"], row["output_tokens"]) == ("estimated", 100)
    assert row["total_tokens"] == row["input_tokens"] + 100 > 110


def test_whole_response_whose_provider_reports_nothing(stage: Stage, ledger: LedgerFile) -> None:
    before = len(ledger.rows())
    content: list[dict[str, object]] = [{"type": "output_text", "text": "w" * 400, "annotations": []}]
    output: list[dict[str, object]] = [{"type": "message", "role": "assistant", "content": content}]
    answer: dict[str, object] = {
        "id": "r",
        "object": "response",
        "output": output,
        "text": {"format": {"type": "text"}},
        "usage": None,
    }
    stage["openai"].answer(Raw(body=json.dumps(answer, indent=2).encode()))
    assert stage.post("/v1/responses", {"model": "gpt", "input": "Hello!"}).status_code == 200
    row = ledger.wait(before + 1)[-1]
    assert (row["usage_source"], row["output_tokens"]) == ("estimated", 100)


def test_streamed_response_that_is_cut_is_counted_once(stage: Stage, ledger: LedgerFile) -> None:
    before = len(ledger.rows())
    part = {"type": "output_text", "text": "w" * 400}
    item = {"type": "message", "content": [part]}
    events: list[dict[str, object]] = [
        {"type": "response.created", "response": {"output": []}},
        {"type": "response.output_text.delta", "delta": "w" * 400},
        {"type": "response.output_text.done", "text": "w" * 400},
        {"type": "response.content_part.done", "part": part},
        {"type": "response.output_item.done", "item": item},
    ]
    body = tuple(b"data: %b\n\n" % json.dumps(event).encode() for event in events)
    stage["openai"].answer(Raw(body=body, content_type="text/event-stream"))
    assert stage.post("/v1/responses", {"model": "gpt", "input": "Hello!", "stream": True}).status_code == 200
    row = ledger.wait(before + 1)[-1]
    assert (row["usage_source"], row["output_tokens"]) == ("estimated", 100)


def test_what_the_gateway_answers_itself(stage: Stage, ledger: LedgerFile) -> None:
    before = len(ledger.rows())
    assert stage.chat("nobody-serves-this").status_code == 404
    row = ledger.wait(before + 1)[-1]
    assert (row["lane"], row["error"], row["original_model"]) == ("local", "not_found", "nobody-serves-this")
    sums = ledger.rows("SELECT model FROM usage_hourly WHERE error = 'not_found'")
    assert [found["model"] for found in sums] == [""], "a client must not be able to make rows of sums"


def test_renamed_model(stage: Stage, ledger: LedgerFile) -> None:
    before = len(ledger.rows())
    assert stage.chat("renamed").status_code == 200
    row = ledger.wait(before + 1)[-1]
    assert (row["original_model"], row["response_model"]) == ("renamed", "real-2025-01-01")


def test_same_request_id_twice_is_two_records(stage: Stage, ledger: LedgerFile) -> None:
    before = len(ledger.rows())
    body = {"model": "gpt", "messages": [{"role": "user", "content": "Hello!"}]}
    for _ in range(2):
        assert stage.post("/v1/chat/completions", body, x_request_id="chosen-by-client").status_code == 200
    rows = ledger.wait(before + 2)[before:]
    assert len({row["id"] for row in rows}) == 2


def test_session_header_becomes_a_label(stage: Stage, ledger: LedgerFile) -> None:
    before = len(ledger.rows())
    body = {"model": "gpt", "messages": [{"role": "user", "content": "Hello!"}]}
    assert stage.post("/v1/chat/completions", body, agent_session_id="s-1").status_code == 200
    assert ledger.wait(before + 1)[-1]["labels"] == {"session.id": "s-1"}


def test_lines_and_rows_agree(stage: Stage, ledger: LedgerFile) -> None:
    assert stage.chat("gpt").status_code == 200
    rows = {row["id"]: row for row in ledger.wait(len(ledger.rows()) + 1)}

    def lines() -> dict[str, dict[str, object]] | None:
        found = [json.loads(line) for line in stage.access_log_path.read_text().splitlines()]
        by_id = {str(line["id"]): line for line in found}
        return by_id if by_id.keys() == rows.keys() and len(found) == len(rows) else None

    for key, line in wait_until(lines, "a line for each row").items():
        tokens = line["tokens"]
        assert isinstance(tokens, dict)
        assert tokens["total"] == rows[key]["total_tokens"]
        assert line.get("cost_nanos") == rows[key]["cost_nanos"]


def test_sums_are_those_of_the_rows(stage: Stage, ledger: LedgerFile) -> None:
    assert stage.chat("gpt").status_code == 200
    rows, sums = ledger.wait(len(ledger.rows()) + 1), ledger.sums()
    assert sums["requests"] == len(rows)
    for name in ("input_tokens", "output_tokens", "total_tokens", "cost_nanos", "attempts"):
        assert sums[name] == sum(row[name] or 0 for row in rows)


def collector_pid(gateway: Gateway) -> int:
    return gateway.processes()["collector"][0]


def test_store_that_is_away_costs_no_record(stage: Stage, ledger: LedgerFile) -> None:
    assert stage.chat("gpt").status_code == 200
    before = len(ledger.wait(len(ledger.rows()) + 1))
    with Blocked(ledger.path):
        assert [stage.chat("gpt").status_code for _ in range(20)] == [200] * 20
    ledger.wait(before + 20)


class Blocked:
    """Nobody else can write to the SQLite file meanwhile."""

    def __init__(self, path: Path) -> None:
        import sqlite3

        self._connection = sqlite3.connect(path, isolation_level=None)

    def __enter__(self) -> None:
        self._connection.execute("BEGIN EXCLUSIVE")

    def __exit__(self, *_: object) -> None:
        self._connection.execute("ROLLBACK")
        self._connection.close()


@pytest.fixture
def small(tmp_path: Path) -> Iterator[tuple[Stage, LedgerFile]]:
    """A gateway whose processes may be killed."""
    ledger = LedgerFile(tmp_path / "usage.db")
    with Stage(openai=Provider(OPENAI, key="sk-o")) as stage:
        documents = [
            *manifests.gateway({"port": stage.port}),
            *backend("openai", stage["openai"].port, key="sk-o"),
            route("r", [rule("gpt", ref("openai"))]),
        ]
        yield stage.run(documents, "--ledger", str(ledger.path)), ledger


def test_collector_that_is_stopped_or_killed_costs_no_record(small: tuple[Stage, LedgerFile]) -> None:
    stage, ledger = small
    assert stage.chat("gpt").status_code == 200
    ledger.wait(1)
    for count, number in ((21, signal.SIGTERM), (41, signal.SIGKILL)):
        os.kill(collector_pid(stage.gateway), number)
        assert [stage.chat("gpt").status_code for _ in range(20)] == [200] * 20
        assert len(ledger.wait(count)) == count


def test_end_of_the_gateway_costs_no_record(small: tuple[Stage, LedgerFile]) -> None:
    stage, ledger = small
    assert stage.chat("gpt").status_code == 200
    ledger.wait(1)
    assert [stage.chat("gpt").status_code for _ in range(10)] == [200] * 10
    assert stage.gateway.stop() == 0
    # on a slow machine an end may take less time than the database: then the records wait in the spool
    spooled = (stage.gateway.state_path / "spool" / "store.jsonl").read_text().splitlines()
    kept = {row["id"] for row in ledger.rows()} | {str(json.loads(line)["id"]) for line in spooled}
    assert len(kept) == 11
