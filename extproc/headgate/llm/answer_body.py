"""A provider's answer that is kept until it has ended, bounded."""

from headgate.llm.content_coding import GZIP_MAGIC, Inflater
from headgate.llm.errors import UpstreamError
from headgate.llm.framing.surrogates import whole_characters


class AnswerBody:
    """Gathers chunks without copying them; `bytes_max` bounds the answer as it comes, and inflated."""

    __slots__ = ("_bytes_max", "_chunks", "_size")

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._chunks: list[bytes] = []
        self._size = 0

    def add(self, chunk: bytes) -> None:
        """UpstreamError above the maximum."""
        self._size += len(chunk)
        if self._size > self._bytes_max:
            raise UpstreamError(f"the provider's answer is larger than {self._bytes_max} bytes")
        self._chunks.append(chunk)

    def take(self) -> bytes:
        """The whole answer, inflated if it came compressed. UpstreamError if that is broken or too large."""
        chunks, self._chunks = self._chunks, []
        body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        if not body.startswith(GZIP_MAGIC):
            return whole_characters(body)
        try:
            return whole_characters(Inflater(bytes_max=self._bytes_max).feed(body))
        except ValueError as error:
            raise UpstreamError(f"the provider's answer is not valid gzip: {error}") from None
