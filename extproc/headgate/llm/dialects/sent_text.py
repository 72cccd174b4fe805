"""JSON of a provider's that goes on as text."""

import msgspec
from headgate.llm.errors import UpstreamError


def text_sent(raw: msgspec.Raw | bytes) -> str:
    """The JSON as text. UpstreamError where it is not UTF-8, which a decoder that leaves it raw does not look for."""
    try:
        return bytes(raw).decode()
    except UnicodeDecodeError:
        raise UpstreamError("the provider's answer is not valid UTF-8") from None
