"""The paths served, as a table. The compiler builds routes from it, the processor looks endpoints up in it.

A full path is root prefix + dialect prefix + `path`; the query is not part of it. Anthropic's and Cohere's endpoints
answer at their own prefix (compat) and, where no other endpoint has the path, without it, as their own SDKs expect.
Some dialects say model and stream in the path: there `{model}` stands for one percent-encoded segment.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final
from urllib.parse import unquote

from headgate.llm.names import DialectName, Operation


class Body(StrEnum):
    """What a request carries."""

    NONE = "none"
    JSON = "json"
    MULTIPART = "multipart"
    FORM_OR_JSON = "form_or_json"
    """Multipart where the content type says so, else JSON."""


class StreamRule(StrEnum):
    """When the client asks for a stream."""

    NEVER = "never"
    FLAG = "flag"
    """JSON member or form field `stream` is true (a form field: the word `true` in any case)."""
    SSE_FORMAT = "sse_format"
    """JSON member `stream_format` is `sse`."""
    ALWAYS = "always"
    """The path says it: another endpoint serves the whole answer."""


MODEL_PLACEHOLDER: Final = "{model}"
"""Stands for the percent-encoded model in a path."""


@dataclass(frozen=True, slots=True)
class PathFacts:
    """What a request's `:path` says besides its endpoint."""

    model: str = ""
    """Decoded; empty where the body names it."""
    stream: bool = False
    """The path is one that only streams."""
    query: str = ""
    """Without the `?`."""


NO_PATH: Final = PathFacts()


@dataclass(frozen=True, slots=True, eq=False)
class Endpoint:
    """A path we serve. Equal to itself alone: there is one of each, and plans are looked up by it.

    The model is in the path where `path` holds `{model}`; else it is the JSON member or form field `model`, or there is
    none where `body` is `NONE`.
    """

    name: str
    path: str
    """Default path without dialect prefix."""
    dialect: DialectName
    operation: Operation
    body: Body = Body.JSON
    stream: StreamRule = StreamRule.NEVER
    prefix: str = ""
    """Default dialect prefix of the full path."""
    bare: bool = True
    """Also served without the prefix."""
    aliases: tuple[str, ...] = ()
    """Other paths, below the same prefixes, that mean the same."""
    model_member: tuple[str, ...] = ("model",)
    """Where the body names the model, member by member."""
    suffix: str = ""
    """The path at the provider, after the backend's own prefix (`/v1`)."""
    fixed: bool = False
    """The provider serves it at `suffix` whatever the backend's prefix (vLLM's `/tokenize`)."""
    local: bool = False
    """Answered by the gateway itself."""

    @property
    def full_path(self) -> str:
        """The documented path: prefix + path."""
        return self.prefix + self.path

    @property
    def model_in_path(self) -> bool:
        """The path names the model."""
        return MODEL_PLACEHOLDER in self.path


ENDPOINTS: Final = (
    Endpoint(
        name="chat-completions",
        path="/v1/chat/completions",
        suffix="/chat/completions",
        dialect=DialectName.OPENAI_CHAT,
        operation=Operation.CHAT,
        stream=StreamRule.FLAG,
    ),
    Endpoint(
        name="messages",
        path="/v1/messages",
        prefix="/anthropic",
        suffix="/messages",
        dialect=DialectName.ANTHROPIC_MESSAGES,
        operation=Operation.MESSAGES,
        stream=StreamRule.FLAG,
    ),
    Endpoint(
        name="count-tokens",
        path="/v1/messages/count_tokens",
        prefix="/anthropic",
        suffix="/messages/count_tokens",
        dialect=DialectName.ANTHROPIC_MESSAGES,
        operation=Operation.COUNT_TOKENS,
    ),
    Endpoint(
        name="completions",
        path="/v1/completions",
        suffix="/completions",
        dialect=DialectName.OPENAI_COMPLETIONS,
        operation=Operation.COMPLETION,
        stream=StreamRule.FLAG,
    ),
    Endpoint(
        name="embeddings",
        path="/v1/embeddings",
        suffix="/embeddings",
        dialect=DialectName.OPENAI_EMBEDDINGS,
        operation=Operation.EMBEDDINGS,
    ),
    Endpoint(
        name="responses",
        path="/v1/responses",
        suffix="/responses",
        dialect=DialectName.OPENAI_RESPONSES,
        operation=Operation.RESPONSES,
        stream=StreamRule.FLAG,
    ),
    Endpoint(
        name="responses-input-tokens",
        path="/v1/responses/input_tokens",
        suffix="/responses/input_tokens",
        dialect=DialectName.OPENAI_RESPONSES,
        operation=Operation.RESPONSES_INPUT_TOKENS,
    ),
    Endpoint(
        name="images-generations",
        path="/v1/images/generations",
        suffix="/images/generations",
        dialect=DialectName.OPENAI_IMAGES,
        operation=Operation.IMAGE_GENERATION,
        stream=StreamRule.FLAG,
    ),
    Endpoint(
        name="images-edits",
        path="/v1/images/edits",
        suffix="/images/edits",
        dialect=DialectName.OPENAI_IMAGES,
        operation=Operation.IMAGE_EDIT,
        body=Body.FORM_OR_JSON,
        stream=StreamRule.FLAG,
    ),
    Endpoint(
        name="images-variations",
        path="/v1/images/variations",
        suffix="/images/variations",
        dialect=DialectName.OPENAI_IMAGES,
        operation=Operation.IMAGE_VARIATION,
        body=Body.MULTIPART,
    ),
    Endpoint(
        name="audio-speech",
        path="/v1/audio/speech",
        suffix="/audio/speech",
        dialect=DialectName.OPENAI_AUDIO,
        operation=Operation.SPEECH,
        stream=StreamRule.SSE_FORMAT,
    ),
    Endpoint(
        name="audio-transcriptions",
        path="/v1/audio/transcriptions",
        suffix="/audio/transcriptions",
        dialect=DialectName.OPENAI_AUDIO,
        operation=Operation.TRANSCRIPTION,
        body=Body.MULTIPART,
        stream=StreamRule.FLAG,
    ),
    Endpoint(
        name="audio-translations",
        path="/v1/audio/translations",
        suffix="/audio/translations",
        dialect=DialectName.OPENAI_AUDIO,
        operation=Operation.TRANSLATION,
        body=Body.MULTIPART,
    ),
    Endpoint(
        name="moderations",
        path="/v1/moderations",
        suffix="/moderations",
        dialect=DialectName.OPENAI_MODERATIONS,
        operation=Operation.MODERATION,
    ),
    Endpoint(
        name="tokenize",
        path="/tokenize",
        suffix="/tokenize",
        fixed=True,
        dialect=DialectName.VLLM_TOKENIZE,
        operation=Operation.TOKENIZE,
    ),
    Endpoint(
        name="generate-content",
        path="/v1beta/models/{model}:generateContent",
        aliases=("/v1/models/{model}:generateContent",),
        prefix="/gemini",
        suffix="/models/{model}:generateContent",
        dialect=DialectName.GEMINI,
        operation=Operation.GENERATE_CONTENT,
    ),
    Endpoint(
        name="stream-generate-content",
        path="/v1beta/models/{model}:streamGenerateContent",
        aliases=("/v1/models/{model}:streamGenerateContent",),
        prefix="/gemini",
        suffix="/models/{model}:streamGenerateContent?alt=sse",
        dialect=DialectName.GEMINI,
        operation=Operation.GENERATE_CONTENT,
        stream=StreamRule.ALWAYS,
    ),
    Endpoint(
        name="embed-content",
        path="/v1beta/models/{model}:embedContent",
        aliases=("/v1/models/{model}:embedContent",),
        prefix="/gemini",
        suffix="/models/{model}:embedContent",
        dialect=DialectName.GEMINI,
        operation=Operation.EMBEDDINGS,
    ),
    Endpoint(
        name="batch-embed-contents",
        path="/v1beta/models/{model}:batchEmbedContents",
        aliases=("/v1/models/{model}:batchEmbedContents",),
        prefix="/gemini",
        suffix="/models/{model}:batchEmbedContents",
        dialect=DialectName.GEMINI,
        operation=Operation.EMBEDDINGS,
    ),
    Endpoint(
        name="gemini-count-tokens",
        path="/v1beta/models/{model}:countTokens",
        aliases=("/v1/models/{model}:countTokens",),
        prefix="/gemini",
        suffix="/models/{model}:countTokens",
        dialect=DialectName.GEMINI,
        operation=Operation.COUNT_TOKENS,
    ),
    Endpoint(
        name="bedrock-count-tokens",
        path="/model/{model}/count-tokens",
        prefix="/bedrock",
        suffix="/model/{model}/count-tokens",
        dialect=DialectName.BEDROCK_CONVERSE,
        operation=Operation.COUNT_TOKENS,
    ),
    Endpoint(
        name="converse",
        path="/model/{model}/converse",
        prefix="/bedrock",
        suffix="/model/{model}/converse",
        dialect=DialectName.BEDROCK_CONVERSE,
        operation=Operation.CHAT,
    ),
    Endpoint(
        name="converse-stream",
        path="/model/{model}/converse-stream",
        prefix="/bedrock",
        suffix="/model/{model}/converse-stream",
        dialect=DialectName.BEDROCK_CONVERSE,
        operation=Operation.CHAT,
        stream=StreamRule.ALWAYS,
    ),
    Endpoint(  # of all that it may invoke, embeddings are translated
        name="invoke-model",
        path="/model/{model}/invoke",
        prefix="/bedrock",
        suffix="/model/{model}/invoke",
        dialect=DialectName.BEDROCK_CONVERSE,
        operation=Operation.EMBEDDINGS,
    ),
    Endpoint(
        name="cohere-chat",
        path="/v2/chat",
        prefix="/cohere",
        suffix="/chat",
        dialect=DialectName.COHERE,
        operation=Operation.CHAT,
        stream=StreamRule.FLAG,
    ),
    Endpoint(
        name="cohere-embed",
        path="/v2/embed",
        prefix="/cohere",
        suffix="/embed",
        dialect=DialectName.COHERE,
        operation=Operation.EMBEDDINGS,
    ),
    Endpoint(
        name="rerank",
        path="/v2/rerank",
        prefix="/cohere",
        suffix="/rerank",
        dialect=DialectName.COHERE,
        operation=Operation.RERANK,
    ),
    Endpoint(  # of the agent runtime, another host than Bedrock's other endpoints
        name="bedrock-rerank",
        path="/rerank",
        prefix="/bedrock",
        bare=False,
        suffix="/rerank",
        dialect=DialectName.BEDROCK_CONVERSE,
        operation=Operation.RERANK,
        model_member=("rerankingConfiguration", "bedrockRerankingConfiguration", "modelConfiguration", "modelArn"),
    ),
    Endpoint(
        name="jina-rerank",
        path="/v1/rerank",
        suffix="/rerank",
        dialect=DialectName.JINA_RERANK,
        operation=Operation.RERANK,
    ),
    Endpoint(
        name="models",
        path="/v1/models",
        dialect=DialectName.OPENAI_CHAT,
        operation=Operation.MODELS,
        body=Body.NONE,
        local=True,
    ),
    Endpoint(
        name="anthropic-models",
        path="/v1/models",
        prefix="/anthropic",
        bare=False,
        dialect=DialectName.ANTHROPIC_MESSAGES,
        operation=Operation.MODELS,
        body=Body.NONE,
        local=True,
    ),
    Endpoint(
        name="gemini-models",
        path="/v1beta/models",
        prefix="/gemini",
        dialect=DialectName.GEMINI,
        operation=Operation.MODELS,
        body=Body.NONE,
        local=True,
    ),
    Endpoint(
        name="cohere-models",
        path="/v1/models",
        prefix="/cohere",
        bare=False,
        dialect=DialectName.COHERE,
        operation=Operation.MODELS,
        body=Body.NONE,
        local=True,
    ),
    Endpoint(
        name="bedrock-models",
        path="/foundation-models",
        prefix="/bedrock",
        dialect=DialectName.BEDROCK_CONVERSE,
        operation=Operation.MODELS,
        body=Body.NONE,
        local=True,
    ),
)

_BY_NAME: Final = MappingProxyType({endpoint.name: endpoint for endpoint in ENDPOINTS})


def endpoint_named(name: str) -> Endpoint | None:
    """The endpoint that `x-headgate-endpoint` names."""
    return _BY_NAME.get(name)


@dataclass(frozen=True, slots=True)
class Prefixes:
    """Where the endpoints hang. compat: the flags `rootPrefix` and `endpointPrefixes`; no trailing slash."""

    root: str = ""
    openai: str = ""
    anthropic: str = "/anthropic"
    cohere: str = "/cohere"
    gemini: str = "/gemini"
    bedrock: str = "/bedrock"

    def of(self, endpoint: Endpoint) -> str:
        """The dialect prefix of an endpoint."""
        match endpoint.dialect:
            case DialectName.ANTHROPIC_MESSAGES:
                return self.anthropic
            case DialectName.COHERE:
                return self.cohere
            case DialectName.GEMINI:
                return self.gemini
            case DialectName.BEDROCK_CONVERSE:
                return self.bedrock
            case _:
                return self.openai


DEFAULT_PREFIXES: Final = Prefixes()


def paths(prefixes: Prefixes = DEFAULT_PREFIXES) -> Mapping[str, Endpoint]:
    """Every full path served, to its endpoint; with `{model}` where the path names the model. A prefixed path wins over
    another endpoint's bare one."""
    served: dict[str, Endpoint] = {}
    for endpoint in ENDPOINTS:
        for path in (endpoint.path, *endpoint.aliases):
            served.setdefault(prefixes.root + prefixes.of(endpoint) + path, endpoint)
    for endpoint in ENDPOINTS:
        for path in (endpoint.path, *endpoint.aliases) if endpoint.bare else ():
            served.setdefault(prefixes.root + path, endpoint)
    return MappingProxyType(served)


class Served:
    """The paths of one installation, ready to be looked up."""

    __slots__ = ("_paths", "_templates")

    def __init__(self, prefixes: Prefixes = DEFAULT_PREFIXES) -> None:
        served = paths(prefixes)
        self._paths = {path: endpoint for path, endpoint in served.items() if not endpoint.model_in_path}
        self._templates = tuple(
            (_template(path), endpoint) for path, endpoint in served.items() if endpoint.model_in_path
        )

    def lookup(self, path: str) -> Endpoint | None:
        """The endpoint of a request's `:path`; the query is cut off."""
        bare = path.partition("?")[0]
        endpoint = self._paths.get(bare)
        if endpoint is not None:
            return endpoint
        return next((row for template, row in self._templates if template.fullmatch(bare)), None)

    def path_facts(self, endpoint: Endpoint, path: str) -> PathFacts:
        """What a path of that endpoint says; a path that is not the endpoint's says only its query."""
        bare, _, query = path.partition("?")
        stream = endpoint.stream is StreamRule.ALWAYS
        if not endpoint.model_in_path:
            return PathFacts(stream=stream, query=query) if query or stream else NO_PATH
        for template, row in self._templates:
            if row is endpoint and (matched := template.fullmatch(bare)):
                return PathFacts(unquote(matched["model"]), stream, query)
        return PathFacts(stream=stream, query=query)


def _template(path: str) -> re.Pattern[str]:
    before, after = path.split(MODEL_PLACEHOLDER)
    return re.compile(f"{re.escape(before)}(?P<model>[^/]+){re.escape(after)}")


_DEFAULT: Final = Served()


def lookup(path: str, *, served: Served = _DEFAULT) -> Endpoint | None:
    """The endpoint of a request's `:path`; the query is cut off."""
    return served.lookup(path)


def path_facts(endpoint: Endpoint, path: str, *, served: Served = _DEFAULT) -> PathFacts:
    """What the request's `:path` says besides its endpoint."""
    return served.path_facts(endpoint, path)
