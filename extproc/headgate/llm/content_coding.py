"""Bodies that come compressed although nobody asked for it: gzip and zlib, bounded."""

import zlib
from typing import Final

from headgate.llm.errors import RequestError

GZIP_MAGIC: Final = b"\x1f\x8b"
"""No JSON and no event stream begins so: the magic is as good as a `content-encoding` header that was not shown to
us."""

_AUTOMATIC_HEADER: Final = 32 + zlib.MAX_WBITS


def inflate_request(body: bytes, *, bytes_max: int) -> bytes:
    """A client's gzip body, inflated. RequestError 400 if it is broken, 413 if it would be larger than `bytes_max`."""
    inflater = zlib.decompressobj(_AUTOMATIC_HEADER)
    try:
        inflated = inflater.decompress(body, bytes_max + 1)
    except zlib.error as error:
        raise RequestError(f"the body is not valid gzip: {error}", code="invalid_gzip") from None
    if len(inflated) > bytes_max:
        raise RequestError(f"the body inflates to more than {bytes_max} bytes", status=413, code="request_too_large")
    if not inflater.eof:
        raise RequestError("the gzip body is cut off", code="invalid_gzip")
    return inflated


class Inflater:
    """Inflates a provider's answer as it comes. `bytes_max` bounds what one chunk may grow to."""

    __slots__ = ("_bytes_max", "_inflater")

    def __init__(self, *, bytes_max: int) -> None:
        self._inflater = zlib.decompressobj(_AUTOMATIC_HEADER)
        self._bytes_max = bytes_max

    def feed(self, data: bytes) -> bytes:
        """ValueError if the data is not gzip or grows beyond the bound."""
        try:
            inflated = self._inflater.decompress(data, self._bytes_max)
        except zlib.error as error:
            raise ValueError(str(error)) from None
        if self._inflater.unconsumed_tail:
            raise ValueError(f"a chunk inflates to more than {self._bytes_max} bytes")
        return inflated
