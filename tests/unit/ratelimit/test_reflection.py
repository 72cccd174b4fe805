"""gRPC reflection: services are listed, and their messages can be made of what is told alone."""

from typing import Any

import pytest
from envoy.service.ratelimit.v3.rls_pb2 import RateLimitRequest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from headgate.ratelimit import reflection, wire

NAMES = (wire.SERVICE, "grpc.health.v1.Health")


def request(field: int, text: str) -> bytes:
    return bytes((field << 3 | 2, len(text))) + text.encode()


def response(encoded: bytes) -> Any:
    """A response, read by a schema that is written down here."""
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(SCHEMA.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("t.Response")).FromString(encoded)


def _message(name: str, *fields: tuple[str, int, int, str, bool]) -> descriptor_pb2.DescriptorProto:
    made = descriptor_pb2.DescriptorProto(name=name)
    for field, number, kind, of, repeated in fields:
        added: Any = made.field.add(name=field, number=number)
        added.type, added.label = kind, 3 if repeated else 1
        if of:
            added.type_name = of
    return made


BYTES, STRING, INT32, MESSAGE = 12, 9, 5, 11
SCHEMA = descriptor_pb2.FileDescriptorProto(
    name="t.proto",
    package="t",
    syntax="proto3",
    message_type=[
        _message("Files", ("file", 1, BYTES, "", True)),
        _message("Service", ("name", 1, STRING, "", False)),
        _message("Services", ("service", 1, MESSAGE, ".t.Service", True)),
        _message("Error", ("code", 1, INT32, "", False), ("message", 2, STRING, "", False)),
        _message(
            "Response",
            ("original", 2, BYTES, "", False),
            ("files", 4, MESSAGE, ".t.Files", False),
            ("services", 6, MESSAGE, ".t.Services", False),
            ("error", 7, MESSAGE, ".t.Error", False),
        ),
    ],
)


def test_lists_services() -> None:
    asked = request(7, "*")
    told = response(reflection.answer(asked, NAMES))
    assert told.original == asked
    assert [each.name for each in told.services.service] == list(NAMES)


@pytest.mark.parametrize(("field", "text"), [(4, wire.SERVICE), (3, "envoy/service/ratelimit/v3/rls.proto")])
def test_tells_files_that_are_enough_to_speak(field: int, text: str) -> None:
    told = response(reflection.answer(request(field, text), NAMES))
    pool = descriptor_pool.DescriptorPool()
    files = {each.name: each for each in map(descriptor_pb2.FileDescriptorProto.FromString, told.files.file)}
    added: set[str] = set()

    def add(name: str) -> None:
        if name not in added:
            added.add(name)
            for dependency in files[name].dependency:
                add(dependency)
            pool.AddSerializedFile(files[name].SerializeToString())

    for name in files:
        add(name)
    method = pool.FindServiceByName(wire.SERVICE).methods_by_name[wire.METHOD]
    made: Any = message_factory.GetMessageClass(method.input_type)(domain="d")
    assert RateLimitRequest.FromString(made.SerializeToString()).domain == "d"


@pytest.mark.parametrize(
    ("asked", "code"), [(request(4, "nobody.Knows"), 5), (request(3, "no.proto"), 5), (request(6, "x.Y"), 12)]
)
def test_what_is_not_known_is_an_error(asked: bytes, code: int) -> None:
    assert response(reflection.answer(asked, NAMES)).error.code == code


@pytest.mark.parametrize("asked", [b"\x22\x05ab", b"\x22", b"\x23\x00", b"\xff" * 12])
def test_what_is_no_request_is_refused(asked: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        reflection.answer(asked, NAMES)
