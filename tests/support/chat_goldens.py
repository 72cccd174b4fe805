"""The recorded chat cases, the dialects they are written in, and the pairs they run through.

A dialect is a row of `CLIENTS`; a provider's targets are rows of `TARGETS`. Every case of a dialect runs against the
first target of every other dialect, and against those that `COVERS` names for it. A row makes its cells: adding a
dialect adds them all.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from headgate.contract.facts import BackendFacts
from headgate.llm.dialects.table import DIALECTS
from headgate.llm.endpoints import lookup
from headgate.llm.exchange import Plan, UpstreamRequest
from headgate.llm.names import DialectName
from headgate.llm.planning import plan

ROOT: Final = Path(__file__).parent.parent / "golden" / "chat"

CREATED: Final = 1_700_000_000

_HELLO: Final = b'"messages":[{"role":"user","content":"Hi"}]'

_CONVERSE_HELLO: Final = b'{"messages":[{"role":"user","content":[{"text":"Hi"}]}]}'


@dataclass(frozen=True, slots=True)
class Client:
    """How a dialect's clients ask: the smallest request, whole and streamed, and the paths."""

    path: str
    minimal: bytes
    streamed: bytes
    stream_path: str = ""
    """Where streams are asked for elsewhere."""
    stream_type: str = "text/event-stream"
    """Of its streams, as a provider sends them."""
    answer_headers: Mapping[str, str] = field(default_factory=dict[str, str])
    """What its providers send with every answer."""


CLIENTS: Final[Mapping[DialectName, Client]] = {
    DialectName.OPENAI_CHAT: Client(
        "/v1/chat/completions",
        b'{"model":"asked",%b}' % _HELLO,
        b'{"model":"asked",%b,"stream":true,"stream_options":{"include_usage":true}}' % _HELLO,
    ),
    DialectName.OPENAI_RESPONSES: Client(
        "/v1/responses",
        b'{"model":"asked","input":"Hi"}',
        b'{"model":"asked","input":"Hi","stream":true}',
    ),
    DialectName.OPENAI_COMPLETIONS: Client(
        "/v1/completions",
        b'{"model":"asked","prompt":"Hi"}',
        b'{"model":"asked","prompt":"Hi","stream":true,"stream_options":{"include_usage":true}}',
    ),
    DialectName.ANTHROPIC_MESSAGES: Client(
        "/v1/messages",
        b'{"model":"asked","max_tokens":9,%b}' % _HELLO,
        b'{"model":"asked","max_tokens":9,%b,"stream":true}' % _HELLO,
    ),
    DialectName.COHERE: Client(
        "/cohere/v2/chat",
        b'{"model":"asked",%b}' % _HELLO,
        b'{"model":"asked",%b,"stream":true}' % _HELLO,
    ),
    DialectName.GEMINI: Client(
        "/v1beta/models/asked:generateContent",
        b'{"contents":[{"role":"user","parts":[{"text":"Hi"}]}]}',
        b'{"contents":[{"role":"user","parts":[{"text":"Hi"}]}]}',
        stream_path="/v1beta/models/asked:streamGenerateContent?alt=sse",
    ),
    DialectName.BEDROCK_CONVERSE: Client(
        "/model/asked/converse",
        _CONVERSE_HELLO,
        _CONVERSE_HELLO,
        stream_path="/model/asked/converse-stream",
        stream_type="application/vnd.amazon.eventstream",
        answer_headers={"x-amzn-requestid": "7c1d6c1e-0000-4000-8000-000000000001"},
    ),
}

_BEDROCK: Final = {"host": "bedrock", "prefix": ""}

TARGETS: Final[Mapping[DialectName, Mapping[str, Mapping[str, str]]]] = {
    DialectName.ANTHROPIC_MESSAGES: {
        "direct": {"model": "claude-sonnet-4-5"},
        "direct-old": {"model": "claude-3-5-haiku-20241022"},
        "direct-manual": {"model": "claude-sonnet-4-20250514"},
        "direct-adaptive": {"model": "claude-opus-4-6"},
        "direct-newest": {"model": "claude-opus-4-8", "version": "2024-01-01"},
        "direct-emulate": {"model": "claude-3-5-haiku-20241022", "losses": "emulate"},
        "vertex": {
            "model": "claude-sonnet-4-5@20250929",
            "host": "vertex",
            "prefix": "",
            "project": "p",
            "region": "us-east5",
        },
        "bedrock": {**_BEDROCK, "model": "us.anthropic.claude-sonnet-4-5-20250929-v1:0"},
    },
    DialectName.OPENAI_CHAT: {
        "direct": {"model": "gpt-4o"},
        "direct-reasoning": {"model": "gpt-5"},
        "direct-compatible": {"model": "llama-3.3-70b", "prefix": "/openai/v1"},
        "direct-breakpoints": {"model": "gpt-5.6-sol"},
        "direct-search": {"model": "gpt-4o-search-preview"},
        "direct-audio": {"model": "gpt-4o-audio-preview"},
        "azure": {"model": "my deployment", "host": "azure", "version": "2024-10-21"},
        "azure-v1": {"model": "gpt-4.1", "host": "azure", "version": "v1"},
    },
    DialectName.OPENAI_RESPONSES: {
        "direct": {"model": "gpt-4o"},
        "direct-reasoning": {"model": "gpt-5"},
        "azure": {"model": "my deployment", "host": "azure", "version": "2025-03-01-preview"},
    },
    DialectName.COHERE: {
        "direct": {"model": "command-a-plus", "prefix": "/v2"},
        "direct-older": {"model": "command-r7b-12-2024", "prefix": "/v2"},
    },
    DialectName.GEMINI: {
        "direct": {"model": "gemini-2.5-flash", "prefix": "/v1beta"},
        "direct-3-pro": {"model": "gemini-3-pro-preview", "prefix": "/v1beta"},
        "direct-3-flash": {"model": "gemini-3-flash-preview", "prefix": "/v1beta"},
        "direct-2.5-pro": {"model": "gemini-2.5-pro", "prefix": "/v1beta"},
        "direct-older": {"model": "gemini-2.0-flash", "prefix": "/v1beta"},
        "direct-tts": {"model": "gemini-2.5-flash-preview-tts", "prefix": "/v1beta"},
        "vertex": {
            "model": "gemini-3-flash-preview",
            "host": "vertex",
            "prefix": "",
            "project": "p",
            "region": "us-central1",
        },
    },
    DialectName.BEDROCK_CONVERSE: {
        "bedrock": {**_BEDROCK, "model": "us.anthropic.claude-sonnet-4-5-20250929-v1:0"},
        "bedrock-adaptive": {**_BEDROCK, "model": "global.anthropic.claude-opus-4-6-v1"},
        "bedrock-old": {**_BEDROCK, "model": "anthropic.claude-3-haiku-20240307-v1:0"},
        "bedrock-nova": {**_BEDROCK, "model": "us.amazon.nova-2-lite-v1:0"},
        "bedrock-llama": {**_BEDROCK, "model": "meta.llama3-3-70b-instruct-v1:0"},
        "bedrock-emulate": {**_BEDROCK, "model": "amazon.nova-pro-v1:0", "losses": "emulate"},
        "bedrock-profile": {
            **_BEDROCK,
            "model": "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1b2c3d4e5f6",
        },
    },
}
"""Whom requests are written for: the golden file's `dialect@target`, then the backend's facts. The first is every
case's."""

_EVERY_CLAUDE: Final = ("direct-old", "direct-manual", "direct-adaptive", "direct-newest")
_OTHER_CONVERSE: Final = ("bedrock-nova", "bedrock-llama")
_EVERY_GPT: Final = ("direct-reasoning", "direct-compatible")
_EVERY_GEMINI: Final = ("direct-3-pro", "direct-3-flash", "direct-2.5-pro", "direct-older")
COVERS: Final[Mapping[str, Mapping[DialectName, tuple[str, ...]]]] = {
    "anthropic-messages/web_search": {DialectName.OPENAI_CHAT: ("direct-search",)},
    "openai-responses/web_search": {DialectName.OPENAI_CHAT: ("direct-search",)},
    "openai-chat/web_search": {DialectName.ANTHROPIC_MESSAGES: ("bedrock", "vertex")},
    "anthropic-messages/cited_documents": {DialectName.BEDROCK_CONVERSE: _OTHER_CONVERSE},
    "openai-chat/tools": {
        DialectName.BEDROCK_CONVERSE: _OTHER_CONVERSE,
        DialectName.ANTHROPIC_MESSAGES: ("bedrock",),
        DialectName.GEMINI: ("direct-older", "direct-3-flash", "vertex"),
    },
    "openai-chat/tool_choice_required": {DialectName.BEDROCK_CONVERSE: _OTHER_CONVERSE},
    "openai-chat/cache_control": {DialectName.BEDROCK_CONVERSE: ("bedrock-old", *_OTHER_CONVERSE)},
    "openai-responses/cache_breakpoints": {DialectName.OPENAI_CHAT: ("direct-breakpoints",)},
    "anthropic-messages/system_and_turns": {DialectName.OPENAI_CHAT: ("direct-breakpoints",)},
    "anthropic-messages/tool_choice_any": {DialectName.OPENAI_CHAT: ("direct-breakpoints",)},
    "openai-chat/minimal": {
        DialectName.ANTHROPIC_MESSAGES: ("direct-newest", "vertex", "bedrock"),
        DialectName.BEDROCK_CONVERSE: ("bedrock-profile",),
        DialectName.GEMINI: ("vertex",),
    },
    "openai-chat/json_schema": {
        DialectName.ANTHROPIC_MESSAGES: ("direct-old", "direct-emulate"),
        DialectName.BEDROCK_CONVERSE: ("bedrock-nova", "bedrock-emulate"),
        DialectName.GEMINI: ("direct-older",),
    },
    "openai-chat/json_schema_described": {
        DialectName.ANTHROPIC_MESSAGES: ("direct-old", "direct-emulate"),
        DialectName.BEDROCK_CONVERSE: ("bedrock-nova", "bedrock-emulate"),
        DialectName.GEMINI: ("direct-older",),
    },
    "openai-chat/audio_answer": {DialectName.GEMINI: ("direct-tts",)},
    "openai-chat/audio_answer_wav_own_voice": {DialectName.GEMINI: ("direct-tts",)},
    "openai-chat/audio_answer_streamed": {DialectName.GEMINI: ("direct-tts",)},
    "gemini/audio_answer": {DialectName.OPENAI_CHAT: ("direct-audio",)},
    "gemini/audio_answer_known_voice": {DialectName.OPENAI_CHAT: ("direct-audio",)},
    "openai-chat/json_object": {DialectName.ANTHROPIC_MESSAGES: ("direct-emulate",)},
    "openai-chat/reasoning_effort": {
        DialectName.COHERE: ("direct-older",),
        DialectName.ANTHROPIC_MESSAGES: _EVERY_CLAUDE,
        DialectName.BEDROCK_CONVERSE: ("bedrock-adaptive", "bedrock-old", *_OTHER_CONVERSE),
        DialectName.GEMINI: _EVERY_GEMINI,
    },
    "openai-chat/reasoning_minimal_with_forced_tool": {DialectName.ANTHROPIC_MESSAGES: ("direct-adaptive",)},
    "openai-chat/reasoning_none": {
        DialectName.ANTHROPIC_MESSAGES: ("direct-newest",),
        DialectName.GEMINI: _EVERY_GEMINI,
    },
    "openai-chat/thinking_enabled": {
        DialectName.ANTHROPIC_MESSAGES: ("direct-old", "direct-newest"),
        DialectName.BEDROCK_CONVERSE: ("bedrock-adaptive", "bedrock-nova"),
    },
    "openai-chat/thinking_round_trip": {
        DialectName.ANTHROPIC_MESSAGES: ("direct-adaptive",),
        DialectName.GEMINI: ("direct-3-flash",),
    },
    "openai-chat/thinking_unsigned": {
        DialectName.ANTHROPIC_MESSAGES: ("direct-adaptive",),
        DialectName.GEMINI: ("direct-3-flash",),
    },
    "openai-chat/images": {DialectName.GEMINI: ("vertex",)},
    "openai-chat/tool_result_image": {DialectName.GEMINI: ("direct-3-flash",)},
    "gemini/thinking_budget": {DialectName.OPENAI_CHAT: _EVERY_GPT, DialectName.ANTHROPIC_MESSAGES: _EVERY_CLAUDE},
    "gemini/thinking_level": {DialectName.OPENAI_CHAT: _EVERY_GPT, DialectName.ANTHROPIC_MESSAGES: _EVERY_CLAUDE},
    "openai-chat/every_sampling_parameter": {
        DialectName.ANTHROPIC_MESSAGES: ("direct-old", "direct-newest"),
        DialectName.BEDROCK_CONVERSE: _OTHER_CONVERSE,
    },
    "openai-chat/tool_choice_named": {DialectName.ANTHROPIC_MESSAGES: ("direct-old",)},
    "bedrock-converse/minimal": {
        DialectName.OPENAI_CHAT: _EVERY_GPT,
        DialectName.ANTHROPIC_MESSAGES: ("direct-adaptive", "bedrock"),
    },
    "bedrock-converse/reasoning": {
        DialectName.OPENAI_CHAT: _EVERY_GPT,
        DialectName.ANTHROPIC_MESSAGES: ("direct-adaptive", "bedrock"),
    },
    "bedrock-converse/reasoning_effort": {
        DialectName.OPENAI_CHAT: _EVERY_GPT,
        DialectName.ANTHROPIC_MESSAGES: ("direct-adaptive", "bedrock"),
    },
    "bedrock-converse/structured_output": {
        DialectName.OPENAI_CHAT: _EVERY_GPT,
        DialectName.ANTHROPIC_MESSAGES: ("direct-adaptive", "bedrock"),
    },
    "anthropic-messages/minimal": {
        DialectName.OPENAI_CHAT: (*_EVERY_GPT, "azure", "azure-v1"),
        DialectName.OPENAI_RESPONSES: ("direct-reasoning", "azure"),
    },
    "anthropic-messages/thinking": {
        DialectName.OPENAI_CHAT: _EVERY_GPT,
        DialectName.OPENAI_RESPONSES: ("direct-reasoning",),
    },
    "openai-responses/reasoning": {DialectName.ANTHROPIC_MESSAGES: _EVERY_CLAUDE},
    "anthropic-messages/thinking_adaptive_effort": {DialectName.OPENAI_CHAT: _EVERY_GPT},
    "anthropic-messages/thinking_disabled": {DialectName.OPENAI_CHAT: _EVERY_GPT},
    "anthropic-messages/every_parameter": {
        DialectName.OPENAI_CHAT: _EVERY_GPT,
        DialectName.BEDROCK_CONVERSE: _OTHER_CONVERSE,
    },
}
"""Cases whose meaning depends on the target, and the further targets they run against."""


def others(dialect: str) -> Iterator[DialectName]:
    """The dialects of clients that a provider of one can serve."""
    return (name for name in CLIENTS if name != dialect)


def providers_for(dialect: str) -> Iterator[DialectName]:
    """The dialects of providers that can serve clients of one."""
    return (name for name in TARGETS if name != dialect)


PAIRS: Final = tuple((client, provider) for client in CLIENTS for provider in providers_for(client))


def cases(kind: str, suffix: str) -> Iterator[tuple[DialectName, Path]]:
    """Every hand-written input of a kind, with its dialect."""
    for dialect in CLIENTS:
        for path in sorted((ROOT / kind / dialect).glob(f"*{suffix}")):
            if path.name.count(".") == 1:
                yield dialect, path


def request_cells() -> Iterator[tuple[DialectName, Path, DialectName, str]]:
    """Client dialect, case, provider dialect, target."""
    for dialect, path in cases("requests", ".json"):
        for provider in providers_for(dialect):
            more = COVERS.get(f"{dialect}/{path.stem}", {}).get(provider, ())
            for target in (next(iter(TARGETS[provider])), *more):
                yield dialect, path, provider, target


def answer_cells(kind: str, suffix: str) -> Iterator[tuple[DialectName, Path, DialectName]]:
    """Provider dialect, case, client dialect."""
    for dialect, path in cases(kind, suffix):
        for client in others(dialect):
            yield dialect, path, client


def bridge(client: str, provider: str, **facts: Any) -> Plan:
    """The plan of a client of one dialect and a backend of another."""
    endpoint = lookup(CLIENTS[DialectName(client)].path)
    assert endpoint is not None
    return plan(endpoint, backend_facts(client, provider, **facts))


def backend_facts(client: str, provider: str, **more: Any) -> BackendFacts:
    # OpenAI serves its other chat dialects as well: only a vendor that lacks them makes a bridge of the pair.
    vendor = "ChatCompletions" if provider == DialectName.OPENAI_CHAT and client.startswith("openai") else ""
    values: dict[str, Any] = {"name": "b", "dialect": provider, "vendor": vendor, **more}
    return BackendFacts(**values)


def stream_bridge(client: str, provider: str, **facts: Any) -> tuple[Plan, UpstreamRequest]:
    """The plan of a client that asks for a stream, and its smallest request."""
    row = CLIENTS[DialectName(client)]
    path = row.stream_path or row.path
    endpoint = lookup(path)
    assert endpoint is not None
    chosen = plan(endpoint, backend_facts(client, provider, **facts))
    return chosen, chosen.translate_request(row.streamed, {":path": path})


def ask(client: str, provider: str) -> tuple[Plan, UpstreamRequest]:
    """The smallest request of a client, for a whole answer."""
    row = CLIENTS[DialectName(client)]
    chosen = bridge(client, provider)
    return chosen, chosen.translate_request(row.minimal, {":path": row.path})


assert CLIENTS.keys() == DIALECTS.keys(), "every dialect has its row"
assert TARGETS.keys() == {name for name, dialect in DIALECTS.items() if dialect.backend}, "every provider's has targets"
