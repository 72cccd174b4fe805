"""What Envoy tells in attributes, where it is configured to skip header messages."""

from typing import Final

from headgate.contract import metadata as keys
from headgate.extproc.events import Context, Headers

_HEADER_PREFIX: Final = "request.headers['"


def headers_of(context: Context) -> Headers:
    """Request headers that came as attributes: `request.path`, `request.headers['name']`."""
    found: dict[str, str] = {}
    for name, value in context.attributes.items():
        if not isinstance(value, str):
            continue
        if name == "request.path":
            found[":path"] = value
        elif name.startswith(_HEADER_PREFIX):
            found[name[len(_HEADER_PREFIX) : -2]] = value
    original = context.metadata.get(keys.INTERNAL, {}).get(keys.INTERNAL_PATH)
    if isinstance(original, str):
        found[":path"] = original
    return found


def status_of(context: Context) -> int:
    """The provider's status where header messages are skipped; 0 if it was not asked for or is not known."""
    code = context.attributes.get("response.code")
    return int(code) if isinstance(code, int | float) else 0
