"""What OpenAI's clients say beyond OpenAI's API for the sake of Gemini.

compat: `safetySettings`, `generationConfig.media_resolution`, `guided_choice`, `guided_regex`, and tools of type
`google_search` and `enterprise_search`. Further: Google's own `extra_body.google` (`thinking_config`,
`cached_content`), `modalities`, `audio`.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from headgate.llm.canonical import ChatRequest, OpaqueTool
from headgate.llm.dialects.gemini.proto_names import camel
from headgate.llm.dialects.gemini.schema import is_list, is_object
from headgate.llm.dialects.speech import WAV
from headgate.llm.errors import RequestError
from headgate.llm.losses import Loss
from headgate.llm.names import DialectName
from headgate.llm.unknown_members import Told, decode_known

Members = dict[str, Any]


class Guided(msgspec.Struct, frozen=True):
    """Constrained decoding in vLLM's words."""

    path: str
    members: Members


class Extensions(msgspec.Struct, frozen=True):
    """What was found, as members of this dialect."""

    guided: Guided | None = None
    media_resolution: object = None
    thinking_config: object = None
    modalities: tuple[str, ...] = ()
    voice: str = ""
    audio_format: str = ""
    """In which the client wants to hear the answer; empty if it does not want to."""
    top_level: Members = {}
    """Members of the body itself."""


class _Audio(Told, frozen=True):
    voice: msgspec.Raw = msgspec.Raw(b"null")
    format: str = ""


_UNKNOWN: Final = "unknown to this dialect"


def read_extensions(request: ChatRequest, losses: list[Loss]) -> Extensions:
    """The extensions of a request; members of other meaning are losses."""
    members = request.extras.get(DialectName.OPENAI_CHAT, {})
    if not members:
        return Extensions()
    guided = _guided(members)
    config: Mapping[str, Any] = _object(members, "generationConfig")
    google: Mapping[str, Any] = _camel(_object(members, "extra_body").get("google") or _object(members, "google"))
    top_level: Members = {}
    if "safetySettings" in members:
        top_level["safetySettings"] = _camel(msgspec.json.decode(members["safetySettings"]))
    for name in ("cachedContent", "cached_content"):
        if name in members:
            top_level["cachedContent"] = msgspec.json.decode(members[name])
    if "cachedContent" in google:
        top_level["cachedContent"] = google["cachedContent"]
    unknown = (name for name in members if name not in _KNOWN and not _OF_GOOGLE_SEARCH.match(name))
    losses.extend(Loss(name, "dropped", _UNKNOWN) for name in unknown)
    modalities = _modalities(members)
    speaks = "AUDIO" in modalities
    audio = _audio(members, losses)
    if "audio" in members and not speaks:
        losses.append(Loss("audio", "dropped", "no sound is asked for in `modalities`"))
    return Extensions(
        guided=guided,
        media_resolution=config.get("media_resolution", config.get("mediaResolution")),
        thinking_config=google.get("thinkingConfig"),
        modalities=modalities,
        voice=_voice(audio) if speaks else "",
        audio_format=(audio.format or WAV) if speaks else "",
        top_level=top_level,
    )


_KNOWN: Final = frozenset(
    (
        "safetySettings",
        "generationConfig",
        "guided_choice",
        "guided_regex",
        "guided_json",
        "extra_body",
        "google",
        "cachedContent",
        "cached_content",
        "modalities",
        "audio",
    )
)

_OF_GOOGLE_SEARCH: Final = re.compile(r"tools\[\d+\]\.google_search\.")
"""The path of a setting of `google_search`, all of which `google_tool` passes on."""


def _object(members: Mapping[str, msgspec.Raw], name: str) -> dict[str, Any]:
    raw = members.get(name)
    if raw is None:
        return {}
    value = msgspec.json.decode(raw)
    if not is_object(value):
        raise RequestError("must be an object", path=name, code="invalid_value")
    return value


def _camel(value: Any) -> Any:
    if is_object(value):
        return {camel(name): _camel(inner) for name, inner in value.items()}
    if is_list(value):
        return [_camel(item) for item in value]
    return value


def _guided(members: Mapping[str, msgspec.Raw]) -> Guided | None:
    given = [name for name in ("guided_choice", "guided_regex", "guided_json") if name in members]
    if not given:
        return None
    if len(given) > 1:
        raise RequestError(f"cannot be given together with {given[0]}", path=given[1], code="invalid_value")
    name = given[0]
    value = msgspec.json.decode(members[name])
    if name == "guided_choice":
        return Guided(name, {"responseMimeType": "text/x.enum", "responseSchema": {"type": "STRING", "enum": value}})
    if name == "guided_regex":
        schema = {"type": "STRING", "pattern": value}
        return Guided(name, {"responseMimeType": "application/json", "responseSchema": schema})
    return Guided(name, {})  # beside a `response_format`, or it would be one


def _modalities(members: Mapping[str, msgspec.Raw]) -> tuple[str, ...]:
    if "modalities" not in members:
        return ()
    try:
        return tuple(word.upper() for word in msgspec.json.decode(members["modalities"], type=list[str]))
    except msgspec.ValidationError:
        raise RequestError("must be a list of strings", path="modalities", code="invalid_value") from None


_AUDIO: Final = msgspec.json.Decoder(_Audio)


def _audio(members: Mapping[str, msgspec.Raw], losses: list[Loss]) -> _Audio:
    if "audio" not in members:
        return _Audio()
    try:
        audio, unknown = decode_known(_AUDIO, members["audio"], "audio")
        losses.extend(Loss(name, "dropped", _UNKNOWN) for name in unknown)
        return audio
    except msgspec.ValidationError:
        raise RequestError("must be an object with voice and format", path="audio", code="invalid_value") from None


def _voice(audio: _Audio) -> str:
    try:
        return msgspec.json.decode(audio.voice, type=str | None) or ""
    except msgspec.ValidationError:
        # A voice of the customer's own at OpenAI, by its id.
        raise RequestError("must be the name of a voice here", path="audio.voice", code="invalid_value") from None


_TOOLS: Final[Mapping[str, str]] = {
    "google_search": "googleSearch",
    "enterprise_search": "enterpriseWebSearch",
    "url_context": "urlContext",
    "code_execution": "codeExecution",
    "google_maps": "googleMaps",
}


def is_google_search(raw: msgspec.Raw) -> bool:
    """A web search in Google's words (`{"type": "google_search", …}`), of which no other dialect knows every member."""
    members = msgspec.json.decode(raw)
    return is_object(members) and members.get("type") == "google_search"


def google_tool(tool: OpaqueTool) -> object | None:
    """A tool that Google runs, in this dialect; None for any other."""
    if tool.dialect is DialectName.GEMINI:
        return tool.raw
    name = _TOOLS.get(tool.kind)
    if name is None or tool.dialect is not DialectName.OPENAI_CHAT:
        return None
    members = msgspec.json.decode(tool.raw)
    settings = members.get(tool.kind) if is_object(members) else None
    return {name: _camel(settings) if is_object(settings) else {}}
