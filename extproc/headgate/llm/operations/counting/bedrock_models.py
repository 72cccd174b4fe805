"""Of which models Bedrock counts tokens, and under which name.

<https://docs.aws.amazon.com/bedrock/latest/userguide/count-tokens.html>: Claude's, by their own id: an inference
profile's prefix is not known there.
"""

from typing import Final

_PROFILES: Final = ("us-gov.", "us.", "eu.", "apac.", "uk.", "au.", "jp.", "ca.", "global.")
_CLAUDE: Final = "anthropic.claude"


def is_counted(model: str) -> bool:
    """Whether Bedrock can be asked."""
    return _CLAUDE in model


def counted_name(model: str) -> str:
    """The model's own id: of an ARN, what stands behind its last slash; without the profile's prefix."""
    name = model.rpartition("/")[2]
    for prefix in _PROFILES:
        if name.startswith(prefix):
            return name.removeprefix(prefix)
    return name
