"""The form fields of multipart/form-data bodies that routing needs, and the model override in place.

Source: RFC 7578 and RFC 2046 5.1. The boundary and every part but `model` keep their bytes, so the client's
`content-type` header stays valid. Bounded: `PARTS_MAX` parts, `HEADERS_BYTES_MAX` per part's headers,
`FIELD_BYTES_MAX` per field that is read; a file part of any size is only searched for the delimiter.

Refused is whatever parsers of forms disagree about, or the provider could read another model than the one that was
routed and counted: a parameter or header given twice, headers that are folded or that end in half of a line break, a
boundary that also occurs elsewhere (some take a line feed alone for a line break), `model` in another case or
encoded, parameters that parts of forms do not have.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from headgate.llm.endpoints import Body, Endpoint
from headgate.llm.errors import RequestError

PARTS_MAX: Final = 256
"""Parts of one body: protects the time spent on bodies made of nothing but delimiters."""
HEADERS_BYTES_MAX: Final = 16 * 1024
FIELD_BYTES_MAX: Final = 4 * 1024

# What repeats never gives back (`++`), so that no text is read twice.
_WORD: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]++"
_PARAMETER: Final = re.compile(rf';[ \t]*+(?:({_WORD})[ \t]*+=[ \t]*+(?:"((?:[^"\\]|\\.)*+)"|([^;\s",]*+))[ \t]*+)?')
_PARAMETERS: Final = frozenset(("name", "filename", "filename*"))
"""Of a part. In others some parsers find names: in what is quoted, or in pieces (RFC 2231)."""
_ESCAPED: Final = re.compile(r"\\(.)")
_HEADER: Final = re.compile(rf"({_WORD}):([^\x00-\x08\x0a-\x1f\x7f]*+)")
_END: Final = re.compile(rb"--[ \t]*+(?:\r\n|\Z)")
_CHARSETS: Final = frozenset(("utf-8", "utf8", "us-ascii", "iso-8859-1"))
_AS_THEY_ARE: Final = frozenset(("7bit", "8bit", "binary"))
"""What a field that we read may be said to be written in. Java's clients say Latin-1."""
_BOUNDARY: Final = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{1,70}")
"""RFC 2046 5.1.1."""
_EXACT: Final = ("model", "stream")
"""Fields that we read, and that some servers find in any case."""


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
    while body[position : position + 2] != b"--":
        line_end = _skip_padding(body, position)
        if body[line_end : line_end + 2] != b"\r\n":
            raise _malformed("a delimiter is not followed by a line break")
        if len(fields) == PARTS_MAX:
            raise RequestError(f"the multipart body has more than {PARTS_MAX} parts")
        value_start, name, file = _read_headers(body, line_end + 2)
        value_end = body.find(b"\r\n" + delimiter, value_start - 2)
        if value_end < 0:
            raise _malformed("it ends before its closing delimiter")
        fields.append(FormField(name, file, value_start, max(value_start, value_end)))
        position = value_end + 2 + len(delimiter)
    if not _END.match(body, position):
        raise _malformed("its last delimiter is not on a line of its own")
    if body.count(delimiter) != len(fields) + 1:
        raise _malformed("its boundary also occurs where no part begins")
    return Form(body, tuple(fields))


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


def _malformed(why: str) -> RequestError:
    return RequestError(f"the multipart body is malformed: {why}")


def _boundary(content_type: str) -> bytes:
    if not is_multipart(content_type):
        raise RequestError("the content type must be multipart/form-data")
    boundary = (_parameters(content_type) or {}).get("boundary", "")
    if not _BOUNDARY.fullmatch(boundary):
        raise RequestError("the content type multipart/form-data needs one boundary, of 1 to 70 ASCII characters")
    return boundary.encode()


def _first_delimiter(body: bytes, delimiter: bytes) -> int:
    if body.startswith(delimiter):
        return len(delimiter)
    found = body.find(b"\r\n" + delimiter)
    if found < 0:
        raise _malformed("its boundary does not occur")
    return found + 2 + len(delimiter)


def _read_headers(body: bytes, start: int) -> tuple[int, str, bool]:
    """Where the value of a part begins, how its field is called, and whether it is a file."""
    end = body.find(b"\r\n\r\n", start, start + HEADERS_BYTES_MAX)
    if end < 0:
        raise _malformed("the headers of a part do not end")
    headers: dict[str, str] = {}
    for line in body[start:end].decode("utf-8", "replace").split("\r\n"):
        header = _HEADER.fullmatch(line)
        if header is None or header[1].lower() in headers:
            raise _malformed("a part has a header that is none, or twice")
        headers[header[1].lower()] = header[2].strip(" \t")
    name, file = _disposition(headers.get("content-disposition", ""))
    if name in _EXACT and not _is_plain(headers):
        raise RequestError("must be in UTF-8, not encoded further", path=name)
    return end + 4, name, file


def _is_plain(headers: Mapping[str, str]) -> bool:
    """Whether nobody may decode the value of a part to something else."""
    parameters = _parameters(headers.get("content-type", ""))
    coding = headers.get("content-transfer-encoding", "binary").lower()
    return parameters is not None and parameters.get("charset", "utf-8").lower() in _CHARSETS and coding in _AS_THEY_ARE


def _disposition(value: str) -> tuple[str, bool]:
    """The name of a field, and whether it is a file."""
    kind, parameters = value.partition(";")[0].strip(" \t").lower(), _parameters(value)
    if kind != "form-data" or parameters is None or "name" not in parameters or not parameters.keys() <= _PARAMETERS:
        raise _malformed(
            "each part needs a header content-disposition: form-data with one name, and at most a filename"
        )
    name = parameters["name"]
    if "=" in name:
        raise _malformed("the name of a part has '=' in it")
    if name not in _EXACT and (exact := name.strip().lower()) in _EXACT:
        raise RequestError(f"this form field must be written {exact!r}", path=name)
    return name, "filename" in parameters or "filename*" in parameters


def _parameters(value: str) -> dict[str, str] | None:
    """What follows the first `;` of a header's value; None where that is malformed, or names one twice."""
    found: dict[str, str] = {}
    position = len(value.partition(";")[0])
    while position < len(value):
        parameter = _PARAMETER.match(value, position)
        if parameter is None:
            return None
        name, quoted, plain = parameter.groups()
        if name is not None:
            if name.lower() in found:
                return None
            found[name.lower()] = plain if quoted is None else _ESCAPED.sub(r"\1", quoted)
        position = parameter.end()
    return found


def _skip_padding(body: bytes, position: int) -> int:
    while body[position : position + 1] in (b" ", b"\t"):
        position += 1
    return position
