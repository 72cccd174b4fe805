"""A request body on its way in, bounded."""

from headgate.llm.errors import RequestError


class BodyBuffer:
    """Gathers chunks without copying them until the body is taken; a body that came whole is never copied."""

    __slots__ = ("_bytes_max", "_chunks", "_size")

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._chunks: list[bytes] = []
        self._size = 0

    def add(self, chunk: bytes) -> None:
        """RequestError 413 above the maximum."""
        self._size += len(chunk)
        if self._size > self._bytes_max:
            raise RequestError(
                f"the request body is larger than {self._bytes_max} bytes", status=413, code="request_too_large"
            )
        self._chunks.append(chunk)

    def take(self) -> bytes:
        """The whole body; empties the buffer."""
        chunks, self._chunks = self._chunks, []
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)
