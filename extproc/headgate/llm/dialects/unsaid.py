"""What several dialects report of a request because they have no word for it: citations, cache marks, sampling."""

from collections.abc import Sequence
from typing import Final

import msgspec
from headgate.llm.canonical import (
    CachePoint,
    ChatRequest,
    DocumentPart,
    FunctionTool,
    ImagePart,
    Message,
    Sampling,
    TextPart,
    ToolResultPart,
    tool_path,
)
from headgate.llm.losses import Loss


def report_uncited(messages: Sequence[Message], losses: list[Loss]) -> None:
    """A loss for the documents that the answer shall cite, if there are any."""
    for message in messages:
        for index, part in enumerate(message.parts):
            path = f"{message.path}.content[{index}]"
            parts = [(path, part)]
            if type(part) is ToolResultPart:
                parts = [(f"{path}.content[{inner}]", each) for inner, each in enumerate(part.content)]
            for place, each in parts:
                if type(each) is DocumentPart and each.cited:
                    reason = "answers of this dialect do not cite documents"
                    losses.append(Loss(f"{place}.citations", "dropped", reason))
                    return


def report_names(messages: Sequence[Message], losses: list[Loss]) -> None:
    """A loss for each name of a participant."""
    reason = "this dialect has no names of participants"
    losses += [Loss(f"{message.path}.name", "dropped", reason) for message in messages if message.name]


def report_cited_history(messages: Sequence[Message], losses: list[Loss]) -> None:
    """A loss for the citations of what the model said before, if there are any: its texts go back without them."""
    for message in messages:
        for part in message.parts:
            if type(part) is TextPart and part.citations:
                losses.append(Loss(f"{message.path}.citations", "dropped", "a history of this dialect cites nothing"))
                return


_NOT_ASKED: Final = Sampling()


def report_sampling(sampling: Sampling, losses: list[Loss], reason: str) -> None:
    """A loss for each way to choose tokens that only some dialects know, if it is asked for."""
    others = msgspec.structs.replace(sampling, temperature=None, top_p=None, top_k=None)
    if others == _NOT_ASKED:  # as nearly always
        return
    asked = (
        ("n", sampling.candidates not in (None, 1)),
        ("seed", sampling.seed is not None),
        ("frequency_penalty", bool(sampling.frequency_penalty)),
        ("presence_penalty", bool(sampling.presence_penalty)),
        ("logprobs", bool(sampling.logprobs)),
        ("top_logprobs", bool(sampling.top_logprobs)),
        ("logit_bias", sampling.logit_bias is not None and bytes(sampling.logit_bias) != b"{}"),
    )
    for path, present in asked:
        if present:
            losses.append(Loss(path, "dropped", reason))


def report_cache_points(request: ChatRequest, losses: list[Loss], *, except_parts: bool = False) -> None:
    """A loss for the first mark for a cache, on parts or on tools, where providers cache whatever begins alike; with
    `except_parts` not for those on texts, images and documents, which are said."""
    place = _marked(request, except_parts=except_parts)
    if place:
        losses.append(Loss(place, "emulated", "providers of this dialect cache by prefix"))


def _marked(request: ChatRequest, *, except_parts: bool) -> str:
    """Where the first mark is."""
    for message in request.messages:
        for index, part in enumerate(message.parts):
            cache: CachePoint | None = getattr(part, "cache", None)
            if cache is None:
                continue
            if not (except_parts and isinstance(part, TextPart | ImagePart | DocumentPart)):
                content = "" if message.path == "system" else ".content"
                return cache.path or f"{message.path}{content}[{index}].cache_control"
    for index, tool in enumerate(request.tools):
        if isinstance(tool, FunctionTool) and tool.cache is not None:
            return f"{tool_path(tool, index)}.cache_control"
    return ""
