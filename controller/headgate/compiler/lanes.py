"""Which lane a request takes: Envoy's filters alone (`native`) or through the processor (`extproc`).

A lane belongs to a class of client paths and a backend. The classes are a table; a rule's routes follow its order.
"""

from dataclasses import dataclass
from enum import StrEnum

from headgate.compiler.ir import Backend, MatchKind, Rule
from headgate.llm.names import DialectName, HostName


class Lane(StrEnum):
    NATIVE = "native"
    EXTPROC = "extproc"


OPENAI = frozenset(
    {
        DialectName.OPENAI_CHAT,
        DialectName.OPENAI_COMPLETIONS,
        DialectName.OPENAI_EMBEDDINGS,
        DialectName.OPENAI_RESPONSES,
        DialectName.OPENAI_IMAGES,
        DialectName.OPENAI_AUDIO,
    }
)
"""What a backend declared as OpenAI speaks; it answers 404 itself for what it lacks."""


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
    """All paths of a translatable class, for the upstream script."""
    excludes: str = ""
    """A path prefix that belongs to another class."""
    multipart: bool = False
    """The model is inside a form: the processor reads it, and writes it where a backend takes another one."""


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
        name="anthropic",
        endpoint="",
        kind=MatchKind.REGEX,
        path="(/anthropic/v1|/v1/messages)/.*",
        dialect=DialectName.ANTHROPIC_MESSAGES,
    ),
    PathClass(
        name="responses",
        endpoint="",
        kind=MatchKind.PREFIX,
        path="/v1/responses",
        dialect=DialectName.OPENAI_RESPONSES,
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
        name="openai",
        endpoint="",
        kind=MatchKind.PREFIX,
        path="/v1",
        dialect=DialectName.OPENAI_CHAT,
        excludes="/v1/messages",
    ),
    PathClass(
        name="tokenize",
        endpoint="",
        kind=MatchKind.EXACT,
        path="/tokenize",
        dialect=DialectName.OPENAI_CHAT,
    ),
    PathClass(
        name="cohere",
        endpoint="",
        kind=MatchKind.REGEX,
        path="(/cohere)?/v2/.*",
        dialect=DialectName.COHERE,
    ),
    PathClass(name="any", endpoint="", kind=MatchKind.PREFIX, path="/", dialect=None),
)
"""In the order in which a request is tried against them."""

TRANSLATED = frozenset({DialectName.OPENAI_CHAT, DialectName.ANTHROPIC_MESSAGES})
"""The chat dialects that the processor translates between."""

SERVED_HOSTS = frozenset({HostName.DIRECT, HostName.AZURE})
"""Hosts that wrap no envelope around a dialect."""
_OTHERS = frozenset({DialectName.GEMINI, DialectName.BEDROCK_CONVERSE})


def speaks(backend: Backend, dialect: DialectName | None) -> bool:
    """Whether the backend serves that dialect's paths itself."""
    if backend.dialect is None:
        return True
    if backend.host not in SERVED_HOSTS and backend.dialect not in _OTHERS:
        return False
    if dialect is None:
        return backend.dialect in _OTHERS
    if dialect in OPENAI:
        return backend.dialect in OPENAI
    return backend.dialect == dialect


def lane_of(path_class: PathClass, backend: Backend) -> Lane | None:
    """The lane of one backend for a class of paths; None where nothing can serve the pair."""
    translated = path_class.dialect in TRANSLATED and path_class.endpoint and backend.dialect in TRANSLATED
    if speaks(backend, path_class.dialect):
        rewritten = path_class.multipart and backend.model
        return Lane.EXTPROC if rewritten or (translated and backend.forced_by) else Lane.NATIVE
    return Lane.EXTPROC if translated else None


def reason(path_class: PathClass, backend: Backend) -> str:
    """Why the lane is what it is, for `headgate explain`."""
    client, spoken = path_class.dialect or "any other dialect", backend.dialect
    match lane_of(path_class, backend):
        case Lane.NATIVE:
            return f"the client and the backend both speak {client}"
        case Lane.EXTPROC if path_class.multipart:
            return f"the form's model becomes {backend.model}"
        case Lane.EXTPROC if client == spoken:
            return f"forced by {backend.forced_by}"
        case Lane.EXTPROC:
            return f"{client} is translated to {spoken} and back"
        case None:
            return f"nothing translates {client} to {spoken} yet"


def needs_processor(rule: Rule) -> bool:
    """Whether any path of the rule goes through the processor."""
    return any(lane_of(row, backend) is Lane.EXTPROC for row in CLASSES for backend in rule.backends)
