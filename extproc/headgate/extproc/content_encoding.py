"""Decompresses a provider's answer that came compressed although we asked for identity.

Incremental and bounded: nothing is decompressed twice, and the plain size is held below a maximum.
"""

import importlib
import zlib
from typing import Final, Protocol

from headgate.llm.errors import UpstreamError

IDENTITY: Final = frozenset(("", "identity"))


class ContentDecoder(Protocol):
    """Compressed bytes in, plain bytes out. UpstreamError 502 on bad data, and on more than the maximum."""

    def feed(self, data: bytes) -> bytes: ...

    def close(self) -> None:
        """UpstreamError if the data ended in the middle."""
        ...


class IdentityDecoder:
    """Nothing to do."""

    def feed(self, data: bytes) -> bytes:
        return data

    def close(self) -> None:
        return


_NO_ENCODING: Final = IdentityDecoder()


class ZlibDecoder:
    """gzip, zlib and raw deflate. Several gzip members in a row are one body (RFC 9110 8.4.1.3)."""

    def __init__(self, window_bits: int, plain_bytes_max: int) -> None:
        self._window_bits = window_bits
        self._remaining = plain_bytes_max
        self._inflate = zlib.decompressobj(window_bits)
        self._started = False

    def feed(self, data: bytes) -> bytes:
        plain: list[bytes] = []
        while data:
            self._choose_deflate(data)
            try:
                piece = self._inflate.decompress(data, self._remaining + 1)
            except zlib.error as error:
                raise UpstreamError(f"the provider's compressed answer is broken: {error}") from None
            self._remaining -= len(piece)
            if self._remaining < 0:
                raise UpstreamError("the provider's answer is larger than allowed when decompressed")
            plain.append(piece)
            data = self._inflate.unused_data
            if self._inflate.eof:
                self._inflate = zlib.decompressobj(self._window_bits)
                self._started = False
        return plain[0] if len(plain) == 1 else b"".join(plain)

    def close(self) -> None:
        if self._started:
            raise UpstreamError("the provider's compressed answer is cut short")

    def _choose_deflate(self, data: bytes) -> None:
        """`deflate` is a zlib stream by the RFC and a raw one by some servers: the first byte tells."""
        if not self._started and self._window_bits == zlib.MAX_WBITS and data[0] & 0x0F != 8:
            self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        self._started = True


_WINDOW_BITS: Final = {
    "gzip": zlib.MAX_WBITS | 16,
    "x-gzip": zlib.MAX_WBITS | 16,
    "deflate": zlib.MAX_WBITS,
}


class BrotliDecoder:
    """br, where the `brotli` package is installed."""

    def __init__(self, plain_bytes_max: int) -> None:
        try:
            self._brotli = importlib.import_module("brotli")
        except ImportError:
            raise UpstreamError("the provider answered in content-encoding br, which was not asked for") from None
        self._decompressor = self._brotli.Decompressor()
        self._remaining = plain_bytes_max

    def feed(self, data: bytes) -> bytes:
        try:
            plain: bytes = self._decompressor.process(data)
        except self._brotli.error as error:
            raise UpstreamError(f"the provider's compressed answer is broken: {error}") from None
        self._remaining -= len(plain)
        if self._remaining < 0:
            raise UpstreamError("the provider's answer is larger than allowed when decompressed")
        return plain

    def close(self) -> None:
        if not self._decompressor.is_finished():
            raise UpstreamError("the provider's compressed answer is cut short")


def content_decoder(encoding: str, plain_bytes_max: int) -> ContentDecoder:
    """For the value of `content-encoding`; UpstreamError 502 if it is none we can read."""
    if not encoding:
        return _NO_ENCODING
    name = encoding.strip().lower()
    if name in IDENTITY:
        return _NO_ENCODING
    if name in _WINDOW_BITS:
        return ZlibDecoder(_WINDOW_BITS[name], plain_bytes_max)
    if name == "br":
        return BrotliDecoder(plain_bytes_max)
    raise UpstreamError(f"the provider answered in content-encoding {name}, which was not asked for")
