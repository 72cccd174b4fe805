"""What Cohere's answers tell of usage: tokens where they are told, else the units that are billed."""

from typing import Final

import msgspec
from headgate.llm.losses import Loss
from headgate.llm.marks import NO_MARKS, Marks
from headgate.llm.usage import NO_USAGE, Usage


class _Tokens(msgspec.Struct, frozen=True):
    input_tokens: float | None = None
    output_tokens: float | None = None


class _Meta(msgspec.Struct, frozen=True):
    tokens: _Tokens | None = None
    billed_units: _Tokens | None = None


class _Answer(msgspec.Struct, frozen=True):
    meta: _Meta | None = None


_decode = msgspec.json.Decoder(_Answer).decode


WARNED: Final = Loss("answer.meta.warnings", "dropped", "answers of this dialect have no warnings")


class RerankUsage:
    """Usage of rerank; the answer names no model."""

    marks: Marks = NO_MARKS

    __slots__ = ("response_model", "usage")

    def __init__(self) -> None:
        self.usage: Usage = NO_USAGE
        self.response_model = ""

    def read(self, data: bytes) -> None:
        """A whole answer."""
        meta = _decode(data).meta
        if meta is None:
            return
        told = meta.tokens or meta.billed_units
        if told is None or (told.input_tokens is None and told.output_tokens is None):
            return
        given, written = int(told.input_tokens or 0), int(told.output_tokens or 0)
        self.usage = Usage(input=given, output=written, total=given + written)

    def is_wanted(self, data: bytes) -> bool:
        """There is no stream of it."""
        return bool(data)
