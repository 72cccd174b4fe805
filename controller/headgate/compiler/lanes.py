"""Which lane a request takes: Envoy's filters alone (`native`) or through the processor (`extproc`).

A lane belongs to a class of client paths and a backend. The classes are a table; a rule's routes follow its order.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Final, NamedTuple

from headgate.compiler.ir import Backend, MatchKind, Rule
from headgate.llm.dialects.table import DIALECTS
from headgate.llm.endpoints import endpoint_named
from headgate.llm.hosts.table import HOSTS
from headgate.llm.names import DialectName, HostName
from headgate.llm.planning import CHAT_OPERATIONS, OPENAI_API, lane_for
from headgate.llm.planning import Lane as CoreLane
from headgate.llm.vendors import vendor_named


class Lane(StrEnum):
    NATIVE = "native"
    EXTPROC = "extproc"


@dataclass(frozen=True, slots=True)
class PathClass:
    """Client paths that are routed alike."""

    name: str
    endpoint: str
    """Name in `headgate.llm.endpoints` where the class is one endpoint that the processor may serve, else empty."""
    kind: MatchKind
    path: str
    """Below the root path."""
    dialect: DialectName | None
    """What clients speak here; None is any other dialect, which passes through."""
    paths: tuple[str, ...] = ()
    """All paths of a translatable class, for the upstream script; where they name the model, how they end."""
    model_in_path: bool = False
    """The path names the model: a script reads it there, since the body has none."""
    excludes: str = ""
    """A path prefix that belongs to another class."""
    translated_only: bool = False
    """A wider class below serves these paths where all backends speak the dialect."""
    multipart: bool = False
    """The model is inside a form: the processor reads it, and writes it where a backend takes another one."""
    model_inside: bool = False
    """The model is deep inside the body: the processor reads it, as of a form."""
    json_too: bool = False
    """Clients may send JSON instead of the form."""


CLASSES = (
    PathClass(
        name="chat",
        endpoint="chat-completions",
        kind=MatchKind.EXACT,
        path="/v1/chat/completions",
        dialect=DialectName.OPENAI_CHAT,
        paths=("/v1/chat/completions",),
    ),
    PathClass(
        name="messages",
        endpoint="messages",
        kind=MatchKind.REGEX,
        path="(/anthropic)?/v1/messages",
        dialect=DialectName.ANTHROPIC_MESSAGES,
        paths=("/v1/messages", "/anthropic/v1/messages"),
    ),
    PathClass(
        name="count-tokens",
        endpoint="count-tokens",
        kind=MatchKind.REGEX,
        path="(/anthropic)?/v1/messages/count_tokens",
        dialect=DialectName.ANTHROPIC_MESSAGES,
        paths=("/v1/messages/count_tokens", "/anthropic/v1/messages/count_tokens"),
        translated_only=True,
    ),
    PathClass(
        name="anthropic",
        endpoint="",
        kind=MatchKind.REGEX,
        path="(/anthropic/v1|/v1/messages)/.*",
        dialect=DialectName.ANTHROPIC_MESSAGES,
    ),
    PathClass(
        name="responses-create",
        endpoint="responses",
        kind=MatchKind.EXACT,
        path="/v1/responses",
        dialect=DialectName.OPENAI_RESPONSES,
        paths=("/v1/responses",),
        translated_only=True,
    ),
    PathClass(
        name="responses-count",
        endpoint="responses-input-tokens",
        kind=MatchKind.EXACT,
        path="/v1/responses/input_tokens",
        dialect=DialectName.OPENAI_RESPONSES,
        paths=("/v1/responses/input_tokens",),
        translated_only=True,
    ),
    PathClass(
        name="responses",
        endpoint="",
        kind=MatchKind.PREFIX,
        path="/v1/responses",
        dialect=DialectName.OPENAI_RESPONSES,
    ),
    PathClass(
        name="completions",
        endpoint="completions",
        kind=MatchKind.EXACT,
        path="/v1/completions",
        dialect=DialectName.OPENAI_COMPLETIONS,
        paths=("/v1/completions",),
        translated_only=True,
    ),
    PathClass(
        name="embeddings",
        endpoint="embeddings",
        kind=MatchKind.EXACT,
        path="/v1/embeddings",
        dialect=DialectName.OPENAI_EMBEDDINGS,
        paths=("/v1/embeddings",),
        translated_only=True,
    ),
    PathClass(
        name="jina-rerank",
        endpoint="jina-rerank",
        kind=MatchKind.EXACT,
        path="/v1/rerank",
        dialect=DialectName.JINA_RERANK,
        paths=("/v1/rerank",),
        translated_only=True,
    ),
    PathClass(
        name="transcriptions",
        endpoint="audio-transcriptions",
        kind=MatchKind.EXACT,
        path="/v1/audio/transcriptions",
        dialect=DialectName.OPENAI_AUDIO,
        paths=("/v1/audio/transcriptions",),
        multipart=True,
    ),
    PathClass(
        name="translations",
        endpoint="audio-translations",
        kind=MatchKind.EXACT,
        path="/v1/audio/translations",
        dialect=DialectName.OPENAI_AUDIO,
        paths=("/v1/audio/translations",),
        multipart=True,
    ),
    PathClass(
        name="image-edits",
        endpoint="images-edits",
        kind=MatchKind.EXACT,
        path="/v1/images/edits",
        dialect=DialectName.OPENAI_IMAGES,
        paths=("/v1/images/edits",),
        multipart=True,
        json_too=True,
    ),
    PathClass(
        name="image-variations",
        endpoint="images-variations",
        kind=MatchKind.EXACT,
        path="/v1/images/variations",
        dialect=DialectName.OPENAI_IMAGES,
        paths=("/v1/images/variations",),
        multipart=True,
    ),
    PathClass(
        name="gemini",
        endpoint="generate-content",
        kind=MatchKind.REGEX,
        path="(/gemini)?/v1(beta)?/models/[^/]+:generateContent",
        dialect=DialectName.GEMINI,
        paths=(":generateContent",),
        model_in_path=True,
    ),
    PathClass(
        name="gemini-stream",
        endpoint="stream-generate-content",
        kind=MatchKind.REGEX,
        path="(/gemini)?/v1(beta)?/models/[^/]+:streamGenerateContent",
        dialect=DialectName.GEMINI,
        paths=(":streamGenerateContent",),
        model_in_path=True,
    ),
    PathClass(
        name="gemini-embed",
        endpoint="embed-content",
        kind=MatchKind.REGEX,
        path="(/gemini)?/v1(beta)?/models/[^/]+:embedContent",
        dialect=DialectName.GEMINI,
        paths=(":embedContent",),
        model_in_path=True,
        translated_only=True,
    ),
    PathClass(
        name="gemini-embed-batch",
        endpoint="batch-embed-contents",
        kind=MatchKind.REGEX,
        path="(/gemini)?/v1(beta)?/models/[^/]+:batchEmbedContents",
        dialect=DialectName.GEMINI,
        paths=(":batchEmbedContents",),
        model_in_path=True,
        translated_only=True,
    ),
    PathClass(
        name="gemini-count",
        endpoint="gemini-count-tokens",
        kind=MatchKind.REGEX,
        path="(/gemini)?/v1(beta)?/models/[^/]+:countTokens",
        dialect=DialectName.GEMINI,
        paths=(":countTokens",),
        model_in_path=True,
        translated_only=True,
    ),
    PathClass(
        name="gemini-other",
        endpoint="",
        kind=MatchKind.REGEX,
        path="(/gemini)?/v1beta/models/[^/]+:[a-zA-Z]+",
        dialect=DialectName.GEMINI,
        model_in_path=True,
    ),
    PathClass(  # by their endings: `llama3:latest` is a model in OpenAI's list below the same path
        name="gemini-v1",
        endpoint="",
        kind=MatchKind.REGEX,
        path="(/gemini)?/v1/models/[^/]+:[a-zA-Z]+(Content|Tokens)s?",
        dialect=DialectName.GEMINI,
        model_in_path=True,
    ),
    PathClass(
        name="openai",
        endpoint="",
        kind=MatchKind.PREFIX,
        path="/v1",
        dialect=DialectName.OPENAI_CHAT,
        excludes="/v1/messages",
    ),
    PathClass(
        name="tokenize",
        endpoint="tokenize",
        kind=MatchKind.EXACT,
        path="/tokenize",
        dialect=DialectName.VLLM_TOKENIZE,
        paths=("/tokenize",),
    ),
    PathClass(
        name="cohere-chat",
        endpoint="cohere-chat",
        kind=MatchKind.REGEX,
        path="(/cohere)?/v2/chat",
        dialect=DialectName.COHERE,
        paths=("/v2/chat", "/cohere/v2/chat"),
        translated_only=True,
    ),
    PathClass(
        name="cohere-embed",
        endpoint="cohere-embed",
        kind=MatchKind.REGEX,
        path="(/cohere)?/v2/embed",
        dialect=DialectName.COHERE,
        paths=("/v2/embed", "/cohere/v2/embed"),
        translated_only=True,
    ),
    PathClass(
        name="cohere-rerank",
        endpoint="rerank",
        kind=MatchKind.REGEX,
        path="(/cohere)?/v2/rerank",
        dialect=DialectName.COHERE,
        paths=("/v2/rerank", "/cohere/v2/rerank"),
        translated_only=True,
    ),
    PathClass(
        name="cohere",
        endpoint="",
        kind=MatchKind.REGEX,
        path="(/cohere)?/v2/.*",
        dialect=DialectName.COHERE,
    ),
    PathClass(
        name="converse",
        endpoint="converse",
        kind=MatchKind.REGEX,
        path="(/bedrock)?/model/[^/]+/converse",
        dialect=DialectName.BEDROCK_CONVERSE,
        paths=("/converse",),
        model_in_path=True,
    ),
    PathClass(
        name="converse-stream",
        endpoint="converse-stream",
        kind=MatchKind.REGEX,
        path="(/bedrock)?/model/[^/]+/converse-stream",
        dialect=DialectName.BEDROCK_CONVERSE,
        paths=("/converse-stream",),
        model_in_path=True,
    ),
    PathClass(
        name="invoke-model",
        endpoint="invoke-model",
        kind=MatchKind.REGEX,
        path="(/bedrock)?/model/[^/]+/invoke",
        dialect=DialectName.BEDROCK_CONVERSE,
        paths=("/invoke",),
        model_in_path=True,
        translated_only=True,
    ),
    PathClass(
        name="bedrock-count",
        endpoint="bedrock-count-tokens",
        kind=MatchKind.REGEX,
        path="(/bedrock)?/model/[^/]+/count-tokens",
        dialect=DialectName.BEDROCK_CONVERSE,
        paths=("/count-tokens",),
        model_in_path=True,
        translated_only=True,
    ),
    PathClass(
        name="bedrock-rerank",
        endpoint="bedrock-rerank",
        kind=MatchKind.EXACT,
        path="/bedrock/rerank",
        dialect=DialectName.BEDROCK_CONVERSE,
        paths=("/bedrock/rerank",),
        translated_only=True,
        model_inside=True,
    ),
    PathClass(
        name="bedrock",
        endpoint="",
        kind=MatchKind.REGEX,
        path="(/bedrock)?/model/[^/]+/[a-z-]+",
        dialect=DialectName.BEDROCK_CONVERSE,
        model_in_path=True,
    ),
    PathClass(name="any", endpoint="", kind=MatchKind.PREFIX, path="/", dialect=None),
)
"""In the order in which a request is tried against them."""

TRANSLATED = frozenset(DIALECTS)
"""The chat dialects that the processor translates between."""

PLAIN_HOSTS = frozenset({HostName.DIRECT, HostName.AZURE})
"""Hosts that wrap no envelope around any dialect, and frame streams as the dialect does."""


class Speaker(NamedTuple):
    """All of a backend that decides about its lanes: thousands of them are a few of these."""

    dialect: DialectName | None
    host: HostName
    vendor: str
    renames: bool
    """Requests get another model."""
    forced: bool


def speaker_of(backend: Backend) -> Speaker:
    return Speaker(backend.dialect, backend.host, backend.vendor, bool(backend.model), bool(backend.forced_by))


_OTHERS = frozenset({DialectName.GEMINI, DialectName.BEDROCK_CONVERSE})


def _speaks(speaker: Speaker, dialect: DialectName | None) -> bool:
    """Whether the backend serves that dialect's paths itself, as Envoy can send them."""
    if speaker.dialect is None:
        return True
    if speaker.host not in PLAIN_HOSTS and speaker.dialect not in _OTHERS:  # there is something around what it says
        return False
    if dialect is None:
        return speaker.dialect in _OTHERS
    if dialect in OPENAI_API:
        return speaker.dialect in OPENAI_API
    return speaker.dialect == dialect


def _is_chat(path_class: PathClass) -> bool:
    row = endpoint_named(path_class.endpoint)
    return row is not None and row.operation in CHAT_OPERATIONS


CHATS: Final = tuple(filter(_is_chat, CLASSES))
"""The classes that every backend is expected to serve."""


def lanes_of(backend: Backend) -> Mapping[str, Lane | None]:
    """The lane of a backend for each class of paths, by the class's name; None where nothing can serve the pair."""
    return _lanes(speaker_of(backend))


def lane_of(path_class: PathClass, backend: Backend) -> Lane | None:
    """That for one class."""
    return lanes_of(backend)[path_class.name]


ClassesServed = tuple[tuple[PathClass, tuple[Lane | None, ...]], ...]
"""Classes of paths in order, each with the lanes of some backends; None where one cannot serve it."""


@lru_cache(maxsize=4096)
def classes_served(speakers: tuple[Speaker, ...], *, processor: bool) -> ClassesServed:
    """The classes that any of the backends serves, each with their lanes, with a processor or without one.

    Rules with backends that speak alike have the same, so this is seldom more than a lookup.
    """
    found: list[tuple[PathClass, tuple[Lane | None, ...]]] = []
    for path_class in CLASSES:
        lanes = tuple(_lanes(each)[path_class.name] for each in speakers)
        if (path_class.multipart or path_class.translated_only) and Lane.EXTPROC not in lanes:
            continue  # a wider class serves what nobody rewrites
        if not processor:
            lanes = tuple(lane if lane is Lane.NATIVE else None for lane in lanes)
        if any(lanes):
            found.append((path_class, lanes))
    return tuple(found)


@lru_cache(maxsize=4096)
def paths_in(lane: Lane, speaker: Speaker) -> tuple[str, ...]:
    """The client paths of the endpoints that take that lane to a backend."""
    return tuple(path for row in CLASSES if _lanes(speaker)[row.name] is lane for path in row.paths)


@lru_cache(maxsize=4096)
def _lanes(speaker: Speaker) -> Mapping[str, Lane | None]:
    return {path_class.name: _lane(path_class, speaker) for path_class in CLASSES}


def _lane(path_class: PathClass, speaker: Speaker) -> Lane | None:
    translated = _is_translatable(path_class, speaker)
    if _is_relayed(path_class, speaker):
        rewritten = path_class.multipart and speaker.renames
        forced = translated and speaker.forced and path_class in CHATS
        return Lane.EXTPROC if rewritten or forced else Lane.NATIVE
    return Lane.EXTPROC if translated else None


def _is_relayed(path_class: PathClass, speaker: Speaker) -> bool:
    """Whether the backend serves the class itself, as far as its vendor is known to."""
    if not _speaks(speaker, path_class.dialect):
        return False
    if not path_class.endpoint or speaker.dialect is None:
        return True
    return _core_lane(path_class.endpoint, speaker.dialect, speaker.host, speaker.vendor) == "relay"


def _is_translatable(path_class: PathClass, speaker: Speaker) -> bool:
    if not path_class.endpoint or path_class.multipart or speaker.dialect is None:
        return False
    return _translatable(path_class.endpoint, speaker.dialect, speaker.host, speaker.vendor)


@lru_cache(maxsize=4096)
def _core_lane(endpoint: str, dialect: DialectName, host: HostName, vendor: str) -> CoreLane | None:
    row = endpoint_named(endpoint)
    assert row is not None
    return lane_for(row, dialect, vendor, host)


@lru_cache(maxsize=4096)
def _translatable(endpoint: str, dialect: DialectName, host: HostName, vendor: str) -> bool:
    """Whether the processor serves an endpoint from a backend: in another dialect, or in its host's envelope."""
    row = endpoint_named(endpoint)
    assert row is not None
    lane, where = _core_lane(endpoint, dialect, host, vendor), HOSTS.get(host)
    spoken = row.dialect if lane == "relay" else dialect
    return lane is not None and where is not None and spoken in where.dialects


def reason(path_class: PathClass, backend: Backend) -> str:
    """Why the lane is what it is, for `headgate explain`."""
    client, spoken, speaker = path_class.dialect, backend.dialect, speaker_of(backend)
    vendor = backend.vendor if spoken in OPENAI_API else ""
    lane = lane_of(path_class, backend)
    if lane is None:
        return f"nothing translates {client or 'this path'} to {spoken} yet"
    if lane is Lane.NATIVE:
        return f"the client and the backend both speak {client}" if client else f"passed on to {spoken}'s own server"
    if path_class.multipart:
        return f"the form's model becomes {backend.model}"
    if _is_relayed(path_class, speaker):
        return f"forced by {backend.forced_by}"
    if vendor and _lacks(path_class, vendor):
        return f"{vendor} does not serve {client}: translated to {spoken} and back"
    if path_class.model_inside and _speaks(speaker, client):
        return "the processor reads the model, deep in the body"
    if not _is_chat(path_class) and _speaks(speaker, client):
        return f"{vendor or backend.host} has its own form of this: translated to it and back"
    return f"{client} is translated to {spoken} and back"


def _lacks(path_class: PathClass, vendor: str) -> bool:
    row = endpoint_named(path_class.endpoint)
    return row is not None and row.operation in vendor_named(vendor).lacks


def needs_processor(rule: Rule) -> bool:
    """Whether any path of the rule goes through the processor."""
    return any(Lane.EXTPROC in lanes_of(backend).values() for backend in rule.backends)
