"""OpenAI's legacy completions as they are on the wire: what is read of a request.

Source: <https://platform.openai.com/docs/api-reference/completions>.
"""

from types import MappingProxyType
from typing import Final

import msgspec
from headgate.llm.dialects.openai_chat.wire import ABSENT, StreamOptions


class Body(msgspec.Struct, frozen=True):
    """What is read of a request; every other member travels in `extras`."""

    model: str = ""
    prompt: str | list[str | int | list[int]] | None = None
    suffix: str | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    n: int | None = None
    logprobs: int | None = None
    echo: bool | None = None
    stop: str | list[str] | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: msgspec.Raw = ABSENT
    seed: int | None = None
    user: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None


REQUEST_MEMBERS: Final = frozenset(Body.__struct_fields__)

REQUEST_DECODER: Final = msgspec.json.Decoder(Body)


OWN_NAMES: Final = MappingProxyType(
    {
        "top_logprobs": "logprobs",
        "messages": "prompt",
    }
)
"""See `ChatDialect.own_names`."""
