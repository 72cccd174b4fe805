"""What OpenInference's variables say of captured content: what is left out of it.

https://github.com/Arize-ai/openinference/blob/main/spec/configuration.md

Rule: they are read where spans have OpenInference's names and content is captured. A value that is neither true nor
false hides, since somebody meant to.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from headgate.contract.otel import CAPTURE_VARIABLE, CONVENTION_VARIABLE, Convention, captured_content, convention

PREFIX: Final = "OPENINFERENCE_"
_IMAGE_MAX: Final = f"{PREFIX}BASE64_IMAGE_MAX_LENGTH"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hiding:
    """What is not told of a request and its answer."""

    inputs: bool = False
    outputs: bool = False
    input_text: bool = False
    output_text: bool = False
    input_images: bool = False
    parameters: bool = False
    image_length_max: int = 0
    """Images that came as base64 are told up to this many characters, and none unless it is said."""

    @property
    def words(self) -> bool:
        """Whether any words are hidden."""
        return self.inputs or self.outputs or self.input_text or self.output_text


NOTHING_HIDDEN: Final = Hiding()
_HIDES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "HIDE_INPUTS": "inputs",
        "HIDE_OUTPUTS": "outputs",
        # what is the input's value is made of its messages
        "HIDE_INPUT_MESSAGES": "inputs",
        "HIDE_OUTPUT_MESSAGES": "outputs",
        "HIDE_INPUT_TEXT": "input_text",
        "HIDE_OUTPUT_TEXT": "output_text",
        "HIDE_INPUT_IMAGES": "input_images",
        "HIDE_LLM_INVOCATION_PARAMETERS": "parameters",
    }
)
_NEVER_TOLD: Final = frozenset({"HIDE_EMBEDDINGS_TEXT", "HIDE_EMBEDDINGS_VECTORS", "HIDE_PROMPTS", "HIDE_CHOICES"})
"""Of what is not captured anyway."""


def hiding(environment: Mapping[str, str]) -> Hiding:
    """What variables hide; nothing where others' names are used."""
    if convention(environment) is not Convention.OPENINFERENCE:
        return NOTHING_HIDDEN
    found = NOTHING_HIDDEN
    for name, member in _HIDES.items():
        if _said(environment, name) not in ("", "false", "0"):
            found = replace(found, **{member: True})
    return replace(found, image_length_max=_length(environment) or 0)


def notes(environment: Mapping[str, str]) -> Iterator[str]:
    """What the user has to be told of these variables."""
    named = sorted(name for name in environment if name.startswith(PREFIX) and environment[name].strip())
    if not named:
        return
    if convention(environment) is not Convention.OPENINFERENCE or not captured_content(environment).any:
        yield (
            f"{', '.join(named)} not read: content is told only where {CAPTURE_VARIABLE} asks, less --capture-rules, "
            f"and these count with {CONVENTION_VARIABLE}={Convention.OPENINFERENCE}"
        )
        return
    for name in named:
        if name == _IMAGE_MAX:
            if _length(environment) is None:
                yield f"{name}={environment[name]} is not read: a whole number is needed; no image is told"
        elif (short := name.removeprefix(PREFIX)) not in _HIDES and short not in _NEVER_TOLD:
            yield f"{name} is not known: {', '.join(PREFIX + each for each in _HIDES)} are"
        elif _said(environment, short) not in ("true", "false", "1", "0"):
            yield f"{name}={environment[name]} is not read: true or false is needed; true is taken"


def _said(environment: Mapping[str, str], name: str) -> str:
    return environment.get(PREFIX + name, "").strip().lower()


def _length(environment: Mapping[str, str]) -> int | None:
    """None for what is no number."""
    text = environment.get(_IMAGE_MAX, "").strip() or "0"
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else None
