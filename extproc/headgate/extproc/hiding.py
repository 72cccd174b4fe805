"""What OpenInference's variables take out of captured content, whatever its attributes are called. Pure."""

from collections.abc import Mapping, Sequence
from typing import Final

from headgate.contract.openinference import NOTHING_HIDDEN, Hiding
from headgate.llm.content import Json
from headgate.llm.openinference import HIDDEN

_TEXTS: Final = ("text", "reasoning", "refusal")


def hide(said: Mapping[str, Json], hiding: Hiding) -> Mapping[str, Json]:
    """`said` has `system`, `input`, `output`, `tools` and `stop`; what is hidden whole is `HIDDEN`."""
    if hiding == NOTHING_HIDDEN:
        return said
    left = dict(said)
    if hiding.inputs:
        left |= {"system": [], "input": HIDDEN, "tools": []}
    elif hiding.input_text or hiding.input_images:
        left["system"] = _parts(left["system"], text=hiding.input_text, images=hiding.input_images)
        left["input"] = _messages(left["input"], text=hiding.input_text, images=hiding.input_images)
    if hiding.parameters:
        left["stop"] = []
    if hiding.outputs:
        left["output"] = HIDDEN
    elif hiding.output_text:
        left["output"] = _messages(left["output"], text=True, images=False)
    return left


def _messages(listed: Json, *, text: bool, images: bool) -> Json:
    if isinstance(listed, str) or not isinstance(listed, Sequence):
        return HIDDEN if text else listed  # as rules left it
    return [
        {**message, "parts": _parts(message.get("parts"), text=text, images=images)}
        if isinstance(message, Mapping)
        else HIDDEN
        for message in listed
    ]


def _parts(listed: Json, *, text: bool, images: bool) -> Json:
    if isinstance(listed, str) or not isinstance(listed, Sequence):
        return HIDDEN if text else listed
    return [_part(part, text=text, images=images) for part in listed]


def _part(part: Json, *, text: bool, images: bool) -> Json:
    if not isinstance(part, Mapping):
        return HIDDEN
    kind = part.get("type")
    if text and kind in _TEXTS:
        return {**part, "content": HIDDEN}
    if kind == "tool_call_response":
        response = part.get("response")
        if isinstance(response, str):
            return {**part, "response": HIDDEN} if text else part
        return {**part, "response": _parts(response, text=text, images=images)}
    if images and part.get("modality") == "image":
        return {"type": "image", "modality": "image"}
    return part
