"""`additionalModelRequestFields`: what models behind Converse take beyond its own members, as far as other dialects
know it too."""

from typing import Any, Final, Literal

import msgspec
from headgate.llm.canonical import Reasoning
from headgate.llm.errors import RequestError
from headgate.llm.unknown_members import Found, Told, decode_known

PATH: Final = "additionalModelRequestFields"


class Fields(msgspec.Struct, gc=False):
    """What the additional fields say."""

    reasoning: Reasoning | None = None
    top_k: int | None = None
    beyond: dict[str, msgspec.Raw] = {}
    """What no other dialect knows, by JSON path."""


class _Thinking(Told, frozen=True):
    """Claude's `thinking` or `reasoning_config`."""

    type: Literal["enabled", "disabled", "adaptive", "between_tools"]
    budget_tokens: int | None = None
    display: str | None = None


class _NovaReasoning(Told, frozen=True, rename="camel"):
    type: Literal["enabled", "disabled"]
    max_reasoning_effort: str | None = None


class _OutputConfig(Told, frozen=True):
    effort: str | None = None


class _NovaInference(Told, frozen=True, rename="camel"):
    top_k: int | None = None


_MEMBERS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_THINKING: Final = msgspec.json.Decoder(_Thinking | str)


def decode_fields(raw: msgspec.Raw) -> Fields:
    """RequestError where a field that we read is of another type than its model takes."""
    fields = Fields()
    if bytes(raw) in (b"", b"null"):
        return fields
    try:
        members = _MEMBERS.decode(raw)
    except msgspec.DecodeError:
        raise RequestError("must be an object", path=PATH, code="invalid_value") from None
    for name, value in members.items():
        _take(fields, name, value)
    return fields


def _take(fields: Fields, name: str, value: msgspec.Raw) -> None:
    known = fields.reasoning or Reasoning()
    match name:
        case "thinking" | "reasoning_config":
            said: Any = _decode(_THINKING, value, (name, fields.beyond))
            if isinstance(said, str):  # compat: the plain word is an effort
                fields.reasoning = msgspec.structs.replace(known, effort=said)
            else:
                mode = "adaptive" if said.type == "between_tools" else said.type
                fields.reasoning = Reasoning(mode, said.budget_tokens, known.effort, said.display or "")
                if said.type == "between_tools":
                    fields.beyond[f"{PATH}.{name}.type"] = value
        case "reasoningConfig":
            nova = _decode(msgspec.json.Decoder(_NovaReasoning), value, (name, fields.beyond))
            fields.reasoning = Reasoning(nova.type, effort=nova.max_reasoning_effort or "")
        case "reasoning_effort":
            effort = _decode(msgspec.json.Decoder(str), value, (name, fields.beyond))
            fields.reasoning = msgspec.structs.replace(known, effort=effort)
        case "output_config":
            effort = _decode(msgspec.json.Decoder(_OutputConfig), value, (name, fields.beyond)).effort
            if effort:
                fields.reasoning = msgspec.structs.replace(known, effort=effort)
        case "top_k" | "k" | "topK":
            fields.top_k = _decode(msgspec.json.Decoder(int), value, (name, fields.beyond))
        case "inferenceConfig":
            fields.top_k = _decode(msgspec.json.Decoder(_NovaInference), value, (name, fields.beyond)).top_k
        case _:
            fields.beyond[f"{PATH}.{name}"] = value


def _decode(decoder: msgspec.json.Decoder[Any], value: msgspec.Raw, at: tuple[str, Found]) -> Any:
    """The value of a field; what it holds besides goes beyond."""
    name, beyond = at
    try:
        said, unknown = decode_known(decoder, value, f"{PATH}.{name}")
    except msgspec.DecodeError as error:
        reason = str(error)
        raise RequestError(reason[:1].lower() + reason[1:], path=f"{PATH}.{name}", code="invalid_value") from None
    beyond.update(unknown)
    return said
