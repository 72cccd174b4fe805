"""URLs as OpenAI's clients send them: links, or the data itself."""

import re
from typing import Final

from headgate.llm.canonical import Base64Source, Source, UrlSource
from headgate.llm.errors import RequestError

_DATA_URI: Final = re.compile(r"data:([^,]*),", re.ASCII)


def source_of(url: str, path: str) -> Source:
    """A URL or the data in it. Only base64 data URIs: nobody sends the other kind, and no provider takes it."""
    found = _DATA_URI.match(url)
    if found is None:
        if url[:5].lower() == "data:":
            raise RequestError("is a data URI without a comma; must be data:<type>;base64,<data>", path=path)
        if not url:
            raise RequestError("must not be empty", path=path)
        return UrlSource(url)
    media_type, *parameters = found.group(1).split(";")
    if not any(parameter.strip().lower() == "base64" for parameter in parameters):
        raise RequestError("is a data URI without base64; must be data:<type>;base64,<data>", path=path)
    return Base64Source(media_type.strip().lower(), url[found.end() :])
