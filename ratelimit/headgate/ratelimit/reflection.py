"""`grpc.reflection` (v1 and v1alpha): tells tools like grpcurl which services there are, and their messages.

Written out by hand, as `headgate.runtime.http2.health` is: a message is a number and a text. The descriptors are those
of the protobuf classes.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FileDescriptor
from headgate.runtime.http2.frames import GrpcStatus
from headgate.runtime.http2.server import Call, OpenCall, Replies, Services

FILES_MAX: Final = 500
"""Files of one answer: those of all our services' messages are fewer."""

_BY_NAME, _BY_SYMBOL, _LIST = 3, 4, 7
"""The fields of a request that are answered."""
_ORIGINAL, _FILES, _SERVICES, _ERROR = 2, 4, 6, 7
"""The fields of a response."""


def services(names: Sequence[str]) -> Services:
    """To be merged into a server's services; `names` are those of the services to tell of."""

    def open_call(replies: Replies, headers: Mapping[str, str]) -> Call:
        del headers
        return _Reflection(replies, tuple(names))

    handlers: dict[str, OpenCall] = {
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo": open_call for version in ("v1", "v1alpha")
    }
    return handlers


class _Reflection:
    def __init__(self, replies: Replies, names: tuple[str, ...]) -> None:
        self._replies = replies
        self._names = names

    def receive(self, message: bytes) -> None:
        try:
            self._replies.send(answer(message, self._names))
        except ValueError as error:
            self._replies.end(GrpcStatus.INVALID_ARGUMENT, str(error))

    def half_closed(self) -> None:
        self._replies.end()

    def closed(self) -> None:
        return


def answer(request: bytes, names: Sequence[str]) -> bytes:
    """The response to one request; raises ValueError for what is none."""
    original = _field(_ORIGINAL, request)
    for number, value in _fields(request):
        text = value.decode(errors="replace")
        if number == _LIST:
            listed = b"".join(_field(1, _field(1, name.encode())) for name in names)
            return original + _field(_SERVICES, listed)
        if number in (_BY_NAME, _BY_SYMBOL):
            pool = descriptor_pool.Default()
            try:
                find = pool.FindFileByName if number == _BY_NAME else pool.FindFileContainingSymbol
                files = _with_dependencies(find(text))
            except KeyError:
                return original + _error(GrpcStatus.NOT_FOUND, f"{text} is not known here")
            return original + _field(_FILES, b"".join(_field(1, each.serialized_pb) for each in files))
    return original + _error(GrpcStatus.UNIMPLEMENTED, "extensions are not told")


def _error(status: GrpcStatus, message: str) -> bytes:
    return _field(_ERROR, b"\x08" + _varint(status.value) + _field(2, message.encode()))


def _with_dependencies(file: FileDescriptor) -> Sequence[FileDescriptor]:
    """The file and all that it needs, each once."""
    found: dict[str, FileDescriptor] = {}
    waiting = [file]
    while waiting and len(found) < FILES_MAX:
        each = waiting.pop()
        if each.name not in found:
            found[each.name] = each
            waiting.extend(each.dependencies)
    return tuple(found.values())


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Number and bytes of each length-delimited field; numbers are passed over."""
    position = 0
    while position < len(message):
        key, position = _read(message, position)
        size, position = _read(message, position)
        if key % 8 == 2:
            if position + size > len(message):
                raise ValueError("the message ends in a field")
            yield key // 8, message[position : position + size]
            position += size
        elif key % 8 != 0:
            raise ValueError("a field of an unknown kind")


def _read(message: bytes, position: int) -> tuple[int, int]:
    number = shift = 0
    while position < len(message) and shift < 64:
        byte = message[position]
        number |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return number, position
    raise ValueError("the message ends in a number")


def _field(number: int, value: bytes) -> bytes:
    return bytes((number << 3 | 2,)) + _varint(len(value)) + value


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number >= 0x80:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
