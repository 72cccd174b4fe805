"""The web search of chat completions, read and written.

OpenAI's member is `web_search_options`, which its search models take. Clients also send a tool `web_search` in the form
of the Responses API, or (compat) `google_search`; both are the same search to another provider.
"""

from typing import Any, Final

import msgspec
from headgate.llm.canonical import UserLocation, WebSearchTool
from headgate.llm.dialects.openai_chat import wire
from headgate.llm.errors import RequestError
from headgate.llm.losses import Loss
from headgate.llm.names import DialectName
from headgate.llm.unknown_members import Found, Told, decode_known

PATH: Final = "web_search_options"

Members = dict[str, Any]


class _Filters(Told, frozen=True):
    allowed_domains: list[str] | None = None


class _Place(Told, frozen=True):
    type: str = "approximate"
    city: str | None = None
    country: str | None = None
    region: str | None = None
    timezone: str | None = None


class _WebSearch(Told, frozen=True):
    type: str = ""
    filters: _Filters | None = None
    search_context_size: str | None = None
    user_location: _Place | None = None


class _Google(Told, frozen=True):
    exclude_domains: list[str] | None = None


class _GoogleSearch(Told, frozen=True):
    type: str = ""
    google_search: _Google | None = None


_TOOL: Final = msgspec.json.Decoder(_WebSearch)
_GOOGLE: Final = msgspec.json.Decoder(_GoogleSearch)

TOOLS: Final = frozenset(("web_search", "web_search_preview", "google_search"))
"""Types of tools that are a web search."""


def search_of(options: wire.WebSearchOptions, raw: msgspec.Raw) -> WebSearchTool:
    """The search that `web_search_options` turns on."""
    where = options.user_location.approximate if options.user_location is not None else None
    return WebSearchTool(
        context_size=options.search_context_size or "",
        location=_location(where),
        dialect=DialectName.OPENAI_CHAT,
        raw=raw,
        path=PATH,
    )


def search_tool(kind: str, raw: msgspec.Raw, path: str, beyond: Found) -> WebSearchTool:
    """The search that a tool of one of `TOOLS` is; what it says that nobody knows goes `beyond`."""
    try:
        if kind == "google_search":
            google, unknown = decode_known(_GOOGLE, raw, path)
            beyond.update(unknown)
            blocked = tuple((google.google_search or _Google()).exclude_domains or ())
            return WebSearchTool(blocked_domains=blocked, dialect=DialectName.OPENAI_CHAT, raw=raw)
        tool, unknown = decode_known(_TOOL, raw, path)
        beyond.update(unknown)
    except msgspec.ValidationError as error:
        raise RequestError(str(error), path=path) from None
    return WebSearchTool(
        allowed_domains=tuple((tool.filters or _Filters()).allowed_domains or ()),
        context_size=tool.search_context_size or "",
        location=_location(tool.user_location),
        dialect=DialectName.OPENAI_CHAT,
        raw=raw,
    )


def _location(place: wire.Place | _Place | None) -> UserLocation | None:
    if place is None:
        return None
    return UserLocation(place.city or "", place.region or "", place.country or "", place.timezone or "")


def search_options(tool: WebSearchTool, path: str, losses: list[Loss]) -> Members:
    """The member `web_search_options`; what it cannot say is a loss."""
    unsayable = (
        ("domains", bool(tool.allowed_domains or tool.blocked_domains)),
        ("limit of uses", tool.uses_max is not None),
    )
    said = " and no ".join(name for name, given in unsayable if given)
    if said:
        losses.append(Loss(path, "changed", f"this dialect's search knows no {said}"))
    options: Members = {}
    if tool.context_size:
        options["search_context_size"] = tool.context_size
    where = tool.location
    if where is not None:
        named = {"city": where.city, "region": where.region, "country": where.country, "timezone": where.timezone}
        place = {name: value for name, value in named.items() if value}
        options["user_location"] = {"type": "approximate", "approximate": place}
    return options
