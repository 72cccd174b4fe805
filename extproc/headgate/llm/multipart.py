"""The form fields of multipart/form-data bodies that routing needs, and the model override in place.

Source: RFC 7578 and RFC 2046 5.1. The boundary and every part but `model` keep their bytes, so the client's
`content-type` header stays valid. Bounded: `PARTS_MAX` parts, `HEADERS_BYTES_MAX` per part's headers,
`FIELD_BYTES_MAX` per field that is read; a file part of any size is only searched for the delimiter, once.
"""

import re
from dataclasses import dataclass
from typing import Final

from headgate.llm.endpoints import Body, Endpoint
from headgate.llm.errors import RequestError

PARTS_MAX: Final = 256
"""Parts of one body: protects the time spent on bodies made of nothing but delimiters."""
HEADERS_BYTES_MAX: Final = 16 * 1024
FIELD_BYTES_MAX: Final = 4 * 1024
BOUNDARY_BYTES_MAX: Final = 70
"""RFC 2046 5.1.1."""

_PARAMETER: Final = re.compile(r';\s*([!#$%&\'*+.^_`|~0-9A-Za-z-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;\s]*))')
_ESCAPED: Final = re.compile(r"\\(.)")


@dataclass(frozen=True, slots=True)
class FormField:
    """One part that carries a name; the value lies at `body[value_start:value_end]`."""

    name: str
    file: bool
    value_start: int
    value_end: int


@dataclass(frozen=True, slots=True)
class Form:
    """A parsed body: its fields in order."""

    body: bytes
    fields: tuple[FormField, ...]

    def text(self, name: str) -> str | None:
        """The value of a field as text; None if there is no such field.

        `RequestError` if the field comes twice, is a file, is too long or is not UTF-8.
        """
        field = self._single(name)
        if field is None:
            return None
        if field.file:
            raise RequestError("must be a text field, not a file", path=name)
        if field.value_end - field.value_start > FIELD_BYTES_MAX:
            raise RequestError(f"must not be longer than {FIELD_BYTES_MAX} bytes", path=name)
        try:
            return self.body[field.value_start : field.value_end].decode()
        except UnicodeDecodeError:
            raise RequestError("must be valid UTF-8", path=name) from None

    def has(self, name: str) -> bool:
        """Whether a part of that name exists."""
        return any(field.name == name for field in self.fields)

    def _single(self, name: str) -> FormField | None:
        found: FormField | None = None
        for field in self.fields:
            if field.name == name:
                if found is not None:
                    raise RequestError("this form field is given twice", path=name)
                found = field
        return found


def decode_form(body: bytes, content_type: str) -> Form:
    """The fields of a body. `RequestError` on another content type, no boundary or a malformed body."""
    delimiter = b"--" + _boundary(content_type)
    fields: list[FormField] = []
    position = _first_delimiter(body, delimiter)
    parts = 0
    while True:
        ending = body[position : position + 2]
        if ending == b"--":
            return Form(body, tuple(fields))
        line_end = _skip_padding(body, position)
        if body[line_end : line_end + 2] != b"\r\n":
            raise RequestError("the multipart body is malformed: a delimiter is not followed by a line break")
        parts += 1
        if parts > PARTS_MAX:
            raise RequestError(f"the multipart body has more than {PARTS_MAX} parts")
        headers_start = line_end + 2
        value_start, headers = _read_headers(body, headers_start)
        value_end = body.find(b"\r\n" + delimiter, value_start - 2)
        if value_end < 0:
            raise RequestError("the multipart body is malformed: it ends before its closing delimiter")
        disposition = headers.get("content-disposition", "")
        name, file = _disposition(disposition)
        if name is not None:
            fields.append(FormField(name, file, value_start, max(value_start, value_end)))
        position = value_end + 2 + len(delimiter)


def override_model(form: Form, model: str) -> bytes:
    """The body with the value of the `model` part replaced; every other byte as sent."""
    for field in form.fields:
        if field.name == "model":
            return form.body[: field.value_start] + model.encode() + form.body[field.value_end :]
    raise RequestError("this form field is required", path="model")


def read_model(form: Form) -> str:
    """The `model` field; `RequestError` if it is missing or empty."""
    model = form.text("model")
    if not model:
        raise RequestError("this form field is required", path="model")
    return model


def read_stream(form: Form) -> bool:
    """Whether the `stream` field says true, in any case."""
    value = form.text("stream")
    return value is not None and value.strip().lower() == "true"


def is_multipart(content_type: str) -> bool:
    """Whether a content type names multipart/form-data."""
    return content_type.partition(";")[0].strip().lower() == "multipart/form-data"


def reads_form(endpoint: Endpoint, content_type: str) -> bool:
    """Whether a request of the endpoint is read as a form."""
    match endpoint.body:
        case Body.MULTIPART:
            return True
        case Body.FORM_OR_JSON:
            return is_multipart(content_type)
        case Body.JSON | Body.NONE:
            return False


def _boundary(content_type: str) -> bytes:
    if not is_multipart(content_type):
        raise RequestError("the content type must be multipart/form-data")
    boundary = _parameters(content_type).get("boundary", "")
    if not boundary or len(boundary) > BOUNDARY_BYTES_MAX or not boundary.isascii():
        raise RequestError("the content type multipart/form-data needs a boundary of 1 to 70 ASCII characters")
    return boundary.encode()


def _first_delimiter(body: bytes, delimiter: bytes) -> int:
    if body.startswith(delimiter):
        return len(delimiter)
    found = body.find(b"\r\n" + delimiter)
    if found < 0:
        raise RequestError("the multipart body is malformed: its boundary does not occur")
    return found + 2 + len(delimiter)


def _read_headers(body: bytes, start: int) -> tuple[int, dict[str, str]]:
    if body[start : start + 2] == b"\r\n":
        return start + 2, {}
    end = body.find(b"\r\n\r\n", start, start + HEADERS_BYTES_MAX)
    if end < 0:
        raise RequestError("the multipart body is malformed: the headers of a part do not end")
    headers: dict[str, str] = {}
    for line in body[start:end].decode("utf-8", "replace").split("\r\n"):
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    return end + 4, headers


def _disposition(value: str) -> tuple[str | None, bool]:
    if value.partition(";")[0].strip().lower() != "form-data":
        return None, False
    parameters = _parameters(value)
    return parameters.get("name"), "filename" in parameters or "filename*" in parameters


def _parameters(value: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for match in _PARAMETER.finditer(value):
        quoted = match.group(2)
        found[match.group(1).lower()] = match.group(3) if quoted is None else _ESCAPED.sub(r"\1", quoted)
    return found


def _skip_padding(body: bytes, position: int) -> int:
    while body[position : position + 1] in (b" ", b"\t"):
        position += 1
    return position
