"""Every front in front of every back, through the real Envoy: official clients ask, whole and streamed, and providers
hold each request to their own SDK's types. One gateway; a rule, and a model, for each back."""

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest
from headgate.llm.dialects.table import DIALECTS
from headgate.llm.names import DialectName
from headgate.llm.stream_ends import CUT
from support import manifests
from support.chat_clients import FRONTS, Front, Told, fronts
from support.chat_goldens import CLIENTS
from support.identity import Identity
from support.issued import Issued
from support.manifests import AI, Document, backend, document, ref, route, rule, secret, target
from support.providers import (
    ANTHROPIC,
    AZURE_OPENAI,
    BEDROCK,
    OPENAI,
    Answer,
    Delivery,
    Failure,
    Provider,
    Raw,
    ToolUse,
)
from support.providers import Usage as Used
from support.providers.cohere_api import COHERE
from support.providers.gemini_api import GEMINI
from support.providers.vertex_api import VERTEX_ANTHROPIC, VERTEX_GEMINI
from support.stage import Stage
from support.waiting import wait_until

pytestmark = pytest.mark.envoy

GCP = {"projectName": "project-1", "region": "us-east5", "credentialsFile": {"secretRef": {"name": "gcp"}}}
AWS = {"region": "us-east-1", "credentialsFile": {"secretRef": {"name": "aws"}}}
AWS_FILE = "[default]\naws_access_key_id = AKID\naws_secret_access_key = secret\n"
SONNET = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"


@dataclass(frozen=True)
class Back:
    """A backend: whose provider serves it, its schema, and the model that it is asked for."""

    provider: str
    schema: str
    model: str
    fields: Mapping[str, str] | None = None
    credential: Mapping[str, Any] | None = None
    dialect: str = ""
    vendor: str = ""
    """Both declared by a TranslationPolicy."""


BACKS = {
    "chat": Back("openai", "OpenAI", "gpt-4o"),
    "responses": Back("openai", "OpenAI", "gpt-5", dialect="OpenAIResponses"),
    "azure": Back("azure", "AzureOpenAI", "my deployment", {"version": "2024-10-21"}),
    "azure-v1": Back("azure", "AzureOpenAI", "gpt-4o", {"version": "v1"}),
    "anthropic": Back("anthropic", "Anthropic", "claude-sonnet-4-5"),
    "claude-at-vertex": Back("vertex-claude", "GCPAnthropic", "claude-sonnet-4-5@20250929", credential=GCP),
    "claude-at-bedrock": Back("bedrock", "AWSAnthropic", SONNET, credential=AWS),
    "converse": Back("bedrock", "AWSBedrock", SONNET, credential=AWS),
    "gemini": Back("gemini", "Gemini", "gemini-2.5-flash"),
    "gemini-at-vertex": Back("vertex-gemini", "GCPVertexAI", "gemini-3-flash-preview", credential=GCP),
    "cohere": Back("cohere", "Cohere", "command-a-reasoning-08-2025"),
}

CALLS = (ToolUse("weather", '{"city":"Bern"}', "call_1"), ToolUse("weather", '{"city":"Genève"}', "call_2"))
CALLED = (("weather", {"city": "Bern"}), ("weather", {"city": "Genève"}))
USED = Used(input=100, output=20, cached=60)
COSTS = {"input": "InputToken", "output": "OutputToken", "total": "TotalToken", "cached": "CachedInputToken"}
PAID = {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5, "usage_source": "reported"}
THINKER = Back("openai", "OpenAI", "gpt-5.6-sol", vendor="OpenAI")
"""A backend that speaks chat and responses, and a model of it that reasons with tools in responses alone."""
BUDGETED = ("converse", "gemini", "cohere")
"""Backends that are asked in their own dialect and held to a budget."""
SILENT = frozenset(("openai-completions",))
"""Fronts that show text alone."""
STOPPED_BY_CALLS = {
    "openai-chat": "tool_calls",
    "openai-responses": "completed",
    "anthropic-messages": "tool_use",
    "gemini": "STOP",
    "bedrock-converse": "tool_use",
    "cohere": "TOOL_CALL",
}
STOPPED_BY_LIMIT = {
    "openai-chat": "length",
    "openai-responses": "incomplete",
    "openai-completions": "length",
    "anthropic-messages": "max_tokens",
    "gemini": "MAX_TOKENS",
    "bedrock-converse": "max_tokens",
    "cohere": "MAX_TOKENS",
}


WHERE = {"where": 'the "old" town, ' * 500}
SAID = json.dumps(WHERE)
FUNCTION = {"name": "weather", "arguments": SAID}
CALLED_ALONE = {
    ("openai-chat", "chat"): {
        "choices": [{"index": 0, "message": {"content": None, "tool_calls": [{"id": "c", "function": FUNCTION}]}}]
    },
    ("openai-responses", "responses"): {"output": [{"type": "function_call", "call_id": "c", **FUNCTION}]},
    ("anthropic-messages", "anthropic"): {
        "content": [{"type": "tool_use", "id": "c", "name": "weather", "input": WHERE}]
    },
    ("gemini", "gemini"): {
        "candidates": [{"content": {"parts": [{"functionCall": {"name": "weather", "args": WHERE}}]}}]
    },
    ("bedrock-converse", "converse"): {
        "output": {"message": {"content": [{"toolUse": {"toolUseId": "c", "name": "weather", "input": WHERE}}]}}
    },
    ("cohere", "cohere"): {
        "message": {"role": "assistant", "tool_calls": [{"id": "c", "type": "function", "function": FUNCTION}]},
        "finish_reason": "TOOL_CALL",
    },
}
"""Whole answers in their own dialect that hold a call and nothing else, not even their usage."""


def _policies(name: str, back: Back) -> Iterator[Document]:
    said = {key: value for key, value in (("dialect", back.dialect), ("vendor", back.vendor)) if value}
    if said:
        spec = {**target("AIServiceBackend", name), "backend": said}
        yield document("headgate.dev/v1alpha1", "TranslationPolicy", name, spec)
    if back.credential is not None:
        kind, field = (
            ("GCPCredentials", "gcpCredentials") if back.credential is GCP else ("AWSCredentials", "awsCredentials")
        )
        spec = {**target("AIServiceBackend", name), "type": kind, field: back.credential}
        yield document(f"{AI}/v1beta1", "BackendSecurityPolicy", name, spec)


def _documents(stage: Stage, identity: Identity) -> list[Document]:
    found = [
        *manifests.gateway({"port": stage.port}),
        secret("aws", credentials=AWS_FILE),
        secret("gcp", **{"service_account.json": identity.key_file}),
    ]
    for name, back in (*BACKS.items(), ("thinker", THINKER)):
        key = "" if back.credential is not None else f"sk-{back.provider}"
        found += backend(name, stage[back.provider].port, back.schema, key=key, schema_fields=back.fields)
        found += _policies(name, back)
    rules = [
        rule(name, ref(name, modelNameOverride=back.model)) for name, back in (*BACKS.items(), ("thinker", THINKER))
    ]
    found.append(route("models", rules, **manifests.costs(**COSTS)))
    for name, budget in ((name, f"{kind}-{name}") for kind in ("budgeted", "estimated") for name in BUDGETED):
        own = rule(budget, ref(name, modelNameOverride=BACKS[name].model))
        found.append(route(budget, [own], **manifests.costs(weighed="input_tokens + 3u * output_tokens")))
        found.append(manifests.limits(budget, budget, manifests.token_limit("weighed", 150)))
    return found


@pytest.fixture(scope="module")
def running() -> Iterator[Stage]:
    with ExitStack() as stack:
        identity = stack.enter_context(Identity())
        stage = stack.enter_context(
            Stage(
                **{
                    "openai": Provider(OPENAI, key="sk-openai"),
                    "azure": Provider(AZURE_OPENAI, key="sk-azure"),
                    "anthropic": Provider(ANTHROPIC, key="sk-anthropic"),
                    "vertex-claude": Provider(Issued(VERTEX_ANTHROPIC, identity)),
                    "vertex-gemini": Provider(Issued(VERTEX_GEMINI, identity)),
                    "bedrock": Provider(BEDROCK, key="AKID:secret"),
                    "gemini": Provider(GEMINI, key="sk-gemini"),
                    "cohere": Provider(COHERE, key="sk-cohere"),
                }
            )
        )
        stage.run(_documents(stage, identity), *identity.endpoints)
        for name, back in BACKS.items():
            if back.credential is GCP:
                wait_until(lambda name=name: stage.chat(name).status_code == 200, f"a token for {name}")
        yield stage
        assert not identity.problems


@pytest.fixture
def stage(running: Stage) -> Iterator[Stage]:
    running.forget()
    yield running
    running.check()


@pytest.fixture(scope="module")
def clients(running: Stage) -> Iterator[Mapping[str, Front]]:
    with fronts(running.url) as found:
        yield found


cells = pytest.mark.parametrize(
    ("front", "back"), [pytest.param(front, back, id=f"{front}-{back}") for front in FRONTS for back in BACKS]
)


def test_every_dialect_has_its_front_and_a_back() -> None:
    assert set(FRONTS) == {dialect.value for dialect in DIALECTS}


def _judge(told: Told, front: str, text: str, *, stopped: str) -> None:
    assert told.text == text
    assert (told.input, told.output) == (100, 20)
    assert told.stopped == stopped
    if front not in SILENT:
        assert told.calls == CALLED
        assert told.thinking == "A map."


@cells
def test_a_conversation(stage: Stage, clients: Mapping[str, Front], front: str, back: str) -> None:
    """Thoughts, text and two calls; then their results, behind the answer as the client would send it back."""
    provider = stage[BACKS[back].provider]
    if front in SILENT:
        provider.answer(Answer(text="It is sunny.", usage=USED))
        _judge(clients[front].ask(back), front, "It is sunny.", stopped="stop")
        return
    provider.answer(
        Answer(thinking="A map.", text="I look.", tools=CALLS, usage=USED), Answer(text="It is sunny.", usage=USED)
    )
    first = clients[front].ask(back)
    _judge(first, front, "I look.", stopped=STOPPED_BY_CALLS[front])
    second = clients[front].ask(back, first)
    assert (second.text, second.calls) == ("It is sunny.", ())
    assert len(provider.requests) == 2


@cells
@pytest.mark.parametrize("cut", ["events", "bytes"])
def test_a_stream(stage: Stage, clients: Mapping[str, Front], front: str, back: str, cut: Any) -> None:
    delivery = Delivery(cut=cut)
    answer = Answer(thinking="A map.", text="I look.", tools=CALLS, usage=USED, delivery=delivery)
    if front in SILENT:
        answer = Answer(text="I look.", usage=USED, delivery=delivery)
    stage[BACKS[back].provider].answer(answer)
    told = clients[front].stream(back)
    _judge(told, front, "I look.", stopped=STOPPED_BY_CALLS.get(front, "stop"))


@pytest.mark.parametrize("front", ["anthropic-messages", "gemini", "bedrock-converse", "cohere"])
def test_a_model_that_reasons_with_tools_elsewhere_is_asked_there(
    stage: Stage, clients: Mapping[str, Front], front: str
) -> None:
    """At the responses API of a backend that is asked for chats otherwise, whole and streamed, turn after turn."""
    provider, called = stage["openai"], Answer(thinking="A map.", text="I look.", tools=CALLS, usage=USED)
    provider.answer(called, Answer(text="It is sunny.", usage=USED), called)
    first = clients[front].ask("thinker")
    _judge(first, front, "I look.", stopped=STOPPED_BY_CALLS[front])
    assert clients[front].ask("thinker", first).text == "It is sunny."
    _judge(clients[front].stream("thinker"), front, "I look.", stopped=STOPPED_BY_CALLS[front])
    assert [each.path for each in provider.requests] == ["/v1/responses"] * 3
    assert {each.json["model"] for each in provider.requests} == {THINKER.model}


@pytest.mark.parametrize(
    ("front", "back"),
    [
        ("openai-chat", "chat"),
        ("openai-responses", "responses"),
        ("anthropic-messages", "anthropic"),
        ("gemini", "gemini"),
        ("bedrock-converse", "converse"),
        ("cohere", "cohere"),
    ],
)
def test_a_stream_whose_last_bytes_come_alone_is_whole(
    stage: Stage, clients: Mapping[str, Front], front: str, back: str
) -> None:
    """Natively: where the end of a stream is looked for in what passes."""
    delivery = Delivery(cut="tail", pause_seconds=0.002)
    stage[BACKS[back].provider].answer(Answer(text="I look.", pieces=1, usage=USED, delivery=delivery))
    assert clients[front].stream(back).text == "I look."


@cells
def test_an_answer_that_its_limit_cut(stage: Stage, clients: Mapping[str, Front], front: str, back: str) -> None:
    stage[BACKS[back].provider].answer(Answer(text="It is", stop="length", usage=USED))
    assert clients[front].ask(back).stopped == STOPPED_BY_LIMIT[front]


@cells
def test_a_provider_that_is_busy(stage: Stage, clients: Mapping[str, Front], front: str, back: str) -> None:
    stage[BACKS[back].provider].answer(Failure(429, "slow down"))
    with pytest.raises(clients[front].limited, match="slow down"):
        clients[front].ask(back)


@cells
def test_what_the_provider_counts_is_what_is_paid(stage: Stage, front: str, back: str) -> None:
    """However much has passed before it said so: less than was estimated until then."""
    text = "It is sunny and has been for days. " * 1_000
    stage[BACKS[back].provider].answer(Answer(text=text, pieces=40, usage=Used(input=3, output=2)))
    client = CLIENTS[DialectName(front)]
    path = (client.stream_path or client.path).replace("asked", back)
    path += f"{'&' if '?' in path else '?'}paid={front}-{back}"
    body = client.streamed.replace(b"asked", back.encode())
    assert stage.post(path, content=body, anthropic_version="2023-06-01").status_code == 200
    (entry,) = stage.access(lambda entry: entry["path"] == path)
    said = entry["metadata"]
    assert {name: said.get(name) for name in PAID} == PAID
    assert (said["input"], said["output"], said["total"]) == (3, 2, 5)


@cells
def test_a_stream_that_ends_before_its_end_ends_with_an_error(stage: Stage, front: str, back: str) -> None:
    """Natively too, where the bytes pass: no client may take half an answer for one. What passed is in the log."""
    text = "It is sunny and has been for days. " * 200
    stage[BACKS[back].provider].answer(Answer(text=text, usage=USED, delivery=Delivery(end_after_bytes=6_000)))
    client = CLIENTS[DialectName(front)]
    path = (client.stream_path or client.path).replace("asked", back)
    path += f"{'&' if '?' in path else '?'}cut={front}-{back}"
    body = client.streamed.replace(b"asked", back.encode())
    answer = stage.post(path, content=body, anthropic_version="2023-06-01")
    assert answer.status_code == 200
    assert CUT.message.encode() in answer.content
    if front not in SILENT:  # the scripts look for the text of chats
        (entry,) = stage.access(lambda entry: entry["path"] == path)
        assert entry["metadata"]["output_tokens"] > 100
        assert entry["metadata"]["usage_source"] == "estimated"


@pytest.mark.parametrize(
    ("front", "back", "streamed"),
    [
        *((*cell, False) for cell in CALLED_ALONE),
        ("openai-chat", "chat", True),
        ("anthropic-messages", "anthropic", True),
        ("gemini", "gemini", True),
        ("bedrock-converse", "converse", True),
        ("cohere", "cohere", True),
    ],
)
def test_a_call_is_counted_where_nobody_reports_it(stage: Stage, front: str, back: str, streamed: bool) -> None:
    """Natively: its arguments, quotes and all, are what the model has written."""
    called = Answer(tools=(ToolUse("weather", SAID),), text="", usage=USED, delivery=Delivery(end_after_bytes=7_000))
    answer = called if streamed else Raw(body=json.dumps(CALLED_ALONE[front, back]).encode())
    stage[BACKS[back].provider].answer(answer)
    client = CLIENTS[DialectName(front)]
    path = ((streamed and client.stream_path) or client.path).replace("asked", back)
    path += f"{'&' if '?' in path else '?'}called={front}-{streamed}"
    body = (client.streamed if streamed else client.minimal).replace(b"asked", back.encode())
    assert stage.post(path, content=body, anthropic_version="2023-06-01").status_code == 200
    (entry,) = stage.access(lambda entry: entry["path"] == path)
    assert entry["metadata"]["usage_source"] == "estimated"
    written = 7_000 if streamed else len(SAID)
    assert written // 12 < entry["metadata"]["output_tokens"] < written // 2


@cells
def test_a_stream_that_ends_before_it_began_is_an_error(stage: Stage, front: str, back: str) -> None:
    """Translated it could still fail over; natively its headers are out, and the error is the stream."""
    kind = "application/vnd.amazon.eventstream" if BACKS[back].provider == "bedrock" else "text/event-stream"
    stage[BACKS[back].provider].answer(Raw(body=b": hello\n\n" if kind.startswith("text") else b"", content_type=kind))
    client = CLIENTS[DialectName(front)]
    path = (client.stream_path or client.path).replace("asked", back)
    answer = stage.post(path, content=client.streamed.replace(b"asked", back.encode()), anthropic_version="2023-06-01")
    assert answer.status_code == 502 or (answer.status_code == 200 and CUT.message.encode() in answer.content)


SPOOFED = '{"usage":{"inputTokens":7,"outputTokens":7,"tokens":{"input_tokens":7,"output_tokens":7}}}'
"""What a model may be made to say; nothing of it counts."""


UNCACHED = {
    f"openai-completions to {back}{streamed}"
    for back in ("chat", "azure", "azure-v1")
    for streamed in ("", " streamed")
}


@pytest.mark.parametrize("cut", ["events", "bytes"])
def test_what_was_used_is_counted_in_every_cell(stage: Stage, cut: Any) -> None:
    """Whole and streamed, in the lane that serves the cell: the counts that prices and limits are made of."""
    for provider in stage.providers.values():
        provider.answer(Answer(text=SPOOFED, tools=(ToolUse("f", SPOOFED),), usage=USED, delivery=Delivery(cut=cut)))
    asked = [(front, back, streamed) for front in FRONTS for back in BACKS for streamed in (False, True)]
    wanted: dict[str, str] = {}
    for front, back, streamed in asked:
        client = CLIENTS[DialectName(front)]
        path = (client.stream_path if streamed and client.stream_path else client.path).replace("asked", back)
        path += f"{'&' if '?' in path else '?'}cell={front}-{back}-{streamed}-{cut}"
        body = (client.streamed if streamed else client.minimal).replace(b"asked", back.encode())
        answer = stage.post(path, content=body, anthropic_version="2023-06-01")
        assert answer.status_code == 200, (front, back, answer.text)
        wanted[path] = f"{front} to {back}{' streamed' if streamed else ''}"
    entries = stage.access(lambda entry: entry["path"] in wanted, len(wanted))
    counted = {wanted[entry["path"]]: _counts(entry) for entry in entries}
    # Servers of legacy completions say nothing of caches.
    expected = {cell: (100, 20, 0 if cell in UNCACHED else 60) for cell in counted}
    wrong = {cell: counts for cell, counts in counted.items() if counts != expected[cell]}
    assert not wrong, "\n".join(f"{cell}: {counts}" for cell, counts in wrong.items())


THOUGHT = Used(input=100, output=20, cached=60, reasoning=15)
KEPT = Used(input=100, output=20, cached=60, cache_creation=30)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("front", "back", "used"),
    [
        *((front, back, THOUGHT) for front in ("cohere", "bedrock-converse") for back in ("responses", "gemini")),
        ("cohere", "anthropic", KEPT),
    ],
)
def test_what_the_clients_dialect_cannot_say_is_counted(
    stage: Stage, front: str, back: str, used: Used, streamed: bool
) -> None:
    """The answer passes a script that reads the client's dialect, for the route's costs."""
    stage[BACKS[back].provider].answer(Answer(text="Once", usage=used))
    client = CLIENTS[DialectName(front)]
    path = ((streamed and client.stream_path) or client.path).replace("asked", back)
    path += f"{'&' if '?' in path else '?'}said={front}-{back}-{streamed}"
    body = (client.streamed if streamed else client.minimal).replace(b"asked", back.encode())
    assert stage.post(path, content=body).status_code == 200
    (entry,) = stage.access(lambda entry: entry["path"] == path)
    said = entry["metadata"]
    assert (said["input"], said["output"], said["total"], said["cached"]) == (100, 20, 120, 60)
    assert (said.get("reasoning_tokens") or 0, said.get("cache_creation_input_tokens") or 0) == (
        used.reasoning,
        used.cache_creation,
    )
    assert said["usage_source"] == "reported"


def _counts(entry: Mapping[str, Any]) -> tuple[Any, ...]:
    metadata: dict[str, Any] = entry["metadata"] or {}
    return metadata.get("input"), metadata.get("output"), metadata.get("cached")


def _told_of(stage: Stage, model: str) -> Mapping[str, Any]:
    """What the log says of the model's first answer."""
    found = stage.access(lambda entry: entry["original_model"] == model and entry["status"] == 200)
    return found[0]["metadata"]


@pytest.mark.parametrize(
    ("front", "back"), [("bedrock-converse", "converse"), ("gemini", "gemini"), ("cohere", "cohere")]
)
def test_a_budget_holds_clients_of_every_dialect(
    stage: Stage, clients: Mapping[str, Front], front: str, back: str
) -> None:
    """Natively, where Envoy alone counts: 100 + 3 × 20 is more than the 150 of the budget, and what the log says."""
    stage[BACKS[back].provider].answer(Answer(text="Once", usage=USED))
    assert clients[front].stream(f"budgeted-{back}").text == "Once"

    def refused() -> bool:
        try:
            clients[front].ask(f"budgeted-{back}")
        except clients[front].limited:
            return True
        return False  # the charge is on its way

    wait_until(refused, "the budget to be used up")
    assert len(stage[BACKS[back].provider].requests) <= 3
    assert _told_of(stage, f"budgeted-{back}")["weighed"] == 160


@pytest.mark.parametrize(
    ("front", "back"), [("bedrock-converse", "converse"), ("gemini", "gemini"), ("cohere", "cohere")]
)
def test_a_budget_is_charged_for_what_nobody_reports(
    stage: Stage, clients: Mapping[str, Front], front: str, back: str
) -> None:
    """A stream that is cut before its usage: what passed of it is more than the 150 of the budget."""
    cut = Delivery(end_after_bytes=6_000)
    stage[BACKS[back].provider].answer(Answer(text="It is sunny. " * 500, usage=USED, delivery=cut))
    client = CLIENTS[DialectName(front)]
    name = f"estimated-{back}"
    path = (client.stream_path or client.path).replace("asked", name)
    answer = stage.post(path, content=client.streamed.replace(b"asked", name.encode()))
    assert CUT.message.encode() in answer.content
    stage[BACKS[back].provider].answer(Answer(text="a", usage=Used(input=1, output=1)))

    def refused() -> bool:
        try:
            clients[front].ask(name)
        except clients[front].limited:
            return True
        return False  # the charge is on its way

    wait_until(refused, "the budget to be used up")
    assert len(stage[BACKS[back].provider].requests) <= 3
    told = _told_of(stage, name)
    assert told["weighed"] == told["input_tokens"] + 3 * told["output_tokens"] > 150
