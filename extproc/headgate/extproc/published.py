"""What is told of an attempt in metadata that users read: who serves it, what its answer came to, how fast it was."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final

import msgspec
from headgate.contract import metadata as keys
from headgate.contract.facts import BackendFacts
from headgate.extproc.events import Namespaces, Value
from headgate.llm import openinference
from headgate.llm.exchange import ResponseTranslation, UpstreamRequest
from headgate.llm.losses import format_losses
from headgate.llm.marks import FINISH_WORDS, Marks
from headgate.llm.usage import Usage

Clock = Callable[[], float]
"""Seconds, from any moment."""

_TOKENS_MAX: Final = 2**31 - 1
"""Of one answer. Costs multiply counts, and hits are unsigned 32 bits at some services."""
_ID_LENGTH_MAX: Final = 256
"""Providers have at most some dozens; what is longer is no name."""


def names(facts: BackendFacts, request: UpstreamRequest) -> dict[str, Value]:
    """Who serves an attempt, as what; where that is announced, what Envoy does not know. Each key costs it some 2,000
    instructions."""
    if facts.announced:
        ours: dict[str, Value] = {}
        if request.request_model != (facts.model or request.original_model):
            ours[keys.MODEL_NAME_OVERRIDE] = request.request_model
    else:
        ours = {
            keys.BACKEND_NAME: facts.name,
            keys.SERVICE_BACKEND_NAME: _service_name(facts.name),
            keys.MODEL_NAME_OVERRIDE: request.request_model,
            keys.LANE: keys.LANE_EXTPROC,
            keys.USAGE_SOURCE: keys.USAGE_NONE,
        }
        if facts.route:
            ours[keys.ROUTE_NAME] = facts.route
    ours[keys.CONTENT_LENGTH] = len(request.body)
    if request.losses:
        ours[keys.LOSSES] = format_losses(request.losses)
    return ours


def parameters(request: UpstreamRequest) -> str:
    """How its answer is to be drawn, as JSON; empty where nothing is said, or nobody read it."""
    if request.sampling is None:
        return ""
    said = openinference.parameters(request.max_tokens, request.sampling)
    return msgspec.json.encode(said).decode() if said else ""


@lru_cache(maxsize=4096)
def _service_name(backend_name: str) -> str:
    """compat: `<ns>/<name>` of `<ns>/<name>/route/…`."""
    parts = backend_name.split("/", 2)
    return "/".join(parts[:2])


_KEYS: Final = {
    "input": keys.INPUT_TOKENS,
    "cached_input": keys.CACHED_INPUT_TOKENS,
    "cache_creation_input": keys.CACHE_CREATION_INPUT_TOKENS,
    "output": keys.OUTPUT_TOKENS,
    "total": keys.TOTAL_TOKENS,
    "reasoning": keys.REASONING_TOKENS,
}
_COUNTED: Final = tuple(_KEYS[member] for member in Usage.__struct_fields__ if member in _KEYS)


def counts(usage: Usage, *, estimated: bool) -> dict[str, Value]:
    """What is known of an answer's usage; nothing where that is nothing."""
    *told, apart = msgspec.structs.astuple(usage)
    counted: dict[str, Value] = {}
    for key, tokens in (*zip(_COUNTED, told, strict=True), *apart):
        if tokens is not None:
            # Envoy drops a charge that is no count; a provider's nonsense must not make the rest free.
            counted[key] = tokens if 0 <= tokens <= _TOKENS_MAX else min(max(tokens, 0), _TOKENS_MAX)
    if counted:
        counted[keys.USAGE_SOURCE] = keys.USAGE_ESTIMATED if estimated else keys.USAGE_REPORTED
    return counted


def plain(text: str) -> str:
    """Without control characters: spans hold it between such (`headgate.contract.otel.SEPARATOR`)."""
    return text if text.isprintable() else "".join(each for each in text if each >= " " and each != "\x7f")


def is_plain(path: str) -> bool:
    """Whether JSON takes it as it is: where not, Envoy has to escape it, which it cannot in a text."""
    return path.isascii() and path.isprintable() and '"' not in path and "\\" not in path


def marked(marks: Marks) -> dict[str, Value]:
    """What an answer says of itself."""
    ours: dict[str, Value] = {}
    if marks.id:
        ours[keys.RESPONSE_ID] = plain(marks.id[:_ID_LENGTH_MAX])
    if marks.reasons:
        ours[keys.FINISH_REASONS] = tuple(FINISH_WORDS[each] for each in marks.reasons)
    return ours


def with_text(told: Namespaces, before: Mapping[str, Value]) -> Namespaces:
    """`told` of an answer, where that is usage with all that was told of its request `before`, as one text too: the
    access log writes a line from it for less than from the values."""
    ours = told.get(keys.NAMESPACE)
    if ours is None or keys.USAGE_SOURCE not in ours:
        return told
    said = {**before, **ours}
    if keys.MODEL_NAME_OVERRIDE in said:  # the line has it from the route
        return told
    text = msgspec.json.encode(said)
    return {**told, keys.INTERNAL: {keys.INTERNAL_FACTS: f",{text[1:-1].decode()}"}}


class Pace:
    """Of one attempt, from now on; of none without a clock."""

    __slots__ = ("_began", "_clock", "_first")

    def __init__(self, clock: Clock | None) -> None:
        self._clock = clock
        self._began = 0.0 if clock is None else clock()
        self._first: float | None = None

    @property
    def first_seconds(self) -> float | None:
        """From the beginning to the first piece of a stream; None while there is none."""
        return None if self._first is None else self._first - self._began

    def told(self, told: Namespaces, translation: ResponseTranslation, *, ended: bool = False) -> Namespaces:
        """`told` with what a piece of a stream that goes out now adds: the first one the time until it, the last one
        (`ended`) the time between two tokens."""
        if self._clock is None or not translation.streamed or (self._first is not None and not ended):
            return told
        now, ours = self._clock(), dict[str, Value](told.get(keys.NAMESPACE, {}))
        if self._first is None:
            self._first = now
            ours[keys.LATENCY_TTFT] = int((now - self._began) * 1000)
        output = translation.usage.output
        if ended and output is not None and output > 1:
            ours[keys.LATENCY_ITL] = round((now - self._first) * 1000 / (output - 1), 3)
        return {**told, keys.NAMESPACE: ours}


UNTIMED: Final = Pace(None)
"""Of what is no stream."""
