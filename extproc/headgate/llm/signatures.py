"""Whose signature a thought bears: each provider refuses a request with another's.

OpenAI's bear the id of their item (`openai_responses.wire`), Google's get a mark when they are read; Claude's have
neither, whoever serves it. So a conversation can go on with another provider: what that one would refuse stays behind.
"""

from typing import Final

_GOOGLE: Final = "google:"
_OPENAI: Final = "rs_"

ELSEWHERE: Final = "what another provider signed is not taken"
"""The reason of the loss."""


def googles(signature: str) -> str:
    """A signature that Google made, marked."""
    return _GOOGLE + signature


def google_signature(signature: str) -> str:
    """A signature as Google made it; empty for others'."""
    return signature.removeprefix(_GOOGLE) if signature.startswith(_GOOGLE) else ""


def is_claudes(signature: str) -> bool:
    """Nothing says that somebody else made it."""
    return not signature.startswith((_GOOGLE, _OPENAI))
