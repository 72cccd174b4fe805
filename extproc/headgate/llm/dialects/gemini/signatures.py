"""Thought signatures, across dialects.

Here a signature is bytes, written as base64, on any part; Google's own clients decode it and write it again, in the
URL's alphabet. Other providers' signatures are text that must come back letter for letter. So they go out to clients of
this dialect as the base64 of a mark and the text, and what comes back without the mark is Google's own.
"""

import base64
import binascii
from typing import Final

SKIP: Final = base64.b64encode(b"skip_thought_signature_validator").decode()
"""Stands for a signature that never was: Gemini 3 refuses calls without any.
<https://ai.google.dev/gemini-api/docs/thought-signatures>"""

_SIGNED: Final = b"headgate:"
_REDACTED: Final = b"headgate-redacted:"


def wrap_signature(signature: str) -> str:
    """Another provider's signature, as a client of this dialect gets it."""
    return base64.b64encode(_SIGNED + signature.encode()).decode()


def wrap_redacted(data: str) -> str:
    """Another provider's encrypted reasoning, as the signature of an empty thought."""
    return base64.b64encode(_REDACTED + data.encode()).decode()


def unwrap(signature: str) -> tuple[str, str]:
    """Signature and encrypted reasoning that `wrap_…` wrote, one of them; both empty if it was Google."""
    try:
        text = base64.b64decode(signature.translate(_STANDARD) + "=" * (-len(signature) % 4), validate=True)
        if text.startswith(_SIGNED):
            return text[len(_SIGNED) :].decode(), ""
        if text.startswith(_REDACTED):
            return "", text[len(_REDACTED) :].decode()
    except (binascii.Error, ValueError):
        pass
    return "", ""


_STANDARD: Final = str.maketrans("-_", "+/")
