"""AWS Bedrock's runtime: Converse, and Claude's own Messages API as InvokeModel.

<https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-anthropic-claude-messages.html>. InvokeModel's
body is a Messages request without `model` and `stream`, which the path says, and with `anthropic_version` and
`anthropic_beta`, which are headers elsewhere; its stream is an AWS event stream whose payloads hold one Messages event
each, as base64.
"""

import base64
import binascii
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

import msgspec
from headgate.contract.facts import BackendFacts
from headgate.llm.dialects.anthropic.errors import refuse_thread
from headgate.llm.dialects.bedrock_converse.errors import decode_error, decode_exception
from headgate.llm.dialects.table import DIALECTS
from headgate.llm.endpoints import MODEL_PLACEHOLDER, Endpoint
from headgate.llm.errors import RequestError, UpstreamError
from headgate.llm.framing.aws_eventstream import CONTENT_TYPE, AwsEventStreamDecoder
from headgate.llm.framing.frame import Frame
from headgate.llm.hosts.host import Asked, Framing, Host
from headgate.llm.names import DialectName, HostName, Operation
from headgate.llm.relay import decode_object, patch_object

ANTHROPIC_VERSION: Final = "bedrock-2023-05-31"

_DOT_SEGMENTS: Final = frozenset((".", ".."))
"""As a model they would name another path."""

BETA_ALIASES: Final[Mapping[str, str]] = MappingProxyType(
    {"advanced-tool-use-2025-11-20": "tool-search-tool-2025-10-19"}
)
"""compat: betas that go by another name at Bedrock."""

BETAS: Final = frozenset(
    (
        "computer-use-2024-10-22",
        "computer-use-2025-01-24",
        "computer-use-2025-11-24",
        "context-1m-2025-08-07",
        "context-management-2025-06-27",
        "dev-full-thinking-2025-05-14",
        "effort-2025-11-24",
        "fine-grained-tool-streaming-2025-05-14",
        "interleaved-thinking-2025-05-14",
        "mcp-client-2025-04-04",
        "mcp-client-2025-11-20",
        "model-context-window-exceeded-2025-08-26",
        "output-128k-2025-02-19",
        "pdfs-2024-09-25",
        "search-results-2025-06-09",
        "token-counting-2024-11-01",
        "token-efficient-tools-2025-02-19",
        "tool-examples-2025-10-29",
        "tool-search-tool-2025-10-19",
        "web-search-2025-03-05",
    )
)
"""Betas that Bedrock knows: it refuses a request that names another one, and clients name them by default."""


def place(endpoint: Endpoint, facts: BackendFacts, asked: Asked) -> str:
    """`/model/{model}/converse`, `/invoke` and their streams. RequestError where the model would name another path."""
    if asked.model in _DOT_SEGMENTS:
        raise RequestError(f"there is no model {asked.model!r}", path="model")
    if endpoint.model_in_path:
        return facts.prefix + endpoint.suffix.replace(MODEL_PLACEHOLDER, asked.segment)
    call = "invoke-with-response-stream" if asked.stream else "invoke"
    return f"{facts.prefix}/model/{asked.segment}/{call}"


def envelope(endpoint: Endpoint, facts: BackendFacts, asked: Asked, body: bytes) -> bytes:
    """A Messages body as InvokeModel takes it; a Converse body as it is."""
    if endpoint.operation is not Operation.MESSAGES:
        return body
    source = decode_object(body)
    refuse_thread(source.raw("thread"))
    own = facts.version if facts.version.startswith("bedrock-") else ANTHROPIC_VERSION
    set_members = {} if source.raw("anthropic_version") else {"anthropic_version": msgspec.json.encode(own)}
    betas = known_betas(asked.headers.get("anthropic-beta", "").split(","))
    if betas:
        set_members["anthropic_beta"] = msgspec.json.encode(betas)
    return patch_object(source, set_members=set_members, remove=("model", "stream"))


def known_betas(names: Iterable[str]) -> list[str]:
    """The betas that Bedrock knows, by its names, in order, once each."""
    known = (BETA_ALIASES.get(name.strip(), name.strip()) for name in names)
    return list(dict.fromkeys(name for name in known if name in BETAS))


class _Chunk(msgspec.Struct, frozen=True):
    bytes: str


class _Event(msgspec.Struct, frozen=True):
    type: str = ""


_CHUNK: Final = msgspec.json.Decoder(_Chunk)
_EVENT: Final = msgspec.json.Decoder(_Event)
_ANTHROPIC: Final = DIALECTS[DialectName.ANTHROPIC_MESSAGES]


class InvokeModelDecoder:
    """Cuts an InvokeModel stream into Messages events. An exception becomes the event `error`, the last one."""

    __slots__ = ("_broken", "_frames")

    def __init__(self) -> None:
        self._broken: UpstreamError | None = None
        self._frames = AwsEventStreamDecoder()

    def feed(self, chunk: bytes) -> list[Frame]:
        """Frames that `chunk` completes, in order. UpstreamError for what holds no Messages event, once the frames
        before it have been given."""
        if self._broken is not None:
            raise self._broken
        unwrapped: list[Frame] = []
        for frame in self._frames.feed(chunk):
            try:
                if frame.failure or frame.event == "chunk":
                    unwrapped.append(_unwrap(frame))
            except UpstreamError as error:
                self._broken = error
                if not unwrapped:
                    raise
                break
        return unwrapped

    def close(self) -> list[Frame]:
        """See `AwsEventStreamDecoder.close`."""
        if self._broken is not None:
            raise self._broken
        return self._frames.close()


def _unwrap(frame: Frame) -> Frame:
    if frame.failure:
        return Frame(_ANTHROPIC.encode_error(decode_exception(frame.event, frame.data)), "error")
    try:
        data = base64.b64decode(_CHUNK.decode(frame.data).bytes, validate=True)
        event = _EVENT.decode(data).type
    except (msgspec.DecodeError, UnicodeDecodeError, binascii.Error, ValueError, RecursionError):
        raise UpstreamError("the provider's stream holds a chunk that is no event") from None
    if "\n" in event or "\r" in event:
        raise UpstreamError("the provider's stream holds an event with a name of several lines")
    return Frame(data, event)


HOST: Final = Host(
    HostName.BEDROCK,
    frozenset((DialectName.BEDROCK_CONVERSE, DialectName.ANTHROPIC_MESSAGES)),
    place,
    envelope=envelope,
    framings=MappingProxyType({DialectName.ANTHROPIC_MESSAGES: Framing(CONTENT_TYPE, InvokeModelDecoder)}),
    headers_in_body=frozenset(("anthropic-version", "anthropic-beta")),
    decode_error=decode_error,
)
